"""Scanning on other processes and machines: shards of files go out, tables of headers come back.

Each worker reads its shard in an event loop of its own. What travels are URLs and Arrow tables, never stores, so
that a worker finds credentials in its own environment.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final

import pyarrow as pa

from virtual_tiff.cube.header import HeaderOptions
from virtual_tiff.cube.reading import Stop, read_headers
from virtual_tiff.cube.results import OnResult, Result
from virtual_tiff.cube.rows import results_of, table_of
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.stores import Location, locate
from virtual_tiff.errors import SourceError, UsageError

MAX_SHARD: Final = 256
"""Files of one task at most."""

type _Task = tuple[Sequence[str], HeaderOptions, int, int]
type _Shards = Generator[bytes]

_TASKS: Final = 64
"""Tasks that a scan has at least, where there are so many files."""


def read_shard(urls: Sequence[str], options: HeaderOptions, concurrency: int, retries: int) -> bytes:
    """Read the headers of a shard of files, in a worker.

    Returns
    -------
    bytes
        An Arrow stream with the columns of :data:`virtual_tiff.cube.rows.SCHEMA`, a row per file.
    """
    found: list[Result] = []
    places = [locate(url) for url in urls]
    run(read_headers(places, options, on_result=found.append, concurrency=concurrency, retries=retries))
    table = table_of(found)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def scan_shards(
    executor: Any,
    places: Sequence[Location],
    options: HeaderOptions,
    *,
    on_result: OnResult,
    concurrency: int,
    retries: int,
) -> None:
    """Read the headers of files by an executor.

    Parameters
    ----------
    executor
        See :func:`check_executor`.
    places
        The files.
    options, concurrency, retries
        As :func:`virtual_tiff.cube.reading.read_headers`; `concurrency` is that of each worker.
    on_result
        Called with each header or failure, shard by shard; :class:`~virtual_tiff.cube.reading.Stop` ends the scan.

    Raises
    ------
    SourceError
        ``forked`` for workers that are forked from this process.
    UsageError
        ``usage`` for what is no executor.
    """
    run_tasks = check_executor(executor)
    size = min(MAX_SHARD, max(1, -(-len(places) // _TASKS)))
    urls = [place.url for place in places]
    tasks = [(urls[first : first + size], options, concurrency, retries) for first in range(0, len(urls), size)]
    shards = run_tasks(tasks)
    try:
        for shard in shards:
            for result in results_of(pa.ipc.open_stream(shard).read_all()):
                on_result(result)
    except Stop:
        pass
    finally:
        shards.close()


def check_executor(executor: Any) -> Callable[[Sequence[_Task]], _Shards]:
    """Find out how an executor is used.

    Parameters
    ----------
    executor
        A :class:`concurrent.futures.Executor` of threads or spawned processes, a Dask client, or a
        ``FunctionExecutor`` of Lithops. The latter two are known by their methods.

    Raises
    ------
    SourceError
        ``forked`` for a pool of processes that are forked: the storage threads do not survive a fork.
    UsageError
        ``usage`` for anything else.
    """
    if isinstance(executor, concurrent.futures.Executor):
        _refuse_forks(executor)
        return lambda tasks: _futures(executor, tasks)
    if hasattr(executor, "get_executor") and hasattr(executor, "gather"):
        return lambda tasks: _futures(executor.get_executor(pure=False), tasks)
    if hasattr(executor, "call_async") and hasattr(executor, "get_result"):
        return lambda tasks: _lithops(executor, tasks)
    found = f"{type(executor).__name__} is no executor"
    hint = "Use one of concurrent.futures, a Dask client, or a FunctionExecutor of Lithops."
    raise UsageError(found, feature="usage", hint=hint)


def _refuse_forks(executor: concurrent.futures.Executor) -> None:
    context = getattr(executor, "_mp_context", None)
    if context is not None and context.get_start_method() == "fork":
        found = "the processes of this executor are forked, and storage threads do not survive that: they would hang"
        hint = "ProcessPoolExecutor(mp_context=multiprocessing.get_context('spawn')) works."
        raise SourceError(found, feature="forked", hint=hint)


def _futures(executor: concurrent.futures.Executor, tasks: Sequence[_Task]) -> _Shards:
    """Run tasks, and yield what they return as soon as it is there."""
    futures = [executor.submit(read_shard, *task) for task in tasks]
    try:
        for future in concurrent.futures.as_completed(futures):
            yield future.result()
    finally:
        for future in futures:
            future.cancel()


def _lithops(executor: Any, tasks: Sequence[_Task]) -> _Shards:
    """Run tasks, and yield what they return in their order."""
    futures = [executor.call_async(_read_shard_of, {"task": task}) for task in tasks]
    for future in futures:
        yield executor.get_result(future)


def _read_shard_of(task: _Task) -> bytes:
    """:func:`read_shard` with one argument, by its name, as Lithops calls functions."""
    return read_shard(*task)
