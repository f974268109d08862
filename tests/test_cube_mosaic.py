"""Tiles of one grid: placed where GDAL places them, and refused where chunks cannot be chunks of the whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import rasterio.merge
import rioxarray  # noqa: F401 (the accessor)
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from tests.archives import make_tiff
from virtual_tiff.array import VirtualArray
from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube.blueprint import Footprint
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.mosaic import (
    Tile,
    check_blocks,
    check_overlaps,
    find_overlaps,
    same_grid,
    same_resolution,
    split_tiles,
)
from virtual_tiff.cube.open import open_cube
from virtual_tiff.cube.plan import CubePlan, plan_stack
from virtual_tiff.cube.publish import publish_plan
from virtual_tiff.cube.scan import scan
from virtual_tiff.errors import ConformError

WEST, NORTH, PIXEL = 500000.0, 4600000.0, 10.0


def tile_at(col: int, row: int, **profile: Any) -> dict[str, Any]:
    """The profile of a file whose corner is so many pixels from the origin."""
    return {"transform": from_origin(WEST + PIXEL * col, NORTH - PIXEL * row, PIXEL, PIXEL), **profile}


def make_tiles(folder: Path, tiles: Mapping[str, dict[str, Any]]) -> list[Path]:
    folder.mkdir()
    for seed, (name, profile) in enumerate(tiles.items()):
        make_tiff(folder / f"{name}.tif", seed, **{"shape": (1, 96, 64), **profile})
    return sorted(folder.iterdir())


def merged(paths: Iterable[Path], fill: float = 0) -> npt.NDArray[Any]:
    """What rasterio makes of all tiles; the first band."""
    pixels, _ = rasterio.merge.merge([str(path) for path in paths], nodata=fill)
    found: npt.NDArray[Any] = pixels[0]
    return found


def pixels_of(plan: CubePlan, tmp_path: Path) -> npt.NDArray[Any]:
    publish_plan(plan, tmp_path / "cube.icechunk")
    found: npt.NDArray[Any] = open_cube(tmp_path / "cube.icechunk", mask_and_scale=False)["band_data"].values
    return found


def refusal(folder: Path, **options: Any) -> ConformError:
    with pytest.raises(ConformError) as caught:
        plan_stack(scan([folder]).headers, mosaic=True, **options)
    return caught.value


GRIDS: dict[str, dict[str, dict[str, Any]]] = {
    "holes": {f"h{col}v{row}": tile_at(64 * col, 96 * row) for col, row in [(0, 0), (2, 0), (1, 1), (2, 3)]},
    "a smaller last row and column": {
        "a": tile_at(0, 0),
        "b": tile_at(64, 0, shape=(1, 96, 41)),
        "c": tile_at(0, 96, shape=(1, 50, 64)),
        "d": tile_at(64, 96, shape=(1, 50, 41)),
    },
    "the corner is in no file": {"a": tile_at(64, 0), "b": tile_at(0, 96)},
    "sizes of several chunks": {"a": tile_at(0, 0, shape=(1, 48, 96)), "b": tile_at(0, 48, shape=(1, 144, 32))},
    "strips": {
        "a": tile_at(0, 0, tiled=False, blockysize=16),
        "b": tile_at(0, 96, tiled=False, blockysize=16, shape=(1, 90, 64)),
        "c": tile_at(64, 96, tiled=False, blockysize=16, shape=(1, 90, 64)),
    },
}


@pytest.mark.parametrize("name", GRIDS)
def test_tiles_are_placed_as_by_rasterio(name: str, tmp_path: Path) -> None:
    tiles = {key: {"nodata": 201, **profile} for key, profile in GRIDS[name].items()}
    paths = make_tiles(tmp_path / "a", tiles)
    plan = plan_stack(scan([tmp_path / "a"]).headers, mosaic=True)
    assert plan.groups[0].axes == ()
    assert np.array_equal(pixels_of(plan, tmp_path), merged(paths, 201))
    ds = open_cube(tmp_path / "cube.icechunk")
    with rasterio.merge.rasterio.open(paths[0]) as file:
        crs = file.crs
    assert ds.rio.crs == crs
    _, transform = rasterio.merge.merge([str(path) for path in paths])
    assert ds.rio.transform() == transform


def test_a_modis_grid_through_time(tmp_path: Path) -> None:
    """Sinusoidal tiles whose size in metres is no round number, with missing tiles at each time."""
    size = 463.3127165279165
    sinusoidal = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
    (tmp_path / "a").mkdir()
    present = {(0, 18, 4), (0, 19, 4), (0, 18, 5), (1, 19, 5), (1, 18, 4)}
    for time, h, v in present:
        corner = (-20015109.354 + h * 96 * size, 10007554.677 - v * 96 * size)
        make_tiff(
            tmp_path / f"a/t{time}_h{h}v{v}.tif",
            100 * time + 10 * h + v,
            shape=(1, 96, 96),
            crs=sinusoidal,
            dtype="int16",
            nodata=-1,
            transform=from_origin(*corner, size, size),
        )
    headers = scan([tmp_path / "a"]).headers
    plan = plan_stack(
        headers, mosaic=True, time=lambda url: datetime(2024, 1, 1 + int(url.split("/t")[-1][0]), tzinfo=UTC)
    )
    seen = pixels_of(plan, tmp_path)
    assert seen.shape == (2, 192, 192)
    for time in range(2):
        expected = np.full((192, 192), -1, np.int16)
        for _, h, v in (one for one in present if one[0] == time):
            with rasterio.open(tmp_path / f"a/t{time}_h{h}v{v}.tif") as file:
                expected[96 * (v - 4) : 96 * (v - 3), 96 * (h - 18) : 96 * (h - 17)] = file.read(1)
        assert np.array_equal(seen[time], expected)
    assert plan.references == len(present) * 6


@pytest.mark.parametrize("turned", [Affine.scale(10.0, 10.0), Affine.rotation(30.0) @ Affine.scale(10.0, -10.0)])
def test_grids_that_are_not_north_up(turned: Affine, tmp_path: Path) -> None:
    base = Affine.translation(WEST, NORTH) @ turned
    paths = make_tiles(
        tmp_path / "a",
        {"a": {"transform": base @ Affine.translation(64, 96)}, "b": {"transform": base @ Affine.translation(0, 96)}},
    )
    plan = plan_stack(scan([tmp_path / "a"]).headers, mosaic=True)
    one, two = (rasterio.open(path).read(1) for path in paths)
    assert np.array_equal(pixels_of(plan, tmp_path), np.concatenate([two, one], axis=1))
    found = plan.groups[0].attributes["spatial:transform"]
    assert Affine(*found).almost_equals(base @ Affine.translation(0, 96), 1e-6)


def test_pixels_without_an_extent_lie_nowhere(tmp_path: Path) -> None:
    make_tiles(tmp_path / "a", {"a": tile_at(0, 0), "b": tile_at(64, 0)})
    flat = Affine(10.0, 10.0, WEST, 10.0, 10.0, NORTH)
    headers = [replace(one, geo=replace(one.geo, transform=flat)) for one in scan([tmp_path / "a"]).headers]
    with pytest.raises(ConformError) as caught:
        plan_stack(headers, mosaic=True)
    assert caught.value.feature == "overlap"


def test_an_area_of_a_mosaic_leaves_out_files(tmp_path: Path) -> None:
    paths = make_tiles(tmp_path / "a", GRIDS["a smaller last row and column"])
    plan = plan_stack(scan([tmp_path / "a"]).headers, mosaic=True, window=(70, 60, 10, 30))
    assert [header.place.path.rpartition("/")[2] for header in plan.headers] == ["b.tif"]
    assert plan.notes == ("3 of 4 files lie outside the area",)
    assert np.array_equal(pixels_of(plan, tmp_path), merged(paths)[48:96, 64:96])


REFUSED: dict[str, tuple[dict[str, dict[str, Any]], str, str]] = {
    "overlap": (
        {"a": tile_at(0, 0), "b": tile_at(32, 48)},
        "overlap",
        "a.tif and b.tif overlap",
    ),
    "the same place": ({"a": tile_at(0, 0), "b": tile_at(0, 0)}, "overlap", "a.tif and b.tif claim the same place"),
    "between chunks": (
        {"a": tile_at(0, 0), "b": tile_at(64, 40)},
        "misaligned",
        "b.tif starts at row 40 and column 64, between the chunks of 32 x 48 pixels",
    ),
    "padding inside": (
        {"a": tile_at(0, 0, shape=(1, 90, 64)), "b": tile_at(64, 0)},
        "misaligned",
        "a.tif ends at row 90 of 96, within a chunk of 48 rows whose rest is padding",
    ),
    "padding before a hole": (
        {"a": tile_at(0, 0, shape=(1, 96, 50)), "b": tile_at(0, 96)},
        "misaligned",
        "a.tif ends at column 50 of 64, within a chunk of 32 columns whose rest is padding",
    ),
    "half a pixel": (
        {"a": tile_at(0, 0), "b": {"transform": from_origin(WEST + 645.0, NORTH, PIXEL, PIXEL)}},
        "misaligned",
        "their origins are 64.5 columns and 0 rows apart",
    ),
    "resolution": (
        {"a": tile_at(0, 0), "b": {"transform": from_origin(WEST + 640.0, NORTH, 20.0, 20.0)}},
        "misaligned",
        "their pixels differ: 20 x -20, not 10 x -10",
    ),
    "nodata": (
        {"a": tile_at(0, 0), "b": tile_at(64, 0, nodata=1)},
        "conform",
        "nodata (1, not none)",
    ),
    "predictor": (
        {"a": tile_at(0, 0), "b": tile_at(64, 0, predictor=2)},
        "conform",
        "codecs (",
    ),
    "strips of another width": (
        {
            "a": tile_at(0, 0, tiled=False, blockysize=16),
            "b": tile_at(64, 0, tiled=False, blockysize=16, shape=(1, 96, 70)),
        },
        "conform",
        "chunk shape (16 x 70, not 16 x 64)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_one_array_is_refused_by_name(name: str, tmp_path: Path) -> None:
    tiles, feature, told = REFUSED[name]
    make_tiles(tmp_path / "a", tiles)
    error = refusal(tmp_path / "a")
    assert error.feature == feature
    assert told in str(error)


def test_rectilinear_tiles_are_refused(tmp_path: Path) -> None:
    strips: dict[str, Any] = {"tiled": False, "blockysize": 16, "shape": (1, 90, 64)}
    make_tiles(tmp_path / "a", {"a": tile_at(0, 0, **strips), "b": tile_at(0, 90, **strips)})
    headers = scan([tmp_path / "a"], options=ChunkOptions(short_strips="rectilinear")).headers
    assert headers[0].array.last_rows == 10
    with pytest.raises(ConformError, match=r"within a chunk|between the chunks|rectilinear"):
        plan_stack(headers, mosaic=True)
    (group,) = plan_stack(headers[:1], mosaic=True).groups
    assert group.arrays[0].template.last_rows == 10


# Grids


def test_the_place_on_a_grid() -> None:
    grid = from_origin(WEST, NORTH, PIXEL, PIXEL)
    assert same_grid(grid, Footprint(from_origin(WEST - 30, NORTH - 70, PIXEL, PIXEL), 5, 5)) == (7, -3)
    assert same_grid(grid, Footprint(from_origin(WEST + 0.005, NORTH, PIXEL, PIXEL), 5, 5)) == (0, 0)
    assert same_grid(grid, Footprint(from_origin(WEST + 0.02, NORTH, PIXEL, PIXEL), 5, 5)) is None
    drifting = from_origin(WEST, NORTH, PIXEL * (1 + 1e-6), PIXEL)
    assert same_grid(grid, Footprint(drifting, 100, 100)) == (0, 0)
    assert same_grid(grid, Footprint(drifting, 100, 10000)) is None
    assert same_grid(grid, Footprint(None, 5, 5)) is None
    rotated = Affine.rotation(30.0) @ Affine.scale(10.0, -10.0)
    assert same_grid(rotated, Footprint(rotated @ Affine.translation(4, 5), 9, 9)) == (5, 4)
    assert same_resolution(rotated, Footprint(rotated @ Affine.translation(4.5, 5), 9, 9))
    assert not same_resolution(rotated, Footprint(grid, 9, 9))


def blank(height: int, width: int) -> VirtualArray:
    shape = (-(-height // 4), -(-width // 4))
    return VirtualArray(
        url="memory://a",
        ifd=(0,),
        shape=(height, width),
        chunk_shape=(4, 4),
        dimension_names=("y", "x"),
        dtype=np.dtype("uint8"),
        codecs=(),
        fill_value=0,
        offsets=np.zeros(shape, np.uint64),
        lengths=np.zeros(shape, np.uint64),
    )


SIZES = st.integers(1, 12)
PLACES = st.integers(0, 24)


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> FileHeader:
    """Any header: these tests look at places only."""
    folder = tmp_path_factory.mktemp("any")
    make_tiff(folder / "a.tif")
    return scan([folder]).headers[0]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_split_tiles_can_be_arrays(header: FileHeader, data: st.DataObject) -> None:
    drawn = data.draw(st.lists(st.tuples(PLACES, PLACES, SIZES, SIZES, st.integers(0, 1)), min_size=1, max_size=12))
    tiles = [
        Tile(header=header, part=blank(height, width), row=row, col=col, cell=(cell,))
        for row, col, height, width, cell in drawn
    ]
    parts = split_tiles(tiles)
    assert sorted(id(tile) for part in parts for tile in part) == sorted(id(tile) for tile in tiles)
    for part in parts:
        top, left = min(tile.row for tile in part), min(tile.col for tile in part)
        moved = [
            Tile(header=header, part=tile.part, row=tile.row - top, col=tile.col - left, cell=tile.cell)
            for tile in part
        ]
        grid = Footprint(None, max(tile.bottom for tile in moved), max(tile.right for tile in moved))
        check_blocks(moved, grid)
        check_overlaps(moved, str)
        painted = np.zeros((2, grid.height, grid.width), int)
        for tile in moved:
            (cell,) = tile.cell
            assert isinstance(cell, int)
            painted[cell, tile.row : tile.bottom, tile.col : tile.right] += 1
        assert painted.max() == 1


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_overlaps_are_found(header: FileHeader, data: st.DataObject) -> None:
    drawn = data.draw(st.lists(st.tuples(PLACES, PLACES, SIZES, SIZES), min_size=1, max_size=12))
    tiles = [Tile(header=header, part=blank(h, w), row=row, col=col) for row, col, h, w in drawn]
    painted = np.zeros((40, 40), int)
    for tile in tiles:
        painted[tile.row : tile.bottom, tile.col : tile.right] += 1
    assert bool(list(find_overlaps(tiles))) == (painted.max() > 1)
