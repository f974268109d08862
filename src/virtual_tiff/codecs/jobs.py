"""Calls that tasks of an event loop make at about the same time, as few jobs of threads.

To hand a call to a thread, and its result back, takes as long as decoding a small segment, and while threads wait for
one another's Python code neither gets on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from typing import Any, Final

from virtual_tiff.codecs.gather import Call, Gatherer, deliver

_JOB_BYTES: Final = 1 << 21
"""Results of one job: larger ones come back sooner, and are then copied while other jobs run."""

_PROCESSORS: Final = os.cpu_count() or 1


async def call_in_thread[T](run: Callable[[], T], size: int) -> T:
    """Call a function in a thread of the running loop's pool.

    Parameters
    ----------
    run
        A function that may be called after others, by the same thread.
    size
        About how many bytes it returns.
    """
    result: T = await _gatherer.ask(run, size)
    return result


def _start(calls: list[Call]) -> None:
    """Start the jobs of a turn."""
    loop = calls[0].waiting.get_loop()
    for job in _jobs(calls):
        try:
            done = loop.run_in_executor(None, _run, job)
        except RuntimeError as error:  # the pool is shut down
            deliver((call, error) for call in job)
        else:
            done.add_done_callback(partial(_finish, job))


_gatherer: Final = Gatherer(_start, quiet_turns=0, most=inf)


def _jobs(calls: list[Call]) -> Iterator[list[Call]]:
    """Share calls out: about equally many for each processor, unless their results are large."""
    most = -(-len(calls) // _PROCESSORS)
    first, size = 0, 0.0
    for index, call in enumerate(calls):
        if index - first == most or (index > first and size + call.cost > _JOB_BYTES):
            yield calls[first:index]
            first, size = index, 0
        size += call.cost
    yield calls[first:]


def _run(job: list[Call]) -> list[Any]:
    """Return what each call returns, or its error."""
    return [call.outcome() for call in job]


def _finish(job: list[Call], done: asyncio.Future[list[Any]]) -> None:
    if done.cancelled():
        deliver((call, asyncio.CancelledError()) for call in job)
        return
    failure = done.exception()
    deliver(zip(job, done.result() if failure is None else [failure] * len(job), strict=True))
