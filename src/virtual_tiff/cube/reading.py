"""Reading the headers of many located files in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from virtual_tiff.cube.header import HeaderOptions, read_header
from virtual_tiff.cube.results import Failure, OnResult, Result
from virtual_tiff.cube.retry import RETRIES, check_retries, retried
from virtual_tiff.cube.stores import Location
from virtual_tiff.errors import UsageError, VirtualTiffError

CONCURRENCY: Final = 64
"""Files that are read at the same time, by default."""


class Stop(Exception):  # noqa: N818 (no error: it ends a scan that has seen enough)
    """Raised by a receiver of results that wants no more."""


def check_concurrency(concurrency: int) -> None:
    """Refuse to read no file at a time."""
    if concurrency < 1:
        raise UsageError(f"concurrency={concurrency}", feature="usage", hint="It must be at least 1.")


async def read_headers(
    places: Iterable[Location],
    options: HeaderOptions,
    *,
    on_result: OnResult,
    concurrency: int = CONCURRENCY,
    retries: int = RETRIES,
) -> None:
    """Read the headers of files, a bounded number at a time, and hand each over as soon as it is there.

    Parameters
    ----------
    places
        The files; taken one by one, when there is room for them.
    options
        What is read of each.
    on_result
        Called with each header or failure, in the order in which they come. What it raises ends the reading:
        :class:`Stop` quietly, all else is raised here.
    concurrency
        Files that are read at the same time.
    retries
        Further attempts for each file when its source cannot be reached, see :func:`~virtual_tiff.cube.retry.retried`.
    """
    check_concurrency(concurrency)
    check_retries(retries)
    queue = iter(places)

    async def work() -> None:
        for place in queue:
            on_result(await _read(place, options, retries))

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(concurrency, len(places)) if isinstance(places, Sequence) else concurrency):
                tasks.create_task(work())
    except BaseExceptionGroup as group:
        first = next(_flat(group))
        if not isinstance(first, Stop):
            raise first from first.__cause__


async def _read(place: Location, options: HeaderOptions, retries: int) -> Result:
    try:
        return await retried(
            lambda: read_header(place, ifd=options.ifd, options=options.chunks, overviews=options.overviews), retries
        )
    except VirtualTiffError as error:
        return Failure(place, error)


def _flat(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flat(error)
        else:
            yield error
