"""Catalogues as inputs of a cube: STAC, stac-geoparquet, GDAL's VRT and GTI, as one flat list of files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Final
from xml.etree.ElementTree import Element

from virtual_tiff.cube.assets import AssetChoice
from virtual_tiff.cube.hrefs import (
    bad_catalog,
    gdal_name,
    parse_json,
    parse_xml,
    place_of,
    read_bytes,
    readable_url,
    resolve_href,
)
from virtual_tiff.cube.item import SourceItem
from virtual_tiff.cube.stac import stac_items
from virtual_tiff.cube.table import table_items
from virtual_tiff.cube.vrt import Parts, vrt_items
from virtual_tiff.errors import SourceError, UnsupportedError, UsageError

CATALOG_SUFFIXES: Final = frozenset(
    {
        *(".json", ".geojson", ".jsonl", ".ndjson", ".parquet", ".geoparquet"),
        *(".vrt", ".gti", ".gpkg", ".fgb", ".shp"),
    }
)
"""File names that count as catalogues."""

_SELECTING: Final = ("SQL", "SpatialSQL", "Filter")
_EXPORT: Final = "Export it to Parquet: ogr2ogr -f Parquet index.parquet INDEX."
_OTHER_FORMS: Final = (
    (b"SQLite format 3\0", "a GeoPackage or other SQLite file"),
    (b"fgb\x03fgb", "a FlatGeobuf"),
    (b"\0\0\x27\x0a", "a shapefile"),
)
_TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_catalog(source: str | os.PathLike[str]) -> bool:
    """Whether the name of an input is that of a catalogue; nothing is read."""
    text = os.fspath(source)
    name = text.partition("?")[0] if "://" in text else text
    return text.startswith("GTI:") or PurePosixPath(name).suffix.lower() in CATALOG_SUFFIXES


def read_catalog(
    source: object,
    *,
    assets: AssetChoice | Iterable[str] | None = None,
    base: str | None = None,
    properties: Iterable[str] = (),
    location_field: str | None = None,
    parts: Parts = "error",
) -> list[SourceItem]:
    """Return the files that a catalogue lists.

    Parameters
    ----------
    source
        A path or URL of STAC items (an item, an item collection, JSON lines, stac-geoparquet), of a VRT, or
        of a tile index (GTI in XML or Parquet); or items in memory: dictionaries, objects of pystac, or an
        iterable of them.
    assets
        Which assets of STAC items are taken: an :class:`AssetChoice`, or texts for its ``parse``, such as
        ``["B04", "B08"]`` or ``["role:data"]``.
    base
        What relative links of items in memory start from, when they have no self link.
    properties
        Names of further properties, or columns, that are kept.
    location_field
        The column of a tile index that names the files.
    parts
        What is done when a VRT shows a part of a file only: "error", or take the "whole" file.

    Returns
    -------
    list of SourceItem
        At least one, in the order of the catalogue.

    Raises
    ------
    FormatError
        ``bad-catalog`` or ``bad-time`` when the catalogue is damaged, or none at all.
    UnsupportedError
        ``catalog`` when it computes pixels, or is stored in a form that is not read.
    UsageError
        ``usage`` when the choice of assets or columns does not fit, or a link leads nowhere.
    LimitError
        ``limit-catalog`` when it is too large.
    SourceError
        When it cannot be read; ``no-match`` when it lists no file.
    """
    kept = tuple(properties)
    if not isinstance(source, str | os.PathLike):
        items = stac_items(source, choice=asset_choice(assets), base=base, properties=kept)
        return _some(items, None)
    place = place_of(os.fspath(source))
    content, url = read_bytes(place), readable_url(place)
    return parse_catalog(content, url, assets=assets, properties=kept, location_field=location_field, parts=parts)


def parse_catalog(
    content: bytes,
    url: str,
    *,
    assets: AssetChoice | Iterable[str] | None = None,
    properties: Iterable[str] = (),
    location_field: str | None = None,
    parts: Parts = "error",
) -> list[SourceItem]:
    """Return the files that a document lists; see :func:`read_catalog`.

    Parameters
    ----------
    content
        The document.
    url
        Its path or URL, see :func:`virtual_tiff.cube.hrefs.readable_url`.
    assets, properties, location_field, parts
        As for :func:`read_catalog`.
    """
    choice, kept = asset_choice(assets), tuple(properties)
    if content.startswith(b"PAR1"):
        items = table_items(content, url, choice=choice, location_field=location_field, properties=kept)
        return _some(items, url)
    start = content[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith((b"{", b"[")):
        document = parse_json(content, url)
        return _some(stac_items(document, choice=choice, base=url, url=url, properties=kept), url)
    if not start.startswith(b"<"):
        raise _not_a_catalog(content, url)
    root = parse_xml(content, url)
    if root.tag == "VRTDataset":
        return _some(vrt_items(root, url, parts=parts), url)
    if root.tag == "GDALTileIndexDataset":
        return _some(_read_gti(root, url, choice, kept, location_field), url)
    raise bad_catalog(f"it is XML with the root <{root.tag[:40]}>, neither a VRT nor a GTI", url)


def _some(items: list[SourceItem], url: str | None) -> list[SourceItem]:
    if not items:
        raise SourceError("the catalogue lists no file", feature="no-match", url=url)
    return items


def asset_choice(assets: AssetChoice | Iterable[str] | None) -> AssetChoice | None:
    """Return a choice of assets as it is, or read it from texts, see :meth:`AssetChoice.parse`."""
    if assets is None or isinstance(assets, AssetChoice):
        return assets
    return AssetChoice.parse([assets] if isinstance(assets, str) else assets)


def _not_a_catalog(content: bytes, url: str) -> Exception:
    for magic, name in _OTHER_FORMS:
        if content.startswith(magic):
            return UnsupportedError(f"the tile index is {name}", feature="catalog", url=url, hint=_EXPORT)
    if content.startswith(_TIFF):
        return UsageError("it is a TIFF, not a catalogue of TIFFs", feature="usage", url=url)
    return bad_catalog("it is neither JSON, XML nor Parquet", url)


def _read_gti(
    root: Element,
    url: str,
    choice: AssetChoice | None,
    properties: tuple[str, ...],
    location_field: str | None,
) -> list[SourceItem]:
    """Read the index that a GTI in XML points to, which says the rest."""
    for tag in _SELECTING:
        if root.find(tag) is not None:
            found = f"the GTI selects its tiles by a query ({tag})"
            raise UnsupportedError(found, feature="catalog", url=url, hint="Write the selected tiles to Parquet.")
    name = (root.findtext("IndexDataset") or "").strip()
    if not name:
        raise bad_catalog("it has no IndexDataset", url)
    index = _index_place(name, url)
    field = location_field or (root.findtext("LocationField") or "").strip() or None
    place = place_of(index)
    content = read_bytes(place)
    if not content.startswith(b"PAR1"):
        raise _not_parquet(name, content, url)
    items = table_items(content, readable_url(place), choice=choice, location_field=field, properties=properties)
    stated = _gti_values(root)
    return [replace(item, properties={**stated, **item.properties}) for item in items] if stated else items


def _index_place(name: str, url: str) -> str:
    """Where the index is: beside the GTI, or, as GDAL has it, seen from the working folder."""
    driver, colon, rest = name.partition(":")
    if colon and not rest.startswith("//") and driver.isupper() and len(driver) > 1:
        if driver != "PARQUET":
            found = f"the tile index {name[:80]!r} is read by GDAL's driver {driver}"
            raise UnsupportedError(found, feature="catalog", url=url, hint=_EXPORT)
        name = rest
    index = resolve_href(gdal_name(name, url), url, url=url)
    return name if "://" not in url and not Path(index).exists() and Path(name).exists() else index


def _not_parquet(name: str, content: bytes, url: str) -> Exception:
    error = _not_a_catalog(content, url)
    if isinstance(error, UnsupportedError):
        return error
    found = f"the tile index {name[:80]!r} is no Parquet file"
    return UnsupportedError(found, feature="catalog", url=url, hint=_EXPORT)


def _gti_values(root: Element) -> dict[str, Any]:
    """The nodata values, scales and offsets of the bands of a GTI, see :class:`SourceItem`."""
    found: dict[str, Any] = {}
    for name, tag in (
        ("raster:nodata", "NoDataValue"),
        ("raster:scale", "Scale"),
        ("raster:offset", "Offset"),
    ):
        texts = [(band.findtext(tag) or "").strip() for band in root.iterfind("Band")]
        try:
            values = tuple(float(text) if text else None for text in texts)
        except ValueError:
            continue
        if any(value is not None for value in values):
            found[name] = values
    return found
