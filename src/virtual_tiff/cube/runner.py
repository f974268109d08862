"""Running coroutines from ordinary code, also inside a running event loop, and never in a forked process.

obstore and Icechunk start threads at their first use. A process forked after that has the locks but not the
threads, and waits for ever: such a process is refused.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from virtual_tiff.errors import SourceError


@dataclass(slots=True)
class _Threads:
    started: bool = False
    lost: bool = False

    def after_fork(self) -> None:
        self.lost = self.lost or self.started


_threads = _Threads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.after_fork)


def begin_threads() -> None:
    """Note that storage threads exist from now on; call it before a store is made.

    Raises
    ------
    SourceError
        ``forked`` when this process was forked from one that had such threads.
    """
    if _threads.lost:
        found = "this process was forked after storage threads had started, so reading would wait for ever"
        hint = "Start worker processes with the 'spawn' or 'forkserver' method."
        raise SourceError(found, feature="forked", hint=hint)
    _threads.started = True


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
