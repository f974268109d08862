"""Old-style JPEG: every way to keep tables and scans apart, against GDAL, exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from tests.codec_cases import HEADER_BYTES, LONG, SHORT, rationals, read_gdal, smooth, wrapped
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.ojpeg import (
    OLD_JPEG,
    block_rows,
    decode_ojpeg,
    header_from_stream,
    header_from_tables,
    read_head,
)
from virtual_tiff.errors import DecodeError, UnsupportedError

COLUMNS = 64
SUBSAMPLINGS = {"444": (1, 1), "422": (2, 1), "420": (2, 2)}
STUDIO_RANGE = (16.0, 235.0, 128.0, 240.0, 128.0, 240.0)


@dataclass(frozen=True)
class Stream:
    whole: bytes
    quantization: list[bytes]
    dc: list[bytes]
    ac: list[bytes]
    scan: bytes

    @property
    def tables(self) -> dict[str, Any]:
        return {"quantization": self.quantization, "dc": self.dc, "ac": self.ac}


def encode(rows: int, subsampling: str, seed: int = 0) -> Stream:
    image = smooth(rows, COLUMNS, 3, seed)
    whole = bytes(imagecodecs.jpeg8_encode(
        image, level=90, colorspace="rgb", outcolorspace="ycbcr", subsampling=subsampling
    ))  # fmt: skip
    kinds: dict[str, dict[int, bytes]] = {"q": {}, "d": {}, "a": {}}
    at = 2
    while whole[at + 1] != 0xDA:
        marker, end = whole[at + 1], at + 2 + int.from_bytes(whole[at + 2 : at + 4], "big")
        body = whole[at + 4 : end]
        while body and marker in (0xDB, 0xC4):
            size = 64 if marker == 0xDB else 16 + sum(body[1:17])
            kind = "q" if marker == 0xDB else "da"[body[0] >> 4]
            kinds[kind][body[0] & 15] = body[1 : 1 + size]
            body = body[1 + size :]
        at = end
    at += 2 + int.from_bytes(whole[at + 2 : at + 4], "big")
    quantization, dc, ac = ([tables[0], tables[1], tables[1]] for tables in kinds.values())
    return Stream(whole, quantization, dc, ac, whole[at:-2])


def config(rows: int, header: bytes | None, black_white: tuple[float, ...] | None, **more: Any) -> SegmentConfig:
    return SegmentConfig(
        compression=OLD_JPEG, columns=COLUMNS, rows=rows, samples=3, photometric=6, jpeg_tables=header,
        reference_black_white=black_white, **more,
    )  # fmt: skip


def gdal(
    path: Path, segments: Sequence[bytes], what: SegmentConfig, subsampling: str, rows: int, *,
    blobs: Sequence[bytes] = (), tags: Mapping[int, Any] | None = None,
) -> Any:  # fmt: skip
    every = {530: (SHORT, SUBSAMPLINGS[subsampling]), **(tags or {})}
    if what.reference_black_white:
        every[532] = rationals(what.reference_black_white)
    data = wrapped(segments, what, rows=rows, blobs=blobs, tags=every)
    return read_gdal(path, data, raw=False)[..., :3]


@pytest.mark.parametrize("black_white", [None, STUDIO_RANGE])
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("heights", [(48,), (32, 32, 16)], ids=["one strip", "strips"])
def test_tables_at_tags(
    subsampling: str, black_white: tuple[float, ...] | None, heights: tuple[int, ...], tmp_path: Path
) -> None:
    strips = [encode(height, subsampling, seed) for seed, height in enumerate(heights)]
    tables = strips[0].tables
    header = header_from_tables(columns=COLUMNS, rows=heights[0], subsampling=SUBSAMPLINGS[subsampling], **tables)
    short = heights[-1] if heights[-1] < heights[0] else None
    what = config(heights[0], header, black_white, last_rows=short)
    ours = np.concatenate([decode_ojpeg(strip.scan, what) for strip in strips])[: sum(heights)]
    blobs = [table for kind in tables.values() for table in kind]
    places = np.cumsum([HEADER_BYTES, *map(len, blobs)]).tolist()
    tags = {512: (SHORT, [1]), 519: (LONG, places[0:3]), 520: (LONG, places[3:6]), 521: (LONG, places[6:9])}
    segments = [strip.scan for strip in strips]
    expected = gdal(tmp_path / "old.tif", segments, what, subsampling, sum(heights), blobs=blobs, tags=tags)
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("together", [True, False])
def test_header_in_the_interchange_stream(subsampling: str, together: bool, tmp_path: Path) -> None:
    stream = encode(48, subsampling)
    scan = read_head(stream.whole).scan
    assert scan is not None
    header = header_from_stream(stream.whole, columns=COLUMNS, rows=48)
    what = config(48, header, None)
    ours = decode_ojpeg(stream.whole[scan:], what)
    length = len(stream.whole) if together else scan
    tags = {512: (SHORT, [1]), 513: (LONG, [HEADER_BYTES]), 514: (LONG, [length])}
    blobs, segments = [stream.whole[:scan]], [stream.whole[scan:]]
    expected = gdal(tmp_path / "old.tif", segments, what, subsampling, 48, blobs=blobs, tags=tags)
    np.testing.assert_array_equal(ours, expected)


def test_a_segment_that_is_a_stream_decodes_like_any_jpeg() -> None:
    stream = encode(48, "420")
    ours = decode_ojpeg(stream.whole, config(48, None, None))
    np.testing.assert_array_equal(ours, imagecodecs.jpeg8_decode(stream.whole))


def test_grey_tables() -> None:
    image = smooth(32, COLUMNS, 1)
    whole = bytes(imagecodecs.jpeg8_encode(image, level=90))
    header = header_from_stream(whole, columns=COLUMNS, rows=32)
    what = SegmentConfig(compression=OLD_JPEG, columns=COLUMNS, rows=32, photometric=1, jpeg_tables=header)
    scan = whole[len(header) :]
    np.testing.assert_array_equal(decode_ojpeg(scan, what)[..., 0], imagecodecs.jpeg8_decode(whole))
    assert block_rows(header) == 8


@pytest.mark.parametrize(("subsampling", "rows"), [("444", 8), ("422", 8), ("420", 16)])
def test_rows_of_blocks(subsampling: str, rows: int) -> None:
    stream = encode(32, subsampling)
    header = header_from_tables(columns=COLUMNS, rows=32, subsampling=SUBSAMPLINGS[subsampling], **stream.tables)
    assert block_rows(header) == rows
    assert block_rows(stream.whole) == rows


def test_refusals() -> None:
    stream = encode(32, "444")
    with pytest.raises(UnsupportedError, match="0, 3 and 3 tables"):
        header_from_tables(columns=8, rows=8, subsampling=(1, 1), **{**stream.tables, "quantization": []})
    with pytest.raises(UnsupportedError, match="64 are needed"):
        header_from_tables(columns=8, rows=8, subsampling=(1, 1), **{**stream.tables, "quantization": [b"x"]})
    with pytest.raises(UnsupportedError, match="not at a JPEG stream"):
        header_from_stream(b"abc", columns=8, rows=8)
    for segment, feature in ((b"", "short-segment"), (b"abc", "corrupt-segment")):
        with pytest.raises(DecodeError) as refusal:
            decode_ojpeg(segment, config(32, None, None))
        assert refusal.value.feature == feature
    with pytest.raises(DecodeError, match="3 components in a segment of 1"):
        decode_ojpeg(stream.whole, SegmentConfig(compression=OLD_JPEG, columns=COLUMNS, rows=32))
