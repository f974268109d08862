"""Archives that are no single array: what is put together, what is split, what is refused; and plans explained."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from tests.archives import make_archive, make_tiff
from tests.test_cube_mosaic import make_tiles, merged, tile_at
from virtual_tiff.cube.append import append
from virtual_tiff.cube.blueprint import CubePlan
from virtual_tiff.cube.explain import BYTES_PER_REFERENCE, explain
from virtual_tiff.cube.groups import plan
from virtual_tiff.cube.open import open_cube
from virtual_tiff.cube.plan import plan_stack
from virtual_tiff.cube.publish import publish, publish_plan
from virtual_tiff.cube.scan import scan
from virtual_tiff.errors import ConformError, UsageError


def paths_of(made: CubePlan) -> list[str]:
    return [group.path for group in made.groups]


def check_pixels(made: CubePlan, tmp_path: Path) -> None:
    """Publish a plan and compare each file's place in its group with what rasterio reads from the file."""
    publish_plan(made, tmp_path / "cube.icechunk")
    count = 0
    for group in made.groups:
        ds = open_cube(tmp_path / "cube.icechunk", group=group.path or None, mask_and_scale=False)
        for array in group.arrays:
            seen = ds[array.name]
            for placement in array.placements:
                with rasterio.open(placement.header.place.local) as file:
                    expected = file.read(1)
                    col, row = (round(value) for value in ~ds.rio.transform() @ (file.transform.c, file.transform.f))
                own = seen[placement.index[:-2]] if seen.ndim > 2 else seen
                height, width = expected.shape
                assert np.array_equal(own.values[row : row + height, col : col + width], expected)
                count += 1
    assert count == len(made.headers)


def test_utm_neighbours_are_groups_beside_each_other(tmp_path: Path) -> None:
    make_tiles(
        tmp_path / "a",
        {
            "31a": tile_at(0, 0, crs="EPSG:32631"),
            "31b": tile_at(64, 96, crs="EPSG:32631"),
            "32a": tile_at(0, 0, crs="EPSG:32632"),
            "32s": tile_at(0, 0, crs="EPSG:32732"),
            "geo": {"crs": "EPSG:4326", "transform": from_origin(10.0, 50.0, 0.0025, 0.0025)},
            "coarse": {"crs": "EPSG:32632", "transform": from_origin(5e5, 4.6e6, 60.0, 60.0)},
        },
    )
    made = plan(scan([tmp_path / "a"]).headers)
    assert paths_of(made) == ["utm31n_10m", "utm32n_10m", "utm32s_10m", "utm32n_60m", "epsg4326_0p0025deg"]
    assert any("utm32n_10m (1 file) is apart from utm31n_10m: it differs in CRS" in note for note in made.notes)
    check_pixels(made, tmp_path)
    first = open_cube(tmp_path / "cube.icechunk", group="utm31n_10m")
    assert first.sizes == {"y": 192, "x": 128}
    assert first.rio.crs.to_epsg() == 32631


def test_one_grid_is_the_root(tmp_path: Path) -> None:
    paths = make_tiles(tmp_path / "a", {"a": tile_at(0, 0), "b": tile_at(64, 0)})
    made = plan(scan([tmp_path / "a"]).headers)
    assert paths_of(made) == [""]
    assert made.notes == ()
    publish_plan(made, tmp_path / "cube.icechunk")
    assert np.array_equal(open_cube(tmp_path / "cube.icechunk")["band_data"], merged(paths))


def test_files_of_one_place_are_a_stack(tmp_path: Path) -> None:
    make_archive(tmp_path / "a", 3)
    made = plan(scan([tmp_path / "a"]).headers)
    assert made.describe() == "band_data (item: 3, y: 70, x: 90) uint16"


ERAS: dict[str, dict[str, Any]] = {
    "nodata": {"nodata": 5},
    "predictor": {"predictor": 2},
    "data type": {"dtype": "int16"},
    "codec": {"compress": "zstd"},
}


@pytest.mark.parametrize("name", ERAS)
def test_what_means_something_else_is_never_merged(name: str, tmp_path: Path) -> None:
    make_tiles(
        tmp_path / "a", {"a": tile_at(0, 0), "b": tile_at(64, 0, **ERAS[name]), "c": tile_at(128, 0, **ERAS[name])}
    )
    headers = scan([tmp_path / "a"]).headers
    made = plan(headers)
    assert paths_of(made) == ["utm33n_10m_era1", "utm33n_10m_era2"]
    assert "utm33n_10m_era2 (2 files) is apart from utm33n_10m_era1: it differs in" in made.notes[0]
    check_pixels(made, tmp_path)
    with pytest.raises(ConformError, match=r"a\.tif differs from the other 2 in"):
        plan(headers, on_conflict="raise")


def test_scale_is_never_merged(tmp_path: Path) -> None:
    paths = make_tiles(tmp_path / "a", {"a": tile_at(0, 0), "b": tile_at(64, 0)})
    with rasterio.open(paths[1], "r+") as file:
        file.scales = (0.1,)
    made = plan(scan([tmp_path / "a"]).headers)
    assert made.notes == ("utm33n_10m_era2 (1 file) is apart from utm33n_10m_era1: it differs in scale (0.1, not 1.0)",)


def test_overlaps_and_misaligned_files_are_split_or_refused(tmp_path: Path) -> None:
    make_tiles(
        tmp_path / "a",
        {
            "a": tile_at(0, 0),
            "b": tile_at(64, 0),
            "c": tile_at(32, 48),
            "d": tile_at(5, 0),
            "e": {"transform": from_origin(5e5 + 3.0, 4.6e6, 10.0, 10.0)},
        },
    )
    headers = scan([tmp_path / "a"]).headers
    made = plan(headers)
    names = {group.path: len(group.arrays[0].placements) for group in made.groups}
    assert names == {f"utm33n_10m_part{n}": count for n, count in enumerate([2, 1, 1, 1], 1)}
    assert "overlap with those, or lie between their chunks" in made.notes[0]
    check_pixels(made, tmp_path)
    with pytest.raises(ConformError) as caught:
        plan(headers, on_conflict="raise")
    assert caught.value.feature == "misaligned"
    with pytest.raises(ConformError) as caught:
        plan(headers[:3], on_conflict="raise")
    assert caught.value.feature == "overlap"


def test_scenes_of_one_day_that_overlap_part_and_those_of_others_do_not(tmp_path: Path) -> None:
    make_tiles(tmp_path / "a", {"a": tile_at(0, 0), "b": tile_at(0, 0), "c": tile_at(32, 0)})
    days = [1, 2, 2]
    headers = [
        replace(header, time=datetime(2024, 1, day, tzinfo=UTC))
        for header, day in zip(scan([tmp_path / "a"]).headers, days, strict=True)
    ]
    made = plan(headers, time="keys")
    assert made.describe().splitlines() == [
        "utm33n_10m_part1/band_data (time: 2, y: 96, x: 64) uint16",
        "utm33n_10m_part2/band_data (time: 1, y: 96, x: 64) uint16",
    ]
    check_pixels(made, tmp_path)


def test_one_group_or_none(tmp_path: Path) -> None:
    make_tiles(tmp_path / "a", {"a": tile_at(0, 0), "b": tile_at(64, 0, crs="EPSG:32634")})
    headers = scan([tmp_path / "a"]).headers
    with pytest.raises(ConformError, match="CRS"):
        plan(headers, group_by=None)
    assert paths_of(plan(headers[:1], group_by=None)) == [""]
    for options in ({"group_by": "era"}, {"on_conflict": "merge"}, {"nam": "x"}, {"window": (0, 0, 5, 5)}):
        with pytest.raises(UsageError):
            plan(headers, **options)
    with pytest.raises(UsageError, match="several"):
        plan(headers, bounds=(5e5, 4.5e6, 5.1e5, 4.6e6))


def test_a_lone_zone_may_have_a_group_so_that_others_can_come(tmp_path: Path) -> None:
    make_tiles(tmp_path / "a", {"a": tile_at(0, 0), "d": tile_at(0, 96)})
    make_tiles(tmp_path / "b", {"b": tile_at(0, 0, crs="EPSG:32634"), "c": tile_at(64, 0)})
    publish(tmp_path / "a", to=tmp_path / "rooted.icechunk")
    with pytest.raises(ConformError, match=r"CRS.*group_by='always'"):
        append(tmp_path / "b", tmp_path / "rooted.icechunk")
    publish(tmp_path / "a", to=tmp_path / "cube.icechunk", group_by="always")
    append(tmp_path / "b", tmp_path / "cube.icechunk")
    for name, group, place in (("a/a", "utm33n_10m", 0), ("b/b", "utm34n_10m", 0), ("b/c", "utm33n_10m", 64)):
        ds = open_cube(tmp_path / "cube.icechunk", group=group, mask_and_scale=False)
        with rasterio.open(tmp_path / f"{name}.tif") as file:
            np.testing.assert_array_equal(ds["band_data"].values[:96, place : place + 64], file.read(1))
            assert ds.rio.crs == file.crs


def test_groups_outside_the_area_are_left_out(tmp_path: Path) -> None:
    make_tiles(tmp_path / "a", {"a": tile_at(0, 0), "b": tile_at(640, 0, nodata=3), "c": tile_at(64, 0)})
    headers = scan([tmp_path / "a"]).headers
    made = plan(headers, bounds=(5e5 + 650, 4.6e6 - 100, 5e5 + 700, 4.6e6))
    assert made.describe() == "band_data (y: 48, x: 32) uint16"
    assert made.notes == (
        "1 of 2 groups, with 1 files, lie outside the area",
        "1 of 2 files lie outside the area",
    )
    with pytest.raises(UsageError, match="do not touch"):
        plan(headers, bounds=(0.0, 0.0, 1.0, 1.0))


def test_bands_of_several_resolutions(tmp_path: Path) -> None:
    make_tiff(tmp_path / "B02.tif", 1, shape=(1, 96, 128))
    make_tiff(tmp_path / "B03.tif", 2, shape=(1, 96, 128), nodata=0)
    make_tiff(tmp_path / "B05.tif", 3, shape=(1, 48, 64), transform=from_origin(5e5, 4.6e6, 20.0, 20.0))
    headers = [replace(one, keys={"band": one.place.path[-7:-4]}) for one in scan([tmp_path]).headers]
    made = plan(headers, band_as="variable")
    assert made.describe().splitlines() == [
        "utm33n_10m/B02 (y: 96, x: 128) uint16",
        "utm33n_10m/B03 (y: 96, x: 128) uint16",
        "utm33n_20m/B05 (y: 48, x: 64) uint16",
    ]
    check_pixels(made, tmp_path / "cube")


# Plans explained


def test_a_plan_in_numbers(tmp_path: Path) -> None:
    make_archive(tmp_path, 5, shape=(1, 480, 640), compress="zstd", nodata=0)
    headers = scan([tmp_path]).headers
    made = plan_stack(headers)
    found = explain(made)
    (array,) = found.arrays
    chunks = 20 * 10
    assert (found.files, found.references, array.missing) == (5, 5 * chunks, 0)
    assert found.repository_bytes == 5 * chunks * BYTES_PER_REFERENCE
    assert array.stored_bytes == sum(int(header.array.lengths.sum()) for header in headers)
    assert (array.map_tile.requests, array.series.requests, array.scene.requests) == (8 * 6, 5, chunks)
    assert array.readers["GDAL"] == "yes"
    text = found.text()
    assert "band_data (item: 5, y: 480, x: 640) uint16" in text
    assert "5 files, 1,000 references, about 15 kB in the repository" in text
    assert "can be read by zarr-python, zarrs, zarrita, GDAL" in text
    read = json.loads(json.dumps(found.json(), allow_nan=False))
    assert read["arrays"][0]["dimensions"] == {"item": 5, "y": 480, "x": 640}


def test_what_is_told_of_readers_holes_and_splits(tmp_path: Path) -> None:
    bands: dict[str, Any] = {"shape": (3, 96, 64), "interleave": "pixel", "compress": "zstd"}
    make_tiles(
        tmp_path / "a", {"a": tile_at(0, 0, **bands), "b": tile_at(64, 96, **bands), "c": tile_at(0, 0, predictor=2)}
    )
    found = explain(plan(scan([tmp_path / "a"]).headers))
    text = found.text()
    assert [array.missing for array in found.arrays] == [8, 0]
    assert "GDAL (it misreads transposed chunks without an error, which --band-axis last avoids)" in text
    assert "zarr-python, with virtual-tiff installed" in text
    assert "Split or left out:\n  utm33n_10m_era2" in text
    assert "Warnings:\n  utm33n_10m_era1: band_data: 8 of 16 chunks are in no file and are read as 0" in text
    assert found.arrays[0].map_tile.requests == 8
