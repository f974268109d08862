"""Files that the ledger of a scan knows, and that are gone from the folders and prefixes that were listed again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from virtual_tiff.cube.heads import Head, ask_all
from virtual_tiff.cube.inputs import Listing
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.stores import Location, locate
from virtual_tiff.errors import SourceError


@dataclass(frozen=True, slots=True)
class _Asked:
    """A file of which nothing is known but its place."""

    place: Location
    size: int | None = None
    etag: str | None = None
    last_modified: datetime | None = None


def find_gone(
    urls: Iterable[str],
    listings: Sequence[Listing],
    offered: Collection[str],
    *,
    concurrency: int,
    retries: int,
) -> tuple[str, ...]:
    """Return those files that a listing would have named, did not name, and whose store says that they do not exist.

    The store is asked about each, for a listing may leave out what is there: behind a link to a folder, or where a
    folder may not be read. Files about which it gives no answer count as there.

    Parameters
    ----------
    urls
        The files of a ledger.
    listings
        The folders, prefixes and globs that are inputs.
    offered
        The URLs of all files that the inputs name.
    concurrency, retries
        How the store is asked, see :func:`virtual_tiff.cube.scan.scan`.
    """
    absent = [_Asked(locate(url)) for url in urls if url not in offered and any(one.covers(url) for one in listings)]
    gone: dict[str, None] = {}

    def note(source: _Asked, answer: Head | SourceError) -> None:
        if isinstance(answer, SourceError) and answer.feature == "not-found":
            gone[source.place.url] = None

    if absent:
        run(ask_all(absent, concurrency=concurrency, retries=retries, on_answer=note))
    return tuple(one.place.url for one in absent if one.place.url in gone)
