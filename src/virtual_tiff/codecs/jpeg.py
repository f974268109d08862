"""JPEG in TIFF: compression 7, its double 33007, and lossy DNG (34892).

Photometric decides about colour, as in libtiff, and not what the stream says of itself: three components of
photometric YCbCr become RGB, everything else is left as stored. Of streams that libtiff refuses, tifffile's
reading is taken: YCCK becomes CMYK, and in lossy DNG, in 33007 and where chroma is subsampled although
Photometric is not YCbCr the stream decides, unless Photometric is RGB and there is no JFIF marker.

References
----------
TIFF Technical Note 2 (Draft 22-Mar-95); ITU-T T.81; DNG 1.4, chapter 3 (lossless streams of other
proportions).
"""

from __future__ import annotations

from collections.abc import Buffer, Callable
from dataclasses import dataclass
from typing import Any, Final

import imagecodecs
import numpy.typing as npt

from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.images import check_size, fit
from virtual_tiff.errors import DecodeError

JPEG, ALT_JPEG, LOSSY_DNG = 7, 33007, 34892
_RGB, _YCBCR = 2, 6
_BARE: Final = {0x01, *range(0xD0, 0xD8), 0xD8}  # markers without a length
_FRAMES: Final = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_LOSSLESS: Final = 0xC3
_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_YCCK: Final = 2  # value of the transform in Adobe's APP14


@dataclass(frozen=True, slots=True)
class Frame:
    """What the frame header of a JPEG stream says: pixels, components, bits per component."""

    process: int
    precision: int
    rows: int
    columns: int
    components: int
    is_subsampled: bool = False
    adobe_transform: int | None = None
    is_jfif: bool = False


def read_frame(stream: Buffer) -> Frame:
    """Read the markers of a JPEG stream up to its frame header.

    Raises
    ------
    DecodeError
        ``corrupt-segment`` when there is no frame header.
    """
    octets = memoryview(stream).cast("B")
    at, adobe, jfif = 0, None, False
    while at + 4 <= len(octets):
        if octets[at] != 0xFF:
            break
        marker = octets[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _BARE:
            at += 2
            continue
        size = octets[at + 2] << 8 | octets[at + 3]
        body = octets[at + 4 : at + 2 + size]
        if marker in _FRAMES and len(body) >= 6:
            rows, columns = body[1] << 8 | body[2], body[3] << 8 | body[4]
            factors = bytes(body[7 : 6 + 3 * body[5] : 3])
            subsampled = any(factor != 0x11 for factor in factors) and len(factors) > 1
            return Frame(marker, body[0], rows, columns, body[5], subsampled, adobe, jfif)
        if marker == 0xEE and bytes(body[:5]) == b"Adobe" and len(body) >= 12:
            adobe = body[11]
        jfif = jfif or (marker == 0xE0 and bytes(body[:4]) == b"JFIF")
        at += 2 + size
    msg = f"{len(octets)} bytes of JPEG have no frame header"
    raise DecodeError(msg, feature="corrupt-segment" if len(octets) else "short-segment")


def frame_size(stream: Buffer, config: SegmentConfig) -> tuple[int, int] | None:
    """Return rows and columns of a JPEG stream; None when its header is elsewhere, or does not tell the rows.

    None is also returned for lossless streams of other proportions, which are nothing but a run of samples.
    """
    if bytes(memoryview(stream).cast("B")[:2]) != _SOI:
        return None
    frame = read_frame(stream)
    is_picture = frame.rows > 0 and frame.components == config.samples and frame.columns <= config.columns
    return (frame.rows, frame.columns) if is_picture else None


def decode_jpeg(segment: Buffer, config: SegmentConfig) -> npt.NDArray[Any]:
    """Decode a JPEG segment, with the tables of the JPEGTables tag.

    The stream may be taller than the segment (a last strip is often written whole) or smaller (an edge tile
    without padding), but not wider.

    Returns
    -------
    numpy.ndarray
        Samples of shape (rows, columns, samples), RGB for photometric YCbCr; zeros where the stream is
        smaller.

    Raises
    ------
    DecodeError
        ``corrupt-segment``, ``short-segment``, or ``codec-config`` for a plane of subsampled YCbCr.
    """
    if config.samples == 1 and config.is_subsampled:
        msg = "planes of subsampled YCbCr have different sizes"
        raise DecodeError(msg, feature="codec-config")
    stream, tables = _stream(segment, config)
    frame = read_frame(stream)
    sizes = _sizes(frame, config)
    color, out_color = _colors(frame, config)
    try:
        samples: npt.NDArray[Any] = imagecodecs.jpeg8_decode(
            stream,
            tables=tables,
            colorspace=color,
            outcolorspace=out_color,
            shape=(config.rows, config.columns) if frame.rows == 0 else None,
        )
    except (imagecodecs.Jpeg8Error, ValueError) as error:
        msg = f"the JPEG stream does not decode: {error}"
        raise DecodeError(msg, feature="corrupt-segment") from error
    if samples.size != sizes[0] * sizes[1] * sizes[2]:
        msg = f"the JPEG stream decodes to shape {samples.shape}, not to {sizes}"
        raise DecodeError(msg, feature="corrupt-segment")
    return fit(samples.reshape(sizes), config)


def _stream(segment: Buffer, config: SegmentConfig) -> tuple[Buffer, bytes | None]:
    """Return the JPEG stream of a segment, and the tables that it lacks.

    Tables that do not end with an end of image are the header of a stream, up to and with that of its scan; then the
    segment is what lies between two restart markers.
    """
    tables = config.jpeg_tables
    if not tables or config.has_whole_tables or bytes(memoryview(segment).cast("B")[:2]) in (_SOI, b""):
        return segment, tables
    return b"".join((tables, segment, _EOI)), None


def _sizes(frame: Frame, config: SegmentConfig) -> tuple[int, int, int]:
    """Return rows, columns and samples of the decoded stream, or refuse what does not fit the segment."""
    rows = frame.rows or config.rows
    if frame.components == config.samples and frame.columns <= config.columns:
        check_size((rows, frame.columns), config)
        return rows, frame.columns, frame.components
    if frame.process == _LOSSLESS:
        # lossless DNG: a frame of other proportions is nothing but a run of samples
        row_samples = config.columns * config.samples
        total = rows * frame.columns * frame.components
        if total in (row_samples * config.rows, row_samples * (config.last_rows or config.rows)):
            return total // row_samples, config.columns, config.samples
    msg = (
        f"a JPEG stream of {frame.columns} x {rows} pixels and {frame.components} components "
        f"in a segment of {config.columns} x {config.rows} pixels and {config.samples} samples"
    )
    raise DecodeError(msg, feature="corrupt-segment")


def _colors(frame: Frame, config: SegmentConfig) -> tuple[str | None, str | None]:
    """Return the colour spaces of stream and result for libjpeg: equal ones mean no conversion."""
    if frame.process == _LOSSLESS or frame.components not in (1, 3, 4):
        return None, None
    if frame.components == 1:
        return "grayscale", "grayscale"
    if frame.components == 4:
        return ("ycck", "cmyk") if frame.adobe_transform == _YCCK else ("cmyk", "cmyk")
    if config.compression == JPEG and (config.photometric == _YCBCR or not frame.is_subsampled):
        return ("ycbcr" if config.photometric == _YCBCR else "rgb"), "rgb"
    is_rgb = config.photometric == _RGB and not frame.is_jfif
    return ("rgb" if is_rgb else None), "rgb"


STREAMS: Final[dict[int, Callable[[Buffer, SegmentConfig, int], Any]]] = {}
IMAGES: Final[dict[int, Callable[[Buffer, SegmentConfig], npt.NDArray[Any]]]] = {
    JPEG: decode_jpeg,
    ALT_JPEG: decode_jpeg,
    LOSSY_DNG: decode_jpeg,
}
