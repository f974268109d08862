"""The leading axes of a cube: where along time, and along axes that names or catalogues give, each file belongs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from virtual_tiff.cube.axes import Axis, AxisValue, axis_value
from virtual_tiff.cube.blueprint import AxisPlan, Cell
from virtual_tiff.cube.conform import short_names
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.standing_axis import StandingAxis
from virtual_tiff.cube.times import as_utc, parse_tiff_time
from virtual_tiff.errors import ConformError, FormatError, UsageError

type TimeSource = Literal["auto", "keys", "tag"] | Callable[[str], datetime]
"""Where the time of a file comes from.

"keys" is what a catalogue or a pattern of names says, "tag" the DateTime tag (306) of the file, "auto" the former or
else the latter. A function gets the URL of the file. Times without a zone are in UTC.
"""

TIME: Final = "time"

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


def _key(header: FileHeader, key: str) -> AxisValue | None:
    value = header.keys.get(key)
    return None if value is None else axis_value(value, key)


def check_time_source(source: object) -> None:
    """Refuse what is no source of times.

    Raises
    ------
    UsageError
        ``usage``.
    """
    if not callable(source) and source not in _SOURCES:
        raise UsageError(f"time={source!r}", feature="usage", hint="Choose 'auto', 'keys', 'tag' or a function.")


def find_time(header: FileHeader, source: TimeSource) -> datetime | None:
    """Return the time of a file, in UTC, or None when it has none.

    Raises
    ------
    UsageError
        ``usage`` when ``source`` is none of the choices, or a function returns no time.
    FormatError
        ``bad-time`` when the DateTime tag states no moment.
    """
    if callable(source):
        value: object = source(header.url)
        if value is None or not isinstance(found := axis_value(value, TIME), datetime):
            raise UsageError(f"the function for times returned {value!r}", feature="usage", url=header.url)
        return found
    check_time_source(source)
    if source != "tag":
        told = header.time or header.keys.get(TIME)
        if isinstance(told, datetime):
            return as_utc(told)
    return None if source == "keys" else _tagged_time(header)


def _tagged_time(header: FileHeader) -> datetime | None:
    text = header.metadata.tags.get("TIFFTAG_DATETIME")
    if text is None:
        return None
    try:
        return parse_tiff_time(text)
    except FormatError as error:
        raise error.at(url=header.url, tag=306) from None


def label_axes(
    axes: Axes,
    cells: Sequence[Cell],
    *,
    known: Sequence[StandingAxis] = (),
    presize: Mapping[str, Sequence[AxisValue]] | None = None,
) -> tuple[tuple[AxisPlan, ...], Mapping[Cell, tuple[int, ...]]]:
    """Put the labels that occur along each axis into order.

    Parameters
    ----------
    axes, cells
        The axes, and where files stand on them.
    known
        The axes as they are already, when there are arrays.
    presize
        Values that axes get beside those of the files.

    Returns
    -------
    tuple of AxisPlan
        The axes.
    dict
        The index of each cell.

    Raises
    ------
    ConformError
        ``conform`` when the labels of an axis are of several kinds.
    UsageError
        ``usage`` for a presized axis that is none.
    """
    unknown = set(presize or ()) - set(axes.names)
    if unknown:
        found_text = f"presize names {', '.join(sorted(unknown))}, which is no axis"
        hint = f"The axes are {', '.join(axes.names) or 'none'}. Fields and properties become some by axes= (--axis)."
        raise UsageError(found_text, feature="usage", hint=hint)
    plans: list[AxisPlan] = []
    positions: list[Mapping[Hashable, int]] = []
    for number, name in enumerate(axes.names):
        labels = dict.fromkeys(cell[number] for cell in cells)
        if known:
            plan, where = known[number].extend(labels)
        else:
            early = [axis_value(value, name) for value in (presize or {}).get(name, ())]
            axis = Axis.of(name, dict.fromkeys([*early, *labels]), ordered=axes.sort)
            plan = AxisPlan(name=name, values=axis.encode(), attributes=axis.attributes)
            where = {value: at for at, value in enumerate(axis.values)}
        plans.append(plan)
        positions.append(where)
    index = {cell: tuple(where[label] for where, label in zip(positions, cell, strict=True)) for cell in set(cells)}
    return tuple(plans), index


def _label(value: object) -> str:
    return value.replace(tzinfo=None).isoformat() if isinstance(value, datetime) else str(value)
