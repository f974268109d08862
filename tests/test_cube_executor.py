"""Scans on other processes: threads, spawned processes, a Dask cluster; forks are refused."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.archives import make_archive
from tests.servers import Bucket
from virtual_tiff import open_cube
from virtual_tiff.cube.ledger import read_ledger
from virtual_tiff.cube.plan import plan_stack
from virtual_tiff.cube.publish import publish_plan
from virtual_tiff.cube.scan import ScanProgress, scan
from virtual_tiff.errors import SourceError, UsageError, VirtualTiffError


def spawned() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


@pytest.mark.parametrize("make", [spawned, lambda: ThreadPoolExecutor(3)], ids=["spawned", "threads"])
def test_workers_find_what_one_process_finds(tmp_path: Path, make: Callable[[], Executor]) -> None:
    make_archive(tmp_path / "in", 9)
    (tmp_path / "in" / "s4.tif").write_bytes(b"no tiff at all")
    seen: list[ScanProgress] = []
    with make() as executor:
        found = scan([tmp_path / "in"], executor=executor, on_progress=seen.append, ledger=tmp_path / "scan.parquet")
    alone = scan([tmp_path / "in"])
    assert [header.url for header in found.headers] == [header.url for header in alone.headers]
    assert [str(failure.error) for failure in found.failures] == [str(failure.error) for failure in alone.failures]
    for one, other in zip(found.headers, alone.headers, strict=True):
        np.testing.assert_array_equal(one.array.offsets, other.array.offsets)
        assert (one.traits, one.etag, one.digest) == (other.traits, other.etag, other.digest)
    assert seen[-1] == ScanProgress(done=9, failed=1, total=9)
    assert len(read_ledger(tmp_path / "scan.parquet").headers) == 8


def test_forked_processes_are_refused(tmp_path: Path) -> None:
    make_archive(tmp_path, 1)
    forked = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
    with forked, pytest.raises(SourceError, match="spawn") as caught:
        scan([tmp_path], executor=forked)
    assert caught.value.feature == "forked"


def test_what_is_no_executor_is_refused(tmp_path: Path) -> None:
    make_archive(tmp_path, 1)
    with pytest.raises(UsageError, match="no executor"):
        scan([tmp_path], executor=map)


def test_a_failure_ends_a_scan_that_is_told_so(tmp_path: Path) -> None:
    make_archive(tmp_path, 3)
    (tmp_path / "s1.tif").write_bytes(b"no tiff at all")
    with ThreadPoolExecutor(1) as executor, pytest.raises(VirtualTiffError, match="not-a-tiff"):
        scan([tmp_path], executor=executor, on_error="raise")


class CallsLikeLithops:
    """The two methods of Lithops' FunctionExecutor that are used, with its way of passing arguments by name."""

    def call_async(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_result(function(**arguments))
        return future

    def get_result(self, future: concurrent.futures.Future[Any]) -> Any:
        return future.result()


def test_executors_with_the_methods_of_lithops(tmp_path: Path) -> None:
    make_archive(tmp_path, 3)
    assert len(scan([tmp_path], executor=CallsLikeLithops()).headers) == 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_dask_cluster_scans_a_bucket(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import Client, LocalCluster

    for name, value in bucket.environment.items():  # the workers inherit it
        monkeypatch.setenv(name, value)
    pixels = make_archive(tmp_path / "in", 6)
    for path in (tmp_path / "in").iterdir():
        bucket.store().put(f"in/{path.name}", path.read_bytes())
    start: Any = LocalCluster
    connect: Any = Client
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with start(host="127.0.0.1", **options) as cluster, connect(cluster) as client:
        pids = set(client.run(lambda: __import__("os").getpid()).values())
        found = scan([f"{bucket.url}in/"], executor=client)
    assert len(pids) == 2
    found.check()
    publish_plan(plan_stack(found.headers), tmp_path / "cube")
    np.testing.assert_array_equal(open_cube(tmp_path / "cube")["band_data"].values, pixels[:, 0])
