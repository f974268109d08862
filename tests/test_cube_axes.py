"""Values of axes: moments from text, names of files and tags; order, storage, growth and clashes."""

from __future__ import annotations

import contextlib
import itertools
import pickle
import string
import time
from datetime import UTC, date, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from virtual_tiff.cube.axes import Axis, AxisValue, axis_value
from virtual_tiff.cube.cells import find_time
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.pattern import Pattern, readable_path
from virtual_tiff.cube.times import (
    TIME_ATTRIBUTES,
    as_utc,
    decode_time,
    encode_time,
    parse_tiff_time,
    parse_time,
)
from virtual_tiff.errors import ConformError, FormatError, UsageError

MOMENTS = st.datetimes(timezones=st.just(UTC))
NAMES = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=12)
EARLY, LATE = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


def tagged(tags: dict[str, str], url: str = "a.tif") -> FileHeader:
    """As much of a header as the time of a tag takes."""
    return cast("FileHeader", SimpleNamespace(url=url, metadata=SimpleNamespace(tags=tags)))


def texts(*values: str) -> tuple[AxisValue, ...]:
    return Axis.of("a", values).values


# Moments


@given(MOMENTS)
def test_iso_texts_come_back(moment: datetime) -> None:
    assert parse_time(moment.isoformat()) == moment
    assert parse_time(moment.isoformat().replace("+00:00", "Z")) == moment
    assert parse_time(moment.isoformat(sep=" ").replace("+00:00", "")) == moment


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)), st.integers(-1439, 1439))  # noqa: DTZ001
def test_offsets_lead_to_utc(naive: datetime, minutes: int) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    parsed = parse_time(moment.isoformat())
    assert parsed == moment
    assert parsed.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-03T15:30:01.123456789Z", at(2024, 1, 3, 15, 30, 1, 123456)),
        ("2024-01-03T15:30:01.9999999Z", at(2024, 1, 3, 15, 30, 1, 999999)),
        ("2024-01-03T15:30:01.5Z", at(2024, 1, 3, 15, 30, 1, 500000)),
        ("2024-01-03T15:30:01,25+05:30", at(2024, 1, 3, 10, 0, 1, 250000)),
        ("2024-01-03t15:30z", at(2024, 1, 3, 15, 30)),
        ("20240103T153001Z", at(2024, 1, 3, 15, 30, 1)),
        ("2024-01-03", at(2024, 1, 3)),
        (" 2024-01-03T00:00:00-0100 ", at(2024, 1, 3, 1)),
        ("2024-01-03T00:00:00 UTC", at(2024, 1, 3)),
    ],
)
def test_forms_of_iso(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2024",
        "2024-13-01",
        "2023-02-29",
        "2024-01-03T24:00:00Z",
        "2016-12-31T23:59:60Z",
        "2024-0103",
        "0000-01-01",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "2024-01-01T1:00",
        "2024-01-01T00:00:00+24:00",
        "2024-01-01T00:00:00+01:99",
        "٢٠٢٤-01-01",
        "2024-01-01T00:00:00.Z",
    ],
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_time(text)
    assert caught.value.feature == "bad-time"


@given(MOMENTS)
def test_datetime_tags_come_back(moment: datetime) -> None:
    whole = moment.replace(microsecond=0)
    text = f"{whole.year:04}:{whole.month:02}:{whole.day:02} {whole:%H:%M:%S}"
    assert parse_tiff_time(text) == whole
    assert parse_tiff_time(f"{text}.{moment.microsecond:06}\0") == moment
    assert parse_tiff_time(text.replace(":", "/", 2)) == whole
    assert parse_tiff_time(moment.isoformat()) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2004: 1: 5 10:02:03", at(2004, 1, 5, 10, 2, 3)),
        ("2004:1:5 10:02:03", at(2004, 1, 5, 10, 2, 3)),
        ("2004.01.05", at(2004, 1, 5)),
        ("2004:01:05T10:02:03+02:00", at(2004, 1, 5, 8, 2, 3)),
    ],
)
def test_variants_of_datetime_tags(text: str, moment: datetime) -> None:
    assert parse_tiff_time(text) == moment
    assert find_time(tagged({"TIFFTAG_DATETIME": text}), "tag") == moment


@pytest.mark.parametrize("text", ["", "    :  :     :  :  ", "0000:00:00 00:00:00", "05/01/2004", "2004:01-05", "x"])
def test_a_datetime_tag_without_a_moment_names_file_and_tag(text: str) -> None:
    with pytest.raises(FormatError, match="bad-time") as caught:
        find_time(tagged({"TIFFTAG_DATETIME": text}, "s3://b/a.tif"), "tag")
    assert (caught.value.url, caught.value.tag) == ("s3://b/a.tif", 306)


def test_a_file_without_datetime_tag_has_no_time() -> None:
    assert find_time(tagged({"AREA_OR_POINT": "Area"}), "tag") is None


# How times are stored


@given(st.lists(MOMENTS, max_size=20))
def test_times_are_whole_microseconds_and_come_back(moments: list[datetime]) -> None:
    stored = encode_time(moments)
    assert stored.dtype == np.int64
    assert decode_time(stored) == moments
    naive = [moment.replace(tzinfo=None) for moment in moments]
    assert (stored.astype("datetime64[us]") == np.array(naive, "datetime64[us]")).all()


def test_the_first_and_the_last_moment() -> None:
    assert decode_time(encode_time([EARLY, LATE])) == [EARLY, LATE]
    with pytest.raises(FormatError):
        decode_time(encode_time([LATE]) + 1)
    with pytest.raises(FormatError):
        as_utc(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))))


def dataset(axis: Axis) -> xr.Dataset:
    coordinate = axis.coordinate()
    return xr.Dataset(coords={axis.name: (coordinate.dims, coordinate.values, dict(coordinate.attributes))})


@settings(deadline=None)
@given(st.lists(st.datetimes(datetime(1678, 1, 1), datetime(2262, 1, 1)), min_size=1, max_size=5))  # noqa: DTZ001
def test_xarray_decodes_times_exactly(moments: list[datetime]) -> None:
    axis = Axis.of("time", moments)
    decoded = xr.decode_cf(dataset(axis)).time.values
    expected = np.array([value.replace(tzinfo=None) for value in axis.values], "datetime64[us]")  # type: ignore[union-attr,call-arg]
    assert (decoded == expected).all()


@settings(deadline=None)
@given(st.lists(MOMENTS, min_size=1, max_size=5))
def test_xarray_decodes_all_years_when_it_is_asked_for_microseconds(moments: list[datetime]) -> None:
    axis = Axis.of("time", [EARLY, *moments, LATE])
    decoded = xr.decode_cf(dataset(axis), decode_times=xr.coders.CFDatetimeCoder(time_unit="us")).time.values
    assert decoded.dtype == np.dtype("datetime64[us]")
    assert (decoded.astype(np.int64) == axis.encode()).all()


@pytest.mark.parametrize(
    "values",
    [[at(2020, 1, 2), at(2020, 1, 1)], [3, 1, 2], [0.5, -1.25, 2], ["b10", "b2", "a"]],
    ids=["time", "integer", "number", "text"],
)
def test_axes_come_back_from_what_is_stored(values: list[AxisValue]) -> None:
    axis = Axis.of("a", values)
    assert Axis.decode("a", axis.encode(), axis.attributes) == axis
    assert pickle.loads(pickle.dumps(axis)) == axis  # noqa: S301
    unsorted = Axis.of("a", values, ordered=False)
    assert Axis.decode("a", unsorted.encode(), unsorted.attributes) == unsorted


def test_an_axis_in_other_units_is_not_taken_for_ours() -> None:
    for stored, attributes in (
        (np.array([1, 2]), {"units": "days since 1970-01-01"}),
        (np.array([[1, 2]]), dict(TIME_ATTRIBUTES)),
        (np.array([1, 1]), {}),
    ):
        with pytest.raises(ConformError):
            Axis.decode("time", stored, attributes)


# Axes


def test_values_are_unique_and_in_natural_order() -> None:
    assert texts("B10", "B2", "B2", "B8A", "B8") == ("B2", "B8", "B8A", "B10")
    assert Axis.of("a", ["c", "a", "c"], ordered=False).values == ("c", "a")
    assert Axis.of("a", [2, 0.5]).kind == "number"
    assert Axis.of("time", [at(2020, 1, 1), datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=2)))]).values == (
        at(2019, 12, 31, 22),
        at(2020, 1, 1),
    )


@pytest.mark.parametrize("values", [[1, "a"], [at(2020, 1, 1), 3], [2**60 + 1, 0.5]])
def test_kinds_are_not_mixed(values: list[object]) -> None:
    with pytest.raises(ConformError, match="several kinds"):
        Axis.of("a", values)


def test_an_axis_needs_a_value() -> None:
    with pytest.raises(UsageError):
        Axis.of("a", [])


@pytest.mark.parametrize("value", [None, True, float("nan"), float("inf"), 2**63, b"x", np.datetime64("NaT", "s"), [1]])
def test_what_is_no_coordinate_is_refused(value: object) -> None:
    with pytest.raises(ConformError, match="is no coordinate"):
        axis_value(value, "a")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.datetime64("2020-01-01T00:00:00.123456789"), at(2020, 1, 1, 0, 0, 0, 123456)),
        (date(2020, 1, 1), at(2020, 1, 1)),
        (datetime(2020, 1, 1), at(2020, 1, 1)),  # noqa: DTZ001
        (np.int16(3), 3),
        (np.float32(0.5), 0.5),
        (np.str_("a"), "a"),
        (-0.0, 0.0),
    ],
)
def test_foreign_types_become_plain_ones(value: object, expected: object) -> None:
    found = axis_value(value, "a")
    assert found == expected
    assert type(found) is type(expected)


def test_moments_of_pandas_become_plain_ones() -> None:
    pandas = pytest.importorskip("pandas")
    found = axis_value(pandas.Timestamp("2020-01-01T00:00:00.000001999", tz="Europe/Berlin"), "time")
    assert found == at(2019, 12, 31, 23, 0, 0, 1)
    assert type(found) is datetime
    with pytest.raises(ConformError):
        axis_value(pandas.NaT, "time")


def test_values_are_found_or_refused_by_name() -> None:
    axis = Axis.of("band", ["red", "nir"])
    assert axis.indices_of(["red", "nir", "red"]).tolist() == [1, 0, 1]
    with pytest.raises(ConformError, match="'swir'"):
        axis.indices_of(["swir"])


# Patterns


@pytest.mark.parametrize(
    ("pattern", "url", "expected"),
    [
        (
            "{tile}_{time:%Y%m%d}_{band}.tif",
            "https://h/x/S2A_T32UMA_20200102_B02.tif?sig=a_20200103_b.tif",
            {"tile": "S2A_T32UMA", "time": at(2020, 1, 2), "band": "B02"},
        ),
        ("{tile}_{time:%Y%j}.tif", "/d/h18v04_2020366.tif", {"tile": "h18v04", "time": at(2020, 12, 31)}),
        (
            "{time:%Y}/{time:%m}/{time:%d}/{b}.tif",
            "s3://k/2020/02/29/x.tif",
            {"time": at(2020, 2, 29), "b": "x"},
        ),
        ("{t}/{t}_{n:d}.tif", "s3://k/a_1/a_1_007.tif", {"t": "a_1", "n": 7}),
        ("{t}/**/{b}.tif", "s3://k/a/b.tif", {"t": "a", "b": "b"}),
        ("*{n:d}.tif", "tile12.tif", {"n": 12}),
        ("{a:[0-9]{2}[A-Z]{3}}_*.tif", "s3://k/32UMA_x.tif", {"a": "32UMA"}),
        ("{n:03d}{m:2d}.tif", "00112.tif", {"n": 1, "m": 12}),
        ("{{{n:d}}}.tif", "{5}.tif", {"n": 5}),
        ("{time:%d%b%Y}.tif", "03MAR2020.tif", {"time": at(2020, 3, 3)}),
        ("{time:%y-%B-%d}.tif", "69-may-01.tif", {"time": at(1969, 5, 1)}),
        ("{time:%Y%m%dT%H%M%S%f}.tif", "20200102T0304055.tif", {"time": at(2020, 1, 2, 3, 4, 5, 500000)}),
        (
            "{time:%Y-%m-%dT%H:%M%z}.tif",
            "https://h/2020-01-02T03%3A04+0200.tif",
            {"time": at(2020, 1, 2, 1, 4)},
        ),
        ("s3://k/{a}.tif", "s3://k/a.tif", {"a": "a"}),
        ("/x/{a}.tif", "s3://k/x/a.tif", {"a": "a"}),
        ("{a}%3A.tif", "s3://k/b%3A.tif", {"a": "b"}),
        ("**{time:%Y}*.tif", "s3://k/p/q/a_2020_b.tif", {"time": at(2020, 1, 1)}),
    ],
)
def test_patterns(pattern: str, url: str, expected: dict[str, object]) -> None:
    compiled = Pattern(pattern)
    assert compiled.coordinates_of(url) == expected
    assert list(compiled.coordinates_of(url)) == list(compiled.fields) == list(expected)
    assert pickle.loads(pickle.dumps(compiled)).match(url) == expected  # noqa: S301


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("{a}_{time:%Y%m%d}.tif", "a_20230229.tif"),
        ("{a}_{time:%Y%m%d}.tif", "a_20230101.tiff"),
        ("{a}.tif", ".tif"),
        ("x/{a}.tif", "zx/a.tif"),
        ("{time:%Y}/{time:%Y%m}.tif", "2020/202101.tif"),
        ("{time:%Y}/{time:%m}/{time:%d}.tif", "2021/02/29.tif"),
        ("{time:%Y%j}.tif", "2021366.tif"),
        ("{t}/{t}.tif", "a/b.tif"),
        ("{n:d}.tif", "1" * 30 + ".tif"),
        ("/x/{a}.tif", "x/a.tif"),
    ],
)
def test_what_does_not_match(pattern: str, url: str) -> None:
    assert Pattern(pattern).match(url) is None
    with pytest.raises(ConformError, match="the name does not match") as caught:
        Pattern(pattern).coordinates_of(url)
    assert caught.value.url == url


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("{a}_{b}.tif", "x_y_z.tif"),
        ("{a}_*_{b}.tif", "w_x_y_z.tif"),
        ("*{time:%Y}*.tif", "20201.tif"),
        ("{a:.*}{b:.*}.tif", "xy.tif"),
        ("**/{a}/**/{b}.tif", "x/y/z.tif"),
    ],
)
def test_what_can_be_read_in_several_ways_is_refused(pattern: str, url: str) -> None:
    with pytest.raises(ConformError, match="more than one way") as caught:
        Pattern(pattern).match(url)
    assert caught.value.url == url


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "a.tif",
        "{",
        "}",
        "{a",
        "{}",
        "{1a}",
        "{a:}",
        "{a-b}",
        "{x}",
        "{y:d}",
        "{time}",
        "{time:d}",
        "{a}{b}.tif",
        "{a}*",
        "*{a}",
        "{a:d}{b:d}",
        "{a:2d}{b:d}",
        "{a:99d}",
        "{a:[}",
        "{a:(}",
        "{time:%Q}",
        "{time:%}",
        "{time:%m%d}",
        "{time:%Y%d}",
        "{time:%Y%j%m}",
        "{time:%Y%H}",
        "{time:%Y%m%d%M}",
        "{time:%Y}{time:d}",
        "{a:%Y}_{a}",
        "{a}/{a:d}",
        "a" * 2000,
    ],
)
def test_patterns_that_make_no_sense(pattern: str) -> None:
    with pytest.raises(UsageError) as caught:
        Pattern(pattern)
    assert caught.value.feature == "usage"


def test_many_names_are_read_at_once_and_the_first_failures_are_listed() -> None:
    pattern = Pattern("{n:d}.tif")
    assert pattern.read_all(["a/1.tif", "b/2.tif"]) == [{"n": 1}, {"n": 2}]
    with pytest.raises(ConformError) as caught:
        pattern.read_all(["1.tif", *(f"{name}.tif" for name in "abcdefgh")])
    assert "8 of 9 names" in str(caught.value)
    assert "a.tif, b.tif, c.tif, d.tif, e.tif, ..." in str(caught.value)


@given(NAMES, MOMENTS, NAMES, st.integers(0, 999))
def test_names_that_were_made_from_values_give_them_back(tile: str, moment: datetime, band: str, n: int) -> None:
    moment = moment.replace(microsecond=0)
    url = f"s3://b/{moment.year:04}/{tile}_{moment.year:04}{moment:%m%dT%H%M%S}_{n:03}_{band}.tif"
    pattern = Pattern("{time:%Y}/{tile}_{time:%Y%m%dT%H%M%S}_{n:3d}_{band}.tif")
    assert pattern.coordinates_of(url) == {"time": moment, "tile": tile, "n": n, "band": band}


PARTS = st.sampled_from(["{a}", "{b}", "{a:d}", "{n:2d}", "{r:[ab]*}", "_", "1", "a", "/", "*", "**", "**/", "b1"])


def all_readings(parts: list[str], path: str) -> set[tuple[str, ...]]:
    """An independent matcher: every way to cut every tail of the path into the parts."""

    def fits(part: str, text: str, before: str, after: str) -> bool:
        digits = text.isdigit() and text.isascii()
        whole_run = not before[-1:].isdigit() and not after[:1].isdigit()
        rules: dict[str, bool] = {
            "{a}": bool(text) and "/" not in text,
            "{b}": bool(text) and "/" not in text,
            "{a:d}": digits and whole_run,
            "{n:2d}": digits and len(text) == 2,
            "{r:[ab]*}": set(text) <= set("ab"),
            "*": "/" not in text,
            "**": True,
            "**/": not text or text.endswith("/"),
        }
        return rules.get(part, text == part)

    def cut(index: int, start: int) -> set[tuple[str, ...]]:
        if index == len(parts):
            return {()} if start == len(path) else set()
        found = set()
        for end in range(start, len(path) + 1):
            if fits(parts[index], path[start:end], path[:start], path[end:]):
                own = (path[start:end],) if parts[index][0] == "{" else ()
                found |= {own + rest for rest in cut(index + 1, end)}
        return found

    at_slash = parts[0].startswith("/")
    starts = {0, *(i if at_slash else i + 1 for i, letter in enumerate(path) if letter == "/")}
    names = [part.strip("{}").partition(":")[0] for part in parts if part[0] == "{"]
    readings = set().union(*(cut(0, start) for start in starts))
    keep = set()
    for reading in readings:
        values: dict[str, Any] = {}
        numbers = {"n": int, "a": int if "{a:d}" in parts else str}
        pairs = [(name, numbers.get(name, str)(text)) for name, text in zip(names, reading, strict=True)]
        if all(values.setdefault(name, value) == value for name, value in pairs):
            keep.add(reading)
    return keep


@settings(deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=6), st.text("ab1_/", max_size=9))
def test_patterns_agree_with_a_plain_matcher(parts: list[str], path: str) -> None:
    text = "".join(parts)
    assume("***" not in text)  # these would be cut into other parts
    assume(("*", "*") not in itertools.pairwise(parts))
    assume(not any(left == "**" and right.startswith("/") for left, right in itertools.pairwise(parts)))
    try:
        pattern = Pattern(text)
    except UsageError:
        return
    readings = all_readings(parts, path)
    try:
        found = pattern.match(path)
    except ConformError:
        assert len(readings) > 1
        return
    assert (found is None) == (not readings)
    assert len(readings) <= 1


@pytest.mark.parametrize("name", ["_" * 250 + ".tif", "a" * 4000 + ".tif", "1_" * 2000 + ".tif", "/" * 4000 + ".tif"])
@pytest.mark.parametrize("pattern", ["{a}_{b}_{c}_{d}_{e}_{f}.tif", "**_**_{n:d}*{m:d}.tif", "{a:.*}{b:x+}_{c}.tif"])
def test_hostile_names_take_no_long_time(pattern: str, name: str) -> None:
    compiled = Pattern(pattern)
    start = time.perf_counter()
    found: object = None
    with contextlib.suppress(ConformError):
        found = compiled.match(name)
    assert time.perf_counter() - start < 5
    assert found is None or set(compiled.coordinates_of(name)) == set(compiled.fields)


@given(st.text(max_size=30))
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert Pattern(text).fields


def test_paths_are_read_as_people_write_them() -> None:
    assert readable_path("https://h/a%20b/c.tif?x=1#y") == "/a b/c.tif"
    assert readable_path("s3://b/a%20b?#.tif") == "/a%20b?#.tif"
    assert readable_path("file:///d/a%20b.tif", whole=True) == "file:///d/a b.tif"
    assert readable_path("d/a%20b?.tif") == "d/a%20b?.tif"
