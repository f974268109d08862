"""The columns of the ledger of sources: what each says of a file, and the keys by which rows are found again."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import zarr
from icechunk.store import IcechunkStore

from virtual_tiff.cube.blueprint import Cell, Claim, texts
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.times import microseconds
from virtual_tiff.cube.write import joined
from virtual_tiff.geo.coordinate import Coordinate

GROUP: Final = "_sources"
DIM: Final = "source"
UNKNOWN_SIZE: Final = -1
UNKNOWN_TIME: Final = np.iinfo(np.int64).min

type Box = tuple[int, int, int, int]
"""Row and column of the upper left corner, height and width, in pixels."""

BOX: Final = ("row", "col", "height", "width")
TEXTS: Final = ("url", "item_id", "asset", "tree", "variable", "label")
VERSION_COLUMNS: Final = ("etag", "version", "size", "last_modified", "digest")
UPDATED: Final = "updated"
"""The column that came later: cubes may lack it, or have it for fewer rows, and then nothing is known."""

URL_KEY: Final = "url_key"
ITEM_KEY: Final = "item_key"
PLACE_KEY: Final = "place_key"
KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    URL_KEY: ("url",),
    ITEM_KEY: ("item_id", "asset"),
    PLACE_KEY: ("tree", "variable", "label"),
}
"""The columns that are read to find rows, and those whose texts they stand for."""

KEY_ROWS: Final = 65_536
"""Rows per chunk of such a column: few chunks to read, and 256 KiB that an append writes again."""

_TIME_ATTRIBUTES = {
    "units": "microseconds since 1970-01-01",
    "calendar": "proleptic_gregorian",
    "_FillValue": int(UNKNOWN_TIME),
}


def key_of(*texts: str) -> int:
    """The key of texts: the CRC-32 of them with line ends between. Other texts may have the same."""
    return zlib.crc32("\n".join(texts).encode())


def key_column(name: str, keys: Iterable[int]) -> Coordinate:
    """A column of keys."""
    title = f"CRC-32 of {', '.join(KEYS[name])}"
    return Coordinate(name, (DIM,), np.fromiter(keys, np.uint32), {"long_name": title})


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one version of a file from another; what the store does not tell is empty or unknown."""

    etag: str
    size: int
    last_modified: int

    @classmethod
    def of(cls, etag: str | None, size: int | None, last_modified: datetime | None) -> Identity:
        """The identity out of what a store answers."""
        return cls(etag or "", UNKNOWN_SIZE if size is None else size, ledger_time(last_modified))

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
    def key(self) -> int:
        """The key of all places with these labels."""
        return key_of(self.tree, self.claim.variable, self.label)

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
    etag, version, size (bytes), last_modified and digest (of a part of the bytes) tell its versions apart; updated is
    when its catalogue says that it was last updated. The keys are
    hashes of what they are named after, by which an append finds rows without reading their texts.
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
        *(column(name, np.ascontiguousarray(boxes[:, number])) for number, name in enumerate(BOX)),
        column("etag", texts(one.etag for one in known)),
        column("version", texts(header.version or "" for header in headers)),
        column("size", np.array([one.size for one in known], np.int64), size_attributes),
        column("last_modified", np.array([one.last_modified for one in known], np.int64), _TIME_ATTRIBUTES),
        column("digest", texts(header.digest or "" for header in headers)),
        updated_column([header.updated for header in headers]),
        key_column(URL_KEY, (key_of(header.url) for header in headers)),
        key_column(ITEM_KEY, (item_key(header.item_id or "", asset_of(header)) for header in headers)),
        key_column(PLACE_KEY, (0 if place is None else place.key for place in places)),
    )


def updated_column(moments: Iterable[datetime | None]) -> Coordinate:
    """The column of the times at which catalogues say that files were last updated."""
    values = np.array([ledger_time(moment) for moment in moments], np.int64)
    return Coordinate(UPDATED, (DIM,), values, _TIME_ATTRIBUTES)


def ledger_time(moment: datetime | None) -> int:
    """A moment as the ledger has it: in microseconds since 1970-01-01 UTC, or :data:`UNKNOWN_TIME`."""
    return UNKNOWN_TIME if moment is None else microseconds(moment)


def item_key(item_id: str, asset: str) -> int:
    """The key of an asset of an item; that of files without an item is 0."""
    return key_of(item_id, asset) if item_id else 0


def asset_of(header: FileHeader) -> str:
    """The key of a file's asset in its item, or nothing."""
    return str(header.keys.get("asset", ""))


def identity_of(header: FileHeader) -> Identity:
    """Which version of a file a header was read from."""
    return Identity.of(header.etag, header.size, header.last_modified)


def ledger_column(store: IcechunkStore, group: str, name: str) -> zarr.Array[Any]:
    """One column of the ledger, for writing where the store can be written.

    Raises
    ------
    FileNotFoundError
        When there is no ledger.
    """
    mode: Literal["r", "r+"] = "r" if store.read_only else "r+"
    return zarr.open_array(store, path=joined(group, GROUP, name), mode=mode, zarr_format=3)
