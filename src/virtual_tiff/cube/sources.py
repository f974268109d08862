"""The ledger of sources: which files a cube was made of, and what they looked like when they were read.

It lies in the repository beside the cube, as the group ``_sources`` with one array per column, so that it is
part of the same commit, any Zarr client can read it, and an append rewrites only its last rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.nodes import coordinate_keys, group_json
from virtual_tiff.cube.plan import texts
from virtual_tiff.geo.coordinate import Coordinate

GROUP: Final = "_sources"
DIM: Final = "source"
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


def ledger_columns(headers: Sequence[FileHeader]) -> tuple[Coordinate, ...]:
    """The columns of the ledger, one row per file: url, etag, version, size (bytes) and last_modified."""
    sizes = [UNKNOWN_SIZE if header.size is None else header.size for header in headers]
    times = [microseconds(header.last_modified) for header in headers]
    size_attributes = {"units": "bytes", "long_name": f"size, {UNKNOWN_SIZE} when unknown"}
    return (
        Coordinate("url", (DIM,), texts(header.url for header in headers)),
        Coordinate("etag", (DIM,), texts(header.etag or "" for header in headers)),
        Coordinate("version", (DIM,), texts(header.version or "" for header in headers)),
        Coordinate("size", (DIM,), np.array(sizes, np.int64), size_attributes),
        Coordinate("last_modified", (DIM,), np.array(times, np.int64), _TIME_ATTRIBUTES),
    )


def ledger_keys(headers: Sequence[FileHeader]) -> Iterator[tuple[str, bytes]]:
    """The keys and bytes of the ledger in the repository."""
    attributes = {"virtual_tiff": {"ledger": VERSION}, "title": "The files that this cube refers to"}
    yield f"{GROUP}/zarr.json", group_json(attributes)
    for column in ledger_columns(headers):
        for key, value in coordinate_keys(column, growing=True):
            yield f"{GROUP}/{key}", value
