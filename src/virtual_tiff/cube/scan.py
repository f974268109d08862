"""Reading the headers of many files at once: bounded concurrency, retries, a ledger, failures collected."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal

from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube.executor import check_executor, scan_shards
from virtual_tiff.cube.header import FileHeader, HeaderOptions
from virtual_tiff.cube.heads import changed_since
from virtual_tiff.cube.ledger import ScanLedger
from virtual_tiff.cube.listed import Input, Inputs, gather_inputs
from virtual_tiff.cube.reading import CONCURRENCY, Stop, check_concurrency, read_headers
from virtual_tiff.cube.results import Failure, OnProgress, OnResult, Result, Scan, ScanProgress
from virtual_tiff.cube.retry import RETRIES, check_retries
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.stores import Location
from virtual_tiff.errors import UsageError
from virtual_tiff.tiff.ifd import IfdPath

__all__ = ["CONCURRENCY", "Failure", "OnProgress", "Scan", "ScanProgress", "parse_ifd", "scan", "scan_async"]

type OnError = Literal["skip", "raise"]

_NOTHING: Final = contextlib.nullcontext()


def scan(
    inputs: Iterable[Input],
    *,
    ifd: int | IfdPath = 0,
    options: ChunkOptions | None = None,
    overviews: bool = False,
    ledger: str | os.PathLike[str] | None = None,
    refresh: bool = False,
    on_error: OnError = "skip",
    concurrency: int = CONCURRENCY,
    retries: int = RETRIES,
    executor: Any = None,
    on_progress: OnProgress | None = None,
) -> Scan:
    """Read the headers of many files; works in scripts and inside a running event loop.

    Parameters
    ----------
    inputs
        Files, directories, globs, prefixes, URLs and ``@list.txt``, see
        :func:`virtual_tiff.cube.inputs.expand_inputs`; and items of :func:`virtual_tiff.cube.catalog.read_catalog`,
        whose id, time, asset and further properties the headers then have.
    ifd
        The image of each file: an index, or a path into the SubIFDs.
    options
        How strips become chunks.
    overviews
        Whether to describe the overviews and masks of each file, too.
    ledger
        A Parquet file that keeps what was read, see :mod:`virtual_tiff.cube.ledger`. Files that stand in it are not
        read again, unless they failed. A scan that is killed goes on from there.
    refresh
        Whether to ask the store, for each file in the ledger, whether it has changed, and to read it again then.
    on_error
        What to do when a file cannot be read: "skip" it and list it among the failures, or "raise" its error.
    concurrency
        Files that are read at the same time; with an executor, by each worker.
    retries
        Further attempts for each file when its source cannot be reached.
    executor
        Reads on other processes or machines, see :func:`virtual_tiff.cube.executor.check_executor`.
    on_progress
        Called after each file, in the thread that reads.

    Raises
    ------
    SourceError
        ``no-match`` when an input names no file; ``forked``, see :func:`virtual_tiff.cube.runner.run`.
    UsageError
        ``usage`` for arguments that make no sense, and for a ledger made with other options.
    TargetError
        ``target-denied`` when the ledger cannot be written.
    VirtualTiffError
        With ``on_error="raise"``, why a file cannot be read; what was read stands in the ledger.
    """
    if on_error not in ("raise", "skip"):
        raise UsageError(f"on_error={on_error!r}", feature="usage", hint="Choose 'raise' or 'skip'.")
    if refresh and ledger is None:
        raise UsageError("refresh=True without a ledger", feature="usage", hint="Name one: ledger='scan.parquet'.")
    check_concurrency(concurrency)
    check_retries(retries)
    if executor is not None:
        check_executor(executor)
    wanted = _header_options(ifd, options, overviews=overviews)
    named = gather_inputs(inputs)
    places = named.places
    with ScanLedger(ledger, wanted) if ledger is not None else _NOTHING as book:
        known = book.known(place.url for place in places) if book is not None else {}
        if refresh and known:
            for url in run(changed_since(list(known.values()), concurrency=concurrency, retries=retries)):
                del known[url]
        results = _Results(known, named, on_error, None if book is None else book.add, on_progress)
        missing = [place for place in places if place.url not in known]
        if executor is not None:
            scan_shards(executor, missing, wanted, on_result=results.add, concurrency=concurrency, retries=retries)
        else:
            run(read_headers(missing, wanted, on_result=results.add, concurrency=concurrency, retries=retries))
    return results.in_order(places)


async def scan_async(
    places: Sequence[Location],
    *,
    ifd: int | IfdPath = 0,
    options: ChunkOptions | None = None,
    overviews: bool = False,
    concurrency: int = CONCURRENCY,
    retries: int = RETRIES,
    on_progress: OnProgress | None = None,
) -> Scan:
    """Read the headers of located files, see :func:`scan`."""
    wanted = _header_options(ifd, options, overviews=overviews)
    results = _Results({}, Inputs(tuple(places)), "skip", None, on_progress)
    await read_headers(places, wanted, on_result=results.add, concurrency=concurrency, retries=retries)
    return results.in_order(places)


def _header_options(ifd: int | IfdPath, options: ChunkOptions | None, *, overviews: bool) -> HeaderOptions:
    path = (ifd,) if isinstance(ifd, int) else tuple(ifd)
    return HeaderOptions(ifd=path, chunks=options or ChunkOptions(), overviews=overviews)


class _Results:
    """What comes in, and what the ledger knew before."""

    def __init__(
        self,
        known: dict[str, FileHeader],
        inputs: Inputs,
        on_error: OnError,
        keep: OnResult | None,
        on_progress: OnProgress | None,
    ) -> None:
        self._found: dict[str, Result] = {url: inputs.described(header) for url, header in known.items()}
        self._inputs = inputs
        self._reused = len(known)
        self._failed = 0
        self._on_error = on_error
        self._keep = keep
        self._on_progress: Callable[[ScanProgress], None] = on_progress or (lambda _: None)
        self._fatal: Failure | None = None
        if known:
            self._tell()

    def add(self, result: Result) -> None:
        """Take one result; end the scan when it is a failure and failures are fatal."""
        result = self._inputs.described(result)
        self._found[result.url] = result
        if self._keep is not None:
            self._keep(result)
        if isinstance(result, Failure):
            self._failed += 1
            if self._on_error == "raise":
                self._fatal = result
        self._tell()
        if self._fatal is not None:
            raise Stop

    def _tell(self) -> None:
        self._on_progress(ScanProgress(len(self._found), self._failed, len(self._inputs.places)))

    def in_order(self, places: Sequence[Location]) -> Scan:
        """The scan, in the order of the inputs; raises the error that ended it."""
        if self._fatal is not None:
            raise self._fatal.error
        found = [self._found[place.url] for place in places]
        return Scan(
            headers=tuple(item for item in found if isinstance(item, FileHeader)),
            failures=tuple(item for item in found if isinstance(item, Failure)),
            reused=self._reused,
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
