"""Headers per second: many small COGs, and one file of many tiles, on the local disk and over HTTP with latency.

*Headers* means: all tags of all IFDs are parsed, and the offsets and byte counts of all tiles are numpy arrays. The
contenders must agree on these. *Manifests* means: the first image as a VirtualiZarr ManifestStore.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from obspec_utils.readers import BlockStoreReader
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import HTTPStore, LocalStore
from virtualizarr.manifests import ManifestGroup, ManifestStore

from benchmarks.measure.files import make_cogs, make_tiled
from benchmarks.measure.machine import peer
from benchmarks.measure.rounds import MILLI, Comparison, Contender, take_turns
from benchmarks.measure.server import late_server
from virtual_tiff import VirtualTIFF
from virtual_tiff.array import virtual_array
from virtual_tiff.manifest import manifest_array
from virtual_tiff.tiff.ifd import TiffFile
from virtual_tiff.tiff.source import Source, load_file_tags, load_file_tags_async, read_tiff, read_tiff_async
from virtual_tiff.tiff.tags import Tags

CONCURRENCY: Final = 64
LATENCY: Final = 0.02
"""Seconds that the server waits before each answer."""

_ARRAYS: Final = (Tags.TileOffsets, Tags.TileByteCounts)

type Arrays = list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]
"""Offsets and byte counts of each IFD of one file."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is read: `cogs` small files, one file of `side` x `side` tiles; so many rounds of each."""

    cogs: int
    side: int
    rounds: int


SIZES: Final = {"small": Size(60, 100, 3), "full": Size(1000, 1000, 5)}


@dataclass(frozen=True, slots=True)
class Site:
    """A place with files: its URL, which ends with a slash, the store that reads it, and async-tiff's own store."""

    name: str
    url: str
    store: Any
    native: Any

    @property
    def folder(self) -> Path | None:
        """The folder, unless the site is a server."""
        return Path(self.url.removeprefix("file://")) if self.url.startswith("file://") else None


@contextmanager
def sites(root: Path) -> Iterator[tuple[Site, Site]]:
    """The folder itself, and a server of it with latency."""
    stores = peer("async_tiff.store")
    native = stores and stores.LocalStore(str(root))
    local = Site("local disk", f"file://{root}/", LocalStore(root), native)
    options: dict[str, Any] = {"client_options": {"allow_http": True}}
    with late_server(root, LATENCY) as url:
        native = stores and stores.HTTPStore.from_url(url, **options)
        name = f"HTTP, {LATENCY * 1e3:.0f} ms latency, {CONCURRENCY} at a time"
        yield local, Site(name, url, HTTPStore.from_url(url, **options), native)


def run(size: Size) -> Iterator[Comparison]:
    """Measure, and yield the tables one after the other."""
    with tempfile.TemporaryDirectory() as folder, sites(Path(folder)) as places:
        cogs = make_cogs(Path(folder), size.cogs)
        make_tiled(Path(folder) / "tiled.tif", size.side, size.side)
        for site in places:
            yield _compare(f"Headers of {len(cogs):,} small COGs, {site.name}", header_readers(site, cogs), size)
        for site in places:
            title = f"Header of one file of {size.side**2:,} tiles, {site.name}"
            yield _compare(title, header_readers(site, ["tiled.tif"]), size)
        for site in places:
            readers = manifest_makers(site, cogs)
            yield _compare(f"Manifests of {len(cogs):,} small COGs, {site.name}", readers, size)
        for site in places:
            title = f"Manifest of one file of {size.side**2:,} tiles, {site.name}"
            yield _compare(title, manifest_makers(site, ["tiled.tif"]), size)


def _compare(title: str, contenders: Sequence[Contender], size: Size) -> Comparison:
    return Comparison(title, "file", MILLI, take_turns(contenders, size.rounds, _digest))


def _digest(result: Any) -> object:
    """What all contenders must agree on: the segments of each file and the sums of their positions."""
    return [sorted(tuple(int(part.sum()) for part in pair) for pair in arrays) for arrays in result]


# Headers


def header_readers(site: Site, names: Sequence[str]) -> list[Contender]:
    """Ours and the peers that are installed."""
    count = len(names)
    waits = "one by one" if site.folder else f"{CONCURRENCY} threads"
    contenders = [
        Contender("virtual_tiff.tiff, async", lambda: asyncio.run(_each(_ours, site, names)), count),
        Contender(f"virtual_tiff.tiff, {waits}", lambda: _in_threads(_ours_waiting, site, names), count),
    ]
    if site.native is not None:
        contenders += [
            Contender("async-tiff, its own store", lambda: asyncio.run(_each(_async_tiff, site, names)), count),
            Contender("async-tiff, obstore", lambda: asyncio.run(_each(_async_tiff_obstore, site, names)), count),
        ]
    return [*contenders, Contender(f"tifffile, {waits}", lambda: _in_threads(_tifffile, site, names), count)]


async def _each[T](read: Callable[[Site, str], Awaitable[T]], site: Site, names: Sequence[str]) -> list[T]:
    """Read files, a fixed number at a time; the results are in the order of the names."""
    results: dict[str, T] = {}
    queue = iter(names)

    async def work() -> None:
        for name in queue:
            results[name] = await read(site, name)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(CONCURRENCY, len(names))):
            tasks.create_task(work())
    return [results[name] for name in names]


def _in_threads[T](read: Callable[[Site, str], T], site: Site, names: Sequence[str]) -> list[T]:
    """Read files from a server in threads, and local ones one by one, which is faster."""
    if site.folder is not None or len(names) == 1:
        return [read(site, name) for name in names]
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        return list(pool.map(lambda name: read(site, name), names))


async def _ours(site: Site, name: str) -> Arrays:
    source = Source(site.store, name, site.url + name)
    return _tile_arrays(await load_file_tags_async(source, await read_tiff_async(source), _ARRAYS))


def _ours_waiting(site: Site, name: str) -> Arrays:
    source = Source(site.store, name, site.url + name)
    return _tile_arrays(load_file_tags(source, read_tiff(source), _ARRAYS))


def _tile_arrays(tiff: TiffFile) -> Arrays:
    arrays = []
    for ifd in tiff.walk():
        offsets, counts = (ifd.integers(tag) for tag in _ARRAYS)
        assert offsets is not None
        assert counts is not None
        arrays.append((offsets, counts))
    return arrays


async def _async_tiff(site: Site, name: str) -> Arrays:
    return await _async_tiff_from(site.native, name)


async def _async_tiff_obstore(site: Site, name: str) -> Arrays:
    return await _async_tiff_from(site.store, name)


async def _async_tiff_from(store: Any, name: str) -> Arrays:
    opened = peer("async_tiff")
    assert opened is not None
    tiff = await opened.TIFF.open(name, store=store)
    pairs = ((ifd.tile_offsets, ifd.tile_byte_counts) for ifd in tiff.ifds)
    return [(np.array(offsets, np.int64), np.array(counts, np.int64)) for offsets, counts in pairs]


def _tifffile(site: Site, name: str) -> Arrays:
    folder = site.folder
    file: Any = folder / name if folder else BlockStoreReader(site.store, name, block_size=32768)
    with tifffile.TiffFile(file) as tiff:
        pairs = ((page.dataoffsets, page.databytecounts) for page in tiff.pages)
        return [(np.array(offsets, np.int64), np.array(counts, np.int64)) for offsets, counts in pairs]


# Manifests


def manifest_makers(site: Site, names: Sequence[str]) -> list[Contender]:
    """Our parser first, then our arrays alone without what georeferences them, then kerchunk.

    Kerchunk reads local COGs only: over HTTP it fetches whole files, and a million tiles take it ten seconds.
    """
    count = len(names)
    contenders = [
        Contender("VirtualTIFF(ifd=0)", lambda: _in_threads(_parser(site), site, names), count),
        Contender("its array alone, async", lambda: asyncio.run(_each(_manifest, site, names)), count),
    ]
    translate = peer("kerchunk.tiff")
    if site.folder is not None and count > 1 and translate is not None:
        read = partial(_kerchunk, translate)
        contenders.append(Contender("kerchunk", lambda: _in_threads(read, site, names), count, checks="kerchunk"))
    return contenders


def _parser(site: Site) -> Callable[[Site, str], Arrays]:
    registry = ObjectStoreRegistry({site.url.rstrip("/") if site.folder else site.url: site.store})
    parser = VirtualTIFF(ifd=0)
    return lambda site, name: _positions(parser(site.url + name, registry))


async def _manifest(site: Site, name: str) -> Arrays:
    source = Source(site.store, name, site.url + name)
    array = await source.run_async(virtual_array(await read_tiff_async(source, last=0), 0))
    return _positions(ManifestStore(ManifestGroup({"band_data": manifest_array(array)})))


def _positions(store: ManifestStore) -> Arrays:
    manifest = store._group.arrays["band_data"].manifest  # noqa: SLF001 (there is no public way)
    return [(manifest._offsets, manifest._lengths)]  # noqa: SLF001


def _kerchunk(translate: Any, site: Site, name: str) -> Arrays:
    references = translate.tiff_to_zarr(site.url + name)
    chunks = [chunk for chunk in references.values() if isinstance(chunk, list)]
    return [(np.array([chunk[1] for chunk in chunks]), np.array([chunk[2] for chunk in chunks]))]
