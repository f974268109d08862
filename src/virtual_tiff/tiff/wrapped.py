"""Kinds of classic TIFF that outgrow their 32-bit offsets, each in a way of its own.

ScanImage up to 2015 wrote pages behind one another, whatever the size of the file: those below 4 GiB are read, and what
lies above is refused. tifffile finds it, because all pages of such a file have the same size.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import numpy as np

from virtual_tiff.errors import FormatError
from virtual_tiff.tiff.ifd import IfdPath, TagEntry
from virtual_tiff.tiff.tags import TYPE_DTYPES, Tags

GIANT: Final = 2**32
"""Size in bytes from which on offsets of 32 bits do not reach every place of a file."""

_KINDS: Final = {Tags.NDPIFormat: "Hamamatsu NDPI", Tags.LSMInfo: "Zeiss LSM"}


def refuse_wrapped(codes: Collection[int], path: IfdPath, size: int | None) -> None:
    """Refuse an IFD whose tags say that its offsets may not be what they look like: they would give other pixels.

    Raises
    ------
    FormatError
        ``wrapped-offsets``.
    """
    for tag, kind in _KINDS.items():
        if tag in codes:
            extent = "whose size is not known" if size is None else "of 4 GiB or more"
            found = f"a {kind} file {extent}, whose offsets are not written as TIFF says"
            raise FormatError(found, feature="wrapped-offsets", ifd=path, tag=tag)


SCANIMAGE_TEXTS: Final = (Tags.Software, Tags.ImageDescription)
"""The tags that tell files of ScanImage."""

_PLACES: Final = frozenset({3, 4, 13})  # SHORT, LONG, IFD
_MARKS: Final = (b"SI.", b"state.", b"scanimage.SI")


def is_scanimage(entries: Mapping[int, TagEntry]) -> bool:
    """Whether the texts of the first IFD are those of ScanImage."""
    software, description = (entries.get(code, (0, 0, 0, b""))[3] or b"" for code in SCANIMAGE_TEXTS)
    return software.startswith(_MARKS[0]) or description.startswith(_MARKS[1]) or _MARKS[2] in description[-256:]


def drop_wrapped(entries: dict[int, TagEntry], path: IfdPath, ifd: int, order: str) -> list[FormatError]:
    """Take out what lies so far before its IFD that its offset must have wrapped around, and return the problems."""
    problems = []
    for code, (kind, _, place, raw) in list(entries.items()):
        first = place
        if code == Tags.StripOffsets and raw and kind in _PLACES:
            first = int(np.frombuffer(raw, TYPE_DTYPES[kind].newbyteorder("<" if order == "little" else ">")).min())
        if min(first, place) < ifd - GIANT // 2:
            del entries[code]
            found = f"a ScanImage file of 4 GiB or more, whose IFD at {ifd} points at {min(first, place)}"
            problems.append(FormatError(found, feature="wrapped-offsets", ifd=path, tag=code))
    return problems
