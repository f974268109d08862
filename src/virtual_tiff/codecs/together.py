"""Short calls that tasks of an event loop make at about the same time: its thread makes them, and idle threads help.

A call that takes about as long as handing it to a thread is not worth that. But zarr's default pipeline asks for some
ten chunks at about the same time, and while threads decode those, the loop would only compete with them for Python: so
it takes part, and goes on when all are done.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, Final

_QUIET_TURNS: Final = 6
"""Turns of the loop without another call, after which none is expected: zarr needs up to four for its next chunk."""

_MOST_EFFORT: Final = 40
"""Times that handing a call to a thread takes, some milliseconds in all: the loop stands still for so long."""

_WORTH_HELP: Final = 2
"""Calls for each of which one more thread is asked for help."""

_PROCESSORS: Final = os.cpu_count() or 1

type _Call = tuple[Callable[[], Any], asyncio.Future[Any]]


class _Gathering:
    """Calls that have been asked for, and for how many turns there was no other."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.calls: list[_Call] = []
        self.effort = 0.0
        self.seen = 0
        self.quiet = 0


class _Now(threading.local):
    """The calls that are being gathered in this thread."""

    gathering: _Gathering | None = None


_now = _Now()


async def call_together[T](run: Callable[[], T], effort: float) -> T:
    """Call a short function, in the thread of the running loop or in another one.

    Parameters
    ----------
    run
        A function that any thread may call, and that waits for nothing.
    effort
        How many times as long it takes as handing it to another thread.
    """
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[T] = loop.create_future()
    gathering = _now.gathering
    if gathering is None or gathering.loop is not loop:
        gathering = _now.gathering = _Gathering(loop)
        loop.call_soon(_turn, gathering)
    gathering.calls.append((run, waiting))
    gathering.effort += effort
    return await waiting


def _turn(gathering: _Gathering) -> None:
    """Wait until no more calls come, then make them."""
    count = len(gathering.calls)
    gathering.quiet = gathering.quiet + 1 if count == gathering.seen else 0
    gathering.seen = count
    if gathering.quiet < _QUIET_TURNS and gathering.effort < _MOST_EFFORT:
        gathering.loop.call_soon(_turn, gathering)
        return
    if _now.gathering is gathering:
        _now.gathering = None
    _make(gathering.calls)


def _make(calls: list[_Call]) -> None:
    """Make calls together with helpers, and deliver the results.

    A helper that has not begun when nothing is left to do is not waited for: whatever the other threads are busy
    with, the loop goes on.
    """
    left = deque(calls)
    helpers = _ask_for_help(left, min(_PROCESSORS - 1, len(calls) // _WORTH_HELP))
    _deliver(_make_some(left))
    for helper in helpers:
        if not helper.cancel():
            _deliver(helper.result())


def _ask_for_help(left: deque[_Call], count: int) -> list[Future[list[tuple[_Call, Any]]]]:
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


def _make_some(left: deque[_Call]) -> list[tuple[_Call, Any]]:
    """Make calls while there are some; return what each returned, or its error."""
    made: list[tuple[_Call, Any]] = []
    while True:
        try:
            call = left.popleft()
        except IndexError:
            return made
        made.append((call, _outcome(*call)))


def _outcome(run: Callable[[], Any], waiting: asyncio.Future[Any]) -> Any:
    if waiting.cancelled():
        return None
    try:
        return run()
    except Exception as error:  # noqa: BLE001 (it is raised where the result is awaited)
        return error


def _deliver(made: Iterable[tuple[_Call, Any]]) -> None:
    for (_, waiting), outcome in made:
        if waiting.done():
            continue
        if isinstance(outcome, BaseException):
            waiting.set_exception(outcome)
        else:
            waiting.set_result(outcome)
