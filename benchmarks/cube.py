"""The datacube at the scale of archives, beside VirtualiZarr's way: ``open_virtual_mfdataset`` and ``to_icechunk``.

Three questions: how long it takes to publish many COGs over HTTP with latency, from URLs to the commit; how much time
and memory a commit of many references takes, headers included; and whether the cost of an append grows with the cube.
Each run is a process of its own, so that its peak memory is its own. Both sides read headers by our parser.
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import icechunk
import xarray as xr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import HTTPStore, LocalStore
from virtualizarr import open_virtual_mfdataset

from benchmarks.measure.files import make_stack, make_tiled
from benchmarks.measure.machine import peak_memory
from benchmarks.measure.rounds import MICRO, MILLI, Comparison, Row, Sample, clocked
from benchmarks.measure.server import late_server
from tests.servers import FaultServer
from virtual_tiff import VirtualTIFF
from virtual_tiff.cube.append import append
from virtual_tiff.cube.publish import publish
from virtual_tiff.cube.scan import CONCURRENCY

LATENCY: Final = 0.02
_COUNTED: Final = 4
"""Files whose requests are counted."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    ``cogs`` files over HTTP; ``peers`` whether VirtualiZarr commits all references, too; ``files`` of ``side`` x
    ``side`` tiles in the commit of many references; ``cubes`` (in files) that ``added`` files are appended to.
    """

    cogs: int
    files: int
    side: int
    peers: bool
    cubes: tuple[int, ...]
    added: int
    rounds: int


SIZES: Final = {
    "small": Size(cogs=100, files=100, side=32, peers=True, cubes=(100, 1000), added=10, rounds=1),
    "full": Size(cogs=1000, files=1000, side=100, peers=False, cubes=(1000, 10_000, 100_000), added=100, rounds=1),
}


def run(size: Size) -> Iterator[Comparison]:
    """Measure, and yield the tables one after the other."""
    yield _over_http(size)
    yield _in_one_commit(size)
    yield from _appended(size)


def _over_http(size: Size) -> Comparison:
    with tempfile.TemporaryDirectory() as folder:
        names = make_stack(Path(folder), size.cogs)
        counts = ", ".join(f"{name} {_requests(name, Path(folder), names):.1f}" for name in PUBLISHERS)
        with late_server(Path(folder), LATENCY) as url:
            rows = _rows(PUBLISHERS, size.cogs, size.rounds, [url + name for name in names])
    title = f"Publishing {size.cogs:,} COGs of 3 bands and 4 overviews, HTTP, {LATENCY * 1000:.0f} ms latency"
    return Comparison(f"{title}; requests per file: {counts}", "file", MILLI, rows)


def _requests(name: str, folder: Path, names: Sequence[str]) -> float:
    """Requests per file to the server of the sources."""
    with FaultServer(folder) as server:
        _run_apart(PUBLISHERS[name], [server.url + each for each in names[:_COUNTED]])
        return len(server.log) / len(names[:_COUNTED])


def _in_one_commit(size: Size) -> Comparison:
    references = size.files * size.side**2
    names = PUBLISHERS if size.peers else dict(list(PUBLISHERS.items())[:1])
    with tempfile.TemporaryDirectory() as folder:
        urls = _tiled(Path(folder), range(size.files), size.side)
        rows = _rows(names, references, size.rounds, urls)
    return Comparison(f"Publishing {references:,} references of {size.files:,} local files", "reference", MICRO, rows)


def _appended(size: Size) -> Iterator[Comparison]:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        new = _tiled(work / "new", range(size.added), 2)
        for count in size.cubes:
            old = _tiled(work / str(count), range(count), 2)
            rows = []
            for name in APPENDERS:
                cube = work / f"{count}-{name}"
                _apart(PUBLISHERS[name], old, cube)
                samples = []
                for number in range(size.rounds):
                    copy = work / f"copy-{number}"
                    shutil.copytree(cube, copy)
                    samples.append(_apart(APPENDERS[name], new, copy))
                    shutil.rmtree(copy)
                rows.append(Row(name, size.added, tuple(samples)))
            yield Comparison(f"Appending {size.added:,} files to a cube of {count:,}", "file", MILLI, tuple(rows))


def _tiled(folder: Path, numbers: range, side: int) -> list[str]:
    folder.mkdir(exist_ok=True, parents=True)
    for number in numbers:
        make_tiled(folder / f"{folder.name}-{number:06}.tif", side, side)
    return [path.as_uri() for path in sorted(folder.glob("*.tif"))]


# Each run in a process of its own

type Work = Callable[[list[str], Path], object]


def _rows(contenders: dict[str, Work], count: int, rounds: int, urls: list[str]) -> tuple[Row, ...]:
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            samples[name].append(_run_apart(work, urls))
    return tuple(Row(name, count, tuple(samples[name])) for name in contenders)


def _run_apart(work: Work, urls: list[str]) -> Sample:
    with tempfile.TemporaryDirectory() as target:
        return _apart(work, urls, Path(target) / "cube")


def _apart(work: Work, urls: list[str], target: Path) -> Sample:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(run_here, work, urls, target).result()


def run_here(work: Work, urls: list[str], target: Path) -> Sample:
    """Run a contender in this process."""
    icechunk.set_logs_filter("error")  # it warns that local repositories are not for concurrent writers
    sample = clocked(lambda: work(urls, target))
    memory = peak_memory()
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(target)))
    manifests = repository.list_manifest_files(repository.lookup_branch("main"))
    assert sum(manifest.num_chunk_refs for manifest in manifests) >= len(urls)
    return Sample(sample.wall, sample.cpu, memory)


# Contenders


def ours(urls: list[str], target: Path) -> None:
    """``publish``."""
    publish(urls, target)


def ours_append(urls: list[str], target: Path) -> None:
    """``append``."""
    append(urls, target)


def theirs(urls: list[str], target: Path) -> None:
    """VirtualiZarr's way, with as many threads as we read files at a time."""
    config = icechunk.RepositoryConfig.default()
    if urls[0].startswith("http"):
        container = icechunk.VirtualChunkContainer(_root(urls[0]), icechunk.http_store())
    else:
        folder = tempfile.gettempdir()
        container = icechunk.VirtualChunkContainer(f"file://{folder}/", icechunk.local_filesystem_store(folder))
    config.set_virtual_chunk_container(container)
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(target)), config=config)
    session = repository.writable_session("main")
    _virtual(urls).vz.to_icechunk(session.store)
    session.commit("all")


def theirs_append(urls: list[str], target: Path) -> None:
    """VirtualiZarr's way of appending."""
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(target)))
    session = repository.writable_session("main")
    _virtual(urls).vz.to_icechunk(session.store, append_dim="item")
    session.commit("more")


def _virtual(urls: list[str]) -> xr.Dataset:
    root = _root(urls[0])
    store: Any = HTTPStore(root, client_options={"allow_http": True}) if root.startswith("http") else LocalStore()
    with ThreadPoolExecutor(CONCURRENCY) as threads:
        dataset: xr.Dataset = open_virtual_mfdataset(
            urls,
            registry=ObjectStoreRegistry({root.rstrip("/") if root.startswith("http") else "file://": store}),
            parser=VirtualTIFF(ifd=0),
            parallel=threads,
            combine="nested",
            concat_dim="item",
            coords="minimal",
            compat="override",
            join="override",
            data_vars=["band_data"],
            combine_attrs="override",
        )
    return dataset


def _root(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/"


PUBLISHERS: Final[dict[str, Work]] = {"virtual_tiff": ours, "VirtualiZarr": theirs}
APPENDERS: Final[dict[str, Work]] = {"virtual_tiff": ours_append, "VirtualiZarr": theirs_append}
