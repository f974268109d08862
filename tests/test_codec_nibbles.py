"""ThunderScan and NeXT, against GDAL."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.codec_cases import agrees, read_gdal, real_pages, wrapped
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.nibbles import IMAGES, NEXT, THUNDERSCAN, decode_nibbles
from virtual_tiff.errors import DecodeError

NEXT_LINES = [
    b"\x00" + bytes([0b00011011, 0b11100100]),  # a literal row
    b"\x40\x00\x02\x00\x01\x1b",  # a literal span: one byte at byte... offset 2, of length 1
    bytes([1 << 6 | 5, 2 << 6 | 3]),  # runs: five of 1, three of 2
]


def thunderscan(row: list[int]) -> bytes:
    """Each pixel as a raw code: three in the highest bits, the value in the lowest."""
    return bytes(0xC0 | value for value in row)


def test_next_rows(tmp_path: Path) -> None:
    config = SegmentConfig(compression=NEXT, columns=8, rows=2, bits_per_sample=(2,))
    segment = NEXT_LINES[0] + NEXT_LINES[2]
    decoded = decode_nibbles(segment, config)
    assert decoded[..., 0].tolist() == [[0, 1, 2, 3, 3, 2, 1, 0], [1, 1, 1, 1, 1, 2, 2, 2]]
    np.testing.assert_array_equal(decoded, read_gdal(tmp_path / "next.tif", wrapped([segment], config)))


def test_thunderscan_raw_codes(tmp_path: Path) -> None:
    config = SegmentConfig(compression=THUNDERSCAN, columns=6, rows=3, bits_per_sample=(4,))
    rows = np.random.default_rng(2).integers(0, 16, (3, 6))
    segment = b"".join(thunderscan(row.tolist()) for row in rows)
    decoded = decode_nibbles(segment, config)
    np.testing.assert_array_equal(decoded[..., 0], rows)
    np.testing.assert_array_equal(decoded, read_gdal(tmp_path / "thunder.tif", wrapped([segment], config)))


def test_thunderscan_runs_and_deltas(tmp_path: Path) -> None:
    config = SegmentConfig(compression=THUNDERSCAN, columns=8, rows=1, bits_per_sample=(4,))
    # 5, then a run of 3 of it, then two deltas of three bits (+1, -1), then a raw 9 and its double
    segment = bytes([0xC5, 0x03, 0x80 | 1 << 3 | 7, 0xC9, 0x01])
    decoded = decode_nibbles(segment, config)
    assert decoded[0, :4, 0].tolist() == [5] * 4
    assert decoded[0, 4:, 0].tolist() == [6, 5, 9, 9]
    np.testing.assert_array_equal(decoded, read_gdal(tmp_path / "runs.tif", wrapped([segment], config)))


def test_short_last_strip() -> None:
    config = SegmentConfig(compression=NEXT, columns=8, rows=5, last_rows=1, bits_per_sample=(2,))
    assert decode_nibbles(NEXT_LINES[2], config)[0, :, 0].tolist() == [1, 1, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(("segment", "bits", "feature"), [
    (b"", 2, "short-segment"), (b"\x41", 2, "corrupt-segment"), (NEXT_LINES[2], 8, "codec-config"),
])  # fmt: skip
def test_refusals(segment: bytes, bits: int, feature: str) -> None:
    config = SegmentConfig(compression=NEXT, columns=8, rows=1, bits_per_sample=(bits,))
    with pytest.raises(DecodeError) as refusal:
        decode_nibbles(segment, config)
    assert refusal.value.feature == feature


def test_real_files(corpus: Path) -> None:
    seen = 0
    for path, page in real_pages(corpus, frozenset(IMAGES)):
        assert agrees(path, page), path.name
        seen += 1
    assert seen
