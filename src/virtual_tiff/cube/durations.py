"""Durations as ISO 8601 writes them: ``P1D``, ``P2W``, ``P1M``, ``P1Y6M``, ``PT6H``, ``P1DT12H``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import MAXYEAR, datetime, timedelta
from typing import Final

from virtual_tiff.errors import UsageError

_ISO: Final = re.compile(
    r"P(?:(?P<years>[0-9]{1,5})Y)?(?:(?P<months>[0-9]{1,6})M)?(?:(?P<weeks>[0-9]{1,6})W)?(?:(?P<days>[0-9]{1,7})D)?"
    r"(?:T(?:(?P<hours>[0-9]{1,8})H)?(?:(?P<minutes>[0-9]{1,10})M)?(?:(?P<seconds>[0-9]{1,10})S)?)?"
)
_HINT: Final = "Write P1D, P2W, P1M, P1Y, PT6H or PT30M."


@dataclass(frozen=True, slots=True)
class Duration:
    """Whole months of the calendar, or a time of fixed length; the other one is zero."""

    months: int
    time: timedelta

    def after(self, start: datetime, count: int) -> datetime:
        """The moment that lies `count` of these durations after `start`.

        Raises
        ------
        UsageError
            ``usage`` when the month has no such day, such as the 31st.
        OverflowError
            When it is later than the year 9999.
        """
        if not self.months:
            return start + count * self.time
        years, month = divmod(start.month - 1 + count * self.months, 12)
        if start.year + years > MAXYEAR:
            raise OverflowError
        try:
            return start.replace(year=start.year + years, month=month + 1)
        except ValueError as error:
            found = f"steps of months from {start:%Y-%m-%d} lead to {start.year + years}-{month + 1:02d}, "
            found += f"which has no day {start.day}"
            raise UsageError(found, feature="usage", hint="Begin on a day that each month has.") from error

    def fixed(self) -> timedelta:
        """The length of a duration that is none of months.

        Raises
        ------
        UsageError
            ``usage`` for months and years, which differ in length.
        """
        if self.months:
            found = "months and years have no fixed length"
            raise UsageError(found, feature="usage", hint="Write days, such as P30D.")
        return self.time


def parse_duration(text: str) -> Duration:
    """Read a duration.

    Raises
    ------
    UsageError
        ``usage`` when it is none, or has months beside days or hours.
    """
    match = _ISO.fullmatch(text)
    part = {name: int(number) for name, number in (match.groupdict() if match else {}).items() if number is not None}
    if not part or text.endswith("T"):
        raise UsageError(f"{text[:60]!r} is no duration", feature="usage", hint=_HINT)
    months = 12 * part.pop("years", 0) + part.pop("months", 0)
    time = timedelta(**part)
    if months and time:
        found = f"{text!r} adds days or hours to months"
        raise UsageError(found, feature="usage", hint="Choose one of them.")
    return Duration(months, time)
