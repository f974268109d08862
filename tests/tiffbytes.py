"""TIFF headers in memory: any tags and types, classic or Big, either byte order, SubIFDs, cycles."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

type Order = Literal["little", "big"]
type Path = tuple[int, ...]

FORMATS: Final[dict[int, str]] = {
    1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 6: "b", 7: "B", 8: "h", 9: "i", 10: "i", 11: "f", 12: "d",
    13: "I", 16: "Q", 17: "q", 18: "Q",
}  # fmt: skip
"""Format of one number of each field type; a rational has two of them per count."""

RATIONALS: Final = (5, 10)


@dataclass(frozen=True)
class Entry:
    """One tag.

    ``values`` are its numbers (two for each rational) or bytes. ``count`` and ``offset`` replace what would
    be right, for damaged files; with ``offset`` the values are not written.
    """

    code: int
    kind: int
    values: Sequence[int | float] | bytes
    count: int | None = None
    offset: int | None = None


@dataclass(frozen=True)
class Dir:
    """One IFD; each of ``subifds`` is a chain of IFDs. ``gap`` bytes stand in front of it (the pixels)."""

    entries: Sequence[Entry]
    subifds: Sequence[Sequence[Dir]] = ()
    gap: int = 0
    values_first: bool = False
    next_offset: int | None = None
    announced: int | None = None


@dataclass
class Built:
    """The bytes of a file, and where its IFDs stand by path (chained SubIFDs are numbered last)."""

    data: bytearray
    offsets: dict[Path, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Writer:
    order: Order
    bigtiff: bool
    built: Built

    def pack(self, code: str, *values: float) -> bytes:
        return struct.pack(("<" if self.order == "little" else ">") + code, *values)

    @property
    def pointer(self) -> str:
        return "Q" if self.bigtiff else "I"

    @property
    def width(self) -> int:
        return 8 if self.bigtiff else 4

    def payload(self, entry: Entry) -> bytes:
        if isinstance(entry.values, bytes):
            return entry.values
        return self.pack(f"{len(entry.values)}{FORMATS[entry.kind]}", *entry.values)

    def count(self, entry: Entry) -> int:
        if entry.count is not None:
            return entry.count
        return len(entry.values) // (2 if entry.kind in RATIONALS else 1)

    def patch(self, place: int, value: int) -> None:
        self.built.data[place : place + self.width] = self.pack(self.pointer, value)

    def chain(self, dirs: Sequence[Dir], place: int, paths: Sequence[Path]) -> None:
        """Write a chain of IFDs, whose first offset goes to ``place``."""
        for ifd, path in zip(dirs, paths, strict=True):
            place = self.ifd(ifd, place, path)

    def ifd(self, ifd: Dir, place: int, path: Path) -> int:
        """Write an IFD and what belongs to it; return where the offset of the next IFD goes."""
        data = self.built.data
        data.extend(bytes(ifd.gap + len(data) % 2))
        entries = list(ifd.entries)
        if ifd.subifds:
            entries.append(Entry(330, 18 if self.bigtiff else 13, [0] * len(ifd.subifds)))
            entries.sort(key=lambda entry: entry.code)
        payloads = [self.payload(entry) for entry in entries]
        places = [self._place(payload) for payload in payloads] if ifd.values_first else []
        offset = len(data)
        self.built.offsets[path] = offset
        self.patch(place, offset)
        announced = len(entries) if ifd.announced is None else ifd.announced
        data.extend(self.pack("Q" if self.bigtiff else "H", announced))
        table = len(data)
        size = 12 + 8 * self.bigtiff
        data.extend(bytes(size * len(entries)))
        following = len(data)
        data.extend(self.pack(self.pointer, ifd.next_offset or 0))
        subifds = 0
        for number, (entry, payload) in enumerate(zip(entries, payloads, strict=True)):
            start = table + number * size
            head = self.pack("HH" + self.pointer, entry.code, entry.kind, self.count(entry))
            data[start : start + len(head)] = head
            value_place = start + len(head)
            if entry.offset is not None:
                self.patch(value_place, entry.offset)
            elif len(payload) <= self.width:
                data[value_place : value_place + len(payload)] = payload
                subifds = value_place if entry.code == 330 else subifds
            else:
                value = places[number] if ifd.values_first else self._place(payload)
                self.patch(value_place, value)
                subifds = value if entry.code == 330 else subifds
        self._children(ifd, path, subifds)
        return following

    def _place(self, payload: bytes) -> int:
        if len(payload) <= self.width:
            return 0
        self.built.data.extend(bytes(len(self.built.data) % 2))
        offset = len(self.built.data)
        self.built.data.extend(payload)
        return offset

    def _children(self, ifd: Dir, path: Path, place: int) -> None:
        last = len(ifd.subifds)
        for number, chain in enumerate(ifd.subifds):
            paths = [(*path, number), *((*path, last + k) for k in range(len(chain) - 1))]
            last += len(chain) - 1
            self.chain(chain, place + number * self.width, paths)


def build(dirs: Sequence[Dir], *, order: Order = "little", bigtiff: bool = False, ghost: bytes = b"") -> Built:
    """Write a file. ``ghost`` stands right behind the header."""
    built = Built(bytearray())
    writer = _Writer(order, bigtiff, built)
    built.data += b"II" if order == "little" else b"MM"
    built.data += writer.pack("HHHQ", 43, 8, 0, 0) if bigtiff else writer.pack("HI", 42, 0)
    place = len(built.data) - writer.width
    built.data += ghost
    writer.chain(dirs, place, [(index,) for index in range(len(dirs))])
    return built


def image(width: int = 16, height: int = 16, *more: Entry, **options: object) -> Dir:
    """Return the IFD of a small grey image, whose only strip lies at the start of the file."""
    entries = [
        Entry(256, 4, [width]),
        Entry(257, 4, [height]),
        Entry(258, 3, [8]),
        Entry(259, 3, [1]),
        Entry(262, 3, [1]),
        Entry(273, 4, [8]),
        Entry(278, 4, [height]),
        Entry(279, 4, [min(width * height, 2**32 - 1)]),
        *more,
    ]
    return Dir(sorted(entries, key=lambda entry: entry.code), **options)  # type: ignore[arg-type]
