"""What stores say of files now, without reading them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from virtual_tiff.cube.retry import RETRIES, retried
from virtual_tiff.cube.stores import Location
from virtual_tiff.errors import SourceError
from virtual_tiff.tiff.failures import source_error

_EPOCH: Final = datetime.fromtimestamp(0, UTC)


class Known(Protocol):
    """What was known of a file when it was read."""

    @property
    def place(self) -> Location:
        """Which file."""

    @property
    def size(self) -> int | None:
        """In bytes."""

    @property
    def etag(self) -> str | None:
        """As the store gave it."""

    @property
    def last_modified(self) -> datetime | None:
        """Time of the last change."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a store says of a file: size in bytes, ETag, time of the last change, version."""

    size: int | None
    etag: str | None
    last_modified: datetime | None
    version: str | None

    def same_as(self, known: Known) -> bool:
        """Whether the file is the one that was read, as far as can be said without reading it.

        Size, ETag and time must agree, where both sides know them; a file of which neither ETag nor time can be
        compared counts as changed.
        """
        pairs = (
            (known.size, self.size),
            (known.etag, self.etag),
            (known.last_modified, self.last_modified),
        )
        told = [before == now for before, now in pairs if before is not None and now is not None]
        comparable = None not in (known.etag, self.etag) or None not in (known.last_modified, self.last_modified)
        return comparable and all(told)


async def ask(place: Location, retries: int = RETRIES) -> Head:
    """Ask a store about a file: by HEAD, or by a GET of one byte where the server refuses that.

    Raises
    ------
    SourceError
        ``not-found``, ``forbidden`` or ``unreachable``.
    """

    async def attempt() -> Head:
        try:
            return _head(await place.store.head_async(place.path))
        except Exception as error:
            refused = source_error(error, place.url)
            if refused.feature != "forbidden" and "405" not in refused.found and "501" not in refused.found:
                raise refused from error
        try:
            answer = await place.store.get_async(place.path, options={"range": (0, 1)})
        except Exception as error:
            raise source_error(error, place.url) from error
        return _head(answer.meta)

    return await retried(attempt, retries)


def _head(meta: Any) -> Head:
    time = meta["last_modified"]
    # Stores answer with the epoch where the header is missing.
    return Head(meta["size"], meta["e_tag"], None if time == _EPOCH else time, meta["version"])


async def ask_all[T: Known](
    sources: Sequence[T],
    *,
    concurrency: int,
    retries: int = RETRIES,
    on_answer: Callable[[T, Head | SourceError], None],
) -> None:
    """Ask about many files, a bounded number at a time, and hand over each answer or why there is none."""
    queue = iter(sources)

    async def work() -> None:
        for source in queue:
            try:
                answer: Head | SourceError = await ask(source.place, retries)
            except SourceError as error:
                answer = error
            on_answer(source, answer)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(concurrency, len(sources))):
            tasks.create_task(work())


async def changed_since[T: Known](sources: Sequence[T], *, concurrency: int, retries: int = RETRIES) -> set[str]:
    """The URLs of the files that are not, or not surely, those that were read; also of those that are gone."""
    changed: set[str] = set()

    def note(source: T, answer: Head | SourceError) -> None:
        if isinstance(answer, SourceError) or not answer.same_as(source):
            changed.add(source.place.url)

    await ask_all(sources, concurrency=concurrency, retries=retries, on_answer=note)
    return changed
