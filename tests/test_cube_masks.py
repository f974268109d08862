"""The masks of files beside the image of a cube without overviews, as rasterio reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.archives import Pixels, age, make_tiff
from tests.test_cli import run
from virtual_tiff.cube.append import append
from virtual_tiff.cube.open import open_cube
from virtual_tiff.cube.publish import publish
from virtual_tiff.cube.scan import scan
from virtual_tiff.cube.verify import verify
from virtual_tiff.errors import ConformError, UsageError


def make_masked(path: Path, seed: int, *, overviews: bool = False) -> None:
    make_tiff(path, seed)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(np.random.default_rng(seed + 100).random(file.shape) < 0.7)
        if overviews:
            file.build_overviews([2])
    age(path)


def masks_of(folder: Path) -> Pixels:
    found = []
    for path in sorted(folder.iterdir()):
        with rasterio.open(path) as file:
            found.append(file.dataset_mask())
    return np.stack(found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for index in range(3):
        make_masked(tmp_path / f"in/s{index}.tif", index, overviews=index == 1)
    return tmp_path / "in"


def test_masks_without_overviews(folder: Path, tmp_path: Path) -> None:
    publish([folder], tmp_path / "cube", masks=True)
    ds = open_cube(tmp_path / "cube")
    assert ds["mask"].dims == ds["band_data"].dims == ("item", "y", "x")
    assert ds["band_data"].attrs["ancillary_variables"] == "mask"
    assert np.array_equal(ds["mask"].values != 0, masks_of(folder) != 0)
    assert 0 < (masks_of(folder) != 0).mean() < 1
    make_masked(folder / "s3.tif", 3)
    append([folder], tmp_path / "cube")
    ds = open_cube(tmp_path / "cube")
    assert np.array_equal(ds["mask"].values != 0, masks_of(folder) != 0)
    found = verify(tmp_path / "cube", pixels=1000)
    assert {(one.array, one.decoder, one.gdal) for one in found.pixels} == {
        ("band_data", "same", "same"),
        ("mask", "same", "same"),
    }


def test_masks_are_left_out_by_default(folder: Path, tmp_path: Path) -> None:
    publish([folder], tmp_path / "cube")
    assert set(open_cube(tmp_path / "cube").data_vars) == {"band_data"}


def test_masks_need_a_ledger_with_overviews(folder: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "scan.parquet"
    scan([folder], ledger=ledger)
    with pytest.raises(UsageError, match=r"overviews=False, not True.* `scan --overviews`"):
        publish([ledger], tmp_path / "cube", masks=True)
    scan([folder], ledger=tmp_path / "whole.parquet", overviews=True)
    publish([tmp_path / "whole.parquet"], tmp_path / "cube", masks=True)
    assert np.array_equal(open_cube(tmp_path / "cube")["mask"].values != 0, masks_of(folder) != 0)


def test_files_without_masks(folder: Path, tmp_path: Path) -> None:
    make_tiff(folder / "s3.tif", 3)
    with pytest.raises(ConformError, match=r"s3\.tif: the file has no mask"):
        publish([folder], tmp_path / "cube", masks=True)
    done = run("publish", folder, "--to", tmp_path / "cube", "--masks", "--on-conflict", "split")
    assert done.code == 0, done.err
    assert "it differs in masks" in done.out
    masked = open_cube(tmp_path / "cube", group="utm33n_10m_era1")
    assert np.array_equal(masked["mask"].values != 0, masks_of(folder)[:3] != 0)
    assert set(open_cube(tmp_path / "cube", group="utm33n_10m_era2").data_vars) == {"band_data"}
    published = publish([folder / "s3.tif"], tmp_path / "none", masks=True)
    assert published.notes == ("none of the files has a mask",)
    assert set(open_cube(tmp_path / "none").data_vars) == {"band_data"}
    with pytest.raises(ConformError):
        append([folder / "s0.tif"], tmp_path / "none")
