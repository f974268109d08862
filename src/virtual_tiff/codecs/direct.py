"""Segments that one compiled call decodes: byte streams whose samples are whole, with any predictor, and plain JPEG.

It also takes interleaved samples apart, where they are asked for in planes.

Decompressors are those that imagecodecs brings, called without it. What is unusual about a segment, damage above all,
is left to :mod:`~virtual_tiff.codecs.segment`, which knows what to make of it.
"""

from __future__ import annotations

import ctypes
from functools import cache, lru_cache
from importlib import import_module
from typing import Final

import numpy as np
import numpy.typing as npt

from virtual_tiff.codecs import compiled, packing, predictor
from virtual_tiff.codecs.compiled import Kernels, Recipe
from virtual_tiff.codecs.config import SegmentConfig

type Octets = npt.NDArray[np.uint8]

LZW: Final = 5
JPEG: Final = 7
DEFLATE: Final = 8
ZSTD: Final = 50000

_COMPRESSIONS: Final = {LZW: LZW, DEFLATE: DEFLATE, 32946: DEFLATE, ZSTD: ZSTD}
"""Compression -> what the kernels call it."""

_YCBCR: Final = 6
"""Of the tag PhotometricInterpretation."""

_MOST_BYTES: Final = 1 << 40
"""Of a segment; numbers of the kernels have 64 bits."""

_LIBRARIES: Final = {
    "imagecodecs._deflate": ("libdeflate_alloc_decompressor", "libdeflate_zlib_decompress"),
    "imagecodecs._zstd": ("ZSTD_createDCtx", "ZSTD_decompressDCtx"),
    "imagecodecs._jpeg8": (
        "jpeg_std_error",
        "jpeg_CreateDecompress",
        "jpeg_mem_src",
        "jpeg_read_header",
        "jpeg_start_decompress",
        "jpeg_read_scanlines",
        "jpeg_finish_decompress",
        "jpeg_destroy_decompress",
    ),
}
"""Module that is linked to a library -> the functions that make and use its decompressor, as the kernels order them."""


@lru_cache(maxsize=1024)
def recipe(config: SegmentConfig) -> Recipe | None:
    """Return how the kernels decode such segments, or None when they do not."""
    return _recipe_of_jpeg(config) if config.compression == JPEG else _recipe_of_samples(config)


def _recipe_of_jpeg(config: SegmentConfig) -> Recipe | None:
    """Return a recipe for pictures of 8 bits that become grey or RGB, with tables that are whole."""
    tables, is_subsampled_plane = config.jpeg_tables or b"", config.samples == 1 and config.is_subsampled
    if config.samples not in (1, 3) or {*config.bits_per_sample} != {8} or config.dtype != np.uint8:
        return None
    if config.color is not None or is_subsampled_plane or not config.has_whole_tables or config.out_bytes > _MOST_BYTES:
        return None
    return Recipe(
        rows=config.rows,
        row_bytes=config.sample_row_bytes,
        compression=JPEG,
        tables=tables,
        tables_size=len(tables),
        width=1,
        samples=config.samples,
        in_planes=config.in_planes,
        is_ycbcr=config.photometric == _YCBCR,
    )


def _recipe_of_samples(config: SegmentConfig) -> Recipe | None:
    """Return a recipe for streams of samples that are whole bytes."""
    compression = _COMPRESSIONS.get(config.compression)
    predicted = config.predictor != 1
    if compression is None or config.fill_order != 1 or config.color is not None or not predictor.allows(config):
        return None
    byte_order = "little" if predicted else config.byte_order
    if config.packed_bytes > _MOST_BYTES or not packing.is_plain(config, byte_order):
        return None
    width = config.bits_per_sample[0] // 8
    distance = config.samples * predictor.DISTANCES.get(config.predictor, 0)
    return Recipe(
        rows=config.rows,
        row_bytes=config.row_bytes,
        width=width,
        distance=distance * (width if config.predictor in predictor.HORIZONTAL else 1),
        compression=compression,
        predictor=1 if not predicted else 2 if config.predictor in predictor.HORIZONTAL else 3,
        big=config.byte_order == "big" and width > 1,
        samples=config.samples,
        in_planes=config.in_planes,
    )


@lru_cache(maxsize=1024)
def recipe_of_stream(compression: int, size: int) -> Recipe | None:
    """Return how the kernels decompress so many bytes."""
    return Recipe(rows=1, row_bytes=size, compression=compression, predictor=1) if 0 < size <= _MOST_BYTES else None


def decode(encoded: Octets, how: Recipe | None) -> Octets | None:
    """Decode a segment.

    Parameters
    ----------
    encoded
        Its bytes.
    how
        How they are encoded, or None when the kernels do not know that.

    Returns
    -------
    numpy.ndarray
        The bytes of a full segment; None when it is left to others.
    """
    if how is None:
        return None
    kernels = kernels_for(how, encoded)
    if kernels is None:
        return None
    try:
        out = np.empty(how.rows * how.row_bytes, np.uint8)
    except MemoryError:  # others may see that there is nothing to decode
        return None
    return out if kernels.segment(how, encoded, out) else None


def kernels_for(how: Recipe, encoded: Octets) -> Kernels | None:
    """Return the kernels, if there are any in this process for such segments, and for bytes as these."""
    return compiled.KERNELS if encoded.size and encoded.flags.c_contiguous and decodes(how) else None


def decodes(how: Recipe) -> bool:
    """Whether this process has kernels for such segments."""
    kernels = compiled.KERNELS
    return kernels is not None and how.compression in _decompressed_by(kernels)


@cache
def _decompressed_by(kernels: Kernels) -> frozenset[int]:
    """Return the compressions that kernels decompress with what imagecodecs is linked to."""
    deflate, zstd, jpeg = (_functions(module, names) for module, names in _LIBRARIES.items())
    knows_jpeg = kernels.use((*deflate, *zstd, *jpeg))
    found = {LZW: True, DEFLATE: None not in deflate, ZSTD: None not in zstd, JPEG: knows_jpeg}
    return frozenset(compression for compression, is_there in found.items() if is_there)


def _functions(module: str, names: tuple[str, ...]) -> tuple[int | None, ...]:
    """Return the addresses of functions of the library that a module is linked to; None for each when one is hidden."""
    try:
        library = ctypes.PyDLL(str(import_module(module).__file__))
        return tuple(ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in names)
    except (AttributeError, ImportError, OSError):
        return (None,) * len(names)
