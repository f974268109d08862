"""References committed per second: one array of many chunks, and many files of some chunks each.

Each run is a process of its own, so that its peak memory is its own. It reads the headers first, which does not
count; then the clock covers all from these to the commit (or to the written file): stacking, creating a local
repository, setting references, committing.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import icechunk
import xarray as xr
from obstore.store import LocalStore
from virtualizarr.manifests import ManifestGroup, ManifestStore

from benchmarks.measure.files import make_tiled
from benchmarks.measure.machine import peak_memory, peer
from benchmarks.measure.rounds import MICRO, Comparison, Row, Sample, clocked
from virtual_tiff.array import virtual_array
from virtual_tiff.cube.plan import plan_stack
from virtual_tiff.cube.publish import publish_plan
from virtual_tiff.cube.scan import Scan, scan
from virtual_tiff.manifest import manifest_array
from virtual_tiff.tiff.source import Source, read_tiff


@dataclass(frozen=True, slots=True)
class Case:
    """So many files of `down` x `across` tiles each."""

    files: int
    down: int
    across: int

    @property
    def references(self) -> int:
        """Number of references in all."""
        return self.files * self.down * self.across

    @property
    def title(self) -> str:
        """What the table is called."""
        one = "one array" if self.files == 1 else f"{self.files:,} files"
        return f"References: {one} of {self.down * self.across:,} chunks{' each' * (self.files > 1)}"


@dataclass(frozen=True, slots=True)
class Size:
    """The cases, and how many rounds of each."""

    cases: tuple[Case, ...]
    rounds: int


SIZES: Final = {
    "small": Size((Case(1, 100, 100), Case(20, 25, 20)), 1),
    "full": Size((Case(1, 1000, 1000), Case(1000, 40, 25)), 3),
}


@dataclass(frozen=True, slots=True)
class Result:
    """What one run took, and how many references can be read from what it wrote."""

    sample: Sample
    references: int


def run(size: Size) -> Iterator[Comparison]:
    """Measure, and yield the tables one after the other."""
    names = [name for name, needs in NEEDS.items() if needs is None or peer(needs)]
    for case in size.cases:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            for number in range(case.files):
                make_tiled(folder / f"{number:05}.tif", case.down, case.across)
            samples: dict[str, list[Sample]] = {name: [] for name in names}
            for _ in range(size.rounds):
                for name in names:
                    samples[name].append(_run_apart(name, folder, case.references))
        rows = tuple(Row(name, case.references, tuple(samples[name])) for name in names)
        yield Comparison(case.title, "reference", MICRO, rows)


def _run_apart(name: str, folder: Path, references: int) -> Sample:
    """Run a contender in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        result = pool.submit(run_here, name, folder).result()
    assert result.references == references, f"{name} wrote {result.references} of {references} references"
    return result.sample


def run_here(name: str, folder: Path) -> Result:
    """Run a contender in this process."""
    icechunk.set_logs_filter("error")  # it warns that local repositories are not for concurrent writers
    with tempfile.TemporaryDirectory() as target:
        writing = CONTENDERS[name](sorted(folder.glob("*.tif")), Path(target) / "written")
        sample = clocked(writing.write)
        return Result(Sample(sample.wall, sample.cpu, peak_memory()), writing.count())


@dataclass(frozen=True, slots=True)
class Writing:
    """What remains to be done when the headers are read, and how the result is counted."""

    write: Callable[[], object]
    count: Callable[[], int]


# Contenders


def ours(files: list[Path], target: Path) -> Writing:
    """``publish``, from the headers on."""
    found: Scan = scan(files)
    found.check()
    return Writing(
        lambda: publish_plan(plan_stack(found.headers), target),
        lambda: _committed(icechunk.Repository.open(icechunk.local_filesystem_storage(str(target)))),
    )


def virtualizarr(files: list[Path], target: Path) -> Writing:
    """VirtualiZarr's writer of the same manifests."""
    stores = _manifest_stores(files)

    def write() -> None:
        session = _repository(target, files).writable_session("main")
        _stacked(stores).vz.to_icechunk(session.store)
        session.commit("all")

    return Writing(write, lambda: _committed(_open(target)))


def key_by_key(files: list[Path], target: Path) -> Writing:
    """One call of Icechunk per chunk, as a translation of kerchunk's references would do."""
    stores = _manifest_stores(files)

    def write() -> None:
        repository = _repository(target, files)
        stacked = _stacked(stores)
        array = stacked["band_data"].variable.data
        session = repository.writable_session("main")
        metadata = {**array.metadata.to_dict(), "dimension_names": list(stacked["band_data"].dims)}
        metadata["chunk_key_encoding"] = {"name": "default", "configuration": {"separator": "/"}}
        asyncio.run(_set_json(session.store, "zarr.json", {"zarr_format": 3, "node_type": "group"}))
        asyncio.run(_set_json(session.store, "band_data/zarr.json", metadata))
        for key, entry in array.manifest.dict().items():
            session.store.set_virtual_ref(
                f"band_data/c/{key.replace('.', '/')}",
                entry["path"],
                offset=entry["offset"],
                length=entry["length"],
            )
        session.commit("all")

    return Writing(write, lambda: _committed(_open(target)))


def kerchunk_json(files: list[Path], target: Path) -> Writing:
    """VirtualiZarr's writer of kerchunk JSON: one file, no commits."""
    stores = _manifest_stores(files)
    return Writing(
        lambda: _stacked(stores).vz.to_kerchunk(target, format="json"),
        lambda: sum(isinstance(entry, list) for entry in json.loads(target.read_bytes())["refs"].values()),
    )


CONTENDERS: Final[dict[str, Callable[[list[Path], Path], Writing]]] = {
    "virtual_tiff publish": ours,
    "VirtualiZarr to_icechunk": virtualizarr,
    "Icechunk key by key": key_by_key,
    "kerchunk JSON": kerchunk_json,
}
NEEDS: Final[dict[str, str | None]] = {
    "virtual_tiff publish": None,
    "VirtualiZarr to_icechunk": None,
    "Icechunk key by key": None,
    "kerchunk JSON": "ujson",
}
"""The package that a contender needs and that may be missing."""


def _manifest_stores(files: list[Path]) -> list[ManifestStore]:
    store = LocalStore()
    made = []
    for file in files:
        source = Source(store, str(file).lstrip("/"), file.as_uri())
        array = source.run(virtual_array(read_tiff(source, last=0), 0))
        made.append(ManifestStore(ManifestGroup({"band_data": manifest_array(array)})))
    return made


def _stacked(stores: list[ManifestStore]) -> xr.Dataset:
    datasets = [store.to_virtual_dataset() for store in stores]
    if len(datasets) == 1:
        return datasets[0]
    return xr.concat(datasets, dim="item", coords="minimal", compat="override", join="override")


def _repository(target: Path, files: list[Path]) -> icechunk.Repository:
    folder = str(files[0].parent)
    config = icechunk.RepositoryConfig.default()
    store = icechunk.local_filesystem_store(folder)
    config.set_virtual_chunk_container(icechunk.VirtualChunkContainer(f"file://{folder}/", store))
    return icechunk.Repository.create(icechunk.local_filesystem_storage(str(target)), config=config)


def _open(target: Path) -> icechunk.Repository:
    return icechunk.Repository.open(icechunk.local_filesystem_storage(str(target)))


def _committed(repository: icechunk.Repository) -> int:
    return len(repository.readonly_session("main").all_virtual_chunk_locations())


async def _set_json(store: Any, key: str, value: object) -> None:
    from zarr.core.buffer import default_buffer_prototype

    raw = json.dumps(value).encode()
    await store.set(key, default_buffer_prototype().buffer.from_bytes(raw))
