"""Archives with the traps that real ones have: what becomes of them, at once and when they grow."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import zarr
from affine import Affine
from rasterio.transform import from_origin

from tests.archives import LONG_AGO, age, make_tiff, run_python
from tests.cubes import check_same, check_verified, contents, equal, snapshots, values
from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube.append import append
from virtual_tiff.cube.groups import plan
from virtual_tiff.cube.publish import publish, publish_plan
from virtual_tiff.cube.scan import scan
from virtual_tiff.cube.verify import verify
from virtual_tiff.errors import ConformError, SourceError, UsageError

NAMES = "{time:%Y%m%d}_{band}.tif"
BLOCKS: dict[str, Any] = {"blockxsize": 32, "blockysize": 32, "shape": (1, 64, 64)}


def make(folder: Path, name: str, seed: int = 0, **profile: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    make_tiff(folder / name, seed, **BLOCKS | profile)
    return folder / name


def read(path: Path) -> Any:
    """What rasterio reads: the first band."""
    with rasterio.open(path) as file:
        return file.read(1)


def refusal(inputs: Sequence[Any], cube: Path, **options: Any) -> str:
    """Why an append is refused; it leaves no trace."""
    before = snapshots(cube)
    with pytest.raises(ConformError) as caught:
        append(inputs, cube, **options)
    assert snapshots(cube) == before
    return str(caught.value)


def item(name: str, day: int, **assets: Path) -> dict[str, Any]:
    """A STAC item."""
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "geometry": None,
        "links": [],
        "properties": {"datetime": f"2024-01-{day:02d}T00:00:00Z"},
        "assets": {
            key: {"href": str(path), "roles": ["data"], "type": "image/tiff; application=geotiff"}
            for key, path in assets.items()
        },
    }


# What must not be mixed


def test_another_band_is_not_appended_without_an_axis_for_it(tmp_path: Path) -> None:
    first = [make(tmp_path / "a", f"2024010{day}_B02.tif", day) for day in (1, 2)]
    later = make(tmp_path / "a", "20240103_B03.tif", 3)
    publish(first, tmp_path / "cube", pattern=NAMES)
    assert "20240103_B03.tif has the band 'B03', but the files of the cube have 'B02'" in refusal(
        [later], tmp_path / "cube"
    )
    publish(first, tmp_path / "axis", pattern=NAMES, axes=["band"])
    append([later], tmp_path / "axis")
    assert np.array_equal(values(tmp_path / "axis")[2, 1], read(later))
    assert contents(tmp_path / "axis")["/band"][2].tolist() == ["B02", "B03"]


def test_another_product_is_not_appended_without_an_axis_for_it(tmp_path: Path) -> None:
    first = [make(tmp_path / "a", f"h1_NDVI_2024010{day}.tif", day) for day in (1, 2)]
    publish(first, tmp_path / "cube", pattern="{tile}_{product}_{time:%Y%m%d}.tif")
    later = make(tmp_path / "a", "h1_EVI_20240103.tif", 3)
    assert "the product 'EVI', but the files of the cube have 'NDVI'" in refusal([later], tmp_path / "cube")
    beside = make(tmp_path / "a", "h2_NDVI_20240103.tif", 4, transform=from_origin(500640.0, 4600000.0, 10, 10))
    append([beside], tmp_path / "cube")  # a tile of another name is another ground
    again = make(tmp_path / "a", "h2_NDVI_20240104.tif", 5, transform=from_origin(500640.0, 4600000.0, 10, 10))
    append([again], tmp_path / "cube")
    assert np.array_equal(values(tmp_path / "cube")[3, :, 64:], read(again))


def test_assets_of_several_names_are_not_mixed(tmp_path: Path) -> None:
    paths = [make(tmp_path / "a", f"x{number}.tif", number) for number in range(3)]
    items = [item("one", 1, B02=paths[0]), item("two", 2, B03=paths[1])]
    with pytest.raises(ConformError, match=r"is the asset 'B03' of its item, and x0\.tif the asset 'B02'"):
        publish(items, tmp_path / "cube")
    publish(items[:1], tmp_path / "cube")
    assert "the asset 'B03'" in refusal(items[1:], tmp_path / "cube")
    publish(items[:1], tmp_path / "axis", axes=["band"])
    append(items[1:], tmp_path / "axis")
    assert np.array_equal(values(tmp_path / "axis")[1, 1], read(paths[1]))
    named = [item("one", 1, **{"x0.tif": paths[0]}), item("two", 2, x1=paths[1])]  # keys that are names of files
    publish(named, tmp_path / "named")
    append([item("three", 3, x2=paths[2])], tmp_path / "named")
    assert np.array_equal(values(tmp_path / "named"), np.stack([read(path) for path in paths]))


# Growth


@pytest.mark.parametrize("count", [1, 3])
def test_variables_that_mean_different_things_grow_apart(count: int, tmp_path: Path) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "B02": {},
        "SCL": {"dtype": "uint8", "nodata": 0},
        "V": {"dtype": "float32", "compress": "lzw"},
    }
    paths = [
        make(tmp_path / "a", f"2024010{day}_{band}.tif", day, **profile)
        for day in (1, 2, 3)
        for band, profile in kinds.items()
    ]
    options: dict[str, Any] = {"pattern": NAMES, "band_as": "variable"}
    publish(paths[:count], tmp_path / "cube", **options)
    for path in random.Random(count).sample(paths[count:], len(paths) - count):
        append([path], tmp_path / "cube")
    for number, band in enumerate(kinds):
        assert equal(values(tmp_path / "cube", band), np.stack([read(path) for path in paths[number::3]]))
    publish(paths, tmp_path / "once", **options)
    check_same(contents(tmp_path / "once"), contents(tmp_path / "cube"))
    check_verified(tmp_path / "cube")
    other = make(tmp_path / "a", "20240104_SCL.tif", 9, dtype="uint8", nodata=7)
    assert "nodata (7, not 0)" in refusal([other], tmp_path / "cube")


def test_masks_of_variables_keep_their_names(tmp_path: Path) -> None:
    def masked(name: str, seed: int) -> Path:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            path = make(tmp_path / "a", name, seed)
            with rasterio.open(path, "r+") as file:
                file.write_mask((file.read(1) > 90).astype(np.uint8) * 255)
        age(path, LONG_AGO + seed)
        return path

    paths = [masked(f"2024010{day}_{band}.tif", day) for day in (1, 2) for band in ("B02", "B03")]
    publish(paths, tmp_path / "cube", pattern=NAMES, band_as="variable", overviews=True)
    masked(paths[1].name, 7)
    assert len(append([paths[1]], tmp_path / "cube").replaced) == 1
    found = contents(tmp_path / "cube")
    assert "/0/mask" not in found
    with rasterio.open(paths[1]) as file:
        assert np.array_equal(found["/0/B03_mask"][2][0], file.read_masks(1) > 0)
        assert np.array_equal(found["/0/B03"][2][0], file.read(1))


def test_what_is_left_out_stays_left_out(tmp_path: Path) -> None:
    paths = [make(tmp_path / "a", f"2024010{day}_{band}.tif", day) for day in (1, 2) for band in ("B02", "B03")]
    publish(paths[:2], tmp_path / "bands", pattern=NAMES, bands=["B03"])
    assert append(paths[:2], tmp_path / "bands").snapshots == ()
    done = append(paths, tmp_path / "bands")
    assert (done.added, done.unused) == ((f"file://{paths[3]}",), (f"file://{paths[2]}",))
    assert np.array_equal(values(tmp_path / "bands"), np.stack([read(paths[1]), read(paths[3])]))
    assert append(paths, tmp_path / "bands").snapshots == ()
    check_verified(tmp_path / "bands")
    tiles = [
        make(
            tmp_path / "b", f"t{col}{row}.tif", 10 + 3 * col + row, transform=from_origin(640 * col, -640 * row, 10, 10)
        )
        for col, row in itertools.product(range(3), range(3))
    ]
    publish(tiles, tmp_path / "area", bounds=(700, -1200, 1800, -700))
    assert append(tiles, tmp_path / "area").snapshots == ()
    assert np.array_equal(values(tmp_path / "area")[:, :64], read(tiles[4]))
    assert values(tmp_path / "area").shape == (64, 128)


def test_sources_are_read_again_without_the_function_that_told_their_times(tmp_path: Path) -> None:
    paths = [make(tmp_path / "a", f"s{day}.tif", day) for day in (1, 2, 3)]

    def moment(url: str) -> datetime:
        return datetime(2024, 1, int(url[-5]), tzinfo=UTC)

    publish(paths[:2], tmp_path / "cube", time=moment)
    make(tmp_path / "a", "s2.tif", 9)
    age(paths[1], LONG_AGO + 9)
    assert verify(tmp_path / "cube", fix=True).fixed == (f"file://{paths[1]}",)
    assert np.array_equal(values(tmp_path / "cube"), np.stack([read(path) for path in paths[:2]]))
    with pytest.raises(UsageError, match="came from a function"):
        append(paths, tmp_path / "cube")
    append(paths, tmp_path / "cube", time=moment)
    assert np.array_equal(values(tmp_path / "cube"), np.stack([read(path) for path in paths]))


def test_a_level_that_cannot_grow_is_named(tmp_path: Path) -> None:
    paths = []
    for col in range(2):
        path = make(tmp_path / "a", f"t{col}.tif", col, transform=from_origin(640 * col, 0, 10, 10))
        with rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE="64"), rasterio.open(path, "r+") as file:
            file.build_overviews([2])
        age(path, LONG_AGO)
        paths.append(path)
    publish(paths[:1], tmp_path / "cube", overviews=True, mosaic=True)
    told = refusal(paths[1:], tmp_path / "cube")
    assert "level 1: t0.tif" in told or "level 1: t1.tif" in told
    assert "overviews=[0]" in told


@pytest.mark.parametrize("flag", [True, False])
def test_cubes_of_unequal_strips_are_verified(flag: bool, tmp_path: Path) -> None:
    for number in range(2):
        make(tmp_path / "a", f"s{number}.tif", number, tiled=False, blockysize=16, shape=(1, 70, 90))
    publish([tmp_path / "a"], tmp_path / "cube", options=ChunkOptions(short_strips="rectilinear"))
    with zarr.config.set({"array.rectilinear_chunks": flag}):
        report = verify(tmp_path / "cube", pixels=12, seed=3)
    assert {(one.decoder, one.gdal) for one in report.pixels} == {("same", "same")}
    assert max(one.chunk[1] for one in report.pixels) == 4


# Grids


def test_tiles_that_share_a_row_or_a_column_overlap(tmp_path: Path) -> None:
    """As those of SRTM do, whose samples lie on the edges."""
    step = 1 / 1200
    for col in range(2):
        corner = Affine(step, 0, 6 + col - step / 2, 0, -step, 46 + step / 2)
        make(tmp_path / "a", f"N45E{6 + col}.tif", col, shape=(1, 1201, 1201), crs="EPSG:4326", transform=corner)
    with pytest.raises(ConformError) as caught:
        publish([tmp_path / "a"], tmp_path / "cube")
    assert "N45E6.tif and N45E7.tif overlap by 1 x 1201 pixels" in str(caught.value)
    done = publish([tmp_path / "a"], tmp_path / "cube", on_conflict="split")
    assert done.arrays.count("\n") == 1
    found = contents(tmp_path / "cube")
    images = [array for name, (_, _, array) in found.items() if name.endswith("band_data")]
    expected = [read(tmp_path / f"a/N45E{6 + col}.tif") for col in range(2)]
    assert all(any(np.array_equal(np.squeeze(image), one) for image in images) for one in expected)


def test_tiles_of_the_globe_whose_corners_drift(tmp_path: Path) -> None:
    """Corners that are sums of many steps of 0.1 degrees are still those of one grid."""
    x, paths = -180.0, []
    for number in range(12):
        corner = Affine(0.1, 0, x, 0, -0.1, 90.0)
        paths.append(
            make(
                tmp_path / "a",
                f"t{number:02d}.tif",
                number,
                shape=(1, 64, 300),
                tiled=False,
                blockysize=16,
                crs="EPSG:4326",
                transform=corner,
            )
        )
        for _ in range(300):
            x += 0.1
    assert x != 180.0
    publish(paths[5:6], tmp_path / "cube", mosaic=True)
    for path in random.Random(0).sample(paths, len(paths)):
        append([path], tmp_path / "cube")
    assert np.array_equal(values(tmp_path / "cube"), np.concatenate([read(path) for path in paths], axis=1))
    found = contents(tmp_path / "cube")["/x"][2]
    assert np.allclose(found, -180 + 0.1 * (np.arange(3600) + 0.5), rtol=0, atol=1e-4)
    assert append(paths, tmp_path / "cube").snapshots == ()


@pytest.mark.parametrize("turn", [0.0, 30.0, 90.0], ids=str)
def test_turned_and_south_up_tiles_grow_in_all_directions(turn: float, tmp_path: Path) -> None:
    base = Affine(10, 0, 500000, 0, 10, 4600000) @ Affine.rotation(turn)
    tiles = {
        (row, col): make(
            tmp_path / "a", f"r{row}c{col}.tif", 3 * row + col, transform=base @ Affine.translation(64 * col, 64 * row)
        )
        for row, col in itertools.product(range(3), range(3))
    }
    publish([tiles[1, 1]], tmp_path / "cube", mosaic=True)
    for path in random.Random(turn).sample(list(tiles.values()), 9):
        append([path], tmp_path / "cube")
    expected = np.block([[read(tiles[row, col]) for col in range(3)] for row in range(3)])
    assert np.array_equal(values(tmp_path / "cube"), expected)
    stated = contents(tmp_path / "cube")["/spatial_ref"][0]["GeoTransform"]
    assert np.allclose([float(text) for text in stated.split()], base.to_gdal())
    check_verified(tmp_path / "cube")


def test_grids_that_differ_are_told_apart_by_their_pixels(tmp_path: Path) -> None:
    paths = [
        make(tmp_path / "a", "north.tif", 1),
        make(tmp_path / "a", "south.tif", 2, transform=Affine(10, 0, 500000, 0, 10, 4600000)),
    ]
    done = publish(paths, tmp_path / "cube")
    assert any("its pixels are 10 x 10, not 10 x -10" in note for note in done.notes)


@pytest.mark.parametrize(
    "area",
    [
        {"bounds": (1, 2, 3)},
        {"bounds": (float("nan"), 0, 1, 1)},
        {"bounds": (-np.inf, -np.inf, np.inf, np.inf)},
        {"window": (1, 2)},
        {"window": (0, 0, 1.5, 2)},
        {"window": (0, 0, 0, 0)},
    ],
    ids=str,
)
def test_areas_that_make_no_sense(area: dict[str, Any], tmp_path: Path) -> None:
    path = make(tmp_path / "a", "s.tif")
    with pytest.raises(UsageError, match=next(iter(area))):
        publish([path], tmp_path / "cube", **area)
    assert not (tmp_path / "cube").exists()


def test_a_grown_cube_is_read_by_zarr_and_icechunk_alone(tmp_path: Path) -> None:
    """A fresh Python that imports nothing of the package reads what rasterio reads, after all kinds of growth."""
    tiles = {
        (day, col): make(
            tmp_path / "a", f"h{col}_2024010{day}.tif", 10 * day + col, transform=from_origin(640 * col, 0, 10, 10)
        )
        for day, col in itertools.product((1, 2, 3), range(3))
    }
    absent = tiles.pop((2, 0))
    absent.unlink()
    cube = tmp_path / "cube"
    publish([tiles[2, 1]], cube, pattern="{tile}_{time:%Y%m%d}.tif")
    for path in random.Random(4).sample(list(tiles.values()), len(tiles)):
        append([path], cube)
    make(tmp_path / "a", "h2_20240103.tif", 77, transform=from_origin(1280, 0, 10, 10))
    age(tiles[3, 2], LONG_AGO + 77)
    assert len(append(list(tiles.values()), cube).replaced) == 1
    script = f"""
import icechunk, numpy, sys, zarr
access = {{"file://{tmp_path}/a/": icechunk.credentials.LocalFileSystemAccess}}
storage = icechunk.local_filesystem_storage({str(cube)!r})
repository = icechunk.Repository.open(
    storage, authorize_virtual_chunk_access=icechunk.containers_credentials(access)
)
group = zarr.open_group(repository.readonly_session("main").store, mode="r")
numpy.save({str(tmp_path / "seen.npy")!r}, group["band_data"][:])
assert not any(name.startswith("virtual_tiff") for name in sys.modules)
"""
    run_python(script)
    expected = np.zeros((3, 64, 192), np.uint16)
    for (day, col), path in tiles.items():
        expected[day - 1, :, 64 * col : 64 * col + 64] = read(path)
    assert np.array_equal(np.load(tmp_path / "seen.npy"), expected)


@pytest.mark.parametrize("seconds", [-100, 100])
def test_a_file_replaced_between_scan_and_commit(seconds: int, tmp_path: Path) -> None:
    """Also by an older file, which Icechunk would take for unchanged."""
    paths = [make(tmp_path / "a", f"s{number}.tif", number, compress=None) for number in range(2)]
    made = plan(scan(paths).headers)
    make(tmp_path / "a", "s1.tif", 9, compress=None)
    age(paths[1], LONG_AGO + seconds)
    with pytest.raises(SourceError) as caught:
        publish_plan(made, tmp_path / "cube")
    assert caught.value.feature == "source-changed"
    assert not (tmp_path / "cube").exists()
