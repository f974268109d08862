"""Inputs of a scan: files that a user names, and files that a catalogue lists with what it says of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from virtual_tiff.cube.header import FileHeader, KeyValue
from virtual_tiff.cube.inputs import expand_inputs
from virtual_tiff.cube.results import Failure, Result
from virtual_tiff.cube.stores import Location, locate
from virtual_tiff.errors import UsageError


@runtime_checkable
class Listed(Protocol):
    """One file of a catalogue, as :class:`virtual_tiff.cube.item.SourceItem` is one."""

    @property
    def href(self) -> str:
        """Path or URL."""

    @property
    def item_id(self) -> str | None:
        """The id of the item."""

    @property
    def asset(self) -> str | None:
        """The key of the asset in its item."""

    @property
    def moment(self) -> datetime | None:
        """The time of the acquisition."""

    @property
    def properties(self) -> Mapping[str, Any]:
        """What else the catalogue says."""

    @property
    def use(self) -> Any:
        """What a mosaic uses of the file, or None."""


type Input = str | os.PathLike[str] | Listed


@dataclass(frozen=True, slots=True)
class Inputs:
    """Files in order, and what a catalogue says of them, by URL."""

    places: tuple[Location, ...]
    listed: Mapping[str, Listed] = field(default_factory=dict)

    def described(self, result: Result) -> Result:
        """A header or failure with what the catalogue says of the file.

        A file of which a mosaic shows only a part becomes a failure: a cube of whole files would show more.
        """
        item = self.listed.get(result.url)
        if item is None:
            return result
        if isinstance(result, Failure):
            return replace(result, item_id=item.item_id)
        if item.use is not None and not _takes_all(item.use, result):
            found = "the catalogue shows only a part of the file, or other bands in another order"
            hint = "Name the files themselves to take them whole."
            return Failure(result.place, UsageError(found, feature="usage", url=result.url, hint=hint), item.item_id)
        return replace(result, item_id=item.item_id, time=item.moment, keys=_keys(item))


def gather_inputs(inputs: Iterable[Input]) -> Inputs:
    """Find the files of all inputs: those that are named as :func:`expand_inputs` orders them, then those listed.

    Raises
    ------
    SourceError
        ``no-match`` when an input names no file.
    UsageError
        ``usage`` for an input of another kind, and for a file that is listed twice in different ways.
    """
    named: list[str | os.PathLike[str]] = []
    listed: dict[str, Listed] = {}
    places: dict[str, Location] = {}
    for item in inputs:
        if isinstance(item, str | os.PathLike):
            named.append(item)
            continue
        if not isinstance(item, Listed):
            found = f"{type(item).__name__} is no input"
            raise UsageError(found, feature="usage", hint="Name files, URLs, or items that read_catalog returns.")
        place = locate(item.href)
        if _differs(listed.setdefault(place.url, item), item):
            found = f"the file belongs to the items {listed[place.url].item_id} and {item.item_id}, or to two assets"
            raise UsageError(found, feature="usage", url=place.url, hint="List each file once.")
        places[place.url] = place
    if named or not places:
        places = {place.url: place for place in expand_inputs(named)} | places
    return Inputs(tuple(places.values()), listed)


def _differs(one: Listed, other: Listed) -> bool:
    return (one.item_id, one.asset, one.moment, one.use) != (other.item_id, other.asset, other.moment, other.use)


def _takes_all(use: Any, header: FileHeader) -> bool:
    array = header.array
    bands = array.shape[array.dimension_names.index("band")] if "band" in array.dimension_names else 1
    size = {name: array.shape[array.dimension_names.index(name)] for name in ("y", "x")}
    return tuple(use.bands) == tuple(range(bands)) and bool(use.takes_whole(size["y"], size["x"]))


def _keys(item: Listed) -> dict[str, KeyValue]:
    """The asset, and the properties that are plain values; the file itself tells of its grid and of its values."""
    keys: dict[str, KeyValue] = {} if item.asset is None else {"asset": item.asset}
    for name, value in item.properties.items():
        if isinstance(value, str | int | float | datetime) and not name.startswith(("proj:", "raster:")):
            keys.setdefault(name, value)
    return keys
