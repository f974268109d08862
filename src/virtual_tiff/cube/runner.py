"""Running coroutines from ordinary code, also inside a running event loop, and never in a forked process.

obstore and Icechunk start threads at their first use, which a forked process lacks: it would wait for ever.
"""

from __future__ import annotations

import asyncio
import atexit
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final

from virtual_tiff.errors import SourceError
from virtual_tiff.tiff import forks

_LAST_PAUSE: Final = 0.02
"""Seconds at the end of the process."""


def begin_threads() -> None:
    """Note that storage threads exist from now on; call it before a store is made.

    Raises
    ------
    SourceError
        ``forked`` when this process was forked from one that had such threads.
    """
    forks.begin_threads()
    _pause_at_exit()


@cache
def _pause_at_exit() -> None:
    """Let Rust threads end: one that hands over a result while Python shuts down aborts the process."""
    atexit.register(time.sleep, _LAST_PAUSE)


def run[T](coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; inside a running event loop (a notebook) it gets a thread of its own.

    Raises
    ------
    SourceError
        ``forked``, see :func:`begin_threads`.
    """
    try:
        begin_threads()
    except SourceError:
        coroutine.close()
        raise
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1, thread_name_prefix="virtual-tiff") as thread:
        return thread.submit(asyncio.run, coroutine).result()
