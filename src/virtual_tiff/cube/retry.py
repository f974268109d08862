"""Asking a source again: what the stores' own retries leave over, with pauses that grow and vary."""

from __future__ import annotations

import asyncio
import random
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


async def retried[T](attempt: Callable[[], Awaitable[T]], retries: int) -> T:
    """Await an attempt, and repeat it when it fails for a reason that may pass.

    Pauses are random, between half and all of their length, so that many readers do not come back at once.

    Raises
    ------
    VirtualTiffError
        What the last attempt raised.
    """
    for number in range(retries):
        try:
            return await attempt()
        except SourceError as error:
            if error.feature not in _PASSING:
                raise
        await asyncio.sleep(FIRST_PAUSE * 2**number * random.uniform(0.5, 1.0))  # noqa: S311 (no secret)
    return await attempt()
