"""Segments that threads decode without Python's lock, while an event loop goes on.

Threads of Python get in one another's way: each hands the lock over twice for a segment, and what one has in its cache
the others lack. These threads never take it. There is one less than there are processors, which is the loop's: where
more segments wait than the threads will get to meanwhile, the loop decodes one in each of its turns.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import weakref
from functools import cache
from itertools import count
from typing import Final

import numpy as np
import numpy.typing as npt

from virtual_tiff.codecs import compiled, direct
from virtual_tiff.codecs.compiled import Kernels, Line, Recipe
from virtual_tiff.codecs.jobs import PROCESSORS
from virtual_tiff.codecs.room import Room

type Octets = npt.NDArray[np.uint8]
type _Memory = tuple[Octets, Octets, Recipe]

_SHORT_BYTES: Final = 1 << 14
"""Decoded bytes up to which decoding takes no longer than handing it over."""

_LONG_BYTES: Final = 1 << 20
"""Decoded bytes beyond which threads of Python are as good, and a turn of the loop would take milliseconds."""

_THREADS: Final = PROCESSORS - 1

_SPARED: Final = _THREADS + 2
"""Jobs in the queue that the loop leaves to the threads, which take them up while it is busy with one."""


async def decode(encoded: Octets, how: Recipe | None, room: Room | None = None) -> Octets | None:
    """Return what :func:`~virtual_tiff.codecs.direct.decode` returns, where these threads get it sooner, else None.

    Parameters
    ----------
    encoded
        The bytes of a segment.
    how
        How they are encoded, or None when the kernels do not know that.
    room
        Where the decoded bytes shall be, if not in memory of their own.
    """
    if how is None or not _has_their_size(how) or direct.kernels_for(how, encoded) is None:
        return None
    queue = _queue_of(asyncio.get_running_loop())
    if queue is None:
        return None
    return await queue.decode(
        encoded, how, np.empty(how.rows * how.row_bytes, np.uint8) if room is None else room.take()
    )


def would_decode(how: Recipe | None) -> bool:
    """Whether :func:`decode` gets such segments decoded, unless there is something unusual about them."""
    return how is not None and _has_their_size(how) and direct.decodes(how) and PROCESSORS > 1


def _has_their_size(how: Recipe) -> bool:
    return bool(_SHORT_BYTES < how.rows * how.row_bytes <= _LONG_BYTES)


class _Queue:
    """The jobs of one loop, which has this to call while it is open, and nobody else."""

    def __init__(self, loop: asyncio.AbstractEventLoop, line: Line) -> None:
        self._line, self._numbers = line, count()
        self._waiting: dict[int, asyncio.Future[Octets | None]] = {}
        self._memory: dict[int, _Memory] = {}
        """What jobs read and write, which must not go before they are done."""
        self._is_helping, self._largest = False, 0
        loop.add_reader(line.descriptor, self._collect)
        _open_lines[id(line)] = line, self._memory
        self._closing = weakref.finalize(self, _close, id(line))
        # at exit the threads are stopped, and loops of other threads may still run
        self._closing.atexit = False

    async def decode(self, encoded: Octets, how: Recipe, out: Octets) -> Octets | None:
        """Return the decoded segment, or None when no thread takes it, or it is left to others."""
        loop = asyncio.get_running_loop()
        number = next(self._numbers)
        waiting: asyncio.Future[Octets | None] = loop.create_future()
        # before any thread knows of it: an interrupt may come between
        self._memory[number], self._waiting[number] = (encoded, out, how), waiting
        if not self._line.submit(number, how, encoded, out):
            self._forget_job(number)
            return None
        self._ask_for_help(loop, out.size)
        try:
            return await waiting
        except asyncio.CancelledError:
            if self._line.drop(number):
                self._forget_job(number)
            raise

    def _forget_job(self, number: int) -> None:
        del self._memory[number], self._waiting[number]

    def _ask_for_help(self, loop: asyncio.AbstractEventLoop, size: int) -> None:
        """Let the loop decode in its next turn."""
        self._largest = max(self._largest, size)
        if not self._is_helping:
            loop.call_soon(self._help)
            self._is_helping = True

    def _help(self) -> None:
        """Decode a segment here, and others in the next turns of the loop, while many wait."""
        self._is_helping = False  # an interrupt may end this
        if self._line.help(_SPARED, self._largest):
            self._ask_for_help(asyncio.get_running_loop(), self._largest)
            self._collect()
        elif not self._memory:
            self._largest = 0

    def _collect(self) -> None:
        for number, is_decoded in self._line.collect():
            (_, out, _), waiting = self._memory[number], self._waiting[number]
            self._forget_job(number)
            if not waiting.done():
                waiting.set_result(out if is_decoded else None)

    def leave_open(self) -> None:
        """Leave the line alone, which is the parent's."""
        self._closing.detach()


_open_lines: dict[int, tuple[Line, dict[int, _Memory]]] = {}
"""Lines, and what threads read and write for them: it stays also when an interrupt comes before a line is closed."""


def _close(key: int) -> None:
    line, _ = _open_lines[key]
    line.close()
    del _open_lines[key]


_queues: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[_Queue] | None] = weakref.WeakKeyDictionary()
"""The queues of loops; None for those that are without."""


def _queue_of(loop: asyncio.AbstractEventLoop) -> _Queue | None:
    """Return the queue of a loop, or None where there are no threads."""
    if loop in _queues:
        known = _queues[loop]
        queue = None if known is None else known()
        if known is None or queue is not None:
            return queue
    kernels = compiled.KERNELS
    queue = None if kernels is None or not _start(kernels) else _open(loop, kernels)
    _queues[loop] = None if queue is None else weakref.ref(queue)
    return queue


def _open(loop: asyncio.AbstractEventLoop, kernels: Kernels) -> _Queue | None:
    try:
        line = kernels.open_line()
    except OSError:
        return None
    try:
        return _Queue(loop, line)
    except (NotImplementedError, OSError):  # a loop that cannot wait for descriptors, or for no more
        line.close()
        return None


def _start(kernels: Kernels) -> bool:
    if PROCESSORS < 2:  # a thread would only take turns with the loop
        return False
    _at_exit_stop(kernels)
    return kernels.start(_THREADS)


@cache
def _at_exit_stop(kernels: Kernels) -> None:
    """Let no thread write to memory that the interpreter gives back."""
    atexit.register(kernels.stop)


def _forked() -> None:
    for known in _queues.values():
        queue = None if known is None else known()
        if queue is not None:
            queue.leave_open()
    _queues.clear()
    _open_lines.clear()
    if compiled.KERNELS is not None:
        compiled.KERNELS.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
