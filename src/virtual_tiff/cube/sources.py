"""The ledger of sources: which files a cube was made of, and what they looked like when they were read.

It lies beside the cube, as the group ``_sources`` with one array per column, so that it is part of the same commit,
any Zarr client can read it, and an append rewrites only its last rows. The attributes of the group hold what an append
needs to know: how the cube was planned, and the traits in which further files must agree.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import zarr
from icechunk.store import IcechunkStore

from virtual_tiff.cube.blueprint import Cell, Claim, CubePlan, texts
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.nodes import coordinate_keys, group_json
from virtual_tiff.cube.recipe import Recipe
from virtual_tiff.cube.write import joined
from virtual_tiff.errors import TargetError
from virtual_tiff.geo.coordinate import Coordinate

GROUP: Final = "_sources"
DIM: Final = "source"
ATTRIBUTE: Final = "virtual_tiff"
VERSION: Final = 2
"""Of the ledger in a repository: its columns and the form of the recipe."""

UNKNOWN_SIZE: Final = -1
UNKNOWN_TIME: Final = np.iinfo(np.int64).min

type Box = tuple[int, int, int, int]
"""Row and column of the upper left corner, height and width, in pixels."""

_BOX: Final = ("row", "col", "height", "width")
_TEXTS: Final = ("url", "item_id", "asset", "tree", "variable", "label")
_VERSION: Final = ("etag", "version", "size", "last_modified", "digest")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_ATTRIBUTES = {
    "units": "microseconds since 1970-01-01",
    "calendar": "proleptic_gregorian",
    "_FillValue": int(UNKNOWN_TIME),
}


def microseconds(time: datetime | None) -> int:
    """A moment as whole microseconds since 1970-01-01 UTC, or :data:`UNKNOWN_TIME`."""
    return int(UNKNOWN_TIME) if time is None else (time - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one version of a file from another; what the store does not tell is empty or unknown."""

    etag: str
    size: int
    last_modified: int

    @classmethod
    def of(cls, etag: str | None, size: int | None, last_modified: datetime | None) -> Identity:
        """The identity out of what a store answers."""
        return cls(etag or "", UNKNOWN_SIZE if size is None else size, microseconds(last_modified))

    def same(self, other: Identity) -> bool:
        """Whether two are the same version: by their ETags, else by size and time of change."""
        if self.etag and other.etag:
            return self.etag == other.etag
        return (self.size, self.last_modified) == (other.size, other.last_modified)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place of a file in a cube: its tree, and what it claims there, counted from the tree's anchor."""

    tree: str
    claim: Claim

    @property
    def label(self) -> str:
        """The labels of the file along the leading axes, as text."""
        return cell_text(self.claim.cell)

    @property
    def box(self) -> Box:
        """The pixels of the file."""
        return self.claim.row, self.claim.col, self.claim.height, self.claim.width


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as the ledger notes it; one without a place is known and not used, since another has its place."""

    header: FileHeader
    place: Place | None


def cell_text(cell: Cell) -> str:
    """The labels of a file along the leading axes, as a JSON list; moments are ISO 8601 in UTC."""
    return json.dumps([_label(value) for value in cell], ensure_ascii=False)


def _label(value: object) -> object:
    return value.astimezone(UTC).replace(tzinfo=None).isoformat() if isinstance(value, datetime) else value


def ledger_columns(entries: Sequence[Entry]) -> tuple[Coordinate, ...]:
    """The columns of the ledger, one row per file.

    url, item_id and asset say which file it is. used says whether the cube refers to it; then tree is the group it
    is in, variable its variable where files belong to several, label its labels along the leading axes (a JSON list),
    and row, col, height and width its place in pixels, counted from where the tree began when it was published.
    etag, version, size (bytes), last_modified and digest (of a part of the bytes) tell its versions apart.
    """
    headers = [entry.header for entry in entries]
    places = [entry.place for entry in entries]
    boxes = np.array([(0, 0, 0, 0) if place is None else place.box for place in places], np.int64).reshape(-1, 4)
    known = [identity_of(header) for header in headers]
    size_attributes = {"units": "bytes", "long_name": f"size, {UNKNOWN_SIZE} when unknown"}

    def column(name: str, values: npt.NDArray[Any], attributes: Mapping[str, Any] | None = None) -> Coordinate:
        return Coordinate(name, (DIM,), values, attributes or {})

    return (
        column("url", texts(header.url for header in headers)),
        column("item_id", texts(header.item_id or "" for header in headers)),
        column("asset", texts(asset_of(header) for header in headers)),
        column("used", np.array([place is not None for place in places], np.bool_)),
        column("tree", texts("" if place is None else place.tree for place in places)),
        column("variable", texts("" if place is None else place.claim.variable for place in places)),
        column("label", texts("" if place is None else place.label for place in places)),
        *(column(name, np.ascontiguousarray(boxes[:, number])) for number, name in enumerate(_BOX)),
        column("etag", texts(one.etag for one in known)),
        column("version", texts(header.version or "" for header in headers)),
        column("size", np.array([one.size for one in known], np.int64), size_attributes),
        column("last_modified", np.array([one.last_modified for one in known], np.int64), _TIME_ATTRIBUTES),
        column("digest", texts(header.digest or "" for header in headers)),
    )


def asset_of(header: FileHeader) -> str:
    """The key of a file's asset in its item, or nothing."""
    return str(header.keys.get("asset", ""))


def identity_of(header: FileHeader) -> Identity:
    """Which version of a file a header was read from."""
    return Identity.of(header.etag, header.size, header.last_modified)


def entries_of(plan: CubePlan) -> list[Entry]:
    """All files of a plan with their places, and those that are not used."""
    found = [
        Entry(header, Place(tree=tree.path, claim=tree.claims[header.url]))
        for tree in plan.trees
        for header in tree.headers
    ]
    return found + [Entry(header, None) for header in plan.unused]


def ledger_keys(entries: Sequence[Entry], recipe: Recipe | None) -> Iterator[tuple[str, bytes]]:
    """The keys and bytes of the ledger, relative to the group of the cube."""
    yield f"{GROUP}/zarr.json", ledger_group(recipe)
    for column in ledger_columns(entries):
        for key, value in coordinate_keys(column, growing=True):
            yield f"{GROUP}/{key}", value


def ledger_group(recipe: Recipe | None) -> bytes:
    """The ``zarr.json`` of the group of the ledger, whose attributes hold the recipe."""
    own: dict[str, Any] = {"ledger": VERSION}
    if recipe is not None:
        own["recipe"] = recipe.to_json()
    return group_json({ATTRIBUTE: own, "title": "The files that this cube refers to"})


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the ledger in a repository; ``box`` is row, col, height and width."""

    number: int
    url: str
    item_id: str
    asset: str
    used: bool
    tree: str
    variable: str
    label: str
    box: Box
    identity: Identity

    def same_place(self, place: Place) -> bool:
        """Whether this file has exactly that place."""
        own = (self.tree, self.variable, self.label, self.box)
        return own == (place.tree, place.claim.variable, place.label, place.box)

    def overlaps(self, place: Place) -> bool:
        """Whether this file has pixels of that place."""
        if (self.tree, self.variable, self.label) != (place.tree, place.claim.variable, place.label):
            return False
        own, other = self.box, place.box
        return all(
            own[axis] < other[axis] + other[axis + 2] and other[axis] < own[axis] + own[axis + 2] for axis in (0, 1)
        )


@dataclass(frozen=True, slots=True)
class Rows:
    """The ledger in a repository: its columns by name, and the number of each URL's row.

    ``items`` are the numbers of the rows of assets of items that have one file each, by item and asset.
    """

    columns: Mapping[str, npt.NDArray[Any]]
    urls: Mapping[str, int]
    items: Mapping[tuple[str, str], int]

    def __len__(self) -> int:
        return len(self.urls)

    def at(self, url: str) -> Row | None:
        """The row of a URL."""
        number = self.urls.get(url)
        return None if number is None else self._row(number)

    def find(self, header: FileHeader) -> Row | None:
        """The row of a file that the cube refers to, or of an older version of its item with another URL."""
        row = self.at(header.url)
        if row is not None and row.used:
            return row
        number = self.items.get((header.item_id or "", asset_of(header)))
        return None if number is None else self._row(number)

    def has(self, header: FileHeader) -> bool:
        """Whether this very version of a file is known."""
        row = self.at(header.url)
        return row is not None and row.identity.same(identity_of(header))

    def rivals(self, places: Mapping[str, Place]) -> dict[str, list[Row]]:
        """By URL, the files that the cube refers to which overlap with a place; those without any are left out."""
        labels = {place.label for place in places.values()}
        by_label: dict[str, list[int]] = {}
        for number, label in enumerate(self.columns["label"].tolist()):
            if label in labels:
                by_label.setdefault(label, []).append(number)
        found = {}
        for url, place in places.items():
            rows = [self._row(number) for number in by_label.get(place.label, ())]
            near = [row for row in rows if row.used and row.overlaps(place)]
            if near:
                found[url] = near
        return found

    def has_box(self, tree: str, box: Box) -> bool:
        """Whether a tree has a file with exactly these pixels."""
        found = self.columns["used"] & (self.columns["tree"] == tree)
        for name, value in zip(_BOX, box, strict=True):
            found = found & (self.columns[name] == value)
        return bool(found.any())

    def _row(self, number: int) -> Row:
        value = {name: column[number] for name, column in self.columns.items()}
        top, left, height, width = (int(value[name]) for name in _BOX)
        return Row(
            number=number,
            used=bool(value["used"]),
            box=(top, left, height, width),
            identity=Identity(str(value["etag"]), int(value["size"]), int(value["last_modified"])),
            **{name: str(value[name]) for name in _TEXTS},
        )


def read_recipe(store: IcechunkStore, group: str) -> Recipe | None:
    """How the cube in a group was made, or None when it does not say that.

    Raises
    ------
    FileNotFoundError
        When the group has no ledger.
    TargetError
        ``target-not-a-cube`` when its ledger is of another version.
    """
    attributes = zarr.open_group(store, path=joined(group, GROUP), mode="r", zarr_format=3).attrs
    own: Any = attributes.get(ATTRIBUTE)
    version = own.get("ledger") if isinstance(own, Mapping) else None
    if version != VERSION:
        found = f"its ledger of sources is of version {version}; this program reads version {VERSION}"
        hint = "It can be read all the same. To append or verify, publish it anew, or use the release that made it."
        raise TargetError(found, feature="target-not-a-cube", hint=hint)
    recipe = own.get("recipe")
    return Recipe.from_json(recipe) if isinstance(recipe, Mapping) else None


def read_rows(store: IcechunkStore, group: str) -> Rows:
    """Read the ledger in a repository."""
    names = (*_TEXTS, *_BOX, "used", "etag", "size", "last_modified")
    columns = {name: np.asarray(ledger_column(store, group, name)[:]) for name in names}
    urls = {url: number for number, url in enumerate(columns["url"].tolist())}
    items: dict[tuple[str, str], int] = {}
    named = np.flatnonzero((columns["item_id"] != "") & columns["used"]).tolist()
    if named:
        keys = list(zip(columns["item_id"].tolist(), columns["asset"].tolist(), strict=True))
        counts = Counter(keys[number] for number in named)
        items = {keys[number]: number for number in named if counts[keys[number]] == 1}
    return Rows(columns, urls, items)


def update_rows(
    store: IcechunkStore, group: str, rows: Rows, entries: Sequence[Entry], replaced: Mapping[str, Row]
) -> None:
    """Overwrite the rows of older versions, and add rows for the other files.

    Parameters
    ----------
    store, group
        The repository, and the group of the cube.
    rows
        The ledger as it is.
    entries
        The new files.
    replaced
        By the URL of a new file, the row whose place it has now. When that row has another URL, it is kept, in
        another row where need be, as a file that is not used.
    """
    end = len(rows)
    numbers: list[int] = []
    for entry in entries:
        row = replaced.get(entry.header.url)
        number = rows.urls.get(entry.header.url, None if row is None else row.number)
        numbers.append(end if number is None else number)
        end += number is None
    urls = {entry.header.url for entry in entries}
    others = [row.number for row in replaced.values() if row.url not in urls]
    away = [number for number in others if number in set(numbers)]
    order = np.array([*numbers, *range(end, end + len(away)), *(set(others) - set(away))], np.int64)
    kept = np.array([*away, *(set(others) - set(away))], np.int64)
    for column in ledger_columns(entries):
        array = ledger_column(store, group, column.name)
        values = column.values
        if kept.size:
            before = np.asarray(array.get_orthogonal_selection((kept,)))
            values = np.concatenate([values, np.zeros_like(before) if column.name == "used" else before])
        _write_rows(array, order, values)


def refresh_rows(store: IcechunkStore, group: str, rows: Rows, headers: Sequence[FileHeader]) -> None:
    """Overwrite what tells versions apart, of files whose place stays."""
    order = np.array([rows.urls[header.url] for header in headers], np.int64)
    for column in ledger_columns([Entry(header, None) for header in headers]):
        if column.name in _VERSION:
            _write_rows(ledger_column(store, group, column.name), order, column.values)


def _write_rows(array: zarr.Array[Any], numbers: npt.NDArray[np.int64], values: npt.NDArray[Any]) -> None:
    """Write rows, of which those behind the end come in their order."""
    first = array.shape[0]
    old = numbers < first
    if old.any():
        array.set_orthogonal_selection((numbers[old],), values[old])
    extend(array, values[~old], first)


def extend(array: zarr.Array[Any], values: npt.NDArray[Any], first: int) -> None:
    """Write values from a row on; the array becomes as long as they need."""
    if values.size:
        array.resize((first + values.size,))
        array[first:] = values


def ledger_column(store: IcechunkStore, group: str, name: str) -> zarr.Array[Any]:
    """One column of the ledger, for writing where the store can be written.

    Raises
    ------
    FileNotFoundError
        When there is no ledger.
    """
    mode: Literal["r", "r+"] = "r" if store.read_only else "r+"
    return zarr.open_array(store, path=joined(group, GROUP, name), mode=mode, zarr_format=3)
