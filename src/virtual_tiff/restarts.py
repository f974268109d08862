"""Pages of Hamamatsu NDPI that are one JPEG stream too large to be decoded at once: as tiles between restart markers.

JPEG counts pixels with 16 bits, and libjpeg up to 65500, but NDPI writes a stream for a page of any size. Its restart
interval divides the rows of blocks, and a tag says where each interval starts: with the header of the stream, whose
frame gets the size of a tile, each decodes by itself. OpenSlide and tifffile read these pages in the same way. Chroma
that is subsampled is interpolated within each tile only.

References
----------
ITU-T T.81, annex B; https://openslide.org/formats/hamamatsu/.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from virtual_tiff.errors import UnsupportedError
from virtual_tiff.layout import MAX_SEGMENT_BYTES
from virtual_tiff.tiff.deferred import load_tags
from virtual_tiff.tiff.ifd import Ifd, TagEntry, TagMap
from virtual_tiff.tiff.protocol import Reader
from virtual_tiff.tiff.tags import Tags, TagType

_JPEG: Final = 7
_MAX_SIDE: Final = 65500
_HEAD_BYTES: Final = 1 << 16
_SOI, _DRI, _SOS = 0xD8, 0xDD, 0xDA
_FRAMES: Final = frozenset({0xC0, 0xC1})
_STARTS: Final = (Tags.NDPIMCUStarts, Tags.NDPIMCUStartsHighBytes)

type _Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Head:
    """What the header of a stream says: pixels of a block of the scan, blocks between restarts, place of the size."""

    columns: int
    rows: int
    interval: int
    size_at: int


def as_tiles(ifd: Ifd) -> Reader[Ifd]:
    """Describe a page that is one JPEG strip, too large to be decoded as a whole, by tags of tiles.

    Any other IFD is returned as it is.

    Raises
    ------
    UnsupportedError
        ``jpeg`` when the stream cannot be cut into tiles.
    """
    if not _is_too_large(ifd):
        return ifd
    loaded = yield from load_tags(ifd, [tag for tag in _STARTS if tag in ifd])
    starts = _starts(loaded)
    offset, length = ifd.integer(Tags.StripOffsets, 0), ifd.integer(Tags.StripByteCounts, 0)
    if starts is None or not 0 < starts[0] <= _HEAD_BYTES or starts[-1] >= length or (np.diff(starts) < 1).any():
        raise _refused(ifd, "no tag says where its restart intervals are")
    (stream,) = yield [(offset, offset + int(starts[0]))]
    head = _read_head(stream)
    if head is None or len(stream) < starts[0]:
        raise _refused(ifd, "its header has no baseline frame, restart interval and scan of all components")
    across = -(-ifd.integer(Tags.ImageWidth, 0) // head.columns)
    down = -(-ifd.integer(Tags.ImageLength, 0) // head.rows)
    if across % head.interval or across // head.interval * down != starts.size:
        raise _refused(ifd, f"{starts.size} restart intervals of {head.interval} blocks in {down} rows of {across}")
    columns, rows = head.interval * head.columns, head.rows
    if columns > _MAX_SIDE:
        raise _refused(ifd, f"its restart intervals are {columns} pixels wide")
    header = stream[: head.size_at] + struct.pack(">HH", rows, columns) + stream[head.size_at + 4 :]
    tags = {
        Tags.TileWidth: np.array([columns]),
        Tags.TileLength: np.array([rows]),
        Tags.TileOffsets: starts + offset,
        Tags.TileByteCounts: np.diff(starts, append=length),
    }
    return _with_tiles(ifd, tags, offset, header)


def _is_too_large(ifd: Ifd) -> bool:
    """Whether this is a page of one strip of JPEG in an NDPI file, which neither we nor libjpeg decode as a whole."""
    if Tags.NDPIFormat not in ifd or ifd.integer(Tags.Compression, 1) != _JPEG or Tags.TileWidth in ifd:
        return False
    width, height = ifd.integer(Tags.ImageWidth, 0), ifd.integer(Tags.ImageLength, 0)
    offsets = ifd.integers(Tags.StripOffsets)
    if offsets is None or offsets.size != 1 or not offsets[0]:
        return False
    return max(width, height) > _MAX_SIDE or width * height * ifd.integer(Tags.SamplesPerPixel, 1) > MAX_SEGMENT_BYTES


def _starts(ifd: Ifd) -> _Offsets | None:
    """Where the restart intervals start, counted from the start of the stream."""
    low, high = (ifd.integers(tag) for tag in _STARTS)
    if low is None or not low.size or (high is not None and high.size != low.size):
        return None
    return low if high is None else low + (high << 32)


def _read_head(stream: bytes) -> _Head | None:
    """Read the markers of a stream up to its scan; None when something that tiles need is missing."""
    at, interval, size_at, factors = 2, 0, 0, b""
    while stream[:2] == bytes([0xFF, _SOI]) and at + 4 <= len(stream) and stream[at] == 0xFF:
        marker, size = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        body = stream[at + 4 : at + 2 + size]
        if marker == _DRI and len(body) == 2:
            interval = int.from_bytes(body, "big")
        elif marker in _FRAMES and len(body) >= 9 and len(body) == 6 + 3 * body[5]:
            size_at, factors = at + 5, body[7::3]
        at += 2 + size
        if marker == _SOS:
            break
    else:
        return None
    is_whole = at == len(stream) and body[:1] == bytes([len(factors)])
    if not is_whole or not interval or not factors or any(not f >> 4 or not f & 15 for f in factors):
        return None
    if len(factors) == 1:  # the blocks of a single component are not put together
        return _Head(8, 8, interval, size_at)
    return _Head(8 * max(f >> 4 for f in factors), 8 * max(f & 15 for f in factors), interval, size_at)


def _with_tiles(ifd: Ifd, tags: Mapping[Tags, _Offsets], place: int, header: bytes) -> Ifd:
    """Return the IFD with tags of tiles in the place of those of the strip; they are said to stand where it begins."""
    strip = (Tags.StripOffsets, Tags.StripByteCounts, Tags.RowsPerStrip, Tags.JPEGTables)
    entries: dict[int, TagEntry] = {
        tag.code: (tag.type, tag.count, tag.offset, tag.raw) for tag in ifd.tags.values() if tag.code not in strip
    }
    for code, values in tags.items():
        raw = values.astype("<u8" if ifd.byte_order == "little" else ">u8").tobytes()
        entries[int(code)] = (int(TagType.LONG8), values.size, place, raw)
    entries[int(Tags.JPEGTables)] = (int(TagType.UNDEFINED), len(header), place, header)
    return replace(ifd, tags=TagMap(entries, ifd.byte_order))


def _refused(ifd: Ifd, reason: str) -> UnsupportedError:
    width, height = ifd.integer(Tags.ImageWidth, 0), ifd.integer(Tags.ImageLength, 0)
    found = f"{width} x {height} pixels in one JPEG stream, which is too large to be decoded as a whole: {reason}"
    hint = "Use a smaller level of the slide."
    return UnsupportedError(found, feature="jpeg", ifd=ifd.path, tag=Tags.NDPIMCUStarts, hint=hint)
