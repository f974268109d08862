"""Short calls that tasks of an event loop make at about the same time: its thread makes them, and idle threads help.

A call that takes about as long as handing it to a thread is not worth that. And while threads decode what ten tasks
have asked for, the loop would only compete with them for Python: so it takes part, and goes on when all are done.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, Final

from virtual_tiff.codecs.gather import Call, Gatherer, deliver

_QUIET_TURNS: Final = 6
"""zarr needs up to four turns of the loop until it asks for its next chunk."""

_MOST_EFFORT: Final = 40
"""Times that handing a call to a thread takes, some milliseconds in all: the loop stands still for so long."""

_WORTH_HELP: Final = 2
"""Calls for each of which one more thread is asked for help."""

_PROCESSORS: Final = os.cpu_count() or 1

type _Made = list[tuple[Call, Any]]
"""Calls, and what each returned, or its error."""


async def call_together[T](run: Callable[[], T], effort: float) -> T:
    """Call a short function, in the thread of the running loop or in another one.

    Parameters
    ----------
    run
        A function that any thread may call, and that waits for nothing.
    effort
        How many times as long it takes as handing it to another thread.
    """
    result: T = await _gatherer.ask(run, effort)
    return result


def _make(calls: list[Call]) -> None:
    """Make calls together with helpers, and deliver the results.

    A helper that has not begun when nothing is left to do is not waited for: whatever the other threads are busy
    with, the loop goes on.
    """
    left = deque(calls)
    helpers = _ask_for_help(left, min(_PROCESSORS - 1, len(calls) // _WORTH_HELP))
    deliver(_make_some(left))
    for helper in helpers:
        if not helper.cancel():
            deliver(helper.result())


_gatherer: Final = Gatherer(_make, quiet_turns=_QUIET_TURNS, most=_MOST_EFFORT)


def _ask_for_help(left: deque[Call], count: int) -> list[Future[_Made]]:
    try:
        return [_helpers().submit(_make_some, left) for _ in range(count)]
    except RuntimeError:  # the interpreter is shutting down
        return []


@cache
def _helpers() -> ThreadPoolExecutor:
    """Threads of our own: those of zarr and of the loop may be busy for long."""
    return ThreadPoolExecutor(_PROCESSORS - 1, "virtual-tiff")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.cache_clear)


def _make_some(left: deque[Call]) -> _Made:
    """Make calls while there are some."""
    made: _Made = []
    while True:
        try:
            call = left.popleft()
        except IndexError:
            return made
        made.append((call, call.outcome()))
