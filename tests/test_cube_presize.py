"""Values of axes and durations as a user writes them; moments are compared with those of numpy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from virtual_tiff.cube.durations import parse_duration
from virtual_tiff.cube.presize import parse_presize, presized
from virtual_tiff.errors import UsageError


def numpy_range(start: str, end: str, step: int, unit: Any) -> list[datetime]:
    """Moments from start to end, which belongs to them, as numpy counts; months and years by its own calendar."""
    stop = np.datetime64(end, unit) + np.timedelta64(1, unit)
    found = np.arange(np.datetime64(start, unit), stop, np.timedelta64(step, unit)).astype("datetime64[us]")
    return [moment.replace(tzinfo=UTC) for moment in found.tolist()]


@pytest.mark.parametrize(
    ("text", "step", "unit"),
    [
        ("2024-01-01/2024-12-31/P1D", 1, "D"),
        ("2023-02-01/2026-02-01/P1M", 1, "M"),
        ("1999-01-01/2024-01-01/P1Y", 1, "Y"),
        ("2024-01-01/2024-12-31/P2W", 14, "D"),
        ("2024-02-28T00:00/2024-03-01T12:00/PT6H", 6, "h"),
        ("2024-02-28T00:00/2024-02-28T02:00/PT15M", 15, "m"),
    ],
)
def test_ranges_of_moments(text: str, step: int, unit: str) -> None:
    start, end, _ = text.split("/")
    assert parse_presize([f"time={text}"]) == {"time": numpy_range(start, end, step, unit)}


def test_the_end_counts_only_when_a_step_leads_there() -> None:
    days = parse_presize(["time=2024-01-01/2024-01-06/P2D"])["time"]
    assert [day.day for day in days if isinstance(day, datetime)] == [1, 3, 5]
    assert parse_presize(["level=0/10/4"]) == {"level": [0, 4, 8]}


def test_lists() -> None:
    assert parse_presize(["time=2024-01-09,2024-01-01T10:30Z", "band=B02,B03,4"]) == {
        "time": [datetime(2024, 1, 9, tzinfo=UTC), datetime(2024, 1, 1, 10, 30, tzinfo=UTC)],
        "band": ["B02", "B03", "4"],
    }
    assert parse_presize(["a=1,-2,0.5", "b=1,x", 'c="1","2"', "d=01,02", "e=2024-05-01", "f= x , y "]) == {
        "a": [1, -2, 0.5],
        "b": ["1", "x"],
        "c": ["1", "2"],
        "d": ["01", "02"],
        "e": [datetime(2024, 5, 1, tzinfo=UTC)],
        "f": ["x", "y"],
    }


def test_numbers_are_exact() -> None:
    found = parse_presize(["depth=0/0.5/0.1", "height=-5/5/5"])
    assert found == {"depth": [0, 0.1, 0.2, 0.3, 0.4, 0.5], "height": [-5, 0, 5]}
    assert [type(value) for value in found["height"]] == [int, int, int]


def test_kinds_of_a_pattern_go_before() -> None:
    kinds = {"orbit": "text", "run": "number", "tile": "regex"}
    found = parse_presize(["orbit=22,51", "run=1,2", "tile=1/2/3"], kinds)  # type: ignore[arg-type]
    assert found == {"orbit": ["22", "51"], "run": [1, 2], "tile": ["1/2/3"]}


def test_a_range_of_numbers_is_no_text() -> None:
    with pytest.raises(UsageError, match=r"range of numbers.*\{step:d\}"):
        parse_presize(["step=0/5/1"], {"step": "text"})
    assert parse_presize(['step="0/5/1"'], {"step": "text"}) == {"step": ["0/5/1"]}
    assert parse_presize(["step=a/b/c"], {"step": "text"}) == {"step": ["a/b/c"]}


def test_errors_of_durations_are_told_once() -> None:
    with pytest.raises(UsageError) as raised:
        parse_presize(["time=2024-01-01/2024-12-31/PT0.5S"])
    assert str(raised.value).count("[usage]") == 1
    assert str(raised.value).count("Write ") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time", "AXIS=VALUES"),
        ("time=", "AXIS=VALUES"),
        ("=1,2", "AXIS=VALUES"),
        ("time=yesterday", "not a moment"),
        ("time=2024-01-01/2024-02-30/P1D", "2024-02-30"),
        ("time=2024-01-01/2024-12-31/1D", "no duration"),
        ("time=2024-01-01/2024-12-31/P", "no duration"),
        ("time=2024-01-01/2024-12-31/PT", "no duration"),
        ("time=2024-01-01/2024-12-31/P1DT", "no duration"),
        ("time=2024-01-01/2024-12-31/P0D", "step of nothing"),
        ("time=2024-01-01/2024-12-31/P1MT1H", "adds days or hours"),
        ("time=2024-01-31/2024-12-31/P1M", "no day 31"),
        ("time=2024-12-31/2024-01-01/P1D", "ends before it starts"),
        ("time=2024-01-01/9999-12-31/PT1S", "more than"),
        ("time=9999-12-30/9999-12-31T12:00/P1D", "leaves the years"),
        ("level=0/10/0", "step that is not greater"),
        ("level=10/0/1", "ends before"),
        ("level=0/10/x", "no number"),
        ("level=0/1e9/1", "no number"),
        ("level=0/99999999999/1", "more than"),
        ("band=B02,,B03", "empty value"),
    ],
)
def test_what_cannot_be_understood(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_presize([text])


def test_an_axis_is_named_once() -> None:
    with pytest.raises(UsageError, match="a second time"):
        parse_presize(["a=1", "a=2"])


def test_durations() -> None:
    assert parse_duration("P1DT12H").fixed() == timedelta(days=1, hours=12)
    assert parse_duration("P2W").fixed() == timedelta(weeks=2)
    assert parse_duration("P1Y6M").months == 18
    with pytest.raises(UsageError, match="no fixed length"):
        parse_duration("P1M").fixed()


def test_values_of_axes_are_lists_or_texts() -> None:
    day = datetime(2024, 5, 1, tzinfo=UTC)
    assert presized({"time": "2024-05-01/2024-05-02/P1D", "n": [3, 1], "band": "B02,B03"}) == {
        "time": (day, day + timedelta(days=1)),
        "n": (3, 1),
        "band": ("B02", "B03"),
    }
    with pytest.raises(UsageError, match="'time=2024'"):
        presized({"time": "2024"})


def test_a_single_value_is_no_series() -> None:
    single: Any = {"item": 5}
    with pytest.raises(UsageError, match="item is 5, no series of values") as caught:
        presized(single)
    assert "[5]" in str(caught.value)
