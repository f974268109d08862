"""What is rendered from the tags opens in xarray and rioxarray as what it is, and is strict JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rioxarray
import xarray as xr
import zarr
from affine import Affine
from rasterio import crs as rasterio_crs

from tests.geofiles import TRANSFORM, corpus_pairs, gdal, geokeys, ifd_of, tiff_of, tiff_with, write
from tests.tiffbytes import Entry
from virtual_tiff.geo.conventions import MAX_AXIS, Conventions, conventions, mask_conventions, multiscales
from virtual_tiff.geo.gdal_metadata import RasterMetadata, band_metadata
from virtual_tiff.geo.georef import GeoReference, georeference
from virtual_tiff.pyramid import pyramids

# rioxarray and rasterio still multiply affine transforms by "*"
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

DIMS = ("band", "y", "x")
UUIDS = {
    "multiscales": "d35379db-88df-4056-af3a-620245f8e347",
    "proj:": "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "spatial:": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
}


def render(data: bytes, dtype: str, bands: int, size: tuple[int, int] = (8, 6), **options: Any) -> Conventions:
    ifd, kind = ifd_of(data), np.dtype(dtype)
    shape = (bands, size[1], size[0])
    return conventions(
        georeference(ifd), band_metadata(ifd, kind, bands), shape=shape, dims=DIMS, dtype=kind, **options
    )


def store(group: zarr.Group, pixels: npt.NDArray[Any], ours: Conventions, dims: Sequence[str] = DIMS) -> None:
    """Write an image and everything beside it, as a manifest would describe it."""
    group.attrs.update(ours.group)
    array = group.create_array(
        "band_data", data=pixels, dimension_names=dims, fill_value=ours.fill_value, attributes=ours.array
    )
    assert array.fill_value == ours.fill_value or np.isnan(ours.fill_value)
    for item in ours.coordinates:
        text = item.values.dtype.kind == "U"
        values = item.values.astype(np.dtypes.StringDType()) if text else item.values
        group.create_array(item.name, data=values, dimension_names=item.dims, attributes=dict(item.attributes))


def opened(path: Path, pixels: npt.NDArray[Any], ours: Conventions, **options: Any) -> xr.Dataset:
    store(zarr.create_group(path, overwrite=True), pixels, ours)
    dataset: xr.Dataset = xr.open_zarr(path, consolidated=False, chunks=None, **options)
    return dataset


def check_json(value: Any) -> None:
    assert json.loads(json.dumps(value, allow_nan=False)) == value


def check_strict(ours: Conventions) -> None:
    check_json(ours.array)
    check_json(ours.group)
    for coordinate in ours.coordinates:
        check_json(dict(coordinate.attributes))
        assert coordinate.values.ndim == len(coordinate.dims)


def check_registered(json: Mapping[str, Any]) -> None:
    """Require what the schemas of proj: and spatial: require."""
    names = [entry["name"] for entry in json["zarr_conventions"]]
    assert all(UUIDS[entry["name"]] == entry["uuid"] for entry in json["zarr_conventions"])
    forms = {"proj:code", "proj:wkt2", "proj:projjson"} & set(json)
    assert len(forms) == (1 if "proj:" in names else 0)
    if "spatial:" in names:
        assert json["spatial:dimensions"] == ["y", "x"]


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "+proj=laea +lat_0=5 +lon_0=6 +datum=WGS84", None])
def test_rioxarray_finds_crs_and_transform(crs: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    data = write(path, crs=crs, dtype="int16", nodata=-5)
    ours = render(data, "int16", 1)
    check_strict(ours)
    dataset = opened(tmp_path / "a.zarr", np.zeros((1, 6, 8), np.int16), ours)
    theirs = rioxarray.open_rasterio(path)
    assert isinstance(theirs, xr.DataArray)
    assert dataset.rio.crs == theirs.rio.crs
    assert dataset["band_data"].rio.crs == theirs.rio.crs
    assert dataset["band_data"].rio.transform() == TRANSFORM
    assert dataset.rio.bounds() == theirs.rio.bounds()
    assert dataset["band_data"].rio.encoded_nodata == -5
    xr.testing.assert_allclose(dataset["x"].drop_vars("spatial_ref"), theirs["x"].drop_vars("spatial_ref"))
    xr.testing.assert_allclose(dataset["y"].drop_vars("spatial_ref"), theirs["y"].drop_vars("spatial_ref"))


@pytest.mark.parametrize("dtype", ["uint8", "int64", "uint64", "float32", "float64"])
def test_masked_and_scaled_values(dtype: str, tmp_path: Path) -> None:
    def edit(dataset: Any) -> None:
        dataset.scales, dataset.offsets, dataset.units = (0.5, 0.5), (10.0, 10.0), ("K", "K")

    data = write(tmp_path / "a.tif", count=2, dtype=dtype, nodata=7, edit=edit)
    ours = render(data, dtype, 2)
    check_strict(ours)
    assert ours.fill_value == 7
    pixels = np.full((2, 6, 8), 7, dtype)
    pixels[0, 0, 0] = 4
    variable = opened(tmp_path / "a.zarr", pixels, ours)["band_data"]
    assert variable.attrs["units"] == "K"
    assert variable.values[0, 0, 0] == 12
    assert np.isnan(variable.values[1]).all()
    raw = opened(tmp_path / "a.zarr", pixels, ours, mask_and_scale=False)["band_data"]
    assert raw.dtype == dtype
    assert raw.values[1, 1, 1] == 7


def test_complex_values_stay_complex(tmp_path: Path) -> None:
    def edit(dataset: Any) -> None:
        dataset.scales, dataset.offsets = (0.5,), (1.0,)

    ours = render(write(tmp_path / "a.tif", dtype="complex64", nodata=7, edit=edit), "complex64", 1)
    check_strict(ours)
    assert ours.fill_value == 7
    assert ours.array["nodata"] == 7
    variable = opened(tmp_path / "a.zarr", np.full((1, 6, 8), 3 + 4j, np.complex64), ours)["band_data"]
    assert variable.dtype == np.complex64
    assert (variable.values == 3 + 4j).all()


def test_nan_nodata_and_bool_and_no_nodata() -> None:
    floats = tiff_with(Entry(42113, 2, b"nan\0"))
    ours = render(floats, "float32", 1, (16, 16))
    assert isinstance(ours.fill_value, float)
    assert math.isnan(ours.fill_value)
    check_strict(ours)
    bits = render(tiff_with(Entry(42113, 2, b"1\0")), "bool", 1, (16, 16))
    assert bits.fill_value is True
    assert "_FillValue" not in bits.array
    for dtype, zero in (("uint8", 0), ("float32", 0.0), ("complex64", 0j), ("bool", False)):
        plain = render(tiff_with(), dtype, 1, (16, 16))
        assert plain.fill_value == zero
        assert type(plain.fill_value) is type(zero)
        assert "_FillValue" not in plain.array


def test_bands_that_differ_get_variables(tmp_path: Path) -> None:
    def edit(dataset: Any) -> None:
        dataset.scales, dataset.offsets = (0.5, 1.0), (10.0, 0.0)
        dataset.units = ("K", "m")
        dataset.set_band_description(1, "temperature")
        dataset.set_band_description(2, "height")

    ours = render(write(tmp_path / "a.tif", count=2, edit=edit), "uint8", 2)
    check_strict(ours)
    assert not {"scale_factor", "add_offset", "units"} & set(ours.array)
    assert ours.array["long_name"] == ["temperature", "height"]
    dataset = opened(tmp_path / "a.zarr", np.ones((2, 6, 8), np.uint8), ours)
    assert dataset["band"].values.tolist() == ["temperature", "height"]
    assert dataset["band_scale"].values.tolist() == [0.5, 1.0]
    assert dataset["band_offset"].values.tolist() == [10.0, 0.0]
    assert dataset["band_units"].values.tolist() == ["K", "m"]
    assert dataset["band_data"].sel(band="height").shape == (6, 8)


@pytest.mark.parametrize(
    ("photometric", "count", "labels"),
    [
        ("RGB", 4, ["red", "green", "blue", "alpha"]),
        ("MINISBLACK", 1, [1]),
        ("MINISBLACK", 3, [1, 2, 3]),
    ],
)
def test_band_labels(photometric: str, count: int, labels: list[Any], tmp_path: Path) -> None:
    data = write(tmp_path / "a.tif", count=count, photometric=photometric, ALPHA="YES" if count == 4 else "NO")
    bands = next(c for c in render(data, "uint8", count).coordinates if c.name == "band")
    assert bands.values.tolist() == labels
    plain = render(data, "uint8", count, band_names=False)
    assert next(c for c in plain.coordinates if c.name == "band").values.tolist() == list(range(1, count + 1))


def test_palette_and_categories(tmp_path: Path) -> None:
    def edit(dataset: Any) -> None:
        dataset.write_colormap(1, {0: (1, 2, 3, 255)})

    ifd = ifd_of(write(tmp_path / "a.tif", edit=edit))
    metadata = band_metadata(ifd, np.dtype("u1"), 1)
    named = RasterMetadata(color_map=metadata.color_map, category_names=("", "deep water", "forest"))
    ours = conventions(GeoReference(), named, shape=(6, 8), dims=("y", "x"), dtype=np.dtype("u1"))
    assert ours.array["colormap"][0] == [1, 2, 3, 255]
    assert ours.array["flag_values"] == [1, 2]
    assert ours.array["flag_meanings"] == "deep_water forest"
    assert [coordinate.name for coordinate in ours.coordinates] == []
    check_strict(ours)


def test_tags_cannot_pass_for_conventions(tmp_path: Path) -> None:
    def edit(dataset: Any) -> None:
        dataset.update_tags(scale_factor="0.5", _FillValue="x", grid_mapping="other", units="degrees")

    ours = render(write(tmp_path / "a.tif", edit=edit), "uint8", 1)
    assert ours.array["tags"]["scale_factor"] == "0.5"
    assert not {"scale_factor", "_FillValue", "units"} & set(ours.array)
    assert ours.array["grid_mapping"] == "spatial_ref"
    opened(tmp_path / "a.zarr", np.ones((1, 6, 8), np.uint8), ours)


def test_rotated_and_huge_images_have_no_x_and_y(tmp_path: Path) -> None:
    data = write(tmp_path / "a.tif", crs="EPSG:32633", transform=Affine(1, 2, 3, 4, -5, 6))
    assert {c.name for c in render(data, "uint8", 1).coordinates} == {"spatial_ref", "band"}
    plain = write(tmp_path / "b.tif", crs="EPSG:32633")
    assert {c.name for c in render(plain, "uint8", 1, xy_coordinates=False).coordinates} == {"spatial_ref", "band"}
    huge = render(plain, "uint8", 1, (MAX_AXIS + 1, 4))
    assert "x" not in {c.name for c in huge.coordinates}
    assert any("no x and y" in warning for warning in huge.warnings)


def test_control_points_and_rpcs_for_rioxarray(tmp_path: Path) -> None:
    ties = [float(v) for v in (0, 0, 0, 1, 2, 3, 8, 0, 0, 4, 2, 5, 8, 8, 0, 4, 9, 1)]
    rpc = Entry(50844, 12, [float(i) for i in range(92)])
    data = tiff_with(Entry(33922, 12, ties), rpc, *geokeys((1024, 2), (2048, 4326)))
    ours = render(data, "uint8", 1, (16, 16))
    check_strict(ours)
    dataset = opened(tmp_path / "a.zarr", np.ones((1, 16, 16), np.uint8), ours)
    gcps = dataset["band_data"].rio.get_gcps()
    assert gcps is not None
    assert [(g.col, g.row, g.x, g.y, g.z) for g in gcps][1] == (8, 0, 4, 2, 5)
    assert dataset["band_data"].rio.crs == rasterio_crs.CRS.from_epsg(4326)
    assert json.loads(dataset["spatial_ref"].attrs["rpcs"])["line_off"] == 2.0


def test_conventions_by_name_alone(tmp_path: Path) -> None:
    """``proj:`` and ``spatial:`` suffice for rioxarray when the CF variables are missing."""
    ours = render(write(tmp_path / "a.tif", crs="EPSG:32633"), "uint8", 1)
    check_registered(ours.array)
    check_registered(ours.group)
    bare = {key: value for key, value in ours.array.items() if key not in ("grid_mapping", "coordinates")}
    dataset = opened(tmp_path / "a.zarr", np.ones((1, 6, 8), np.uint8), Conventions(bare, {}, (), 0))
    assert dataset["band_data"].rio.crs == rasterio_crs.CRS.from_epsg(32633)
    assert dataset["band_data"].rio.transform() == TRANSFORM


def test_pyramid_opens_as_data_tree(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    data = write(path, crs="EPSG:32633", size=(101, 67), edit=lambda dataset: dataset.build_overviews([2, 4]))
    tiff = tiff_of(data)
    (pyramid,) = pyramids(tiff)
    main = tiff.ifds[0]
    root = zarr.create_group(tmp_path / "a.zarr")
    attributes = multiscales(pyramid, georeference(main))
    check_json(attributes)
    check_registered(attributes)
    root.attrs.update(attributes)
    for index, level in enumerate(pyramid.levels):
        shape, kind = (1, level.height, level.width), np.dtype("u1")
        metadata = band_metadata(main, kind, 1)
        ours = conventions(georeference(tiff.ifd(level.path), main), metadata, shape=shape, dims=DIMS, dtype=kind)
        store(root.create_group(str(index)), np.full(shape, index, "u1"), ours)
        layout = attributes["multiscales"]["layout"][index]
        assert layout["spatial:transform"] == ours.array["spatial:transform"]
        assert layout["spatial:shape"] == [level.height, level.width]
        assert layout["transform"]["scale"] == [67 / level.height, 101 / level.width]
        assert ("derived_from" in layout) == (index > 0)
    tree = xr.open_datatree(tmp_path / "a.zarr", engine="zarr", consolidated=False, chunks=None)
    for index in range(3):
        dataset = tree[str(index)].to_dataset()
        assert dataset.rio.crs == rasterio_crs.CRS.from_epsg(32633)
        options = {} if index == 0 else {"overview_level": index - 1}
        with gdal(path, **options) as expected:
            assert dataset["band_data"].rio.transform().almost_equals(expected.transform, 1e-9)
            assert dataset.rio.bounds() == pytest.approx(tuple(expected.bounds))


def test_mask_attributes() -> None:
    geo = georeference(ifd_of(tiff_with(*geokeys((1024, 1), (3072, 32633)))))
    json = mask_conventions(geo, shape=(16, 16), dims=("y", "x"))
    check_json(json)
    assert json["flag_meanings"].split() == ["masked", "valid"]
    assert json["proj:code"] == "EPSG:32633"


def test_nothing_known_gives_nothing() -> None:
    ours = conventions(GeoReference(), RasterMetadata(), shape=(3, 4), dims=("y", "x"), dtype=np.dtype("u1"))
    assert ours == Conventions({"color_interpretation": ["gray"]}, {}, (), 0)
    assert "zarr_conventions" not in ours.array


def test_corpus_renders_strictly(corpus: Path, closing_line: Callable[[str], None]) -> None:
    codes = rendered = 0
    for _, tiff, dataset in corpus_pairs(corpus):
        ifd = tiff.ifds[0]
        kind = np.dtype("c8" if dataset.dtypes[0] == "complex_int16" else dataset.dtypes[0])
        geo, metadata = georeference(ifd), band_metadata(ifd, kind, dataset.count)
        shape = (dataset.count, dataset.height, dataset.width)
        ours = conventions(geo, metadata, shape=shape, dims=DIMS, dtype=kind)
        check_strict(ours)
        if "zarr_conventions" in ours.array:
            check_registered(ours.array)
        if geo.transform is not None:
            assert (
                ours.array["spatial:bbox"]
                == pytest.approx(
                    [
                        min(dataset.bounds[0::2]),
                        min(dataset.bounds[1::2]),
                        max(dataset.bounds[0::2]),
                        max(dataset.bounds[1::2]),
                    ]
                )
                or geo.transform.b != 0
            )
        codes += "proj:code" in ours.array
        rendered += 1
    closing_line(f"conventions of the corpus: {rendered} files rendered, {codes} with a CRS code")
    assert rendered > 500
