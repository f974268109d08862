"""The leading axes of a cube: where along time, and along axes that names or catalogues give, each file belongs."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from virtual_tiff.cube.blueprint import texts
from virtual_tiff.cube.conform import short_names
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.mosaic import Cell
from virtual_tiff.errors import ConformError, UsageError
from virtual_tiff.geo.coordinate import Coordinate

type TimeSource = Literal["auto", "keys", "tag"] | Callable[[str], datetime]
"""Where the time of a file comes from.

"keys" is what a catalogue or a pattern of names says, "tag" the DateTime tag (306) of the file, "auto" the former or
else the latter. A function gets the URL of the file. Times without a zone are in UTC.
"""

TIME: Final = "time"

TIME_ATTRIBUTES: Final = {
    "units": "microseconds since 1970-01-01",
    "calendar": "proleptic_gregorian",
}
"""Units that never change, so that what is appended means the same."""

_TIME_AXIS: Final = {"standard_name": "time", "axis": "T"}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DATE_TIME_TAG: Final = re.compile(r"\s*(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)\s*")
_MAX_NAMES: Final = 3
_SOURCES: Final[tuple[TimeSource, ...]] = ("auto", "keys", "tag")


@dataclass(frozen=True, slots=True)
class Axes:
    """The names of the leading axes, and the labels of each file along them; unless ``sort``, in the order given."""

    names: tuple[str, ...]
    cells: tuple[Cell, ...]
    sort: bool = True

    def tell(self, cell: Cell) -> str:
        """Say where a cell is: ``" at time 2024-05-01T00:00:00, band B04"``; nothing without axes."""
        parts = [f"{name} {_label(value)}" for name, value in zip(self.names, cell, strict=True)]
        return f" at {', '.join(parts)}" if parts else ""


def find_axes(headers: Sequence[FileHeader], *, time: TimeSource | None, keys: Sequence[str]) -> Axes:
    """Find the time and the keys of each file.

    Parameters
    ----------
    headers
        The files.
    time
        Where their times come from; None for a cube without a time axis.
    keys
        Names of further axes, which are keys of the headers.

    Raises
    ------
    ConformError
        ``conform`` when a file lacks a time or a key.
    UsageError
        ``usage`` when ``time`` is none of the choices, or an axis is named twice.
    """
    names = (*((TIME,) if time is not None else ()), *keys)
    if len(set(names)) < len(names):
        raise UsageError(f"the axes {list(names)} name one axis twice", feature="usage")
    columns: list[list[Hashable]] = []
    if time is not None:
        times = [find_time(header, time) for header in headers]
        hint = "Give a pattern of file names, or a function from URL to time."
        _check_found(headers, times, "no time", hint)
        columns.append(list(times))
    for key in keys:
        column = [_key(header, key) for header in headers]
        _check_found(headers, column, f"no key {key!r}", "Give a pattern of file names that has it.")
        columns.append(list(column))
    cells = tuple(zip(*columns, strict=True)) if columns else ((),) * len(headers)
    return Axes(names, cells)


def _check_found(headers: Sequence[FileHeader], values: Sequence[object], what: str, hint: str) -> None:
    missing = [header.place.plain for header, value in zip(headers, values, strict=True) if value is None]
    if missing:
        more = f" and {len(missing) - _MAX_NAMES} more" if len(missing) > _MAX_NAMES else ""
        verb = "has" if len(missing) == 1 else "have"
        found = f"{', '.join(short_names(missing)[:_MAX_NAMES])}{more} {verb} {what}"
        raise ConformError(found, feature="conform", hint=hint)


def _key(header: FileHeader, key: str) -> str | int | float | datetime | None:
    value = header.keys.get(key)
    return aware(value) if isinstance(value, datetime) else value


def find_time(header: FileHeader, source: TimeSource) -> datetime | None:
    """Return the time of a file, in UTC, or None when it has none.

    Raises
    ------
    UsageError
        ``usage`` when ``source`` is none of the choices, or a function returns no time.
    """
    if callable(source):
        value = source(header.url)
        if not isinstance(value, datetime):
            raise UsageError(f"the function for times returned {value!r}", feature="usage", url=header.url)
        return aware(value)
    if source not in _SOURCES:
        raise UsageError(f"time={source!r}", feature="usage", hint="Choose 'auto', 'keys', 'tag' or a function.")
    if source != "tag":
        told = header.time or header.keys.get(TIME)
        if isinstance(told, datetime):
            return aware(told)
    return None if source == "keys" else _tagged_time(header)


def _tagged_time(header: FileHeader) -> datetime | None:
    """The DateTime tag, which TIFF writes as ``YYYY:MM:DD HH:MM:SS`` and others with hyphens."""
    match = _DATE_TIME_TAG.fullmatch(header.metadata.tags.get("TIFFTAG_DATETIME", ""))
    if match is None:
        return None
    try:
        year, month, day, hour, minute, second = map(int, match.groups())
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:  # such as month 0
        return None


def aware(time: datetime) -> datetime:
    """A time in UTC; one without a zone is taken to be in UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def encode_time(times: Sequence[datetime]) -> npt.NDArray[np.int64]:
    """Times as whole microseconds since 1970-01-01 UTC, which is exact."""
    return np.array([(aware(time) - _EPOCH) // timedelta(microseconds=1) for time in times], np.int64)


def label_axes(axes: Axes, cells: Sequence[Cell]) -> tuple[tuple[Coordinate, ...], Mapping[Cell, tuple[int, ...]]]:
    """Put the labels that occur along each axis into order.

    Returns
    -------
    tuple of Coordinate
        The axes.
    dict
        The index of each cell.
    """
    coordinates, positions = [], []
    for number, name in enumerate(axes.names):
        seen = dict.fromkeys(cell[number] for cell in cells)
        values = _sorted(set(seen)) if axes.sort else list(seen)
        coordinates.append(_coordinate(name, values))
        positions.append({value: position for position, value in enumerate(values)})
    index = {cell: tuple(where[label] for where, label in zip(positions, cell, strict=True)) for cell in set(cells)}
    return tuple(coordinates), index


def _sorted(values: set[Hashable]) -> list[Any]:
    kinds = {type(value) for value in values}
    if kinds <= {int, float} or len(kinds) == 1:
        return sorted(values)
    return sorted(values, key=_label)


def _coordinate(name: str, values: Sequence[Any]) -> Coordinate:
    kinds = {type(value) for value in values}
    if kinds == {datetime}:
        return Coordinate(name, (name,), encode_time(values), TIME_ATTRIBUTES | (_TIME_AXIS if name == TIME else {}))
    if kinds == {int}:
        return Coordinate(name, (name,), np.array(values, np.int64))
    if kinds <= {int, float}:
        return Coordinate(name, (name,), np.array(values, np.float64))
    return Coordinate(name, (name,), texts(map(_label, values)))


def _label(value: object) -> str:
    if isinstance(value, datetime):
        return aware(value).replace(tzinfo=None).isoformat()
    return value.isoformat() if isinstance(value, date) else str(value)
