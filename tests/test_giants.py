"""NDPI and LSM files of 4 GiB and more, whose offsets do not fit into classic TIFF; tifffile is the oracle."""

from __future__ import annotations

import random
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import zarr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import LocalStore

from tests.giants import GIB, WRAP, Page, Strip, lsm_info, restarted_jpeg, slide_tags, write_lsm, write_ndpi
from tests.opening import open_array
from tests.servers import Web
from tests.tiffbytes import Dir, Entry, build
from virtual_tiff import FormatError, UnsupportedError, VirtualTIFF, VirtualTiffError, open_tiff, restarts
from virtual_tiff.cube.describe import describe_file
from virtual_tiff.cube.stores import locate
from virtual_tiff.tiff.ifd import TiffFile
from virtual_tiff.tiff.protocol import Limits
from virtual_tiff.tiff.source import Source, read_tiff
from virtual_tiff.tiff.tags import Tags, TagType

type Pixels = npt.NDArray[np.uint8]

DRAW = np.random.default_rng(5)


def noise(*shape: int) -> Pixels:
    return DRAW.integers(0, 256, shape, np.uint8)


def header_of(path: Path, **options: Any) -> TiffFile:
    return read_tiff(Source(LocalStore(path.parent), path.name, path.as_uri()), **options)


def pixels_of(path: Path, ifd: int) -> Pixels:
    store = VirtualTIFF(ifd=ifd)(path.as_uri(), ObjectStoreRegistry({"file://": LocalStore()}))
    array = zarr.open_group(store, mode="r", zarr_format=3)["band_data"]
    assert isinstance(array, zarr.Array)
    return np.asarray(array[...])


def refusal(path: Path, ifd: int = 0) -> VirtualTiffError:
    with pytest.raises(VirtualTiffError) as caught:
        pixels_of(path, ifd)
    return caught.value


def assert_as_tifffile(path: Path) -> None:
    """Every page is what tifffile reads; bands come first with us."""
    with tifffile.TiffFile(path) as theirs:
        assert len(theirs.pages) == len(header_of(path).ifds)
        for number, page in enumerate(theirs.pages):
            pixels = pixels_of(path, number)
            expected = page.asarray()
            if expected.ndim == 3 and expected.shape != pixels.shape:
                expected = np.moveaxis(expected, -1, 0)
            np.testing.assert_array_equal(pixels.reshape(expected.shape), expected)


def assert_sparse(path: Path) -> None:
    assert path.stat().st_size >= WRAP
    assert path.stat().st_blocks * 512 < 8 << 20


# ---- NDPI


def slide(path: Path) -> Path:
    """A slide of 9 GiB: pages with pixels, values and IFDs below and above of 4 and of 8 GiB."""
    colors = noise(40, 48, 3)
    stream = bytes(imagecodecs.jpeg8_encode(colors, 90, colorspace="rgb", outcolorspace="ycbcr", subsampling="444"))
    jpeg = slide_tags(48, 40, 3, compression=7, photometric=6)
    return write_ndpi(
        path,
        [
            Page([*jpeg, Entry(Tags.YCbCrSubSampling, 3, [1, 1])], [stream], [5 * GIB + 12], 6 * GIB),
            Page(slide_tags(30, 20), [noise(600).tobytes()], [100], 500_000),
            Page(slide_tags(31, 21), [noise(651).tobytes()], [8 * GIB + 77], 8 * GIB + 10_000),
            Page(slide_tags(5, 4), [noise(20).tobytes()], [WRAP - 10], 9 * GIB),
        ],
    )


@pytest.mark.parametrize("name", ["a.ndpi", "b.NDPI"])
def test_ndpi_is_read_as_tifffile_reads_it(tmp_path: Path, name: str) -> None:
    path = slide(tmp_path / name)
    assert_sparse(path)
    assert_as_tifffile(path)
    header = header_of(path)
    assert header.problems == ()
    assert not header.bigtiff
    for ifd in header.ifds:
        assert ifd.problems == ()
        assert ifd.text(Tags.Make) == "Hamamatsu"
        assert ifd.text(Tags.Model) == "C1"  # short, and yet outside of its entry
        assert ifd.integer(Tags.NDPIXOffset, 0) == -1234567
    assert header.ifds[0].tags[Tags.StripOffsets].type == TagType.LONG8
    assert header.ifds[1].tags[Tags.StripOffsets].type == TagType.LONG
    assert len(header_of(path, last=1).ifds) == 2


def test_the_suffix_does_not_decide(tmp_path: Path) -> None:
    path = slide(tmp_path / "a.tif")
    first = pixels_of(path, 2)
    path.rename(tmp_path / "a.ndpi")
    np.testing.assert_array_equal(first.reshape(21, 31), tifffile.imread(tmp_path / "a.ndpi", key=2))


def test_ndpi_over_http(web: Web) -> None:
    path = slide(web.root / "a.ndpi")
    for number in (0, 2):
        ours = open_tiff(f"{web.url}a.ndpi", ifd=number, mask_and_scale=False)["band_data"].to_numpy()
        np.testing.assert_array_equal(ours, pixels_of(path, number).reshape(ours.shape))


def test_ndpi_of_less_than_4_gib_reads_as_before(tmp_path: Path) -> None:
    pages = [
        Page(slide_tags(30, 20), [noise(600).tobytes()], [100], 5000),
        Page(slide_tags(9, 5), [noise(45).tobytes()], [6000], 7000),
    ]
    small = write_ndpi(tmp_path / "small.ndpi", pages)
    assert_as_tifffile(small)
    large = write_ndpi(tmp_path / "large.ndpi", pages, size=WRAP)
    assert_as_tifffile(large)
    just = write_ndpi(tmp_path / "just.ndpi", pages, size=WRAP - 1)
    for number in (0, 1):
        np.testing.assert_array_equal(pixels_of(small, number), pixels_of(large, number))
        np.testing.assert_array_equal(pixels_of(small, number), pixels_of(just, number))


def test_ndpi_with_many_strips(tmp_path: Path) -> None:
    """Their high halves stand in a tag of Hamamatsu's own, which Bio-Formats reads and tifffile does not."""
    pixels = noise(24, 10)
    entries = [e for e in slide_tags(10, 24) if e.code != Tags.RowsPerStrip]
    strips = [pixels[row : row + 1].tobytes() for row in range(24)]
    places = [100 + 20 * n + (n % 3) * WRAP for n in range(24)]
    page = Page([*entries, Entry(Tags.RowsPerStrip, 4, [1])], strips, places, 9 * GIB)
    path = write_ndpi(tmp_path / "a.ndpi", [page])
    np.testing.assert_array_equal(pixels_of(path, 0).reshape(24, 10), pixels)
    replace_code(path, Tags.NDPIOffsetHighBytes, 65433, header_of(path).ifds[0].offset)
    error = refusal(path)
    assert (error.feature, error.tag) == ("wrapped-offsets", Tags.StripOffsets)


def replace_code(path: Path, old: int, new: int, ifd: int) -> None:
    """Rename a tag of type LONG in the IFD at an offset."""
    with path.open("r+b") as file:
        file.seek(ifd)
        place = ifd + file.read(4096).index(struct.pack("<HH", old, 4))
        file.seek(place)
        file.write(struct.pack("<H", new))


def test_a_classic_tiff_of_more_than_4_gib_is_no_ndpi(tmp_path: Path) -> None:
    """Whatever follows its header, which NDPI takes for the high half of the first offset."""
    path = tmp_path / "a.tif"
    pixels = noise(16, 16)
    for high in (0, 1, 2, 2**32 - 1):
        tifffile.imwrite(path, pixels, rowsperstrip=16, metadata=None, bigtiff=False)
        data = bytearray(path.read_bytes())
        at = len(data)
        offset = int.from_bytes(data[4:8], "little")
        data += data[offset : offset + 1000]
        data[4:12] = struct.pack("<II", at, high)
        with path.open("wb") as file:
            file.write(data)
            file.truncate(9 * GIB)
        with tifffile.TiffFile(path) as theirs:
            expected = theirs.pages[0].asarray()
        np.testing.assert_array_equal(pixels_of(path, 0).reshape(16, 16), expected)


def test_ndpi_whose_high_halves_are_missing_is_refused(tmp_path: Path) -> None:
    path = slide(tmp_path / "a.ndpi")
    with path.open("r+b") as file:
        (offset,) = struct.unpack("<4xQ", file.read(12))
        file.seek(offset)
        (count,) = struct.unpack("<H", file.read(2))
        file.seek(offset + 2 + 12 * count + 8)
        file.write(b"\x07\0\0\0" * count)
    error = refusal(path)
    assert isinstance(error, FormatError)
    assert error.feature == "wrapped-offsets"


def test_ndpi_that_ends_inside_of_an_ifd(tmp_path: Path) -> None:
    path = slide(tmp_path / "a.ndpi")
    size = path.stat().st_size
    for cut in (1, 9, 40, 60, 200, 300):
        with path.open("r+b") as file:
            file.truncate(size - cut)
        header = header_of(path)
        assert [problem.feature for problem in header.problems] == ["truncated"]
        assert len(header.ifds) == 3
    with path.open("r+b") as file:
        file.truncate(6 * GIB + 100)
    assert refusal(path).feature in ("truncated", "bad-tag")


@pytest.mark.parametrize("mode", [0, 6, 7, 18])
@pytest.mark.parametrize("lens", [20.0, -1.0])
@pytest.mark.parametrize("at", [1000, WRAP])
def test_fluorescence_slides_hold_16_bits_whatever_their_tags_say(
    tmp_path: Path, mode: int, lens: float, at: int
) -> None:
    """CaptureMode tells; the picture of the whole slide, whose lens is -1, is as its tags say."""
    is_deep = mode > 6 and lens > 0
    pixels = DRAW.integers(0, 60000, (40, 48), np.uint16) if is_deep else noise(40, 48, 3)
    level = bytes(imagecodecs.jpegxr_encode(pixels))
    tags = [e for e in slide_tags(48, 40, 3, compression=22610, photometric=2) if e.code != Tags.NDPISourceLens]
    tags += [Entry(Tags.NDPISourceLens, 11, [lens]), Entry(Tags.NDPICaptureMode, 4, [mode])]
    path = write_ndpi(tmp_path / "a.ndpi", [Page(tags, [level], [at], at + 50_000)])
    ours = pixels_of(path, 0)
    np.testing.assert_array_equal(ours, pixels if is_deep else np.moveaxis(pixels, -1, 0))
    if mode != 6:  # tifffile takes it for deep, Bio-Formats does not
        assert_as_tifffile(path)
    (image,) = describe_file(locate(path)).images
    assert (image.refusal, image.dtype) == (None, str(ours.dtype))


# ---- pages of NDPI that JPEG cannot count


def wide(
    path: Path, *, subsampling: str = "444", size: tuple[int, int] = (0, 0), at: int = 5 * GIB, **change: Any
) -> tuple[Path, list[int]]:
    """A slide of 65600 columns: 25 tiles across and 2 down, the last row and column cut."""
    factor = 1 if subsampling == "444" else 2
    tiles = noise(2, 25, 1, 1, 3).repeat(8 * factor, 2).repeat(2624, 3)
    tiles[..., ::5, 1] ^= 255
    tiles[:, :, 3, ::7] ^= 63
    stream, starts = restarted_jpeg(tiles, subsampling=subsampling, size=size)
    width, height = 65600 - 3, 16 * factor - 5
    tags = {e.code: e for e in slide_tags(width, height, 3, compression=7, photometric=6)}
    tags[Tags.YCbCrSubSampling] = Entry(Tags.YCbCrSubSampling, 3, [factor, factor])
    tags[Tags.NDPIMCUStarts] = Entry(Tags.NDPIMCUStarts, 4, starts)
    tags[Tags.NDPIMCUStartsHighBytes] = Entry(Tags.NDPIMCUStartsHighBytes, 4, [0] * len(starts))
    for code, entry in change.pop("tags", {}).items():
        tags.pop(code)
        tags |= {} if entry is None else {code: entry}
    return write_ndpi(path, [Page([*tags.values()], [stream], [at], at + 2 * len(stream))]), starts


@pytest.mark.parametrize(
    ("subsampling", "size", "at"),
    [("444", (0, 0), 5 * GIB), ("420", (11, 61), WRAP - 1000), ("420", (0, 0), 1000)],
)
def test_a_page_that_jpeg_cannot_count_is_read_by_its_restart_markers(
    tmp_path: Path, subsampling: str, size: tuple[int, int], at: int
) -> None:
    path, starts = wide(tmp_path / "a.ndpi", subsampling=subsampling, size=size, at=at)
    assert_as_tifffile(path)
    store = VirtualTIFF(ifd=0)(path.as_uri(), ObjectStoreRegistry({"file://": LocalStore()}))
    array = zarr.open_group(store, mode="r", zarr_format=3)["band_data"]
    assert isinstance(array, zarr.Array)
    assert array.chunks == (3, 8 if subsampling == "444" else 16, 2624)
    assert array.nchunks == len(starts)
    assert pixels_of(path, 0).std() > 40


@pytest.mark.parametrize(
    ("code", "entry"),
    [
        (Tags.NDPIMCUStarts, None),
        (Tags.NDPIMCUStarts, Entry(Tags.NDPIMCUStarts, 4, [700, 800])),
        (Tags.NDPIMCUStarts, Entry(Tags.NDPIMCUStarts, 4, list(range(900, 850, -1)))),
        (Tags.NDPIMCUStartsHighBytes, Entry(Tags.NDPIMCUStartsHighBytes, 4, [0] * 7)),
        (Tags.NDPIMCUStartsHighBytes, Entry(Tags.NDPIMCUStartsHighBytes, 4, [1] * 50)),
        (Tags.ImageWidth, Entry(Tags.ImageWidth, 4, [65601])),
        (Tags.ImageLength, Entry(Tags.ImageLength, 4, [17])),
    ],
)
def test_such_a_page_is_refused_by_name_when_it_does_not_fit_its_markers(
    tmp_path: Path, code: int, entry: Entry | None
) -> None:
    path, _ = wide(tmp_path / "a.ndpi", tags={code: entry})
    error = refusal(path)
    assert isinstance(error, UnsupportedError)
    assert error.feature == "jpeg"
    assert "in one JPEG stream" in error.found


def test_such_a_page_is_refused_without_a_restart_interval(tmp_path: Path) -> None:
    path, _ = wide(tmp_path / "a.ndpi", at=1000)
    data = path.read_bytes()
    for old, new in ((b"\xff\xdd\0\x04", b"\xff\xfe\0\x04"), (b"\xff\xc0", b"\xff\xc2"), (b"\xff\xd8", b"\xff\xd9")):
        path.write_bytes(data[:1000] + data[1000:].replace(old, new, 1))
        assert refusal(path).feature == "jpeg"


def test_such_a_page_is_refused_when_a_tile_would_be_as_wide(tmp_path: Path) -> None:
    """One restart interval for each row of blocks: JPEG counts no more columns in a tile than in a page."""
    path, _ = wide(tmp_path / "a.ndpi", at=1000, tags={Tags.NDPIMCUStartsHighBytes: None})
    data = path.read_bytes()
    interval = data.index(b"\xff\xdd\0\x04") + 4
    assert data[interval : interval + 2] == struct.pack(">H", 328)
    data = data[:interval] + struct.pack(">H", 8200) + data[interval + 2 :]
    entry = data.index(struct.pack("<HHI", Tags.NDPIMCUStarts, 4, 50)) + 4
    path.write_bytes(data[:entry] + struct.pack("<I", 2) + data[entry + 4 :])
    error = refusal(path)
    assert (error.feature, "are 65600 pixels wide" in error.found) == ("jpeg", True)


def test_a_page_that_is_too_large_to_be_decoded_as_a_whole_is_read_in_the_same_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restarts, "MAX_SEGMENT_BYTES", 5000)
    stream, starts = restarted_jpeg(noise(5, 3, 8, 32, 3))
    tags = slide_tags(92, 38, 3, compression=7, photometric=6)
    tags += [Entry(Tags.YCbCrSubSampling, 3, [1, 1]), Entry(Tags.NDPIMCUStarts, 4, starts)]
    path = write_ndpi(tmp_path / "a.ndpi", [Page(tags, [with_size(stream, 38, 92)], [WRAP - 1000], WRAP + 200_000)])
    assert_as_tifffile(path)
    (image,) = describe_file(locate(path)).images
    assert (image.refusal, image.array is None) == (None, False)
    assert image.layout == "tiles of 32 x 8"


def with_size(stream: bytes, rows: int, columns: int) -> bytes:
    """Let the frame of a JPEG stream state its true size."""
    place = stream.index(b"\xff\xc0") + 5
    return stream[:place] + struct.pack(">HH", rows, columns) + stream[place + 4 :]


# ---- LSM


def strips_of(pixels: Pixels, at: int) -> list[Strip]:
    """One strip per channel, behind one another: tifffile takes that for granted."""
    return [Strip(at + channel * plane.size, plane.tobytes()) for channel, plane in enumerate(pixels)]


def recording(
    *, times: int = 1, positions: int = 1, tiles: int = 1, inner: int = 1, thumbnails_first: bool = False, step: int
) -> tuple[list[tuple[Pixels, list[Strip]]], int]:
    """Pages in the order of the IFDs, their strips in that of the recording, and the end of the last one."""
    at = 5_000_000
    placed: dict[tuple[int, ...], list[tuple[Pixels, list[Strip]]]] = {}
    for time in range(times):
        for position in range(positions):
            for tile in range(tiles):
                for index in range(inner):
                    pair: list[tuple[Pixels, list[Strip]]] = []
                    for shape in ((3, 3, 4), (3, 6, 8))[:: 1 if thumbnails_first else -1]:
                        pixels = noise(*shape)
                        pair.append((pixels, strips_of(pixels, at)))
                        at += step // 2
                    placed[tile, position, time, index] = pair[::-1] if thumbnails_first else pair
    return [page for _, pair in sorted(placed.items(), key=lambda item: item[0]) for page in pair], at


@pytest.mark.parametrize(
    "dims",
    [
        {"times": 7},
        {"positions": 7},
        {"tiles": 7},
        {"inner": 7},
        {"inner": 7, "thumbnails_first": True},
        {"times": 3, "positions": 3},
        {"times": 3, "tiles": 2, "thumbnails_first": True},
        {"positions": 2, "tiles": 3, "inner": 2},
        {"times": 2, "positions": 2, "tiles": 2, "inner": 2},
    ],
    ids=str,
)
def test_lsm_is_read_as_tifffile_reads_it(tmp_path: Path, dims: dict[str, Any]) -> None:
    pages, end = recording(**dims, step=int(1.7 * GIB))
    info = lsm_info(*(dims.get(name, 1) for name in ("times", "positions", "tiles")))
    path = write_lsm(tmp_path / "a.lsm", pages, size=end, info=info)
    assert_sparse(path)
    assert end > 2 * WRAP
    assert_as_tifffile(path)
    for number, (pixels, strips) in enumerate(pages):
        np.testing.assert_array_equal(pixels_of(path, number).reshape(pixels.shape), pixels)
        offsets = header_of(path).ifds[number].integers(Tags.StripOffsets)
        assert offsets is not None
        assert offsets.tolist() == [strip.at for strip in strips]


def test_lsm_offsets_may_wrap_between_the_strips_of_an_image(tmp_path: Path) -> None:
    pages = []
    for number, at in enumerate([5_000_000, 6_000_000, WRAP - 50, WRAP + 200, 2 * WRAP - 97, 2 * WRAP + 300]):
        pixels = noise(3, 3, 4) if number % 2 else noise(3, 6, 8)
        pages.append((pixels, strips_of(pixels, at)))
    path = write_lsm(tmp_path / "a.lsm", pages, size=2 * WRAP + 400, info=lsm_info())
    assert_as_tifffile(path)
    for number, (pixels, _) in enumerate(pages):
        np.testing.assert_array_equal(pixels_of(path, number), pixels)


def test_lsm_of_compressed_strips(tmp_path: Path) -> None:
    """Their byte counts are those of the samples, and noise takes more in LZW."""
    pages: list[tuple[Pixels, list[Strip]]] = []
    at = 5_000_000
    for number in range(8):
        pixels = noise(3, 16, 24) if number % 2 == 0 else noise(3, 3, 4)
        strips = []
        for plane in pixels:
            raw = plane.tobytes() if number % 2 else imagecodecs.lzw_encode(plane.tobytes())
            strips.append(Strip(at, bytes(raw)))
            at += len(raw)
        pages.append((pixels, strips))
        at += number % 2 * 2 * GIB  # tifffile reads on to where the thumbnail begins
    path = write_lsm(tmp_path / "a.lsm", pages, size=at, info=lsm_info(4), compression=5)
    assert min(len(strip.raw) for _, strips in pages[::2] for strip in strips) > 16 * 24
    assert_as_tifffile(path)


def test_lsm_over_http(web: Web) -> None:
    pages, end = recording(inner=4, step=2 * GIB)
    write_lsm(web.root / "a.lsm", pages, size=end, info=lsm_info())
    for number in (0, 7):
        ours = open_tiff(f"{web.url}a.lsm", ifd=number, mask_and_scale=False)["band_data"].to_numpy()
        np.testing.assert_array_equal(ours, pages[number][0])


def test_lsm_of_less_than_4_gib_is_not_unwrapped(tmp_path: Path) -> None:
    pages, end = recording(inner=2, step=GIB)
    pages = [pages[2], pages[1], pages[0], pages[3]]
    for size in (WRAP - 1, end):
        path = write_lsm(tmp_path / "a.lsm", pages, size=size, info=lsm_info())
        assert_as_tifffile(path)
    path = write_lsm(tmp_path / "a.lsm", pages, size=WRAP, info=lsm_info())
    assert refusal(path).feature == "wrapped-offsets"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("order", "its last strip would lie at"),
        ("gap", "its last strip would lie at"),
        ("odd", "no pairs"),
        ("magic", "damaged"),
        ("chain", "chain of IFDs"),
        ("counts", "3 tiles of 2 positions"),
        ("offsets", "where their strips are"),
    ],
)
def test_lsm_that_cannot_be_unwrapped_is_refused(tmp_path: Path, change: str, reason: str) -> None:
    pages, end = recording(inner=4, step=2 * GIB)
    info = lsm_info()
    if change == "order":
        pages[2:6] = pages[4:6] + pages[2:4]
    elif change == "gap":
        end += WRAP
    elif change == "odd":
        pages = pages[:-1]
    elif change == "chain":
        end = 2 * WRAP
    elif change == "magic":
        info = bytes(512)
    elif change == "counts":
        info = lsm_info(1, 2, 3)
    elif change == "offsets":
        info += b"x"
    path = write_lsm(tmp_path / "a.lsm", pages, size=end, info=info)
    if change == "chain":
        with path.open("r+b") as file:
            file.seek(header_of(path).ifds[3].offset)
            file.write(bytes(2))
    if change == "offsets":
        replace_code(path, Tags.StripOffsets, 65433, header_of(path).ifds[4].offset)
    error = refusal(path)
    assert error.feature == "wrapped-offsets"
    assert reason in error.found


def test_lsm_that_was_not_written_to_its_end(tmp_path: Path) -> None:
    pages, end = recording(inner=5, step=2 * GIB)
    pages[6:] = [(pixels, [Strip(0, b"")] * 3) for pixels, _ in pages[6:]]
    path = write_lsm(tmp_path / "a.lsm", pages, size=end, info=lsm_info())
    with path.open("r+b") as file:  # the builder has written nothing over the header
        assert file.read(4) == b"II*\0"
    for number in range(6):
        np.testing.assert_array_equal(pixels_of(path, number), pages[number][0])
    assert not pixels_of(path, 8).any()


def test_a_file_of_unknown_size_is_not_guessed_at(tmp_path: Path) -> None:
    class Sizeless:
        def get_range(self, path: str, *, start: int, end: int) -> bytes:
            with (tmp_path / path).open("rb") as file:
                file.seek(start)
                return file.read(end - start)

    slide(tmp_path / "a.ndpi")
    pages, end = recording(inner=4, step=2 * GIB)
    write_lsm(tmp_path / "a.lsm", pages, size=end, info=lsm_info())
    with pytest.raises(FormatError, match=r"Zeiss LSM file whose size is not known.*wrapped-offsets"):
        read_tiff(Source(Sizeless(), "a.lsm", "x://a.lsm"))
    with pytest.raises(FormatError):
        read_tiff(Source(Sizeless(), "a.ndpi", "x://a.ndpi"))


# ---- ScanImage


def scanimage(path: Path, pages: list[Pixels]) -> Path:
    """Write pages of one size behind one another, IFD before pixels; offsets simply lose their high halves."""
    step, first = 700_000_003, 512
    with path.open("wb") as file:
        file.write(b"II*\0" + struct.pack("<I", first))
        for number, pixels in enumerate(pages):
            at = first + number * step
            table, text = at + 2 + 12 * 9 + 4, b"state.configName='x'\0"
            strip = at + step // 2
            values = [(256, 4, 1, 8), (257, 4, 1, 6), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
            values += [(270, 2, len(text), table), (273, 4, 1, strip), (278, 4, 1, 6), (279, 4, 1, 48)]
            file.seek(at)
            entries = b"".join(struct.pack("<HHII", *fields, value % WRAP) for *fields, value in values)
            following = 0 if number == len(pages) - 1 else (at + step) % WRAP
            file.write(struct.pack("<H", 9) + entries + struct.pack("<I", following) + text)
            file.seek(strip)
            file.write(pixels.tobytes())
        file.truncate(first + len(pages) * step)
    return path


def test_scanimage_pages_are_read_up_to_4_gib_and_refused_above(tmp_path: Path) -> None:
    pages = [noise(6, 8) for _ in range(9)]
    path = scanimage(tmp_path / "a.tif", pages)
    assert_sparse(path)
    with tifffile.TiffFile(path) as theirs:
        expected = [page.asarray() for page in theirs.pages]
    header = header_of(path)
    assert (len(header.ifds), len(header.problems)) == (7, 1)
    for number in range(6):
        np.testing.assert_array_equal(expected[number], pages[number])
        np.testing.assert_array_equal(pixels_of(path, number), pages[number])
    error = refusal(path, 6)
    assert (error.feature, error.tag) == ("wrapped-offsets", Tags.StripOffsets)
    assert refusal(path, 7).feature == "no-such-ifd"


# ---- damage


def mutants(path: Path, places: list[int], seed: int) -> Iterator[None]:
    """Change a few bytes near the places, one mutant after another, and put them back."""
    draw = random.Random(seed)
    with path.open("r+b", buffering=0) as file:
        for _ in range(40):
            kept = []
            for _ in range(draw.choice((1, 2, 4))):
                place = draw.choice(places) + draw.randrange(400)
                file.seek(place)
                kept.append((place, file.read(1)))
                file.seek(place)
                file.write(bytes([draw.choice((0, 1, 2, 127, 255, draw.randrange(256)))]))
            yield
            for place, octet in reversed(kept):
                file.seek(place)
                file.write(octet)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", ["ndpi", "wide", "lsm", "scanimage"])
def test_damaged_headers_raise_only_our_errors(tmp_path: Path, kind: str, seed: int) -> None:
    extra: list[int] = []
    if kind == "ndpi":
        path = slide(tmp_path / "a.ndpi")
    elif kind == "wide":
        path, _ = wide(tmp_path / "a.ndpi")
        extra = [5 * GIB, 5 * GIB + 200, 5 * GIB + 400]
    elif kind == "scanimage":
        path = scanimage(tmp_path / "a.tif", [noise(6, 8) for _ in range(9)])
    else:
        pages, end = recording(times=3, positions=3, step=int(1.7 * GIB))
        path = write_lsm(tmp_path / "a.lsm", pages, size=end, info=lsm_info(3, 3))
    places = [ifd.offset for ifd in header_of(path).ifds] + [0, *extra]
    outcomes = set()
    for _ in mutants(path, places, seed):
        for number in (0, 2):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    store = VirtualTIFF(ifd=number)(path.as_uri(), ObjectStoreRegistry({"file://": LocalStore()}))
                assert zarr.open_group(store, mode="r", zarr_format=3)
                outcomes.add("parsed")
            except VirtualTiffError as error:
                outcomes.add(error.feature)
    assert "parsed" in outcomes
    assert len(outcomes) > 2


def test_a_strip_of_more_bytes_than_64_bits_count() -> None:
    side = 2**32 - 1
    image = [Entry(256, 4, [side]), Entry(257, 4, [side]), Entry(258, 3, [64]), Entry(273, 4, [8]), Entry(279, 4, [9])]
    with pytest.raises(FormatError, match="bad-geometry"):
        open_array(bytes(build([Dir(image)]).data))


def test_limits_hold(tmp_path: Path) -> None:
    path = slide(tmp_path / "a.ndpi")
    source = Source(LocalStore(path.parent), path.name, path.as_uri(), limits=Limits(max_ifds=3))
    with pytest.raises(VirtualTiffError, match="limit-ifds"):
        read_tiff(source)
