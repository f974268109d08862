"""Every IFD of a TIFF file, found by the shortest independent reader that survives damaged files.

The oracles and the library under test must speak of the same IFD, so neither may say which IFDs there are.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

type IfdPath = tuple[int, ...]

MAX_IFDS: Final = 20_000
MAX_VALUES: Final = 65_536
SUB_IFDS: Final = 330

_CODES: Final[dict[int, str]] = {
    1: "B",
    3: "H",
    4: "I",
    6: "b",
    7: "B",
    8: "h",
    9: "i",
    13: "I",
    16: "Q",
    17: "q",
    18: "Q",
}
_SIZES: Final[dict[int, int]] = {kind: struct.calcsize("<" + code) for kind, code in _CODES.items()}


@dataclass(frozen=True, slots=True)
class Page:
    """One IFD: its path, its position in the file, and the values of its integer tags."""

    path: IfdPath
    offset: int
    big_endian: bool
    tags: Mapping[int, tuple[int, ...]] = field(repr=False)

    @property
    def name(self) -> str:
        """The path as the ledger writes it: "3.0" is the first SubIFD of IFD 3."""
        return ".".join(map(str, self.path))

    def first(self, code: int, default: int) -> int:
        """First value of a tag, or the default."""
        values = self.tags.get(code)
        return values[0] if values else default

    @property
    def width(self) -> int:
        """ImageWidth, pixels."""
        return self.first(256, 0)

    @property
    def height(self) -> int:
        """ImageLength, pixels."""
        return self.first(257, 0)

    @property
    def bands(self) -> int:
        """SamplesPerPixel."""
        return self.first(277, 1)

    @property
    def bits(self) -> int:
        """BitsPerSample of the deepest band."""
        return max(self.tags.get(258, (1,))[: max(self.bands, 1)])

    @property
    def compression(self) -> int:
        """Compression."""
        return self.first(259, 1)

    @property
    def photometric(self) -> int:
        """PhotometricInterpretation; -1 when absent."""
        return self.first(262, -1)

    @property
    def sample_format(self) -> int:
        """SampleFormat of the first band."""
        return self.first(339, 1)

    @property
    def segment_offsets(self) -> tuple[int, ...]:
        """TileOffsets or StripOffsets, as far as they were read."""
        return self.tags.get(324) or self.tags.get(273) or ()

    @property
    def segment_counts(self) -> tuple[int, ...]:
        """TileByteCounts or StripByteCounts, as far as they were read."""
        return self.tags.get(325) or self.tags.get(279) or ()

    def summary(self) -> str:
        """The tags that decide how pixels decode, in one line for a triage."""
        names = {
            256: "w", 257: "h", 258: "bits", 259: "compr", 262: "photo", 266: "fill", 277: "spp", 278: "rps",
            284: "planar", 292: "t4", 317: "pred", 322: "tw", 323: "tl", 338: "extra", 339: "fmt", 530: "sub",
        }  # fmt: skip
        parts = ["MM" if self.big_endian else "II"]
        for code, label in names.items():
            values = self.tags.get(code)
            if values:
                shown = values[0] if len(set(values)) == 1 else "/".join(map(str, values[:6]))
                parts.append(f"{label}={shown}")
        sparse = sum(1 for count in self.segment_counts if count == 0)
        parts.append(f"segments={len(self.segment_offsets)}/{len(self.segment_counts)}")
        return " ".join(parts) + (f" empty={sparse}" if sparse else "")


@dataclass(frozen=True, slots=True)
class _Form:
    """How numbers stand in this file: classic or BigTIFF, little or big endian."""

    order: str
    big: bool

    @property
    def pointer(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.big else "I"))

    @property
    def entry_size(self) -> int:
        return 20 if self.big else 12


def walk(path: Path) -> tuple[Page, ...]:
    """Return all IFDs and SubIFDs (recursively), depth first; () for what is no TIFF."""
    data = path.read_bytes()
    form = _form(data)
    if form is None:
        return ()
    pages: list[Page] = []
    start = 8 if form.big else 4
    if len(data) < start + form.pointer.size:
        return ()
    _chain(data, form, form.pointer.unpack_from(data, start)[0], pages)
    return tuple(pages)


def _form(data: bytes) -> _Form | None:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return None
    magic = struct.unpack_from(order + "H", data, 2)[0]
    return _Form(order, magic == 43) if magic in (42, 43) else None


def _chain(data: bytes, form: _Form, offset: int, pages: list[Page]) -> None:
    """Follow the main chain; an IFD that was seen before ends it."""
    seen: set[int] = set()
    index = 0
    while 0 < offset < len(data) and offset not in seen and len(pages) < MAX_IFDS:
        following = _ifd(data, form, offset, (index,), pages, seen)
        if following is None:
            return
        offset = following
        index += 1


def _ifd(  # noqa: PLR0917
    data: bytes, form: _Form, offset: int, path: IfdPath, pages: list[Page], seen: set[int]
) -> int | None:
    """Read one IFD and its SubIFDs; return the offset of the next IFD, or None when this one is truncated."""
    seen.add(offset)
    counter = struct.Struct(form.order + ("Q" if form.big else "H"))
    if offset + counter.size > len(data):
        return None
    count = counter.unpack_from(data, offset)[0]
    first = offset + counter.size
    end = first + count * form.entry_size
    if count > 4096 or end > len(data):
        return None
    tags: dict[int, tuple[int, ...]] = {}
    for entry in range(first, end, form.entry_size):
        code, values = _tag(data, form, entry)
        if values is not None:
            tags.setdefault(code, values)
    pages.append(Page(path, offset, form.order == ">", tags))
    for number, child in enumerate(tags.get(SUB_IFDS, ())):
        if 0 < child < len(data) and child not in seen and len(pages) < MAX_IFDS:
            _ifd(data, form, child, (*path, number), pages, seen)
    return int(form.pointer.unpack_from(data, end)[0]) if end + form.pointer.size <= len(data) else 0


def _tag(data: bytes, form: _Form, entry: int) -> tuple[int, tuple[int, ...] | None]:
    """Values of an integer tag, or None for other types and for values outside of the file."""
    code, kind = struct.unpack_from(form.order + "HH", data, entry)
    count = form.pointer.unpack_from(data, entry + 4)[0]
    place = entry + 4 + form.pointer.size
    if kind not in _CODES:
        return code, None
    count = min(count, MAX_VALUES)
    if count * _SIZES[kind] > form.pointer.size:
        place = form.pointer.unpack_from(data, place)[0]
    if place + count * _SIZES[kind] > len(data):
        return code, None
    return code, struct.unpack_from(f"{form.order}{count}{_CODES[kind]}", data, place)
