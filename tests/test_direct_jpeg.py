"""JPEG that one compiled call decodes: the same bytes and the same errors as by imagecodecs."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile

from tests.codec_cases import smooth
from tests.segment_cases import outcome, outcome_by_libraries
from tests.test_codec_jpeg import ADOBE, COLUMNS, JFIF, ROWS, config, encode, split_tables
from virtual_tiff.codecs import compiled, direct
from virtual_tiff.codecs.compiled import Recipe
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.segment import decode_segment

pytestmark = pytest.mark.skipif(compiled.KERNELS is None, reason="there was no C compiler when this was installed")

type Octets = npt.NDArray[np.uint8]

TEM = b"\xff\x01"
COMMENT = b"\xff\xfe\x00\x04hi"
LINES = b"\xff\xdc\x00\x04\x00\x30"
MARKERS = (b"", JFIF, ADOBE + b"\x00", ADOBE + b"\x01", COMMENT, TEM, LINES, b"\xff\xd0", b"\xff", b"garbage")


@cache
def stream_of(seed: int, samples: int, subsampling: str, rows: int) -> bytes:
    """A stream as encoders write them."""
    image = np.roll(smooth(rows, COLUMNS, samples), seed, axis=1)
    image = image if samples > 1 else image[..., 0]
    return encode(image, {1: "grayscale", 3: "ycbcr", 4: "cmyk"}[samples], subsampling=subsampling)


@cache
def progressive() -> bytes:
    """A progressive stream, which imagecodecs does not write."""
    with MemoryFile() as file:
        options = {"driver": "JPEG", "width": COLUMNS, "height": ROWS, "count": 3, "dtype": "uint8"}
        with file.open(**options, progressive=True) as dataset:
            dataset.write(np.moveaxis(smooth(ROWS, COLUMNS, 3), -1, 0))
        return bytes(file.read())


def is_direct(stream: bytes, what: SegmentConfig) -> bool:
    """Whether the compiled call decodes the segment, to what imagecodecs makes of it."""
    decoded = direct.decode(np.frombuffer(stream, np.uint8), direct.recipe(what))
    expected = outcome_by_libraries(stream, what)
    assert outcome(stream, what) == expected
    assert decoded is None or decoded.tobytes() == expected
    return decoded is not None


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("photometric", [None, 1, 2, 6])
@pytest.mark.parametrize("subsampling", ["444", "422", "420"])
def test_whole_segments_are_decoded_directly(samples: int, photometric: int | None, subsampling: str) -> None:
    """But colours that the stream decides about."""
    stream = stream_of(0, samples, subsampling, ROWS)
    decided = samples == 3 and photometric != 6 and subsampling != "444"
    assert is_direct(stream, config(samples=samples, photometric=photometric)) != decided


@pytest.mark.parametrize("rows", [ROWS, 16, 5])
def test_samples_in_planes(rows: int) -> None:
    """The same samples, also where rows are left over from those that are taken apart at once."""
    stream, fields = stream_of(0, 3, "420", rows), {"photometric": 6, "rows": rows}
    interleaved, planes = config(**fields), config(**fields, chunk="planes")
    assert is_direct(stream, planes)
    pixels = decode_segment(stream, interleaved).reshape(rows, COLUMNS, 3)
    found = decode_segment(stream, planes).reshape(3, rows, COLUMNS)
    np.testing.assert_array_equal(found, np.moveaxis(pixels, -1, 0))


def test_tables_of_the_ifd_and_progressive_streams() -> None:
    tables, rest = split_tables(stream_of(0, 3, "420", ROWS))
    assert is_direct(rest, config(photometric=6, jpeg_tables=tables))
    assert is_direct(progressive(), config(photometric=6))


@pytest.mark.parametrize(
    "unusual",
    [
        {"samples": 2},
        {"samples": 4},
        {"bits_per_sample": 12},
        {"bits_per_sample": [8, 8, 7]},
        {"sample_format": 2},
        {"samples": 1, "subsampling": [2, 2]},
        {"jpeg_tables": "/9j/"},
        {"compression": 33007},
        {"compression": 34892},
        {"photometric": 6, "color": "rgb"},
        {"rows": 1 << 30, "columns": 1 << 30},
    ],
)
def test_other_segments_are_left_to_others(unusual: dict[str, Any]) -> None:
    plain = {"compression": 7, "columns": 8, "rows": 8, "samples": 3}
    assert direct.recipe(SegmentConfig.from_json(plain)) is not None
    assert direct.recipe(SegmentConfig.from_json({**plain, **unusual})) is None


CASES = st.fixed_dictionaries(
    {
        "stream": st.tuples(
            st.integers(0, 3),
            st.sampled_from([1, 3, 3, 4]),
            st.sampled_from(["444", "422", "420"]),
            st.sampled_from([ROWS, ROWS, ROWS, 16, 2 * ROWS]),
        ),
        "marker": st.sampled_from(MARKERS),
        "tables": st.sampled_from(["in the stream", "apart", "of another", "missing", "both"]),
        "changes": st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=3),
        "part": st.sampled_from([1.0, 1.0, 1.0, 0.99, 0.5, 0.1]),
    }
)
FIELDS = st.fixed_dictionaries(
    {
        "samples": st.sampled_from([1, 3]),
        "photometric": st.sampled_from([None, 1, 2, 6]),
        "columns": st.sampled_from([COLUMNS, COLUMNS, COLUMNS, 80, 48]),
        "last_rows": st.sampled_from([None, 16]),
        "chunk": st.sampled_from([None, "planes", "pixels"]),
    }
)


@settings(max_examples=400, deadline=None)
@given(case=CASES, fields=FIELDS)
def test_the_same_as_by_libraries(case: dict[str, Any], fields: dict[str, Any]) -> None:
    """Whole streams, unusual ones and damaged ones, one after the other: no table of one serves another."""
    stream = stream_of(*case["stream"])
    tables, rest = split_tables(stream)
    if case["tables"] == "of another":
        tables, _ = split_tables(stream_of(0, 3, "444", ROWS))
    if case["tables"] not in {"in the stream", "both"}:
        stream = rest
    if case["tables"] not in {"in the stream", "missing"}:
        fields = {**fields, "jpeg_tables": tables}
    damaged = bytearray(stream[:2] + case["marker"] + stream[2:])
    for place, value in case["changes"]:
        damaged[int(place * (len(damaged) - 1))] = value
    is_direct(bytes(damaged[: max(1, int(case["part"] * len(damaged)))]), config(**fields))


def test_threads_at_the_same_time() -> None:
    """Each with errors of its own in between."""
    cases = [(stream_of(seed, 3, "420", ROWS), config(photometric=6)) for seed in range(4)]
    expected = [outcome_by_libraries(*case) for case in cases]
    ready = threading.Barrier(4)

    def decode(number: int) -> list[object]:
        ready.wait()
        stream, what = cases[number]
        return [outcome(stream[: 20 if turn % 2 else None], what) for turn in range(60)]

    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(decode, range(4))):
            assert set(map(type, found[1::2])) == {tuple}
            assert found[::2] == [expected[number]] * 30


def test_a_libjpeg_of_another_interface_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions that make no decompressor of the size and number that the kernels know."""
    names = direct._LIBRARIES["imagecodecs._jpeg8"]
    other = (names[0], "jpeg_CreateCompress", *names[2:])
    direct._decompressed_by.cache_clear()
    try:
        monkeypatch.setitem(direct._LIBRARIES, "imagecodecs._jpeg8", other)
        stream, what = stream_of(0, 3, "420", ROWS), config(photometric=6)
        assert direct.decode(np.frombuffer(stream, np.uint8), direct.recipe(what)) is None
        assert decode_segment(stream, what).size == ROWS * COLUMNS * 3
    finally:
        monkeypatch.undo()
        direct._decompressed_by.cache_clear()


NO_PICTURE = b"\xff\xd8\xff\xd9"
FRAME = b"".join((bytes.fromhex("ffc0001108"), bytes((0, ROWS, 0, COLUMNS)), b"\3\1\x11\0\2\x11\0\3\x11\0"))


@pytest.mark.parametrize("fill", [1, 2, 3])
@pytest.mark.parametrize("photometric", [2, 6])
@pytest.mark.parametrize("first", [JFIF, COMMENT])
def test_bytes_that_fill_up_before_a_marker(first: bytes, photometric: int, fill: int) -> None:
    """They have no length: the frame header is not as far behind as the next two bytes would say."""
    stream = stream_of(0, 3, "420", ROWS)
    filled = stream[:2] + b"\xff" * fill + first + JFIF + stream[2:]
    for pretended in {int.from_bytes(filled[at : at + 2], "big") + at for at in (4, 5, 6)}:
        is_direct(filled.ljust(pretended, b"\0") + FRAME, config(photometric=photometric))


@pytest.mark.parametrize("side", [1 << 19, 1 << 20])
def test_segments_that_no_memory_holds(side: int) -> None:
    """What is said is about the stream."""
    what = config(columns=side, rows=side, samples=1)
    for stream in (NO_PICTURE, b"no stream", stream_of(0, 3, "444", ROWS)):
        assert outcome(stream, what) == outcome_by_libraries(stream, what)


@pytest.mark.parametrize(
    ("end", "is_whole"),
    [(b"", False), (b"\0", False), (b"x" * 9, True), (b"\0\xff\xd9", True), (b"\xff\xd9 and more", True)],
)
def test_what_stands_behind_the_last_row_does_not_matter(end: bytes, is_whole: bool) -> None:
    """But libjpeg looks a few bytes ahead for its last bits, and warns when there are none."""
    stream = stream_of(0, 3, "420", ROWS)
    assert is_direct(stream.removesuffix(b"\xff\xd9") + end, config(photometric=6)) == is_whole


def written(stream: bytes, how: Recipe, fill: int) -> bytes | None:
    """What is in memory of some content after decoding, between bytes that nobody may touch."""
    assert compiled.KERNELS is not None
    memory = np.full(how.rows * how.row_bytes + 128, fill, np.uint8)
    is_decoded = compiled.KERNELS.segment(how, np.frombuffer(stream, np.uint8), memory[64:-64])
    assert {*memory[:64].tolist(), *memory[-64:].tolist()} == {fill}
    return memory[64:-64].tobytes() if is_decoded else None


def test_every_byte_is_written_whatever_scans_there_are() -> None:
    """A stream may end after any scan, and lack others, without a warning."""
    whole, what = progressive(), config(photometric=6)
    assert is_direct(whole, what)
    how, end = direct.recipe(what), len(whole) - 2
    assert how is not None
    scans = [at for at in range(end) if whole[at : at + 2] == b"\xff\xda"]
    parts = [whole[:at] for at in scans[1:]] + [whole[:a] + whole[b:end] for a, b in pairwise(scans)]
    found = [written(part + b"\xff\xd9", how, 0xA5) for part in parts]
    assert found == [written(part + b"\xff\xd9", how, 0x5A) for part in parts]
    assert sum(one is not None for one in found) >= len(scans) - 1
    for part in parts:
        is_direct(part + b"\xff\xd9", what)
