"""Values of axes as a user writes them: ``time=2024-01-01/2024-12-31/P1D``, ``band=B02,B03``, ``level=0/1000/100``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

from virtual_tiff.cube.axes import AxisValue
from virtual_tiff.cube.cells import TIME
from virtual_tiff.cube.durations import parse_duration
from virtual_tiff.cube.fields import FieldKind
from virtual_tiff.cube.select import BAND
from virtual_tiff.cube.times import parse_time
from virtual_tiff.errors import FormatError, UsageError

MAX_VALUES: Final = 10_000_000
"""Values of one axis."""

type _Kind = Literal["time", "number", "text"]

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,17})?")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}.*")
_RANGE: Final = 3
_HINT: Final = "Write AXIS=START/END/STEP or AXIS=VALUE,VALUE, such as time=2024-01-01/2024-12-31/P1D or band=B02,B03."


def parse_presize(texts: Iterable[str], kinds: Mapping[str, FieldKind] | None = None) -> dict[str, list[AxisValue]]:
    """Read the values that axes get beside those of files.

    Parameters
    ----------
    texts
        ``AXIS=START/END/STEP``, where the end belongs to the range when a step leads there, or ``AXIS=VALUE,VALUE``.
        Steps of moments are durations of ISO 8601, such as P1D, P1M or PT6H.
    kinds
        What is known of the axes: those of the fields of a pattern. Else ``time`` holds moments, ``band`` text, and
        of other axes the values tell what they are: moments, numbers, or else text; quotes (``"22"``) make text.

    Returns
    -------
    dict
        The values of each axis, in the order given. Moments are in UTC.

    Raises
    ------
    UsageError
        ``usage`` with the text that cannot be understood.
    """
    found: dict[str, list[AxisValue]] = {}
    for text in texts:
        name, sign, values = text.partition("=")
        name = name.strip()
        if not sign or not name or not values.strip():
            raise _bad(text, "is not AXIS=VALUES")
        if name in found:
            raise _bad(text, f"names the axis {name} a second time")
        try:
            found[name] = _values(values.strip(), _known_kind(name, values.strip(), kinds or {}))
        except (FormatError, UsageError) as error:
            raise _bad(text, f"cannot be read: {error.found}", hint=error.hint) from error
        except OverflowError as error:
            raise _bad(text, "leaves the years 1 to 9999") from error
        except ValueError as error:
            raise _bad(text, str(error)) from error
    return found


def presized(given: Mapping[str, Iterable[AxisValue] | str]) -> dict[str, tuple[AxisValue, ...]]:
    """The values of each axis, of which some are given as text.

    Raises
    ------
    UsageError
        ``usage`` with the text that cannot be understood, or with what is no series of values.
    """
    for name, values in given.items():
        if not isinstance(values, Iterable):
            found = f"presize of the axis {name} is {values!r}, no series of values"
            raise UsageError(
                found, feature="usage", hint=f"Write presize={{{name!r}: [{values!r}]}}, or as text: {_HINT}"
            )
    texts = {name: values for name, values in given.items() if isinstance(values, str)}
    parsed = parse_presize(f"{name}={text}" for name, text in texts.items())
    return {name: tuple(parsed.get(name, values)) for name, values in given.items()}


def _known_kind(name: str, values: str, kinds: Mapping[str, FieldKind]) -> _Kind | None:
    known = kinds.get(name)
    parts = values.split("/")
    if known == "text" and len(parts) == _RANGE and all(_kind_of(part.strip()) == "number" for part in parts):
        found = f"it is a range of numbers, and the pattern takes {name} for text"
        hint = f'Write {{{name}:d}} in the pattern for numbers, {name}=VALUE,VALUE or quotes: {name}="1/2/3".'
        raise UsageError(found, feature="usage", hint=hint)
    if known is not None:
        return "text" if known == "regex" else known
    return {TIME: "time", BAND: "text"}.get(name)  # type: ignore[return-value]


def _values(text: str, known: _Kind | None) -> list[AxisValue]:
    parts = text.split("/")
    if len(parts) == _RANGE and known != "text":
        start, end, step = (part.strip() for part in parts)
        kind = known or _kind_of(start)
        if kind == "time":
            return [*_moments(parse_time(start), parse_time(end), step)]
        if kind == "number":
            return [*_numbers(_decimal(start), _decimal(end), _decimal(step))]
    texts = [part.strip() for part in text.split(",")]
    if not all(texts):
        msg = "has an empty value"
        raise ValueError(msg)
    kinds = {_kind_of(one) for one in texts}
    kind = known or (kinds.pop() if len(kinds) == 1 else "text")
    if kind == "time":
        return [parse_time(one) for one in texts]
    if kind == "number":
        return [_plain(_decimal(one)) for one in texts]
    return [_unquoted(one) for one in texts]


def _kind_of(text: str) -> _Kind:
    if _DATE.fullmatch(text):
        return "time"
    return "number" if _NUMBER.fullmatch(text) else "text"


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    return text[1:-1] if quoted else text


def _moments(start: datetime, end: datetime, step: str) -> list[datetime]:
    duration = parse_duration(step)
    if not duration.months and not duration.time:
        msg = "has a step of nothing"
        raise ValueError(msg)
    if duration.time:
        _check_count((end - start) // duration.time + 1)
    found: list[datetime] = []
    while (moment := duration.after(start, len(found))) <= end:
        found.append(moment)
    return _some(found)


def _numbers(start: Decimal, end: Decimal, step: Decimal) -> list[int | float]:
    if step <= 0:
        msg = "has a step that is not greater than 0"
        raise ValueError(msg)
    count = int((end - start) // step) + 1 if end >= start else 0
    _check_count(count)
    return _some([_plain(start + number * step) for number in range(count)])


def _decimal(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        msg = f"has {text[:40]!r}, which is no number"
        raise ValueError(msg)
    return Decimal(text)


def _plain(number: Decimal) -> int | float:
    return int(number) if number == number.to_integral_value() else float(number)


def _check_count(count: int) -> None:
    if count > MAX_VALUES:
        msg = f"has more than {MAX_VALUES:,} values"
        raise ValueError(msg)


def _some[T](found: list[T]) -> list[T]:
    if not found:
        msg = "ends before it starts"
        raise ValueError(msg)
    return found


def _bad(text: str, why: str, *, hint: str | None = None) -> UsageError:
    return UsageError(f"{text[:80]!r} {why}", feature="usage", hint=hint or _HINT)
