"""Hashes of parts of a file, by which a file that was merely touched is told from one that was replaced.

A digest is text: how much of the file it covers, and the hash of these bytes and of the file's size. ``whole``
covers all bytes; ``sample`` the first 32 KiB and 17 blocks of 4 KiB spread evenly up to the last one, which a
rewritten file does not survive, but the change of a few pixels in place may; ``head`` the first 32 KiB only.
Local files are sampled, since that costs no request; of others only what the header brought along is hashed.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal

from virtual_tiff.cube.times import microseconds
from virtual_tiff.tiff.failures import source_changed, source_error
from virtual_tiff.tiff.protocol import PREFETCH, Reader

type Extent = Literal["whole", "sample", "head"]

_BLOCK: Final = 4096
_BLOCKS: Final = 17


def extent_of(digest: str | None) -> Extent | None:
    """How much of a file a digest covers."""
    name = (digest or "").partition(":")[0]
    return name if name in ("whole", "sample", "head") else None  # type: ignore[return-value]


def head_digest(size: int | None) -> Reader[str | None]:
    """Hash the first bytes of a file, which its header has brought along; None when the size is unknown."""
    if size is None:
        return None
    (head,) = yield [(0, min(PREFETCH, size))]
    return _digest("whole" if size <= PREFETCH else "head", size, [head])


def sampled_digest(path: Path, *, size: int | None, last_modified: datetime | None) -> str:
    """Hash a sample of a local file, or all of a small one.

    Parameters
    ----------
    path
        The file.
    size, last_modified
        What was known of the file (bytes; time of the last change): the sample must be one of the same file.

    Raises
    ------
    SourceError
        ``source-changed`` when the file is another one now; ``not-found``, ``forbidden`` or ``unreachable``.
    """
    url = path.as_uri()
    try:
        with path.open("rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            blocks = [_read(file, start, end) for start, end in sample_ranges(before.st_size)]
            after = os.fstat(file.fileno())
    except OSError as error:
        raise source_error(error, url) from error
    known = None if last_modified is None else microseconds(last_modified)
    if after.st_mtime_ns != before.st_mtime_ns or known not in (None, before.st_mtime_ns // 1000):
        raise source_changed(url, "the file was changed while it was read")
    if size not in (None, before.st_size):
        raise source_changed(url, f"the size was {size} bytes and is {before.st_size} bytes now")
    whole = sum(map(len, blocks)) >= before.st_size
    return _digest("whole" if whole else "sample", before.st_size, blocks)


def _read(file: io.FileIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def sample_ranges(size: int) -> list[tuple[int, int]]:
    """The byte ranges (start, end) of a sample, which do not overlap; of a small file, all bytes."""
    if size <= PREFETCH + _BLOCKS * _BLOCK:
        return [(0, size)]
    last = size - _BLOCK
    starts = [PREFETCH + (last - PREFETCH) * index // (_BLOCKS - 1) for index in range(_BLOCKS)]
    return [(0, PREFETCH), *((start, start + _BLOCK) for start in starts)]


def _digest(extent: Extent, size: int, blocks: Iterable[bytes]) -> str:
    digest = blake2b(size.to_bytes(8, "little"), digest_size=16)
    for block in blocks:
        digest.update(block)
    return f"{extent}:{digest.hexdigest()}"
