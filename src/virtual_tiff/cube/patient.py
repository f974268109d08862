"""Patience with storages: what Icechunk does not ask again by itself, with pauses that grow and vary.

Icechunk repeats refused requests to S3 on its own. It gives up at once when an answer breaks off, and with
sources on web servers at any failure; a cube of many chunks would then hardly ever be read to its end.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, Final, Protocol

import icechunk
from icechunk.store import IcechunkStore
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from virtual_tiff.errors import SourceError

RETRIES: Final = 6
"""Further attempts: six pauses take 3 to 6 seconds."""

FIRST_PAUSE: Final = 0.1
LONGEST: Final = 60.0
"""Seconds after which nothing is begun anew; a single attempt of Icechunk's may last longer."""

LONGEST_READ: Final = 120.0
"""Seconds for one attempt to read a chunk: a server that does not go on is asked again."""

CONNECT: Final = 10.0
ATTEMPT: Final = 60.0
OPERATION: Final = 120.0
"""Seconds for a connection, for one request to S3, and for it with all the retries of Icechunk's own.

Without them Icechunk waits for ever for a server that accepts and never answers.
"""

_PASSING: Final = re.compile(
    r"streaming error|reading a body|end of file|unexpected end|incomplete|connection|broken pipe|timed? ?out"
    r"|error sending request|dispatch failure: (io|timeout)|status code: (408|429|5\d\d)\b"
    r"|SlowDown|InternalError|ServiceUnavailable|TooManyRequests|throttl",
    re.IGNORECASE,
)
_GIVEN_UP: Final = "virtual_tiff_given_up"
"""Set on errors after the last attempt, so that what was tried patiently is not tried patiently again."""

_WORDLESS: Final = re.compile(r"service error: unhandled error: Error\b")
"""S3 without an error code: an overloaded server, when Icechunk has used up its own retries, or a bare refusal."""
_NEVER: Final = frozenset({"virtual-chunk-modified", "object-not-found", "invalid-credentials"})
_HINTS: Final = {
    "virtual-chunk-modified": "A source of the cube was replaced since it was published: `verify` finds which ones, "
    "and with fix=True refers to the new versions.",
    "virtual-chunk-fetch": "A source of the cube cannot be read: `verify` finds which ones, and whether they are "
    "missing or refused.",
}


def is_passing(error: BaseException) -> bool:
    """Whether a failure of Icechunk's, or an error of ours because of one, may pass by itself."""
    if isinstance(error, SourceError):
        return error.feature == "unreachable"
    if not isinstance(error, icechunk.IcechunkError):
        return isinstance(error.__cause__, icechunk.IcechunkError) and is_passing(error.__cause__)
    if isinstance(error, icechunk.ConflictError) or str(error.kind) in _NEVER:
        return False
    text = str(error)
    passing = _PASSING.search(text) or _WORDLESS.search(text)
    return isinstance(error, icechunk.StorageError) and passing is not None


def is_wordless(error: icechunk.IcechunkError) -> bool:
    """Whether S3 has failed without a code."""
    return _WORDLESS.search(str(error)) is not None


def pauses() -> Iterator[float]:
    """Seconds to wait before each further attempt, none any more when it has taken too long since the call."""
    end = time.monotonic() + LONGEST
    return (
        FIRST_PAUSE * 2.0**number * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)
        for number in range(RETRIES)
        if time.monotonic() < end
    )


def insist[T](work: Callable[[], T]) -> T:
    """Do what may be done twice, and do it again when the storage failed for a reason that may pass."""
    waits = pauses()
    while True:
        try:
            return work()
        except Exception as error:
            pause = next_pause(error, waits)
            if pause is None:
                raise
        time.sleep(pause)


async def insist_async[T](work: Callable[[], Awaitable[T]]) -> T:
    """The same for a coroutine, of which no attempt may last for ever."""
    waits = pauses()
    while True:
        try:
            async with asyncio.timeout(LONGEST_READ):
                return await work()
        except (TimeoutError, icechunk.IcechunkError) as error:
            pause = next_pause(error, waits)
            if pause is None:
                raise
        await asyncio.sleep(pause)


def next_pause(error: Exception, waits: Iterator[float]) -> float | None:
    """Seconds to wait before the next attempt, or None when the error is to be raised."""
    given_up = getattr(error, _GIVEN_UP, False) or getattr(error.__cause__, _GIVEN_UP, False)
    if given_up or not (isinstance(error, TimeoutError) or is_passing(error)):
        return None
    pause = next(waits, None)
    if pause is None:
        setattr(error, _GIVEN_UP, True)
    return pause


def time_limits() -> icechunk.StorageSettings:
    """How long a storage may take. A storage keeps those settings with which it is first used."""
    seconds = {
        "connect_timeout": CONNECT,
        "operation_attempt_timeout": ATTEMPT,
        "operation_timeout": OPERATION,
    }
    milliseconds = {f"{name}_ms": round(1000 * value) for name, value in seconds.items()}
    return icechunk.StorageSettings(timeouts=icechunk.StorageTimeoutSettings(**milliseconds))


def limited() -> icechunk.RepositoryConfig:
    """A configuration that says how long requests may take, which is the own business of each process."""
    config = icechunk.RepositoryConfig()
    config.storage = time_limits()
    return config


def opened(storage: icechunk.Storage, **options: Any) -> icechunk.Repository:
    """Open a repository, patiently but not for ever; its configuration must not be saved, see :func:`limited`."""
    return insist(lambda: icechunk.Repository.open(storage, config=limited(), **options))


class _HasStore(Protocol):
    @property
    def store(self) -> IcechunkStore: ...


class PatientStore(IcechunkStore):
    """A store of Icechunk's for reading, that asks again; and whose errors say what to do about a source."""

    @classmethod
    def of(cls, session: _HasStore) -> PatientStore:
        """The patient store of a session for reading."""
        return cls(session.store._store)  # noqa: SLF001 (the one way to another class of the same store)

    def with_read_only(self, read_only: bool = False) -> PatientStore:  # noqa: FBT001, FBT002 (as the base has it)
        """The same store, read-only or not, as Zarr asks for it."""
        return PatientStore(self._store, read_only)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Read a key, or None when it is not there."""
        get = super().get
        try:
            return await _answer(lambda: get(key, prototype, byte_range), key)
        except icechunk.StorageError as error:
            if str(error.kind) in _HINTS:
                error.add_note(_HINTS[str(error.kind)])
            raise

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read parts of keys."""
        asked = list(key_ranges)
        get = super().get_partial_values
        return await _answer(lambda: get(prototype, asked), ", ".join(key for key, _ in asked[:3]))

    async def exists(self, key: str) -> bool:
        """Whether a key is there."""
        exists = super().exists
        return await _answer(lambda: exists(key), key)

    async def list(self) -> AsyncIterator[str]:  # type: ignore[override]
        """All keys."""
        for key in await _answer(lambda: _collect(super(PatientStore, self).list), "the list of keys"):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:  # type: ignore[override]
        """The keys that begin so."""
        for key in await _answer(lambda: _collect(super(PatientStore, self).list_prefix, prefix), prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:  # type: ignore[override]
        """What lies directly below a path."""
        for key in await _answer(lambda: _collect(super(PatientStore, self).list_dir, prefix), prefix):
            yield key


async def _answer[T](work: Callable[[], Awaitable[T]], what: str) -> T:
    """What a store says, or a clear error when it says nothing at all."""
    try:
        return await insist_async(work)
    except TimeoutError as error:
        found = f"no answer within {LONGEST_READ:.0f} seconds to a request for {what or '/'}"
        hint = "Check the network and the servers of the cube and of its sources; `verify` asks each source."
        raise SourceError(found, feature="unreachable", hint=hint) from error


async def _collect(listing: Callable[..., Any], *arguments: str) -> list[str]:
    return [key async for key in listing(*arguments)]
