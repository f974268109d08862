"""Inputs of a scan: files that a user names, and files that catalogues and ledgers list with what they say of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol, runtime_checkable

from virtual_tiff.cube.catalog import is_catalog, parse_catalog
from virtual_tiff.cube.facts import InputOptions, Inputs, Listed
from virtual_tiff.cube.header import FileHeader, HeaderOptions, KeyValue
from virtual_tiff.cube.hrefs import place_of, read_bytes, readable_url
from virtual_tiff.cube.inputs import Expansion, Listing, expand_input, expand_lists, in_order, nothing_given
from virtual_tiff.cube.item import SourceItem
from virtual_tiff.cube.ledger import StoredScan, stored_scan
from virtual_tiff.cube.pattern import Pattern
from virtual_tiff.cube.results import Failure, Result
from virtual_tiff.cube.stac import stac_items
from virtual_tiff.cube.stores import Location, locate
from virtual_tiff.errors import ConformError, SourceError, UsageError

__all__ = ["Input", "InputOptions", "Inputs", "Listed", "StacObject", "gather_inputs"]


@runtime_checkable
class StacObject(Protocol):
    """An item or item collection of pystac, or of another library."""

    def to_dict(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Return it as JSON has it."""


type Input = str | os.PathLike[str] | Listed | Mapping[str, Any] | StacObject | Iterable[Input]
"""A path, URL, glob, prefix or ``@list.txt``; an item of :func:`~virtual_tiff.cube.catalog.read_catalog`; STAC items
and collections of them, as dictionaries or objects; or several of these."""

_UNKNOWN: Final = (
    "Name files and URLs, STAC items, or items that read_catalog returns; objects of other libraries must have to_dict."
)


def gather_inputs(inputs: Input, options: InputOptions | None = None) -> Inputs:
    """Find the files of all inputs: those that are named as :func:`expand_inputs` orders them, then those listed.

    Parameters
    ----------
    inputs
        One input, or any number of them. Names may be those of catalogues (STAC, stac-geoparquet, VRT, GTI), see
        :func:`~virtual_tiff.cube.catalog.is_catalog`, and of the ledgers of scans, whose headers are then known. They
        may stand in lists, too. What failed in the scan of a ledger is to be read again, unless a catalogue said that
        the file is not to be taken.
    options
        How they are understood.

    Raises
    ------
    SourceError
        ``no-match`` when an input names no file; why a catalogue cannot be read.
    UsageError
        ``usage`` for an input of another kind, for a file that is listed twice in different ways, for assets that
        are chosen where there is no catalogue; and what :func:`~virtual_tiff.cube.catalog.read_catalog` refuses.
    FormatError, UnsupportedError, LimitError
        As :func:`~virtual_tiff.cube.catalog.read_catalog`.
    """
    chosen = options or InputOptions()
    found = _Found(chosen)
    found.take(inputs)
    return found.inputs()


class _Found:
    """What the inputs are, while they are looked at one after the other."""

    def __init__(self, options: InputOptions) -> None:
        self.options = options
        self.named: dict[str, Location] = {}
        self.in_lists: dict[str, Location] = {}
        self.listed: dict[str, Listed] = {}
        self.listed_places: dict[str, Location] = {}
        self.stored: dict[str, Result] = {}
        self.ledgers: dict[str, HeaderOptions] = {}
        self.plain: set[str] = set()
        self.catalogs = 0
        self.listings: list[Listing] = []

    def take(self, item: object) -> None:
        """Take an input, or each of several."""
        if isinstance(item, str | os.PathLike):
            for text, in_list in expand_lists([os.fspath(item)]):
                self._take_name(text, self.in_lists if in_list else self.named)
        elif isinstance(item, Listed):
            self.catalogs += 1
            self._list(item)
        elif isinstance(item, Mapping | StacObject):
            self.catalogs += 1
            for one in stac_items(item, choice=self.options.choice(), properties=self.options.kept()):
                self._list(one)
        elif isinstance(item, Iterable) and not isinstance(item, bytes):
            for part in item:
                self.take(part)
        else:
            raise UsageError(f"{type(item).__name__} is no input", feature="usage", hint=_UNKNOWN)

    def _take_name(self, text: str, files: dict[str, Location]) -> None:
        expanded = Expansion(iter([place_of(text)])) if text.startswith("GTI:") else expand_input(text)
        self.listings += [] if expanded.listing is None else [expanded.listing]
        for place in expanded.places:
            if text.startswith("GTI:") or is_catalog(place.path):
                self._take_catalog(place, files)
            else:
                files[place.url] = place
                self.plain.add(place.url)

    def _take_catalog(self, place: Location, files: dict[str, Location]) -> None:
        """Take the files of a catalogue, or of a ledger, which may be nothing but parts beside its place."""
        stored = stored_scan(place) if place.local is not None else None
        content = b"" if stored is not None else read_bytes(place)
        if stored is None and place.local is None and content.startswith(b"PAR1"):
            stored = stored_scan(place, content)
        if stored is not None:
            self._take_ledger(stored, files)
            return
        self.catalogs += 1
        options = self.options
        for item in parse_catalog(
            content,
            readable_url(place),
            assets=options.choice(),
            properties=options.kept(),
            location_field=options.location_field,
            parts=options.parts,
        ):
            self._list(item)

    def _take_ledger(self, stored: StoredScan, files: dict[str, Location]) -> None:
        if not stored.results:
            raise SourceError("the ledger lists no file", feature="no-match", url=stored.name)
        self.ledgers[stored.name] = stored.options
        for result in stored.results:
            files[result.url] = result.place
            before = self.stored.get(result.url)
            if before is None or _is_newer(result, before):
                self.stored[result.url] = result

    def _list(self, item: Listed) -> None:
        place = locate(item.href)
        first = self.listed.setdefault(place.url, item)
        if _differs(first, item):
            found = f"the file belongs to the items {first.item_id} and {item.item_id}, or to two assets"
            raise UsageError(found, feature="usage", url=place.url, hint="List each file once.")
        self.listed_places[place.url] = place

    def inputs(self) -> Inputs:
        """What was found."""
        if (self.options.assets is not None or self.options.location_field is not None) and not self.catalogs:
            found = "assets or a location field are chosen, but no input is a catalogue"
            raise UsageError(found, feature="usage", hint="They choose from the items of STAC and tile indexes.")
        places = {place.url: place for place in in_order(self.named, self.in_lists)} | self.listed_places
        if not places:
            raise nothing_given()
        told = {url: item for url, result in self.stored.items() if (item := _listed_again(result)) is not None}
        listed = told | self.listed
        named, unmatched = _read_names(self.options.compiled(), places.values())
        whole, bands = self.options.parts == "whole", self.options.asset_bands
        return Inputs(
            places=tuple(places.values()),
            listed=listed,
            known={url: result for url, result in self.stored.items() if isinstance(result, FileHeader)},
            named=named,
            refused=self._refused() | unmatched,
            ledgers=self.ledgers,
            asset_bands=_several_assets(listed.values()) if bands is None else bands,
            whole=whole,
            listings=tuple(dict.fromkeys(self.listings)),
            offered=frozenset(places) if self.listings else frozenset(),
        )

    def _refused(self) -> dict[str, Failure]:
        """What failed in a scan because of what a catalogue had said: to read it again would leave that out."""
        return {
            url: result
            for url, result in self.stored.items()
            if isinstance(result, Failure)
            and isinstance(result.error, UsageError)
            and result.error.feature == "usage"
            and url not in self.plain
            and url not in self.listed
        }


def _differs(one: Listed, other: Listed) -> bool:
    return (one.item_id, one.asset, one.moment, one.use) != (other.item_id, other.asset, other.moment, other.use)


def _is_newer(one: Result, other: Result) -> bool:
    """Whether a row of a ledger counts instead of one of another ledger: headers before failures, the newest first."""
    if isinstance(one, FileHeader) and isinstance(other, FileHeader):
        return one.read_at > other.read_at
    return isinstance(one, FileHeader)


def _listed_again(result: Result) -> SourceItem | None:
    """What a ledger says of a file, as its catalogue did."""
    if (result.item_id, result.time) == (None, None) and not result.keys:
        return None
    asset = result.keys.get("asset")
    return SourceItem(
        href=result.url,
        item_id=result.item_id,
        asset=asset if isinstance(asset, str) else None,
        datetime=result.time,
        properties=result.keys,
        updated=result.updated,
    )


def _several_assets(items: Iterable[Listed]) -> bool:
    """Whether an item has several files with assets."""
    pairs = {(item.item_id, item.asset) for item in items if item.item_id is not None and item.asset is not None}
    return any(count > 1 for count in Counter(item_id for item_id, _ in pairs).values())


def _read_names(
    pattern: Pattern | None, places: Iterable[Location]
) -> tuple[dict[str, Mapping[str, KeyValue]], dict[str, Failure]]:
    """Read the fields of a pattern in the names of files; those that do not match, or in several ways, are failures."""
    named: dict[str, Mapping[str, KeyValue]] = {}
    failed: dict[str, Failure] = {}
    if pattern is None:
        return named, failed
    for place in places:
        try:
            named[place.url] = pattern.coordinates_of(place.url)
        except ConformError as error:
            failed[place.url] = Failure(place, error)
    return named, failed
