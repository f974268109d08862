"""Volumes: one IFD with an ImageDepth, in strips or in tiles, which may be deep themselves; as tifffile reads them."""

from __future__ import annotations

import itertools
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import tifffile
from rasterio.io import MemoryFile

from tests.opening import open_array, virtual
from tests.tiffbytes import Dir, Entry, build
from virtual_tiff import open_tiff
from virtual_tiff.errors import LimitError, UnsupportedError

type Order = Literal["<", ">"]

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

DEPTH, HEIGHT, WIDTH = 5, 24, 33

SEGMENTS: list[dict[str, Any]] = [
    {"tile": (16, 16)},
    {"tile": (1, 16, 32)},
    {"tile": (2, 16, 16)},
    {"tile": (4, 32, 48)},
    {"rowsperstrip": 8},
    {"rowsperstrip": 7},
    {"rowsperstrip": HEIGHT},
]


def volume(dtype: str, samples: int = 1, *, planar: bool = False) -> npt.NDArray[Any]:
    """Samples (plane, y, x), (plane, y, x, sample) or (sample, plane, y, x)."""
    rng = np.random.default_rng(11)
    shape: tuple[int, ...] = (DEPTH, HEIGHT, WIDTH)
    if samples > 1:
        shape = (samples, *shape) if planar else (*shape, samples)
    if dtype.startswith("f"):
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, 200, shape).astype(dtype)


def written(pixels: npt.NDArray[Any], **options: Any) -> bytes:
    """A file with one volume, written by tifffile."""
    samples = pixels.ndim == 4
    stream = BytesIO()
    options.setdefault("photometric", "rgb" if samples and pixels.dtype.kind == "u" else "minisblack")
    tifffile.imwrite(stream, pixels, metadata=None, volumetric=True, **options)
    return stream.getvalue()


def read(tiff: bytes, **options: Any) -> npt.NDArray[Any]:
    return np.asarray(open_array(tiff, **options)[...])


@pytest.mark.parametrize("segments", SEGMENTS, ids=str)
@pytest.mark.parametrize("compression", [None, "deflate", "lzw", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_streams_as_tifffile_reads_them(segments: dict[str, Any], compression: str | None, order: Order) -> None:
    predictors = (False, True) if compression in ("deflate", "lzw", "zstd") else (False,)
    for dtype, predictor in itertools.product(("u1", "u2", "f4"), predictors):
        options = {"compression": compression, "byteorder": order, "predictor": predictor or None, **segments}
        pixels = volume(dtype)
        array = open_array(written(pixels, **options))
        assert array.metadata.to_dict()["dimension_names"] == ("plane", "y", "x")
        np.testing.assert_array_equal(np.asarray(array[...]), pixels)


@pytest.mark.parametrize("segments", SEGMENTS, ids=str)
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("compression", [None, "zstd", "lzw"])
def test_bands_come_before_planes(segments: dict[str, Any], compression: str | None, *, planar: bool) -> None:
    for dtype, order in (("u1", "<"), ("u2", ">"), ("f4", ">")):
        pixels = volume(dtype, 3, planar=planar)
        tiff = written(
            pixels,
            compression=compression,
            predictor=compression == "lzw" or None,
            byteorder=order,
            planarconfig="separate" if planar else "contig",
            **segments,
        )
        array = open_array(tiff)
        assert array.metadata.to_dict()["dimension_names"] == ("band", "plane", "y", "x")
        np.testing.assert_array_equal(np.asarray(array[...]), pixels if planar else np.moveaxis(pixels, -1, 0))


@pytest.mark.parametrize("compression", ["jpeg", "lerc", "jpeg2000", "png", "jpegxl", "jpegxr"])
@pytest.mark.parametrize("segments", [{"tile": (16, 16)}, {"tile": (1, 16, 32)}, {"rowsperstrip": 8}], ids=str)
@pytest.mark.parametrize("samples", [1, 3])
def test_images_as_tifffile_reads_them(compression: str, segments: dict[str, Any], samples: int) -> None:
    tiff = written(volume("u1", samples), compression=compression, **segments)
    theirs = tifffile.imread(BytesIO(tiff))
    np.testing.assert_array_equal(read(tiff), theirs if samples == 1 else np.moveaxis(theirs, -1, 0))


@pytest.mark.parametrize("compression", ["lerc", "jpegxl"])
def test_images_of_several_planes_are_refused(compression: str) -> None:
    tiff = written(volume("u1"), compression=compression, tile=(2, 16, 16))
    with pytest.raises(UnsupportedError, match="tiles of 2 planes in") as caught:
        virtual(tiff)
    assert (caught.value.feature, caught.value.tag) == ("volumetric", 32998)


@pytest.mark.parametrize("short_strips", ["auto", "pad", "inline"])
@pytest.mark.parametrize("target", [1, 500, 1 << 20])
@pytest.mark.parametrize(("compression", "samples"), [(None, 1), (None, 3), ("zstd", 1), ("zstd", 3)])
def test_short_last_strips(short_strips: str, target: int, compression: str | None, samples: int) -> None:
    pixels = volume("u2", samples)
    tiff = written(pixels, compression=compression, rowsperstrip=7)
    found = read(tiff, short_strips=short_strips, target_chunk_bytes=target)
    np.testing.assert_array_equal(found, pixels if samples == 1 else np.moveaxis(pixels, -1, 0))


def test_rectilinear_grids() -> None:
    grid = virtual(written(volume("u2", 3), compression="zstd", rowsperstrip=7), short_strips="rectilinear").zarr_json()
    shapes = grid["chunk_grid"]["configuration"]["chunk_shapes"]
    assert shapes == [[[3, 1]], [[1, DEPTH]], [[7, 3], 3], [[WIDTH, 1]]]


def test_gdal_reads_the_first_plane() -> None:
    """GDAL does not know ImageDepth: what it reads is what the file has first."""
    pixels = volume("u2")
    with MemoryFile(written(pixels, tile=(2, 16, 16), compression="lzw")) as memory, memory.open() as source:
        assert isinstance(source, rasterio.DatasetReader)
        np.testing.assert_array_equal(source.read(1), pixels[0])


def test_a_volume_as_a_dataset(tmp_path: Path) -> None:
    path = tmp_path / "volume.tif"
    path.write_bytes(written(volume("u2", 3), tile=(2, 16, 16), compression="deflate", predictor=True))
    image = open_tiff(path)["band_data"]
    assert dict(image.sizes) == {"band": 3, "plane": DEPTH, "y": HEIGHT, "x": WIDTH}
    np.testing.assert_array_equal(image.to_numpy(), np.moveaxis(volume("u2", 3), -1, 0))


def test_absent_tiles_read_as_zero() -> None:
    pixels = volume("u1")
    tiff = bytearray(written(pixels, tile=(2, 16, 16)))
    with tifffile.TiffFile(BytesIO(tiff)) as file:
        page = file.pages.first
        for tag in (324, 325):
            entry = page.tags[tag]
            assert len(entry.value) == 18
            width = {3: 2, 4: 4}[int(entry.dtype)]
            tiff[entry.valueoffset + 7 * width : entry.valueoffset + 8 * width] = bytes(width)
    expected = pixels.copy()
    expected[2:4, :16, 16:32] = 0
    np.testing.assert_array_equal(read(bytes(tiff)), expected)


def tagged(**tags: list[int]) -> bytes:
    """A file of one gray image of 4 x 3 bytes with further tags."""
    values = {256: [4], 257: [3], 258: [8], 273: [8], 279: [12]}
    values |= {{"depth": 32997, "offsets": 273, "counts": 279}[name]: value for name, value in tags.items()}
    entries = [Entry(code, 4, value) for code, value in sorted(values.items())]
    return bytes(build([Dir(entries)], ghost=bytes(range(12))).data)


def test_a_depth_without_the_strips_of_its_planes_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="1 offsets for the 64 segments of 64 planes") as caught:
        virtual(tagged(depth=[64]))
    assert (caught.value.feature, caught.value.tag) == ("volumetric", 32997)


def test_depths_that_there_are_not_mean_one_plane() -> None:
    assert virtual(tagged(depth=[0])).shape == virtual(tagged(depth=[1])).shape == (3, 4)


def test_hostile_depths() -> None:
    with pytest.raises(UnsupportedError, match="1 offsets"):
        virtual(tagged(depth=[2**32 - 1]))
    with pytest.raises(LimitError, match="4294967295 planes"):
        virtual(tagged(depth=[2**32 - 1], offsets=[0], counts=[0]))
    assert virtual(tagged(depth=[9], offsets=[0], counts=[0])).shape == (9, 3, 4)
