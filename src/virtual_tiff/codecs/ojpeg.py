"""Old-style JPEG (compression 6): headers built from the tags, and the decoder for header plus segment.

A builder calls :func:`header_from_tables` or :func:`header_from_stream` once per IFD; the result is the
``jpeg_tables`` of the configuration, and every segment decodes by itself: header, the bytes of the segment,
end of image. A segment that is a whole JPEG stream needs no header.

Colours of assembled streams follow libtiff's RGBA interface, the only one that reads them: chroma is
repeated, not interpolated, and YCbCrCoefficients and ReferenceBlackWhite hold. A segment that is a whole
stream decodes as any JPEG file does.

References
----------
TIFF 6, section 22, and TIFF Technical Note 2, which says why it was replaced; ITU-T T.81, annex B.
"""

from __future__ import annotations

import struct
from collections.abc import Buffer, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import imagecodecs
import numpy.typing as npt

from virtual_tiff.codecs import ycbcr
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.images import check_size, fit
from virtual_tiff.codecs.jpeg import read_frame
from virtual_tiff.errors import DecodeError, UnsupportedError

OLD_JPEG: Final = 6
_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SOS: Final = 0xDA
_SCAN: Final = bytes([0xFF, _SOS])
_FRAMES: Final = {0xC0, 0xC1, 0xC2}
_BARE: Final = {0x01, *range(0xD0, 0xD8), 0xD8}
_YCBCR: Final = 6


@dataclass(frozen=True, slots=True)
class StreamHead:
    """Where the parts of a JPEG stream lie, counted from its start; None where there is no such part.

    ``frame`` is the place of the marker of the frame header, ``scan`` that of the first byte of entropy-coded
    data.
    """

    frame: int | None
    scan: int | None


def read_head(stream: Buffer) -> StreamHead:
    """Walk the markers of a JPEG stream, or of its first bytes, up to its first scan."""
    octets = memoryview(stream).cast("B")
    at, frame = 0, None
    while at + 4 <= len(octets) and octets[at] == 0xFF:
        marker = octets[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _BARE:
            at += 2
        elif marker == _EOI[1]:
            break
        else:
            frame = at if marker in _FRAMES else frame
            at += 2 + (octets[at + 2] << 8 | octets[at + 3])
            if marker == _SOS:
                return StreamHead(frame, at if at <= len(octets) else None)
    return StreamHead(frame, None)


def header_from_tables(
    *,
    columns: int,
    rows: int,
    subsampling: tuple[int, int],
    quantization: Sequence[bytes],
    dc: Sequence[bytes],
    ac: Sequence[bytes],
    restart_interval: int = 0,
    samples: int = 3,
) -> bytes:
    """Build the header of a segment from the tables that JPEGQTables, JPEGDCTables and JPEGACTables point at.

    Parameters
    ----------
    columns, rows
        Pixels of a full segment; a short last strip uses the same header.
    subsampling
        Columns and rows of luma per chroma sample; (1, 1) when there is one sample.
    quantization
        64 bytes for each component, as they stand in the file.
    dc, ac
        Huffman tables for each component: 16 counts, then as many values as they add up to; longer ones are
        cut.
    restart_interval
        Value of JPEGRestartInterval, 0 when absent.
    samples
        Components: 1, or 3.

    Raises
    ------
    UnsupportedError
        ``old-jpeg`` when the tables are incomplete.
    """
    if not quantization or not dc or not ac or samples not in (1, 3):
        found = f"{len(quantization)}, {len(dc)} and {len(ac)} tables of old JPEG, {samples} components"
        raise UnsupportedError(found, feature="old-jpeg")
    tables = [_marker(0xDB, bytes([i]) + _cut(table, 64)) for i, table in enumerate(quantization[:samples])]
    for kind, huffman in ((0, dc), (1, ac)):
        tables += [_marker(0xC4, bytes([kind << 4 | i]) + _huffman(t)) for i, t in enumerate(huffman[:samples])]
    if restart_interval:
        tables.append(_marker(0xDD, struct.pack(">H", restart_interval)))
    across, down = subsampling if samples == 3 else (1, 1)
    frame, scan = b"", b""
    for i in range(samples):
        factors = across << 4 | down if i == 0 else 0x11
        frame += bytes([i + 1, factors, min(i, len(quantization) - 1)])
        scan += bytes([i + 1, min(i, len(dc) - 1) << 4 | min(i, len(ac) - 1)])
    size = struct.pack(">BHHB", 8, rows, columns, samples)
    return b"".join([
        _SOI, *tables, _marker(0xC0, size + frame), _marker(_SOS, bytes([samples]) + scan + b"\0\x3f\0")
    ])  # fmt: skip


def header_from_stream(stream: bytes, *, columns: int, rows: int) -> bytes:
    """Cut the header out of the stream at JPEGInterchangeFormat, for segments of entropy-coded data only.

    Parameters
    ----------
    stream
        The stream, or its first bytes up to the first scan.
    columns, rows
        Pixels of a full segment: strips have a frame of their own size.

    Returns
    -------
    bytes
        Everything before the first scan, or the tables when there is none.

    Raises
    ------
    UnsupportedError
        ``old-jpeg`` when this is no JPEG stream, or the segments do not end on its blocks.
    """
    head = read_head(stream)
    if not stream.startswith(_SOI):
        found = f"JPEGInterchangeFormat points at {stream[:2].hex()}, not at a JPEG stream"
        raise UnsupportedError(found, feature="old-jpeg")
    if head.scan is None:
        return stream[: stream.rfind(_EOI)] if stream.endswith(_EOI) else stream
    if head.frame is None:
        found = "the JPEG stream has a scan without a frame"
        raise UnsupportedError(found, feature="old-jpeg")
    header = bytearray(stream[: head.scan])
    size = struct.pack(">HH", rows, columns)
    header[head.frame + 5 : head.frame + 9] = size
    return bytes(header)


def scan_header(segment: bytes) -> bytes:
    """Return the header of a scan that a segment begins with; nothing when it begins otherwise."""
    return segment[: 2 + int.from_bytes(segment[2:4])] if segment.startswith(_SCAN) else b""


def block_rows(header: bytes) -> int:
    """Return the pixel rows of a row of blocks: strips of another height cannot be decoded each by itself."""
    head = read_head(header)
    if head.frame is None:
        return 8
    components = header[head.frame + 9]
    first = head.frame + 10
    return 8 * max((header[first + 3 * i + 1] & 15 for i in range(components)), default=1)


def decode_ojpeg(segment: Buffer, config: SegmentConfig) -> npt.NDArray[Any]:
    """Decode a segment of old-style JPEG.

    Returns
    -------
    numpy.ndarray
        uint8 samples of shape (rows, columns, samples): RGB for photometric YCbCr, else as stored.

    Raises
    ------
    DecodeError
        ``corrupt-segment``, or ``short-segment`` for an empty segment.
    """
    stream = _stream(segment, config)
    frame = read_frame(stream)
    check_size((frame.rows, frame.columns), config)
    if frame.components != config.samples:
        msg = f"a JPEG stream of {frame.components} components in a segment of {config.samples} samples"
        raise DecodeError(msg, feature="corrupt-segment")
    assembled = bool(config.jpeg_tables)
    is_color = config.photometric == _YCBCR and frame.components == 3
    space = {1: "grayscale", 3: "ycbcr", 4: "cmyk"}.get(frame.components)
    try:
        samples: npt.NDArray[Any] = imagecodecs.jpeg8_decode(
            stream,
            colorspace=space if assembled or not is_color else None,
            outcolorspace="rgb" if is_color and not assembled else space,
            fancyupsampling=not assembled,
        )
    except (imagecodecs.Jpeg8Error, ValueError) as error:
        msg = f"the old-style JPEG stream does not decode: {error}"
        raise DecodeError(msg, feature="corrupt-segment") from error
    samples = samples.reshape(frame.rows, frame.columns, frame.components)
    if is_color and assembled and samples.dtype.itemsize == 1:
        samples = ycbcr.to_rgb(samples, config.ycbcr_coefficients, config.reference_black_white)
    return fit(samples, config)


def _stream(segment: Buffer, config: SegmentConfig) -> bytes:
    """Put header, segment and end of image together."""
    octets = bytes(segment)
    if not octets:
        msg = "the segment of old-style JPEG is empty"
        raise DecodeError(msg, feature="short-segment")
    if config.jpeg_tables:
        octets = octets.removeprefix(_SOI)
        repeated = octets.startswith(_SCAN) and read_head(config.jpeg_tables).scan is not None
        octets = config.jpeg_tables + octets[len(scan_header(octets)) if repeated else 0 :]
    return octets + _EOI


def _marker(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _cut(table: bytes, size: int) -> bytes:
    if len(table) < size:
        found = f"a JPEG table of {len(table)} bytes, {size} are needed"
        raise UnsupportedError(found, feature="old-jpeg")
    return table[:size]


def _huffman(table: bytes) -> bytes:
    return _cut(table, 16 + sum(_cut(table, 16)[:16]))


STREAMS: Final[dict[int, Callable[[Buffer, SegmentConfig, int], Any]]] = {}
IMAGES: Final[dict[int, Callable[[Buffer, SegmentConfig], npt.NDArray[Any]]]] = {OLD_JPEG: decode_ojpeg}
