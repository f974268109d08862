"""Reading the headers of many files at once: bounded concurrency, progress, failures collected."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube.header import FileHeader, read_header
from virtual_tiff.cube.inputs import expand_inputs
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.stores import Location
from virtual_tiff.errors import UsageError, VirtualTiffError
from virtual_tiff.tiff.ifd import IfdPath

CONCURRENCY: Final = 64
"""Files that are read at the same time, by default."""


@dataclass(frozen=True, slots=True)
class ScanProgress:
    """How far a scan has come, in files."""

    done: int
    failed: int
    total: int


type OnProgress = Callable[[ScanProgress], None]


@dataclass(frozen=True, slots=True)
class Failure:
    """A file whose header could not be read, and why."""

    place: Location
    error: VirtualTiffError


@dataclass(frozen=True, slots=True)
class Scan:
    """The headers of the files that could be read, in the order of the inputs, and the failures."""

    headers: tuple[FileHeader, ...]
    failures: tuple[Failure, ...]

    def check(self) -> None:
        """Raise the first failure, if there is one."""
        if self.failures:
            raise self.failures[0].error


def scan(
    inputs: Iterable[str | os.PathLike[str]],
    *,
    ifd: int | IfdPath = 0,
    options: ChunkOptions | None = None,
    concurrency: int = CONCURRENCY,
    on_progress: OnProgress | None = None,
) -> Scan:
    """Read the headers of many files; works in scripts and inside a running event loop.

    Parameters
    ----------
    inputs
        Files, directories, globs, prefixes, URLs and ``@list.txt``, see
        :func:`virtual_tiff.cube.inputs.expand_inputs`.
    ifd
        The image of each file: an index, or a path into the SubIFDs.
    options
        How strips become chunks.
    concurrency
        Files that are read at the same time.
    on_progress
        Called after each file, in the thread that reads.

    Raises
    ------
    SourceError
        ``no-match`` when an input names no file; ``forked``, see :func:`virtual_tiff.cube.runner.run`.
    """
    places = expand_inputs(inputs)
    return run(scan_async(places, ifd=ifd, options=options, concurrency=concurrency, on_progress=on_progress))


async def scan_async(
    places: Sequence[Location],
    *,
    ifd: int | IfdPath = 0,
    options: ChunkOptions | None = None,
    concurrency: int = CONCURRENCY,
    on_progress: OnProgress | None = None,
) -> Scan:
    """Read the headers of located files, see :func:`scan`."""
    if concurrency < 1:
        raise UsageError(f"concurrency={concurrency}", feature="usage", hint="It must be at least 1.")
    results: list[FileHeader | Failure | None] = [None] * len(places)
    queue = iter(enumerate(places))
    done = failed = 0

    async def work() -> None:
        nonlocal done, failed
        for index, place in queue:
            try:
                results[index] = await read_header(place, ifd=ifd, options=options)
            except VirtualTiffError as error:
                results[index] = Failure(place, error)
                failed += 1
            done += 1
            if on_progress is not None:
                on_progress(ScanProgress(done, failed, len(places)))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(concurrency, len(places))):
            tasks.create_task(work())
    return Scan(
        headers=tuple(result for result in results if isinstance(result, FileHeader)),
        failures=tuple(result for result in results if isinstance(result, Failure)),
    )


def parse_ifd(text: str) -> int | IfdPath:
    """Read ``3`` as the index 3, and ``3.0`` as the path to the first SubIFD of IFD 3.

    Raises
    ------
    UsageError
        ``usage`` when it is neither.
    """
    parts = text.split(".")
    if not all(part.isdecimal() for part in parts):
        raise UsageError(f"{text!r} names no IFD", feature="usage", hint="Write an index, or a path such as 3.0.")
    path = tuple(int(part) for part in parts)
    return path[0] if len(path) == 1 else path
