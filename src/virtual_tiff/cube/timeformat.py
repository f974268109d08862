"""Moments in names of files: the directives of ``strptime`` that have digits or English months.

It is not ``datetime.strptime`` because that follows the locale, takes one digit where two are meant, and cannot
join a year from a folder with a day from a file name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final

from virtual_tiff.cube.times import as_utc, parse_offset
from virtual_tiff.errors import FormatError, UsageError

_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)


@dataclass(frozen=True, slots=True)
class _Directive:
    """What a directive looks like, its least and most characters, and the unit of its number."""

    regex: str
    least: int
    most: int
    unit: str


_DIRECTIVES: Final[Mapping[str, _Directive]] = {
    "Y": _Directive("[0-9]{4}", 4, 4, "year"),
    "y": _Directive("[0-9]{2}", 2, 2, "short year"),
    "m": _Directive("0[1-9]|1[0-2]", 2, 2, "month"),
    "b": _Directive("|".join(name[:3] for name in _MONTHS), 3, 3, "month"),
    "B": _Directive("|".join(_MONTHS), 3, 9, "month"),
    "d": _Directive("0[1-9]|[12][0-9]|3[01]", 2, 2, "day"),
    "j": _Directive("[0-3][0-9]{2}", 3, 3, "day of year"),
    "H": _Directive("[01][0-9]|2[0-3]", 2, 2, "hour"),
    "M": _Directive("[0-5][0-9]", 2, 2, "minute"),
    "S": _Directive("[0-5][0-9]", 2, 2, "second"),
    "f": _Directive("[0-9]{1,6}", 1, 6, "microsecond"),
    "z": _Directive("Z|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?", 1, 6, "offset"),
}
_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "month": ("year", "short year"),
    "day of year": ("year", "short year"),
    "day": ("month",),
    "hour": ("day", "day of year"),
    "minute": ("hour",),
    "second": ("minute",),
    "microsecond": ("second",),
    "offset": ("hour",),
}
_EXCLUDED: Final = {"day of year": ("month", "day")}

type Pieces = tuple[tuple[str, int], ...]
"""Units and their numbers, sorted by unit; an offset is in minutes."""


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """A compiled format, such as ``%Y%m%dT%H%M%S``; ``least`` and ``most`` are its width in characters."""

    text: str
    regex: re.Pattern[str]
    directives: tuple[str, ...]
    least: int
    most: int

    @property
    def units(self) -> frozenset[str]:
        """What the format states: "year", "month" and so on."""
        return frozenset(_DIRECTIVES[name].unit for name in self.directives)

    @lru_cache(maxsize=4096)  # noqa: B019 (a format is a small value, and the files of a day share it)
    def pieces(self, text: str) -> Pieces | None:
        """Take a text apart, or return None when it does not have the format."""
        match = self.regex.fullmatch(text)
        if match is None:
            return None
        return join_pieces(
            (_DIRECTIVES[name].unit, _number(name, part))
            for name, part in zip(self.directives, match.groups(), strict=True)
        )


def compile_format(text: str) -> TimeFormat:
    """Compile the format of a moment.

    Raises
    ------
    UsageError
        ``usage`` when a directive is not known.
    """
    regex, directives, least, most = "", [], 0, 0
    for part in re.findall(r"%.?|[^%]+", text, re.DOTALL):
        if part[0] != "%" or part == "%%":
            plain = "%" if part == "%%" else part
            regex, least, most = regex + re.escape(plain), least + len(plain), most + len(plain)
            continue
        directive = _DIRECTIVES.get(part[1:])
        if directive is None:
            known = " ".join(f"%{name}" for name in _DIRECTIVES)
            raise UsageError(
                f"{part!r} in the time format {text!r} is not known", feature="usage", hint=f"Known: {known}."
            )
        directives.append(part[1:])
        regex, least, most = f"{regex}({directive.regex})", least + directive.least, most + directive.most
    return TimeFormat(text, re.compile(regex, re.IGNORECASE | re.ASCII), tuple(directives), least, most)


def check_units(units: frozenset[str], where: str) -> None:
    """Check that units make a moment together.

    Raises
    ------
    UsageError
        ``usage`` when a larger unit is missing, or units contradict one another.
    """
    if not units & {"year", "short year"}:
        raise UsageError(f"{where} states no year", feature="usage", hint="Add %Y or %y.")
    for unit, needed in _NEEDS.items():
        if unit in units and not units.intersection(needed):
            raise UsageError(f"{where} states the {unit} without the {needed[0]}", feature="usage")
    for unit, excluded in _EXCLUDED.items():
        if unit in units and units.intersection(excluded):
            raise UsageError(f"{where} states both the {unit} and the {excluded[0]}", feature="usage")


def join_pieces(pieces: Iterable[tuple[str, int]]) -> Pieces | None:
    """Join pieces of one moment, or return None when two of them contradict each other."""
    joined: dict[str, int] = {}
    for unit, number in pieces:
        if joined.setdefault(unit, number) != number:
            return None
    return tuple(sorted(joined.items()))


@lru_cache(maxsize=4096)
def moment_of(pieces: Pieces) -> datetime | None:
    """Return the moment that the pieces state, or None when there is no such day."""
    part = dict(pieces)
    short = part.get("short year")
    if "year" not in part and short is not None:
        part["year"] = short + (1900 if short >= 69 else 2000)  # the rule of POSIX
    if short is not None and part["year"] % 100 != short:
        return None
    hour, minute, second, fraction = (part.get(u, 0) for u in ("hour", "minute", "second", "microsecond"))
    zone = timezone(timedelta(minutes=part["offset"])) if "offset" in part else UTC
    try:
        first = datetime(part["year"], part.get("month", 1), part.get("day", 1), tzinfo=zone)
        moment = first.replace(hour=hour, minute=minute, second=second, microsecond=fraction)
        if "day of year" in part:
            moment += timedelta(days=part["day of year"] - 1)
        there = as_utc(moment)
    except (ValueError, OverflowError, FormatError):
        return None
    if moment.year != part["year"] or part.get("day of year") == 0:
        return None
    return there


def _number(directive: str, text: str) -> int:
    if directive in "bB":
        return next(n for n, name in enumerate(_MONTHS, 1) if name.startswith(text.lower()))
    if directive == "f":
        return int(text.ljust(6, "0"))
    if directive == "z":
        offset = parse_offset(text).utcoffset(None)
        return offset // timedelta(minutes=1)
    return int(text)
