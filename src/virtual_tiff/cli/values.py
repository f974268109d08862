"""Values of options that are lists in one text: bands, levels, areas."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from virtual_tiff.errors import UsageError

if TYPE_CHECKING:
    from virtual_tiff.cube.select import Bounds, Window

_CORNERS = 4


def parse_bands(text: str | None) -> list[int | str] | None:
    """Read ``4,3,2`` or ``red,nir``.

    Raises
    ------
    UsageError
        ``usage`` when a band has no name.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise _bad("--bands", text, "Write numbers, from 1, or names: 4,3,2 or red,nir.")
    return [int(part) if part.isdecimal() else part for part in parts]


def parse_levels(text: str | None) -> list[int] | None:
    """Read ``0,2,3``.

    Raises
    ------
    UsageError
        ``usage`` when it is no list of numbers.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise _bad("--levels", text, "Write numbers, such as 0,1,2; 0 is the finest level.")
    return [int(part) for part in parts]


def parse_bounds(text: str | None) -> Bounds | None:
    """Read west, south, east and north.

    Raises
    ------
    UsageError
        ``usage`` when it is not four numbers in this order.
    """
    if text is None:
        return None
    hint = "Write west,south,east,north in units of the CRS, such as 500000,4590000,510000,4600000."
    try:
        west, south, east, north = (float(part) for part in _four(text))
    except ValueError:
        raise _bad("--bounds", text, hint) from None
    corners = (west, south, east, north)
    if not all(map(math.isfinite, corners)) or west >= east or south >= north:
        raise _bad("--bounds", text, hint)
    return corners


def parse_window(text: str | None) -> Window | None:
    """Read column, row, width and height.

    Raises
    ------
    UsageError
        ``usage`` when it is not four whole numbers, or an empty area.
    """
    if text is None:
        return None
    hint = "Write column,row,width,height in pixels, such as 0,0,512,512."
    try:
        col, row, width, height = (int(part) for part in _four(text))
    except ValueError:
        raise _bad("--window", text, hint) from None
    if width < 1 or height < 1:
        raise _bad("--window", text, hint)
    return (col, row, width, height)


def _four(text: str) -> list[str]:
    parts = text.split(",")
    if len(parts) != _CORNERS:
        raise ValueError
    return parts


def _bad(option: str, text: str, hint: str) -> UsageError:
    return UsageError(f"{option} {text!r} cannot be understood", feature="usage", hint=hint)
