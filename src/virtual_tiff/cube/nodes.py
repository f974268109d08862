"""Groups, and small arrays whose chunks are stored, as the keys and bytes of Zarr v3."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from virtual_tiff.geo.coordinate import Coordinate
from virtual_tiff.stored import stored_chunk, stored_json

ROWS: Final = 8192
"""Rows per chunk of an array that grows, so that an append rewrites little."""


def group_json(attributes: Mapping[str, Any] | None = None) -> bytes:
    """The ``zarr.json`` of a group."""
    return json_bytes({"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})})


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """JSON as Zarr metadata: NaN is never written bare."""
    return json.dumps(value, allow_nan=False).encode()


def coordinate_keys(coordinate: Coordinate, *, growing: bool = False, rows: int = ROWS) -> Iterator[tuple[str, bytes]]:
    """The keys, relative to the group, and bytes of a stored array.

    Parameters
    ----------
    coordinate
        The array.
    growing
        Whether rows will be added: then the 1-D array is cut into chunks of a fixed size.
    rows
        That size.
    """
    values = coordinate.values
    metadata = stored_json(coordinate, chunk_shape=(rows,) if growing else None)
    yield f"{coordinate.name}/zarr.json", json_bytes(metadata)
    if not growing:
        yield "/".join([coordinate.name, "c", *("0" for _ in values.shape)]), stored_chunk(values)
        return
    for chunk, first in enumerate(range(0, values.shape[0], rows)):
        yield f"{coordinate.name}/c/{chunk}", stored_chunk(values[first : first + rows], rows)
