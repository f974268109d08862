"""Of files of the same place, "last" is the one that was updated last, where catalogues say that of all of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import zarr

from tests.archives import age, make_tiff
from tests.cubes import check_verified
from virtual_tiff import ConformError, append, open_cube, publish, scan, verify
from virtual_tiff.cube.catalog import read_catalog
from virtual_tiff.cube.draft import Request, plan_request
from virtual_tiff.cube.explain import explain
from virtual_tiff.cube.open import open_repository
from virtual_tiff.cube.times import EPOCH

OLD, MIDDLE, NEW = ({"updated": f"2024-0{month}-01T00:00:00Z"} for month in (1, 2, 3))


def item(path: Path, stated: Mapping[str, Any] | None = None, *, day: int = 1) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": path.stem,
        "properties": {"datetime": f"2024-05-{day:02}T00:00:00Z", **(stated or {})},
        "assets": {"image": {"href": str(path), "type": "image/tiff", "roles": ["data"]}},
        "links": [],
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("versions")
    paths = {name: folder / f"{name}.tif" for name in "abcd"}
    for seed, path in enumerate(paths.values()):
        make_tiff(path, seed)
    return paths


def shows(cube: Path, *expected: Path) -> bool:
    """Whether a cube shows these files, one at each step, as GDAL reads them."""
    pixels = []
    for path in expected:
        with rasterio.open(path) as file:
            pixels.append(file.read(1))
    found = open_cube(cube, mask_and_scale=False)["band_data"].to_numpy().reshape(-1, 70, 90)
    return np.array_equal(found, np.stack(pixels))


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "all are known": ({"a": MIDDLE, "b": NEW, "c": OLD}, "b", "it was updated last, on 2024-03-01 00:00:00 UTC"),
    "else created": (
        {"a": {"created": "2024-04-01T00:00:00Z"}, "b": NEW, "c": OLD},
        "a",
        "it was updated last, on 2024-04-01 00:00:00 UTC",
    ),
    "one is not known": ({"a": NEW, "b": MIDDLE, "c": {}}, "c", "it comes last"),
    "one is damaged": ({"a": NEW, "b": MIDDLE, "c": {"updated": "yesterday"}}, "c", "it comes last"),
    "the same moment": ({"a": NEW, "b": NEW, "c": NEW}, "c", "it comes last"),
    "the newest twice": ({"a": NEW, "b": NEW, "c": OLD}, "b", "it was updated last, on 2024-03-01 00:00:00 UTC"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_file_that_was_updated_last_is_used(case: str, files: Mapping[str, Path], tmp_path: Path) -> None:
    stated, wins, why = CASES[case]
    items = [item(files[name], one) for name, one in stated.items()]
    made = publish(items, tmp_path / "cube", on_duplicate="last")
    others = ", ".join(f"{name}.tif" for name in stated if name != wins)
    assert made.notes == (f"of files of the same place, {wins}.tif is used: {why}; not {others}",)
    assert shows(tmp_path / "cube", files[wins])
    first = publish(items, tmp_path / "first", on_duplicate="first")
    assert first.notes == ("of files of the same place, a.tif is used: it comes first; not b.tif, c.tif",)
    assert shows(tmp_path / "first", files["a"])


def test_the_order_of_the_list_does_not_matter_then(files: Mapping[str, Path]) -> None:
    stated = {"a": NEW, "b": OLD, "c": MIDDLE}
    for names in itertools.permutations(stated):
        request = Request(on_duplicate="last")
        headers = scan([item(files[name], stated[name]) for name in names]).headers
        plan = plan_request(headers, request)
        assert [header.place.local for header in plan.headers] == [files["a"]]
        assert "a.tif is used: it was updated last" in explain(plan).text()


def test_assets_and_tables_and_ledgers_tell_it_too(files: Mapping[str, Path], tmp_path: Path) -> None:
    plain = item(files["a"], OLD)
    plain["assets"]["image"]["updated"] = "2024-06-01T02:00:00+02:00"
    (found,) = read_catalog(plain)
    assert found.updated is not None
    assert found.updated.isoformat() == "2024-06-01T00:00:00+00:00"
    items = [plain, item(files["b"], MIDDLE)]
    rows = [
        {
            "id": one["id"],
            "datetime": one["properties"]["datetime"],
            "updated": one["properties"]["updated"],
            "assets": one["assets"],
        }
        for one in items
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "items.parquet")
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    scan([tmp_path / "items.json"], ledger=tmp_path / "scan.parquet").check()
    for number, name in enumerate(("items.parquet", "items.json", "scan.parquet")):
        publish([tmp_path / name], tmp_path / str(number), on_duplicate="last")
        assert shows(tmp_path / str(number), files["a"]), name


@pytest.mark.parametrize(("unit", "far"), [("s", 1 << 53), ("ms", 1 << 55), ("us", 1 << 62)])
def test_moments_of_tables_that_are_damaged_count_as_absent(
    unit: str, far: int, files: Mapping[str, Path], tmp_path: Path
) -> None:
    items = [item(files[name]) for name in "abc"]
    rows: dict[str, Any] = {
        "id": [one["id"] for one in items],
        "datetime": [one["properties"]["datetime"] for one in items],
        "assets": [one["assets"] for one in items],
        "updated": pa.array([0, far, None], pa.timestamp(unit)),
        "created": pa.array([far, None, 0], pa.timestamp(unit)),
    }
    pq.write_table(pa.table(rows), tmp_path / "items.parquet")
    found = [one.updated for one in read_catalog(tmp_path / "items.parquet")]
    assert found == [EPOCH, None, EPOCH]


def test_no_time_of_pandas_is_none(files: Mapping[str, Path]) -> None:
    (found,) = read_catalog(item(files["a"], {"updated": pd.NaT, "created": pd.Timestamp(0), "start_datetime": pd.NaT}))
    assert (found.updated, found.start) == (EPOCH, None)


def test_what_a_catalogue_says_anew_is_kept_in_the_ledger_of_a_scan(files: Mapping[str, Path], tmp_path: Path) -> None:
    ledger = tmp_path / "scan.parquet"
    for stated, wins in ({"a": NEW, "b": OLD}, "a"), ({"a": OLD, "b": NEW}, "b"):
        found = scan([item(files[name], one) for name, one in stated.items()], ledger=ledger)
        assert found.reused == (0 if wins == "a" else 2)
        publish([ledger], tmp_path / wins, on_duplicate="last")
        assert shows(tmp_path / wins, files[wins])


def test_a_ledger_of_a_scan_without_the_column_goes_on(files: Mapping[str, Path], tmp_path: Path) -> None:
    ledger = tmp_path / "scan.parquet"
    scan([item(files["a"], NEW)], ledger=ledger)
    old = pq.read_table(ledger)
    pq.write_table(old.drop_columns("updated"), ledger)
    assert [header.updated for header in scan([ledger]).headers] == [None]
    found = scan([item(files["a"], NEW), item(files["b"], OLD)], ledger=ledger)
    assert found.reused == 1
    publish([ledger], tmp_path / "cube", on_duplicate="last")
    assert shows(tmp_path / "cube", files["a"])


def appended(items: Sequence[Any], cube: Path, **options: Any) -> tuple[list[str], list[str]]:
    """What an append replaces and leaves out, and that a second one writes nothing."""
    done = append(items, cube, on_duplicate="last", **options)
    again = append(items, cube, on_duplicate="last", **options)
    assert (again.snapshots, again.unchanged) == ((), len(items))
    check_verified(cube)
    return [url[-5] for url in done.replaced], [url[-5] for url in done.unused]


@pytest.mark.parametrize("batch", [1, 10_000])
def test_an_append_takes_what_is_newer_and_leaves_what_is_older(
    batch: int, files: Mapping[str, Path], tmp_path: Path
) -> None:
    cube = tmp_path / "cube"
    publish([item(files["b"], MIDDLE)], cube)
    older = append([item(files["a"], OLD)], cube, on_duplicate="last", dry_run=True)
    assert older.notes == (
        "a.tif is not used: b.tif, which is in the cube, was updated later, on 2024-02-01 00:00:00 UTC",
    )
    assert appended([item(files["a"], OLD)], cube) == ([], ["a"])
    assert shows(cube, files["b"])
    # the newest of a list comes first in it, and may be written in a batch before the others
    replaced, unused = appended([item(files["c"], NEW), item(files["d"], OLD)], cube, batch=batch)
    assert (replaced, unused) == (["c"], ["d"])
    assert shows(cube, files["c"])


@pytest.mark.parametrize("again", ["verify", "append", "other bytes"])
def test_what_is_known_stays_with_the_same_bytes(again: str, files: Mapping[str, Path], tmp_path: Path) -> None:
    touched, cube = tmp_path / "touched.tif", tmp_path / "cube"
    make_tiff(touched, 1)
    publish([item(touched, NEW)], cube)
    if again == "other bytes":
        make_tiff(touched, 9)
    age(touched, 1_710_000_000)
    if again == "verify":
        assert len(verify(cube, accept=True).accepted) == 1
    else:
        assert len(append([touched], cube).replaced) == 1
    unknown = again == "other bytes"
    assert appended([item(files["b"], OLD)], cube) == ((["b"], []) if unknown else ([], ["b"]))
    assert shows(cube, files["b"] if unknown else touched)


def test_without_times_the_later_one_takes_the_place(files: Mapping[str, Path], tmp_path: Path) -> None:
    cube = tmp_path / "cube"
    publish([item(files["b"], NEW)], cube)
    assert appended([item(files["a"])], cube) == (["a"], [])
    assert appended([item(files["c"], OLD)], cube) == (["c"], [])
    assert shows(cube, files["c"])


VERSIONS: dict[str, tuple[Any, Any, Any, str]] = {
    "older": (NEW, OLD, None, "a"),
    "newer": (OLD, NEW, None, "b"),
    "unknown": (NEW, {}, None, "b"),
    "older, and another file that is older": (NEW, OLD, MIDDLE, "a"),
    "older, and another file that is newer": (MIDDLE, OLD, NEW, "c"),
    "newer, and another file that is older": (OLD, NEW, MIDDLE, "b"),
    "newer, and another file that is newer": (OLD, MIDDLE, NEW, "c"),
    "unknown, and another file, too": (NEW, {}, {}, "c"),
}


@pytest.mark.parametrize("case", VERSIONS)
def test_another_file_of_an_item_is_compared_too(case: str, files: Mapping[str, Path], tmp_path: Path) -> None:
    there, other, further, wins = VERSIONS[case]
    cube = tmp_path / "cube"
    publish([item(files["a"], there)], cube)
    offered = [item(files["b"], other) | {"id": "a"}]
    offered += [] if further is None else [item(files["c"], further)]
    replaced, unused = appended(offered, cube)
    assert replaced == ([] if wins == "a" else [wins])
    assert unused == [name for name in "bc"[: len(offered)] if name != wins]
    assert shows(cube, files[wins])


@pytest.mark.parametrize("lacks", ["the column", "rows of it"])
def test_a_cube_without_the_column_grows_and_gets_it(lacks: str, files: Mapping[str, Path], tmp_path: Path) -> None:
    cube = tmp_path / "cube"
    publish([item(files["b"], NEW), item(files["c"], NEW, day=2)], cube)
    session = open_repository(cube).writable_session("main")
    group = zarr.open_group(session.store, path="_sources", mode="r+")
    if lacks == "the column":
        del group["updated"]
    else:
        column: Any = group["updated"]
        column.resize((1,))
    session.commit("as an older program would write it")
    assert appended([item(files["a"], OLD)], cube) == (["a"], [])  # nothing is known of b
    assert appended([item(files["d"], MIDDLE)], cube) == (["d"], [])
    assert shows(cube, files["d"], files["c"])


# Files that were left out


def test_what_was_left_out_stays_out_under_any_rule(files: Mapping[str, Path], tmp_path: Path) -> None:
    items = [item(files[name]) for name in "ab"]
    for rule, wins in ("first", "a"), ("last", "b"):
        cube = tmp_path / rule
        publish(items, cube, on_duplicate=rule)  # type: ignore[arg-type]
        (left,) = {"a", "b"} - {wins}
        for other in ("first", "last", None):
            for offered in (items, items[::-1], items[:1], items[1:]):
                done = append(offered, cube, on_duplicate=other)
                assert (done.snapshots, done.unchanged) == ((), len(offered))
                is_told = other is not None and items["ab".index(left)] in offered
                assert [note.partition(" (")[0] for note in done.notes] == [f"known and not used: {left}.tif"] * is_told
        assert shows(cube, files[wins])


@pytest.mark.parametrize(
    ("stated", "wins"), [({}, True), (NEW, True), (OLD, False)], ids=["unknown", "updated later", "updated before"]
)
def test_what_was_left_out_and_has_changed_is_compared_anew(
    stated: dict[str, str], tmp_path: Path, *, wins: bool
) -> None:
    early, late, cube = tmp_path / "early.tif", tmp_path / "late.tif", tmp_path / "cube"
    make_tiff(early, 1)
    make_tiff(late, 2)
    publish([item(early, OLD), item(late, MIDDLE)], cube, on_duplicate="last")
    assert shows(cube, late)
    make_tiff(early, 3, shape=(1, 70, 90), compress="deflate")
    age(early, 1_710_000_000)
    again = [item(early, stated), item(late, MIDDLE)]
    done = append(again, cube)
    assert [url[-9:] for url in (done.replaced if wins else done.unused)] == ["early.tif"]
    assert shows(cube, early if wins else late)
    assert append(again, cube).snapshots == ()
    check_verified(cube)


@pytest.mark.parametrize("rule", ["first", "last"])
def test_a_file_that_has_changed_and_is_left_out_leaves_no_reference(
    rule: Any, files: Mapping[str, Path], tmp_path: Path
) -> None:
    changed, cube = tmp_path / "changed.tif", tmp_path / "cube"
    make_tiff(changed, 7)
    publish([item(changed, OLD), item(files["b"], OLD, day=2)], cube)
    make_tiff(changed, 8, shape=(1, 70, 90), compress="deflate")
    age(changed, 1_710_000_000)
    offered = {day: [item(files["c"], NEW, day=day), item(changed, MIDDLE, day=day)] for day in (1, 2)}
    with pytest.raises(ConformError, match="has another place than its older version"):
        append(offered[2], cube, on_duplicate=rule)
    append(offered[1], cube, on_duplicate=rule)
    assert shows(cube, files["c"], files["b"])
    check_verified(cube)
