"""Values of tags that merely describe: what is damaged, deferred or of the wrong type counts as absent."""

from __future__ import annotations

import numpy as np

from virtual_tiff.errors import VirtualTiffError
from virtual_tiff.tiff.ifd import Ifd, Tag
from virtual_tiff.tiff.tags import TYPE_DTYPES, TagType

_NO_NUMBERS = frozenset({int(TagType.ASCII), int(TagType.UNDEFINED)})


def integer(ifd: Ifd, code: int, default: int) -> int:
    """Return the first value of an integer tag."""
    try:
        return ifd.integer(code, default)
    except VirtualTiffError:
        return default


def integers(ifd: Ifd, code: int) -> tuple[int, ...]:
    """Return all values of an integer tag."""
    try:
        values = ifd.integers(code)
    except VirtualTiffError:
        return ()
    return () if values is None else tuple(values.tolist())


def doubles(tag: Tag | None) -> tuple[float, ...]:
    """Return the numbers of a tag; rationals are divided out, by zero too."""
    if tag is None or tag.raw is None or tag.type in _NO_NUMBERS or tag.type not in TYPE_DTYPES:
        return ()
    values = tag.array()
    if values.ndim == 2:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = values[:, 0].astype(np.float64) / values[:, 1].astype(np.float64)
    return tuple(values.astype(np.float64).tolist())
