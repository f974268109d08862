"""The agreement between readers, which know TIFF, and their drivers, which know stores; and its limits.

A *reader* is a generator that yields batches of byte ranges ``(start, end)`` and is sent one bytes object for
each; one that is shorter than asked for means the end of the file. Its return value is the result.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Final

from virtual_tiff.errors import LimitError

type Ranges = Sequence[tuple[int, int]]
type Reader[T] = Generator[Ranges, Sequence[bytes], T]

PREFETCH: Final = 32768
"""Bytes of the first request: enough for the headers of a normal COG."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds against hostile files.

    ``max_metadata_bytes`` bounds the memory that the headers of one file take, and the bytes fetched for
    them; ``max_tag_bytes`` the value of one tag; ``max_depth`` the nesting of SubIFDs; ``max_requests`` the
    GETs for one file.
    """

    max_ifds: int = 100_000
    max_tag_bytes: int = 256 * 2**20
    max_metadata_bytes: int = 2**30
    max_requests: int = 10_000
    max_depth: int = 16


DEFAULT_LIMITS: Final = Limits()


def too_much_metadata(limits: Limits) -> LimitError:
    """Make the error for headers that take too much memory."""
    found = f"the headers take more than {limits.max_metadata_bytes} bytes"
    hint = "Raise Limits.max_metadata_bytes if you trust the file."
    return LimitError(found, feature="limit-metadata-bytes", hint=hint)
