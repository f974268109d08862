"""Reading the headers of many files at once: bounded concurrency, retries, a ledger, failures collected."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube.assets import AssetChoice
from virtual_tiff.cube.executor import check_executor, scan_shards
from virtual_tiff.cube.gone import find_gone
from virtual_tiff.cube.header import FileHeader, HeaderOptions
from virtual_tiff.cube.heads import changed_since
from virtual_tiff.cube.ledger import ScanLedger
from virtual_tiff.cube.listed import Input, InputOptions, Inputs, gather_inputs
from virtual_tiff.cube.pattern import Pattern
from virtual_tiff.cube.reading import CONCURRENCY, Stop, check_concurrency, read_headers
from virtual_tiff.cube.results import Failure, OnProgress, OnResult, Result, Scan, ScanProgress
from virtual_tiff.cube.retry import RETRIES, check_retries
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.stores import Location
from virtual_tiff.cube.vrt import Parts
from virtual_tiff.errors import UsageError
from virtual_tiff.tiff.ifd import IfdPath

__all__ = ["CONCURRENCY", "Failure", "OnProgress", "Scan", "ScanProgress", "parse_ifd", "scan", "scan_async"]

type OnError = Literal["skip", "raise"]

_NOTHING: Final = contextlib.nullcontext()


def scan(
    inputs: Input | Inputs,
    *,
    pattern: str | Pattern | None = None,
    assets: AssetChoice | Sequence[str] | None = None,
    properties: Sequence[str] = (),
    location_field: str | None = None,
    parts: Parts = "error",
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
        :func:`virtual_tiff.cube.inputs.expand_inputs`; catalogues, by their names or as STAC items in memory, whose
        id, time, asset and further properties the headers then have; ledgers of earlier scans, whose files are not
        read again, unless that failed. See :func:`virtual_tiff.cube.listed.gather_inputs`, whose result will do, too.
    pattern
        What the names of files look like, such as ``"{tile}_{time:%Y%m%d}_{band}.tif"``: its fields become keys and
        times of the headers. A file that does not match it is a failure.
    assets, properties, location_field, parts
        How catalogues are read, see :class:`virtual_tiff.cube.facts.InputOptions`.
    ifd
        The image of each file: an index, or a path into the SubIFDs.
    options
        How strips become chunks.
    overviews
        Whether to describe the overviews and masks of each file, too.
    ledger
        A Parquet file that keeps what was read, see :mod:`virtual_tiff.cube.ledger`. Files that stand in it are not
        read again, unless they failed. A scan that is killed goes on from there. Files that are gone from the folders,
        prefixes and globs among the inputs are taken out of it; those that other inputs named stay.
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
    check_concurrency(concurrency)
    check_retries(retries)
    if executor is not None:
        check_executor(executor)
    wanted = _header_options(ifd, options, overviews=overviews)
    chosen = InputOptions(
        pattern=pattern, assets=assets, properties=properties, location_field=location_field, parts=parts
    )
    named = _gathered(inputs, chosen)
    named.check_options(wanted)
    if refresh and ledger is None and not named.known:
        raise UsageError("refresh=True without a ledger", feature="usage", hint="Name one: ledger='scan.parquet'.")
    with ScanLedger(ledger, wanted) if ledger is not None else _NOTHING as book:
        stored = {} if book is None else book.known(place.url for place in named.places)
        gone: tuple[str, ...] = ()
        if book is not None and named.listings:
            gone = find_gone(book.urls(), named.listings, named.offered, concurrency=concurrency, retries=retries)
            book.drop(gone)
        known = _newest(stored, named)
        if refresh and known:
            for url in run(changed_since(list(known.values()), concurrency=concurrency, retries=retries)):
                del known[url]
        results = _Results(named, on_error, None if book is None else book.add, on_progress)
        if results.begin(known, stored):
            missing = results.missing()
            if executor is not None:
                scan_shards(executor, missing, wanted, on_result=results.add, concurrency=concurrency, retries=retries)
            else:
                run(read_headers(missing, wanted, on_result=results.add, concurrency=concurrency, retries=retries))
    return replace(results.in_order(), gone=gone)


async def scan_async(
    places: Sequence[Location] | Inputs,
    *,
    ifd: int | IfdPath = 0,
    options: ChunkOptions | None = None,
    overviews: bool = False,
    concurrency: int = CONCURRENCY,
    retries: int = RETRIES,
    on_progress: OnProgress | None = None,
) -> Scan:
    """Read the headers of located files, or of all :func:`~virtual_tiff.cube.listed.gather_inputs` found.

    In the latter case, those that are known are not read, as in :func:`scan`.

    Raises
    ------
    UsageError
        ``usage`` for a ledger made with other options.
    """
    wanted = _header_options(ifd, options, overviews=overviews)
    named = places if isinstance(places, Inputs) else Inputs(tuple(places))
    named.check_options(wanted)
    results = _Results(named, "skip", None, on_progress)
    results.begin(_newest({}, named), {})
    await read_headers(results.missing(), wanted, on_result=results.add, concurrency=concurrency, retries=retries)
    return results.in_order()


def _gathered(inputs: Input | Inputs, options: InputOptions) -> Inputs:
    if not isinstance(inputs, Inputs):
        return gather_inputs(inputs, options)
    if options != InputOptions():
        found = "a pattern, or a choice of what catalogues list, comes after the inputs were gathered"
        raise UsageError(found, feature="usage", hint="Give it to gather_inputs.")
    return inputs


def _newest(stored: Mapping[str, FileHeader], inputs: Inputs) -> dict[str, FileHeader]:
    """The headers that need not be read: of the ledger that is written, and of ledgers among the inputs."""
    known = dict(stored)
    for place in inputs.places:
        header = inputs.known.get(place.url)
        if header is not None and (place.url not in known or known[place.url].read_at < header.read_at):
            known[place.url] = header
    return known


def _header_options(ifd: int | IfdPath, options: ChunkOptions | None, *, overviews: bool) -> HeaderOptions:
    path = (ifd,) if isinstance(ifd, int) else tuple(ifd)
    return HeaderOptions(ifd=path, chunks=options or ChunkOptions(), overviews=overviews)


class _Results:
    """What comes in, and what is known before anything is read."""

    def __init__(
        self, inputs: Inputs, on_error: OnError, keep: OnResult | None, on_progress: OnProgress | None
    ) -> None:
        self._found: dict[str, Result] = {}
        self._inputs = inputs
        self._reused = 0
        self._failed = 0
        self._on_error = on_error
        self._keep = keep
        self._on_progress: Callable[[ScanProgress], None] = on_progress or (lambda _: None)
        self._fatal: Failure | None = None

    def begin(self, known: Mapping[str, FileHeader], stored: Mapping[str, FileHeader]) -> bool:
        """Take the files that are not read: those that are refused, and those whose headers are known.

        Parameters
        ----------
        known
            The headers.
        stored
            Those of them, or older ones, that stand in the ledger that is written.

        Returns
        -------
        bool
            Whether the scan goes on: not when there is a failure and failures are fatal.
        """
        for place in self._inputs.places:
            url = place.url
            header = known.get(url)
            if url in self._inputs.refused:
                result = self._take(self._inputs.refused[url])
                kept = url not in stored
            elif header is not None:
                result = self._take(header)
                kept = isinstance(result, FileHeader) and _differs(result, stored.get(url))
                self._reused += 1
            else:
                continue
            if kept and self._keep is not None:
                self._keep(result)
        if self._found:
            self._tell()
        return self._fatal is None

    def missing(self) -> list[Location]:
        """The files that are to be read."""
        return [place for place in self._inputs.places if place.url not in self._found]

    def add(self, result: Result) -> None:
        """Take one result; end the scan when it is a failure and failures are fatal."""
        result = self._take(result)
        if self._keep is not None:
            self._keep(result)
        self._tell()
        if self._fatal is not None:
            raise Stop

    def _take(self, result: Result) -> Result:
        result = self._inputs.described(result)
        self._found[result.url] = result
        if isinstance(result, Failure):
            self._failed += 1
            if self._on_error == "raise" and self._fatal is None:
                self._fatal = result
        return result

    def _tell(self) -> None:
        self._on_progress(ScanProgress(len(self._found), self._failed, len(self._inputs.places)))

    def in_order(self) -> Scan:
        """The scan, in the order of the inputs; raises the error that ended it."""
        if self._fatal is not None:
            raise self._fatal.error
        found = [self._found[place.url] for place in self._inputs.places]
        return Scan(
            headers=tuple(item for item in found if isinstance(item, FileHeader)),
            failures=tuple(item for item in found if isinstance(item, Failure)),
            reused=self._reused,
        )


def _differs(header: FileHeader, stored: FileHeader | None) -> bool:
    """Whether a header says more or something else than the one in the ledger."""
    if stored is None:
        return True
    pairs = ((one.read_at, one.item_id, one.time, dict(one.keys), one.updated) for one in (header, stored))
    return next(pairs) != next(pairs)


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
