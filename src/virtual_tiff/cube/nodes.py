"""Groups, and small arrays whose chunks are stored, as the keys and bytes of Zarr v3."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numcodecs import VLenUTF8
from numcodecs.zstd import Zstd

from virtual_tiff.geo.coordinate import Coordinate

ROWS: Final = 8192
"""Rows per chunk of an array that grows, so that an append rewrites little."""

_ZSTD: Final = {"name": "zstd", "configuration": {"level": 0, "checksum": False}}


def group_json(attributes: Mapping[str, Any] | None = None) -> bytes:
    """The ``zarr.json`` of a group."""
    return json_bytes({"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})})


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """JSON as Zarr metadata: NaN is never written bare."""
    return json.dumps(value, allow_nan=False).encode()


def coordinate_keys(
    coordinate: Coordinate, *, growing: bool = False, first_row: int = 0
) -> Iterator[tuple[str, bytes]]:
    """The keys, relative to the group, and bytes of a stored array.

    Parameters
    ----------
    coordinate
        The array.
    growing
        Whether rows will be added: then the 1-D array is cut into chunks of a fixed size.
    first_row
        For a growing array: leave out the chunks that hold only rows before this one, which are stored
        already.
    """
    values = coordinate.values
    if values.dtype.kind == "U":
        values = values.astype(np.dtypes.StringDType())
    chunk_shape = (ROWS,) if growing else values.shape
    text = values.dtype.kind == "T"
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(values.shape),
        "data_type": "string" if text else values.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk_shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": "" if text else 0,
        "codecs": [{"name": "vlen-utf8"} if text else _bytes_codec(values.dtype), _ZSTD],
        "attributes": dict(coordinate.attributes),
        "dimension_names": list(coordinate.dims),
        "storage_transformers": [],
    }
    yield f"{coordinate.name}/zarr.json", json_bytes(metadata)
    if not growing:
        yield "/".join([coordinate.name, "c", *("0" for _ in values.shape)]), _encode(values, values.size)
        return
    for chunk in range(first_row // ROWS, -(-values.shape[0] // ROWS)):
        yield f"{coordinate.name}/c/{chunk}", _encode(values[chunk * ROWS : (chunk + 1) * ROWS], ROWS)


def _bytes_codec(dtype: np.dtype[Any]) -> dict[str, Any]:
    return {"name": "bytes"} if dtype.itemsize == 1 else {"name": "bytes", "configuration": {"endian": "little"}}


def _encode(values: np.ndarray[Any, Any], size: int) -> bytes:
    """One chunk of `size` values, the missing ones filled."""
    if values.dtype.kind == "T":
        texts = np.array([*values.tolist(), *[""] * (size - values.size)], object)
        plain = bytes(VLenUTF8().encode(texts))
    else:
        little = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        plain = little.ljust(size * values.dtype.itemsize, b"\0")
    return bytes(Zstd(level=3).encode(plain))
