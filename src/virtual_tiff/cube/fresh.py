"""How a reader finds out that a source has changed, and what that cannot see.

Icechunk compares times of change in whole seconds, so a file that is replaced within the second of its last
change would go unnoticed for ever. Publishing waits until that second is over (once, for all files together),
and then looks whether such young files are still what was scanned. Older ones are guarded by their checksum; but it
takes a file that was replaced by an older one for unchanged, so local files, where it costs little, are looked at, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from virtual_tiff.cube.header import FileHeader
from virtual_tiff.errors import SourceError
from virtual_tiff.tiff.failures import source_error

_SECOND: Final = timedelta(seconds=1)
_LONGEST: Final = timedelta(seconds=2)
_CONCURRENCY: Final = 64

_PRECISION: Final = 1e-3
"""Seconds by which a time of change may differ from what it was, since it was rounded."""


def checksum(header: FileHeader) -> str | datetime | None:
    """What a reader compares: the ETag on S3, elsewhere the time of the last change, rounded up to a whole second.

    Icechunk keeps whole seconds. It sends ETags without their quotes, which S3 accepts; files and web servers
    then take unchanged files for changed ones, and for other object stores it is not known.
    """
    if header.place.scheme == "s3" and header.etag:
        return header.etag
    return None if header.last_modified is None else round_up(header.last_modified)


def round_up(time: datetime) -> datetime:
    """The first whole second that is not before a moment, in UTC."""
    # Icechunk accepts this very time zone object and no other.
    whole = time.astimezone(UTC).replace(microsecond=0, tzinfo=UTC)
    return whole if whole == time else whole + _SECOND


async def settle(headers: Sequence[FileHeader]) -> None:
    """Wait until no source is younger than the resolution of its checksum, and check those that were.

    Raises
    ------
    SourceError
        ``source-changed`` when such a file, or a local one, is no longer the one whose header was read.
    """
    for header in headers:
        check_local(header)
    young = [header for header in headers if _is_young(header)]
    if not young:
        return
    newest = max(header.last_modified for header in young if header.last_modified is not None)
    wait = newest + _SECOND + timedelta(milliseconds=5) - datetime.now(UTC)
    if timedelta(0) < wait <= _LONGEST:
        await asyncio.sleep(wait.total_seconds())
    gate = asyncio.Semaphore(_CONCURRENCY)

    async def check(header: FileHeader) -> None:
        async with gate:
            await _check_same(header)

    await asyncio.gather(*(check(header) for header in young))


def check_local(header: FileHeader, *, may_be_gone: bool = False) -> None:
    """Check that a local file is the one whose header was read; others are not asked for.

    Raises
    ------
    SourceError
        ``source-changed``, or ``not-found`` unless it may be gone.
    """
    local = header.place.local
    if local is None or header.last_modified is None:
        return
    try:
        now = Path(local).stat()
    except OSError as error:
        if may_be_gone:
            return
        raise source_error(FileNotFoundError(str(error)), header.url) from error
    moved = abs(now.st_mtime - header.last_modified.timestamp())
    if moved > _PRECISION or header.size not in (None, now.st_size):
        raise _replaced(header)


def _replaced(header: FileHeader) -> SourceError:
    found = "the file was replaced after its header had been read"
    return SourceError(found, feature="source-changed", url=header.url, hint="Scan it again.")


def _is_young(header: FileHeader) -> bool:
    """Whether a file may still be replaced without a trace in its checksum."""
    if header.last_modified is None or isinstance(checksum(header), str):
        return False
    return header.last_modified + _SECOND > header.read_at


async def _check_same(header: FileHeader) -> None:
    try:
        # A GET of one byte, since some servers refuse HEAD.
        answer = await header.place.store.get_async(header.place.path, options={"range": (0, 1)})
    except Exception as error:
        raise source_error(error, header.url) from error
    now = answer.meta
    pairs = (
        (header.etag, now["e_tag"]),
        (header.size, now["size"]),
        (header.last_modified, now["last_modified"]),
    )
    if any(before is not None and after is not None and before != after for before, after in pairs):
        raise _replaced(header)
