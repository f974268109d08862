"""Kinds of classic TIFF that outgrow their 32-bit offsets, each in a way of its own."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from virtual_tiff.errors import FormatError
from virtual_tiff.tiff.ifd import IfdPath
from virtual_tiff.tiff.tags import Tags

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
