"""Asking a source again: what the stores' own retries leave over, with pauses that grow and vary."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

from virtual_tiff.errors import SourceError, UsageError

RETRIES: Final = 2
"""Further attempts by default. obstore itself asks up to seven times for each request, see ``stores.py``; this covers
answers that break off, and servers that stay away a little longer."""

FIRST_PAUSE: Final = 0.5
"""Seconds before the second attempt; each further pause is twice as long."""

_PASSING: Final = frozenset({"unreachable", "source-changed"})


def check_retries(retries: int) -> None:
    """Refuse a negative number of retries."""
    if retries < 0:
        raise UsageError(f"retries={retries}", feature="usage", hint="It must be 0 or more.")


def pause(number: int) -> float:
    """Seconds before a further attempt, between half and all of its length, so that many readers do not come at once.

    Parameters
    ----------
    number
        Of the attempt that has failed, from 0.
    """
    return FIRST_PAUSE * 2.0**number * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)


def is_passing(error: BaseException) -> bool:
    """Whether the reason of a failure may pass."""
    return isinstance(error, SourceError) and error.feature in _PASSING


def retried_here[T](attempt: Callable[[], T], retries: int = RETRIES) -> T:
    """As :func:`retried`, for what is no coroutine."""
    for number in range(retries):
        try:
            return attempt()
        except SourceError as error:
            if not is_passing(error):
                raise
        time.sleep(pause(number))
    return attempt()


async def retried[T](attempt: Callable[[], Awaitable[T]], retries: int) -> T:
    """Await an attempt, and repeat it when it fails for a reason that may pass.

    Raises
    ------
    VirtualTiffError
        What the last attempt raised.
    """
    for number in range(retries):
        try:
            return await attempt()
        except SourceError as error:
            if not is_passing(error):
                raise
        await asyncio.sleep(pause(number))
    return await attempt()
