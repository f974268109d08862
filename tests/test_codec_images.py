"""WebP, JPEG 2000, JPEG XL, PNG, JPEG XR: what was encoded comes back, real files agree with GDAL and tifffile."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from tests.codec_cases import agrees, read_gdal, real_pages, smooth, wrapped
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.images import IMAGES, JPEGXL, PNG, WEBP
from virtual_tiff.errors import DecodeError

ROWS, COLUMNS = 32, 48
ENCODERS: dict[int, Callable[[Any], bytes]] = {
    50001: lambda image: bytes(imagecodecs.webp_encode(image, lossless=True)),
    34712: lambda image: bytes(imagecodecs.jpeg2k_encode(image, level=0)),
    33005: lambda image: bytes(imagecodecs.jpeg2k_encode(image, level=0, codecformat="j2k")),
    50002: lambda image: bytes(imagecodecs.jpegxl_encode(image, lossless=True)),
    52546: lambda image: bytes(imagecodecs.jpegxl_encode(image, lossless=True)),
    34933: lambda image: bytes(imagecodecs.png_encode(image)),
    22610: lambda image: bytes(imagecodecs.jpegxr_encode(image, level=1.0)),
}
DEEP = (34712, 50002, 34933, 22610)


def config(compression: int, **fields: Any) -> SegmentConfig:
    return SegmentConfig(compression=compression, **{"columns": COLUMNS, "rows": ROWS, "samples": 3, **fields})


@pytest.mark.parametrize("samples", [1, 3, 4])
@pytest.mark.parametrize("compression", ENCODERS)
def test_bytes_come_back(compression: int, samples: int) -> None:
    if compression == WEBP and samples == 1:
        pytest.skip("WebP has no grey images")
    image = smooth(ROWS, COLUMNS, samples)
    segment = ENCODERS[compression](image if samples > 1 else np.ascontiguousarray(image[..., 0]))
    decoded = IMAGES[compression](segment, config(compression, samples=samples))
    np.testing.assert_array_equal(decoded, image)


@pytest.mark.parametrize("compression", DEEP)
def test_sixteen_bits_come_back(compression: int) -> None:
    image = smooth(ROWS, COLUMNS, 3).astype(np.uint16) * 257
    decoded = IMAGES[compression](ENCODERS[compression](image), config(compression, bits_per_sample=(16,)))
    np.testing.assert_array_equal(decoded, image)


def test_floats_come_back() -> None:
    image = smooth(ROWS, COLUMNS, 1)[..., 0].astype(np.float32) / 255
    segment = imagecodecs.jpegxl_encode(image, lossless=True)
    decoded = IMAGES[JPEGXL[0]](segment, config(JPEGXL[0], samples=1, bits_per_sample=(32,), sample_format=3))
    np.testing.assert_array_equal(decoded[..., 0], image)


def test_signed_bytes_are_the_same_bits() -> None:
    image = smooth(ROWS, COLUMNS, 3)
    decoded = IMAGES[PNG](imagecodecs.png_encode(image), config(PNG, sample_format=2))
    np.testing.assert_array_equal(decoded, image.view(np.int8))


def test_an_alpha_that_is_left_out_of_webp_is_opaque(tmp_path: Path) -> None:
    image = smooth(ROWS, COLUMNS, 3)
    segment = bytes(imagecodecs.webp_encode(image, lossless=True))
    what = config(WEBP, samples=4, photometric=2)
    decoded = IMAGES[WEBP](segment, what)
    np.testing.assert_array_equal(decoded[..., :3], image)
    assert (decoded[..., 3] == 255).all()
    data = wrapped([segment], what, tags={338: (3, [2])})
    np.testing.assert_array_equal(decoded, read_gdal(tmp_path / "webp.tif", data))


def test_lossy_webp(tmp_path: Path) -> None:
    segment = bytes(imagecodecs.webp_encode(smooth(ROWS, COLUMNS, 3), level=70))
    what = config(WEBP, photometric=2)
    expected = read_gdal(tmp_path / "webp.tif", wrapped([segment], what))
    assert np.abs(IMAGES[WEBP](segment, what).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("compression", [WEBP, 34712, PNG])
@pytest.mark.parametrize("size", [(20, 48), (32, 30), (17, 11)])
def test_smaller_streams_are_padded_with_zeros(compression: int, size: tuple[int, int]) -> None:
    image = smooth(*size, 3)
    decoded = IMAGES[compression](ENCODERS[compression](image), config(compression))
    expected = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    expected[: size[0], : size[1]] = image
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize("compression", ENCODERS)
def test_short_last_strips(compression: int) -> None:
    image = smooth(10, COLUMNS, 3)
    decoded = IMAGES[compression](ENCODERS[compression](image), config(compression, last_rows=10))
    np.testing.assert_array_equal(decoded[:10], image)


@pytest.mark.parametrize("compression", ENCODERS)
def test_refusals(compression: int) -> None:
    segment = ENCODERS[compression](smooth(ROWS, COLUMNS, 3))
    cases = [(b"", config(compression), "short-segment")]
    cases += [(bad, config(compression), "corrupt-segment") for bad in (b"no such stream", segment[:30])]
    cases += [
        (segment, config(compression, **fields), "corrupt-segment")
        for fields in ({"samples": 2}, {"columns": COLUMNS - 1}, {"bits_per_sample": (32,), "sample_format": 3})
    ]
    for encoded, what, feature in cases:
        with pytest.raises(DecodeError) as refusal:
            IMAGES[compression](encoded, what)
        assert refusal.value.feature == feature


@pytest.mark.parametrize(("compression", "place", "code"), [(PNG, 16, ">II"), (WEBP, 0, ""), (34712, 8, ">II")])
def test_a_stream_that_claims_to_be_vast_is_refused_by_its_header(compression: int, place: int, code: str) -> None:
    segment = bytearray(ENCODERS[compression](smooth(ROWS, COLUMNS, 3)))
    if compression == WEBP:
        segment = bytearray(imagecodecs.webp_encode(np.zeros((9000, 9000, 3), np.uint8), lossless=True))
    else:
        start = place + (segment.index(b"\xff\x4f\xff\x51") if compression == 34712 else 0)
        struct.pack_into(code, segment, start, 48, 1 << 30)
    with pytest.raises(DecodeError, match="a stream of"):
        IMAGES[compression](bytes(segment), config(compression))


def test_real_files(corpus: Path) -> None:
    pages = [(path.name, agrees(path, page, 2)) for path, page in real_pages(corpus, frozenset(IMAGES))]
    assert len(pages) > 10
    assert [name for name, equal in pages if not equal] == []


@pytest.mark.parametrize("compression", [34934, 52546])
def test_integers_are_not_taken_for_floats(compression: int) -> None:
    image = np.arange(600, dtype=np.uint16).reshape(20, 30)
    stream = imagecodecs.jpegxl_encode(image) if compression == 52546 else imagecodecs.jpegxr_encode(image)
    what = SegmentConfig(compression=compression, columns=30, rows=20, bits_per_sample=(16,), sample_format=3)
    with pytest.raises(DecodeError, match="holds integers") as caught:
        IMAGES[compression](stream, what)
    assert caught.value.feature == "corrupt-segment"
    floats = (image / 600).astype(np.float16)
    if compression == 52546:
        decoded = IMAGES[compression](imagecodecs.jpegxl_encode(floats, lossless=True), what)
        np.testing.assert_array_equal(decoded[..., 0], floats)
