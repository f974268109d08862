"""What opens through our front doors is what GDAL and rioxarray say of the same file, on the whole corpus."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from pyproj import CRS
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError

from tests.corpus import corpus_files
from tests.geofiles import INTERNAL_ONLY, gdal
from tests.test_georef import same_crs
from virtual_tiff import VirtualTiffError, open_pyramid, open_tiff

SECONDS = 15.0
"""No file takes longer to open; the slowest search PROJ's registry for an unnamed CRS."""

MAX_SAMPLES = 4_000_000

EXPLAINED = {
    "WGS_1984_Web_Mercator.tif": {"CRS": "the same CRS, ESRI:102113, which GDAL names otherwise"},
}
"""Where we differ from GDAL, by file name and check, and why."""


def opened(path: Path, **options: Any) -> xr.DataTree | None:
    """The file through open_pyramid, or None when it is refused by name; nothing else may be raised."""
    try:
        return open_pyramid(path, **options)
    except VirtualTiffError:
        return None


def levels_of(tree: xr.DataTree) -> list[xr.Dataset]:
    return [tree[name].to_dataset() for name in sorted(tree.children, key=int)]


def pairs(
    corpus: Path, wanted: Callable[[Any], bool] = lambda _: True, **options: Any
) -> Iterator[tuple[Path, list[xr.Dataset], Any]]:
    """Each real file that both open, where rasterio's dataset is wanted: its path, our levels, rasterio's dataset."""
    for path in corpus_files(corpus):
        try:
            with gdal(path) as dataset:
                tree = opened(path, **options) if wanted(dataset) else None
                if tree is not None:
                    yield path, levels_of(tree), dataset
        except RasterioError:
            continue


def is_identity(transform: Any) -> bool:
    return tuple(transform)[:6] == (1, 0, 0, 0, 1, 0)


def same_numbers(ours: Any, theirs: Any) -> bool:
    return bool(np.allclose(tuple(ours), tuple(theirs), rtol=1e-9, atol=1e-12, equal_nan=True))


def check_place(dataset: xr.Dataset, theirs: Any) -> dict[str, bool]:
    """CRS, transform and bounds; a file with control points has its CRS with them."""
    crs = dataset.rio.crs
    checks = {"CRS": bool(theirs.gcps[0]) or same_crs(None if crs is None else CRS.from_wkt(crs.to_wkt()), theirs.crs)}
    if is_identity(theirs.transform) and "x" not in dataset.coords:
        return checks
    checks["transform"] = same_numbers(tuple(dataset.rio.transform())[:6], tuple(theirs.transform)[:6])
    if theirs.transform.b == theirs.transform.d == 0:
        left, bottom, right, top = dataset.rio.bounds()
        bounds = theirs.bounds
        edges = (*sorted((bounds.left, bounds.right)), *sorted((bounds.bottom, bounds.top)))
        checks["bounds"] = same_numbers((*sorted((left, right)), *sorted((bottom, top))), edges)
    return checks


def check_values(dataset: xr.Dataset, theirs: Any) -> dict[str, bool]:
    """Nodata, scales, offsets, units, names, colours."""
    array = dataset["band_data"]
    attributes = array.attrs
    nodata = array.rio.nodata if array.dtype.kind != "c" else attributes.get("nodata")
    bands = theirs.count
    scales = per_band(dataset, "band_scale", attributes.get("scale_factor", 1.0), bands)
    offsets = per_band(dataset, "band_offset", attributes.get("add_offset", 0.0), bands)
    units = per_band(dataset, "band_units", attributes.get("units", ""), bands)
    names = attributes.get("long_name")
    labels = [names] * bands if isinstance(names, str) else (names or dataset.coords.get("band", np.zeros(bands)))
    described = [(str(label), name) for label, name in zip(list(labels), theirs.descriptions, strict=True) if name]
    return {
        "nodata": same_nodata(nodata, theirs.nodatavals[0]),
        "scales": tuple(scales) == theirs.scales,
        "offsets": tuple(offsets) == theirs.offsets,
        "units": [unit or "" for unit in theirs.units] == list(units),
        "descriptions": all(ours in (name, str(name)) for ours, name in described),
        "colour interpretation": attributes["color_interpretation"] == [color.name for color in theirs.colorinterp],
        "colour map": same_colors(attributes.get("colormap"), theirs),
    }


def per_band(dataset: xr.Dataset, name: str, alike: Any, bands: int) -> list[Any]:
    return dataset.coords[name].to_numpy().tolist() if name in dataset.coords else [alike] * bands


def as_stored(dataset: xr.Dataset, theirs: Any) -> bool:
    """Whether GDAL shows the bands of the file: those of separated inks, YCbCr and L*a*b* it turns into RGBA."""
    converted = "SOURCE_COLOR_SPACE" in theirs.tags(ns="IMAGE_STRUCTURE")
    return bool(dataset["band_data"].sizes.get("band", 1) == theirs.count) and not converted


def same_nodata(ours: Any, theirs: Any) -> bool:
    if ours is None or theirs is None:
        return ours is None and theirs is None
    ours = float(ours) if isinstance(ours, str) else ours  # JSON has no NaN
    return bool(ours == theirs or (np.isnan(ours) and np.isnan(theirs)))


def same_colors(ours: list[list[int]] | None, theirs: Any) -> bool:
    try:
        expected = theirs.colormap(1)
    except ValueError:
        return ours is None
    return ours is not None and all(tuple(ours[value]) == color for value, color in expected.items() if value < 256)


def check_levels(path: Path, levels: list[xr.Dataset], theirs: Any) -> dict[str, bool]:
    """Number, shapes and places of overviews; each level has the variables of the finest."""
    count = len(theirs.overviews(1))
    checks = {"overview count": count == len(levels) - 1}
    ours = {(level.sizes["x"], level.sizes["y"]): level for level in levels[1:]}
    for index in range(count):
        with gdal(path, overview_level=index) as overview:
            level = ours.get((overview.width, overview.height))
            checks[f"overview {index}"] = level is not None
            if level is not None and "x" in level.coords:
                transform = tuple(level.rio.transform())[:6]
                checks[f"place of overview {index}"] = same_numbers(transform, tuple(overview.transform)[:6])
    return checks


def test_metadata_of_the_corpus(corpus: Path, closing_line: Callable[[str], None]) -> None:
    totals: Counter[str] = Counter()
    wrong: dict[str, set[str]] = {}
    for path, levels, theirs in pairs(corpus, mask_and_scale=False):
        checks = check_place(levels[0], theirs) | check_levels(path, levels, theirs)
        if as_stored(levels[0], theirs):
            checks |= check_values(levels[0], theirs)
            totals["with values as stored"] += 1
        failed = {name for name, good in checks.items() if not good}
        if failed:
            wrong[path.name] = failed
        totals["files"] += 1
        totals["with a CRS"] += bool(theirs.crs)
        totals["with a transform"] += not is_identity(theirs.transform)
        totals["with nodata"] += theirs.nodata is not None
        totals["with scales"] += set(theirs.scales) != {1.0} or set(theirs.offsets) != {0.0}
        totals["with descriptions"] += any(theirs.descriptions)
        totals["with units"] += any(theirs.units)
        totals["with a colour map"] += "colormap" in levels[0]["band_data"].attrs
        totals["overviews"] += len(levels) - 1
    closing_line("geo readers: " + ", ".join(f"{count} {name}" for name, count in totals.items()))
    assert wrong == {name: set(checks) for name, checks in EXPLAINED.items()}
    assert totals["files"] > 600


def small(theirs: Any) -> bool:
    return bool(theirs.count * theirs.width * theirs.height <= MAX_SAMPLES)


def has_mask(theirs: Any) -> bool:
    """Whether GDAL finds a mask: one for the dataset or, without any flag, one for each band."""
    flags = set(theirs.mask_flag_enums[0])
    return flags in ({MaskFlags.per_dataset}, set())


def test_masks_of_the_corpus_and_of_their_overviews(corpus: Path, closing_line: Callable[[str], None]) -> None:
    found = 0
    for path, levels, theirs in pairs(corpus, lambda one: has_mask(one) and small(one), mask_and_scale=False):
        if not as_stored(levels[0], theirs):
            continue
        assert levels[0]["band_data"].attrs.get("ancillary_variables") == "mask", path
        masks = theirs.read_masks() if levels[0]["mask"].ndim == 3 else theirs.dataset_mask()
        np.testing.assert_array_equal(levels[0]["mask"].to_numpy().astype(bool), masks != 0, str(path))
        found += 1
        for index in range(len(theirs.overviews(1))):
            with gdal(path, overview_level=index) as overview:
                level = next(level for level in levels[1:] if level.sizes["x"] == overview.width)
                if "mask" in level:
                    ours = level["mask"].to_numpy().astype(bool)
                    np.testing.assert_array_equal(ours, overview.dataset_mask() != 0, f"{path} {index}")
                    found += 1
    closing_line(f"geo readers: {found} masks equal")
    assert found > 10


def as_rioxarray(path: Path, **options: Any) -> xr.DataArray | None:
    """The file as rioxarray opens it, or None when that is a list of subdatasets."""
    with rasterio.Env(**INTERNAL_ONLY):
        array = rioxarray.open_rasterio(path, driver="GTiff", **options)
    return array if isinstance(array, xr.DataArray) else None


@pytest.mark.filterwarnings("ignore:(Scales|Offsets) differ across bands")
def test_coordinates_and_masked_values_of_the_corpus(corpus: Path, closing_line: Callable[[str], None]) -> None:
    totals: Counter[str] = Counter()
    for path, levels, theirs in pairs(corpus, lambda one: small(one) and "complex" not in one.dtypes[0]):
        ours = levels[0]
        flags = {flag for band in theirs.mask_flag_enums for flag in band}
        if not as_stored(ours, theirs):
            continue
        scaled = set(theirs.scales) != {1.0} or set(theirs.offsets) != {0.0}
        expected = as_rioxarray(path, masked=True, mask_and_scale=scaled and len(set(theirs.scales)) == 1)
        if expected is None:
            continue
        for axis in "xy":
            if axis in ours.coords and axis in expected.coords:  # rioxarray has none for rational polynomials
                np.testing.assert_allclose(ours[axis], expected[axis], rtol=1e-9, atol=1e-9, err_msg=str(path))
                totals["axes"] += 1
        if flags - {MaskFlags.all_valid, MaskFlags.nodata} or has_mask(theirs):
            continue
        try:
            values = expected.to_numpy()
        except (RasterioError, OSError):
            continue
        try:
            mine = ours["band_data"].to_numpy()
        except VirtualTiffError:
            continue
        if np.dtype(theirs.dtypes[0]) == np.uint8 and mine.dtype == np.bool_:
            mine = mine.astype(np.uint8)
        totals["arrays"] += 1
        totals["arrays with nodata"] += theirs.nodata is not None
        np.testing.assert_allclose(mine.reshape(values.shape), values, rtol=1e-6, equal_nan=True, err_msg=str(path))
    closing_line("geo readers: " + ", ".join(f"{count} {name} equal rioxarray's" for name, count in totals.items()))
    assert totals["arrays with nodata"] > 50


def test_no_file_of_the_corpus_raises_another_error_or_takes_long(corpus: Path) -> None:
    slow = {}
    for path in corpus_files(corpus):
        begun = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            opened(path)
        if time.monotonic() - begun > SECONDS:
            slow[path.name] = time.monotonic() - begun
    assert slow == {}


@pytest.mark.parametrize("name", ["rio-tiler/tests/fixtures/cog_scale.tif", "rasterio/tests/data/RGB.byte.tif"])
def test_a_level_is_the_same_alone_and_in_its_tree(corpus: Path, name: str) -> None:
    for number, level in enumerate(levels_of(open_pyramid(corpus / name))):
        xr.testing.assert_identical(open_tiff(corpus / name, level=number).load(), level.load())
