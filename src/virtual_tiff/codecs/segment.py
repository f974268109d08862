"""Decode one segment: the bytes of a strip or tile in, whole little-endian samples of a full segment out.

The order of the steps is that of libtiff and GDAL: bit order, decompression,
predictor, unpacking, colour, padding; and at last the samples are taken apart, if that is asked for.
``docs/segment-codec.md`` is the specification. Everything here is a pure function: any number of threads may
call it.
"""

from __future__ import annotations

from collections.abc import Buffer
from functools import lru_cache
from typing import Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt

from virtual_tiff.codecs import compiled, direct, packing, predictor, table
from virtual_tiff.codecs.config import CODEC_NAME, SegmentConfig
from virtual_tiff.errors import DecodeError

type Octets = npt.NDArray[np.uint8]

_NEWER: Final = "A newer virtual-tiff may know it."


@lru_cache(maxsize=1024)
def find_kernel(config: SegmentConfig) -> tuple[str, Any]:
    """Return "stream" or "image" and the kernel that decodes such segments.

    Raises
    ------
    DecodeError
        ``codec-config`` when no kernel decodes this configuration.
    """
    found = table.kernel(config.compression)
    if found is None:
        raise _refusal(f"compression = {config.compression}")
    if config.color is not None and not _converts(config):
        raise _refusal(f"color = {config.color!r} of photometric {config.photometric} and these samples")
    if config.fill_order not in (1, 2):
        raise _refusal(f"fill_order = {config.fill_order}")
    predicted = config.compression in table.PREDICTED and predictor.allows(config)
    if config.predictor != 1 and not predicted:
        raise _refusal(f"predictor = {config.predictor} with compression {config.compression} and such samples")
    if found[0] == "stream" and not packing.allows(config):
        raise _refusal(f"bits_per_sample = {config.bits_per_sample} with subsampling {config.subsampling}")
    if config.dtype is None:  # pragma: no cover - asking for it is the check
        raise _refusal("these samples")
    return found


def _converts(config: SegmentConfig) -> bool:
    from virtual_tiff.codecs import color

    bits = config.bits_per_sample
    return color.can_convert(config.photometric, config.samples, bits, config.sample_format)


def _refusal(what: str) -> DecodeError:
    return DecodeError(f"{CODEC_NAME} cannot decode {what}", feature="codec-config", hint=_NEWER)


def decode_segment(encoded: Buffer, config: SegmentConfig) -> Octets:
    """Decode a segment.

    Parameters
    ----------
    encoded
        The bytes of the segment, exactly as they stand in the file.
    config
        How they are encoded.

    Returns
    -------
    numpy.ndarray
        ``config.out_bytes`` bytes: samples in C order of (row, column, sample), or of (sample, row, column) with
        ``config.in_planes``, little-endian. It may be read-only, and a view of `encoded`.

    Raises
    ------
    DecodeError
        ``corrupt-segment`` when the bytes do not decode; ``short-segment`` when they hold fewer rows than the
        segment must have; ``codec-config`` when the configuration is not known.
    """
    kind, decode = find_kernel(config)
    octets = encoded if isinstance(encoded, np.ndarray) else np.frombuffer(encoded, np.uint8)
    if octets.dtype != np.uint8 or octets.ndim != 1:
        octets = np.frombuffer(octets, np.uint8)
    if octets.size == 0:
        raise DecodeError("the segment has no bytes", feature="short-segment")
    try:
        whole = direct.decode(octets, direct.recipe(config))
        if whole is not None:
            return whole
        if kind == "stream":
            rows = _decode_stream(octets, config, decode)
        else:
            rows = _rows_of_image(decode(octets, config), config)
        if config.color is not None:
            rows = _convert(rows, config)
    except DecodeError:
        raise
    except Exception as error:
        # a dozen C libraries, each with exceptions of its own
        found = f"the bytes are no valid stream of compression {config.compression}: {error}"
        raise DecodeError(found, feature="corrupt-segment") from error
    whole = _pad(rows, config)
    return _in_planes(whole, config) if config.in_planes else whole


def _decode_stream(encoded: Octets, config: SegmentConfig, decode: table.Stream) -> Octets:
    """Decompress, undo the predictor and unpack: bytes of shape (rows, ``config.sample_row_bytes``)."""
    if config.fill_order == 2:
        encoded = np.frombuffer(imagecodecs.bitorder_decode(encoded.tobytes()), np.uint8)
    decoded = decode(encoded, config, config.packed_bytes)
    octets = decoded if isinstance(decoded, np.ndarray) else np.frombuffer(decoded, np.uint8)
    row_bytes = config.row_bytes
    count = min(octets.size, config.packed_bytes) // row_bytes
    if count * row_bytes < config.packed_bytes:
        blocks = -(-_least_rows(config) // config.block[1])
        _check_short(count * config.block[1], config, blocks * config.block[1])
        if config.compression == 1 and octets.size != blocks * row_bytes:
            # the geometry says how long uncompressed segments are: this one has lost its end
            raise DecodeError(f"{octets.size} bytes hold no whole number of rows", feature="short-segment")
    rows = octets[: count * row_bytes].reshape(count, row_bytes)
    byte_order: str = config.byte_order
    if config.predictor != 1:
        if not rows.flags.writeable:
            rows = rows.copy()
        rows = predictor.undo(rows, config)
        byte_order = "little"
    if packing.is_plain(config, byte_order):
        return rows
    return packing.unpack(rows, config, byte_order)


def _rows_of_image(image: npt.NDArray[Any], config: SegmentConfig) -> Octets:
    """Bring an image of shape (rows, columns, samples) into the form that streams have."""
    if image.ndim != 3 or image.shape[1:] != (config.columns, config.samples) or image.dtype != config.dtype:
        found = (
            f"the segment holds an image of shape {image.shape} and type {image.dtype}; the tags announce "
            f"({config.rows}, {config.columns}, {config.samples}) and {config.dtype}"
        )
        raise DecodeError(found, feature="corrupt-segment")
    count, least = image.shape[0], _least_rows(config)
    if count < config.rows:
        # a frame says itself how large it is, often more than a last strip needs
        wanted = max(count, least) if config.compression in table.SIZED else least
        _check_short(count, config, wanted)
    whole = np.ascontiguousarray(image, config.dtype.newbyteorder("<"))
    return whole.view(np.uint8).reshape(image.shape[0], config.sample_row_bytes)


def _convert(rows: Octets, config: SegmentConfig) -> Octets:
    """Convert samples to RGB."""
    from virtual_tiff.codecs import color

    samples = rows.view(config.dtype.newbyteorder("<")).reshape(-1, config.columns, config.samples)
    rgb = color.to_rgb(samples.astype(config.dtype, copy=False), config)
    return rgb.reshape(rows.shape[0], config.out_row_bytes)


def _least_rows(config: SegmentConfig) -> int:
    return config.rows if config.last_rows is None else config.last_rows


def _check_short(count: int, config: SegmentConfig, wanted: int) -> None:
    """Refuse a segment of fewer than ``rows`` rows, unless it is a whole last strip.

    Any other number is taken for damage: it would be padded silently.
    """
    if count != wanted:
        short = "" if config.last_rows is None else f", or the {config.last_rows} of a last strip"
        found = f"the segment holds {count} of {config.rows} rows{short}"
        raise DecodeError(found, feature="short-segment", hint="The file may be truncated or damaged.")


def _pad(rows: Octets, config: SegmentConfig) -> Octets:
    """Cut rows off, or append rows of zeros, so that the segment is full."""
    missing = config.rows - rows.shape[0]
    if missing > 0:
        padded = np.zeros(config.out_bytes, np.uint8)
        padded[: rows.size] = rows.reshape(-1)
        return padded
    return (rows if missing == 0 else rows[: config.rows]).reshape(-1)


def _in_planes(pixels: Octets, config: SegmentConfig) -> Octets:
    """Take interleaved samples apart."""
    samples, width = config.out_samples, config.out_dtype.itemsize
    out = np.empty(pixels.size, np.uint8)
    if compiled.KERNELS is not None:
        compiled.KERNELS.planes(np.ascontiguousarray(pixels), out, samples, width)
    else:
        out.reshape(samples, -1, width)[...] = pixels.reshape(-1, samples, width).swapaxes(0, 1)
    return out
