"""Axes that are there: they grow as if all of their values were read, and little is read."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.core.buffer.cpu import Buffer
from zarr.core.sync import sync
from zarr.storage import LoggingStore, MemoryStore

from virtual_tiff.cube.axes import Axis, AxisValue
from virtual_tiff.cube.blueprint import AxisPlan
from virtual_tiff.cube.nodes import coordinate_keys
from virtual_tiff.cube.standing_axis import Having, StandingAxis
from virtual_tiff.cube.times import TIME_ATTRIBUTES, decode_time
from virtual_tiff.errors import ConformError
from virtual_tiff.geo.coordinate import Coordinate

MOMENTS = st.datetimes(timezones=st.just(UTC))
VALUES = st.one_of(
    st.tuples(*[st.lists(MOMENTS, min_size=1, max_size=15)] * 2),
    st.tuples(*[st.lists(st.integers(0, 30), min_size=1, max_size=25)] * 2),
    st.tuples(*[st.lists(st.integers(0, 60).map(lambda n: n / 2), min_size=1, max_size=25)] * 2),
    st.tuples(*[st.lists(st.integers(0, 30).map(lambda n: f"b{n}"), min_size=1, max_size=25)] * 2),
)


def stored(coordinate: Coordinate, rows: int | None = None) -> tuple[zarr.Array[Any], LoggingStore[Any]]:
    """A coordinate in a store, in chunks of so many values, or in a single one."""
    memory = MemoryStore()
    chunked = {} if rows is None else {"growing": True, "rows": rows}
    for key, value in coordinate_keys(coordinate, **chunked):  # type: ignore[arg-type]
        sync(memory.set(key, Buffer.from_bytes(value)))
    store = LoggingStore(memory, log_level="CRITICAL")
    return zarr.open_array(store, path=coordinate.name, mode="r+"), store


def standing(axis: Axis, rows: int | None = None, having: Having | None = None) -> StandingAxis:
    array, _ = stored(axis.coordinate(), rows)
    return StandingAxis.read(axis.name, array, axis.attributes, named=not axis.ordered, having=having)


def whole(axis: StandingAxis, grown: AxisPlan) -> npt.NDArray[Any]:
    """All values of an axis that grows."""
    return np.concatenate([axis.values[: grown.first], grown.values])


def chunks_read(store: LoggingStore[Any]) -> int:
    """Calls that read something, each a chunk once the array is open."""
    return store.counter["get"]


@settings(deadline=None)
@given(VALUES, st.sampled_from([None, 1, 2, 5, 100]))
def test_growth_keeps_old_values_and_order(values: tuple[list[AxisValue], list[AxisValue]], rows: int | None) -> None:
    old, new = values
    axis = standing(Axis.of("a", old), rows)
    late = axis.late(new)
    grown, where = axis.extend(new)
    expected = Axis.of("a", [*old, *new])
    assert np.array_equal(whole(axis, grown), expected.encode())
    assert dict(grown.attributes) == expected.attributes
    assert len(grown) == len(expected)
    assert where == {value: expected.values.index(value) for value in new}
    moved = range(len(axis)) if grown.moved is None else grown.moved
    assert [expected.values[position] for position in moved] == list(Axis.of("a", old).values)
    assert (grown.moved is None) == (grown.first >= len(axis))
    last = len(axis) - 1 if grown.moved is None else grown.moved[-1]
    assert late == sum(where[value] < last for value in new if value not in set(old))


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1), st.lists(st.integers(0, 20)), st.sampled_from([None, 1, 3]))
def test_names_of_files_go_to_the_end(old: list[int], new: list[int], rows: int | None) -> None:
    before, after = ([f"{number}.tif" for number in numbers] for numbers in (old, new))
    known = list(dict.fromkeys(before))

    def having(names: Collection[str]) -> set[str]:
        return set(names) & set(known)

    expected = list(dict.fromkeys([*before, *after]))
    for asked in (having, None, lambda _: None):
        axis = standing(Axis.of("item", before, ordered=False), rows, asked)
        grown, where = axis.extend(after)
        assert whole(axis, grown).tolist() == expected
        assert where == {name: expected.index(name) for name in after}
        assert axis.having(["3.tif", "x.tif"]) == {"3.tif"} & set(known)
        assert (axis.late(after), axis.first_name()) == (0, known[0])


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1), st.integers(0, 50))
def test_late_arrivals_are_inserted_in_order(values: list[int], value: int) -> None:
    axis = standing(Axis.of("n", values))
    grown, where = axis.extend([value])
    assert whole(axis, grown).tolist() == sorted({*values, value})
    assert whole(axis, grown)[where[value]] == value
    _, behind = standing(Axis.of("n", [7, 3], ordered=False)).extend([5])
    assert behind == {5: 2}


def test_what_lies_behind_the_last_chunk_needs_no_other() -> None:
    axis = Axis.of("n", range(1000))
    for new, places, reads in (
        ([1000, 1001], [1000, 1001], 1),
        ([995, 2000], [995, 1000], 1),
        ([999], [999], 1),
        ([5, 2000], [5, 1000], 101),
    ):
        array, store = stored(axis.coordinate(), 10)
        there = StandingAxis.read("n", array, {}, named=False)
        store.counter.clear()
        assert there.late(new) == 0
        grown, where = there.extend(new)
        assert ([where[value] for value in new], grown.first) == (places, 1000)
        assert chunks_read(store) == reads


def test_new_names_of_files_need_no_chunk() -> None:
    array, store = stored(Axis.of("item", map(str, range(1000)), ordered=False).coordinate(), 10)
    there = StandingAxis.read("item", array, {}, named=True, having=lambda _: set())
    store.counter.clear()
    grown, where = there.extend(["a", "b"])
    assert (grown.first, grown.values.tolist(), where) == (1000, ["a", "b"], {"a": 1000, "b": 1001})
    assert chunks_read(store) == 0


def test_a_last_chunk_out_of_order_is_no_reason_to_insert() -> None:
    values = np.array([0, 1, 2, 9, 8], np.int64)
    array, _ = stored(Coordinate("n", ("n",), values), 3)
    grown, where = StandingAxis.read("n", array, {}, named=False).extend([8, 10, 9])
    assert (grown.first, grown.values.tolist(), where) == (5, [10], {8: 4, 10: 5, 9: 3})


def test_values_of_other_kinds_are_refused() -> None:
    with pytest.raises(ConformError, match="holds text"):
        standing(Axis.of("band", ["red", "nir"])).extend([1])
    moments = standing(Axis.of("time", [datetime(2020, 1, 1, tzinfo=UTC)]))
    with pytest.raises(ConformError, match="holds time"):
        moments.extend(["x"])
    assert decode_time(moments.extend([])[0].values) == []


@pytest.mark.parametrize("named", [True, False])
def test_a_name_that_is_there_twice_is_refused(named: bool) -> None:
    array, _ = stored(Coordinate("item", ("item",), np.array(["a", "b", "a"], np.dtypes.StringDType())), 2)
    there = StandingAxis.read("item", array, {}, named=named)
    with pytest.raises(ConformError, match="holds a value twice"):
        there.extend(["c"])


def test_foreign_arrays_are_refused() -> None:
    for values, attributes in (
        (np.zeros((2, 2)), {}),
        (np.zeros(2, bool), {}),
        (np.zeros(2, np.int64), {"units": "days since 1970-01-01"}),
    ):
        with pytest.raises(ConformError, match="stored in another way"):
            StandingAxis.read("a", values, attributes, named=False)
    assert StandingAxis.read("a", np.zeros(2, np.int64), TIME_ATTRIBUTES, named=False).kind == "time"
