"""Old-style JPEG through the parser: what the tags keep apart is put together, or refused by name."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.codec_cases import HEADER_BYTES, LONG, SHORT, read_gdal, wrapped
from tests.opening import open_array, virtual
from tests.test_codec_ojpeg import SUBSAMPLINGS, Stream, config, encode
from tests.tiffbytes import Dir, Entry, Order, build
from virtual_tiff.codecs.ojpeg import read_head
from virtual_tiff.errors import UnsupportedError

ROWS = 48


def table_tags(stream: Stream) -> tuple[list[bytes], dict[int, Any]]:
    """The tables of a stream as blobs behind the header, and the tags that point at them."""
    blobs = [*stream.quantization, *stream.dc, *stream.ac]
    places = np.cumsum([HEADER_BYTES, *map(len, blobs)]).tolist()
    return blobs, {512: (SHORT, [1]), 519: (LONG, places[0:3]), 520: (LONG, places[3:6]), 521: (LONG, places[6:9])}


def old_tiff(
    segments: Sequence[bytes],
    blobs: Sequence[bytes],
    tags: Mapping[int, Any],
    *,
    subsampling: str = "420",
    rows: int = ROWS,
    strip: int = ROWS,
) -> bytes:
    every = {530: (SHORT, SUBSAMPLINGS[subsampling]), **tags}
    return bytes(wrapped(segments, config(strip, None, None), rows=rows, blobs=blobs, tags=every))


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("heights", [(48,), (32, 32, 16)], ids=["one strip", "strips"])
def test_tables_that_tags_point_at(subsampling: str, heights: tuple[int, ...], tmp_path: Path) -> None:
    strips = [encode(height, subsampling, seed) for seed, height in enumerate(heights)]
    blobs, tags = table_tags(strips[0])
    segments = [strip.scan for strip in strips]
    tiff = old_tiff(segments, blobs, tags, subsampling=subsampling, rows=sum(heights), strip=heights[0])
    expected = read_gdal(tmp_path / "old.tif", tiff, raw=False)[..., :3]
    np.testing.assert_array_equal(np.moveaxis(np.asarray(open_array(tiff)[...]), 0, -1), expected)


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("together", [True, False], ids=["stream", "header"])
def test_interchange_streams(subsampling: str, together: bool, tmp_path: Path) -> None:
    stream = encode(ROWS, subsampling)
    scan = read_head(stream.whole).scan
    assert scan is not None
    length = len(stream.whole) if together else scan
    tags = {512: (SHORT, [1]), 513: (LONG, [HEADER_BYTES]), 514: (LONG, [length])}
    tiff = old_tiff([stream.whole[scan:]], [stream.whole[:scan]], tags, subsampling=subsampling)
    expected = read_gdal(tmp_path / "old.tif", tiff, raw=False)[..., :3]
    np.testing.assert_array_equal(np.moveaxis(np.asarray(open_array(tiff)[...]), 0, -1), expected)


def test_a_strip_that_is_a_whole_stream_needs_no_header() -> None:
    stream = encode(ROWS, "420")
    array = virtual(old_tiff([stream.whole], [], {}))
    assert "jpeg_tables" not in array.codecs[-1]["configuration"]


def test_a_header_apart_from_its_strip(tmp_path: Path) -> None:
    """JPEGInterchangeFormatLength ends with the header: what stands behind it is no part of the scan."""
    stream = encode(ROWS, "420")
    scan = read_head(stream.whole).scan
    assert scan is not None
    tags = {512: (SHORT, [1]), 513: (LONG, [HEADER_BYTES]), 514: (LONG, [scan])}
    tiff = old_tiff([stream.whole[scan:]], [stream.whole[:scan], b"something else"], tags)
    expected = read_gdal(tmp_path / "old.tif", tiff, raw=False)[..., :3]
    np.testing.assert_array_equal(np.moveaxis(np.asarray(open_array(tiff)[...]), 0, -1), expected)


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_a_header_of_the_scan_in_the_first_strip_only(subsampling: str, tmp_path: Path) -> None:
    """Wang's writers: the stream has the size of the image, each strip a scan of its own, one header for all."""
    heights = (16, 16, 16)
    strips = [encode(height, subsampling, seed) for seed, height in enumerate(heights)]
    scan = read_head(strips[0].whole).scan
    assert scan is not None
    start = strips[0].whole.rindex(b"\xff\xda", 0, scan)
    whole = encode(ROWS, subsampling).whole
    head = whole[: whole.rindex(b"\xff\xda", 0, scan)]
    tags = {512: (SHORT, [1]), 513: (LONG, [HEADER_BYTES]), 514: (LONG, [len(head)])}
    segments = [strips[0].whole[start:scan] + strips[0].scan, *(strip.scan for strip in strips[1:])]
    tiff = old_tiff(segments, [head], tags, subsampling=subsampling, strip=16)
    expected = read_gdal(tmp_path / "old.tif", tiff, raw=False)[..., :3]
    np.testing.assert_array_equal(np.moveaxis(np.asarray(open_array(tiff)[...]), 0, -1), expected)


FRACTIONS = {
    "black and white as LONG": (532, 4, [16, 235, 128, 240, 128, 240]),
    "coefficients as FLOAT": (529, 11, [0.25, 0.5, 0.25]),
    "too few coefficients": (529, 5, [1, 4, 1, 2]),
    "black and white of two samples": (532, 4, [16, 235, 16, 235]),
}


@pytest.mark.parametrize("case", FRACTIONS)
def test_numbers_that_are_no_fractions_and_those_that_are_too_few(case: str, tmp_path: Path) -> None:
    code, kind, values = FRACTIONS[case]
    stream = encode(ROWS, "420")
    blobs, tags = table_tags(stream)
    tiff = old_tiff([stream.scan], blobs, {**tags, code: (kind, values)})
    expected = read_gdal(tmp_path / "old.tif", tiff, raw=False)[..., :3]
    np.testing.assert_array_equal(np.moveaxis(np.asarray(open_array(tiff)[...]), 0, -1), expected)


@pytest.mark.parametrize("sized", [True, False], ids=["no offsets", "nothing but a place, as in EXIF"])
@pytest.mark.parametrize("order", ["little", "big"])
def test_a_thumbnail_that_only_its_interchange_format_finds(sized: bool, order: Order, tmp_path: Path) -> None:
    stream = encode(ROWS, "420")
    entries = [Entry(259, 3, [6]), Entry(513, 4, [HEADER_BYTES]), Entry(514, 4, [len(stream.whole)])]
    if sized:
        entries = [Entry(256, 3, [64]), Entry(257, 3, [ROWS]), *entries]
    path = tmp_path / "old.tif"
    path.write_bytes(build([Dir(entries)], ghost=stream.whole, order=order).data)
    with tifffile.TiffFile(path) as tif:
        expected = tif.pages[0].asarray()
    array = np.asarray(open_array(path.read_bytes())[...])
    np.testing.assert_array_equal(np.moveaxis(array, 0, -1), expected)


def test_a_stream_that_begins_in_the_first_strip_and_goes_on_in_the_others() -> None:
    stream = encode(ROWS, "420").whole
    cuts = [0, len(stream) // 3, len(stream) // 2, len(stream)]
    strips = [stream[start:end] for start, end in itertools.pairwise(cuts)]
    expected = np.asarray(open_array(old_tiff([stream], [], {}))[...])
    array = open_array(old_tiff(strips, [], {}, strip=16))
    assert array.chunks == (3, ROWS, 64)
    np.testing.assert_array_equal(np.asarray(array[...]), expected)


REFUSED = {
    "lossless process": ({512: (SHORT, [14])}, ()),
    "no Huffman tables": ({}, (520,)),
    "no tables at all": ({}, (519, 520, 521)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_assembled_is_refused(case: str) -> None:
    stream = encode(ROWS, "420")
    blobs, tags = table_tags(stream)
    more, less = REFUSED[case]
    kept = {code: value for code, value in {**tags, **more}.items() if code not in less}
    with pytest.raises(UnsupportedError) as caught:
        virtual(old_tiff([stream.scan], blobs, kept))
    assert caught.value.feature == "old-jpeg"


def test_strips_that_end_inside_a_row_of_blocks_are_refused() -> None:
    strips = [encode(24, "420", seed) for seed in range(2)]
    blobs, tags = table_tags(strips[0])
    with pytest.raises(UnsupportedError, match="blocks of 16"):
        virtual(old_tiff([strip.scan for strip in strips], blobs, tags, rows=48, strip=24))
