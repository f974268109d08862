"""Small files are proven when they are parsed; strict codecs get only what they read."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import rasterio
import tifffile

from tests import subject
from tests.opening import virtual
from tests.rawtiff import Pixels, Recipe, write
from tests.tiffbytes import Entry
from virtual_tiff.codecs.streams import is_exact
from virtual_tiff.errors import DecodeError
from virtual_tiff.tiff.protocol import PREFETCH

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

    def cut(part: Pixels) -> bytes:
        whole = bytes(imagecodecs.zstd_encode(part.tobytes()))
        return whole if part.shape[0] == 10 else b"\x28\xb5\x2f\xfd\x00\x60" + whole[6:-9]

    assert _read(path, replace(frames, encoder=cut)).status == "error:truncated"


@pytest.mark.parametrize("compression", ENCODERS)
def test_exact_streams(compression: int) -> None:
    stream = ENCODERS[compression](bytes(range(100)))
    assert is_exact(compression, stream, 100)
    assert not is_exact(compression, stream + b"\0", 100)
    assert not is_exact(compression, stream[:-2], 100)
    assert not is_exact(compression, stream, 99)
    assert not is_exact(compression, stream, 101)


LARGE: Pixels = np.random.default_rng(6).integers(0, 255, (1, 512, 512), np.uint8)


@pytest.mark.parametrize("compression", [5, 8, 32773, 50000, 7, 34887, 34712])
def test_tags_that_are_wrong_of_all_segments_of_a_large_file(compression: int) -> None:
    """The first tile is among the bytes that the first request has brought: no further request is made."""
    encoders: dict[int, Callable[[Pixels], bytes]] = {
        7: lambda part: bytes(imagecodecs.jpeg8_encode(part[..., 0])),
        34887: lambda part: bytes(imagecodecs.lerc_encode(part[..., 0], level=0.0)),
        34712: lambda part: bytes(imagecodecs.jpeg2k_encode(part[..., 0], reversible=True, level=0)),
    }
    recipe = Recipe(compression=compression, tile=(128, 144), encoder=encoders.get(compression))
    good = write(LARGE, recipe)
    assert len(good) > 4 * PREFETCH
    assert virtual(good).shape == (512, 512)
    for tag, value in ((322, 128), (258, 32), (277, 3)):
        # images of 8 bits are widened, and only images are refused for being too wide
        if (tag == 258 and compression in encoders) or (tag == 322 and compression not in encoders):
            continue
        with pytest.raises(DecodeError, match="segment 0 does not decode"):
            virtual(write(LARGE, replace(recipe, extra={tag: Entry(tag, 3, [value])})))


@pytest.mark.parametrize("compression", ENCODERS)
def test_streams_of_a_large_file_with_something_behind_them(compression: int, tmp_path: Path) -> None:
    """Strict codecs would refuse them: the first tells of all others."""
    encode = ENCODERS[compression]
    recipe = Recipe(compression=compression, tile=(128, 128), encoder=lambda part: encode(part.tobytes()) + b"more")
    path = tmp_path / "a.tif"
    path.write_bytes(write(LARGE, recipe))
    assert np.array_equal(subject.read(path, 0).pixels[0], LARGE)
    assert virtual(path.read_bytes()).portability == "segment"
    assert virtual(write(LARGE, replace(recipe, encoder=None))).portability == "core"


@pytest.mark.parametrize("compression", ENCODERS)
def test_byte_counts_that_reach_into_the_next_segment(compression: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(write(LARGE, Recipe(compression=compression, tile=(128, 128))))
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages.first.tags[325]
        place, counts = tag.valueoffset + 4 * 9, list(tag.value)
    data = bytearray(path.read_bytes())
    data[place : place + 4] = (counts[9] + 100).to_bytes(4, "little")
    path.write_bytes(data)
    assert virtual(bytes(data)).portability == "segment"
    assert np.array_equal(subject.read(path, 0).pixels[0], LARGE)


def test_segments_that_share_their_bytes_are_read_by_core_codecs() -> None:
    """Writers store equal tiles once."""
    recipe = Recipe(compression=8, tile=(128, 128))
    tiff = bytearray(write(LARGE, recipe))
    with tifffile.TiffFile(io.BytesIO(tiff)) as file:
        page = file.pages.first
        for tag in (324, 325):
            start = page.tags[tag].valueoffset
            tiff[start + 4 : start + 8] = tiff[start : start + 4]
    assert virtual(bytes(tiff)).portability == "core"


def test_large_first_segments_are_not_decoded() -> None:
    """A strip that decodes to megabytes would take its time."""
    zeros = np.zeros((1, 2048, 2048), np.uint8)
    tiff = bytearray(write(zeros, Recipe(compression=8, extra={65000: Entry(65000, 7, bytes(40_000))})))
    tiff[20:30] = bytes(10)
    assert virtual(bytes(tiff)).shape == (2048, 2048)


@pytest.mark.parametrize("compression", [8, 32946])
@pytest.mark.parametrize(("tile", "rows", "behind"), [((16, 16), -1, 31), (None, 8, 62), (None, -1, 5)])
def test_deflate_of_more_bytes_than_the_tags_say(
    compression: int, tile: tuple[int, int] | None, rows: int, behind: int, tmp_path: Path
) -> None:
    """GDAL leaves the end of such segments as it finds its buffer, and tifffile refuses them."""
    stored = Recipe(
        compression=compression,
        tile=tile,
        rows_per_strip=rows,
        encoder=lambda part: zlib.compress(part.tobytes() + bytes(behind), 0),
    )
    outcome = _read(tmp_path / "a.tif", stored)
    assert outcome.status == "error:bad-geometry"
    assert "segment 0 decodes to more than" in outcome.detail
    with rasterio.open(tmp_path / "a.tif") as gdal:
        assert not np.array_equal(gdal.read(), PIXELS)
    with pytest.raises(imagecodecs.DeflateError, match="INSUFFICIENT_SPACE"):
        tifffile.imread(tmp_path / "a.tif")


IMAGE_ENCODERS: dict[int, Callable[[Pixels], bytes]] = {
    7: lambda image: bytes(imagecodecs.jpeg8_encode(image, level=100)),
    34892: lambda image: bytes(imagecodecs.jpeg8_encode(image, lossless=True)),
    34712: lambda image: bytes(imagecodecs.jpeg2k_encode(image, reversible=True, level=0)),
    34933: lambda image: bytes(imagecodecs.png_encode(image)),
}


@pytest.mark.parametrize("compression", IMAGE_ENCODERS)
@pytest.mark.parametrize(("tile", "rows"), [(None, 16), ((32, 48), 16), ((16, 48), 20)])
def test_an_image_that_is_smaller_or_taller_than_its_segment(
    compression: int, tile: tuple[int, int] | None, rows: int, tmp_path: Path
) -> None:
    """Libtiff leaves the rest of its buffer as it was, or refuses the stream."""
    cut = Recipe(
        compression=compression,
        tile=tile,
        encoder=lambda part: IMAGE_ENCODERS[compression](np.resize(part[..., 0], (rows, part.shape[1]))),
    )
    outcome = _read(tmp_path / "a.tif", cut)
    assert outcome.status == "refused:corrupt-segment"
    assert "segment 0 holds" in outcome.detail


@pytest.mark.parametrize("compression", IMAGE_ENCODERS)
def test_a_tile_that_ends_with_the_image_is_read(compression: int, tmp_path: Path) -> None:
    cut = Recipe(
        compression=compression,
        tile=(32, 48),
        encoder=lambda part: IMAGE_ENCODERS[compression](np.ascontiguousarray(part[:24, :31, 0])),
    )
    found = _read(tmp_path / "a.tif", cut).pixels[0]
    assert np.abs(found.astype(int) - PIXELS).max() <= 2


@pytest.mark.parametrize("rows", [10, 24])
def test_lerc_of_more_rows_than_its_strip(rows: int, tmp_path: Path) -> None:
    """Libtiff reads no stream of another size, and tifffile loses the masks."""
    padded = Recipe(
        compression=34887,
        rows_per_strip=rows,
        encoder=lambda part: bytes(
            imagecodecs.lerc_encode(np.resize(part[..., 0], (10 if rows == 10 else 25, 31)), level=0.0)
        ),
    )
    outcome = _read(tmp_path / "a.tif", padded)
    assert outcome.status == "refused:corrupt-segment"
    assert "a LERC stream of 31 x" in outcome.detail
    with rasterio.open(tmp_path / "a.tif") as gdal, pytest.raises(rasterio.errors.RasterioIOError):
        gdal.read()
