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

type Octets = npt.NDArray[np.uint8]
type _Memory = tuple[Octets, Octets, Recipe]

_SHORT_BYTES: Final = 1 << 14
"""Decoded bytes up to which decoding takes no longer than handing it over."""

_LONG_BYTES: Final = 1 << 20
"""Decoded bytes beyond which threads of Python are as good, and a turn of the loop would take milliseconds."""

_THREADS: Final = max(1, PROCESSORS - 1)

_SPARED: Final = _THREADS + 2
"""Jobs in the queue that the loop leaves to the threads, which take them up while it is busy with one."""


async def decode(encoded: Octets, how: Recipe | None) -> Octets | None:
    """Return what :func:`~virtual_tiff.codecs.direct.decode` returns, where these threads get it sooner, else None."""
    if how is None or not _SHORT_BYTES < how.rows * how.row_bytes <= _LONG_BYTES:
        return None
    if direct.kernels_for(how, encoded) is None:
        return None
    queue = _queue_of(asyncio.get_running_loop())
    waiting = None if queue is None else queue.submit(encoded, how)
    return None if waiting is None else await waiting


class _Queue:
    """The jobs of one loop, which has this to call while it is open, and nobody else."""

    def __init__(self, loop: asyncio.AbstractEventLoop, line: Line) -> None:
        self._line, self._numbers = line, count()
        self._is_helping = False
        self._waiting: dict[int, asyncio.Future[Octets | None]] = {}
        self._memory: dict[int, _Memory] = {}
        """What jobs read and write, which must not go before they are done."""
        loop.add_reader(line.descriptor, self._collect)
        self._closing = weakref.finalize(self, _close, line, self._memory)
        # at exit the threads are stopped, and loops of other threads may still run
        self._closing.atexit = False

    def submit(self, encoded: Octets, how: Recipe) -> asyncio.Future[Octets | None] | None:
        """Return what will have the result, or None when no thread takes the job."""
        out = np.empty(how.rows * how.row_bytes, np.uint8)
        loop = asyncio.get_running_loop()
        number, waiting = next(self._numbers), loop.create_future()
        # before any thread knows of it: an interrupt may come between
        self._memory[number], self._waiting[number] = (encoded, out, how), waiting
        if self._line.submit(number, how, encoded, out):
            if not self._is_helping:
                self._is_helping = True
                loop.call_soon(self._help, out.size)
            return waiting
        del self._memory[number], self._waiting[number]
        return None

    def _help(self, size: int) -> None:
        """Decode a segment of about this size here, and others in the next turns of the loop, while many wait."""
        done = self._line.help(_SPARED, size)
        if done is None:
            self._is_helping = False
            return
        asyncio.get_running_loop().call_soon(self._help, size)
        self._deliver([done])

    def _collect(self) -> None:
        self._deliver(self._line.collect())

    def _deliver(self, done: list[tuple[int, bool]]) -> None:
        for number, is_decoded in done:
            (_, out, _), waiting = self._memory.pop(number), self._waiting.pop(number)
            if not waiting.done():
                waiting.set_result(out if is_decoded else None)

    def forget(self) -> None:
        """Leave the line alone, which is the parent's."""
        self._closing.detach()


def _close(line: Line, memory: dict[int, _Memory]) -> None:
    line.close()
    memory.clear()


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
            queue.forget()
    _queues.clear()
    if compiled.KERNELS is not None:
        compiled.KERNELS.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
