"""Hamamatsu NDPI files of 4 GiB and more: classic TIFF whose offsets have 64 bits.

The header's offset of the first IFD has 8 bytes, and so has the offset of the next IFD behind the entries of an IFD.
Behind that stands one word of 32 bits for each entry: the high half of its value or offset. Arrays of offsets and byte
counts keep their low halves in the tags of TIFF, and their high halves in tags of Hamamatsu's own. Text never stands
inside an entry.

Smaller NDPI files are written in the same way, and read right without knowing of it: all high halves are zero.

References
----------
https://nanozoomer.hamamatsu.com/us/en/SDK-API/Our-file-format.html; https://openslide.org/formats/hamamatsu/;
tifffile and Bio-Formats read these files too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct
from typing import Final

import numpy as np

from virtual_tiff.errors import FormatError
from virtual_tiff.tiff.ifd import IfdPath, TagEntry
from virtual_tiff.tiff.protocol import Reader
from virtual_tiff.tiff.tags import TYPE_SIZES, Tags, TagType

ENTRY: Final = Struct("<HHI4s")
COUNTER: Final = Struct("<H")
POINTER: Final = Struct("<Q")

HIGH_TAGS: Final = {
    Tags.StripOffsets: Tags.NDPIOffsetHighBytes,
    Tags.TileOffsets: Tags.NDPIOffsetHighBytes,
    Tags.StripByteCounts: Tags.NDPIByteCountHighBytes,
    Tags.TileByteCounts: Tags.NDPIByteCountHighBytes,
}
"""The tags that hold the high halves of arrays, by the tags that hold the low ones."""

_MARKS: Final = frozenset({int(Tags.NDPIFormat), int(Tags.Make)})
_WIDER: Final = {
    int(TagType.LONG): int(TagType.LONG8),
    int(TagType.SLONG): int(TagType.SLONG8),
    int(TagType.IFD): int(TagType.IFD8),
}
_GUESS: Final = 1024
_MAX_ENTRIES: Final = 4096

type Row = tuple[int, int, int, bytes]
"""Code, type and count of an entry, and the 8 bytes of its value or offset."""


def tail_bytes(count: int) -> int:
    """Return how many bytes follow the entries of an IFD of so many: the offset of the next one, and high halves."""
    return POINTER.size + 4 * count


def rows(buffer: bytes, first: int, table_end: int) -> list[Row]:
    """Return the entries of an IFD with both halves of their values; the buffer holds its tail in full."""
    places = range(table_end + POINTER.size, len(buffer), 4)
    entries = ENTRY.iter_unpack(buffer[first:table_end])
    return [
        (code, kind, number, low + buffer[place : place + 4])
        for (code, kind, number, low), place in zip(entries, places, strict=False)
    ]


def first_ifd(head: bytes, size: int) -> Reader[int | None]:
    """Return the offset of the first IFD, or None when this is no NDPI file.

    The 64-bit offset must lead to an IFD with the marks of NDPI, all of whose values lie inside of the file.

    Raises
    ------
    FormatError
        ``wrapped-offsets`` when an IFD with the marks of NDPI does not keep its high halves where it should.
    """
    offset = int.from_bytes(head[4:12], "little")
    if len(head) < 12 or not 8 <= offset < size:
        return None
    (buffer,) = yield [(offset, offset + _GUESS)]
    count = int.from_bytes(buffer[: COUNTER.size], "little")
    if not 0 < count <= _MAX_ENTRIES:
        return None
    table_end = COUNTER.size + count * ENTRY.size
    end = table_end + tail_bytes(count)
    if len(buffer) < end:
        (buffer,) = yield [(offset, offset + end)]
    codes = {code for code, *_ in ENTRY.iter_unpack(buffer[COUNTER.size : table_end])} if len(buffer) >= end else set()
    if not codes >= _MARKS:
        return None
    for code, kind, number, value in rows(buffer, COUNTER.size, table_end):
        nbytes = TYPE_SIZES.get(kind, 0) * number
        if nbytes > 4 and int.from_bytes(value, "little") + nbytes > size:
            found = f"a Hamamatsu NDPI file of 4 GiB or more, but the high halves of its {count} offsets are not there"
            raise FormatError(found, feature="wrapped-offsets", ifd=(0,), tag=code)
    return offset


def widen(entries: dict[int, TagEntry], buffer: bytes, first: int, table_end: int) -> None:
    """Replace single integers that stand in an entry, and need 64 bits, by such ones."""
    of_code = {code: (kind, number, value) for code, kind, number, value in reversed(rows(buffer, first, table_end))}
    for code, (kind, number, value) in of_code.items():
        if number == 1 and kind in _WIDER and any(value[4:]) and code in entries:
            entries[code] = (_WIDER[kind], 1, entries[code][2], value)


def halves(entries: Mapping[int, TagEntry]) -> Iterator[int]:
    """Yield the tags whose arrays hold low halves only, and those of the high halves."""
    for code, high in HIGH_TAGS.items():
        if code in entries and _is_halved(entries[code]):
            yield from (code, high)


def complete(entries: dict[int, TagEntry], path: IfdPath) -> list[FormatError]:
    """Join the halves of arrays of offsets and byte counts; return what is wrong with those that are left out."""
    problems = []
    for code, high in HIGH_TAGS.items():
        if code not in entries or not _is_halved(entries[code]):
            continue
        _, count, place, low = entries[code]
        kind, highs, _, raw = entries.get(high, (0, 0, 0, None))
        if kind == TagType.LONG and highs == count and low is not None and raw is not None:
            joined = np.stack([np.frombuffer(low, "<u4"), np.frombuffer(raw, "<u4")], axis=1).tobytes()
            entries[code] = (int(TagType.LONG8), count, place, joined)
        elif code in (Tags.StripOffsets, Tags.TileOffsets):
            del entries[code]
            found = f"{count} offsets of 32 bits in a Hamamatsu NDPI file of 4 GiB or more, without their high halves"
            problems.append(FormatError(found, feature="wrapped-offsets", ifd=path, tag=code))
    return problems


def _is_halved(entry: TagEntry) -> bool:
    return entry[0] == TagType.LONG and entry[1] > 1
