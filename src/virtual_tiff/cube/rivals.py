"""Further files and files in a cube that claim one place: which of them keep it, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from virtual_tiff.cube.columns import Place, ledger_time
from virtual_tiff.cube.conform import short_names
from virtual_tiff.cube.duplicates import newest, told_time
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.known import Row, Rows
from virtual_tiff.cube.views import OnDuplicate
from virtual_tiff.errors import ConformError

_MAX_NOTES: Final = 5


@dataclass(frozen=True, slots=True)
class Settled:
    """What files change among those that are there.

    ``replaced`` are the rows whose places files take, by the URLs of these files, ``lost`` the URLs of the files that
    leave their place to those that are there, and ``notes`` what there is to tell of them.
    """

    replaced: Mapping[str, Row]
    lost: frozenset[str]
    notes: tuple[str, ...]


def settle(
    rows: Rows,
    headers: Sequence[FileHeader],
    places: Mapping[str, Place],
    versions: Mapping[str, Row],
    rule: OnDuplicate,
) -> Settled:
    """Decide between files and those in a cube.

    Parameters
    ----------
    rows
        The ledger of the cube.
    headers
        The files; no two of them have one place.
    places
        The place of each, by its URL.
    versions
        The rows of older versions of files in the cube, by the URLs of the files. A version takes the place of an older
        one whatever the rule says; with "last", another file of the same item does not when it was updated earlier.
    rule
        For files of the very same place, see :func:`decides`.

    Raises
    ------
    ConformError
        ``overlap`` when a file claims pixels of one in the cube, and the rule does not decide between them;
        ``conform`` when it has another place than its older version.
    """
    replaced: dict[str, Row] = {}
    lost = set()
    older = []
    # The older version of an item stays when the new one, another file, is not used.
    leaving = {row.number for url, row in versions.items() if url in places or url == row.url}
    rivals = rows.rivals(places)
    for header in headers:
        place = places[header.url]
        own = versions.get(header.url)
        if own is not None:
            _check_version(header, own, place)
            if rule == "last" and own.url != header.url and _is_older(header, own):
                lost.add(header.url)
                older.append((header, own))
                continue
            replaced[header.url] = own
        for row in rivals.get(header.url, ()):
            if row.number in leaving:
                continue
            if not decides(rule, row, place):
                raise _claimed(header, row, place)
            if rule == "first":
                lost.add(header.url)
            elif _is_older(header, row):
                lost.add(header.url)
                older.append((header, row))
            else:
                replaced[header.url] = row
    kept = {url: row for url, row in replaced.items() if url not in lost}
    return Settled(kept, frozenset(lost), _notes(older))


def decides(rule: OnDuplicate, row: Row, place: Place) -> bool:
    """Whether a rule decides between a file in a cube and another whose place overlaps with it.

    "first" and "last" do where both have the very same place; the cube's file counts as the first.
    """
    return rule != "raise" and row.same_place(place)


def check_left(versions: Mapping[str, Row], places: Mapping[str, Place]) -> None:
    """Refuse a changed file that is left out, where the cube would go on to refer to its older version elsewhere.

    Raises
    ------
    ConformError
        ``conform``, with the file.
    """
    taken = {(place.tree, place.claim.variable, place.label, place.box) for place in places.values()}
    for url, row in versions.items():
        left = url == row.url and url not in places
        if left and (row.tree, row.variable, row.label, row.box) not in taken:
            raise _moved(url, f" ({row.label})")


def _is_older(header: FileHeader, row: Row) -> bool:
    """Whether the cube's file was updated later, as catalogues say of both."""
    return newest((row.updated, ledger_time(header.updated))) == 0


def _check_version(header: FileHeader, row: Row, place: Place) -> None:
    if not row.same_place(place):
        raise _moved(header.place.plain, "" if row.label == place.label else f": {place.label}, not {row.label}")


def _moved(plain: str, labels: str) -> ConformError:
    found = f"{short_names([plain])[0]} has another place than its older version in the cube{labels}"
    return ConformError(found, feature="conform", hint="Publish the cube anew.")


def _claimed(header: FileHeader, row: Row, place: Place) -> ConformError:
    names = short_names([header.place.plain, row.url])
    verb = "claims the place of" if row.same_place(place) else "overlaps with"
    at = f" at {place.label}" if place.claim.cell else ""
    found = f"{names[0]} {verb} {names[1]}, which is in the cube{at}"
    way = "on_duplicate='last' (--on-duplicate last)"
    hint = f"Give the new version the same URL, leave it out, or replace such files: {way}."
    return ConformError(found, feature="overlap", hint=hint)


def _notes(found: Sequence[tuple[FileHeader, Row]]) -> tuple[str, ...]:
    """What there is to tell of files that a cube does not take, since it has newer ones."""
    notes = []
    for header, row in found[:_MAX_NOTES]:
        names = short_names([header.place.plain, row.url])
        why = f"{names[1]}, which is in the cube, was updated later, on {told_time(row.updated)}"
        notes.append(f"{names[0]} is not used: {why}")
    more = len(found) - _MAX_NOTES
    return (*notes, f"and {more} more files are not used, for the same reason") if more > 0 else tuple(notes)
