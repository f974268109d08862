"""Catalogues in Parquet: stac-geoparquet, and the tile indexes of GDAL's GTI driver.

References
----------
https://github.com/stac-utils/stac-geoparquet (spec); https://gdal.org/drivers/raster/gti.html
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from virtual_tiff.cube.assets import AssetChoice
from virtual_tiff.cube.hrefs import bad_catalog, gdal_name, resolve_href
from virtual_tiff.cube.item import SourceItem
from virtual_tiff.cube.stac import stac_items
from virtual_tiff.cube.times import as_utc, decode_time, parse_time
from virtual_tiff.errors import FormatError, LimitError, UsageError, VirtualTiffError

MAX_ROWS: Final = 20_000_000
LOCATION: Final = "location"
"""The column of a tile index that names the files, unless another is given."""

_BATCH: Final = 2048
_TOP: Final = ("id", "assets", "links", "bbox")
_UPDATED: Final = ("updated", "created")
_PROPERTIES: Final = (
    *("datetime", "start_datetime", "end_datetime", *_UPDATED),
    *("proj:code", "proj:epsg", "proj:transform", "proj:shape"),
)


def table_items(
    content: bytes,
    url: str,
    *,
    choice: AssetChoice | None = None,
    location_field: str | None = None,
    properties: Iterable[str] = (),
) -> list[SourceItem]:
    """Return the files of a catalogue in Parquet, row by row.

    Parameters
    ----------
    content
        The Parquet file.
    url
        Its path or URL, where relative names start.
    choice
        Which assets of the items of a stac-geoparquet are taken.
    location_field
        The column of a tile index with the names of files; ``assets.NAME.href`` is the asset NAME.
    properties
        Names of further columns that are kept.

    Raises
    ------
    FormatError
        ``bad-catalog`` when it is no Parquet file, or damaged.
    UsageError
        ``usage`` when it has no column of that name; and as :func:`virtual_tiff.cube.stac.stac_items`.
    LimitError
        ``limit-catalog`` when it has more than :data:`MAX_ROWS` rows.
    """
    kept = tuple(properties)
    try:
        table = pq.ParquetFile(pa.py_buffer(content))
        _check_rows(table, url)
        columns = table.schema_arrow.names
        if "assets" in columns and (asset := _asset_of(location_field)) is not None:
            chosen = AssetChoice(names=(asset,)) if asset else choice
            return _stac_items(table, columns, url, choice=chosen, kept=kept)
        return _tiles(table, columns, url, field=location_field or LOCATION, kept=kept)
    except VirtualTiffError:
        raise
    except Exception as error:  # pyarrow raises many kinds when a file is damaged
        raise bad_catalog(f"it is no usable Parquet ({str(error)[:120]})", url) from error


def _check_rows(table: pq.ParquetFile, url: str) -> None:
    if table.metadata.num_rows > MAX_ROWS:
        found = f"the catalogue has {table.metadata.num_rows} rows, more than {MAX_ROWS}"
        raise LimitError(found, feature="limit-catalog", url=url, hint="Split it into several.")


def _asset_of(location_field: str | None) -> str | None:
    """The asset in ``assets.NAME.href``; empty when no column is given; None for another column."""
    if location_field is None:
        return ""
    match = re.fullmatch(r"assets\.(.+)\.href", location_field)
    return None if match is None else match[1]


def _stac_items(
    table: pq.ParquetFile, columns: list[str], url: str, *, choice: AssetChoice | None, kept: tuple[str, ...]
) -> list[SourceItem]:
    stated = (*_PROPERTIES, *kept)
    rows = _rows(table, [name for name in dict.fromkeys((*_TOP, *stated)) if name in columns])
    items = (_stac_item(row, stated, url) for row in rows)
    return stac_items(items, choice=choice, base=url, url=url, properties=kept)


def _tiles(
    table: pq.ParquetFile, columns: list[str], url: str, *, field: str, kept: tuple[str, ...]
) -> list[SourceItem]:
    if field not in columns:
        found = f"the tile index has no column {field!r}; it has {', '.join(map(repr, columns[:40]))}"
        raise UsageError(found, feature="usage", url=url, hint="Name it: location_field= (--location-field).")
    wanted = dict.fromkeys([field, *(name for name in ("datetime", *kept) if name in columns)])
    return [_tile(row, field, kept, url) for row in _rows(table, list(wanted))]


def _rows(table: pq.ParquetFile, columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in table.iter_batches(_BATCH, columns=columns):
        names = batch.schema.names
        plain = [
            _one_by_one(column) if name in _UPDATED else _values(column)
            for name, column in zip(names, batch.columns, strict=True)
        ]
        for values in zip(*plain, strict=True):
            yield dict(zip(names, values, strict=True))


def _values(column: Any) -> list[Any]:
    found: list[Any] = _moments(column) if pa.types.is_timestamp(column.type) else column.to_pylist()
    return found


def _one_by_one(column: Any) -> list[Any]:
    """The values of a column of which those that cannot be read count as absent."""
    try:
        return _values(column)
    except (pa.ArrowException, FormatError, ValueError, OverflowError):
        if len(column) == 1:
            return [None]
        return [value for number in range(len(column)) for value in _one_by_one(column.slice(number, 1))]


def _moments(column: Any) -> list[dt.datetime | None]:
    """Return timestamps of any unit and zone as moments in UTC; what is finer than a microsecond is cut off."""
    whole = column.cast(pa.timestamp("us", "UTC"), safe=column.type.unit != "ns")
    found: list[dt.datetime | None] = [None] * len(whole)
    valid = whole.is_valid().to_numpy(zero_copy_only=False)
    moments = iter(decode_time(whole.drop_null().cast(pa.int64()).to_numpy()))
    for index, is_valid in enumerate(valid):
        if is_valid:
            found[index] = next(moments)
    return found


def _stac_item(row: Mapping[str, Any], properties: Iterable[str], url: str) -> dict[str, Any]:
    """Return a row as the STAC item that it was made of; absent assets and fields are null in a table."""
    assets = _struct(row.get("assets"), url)
    links = row.get("links")
    return {
        "type": "Feature",
        "id": row.get("id") or "",
        "assets": {key: _present(_struct(asset, url)) for key, asset in assets.items() if asset is not None},
        "links": [_present(link) for link in links if isinstance(link, Mapping)] if isinstance(links, list) else [],
        "bbox": _bbox(row.get("bbox")),
        "properties": {name: row[name] for name in properties if row.get(name) is not None},
    }


def _struct(value: object, url: str) -> dict[str, Any]:
    """Return a struct, a map (pairs) or an object in JSON as a dictionary."""
    if isinstance(value, str | bytes):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise bad_catalog(f"its assets are no JSON ({str(error)[:80]})", url) from error
    if isinstance(value, list) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        value = dict(value)
    if not isinstance(value, Mapping):
        raise bad_catalog(f"its assets are {type(value).__name__}", url)
    return dict(value)


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def _bbox(value: object) -> object:
    if isinstance(value, Mapping):
        corners = [value.get(name) for name in ("xmin", "ymin", "xmax", "ymax")]
        return None if None in corners else corners
    return value


def _tile(row: Mapping[str, Any], field: str, kept: tuple[str, ...], url: str) -> SourceItem:
    name = row[field]
    if not isinstance(name, str) or not name:
        raise bad_catalog(f"its column {field!r} holds {name!r:.60} instead of a name", url)
    return SourceItem(
        href=resolve_href(gdal_name(name, url), url, url=url),
        datetime=_time(row.get("datetime"), url),
        properties={key: row[key] for key in kept if row.get(key) is not None},
    )


def _time(value: object, url: str) -> dt.datetime | None:
    try:
        if isinstance(value, dt.datetime):
            return as_utc(value)
        if isinstance(value, dt.date):
            return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
        return parse_time(value) if isinstance(value, str) and value.strip() else None
    except FormatError as error:
        raise error.at(url=url) from None
