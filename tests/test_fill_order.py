"""FillOrder 2: whose bits it reverses, as GDAL and tifffile have it."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import tifffile
from rasterio.io import MemoryFile

from tests.opening import open_array, virtual
from tests.tiffbytes import Dir, Entry, build
from virtual_tiff.errors import UnsupportedError

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

SHORT, LONG = 3, 4
FILL_ORDER = 266
STAND_IN = 305
"""Software: a tag that is there to be turned into another one."""

PIXELS = np.cumsum(np.random.default_rng(1).integers(0, 9, (3, 16, 32)), axis=2).astype("u1")


def with_reversed_bits(tiff: bytes) -> bytes:
    """The same image with FillOrder 2, the bits of its segments reversed."""
    octets = bytearray(tiff)
    with tifffile.TiffFile(io.BytesIO(tiff)) as file:
        page = file.pages.first
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            octets[offset : offset + count] = imagecodecs.bitorder_encode(bytes(octets[offset : offset + count]))
        place = page.tags[STAND_IN].offset
        octets[place : place + 12] = struct.pack(f"{file.byteorder}HHIHH", FILL_ORDER, SHORT, 1, 2, 0)
    return bytes(octets)


def written_by_gdal(path: Path, compression: str) -> bytes:
    with rasterio.open(
        path, "w", driver="GTiff", width=32, height=16, count=3, dtype="uint8", compress=compression, interleave="pixel"
    ) as file:
        file.write(PIXELS)
        file.update_tags(TIFFTAG_SOFTWARE="abc")
    return path.read_bytes()


def pixar_log(fill_order: int) -> bytes:
    codes = np.random.default_rng(2).integers(0, 2048, (16, 32, 3)).astype("<u2")
    strip = zlib.compress(codes.tobytes())
    strip = strip if fill_order == 1 else bytes(imagecodecs.bitorder_encode(strip))
    values: dict[int, int | list[int]] = {256: 32, 257: 16, 258: [8] * 3, 259: 32909, 262: 2, 266: fill_order, 273: 8}
    values |= {277: 3, 278: 16, 279: len(strip)}
    entries = [
        Entry(code, LONG if code in (273, 279) else SHORT, value if isinstance(value, list) else [value])
        for code, value in values.items()
    ]
    return bytes(build([Dir(entries)], ghost=strip).data)


def gdal_reads(tiff: bytes) -> npt.NDArray[np.uint8]:
    with MemoryFile(tiff) as memory, memory.open() as source:
        found: npt.NDArray[np.uint8] = source.read()
        return found


@pytest.mark.parametrize("compression", ["DEFLATE", "LZW", "ZSTD", "LZMA", "PACKBITS", "NONE"])
def test_what_both_readers_reverse(compression: str, tmp_path: Path) -> None:
    tiff = with_reversed_bits(written_by_gdal(tmp_path / "a.tif", compression))
    np.testing.assert_array_equal(gdal_reads(tiff), PIXELS)
    np.testing.assert_array_equal(np.moveaxis(tifffile.imread(io.BytesIO(tiff)), -1, 0), PIXELS)
    np.testing.assert_array_equal(open_array(tiff)[...], PIXELS)


def refused(tiff: bytes) -> str:
    with pytest.raises(UnsupportedError) as caught:
        virtual(tiff)
    return caught.value.feature


@pytest.mark.parametrize("compression", ["LERC", "LERC_DEFLATE", "LERC_ZSTD", "WEBP"])
def test_images_whose_bits_the_codec_does_not_reverse_are_refused(compression: str, tmp_path: Path) -> None:
    tiff = with_reversed_bits(written_by_gdal(tmp_path / "a.tif", compression))
    assert gdal_reads(tiff).shape == PIXELS.shape
    assert refused(tiff) == "fill-order"


def test_so_is_pixar_log() -> None:
    np.testing.assert_array_equal(gdal_reads(pixar_log(2)), gdal_reads(pixar_log(1)))
    assert open_array(pixar_log(1)).shape == (3, 16, 32)
    assert refused(pixar_log(2)) == "fill-order"
