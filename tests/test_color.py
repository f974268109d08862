"""``color="rgb"``: palettes, YCbCr, CMYK and L*a*b* as RGB, compared with what GDAL makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from tests.opening import open_array, written
from virtual_tiff import UnsupportedError, UsageError, VirtualTIFF

GDAL = "gdal/autotest/gcore/data/"


def opened(path: Path, **options: Any) -> np.ndarray[Any, Any]:
    array = open_array(path.read_bytes(), **options)[...]
    assert isinstance(array, np.ndarray)
    return array


@pytest.mark.parametrize(
    "name", ["ycbcr_11_lzw.tif", "ycbcr_22_lzw.tif", "ycbcr_42_lzw.tif", "ycbcr_44_lzw_optimized.tif", "cielab.tif"]
)
def test_real_colours_are_those_of_gdal(corpus: Path, name: str) -> None:
    path = corpus / GDAL / name
    with rasterio.open(path) as source:
        expected = source.read([1, 2, 3])
    got = opened(path, color="rgb")
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - expected).max() <= 1


def test_palettes_become_the_colours_of_their_map() -> None:
    indices = np.random.default_rng(1).integers(0, 256, (20, 30)).astype(np.uint8)
    color_map = np.random.default_rng(2).integers(0, 256, (3, 256)).astype(np.uint16) * 257
    tiff = written(indices, photometric="palette", colormap=color_map, compression="zlib", tile=(16, 16))
    np.testing.assert_array_equal(open_array(tiff)[...], indices)
    np.testing.assert_array_equal(open_array(tiff, color="rgb")[...], (color_map // 257)[:, indices])


def test_rgb_stays_as_it_is_with_its_chain() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    tiff = written(pixels, photometric="rgb", compression="zlib", tile=(16, 16))
    array = open_array(tiff, color="rgb")
    np.testing.assert_array_equal(array[...], np.moveaxis(pixels, -1, 0))
    assert array.metadata == open_array(tiff).metadata


def test_gray_has_no_colours() -> None:
    tiff = written(np.zeros((4, 5), np.uint8), photometric="minisblack")
    with pytest.raises(UnsupportedError) as caught:
        open_array(tiff, color="rgb")
    assert caught.value.feature == "color"


def test_other_colour_spaces_make_no_sense() -> None:
    with pytest.raises(UsageError, match="'cmyk'"):
        VirtualTIFF(color="cmyk")  # type: ignore[arg-type]
