from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import obspec_utils.wrappers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import HTTPStore, LocalStore, MemoryStore

from tests.servers import Bucket, FaultServer, Web
from tests.stores import CountingStore
from tests.tiffbytes import Entry, build, image
from virtual_tiff.errors import FormatError, LimitError, SourceError, UsageError, VirtualTiffError
from virtual_tiff.tiff.ifd import TiffFile
from virtual_tiff.tiff.protocol import Limits, Ranges, Reader
from virtual_tiff.tiff.source import (
    Source,
    load_file_tags,
    load_file_tags_async,
    load_tags,
    load_tags_async,
    read_tiff,
    read_tiff_async,
)
from virtual_tiff.tiff.tags import Tags

URL = "memory:///a.tif"


def memory(data: bytes | bytearray) -> CountingStore:
    store = MemoryStore()
    store.put("a.tif", bytes(data))
    return CountingStore(store)


def source(store: Any, **options: Any) -> Source:
    return Source(store, "a.tif", URL, **options)


def read(store: Any, *, asynchronous: bool, last: int | None = None, **options: Any) -> tuple[Source, TiffFile]:
    opened = source(store, **options)
    if asynchronous:
        return opened, asyncio.run(read_tiff_async(opened, last=last))
    return opened, read_tiff(opened, last=last)


both = pytest.mark.parametrize("asynchronous", [False, True])


class RangesOnly:
    """A store that can only answer ranges."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.gets = 0

    def get_range(self, path: str, *, start: int, end: int) -> bytes:  # noqa: ARG002
        self.gets += 1
        if start >= len(self.data):
            msg = f"Wanted range starting at {start}, but object was only {len(self.data)} bytes long"
            raise ValueError(msg)
        return self.data[start:end]

    async def get_range_async(self, path: str, *, start: int, end: int) -> bytes:
        return self.get_range(path, start=start, end=end)


class WholeOnly(RangesOnly):
    """A store that ignores ranges."""

    def get_range(self, path: str, *, start: int, end: int) -> bytes:  # noqa: ARG002
        return self.data


class NoOptions(RangesOnly):
    """A store whose ``get`` takes no options."""

    def get(self, path: str) -> bytes:  # noqa: ARG002
        raise AssertionError

    get_async = get


class Sparse:
    """A file that is mostly zeros, of which only the written parts are kept in memory."""

    def __init__(self, size: int, parts: dict[int, bytes]) -> None:
        self.size = size
        self.parts = parts
        self.gets: list[tuple[int, int]] = []

    def get_range(self, path: str, *, start: int, end: int) -> bytes:  # noqa: ARG002
        self.gets.append((start, end))
        out = bytearray(min(end, self.size) - start)
        for place, part in self.parts.items():
            low, high = max(start, place), min(end, place + len(part))
            if low < high:
                out[low - start : high - start] = part[low - place : high - place]
        return bytes(out)

    async def get_range_async(self, path: str, *, start: int, end: int) -> bytes:
        return self.get_range(path, start=start, end=end)

    def head(self, path: str) -> dict[str, Any]:
        return {
            "path": path,
            "size": self.size,
            "e_tag": '"s"',
            "last_modified": datetime(2026, 1, 1, tzinfo=UTC),
        }

    async def head_async(self, path: str) -> dict[str, Any]:
        return self.head(path)


# ---- requests


@both
def test_a_cog_takes_one_request(asynchronous: bool, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    profile = {
        "driver": "COG",
        "width": 2048,
        "height": 2048,
        "count": 1,
        "dtype": "uint16",
        "crs": "EPSG:32632",
    }
    transform = rasterio.transform.from_origin(5e5, 5e6, 10, 10)
    with rasterio.open(tmp_path / "a.tif", "w", **profile, transform=transform, BLOCKSIZE=256) as file:
        file.write(np.random.default_rng(0).integers(0, 9999, (1, 2048, 2048), "u2"))
    store = CountingStore(LocalStore(tmp_path))
    opened, tiff = read(store, asynchronous=asynchronous)
    assert [(call.start, call.end) for call in store.gets] == [(0, 32768)]
    assert len(tiff.ifds) == 4
    assert not any(tag.deferred for ifd in tiff.walk() for tag in ifd.tags.values())
    stat = (tmp_path / "a.tif").stat()
    meta = LocalStore(tmp_path).head("a.tif")
    assert (tiff.size, tiff.etag, tiff.last_modified) == (stat.st_size, meta["e_tag"], meta["last_modified"])
    assert tiff.cog_ghost is not None
    assert "LAYOUT=IFDS_BEFORE_DATA" in tiff.cog_ghost
    assert opened.requests == 1


@both
def test_a_million_tiles_take_two_requests(asynchronous: bool) -> None:
    tiles = 1_000_000
    offsets = np.arange(tiles, dtype="<u8") * 20_000 + 20_000_000
    counts = np.full(tiles, 19_999, "<u4")
    header = build(
        [
            image(
                256_000,
                256_000,
                Entry(322, 3, [256]),
                Entry(323, 3, [256]),
                Entry(324, 16, [], count=tiles, offset=100_000),
                Entry(325, 4, [], count=tiles, offset=100_000 + 8 * tiles),
            )
        ],
        bigtiff=True,
    )
    store = Sparse(10**11, {0: bytes(header.data), 100_000: offsets.tobytes() + counts.tobytes()})
    opened, tiff = read(store, asynchronous=asynchronous)
    assert len(store.gets) == 1
    assert tiff.size == 10**11
    tiff = asyncio.run(load_file_tags_async(opened, tiff)) if asynchronous else load_file_tags(opened, tiff)
    np.testing.assert_array_equal(tiff.ifds[0].integers(Tags.TileOffsets), offsets)
    np.testing.assert_array_equal(tiff.ifds[0].integers(Tags.TileByteCounts), counts)
    assert store.gets[1:] == [(100_000, 100_000 + 12 * tiles)]


@both
def test_one_page_of_many_takes_one_request(asynchronous: bool) -> None:
    store = memory(build([image(gap=50_000) for _ in range(300)]).data)
    _, tiff = read(store, asynchronous=asynchronous, last=0, prefetch=65536)
    assert (len(tiff.ifds), tiff.complete, len(store.gets)) == (1, False, 1)


@both
def test_pages_in_equal_strides_take_few_rounds(asynchronous: bool) -> None:
    built = build([image(gap=50_000) for _ in range(500)])
    store = memory(built.data)
    opened, tiff = read(store, asynchronous=asynchronous)
    assert [ifd.offset for ifd in tiff.ifds] == list(built.offsets.values())
    assert len(store.gets) < 560
    assert opened.fetched < 2_000_000


def test_pages_that_lie_together_take_few_requests() -> None:
    rng = random.Random(1)
    pages = [image(4, 4, Entry(65000, 7, bytes(rng.randrange(4, 900)))) for _ in range(2000)]
    store = memory(build(pages).data)
    _, tiff = read(store, asynchronous=False)
    assert len(tiff.ifds) == 2000
    assert len(store.gets) < 15


def test_an_ifd_at_the_end_takes_two_requests() -> None:
    store = memory(build([image(4, 4, Entry(65000, 12, [1.5] * 200), gap=10_000_000)]).data)
    opened, tiff = read(store, asynchronous=False)
    assert tiff.ifds[0].tags[65000].array().tolist() == [1.5] * 200
    assert (len(store.gets), opened.fetched < 50_000) == (2, True)


def test_deferred_tags_load_with_another_source() -> None:
    store = memory(build([image(4, 4, Entry(324, 4, list(range(50_000))), gap=40_000)]).data)
    _, tiff = read(store, asynchronous=False)
    store.forget()
    tiff = pickle.loads(pickle.dumps(tiff))  # noqa: S301
    ifd = load_tags(source(store.store), tiff.ifds[0], [324])
    assert ifd.integers(324).sum() == sum(range(50_000))  # type: ignore[union-attr]
    assert asyncio.run(load_tags_async(source(store), tiff.ifds[0])).tags[324] == ifd.tags[324]
    assert len(store.gets) == 1


@both
def test_limits_of_requests_and_bytes(asynchronous: bool) -> None:
    rng = random.Random(1)
    data = build([image(gap=40_000 + 2 * rng.randrange(30_000)) for _ in range(30)]).data
    for limits, feature in (
        (Limits(max_requests=5), "limit-requests"),
        (Limits(max_metadata_bytes=80_000), "limit-metadata-bytes"),
    ):
        store = memory(data)
        with pytest.raises(LimitError) as caught:
            read(store, asynchronous=asynchronous, limits=limits)
        assert (caught.value.feature, caught.value.url) == (feature, URL)
        assert len(store.gets) <= 5


# ---- any store


@both
@pytest.mark.parametrize("kind", [RangesOnly, NoOptions])
def test_a_store_without_get(kind: type[RangesOnly], asynchronous: bool) -> None:
    built = build([image(gap=50_000), image(gap=50_000, next_offset=10**8)])
    store = kind(bytes(built.data))
    _, tiff = read(store, asynchronous=asynchronous)
    assert [ifd.offset for ifd in tiff.ifds] == list(built.offsets.values())
    assert [problem.feature for problem in tiff.problems] == ["truncated"]
    assert tiff.size in (None, len(built.data))
    _, tiff = read(kind(bytes(build([image()]).data)), asynchronous=asynchronous)
    assert tiff.size == len(build([image()]).data)


@both
def test_a_store_that_ignores_ranges_is_refused(asynchronous: bool) -> None:
    with pytest.raises(SourceError) as caught:
        read(WholeOnly(bytes(100_000)), asynchronous=asynchronous)
    assert caught.value.feature == "no-range"


@both
def test_a_store_without_methods_is_refused(asynchronous: bool) -> None:
    with pytest.raises(UsageError, match="has no method get_range"):
        read(object(), asynchronous=asynchronous)


@both
@pytest.mark.parametrize("wrap", ["CachingReadableStore", "TracingReadableStore", "SplittingReadableStore"])
def test_wrappers_of_obspec_utils(wrap: str, asynchronous: bool) -> None:
    built = build([image(gap=50_000), image(gap=50_000)])
    store = memory(built.data).store
    wrapper: Any = getattr(obspec_utils.wrappers, wrap)
    extra = (obspec_utils.wrappers.RequestTrace(),) if wrap.startswith("Tracing") else ()
    _, tiff = read(wrapper(store, *extra), asynchronous=asynchronous)
    assert [ifd.offset for ifd in tiff.ifds] == list(built.offsets.values())


@both
@pytest.mark.parametrize("size", [0, 3, 7])
def test_tiny_files(size: int, asynchronous: bool, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0\x08\0\0\0"[:size])
    for store in (LocalStore(tmp_path), memory((tmp_path / "a.tif").read_bytes())):
        with pytest.raises(FormatError) as caught:
            read(store, asynchronous=asynchronous)
        assert caught.value.feature in ("not-a-tiff", "truncated")
        assert "the file is empty" in str(caught.value) or size


async def test_sync_calls_inside_a_running_loop(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(build([image(gap=50_000) for _ in range(20)]).data)
    opened = source(LocalStore(tmp_path))
    tiff = read_tiff(opened)
    assert len(tiff.ifds) == 20
    assert await read_tiff_async(source(LocalStore(tmp_path))) == tiff


# ---- servers


@both
def test_http_and_s3_servers(web: Web, bucket: Bucket, asynchronous: bool) -> None:
    built = build([image(gap=50_000), image(gap=50_000)])
    (web.root / "a.tif").write_bytes(built.data)
    (web.root / "empty.tif").write_bytes(b"")
    s3 = bucket.store()
    s3.put("a.tif", bytes(built.data))
    s3.put("empty.tif", b"")
    for store in (web.store(), s3):
        _, tiff = read(store, asynchronous=asynchronous)
        assert [ifd.offset for ifd in tiff.ifds] == list(built.offsets.values())
        assert tiff.size == len(built.data)
        assert tiff.etag
        assert tiff.last_modified is not None
        assert abs(tiff.last_modified - datetime.now(UTC)) < timedelta(days=1)
        empty = Source(store, "empty.tif", "x")
        with pytest.raises(VirtualTiffError) as caught:
            asyncio.run(read_tiff_async(empty)) if asynchronous else read_tiff(empty)
        assert caught.value.feature in ("not-a-tiff", "no-range")  # a server may ignore the range of nothing


@both
@pytest.mark.parametrize(
    ("mode", "feature"),
    [
        ("forbidden", "forbidden"),
        ("missing", "not-found"),
        ("no-range", "no-range"),
        ("unavailable", "unreachable"),
    ],
)
def test_server_faults(faults: FaultServer, mode: Any, feature: str, asynchronous: bool) -> None:
    (faults.root / "a.tif").write_bytes(build([image(gap=100_000)]).data)
    faults.faults.mode = mode
    store = faults.store(retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=2)})
    with pytest.raises(SourceError) as caught:
        read(store, asynchronous=asynchronous)
    assert (caught.value.feature, caught.value.url) == (feature, URL)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    assert "Debug" not in str(caught.value)


def test_other_faults(tmp_path: Path) -> None:
    retry: Any = {"max_retries": 0, "retry_timeout": timedelta(seconds=2)}
    closed = HTTPStore.from_url("http://127.0.0.1:9/", client_options={"allow_http": True}, retry_config=retry)
    (tmp_path / "folder").mkdir()
    for store, path, feature in (
        (closed, "a.tif", "unreachable"),
        (LocalStore(tmp_path), "none.tif", "not-found"),
        (LocalStore(tmp_path), "folder", "not-found"),
        (LocalStore(tmp_path), "a/../b.tif", "not-found"),
    ):
        with pytest.raises(SourceError) as caught:
            read_tiff(Source(store, path, "x"))
        assert caught.value.feature == feature
        assert "\n" not in str(caught.value)


@both
def test_a_file_that_changes_while_it_is_read(asynchronous: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(build([image(gap=100_000)]).data)
    for change in ("longer", "shorter", "other"):
        opened = source(LocalStore(tmp_path))
        path.write_bytes(build([image(gap=100_000)]).data)
        opened.open()
        if change == "longer":
            path.write_bytes(build([image(gap=100_002)]).data)
        elif change == "shorter":
            path.write_bytes(build([image(gap=50_000)]).data)
        else:
            os.utime(path, ns=(0, 10**18))
        with pytest.raises(SourceError) as caught:
            asyncio.run(read_tiff_async(opened)) if asynchronous else read_tiff(opened)
        assert caught.value.feature == "source-changed"


# ---- any reader


@settings(deadline=None, max_examples=200)
@given(
    st.integers(1, 300_000),
    st.lists(
        st.lists(st.tuples(st.integers(0, 320_000), st.integers(0, 60_000)), min_size=1, max_size=6),
        max_size=8,
    ),
    st.booleans(),
)
def test_any_batches_get_their_bytes(size: int, batches: list[list[tuple[int, int]]], known: bool) -> None:
    data = np.random.default_rng(size).bytes(size)
    wanted = [[(start, start + length) for start, length in batch] for batch in batches]

    def reader() -> Reader[list[list[bytes]]]:
        answers: list[list[bytes]] = []
        for batch in wanted:
            ranges: Ranges = batch
            answers.append(list((yield ranges)))
        return answers

    opened = source(memory(data) if known else RangesOnly(data))
    opened.open()
    got = opened.run(reader())
    assert got == [[data[start:end] for start, end in batch] for batch in wanted]
    assert opened.requests <= 1 + sum(map(len, wanted))


# ---- processes


def child_reads(tiff: TiffFile, opened: Source) -> tuple[int, int]:
    ifd = load_tags(opened, tiff.ifds[0])
    return len(list(tiff.walk())), int(ifd.integers(324).sum())  # type: ignore[union-attr]


def test_headers_and_sources_travel_to_other_processes(tmp_path: Path) -> None:
    data = build([image(4, 4, Entry(324, 4, list(range(20_000))), gap=40_000, subifds=[[image()]])]).data
    (tmp_path / "a.tif").write_bytes(data)
    opened = source(LocalStore(tmp_path))
    tiff = read_tiff(opened)
    assert tiff.ifds[0].tags[324].deferred
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(child_reads, (tiff, opened)) == (2, sum(range(20_000)))
