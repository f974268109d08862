"""A preview shows the right pixels, in the right colours, with holes where there is no data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

from tests.corpus import corpus_files
from tests.geofiles import write
from virtual_tiff import UsageError, VirtualTiffError
from virtual_tiff.cli import app
from virtual_tiff.preview import render_preview

type Array = np.ndarray[Any, Any]


def drawn(path: Path, size: int = 1024, **options: Any) -> Array:
    picture: Array = imagecodecs.png_decode(render_preview(path, size, **options))
    assert picture.dtype == np.uint8
    return picture


def draw(tmp_path: Path, pixels: Array, size: int = 1024, **options: Any) -> Array:
    """Write bands (band, y, x) and draw them."""
    count, height, width = pixels.shape
    edit = options.pop("edit", lambda _: None)
    bands = options.pop("bands", None)

    def fill(dataset: Any) -> None:
        dataset.write(pixels)
        edit(dataset)

    path = tmp_path / "a.tif"
    write(path, count=count, dtype=str(pixels.dtype), size=(width, height), edit=fill, **options)
    return drawn(path, size, bands=bands)


def noise(*shape: int, dtype: str = "uint8") -> Array:
    return np.random.default_rng(3).integers(0, 250, shape).astype(dtype)


def test_bytes_of_three_bands_are_drawn_as_they_are(tmp_path: Path) -> None:
    pixels = noise(3, 20, 30)
    np.testing.assert_array_equal(draw(tmp_path, pixels, photometric="rgb"), np.moveaxis(pixels, 0, -1))


def test_bands_are_drawn_by_their_colours_or_as_asked(tmp_path: Path) -> None:
    pixels = noise(4, 20, 30)
    by_color = draw(tmp_path, pixels, edit=lambda dataset: setattr(dataset, "colorinterp", colors(5, 4, 3, 1)))
    np.testing.assert_array_equal(by_color, np.moveaxis(pixels[[2, 1, 0]], 0, -1))
    asked = draw(tmp_path, pixels, bands=[4, 1, 2])
    np.testing.assert_array_equal(asked[..., :3], np.moveaxis(pixels[[3, 0, 1]], 0, -1))


def colors(*codes: int) -> list[rasterio.enums.ColorInterp]:
    return [rasterio.enums.ColorInterp(code) for code in codes]


def test_one_band_is_stretched_between_percentiles(tmp_path: Path) -> None:
    pixels = np.arange(1000, 11000, dtype=np.uint16).reshape(1, 100, 100)
    picture = draw(tmp_path, pixels)
    assert picture.shape == (100, 100)
    low, high = np.percentile(pixels, (2, 98))
    expected = ((pixels[0] - low) / (high - low)).clip(0, 1) * 255
    np.testing.assert_allclose(picture, expected, atol=0.51)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", "float64", "complex64"])
def test_a_constant_is_grey(tmp_path: Path, dtype: str) -> None:
    assert (draw(tmp_path, np.full((1, 9, 9), 5, dtype)) == 127).all()


def test_nodata_and_nan_are_transparent(tmp_path: Path) -> None:
    pixels = noise(1, 20, 30, dtype="float32") + 1
    pixels[0, :5], pixels[0, 5:8] = -9999, np.nan
    picture = draw(tmp_path, pixels, nodata=-9999)
    assert picture.shape == (20, 30, 2)
    assert (picture[:8, :, 1] == 0).all()
    assert (picture[8:, :, 1] == 255).all()
    assert np.ptp(picture[8:, :, 0]) > 200


def test_a_mask_is_transparent(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[:, 10:] = 255
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        picture = draw(tmp_path, noise(3, 20, 30), photometric="rgb", edit=lambda dataset: dataset.write_mask(mask))
    np.testing.assert_array_equal(picture[..., 3], mask)


def test_alpha_is_alpha(tmp_path: Path) -> None:
    pixels = noise(4, 20, 30)
    picture = draw(tmp_path, pixels, photometric="rgb", alpha="yes")
    np.testing.assert_array_equal(picture, np.moveaxis(pixels, 0, -1))


def test_a_colour_map_is_applied(tmp_path: Path) -> None:
    pixels = noise(1, 20, 30) % 4
    palette = {0: (1, 2, 3, 255), 1: (9, 8, 7, 255), 2: (0, 255, 0, 255), 3: (200, 100, 50, 255)}
    picture = draw(tmp_path, pixels, photometric="palette", edit=lambda dataset: dataset.write_colormap(1, palette))
    np.testing.assert_array_equal(picture, np.array([palette[value][:3] for value in range(4)], np.uint8)[pixels[0]])


def test_bits_are_black_and_white(tmp_path: Path) -> None:
    picture = draw(tmp_path, noise(1, 20, 30) % 2, nbits=1)
    assert set(np.unique(picture)) == {0, 255}


def test_a_single_pixel_of_a_colour_map(tmp_path: Path) -> None:
    palette = {0: (1, 2, 3, 255), 1: (4, 5, 6, 255)}
    pixels = np.ones((1, 1, 1), np.uint8)
    picture = draw(tmp_path, pixels, photometric="palette", edit=lambda dataset: dataset.write_colormap(1, palette))
    np.testing.assert_array_equal(picture.reshape(-1)[:3], [4, 5, 6])


def test_the_smallest_sufficient_overview_is_read(tmp_path: Path) -> None:
    def edit(dataset: Any) -> None:
        dataset.write(noise(1, 200, 400))
        dataset.build_overviews([2, 4])

    path = tmp_path / "a.tif"
    write(path, size=(400, 200), edit=edit)
    assert drawn(path, 401).shape == drawn(path, 400).shape == (200, 400)
    assert drawn(path, 70).shape == (35, 70)
    with rasterio.open(path, overview_level=1) as dataset:
        coarse = dataset.read(1)
    np.testing.assert_array_equal(drawn(path, 100) > 127, stretched(coarse) > 127)


def stretched(values: Array) -> Array:
    low, high = np.percentile(values, (2, 98))
    result: Array = (((values - low) / (high - low)).clip(0, 1) * 255).round().astype(np.uint8)
    return result


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path)
    for options in ({"bands": [2]}, {"bands": [1, 1]}, {"bands": [0]}, {"size": 0}):
        with pytest.raises(UsageError):
            render_preview(path, **options)


def test_every_readable_file_of_the_corpus_is_drawn(corpus: Path, closing_line: Callable[[str], None]) -> None:
    outcomes: Counter[str] = Counter()
    for path in corpus_files(corpus, "r*/*"):
        try:
            picture = drawn(path, 128)
        except VirtualTiffError as error:
            outcomes[error.feature] += 1
            continue
        assert max(picture.shape[:2]) <= 128, path
        outcomes["drawn"] += 1
    closing_line("previews: " + ", ".join(f"{count} {name}" for name, count in outcomes.items()))
    assert outcomes["drawn"] > 60


def test_the_command(tmp_path: Path) -> None:
    path, out = tmp_path / "a.tif", tmp_path / "a.png"
    write(path, count=3, size=(60, 40), photometric="rgb")
    done = CliRunner().invoke(app, ["preview", str(path), "-o", str(out), "--size", "30", "--bands", "3,2,1"])
    assert (done.exit_code, out.stat().st_size) == (0, int(done.output.split(":")[-1].split()[0]))
    assert imagecodecs.png_decode(out.read_bytes()).shape == (20, 30, 3)
    for arguments in (["--bands", "x"], ["--bands", "9"], ["--ifd", "7"]):
        failed = CliRunner().invoke(app, ["preview", str(path), "-o", str(out), *arguments])
        assert failed.exit_code != 0
        assert failed.output.startswith("error: ")
    missing = CliRunner().invoke(app, ["preview", str(path), "-o", str(tmp_path / "no" / "a.png")])
    assert "cannot be written" in missing.output


def test_info_tells_place_bands_and_overviews(tmp_path: Path) -> None:
    def edit(dataset: Any) -> None:
        dataset.descriptions, dataset.scales, dataset.units = ("red edge", "nir"), (0.5, 2.0), ("m", "s")
        dataset.build_overviews([2])

    path = tmp_path / "a.tif"
    write(path, count=2, crs="EPSG:32633", size=(64, 64), nodata=7, edit=edit)
    (raster,) = json.loads(CliRunner().invoke(app, ["info", str(path), "--json"]).output)["rasters"]
    with rasterio.open(path) as theirs:
        assert raster["crs"]["code"] == "EPSG:32633"
        assert raster["transform"] == list(theirs.transform)[:6]
        assert raster["bounds"] == list(theirs.bounds)
        assert raster["resolution"] == list(theirs.res)
        assert raster["nodata"] == theirs.nodata
        assert [band["name"] for band in raster["bands"]] == list(theirs.descriptions)
        assert [band["scale"] for band in raster["bands"]] == list(theirs.scales)
        assert [band["unit"] for band in raster["bands"]] == list(theirs.units)
    assert [(overview["size"], overview["scale"]) for overview in raster["overviews"]] == [([32, 32], [2.0, 2.0])]
    text = CliRunner().invoke(app, ["info", str(path)]).output
    for words in ("WGS 84 / UTM zone 33N (EPSG:32633)", "10 x 10", "red edge", "32 x 32", "left 500000"):
        assert words in text
