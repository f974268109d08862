"""What is refused by name: neither GDAL nor tifffile reads it to sensible pixels."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from rasterio.errors import RasterioIOError
from rasterio.io import MemoryFile

from tests.opening import virtual
from tests.tiffbytes import Dir, Entry, build
from virtual_tiff.errors import UnsupportedError

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

SHORT, LONG = 3, 4


def tiff_of(strip: bytes, **tags: int | list[int]) -> bytes:
    """A file of 8 x 2 pixels in one strip, with these values of tags."""
    codes = {
        "width": 256,
        "height": 257,
        "bits": 258,
        "compression": 259,
        "photometric": 262,
        "samples": 277,
        "planar": 284,
        "predictor": 317,
        "format": 339,
        "subsampling": 530,
    }
    values: dict[int, Any] = {256: 8, 257: 2, 258: 8, 273: 8, 279: len(strip)}
    values |= {codes[name]: value for name, value in tags.items()}
    entries = [
        Entry(code, LONG if code in (273, 279) else SHORT, value if isinstance(value, list) else [value])
        for code, value in sorted(values.items())
    ]
    return bytes(build([Dir(entries)], ghost=strip).data)


def gdal_reads(tiff: bytes) -> np.ndarray[Any, Any]:
    with MemoryFile(tiff) as memory, memory.open() as source:
        found: np.ndarray[Any, Any] = source.read()
        return found


REFUSED: list[tuple[str, bytes, Mapping[str, int | list[int]]]] = [
    ("sample-format", bytes(80), {"bits": 40}),
    ("sample-format", bytes(16), {"bits": 8, "format": 3}),
    ("sample-format", bytes(256), {"bits": 128, "format": 5}),
    ("mixed-samples", bytes(32), {"bits": [8, 8], "samples": 2, "format": [1, 2]}),
    ("mixed-samples", bytes(48), {"bits": [8, 16], "samples": 2, "planar": 2}),
    ("bit-depth", bytes(24), {"bits": [4, 8], "samples": 2}),
    ("bit-depth", bytes(64), {"bits": [10, 10, 10, 2], "samples": 4}),
    ("bit-depth", bytes(16), {"compression": 4}),
    ("subsampling", bytes(64), {"photometric": 6, "samples": 3, "bits": [8, 8, 8], "subsampling": [3, 1]}),
    ("subsampling", bytes(96), {"photometric": 6, "samples": 3, "bits": [16, 16, 16], "subsampling": [2, 1]}),
    ("planar", bytes(64), {"photometric": 6, "samples": 3, "bits": [8] * 3, "subsampling": [2, 2], "planar": 2}),
    (
        "mixed-samples",
        bytes(imagecodecs.png_encode(np.zeros((2, 8, 3), np.uint8))),
        {
            "bits": [8, 16, 8],
            "samples": 3,
            "compression": 34933,
            "photometric": 2,
        },
    ),
    (
        "bit-depth",
        bytes(imagecodecs.png_encode(np.zeros((2, 8), np.uint16))),
        {
            "bits": 24,
            "format": 2,
            "compression": 34933,
        },
    ),
    ("bit-depth", bytes(imagecodecs.lerc_encode(np.zeros((2, 8), np.uint16))), {"bits": 12, "compression": 34887}),
    ("predictor", zlib.compress(bytes(16)), {"compression": 8, "predictor": 4}),
    ("compression", bytes(16), {"compression": 34661}),
    ("compression", bytes(16), {"compression": 34713}),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("feature", "strip", "tags"), REFUSED)
def test_what_nobody_reads(feature: str, strip: bytes, tags: Mapping[str, Any]) -> None:
    tiff = tiff_of(strip, **tags)
    with pytest.raises(UnsupportedError) as caught:
        virtual(tiff)
    assert caught.value.feature == feature
    try:  # where there is no data type, tifffile gives an array without pixels
        theirs = tifffile.imread(io.BytesIO(tiff)).size
    except (ValueError, TypeError, NotImplementedError, RuntimeError):
        theirs = 0
    assert theirs == 0
    with pytest.raises(RasterioIOError):
        gdal_reads(tiff)


@pytest.mark.parametrize("bits", [2, 4, 7, 12, 20, 31])
def test_signed_integers_of_odd_depths_have_no_reader_that_knows_their_sign(bits: int) -> None:
    """GDAL shows them without their sign, tifffile not at all."""
    tiff = tiff_of(b"\xff" * (2 * bits), bits=bits, format=2)
    with pytest.raises(UnsupportedError) as caught:
        virtual(tiff)
    assert caught.value.feature == "sample-format"
    assert (gdal_reads(tiff) == 2**bits - 1).all()
    assert tifffile.imread(io.BytesIO(tiff)).size == 0


def test_complex_integers_of_two_bytes_have_no_reader() -> None:
    """GDAL shows them as one unsigned integer, tifffile not at all."""
    tiff = tiff_of(bytes(range(32)), bits=16, format=5)
    with pytest.raises(UnsupportedError) as caught:
        virtual(tiff)
    assert caught.value.feature == "sample-format"
    np.testing.assert_array_equal(gdal_reads(tiff).reshape(-1), np.frombuffer(bytes(range(32)), "<u2"))
    with pytest.raises(TypeError, match="not understood"):
        tifffile.imread(io.BytesIO(tiff))


def test_big_endian_complex_halves_have_no_reader_that_knows_their_order() -> None:
    """Libtiff swaps four bytes, and with them the real and the imaginary part; tifffile does not read them."""
    halves = np.arange(1, 33, dtype=">f2")
    values = {256: 8, 257: 2, 258: 32, 259: 1, 262: 1, 273: 8, 277: 1, 279: 64, 339: 6}
    entries = [Entry(code, SHORT, [value]) for code, value in values.items()]
    tiff = bytes(build([Dir(entries)], ghost=halves.tobytes(), order="big").data)
    with pytest.raises(UnsupportedError) as caught:
        virtual(tiff)
    assert caught.value.feature == "sample-format"
    np.testing.assert_array_equal(gdal_reads(tiff).reshape(-1), halves[1::2] + 1j * halves[::2])
    assert tifffile.imread(io.BytesIO(tiff)).size == 0


def test_luma_alone_that_is_called_ycbcr() -> None:
    """GDAL refuses it; tifffile makes three samples of each, and shows the first third of them."""
    gray = np.random.default_rng(0).integers(0, 255, (16, 24), np.uint8)
    stream = bytes(imagecodecs.jpeg8_encode(gray, level=90))
    tiff = tiff_of(stream, width=24, height=16, compression=7, photometric=6)
    with pytest.raises(UnsupportedError) as caught:
        virtual(tiff)
    assert caught.value.feature == "photometric"
    theirs = tifffile.imread(io.BytesIO(tiff))
    np.testing.assert_array_equal(theirs.reshape(-1, 3).std(axis=1), 0)
    with pytest.raises(RasterioIOError):
        gdal_reads(tiff)
