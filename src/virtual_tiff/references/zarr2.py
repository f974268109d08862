"""From the metadata of Zarr v3 to that of Zarr v2, where it can say the same.

Zarr v2 differs in two points that change what is read. It has no codec that reorders axes: pixel-interleaved bands that
core codecs decode are written with their axes in the order in which they are stored, ``(y, x, band)``. And xarray takes
its fill value for nodata: there is one only where the array declares it as such, or where chunks are missing.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from virtual_tiff.array import fill_value_json
from virtual_tiff.bandaxis import in_order, stored_order, without_order
from virtual_tiff.errors import UsageError
from virtual_tiff.references.nodes import Index, Json

_RENAMED: Final = {"numcodecs.zlib": "zlib", "zstd": "zstd", "virtual_tiff.segment": "virtual_tiff.segment"}
_KINDS: Final = "biufc"
_HINT: Final = "Write them with zarr_format=3, as JSON."


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The documents of an array by name; ``order`` are its axes as they are stored, None when that is their order."""

    documents: Mapping[str, Json]
    order: Index | None
    notes: tuple[str, ...]


def array_documents(metadata: Json, *, path: str, missing: int, stored: bool) -> Documents:
    """Return ``.zarray`` and ``.zattrs`` for an array's ``zarr.json``.

    Parameters
    ----------
    metadata
        The ``zarr.json``.
    path
        Of the array, for messages.
    missing
        Number of its chunks that are absent.
    stored
        Whether it is a small array that has all its chunks, such as a coordinate.

    Raises
    ------
    UsageError
        ``usage`` for a rectilinear chunk grid, for a codec or data type that Zarr v2 does not have, and for missing
        chunks that read as another value than nodata.

    References
    ----------
    Zarr storage specification 2; Zarr core specification 3.1.
    """
    if metadata["chunk_grid"]["name"] != "regular":
        raise _refused(path, "its chunk grid is rectilinear, which Zarr v2 does not have")
    order = stored_order(metadata["codecs"])
    endian, filters, compressor = _chain(without_order(metadata["codecs"]), path)
    attributes = dict(metadata["attributes"])
    sentinel = _sentinel(attributes.pop("_FillValue", None), metadata["data_type"])
    shape, chunks = metadata["shape"], metadata["chunk_grid"]["configuration"]["chunk_shape"]
    names = metadata["dimension_names"]
    notes = []
    if order is not None:
        shape, chunks, names = (in_order(values, order) for values in (shape, chunks, names))
        notes.append(f"{path}: Zarr v2 keeps the order of the file, so that its dimensions are ({', '.join(names)})")
    fill_value = sentinel
    if missing and not stored:
        fill_value = metadata["fill_value"]
        if sentinel is None:
            notes.append(
                f"{path}: {missing} missing chunks read as {fill_value!r}, which xarray takes for nodata in Zarr v2, "
                "unless mask_and_scale=False"
            )
        elif sentinel != fill_value:
            found = f"its missing chunks read as {fill_value!r} and its nodata is {sentinel!r}: Zarr v2 has one value"
            raise _refused(path, found)
    zarray = {
        "zarr_format": 2,
        "shape": list(shape),
        "chunks": list(chunks),
        "dtype": _dtype(metadata["data_type"], endian, path),
        "compressor": compressor,
        "fill_value": fill_value,
        "order": "C",
        "filters": filters or None,
        "dimension_separator": ".",
    }
    zattrs = {**attributes, "_ARRAY_DIMENSIONS": list(names)}
    return Documents(documents={".zarray": zarray, ".zattrs": zattrs}, order=order, notes=tuple(notes))


def _chain(codecs: Sequence[Json], path: str) -> tuple[str | None, list[dict[str, Any]], dict[str, Any] | None]:
    """The byte order, the filters and the compressor of a chain."""
    endian: str | None = None
    filters: list[dict[str, Any]] = []
    compressor: dict[str, Any] | None = None
    for codec in codecs:
        name, options = codec["name"], dict(codec.get("configuration", {}))
        if name == "bytes":
            endian = options.get("endian")
        elif name == "vlen-utf8":
            filters.append({"id": "vlen-utf8"})
        elif name in _RENAMED and compressor is None:
            if name == "zstd":
                options.pop("checksum", None)  # older numcodecs do not know it, and decoding needs it not
            compressor = {"id": _RENAMED[name], **options}
        else:
            raise _refused(path, f"its codec {name} has no counterpart in Zarr v2")
    return endian, filters, compressor


def _dtype(data_type: str, endian: str | None, path: str) -> str:
    if data_type == "string":
        return "|O"
    try:
        dtype = np.dtype(data_type)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in _KINDS:
        raise _refused(path, f"its data type {data_type} has no counterpart in Zarr v2")
    text: str = dtype.newbyteorder(">" if endian == "big" else "<").str
    return text


def _sentinel(value: Any, data_type: str) -> Any:
    """The ``_FillValue`` of a Zarr v3 array as a fill value of Zarr v2: floats stand there in base64."""
    if not isinstance(value, str) or not data_type.startswith("float"):
        return value
    (number,) = struct.unpack("<d", base64.standard_b64decode(value))
    with np.errstate(over="ignore"):
        return fill_value_json(np.dtype(data_type).type(number).item())


def _refused(path: str, found: str) -> UsageError:
    return UsageError(f"{path} cannot be written in Zarr v2: {found}", feature="usage", hint=_HINT)
