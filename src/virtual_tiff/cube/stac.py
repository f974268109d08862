"""STAC items as lists of files: dictionaries, objects of pystac or rustac, JSON documents.

References
----------
https://github.com/radiantearth/stac-spec (item, item collection); the projection and raster extensions
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from virtual_tiff.cube.assets import AssetChoice
from virtual_tiff.cube.hrefs import bad_catalog, resolve_href
from virtual_tiff.cube.item import BoundingBox, SourceItem
from virtual_tiff.cube.times import as_utc, parse_time
from virtual_tiff.errors import FormatError, UsageError, VirtualTiffError

_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*:[0-9A-Za-z_.-]+")
_NUMBERS: Final = {"nan": math.nan, "inf": math.inf, "+inf": math.inf, "-inf": -math.inf}
_NODATA: Final = ("nodata", "raster:nodata")
_SCALE: Final = ("scale", "raster:scale")
_OFFSET: Final = ("offset", "raster:offset")


def stac_items(
    source: object,
    *,
    choice: AssetChoice | None = None,
    base: str | None = None,
    url: str | None = None,
    properties: Iterable[str] = (),
) -> list[SourceItem]:
    """Return the files of STAC items, item by item, in the order of their assets.

    Parameters
    ----------
    source
        An item, an item collection, or an iterable of both; as dictionaries or as objects with ``to_dict``.
    choice
        Which assets are taken.
    base
        What relative links of items without a self link start from.
    url
        The document that was read, for messages.
    properties
        Names of further properties that are kept.

    Raises
    ------
    FormatError
        ``bad-catalog`` or ``bad-time`` when the items are damaged.
    UsageError
        ``usage`` when the source holds no items, is one page of several, or the choice does not fit.
    """
    chosen = choice or AssetChoice()
    kept = tuple(properties)
    return [
        file for item in item_dicts(source, url) for file in _item_files(item, chosen, base=base, url=url, kept=kept)
    ]


def item_dicts(source: object, url: str | None = None) -> Iterator[Mapping[str, Any]]:
    """Return items as dictionaries, see :func:`stac_items`."""
    plain = _as_dict(source)
    if isinstance(plain, Mapping):
        yield from _items_of(plain, url)
    elif isinstance(plain, Iterable) and not isinstance(plain, str | bytes):
        for part in plain:
            single = _as_dict(part)
            if not isinstance(single, Mapping):
                raise bad_catalog(f"a list of STAC items holds {_kind(single)}", url)
            yield from _items_of(single, url)
    else:
        raise bad_catalog(f"{_kind(plain)} is no STAC item", url)


def _as_dict(source: object) -> object:
    """Turn an object of pystac into a dictionary, without letting it fetch its root catalogue."""
    convert = getattr(source, "to_dict", None)
    if isinstance(source, Mapping) or not callable(convert):
        return source
    try:
        return convert(transform_hrefs=False)
    except TypeError:
        return convert()


def _items_of(document: Mapping[str, Any], url: str | None) -> Iterator[Mapping[str, Any]]:
    kind = document.get("type")
    if kind == "FeatureCollection" or (kind is None and "features" in document):
        features = document.get("features")
        if not isinstance(features, list | tuple):
            raise bad_catalog("its features are no list", url)
        if any(link.get("rel") == "next" for link in _links(document)):
            found = f"the item collection is one page of several: {len(features)} items and a link to the next ones"
            hint = "Fetch all pages, as pystac_client's item_collection() does, or remove the link."
            raise UsageError(found, feature="usage", url=url, hint=hint)
        for feature in features:
            if not isinstance(feature, Mapping):
                raise bad_catalog(f"one of its features is {_kind(feature)}", url)
            yield feature
    elif kind in ("Catalog", "Collection"):
        found = f"it is a STAC {kind}, which lists no files itself"
        hint = "Pass its items, such as pystac's get_items(recursive=True), or an item collection."
        raise UsageError(found, feature="usage", url=url, hint=hint)
    else:
        yield document


def _item_files(
    item: Mapping[str, Any], choice: AssetChoice, *, base: str | None, url: str | None, kept: tuple[str, ...]
) -> Iterator[SourceItem]:
    item_id = str(item.get("id", ""))
    where = url or item_id or None
    assets = item.get("assets")
    if not isinstance(assets, Mapping):
        raise bad_catalog(f"{item_id!r} has no assets, so it is no STAC item", where)
    known = {
        str(key): asset
        for key, asset in assets.items()
        if isinstance(asset, Mapping) and isinstance(asset.get("href"), str)
    }
    start = self_link(item) or base
    try:
        for key in choice.choose(item_id, known):
            yield _file(item, item_id, key, known[key], choice=choice, base=start, url=url, kept=kept)
    except VirtualTiffError as error:
        raise error.at(url=where) from None


def _file(
    item: Mapping[str, Any],
    item_id: str,
    key: str,
    asset: Mapping[str, Any],
    *,
    choice: AssetChoice,
    base: str | None,
    url: str | None,
    kept: tuple[str, ...],
) -> SourceItem:
    own = item.get("properties")
    merged: dict[str, Any] = dict(own) if isinstance(own, Mapping) else {}
    merged.update({name: value for name, value in asset.items() if value is not None})
    return SourceItem(
        href=resolve_href(_location(asset, choice.alternate), base, url=url),
        item_id=item_id or None,
        asset=key,
        datetime=_time(merged.get("datetime"), item_id),
        start=_time(merged.get("start_datetime"), item_id),
        end=_time(merged.get("end_datetime"), item_id),
        properties={
            **stated_properties(merged, asset),
            **{name: merged[name] for name in kept if name in merged},
        },
        bbox=_bbox(item.get("bbox")),
        updated=_updated(own, asset),
    )


def self_link(item: Mapping[str, Any]) -> str | None:
    """The absolute URL or path of an item's self link, or None."""
    for link in _links(item):
        href = link.get("href")
        if link.get("rel") == "self" and isinstance(href, str) and ("://" in href or href.startswith("/")):
            return href
    return None


def _links(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    links = document.get("links")
    return [link for link in links if isinstance(link, Mapping)] if isinstance(links, list | tuple) else []


def _location(asset: Mapping[str, Any], alternate: str | None) -> str:
    others = asset.get("alternate")
    other = others.get(alternate) if alternate and isinstance(others, Mapping) else None
    href = other.get("href") if isinstance(other, Mapping) else None
    return href if isinstance(href, str) else str(asset["href"])


def _time(value: object, item_id: str) -> dt.datetime | None:
    if value is None:
        return None
    try:
        if isinstance(value, dt.datetime):
            return as_utc(value) if value == value else None  # noqa: PLR0124 (pandas' NaT, which differs from itself)
        if isinstance(value, str):
            return parse_time(value)
    except FormatError as error:
        raise FormatError(f"in the item {item_id!r}, {error.found}", feature=error.feature) from error
    raise FormatError(f"in the item {item_id!r}, {_kind(value)} is no moment", feature="bad-time")


def _updated(item: object, asset: Mapping[str, Any]) -> dt.datetime | None:
    """When an asset or its item was last updated; times that are damaged count as absent, for they place nothing."""
    stated = (asset, item if isinstance(item, Mapping) else {})
    for value in (one.get(name) for name in ("updated", "created") for one in stated):
        try:
            if (found := _time(value, "")) is not None:
                return found
        except FormatError:
            continue
    return None


def _bbox(value: object) -> BoundingBox | None:
    if not isinstance(value, list | tuple) or len(value) not in (4, 6):
        return None
    numbers = [_number(part) for part in value]
    west, south, *_ = numbers
    east, north = numbers[len(numbers) // 2 : len(numbers) // 2 + 2]
    if west is None or south is None or east is None or north is None:
        return None
    return float(west), float(south), float(east), float(north)


def stated_properties(merged: Mapping[str, Any], asset: Mapping[str, Any]) -> dict[str, Any]:
    """What is stated of the grid and the values, as :class:`SourceItem` has it; what is not sound is left out."""
    found: dict[str, Any] = {}
    code, epsg = merged.get("proj:code"), merged.get("proj:epsg")
    if isinstance(code, str) and _CODE.fullmatch(code) and not code.lower().endswith(":none"):
        found["proj:code"] = code
    elif isinstance(epsg, int) and not isinstance(epsg, bool) and epsg > 0:
        found["proj:code"] = f"EPSG:{epsg}"
    transform = _numbers(merged.get("proj:transform"))
    if transform is not None and len(transform) in (6, 9) and all(map(math.isfinite, transform)):
        found["proj:transform"] = tuple(map(float, transform[:6]))
    shape = _numbers(merged.get("proj:shape"))
    if shape is not None and len(shape) == 2 and all(n > 0 and float(n).is_integer() for n in shape):
        found["proj:shape"] = tuple(map(int, shape))
    return found | _band_properties(asset)


def _band_properties(asset: Mapping[str, Any]) -> dict[str, Any]:
    bands = _bands(asset)
    found: dict[str, Any] = {}
    for name, keys in (("raster:nodata", _NODATA), ("raster:scale", _SCALE), ("raster:offset", _OFFSET)):
        general = _first(asset, keys)
        values = tuple(_first(band, keys, general) for band in bands) or (general,)
        if any(value is not None for value in values):
            found[name] = values
    names = [band.get("name") for band in bands]
    if names and all(isinstance(name, str) and name for name in names):
        found["bands"] = tuple(names)
    return found


def _bands(asset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The bands of an asset, of STAC 1.1 or of the older extensions, joined by their order."""
    lists = [asset.get(key) for key in ("eo:bands", "raster:bands", "bands")]
    sound = [part for part in lists if isinstance(part, list | tuple) and part]
    length = len(sound[-1]) if sound else 0
    joined: list[dict[str, Any]] = [{} for _ in range(length)]
    for part in sound:
        if len(part) == length:
            for band, stated in zip(joined, part, strict=True):
                if isinstance(stated, Mapping):
                    band.update({key: value for key, value in stated.items() if value is not None})
    return list(joined)


def _first(stated: Mapping[str, Any], keys: Iterable[str], default: float | None = None) -> float | None:
    found = (_number(stated.get(key)) for key in keys)
    return next((number for number in found if number is not None), default)


def _number(value: object) -> float | None:
    """Return a number as JSON has it, or by its name; an int stays an int."""
    if isinstance(value, str):
        return _NUMBERS.get(value.lower())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, float) or abs(value) < 2**64 else None


def _numbers(value: object) -> list[float] | None:
    if not isinstance(value, list | tuple):
        return None
    numbers = [_number(part) for part in value]
    return [number for number in numbers if number is not None] if None not in numbers else None


def _kind(value: object) -> str:
    return f"{str(value)[:40]!r} ({type(value).__name__})"
