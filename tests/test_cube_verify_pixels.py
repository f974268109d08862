"""Which chunks ``verify`` compares: no chunk twice, of all files, levels and masks; and what fails is told."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import pytest
import rasterio
import zarr
from rasterio.enums import Resampling
from rasterio.transform import from_origin

from tests.archives import age, make_archive, make_tiff
from tests.servers import FaultServer
from virtual_tiff.cube.append import append
from virtual_tiff.cube.draws import chunks_inside, draw, in_turn
from virtual_tiff.cube.open import open_repository
from virtual_tiff.cube.publish import publish
from virtual_tiff.cube.stages import Stage
from virtual_tiff.cube.verify import Verification, verify


def make_masked(path: Path, seed: int) -> None:
    """A COG-like file: an internal mask, and two overviews of both."""
    make_tiff(path, seed, shape=(1, 192, 256), blockysize=32)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(np.random.default_rng(seed).random((192, 256)) < 0.7)
        file.build_overviews([2, 4], Resampling.nearest)
    age(path)


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    """A cube with three levels and masks: of each of three files 48 + 1 + 1 chunks of the image."""
    (tmp_path / "in").mkdir()
    for index in range(3):
        make_masked(tmp_path / f"in/s{index}.tif", index)
    publish([tmp_path / "in"], tmp_path / "cube", overviews=True)
    return tmp_path


def places(found: Verification) -> list[tuple[str, tuple[int, ...]]]:
    return [(one.array, one.chunk) for one in found.pixels]


def test_all_chunks_of_a_small_cube_are_compared_once(tmp_path: Path) -> None:
    make_archive(tmp_path / "in")  # of 2 x 3 chunks each
    publish([tmp_path / "in"], tmp_path / "cube")
    found = verify(tmp_path / "cube", pixels=1000)
    assert sorted(places(found)) == [("band_data", (i, y, x)) for i in range(3) for y in range(2) for x in range(3)]
    assert found.ok
    assert (found.asked, len(found.pixels)) == (1000, 18)
    assert found.to_json()["asked"] == 1000


@pytest.mark.parametrize("seed", range(3))
def test_chunks_are_spread_over_files_levels_and_masks(masked: Path, seed: int) -> None:
    stages: list[Stage] = []
    found = verify(masked / "cube", pixels=18, seed=seed, on_stage=stages.append)
    assert len(set(places(found))) == 18
    by_file = {one.url: {other.array for other in found.pixels if other.url == one.url} for one in found.pixels}
    arrays = {f"{level}/{name}" for level in range(3) for name in ("band_data", "mask")}
    assert list(by_file.values()) == [arrays] * 3
    assert {(one.decoder, one.gdal, one.why) for one in found.pixels} == {("same", "same", "")}
    assert [one for one in stages if one.name == "ask"] == [Stage("ask", done, 3) for done in (1, 2, 3)]
    assert [one for one in stages if one.name == "compare"] == [Stage("compare", done, 18) for done in range(1, 19)]
    few = verify(masked / "cube", pixels=6, seed=seed)
    assert len({one.url for one in few.pixels}) == 3
    assert len({one.array for one in few.pixels}) > 3


def test_every_chunk_of_masks_and_overviews_agrees_with_gdal(masked: Path) -> None:
    found = verify(masked / "cube", pixels=10_000)
    masks = [one for one in found.pixels if one.array.endswith("mask")]
    assert len(found.pixels) - len(masks) == 3 * (48 + 1 + 1)
    assert len(masks) >= 3 * 3
    assert {(one.decoder, one.gdal, one.why) for one in found.pixels} == {("same", "same", "")}


def test_other_pixels_in_an_overview_are_found(masked: Path) -> None:
    session = open_repository(masked / "cube").writable_session("main")
    array: Any = zarr.open_array(session.store, path="1/band_data", zarr_format=3)
    array[1] = np.asarray(array[1]) + 1
    session.commit("other pixels")
    found = verify(masked / "cube", pixels=10_000)
    assert [(one.array, one.chunk, one.decoder, one.gdal) for one in found.pixels if not one.agree] == [
        ("1/band_data", (1, 0, 0), "differs", "differs")
    ]
    assert found.exit_code == 1


def test_an_array_that_cannot_be_read_differs(masked: Path) -> None:
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(masked / "cube")))
    session = repository.writable_session("main")
    group: Any = zarr.open_group(session.store, path="2", zarr_format=3)
    del group["mask"]
    session.commit("a mask less")
    found = verify(masked / "cube", pixels=6)
    assert [one.decoder for one in found.pixels] == ["differs"] * 3
    assert all("no array 2/mask" in one.why for one in found.pixels)


def test_chunks_outside_an_area_are_not_compared(tmp_path: Path) -> None:
    make_tiff(tmp_path / "s0.tif", shape=(1, 192, 256), blockysize=32)
    publish([tmp_path / "s0.tif"], tmp_path / "cube", window=(40, 33, 100, 60))
    found = verify(tmp_path / "cube", pixels=1000)
    assert sorted(places(found)) == [("band_data", (0, y, x)) for y in range(2) for x in range(4)]
    assert found.ok


def test_draws() -> None:
    choose = random.Random(0)
    drawn = list(draw([range(3), range(2, 4)], 100, choose))
    assert sorted(drawn) == [(i, j) for i in range(3) for j in (2, 3)]
    assert len(set(draw([range(10**6), range(10**6)], 50, choose))) == 50
    assert list(draw([range(0), range(5)], 3, choose)) == []
    assert list(in_turn([iter("abc"), iter(""), iter("de")], 4)) == ["a", "d", "b", "e"]
    assert list(in_turn([iter("ab")], 5)) == ["a", "b"]


@pytest.mark.parametrize("size", [1, 7, 8, 9, 20])
def test_chunks_inside(size: int) -> None:
    step = 4
    for start in range(-25, 25):
        for limit in range(25):
            ends = [(i, start + i * step, start + min((i + 1) * step, size)) for i in range(-(-size // step))]
            expected = [i for i, begin, end in ends if begin >= 0 and end <= limit]
            assert list(chunks_inside(size, step, start, limit)) == expected, (start, limit)


def test_tiles_of_a_mosaic_that_grew_before_its_corner(tmp_path: Path) -> None:
    paths = [tmp_path / f"t{number}.tif" for number in range(3)]
    for number, path in enumerate(paths):
        corner = from_origin(500000.0 + 1280 * number, 4600000.0, 10.0, 10.0)
        make_tiff(path, number, shape=(2, 128, 128), blockysize=32, interleave="pixel", transform=corner)
        with rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE="64"), rasterio.open(path, "r+") as file:
            file.build_overviews([2])
        age(path)
    publish(paths[1:], tmp_path / "cube", mosaic=True, overviews=True)
    append([paths[0]], tmp_path / "cube")
    found = verify(tmp_path / "cube", pixels=1000)
    assert {(one.decoder, one.gdal) for one in found.pixels} == {("same", "same")}
    assert sorted(places(found)) == [
        *(("0/band_data", (0, y, x)) for y in range(4) for x in range(12)),
        *(("1/band_data", (0, 0, x)) for x in range(3)),
    ]


def test_gdal_gets_a_remote_file_once(faults: FaultServer, tmp_path: Path) -> None:
    for index in range(2):
        make_tiff(faults.root / f"s{index}.tif", index)
    publish([f"{faults.url}s{index}.tif" for index in range(2)], tmp_path / "cube")
    faults.forget()
    found = verify(tmp_path / "cube", pixels=12)
    assert [(one.decoder, one.gdal) for one in found.pixels] == [("same", "same")] * 12
    whole = [one.path for one in faults.log if one.method == "GET" and one.start is None]
    assert sorted(whole) == ["s0.tif", "s1.tif"]


def test_names_with_signs_of_urls_are_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a#b.tif", "c?d.tif", "e%20f g.tif"):
        make_tiff(tmp_path / "in" / name, 1)
        age(tmp_path / "in" / name)
    publish([tmp_path / "in"], tmp_path / "cube")
    found = verify(tmp_path / "cube", pixels=100)
    assert found.ok
    assert {(one.decoder, one.gdal) for one in found.pixels} == {("same", "same")}
    assert len({one.url for one in found.pixels}) == 3
