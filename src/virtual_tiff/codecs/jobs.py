"""Calls that tasks of an event loop make at about the same time, as few jobs of threads.

To hand a call to a thread, and its result back, takes as long as decoding a small segment, and while threads wait for
one another's Python code neither gets on. zarr's default pipeline asks for some ten chunks in one turn of the loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

_JOB_BYTES: Final = 1 << 21
"""Results of one job: larger ones come back sooner, and are then copied while other jobs run."""

PROCESSORS: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""Those that this process may use."""


@dataclass(frozen=True, slots=True)
class _Call:
    """What is to be called, how many bytes it returns, and who waits for them."""

    run: Callable[[], Any]
    size: int
    waiting: asyncio.Future[Any]


class _Turn(threading.local):
    """The loop that runs in this thread, and the calls of its present turn, if there are any."""

    loop: asyncio.AbstractEventLoop | None = None
    calls: list[_Call] | None = None


_turn = _Turn()


async def call_in_thread[T](run: Callable[[], T], size: int) -> T:
    """Call a function in a thread of the running loop's pool.

    Parameters
    ----------
    run
        A function that may be called after others, by the same thread.
    size
        About how many bytes it returns.
    """
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[T] = loop.create_future()
    if _turn.calls is None or _turn.loop is not loop:
        _turn.loop, _turn.calls = loop, []
        loop.call_soon(_start, _turn.calls)
    _turn.calls.append(_Call(run, size, waiting))
    return await waiting


def _start(calls: list[_Call]) -> None:
    """Start the jobs of a turn."""
    if _turn.calls is calls:
        _turn.calls = None
    for job in _jobs(calls):
        loop = job[0].waiting.get_loop()
        try:
            done = loop.run_in_executor(None, _run, job)
        except RuntimeError as error:  # the pool is shut down
            _deliver(job, [error] * len(job))
        else:
            done.add_done_callback(partial(_finish, job))


def _jobs(calls: list[_Call]) -> Iterator[list[_Call]]:
    """Share calls out: about equally many for each processor, unless their results are large."""
    most = -(-len(calls) // PROCESSORS)
    first, size = 0, 0
    for index, call in enumerate(calls):
        if index - first == most or (index > first and size + call.size > _JOB_BYTES):
            yield calls[first:index]
            first, size = index, 0
        size += call.size
    yield calls[first:]


def _run(job: list[_Call]) -> list[Any]:
    """Return what each call returns, or its error."""
    return [_outcome(call) for call in job]


def _outcome(call: _Call) -> Any:
    if call.waiting.cancelled():
        return None
    try:
        return call.run()
    except Exception as error:  # noqa: BLE001 (it is raised where the result is awaited)
        return error


def _finish(job: list[_Call], done: asyncio.Future[list[Any]]) -> None:
    if done.cancelled():
        _deliver(job, [asyncio.CancelledError()] * len(job))
        return
    failure = done.exception()
    _deliver(job, done.result() if failure is None else [failure] * len(job))


def _deliver(job: list[_Call], outcomes: list[Any]) -> None:
    for call, outcome in zip(job, outcomes, strict=True):
        if call.waiting.done():
            continue
        if isinstance(outcome, asyncio.CancelledError):
            call.waiting.cancel()
        elif isinstance(outcome, BaseException):
            call.waiting.set_exception(outcome)
        else:
            call.waiting.set_result(outcome)
