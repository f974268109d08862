"""Compressions that put a whole image file into each segment: WebP, JPEG 2000, JPEG XL, PNG, JPEG XR.

The streams say what they hold; the configuration is only what they must agree with. Colours stay as stored,
also the YCbCr of Aperio's JPEG 2000.
"""

from __future__ import annotations

from collections.abc import Buffer, Callable
from typing import Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt

from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.errors import DecodeError

WEBP, PNG = 50001, 34933
JPEG2000: Final = (33003, 33004, 33005, 34712)
JPEGXL: Final = (50002, 52546)
JPEGXR: Final = (22610, 34934)

_FEW_PIXELS: Final = 1 << 24  # what a stream may hold whatever the size of its segment

_Samples = npt.NDArray[Any]
_Decoder = Callable[[Buffer, SegmentConfig], _Samples]

_ERRORS: Final = (
    imagecodecs.WebpError,
    imagecodecs.Jpeg2kError,
    imagecodecs.JpegxlError,
    imagecodecs.JpegxrError,
    imagecodecs.PngError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
)


def fit(samples: _Samples, config: SegmentConfig) -> _Samples:
    """Bring a decoded image to the data type of the segment, and to its size: zeros below and to the right.

    GDAL pads like this when a stream is smaller than its strip or tile. Rows too many are left to the caller.

    Parameters
    ----------
    samples
        Shape (rows, columns, samples), at most as wide as the segment.

    Raises
    ------
    DecodeError
        ``corrupt-segment`` when the stream has deeper samples, or others, than the IFD announces.
    """
    samples = _as_stored(samples, config)
    rows, columns = samples.shape[:2]
    if rows >= (config.last_rows or config.rows) and columns == config.columns:
        return samples
    full = np.zeros((max(rows, config.rows), config.columns, samples.shape[2]), samples.dtype)
    full[:rows, :columns] = samples
    return full


def _as_stored(samples: _Samples, config: SegmentConfig) -> _Samples:
    """Bring decoded samples to the data type of the segment, when it holds them.

    Raises
    ------
    DecodeError
        ``corrupt-segment`` when the stream has deeper samples, or others, than the IFD announces.
    """
    if samples.dtype == config.dtype:
        return samples
    found, wanted = samples.dtype, config.dtype
    if wanted.kind == "b" and found == np.dtype("u1") and samples.max(initial=0) <= 1:
        return samples.astype(wanted)
    if found.kind in "iu" and wanted.kind in "iu" and found.itemsize <= wanted.itemsize:
        # the same bits under another sample format, then widened
        return samples.view(f"{wanted.kind}{found.itemsize}").astype(wanted, copy=False)
    if found.kind == wanted.kind == "f" and found.itemsize <= wanted.itemsize:
        return samples.astype(wanted)
    msg = f"the stream holds {found} samples, the IFD announces {wanted}"
    raise DecodeError(msg, feature="corrupt-segment")


def check_size(size: tuple[int, int], config: SegmentConfig) -> None:
    """Refuse a stream of (rows, columns) pixels that is no such segment, before anything is allocated for it.

    A stream may be smaller (an edge tile without padding) or taller (a last strip that was written whole),
    but not wider.

    Raises
    ------
    DecodeError
        ``corrupt-segment``.
    """
    rows, columns = size
    most = max(4 * config.rows * config.columns, _FEW_PIXELS)
    if 0 < columns <= config.columns and 0 < rows * columns <= most:
        return
    msg = f"a stream of {columns} x {rows} pixels in a segment of {config.columns} x {config.rows} pixels"
    raise DecodeError(msg, feature="corrupt-segment")


def _image(decode: _Decoder, read_size: Callable[[bytes], tuple[int, int] | None] | None) -> _Decoder:
    """Return a kernel around ``decode`` that checks what comes out."""

    def kernel(segment: Buffer, config: SegmentConfig) -> _Samples:
        view = memoryview(segment).cast("B")
        if view.nbytes == 0:
            msg = "the segment is empty"
            raise DecodeError(msg, feature="short-segment")
        size = read_size(bytes(view[:4096])) if read_size else None
        if size is not None:
            check_size(size, config)
        try:
            samples = decode(view, config)
        except _ERRORS as error:
            if isinstance(error, DecodeError):
                raise
            msg = f"the stream of compression {config.compression} does not decode: {error}"
            raise DecodeError(msg, feature="corrupt-segment") from error
        found = samples.shape if samples.ndim == 3 else (*samples.shape, 1)
        if len(found) != 3 or found[2] != config.samples:
            msg = f"the stream decodes to shape {samples.shape}, the IFD announces {config.samples} samples"
            raise DecodeError(msg, feature="corrupt-segment")
        check_size(found[:2], config)
        return fit(samples.reshape(found), config)

    return kernel


def _decode_webp(segment: Buffer, config: SegmentConfig) -> _Samples:
    # writers leave out an alpha that is opaque throughout
    samples: _Samples = imagecodecs.webp_decode(segment, hasalpha=config.samples == 4)
    return samples


def _decode_jpeg2000(segment: Buffer, _: SegmentConfig) -> _Samples:
    samples: _Samples = imagecodecs.jpeg2k_decode(segment, planar=False, numthreads=1)
    return samples


def _decode_png(segment: Buffer, _: SegmentConfig) -> _Samples:
    samples: _Samples = imagecodecs.png_decode(segment)
    return samples


def _decode_jpegxl(segment: Buffer, config: SegmentConfig) -> _Samples:
    return _decode_into(
        config, lambda out: imagecodecs.jpegxl_decode(segment, keeporientation=True, numthreads=1, out=out)
    )


def _decode_jpegxr(segment: Buffer, config: SegmentConfig) -> _Samples:
    return _decode_into(config, lambda out: imagecodecs.jpegxr_decode(segment, out=out))


def _decode_into(config: SegmentConfig, decode: Callable[[_Samples | None], _Samples]) -> _Samples:
    """Decode into an array of the size that the segment must have: nothing else is ever allocated."""
    shapes = [(rows, config.columns, config.samples) for rows in (config.rows, config.last_rows) if rows]
    for shape in shapes:
        out = np.empty(shape[: 2 if config.samples == 1 else 3], config.dtype)
        try:
            decode(out)
        except ValueError as error:
            if "invalid out" not in str(error) or shape is shapes[-1]:
                raise
            continue
        if out.dtype == np.float16 and decode(None).dtype != out.dtype:  # only here does imagecodecs take other samples
            msg = "the stream holds integers, the IFD announces floats of 16 bits"
            raise DecodeError(msg, feature="corrupt-segment")
        return out
    raise AssertionError


def _size_png(head: bytes) -> tuple[int, int] | None:
    if len(head) < 24:
        return None
    return int.from_bytes(head[20:24], "big"), int.from_bytes(head[16:20], "big")


def _size_webp(head: bytes) -> tuple[int, int] | None:
    if len(head) < 30:
        return None
    match head[12:16]:
        case b"VP8X":
            return int.from_bytes(head[27:30], "little") + 1, int.from_bytes(head[24:27], "little") + 1
        case b"VP8L":
            packed = int.from_bytes(head[21:25], "little")
            return (packed >> 14 & 0x3FFF) + 1, (packed & 0x3FFF) + 1
        case b"VP8 ":
            columns, rows = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
            return rows & 0x3FFF, columns & 0x3FFF
        case _:
            return None


def _size_jpeg2000(head: bytes) -> tuple[int, int] | None:
    # the SIZ marker follows the start of the codestream, also inside a JP2 file
    at = head.find(b"\xff\x4f\xff\x51")
    if at < 0 or len(head) < at + 24:
        return None
    right, bottom, left, top = (int.from_bytes(head[at + n : at + n + 4], "big") for n in (8, 12, 16, 20))
    return bottom - top, right - left


def image_size(compression: int, stream: Buffer) -> tuple[int, int] | None:
    """Return rows and columns of a WebP, PNG or JPEG 2000 stream; None for others, and when its head does not tell."""
    read_size = {WEBP: _size_webp, PNG: _size_png, **dict.fromkeys(JPEG2000, _size_jpeg2000)}.get(compression)
    return None if read_size is None else read_size(bytes(memoryview(stream).cast("B")[:4096]))


STREAMS: Final[dict[int, Callable[[Buffer, SegmentConfig, int], Any]]] = {}
IMAGES: Final[dict[int, _Decoder]] = {
    WEBP: _image(_decode_webp, _size_webp),
    PNG: _image(_decode_png, _size_png),
    **dict.fromkeys(JPEG2000, _image(_decode_jpeg2000, _size_jpeg2000)),
    **dict.fromkeys(JPEGXL, _image(_decode_jpegxl, None)),
    **dict.fromkeys(JPEGXR, _image(_decode_jpegxr, None)),
}
