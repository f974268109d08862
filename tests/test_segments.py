"""Byte ranges of segments: what the tags say, what is absent, what has to be inferred, and what is refused."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from rasterio.io import MemoryFile

from tests.opening import open_array, virtual
from tests.tiffbytes import Dir, Entry, build
from virtual_tiff.errors import FormatError, LimitError, VirtualTiffError
from virtual_tiff.tiff.tags import Tags

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

LONG, LONG8 = 4, 16
WIDTH, ROWS = 6, 2


def pixels_of(height: int) -> np.ndarray[Any, Any]:
    return (np.arange(height * WIDTH, dtype="u1") % 251 + 1).reshape(height, WIDTH)


def striped(
    pixels: np.ndarray[Any, Any],
    *,
    compression: int = 1,
    counts: Sequence[int] | None = None,
    offsets: Mapping[int, int] | None = None,
    tags: Mapping[int, Sequence[int]] | None = None,
    leave_out: Sequence[int] = (),
    gap: int = 0,
    leaders: bool = False,
) -> bytes:
    """A file whose strips of two rows stand behind the IFD, with the byte counts and offsets that are asked for."""
    strips = [pixels[row : row + ROWS].tobytes() for row in range(0, len(pixels), ROWS)]
    if compression == 8:
        strips = [zlib.compress(strip) for strip in strips]
    entries: dict[int, Sequence[int]] = {
        Tags.ImageWidth: [WIDTH],
        Tags.ImageLength: [len(pixels)],
        Tags.BitsPerSample: [8],
        Tags.Compression: [compression],
        Tags.RowsPerStrip: [ROWS],
        **(tags or {}),
    }
    ghost = b""
    if leaders:
        text = b"LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
        ghost = b"GDAL_STRUCTURAL_METADATA_SIZE=%06d bytes\n" % len(text) + text
    start = 8 + len(ghost) + 2048
    places, body = [], bytearray()
    for strip in strips:
        body += struct.pack("<I", len(strip)) if leaders else bytes(gap)
        places.append(start + len(body))
        body += strip
    for index, place in (offsets or {}).items():
        places[index] = place
    entries[Tags.StripOffsets] = places
    entries[Tags.StripByteCounts] = [len(strip) for strip in strips] if counts is None else counts
    for code in leave_out:
        entries.pop(code, None)
    header = bytearray(b"II*\0" + struct.pack("<I", 8 + len(ghost)) + ghost)
    table, values = bytearray(struct.pack("<H", len(entries))), bytearray()
    beyond = 8 + len(ghost) + 2 + 12 * len(entries) + 4
    for code in sorted(entries):
        numbers = entries[code]
        raw = struct.pack(f"<{len(numbers)}I", *numbers)
        table += struct.pack("<HHI", code, LONG, len(numbers))
        table += raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<I", beyond + len(values))
        values += raw if len(raw) > 4 else b""
    header += table + bytes(4) + values
    return bytes(header.ljust(start, b"\0") + body)


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("gap", [0, 3])
def test_strips_are_found_where_the_tags_say(compression: int, gap: int) -> None:
    pixels = pixels_of(8)
    np.testing.assert_array_equal(open_array(striped(pixels, compression=compression, gap=gap))[...], pixels)


@pytest.mark.parametrize("counts", [[], [12], [11, 12, 12, 12], [12, 12, 12, 9], [99, 12, 12, 12]])
def test_the_geometry_decides_about_uncompressed_strips(counts: list[int]) -> None:
    pixels = pixels_of(8)
    leave_out = [Tags.StripByteCounts] if not counts else []
    array = open_array(striped(pixels, counts=counts or None, leave_out=leave_out, gap=1))
    expected = pixels.copy()
    if counts and len(counts) < 4:
        expected[ROWS * len(counts) :] = 0
    np.testing.assert_array_equal(array[...], expected)


def test_zero_offsets_and_zero_counts_are_missing_chunks() -> None:
    pixels = pixels_of(8)
    array = virtual(striped(pixels, counts=[12, 0, 12, 12], offsets={3: 0}))
    assert (array.lengths[:, 0] > 0).tolist() == [True, False, True, False]
    expected = pixels.copy()
    expected[2:4] = expected[6:] = 0
    np.testing.assert_array_equal(open_array(striped(pixels, counts=[12, 0, 12, 12], offsets={3: 0}))[...], expected)


@pytest.mark.parametrize("leave_out", [[], [Tags.StripByteCounts]])
def test_the_header_of_the_file_is_no_strip(leave_out: list[int]) -> None:
    """GDAL shows the header there, and so does tifffile in some files."""
    tiff = striped(pixels_of(2), offsets={0: 0}, leave_out=leave_out)
    with MemoryFile(tiff) as memory, memory.open() as gdal:
        np.testing.assert_array_equal(gdal.read().reshape(-1), np.frombuffer(tiff[:12], "u1"))
    with pytest.raises(FormatError, match="where the header of the file is") as caught:
        virtual(tiff)
    assert caught.value.feature == "bad-geometry"


def test_the_only_pixel_may_lie_in_the_header() -> None:
    one: dict[int, Sequence[int]] = {Tags.ImageWidth: [1], Tags.ImageLength: [1]}
    tiff = striped(pixels_of(2), offsets={0: 0}, tags=one)
    with MemoryFile(tiff) as memory, memory.open() as gdal:
        expected = gdal.read(1)
    assert expected.tolist() == [[ord("I")]]
    np.testing.assert_array_equal(open_array(tiff)[...], expected)


@pytest.mark.parametrize("compression", [1, 8])
def test_a_count_of_zero_is_an_absent_tile_but_an_unknown_strip(compression: int) -> None:
    pixels = pixels_of(2)
    strip = striped(pixels, compression=compression, counts=[0])
    np.testing.assert_array_equal(open_array(strip)[...], pixels)
    sides: dict[int, Sequence[int]] = {Tags.TileWidth: [WIDTH], Tags.TileLength: [ROWS]}
    tile = striped(pixels, compression=compression, counts=[0], tags=sides, leave_out=[Tags.RowsPerStrip])
    with MemoryFile(tile) as memory, memory.open() as gdal:
        np.testing.assert_array_equal(gdal.read(1), np.zeros_like(pixels))
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(tile)), np.zeros_like(pixels))
    np.testing.assert_array_equal(open_array(tile)[...], np.zeros_like(pixels))


def test_offsets_of_strips_and_of_tiles_are_refused_unless_they_are_equal() -> None:
    """Libtiff has one place for both, so that the one that comes last decides."""
    pixels = pixels_of(8)
    plain = striped(pixels)
    with tifffile.TiffFile(io.BytesIO(plain)) as tiff:
        strips = list(tiff.pages.first.dataoffsets)
    tags: dict[int, Sequence[int]] = {Tags.TileOffsets: strips}
    np.testing.assert_array_equal(open_array(striped(pixels, tags=tags))[...], pixels)
    other: dict[int, Sequence[int]] = {Tags.TileOffsets: [8] * len(strips)}
    with pytest.raises(FormatError, match="both of tiles and of strips") as caught:
        virtual(striped(pixels, tags=other))
    assert caught.value.feature == "bad-geometry"


def test_missing_counts_of_compressed_strips_end_at_the_next_strip() -> None:
    pixels = pixels_of(8)
    tiff = striped(pixels, compression=8, leave_out=[Tags.StripByteCounts])
    array = virtual(tiff)
    assert array.warnings
    assert "byte counts are missing" in array.warnings[0]
    np.testing.assert_array_equal(open_array(tiff)[...], pixels)


def test_missing_counts_are_taken_from_block_leaders() -> None:
    pixels = pixels_of(8)
    tiff = striped(pixels, compression=8, leave_out=[Tags.StripByteCounts], leaders=True)
    lengths = virtual(tiff).lengths[:, 0].tolist()
    assert lengths == virtual(striped(pixels, compression=8)).lengths[:, 0].tolist()
    np.testing.assert_array_equal(open_array(tiff)[...], pixels)


def test_a_count_that_reaches_behind_the_end_is_cut_when_the_strip_still_decodes() -> None:
    pixels = pixels_of(2)
    tiff = striped(pixels, compression=8, counts=[500])
    assert "behind the end of the file" in virtual(tiff).warnings[0]
    np.testing.assert_array_equal(open_array(tiff)[...], pixels)


def test_a_compressed_strip_that_lost_its_end_is_refused_when_the_file_is_read() -> None:
    with pytest.raises(FormatError, match="do not decode") as caught:
        virtual(striped(pixels_of(8), compression=8)[:-8])
    assert caught.value.feature == "truncated"


@pytest.mark.parametrize("cut", [1, 4])
def test_a_strip_that_lost_only_its_checksum_is_read(cut: int) -> None:
    pixels = pixels_of(8)
    tiff = striped(pixels, compression=8)[:-cut]
    assert virtual(tiff).portability == "segment"
    np.testing.assert_array_equal(open_array(tiff)[...], pixels)


def test_an_uncompressed_strip_that_lost_its_end_is_refused() -> None:
    with pytest.raises(FormatError) as caught:
        virtual(striped(pixels_of(8))[:-1])
    assert (caught.value.feature, caught.value.ifd) == ("truncated", (0,))


def test_missing_offsets_are_refused() -> None:
    with pytest.raises(FormatError) as caught:
        virtual(striped(pixels_of(8), leave_out=[Tags.StripOffsets]))
    assert caught.value.feature == "missing-tag"


def test_an_image_without_any_segment_reads_as_nodata_whatever_its_size() -> None:
    side = 2**31 - 1
    absent: dict[int, Sequence[int]] = {
        Tags.ImageWidth: [side],
        Tags.ImageLength: [side],
        Tags.TileWidth: [16],
        Tags.TileLength: [16],
        Tags.TileOffsets: [0],
        Tags.TileByteCounts: [0],
    }
    tiff = striped(pixels_of(2), tags=absent, leave_out=[Tags.StripOffsets, Tags.StripByteCounts, Tags.RowsPerStrip])
    array = open_array(tiff)
    assert array.shape == (side, side)
    np.testing.assert_array_equal(array[side - 3 :, :5], np.zeros((3, 5)))


def test_a_huge_grid_of_which_something_is_stored_is_a_limit_error() -> None:
    side = 2**31 - 1
    sparse: dict[int, Sequence[int]] = {
        Tags.ImageWidth: [side],
        Tags.ImageLength: [side],
        Tags.TileWidth: [16],
        Tags.TileLength: [16],
        Tags.TileOffsets: [8],
        Tags.TileByteCounts: [4],
    }
    tiff = striped(pixels_of(2), tags=sparse, leave_out=[Tags.StripOffsets, Tags.StripByteCounts, Tags.RowsPerStrip])
    with pytest.raises(LimitError) as caught:
        virtual(tiff)
    assert caught.value.feature == "limit-segments"


def test_errors_say_where() -> None:
    with pytest.raises(VirtualTiffError, match=r"memory://files/a\.tif, IFD 0, tag StripOffsets \(273\)"):
        virtual(striped(pixels_of(8))[:-1])


def test_lsm_files_count_the_bytes_of_decompressed_strips() -> None:
    """Noise takes more bytes in LZW than its counts say."""
    pixels = np.random.default_rng(3).integers(0, 256, (3, 24, 32), np.uint8)
    planes = [bytes(imagecodecs.lzw_encode(plane.tobytes())) for plane in pixels]
    assert min(map(len, planes)) > pixels[0].nbytes
    offsets = np.cumsum([8, *map(len, planes)])[:-1].tolist()
    values = {256: [32], 257: [24], 258: [8, 8, 8], 259: [5], 273: offsets, 277: [3], 279: [768] * 3, 284: [2]}
    entries = [*(Entry(code, LONG, value) for code, value in values.items()), Entry(Tags.LSMInfo, 1, bytes(64))]
    data = bytes(build([Dir(entries)], ghost=b"".join(planes)).data)
    np.testing.assert_array_equal(np.asarray(open_array(data)[...]), pixels)


@pytest.mark.parametrize("cut", [20, 1])
@pytest.mark.parametrize("compression", [3, 4, 7, 34934])
def test_a_segment_that_lost_its_end_is_refused_when_decoders_make_it_up(compression: int, cut: int) -> None:
    """Decoders of CCITT, JPEG and JPEG XR fill what is missing; GDAL refuses such a file, too."""
    noise = np.random.default_rng(2).integers(0, 256, (40, 48), np.uint8)
    encoders = {
        3: noise.tobytes,
        4: noise.tobytes,
        7: lambda: bytes(imagecodecs.jpeg8_encode(noise)),
        34934: lambda: bytes(imagecodecs.jpegxr_encode(noise)),
    }
    segment = encoders[compression]()
    bits = 1 if compression in (3, 4) else 8
    values = {256: [48], 257: [40], 258: [bits], 259: [compression], 262: [1], 273: [4096], 278: [40]}
    entries = [Entry(code, LONG, value) for code, value in {**values, 279: [len(segment)]}.items()]
    tiff = bytes(build([Dir(entries)]).data).ljust(4096, b"\0") + segment
    assert bits == 1 or virtual(tiff).shape == (40, 48)
    with pytest.raises(FormatError, match="reach behind the end") as caught:
        virtual(tiff[:-cut])
    assert caught.value.feature == "truncated"


def test_offsets_may_be_fewer_than_strips_when_these_have_the_size_that_the_tags_say() -> None:
    """So does GDAL read; but other byte counts say that the grid is damaged."""
    pixels = pixels_of(8)
    taller: dict[int, Sequence[int]] = {Tags.ImageLength: [20]}
    array = open_array(striped(pixels, tags=taller))[...]
    np.testing.assert_array_equal(array, np.concatenate([pixels, np.zeros((12, WIDTH))]))
    shorter: dict[int, Sequence[int]] = {Tags.RowsPerStrip: [1]}
    smaller = striped(pixels, tags=taller, counts=[12, 12, 12, 11])
    for tiff in (striped(pixels, tags=shorter), striped(pixels, tags=taller, compression=8), smaller):
        with pytest.raises(FormatError, match="offsets for a grid of") as caught:
            virtual(tiff)
        assert caught.value.feature == "bad-geometry"


def test_a_damaged_size_takes_no_memory_for_segments_without_offsets() -> None:
    with pytest.raises(FormatError, match="4 offsets for a grid of 33554432 segments") as caught:
        virtual(striped(pixels_of(8), tags={Tags.ImageLength: [1 << 26]}))
    assert caught.value.feature == "bad-geometry"


@pytest.mark.parametrize("count", ["4000000000", "9" * 18])
def test_a_stack_of_more_planes_than_the_file_has_bytes_is_refused(count: str) -> None:
    tags = {256: [4], 257: [4], 258: [8], 259: [1], 273: [8], 279: [16]}
    entries = [Entry(code, LONG, value) for code, value in tags.items()]
    text = Entry(Tags.ImageDescription, 2, f"ImageJ=1.54f\nimages={count}\n\0".encode())
    with pytest.raises(LimitError, match=f"a stack of {count} planes") as caught:
        virtual(bytes(build([Dir([*entries, text])]).data) + bytes(64))
    assert caught.value.feature == "limit-segments"


def test_a_number_of_planes_with_thousands_of_digits_is_none() -> None:
    tags = {256: [4], 257: [4], 258: [8], 259: [1], 273: [8], 279: [16]}
    entries = [Entry(code, LONG, value) for code, value in tags.items()]
    text = Entry(Tags.ImageDescription, 2, b"ImageJ=1.54f\nimages=" + b"9" * 5000 + b"\n\0")
    assert virtual(bytes(build([Dir([*entries, text])]).data) + bytes(64)).shape == (4, 4)
