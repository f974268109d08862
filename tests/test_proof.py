"""Small files are proven when they are parsed; strict codecs get only what they read."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from tests import subject
from tests.rawtiff import Pixels, Recipe, write
from tests.tiffbytes import Entry
from virtual_tiff.codecs.streams import is_exact

PIXELS: Pixels = np.random.default_rng(5).integers(0, 9, (1, 24, 31), np.uint8)
ENCODERS: dict[int, Callable[[bytes], bytes]] = {
    8: zlib.compress,
    50000: lambda plain: bytes(imagecodecs.zstd_encode(plain)),
}


def _read(path: Path, recipe: Recipe) -> subject.Outcome:
    path.write_bytes(write(PIXELS, recipe))
    return subject.read(path, 0)


@pytest.mark.parametrize("compression", [5, 8, 32773, 50000])
def test_a_small_file_with_a_broken_segment_is_refused_when_it_is_parsed(compression: int, tmp_path: Path) -> None:
    broken = Recipe(compression=compression, rows_per_strip=8, encoder=lambda _: b"\x01\x02\x03")
    outcome = _read(tmp_path / "a.tif", broken)
    assert outcome.status in {"refused:corrupt-segment", "refused:short-segment"}
    assert "segment 0 does not decode" in outcome.detail


@pytest.mark.parametrize("compression", ENCODERS)
@pytest.mark.parametrize("behind", [b"\0", b"\x28\xb5\x2f\xfd\0\x60", b"more"])
@pytest.mark.parametrize("rows", [8, 10])
def test_bytes_behind_a_stream_are_ignored(compression: int, behind: bytes, rows: int, tmp_path: Path) -> None:
    encode = ENCODERS[compression]
    recipe = Recipe(compression=compression, rows_per_strip=rows, encoder=lambda part: encode(part.tobytes()) + behind)
    assert np.array_equal(_read(tmp_path / "a.tif", recipe).pixels[0], PIXELS)


@pytest.mark.parametrize("compression", ENCODERS)
def test_rows_too_many_are_ignored(compression: int, tmp_path: Path) -> None:
    encode = ENCODERS[compression]
    recipe = Recipe(compression=compression, encoder=lambda part: encode(part.tobytes() + bytes(62)))
    assert np.array_equal(_read(tmp_path / "a.tif", recipe).pixels[0], PIXELS)


def test_a_strip_in_the_middle_is_not_taken_for_the_last(tmp_path: Path) -> None:
    """Strips of 10, 10 and 4 rows: the first may not end after 4."""
    recipe = Recipe(
        compression=5, rows_per_strip=10, encoder=lambda part: bytes(imagecodecs.lzw_encode(part[:4].tobytes()))
    )
    assert _read(tmp_path / "a.tif", recipe).status == "refused:short-segment"


def test_a_truncated_last_strip_is_refused_and_hangs_nobody(tmp_path: Path) -> None:
    """A frame that does not tell its size keeps numcodecs busy for ever when its end is missing."""
    frames = Recipe(compression=50000, rows_per_strip=10, extra={65000: Entry(65000, 7, bytes(40_000))})
    path = tmp_path / "a.tif"
    path.write_bytes(write(PIXELS, frames))
    assert np.array_equal(subject.read(path, 0).pixels[0], PIXELS)
    cut = Recipe(
        compression=50000,
        rows_per_strip=10,
        extra=frames.extra,
        encoder=lambda part: b"\x28\xb5\x2f\xfd\x00\x60" + bytes(imagecodecs.zstd_encode(part.tobytes()))[6:-9],
    )
    assert _read(path, cut).status == "error:truncated"


@pytest.mark.parametrize("compression", ENCODERS)
def test_exact_streams(compression: int) -> None:
    stream = ENCODERS[compression](bytes(range(100)))
    assert is_exact(compression, stream, 100)
    assert not is_exact(compression, stream + b"\0", 100)
    assert not is_exact(compression, stream[:-2], 100)
    assert not is_exact(compression, stream, 99)
    assert not is_exact(compression, stream, 101)
