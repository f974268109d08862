"""What a scan gives: headers, failures, and how far it has come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from virtual_tiff.cube.header import FileHeader, KeyValue
from virtual_tiff.cube.stores import Location
from virtual_tiff.errors import VirtualTiffError


@dataclass(frozen=True, slots=True)
class ScanProgress:
    """How far a scan has come, in files."""

    done: int
    failed: int
    total: int


type OnProgress = Callable[[ScanProgress], None]


@dataclass(frozen=True, slots=True)
class Failure:
    """A file whose header could not be read, or that could not be used, and why.

    ``item_id``, ``time``, ``keys`` and ``updated`` are what a catalogue or a pattern of names says of it, as for
    headers.
    """

    place: Location
    error: VirtualTiffError
    item_id: str | None = None
    time: datetime | None = None
    keys: Mapping[str, KeyValue] = field(default_factory=dict)
    updated: datetime | None = None

    @property
    def url(self) -> str:
        """The canonical URL of the file."""
        return self.place.url


type Result = FileHeader | Failure
type OnResult = Callable[[Result], None]


@dataclass(frozen=True, slots=True)
class Scan:
    """The headers of the files that could be read, in the order of the inputs, and the failures.

    ``reused`` headers came out of a ledger; their sources were not read. ``gone`` are the URLs of files that were taken
    out of the ledger, since they are gone.
    """

    headers: tuple[FileHeader, ...]
    failures: tuple[Failure, ...]
    reused: int = 0
    gone: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise the first failure, if there is one."""
        if self.failures:
            raise self.failures[0].error
