"""From a segment layout to a Zarr codec chain, as JSON. Codecs are known here by their names only.

Core codecs come first, since zarr-python, zarrs and zarrita all read them; everything else is
``virtual_tiff.segment`` alone, which makes a chunk of a segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np

from virtual_tiff.codecs.config import CODEC_NAME, SegmentConfig
from virtual_tiff.layout import SegmentLayout

type CodecJson = dict[str, Any]
type Portability = Literal["core", "segment"]

TRANSPOSE: Final = "transpose"

# The levels say nothing about decoding, but concatenation needs equal codecs and zarrs needs the field.
_CORE: Final[dict[int, tuple[CodecJson, ...]]] = {
    1: (),
    8: ({"name": "numcodecs.zlib", "configuration": {"level": 6}},),
    32946: ({"name": "numcodecs.zlib", "configuration": {"level": 6}},),
    50000: ({"name": "zstd", "configuration": {"level": 0, "checksum": False}},),
}


def has_core_chain(layout: SegmentLayout) -> bool:
    """Whether full segments of this layout decode by core codecs alone."""
    return layout.compression in _CORE and layout.whole_bytes and not layout.coding


def codec_chain(layout: SegmentLayout, config: SegmentConfig | None) -> tuple[CodecJson, ...]:
    """Return the JSON of the codec chain, in Zarr's order of encoding.

    Parameters
    ----------
    layout
        The layout of the segments.
    config
        The configuration of ``virtual_tiff.segment``, or None for core codecs alone.
    """
    if config is not None:
        return (segment_codec(replace(config, chunk="planes")),)
    order = None if layout.samples == 1 else [1, 2, 0] if layout.depth == 1 else [1, 2, 3, 0]
    return (*_transpose(order), _bytes(layout.out_dtype, layout.byte_order), *_CORE[layout.compression])


def segment_codec(config: SegmentConfig) -> CodecJson:
    """Return the JSON of ``virtual_tiff.segment``."""
    return {"name": CODEC_NAME, "configuration": config.to_json()}


def with_bands_last(codecs: Sequence[CodecJson]) -> tuple[CodecJson, ...]:
    """Return the chain by which chunks are the same bytes, of arrays whose bands are behind all other axes."""
    return tuple(_with_bands_last(codec) for codec in codecs if codec["name"] != TRANSPOSE)


def _with_bands_last(codec: CodecJson) -> CodecJson:
    if codec["name"] != CODEC_NAME:
        return codec
    config = SegmentConfig.from_json(codec["configuration"])
    return segment_codec(replace(config, chunk="pixels")) if config.in_planes else codec


def in_bytes(codecs: Sequence[CodecJson], dimensions: int) -> tuple[CodecJson, ...]:
    """Return the chain in which ``virtual_tiff.segment`` makes bytes, and other codecs an array of them.

    VirtualiZarr drops codecs that make a chunk by themselves, without a word, when it writes references of Zarr v2.

    Parameters
    ----------
    codecs
        The chain of the array of one file.
    dimensions
        Of the array.
    """
    last = codecs[-1]
    if last["name"] != CODEC_NAME or "chunk" not in last["configuration"]:
        return tuple(codecs)
    config = SegmentConfig.from_json(last["configuration"])
    order = [*range(1, dimensions), 0] if config.in_planes else None
    return (*_transpose(order), _bytes(config.out_dtype, "little"), segment_codec(replace(config, chunk=None)))


def in_chunks(codecs: Sequence[CodecJson]) -> tuple[CodecJson, ...]:
    """Return the chain from which :func:`in_bytes` made this one, if it did; axes may have been added in front.

    Arrays that were published before ``virtual_tiff.segment`` made chunks have the other one, too.
    """
    *others, last = codecs
    if last["name"] != CODEC_NAME or "chunk" in last["configuration"]:
        return tuple(codecs)
    config = SegmentConfig.from_json(last["configuration"])
    octets = _bytes(config.out_dtype, "little")
    if others == [octets]:
        return (segment_codec(replace(config, chunk="planes" if config.out_samples == 1 else "pixels")),)
    if len(others) == 2 and others[1] == octets and _moves_one_axis(others[0]) and config.out_samples > 1:
        return (segment_codec(replace(config, chunk="planes")),)
    return tuple(codecs)


def _moves_one_axis(codec: CodecJson) -> bool:
    """Whether chunks are stored with one axis, that of bands, behind all others."""
    if codec["name"] != TRANSPOSE:
        return False
    order = list(codec["configuration"]["order"])
    return order == [*(axis for axis in sorted(order) if axis != order[-1]), order[-1]]


def _transpose(order: Sequence[int] | None) -> tuple[CodecJson, ...]:
    return () if order is None else ({"name": TRANSPOSE, "configuration": {"order": list(order)}},)


def _bytes(dtype: np.dtype[Any], endian: str) -> CodecJson:
    return {"name": "bytes"} if dtype.itemsize == 1 else {"name": "bytes", "configuration": {"endian": endian}}
