"""Values of options that are lists in one text: bands, levels, areas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from virtual_tiff.errors import UsageError

if TYPE_CHECKING:
    from virtual_tiff.cube.select import Bounds, Window


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

    def fits(west: float, south: float, east: float, north: float) -> bool:
        return all(map(math.isfinite, (west, south, east, north))) and west < east and south < north

    return _four("--bounds", text, float, fits, hint)


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
    return _four("--window", text, int, lambda _col, _row, width, height: width > 0 and height > 0, hint)


def _four[T](
    option: str, text: str, read: Callable[[str], T], fits: Callable[[T, T, T, T], bool], hint: str
) -> tuple[T, T, T, T]:
    """Read four numbers that fit together."""
    try:
        one, two, three, four = map(read, text.split(","))
    except ValueError:
        raise _bad(option, text, hint) from None
    if not fits(one, two, three, four):
        raise _bad(option, text, hint)
    return one, two, three, four


def _bad(option: str, text: str, hint: str) -> UsageError:
    return UsageError(f"{option} {text!r} cannot be understood", feature="usage", hint=hint)
