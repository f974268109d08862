"""Locks on directories. They end with the process that holds them, however it ends, and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from virtual_tiff.errors import TargetError

if sys.platform != "win32":  # there directories cannot be locked, and whoever deletes open files is refused anyway
    import fcntl

LONGEST_WAIT: Final = 600.0
"""Seconds to wait for another process that writes into the same local cube."""

_PAUSE: Final = 0.05


def lock(folder: Path) -> int | None:
    """Lock a directory for this process and return a handle for :func:`unlock`, or None where that is impossible.

    Raises
    ------
    BlockingIOError
        When another process holds the lock.
    FileNotFoundError
        When the directory does not exist, or is removed while it is locked.
    """
    if sys.platform == "win32":
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:  # a file system without locks
        os.close(handle)
        return None
    try:
        gone = not os.path.samestat(os.fstat(handle), folder.stat())
    except FileNotFoundError:
        gone = True
    if gone:
        os.close(handle)
        raise FileNotFoundError(folder)
    return handle


def unlock(handle: int | None) -> None:
    """Release a lock."""
    if handle is not None:
        os.close(handle)


@contextlib.contextmanager
def locked(folder: Path, *, wait: float = LONGEST_WAIT) -> Iterator[None]:
    """Hold the lock of a directory; wait at most so many seconds for another process that holds it.

    Raises
    ------
    TargetError
        ``target-denied`` when the other process is still at it; ``target-missing`` when the directory is gone.
    """
    end = time.monotonic() + wait
    while True:
        try:
            handle = lock(folder)
            break
        except BlockingIOError as error:
            if time.monotonic() >= end:
                found = f"another process has been writing there for {wait:.0f} seconds"
                raise TargetError(found, feature="target-denied", url=str(folder), hint="Run it again.") from error
            time.sleep(_PAUSE)
        except FileNotFoundError as error:
            raise TargetError("nothing is there", feature="target-missing", url=str(folder)) from error
    try:
        yield
    finally:
        unlock(handle)
