"""``VirtualTIFF``: its options, its layouts, its names, and how it is used."""

from __future__ import annotations

import asyncio
import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pytest
import rasterio
import tifffile
import virtualizarr
import xarray as xr
import zarr
from obspec_utils.registry import ObjectStoreRegistry

from tests.opening import URL, registry_of, written
from virtual_tiff import SourceError, UnsupportedError, UsageError, VirtualTIFF


def noise(*shape: int, dtype: str = "u2") -> np.ndarray[Any, Any]:
    return np.random.default_rng(sum(shape)).integers(0, 250, shape).astype(dtype)


def pages(*arrays: np.ndarray[Any, Any], subifds: int = 0) -> bytes:
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for number, array in enumerate(arrays):
            writer.write(array, metadata=None, tile=(16, 16), subifds=subifds if number == 0 else 0)
    return buffer.getvalue()


def test_the_documented_way(tmp_path: Path) -> None:
    pixels = noise(3, 40, 50)
    path = tmp_path / "a b.tif"
    profile = {"driver": "GTiff", "count": 3, "height": 40, "width": 50, "dtype": "uint16", "tiled": True}
    with rasterio.open(path, "w", **profile, blockxsize=16, blockysize=16, compress="deflate", predictor=2) as target:
        target.write(pixels)
    store = obstore.store.from_url("file:///")
    registry = ObjectStoreRegistry({"file:///": store})
    manifest_store = VirtualTIFF(ifd=0)(url=f"file://{path}", registry=registry)
    dataset = xr.open_zarr(manifest_store, zarr_format=3, consolidated=False)
    assert dataset["band_data"].dims == ("band", "y", "x")
    np.testing.assert_array_equal(dataset["band_data"].load(), pixels)


def test_virtualizarr_opens_and_combines(tmp_path: Path) -> None:
    registry = ObjectStoreRegistry({"file://": obstore.store.LocalStore()})
    for number in range(2):
        (tmp_path / f"{number}.tif").write_bytes(written(noise(40, 50) + number, tile=(16, 16), compression="lzw"))
    datasets = [
        virtualizarr.open_virtual_dataset(
            url=f"file://{tmp_path}/{number}.tif", registry=registry, parser=VirtualTIFF(ifd=0)
        )
        for number in range(2)
    ]
    combined = xr.concat(datasets, dim="time")
    assert combined["band_data"].shape == (2, 40, 50)
    assert combined["band_data"].data.manifest.shape_chunk_grid == (2, 3, 4)


def test_it_loads_inside_a_running_event_loop() -> None:
    pixels = noise(40, 50)

    async def load() -> xr.Dataset:
        store = VirtualTIFF(ifd=0)(URL, registry_of(written(pixels, tile=(16, 16))))
        dataset: xr.Dataset = xr.open_zarr(store, zarr_format=3, consolidated=False)
        return dataset.load()

    np.testing.assert_array_equal(asyncio.run(load())["band_data"], pixels)


def open_group(tiff: bytes, **options: Any) -> zarr.Group:
    return zarr.open_group(VirtualTIFF(**options)(URL, registry_of(tiff)), mode="r", zarr_format=3)


def test_one_image_has_the_name_that_is_asked_for() -> None:
    group = open_group(pages(noise(20, 30)), ifd=0, name="B04")
    assert list(group.array_keys()) == ["B04"]


def test_flat_layout_numbers_the_images() -> None:
    first, second, child = noise(20, 30), noise(21, 31), noise(22, 32)
    group = open_group(pages(first, child, second, subifds=1), ifd_layout="flat")
    assert sorted(group.array_keys()) == ["0", "0_0", "1"]
    for name, pixels in {"0": first, "0_0": child, "1": second}.items():
        np.testing.assert_array_equal(group[name][...], pixels)  # type: ignore[index]


def test_nested_layout_makes_a_group_of_each_image() -> None:
    first, second = noise(20, 30), noise(21, 31)
    group = open_group(pages(first, second), ifd_layout="nested")
    np.testing.assert_array_equal(group["0/0"][...], first)  # type: ignore[index]
    np.testing.assert_array_equal(group["1/1"][...], second)  # type: ignore[index]


@pytest.mark.parametrize("path", [1, (1,), (0, 0)])
def test_an_image_is_chosen_by_index_or_path(path: int | tuple[int, ...]) -> None:
    child, second = noise(22, 32), noise(21, 31)
    group = open_group(pages(noise(20, 30), child, second, subifds=1), ifd=path)
    np.testing.assert_array_equal(group["band_data"][...], child if path == (0, 0) else second)  # type: ignore[index]


@pytest.mark.parametrize("path", [2, -1, (0, 1), (0, 0, 0), ()])
def test_an_image_that_is_not_there_is_refused_with_those_that_are(path: int | tuple[int, ...]) -> None:
    tiff = pages(noise(20, 30), noise(22, 32), noise(21, 31), subifds=1)
    with pytest.raises(UsageError, match=r"It has: 0") as caught:
        open_group(tiff, ifd=path)
    assert caught.value.feature == "no-such-ifd"


@pytest.mark.parametrize("option", [{"ifd_layout": "tree"}, {"on_error": "maybe"}, {"name": "a/b"}, {"name": ""}])
def test_options_that_make_no_sense_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        VirtualTIFF(**option)


def refused_second_page() -> bytes:
    tiff = bytearray(pages(noise(20, 30), noise(21, 31)))
    page = tifffile.TiffFile(BytesIO(tiff)).pages[1]
    assert isinstance(page, tifffile.TiffPage)
    place = page.tags["Compression"].valueoffset
    tiff[place : place + 2] = (4321).to_bytes(2, "little")
    return bytes(tiff)


def test_on_error_decides_about_the_other_images() -> None:
    tiff = refused_second_page()
    with pytest.raises(UnsupportedError) as caught:
        open_group(tiff, ifd_layout="flat")
    assert (caught.value.feature, caught.value.ifd, caught.value.url) == ("compression", (1,), URL)
    with pytest.warns(UserWarning, match="compression 4321"):
        assert list(open_group(tiff, ifd_layout="flat", on_error="warn").array_keys()) == ["0"]
    assert list(open_group(tiff, ifd_layout="flat", on_error="skip").array_keys()) == ["0"]


def test_a_url_without_a_store_is_refused() -> None:
    with pytest.raises(SourceError, match="no store is registered"):
        VirtualTIFF()("s3://elsewhere/a.tif", registry_of(b""))


def test_parsers_are_values() -> None:
    parser = VirtualTIFF(ifd=(0, 1), short_strips="pad")
    assert pickle.loads(pickle.dumps(parser)) == parser  # noqa: S301 (our own bytes)
    assert hash(parser) == hash(VirtualTIFF(ifd=(0, 1), short_strips="pad"))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("uint8", 7), ("int16", -32768), ("float32", float("nan")), ("float64", -9999.0), ("int64", -(2**63))],
)
def test_absent_tiles_read_as_nodata(tmp_path: Path, dtype: str, value: float) -> None:
    path = tmp_path / "sparse.tif"
    profile = {"driver": "GTiff", "count": 1, "height": 64, "width": 64, "dtype": dtype, "nodata": value}
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16, "SPARSE_OK": True, "compress": "deflate"}
    with rasterio.open(path, "w", **profile, **tiles) as target:
        target.write(np.ones((16, 16), dtype), 1, window=((16, 32), (0, 16)))
    array = open_group(path.read_bytes(), ifd=0)["band_data"]
    with rasterio.open(path) as source:
        np.testing.assert_array_equal(array[...], source.read(1))  # type: ignore[index]


def refused_overview() -> bytes:
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(noise(40, 60), metadata=None, tile=(16, 16))
        writer.write(noise(20, 30), metadata=None, tile=(16, 16), subfiletype=1)
    tiff = bytearray(buffer.getvalue())
    page = tifffile.TiffFile(BytesIO(tiff)).pages[1]
    assert isinstance(page, tifffile.TiffPage)
    place = page.tags["Compression"].valueoffset
    tiff[place : place + 2] = (4321).to_bytes(2, "little")
    return bytes(tiff)


def test_on_error_decides_about_the_overviews_of_a_pyramid() -> None:
    tiff = refused_overview()
    with pytest.raises(UnsupportedError):
        open_group(tiff)
    with pytest.warns(UserWarning, match="compression 4321"):
        assert list(open_group(tiff, on_error="warn").group_keys()) == ["0"]
    group = open_group(tiff, on_error="skip")
    assert [level["asset"] for level in group.attrs["multiscales"]["layout"]] == ["0"]  # type: ignore[index,union-attr,call-overload]
