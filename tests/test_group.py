"""Groups of one image: what they are through xarray, Icechunk, kerchunk references, and the readers of conventions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import icechunk
import jsonschema
import morecantile
import numpy as np
import pytest
import rasterio
import rasterix
import rioxarray  # noqa: F401 (the accessor)
import virtualizarr
import xarray as xr
import zarr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import LocalStore
from zarr.storage import FsspecStore

from tests.corpus import corpus_files
from tests.geofiles import write
from tests.opening import source_of
from virtual_tiff import VirtualTIFF, VirtualTiffError, open_pyramid, open_tiff
from virtual_tiff.group import ImageOptions, image_group, parent_images
from virtual_tiff.sidecar import whole_image
from virtual_tiff.tiff.source import read_tiff

PROJ = "f17cb550-5864-4468-aeb7-f3180cfb622f"
SPATIAL = "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4"
MULTISCALES = "d35379db-88df-4056-af3a-620245f8e347"
CRS_FORMS = ("proj:code", "proj:wkt2", "proj:projjson")

NUMBERS: dict[str, Any] = {"type": "array", "items": {"type": "number"}}
ENTRY = {
    "type": "object",
    "required": ["uuid", "name"],
    "properties": {
        "uuid": {"enum": [PROJ, SPATIAL, MULTISCALES]},
        "name": {"enum": ["proj:", "spatial:", "multiscales"]},
        "schema_url": {"type": "string", "format": "uri"},
        "spec_url": {"type": "string", "format": "uri"},
    },
}
SPATIAL_KEYS = {
    "spatial:dimensions": {"const": ["y", "x"]},
    "spatial:shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2, "maxItems": 2},
    "spatial:transform": {**NUMBERS, "minItems": 6, "maxItems": 6},
    "spatial:bbox": {**NUMBERS, "minItems": 4, "maxItems": 4},
    "spatial:registration": {"enum": ["pixel", "node"]},
    "proj:code": {"type": "string", "pattern": "^[A-Z_0-9]+:[0-9A-Z]+$"},
    "proj:wkt2": {"type": "string", "minLength": 10},
    "proj:projjson": {"type": "object"},
}


def declares(uuid: str) -> dict[str, Any]:
    contains = {"contains": {"properties": {"uuid": {"const": uuid}}, "required": ["uuid"]}}
    return {"required": ["zarr_conventions"], "properties": {"zarr_conventions": contains}}


NODE = {
    "type": "object",
    "properties": {"zarr_conventions": {"type": "array", "items": ENTRY, "uniqueItems": True}, **SPATIAL_KEYS},
    "allOf": [
        {
            "if": declares(PROJ),
            "then": {"oneOf": [{"required": [form]} for form in CRS_FORMS]},
            "else": {"not": {"anyOf": [{"required": [form]} for form in CRS_FORMS]}},
        },
        {
            "if": declares(SPATIAL),
            "then": {"required": ["spatial:dimensions"]},
            "else": {"not": {"required": ["spatial:dimensions"]}},
        },
    ],
}
ARRAY = {"allOf": [NODE, {"if": declares(SPATIAL), "then": {"required": ["spatial:dimensions", "spatial:transform"]}}]}
LEVEL = {
    "type": "object",
    "required": ["asset"],
    "properties": {
        "asset": {"type": "string"},
        "derived_from": {"type": "string"},
        "transform": {"type": "object", "required": ["scale", "translation"], "properties": {"scale": NUMBERS}},
        **SPATIAL_KEYS,
    },
    "dependentRequired": {"derived_from": ["transform"]},
}
ROOT = {
    "allOf": [
        NODE,
        declares(MULTISCALES),
        {
            "required": ["multiscales"],
            "properties": {
                "multiscales": {
                    "type": "object",
                    "required": ["layout"],
                    "properties": {"layout": {"type": "array", "items": LEVEL, "minItems": 1}},
                }
            },
        },
    ]
}
"""The rules of the three conventions, as their specifications state them; the schemas are not in reach of tests."""


def validate(schema: dict[str, Any], attributes: Any) -> None:
    strict = json.loads(json.dumps(attributes, allow_nan=False))
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(strict)


def test_the_schema_refuses_what_the_conventions_refuse() -> None:
    entry = {"uuid": PROJ, "name": "proj:"}
    validate(NODE, {"zarr_conventions": [entry], "proj:code": "EPSG:4326"})
    for wrong in (
        {"zarr_conventions": [entry], "proj:code": "EPSG:4326", "proj:wkt2": "GEOGCRS[...]"},
        {"zarr_conventions": [entry]},
        {"proj:code": "EPSG:4326"},
        {"zarr_conventions": [{"uuid": SPATIAL, "name": "spatial:"}]},
        {"zarr_conventions": [{"uuid": PROJ}], "proj:code": "EPSG:4326"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            validate(NODE, wrong)


def test_conventions_of_the_corpus_are_valid(corpus: Path, closing_line: Callable[[str], None]) -> None:
    count = 0
    for path in corpus_files(corpus):
        source = source_of(path.read_bytes())
        try:
            group = whole_image(source, read_tiff(source), sidecars=False).group(ImageOptions())
        except VirtualTiffError:
            continue
        validate(ROOT, group.attributes)
        layout = group.attributes["multiscales"]["layout"]
        assert [level["asset"] for level in layout] == list(group.groups)
        for level in group.groups.values():
            validate(NODE, level.attributes)
            for array in level.arrays.values():
                validate(ARRAY, array.attributes)
            for coordinate in level.coordinates:
                json.dumps(dict(coordinate.attributes), allow_nan=False)
        count += 1
    closing_line(f"conventions: the attributes of {count} files are valid")
    assert count > 600


@pytest.fixture(scope="module")
def cog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bands with names, overviews, an internal mask, nodata and a scale; x = 0 is the centre of a pixel."""
    path = tmp_path_factory.mktemp("cog") / "a.tif"

    def edit(dataset: Any) -> None:
        rows, columns = np.mgrid[:300, :400]
        blocks = rows // 50 * 8 + columns // 50
        pixels = np.stack([blocks, blocks * 3, 900 - blocks]).astype(np.uint16)
        dataset.write(pixels)
        dataset.descriptions = ("red edge", "nir", "swir")
        dataset.scales, dataset.offsets = (0.5,) * 3, (10.0,) * 3
        dataset.write_mask(np.where(rows > 20, 255, 0).astype(np.uint8))
        dataset.build_overviews([2, 4], rasterio.enums.Resampling.nearest)

    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write(
            path,
            count=3,
            dtype="uint16",
            size=(400, 300),
            crs="EPSG:32633",
            transform=rasterio.Affine(10.0, 0.0, -5.0, 0.0, -10.0, 4600000.0),
            edit=edit,
            nodata=7,
            tiled=True,
            blockxsize=128,
            blockysize=128,
            compress="deflate",
        )
    return path


def registry() -> ObjectStoreRegistry[Any]:
    return ObjectStoreRegistry({"file://": LocalStore()})


def repository(path: Path) -> icechunk.Repository:
    """An Icechunk repository in memory that may read the folder of a file."""
    root = f"file://{path.parent}/"
    config = icechunk.RepositoryConfig.default()
    store = icechunk.local_filesystem_store(str(path.parent))
    config.set_virtual_chunk_container(icechunk.VirtualChunkContainer(root, store))
    return icechunk.Repository.create(
        icechunk.in_memory_storage(),
        config=config,
        authorize_virtual_chunk_access={root: icechunk.credentials.LocalFileSystemAccess},
    )


def test_through_icechunk_and_plain_xarray(cog: Path) -> None:
    repo = repository(cog)
    session = repo.writable_session("main")
    tree = virtualizarr.open_virtual_datatree(url=f"file://{cog}", registry=registry(), parser=VirtualTIFF())
    tree.vz.to_icechunk(session.store)
    session.commit("levels")
    store: Any = repo.readonly_session("main").store
    again = xr.open_datatree(store, engine="zarr", consolidated=False, zarr_format=3)
    for number, level in enumerate(open_pyramid(cog).children.values()):
        dataset = again[str(number)].to_dataset()
        expected = level.to_dataset()
        with rasterio.open(cog, **({"overview_level": number - 1} if number else {})) as theirs:
            assert dataset.rio.crs == theirs.crs
            assert tuple(dataset.rio.transform())[:6] == pytest.approx(tuple(theirs.transform)[:6], rel=1e-9)
        for name in ("band_data", "mask", "x", "y"):
            xr.testing.assert_equal(dataset[name].load(), expected[name].load())
        assert dataset["band"].to_numpy().tolist() == ["red edge", "nir", "swir"]
        assert dataset["band_data"].encoding["scale_factor"] == 0.5
    assert again.attrs["multiscales"] == open_pyramid(cog).attrs["multiscales"]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_through_kerchunk_references(tmp_path: Path, zarr_format: Any) -> None:
    path = tmp_path / "a.tif"
    count = 1 if zarr_format == 2 else 3  # VirtualiZarr cannot write interleaved bands in Zarr v2

    def edit(dataset: Any) -> None:
        dataset.descriptions = ("red", "green", "blue")[:count]

    transform = rasterio.Affine(10.0, 0.0, -5.0, 0.0, -10.0, 4600000.0)
    write(path, count=count, dtype="int16", crs="EPSG:32633", transform=transform, edit=edit, nodata=-1)
    dataset = virtualizarr.open_virtual_dataset(
        url=f"file://{path}", registry=registry(), parser=VirtualTIFF(), loadable_variables=[]
    )
    references = tmp_path / "refs.json"
    dataset.vz.to_kerchunk(str(references), format="json", zarr_format=zarr_format)
    filesystem = fsspec.filesystem(
        "reference", fo=json.loads(references.read_text()), remote_protocol="file", asynchronous=True
    )
    store = FsspecStore(filesystem, read_only=True)
    again = xr.open_zarr(store, consolidated=False, zarr_format=zarr_format).load()
    expected = open_tiff(path).load()
    assert again.rio.crs == expected.rio.crs
    assert again.rio.transform() == transform
    xr.testing.assert_equal(again.drop_vars("spatial_ref"), expected.drop_vars("spatial_ref"))
    assert float(again["x"][0]) == 0.0


def test_gdal_opens_kerchunk_references(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    blocks: dict[str, Any] = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}
    write(path, dtype="int16", crs="EPSG:32633", nodata=-1, size=(40, 32), **blocks)
    dataset = virtualizarr.open_virtual_dataset(
        url=f"file://{path}", registry=registry(), parser=VirtualTIFF(), loadable_variables=[]
    )
    references = tmp_path / "refs.json"
    dataset.vz.to_kerchunk(str(references), format="json")
    references.write_text(references.read_text().replace("file:///", "/"))  # GDAL wants paths
    with rasterio.open(path) as theirs, rasterio.open(f'ZARR:"{references}":/band_data') as ours:
        assert (ours.crs, ours.transform, ours.nodata) == (theirs.crs, theirs.transform, theirs.nodata)
        np.testing.assert_array_equal(ours.read(), theirs.read())


def test_rpcs_and_control_points_are_those_of_rioxarray(corpus: Path) -> None:
    names = ("rio-tiler/tests/fixtures/cog_gcps.tif", "gdal/autotest/utilities/data/unstable_rpc_with_dem_source.tif")
    for name in names:
        dataset = open_tiff(corpus / name)
        with rasterio.open(corpus / name) as theirs:
            assert dataset.rio.transform() == theirs.transform
            points = [(point.row, point.col, point.x, point.y) for point in dataset.rio.get_gcps() or []]
            assert points == [(point.row, point.col, point.x, point.y) for point in theirs.gcps[0]]
            rpcs = dataset.rio.get_rpcs()
            assert (None if rpcs is None else rpcs.to_gdal()) == (theirs.rpcs and theirs.rpcs.to_gdal())


@pytest.mark.parametrize("loadable", [None, []])
def test_datasets_of_two_dates_are_concatenated(tmp_path: Path, loadable: list[str] | None) -> None:
    datasets = []
    for number in range(2):
        path = tmp_path / f"{number}.tif"
        write(path, count=2, interleave="band", crs="EPSG:32633", nodata=3)
        options = {} if loadable is None else {"loadable_variables": loadable}
        datasets.append(
            virtualizarr.open_virtual_dataset(
                url=f"file://{path}",
                registry=registry(),
                parser=VirtualTIFF(),
                **options,  # type: ignore[arg-type]
            )
        )
    combined = xr.concat(datasets, dim="time")
    assert combined["band_data"].shape == (2, 2, 6, 8)
    assert {"x", "y", "band", "spatial_ref"} <= set(combined.coords)
    assert combined["x"].dims == ("x",)


def test_rasterix_makes_an_index(cog: Path) -> None:
    for level in open_pyramid(cog).children.values():
        dataset = level.to_dataset()
        indexed = rasterix.assign_index(dataset.copy(deep=True))
        transform = indexed.xindexes["x"].transform()
        assert tuple(transform)[:6] == pytest.approx(tuple(dataset.rio.transform())[:6], rel=1e-9)


@pytest.mark.filterwarnings("ignore:This module is experimental")
def test_rio_tiler_renders_a_tile(cog: Path) -> None:
    from rio_tiler.experimental.zarr import ArrayReader, GroupReader
    from rio_tiler.io import Reader

    group = zarr.open_group(VirtualTIFF()(f"file://{cog}", registry()), mode="r", zarr_format=3)
    with Reader(str(cog)) as gdal:
        west, south, east, north = gdal.get_geographic_bounds("EPSG:4326")
        tile = morecantile.tms.get("WebMercatorQuad").tile((west + east) / 2, (south + north) / 2, gdal.maxzoom)
        expected = gdal.tile(tile.x, tile.y, tile.z)
        bounds = gdal.bounds
    whole = GroupReader(group)
    assert whole.bounds == pytest.approx(bounds)
    assert whole.crs == expected.crs or whole.crs.to_epsg() == 32633
    array = group["0/band_data"]
    assert isinstance(array, zarr.Array)
    level = ArrayReader(array)
    for picture in (whole.tile(tile.x, tile.y, tile.z, variables=["band_data"]), level.tile(tile.x, tile.y, tile.z)):
        assert picture.data.shape == (3, 256, 256)
        both = (picture.mask > 0) & (expected.mask > 0)
        assert both.any()
        differing = (picture.data != expected.data).any(axis=0) & both
        assert differing.sum() <= 0.05 * both.sum()  # at the edges of blocks


def groups_of(path: Path) -> dict[tuple[int, ...], Any]:
    source = source_of(path.read_bytes())
    tiff = read_tiff(source)
    return {ifd.path: source.run(image_group(tiff, ifd.path, ImageOptions())) for ifd in tiff.walk()}


def test_overviews_inherit_the_meaning_of_values_and_masks_do_not(cog: Path) -> None:
    groups = groups_of(cog)
    source = source_of(cog.read_bytes())
    parents = parent_images(read_tiff(source))
    overviews = [path for path in parents if groups[path].arrays["band_data"].dtype == np.uint16]
    masks = [path for path in parents if path not in overviews]
    assert (len(overviews), len(masks)) == (2, 3)
    for path in overviews:
        attributes = groups[path].arrays["band_data"].attributes
        assert (attributes["scale_factor"], attributes["add_offset"], attributes["_FillValue"]) == (0.5, 10.0, 7)
        assert attributes["long_name"] == ["red edge", "nir", "swir"]
    for path in masks:
        attributes = groups[path].arrays["band_data"].attributes
        assert not {"scale_factor", "_FillValue", "units"} & set(attributes)
        assert attributes["spatial:transform"][2] == -5.0


def test_bands_that_differ_have_coordinates_of_their_own(tmp_path: Path) -> None:
    def edit(dataset: Any) -> None:
        dataset.scales, dataset.offsets = (0.5, 2.0), (0.0, 1.0)
        dataset.units = ("m", "s")
        dataset.build_overviews([2])

    path = tmp_path / "a.tif"
    write(path, count=2, dtype="int16", crs="EPSG:32633", size=(64, 64), edit=edit)
    for level in open_pyramid(path).children.values():
        dataset = level.to_dataset()
        assert {"band_scale", "band_offset", "band_units", "spatial_ref"} <= set(dataset.coords)
        assert list(dataset.data_vars) == ["band_data"]
        assert dataset["band_scale"].to_numpy().tolist() == [0.5, 2.0]
        assert dataset["band_units"].to_numpy().tolist() == ["m", "s"]


def test_masks_of_eight_bits_keep_their_values(corpus: Path) -> None:
    path = corpus / "gdal/autotest/gcore/data/test_with_mask_8bit.tif"
    dataset = open_tiff(path, mask_and_scale=False)
    assert dataset["mask"].dtype == np.uint8
    assert dataset["mask"].attrs["flag_values"] == [0, 255]
    with rasterio.open(path) as theirs:
        np.testing.assert_array_equal(dataset["mask"].to_numpy(), theirs.dataset_mask())


def test_masks_of_one_bit_are_boolean(cog: Path) -> None:
    mask = open_tiff(cog)["mask"]
    assert mask.dtype == np.bool_
    assert mask.attrs["flag_values"] == [0, 1]
    assert mask.attrs["flag_meanings"] == "masked valid"


def test_converted_colours_have_no_palette(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path, nodata=3, photometric="palette", edit=lambda dataset: dataset.write_colormap(1, {1: (9, 8, 7, 255)}))
    stored, converted = open_tiff(path, mask_and_scale=False), open_tiff(path, color="rgb")
    assert "colormap" in stored["band_data"].attrs
    assert not {"colormap", "_FillValue"} & set(converted["band_data"].attrs)
    assert converted["band_data"].attrs["color_interpretation"] == ["red", "green", "blue"]
    assert converted["band_data"][:, 0, 0].to_numpy().tolist() == [9, 8, 7]
