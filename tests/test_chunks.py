"""Chunks: uncompressed strips are cut or merged, short last strips are completed, absent ones stay absent."""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st

from tests.opening import URL, open_array, registry_of, virtual, written
from tests.tiffbytes import Dir, Entry, build
from virtual_tiff import UnsupportedError, UsageError, VirtualTIFF
from virtual_tiff.chunks import ChunkOptions


def noise(*shape: int, dtype: str = "u2") -> np.ndarray[Any, Any]:
    return np.random.default_rng(sum(shape)).integers(0, 250, shape).astype(dtype)


@given(
    height=st.integers(1, 97),
    rows=st.integers(1, 40),
    target=st.integers(1, 4000),
    planar=st.booleans(),
)
def test_uncompressed_strips_of_any_size_keep_their_pixels(height: int, rows: int, target: int, planar: bool) -> None:
    pixels = noise(3, height, 11)
    stored = pixels if planar else np.moveaxis(pixels, 0, -1)
    tiff = written(stored, rowsperstrip=rows, photometric="rgb", planarconfig="separate" if planar else "contig")
    array = open_array(tiff, target_chunk_bytes=target)
    np.testing.assert_array_equal(array[...], pixels)


def test_tiny_strips_are_merged_into_chunks_of_the_target_size() -> None:
    array = virtual(written(noise(4096, 256), rowsperstrip=1))
    assert array.chunk_shape == (2048, 256)
    assert array.portability == "core"


def test_one_huge_strip_is_cut() -> None:
    array = virtual(written(noise(4096, 256), rowsperstrip=4096), target_chunk_bytes=1 << 16)
    assert array.chunk_shape == (128, 256)
    assert array.grid == (32, 1)


def test_a_height_without_divisors_is_cut_all_the_same() -> None:
    pixels = noise(4099, 256)
    tiff = written(pixels, rowsperstrip=16)
    assert virtual(tiff).portability == "core"
    assert virtual(tiff).chunk_shape == (4099, 256)
    array = virtual(tiff, target_chunk_bytes=1 << 16)
    assert (array.portability, array.chunk_shape) == ("segment", (128, 256))
    np.testing.assert_array_equal(open_array(tiff, target_chunk_bytes=1 << 16)[...], pixels)


def test_strips_with_gaps_stay_as_they_are() -> None:
    pixels = noise(8, 4, dtype="u1")
    tiff = bytearray(written(pixels, rowsperstrip=2))
    page = tifffile.TiffFile(BytesIO(tiff)).pages[0]
    assert isinstance(page, tifffile.TiffPage)
    offsets = page.tags["StripOffsets"]
    moved = len(tiff)
    last = page.dataoffsets[3]
    tiff += tiff[last : last + 8]
    width = 2 if offsets.dtype == 3 else 4
    place = offsets.valueoffset + 3 * width
    tiff[place : place + width] = moved.to_bytes(width, "little")
    assert virtual(bytes(tiff)).chunk_shape == (2, 4)
    np.testing.assert_array_equal(open_array(bytes(tiff))[...], pixels)


COMPRESSED = ["zlib", "zstd", "lzw", "packbits"]


@pytest.mark.parametrize("compression", COMPRESSED)
@pytest.mark.parametrize("choice", ["auto", "pad"])
@pytest.mark.parametrize("planar", [False, True])
def test_short_last_strips_read_right(compression: str, choice: str, planar: bool) -> None:
    pixels = noise(2, 23, 9)
    stored = pixels if planar else np.moveaxis(pixels, 0, -1)
    tiff = written(
        stored,
        rowsperstrip=5,
        photometric="minisblack",
        planarconfig="separate" if planar else "contig",
        compression=compression,
    )
    np.testing.assert_array_equal(open_array(tiff, short_strips=choice)[...], pixels)


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_a_small_last_strip_of_a_core_chain_is_inlined(compression: str) -> None:
    array = virtual(written(noise(23, 9), rowsperstrip=5, compression=compression))
    assert array.portability == "core"
    assert list(array.inlined) == [(4, 0)]
    assert array.lengths[4, 0] == 0
    if compression == "zlib":
        assert len(zlib.decompress(array.inlined[4, 0])) == 5 * 9 * 2


def test_a_large_last_strip_moves_the_array_to_our_codec() -> None:
    array = virtual(written(noise(1000, 600), rowsperstrip=600, compression="zlib"))
    assert (array.portability, dict(array.inlined)) == ("segment", {})
    assert array.codecs[-1]["configuration"]["last_rows"] == 400


def test_error_refuses_a_short_last_strip_by_name() -> None:
    tiff = written(noise(23, 9), rowsperstrip=5, compression="zlib")
    with pytest.raises(UnsupportedError, match="3 of 5 rows") as caught:
        virtual(tiff, short_strips="error")
    assert caught.value.feature == "short-strip"


def test_inline_refuses_a_chain_that_it_cannot_encode() -> None:
    with pytest.raises(UnsupportedError) as caught:
        virtual(written(noise(23, 9), rowsperstrip=5, compression="lzw"), short_strips="inline")
    assert caught.value.feature == "short-strip"


def test_rectilinear_grids_are_read_where_zarr_allows_them() -> None:
    pixels = noise(3, 23, 9)
    tiff = written(np.moveaxis(pixels, 0, -1), rowsperstrip=5, photometric="rgb", compression="zlib")
    with zarr.config.set({"array.rectilinear_chunks": True}):
        store = VirtualTIFF(ifd=0, short_strips="rectilinear")(URL, registry_of(tiff))
        array = zarr.open_group(store, mode="r", zarr_format=3)["band_data"]
        assert isinstance(array, zarr.Array)
        np.testing.assert_array_equal(array[...], pixels)
    grid = virtual(tiff, short_strips="rectilinear").zarr_json()["chunk_grid"]
    assert grid["configuration"]["chunk_shapes"] == [[[3, 1]], [[5, 4], 3], [[9, 1]]]


@pytest.mark.parametrize("choice", ["auto", "pad", "inline", "rectilinear"])
@pytest.mark.parametrize("height", [20, 23])
@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_core_codecs_give_way_where_ours_are_asked_for(compression: str, height: int, choice: str) -> None:
    pixels = noise(height, 9)
    tiff = written(pixels, rowsperstrip=5, compression=compression)
    array = virtual(tiff, codecs="segment", short_strips=choice)
    only_core = height == 23 and choice in ("inline", "rectilinear")
    assert array.portability == ("core" if only_core else "segment")
    if choice != "rectilinear":
        np.testing.assert_array_equal(open_array(tiff, codecs="segment", short_strips=choice)[...], pixels)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_uncompressed_arrays_need_no_codec_of_ours(byteorder: Any) -> None:
    pixels = noise(23, 9)
    tiff = written(pixels, rowsperstrip=5, byteorder=byteorder)
    assert virtual(tiff, codecs="segment").portability == "core"
    np.testing.assert_array_equal(open_array(tiff, codecs="segment")[...], pixels)


def test_absent_arrays_have_the_codecs_that_are_asked_for() -> None:
    tiff = bytearray(written(noise(20, 9), rowsperstrip=5, compression="zlib"))
    page = tifffile.TiffFile(BytesIO(tiff)).pages[0]
    assert isinstance(page, tifffile.TiffPage)
    tag = page.tags["StripByteCounts"]
    tiff[tag.valueoffset : tag.valueoffset + tag.valuebytecount] = bytes(tag.valuebytecount)
    for codecs in ("core", "segment"):
        assert virtual(bytes(tiff), codecs=codecs).portability == codecs
        assert not np.any(open_array(bytes(tiff), codecs=codecs)[...])


@pytest.mark.parametrize("options", [{"short_strips": "fold"}, {"target_chunk_bytes": 0}, {"codecs": "any"}])
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ChunkOptions(**options)


@pytest.mark.parametrize(("width", "height"), [(65535, 2**32 - 1), (1, 2**60 + 7), (2**30, 2**30)])
def test_a_huge_strip_that_is_absent_is_not_cut(width: int, height: int) -> None:
    """Its size is all that the file says: it must take neither time nor memory."""
    values = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 0, 279: 0}
    tiff = bytes(build([Dir([Entry(code, 16, [value]) for code, value in values.items()])], bigtiff=True).data)
    array = open_array(tiff)
    assert array.shape == (height, width)
    assert array.nchunks == 1
    np.testing.assert_array_equal(array[height - 2 :, :3], np.zeros((2, min(width, 3))))
