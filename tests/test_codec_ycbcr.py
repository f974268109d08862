"""YCbCr to RGB, exactly as libtiff's RGBA interface has it, for every value of the tags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile

from tests.codec_cases import SHORT, rationals, read_gdal, wrapped
from tests.segment_cases import config_of, decode_page
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.ycbcr import CCIR_601, FULL_RANGE, can_convert, to_rgb

SIDE = 96
HDTV = (0.2126, 0.7152, 0.0722)
TAGS = [
    (None, None),
    (HDTV, None),
    (None, (16.0, 235.0, 128.0, 240.0, 128.0, 240.0)),
    (HDTV, (15.0, 235.0, 128.0, 240.0, 128.0, 240.0)),
    ((0.25, 0.65, 0.1), FULL_RANGE),
    (None, (0.0, 128.0, 0.0, 255.0, 0.0, 255.0)),
    (None, (235.0, 16.0, 128.0, 240.0, 128.0, 240.0)),
]


@pytest.mark.parametrize(("coefficients", "black_white"), TAGS)
def test_every_tag(
    coefficients: tuple[float, ...] | None, black_white: tuple[float, ...] | None, tmp_path: Path
) -> None:
    image = np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    image[:, 1::2, 1:] = image[:, ::2, 1:]  # two columns share their chroma
    blocks = np.concatenate([image[:, ::2, :1], image[:, 1::2, :1], image[:, ::2, 1:]], axis=2)
    what = SegmentConfig(compression=1, columns=SIDE, rows=SIDE, samples=3, photometric=6)
    tags = {530: (SHORT, [2, 1])}
    if coefficients:
        tags[529] = rationals(coefficients)
    if black_white:
        tags[532] = rationals(black_white)
    data = wrapped([blocks.tobytes()], what, tags=tags)
    expected = read_gdal(tmp_path / "ycc.tif", data, raw=False)[..., :3]
    np.testing.assert_array_equal(to_rgb(image, coefficients, black_white), expected)


def test_defaults_are_those_of_absent_tags() -> None:
    image = np.random.default_rng(4).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(to_rgb(image), to_rgb(image, CCIR_601, FULL_RANGE))


def test_what_can_be_converted() -> None:
    assert can_convert(None, None)
    assert not can_convert((0.5, 0.0, 0.5), None)
    assert not can_convert(None, (16.0, 16.0, 128.0, 240.0, 128.0, 240.0))


def test_real_files(corpus: Path) -> None:
    """All subsamplings that GDAL renders; it refuses (1, 4) and (2, 4)."""
    seen = set()
    for path in sorted(corpus.rglob("ycbcr_*_lzw*.tif")):
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages.first
            stored = decode_page(page, config_of(page, subsampling=page.subsampling, photometric=6))[0]
            values = {tag: page.tags.valueof(tag) for tag in (529, 532)}
        floats = {
            tag: None if value is None else tuple(a / b for a, b in zip(value[::2], value[1::2], strict=True))
            for tag, value in values.items()
        }
        rgb = to_rgb(stored, floats[529], floats[532])
        try:
            expected = read_gdal(path, raw=False)[..., :3]
        except rasterio.errors.RasterioIOError:
            continue
        np.testing.assert_array_equal(rgb, expected, err_msg=path.name)
        seen.add(page.subsampling)
    if not seen:
        pytest.skip("the corpus has no packed YCbCr")
    assert len(seen) >= 5
