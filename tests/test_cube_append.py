"""Growing cubes: after each append the cube is read in full and compared with what GDAL reads from the files."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import pytest
import rasterio

from tests.archives import LONG_AGO, age, files_below, make_archive, make_tiff
from tests.servers import Bucket, FaultServer, Web
from virtual_tiff.cube import append as append_module
from virtual_tiff.cube import change
from virtual_tiff.cube.append import append
from virtual_tiff.cube.open import open_cube, open_repository
from virtual_tiff.cube.publish import publish
from virtual_tiff.cube.sources import update_rows
from virtual_tiff.cube.verify import verify
from virtual_tiff.errors import ConformError, FormatError, SourceError, TargetError, UsageError


def gdal(paths: Sequence[Path]) -> Any:
    """What GDAL reads from the first band of each file."""
    scenes = []
    for path in paths:
        with rasterio.open(path) as file:
            scenes.append(file.read(1))
    return np.stack(scenes)


def check(cube: Path | str, paths: Sequence[Path], **options: Any) -> None:
    """The cube holds these files, in this order."""
    ds = open_cube(cube, **options)
    assert ds.sizes["item"] == len(paths)
    assert np.array_equal(ds["band_data"].values, gdal(paths))


def history(cube: Path | str) -> list[str]:
    return [snapshot.id for snapshot in open_repository(cube).ancestry(branch="main")]


def test_new_files_come_behind_the_others(archive: Path, cube: Path) -> None:
    make_tiff(archive / "s3.tif", 3)
    make_tiff(archive / "s4.tif", 4)
    done = append([archive], cube)
    assert [url.rpartition("/")[2] for url in done.added] == ["s3.tif", "s4.tif"]
    assert (done.unchanged, done.replaced, done.late, len(done.snapshots)) == (3, (), 0, 1)
    check(cube, [archive / f"s{index}.tif" for index in range(5)])
    ds = open_cube(cube)
    assert list(ds["item"].values) == [f"s{index}.tif" for index in range(5)]
    ledger = open_cube(cube, group="_sources")
    assert list(ledger["url"].values) == [f"file://{archive}/s{index}.tif" for index in range(5)]
    assert list(ledger["size"].values) == [(archive / f"s{index}.tif").stat().st_size for index in range(5)]
    newest = next(iter(open_repository(cube).ancestry(branch="main")))
    assert newest.message.splitlines() == ["Append 2 files", "", "s3.tif", "s4.tif"]
    told = {key: value for key, value in newest.metadata.items() if key != "write"}
    assert told == {"files": 2, "references": done.references, "sources": 5}


def test_twice_is_once(archive: Path, cube: Path) -> None:
    make_tiff(archive / "s3.tif", 3)
    append([archive], cube)
    before, files = history(cube), files_below(cube)
    again = append([archive, archive / "s3.tif"], cube)
    assert (again.added, again.replaced, again.unchanged, again.snapshots) == ((), (), 4, ())
    assert history(cube) == before
    assert files_below(cube) == files


def test_a_dry_run_writes_nothing(archive: Path, cube: Path) -> None:
    make_tiff(archive / "s3.tif", 3)
    make_tiff(archive / "s0.tif", 30)
    age(archive / "s0.tif", LONG_AGO + 5)
    files = files_below(cube)
    done = append([archive], cube, dry_run=True)
    assert [url.rpartition("/")[2] for url in (*done.added, *done.replaced)] == ["s3.tif", "s0.tif"]
    assert (done.unchanged, done.snapshots, done.dry_run) == (2, (), True)
    assert files_below(cube) == files


def test_a_new_version_takes_the_place_of_the_old(archive: Path, cube: Path) -> None:
    before = history(cube)[0]
    make_tiff(archive / "s1.tif", 77, compress="deflate", zlevel=1)
    age(archive / "s1.tif", LONG_AGO + 5)
    done = append([archive], cube)
    assert [url.rpartition("/")[2] for url in done.replaced] == ["s1.tif"]
    check(cube, [archive / f"s{index}.tif" for index in range(3)])
    with pytest.raises(icechunk.StorageError, match="changed"):
        open_cube(cube, snapshot=before)["band_data"].load()
    assert open_cube(cube, group="_sources").sizes["source"] == 3
    assert append([archive], cube).snapshots == ()


def test_missing_tiles_of_a_new_version_are_missing(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    make_archive(folder, 12, shape=(1, 96, 96))
    publish([folder], tmp_path / "cube")
    profile = {"driver": "GTiff", "width": 96, "height": 96, "count": 1, "dtype": "uint16", "crs": "EPSG:32633"}
    options = {"tiled": True, "blockxsize": 32, "blockysize": 48, "compress": "deflate", "SPARSE_OK": True}
    place = rasterio.transform.from_origin(500000.0, 4600000.0, 10.0, 10.0)
    with rasterio.open(folder / "s1.tif", "w", **profile, **options, transform=place) as file:
        file.write(np.full((1, 48, 32), 9, np.uint16), window=((0, 48), (0, 32)))
    age(folder / "s1.tif", LONG_AGO + 5)
    done = append([folder], tmp_path / "cube")
    assert (done.references, len(done.replaced)) == (1, 1)
    check(tmp_path / "cube", [folder / f"s{index}.tif" for index in range(12)])


def test_strips_that_are_stored_inline_and_rectilinear_grids(tmp_path: Path) -> None:
    from virtual_tiff.chunks import ChunkOptions

    for kind in ("inline", "rectilinear"):
        folder = tmp_path / kind
        make_archive(folder, 2, tiled=False, blockysize=16)
        options = ChunkOptions(short_strips=kind)
        publish([folder], tmp_path / f"{kind}.icechunk", options=options)
        make_tiff(folder / "s2.tif", 2, tiled=False, blockysize=16)
        make_tiff(folder / "s0.tif", 50, tiled=False, blockysize=16)
        age(folder / "s0.tif", LONG_AGO + 5)
        append([folder], tmp_path / f"{kind}.icechunk")
        if kind == "inline":
            check(tmp_path / f"{kind}.icechunk", [folder / f"s{index}.tif" for index in range(3)])
            continue
        import zarr

        with zarr.config.set({"array.rectilinear_chunks": True}):
            store = open_repository(tmp_path / f"{kind}.icechunk").readonly_session("main").store
            seen = zarr.open_array(store, path="band_data", mode="r")[:]
        assert np.array_equal(seen, gdal([folder / f"s{index}.tif" for index in range(3)]))


def test_bands_and_attributes_that_differ(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    made = make_archive(folder, 2, shape=(3, 70, 90))
    for path in folder.iterdir():
        with rasterio.open(path, "r+") as file:
            file.update_tags(TIFFTAG_SOFTWARE="one")
        age(path)
    publish([folder], tmp_path / "cube")
    made = np.concatenate([made, make_tiff(folder / "s2.tif", 2, shape=(3, 70, 90))[np.newaxis]])
    append([folder], tmp_path / "cube")
    ds = open_cube(tmp_path / "cube")
    assert np.array_equal(ds["band_data"].values, made)
    assert "one" not in str(ds["band_data"].attrs)
    assert ds["band_data"].attrs["grid_mapping" if "grid_mapping" in ds["band_data"].attrs else "AREA_OR_POINT"]
    with rasterio.open(folder / "s2.tif") as file:
        profile = dict(file.profile)
    with rasterio.open(folder / "s3.tif", "w", **profile) as file:
        file.write(made[0])
        file.descriptions = ("a", "b", "c")
    age(folder / "s3.tif")
    named = append([folder], tmp_path / "cube")
    assert len(named.added) == 1


@pytest.mark.parametrize(
    "profile",
    [{"shape": (1, 71, 90)}, {"dtype": "int16"}, {"compress": "lzw"}, {"nodata": 3}, {"crs": "EPSG:32634"}],
    ids=str,
)
def test_files_that_do_not_fit_are_refused(profile: dict[str, Any], archive: Path, cube: Path) -> None:
    make_tiff(archive / "t0.tif", 5)
    make_tiff(archive / "t1.tif", 6, **profile)
    before, files = history(cube), files_below(cube)
    for dry_run in (True, False):
        with pytest.raises(ConformError) as caught:
            append([archive], cube, dry_run=dry_run)
        assert "t1.tif" in str(caught.value)
    assert (history(cube), files_below(cube)) == (before, files)


def test_files_that_cannot_be_read(archive: Path, cube: Path) -> None:
    (archive / "t0.tif").write_bytes(b"no tiff")
    make_tiff(archive / "t1.tif", 6)
    with pytest.raises(FormatError):
        append([archive], cube)
    assert len(history(cube)) == 2
    failures: list[Any] = []
    done = append([archive], cube, on_error="skip", on_failure=failures.append)
    assert [url.rpartition("/")[2] for url in done.failed] == ["t0.tif"]
    assert len(failures) == 1
    check(cube, [*(archive / f"s{index}.tif" for index in range(3)), archive / "t1.tif"])
    with pytest.raises(SourceError) as caught:
        append([archive / "gone.tif"], cube)
    assert caught.value.feature == "not-found"


def test_files_of_another_folder_and_of_equal_names(archive: Path, cube: Path, tmp_path: Path) -> None:
    make_archive(tmp_path / "other" / "archive", 2)
    done = append([tmp_path / "other"], cube)
    assert len(done.new_containers) == 1
    other = [tmp_path / f"other/archive/s{index}.tif" for index in range(2)]
    check(cube, [*(archive / f"s{index}.tif" for index in range(3)), *other])
    assert len(set(open_cube(cube)["item"].values.tolist())) == 5
    assert append([tmp_path / "other"], cube).snapshots == ()


def test_many_commits_when_asked_for(archive: Path, cube: Path) -> None:
    for index in range(3, 8):
        make_tiff(archive / f"s{index}.tif", index)
    done = append([archive], cube, batch=13)  # 6 references per file
    assert len(done.snapshots) == 3
    assert history(cube)[:3] == list(reversed(done.snapshots))
    check(cube, [archive / f"s{index}.tif" for index in range(8)])
    before = open_cube(cube, snapshot=done.snapshots[0])
    assert np.array_equal(before["band_data"].values, gdal([archive / f"s{index}.tif" for index in range(5)]))


def test_a_group_of_a_repository(archive: Path, cube: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    make_archive(other, 2, shape=(1, 33, 44))
    publish([other], cube, group="era/two", into=True)
    make_tiff(other / "s2.tif", 2, shape=(1, 33, 44))
    make_tiff(archive / "s3.tif", 3)
    append([other], cube, group="era/two")
    append([archive], cube)
    check(cube, [other / f"s{index}.tif" for index in range(3)], group="era/two")
    check(cube, [archive / f"s{index}.tif" for index in range(4)])


def test_what_cannot_grow(archive: Path, cube: Path, tmp_path: Path, web: Web) -> None:
    for place, group, feature in (
        (tmp_path / "nothing", "", "target-missing"),
        (cube, "elsewhere", "target-not-a-cube"),
        (f"{web.url}cube", "", "target-denied"),
    ):
        with pytest.raises(TargetError) as caught:
            append([archive], place, group=group)
        assert caught.value.feature == feature
    for options in ({"batch": 0}, {"on_error": "maybe"}):
        with pytest.raises(UsageError):
            append([archive], cube, **options)


# Axes of times


def stamp(path: Path, day: int, seed: int, **profile: Any) -> None:
    """Write a scene with the date in its DateTime tag."""
    make_tiff(path, seed, **profile)
    with rasterio.open(path, "r+") as file:
        file.update_tags(TIFFTAG_DATETIME=f"2024:05:{day:02d} 10:30:0{seed % 10}")
    age(path, LONG_AGO + seed)


def check_times(cube: Path, scenes: dict[int, Path]) -> None:
    ds = open_cube(cube)
    assert [int(str(time)[8:10]) for time in ds["time"].values] == sorted(scenes)
    assert np.array_equal(ds["band_data"].values, gdal([scenes[day] for day in sorted(scenes)]))


@pytest.fixture
def series(tmp_path: Path) -> dict[int, Path]:
    (tmp_path / "series").mkdir()
    scenes = {day: tmp_path / f"series/day{day}.tif" for day in (3, 7, 11)}
    for day, path in scenes.items():
        stamp(path, day, day)
    publish(scenes.values(), tmp_path / "times", time="auto")
    return scenes


def test_late_files_are_put_in_order(series: dict[int, Path], tmp_path: Path) -> None:
    cube = tmp_path / "times"
    check_times(cube, series)
    for days, late in (((15,), 0), ((5, 9, 1, 20), 3)):
        for day in days:
            series[day] = tmp_path / f"series/day{day}.tif"
            stamp(series[day], day, day)
        done = append([tmp_path / "series"], cube)
        assert (len(done.added), done.late) == (len(days), late)
        check_times(cube, series)
    raw = open_cube(cube, decode_times=False)["time"]
    assert raw.dtype == np.int64
    assert raw.attrs["units"].startswith("microseconds since 1970")
    assert append([tmp_path / "series"], cube).snapshots == ()


def test_late_and_replaced_sparse_files(series: dict[int, Path], tmp_path: Path) -> None:
    cube = tmp_path / "times"
    stamp(series[3], 3, 53)
    series[5] = tmp_path / "series/day5.tif"
    profile = {"driver": "GTiff", "width": 90, "height": 70, "count": 1, "dtype": "uint16", "crs": "EPSG:32633"}
    options = {"tiled": True, "blockxsize": 32, "blockysize": 48, "compress": "deflate", "SPARSE_OK": True}
    place = rasterio.transform.from_origin(500000.0, 4600000.0, 10.0, 10.0)
    with rasterio.open(series[5], "w", **profile, **options, transform=place) as file:
        file.update_tags(TIFFTAG_DATETIME="2024:05:05 00:00:00")
        file.write(np.full((1, 48, 32), 9, np.uint16), window=((0, 48), (0, 32)))
    age(series[5])
    done = append([tmp_path / "series"], cube)
    assert (len(done.added), len(done.replaced), done.late) == (1, 1, 1)
    check_times(cube, series)


def test_a_grown_series_is_verified(series: dict[int, Path], tmp_path: Path) -> None:
    series[5] = tmp_path / "series/day5.tif"
    stamp(series[5], 5, 5)
    append([tmp_path / "series"], tmp_path / "times")
    found = verify(tmp_path / "times", pixels=12, seed=1)
    assert found.ok
    assert len(found.pixels) == 12
    assert {one.url for one in found.sources} == {f"file://{path}" for path in series.values()}


def test_two_files_at_one_time_are_refused(series: dict[int, Path], tmp_path: Path) -> None:
    cube = tmp_path / "times"
    stamp(tmp_path / "series/other.tif", 7, 7)
    before = history(cube)
    with pytest.raises(ConformError) as caught:
        append([tmp_path / "series"], cube)
    assert "other.tif" in str(caught.value)
    (tmp_path / "series/other.tif").unlink()
    stamp(series[7], 8, 7)
    age(series[7], LONG_AGO + 100)
    with pytest.raises(ConformError) as caught:
        append([tmp_path / "series"], cube)
    assert "day7.tif" in str(caught.value)
    assert history(cube) == before


def test_overviews_grow_too(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    make_archive(folder, 3, shape=(1, 128, 128), blockxsize=32, blockysize=32)

    def build(path: Path) -> None:
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4], rasterio.enums.Resampling.nearest)
        age(path)

    for path in folder.iterdir():
        build(path)
    publish([folder], tmp_path / "cube", overviews=True)
    make_tiff(folder / "s3.tif", 3, shape=(1, 128, 128), blockxsize=32, blockysize=32)
    build(folder / "s3.tif")
    append([folder], tmp_path / "cube")
    for level in range(3):
        seen = open_cube(tmp_path / "cube", level=level)["band_data"].values
        for index in range(4):
            options = {} if level == 0 else {"overview_level": level - 1}
            with rasterio.open(folder / f"s{index}.tif", **options) as file:
                assert np.array_equal(seen[index], file.read(1))
    with pytest.raises(TargetError) as caught:
        open_cube(tmp_path / "cube", level=3)
    assert "[0, 1, 2]" in str(caught.value)
    before = history(tmp_path / "cube")
    make_tiff(folder / "s4.tif", 4, shape=(1, 128, 128), blockxsize=32, blockysize=32)
    with pytest.raises((ConformError, UsageError)):
        append([folder], tmp_path / "cube")
    assert history(tmp_path / "cube") == before


# Other writers


def test_another_writer_that_is_faster(archive: Path, cube: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiff(archive / "s3.tif", 3)
    make_tiff(archive / "s4.tif", 4)
    make_tiff(archive / "s5.tif", 5)
    real = update_rows
    turns: list[int] = []

    def overtaken(*arguments: Any) -> None:
        real(*arguments)
        if not turns:  # once, right before the commit, while the lock is not there
            turns.append(1)
            append([archive / "s4.tif", archive / "s5.tif"], cube)

    monkeypatch.setattr(append_module, "writing", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(change, "update_rows", overtaken)
    done = append([archive / "s3.tif", archive / "s4.tif"], cube)
    assert [url.rpartition("/")[2] for url in done.added] == ["s3.tif"]
    check(cube, [archive / f"s{index}.tif" for index in (0, 1, 2, 4, 5, 3)])


# Other stores


def test_on_s3(bucket: Bucket, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    store = bucket.store()
    make_tiff(archive / "s3.tif", 3)
    for index in range(3):
        store.put(f"in/s{index}.tif", (archive / f"s{index}.tif").read_bytes())
    publish([f"{bucket.url}in/"], f"{bucket.url}out/cube")
    store.put("in/s0.tif", (archive / "s0.tif").read_bytes())  # touched
    store.put("in/s1.tif", (archive / "s3.tif").read_bytes())
    store.put("in/s3.tif", (archive / "s3.tif").read_bytes())
    done = append([f"{bucket.url}in/"], f"{bucket.url}out/cube")
    assert (len(done.added), len(done.replaced), done.unchanged) == (1, 1, 2)
    check(f"{bucket.url}out/cube", [archive / f"s{index}.tif" for index in (0, 3, 2, 3)])
    assert append([f"{bucket.url}in/"], f"{bucket.url}out/cube").snapshots == ()


def test_a_server_that_fails_one_request_in_ten(faults: FaultServer, tmp_path: Path) -> None:
    make_archive(faults.root, 24)
    urls = [f"{faults.url}s{index}.tif" for index in range(24)]
    faults.faults.every = 10
    publish(urls[:12], tmp_path / "cube")
    append(urls, tmp_path / "cube")
    assert append(urls, tmp_path / "cube").snapshots == ()
    assert any(request.status == 503 for request in faults.log)
    faults.faults.every = 0
    check(tmp_path / "cube", [faults.root / f"s{index}.tif" for index in range(24)])


def test_a_tile_that_overlaps_with_others_becomes_one_more_part(tmp_path: Path) -> None:
    folder = tmp_path / "tiles"
    folder.mkdir()

    def tile(name: str, west: float, seed: int) -> Path:
        place = rasterio.transform.from_origin(west, 4600000.0, 10.0, 10.0)
        make_tiff(folder / f"{name}_20240501.tif", seed, shape=(1, 96, 96), transform=place)
        return folder / f"{name}_20240501.tif"

    tile("a", 500000.0, 1)
    tile("b", 500500.0, 2)
    cube = tmp_path / "cube"
    publish([folder], cube, pattern="{tile}_{time:%Y%m%d}.tif", on_conflict="split")
    late = tile("c", 501000.0, 3)
    done = append([folder], cube)
    assert (len(done.added), done.new_groups) == (1, ("utm33n_10m_part3",))
    assert append([folder], cube).snapshots == ()
    with rasterio.open(late) as file:
        assert np.array_equal(open_cube(cube, group="utm33n_10m_part3")["band_data"].values[0], file.read(1))
