"""Overviews and masks beside a file are GDAL's, whatever is missing or damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 (the accessor)
import xarray as xr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import LocalStore
from rasterio.transform import Affine

from tests.servers import Web
from virtual_tiff import VirtualTIFF, open_pyramid, open_tiff

TRANSFORM = Affine(10.0, 0.0, 500000.0, 0.0, -10.0, 4600000.0)


def write(path: Path, *, mask: bool = True, bands: int = 1, overviews: bool = True, **environment: Any) -> Path:
    """Write a file of odd size; its overviews and mask stand beside it unless the environment says otherwise."""
    pixels = np.random.default_rng(1).integers(0, 250, (bands, 75, 101)).astype(np.uint8)
    profile = {"driver": "GTiff", "width": 101, "height": 75, "count": bands, "dtype": "uint8"}
    options = {"GDAL_TIFF_INTERNAL_MASK": False, "TIFF_USE_OVR": True, "GDAL_PAM_ENABLED": False} | environment
    with rasterio.Env(**options):
        with rasterio.open(path, "w", **profile, crs="EPSG:32633", transform=TRANSFORM) as target:
            target.write(pixels)
            target.scales = (0.5,) * bands
            if mask:
                target.write_mask((pixels[0] % 7 > 0).astype(np.uint8) * 255)
        if overviews:
            with rasterio.open(path, "r+") as target:
                target.build_overviews([2, 4])
    return path


def assert_as_gdal(path: Path, tree: xr.DataTree, *, levels: int, mask: bool) -> None:
    assert list(tree.children) == [str(number) for number in range(levels)]
    for number in range(levels):
        ours = tree[str(number)].to_dataset()
        options = {} if number == 0 else {"overview_level": number - 1}
        with rasterio.open(path, **options) as theirs:
            np.testing.assert_array_equal(
                ours["band_data"].to_numpy().reshape(theirs.count, *theirs.shape), theirs.read()
            )
            assert tuple(ours.rio.transform())[:6] == pytest.approx(tuple(theirs.transform)[:6], rel=1e-9)
            assert ours.rio.crs == theirs.crs
            if mask:
                np.testing.assert_array_equal(ours["mask"].to_numpy().astype(bool), theirs.dataset_mask() != 0)
        assert ("mask" in ours) == mask
        assert ours["band_data"].attrs["scale_factor"] == 0.5


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("bands", [1, 3])
def test_overviews_and_masks_beside_the_file(tmp_path: Path, mask: bool, bands: int) -> None:
    path = write(tmp_path / "a b.tif", mask=mask, bands=bands)
    assert (tmp_path / "a b.tif.ovr").exists()
    assert (tmp_path / "a b.tif.msk").exists() == mask
    tree = open_pyramid(path, sidecars=True, mask_and_scale=False)
    assert_as_gdal(path, tree, levels=3, mask=mask)
    scales = [level["transform"]["scale"] for level in tree.attrs["multiscales"]["layout"]]
    assert scales == [[1.0, 1.0], [75 / 38, 101 / 51], [75 / 19, 101 / 26]]


def test_they_are_not_looked_for_unless_asked_for(tmp_path: Path) -> None:
    tree = open_pyramid(write(tmp_path / "a.tif"))
    assert list(tree.children) == ["0"]
    assert "mask" not in tree["0"]


def test_one_level_of_a_sidecar(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif")
    tree = open_pyramid(path, sidecars=True)
    dataset = xr.open_dataset(path, engine="virtual-tiff", level=2, sidecars=True)
    xr.testing.assert_identical(dataset.load(), tree["2"].to_dataset().load())


def test_internal_mask_with_overviews_beside(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", GDAL_TIFF_INTERNAL_MASK=True)
    assert not (tmp_path / "a.tif.msk").exists()
    tree = open_pyramid(path, sidecars=True, mask_and_scale=False)
    with rasterio.open(path) as theirs:
        np.testing.assert_array_equal(tree["0/mask"].to_numpy(), theirs.dataset_mask() != 0)
    assert list(tree.children) == ["0", "1", "2"]


def test_internal_overviews_come_first(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", TIFF_USE_OVR=False)
    other = write(tmp_path / "b.tif")
    with rasterio.open(other, "r+") as target:
        target.write(np.zeros((1, 75, 101), np.uint8))
    (tmp_path / "b.tif.ovr").rename(tmp_path / "a.tif.ovr")
    tree = open_pyramid(path, sidecars=True, mask_and_scale=False)
    assert_as_gdal(path, tree, levels=3, mask=True)


def test_without_sidecars_nothing_changes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", mask=False, overviews=False)
    xr.testing.assert_identical(open_pyramid(path, sidecars=True)["0"].to_dataset(), open_tiff(path))


@pytest.mark.parametrize("content", [b"", b"no TIFF", b"II*\0\x08\0\0\0\xff\xff"])
@pytest.mark.parametrize("suffix", [".ovr", ".msk", ".msk.ovr"])
def test_a_damaged_sidecar_is_left_out_with_a_warning(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = write(tmp_path / "a.tif", mask=False, overviews=False)
    (tmp_path / f"a.tif{suffix}").write_bytes(content)
    with pytest.warns(UserWarning, match=f"left out: .*{suffix}"):
        tree = open_pyramid(path, sidecars=True)
    assert list(tree.children) == ["0"]


def test_overviews_with_other_bands_or_larger_are_not_its_own(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", bands=3, mask=False, overviews=False)
    write(tmp_path / "b.tif", bands=1, mask=False).with_name("b.tif.ovr").rename(tmp_path / "a.tif.ovr")
    assert list(open_pyramid(path, sidecars=True).children) == ["0"]


def test_on_a_web_server_and_through_the_parser(web: Web, tmp_path: Path) -> None:
    path = write(web.root / "a.tif")
    assert_as_gdal(path, open_pyramid(f"{web.url}a.tif", sidecars=True, mask_and_scale=False), levels=3, mask=True)
    bare = write(web.root / "bare.tif", mask=False, overviews=False)
    assert list(open_pyramid(f"{web.url}{bare.name}", sidecars=True).children) == ["0"]
    registry = ObjectStoreRegistry({"file://": LocalStore()})
    store = VirtualTIFF(sidecars=True)(f"file://{path}", registry)
    tree = xr.open_datatree(store, engine="zarr", consolidated=False, zarr_format=3, mask_and_scale=False)  # type: ignore[arg-type]
    assert_as_gdal(path, tree, levels=3, mask=True)
    assert tmp_path.exists()
