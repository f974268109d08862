"""One call opens a file: as a Dataset, as a DataTree, as an xarray engine, from any store, with its errors named."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 (the accessor)
import virtualizarr
import xarray as xr
import zarr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import LocalStore, MemoryStore
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.registry import register_pipeline

from tests.geofiles import write
from tests.opening import written
from tests.servers import Bucket, Web
from virtual_tiff import FormatError, SourceError, UsageError, VirtualTIFF, VirtualTiffError, open_pyramid, open_tiff


@pytest.fixture(scope="module")
def cog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One band with nodata, a scale and two overviews."""
    path = tmp_path_factory.mktemp("cog") / "a b.tif"

    def edit(dataset: Any) -> None:
        pixels = np.arange(80 * 100, dtype=np.int16).reshape(1, 80, 100)
        pixels[0, :3] = -1
        dataset.write(pixels)
        dataset.scales, dataset.offsets, dataset.units = (0.5,), (10.0,), ("m",)
        dataset.build_overviews([2, 4])

    write(path, dtype="int16", crs="EPSG:32633", size=(100, 80), nodata=-1, edit=edit, compress="deflate")
    return path


def physical(path: Path, **options: Any) -> np.ndarray[Any, Any]:
    with rasterio.open(path, **options) as theirs:
        values = theirs.read(1, masked=True).astype(np.float64) * 0.5 + 10.0
    filled: np.ndarray[Any, Any] = values.filled(np.nan)
    return filled


def test_a_dataset_with_place_and_meaning(cog: Path) -> None:
    dataset = open_tiff(cog)
    array = dataset["band_data"]
    assert array.dims == ("y", "x")
    assert dataset.rio.crs == rasterio.crs.CRS.from_epsg(32633)
    assert set(dataset.coords) == {"x", "y", "spatial_ref"}
    np.testing.assert_allclose(array, physical(cog))
    assert array.attrs["units"] == "m"
    assert (array.rio.encoded_nodata, array.rio.nodata) == (-1, pytest.approx(np.nan, nan_ok=True))


def test_stored_values_when_asked_for(cog: Path) -> None:
    array = open_tiff(cog, mask_and_scale=False)["band_data"]
    with rasterio.open(cog) as theirs:
        np.testing.assert_array_equal(array, theirs.read(1))
        assert array.rio.nodata == theirs.nodata == -1
    assert array.dtype == np.int16


@pytest.mark.parametrize("level", [0, 1, 2])
def test_levels(cog: Path, level: int) -> None:
    options = {"overview_level": level - 1} if level else {}
    np.testing.assert_allclose(open_tiff(cog, level=level)["band_data"], physical(cog, **options))
    np.testing.assert_allclose(open_pyramid(cog)[f"{level}/band_data"], physical(cog, **options))


def test_it_is_lazy_unless_dask_is_asked_for(cog: Path) -> None:
    assert not open_tiff(cog)["band_data"]._in_memory


@pytest.mark.parametrize("level", [-1, 3])
def test_a_level_that_is_not_there(cog: Path, level: int) -> None:
    with pytest.raises(UsageError, match=r"no level .* It has 3, from 0"):
        open_tiff(cog, level=level)


def test_an_image_by_its_ifd(cog: Path) -> None:
    xr.testing.assert_identical(open_tiff(cog, ifd=1).load(), open_tiff(cog, level=1).load())
    with pytest.raises(UsageError, match="no readable IFD 9"):
        open_tiff(cog, ifd=9)


def test_name_and_coordinates(cog: Path) -> None:
    dataset = open_tiff(cog, name="elevation", coordinates=False)
    assert list(dataset.data_vars) == ["elevation"]
    assert not {"x", "y"} & set(dataset.coords)
    with rasterio.open(cog) as theirs:
        assert dataset.rio.transform() == theirs.transform
    assert list(open_pyramid(cog, name="elevation")["1"].data_vars) == ["elevation"]


def test_the_engine(cog: Path) -> None:
    xr.testing.assert_identical(xr.open_dataset(cog, engine="virtual-tiff").load(), open_tiff(cog).load())
    xr.testing.assert_identical(
        xr.open_dataset(cog, engine="virtual-tiff", level=1).load(), open_tiff(cog, level=1).load()
    )
    raw = xr.open_dataset(str(cog), engine="virtual-tiff", mask_and_scale=False, name="v")
    xr.testing.assert_identical(raw.load(), open_tiff(cog, mask_and_scale=False, name="v").load())
    tree = xr.open_datatree(cog, engine="virtual-tiff")
    assert tree.load().identical(open_pyramid(cog).load())


def test_the_engine_drops_variables(cog: Path) -> None:
    dataset = xr.open_dataset(cog, engine="virtual-tiff", drop_variables=["spatial_ref"])
    assert "spatial_ref" not in dataset.coords


@pytest.mark.parametrize(
    ("name", "mine"), [("a.tif", True), ("A.TIFF", True), (Path("b.gtiff"), True), ("a.nc", False), (b"a.tif", False)]
)
def test_the_engine_guesses_by_the_name(name: Any, mine: bool) -> None:
    from virtual_tiff.backend import VirtualTiffBackend

    assert VirtualTiffBackend().guess_can_open(name) == mine


def test_without_options_the_parser_is_understood(cog: Path) -> None:
    registry = ObjectStoreRegistry({"file://": LocalStore()})
    store = VirtualTIFF()(f"file://{cog}", registry)
    tree = xr.open_datatree(store, engine="zarr", consolidated=False, zarr_format=3)  # type: ignore[arg-type]
    assert tree.load().identical(open_pyramid(cog).load())
    virtual = virtualizarr.open_virtual_dataset(url=f"file://{cog}", registry=registry, parser=VirtualTIFF())
    assert virtual["band_data"].shape == (80, 100)
    assert {"x", "y"} <= set(virtual.coords)


def test_a_store_that_is_passed(cog: Path) -> None:
    store = MemoryStore()
    store.put("folder/a.tif", cog.read_bytes())
    dataset = open_tiff("memory://bucket/folder/a.tif", store=store)
    np.testing.assert_allclose(dataset["band_data"], physical(cog))
    with pytest.raises(UsageError, match="no scheme"):
        open_tiff("folder/a.tif", store=store)


def test_from_a_web_server_and_a_bucket(cog: Path, web: Web, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    (web.root / "a b.tif").write_bytes(cog.read_bytes())
    np.testing.assert_allclose(open_tiff(f"{web.url}a%20b.tif")["band_data"], physical(cog))
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    bucket.store().put("a b.tif", cog.read_bytes())
    np.testing.assert_allclose(open_tiff(f"s3://{bucket.name}/a b.tif")["band_data"], physical(cog))


def test_errors_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        open_tiff(tmp_path / "none.tif")
    (tmp_path / "text.tif").write_text("no TIFF at all")
    for opener in (open_tiff, open_pyramid):
        with pytest.raises(FormatError, match="not-a-tiff"):
            opener(tmp_path / "text.tif")
    with pytest.raises(VirtualTiffError):
        xr.open_dataset(tmp_path / "text.tif", engine="virtual-tiff")


def test_masked_by_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path, dtype="float32", nodata=float("nan"), edit=lambda data: data.write(np.full((1, 6, 8), np.nan, "f4")))
    assert np.isnan(open_tiff(path)["band_data"]).all()


def test_whole_numbers_of_64_bits_keep_their_nodata() -> None:
    nodata = b"9007199254740993\0"  # 2 ** 53 + 1 is no double
    data = written(np.zeros((16, 16), np.int64), extratags=[(42113, 2, len(nodata), nodata, True)])
    store = MemoryStore()
    store.put("a.tif", data)
    dataset = open_tiff("memory://files/a.tif", store=store, mask_and_scale=False)
    assert dataset["band_data"].attrs["_FillValue"] == 2**53 + 1


def test_datasets_travel_to_other_processes(cog: Path) -> None:
    again = pickle.loads(pickle.dumps(open_tiff(cog)))  # noqa: S301 (our own bytes)
    np.testing.assert_allclose(again["band_data"], physical(cog))


def pipelines(monkeypatch: pytest.MonkeyPatch, *datasets: xr.Dataset) -> list[str]:
    """The pipelines by which zarr reads `band_data` of each dataset."""
    used: list[str] = []
    read = BatchedCodecPipeline.read

    async def told(self: Any, *arguments: Any, **options: Any) -> Any:
        used.append(type(self).__name__)
        return await read(self, *arguments, **options)

    monkeypatch.setattr(BatchedCodecPipeline, "read", told)
    for dataset in datasets:
        dataset["band_data"].variable.load()
    return used


def test_pipelines_are_left_alone(cog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configured = zarr.config.get("codec_pipeline.path")
    store = MemoryStore()
    store.put("a.tif", cog.read_bytes())
    tree = open_pyramid(cog)
    opened = [open_tiff(cog), pickle.loads(pickle.dumps(open_tiff(cog, chunks={}))), tree["1"].to_dataset()]  # noqa: S301
    opened += [open_tiff("memory://files/a.tif", store=store)]
    registry = ObjectStoreRegistry({"file://": LocalStore()})
    published: Any = VirtualTIFF(ifd=0)(f"file://{cog}", registry)
    opened += [xr.open_dataset(published, engine="zarr", consolidated=False, zarr_format=3)]
    with zarr.config.set({"codec_pipeline.path": f"{__name__}.{Mine.__name__}"}):
        opened += [open_tiff(cog)]
    *used, last = pipelines(monkeypatch, *opened)
    assert (set(used), last) == ({"BatchedCodecPipeline"}, "Mine")
    assert zarr.config.get("codec_pipeline.path") == configured


class Mine(BatchedCodecPipeline):
    """A pipeline that somebody has configured."""


register_pipeline(Mine)


def test_the_structure_that_gdal_promises_is_told(tmp_path: Path) -> None:
    path = tmp_path / "cog.tif"
    with rasterio.open(
        path, "w", driver="COG", width=600, height=600, count=1, dtype="uint8", blocksize=256, compress="deflate"
    ) as target:
        target.write(np.ones((1, 600, 600), np.uint8))
    structure = open_tiff(path)["band_data"].attrs["structural_metadata"]
    assert structure["LAYOUT"] == "IFDS_BEFORE_DATA"
    assert structure["BLOCK_LEADER"] == "SIZE_AS_UINT4"
    assert "structural_metadata" not in open_tiff(path, level=1)["band_data"].attrs
