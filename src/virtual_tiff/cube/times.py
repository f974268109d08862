"""Moments: how they are written in STAC, in TIFF tags and in file names' callers, and how an axis stores them.

A moment is always a ``datetime`` in UTC, exact to the microsecond; finer fractions are cut off. A text without
an offset is UTC.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from virtual_tiff.errors import FormatError

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
TIME_ATTRIBUTES: Final[Mapping[str, str]] = {
    "units": "microseconds since 1970-01-01",
    "calendar": "proleptic_gregorian",
    "standard_name": "time",
}
"""Attributes of an encoded time axis, after the CF conventions.

xarray decodes years 1678 to 2261 as they are; earlier or later ones need
``decode_times=xr.coders.CFDatetimeCoder(time_unit="us")``.
"""

_MICROSECOND: Final = timedelta(microseconds=1)
_CLOCK: Final = (
    r"(?P<hour>[0-9]{2})(?::?(?P<minute>[0-9]{2})(?::?(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?)?)?"
    r" ?(?P<offset>[Zz]|UTC|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
_ISO: Final = re.compile(
    rf"(?P<year>[0-9]{{4}})(?P<dash>-?)(?P<month>[0-9]{{2}})(?P=dash)(?P<day>[0-9]{{2}})(?:[Tt ]{_CLOCK})?"
)
_TIFF: Final = re.compile(
    rf"(?P<year>[0-9]{{4}})(?P<dash>[:/.-])(?P<month>[ 0-9]?[0-9])(?P=dash)(?P<day>[ 0-9]?[0-9])(?:[Tt ]{_CLOCK})?"
)


def as_utc(moment: datetime) -> datetime:
    """Return a moment as a plain ``datetime`` in UTC; one without an offset is UTC already.

    Raises
    ------
    FormatError
        ``bad-time`` when it leaves the years 1 to 9999.
    """
    try:
        there = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (OverflowError, ValueError) as error:
        raise _bad(str(moment), "it is not within the years 1 to 9999 in UTC") from error
    if type(there) is datetime:
        return there
    parts = (there.year, there.month, there.day, there.hour, there.minute, there.second, there.microsecond)
    return datetime(*parts, tzinfo=UTC)  # pandas' subclass carries nanoseconds


def parse_time(text: str) -> datetime:
    """Read a date or a moment in the form of ISO 8601 (RFC 3339), with any number of decimals.

    Raises
    ------
    FormatError
        ``bad-time`` when it is not one, or no such day or hour exists; leap seconds are refused.
    """
    match = _ISO.fullmatch(text.strip())
    if match is None:
        raise _bad(text, "it does not have the form 2024-01-31T23:59:59.123456Z")
    return _moment(match, text)


def parse_tiff_time(text: str) -> datetime:
    """Read the DateTime tag (306) of a TIFF.

    The form of the standard is ``YYYY:MM:DD HH:MM:SS``. What writers put there besides is read too: other
    separators, blanks before single digits, decimals, offsets, a date alone and ISO 8601.

    Raises
    ------
    FormatError
        ``bad-time`` when the text states no moment.

    References
    ----------
    TIFF 6.0, section 8, DateTime; https://gdal.org/drivers/raster/gtiff.html (TIFFTAG_DATETIME)
    """
    plain = text.strip(" \0\t\r\n")
    match = _TIFF.fullmatch(plain) or _ISO.fullmatch(plain)
    if match is None:
        raise _bad(text, "a DateTime tag has the form 2024:01:31 23:59:59")
    return _moment(match, text)


def encode_time(moments: Iterable[datetime]) -> npt.NDArray[np.int64]:
    """Return moments as whole microseconds since 1970-01-01, see :data:`TIME_ATTRIBUTES`."""
    return np.array([microseconds(moment) for moment in moments], np.int64)


def microseconds(moment: datetime) -> int:
    """A moment as whole microseconds since 1970-01-01 UTC."""
    return (as_utc(moment) - EPOCH) // _MICROSECOND


def decode_time(values: npt.NDArray[Any]) -> list[datetime]:
    """Return the moments of an array of microseconds since 1970-01-01.

    Raises
    ------
    FormatError
        ``bad-time`` when one is not within the years 1 to 9999.
    """
    try:
        return [EPOCH + timedelta(microseconds=value) for value in values.astype(np.int64).tolist()]
    except OverflowError as error:
        raise _bad(f"{values.min()} to {values.max()} microseconds", "years 1 to 9999 can be read") from error


def _moment(match: re.Match[str], text: str) -> datetime:
    part = match.groupdict()
    numbers = [int(part[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")]
    fraction = int((part["fraction"] or "0")[:6].ljust(6, "0"))
    try:
        return as_utc(datetime(*numbers, fraction, tzinfo=parse_offset(part["offset"])))  # type: ignore[misc,arg-type]
    except ValueError as error:
        raise _bad(text, str(error)) from error


def parse_offset(text: str | None) -> timezone:
    """Read ``Z``, ``UTC``, ``+02``, ``+0200`` or ``+02:00``; None is UTC.

    Raises
    ------
    ValueError
        When the offset has a day or more.
    """
    if text is None or text in ("Z", "z", "UTC"):
        return UTC
    hours, minutes = int(text[1:3]), int(text[-2:]) if len(text) > 3 else 0
    if minutes > 59:
        msg = "an offset has at most 59 minutes"
        raise ValueError(msg)
    return timezone((1 if text[0] == "+" else -1) * timedelta(hours=hours, minutes=minutes))


def _bad(text: str, why: str) -> FormatError:
    return FormatError(f"{text[:60]!r} is not a moment that can be read: {why}", feature="bad-time")
