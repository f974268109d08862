"""Cubes with bands last: with their axes moved they are the cubes with bands first, however they came to be."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr

from tests.archives import LONG_AGO, age, make_archive, make_tiff, run_python
from tests.cubes import Contents, as_text, check_same, check_verified, contents, equal
from tests.test_cli import run
from tests.test_cube_growth import Archive, check_against_rasterio, grow
from tests.test_references import export_all, read_all, references
from tests.test_volumes import volume, written
from virtual_tiff import explain, export_references, open_cube, publish, scan, verify
from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube import distribute
from virtual_tiff.cube import open as opening
from virtual_tiff.cube.append import append
from virtual_tiff.cube.draft import Request, draft
from virtual_tiff.cube.sources import read_recipe
from virtual_tiff.errors import ConformError, UsageError

SEEDS: Final = (72, 87, 89, 92, 95, 127)
"""Archives of three bands: interleaved and not, tiles and strips, with and without overviews and masks."""

RGB: Final[dict[str, Any]] = {"shape": (3, 70, 90), "interleave": "pixel"}


class BandsLast(Archive):
    """Scenes whose cube has bands last."""

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of publish."""
        return super().options | {"band_axis": "last"}


def bands_first(cube: Contents) -> Contents:
    """The same with the bands of files before rows, but for what says how chunks are laid out."""
    found: Contents = {}
    for path, (attributes, metadata, array) in cube.items():
        found[path] = (attributes, metadata, array)
        names = [] if metadata is None else list(metadata["dimension_names"])
        if "y" in names and names[-1] == "band":
            at = len(names) - (4 if "plane" in names else 3)
            moved = np.moveaxis(array, -1, at)
            names.insert(at, names.pop())
            found[path] = (attributes, {**metadata, "dimension_names": names, "shape": moved.shape}, moved)
    return found


def check_moved(last: Contents, first: Contents) -> None:
    """Everything is the same but for the order of axes and the codecs."""
    moved = bands_first(last)
    assert moved.keys() == first.keys()
    for path, (attributes, metadata, array) in first.items():
        assert as_text(moved[path][0]) == as_text(attributes), path
        if array is None:
            continue
        assert equal(moved[path][2], array), path
        for name in ("shape", "dimension_names", "fill_value", "data_type"):
            assert as_text(moved[path][1][name]) == as_text(metadata[name]), (path, name)
        assert "transpose" not in as_text(last[path][1]["codecs"])


@pytest.mark.parametrize("seed", range(300) if os.environ.get("VIRTUAL_TIFF_GROWTH") else SEEDS)
def test_cubes_grow_to_what_they_are_at_once(seed: int, tmp_path: Path) -> None:
    archive = BandsLast(seed, tmp_path / "files")
    first, once, grown = tmp_path / "first", tmp_path / "once", tmp_path / "grown"
    publish(archive.inputs(archive.scenes), once, **archive.options)
    publish(archive.inputs(archive.scenes), first, **archive.options | {"band_axis": "first"})
    check_against_rasterio(archive, bands_first(contents(once)))
    check_moved(contents(once), contents(first))
    scenes = archive.random.sample(archive.scenes, len(archive.scenes))
    half = max(1, len(scenes) // 2)
    steps = [part for part in (scenes[:half], scenes[half:]) if part]
    grow(archive, grown, steps, batch=archive.random.choice([1, 10, 10**6]))
    check_same(contents(once), contents(grown))
    assert append(archive.inputs(archive.scenes), grown, time=archive.time).snapshots == ()
    check_verified(grown)


def plan_of(cube: Path) -> dict[str, Any]:
    """The options of the plan as the ledger of a cube says them."""
    recipe = read_recipe(opening.open_repository(cube).readonly_session("main").store, "")
    assert recipe is not None
    return dict(recipe.plan)


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_the_recipe_says_it_only_when_bands_are_last(interleave: str, tmp_path: Path) -> None:
    profile = RGB | {"interleave": interleave}
    pixels = make_archive(tmp_path / "a", 2, **profile)
    publish([tmp_path / "a"], tmp_path / "first")
    publish([tmp_path / "a"], tmp_path / "last", band_axis="last")
    assert "band_axis" not in plan_of(tmp_path / "first")  # as in cubes that are older than the choice
    assert plan_of(tmp_path / "last")["band_axis"] == "last"
    pixels = np.concatenate([pixels, make_tiff(tmp_path / "a/s2.tif", 2, **profile)[None]])
    for name, dims in (("first", ("item", "band", "y", "x")), ("last", ("item", "y", "x", "band"))):
        done = append([tmp_path / "a"], tmp_path / name)
        assert len(done.added) == 1
        found = open_cube(tmp_path / name)["band_data"]
        assert found.dims == dims
        np.testing.assert_array_equal(found.transpose("item", "band", "y", "x"), pixels)
        assert "band_axis" not in plan_of(tmp_path / "first")
        check_verified(tmp_path / name, pixels=1000)


def test_what_is_replaced_and_damaged_is_seen(tmp_path: Path) -> None:
    """Chunks that are compared are named by their places in the cube."""
    make_archive(tmp_path / "a", 2, **RGB | {"interleave": "band"})
    publish([tmp_path / "a"], tmp_path / "cube", band_axis="last")
    found = verify(tmp_path / "cube", pixels=1000)
    assert {one.chunk for one in found.pixels} == set(np.ndindex(2, 2, 3, 3))
    repository = opening.open_repository(tmp_path / "cube")
    session = repository.writable_session("main")
    array = zarr.open_array(session.store, path="band_data", zarr_format=3)
    array[1, 50, 40, 2] = 999
    session.commit("another pixel")
    found = verify(tmp_path / "cube", pixels=1000)
    assert [one.chunk for one in found.pixels if not one.agree] == [(1, 1, 1, 2)]


def test_bands_that_files_are_lead(tmp_path: Path) -> None:
    """An axis of bands that have a file each is none of the axes of a file."""
    for band in ("red", "nir"):
        make_tiff(tmp_path / f"a/s_{band}.tif".replace("a/", ""), len(band))
    for axis in ("first", "last"):
        publish(sorted(tmp_path.glob("s_*.tif")), tmp_path / axis, pattern="s_{band}.tif", band_axis=axis)
    assert open_cube(tmp_path / "last")["band_data"].dims == ("band", "y", "x")
    check_same(contents(tmp_path / "first"), contents(tmp_path / "last"))
    check_verified(tmp_path / "last")


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("compress", ["zstd", None])
def test_rectilinear_grids(interleave: str, compress: str | None, tmp_path: Path) -> None:
    """Tiles of one column, whose strips are no parts of their heights; later times come behind them."""
    pixel = 10.0
    pixels = {}
    for time in (1, 2, 3):
        for number, (top, height) in enumerate(((0, 23), (23, 9), (32, 30))):
            transform = rasterio.Affine(pixel, 0, 500000, 0, -pixel, 4600000 - top * pixel)
            profile = RGB | {"shape": (3, height, 40), "tiled": False, "blockysize": 7, "interleave": interleave}
            path = tmp_path / f"t{number}_2024010{time}.tif"
            pixels[time, number] = make_tiff(
                path, 10 * time + number, transform=transform, compress=compress, **profile
            )
    options: dict[str, Any] = {"pattern": "t{tile}_{time:%Y%m%d}.tif", "mosaic": True, "chunk_grid": "rectilinear"}
    early = sorted(tmp_path.glob("*0[12].tif"))
    publish(early, tmp_path / "first", **options)
    publish(early, tmp_path / "last", **options, band_axis="last")
    check_moved(contents(tmp_path / "last"), contents(tmp_path / "first"))
    append(sorted(tmp_path.glob("*03.tif")), tmp_path / "last")
    whole = np.stack([np.concatenate([pixels[time, number] for number in range(3)], axis=1) for time in (1, 2, 3)])
    found = contents(tmp_path / "last")["/band_data"]
    assert found[1]["chunk_grid"]["name"] == "rectilinear"
    np.testing.assert_array_equal(found[2], np.moveaxis(whole, 1, -1))
    check_verified(tmp_path / "last", pixels=1000)


def test_axes_with_room_and_files_that_come_late(tmp_path: Path) -> None:
    for day in (1, 3, 2):
        make_tiff(tmp_path / f"s_2024010{day}.tif", day, **RGB)
    days = {"time": "2024-01-01/2024-01-04/P1D"}
    shown: dict[str, Any] = {"pattern": "s_{time:%Y%m%d}.tif", "presize": days}
    for axis in ("first", "last"):
        early = [tmp_path / "s_20240101.tif", tmp_path / "s_20240103.tif"]
        publish(early, tmp_path / axis, band_axis=axis, **shown)
        append([tmp_path / "s_20240102.tif"], tmp_path / axis)
    assert open_cube(tmp_path / "last")["band_data"].shape == (4, 70, 90, 3)
    check_moved(contents(tmp_path / "last"), contents(tmp_path / "first"))
    publish([tmp_path / "s_20240103.tif"], tmp_path / "late", pattern=shown["pattern"], band_axis="last")
    assert append([tmp_path / "s_20240101.tif", tmp_path / "s_20240102.tif"], tmp_path / "late").late == 2
    found = open_cube(tmp_path / "late")["band_data"]
    assert equal(found.values, open_cube(tmp_path / "last")["band_data"].values[:3])


def test_a_mosaic_that_grows_before_its_corner(tmp_path: Path) -> None:
    """The chunks that are there move along y and x, which are not the last axes."""

    def tile(row: int, col: int) -> Path:
        path = tmp_path / f"{row}_{col}.tif"
        place = rasterio.Affine(10, 0, 500000 + 640 * col, 0, -10, 4600000 - 960 * row)
        make_tiff(path, 7 * row + col, transform=place, **RGB | {"shape": (3, 96, 64)})
        return path

    tiles = [tile(row, col) for row in range(2) for col in range(3)]
    publish(tiles, tmp_path / "once", mosaic=True, band_axis="last")
    publish([tiles[4]], tmp_path / "grown", mosaic=True, band_axis="last")
    for step in (tiles[3:4], tiles[:2], tiles[2:3] + tiles[5:]):
        append(step, tmp_path / "grown")
    check_same(contents(tmp_path / "once"), contents(tmp_path / "grown"))
    check_verified(tmp_path / "grown", pixels=1000)
    odd = tmp_path / "odd.tif"
    place = rasterio.Affine(10, 0, 500000, 0, -10, 4600000 + 240)
    make_tiff(odd, transform=place, **RGB | {"shape": (3, 24, 64)})
    with pytest.raises(ConformError):
        append([odd], tmp_path / "grown")


def test_groups_that_come_beside_others(tmp_path: Path) -> None:
    make_tiff(tmp_path / "a.tif", 1, **RGB)
    publish([tmp_path / "a.tif"], tmp_path / "cube", group_by="always", band_axis="last")
    make_tiff(tmp_path / "b.tif", 2, **RGB, crs="EPSG:32634")
    assert append([tmp_path / "b.tif"], tmp_path / "cube").new_groups == ("utm34n_10m",)
    for group in ("utm33n_10m", "utm34n_10m"):
        assert open_cube(tmp_path / "cube", group=group)["band_data"].dims[-3:] == ("y", "x", "band")
    check_verified(tmp_path / "cube", pixels=1000)


@pytest.mark.parametrize("planar", [False, True])
def test_volumes(tmp_path: Path, *, planar: bool) -> None:
    pixels = volume("u1", 3, planar=planar)
    form: dict[str, Any] = {"planarconfig": "separate" if planar else "contig", "tile": (2, 16, 16)}
    for number in range(2):
        (tmp_path / f"{number}.tif").write_bytes(written(pixels + np.uint8(number), compression="zstd", **form))
        age(tmp_path / f"{number}.tif")
    for axis in ("first", "last"):
        publish([tmp_path / "0.tif"], tmp_path / axis, band_axis=axis)
        append([tmp_path / "1.tif"], tmp_path / axis)
    check_moved(contents(tmp_path / "last"), contents(tmp_path / "first"))
    found = open_cube(tmp_path / "last")["band_data"]
    assert found.dims == ("item", "plane", "y", "x", "band")
    np.testing.assert_array_equal(found[1], (np.moveaxis(pixels, 0, -1) if planar else pixels) + 1)
    report = verify(tmp_path / "last", pixels=1000)
    assert {one.decoder for one in report.pixels} == {"same"}


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_workers_write_the_same(interleave: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribute, "SHARE", 1)
    make_archive(tmp_path / "a", 4, **RGB | {"interleave": interleave}, tiled=False, blockysize=16)
    publish([tmp_path / "a"], tmp_path / "one", band_axis="last")
    with ThreadPoolExecutor(2) as executor:
        publish([tmp_path / "a"], tmp_path / "many", band_axis="last", executor=executor)
    check_same(contents(tmp_path / "one"), contents(tmp_path / "many"))


def test_picked_bands_and_areas(tmp_path: Path) -> None:
    pixels = make_archive(tmp_path / "a", 2, shape=(4, 70, 90), interleave="band")
    publish([tmp_path / "a"], tmp_path / "cube", bands=[4, 2], window=(40, 0, 10, 10), band_axis="last")
    found = open_cube(tmp_path / "cube")["band_data"]
    assert (found.dims, found["band"].values.tolist()) == (("item", "y", "x", "band"), [4, 2])
    np.testing.assert_array_equal(found, np.moveaxis(pixels[:, [3, 1], :48, 32:64], 1, -1))
    check_verified(tmp_path / "cube", pixels=1000)
    publish([tmp_path / "a"], tmp_path / "apart", band_as="variable", band_axis="last")
    assert open_cube(tmp_path / "apart")["band_3"].dims == ("item", "y", "x")
    make_archive(tmp_path / "b", 2, **RGB)
    with pytest.raises(UsageError, match="interleaved by pixel"):
        publish([tmp_path / "b"], tmp_path / "none", bands=[1], band_axis="last")


def test_one_ledger_serves_both(tmp_path: Path) -> None:
    make_archive(tmp_path / "a", 2, **RGB, compress="lzw", predictor=2)
    scan([tmp_path / "a"], ledger=tmp_path / "scan.parquet")
    for axis in ("first", "last"):
        publish([tmp_path / "scan.parquet"], tmp_path / axis, band_axis=axis)
    check_moved(contents(tmp_path / "last"), contents(tmp_path / "first"))


@pytest.mark.parametrize("strips", ["inline", "pad"])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_short_strips(strips: str, interleave: str, tmp_path: Path) -> None:
    make_archive(tmp_path / "a", 3, **RGB | {"interleave": interleave}, tiled=False, blockysize=16)
    options = ChunkOptions(short_strips=strips)  # type: ignore[arg-type]
    for axis in ("first", "last"):
        publish([tmp_path / "a/s0.tif"], tmp_path / axis, options=options, band_axis=axis)
        append([tmp_path / "a"], tmp_path / axis)
    check_moved(contents(tmp_path / "last"), contents(tmp_path / "first"))
    check_verified(tmp_path / "last", pixels=1000)


# References


@pytest.mark.filterwarnings("ignore:.*fastparquet")
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_references_say_the_same(interleave: str, tmp_path: Path) -> None:
    pixels = make_archive(tmp_path / "a", 2, **RGB | {"interleave": interleave}, tiled=False, blockysize=16)
    for zarr_format in (2, 3):
        done = export_references(
            [tmp_path / "a"], tmp_path / f"v{zarr_format}.json", zarr_format=zarr_format, band_axis="last"
        )
        assert "(item: 2, y: 70, x: 90, band: 3)" in done.arrays
        assert not done.notes
    if interleave == "pixel":  # Zarr v2 had no other choice
        export_references([tmp_path / "a"], tmp_path / "plain.json", zarr_format=2)
        assert references(tmp_path / "plain.json") == references(tmp_path / "v2.json")
    forms = export_all([tmp_path / "a"], tmp_path, band_axis="last")
    for found in read_all(forms, tmp_path, ["band_data"], ("item", "y", "x", "band")):
        np.testing.assert_array_equal(found["band_data"], np.moveaxis(pixels, 1, -1))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_gdal_reads_references(zarr_format: Any, tmp_path: Path) -> None:
    pixels = make_archive(tmp_path / "a", 1, **RGB, compress="zstd", dtype="uint8")
    refs = tmp_path / "refs.json"
    export_references([tmp_path / "a"], refs, zarr_format=zarr_format, band_axis="last", mosaic=True)
    script = f"import rasterio, numpy\nwith rasterio.open('ZARR:\"{refs}\":/band_data') as file:\n"
    script += f"    numpy.save({str(tmp_path / 'a.npy')!r}, file.read())\n    print(file.crs, *file.bounds)"
    with rasterio.open(tmp_path / "a/s0.tif") as file:
        assert run_python(script).strip() == f"{file.crs} {' '.join(map(str, file.bounds))}"
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), pixels[0])


# What is told


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_what_a_plan_amounts_to_is_the_same(interleave: str, tmp_path: Path) -> None:
    make_archive(tmp_path / "a", 2, **RGB | {"interleave": interleave}, compress="zstd")
    plans = [draft([tmp_path / "a"], Request(band_axis=axis)).plan for axis in ("first", "last")]
    (first,), (last,) = (explain(plan).arrays for plan in plans if plan is not None)
    assert (last.map_tile, last.series, last.scene, last.references, last.stored_bytes) == (
        (first.map_tile, first.series, first.scene, first.references, first.stored_bytes)
    )
    assert (last.chunk, list(last.dimensions)) == (
        (1, 48, 32, 3 if interleave == "pixel" else 1),
        ["item", "y", "x", "band"],
    )
    assert last.readers["GDAL"] == "yes, with the open options DIM_X=x and DIM_Y=y"


def test_the_command(tmp_path: Path) -> None:
    make_archive(tmp_path / "a", 2, **RGB, compress="zstd")
    done = run("plan", tmp_path / "a", "--band-axis", "last")
    assert "(item: 2, y: 70, x: 90, band: 3)" in done.out
    assert "GDAL, with the open options DIM_X=x and DIM_Y=y" in done.out
    assert run("publish", tmp_path / "a", "--to", tmp_path / "cube", "--band-axis", "last").code == 0
    assert run("export", tmp_path / "a", "--to", tmp_path / "r.json", "--band-axis", "last").code == 0
    assert json.loads(references(tmp_path / "r.json")["band_data/zarr.json"])["dimension_names"] == [
        "item",
        "y",
        "x",
        "band",
    ]
    make_tiff(tmp_path / "a/s2.tif", 2, **RGB, compress="zstd")
    assert run("append", tmp_path / "a", "--to", tmp_path / "cube").code == 0
    assert open_cube(tmp_path / "cube")["band_data"].shape == (3, 70, 90, 3)
    told = json.loads(run("info", tmp_path / "a/s0.tif", "--band-axis", "last", "--json").out)
    assert told["images"][0]["array"]["dimensions"] == ["y", "x", "band"]
    assert run("plan", tmp_path / "a", "--band-axis", "middle").code == 2
    with pytest.raises(UsageError, match="band_axis='middle'"):
        publish([tmp_path / "a"], tmp_path / "none", band_axis="middle")  # type: ignore[arg-type]


def test_levels_open_as_a_tree(tmp_path: Path) -> None:
    """And masks, which have no bands, stay as they are."""
    for number in range(2):
        path = tmp_path / f"s{number}.tif"
        make_tiff(path, number, **RGB | {"shape": (3, 192, 128)})
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
            file.write_mask(np.random.default_rng(number).random(file.shape) < 0.5)
            file.build_overviews([2])
        age(path, LONG_AGO)
    for axis in ("first", "last"):
        publish([tmp_path / "s0.tif"], tmp_path / axis, overviews=True, band_axis=axis)
        append([tmp_path / "s1.tif"], tmp_path / axis)
    check_moved(contents(tmp_path / "last"), contents(tmp_path / "first"))
    store = opening.open_repository(tmp_path / "last").readonly_session("main").store
    tree = xr.open_datatree(store, engine="zarr", consolidated=False)  # type: ignore[arg-type]
    assert (tree["1/band_data"].dims, tree["1/mask"].dims) == (("item", "y", "x", "band"), ("item", "y", "x"))
    check_verified(tmp_path / "last", pixels=1000)
