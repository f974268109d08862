"""PixarLog against its encoder and GDAL; SGI LogL and LogLuv, every code, against GDAL."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest

from tests.codec_cases import agrees, first_segment, read_gdal, real_pages, smooth, wrapped
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.logs import (
    IMAGES,
    LOGL,
    LOGLUV,
    PIXARLOG,
    SGILOG,
    SGILOG24,
    can_decode,
    decode_pixarlog,
    decode_sgilog,
)
from virtual_tiff.errors import DecodeError

SIDE = 128


def config(compression: int, photometric: int, bits: int, sample_format: int, **fields: Any) -> SegmentConfig:
    values = {"columns": SIDE, "rows": SIDE, "samples": 1 if photometric == LOGL else 3, **fields}
    return SegmentConfig(
        compression=compression, photometric=photometric, bits_per_sample=(bits,),
        sample_format=sample_format, **values,
    )  # fmt: skip


def runs(codes: npt.NDArray[np.uint32], width: int) -> bytes:
    """Byte planes of each row, highest first, in literal runs and (where a row is constant) in repeats."""
    encoded = b""
    for row in codes:
        for plane in range(width - 1, -1, -1):
            octets = (row >> 8 * plane & 255).astype(np.uint8).tobytes()
            if len(set(octets)) == 1:
                encoded += bytes([126 + len(octets), octets[0]])
                continue
            for start in range(0, len(octets), 100):
                literal = octets[start : start + 100]
                encoded += bytes([len(literal)]) + literal
    return encoded


@pytest.mark.parametrize(("bits", "sample_format"), [(16, 2), (16, 1), (32, 3)])
def test_logluv_32(bits: int, sample_format: int, tmp_path: Path) -> None:
    codes = np.random.default_rng(1).integers(0, 1 << 32, (SIDE, SIDE)).astype(np.uint32)
    codes[5] = 0x12345678
    what = config(SGILOG, LOGLUV, bits, sample_format)
    segment = runs(codes, 4)
    expected = read_gdal(tmp_path / "luv.tif", wrapped([segment], what))
    np.testing.assert_array_equal(decode_sgilog(segment, what), expected)


@pytest.mark.parametrize(("bits", "sample_format"), [(16, 2), (16, 1), (32, 3)])
def test_every_code_of_logluv_24(bits: int, sample_format: int, tmp_path: Path) -> None:
    luminance = np.random.default_rng(2).integers(0, 1024, SIDE * SIDE)
    codes = np.arange(SIDE * SIDE) | luminance << 14
    segment = codes.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    what = config(SGILOG24, LOGLUV, bits, sample_format)
    expected = read_gdal(tmp_path / "luv.tif", wrapped([segment], what))
    np.testing.assert_array_equal(decode_sgilog(segment, what), expected)


@pytest.mark.parametrize(("bits", "sample_format"), [(16, 2), (16, 1), (32, 3), (8, 1)])
@pytest.mark.parametrize("order", ["little", "big"])
def test_logl(bits: int, sample_format: int, order: str, tmp_path: Path) -> None:
    codes = np.random.default_rng(3).integers(0, 1 << 15, (SIDE, SIDE)).astype(np.uint32)
    what = config(SGILOG, LOGL, bits, sample_format, byte_order=order)
    segment = runs(codes, 2)
    decoded = decode_sgilog(segment, what)
    np.testing.assert_array_equal(decoded, read_gdal(tmp_path / "l.tif", wrapped([segment], what)))
    if (bits, sample_format) == (16, 2):
        np.testing.assert_array_equal(decoded[..., 0], codes)


@pytest.mark.parametrize("compression", [SGILOG, SGILOG24])
def test_short_last_strips(compression: int) -> None:
    codes = np.random.default_rng(4).integers(0, 1 << 24, (10, SIDE)).astype(np.uint32)
    octets = codes.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    segment = runs(codes, 4) if compression == SGILOG else octets
    whole = decode_sgilog(segment, config(compression, LOGLUV, 16, 2, rows=10))
    decoded = decode_sgilog(segment, config(compression, LOGLUV, 16, 2, last_rows=10))
    np.testing.assert_array_equal(decoded[:10], whole)


@pytest.mark.parametrize("samples", [3, 4])
def test_pixarlog_as_gdal(samples: int, tmp_path: Path) -> None:
    image = np.random.default_rng(5).integers(0, 256, (16, 20, samples), dtype=np.uint8)
    segment = first_segment(bytes(imagecodecs.tiff_encode(image, compression=PIXARLOG, photometric=2)))
    what = SegmentConfig(compression=PIXARLOG, columns=20, rows=16, samples=samples, photometric=2)
    decoded = decode_pixarlog(segment, what)
    np.testing.assert_array_equal(decoded, image)
    data = wrapped([segment], what, tags={338: (3, [0])} if samples == 4 else {})
    np.testing.assert_array_equal(decoded, read_gdal(tmp_path / "pixar.tif", data))


@pytest.mark.parametrize("order", ["little", "big"])
def test_pixarlog_codes_in_either_byte_order(order: str) -> None:
    image = smooth(16, 20, 1)
    written = bytes(imagecodecs.tiff_encode(image[..., 0], compression=PIXARLOG, photometric=1))
    codes = np.frombuffer(imagecodecs.zlib_decode(first_segment(written)), "<u2")
    segment = imagecodecs.zlib_encode(codes.astype(">u2" if order == "big" else "<u2").tobytes())
    what = SegmentConfig(compression=PIXARLOG, columns=20, rows=24, last_rows=16, byte_order=order)  # type: ignore[arg-type]
    np.testing.assert_array_equal(decode_pixarlog(segment, what)[:16], image)


def test_pixarlog_codes_have_11_bits() -> None:
    """What libtiff makes of longer ones differs from call to call."""
    codes = np.full((16, 20), 1 << 11, "<u2")
    what = SegmentConfig(compression=PIXARLOG, columns=20, rows=16)
    with pytest.raises(DecodeError, match="more than 11 bits") as caught:
        decode_pixarlog(zlib.compress(codes.tobytes()), what)
    assert caught.value.feature == "corrupt-segment"


def test_what_can_be_decoded() -> None:
    assert can_decode(LOGLUV, 3, (16, 16, 16), 2)
    assert not can_decode(LOGLUV, 3, (8,), 1)
    assert not can_decode(LOGLUV, 1, (16,), 2)
    assert not can_decode(2, 3, (16,), 2)
    assert not can_decode(None, 1, (16,), 2)


@pytest.mark.parametrize("compression", IMAGES)
def test_refusals(compression: int) -> None:
    what = config(compression, LOGLUV, 16, 2)
    for segment, features in (
        (b"", {"short-segment", "corrupt-segment"}),
        (b"ab" * 50, {"short-segment", "corrupt-segment"}),
    ):
        with pytest.raises(DecodeError) as refusal:
            IMAGES[compression](segment, what)
        assert refusal.value.feature in features
    if compression != PIXARLOG:
        with pytest.raises(DecodeError) as refusal:
            IMAGES[compression](b"abc", config(compression, 2, 16, 2))
        assert refusal.value.feature == "codec-config"


def test_real_files(corpus: Path) -> None:
    pages = [(path.name, agrees(path, page)) for path, page in real_pages(corpus, frozenset(IMAGES))]
    assert pages
    assert [name for name, equal in pages if not equal] == []
