"""JPEG: colours by Photometric, tables, deep and lossless samples, streams of other sizes, against GDAL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import rasterio
import tifffile

from tests.codec_cases import SHORT, UNDEFINED, agrees, read_gdal, real_pages, smooth, wrapped
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.jpeg import IMAGES, JPEG, LOSSY_DNG, decode_jpeg, read_frame
from virtual_tiff.errors import DecodeError

ROWS, COLUMNS = 48, 64
JFIF = bytes.fromhex("ffe000104a46494600010100000100010000")
ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"


def config(compression: int = JPEG, **fields: Any) -> SegmentConfig:
    return SegmentConfig(compression=compression, **{"columns": COLUMNS, "rows": ROWS, "samples": 3, **fields})


def encode(samples: Any, color: str, **options: Any) -> bytes:
    """A stream without JFIF and Adobe markers, its components as given."""
    stream = bytes(imagecodecs.jpeg8_encode(samples, colorspace=color, outcolorspace=color, level=92, **options))
    while stream[2:4] in (b"\xff\xe0", b"\xff\xee"):
        stream = stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big") :]
    return stream


def split_tables(stream: bytes) -> tuple[bytes, bytes]:
    """The quantization and Huffman tables as a stream of their own, and the rest."""
    tables, rest, at = b"\xff\xd8", b"\xff\xd8", 2
    while stream[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at + 1] in (0xDB, 0xC4):
            tables += stream[at:end]
        else:
            rest += stream[at:end]
        at = end
    return tables + b"\xff\xd9", rest + stream[at:]


@pytest.mark.parametrize("photometric", [1, 2, 6, 32803, 34892])
@pytest.mark.parametrize("marker", [b"", JFIF, ADOBE + b"\x00", ADOBE + b"\x01"], ids=["", "jfif", "rgb", "ycc"])
@pytest.mark.parametrize("subsampling", ["444", "422", "420"])
def test_photometric_decides_about_colour_as_in_gdal_or_else_in_tifffile(
    photometric: int, marker: bytes, subsampling: str, tmp_path: Path
) -> None:
    stream = encode(smooth(ROWS, COLUMNS, 3), "ycbcr", subsampling=subsampling)
    stream = stream[:2] + marker + stream[2:]
    factors = {"444": (1, 1), "422": (2, 1), "420": (2, 2)}[subsampling]
    what = config(photometric=photometric)
    tags = {530: (SHORT, factors)} if photometric == 6 else {}
    path = tmp_path / "jpeg.tif"
    path.write_bytes(wrapped([stream], what, tags=tags))
    if photometric == 6 or subsampling == "444":
        expected = read_gdal(path)
    else:  # libtiff refuses subsampled components that are not YCbCr
        with pytest.raises(rasterio.errors.RasterioIOError):
            read_gdal(path)
        expected = tifffile.imread(path)
    np.testing.assert_array_equal(decode_jpeg(stream, what), expected)


def test_rgb_of_ycbcr_is_near_the_original() -> None:
    image = smooth(ROWS, COLUMNS, 3)
    stream = imagecodecs.jpeg8_encode(image, level=98, colorspace="rgb", outcolorspace="ycbcr", subsampling="444")
    decoded = decode_jpeg(stream, config(photometric=6))
    assert np.abs(decoded.astype(int) - image).mean() < 2


@pytest.mark.parametrize("samples", [1, 2, 4])
def test_other_numbers_of_components(samples: int, tmp_path: Path) -> None:
    color = {1: "grayscale", 2: "unknown", 4: "cmyk"}[samples]
    stream = encode(smooth(ROWS, COLUMNS, samples), color)
    what = config(samples=samples, photometric=5 if samples == 4 else 1)
    tags = {} if samples == 4 else {338: (SHORT, [0] * (samples - 1))} if samples > 1 else {}
    expected = read_gdal(tmp_path / "jpeg.tif", wrapped([stream], what, tags=tags))
    np.testing.assert_array_equal(decode_jpeg(stream, what), expected)


def test_ycck_becomes_cmyk() -> None:
    inks = smooth(ROWS, COLUMNS, 4)
    stream = imagecodecs.jpeg8_encode(inks, level=98, colorspace="cmyk", outcolorspace="ycck", subsampling="444")
    assert read_frame(stream).adobe_transform == 2
    decoded = decode_jpeg(stream, config(samples=4, photometric=5))
    assert np.abs(decoded.astype(int) - inks).mean() < 3


def test_tables_of_the_ifd(tmp_path: Path) -> None:
    whole = encode(smooth(ROWS, COLUMNS, 3), "ycbcr")
    tables, stream = split_tables(whole)
    with pytest.raises(DecodeError):
        decode_jpeg(stream, config(photometric=6))
    what = config(photometric=6, jpeg_tables=tables)
    decoded = decode_jpeg(stream, what)
    np.testing.assert_array_equal(decoded, decode_jpeg(whole, config(photometric=6)))
    data = wrapped([stream], what, tags={347: (UNDEFINED, tables), 530: (SHORT, [2, 2])})
    np.testing.assert_array_equal(decoded, read_gdal(tmp_path / "jpeg.tif", data))


def test_twelve_bits(tmp_path: Path) -> None:
    samples = smooth(ROWS, COLUMNS, 1).astype(np.uint16) * 16
    stream = bytes(imagecodecs.jpeg8_encode(samples, level=95, bitspersample=12))
    what = config(samples=1, bits_per_sample=(12,), photometric=1)
    decoded = decode_jpeg(stream, what)
    assert decoded.dtype == np.uint16
    assert int(decoded.max()) > 255
    np.testing.assert_array_equal(decoded, read_gdal(tmp_path / "jpeg.tif", wrapped([stream], what)))


@pytest.mark.parametrize(("depth", "samples"), [(8, 1), (8, 3), (12, 1), (14, 1), (16, 1), (16, 3)])
def test_lossless(depth: int, samples: int) -> None:
    dtype = np.uint8 if depth == 8 else np.uint16
    image = (smooth(ROWS, COLUMNS, samples).astype(np.uint16) << depth - 8).astype(dtype)
    stream = imagecodecs.jpeg8_encode(image, lossless=True, bitspersample=depth)
    decoded = decode_jpeg(stream, config(samples=samples, bits_per_sample=(depth,), photometric=2))
    np.testing.assert_array_equal(decoded, image)


def test_lossless_frames_of_other_proportions_are_runs_of_samples() -> None:
    mosaic = smooth(ROWS, COLUMNS, 1).astype(np.uint16) * 50
    stream = imagecodecs.jpeg8_encode(mosaic.reshape(ROWS, COLUMNS // 2, 2), lossless=True, bitspersample=16)
    what = config(samples=1, bits_per_sample=(16,), photometric=32803)
    np.testing.assert_array_equal(decode_jpeg(stream, what), mosaic)


def test_lossy_dng_follows_the_stream() -> None:
    image = smooth(ROWS, COLUMNS, 3)
    stream = imagecodecs.jpeg8_encode(image, level=98, colorspace="rgb", outcolorspace="ycbcr", subsampling="444")
    decoded = decode_jpeg(stream, config(LOSSY_DNG, photometric=34892))
    assert np.abs(decoded.astype(int) - image).mean() < 2


@pytest.mark.parametrize("size", [(40, 64), (48, 50), (33, 47), (64, 64)])
def test_streams_of_other_sizes_are_padded_and_cut_as_by_gdal(size: tuple[int, int], tmp_path: Path) -> None:
    stream = encode(smooth(*size, 3), "ycbcr")
    what = config(photometric=6)
    decoded = decode_jpeg(stream, what)[:ROWS]
    data = wrapped([stream], what, tags={530: (SHORT, [2, 2])})
    np.testing.assert_array_equal(decoded, read_gdal(tmp_path / "jpeg.tif", data))


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_streams_that_end_early_are_read_as_gdal_reads_them(kept: float, tmp_path: Path) -> None:
    stream = encode(smooth(ROWS, COLUMNS, 1), "grayscale")
    stream = stream[: 400 + int(kept * (len(stream) - 400))]
    what = config(samples=1, photometric=1)
    expected = read_gdal(tmp_path / "jpeg.tif", wrapped([stream], what))
    np.testing.assert_array_equal(decode_jpeg(stream, what), expected)


def test_refusals() -> None:
    stream = encode(smooth(ROWS, COLUMNS, 3), "ycbcr")
    deep = imagecodecs.jpeg8_encode(smooth(ROWS, COLUMNS, 1).astype(np.uint16), bitspersample=12)
    vast = bytearray(stream)
    at = stream.index(b"\xff\xc0")
    vast[at + 5 : at + 7] = b"\xff\xff"
    cases = [
        (b"", config(), "short-segment"),
        (b"nothing of the kind", config(), "corrupt-segment"),
        (stream[:80], config(), "corrupt-segment"),
        (stream, config(samples=1), "corrupt-segment"),
        (stream, config(columns=60), "corrupt-segment"),
        (deep, config(samples=1), "corrupt-segment"),
        (stream, config(samples=1, photometric=6, subsampling=(2, 2)), "codec-config"),
    ]
    for segment, what, feature in cases:
        with pytest.raises(DecodeError) as refusal:
            decode_jpeg(segment, what)
        assert refusal.value.feature == feature, what


def test_damaged_streams_end_in_samples_or_our_error() -> None:
    stream = encode(smooth(ROWS, COLUMNS, 3), "ycbcr")
    rng = np.random.default_rng(11)
    for _ in range(60):
        damaged = bytearray(stream)
        for place in rng.integers(0, len(stream), 4):
            damaged[place] = rng.integers(0, 256)
        try:
            decoded = decode_jpeg(bytes(damaged), config(photometric=6))
        except DecodeError:
            continue
        assert decoded.shape[1:] == (COLUMNS, 3)


def test_real_files(corpus: Path) -> None:
    pages = [(path.name, agrees(path, page)) for path, page in real_pages(corpus, frozenset(IMAGES))]
    assert len(pages) > 20
    assert [name for name, equal in pages if not equal] == []
