"""Drive header readers over any obspec store, synchronously or not.

The first request reads 32 KiB from the start of the file; its response also tells size, ETag, last-modified
and version. Later requests are answered from the bytes at hand where possible, merged, and read ahead. Ranges
never begin behind the end of the file, which stores refuse in many ways.
"""

from __future__ import annotations

import asyncio
from collections.abc import Buffer, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from virtual_tiff.errors import LimitError, UsageError, VirtualTiffError
from virtual_tiff.tiff import deferred
from virtual_tiff.tiff.blocks import Blocks
from virtual_tiff.tiff.failures import is_past_end, no_range, source_changed, source_error
from virtual_tiff.tiff.forks import begin_threads, needs_threads
from virtual_tiff.tiff.ifd import Ifd, Origin, TiffFile
from virtual_tiff.tiff.parse import parse_tiff
from virtual_tiff.tiff.protocol import DEFAULT_LIMITS, PREFETCH, Limits, Ranges, Reader, too_much_metadata

_THREADS: Final = 16
_IN_FLIGHT: Final = 64
_EPOCH: Final = datetime.fromtimestamp(0, UTC)

type _Answer = tuple[memoryview, Origin | None]


class Source:
    """One file in an object store, and the bytes of its header that have been read.

    Parameters
    ----------
    store
        An obspec store: obstore's, or any object with ``get`` or ``get_range`` (and ``get_async`` or
        ``get_range_async`` for the asynchronous methods).
    path
        Key of the file in the store.
    url
        The file's URL, for messages and references.
    prefetch
        Bytes of the first request.
    limits
        Bounds against hostile files; ``max_requests`` counts over the lifetime of the source.
    """

    def __init__(
        self, store: object, path: str, url: str, *, prefetch: int = PREFETCH, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self.store: Any = store
        self.path = path
        self.url = url
        self.prefetch = prefetch
        self.limits = limits
        self.requests = 0
        self.fetched = 0
        self._origin: Origin | None = None
        self._blocks = Blocks()
        self._ignores_options = False
        self._needs_threads = needs_threads(store)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.store, self.path, self.url, self.prefetch, self.limits)

    @property
    def origin(self) -> Origin:
        """URL, and size, ETag, last-modified and version as far as a response has told them."""
        known = self._origin or Origin(self.url)
        if known.size is None and self._blocks.size is not None:
            return Origin(known.url, self._blocks.size, known.etag, known.last_modified, known.version)
        return known

    def run[T](self, reader: Reader[T]) -> T:
        """Answer the requests of a reader and return its result.

        Raises
        ------
        SourceError
            ``not-found``, ``forbidden``, ``unreachable``, ``no-range``, ``source-changed``, ``forked``.
        LimitError
            ``limit-requests``, ``limit-metadata-bytes``, and what the reader raises.
        FormatError
            What the reader raises.
        """
        try:
            ranges = next(reader)
            while True:
                requests = self._plan(ranges)
                if requests:
                    self._accept(requests, self._fetch(requests))
                ranges = reader.send(self._answer(ranges))
        except StopIteration as stop:
            result: T = stop.value
            return result
        except VirtualTiffError as error:
            error.at(url=self.url)
            raise

    async def run_async[T](self, reader: Reader[T]) -> T:
        """Answer the requests of a reader without blocking the event loop; otherwise as :meth:`run`."""
        try:
            ranges = next(reader)
            while True:
                requests = self._plan(ranges)
                if requests:
                    self._accept(requests, await self._fetch_async(requests))
                ranges = reader.send(self._answer(ranges))
        except StopIteration as stop:
            result: T = stop.value
            return result
        except VirtualTiffError as error:
            error.at(url=self.url)
            raise

    def open(self) -> Origin:
        """Make the first request, unless it has been made, and return what the store says of the file."""
        if self._origin is None:
            self.run(_first(self.prefetch))
        return self.origin

    async def open_async(self) -> Origin:
        """Asynchronous form of :meth:`open`."""
        if self._origin is None:
            await self.run_async(_first(self.prefetch))
        return self.origin

    def _plan(self, ranges: Ranges) -> list[tuple[int, int]]:
        """Return the requests that are needed, within the limits."""
        requests = self._blocks.missing(ranges)
        if not requests:
            return requests
        if self._needs_threads:
            begin_threads()
        self.requests += len(requests)
        self.fetched += sum(end - start for start, end in requests)
        if self.requests > self.limits.max_requests:
            found = f"the headers need more than {self.limits.max_requests} requests"
            hint = "Read fewer IFDs, or raise Limits.max_requests if you trust the file."
            raise LimitError(found, feature="limit-requests", url=self.url, hint=hint)
        if self.fetched > self.limits.max_metadata_bytes:
            raise too_much_metadata(self.limits)
        return requests

    def _accept(self, requests: Ranges, answers: Iterable[_Answer]) -> None:
        """Keep the answers, after comparing what the store says of the file with what it said before."""
        for (start, end), (buffer, told) in zip(requests, answers, strict=True):
            if told is not None:
                self._compare(told)
            if len(buffer) > end - start:
                raise no_range(self.url, end - start, len(buffer))
            if len(buffer) < end - start:
                stop = start + len(buffer)
                size = self._blocks.size
                if size is not None and stop < min(end, size):
                    raise source_changed(self.url, f"the file of {size} bytes ends at {stop} now")
                if size is None and (buffer or start == 0):
                    self._blocks.size = stop
            self._blocks.add(start, buffer)

    def _compare(self, told: Origin) -> None:
        known = self._origin
        if known is None:
            self._origin = told
            self._blocks.size = told.size
        elif known.size != told.size:
            raise source_changed(self.url, f"the size was {known.size} bytes and is {told.size} bytes now")
        elif known.etag != told.etag and known.last_modified != told.last_modified:
            # Servers behind one address may disagree on one of the two; they do not on both.
            raise source_changed(self.url, f"the ETag was {known.etag} and is {told.etag} now")

    def _answer(self, ranges: Ranges) -> list[bytes]:
        answers = [self._blocks.take(start, end) for start, end in ranges]
        self._blocks.forget_large()
        return answers

    def _fetch(self, requests: Sequence[tuple[int, int]]) -> Iterable[_Answer]:
        if len(requests) == 1:
            return [self._get(*requests[0])]
        with ThreadPoolExecutor(min(len(requests), _THREADS)) as pool:
            return list(pool.map(lambda request: self._get(*request), requests))

    async def _fetch_async(self, requests: Sequence[tuple[int, int]]) -> Iterable[_Answer]:
        if len(requests) == 1:
            return [await self._get_async(*requests[0])]
        answers: list[_Answer] = []
        for first in range(0, len(requests), _IN_FLIGHT):
            batch = requests[first : first + _IN_FLIGHT]
            answers += await asyncio.gather(*(self._get_async(start, end) for start, end in batch))
        return answers

    def _get(self, start: int, end: int) -> _Answer:
        try:
            answer = self._get_with_facts(start, end) if self._takes_options("get") else None
            if answer is not None:
                return answer
            body: Buffer = _method(self.store, "get_range")(self.path, start=start, end=end)
            return memoryview(body), self._head(start)
        except Exception as error:  # noqa: BLE001 - stores raise what they like
            return self._failed(error, start)

    async def _get_async(self, start: int, end: int) -> _Answer:
        try:
            takes_options = self._takes_options("get_async")
            answer = await self._get_with_facts_async(start, end) if takes_options else None
            if answer is not None:
                return answer
            body: Buffer = await _method(self.store, "get_range_async")(self.path, start=start, end=end)
            return memoryview(body), await self._head_async(start)
        except Exception as error:  # noqa: BLE001 - stores raise what they like
            return self._failed(error, start)

    def _takes_options(self, method: str) -> bool:
        return not self._ignores_options and hasattr(self.store, method)

    def _get_with_facts(self, start: int, end: int) -> _Answer | None:
        """Use ``get``, which also tells size and ETag; None when the store ignores its range option."""
        try:
            result = self.store.get(self.path, options={"range": (start, end)})
        except (TypeError, NotImplementedError):
            self._ignores_options = True
            return None
        buffer = memoryview(result.buffer())
        if self._is_oversized(buffer, end - start, "get_range"):
            return None
        return buffer, _told(self.url, result.meta)

    async def _get_with_facts_async(self, start: int, end: int) -> _Answer | None:
        try:
            result = await self.store.get_async(self.path, options={"range": (start, end)})
        except (TypeError, NotImplementedError):
            self._ignores_options = True
            return None
        buffer = memoryview(await result.buffer_async())
        if self._is_oversized(buffer, end - start, "get_range_async"):
            return None
        return buffer, _told(self.url, result.meta)

    def _is_oversized(self, buffer: memoryview, asked: int, other: str) -> bool:
        """Whether ``get`` ignores its range option, and there is another method to try from now on."""
        if len(buffer) <= asked or not hasattr(self.store, other):
            return False
        self._ignores_options = True
        return True

    def _head(self, start: int) -> Origin | None:
        """Return what ``head`` tells, where there is such a method: once, with the first bytes."""
        if start or self._origin is not None or not hasattr(self.store, "head"):
            return None
        with suppress(Exception):  # the size is welcome, not needed
            return _told(self.url, self.store.head(self.path))
        return None

    async def _head_async(self, start: int) -> Origin | None:
        if start or self._origin is not None or not hasattr(self.store, "head_async"):
            return None
        with suppress(Exception):
            return _told(self.url, await self.store.head_async(self.path))
        return None

    def _failed(self, error: Exception, start: int) -> _Answer:
        """Translate an exception; a range behind the end of a file of unknown size is no failure."""
        if isinstance(error, VirtualTiffError):
            raise error
        if not is_past_end(error):
            raise source_error(error, self.url) from error
        if self._blocks.size is not None:
            raise source_changed(self.url, f"the file of {self._blocks.size} bytes is shorter now") from error
        return memoryview(b""), Origin(self.url, 0) if start == 0 else None


def read_tiff(source: Source, *, last: int | None = None) -> TiffFile:
    """Read the headers of a TIFF file; ``last`` is the index of the last IFD of the main chain to read.

    Raises
    ------
    FormatError, LimitError
        As :func:`virtual_tiff.tiff.parse.parse_tiff`.
    SourceError
        As :meth:`Source.run`.
    """
    origin = source.open()
    return source.run(parse_tiff(origin, prefetch=source.prefetch, limits=source.limits, last=last))


async def read_tiff_async(source: Source, *, last: int | None = None) -> TiffFile:
    """Asynchronous form of :func:`read_tiff`."""
    origin = await source.open_async()
    reader = parse_tiff(origin, prefetch=source.prefetch, limits=source.limits, last=last)
    return await source.run_async(reader)


def load_tags(source: Source, ifd: Ifd, codes: Collection[int] | None = None) -> Ifd:
    """Load the deferred tags of one IFD (all, or those in ``codes``) and return the IFD with them.

    Raises
    ------
    SourceError, LimitError
        As :meth:`Source.run`.
    """
    return source.run(deferred.load_tags(ifd, codes, limits=source.limits))


async def load_tags_async(source: Source, ifd: Ifd, codes: Collection[int] | None = None) -> Ifd:
    """Asynchronous form of :func:`load_tags`."""
    return await source.run_async(deferred.load_tags(ifd, codes, limits=source.limits))


def load_file_tags(source: Source, tiff: TiffFile, codes: Collection[int] | None = None) -> TiffFile:
    """Load the deferred tags of all IFDs and SubIFDs in one batch; otherwise as :func:`load_tags`."""
    return source.run(deferred.load_file_tags(tiff, codes, limits=source.limits))


async def load_file_tags_async(source: Source, tiff: TiffFile, codes: Collection[int] | None = None) -> TiffFile:
    """Asynchronous form of :func:`load_file_tags`."""
    return await source.run_async(deferred.load_file_tags(tiff, codes, limits=source.limits))


def _first(prefetch: int) -> Reader[None]:
    yield [(0, prefetch)]


def _told(url: str, meta: Any) -> Origin:
    modified = meta.get("last_modified")
    if modified == _EPOCH:  # object stores answer with the epoch where the header is missing
        modified = None
    return Origin(url, meta["size"], meta.get("e_tag"), modified, meta.get("version"))


def _method(store: object, name: str) -> Any:
    if not hasattr(store, name):
        found = f"the store {type(store).__name__} has no method {name}"
        raise UsageError(found, feature="usage", hint="Use a store that follows obspec, such as obstore's.")
    return getattr(store, name)


def _rebuild(store: object, path: str, url: str, prefetch: int, limits: Limits) -> Source:
    return Source(store, path, url, prefetch=prefetch, limits=limits)
