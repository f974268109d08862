"""Bands last: the same byte ranges as ``(y, x, band)``, without a transpose; read by zarr, by xarray, and by GDAL."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import rasterio
import tifffile
import xarray as xr
import zarr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import LocalStore
from rasterio.enums import Resampling
from virtualizarr import open_virtual_dataset

from tests import matrix, subject
from tests.archives import Pixels, make_tiff, run_python
from tests.corpus import corpus_files
from tests.cubes import equal
from tests.opening import URL, open_array, registry_of, source_of, virtual, written
from tests.rawtiff import write
from tests.test_combine import pixels_of, reread
from tests.test_volumes import volume
from tests.test_volumes import written as written_volume
from virtual_tiff import ConformError, UsageError, VirtualTIFF, open_pyramid, open_tiff
from virtual_tiff.array import VirtualArray
from virtual_tiff.bandaxis import bands_last, last_order
from virtual_tiff.group import ImageOptions, VirtualGroup, image_group
from virtual_tiff.sidecar import whole_image
from virtual_tiff.stored import stored_chunk, stored_json
from virtual_tiff.tiff.source import Source, read_tiff

RGB: dict[str, Any] = {"shape": (3, 70, 90), "dtype": "uint8", "interleave": "pixel"}


def source(path: Path) -> Source:
    return Source(LocalStore(), str(path), f"file://{path}")


def group_of(path: Path, band_axis: Literal["first", "last"], **options: Any) -> VirtualGroup:
    """The first image of a file."""
    own = source(path)
    return own.run(image_group(read_tiff(own), 0, replace(ImageOptions(**options), band_axis=band_axis)))


def in_pixels(codec: dict[str, Any]) -> dict[str, Any]:
    """The codec for bands that stand last."""
    configuration = codec.get("configuration", {})
    if codec["name"] != "virtual_tiff.segment" or configuration.get("samples", 1) == 1:
        return codec
    assert configuration["chunk"] == "planes"
    return {**codec, "configuration": {**configuration, "chunk": "pixels"}}


def check_same_bytes(first: VirtualArray, last: VirtualArray) -> None:
    """Two arrays are the same but for the order of their axes."""
    order = last_order(first.dimension_names)
    assert not any(codec["name"] == "transpose" for codec in last.codecs)
    if order is None:
        assert last.zarr_json() == first.zarr_json()
        return
    own = tuple(in_pixels(codec) for codec in first.codecs if codec["name"] != "transpose")
    assert (last.codecs, last.attributes, last.dtype) == (own, first.attributes, first.dtype)
    for name in ("shape", "chunk_shape", "dimension_names"):
        assert getattr(last, name) == tuple(getattr(first, name)[axis] for axis in order)
    assert last.dimension_names[-1] == "band"
    np.testing.assert_array_equal(last.offsets, np.moveaxis(first.offsets, 0, -1))
    np.testing.assert_array_equal(last.lengths, np.moveaxis(first.lengths, 0, -1))
    assert {(*index[1:], index[0]): chunk for index, chunk in first.inlined.items()} == last.inlined


# Pixels, as other readers have them


@pytest.mark.parametrize("chosen", ["core", "segment"])
@pytest.mark.parametrize(
    "profile",
    [
        {"compress": "deflate"},
        {"compress": "zstd"},
        {"compress": "zstd", "dtype": "uint16", "ENDIANNESS": "BIG"},
        {"compress": "lzw", "predictor": 2},
        {"compress": "lzw", "predictor": 2, "interleave": "band"},
        {"compress": "deflate", "predictor": 3, "dtype": "float32"},
        {"compress": "deflate", "interleave": "band"},
        {"compress": None},
        {"compress": None, "interleave": "band"},
        {"compress": None, "tiled": False, "blockysize": 7},
        {"compress": None, "tiled": False, "blockysize": 7, "interleave": "band"},
        {"compress": "deflate", "tiled": False, "blockysize": 16},
        {"compress": "deflate", "tiled": False, "blockysize": 16, "interleave": "band"},
        {"compress": "zstd", "tiled": False, "blockysize": 16, "interleave": "band", "short_strips": "pad"},
        {"compress": "lzw", "tiled": False, "blockysize": 16},
        {"compress": "zstd", "shape": (1, 70, 90)},
        {"compress": "zstd", "shape": (5, 70, 90), "dtype": "int16"},
        {"compress": "zstd", "shape": (2, 70, 90), "nodata": 7},
    ],
    ids=str,
)
def test_pixels_are_those_of_other_readers(profile: dict[str, Any], chosen: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    options = {name: profile[name] for name in profile.keys() & {"short_strips"}} | {"codecs": chosen}
    make_tiff(path, **RGB | {name: value for name, value in profile.items() if name not in options})
    with rasterio.open(path) as file:
        gdal = np.moveaxis(file.read(), 0, -1)
    gdal = gdal[..., 0] if gdal.shape[-1] == 1 else gdal
    theirs = tifffile.imread(path)
    theirs = np.moveaxis(theirs, 0, -1) if profile.get("interleave") == "band" else theirs
    np.testing.assert_array_equal(theirs, gdal)
    array = subject.open_array(path, 0, band_axis="last", **options)
    assert array.metadata.dimension_names == (("y", "x", "band") if gdal.ndim == 3 else ("y", "x"))
    np.testing.assert_array_equal(array[...], gdal)
    first = virtual(path.read_bytes(), **options)
    check_same_bytes(first, bands_last(first))


def test_jpeg_of_ycbcr(tmp_path: Path) -> None:
    make_tiff(tmp_path / "a.tif", **RGB, compress="jpeg", photometric="ycbcr", blockxsize=32, blockysize=32)
    last = subject.open_array(tmp_path / "a.tif", 0, band_axis="last")[...]
    np.testing.assert_array_equal(np.moveaxis(last, -1, 0), subject.open_array(tmp_path / "a.tif", 0)[...])
    with rasterio.open(tmp_path / "a.tif") as file:
        assert np.abs(np.moveaxis(last, -1, 0).astype(int) - file.read()).max() <= 2


def test_a_palette_as_rgb(tmp_path: Path) -> None:
    colors = {value: (value, 255 - value, value // 2, 255) for value in range(256)}
    make_tiff(tmp_path / "a.tif", dtype="uint8", photometric="palette")
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.write_colormap(1, colors)
    with rasterio.open(tmp_path / "a.tif") as file:
        expected = np.array([colors[value][:3] for value in range(256)], np.uint8)[file.read(1)]
    ds = open_tiff(tmp_path / "a.tif", color="rgb", band_axis="last")
    assert ds["band_data"].dims == ("y", "x", "band")
    assert list(ds["band"].values) == ["red", "green", "blue"]
    np.testing.assert_array_equal(ds["band_data"], expected)
    assert open_tiff(tmp_path / "a.tif", band_axis="last")["band_data"].dims == ("y", "x")


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_sparse_files(interleave: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "width": 90, "height": 70, "count": 2, "dtype": "uint8", "nodata": 9}
    profile |= {"tiled": True, "blockxsize": 32, "blockysize": 16, "interleave": interleave, "SPARSE_OK": "TRUE"}
    with rasterio.open(path, "w", **profile, compress="zstd") as file:
        file.write(np.full((2, 16, 32), 5, np.uint8), window=((16, 32), (32, 64)))
    with rasterio.open(path) as file:
        expected = np.moveaxis(file.read(), 0, -1)
    array = virtual(path.read_bytes())
    assert np.count_nonzero(array.lengths) == (1 if interleave == "pixel" else 2)
    check_same_bytes(array, bands_last(array))
    np.testing.assert_array_equal(subject.open_array(path, 0, band_axis="last")[...], expected)


@pytest.mark.parametrize("kind", ["auto", "pad", "inline", "rectilinear"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_short_last_strips(kind: Any, compression: str | None, *, planar: bool) -> None:
    pixels = np.random.default_rng(1).integers(0, 99, (23, 9, 3), np.uint8)
    stored = np.moveaxis(pixels, -1, 0) if planar else pixels
    form: Any = {"planarconfig": "separate" if planar else "contig", "photometric": "rgb"}
    tiff = written(stored, rowsperstrip=5, compression=compression, **form)
    options = {"short_strips": kind, "target_chunk_bytes": 100}
    array = virtual(tiff, **options)
    check_same_bytes(array, bands_last(array))
    with zarr.config.set({"array.rectilinear_chunks": True}):
        np.testing.assert_array_equal(open_array(tiff, band_axis="last", **options)[...], pixels)
    if compression == "zstd" and kind == "inline":
        assert len(array.inlined) == (3 if planar else 1)
    if compression == "zstd" and kind == "rectilinear":
        grid = bands_last(array).zarr_json()["chunk_grid"]["configuration"]["chunk_shapes"]
        assert grid == [[[5, 4], 3], [[9, 1]], [[1, 3]] if planar else [[3, 1]]]


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("compression", [None, "zstd", "lzw"])
@pytest.mark.parametrize("tile", [None, (16, 16), (2, 16, 16)])
def test_bands_come_behind_the_planes_of_a_volume(
    tile: tuple[int, ...] | None, compression: str | None, *, planar: bool
) -> None:
    pixels = volume("u1", 3, planar=planar)
    segments: dict[str, Any] = {"rowsperstrip": 7} if tile is None else {"tile": tile}
    form = {"planarconfig": "separate" if planar else "contig"}
    tiff = written_volume(pixels, compression=compression, **segments, **form)
    array = open_array(tiff, band_axis="last")
    assert array.metadata.to_dict()["dimension_names"] == ("plane", "y", "x", "band")
    np.testing.assert_array_equal(array[...], np.moveaxis(pixels, 0, -1) if planar else pixels)
    check_same_bytes(virtual(tiff), bands_last(virtual(tiff)))


def encodings() -> Iterator[matrix.Case]:
    """Images of several bands, of all encodings and layouts."""
    return (case for case in matrix.cases(everything=False) if len(case.pixels) > 1)


def test_all_encodings_are_read_as_they_were_written(tmp_path: Path) -> None:
    count = 0
    for case in encodings():
        (tmp_path / "a.tif").write_bytes(write(case.pixels, case.recipe))
        found = subject.open_array(tmp_path / "a.tif", 0, band_axis="last")[...]
        assert equal(np.moveaxis(found, -1, 0), case.wanted), case.name
        count += 1
    assert count > 200


def test_real_files_read_the_same(corpus: Path) -> None:
    """A sample of the corpus: files whose first image has several bands, without the largest; or all of it."""
    step = 1 if os.environ.get("VIRTUAL_TIFF_MATRIX") == "all" else 8
    compared = 0
    for path in corpus_files(corpus)[::step]:
        if path.stat().st_size > 3 * 10**6:
            continue
        outcome = subject.read(path, 0)
        if outcome.status == "read" and len(outcome.pixels[0]) > 1:
            last = subject.open_array(path, 0, band_axis="last")
            axes = [
                last.metadata.dimension_names.index(name)
                for name in subject.open_array(path, 0).metadata.dimension_names
            ]
            assert equal(last[...].transpose(axes), outcome.pixels[0]), path
            compared += "band" in last.metadata.dimension_names
    assert compared > 60 / step


# What stands beside the pixels


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_attributes_and_coordinates_stay(interleave: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    make_tiff(path, shape=(3, 70, 90), interleave=interleave, nodata=3, dtype="float32")
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets, file.units = (1.0, 2.0, 3.0), (0.0, 1.0, 0.0), ("m", "K", "1")
        file.descriptions = ("a", "b", "c")
    first, last = group_of(path, "first"), group_of(path, "last")
    assert last.attributes == first.attributes
    assert [(one.name, one.dims, one.values.tolist()) for one in last.coordinates] == [
        (one.name, one.dims, one.values.tolist()) for one in first.coordinates
    ]
    check_same_bytes(first.arrays["band_data"], last.arrays["band_data"])
    attributes = last.arrays["band_data"].attributes
    assert (attributes["spatial:dimensions"], attributes["spatial:shape"]) == (["y", "x"], [70, 90])
    one, other = (open_tiff(path, band_axis=axis) for axis in ("first", "last"))
    assert {"band_scale", "band_offset", "band_units", "band", "x", "y"} <= set(other.coords)
    xr.testing.assert_identical(other.transpose("band", "y", "x"), one)
    assert other["band_data"].encoding["preferred_chunks"]["y"] == 48


def test_a_pyramid_with_masks(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    make_tiff(path, **RGB | {"shape": (2, 140, 180)})
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(np.random.default_rng(1).random(file.shape) < 0.5)
        file.build_overviews([2, 4], Resampling.nearest)
    first, last = (open_pyramid(path, band_axis=axis) for axis in ("first", "last"))
    assert last.groups == first.groups == ("/", "/0", "/1", "/2")
    for level in "012":
        assert last[level]["band_data"].dims == ("y", "x", "band")
        assert last[level]["mask"].dims == ("y", "x")
        xr.testing.assert_identical(last[level].to_dataset().transpose("band", "y", "x"), first[level].to_dataset())
        finer: dict[str, Any] = {} if level == "0" else {"OVERVIEW_LEVEL": int(level) - 1}
        pixels = np.asarray(last[f"{level}/band_data"])
        with rasterio.open(path, **finer) as file:
            np.testing.assert_array_equal(np.moveaxis(pixels, -1, 0), file.read())
            np.testing.assert_array_equal(last[level]["mask"].values, file.read_masks(1) > 0)
    assert last.attrs == first.attrs


@pytest.mark.parametrize("layout", ["pyramid", "flat", "nested"])
def test_all_layouts(layout: Any, tmp_path: Path) -> None:
    make_tiff(tmp_path / "a.tif", **RGB | {"shape": (3, 140, 180)})
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.build_overviews([2], Resampling.nearest)
    store = VirtualTIFF(ifd_layout=layout, band_axis="last")(URL, registry_of((tmp_path / "a.tif").read_bytes()))
    root = zarr.open_group(store, mode="r", zarr_format=3)
    paths = {"pyramid": ("0/band_data", "1/band_data"), "flat": ("0", "1"), "nested": ("0/0", "1/1")}[layout]
    shapes = [getattr(root[path], "shape", None) for path in paths]
    assert shapes == [(140, 180, 3), (70, 90, 3)]


def test_xarray_opens_it(tmp_path: Path) -> None:
    pixels = make_tiff(tmp_path / "a.tif", **RGB)
    ds = xr.open_dataset(tmp_path / "a.tif", engine="virtual-tiff", band_axis="last")
    np.testing.assert_array_equal(ds["band_data"], np.moveaxis(pixels, 0, -1))
    tree = xr.open_datatree(tmp_path / "a.tif", engine="virtual-tiff", band_axis="last")
    assert tree["0/band_data"].dims == ("y", "x", "band")
    window = ds["band_data"].isel(y=slice(40, 60), x=slice(20, 70), band=[2, 0])
    np.testing.assert_array_equal(window, np.moveaxis(pixels[[2, 0], 40:60, 20:70], 0, -1))


def test_other_places_are_refused(tmp_path: Path) -> None:
    for make in (
        lambda: VirtualTIFF(band_axis="middle"),  # type: ignore[arg-type]
        lambda: ImageOptions(band_axis="middle"),  # type: ignore[arg-type]
        lambda: open_tiff(tmp_path / "a.tif", band_axis="middle"),  # type: ignore[arg-type]
    ):
        make_tiff(tmp_path / "a.tif")
        with pytest.raises(UsageError, match="band_axis='middle'"):
            make()


def test_an_axis_that_leads_is_no_band_of_the_file() -> None:
    assert last_order(("time", "band", "y", "x"), 2) is None
    assert last_order(("time", "band", "y", "x"), 1) == (0, 2, 3, 1)
    assert last_order(("y", "x")) is None
    array = virtual(written(np.zeros((20, 30), np.uint8)))
    assert bands_last(array) is array


# VirtualiZarr


def virtual_dataset(path: Path, pixels: Pixels, **options: Any) -> xr.Dataset:
    path.write_bytes(written(pixels, photometric="rgb", tile=(16, 16), **options))
    registry: ObjectStoreRegistry[Any] = ObjectStoreRegistry({"file://": LocalStore()})
    return open_virtual_dataset(url=f"file://{path}", registry=registry, parser=VirtualTIFF(ifd=0, band_axis="last"))


@pytest.mark.parametrize("options", [{"compression": "zlib"}, {"compression": "zlib", "predictor": True}, {}], ids=str)
def test_virtualizarr_stacks_and_joins(options: dict[str, Any], tmp_path: Path) -> None:
    stack = [pixels_of(seed, 3) for seed in range(4)]
    datasets = [virtual_dataset(tmp_path / f"{seed}.tif", pixels, **options) for seed, pixels in enumerate(stack)]
    combined = xr.concat(datasets, dim="time")
    assert combined["band_data"].dims == ("time", "y", "x", "band")
    np.testing.assert_array_equal(reread(combined, tmp_path), np.stack(stack))
    rows = [xr.concat(datasets[start : start + 2], dim="time") for start in (0, 2)]
    np.testing.assert_array_equal(
        reread(xr.concat(rows, dim="orbit"), tmp_path), np.stack(stack).reshape(2, 2, *stack[0].shape)
    )
    np.testing.assert_array_equal(reread(xr.concat(rows, dim="time"), tmp_path), np.stack(stack))


def test_virtualizarr_inserts_a_dimension_anywhere(tmp_path: Path) -> None:
    """Unlike with bands first, where a transpose has to follow."""
    stack = [pixels_of(seed, 3) for seed in range(2)]
    arrays = [
        virtual_dataset(tmp_path / f"{seed}.tif", pixels)["band_data"].variable.data
        for seed, pixels in enumerate(stack)
    ]
    assert np.stack(arrays, axis=2).shape == (40, 50, 2, 3)
    wide = np.concatenate([np.expand_dims(array, axis=0) for array in arrays], axis=3)
    assert wide.shape == (1, 40, 50, 6)


def test_fill_values_are_still_compared(tmp_path: Path) -> None:
    parser = VirtualTIFF(ifd=0, band_axis="last")
    arrays = []
    for nodata in (1, 2):
        make_tiff(tmp_path / f"{nodata}.tif", **RGB, nodata=nodata)
        registry: ObjectStoreRegistry[Any] = ObjectStoreRegistry({"file://": LocalStore()})
        url = f"file://{tmp_path}/{nodata}.tif"
        arrays.append(open_virtual_dataset(url=url, registry=registry, parser=parser)["band_data"].variable.data)
    with pytest.raises(ConformError):
        np.stack(arrays)


# GDAL


def write_plain(group: VirtualGroup, to: Path) -> None:
    """Write a group as a directory of Zarr v3, with the bytes of the ranges as files: nobody's software is needed."""
    to.mkdir()
    document = {"zarr_format": 3, "node_type": "group", "attributes": dict(group.attributes)}
    (to / "zarr.json").write_text(json.dumps(document))
    for coordinate in group.coordinates:
        _put(to / coordinate.name / "zarr.json", json.dumps(stored_json(coordinate)).encode())
        _put(to / coordinate.name / "/".join(["c", *"0" * coordinate.values.ndim]), stored_chunk(coordinate.values))
    for name, array in group.arrays.items():
        _put(to / name / "zarr.json", json.dumps(array.zarr_json()).encode())
        whole = Path(array.url.removeprefix("file://")).read_bytes()
        for index in np.ndindex(array.grid):
            start, length = int(array.offsets[index]), int(array.lengths[index])
            chunk = array.inlined.get(index, whole[start : start + length])
            _put(to / name / "/".join(["c", *map(str, index)]), chunk)


def _put(path: Path, value: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(value)


GDAL = """
import sys, numpy, rasterio
with rasterio.open({name!r}, **{options!r}) as file:
    numpy.save({result!r}, file.read())
    print(file.count, *file.shape, file.crs)
assert "virtual_tiff" not in sys.modules
"""


def gdal_reads(group: VirtualGroup, folder: Path, **options: Any) -> tuple[str, Pixels]:
    """What GDAL makes of a group in a process of its own: bands, height, width, CRS; and the pixels."""
    shutil.rmtree(folder / "a.zarr", ignore_errors=True)
    write_plain(group, folder / "a.zarr")
    result = folder / "pixels.npy"
    name = f'ZARR:"{folder / "a.zarr"}":/band_data'
    told = run_python(GDAL.format(name=name, options=options, result=str(result)))
    pixels: Pixels = np.load(result)
    return told.strip(), pixels


@pytest.mark.parametrize(
    "profile",
    [
        {"compress": "zstd"},
        {"compress": "zstd", "interleave": "band"},
        {"compress": "zstd", "dtype": "uint16", "shape": (4, 70, 90)},
        {"compress": None},
        {"compress": None, "tiled": False, "blockysize": 16},
        {"compress": "zstd", "tiled": False, "blockysize": 16},
    ],
    ids=str,
)
def test_gdal_reads_bands_that_stand_last(profile: dict[str, Any], tmp_path: Path) -> None:
    pixels = make_tiff(tmp_path / "a.tif", **RGB | profile)
    told, found = gdal_reads(group_of(tmp_path / "a.tif", "last"), tmp_path)
    assert told == f"{len(pixels)} 70 90 EPSG:32633"
    np.testing.assert_array_equal(found, pixels)


def test_gdal_misreads_interleaved_bands_that_stand_first(tmp_path: Path) -> None:
    """When this fails, GDAL has become better: the reports of info and plan, and the documents, should say so."""
    pixels = make_tiff(tmp_path / "a.tif", **RGB, compress="zstd")
    told, found = gdal_reads(group_of(tmp_path / "a.tif", "first"), tmp_path)
    assert told == "3 70 90 EPSG:32633"
    assert not np.array_equal(found, pixels)


def test_gdal_is_told_the_axes_of_what_has_no_crs(tmp_path: Path) -> None:
    pixels = make_tiff(tmp_path / "a.tif", **RGB, compress="zstd", crs=None)
    group = group_of(tmp_path / "a.tif", "last")
    told, found = gdal_reads(group, tmp_path, DIM_X="x", DIM_Y="y")
    assert told == "3 70 90 None"
    np.testing.assert_array_equal(found, pixels)


def test_references_for_gdal_hold_no_other_bytes(tmp_path: Path) -> None:
    """Each byte of the file is referred to once, whatever the order of the axes."""
    make_tiff(tmp_path / "a.tif", **RGB, compress="zstd")
    own = source_of((tmp_path / "a.tif").read_bytes())
    image = whole_image(own, read_tiff(own), sidecars=False)
    first, last = (image.level_group(0, ImageOptions(band_axis=axis)).arrays["band_data"] for axis in ("first", "last"))
    assert sorted(first.offsets.ravel().tolist()) == sorted(last.offsets.ravel().tolist())
    assert math.prod(last.grid) == math.prod(first.grid)
