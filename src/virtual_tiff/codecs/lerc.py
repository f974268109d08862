"""LERC (34887): limited error raster compression, alone or inside Deflate or Zstandard.

Masked pixels become what GDAL makes of them: NaN in floats, the alpha band where the stream leaves it out (0
and 255), else 0.

References
----------
The LercParameters tag (50674): version of LERC, then 0 for plain streams, 1 for Deflate, 2 for Zstandard;
libtiff's ``tif_lerc.c``.
"""

from __future__ import annotations

import struct
from collections.abc import Buffer, Callable
from typing import Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt

from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.images import check_size, fit
from virtual_tiff.errors import DecodeError

LERC: Final = 34887
_PLAIN, _DEFLATE, _ZSTD = 0, 1, 2
_ERRORS: Final = (
    imagecodecs.LercError,
    imagecodecs.ZlibError,
    imagecodecs.ZstdError,
    ValueError,
    RuntimeError,
    MemoryError,
)


def decode_lerc(segment: Buffer, config: SegmentConfig) -> npt.NDArray[Any]:
    """Decode a LERC segment.

    Returns
    -------
    numpy.ndarray
        Samples of shape (rows, columns, samples); zeros where the stream is smaller.

    Raises
    ------
    DecodeError
        ``corrupt-segment``, ``short-segment`` for an empty segment, ``codec-config`` for unknown
        LercParameters.
    """
    if memoryview(segment).nbytes == 0:
        msg = "the LERC segment is empty"
        raise DecodeError(msg, feature="short-segment")
    try:
        stream = _unwrap(segment, config)
        size = _size(stream)
        if size is not None:
            check_size(size, config)
        values, mask = imagecodecs.lerc_decode(stream, masks=True)
    except _ERRORS as error:
        if isinstance(error, DecodeError):
            raise
        msg = f"the LERC stream does not decode: {error}"
        raise DecodeError(msg, feature="corrupt-segment") from error
    size = values.shape[:2] if size is None else size
    samples, valid = _pixel_order(values, mask, size)
    check_size(samples.shape[:2], config)
    samples = _apply_mask(samples, valid, config)
    if config.byte_order == "big":
        # libtiff hands samples to LERC in the byte order of the file, and swaps whatever LERC gives back
        samples = samples.byteswap()
    return fit(samples, config)


def stream_size(segment: Buffer, config: SegmentConfig) -> tuple[int, int] | None:
    """Return rows and columns of a segment that decodes, or None when the older kind of LERC does not tell."""
    return _size(_unwrap(segment, config))


def _unwrap(segment: Buffer, config: SegmentConfig) -> Buffer:
    """Undo the second compression; LERC itself never grows the samples by more than headers and masks."""
    second = (config.lerc_parameters or (0, _PLAIN))[1:2]
    if second in ((), (_PLAIN,)):
        return segment
    limit = 2 * config.out_bytes + (1 << 16)
    stream: Buffer
    if second == (_DEFLATE,):
        stream = imagecodecs.zlib_decode(segment, out=limit)
    elif second == (_ZSTD,):
        stream = imagecodecs.zstd_decode(segment, out=limit)
    else:
        msg = f"LercParameters {config.lerc_parameters}: unknown second compression"
        raise DecodeError(msg, feature="codec-config")
    return stream


def _size(stream: Buffer) -> tuple[int, int] | None:
    """Return rows and columns of a LERC 2 stream, or None for the older kind."""
    head = bytes(memoryview(stream)[:22])
    if len(head) < 22 or not head.startswith(b"Lerc2 "):
        return None
    version = struct.unpack_from("<i", head, 6)[0]
    rows, columns = struct.unpack_from("<ii", head, 14 if version >= 3 else 10)
    return rows, columns


def _pixel_order(
    values: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None, size: tuple[int, int]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
    """Return samples and mask as (rows, columns, samples), the mask with one sample when it holds for all.

    LERC knows two kinds of samples: depth (interleaved, one mask) and bands (one after another, a mask each).
    """
    if values.ndim == 2:
        return values[..., None], None if mask is None else mask.reshape(*size, 1)
    bands = values.ndim == 3 and mask is not None and mask.ndim == 3
    if bands or values.shape[:2] != size:
        values = np.moveaxis(values, 0, -1)
        mask = mask if mask is None or mask.ndim == 2 else np.moveaxis(mask, 0, -1)
    if values.ndim != 3 or values.shape[:2] != size:
        msg = f"a LERC stream of shape {values.shape} for {size[0]} rows of {size[1]} pixels"
        raise DecodeError(msg, feature="corrupt-segment")
    if mask is not None and mask.ndim == 2:
        mask = mask[..., None]
    return values, mask


def _apply_mask(
    samples: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None, config: SegmentConfig
) -> npt.NDArray[Any]:
    """Write what masked pixels stand for, and the alpha band that GDAL writes as a mask."""
    missing = config.samples - samples.shape[2]
    integers = samples.dtype.kind in "iu"
    if missing not in (0, 1) or (missing and not integers):
        msg = f"a LERC stream of {samples.shape[2]} samples, the IFD announces {config.samples}"
        raise DecodeError(msg, feature="corrupt-segment")
    if valid is not None:
        samples = np.where(valid, samples, samples.dtype.type(0 if integers else np.nan))
    if not missing:
        return samples
    opaque = samples.dtype.type(np.iinfo(samples.dtype).max)
    alpha = np.full((*samples.shape[:2], 1), opaque)
    if valid is not None:
        alpha *= valid.all(axis=-1, keepdims=True)
    return np.concatenate([samples, alpha], axis=-1)


STREAMS: Final[dict[int, Callable[[Buffer, SegmentConfig, int], Any]]] = {}
IMAGES: Final[dict[int, Callable[[Buffer, SegmentConfig], npt.NDArray[Any]]]] = {LERC: decode_lerc}
