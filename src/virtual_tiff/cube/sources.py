"""The ledger of sources: which files a cube was made of, and what they looked like when they were read.

It lies beside the cube, as the group ``_sources`` with one array per column, so that it is part of the same commit,
any Zarr client can read it, and an append rewrites only its last rows. The attributes of the group hold what an append
needs to know: how the cube was planned, and the traits in which further files must agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import zarr
from icechunk.store import IcechunkStore

from virtual_tiff.cube.blueprint import GroupPlan, texts
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.nodes import coordinate_keys, group_json
from virtual_tiff.cube.write import joined
from virtual_tiff.geo.coordinate import Coordinate

GROUP: Final = "_sources"
DIM: Final = "source"
ATTRIBUTE: Final = "virtual_tiff"
VERSION: Final = 1
UNKNOWN_SIZE: Final = -1
UNKNOWN_TIME: Final = np.iinfo(np.int64).min

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


def ledger_columns(headers: Sequence[FileHeader], labels: Sequence[str]) -> tuple[Coordinate, ...]:
    """The columns of the ledger, one row per file.

    They are url, item_id, label, etag, version, size (bytes), last_modified and digest (of a part of the bytes).

    The label is the value of the growing axis at which the file lies, as text; empty when there is no such axis.
    """
    known = [Identity.of(header.etag, header.size, header.last_modified) for header in headers]
    size_attributes = {"units": "bytes", "long_name": f"size, {UNKNOWN_SIZE} when unknown"}
    return (
        Coordinate("url", (DIM,), texts(header.url for header in headers)),
        Coordinate("item_id", (DIM,), texts(header.item_id or "" for header in headers)),
        Coordinate("label", (DIM,), texts(labels)),
        Coordinate("etag", (DIM,), texts(one.etag for one in known)),
        Coordinate("version", (DIM,), texts(header.version or "" for header in headers)),
        Coordinate("size", (DIM,), np.array([one.size for one in known], np.int64), size_attributes),
        Coordinate("last_modified", (DIM,), np.array([one.last_modified for one in known], np.int64), _TIME_ATTRIBUTES),
        Coordinate("digest", (DIM,), texts(header.digest or "" for header in headers)),
    )


def axis_labels(axis: Coordinate | None, positions: Sequence[int]) -> list[str]:
    """The values of an axis at these positions, as text."""
    return [""] * len(positions) if axis is None else [str(axis.values[position]) for position in positions]


def labels_of(groups: Sequence[GroupPlan], headers: Sequence[FileHeader]) -> list[str]:
    """The label of each file: the value of its group's growing axis."""
    found: dict[str, str] = {}
    for group in groups:
        axis = group.axes[0] if group.axes else None
        for array in group.arrays:
            positions = [placement.index[0] for placement in array.placements]
            labels = axis_labels(axis, positions)
            found |= {p.header.url: label for p, label in zip(array.placements, labels, strict=True)}
    return [found.get(header.url, "") for header in headers]


def ledger_keys(
    headers: Sequence[FileHeader], labels: Sequence[str], recipe: Mapping[str, Any] | None
) -> Iterator[tuple[str, bytes]]:
    """The keys and bytes of the ledger, relative to the group of the cube."""
    own: dict[str, Any] = {"ledger": VERSION}
    if recipe is not None:
        own["recipe"] = dict(recipe)
    yield f"{GROUP}/zarr.json", group_json({ATTRIBUTE: own, "title": "The files that this cube refers to"})
    for column in ledger_columns(headers, labels):
        for key, value in coordinate_keys(column, growing=True):
            yield f"{GROUP}/{key}", value


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the ledger in a repository."""

    number: int
    url: str
    item_id: str
    label: str
    identity: Identity


@dataclass(frozen=True, slots=True)
class Rows:
    """The ledger in a repository: its columns by name, and the number of each URL's row.

    ``items`` are the numbers of the rows of items that have one file each.
    """

    columns: Mapping[str, npt.NDArray[Any]]
    urls: Mapping[str, int]
    items: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.urls)

    def at(self, url: str) -> Row | None:
        """The row of a URL."""
        number = self.urls.get(url)
        return None if number is None else self._row(number)

    def find(self, header: FileHeader) -> Row | None:
        """The row of a file, or of an older version of its item with another URL."""
        number = self.urls.get(header.url)
        if number is None and header.item_id:
            number = self.items.get(header.item_id)
        return None if number is None else self._row(number)

    def label(self, header: FileHeader) -> str:
        """The label of a file, empty for one that is not there."""
        row = self.find(header)
        return "" if row is None else row.label

    def _row(self, number: int) -> Row:
        value = {name: column[number] for name, column in self.columns.items()}
        identity = Identity(str(value["etag"]), int(value["size"]), int(value["last_modified"]))
        return Row(number, str(value["url"]), str(value["item_id"]), str(value["label"]), identity)

    def has(self, header: FileHeader) -> bool:
        """Whether this very version of a file is there."""
        row = self.find(header)
        own = Identity.of(header.etag, header.size, header.last_modified)
        return row is not None and row.url == header.url and row.identity.same(own)


def read_recipe(store: IcechunkStore, group: str) -> Mapping[str, Any] | None:
    """How the cube in a group was made, or None when nothing can be appended to it.

    Raises
    ------
    FileNotFoundError
        When the group has no ledger.
    """
    attributes = zarr.open_group(store, path=joined(group, GROUP), mode="r", zarr_format=3).attrs
    found: Any = attributes.get(ATTRIBUTE)
    recipe = found.get("recipe") if isinstance(found, Mapping) and found.get("ledger") == VERSION else None
    return recipe if isinstance(recipe, Mapping) else None


def read_rows(store: IcechunkStore, group: str) -> Rows:
    """Read the ledger in a repository."""
    names = ("url", "item_id", "label", "etag", "size", "last_modified")
    columns = {name: np.asarray(_column(store, group, name)[:]) for name in names}
    urls = {url: number for number, url in enumerate(columns["url"].tolist())}
    items = columns["item_id"].tolist()
    counts = Counter(item for item in items if item)
    single = {item: number for number, item in enumerate(items) if counts[item] == 1} if counts else {}
    return Rows(columns, urls, single)


def update_rows(
    store: IcechunkStore, group: str, rows: Rows, headers: Sequence[FileHeader], labels: Sequence[str]
) -> None:
    """Overwrite the rows of older versions, and add rows for the other files."""
    old = [rows.find(header) for header in headers]
    fresh = [index for index, row in enumerate(old) if row is None]
    for column in ledger_columns(headers, labels):
        array = _column(store, group, column.name)
        for index, row in enumerate(old):
            if row is not None:
                array[row.number : row.number + 1] = column.values[index : index + 1]
        extend(array, column.values[fresh], len(rows))


def extend(array: zarr.Array[Any], values: npt.NDArray[Any], first: int) -> None:
    """Write values from a row on; the array becomes as long as they need."""
    if values.size:
        array.resize((first + values.size,))
        array[first:] = values


def _column(store: IcechunkStore, group: str, name: str) -> zarr.Array[Any]:
    mode: Literal["r", "r+"] = "r" if store.read_only else "r+"
    return zarr.open_array(store, path=joined(group, GROUP, name), mode=mode, zarr_format=3)
