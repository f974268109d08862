"""The rows of the ledger in a repository: found by short keys, and read chunk by chunk as they are needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import zarr
from icechunk.store import IcechunkStore

from virtual_tiff.cube.columns import (
    BOX,
    ITEM_KEY,
    KEYS,
    PLACE_KEY,
    TEXTS,
    UNKNOWN_TIME,
    UPDATED,
    URL_KEY,
    Box,
    Identity,
    Place,
    asset_of,
    identity_of,
    item_key,
    key_of,
    ledger_column,
)
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.times import decode_time

_TABLE: Final = 1 << 16
"""Values of the lowest bits of keys, by which most rows are left out of a search."""

_CELLS: Final = 256
"""Rows and columns of the coarse grid on which places are compared first."""

_BLOCK: Final = 1 << 16
"""Keys that are searched at once: what that takes stays in the cache of the processor."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the ledger in a repository; ``box`` is row, col, height and width, ``updated`` in microseconds."""

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
    updated: int = int(UNKNOWN_TIME)

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


@dataclass(slots=True)
class _Column:
    """A column of the ledger, of which chunks are read when they are needed."""

    array: zarr.Array[Any]
    chunks: dict[int, npt.NDArray[Any]] = field(default_factory=dict)

    def take(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The values of rows, whose numbers ascend."""
        if not numbers.size:
            return np.empty(0, self.array.dtype)
        size = self.array.chunks[0]
        wanted, firsts = np.unique(numbers // size, return_index=True)
        self._load(wanted.tolist(), size)
        parts = zip(wanted.tolist(), np.split(numbers, firsts[1:]), strict=True)
        return np.concatenate([self.chunks[chunk][part - chunk * size] for chunk, part in parts])

    def at(self, number: int) -> Any:
        """The value of one row."""
        size = self.array.chunks[0]
        chunk = number // size
        if chunk not in self.chunks:
            self._load([chunk], size)
        return self.chunks[chunk][number - chunk * size]

    def _load(self, wanted: Sequence[int], size: int) -> None:
        """Read chunks; those that are close to each other at once, with what is between them."""
        missing = [chunk for chunk in wanted if chunk not in self.chunks]
        while missing:
            near = [chunk for number, chunk in enumerate(missing) if chunk - missing[0] <= 2 * number]
            first, end = near[0], near[-1] + 1
            values = np.asarray(self.array[first * size : end * size])
            self.chunks |= {chunk: values[(chunk - first) * size :][:size] for chunk in range(first, end)}
            missing = [chunk for chunk in missing if chunk >= end]


class Rows:
    """The ledger in a repository at one snapshot.

    Rows are found by columns of keys, which are small and read whole; of the other columns only those chunks are read
    that hold such rows. So looking for files that are new costs next to nothing, however many there are. Cubes that
    have no keys, or not those of all rows, are read whole.

    Parameters
    ----------
    store, group
        The repository, and the group of the cube.
    """

    def __init__(self, store: IcechunkStore, group: str) -> None:
        self._store = store
        self._group = group
        self._columns: dict[str, _Column] = {}
        self._keys: dict[str, npt.NDArray[np.uint32]] = {}
        self._urls: dict[str, int | None] = {}
        self._items: dict[tuple[str, str], int | None] = {}
        self._labels: dict[str, dict[str, bool]] = {}
        self._found: dict[tuple[str, frozenset[int]], npt.NDArray[np.int64]] = {}
        self._updated: bool | None = None
        self._length = int(self._column("url").array.shape[0])

    def __len__(self) -> int:
        return self._length

    def look_up(self, urls: Iterable[str]) -> None:
        """Find the rows of many URLs at once, which is faster than one by one."""
        wanted = {url: key_of(url) for url in urls if url not in self._urls}
        if not wanted:
            return
        numbers = self._near(URL_KEY, wanted.values())
        found = dict(zip(self._column("url").take(numbers).tolist(), numbers.tolist(), strict=True))
        self._urls |= {url: found.get(url) for url in wanted}

    def look_up_all(self, headers: Sequence[FileHeader]) -> None:
        """Find the rows of many files, and of older versions of their items."""
        self.look_up(header.url for header in headers)
        pairs = ((header.item_id or "", asset_of(header)) for header in headers)
        wanted = {pair: item_key(*pair) for pair in pairs if pair[0] and pair not in self._items}
        if not wanted:
            return
        numbers = self._near(ITEM_KEY, wanted.values())
        numbers = numbers[self._column("used").take(numbers)] if numbers.size else numbers
        names = [self._column(name).take(numbers).tolist() for name in KEYS[ITEM_KEY]]
        found: dict[tuple[str, str], list[int]] = {}
        for item_id, asset, number in zip(*names, numbers.tolist(), strict=True):
            found.setdefault((item_id, asset), []).append(number)
        for pair in wanted:
            there = found.get(pair, [])
            self._items[pair] = there[0] if len(there) == 1 else None

    def number(self, url: str) -> int | None:
        """The number of the row of a URL."""
        self.look_up([url])
        return self._urls[url]

    def identity(self, url: str) -> Identity | None:
        """Which version of a file is known."""
        number = self.number(url)
        return None if number is None else self._identity(number)

    def unused(self, urls: Iterable[str]) -> list[str]:
        """Those of some files that are known, and that the cube does not refer to."""
        asked = list(urls)
        self.look_up(asked)
        used = self._column("used")
        known = ((url, self._urls[url]) for url in asked)
        return [url for url, number in known if number is not None and not used.at(number)]

    def at(self, url: str) -> Row | None:
        """The row of a URL."""
        number = self.number(url)
        return None if number is None else self._row(number)

    def find(self, header: FileHeader) -> Row | None:
        """The row of a file that the cube refers to, or of an older version of its item with another URL.

        The latter only when the item has one such file.
        """
        self.look_up_all([header])
        number = self._urls[header.url]
        if number is not None and self._column("used").at(number):
            return self._row(number)
        number = self._items.get((header.item_id or "", asset_of(header)))
        return None if number is None else self._row(number)

    def has(self, header: FileHeader) -> bool:
        """Whether this very version of a file is known."""
        known = self.identity(header.url)
        return known is not None and known.same(identity_of(header))

    def rivals(self, places: Mapping[str, Place]) -> dict[str, list[Row]]:
        """By URL, the files that the cube refers to which overlap with a place; those without any are left out."""
        if not places:
            return {}
        numbers = self._near(PLACE_KEY, {place.key for place in places.values()})
        boxes = self._boxes(numbers)
        close = _touching(boxes, np.array([_ends(place.box) for place in places.values()], np.int64))
        numbers, boxes = numbers[close], boxes[:, close]
        found = {}
        for url, place in places.items():
            rows = [self._row(number) for number in numbers[_overlap(boxes, _ends(place.box))].tolist()]
            near = [row for row in rows if row.used and row.overlaps(place)]
            if near:
                found[url] = near
        return found

    def has_box(self, tree: str, box: Box) -> bool:
        """Whether a tree has a file with exactly these pixels."""
        numbers = np.arange(len(self))
        for name, value in zip(BOX, box, strict=True):
            numbers = numbers[self._column(name).take(numbers) == value]
        used, trees = self._column("used"), self._column("tree")
        return any(used.at(number) and str(trees.at(number)) == tree for number in numbers.tolist())

    def placed(self) -> int:
        """Number of files that have a place, as far as their keys tell: one whose key is 0 is not counted."""
        return int(np.count_nonzero(self.keys(PLACE_KEY)))

    def having(self, tree: str, variables: Collection[str], labels: Collection[str]) -> set[str]:
        """Those of some labels at which a tree has files, of some of its variables."""
        known = self._labels.setdefault(tree, {})
        unknown = [label for label in labels if label not in known]
        if unknown:
            keys = [key_of(tree, variable, label) for variable in variables for label in unknown]
            numbers = self._near(PLACE_KEY, keys)
            there = set()
            if numbers.size:
                numbers = numbers[self._column("used").take(numbers)]
                rows = zip(*(self._column(name).take(numbers).tolist() for name in ("tree", "label")), strict=True)
                there = {label for own, label in rows if own == tree}
            known |= {label: label in there for label in unknown}
        return {label for label in labels if known[label]}

    def keys(self, name: str) -> npt.NDArray[np.uint32]:
        """The keys of all rows; they are made of the texts where the cube has none."""
        if name not in self._keys:
            self._keys[name] = self._read_keys(name)
        return self._keys[name]

    def _read_keys(self, name: str) -> npt.NDArray[np.uint32]:
        array = self._whole_array(name)
        if array is not None:
            return np.asarray(array[:])
        every = np.arange(len(self))
        columns = [self._column(text).take(every).tolist() for text in KEYS[name]]
        of = item_key if name == ITEM_KEY else key_of
        return np.array([of(*texts) for texts in zip(*columns, strict=True)], np.uint32)

    def has_keys(self, name: str) -> bool:
        """Whether the cube has such keys, of all rows."""
        return self._whole_array(name) is not None

    def has_updated(self) -> bool:
        """Whether the cube says of all rows when they were updated, or that this is unknown."""
        if self._updated is None:
            self._updated = self._whole_array(UPDATED) is not None
        return self._updated

    def updated(self, row: Row, digest: str | None) -> datetime | None:
        """When a file was updated, as a catalogue said of the bytes with this digest; None when that is unknown."""
        if row.updated == UNKNOWN_TIME or not digest or str(self._column("digest").at(row.number)) != digest:
            return None
        return decode_time(np.array([row.updated], np.int64))[0]

    def _whole_array(self, name: str) -> zarr.Array[Any] | None:
        try:
            array = ledger_column(self._store, self._group, name)
        except FileNotFoundError:
            return None
        return array if array.shape == (len(self),) else None

    def _near(self, name: str, wanted: Iterable[int]) -> npt.NDArray[np.int64]:
        """The numbers of the rows that have one of these keys."""
        asked = frozenset(wanted)
        if (name, asked) not in self._found:
            self._found = {(name, asked): _search(self.keys(name), np.fromiter(asked, np.uint32))}
        return self._found[name, asked]

    def _boxes(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The boxes of rows, as rows: top, left, height, width."""
        return np.array([self._column(name).take(numbers) for name in BOX], np.int64).reshape(4, -1)

    def _column(self, name: str) -> _Column:
        if name not in self._columns:
            self._columns[name] = _Column(ledger_column(self._store, self._group, name))
        return self._columns[name]

    def _identity(self, number: int) -> Identity:
        etag, size, changed = (self._column(name).at(number) for name in ("etag", "size", "last_modified"))
        return Identity(str(etag), int(size), int(changed))

    def _row(self, number: int) -> Row:
        top, left, height, width = (int(self._column(name).at(number)) for name in BOX)
        return Row(
            number=number,
            used=bool(self._column("used").at(number)),
            box=(top, left, height, width),
            identity=self._identity(number),
            updated=int(self._column(UPDATED).at(number)) if self.has_updated() else int(UNKNOWN_TIME),
            **{name: str(self._column(name).at(number)) for name in TEXTS},
        )


def _search(keys: npt.NDArray[np.uint32], asked: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """The positions of keys that are asked for."""
    table = np.zeros(_TABLE, np.bool_)
    table[asked & (_TABLE - 1)] = True
    blocks = range(0, len(keys), _BLOCK)
    near = [first + np.flatnonzero(table[keys[first : first + _BLOCK] & (_TABLE - 1)]) for first in blocks]
    numbers = np.concatenate(near) if near else np.empty(0, np.int64)
    return numbers[np.isin(keys[numbers], asked)]


def _ends(box: Box) -> Box:
    """The first row and column of a box, and those behind its end."""
    return box[0], box[1], box[0] + box[2], box[1] + box[3]


def _overlap(boxes: npt.NDArray[np.int64], area: Box) -> npt.NDArray[np.bool_]:
    """Which boxes overlap with an area, given by its ends."""
    top, left, height, width = boxes
    inside: npt.NDArray[np.bool_] = (
        (top < area[2]) & (area[0] < top + height) & (left < area[3]) & (area[1] < left + width)
    )
    return inside


def _touching(boxes: npt.NDArray[np.int64], areas: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which boxes may overlap with one of many areas, given by their ends: those that share a cell of a coarse grid.

    The number of areas does not matter: the cells that they touch are summed up from the corner of the grid, and the
    sums at the four corners of a box tell whether it has any.
    """
    low, high = areas[:, :2].min(axis=0), areas[:, 2:].max(axis=0)
    size = -(-(high - low) // _CELLS)
    touched = np.zeros((_CELLS, _CELLS), np.bool_)
    for first, last in zip((areas[:, :2] - low) // size, (areas[:, 2:] - 1 - low) // size, strict=True):
        touched[first[0] : last[0] + 1, first[1] : last[1] + 1] = True
    sums = np.zeros((_CELLS + 1, _CELLS + 1), np.int64)
    sums[1:, 1:] = touched.cumsum(axis=0).cumsum(axis=1)
    near = np.flatnonzero(_overlap(boxes, (*low.tolist(), *high.tolist())))
    top, left, height, width = boxes[:, near]
    ends = []
    for axis, (begin, length) in enumerate(((top, height), (left, width))):
        first = np.clip((begin - low[axis]) // size[axis], 0, _CELLS - 1)
        ends.append((first, np.clip((begin + length - 1 - low[axis]) // size[axis], 0, _CELLS - 1) + 1))
    (rows, rows_end), (columns, columns_end) = ends
    inside = sums[rows_end, columns_end] - sums[rows, columns_end] - sums[rows_end, columns] + sums[rows, columns]
    found = np.zeros(boxes.shape[1], np.bool_)
    found[near[inside > 0]] = True
    return found
