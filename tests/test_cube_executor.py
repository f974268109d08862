"""Work and scans on other threads and processes; forks are refused, and what goes wrong there is told."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.archives import make_archive
from tests.spread import OddError, die
from virtual_tiff.cube.executor import run_on
from virtual_tiff.cube.ledger import read_ledger
from virtual_tiff.cube.scan import ScanProgress, scan
from virtual_tiff.errors import ConformError, SourceError, UsageError, VirtualTiffError


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

    def map(
        self, map_function: Callable[..., Any], map_iterdata: Sequence[Mapping[str, Any]]
    ) -> list[concurrent.futures.Future[Any]]:
        return [self._call(map_function, named) for named in map_iterdata]

    def _call(self, function: Callable[..., Any], named: Mapping[str, Any]) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            future.set_result(function(**named))
        except Exception as error:  # noqa: BLE001 (it is handed over)
            future.set_exception(error)
        return future

    def get_result(self, fs: Sequence[concurrent.futures.Future[Any]]) -> list[Any]:
        return [future.result() for future in fs]


def test_executors_with_the_methods_of_lithops(tmp_path: Path) -> None:
    make_archive(tmp_path, 3)
    assert len(scan([tmp_path], executor=CallsLikeLithops()).headers) == 3


# What goes wrong on other machines


def test_results_come_as_they_end() -> None:
    with ThreadPoolExecutor(2) as executor:
        assert sorted(run_on(executor, divmod, [(7, 2), (9, 4)])) == [(2, 1), (3, 1)]


def test_an_error_cancels_what_has_not_begun() -> None:
    begun: list[int] = []
    told = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise ConformError("the first", feature="conform")
        told.wait()

    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(ConformError, match="the first"):
            list(run_on(executor, work, [(number,) for number in range(20)]))
        told.set()
    assert set(begun) <= {0, 1}


def raise_odd() -> None:
    raise OddError("no ", "luck")


def test_exceptions_that_do_not_travel_are_told() -> None:
    with spawned() as executor, pytest.raises(SourceError, match="OddError: no luck") as caught:
        list(run_on(executor, raise_odd, [()]))
    assert caught.value.feature == "worker"


def test_a_worker_that_dies_is_told() -> None:
    with spawned() as executor, pytest.raises(SourceError, match="a worker died") as caught:
        list(run_on(executor, die, [() for _ in range(5)]))
    assert caught.value.feature == "worker"


def test_tasks_that_do_not_travel_are_told() -> None:
    with spawned() as executor, pytest.raises(SourceError, match="executor failed") as caught:
        list(run_on(executor, repr, [(threading.Lock(),)]))
    assert caught.value.feature == "worker"


def test_an_executor_that_was_shut_down_is_told() -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(SourceError, match="shutdown") as caught:
        list(run_on(executor, abs, [(1,)]))
    assert caught.value.feature == "worker"


def test_failures_of_lithops_are_told() -> None:
    with pytest.raises(SourceError, match="OddError: no luck") as caught:
        list(run_on(CallsLikeLithops(), raise_odd, [()]))
    assert caught.value.feature == "worker"
