"""The processes that ``--workers`` asks for."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context


@contextmanager
def started(count: int) -> Iterator[ProcessPoolExecutor | None]:
    """Give a pool of so many processes, or None for no process; those that are forked would hang."""
    if not count:
        yield None
        return
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_begin)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Leave interrupts to the command, which ends the pool, and logs to it, too."""
    from virtual_tiff.cube.access import quiet_icechunk

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet_icechunk()
