"""Virtual datasets of TIFFs combined by xarray: stacked along new dimensions, concatenated, written, and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import pytest
import xarray as xr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import LocalStore
from virtualizarr import open_virtual_dataset
from virtualizarr.manifests import ManifestArray

from tests.opening import written
from virtual_tiff import ConformError, UnsupportedError, VirtualTIFF
from virtual_tiff.combine import TiffManifestArray


def pixels_of(seed: int, bands: int) -> np.ndarray[Any, Any]:
    shape = (40, 50) if bands == 1 else (40, 50, bands)
    return np.random.default_rng(seed).integers(0, 60000, shape).astype(np.uint16)


def virtual_dataset(path: Path, pixels: np.ndarray[Any, Any], **options: Any) -> xr.Dataset:
    photometric = "rgb" if pixels.ndim > 2 else "minisblack"
    path.write_bytes(written(pixels, photometric=photometric, tile=(16, 16), compression="zlib", **options))
    registry: ObjectStoreRegistry[Any] = ObjectStoreRegistry({"file://": LocalStore()})
    return open_virtual_dataset(url=f"file://{path}", registry=registry, parser=VirtualTIFF(ifd=0))


def reread(dataset: xr.Dataset, folder: Path) -> np.ndarray[Any, Any]:
    """The pixels of a virtual dataset after a commit to Icechunk."""
    prefix = f"file://{folder}/"
    config = icechunk.RepositoryConfig.default()
    config.set_virtual_chunk_container(
        icechunk.VirtualChunkContainer(prefix, icechunk.local_filesystem_store(str(folder)))
    )
    access = icechunk.containers_credentials({prefix: icechunk.credentials.LocalFileSystemAccess})
    repository = icechunk.Repository.create(
        icechunk.in_memory_storage(), config=config, authorize_virtual_chunk_access=access
    )
    session = repository.writable_session("main")
    dataset.vz.to_icechunk(session.store)
    read = xr.open_zarr(session.store, consolidated=False, zarr_format=3)["band_data"]
    return np.asarray(read)


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("predictor", [False, True])
def test_files_stack_along_a_new_dimension(tmp_path: Path, bands: int, predictor: bool) -> None:
    stack = [pixels_of(seed, bands) for seed in range(3)]
    datasets = [virtual_dataset(tmp_path / f"{i}.tif", pixels, predictor=predictor) for i, pixels in enumerate(stack)]
    combined = xr.concat(datasets, dim="time")
    expected = np.stack(stack) if bands == 1 else np.moveaxis(np.stack(stack), -1, 1)
    assert combined["band_data"].dims[0] == "time"
    np.testing.assert_array_equal(reread(combined, tmp_path), expected)


def test_two_dimensions_may_be_added_one_after_the_other(tmp_path: Path) -> None:
    stack = [pixels_of(seed, 3) for seed in range(4)]
    datasets = [virtual_dataset(tmp_path / f"{i}.tif", pixels) for i, pixels in enumerate(stack)]
    rows = [xr.concat(datasets[start : start + 2], dim="time") for start in (0, 2)]
    combined = xr.concat(rows, dim="orbit")
    expected = np.moveaxis(np.stack(stack), -1, 1).reshape(2, 2, 3, 40, 50)
    np.testing.assert_array_equal(reread(combined, tmp_path), expected)


def test_expanded_datasets_concatenate(tmp_path: Path) -> None:
    stack = [pixels_of(seed, 3) for seed in range(2)]
    datasets = [virtual_dataset(tmp_path / f"{i}.tif", pixels).expand_dims("time") for i, pixels in enumerate(stack)]
    combined = xr.concat(datasets, dim="time")
    assert isinstance(combined["band_data"].data, TiffManifestArray)
    np.testing.assert_array_equal(reread(combined, tmp_path), np.moveaxis(np.stack(stack), -1, 1))


def array_of(tmp_path: Path, **options: Any) -> ManifestArray:
    array = virtual_dataset(tmp_path / f"{len(options)}.tif", pixels_of(1, 3), **options)["band_data"].data
    assert isinstance(array, ManifestArray)
    return array


def test_different_fill_values_are_not_merged(tmp_path: Path) -> None:
    nodata = (42113, "s", 0, "7", True)
    with pytest.raises(ConformError, match="different fill values"):
        np.stack([array_of(tmp_path), array_of(tmp_path, extratags=[nodata])])


def test_a_dimension_between_interleaved_bands_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="in front"):
        np.expand_dims(array_of(tmp_path), axis=1)


@pytest.mark.parametrize("order", [("first", "last"), ("last", "first")])
def test_bands_first_and_last_do_not_combine(order: tuple[Any, ...], tmp_path: Path) -> None:
    virtual_dataset(tmp_path / "a.tif", pixels_of(1, 3))
    registry: ObjectStoreRegistry[Any] = ObjectStoreRegistry({"file://": LocalStore()})
    one, other = (
        open_virtual_dataset(
            url=f"file://{tmp_path}/a.tif", registry=registry, parser=VirtualTIFF(ifd=0, band_axis=axis)
        )
        for axis in order
    )
    with pytest.raises(UnsupportedError, match=r"another order.*same band_axis"):
        xr.concat([one, other], dim="time")
    with pytest.raises(UnsupportedError, match="another order"):
        one.transpose(..., "x", "y")
    assert one.transpose(*one["band_data"].dims)["band_data"].dims == one["band_data"].dims
