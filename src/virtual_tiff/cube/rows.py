"""Headers and failures as rows of Arrow tables: all that brings them back without a look at their sources.

The leading columns are for people and for queries; ``images`` and ``tags`` hold what headers are made of: the
metadata of each array as JSON, offsets and lengths as little-endian integers of 64 bits, and the tags that
describe the image as they stand in the file. Georeference and metadata are derived from these tags anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from zlib import crc32

import numpy as np
import pyarrow as pa

from virtual_tiff import errors
from virtual_tiff.array import VirtualArray, fill_value_json
from virtual_tiff.chain import in_chunks
from virtual_tiff.cube.header import FileHeader, Identity, KeyValue, make_header
from virtual_tiff.cube.results import Failure
from virtual_tiff.cube.stores import locate
from virtual_tiff.errors import VirtualTiffError
from virtual_tiff.segments import Positions
from virtual_tiff.tiff.ifd import Ifd, Tag

_TIME: Final = pa.timestamp("us", "UTC")
_CHUNK: Final = pa.struct([("index", pa.list_(pa.int32())), ("chunk", pa.binary())])
_IMAGE: Final = pa.struct(
    [
        ("role", pa.string()),
        ("level", pa.int16()),
        ("array", pa.string()),
        ("offsets", pa.binary()),
        ("lengths", pa.binary()),
        ("inlined", pa.list_(_CHUNK)),
    ]
)
_TAG: Final = pa.struct([("code", pa.uint16()), ("type", pa.uint16()), ("count", pa.uint64()), ("raw", pa.binary())])

SCHEMA: Final = pa.schema(
    [
        ("url", pa.string()),
        ("item_id", pa.string()),
        ("etag", pa.string()),
        ("version", pa.string()),
        ("size", pa.int64()),
        ("last_modified", _TIME),
        ("read_at", _TIME),
        ("digest", pa.string()),
        ("time", _TIME),
        ("keys", pa.string()),
        ("updated", _TIME),
        ("data_type", pa.string()),
        ("grid", pa.string()),
        ("layout", pa.string()),
        ("codecs", pa.string()),
        ("nodata", pa.string()),
        ("scale", pa.string()),
        ("offset", pa.string()),
        ("references", pa.int64()),
        ("error", pa.string()),
        ("failure", pa.string()),
        ("byte_order", pa.string()),
        ("tags", pa.list_(_TAG)),
        ("levels", pa.int16()),
        ("images", pa.list_(_IMAGE)),
    ]
)
"""Columns of a ledger. ``error`` is the sentence for people, ``failure`` the same as JSON."""

_KINDS: Final = {
    kind.__name__: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, VirtualTiffError)
}
_PLAIN: Final = ("shape", "chunk_shape", "dimension_names", "codecs", "last_rows", "portability", "warnings")


def table_of(results: Iterable[FileHeader | Failure]) -> pa.Table:
    """Headers and failures as a table with the columns of :data:`SCHEMA`."""
    rows = [_header_row(item) if isinstance(item, FileHeader) else _failure_row(item) for item in results]
    return pa.Table.from_pylist(rows, SCHEMA)


def results_of(table: pa.Table) -> Iterator[FileHeader | Failure]:
    """The headers and failures of a table, in its order; no source is touched."""
    for batch in table.to_batches(max_chunksize=256):
        for row in batch.to_pylist():
            yield _failure_from(row) if row["failure"] is not None else _header_from(row)


# Headers


def _header_row(header: FileHeader) -> dict[str, Any]:
    traits = header.traits
    places = [traits["size"], traits["CRS"], traits["transform"]]
    images = [("image", 0, header.array)]
    images += [("level", number, array) for number, array in enumerate(header.levels) if array is not header.array]
    images += [("mask", number, array) for number, array in enumerate(header.masks) if array is not None]
    return {
        "url": header.url,
        "item_id": header.item_id,
        "etag": header.etag,
        "version": header.version,
        "size": header.size,
        "last_modified": header.last_modified,
        "read_at": header.read_at,
        "digest": header.digest,
        "time": _utc(header.time),
        "keys": _keys_json(header.keys),
        "updated": _utc(header.updated),
        "data_type": traits["data type"],
        "grid": ", ".join(places),
        "layout": f"{crc32(_json(dict(traits)).encode()):08x}",
        "codecs": _json(list(header.array.codecs)),
        "nodata": traits["nodata"],
        "scale": traits["scale"],
        "offset": traits["offset"],
        "references": int(np.count_nonzero(header.array.lengths)),
        "byte_order": header.image.byte_order,
        "tags": [
            {"code": tag.code, "type": tag.type, "count": tag.count, "raw": tag.raw}
            for tag in header.image.tags.values()
        ],
        "levels": len(header.levels),
        "images": [_image_row(*image) for image in images],
    }


def _header_from(row: Mapping[str, Any]) -> FileHeader:
    place = locate(row["url"])
    images = [(image["role"], image["level"], _array_from(image, row["url"])) for image in row["images"]]
    array = next(one for role, _, one in images if role == "image")
    levels = {level: one for role, level, one in images if role == "level"}
    masks = {level: one for role, level, one in images if role == "mask"}
    header = make_header(
        place,
        array,
        _ifd_from(row, array),
        Identity(
            size=row["size"],
            etag=row["etag"],
            last_modified=_utc(row["last_modified"]),
            version=row["version"],
            read_at=row["read_at"].astimezone(UTC),
            digest=row["digest"],
        ),
        levels=tuple(levels.get(number, array) for number in range(row["levels"])),
        masks=tuple(masks.get(number) for number in range(row["levels"])),
    )
    stated = {"item_id": row["item_id"], "time": _utc(row["time"]), "updated": _utc(row["updated"])}
    return replace(header, keys=_keys_from(row["keys"]), **stated)


def _utc(time: datetime | None) -> datetime | None:
    """A moment in the one time zone object that Icechunk accepts; naive ones are in UTC."""
    if time is None:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _keys_json(keys: Mapping[str, KeyValue]) -> str | None:
    return _json({name: _key_json(value) for name, value in keys.items()}) if keys else None


def _keys_from(text: str | None) -> dict[str, KeyValue]:
    return {name: _key_from(value) for name, value in json.loads(text or "{}").items()}


def _key_json(value: KeyValue) -> object:
    return {"time": value.isoformat()} if isinstance(value, datetime) else value


def _key_from(value: Any) -> KeyValue:
    key: KeyValue = datetime.fromisoformat(value["time"]) if isinstance(value, dict) else value
    return key


def _image_row(role: str, level: int, array: VirtualArray) -> dict[str, Any]:
    metadata = {name: getattr(array, name) for name in _PLAIN} | {
        "ifd": array.ifd,
        "data_type": array.dtype.name,
        "fill_value": fill_value_json(array.fill_value),
        "attributes": dict(array.attributes),
        "grid": array.grid,
    }
    return {
        "role": role,
        "level": level,
        "array": _json(metadata),
        "offsets": _bytes(array.offsets),
        "lengths": _bytes(array.lengths),
        "inlined": [{"index": list(index), "chunk": chunk} for index, chunk in array.inlined.items()],
    }


def _array_from(row: Mapping[str, Any], url: str) -> VirtualArray:
    metadata = json.loads(row["array"])
    dtype = np.dtype(metadata["data_type"])
    grid = metadata["grid"]
    return VirtualArray(
        url=url,
        ifd=tuple(metadata["ifd"]),
        shape=tuple(metadata["shape"]),
        chunk_shape=tuple(metadata["chunk_shape"]),
        dimension_names=tuple(metadata["dimension_names"]),
        dtype=dtype,
        codecs=in_chunks(metadata["codecs"]),
        fill_value=_fill_value(metadata["fill_value"], dtype),
        offsets=np.frombuffer(row["offsets"], "<u8").reshape(grid),
        lengths=np.frombuffer(row["lengths"], "<u8").reshape(grid),
        inlined={tuple(item["index"]): item["chunk"] for item in row["inlined"]},
        last_rows=metadata["last_rows"],
        attributes=metadata["attributes"],
        portability=metadata["portability"],
        warnings=tuple(metadata["warnings"]),
    )


def _fill_value(value: Any, dtype: np.dtype[Any]) -> bool | float | complex:
    """The scalar that :func:`virtual_tiff.array.fill_value_json` wrote."""
    if dtype.kind == "c":
        real, imaginary = map(float, value)  # float() reads NaN and Infinity as words, too
        return complex(real, imaginary)
    return float(value) if dtype.kind == "f" else value


def _ifd_from(row: Mapping[str, Any], array: VirtualArray) -> Ifd:
    order = row["byte_order"]
    tags = {tag["code"]: Tag(tag["code"], tag["type"], tag["count"], 0, order, tag["raw"]) for tag in row["tags"]}
    return Ifd(path=array.ifd, offset=0, byte_order=order, bigtiff=False, tags=tags)


def _bytes(positions: Positions) -> bytes:
    return np.ascontiguousarray(positions, "<u8").tobytes()


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))


# Failures


def _failure_row(failure: Failure) -> dict[str, Any]:
    error = failure.error
    told = {name: getattr(error, name) for name in ("found", "feature", "url", "ifd", "tag", "hint")}
    return {
        "url": failure.place.url,
        "item_id": failure.item_id,
        "time": _utc(failure.time),
        "keys": _keys_json(failure.keys),
        "updated": _utc(failure.updated),
        "error": str(error),
        "failure": _json({"kind": type(error).__name__, **told}),
    }


def _failure_from(row: Mapping[str, Any]) -> Failure:
    told = json.loads(row["failure"])
    kind = _KINDS[told.pop("kind")]
    told["ifd"] = None if told["ifd"] is None else tuple(told["ifd"])
    error = kind(told.pop("found"), **told)
    return Failure(
        locate(row["url"]),
        error,
        item_id=row["item_id"],
        time=_utc(row["time"]),
        keys=_keys_from(row["keys"]),
        updated=_utc(row["updated"]),
    )
