"""What catalogues, ledgers and names say of files, and how headers come by it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol, Self, runtime_checkable

from virtual_tiff.cube.assets import AssetChoice
from virtual_tiff.cube.catalog import asset_choice
from virtual_tiff.cube.cells import TIME
from virtual_tiff.cube.header import FileHeader, HeaderOptions, KeyValue
from virtual_tiff.cube.inputs import Listing
from virtual_tiff.cube.ledger import check_options
from virtual_tiff.cube.pattern import Pattern
from virtual_tiff.cube.results import Failure, Result
from virtual_tiff.cube.select import BAND
from virtual_tiff.cube.stores import Location
from virtual_tiff.cube.vrt import Parts
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


@dataclass(frozen=True, slots=True, kw_only=True)
class InputOptions:
    """How inputs are understood.

    Parameters
    ----------
    pattern
        What names look like, see :class:`virtual_tiff.cube.pattern.Pattern`. Its fields become keys of the headers,
        and the field ``time`` their time. A file that does not match it is a failure.
    assets
        Which assets of STAC items are taken, see :func:`virtual_tiff.cube.catalog.read_catalog`.
    properties
        Further properties of STAC items, or columns of a tile index, that become keys.
    location_field
        The column of a tile index that names the files.
    parts
        What is done when a VRT shows a part of a file only: "error", or take the "whole" file.
    asset_bands
        Whether the asset of a file is its band, too. By default it is where several assets of an item are taken.
    """

    pattern: str | Pattern | None = None
    assets: AssetChoice | Sequence[str] | None = None
    properties: Sequence[str] = ()
    location_field: str | None = None
    parts: Parts = "error"
    asset_bands: bool | None = None

    def __post_init__(self) -> None:
        if self.parts not in ("error", "whole"):
            raise UsageError(f"parts={self.parts!r}", feature="usage", hint="Choose 'error' or 'whole'.")
        self.compiled()  # what cannot be understood is refused before anything is read
        self.choice()

    def compiled(self) -> Pattern | None:
        """The pattern."""
        return Pattern(self.pattern) if isinstance(self.pattern, str) else self.pattern

    def choice(self) -> AssetChoice | None:
        """The assets."""
        return asset_choice(self.assets)

    def kept(self) -> tuple[str, ...]:
        """The properties."""
        return (self.properties,) if isinstance(self.properties, str) else tuple(self.properties)

    def to_json(self) -> dict[str, Any]:
        """These options as JSON values, see :meth:`from_json`."""
        pattern, choice = self.compiled(), self.choice()
        return {
            "pattern": None if pattern is None else pattern.text,
            "assets": None if choice is None else asdict(choice),
            "properties": list(self.kept()),
            "location_field": self.location_field,
            "parts": self.parts,
            "asset_bands": self.asset_bands,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote."""
        choice = None
        if told["assets"] is not None:
            fields: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in told["assets"].items()
            }
            choice = AssetChoice(**fields)
        return cls(**{**told, "assets": choice, "properties": tuple(told["properties"])})


@dataclass(frozen=True, slots=True)
class Inputs:
    """Files in order, and what is known of them, by URL.

    ``listed`` is what catalogues and ledgers say, ``named`` what the pattern reads in the names. ``known`` are the
    headers that ledgers hold, as they stand there, ``refused`` the files that are failures without being read.
    ``ledgers`` are the ledgers that were read, with their options. ``asset_bands`` and ``whole`` say whether assets
    are bands, and whether files of which a mosaic shows a part are taken whole. ``listings`` are the folders, prefixes
    and globs among the inputs, and ``offered`` the URLs of all files that the inputs named, where there are such.
    """

    places: tuple[Location, ...]
    listed: Mapping[str, Listed] = field(default_factory=dict)
    known: Mapping[str, FileHeader] = field(default_factory=dict)
    named: Mapping[str, Mapping[str, KeyValue]] = field(default_factory=dict)
    refused: Mapping[str, Failure] = field(default_factory=dict)
    ledgers: Mapping[str, HeaderOptions] = field(default_factory=dict)
    asset_bands: bool = False
    whole: bool = False
    listings: tuple[Listing, ...] = ()
    offered: frozenset[str] = frozenset()

    def only(self, places: Iterable[Location]) -> Inputs:
        """The same knowledge of fewer files."""
        return replace(self, places=tuple(places))

    def check_options(self, asked: HeaderOptions) -> None:
        """Refuse ledgers whose headers were read with other options than those that are asked for.

        Raises
        ------
        UsageError
            ``usage``, with the options that differ.
        """
        for name, there in self.ledgers.items():
            check_options(there, asked, name, hint="Ask for the same, or scan the files themselves.")

    def described(self, result: Result) -> Result:
        """A header or failure with all that is known of the file; unchanged when nothing is.

        What the pattern reads in the name goes before what a catalogue says. A file of which a mosaic shows only a
        part becomes a failure: a cube of whole files would show more.
        """
        item, named = self.listed.get(result.url), self.named.get(result.url)
        if item is None and named is None:
            return result
        time = None if item is None else item.moment
        keys = ({} if item is None else self._keys(item)) | dict(named or {})
        if named is not None and TIME in named:
            found = keys.pop(TIME)
            time = found if isinstance(found, datetime) else time
        if item is not None and isinstance(result, FileHeader) and not self._takes(item.use, result):
            result = Failure(result.place, _part(result.url))
        item_id = None if item is None else item.item_id
        return replace(result, item_id=item_id, time=time, keys=keys, updated=getattr(item, "updated", None))

    def _keys(self, item: Listed) -> dict[str, KeyValue]:
        """The asset, and the properties that are plain values; the file itself tells of its grid and of its values."""
        keys: dict[str, KeyValue] = {} if item.asset is None else {"asset": item.asset}
        for name, value in item.properties.items():
            if name.startswith(("proj:", "raster:")) or not isinstance(value, str | int | float | datetime):
                continue
            if not isinstance(value, float) or math.isfinite(value):  # tables have NaN where nothing is known
                keys.setdefault(name, value)
        if item.asset is not None and self.asset_bands:
            keys.setdefault(BAND, item.asset)
        return keys

    def _takes(self, use: Any, header: FileHeader) -> bool:
        """Whether a mosaic shows all bands of a file in their order and, unless parts are taken whole, all pixels."""
        if use is None:
            return True
        array = header.array
        size = {name: array.shape[array.dimension_names.index(name)] for name in ("y", "x")}
        in_order = tuple(use.bands) == tuple(range(_band_count(header)))
        return in_order and (self.whole or bool(use.takes_whole(size["y"], size["x"])))


def _band_count(header: FileHeader) -> int:
    array = header.array
    return array.shape[array.dimension_names.index(BAND)] if BAND in array.dimension_names else 1


def _part(url: str) -> UsageError:
    found = "the catalogue shows only a part of the file, or other bands in another order"
    hint = "Take the whole file: parts='whole' (--parts whole). Or name the files themselves."
    return UsageError(found, feature="usage", url=url, hint=hint)
