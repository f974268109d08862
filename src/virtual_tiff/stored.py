"""Small arrays that are stored rather than referenced: coordinates, and the columns of a ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from numcodecs import VLenUTF8
from numcodecs.zstd import Zstd

from virtual_tiff.geo.coordinate import Coordinate

_ZSTD: Final = {"name": "zstd", "configuration": {"level": 0, "checksum": False}}


def stored_json(
    coordinate: Coordinate, *, chunk_shape: Sequence[int] | None = None, separator: Literal[".", "/"] = "/"
) -> dict[str, Any]:
    """Return the ``zarr.json`` of a stored array, by default in one chunk; texts are variable-length UTF-8."""
    values = coordinate.values
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(values.shape),
        "data_type": "string" if _is_text(values) else values.dtype.name,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": list(values.shape if chunk_shape is None else chunk_shape)},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": separator}},
        "fill_value": _fill_value(values),
        "codecs": [_serializer(values), _ZSTD],
        "attributes": dict(coordinate.attributes),
        "dimension_names": list(coordinate.dims),
        "storage_transformers": [],
    }


def stored_chunk(values: npt.NDArray[Any], size: int | None = None) -> bytes:
    """Encode one chunk of `size` values (by default as many as there are); missing ones are filled."""
    size = values.size if size is None else size
    if _is_text(values):
        texts = np.array([*values.tolist(), *[""] * (size - values.size)], object)
        plain = bytes(VLenUTF8().encode(texts))
    else:
        little = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        plain = little.ljust(size * values.dtype.itemsize, b"\0")
    return bytes(Zstd(level=3).encode(plain))


def _fill_value(values: npt.NDArray[Any]) -> str | int:
    """Zarr's fill value; in Zarr v2 it is what xarray masks, and 0.0 is a good coordinate."""
    if _is_text(values):
        return ""
    return "NaN" if values.dtype.kind == "f" else 0


def _is_text(values: npt.NDArray[Any]) -> bool:
    return values.dtype.kind in "TU"


def _serializer(values: npt.NDArray[Any]) -> dict[str, Any]:
    if _is_text(values):
        return {"name": "vlen-utf8"}
    if values.dtype.itemsize == 1:
        return {"name": "bytes"}
    return {"name": "bytes", "configuration": {"endian": "little"}}
