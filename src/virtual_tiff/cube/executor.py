"""Work on other processes and machines: pools of :mod:`concurrent.futures`, Dask, Lithops; scans are such work.

What travels are plain values, never stores, so that a worker finds credentials in its own environment. Whatever goes
wrong there comes back as one of our errors: a worker that dies, a task that cannot be sent, a cluster without workers.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import queue
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, Literal

import pyarrow as pa

from virtual_tiff.cube.header import HeaderOptions
from virtual_tiff.cube.reading import Stop, read_headers
from virtual_tiff.cube.results import OnResult, Result
from virtual_tiff.cube.rows import results_of, table_of
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.stores import Location, locate
from virtual_tiff.errors import SourceError, UsageError, VirtualTiffError

type Kind = Literal["futures", "dask", "lithops"]
type _Task = tuple[Any, ...]

MAX_SHARD: Final = 256
"""Files of one task of a scan at most."""

NO_WORKERS: Final = 120.0
"""Seconds after which a Dask cluster without a single worker is given up."""

MIN_SHARD: Final = 8
"""Files of one task of a scan at least: a worker reads so many at the same time, and starting a task takes longer."""

_SHARDS: Final = 64
"""Tasks that a scan has at least, where there are so many files."""

_AT_ONCE: Final = 64
"""Results that are fetched at once from Lithops, which takes a second or two each time."""

_LOOK: Final = 5.0
"""Seconds between two looks at the workers of a cluster, while nothing comes."""


def check_executor(executor: Any) -> Kind:
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
        ``usage`` for anything else, and for a Dask client whose methods are coroutines.
    """
    if isinstance(executor, concurrent.futures.Executor):
        _refuse_forks(executor)
        return "futures"
    if hasattr(executor, "gather") and hasattr(executor, "nthreads"):
        if getattr(executor, "asynchronous", False):
            found = "this Dask client is asynchronous"
            raise UsageError(found, feature="usage", hint="Use Client(..., asynchronous=False), from another thread.")
        return "dask"
    if hasattr(executor, "map") and hasattr(executor, "get_result"):
        return "lithops"
    found = f"{type(executor).__name__} is no executor"
    hint = "Use one of concurrent.futures, a Dask client, or a FunctionExecutor of Lithops."
    raise UsageError(found, feature="usage", hint=hint)


def _refuse_forks(executor: concurrent.futures.Executor) -> None:
    context = getattr(executor, "_mp_context", None)
    if context is not None and context.get_start_method() == "fork":
        found = "the processes of this executor are forked, and storage threads do not survive that: they would hang"
        hint = "ProcessPoolExecutor(mp_context=multiprocessing.get_context('spawn')) works."
        raise SourceError(found, feature="forked", hint=hint)


def run_on[T](executor: Any, function: Callable[..., T], tasks: Iterable[_Task]) -> Generator[T]:
    """Call a function in the workers of an executor, once for each task.

    Parameters
    ----------
    executor
        See :func:`check_executor`. It stays open.
    function
        A function of a module, which the workers import.
    tasks
        The arguments of each call: values that can be pickled.

    Returns
    -------
    Generator
        What the calls return, as they end (with Lithops, some at a time). The tasks are handed over when the first is
        asked for; when the generator ends early, those that have not begun are cancelled, but for Lithops'.

    Raises
    ------
    VirtualTiffError
        What the function raises.
    SourceError
        ``worker`` for all else: another exception in a worker, a worker that dies, a task that cannot be sent,
        or a Dask cluster that has no worker for :data:`NO_WORKERS` seconds; ``forked``, see :func:`check_executor`.
    UsageError
        ``usage`` for what is no executor.
    """
    kind = check_executor(executor)
    calls = [(function, task) for task in tasks]
    return _from_lithops(executor, calls) if kind == "lithops" else _as_they_end(executor, calls, dask=kind == "dask")


def _call[T](function: Callable[..., T], task: _Task) -> T:
    """Call a function in a worker; its errors become such as can be sent back."""
    try:
        return function(*task)
    except VirtualTiffError:
        raise
    except Exception as error:
        raise _worker_error(f"a worker failed ({_line(error)})") from error


def _as_they_end[T](executor: Any, calls: Sequence[tuple[Callable[..., T], _Task]], *, dask: bool) -> Generator[T]:
    submit = partial(executor.submit, pure=False) if dask else executor.submit
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()
    # A result is let go of as soon as it has been handed over.
    pending: dict[int, Any] = {}
    try:
        for number, call in enumerate(calls):
            with _told():
                pending[number] = submit(_call, *call)
                pending[number].add_done_callback(lambda _, number=number: ended.put(number))
        while pending:
            with _told():
                result = pending.pop(_next(ended, executor if dask else None)).result()
            yield result
            del result
    finally:
        for future in pending.values():
            with contextlib.suppress(Exception):  # those of a cluster that is gone
                future.cancel()


def _next(ended: queue.SimpleQueue[int], cluster: Any) -> int:
    """Wait for a future that has ended. Dask would wait for workers for ever."""
    without = 0.0
    while without < NO_WORKERS:
        with contextlib.suppress(queue.Empty):
            return ended.get(timeout=_LOOK)
        without = without + _LOOK if cluster is not None and not cluster.nthreads() else 0.0
    found = f"the Dask cluster has had no worker for {NO_WORKERS:.0f} s"
    raise _worker_error(found, "Start its workers first: client.wait_for_workers(1).")


def _from_lithops[T](executor: Any, calls: Sequence[tuple[Callable[..., T], _Task]]) -> Generator[T]:
    with _told():
        futures = list(executor.map(_call, [{"function": function, "task": task} for function, task in calls]))
    for first in range(0, len(futures), _AT_ONCE):
        with _told():
            results = executor.get_result(futures[first : first + _AT_ONCE])
        yield from results


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn the errors of an executor into ours."""
    try:
        yield
    except VirtualTiffError:
        raise
    except concurrent.futures.BrokenExecutor as error:
        hint = (
            "Was it out of memory? Or is the script that starts the processes not guarded by if __name__ == '__main__'?"
        )
        raise _worker_error(f"a worker died ({_line(error)})", hint) from error
    except Exception as error:
        raise _worker_error(f"the executor failed ({_line(error)})", "Its logs may say more.") from error


def _worker_error(found: str, hint: str | None = None) -> SourceError:
    return SourceError(found, feature="worker", hint=hint)


def _line(error: BaseException) -> str:
    """The kind of an exception and the first line of its text."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


# Scans: shards of files go out, tables of headers come back


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
        ``worker`` and ``forked``, see :func:`run_on`.
    UsageError
        ``usage`` for what is no executor.
    """
    size = min(MAX_SHARD, max(MIN_SHARD, -(-len(places) // _SHARDS)))
    urls = [place.url for place in places]
    tasks = [(urls[first : first + size], options, concurrency, retries) for first in range(0, len(urls), size)]
    with contextlib.closing(run_on(executor, read_shard, tasks)) as shards, contextlib.suppress(Stop):
        for shard in shards:
            for result in results_of(pa.ipc.open_stream(shard).read_all()):
                on_result(result)


def read_shard(urls: Sequence[str], options: HeaderOptions, concurrency: int, retries: int) -> bytes:
    """Read the headers of a shard of files, in a worker, in an event loop of its own.

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
