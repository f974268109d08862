"""References written by workers: what a reader sees, and that a worker that fails leaves nothing on main."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import pickle
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import icechunk
import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from tests.archives import LONG_AGO, age, gdal_reads, make_archive
from tests.spread import die_at_s3, fail_at_s3, is_untouched, make_repository, write_cube
from tests.test_cube_executor import CallsLikeLithops, spawned
from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube import distribute
from virtual_tiff.cube.configure import new_config
from virtual_tiff.cube.container import containers_for
from virtual_tiff.cube.distribute import write_parallel, write_share
from virtual_tiff.cube.open import open_cube
from virtual_tiff.cube.plan import plan_stack
from virtual_tiff.cube.publish import publish
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.scan import scan
from virtual_tiff.cube.write import block_of, tasks_of, write_groups
from virtual_tiff.errors import SourceError, TargetError, UsageError


@pytest.fixture(autouse=True)
def _a_share_for_each_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribute, "SHARE", 1)


def threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(3)


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    """Spawned processes that outlive their first test: they take seconds to begin."""
    with spawned() as executor:
        yield executor


@pytest.fixture(params=["threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Threads, or spawned processes."""
    if request.param == "processes":
        yield request.getfixturevalue("processes")
    else:
        with threads() as pool:
            yield pool


def make_sparse(path: Path) -> None:
    """A file of the kind that make_archive writes, of which only one tile is there."""
    with rasterio.open(path) as file:
        profile = file.profile
    with rasterio.open(path, "w", **profile, sparse_ok=True) as file:
        file.write(np.full((1, 48, 32), 7, np.uint16), window=Window(32, 0, 32, 48))
    age(path)


def test_readers_see_what_gdal_reads(tmp_path: Path, executor: Executor) -> None:
    make_archive(tmp_path / "in", 6)
    make_sparse(tmp_path / "in" / "s2.tif")
    write_cube([tmp_path / "in"], tmp_path / "cube", executor)
    pixels = open_cube(tmp_path / "cube")["band_data"]
    np.testing.assert_array_equal(pixels.values, gdal_reads(tmp_path / "in", 6)[:, 0])


def test_readers_see_stored_chunks_of_short_strips(tmp_path: Path, processes: Executor) -> None:
    make_archive(tmp_path / "in", 4, tiled=False, blockysize=48)
    options = ChunkOptions(short_strips="inline")
    assert all(header.array.inlined for header in scan([tmp_path / "in"], options=options).headers)
    write_cube([tmp_path / "in"], tmp_path / "cube", processes, options)
    pixels = open_cube(tmp_path / "cube")["band_data"]
    np.testing.assert_array_equal(pixels.values, gdal_reads(tmp_path / "in", 4)[:, 0])


def test_executors_with_the_methods_of_lithops(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 3)
    write_cube([tmp_path / "in"], tmp_path / "cube", CallsLikeLithops())
    pixels = open_cube(tmp_path / "cube")["band_data"]
    np.testing.assert_array_equal(pixels.values, gdal_reads(tmp_path / "in", 3)[:, 0])


def test_a_file_that_changes_later_is_not_read_silently(tmp_path: Path, processes: Executor) -> None:
    make_archive(tmp_path / "in", 2)
    write_cube([tmp_path / "in"], tmp_path / "cube", processes)
    age(tmp_path / "in" / "s1.tif", LONG_AGO + 10)
    with pytest.raises(icechunk.StorageError, match="changed"):
        open_cube(tmp_path / "cube")["band_data"][1].load()


def test_no_tasks_need_no_worker(tmp_path: Path) -> None:
    session = make_repository(tmp_path / "cube", icechunk.RepositoryConfig.default()).writable_session("main")
    with threads() as executor:
        write_parallel(session, [], [], executor)
    assert not session.has_uncommitted_changes


def test_blocks_travel_as_they_are(tmp_path: Path) -> None:
    make_archive(tmp_path, 1)
    headers = scan([tmp_path]).headers
    (task,) = tasks_of(plan_stack(headers).groups)
    block = block_of(task, containers_for([headers[0].place]))
    there = pickle.loads(pickle.dumps(block))  # noqa: S301 (our own)
    np.testing.assert_array_equal(there.offsets, headers[0].array.offsets.ravel())
    np.testing.assert_array_equal(there.lengths, headers[0].array.lengths.ravel())
    assert there.checksum == dt.datetime.fromtimestamp(LONG_AGO, dt.UTC)
    assert there.checksum.tzinfo is dt.UTC, "Icechunk accepts no other object"
    plain = ("path", "index", "grid", "location", "checksum", "inlined", "url")
    assert [getattr(there, name) for name in plain] == [getattr(block, name) for name in plain]


# Workers that fail


def test_a_worker_that_raises_leaves_nothing(
    tmp_path: Path, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_archive(tmp_path / "in", 6)
    monkeypatch.setattr(distribute, "write_share", fail_at_s3)
    with pytest.raises(SourceError, match="OddError: no luck") as caught:
        write_cube([tmp_path / "in"], tmp_path / "cube", executor)
    assert caught.value.feature == "worker"
    assert is_untouched(tmp_path / "cube")


def test_a_worker_that_dies_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_archive(tmp_path / "in", 6)
    monkeypatch.setattr(distribute, "write_share", die_at_s3)
    with spawned() as executor, pytest.raises(SourceError, match="a worker died") as caught:
        write_cube([tmp_path / "in"], tmp_path / "cube", executor)
    assert caught.value.feature == "worker"
    assert is_untouched(tmp_path / "cube")


def test_a_publication_whose_workers_die_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_archive(tmp_path / "in", 6)
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(distribute, "write_share", die_at_s3)
    with spawned() as executor, pytest.raises(SourceError, match="a worker died"):
        publish([tmp_path / "in"], tmp_path / "out" / "cube", executor=executor)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_group_whose_workers_fail_leaves_the_repository_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_archive(tmp_path / "in", 6)
    publish([tmp_path / "in" / "s0.tif"], tmp_path / "cube", group="old")
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(tmp_path / "cube")))
    before = repository.lookup_branch("main")
    monkeypatch.setattr(distribute, "write_share", fail_at_s3)
    with threads() as executor, pytest.raises(SourceError, match="OddError"):
        publish([tmp_path / "in"], tmp_path / "cube", group="new", into=True, executor=executor)
    assert repository.list_branches() == {"main"}
    assert repository.lookup_branch("main") == before
    monkeypatch.undo()
    with threads() as executor:
        publish([tmp_path / "in"], tmp_path / "cube", group="new", into=True, batch=20, executor=executor)
    pixels = open_cube(tmp_path / "cube", group="new")["band_data"]
    np.testing.assert_array_equal(pixels.values, gdal_reads(tmp_path / "in", 6)[:, 0])


def test_forked_processes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 1)
    forked = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
    with forked, pytest.raises(SourceError, match="spawn") as caught:
        write_cube([tmp_path / "in"], tmp_path / "cube", forked)
    assert caught.value.feature == "forked"
    assert is_untouched(tmp_path / "cube")


def test_what_is_no_executor_is_refused(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 1)
    with pytest.raises(UsageError, match="no executor"):
        write_cube([tmp_path / "in"], tmp_path / "cube", map)


def test_a_repository_that_workers_cannot_reach_is_named(tmp_path: Path) -> None:
    """So it is with a local directory and workers on another machine."""
    make_archive(tmp_path / "in", 1)
    headers = scan([tmp_path / "in"]).headers
    groups = plan_stack(headers).groups
    containers = containers_for([headers[0].place])
    session = make_repository(tmp_path / "cube", new_config(groups, containers)).writable_session("main")
    run(write_groups(session.store, groups))
    fork = pickle.dumps(session.fork())
    shutil.rmtree(tmp_path / "cube")
    blocks = [block_of(task, containers) for task in tasks_of(groups)]
    with pytest.raises(TargetError, match="file:///nowhere"):
        write_share(fork, blocks, "file:///nowhere")


def test_forks_see_what_is_uncommitted(tmp_path: Path) -> None:
    """An append moves references and writes new ones in one commit."""
    make_archive(tmp_path / "in", 3)
    publish([tmp_path / "in"], tmp_path / "cube")
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(tmp_path / "cube")))
    headers = scan([tmp_path / "in"]).headers
    session = repository.writable_session("main")

    def turned(index: Iterable[int]) -> list[int]:
        first, *others = index
        return [2 - first, *others]

    session.reindex_array("/band_data", turned, turned)
    tasks = tasks_of(plan_stack([headers[0]]).groups)
    with threads() as executor:
        write_parallel(session, tasks, containers_for([headers[0].place]), executor)
    session.commit("s2 s1 s0, and then s0 at the start")
    pixels = open_cube(tmp_path / "cube")["band_data"]
    np.testing.assert_array_equal(pixels.values, gdal_reads(tmp_path / "in", 3)[[0, 1, 0], 0])
