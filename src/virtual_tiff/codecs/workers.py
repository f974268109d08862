"""Segments that threads decode without Python's lock, while an event loop goes on.

Threads of Python get in one another's way: each hands the lock over twice for a segment, and what one has in its cache
the others lack. These threads never take it. There is one less than there are processors, which is the loop's.
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
type _Job = tuple[asyncio.Future[Octets | None], Octets, Octets, Recipe]

_SHORT_BYTES: Final = 1 << 14
"""Decoded bytes up to which decoding takes no longer than handing it over."""

_LONG_BYTES: Final = 1 << 19
"""Decoded bytes from which threads of Python are as good; there are more of them."""


def is_for(how: Recipe | None) -> bool:
    """Whether such segments are decoded sooner by these threads than by others."""
    return (
        how is not None
        and _SHORT_BYTES < how.rows * how.row_bytes <= _LONG_BYTES
        and direct.kernels_for(how) is not None
    )


async def decode(encoded: Octets, how: Recipe) -> Octets | None:
    """Decode a segment.

    Returns
    -------
    numpy.ndarray
        The bytes of a full segment; None when it is left to others.
    """
    queue = _queue_of(asyncio.get_running_loop())
    waiting = None if queue is None else queue.submit(encoded, how)
    return None if waiting is None else await waiting


class _Queue:
    """The jobs of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, line: Line) -> None:
        self._line, self._numbers = line, count()
        self._jobs: dict[int, _Job] = {}
        """By their numbers; what they read and write must not go before they are done."""
        loop.add_reader(line.descriptor, self._collect)
        self._closing = weakref.finalize(loop, _close, line, self._jobs)
        # at exit the threads are stopped, and loops of other threads may still run
        self._closing.atexit = False

    def submit(self, encoded: Octets, how: Recipe) -> asyncio.Future[Octets | None] | None:
        """Return what will have the result, or None when no thread takes the job."""
        out = np.empty(how.rows * how.row_bytes, np.uint8)
        number = next(self._numbers)
        if not self._line.submit(number, how, encoded, out):
            return None
        waiting: asyncio.Future[Octets | None] = asyncio.get_running_loop().create_future()
        self._jobs[number] = waiting, encoded, out, how
        return waiting

    def _collect(self) -> None:
        for number, is_decoded in self._line.collect():
            waiting, _, out, _ = self._jobs.pop(number)
            if not waiting.done():
                waiting.set_result(out if is_decoded else None)

    def forget(self) -> None:
        """Leave the line alone, which is the parent's."""
        self._closing.detach()


def _close(line: Line, jobs: dict[int, _Job]) -> None:
    line.close()
    jobs.clear()


_queues: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue | None] = weakref.WeakKeyDictionary()


def _queue_of(loop: asyncio.AbstractEventLoop) -> _Queue | None:
    """Return the queue of a loop, or None where there are no threads."""
    try:
        return _queues[loop]
    except KeyError:
        kernels = compiled.KERNELS
        queue = None if kernels is None or not _start(kernels) else _open(loop, kernels)
        _queues[loop] = queue
        return queue


def _open(loop: asyncio.AbstractEventLoop, kernels: Kernels) -> _Queue | None:
    try:
        line = kernels.open_line()
    except OSError:
        return None
    try:
        return _Queue(loop, line)
    except NotImplementedError:  # a loop that cannot wait for descriptors
        line.close()
        return None


def _start(kernels: Kernels) -> bool:
    _at_exit_stop(kernels)
    return kernels.start(max(1, PROCESSORS - 1))


@cache
def _at_exit_stop(kernels: Kernels) -> None:
    """Let no thread write to memory that the interpreter gives back."""
    atexit.register(kernels.stop)


def _forked() -> None:
    for queue in _queues.values():
        if queue is not None:
            queue.forget()
    _queues.clear()
    if compiled.KERNELS is not None:
        compiled.KERNELS.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
