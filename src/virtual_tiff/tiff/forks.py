"""Refuse to read in a forked process: obstore's threads do not survive a fork, and its calls hang."""

from __future__ import annotations

import os
from dataclasses import dataclass

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


def needs_threads(store: object) -> bool:
    """Whether a store is one of obstore's, or wraps one."""
    for _ in range(8):
        if type(store).__module__.partition(".")[0] == "obstore":
            return True
        store = getattr(store, "_store", None) or getattr(store, "store", None)
        if store is None:
            return False
    return False


def begin_threads() -> None:
    """Note that storage threads exist from now on; call it before a store that needs them is asked.

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
