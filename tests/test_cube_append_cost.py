"""What an append reads and writes of axes: their last chunks, however many values they have; and all stays right."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import zarr

from tests.archives import age, make_tiff
from virtual_tiff.cube import sources, write
from virtual_tiff.cube.append import append
from virtual_tiff.cube.names import new_names
from virtual_tiff.cube.nodes import coordinate_keys
from virtual_tiff.cube.open import open_cube, open_repository
from virtual_tiff.cube.publish import publish
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.standing_axis import StandingAxis
from virtual_tiff.cube.write import put
from virtual_tiff.errors import ConformError, TargetError
from virtual_tiff.geo.coordinate import Coordinate

ROWS = 4
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Axes and columns of the ledger in chunks of a few values."""
    for module in (write, sources):
        monkeypatch.setattr(module, "coordinate_keys", small_keys)


def small_keys(coordinate: Any, *, growing: bool = False, **_: Any) -> Any:
    return coordinate_keys(coordinate, growing=growing, rows=ROWS)


def scene(path: Path, number: int, *, dated: bool = False, overviews: bool = False, **profile: Any) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    make_tiff(path, number, **profile)
    with rasterio.open(path, "r+") as file:
        if dated:
            file.update_tags(TIFFTAG_DATETIME=(NOON + timedelta(hours=number)).strftime("%Y:%m:%d %H:%M:%S"))
        if overviews:
            file.build_overviews([2], rasterio.enums.Resampling.nearest)
    age(path)
    return path


def scenes(folder: Path, numbers: Sequence[int], **options: Any) -> list[Path]:
    return [scene(folder / f"s{number:02}.tif", number, **options) for number in numbers]


def check(cube: Path, paths: Sequence[Path], level: int | None = None) -> Any:
    """The cube holds these files, in this order; returns its dataset."""
    ds = open_cube(cube, level=level)
    options = {"overview_level": level - 1} if level else {}
    for path, seen in zip(paths, ds["band_data"].values, strict=True):
        with rasterio.open(path, **options) as file:
            assert np.array_equal(seen, file.read(1))
    return ds


def written(cube: Path, array: str) -> list[int]:
    """The chunks of an array that the last commit has changed, by their first number."""
    repository = open_repository(cube)
    newest, before, *_ = (one.id for one in repository.ancestry(branch="main"))
    changed = repository.diff(from_snapshot_id=before, to_snapshot_id=newest).updated_chunks
    return sorted(index[0] for index in changed.get(array, ()))


def forbid_whole_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(_: StandingAxis) -> Any:
        pytest.fail("the whole axis is read")

    monkeypatch.setattr(StandingAxis, "values", property(whole))


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("dated", [False, True])
def test_an_append_reads_and_writes_the_last_chunks(
    dated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"dated": dated, "overviews": True, "shape": (1, 64, 64), "blockxsize": 32, "blockysize": 32}
    old = scenes(tmp_path / "a", range(10), **options)
    cube = tmp_path / "cube"
    publish(old, cube, overviews=True, time="auto" if dated else None)
    new = scenes(tmp_path / "a", range(10, 13), **options)
    with monkeypatch.context() as patch:
        forbid_whole_axes(patch)
        append(new, cube)
    axis = "time" if dated else "item"
    for level in (0, 1):
        assert written(cube, f"/{level}/{axis}") == [2, 3]  # of values 8 to 12
        assert set(written(cube, f"/{level}/band_data")) == {10, 11, 12}
        ds = check(cube, [*old, *new], level)
        if dated:
            assert np.array_equal(
                ds["time"].values, np.datetime64("2024-05-01T12:00:00", "us") + np.arange(13) * 3600000000
            )
        else:
            assert ds["item"].values.tolist() == [path.name for path in (*old, *new)]
    for column in ("url", "label", "url_key"):
        assert written(cube, f"/_sources/{column}") == [2, 3]


def rechunked(cube: Path, axis: str) -> None:
    """Store an axis in one chunk of just its length."""
    session = open_repository(cube).writable_session("main")
    array: Any = zarr.open_array(session.store, path=axis, mode="r")
    coordinate = Coordinate(axis, (axis,), np.asarray(array[:]), dict(array.attrs))
    run(session.store.delete_dir(axis))
    for key, value in coordinate_keys(coordinate):
        run(put(session.store, key, value))
    session.commit("one chunk")
    assert zarr.open_array(session.store, path=axis, mode="r").chunks == array.shape


@pytest.mark.parametrize("axis", ["item", "time"])
def test_axes_in_one_chunk_are_extended(axis: str, tmp_path: Path) -> None:
    dated = axis == "time"
    paths = scenes(tmp_path / "a", range(3, 6), dated=dated)
    cube = tmp_path / "cube"
    publish(paths, cube, time="auto" if dated else None)
    rechunked(cube, axis)
    for numbers in ([6], [7, 8, 9, 10], [12], [11]):
        more = scenes(tmp_path / "a", numbers, dated=dated)
        paths = sorted([*paths, *more]) if dated else [*paths, *more]
        done = append(more, cube)
        assert done.late == int(dated and numbers == [11])
        ds = check(cube, paths)
        if dated:
            assert np.all(np.diff(ds["time"].values) > np.timedelta64(0, "s"))
        else:
            assert ds["item"].values.tolist() == [path.name for path in paths]
    assert append([tmp_path / "a"], cube).unchanged == 10


@pytest.mark.usefixtures("small_chunks")
def test_names_that_are_there_are_not_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cube = tmp_path / "cube"
    paths = scenes(tmp_path / "a", range(6))
    publish(paths, cube)
    forbid_whole_axes(monkeypatch)
    for folder in ("b", "c"):
        paths += scenes(tmp_path / folder, [2, 4, 6])
        append([tmp_path / folder], cube)
    names = check(cube, paths)["item"].values.tolist()
    assert names[6:] == ["b/s02.tif", "b/s04.tif", "b/s06.tif", "c/s02.tif", "c/s04.tif", "c/s06.tif"]
    with pytest.raises(ConformError, match=r"two files with the name /a/s02.tif"):
        new_names(["/a/s02.tif"], "s01.tif", set)


@pytest.mark.usefixtures("small_chunks")
def test_names_beside_those_of_files_are_not_given_either(tmp_path: Path) -> None:
    cube = tmp_path / "cube"
    paths = scenes(tmp_path / "a", range(3))
    publish(paths, cube, presize={"item": ["s05.tif"]})
    before = open_cube(cube)["item"].values.tolist()
    append(scenes(tmp_path / "a", [4, 5]), cube)
    after = open_cube(cube)["item"].values.tolist()
    assert after == [*before, "a/s04.tif", "a/s05.tif"]
    ds = open_cube(cube)["band_data"]
    for name, path in (("a/s05.tif", tmp_path / "a/s05.tif"), ("s01.tif", tmp_path / "a/s01.tif")):
        with rasterio.open(path) as file:
            assert np.array_equal(ds.sel(item=name).values, file.read(1))


@pytest.mark.usefixtures("small_chunks")
def test_new_versions_find_their_names(tmp_path: Path) -> None:
    cube = tmp_path / "cube"
    paths = scenes(tmp_path / "a", range(9))
    publish(paths, cube)
    for number in (2, 7):
        make_tiff(paths[number], 90 + number)
        age(paths[number], 1_600_000_100 + number)
    paths += scenes(tmp_path / "a", [9, 10])
    done = append([tmp_path / "a"], cube)
    assert (len(done.replaced), len(done.added)) == (2, 2)
    assert check(cube, paths)["item"].values.tolist() == [path.name for path in paths]


@pytest.mark.usefixtures("small_chunks")
def test_groups_of_names_know_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cube = tmp_path / "cube"
    zones = {"utm33n_10m": 32633, "utm34n_10m": 32634}
    for name, code in zones.items():
        scenes(tmp_path / name, range(5), crs=f"EPSG:{code}")
    publish([tmp_path / name for name in zones], cube)
    forbid_whole_axes(monkeypatch)
    for name, code in zones.items():
        scenes(tmp_path / name, [5, 6], crs=f"EPSG:{code}")
    done = append([tmp_path / name for name in zones], cube)
    assert (len(done.added), done.unchanged) == (4, 10)
    for name in zones:
        ds = open_cube(cube, group=name)
        assert ds["item"].values.tolist() == [f"s{number:02}.tif" for number in range(7)]
        for item, seen in zip(ds["item"].values, ds["band_data"].values, strict=True):
            with rasterio.open(tmp_path / name / item) as file:
                assert np.array_equal(seen, file.read(1))


@pytest.mark.parametrize("change", ["value", "length"])
def test_levels_whose_axes_differ_are_refused(change: str, tmp_path: Path) -> None:
    cube = tmp_path / "cube"
    options = {"dated": True, "overviews": True, "shape": (1, 64, 64), "blockxsize": 32, "blockysize": 32}
    publish(scenes(tmp_path / "a", range(3), **options), cube, overviews=True, time="auto")
    session = open_repository(cube).writable_session("main")
    array: Any = zarr.open_array(session.store, path="1/time", mode="r+")
    if change == "value":
        array[2] += 1
    else:
        array.resize((2,))
    session.commit("elsewhere")
    with pytest.raises(TargetError, match="axis time of /1 is not that of the finest level") as caught:
        append(scenes(tmp_path / "a", [3], **options), cube)
    assert caught.value.feature == "target-not-a-cube"
