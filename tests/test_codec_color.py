"""Palettes, inks and L*a*b* to RGB, against GDAL and libtiff."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import rasterio

from tests.codec_cases import SHORT, rationals, read_gdal, smooth, wrapped
from virtual_tiff.codecs.color import CIELAB, CMYK, ICCLAB, PALETTE, YCBCR, can_convert, read_color_map, to_rgb
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.segment import decode_segment
from virtual_tiff.codecs.ycbcr import to_rgb as ycbcr_to_rgb
from virtual_tiff.errors import DecodeError

SIDE = 120
RAMP = np.arange(256)


def config(photometric: int, samples: int, bits: int = 8, **fields: Any) -> SegmentConfig:
    values = {"compression": 1, "columns": SIDE, "rows": SIDE, "photometric": photometric, "color": "rgb"}
    return SegmentConfig(**{**values, "samples": samples, "bits_per_sample": (bits,), **fields})


@pytest.mark.parametrize("ramp", [
    RAMP, RAMP * 256, RAMP * 257, np.append(RAMP[:-1] * 256, 65535), RAMP * 200 + 13,
], ids=["8 bits", "shifted", "stretched", "shifted but white", "any"])  # fmt: skip
def test_colour_maps_as_gdal(ramp: np.ndarray[Any, Any], tmp_path: Path) -> None:
    words = np.stack([ramp, ramp[::-1], np.roll(ramp, 50)]).astype("<u2")
    indices = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 1), dtype=np.uint8)
    what = config(PALETTE, 1, color_map=words.tobytes())
    path = tmp_path / "palette.tif"
    path.write_bytes(wrapped([indices.tobytes()], what, tags={320: (SHORT, words.ravel().tolist())}))
    with rasterio.open(path) as dataset:
        colors = dataset.colormap(1)
    expected = np.array([colors[index][:3] for index in range(256)])
    np.testing.assert_array_equal(read_color_map(words.tobytes(), 256), expected)
    np.testing.assert_array_equal(to_rgb(indices, what), expected[indices[..., 0]])


def test_palettes_of_other_depths() -> None:
    black_and_red = np.array([[0, 65535], [0, 0], [0, 0]], "<u2").tobytes()
    mask = smooth(SIDE, SIDE, 1) > 128
    rgb = to_rgb(mask, config(PALETTE, 1, 1, color_map=black_and_red))
    np.testing.assert_array_equal(rgb, np.where(mask, [255, 0, 0], 0))


def test_cmyk_as_gdal(tmp_path: Path) -> None:
    inks = np.random.default_rng(2).integers(0, 256, (SIDE, SIDE, 4), dtype=np.uint8)
    what = config(CMYK, 4)
    expected = read_gdal(tmp_path / "cmyk.tif", wrapped([inks.tobytes()], what), raw=False)[..., :3]
    np.testing.assert_array_equal(to_rgb(inks, what), expected)
    deep = to_rgb(inks.astype(np.uint16) * 257, config(CMYK, 4, 16))
    np.testing.assert_array_equal(deep, expected)


def lab(bits: int) -> Any:
    """Random L*, a*, b* as CIELab stores them: a* and b* signed, in the bits of the unsigned type."""
    rng, unit = np.random.default_rng(3), 1 << bits - 8
    lightness = rng.integers(0, 1 << bits, (SIDE, SIDE, 1))
    chroma = rng.integers(-60 * unit, 60 * unit, (SIDE, SIDE, 2))
    return np.concatenate([lightness, chroma & (1 << bits) - 1], axis=2).astype(f"<u{bits // 8}")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("white", [None, (0.3127, 0.329)])
def test_cielab_as_libtiff(bits: int, white: tuple[float, float] | None) -> None:
    """A step of libtiff's gamma table is up to 12 of 255 in the dark: rounding may choose its neighbour."""
    samples = lab(bits)
    what = config(CIELAB, 3, bits, white_point=white)
    data = wrapped([samples.tobytes()], what, tags={318: rationals(white)} if white else {})
    expected = imagecodecs.tiff_decode(data, asrgb=True)[..., :3]
    gap = np.abs(to_rgb(samples, what).astype(int) - expected)
    assert (gap > 2).mean() < 1e-3
    assert gap.max() <= 12


def test_cielab_as_gdal(tmp_path: Path) -> None:
    samples = lab(8)
    what = config(CIELAB, 3)
    expected = read_gdal(tmp_path / "lab.tif", wrapped([samples.tobytes()], what), raw=False)[..., :3]
    assert (np.abs(to_rgb(samples, what).astype(int) - expected) > 2).mean() < 1e-3


def test_icclab_is_cielab_with_another_zero() -> None:
    samples = lab(8)
    shifted = samples.copy()
    shifted[..., 1:] += 128
    expected = to_rgb(samples, config(CIELAB, 3))
    np.testing.assert_array_equal(to_rgb(shifted, config(ICCLAB, 3)), expected)
    deep = shifted.astype(np.uint16) << 8
    np.testing.assert_array_equal(to_rgb(deep, config(ICCLAB, 3, 16)), expected)


def test_signed_samples_have_the_same_bits() -> None:
    samples = lab(8)
    signed = to_rgb(samples.view(np.int8), config(CIELAB, 3, sample_format=2))
    np.testing.assert_array_equal(signed, to_rgb(samples, config(CIELAB, 3)))


def test_ycbcr_but_not_that_of_jpeg() -> None:
    samples = smooth(SIDE, SIDE, 3)
    black_white = (16.0, 235.0, 128.0, 240.0, 128.0, 240.0)
    converted = to_rgb(samples, config(YCBCR, 3, reference_black_white=black_white))
    np.testing.assert_array_equal(converted, ycbcr_to_rgb(samples, None, black_white))
    np.testing.assert_array_equal(to_rgb(samples, config(YCBCR, 3, compression=7)), samples)


@pytest.mark.parametrize("compression", [7, 33007, 34892])
def test_ycbcr_of_jpeg_is_converted_once(compression: int) -> None:
    image = np.full((SIDE, SIDE, 3), (200, 50, 10), np.uint8)
    stream = imagecodecs.jpeg8_encode(image, level=95)
    what = config(YCBCR, 3, compression=compression)
    found = decode_segment(stream, what).reshape(image.shape)
    np.testing.assert_allclose(found.astype(int), imagecodecs.jpeg8_decode(stream), atol=1)
    np.testing.assert_allclose(found.astype(int), image, atol=2)


def test_through_the_codec() -> None:
    inks = smooth(SIDE, SIDE, 4)
    what = config(CMYK, 4)
    rgb = decode_segment(inks.tobytes(), what)
    assert rgb.nbytes == what.out_bytes
    np.testing.assert_array_equal(rgb.reshape(SIDE, SIDE, 3), to_rgb(inks, what))


@pytest.mark.parametrize(("photometric", "samples", "bits", "sample_format"), [
    (PALETTE, 2, 8, 1), (PALETTE, 1, 32, 1), (CMYK, 3, 8, 1), (CMYK, 4, 32, 3), (YCBCR, 3, 16, 1),
    (CIELAB, 3, 32, 3), (10, 3, 8, 1), (1, 1, 8, 1),
])  # fmt: skip
def test_refusals(photometric: int, samples: int, bits: int, sample_format: int) -> None:
    assert not can_convert(photometric, samples, (bits,), sample_format)
    with pytest.raises(DecodeError) as refusal:
        to_rgb(np.zeros((1, 1, samples)), config(photometric, samples, bits, sample_format=sample_format))
    assert refusal.value.feature == "codec-config"


def test_colour_maps_of_another_size() -> None:
    with pytest.raises(DecodeError, match="12 bytes for 256 colours"):
        read_color_map(bytes(12), 256)


def test_fields_of_colours_survive_json() -> None:
    what = config(
        CIELAB, 3, ycbcr_coefficients=(0.299, 0.587, 0.114), white_point=(0.3127, 0.329),
        reference_black_white=(0.0, 255.0, 128.0, 255.0, 128.0, 255.0), color_map=b"\x01\x02",
    )  # fmt: skip
    assert SegmentConfig.from_json(what.to_json()) == what
    for wrong in ([0.3], [0.3, "x"], [0.3, float("nan")], 5, [True, 0.3]):
        with pytest.raises(DecodeError, match="white_point"):
            SegmentConfig.from_json({"compression": 1, "columns": 1, "rows": 1, "white_point": wrong})
