"""What the values of a raster mean: nodata, scale and offset, units, band names, colours, free metadata.

References
----------
https://gdal.org/drivers/raster/gtiff.html (metadata, nodata, GDAL_METADATA and GDAL_NODATA tags);
https://gdal.org/drivers/raster/cog.html (the ghost area of a COG)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from virtual_tiff.geo.colors import COLOR_NAMES, COLOR_TAGS, color_interpretation, color_map
from virtual_tiff.geo.items import GDAL_METADATA, MetadataItem, read_items
from virtual_tiff.geo.lenient import doubles
from virtual_tiff.geo.numbers import parse_integer, parse_number
from virtual_tiff.tiff.ifd import Ifd, Tag

GDAL_NODATA: Final = 42113
XMP: Final = 700

_TEXT_TAGS: Final = {
    269: "TIFFTAG_DOCUMENTNAME",
    270: "TIFFTAG_IMAGEDESCRIPTION",
    305: "TIFFTAG_SOFTWARE",
    306: "TIFFTAG_DATETIME",
    315: "TIFFTAG_ARTIST",
    316: "TIFFTAG_HOSTCOMPUTER",
    33432: "TIFFTAG_COPYRIGHT",
    50908: "TIFF_RSID",
    50909: "GEO_METADATA",
}
_FLOAT_TAGS: Final = {282: "TIFFTAG_XRESOLUTION", 283: "TIFFTAG_YRESOLUTION"}
_SHORT_TAGS: Final = {280: "TIFFTAG_MINSAMPLEVALUE", 281: "TIFFTAG_MAXSAMPLEVALUE"}
_RESOLUTION_UNIT: Final = 296
_RESOLUTION_UNITS: Final = {1: "1 (unitless)", 2: "2 (pixels/inch)", 3: "3 (pixels/cm)"}

METADATA_TAGS: Final = frozenset(
    {GDAL_METADATA, GDAL_NODATA, XMP, _RESOLUTION_UNIT, *COLOR_TAGS, *_TEXT_TAGS, *_FLOAT_TAGS, *_SHORT_TAGS}
)
"""Tags that this module reads; a caller loads them first when they are deferred."""

_MAX_BANDS: Final = 65536
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class RasterMetadata:
    """What the values of one image mean.

    ``nodata`` is the value of pixels without data, exact for 64-bit integers, and always one that the data
    type can
    hold; ``nodata_values`` (one per band) marks pixels whose bands all have these values. ``scales`` and
    ``offsets``
    turn stored values into physical ones: stored * scale + offset. Lists per band have one entry for each
    band.
    ``color_interpretation`` has the names of rasterio's enum. ``color_map`` has the shape (entries, 4): red,
    green,
    blue, alpha from 0 to 255. ``tags`` is GDAL's default domain, ``domains`` the others; XML domains have
    the one
    key "xml". ``category_names`` stays empty for TIFFs: GDAL keeps them in sidecar files. ``numbers`` are those of
    the bands in the file, from 1, where some of them are shown only; None stands for all.
    """

    nodata: int | float | None = None
    nodata_values: tuple[float, ...] | None = None
    scales: tuple[float, ...] = (1.0,)
    offsets: tuple[float, ...] = (0.0,)
    units: tuple[str | None, ...] = (None,)
    descriptions: tuple[str | None, ...] = (None,)
    color_interpretation: tuple[str, ...] = ("gray",)
    color_map: npt.NDArray[np.uint8] | None = field(default=None, compare=False)
    statistics: tuple[Mapping[str, float], ...] = ({},)
    tags: Mapping[str, str] = field(default_factory=dict)
    domains: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    band_tags: tuple[Mapping[str, str], ...] = ({},)
    band_domains: tuple[Mapping[str, Mapping[str, str]], ...] = ({},)
    category_names: tuple[str, ...] = ()
    numbers: tuple[int, ...] | None = None
    warnings: tuple[str, ...] = ()


def band_metadata(ifd: Ifd, dtype: np.dtype[Any], bands: int) -> RasterMetadata:
    """Read the metadata of an image.

    Parameters
    ----------
    ifd
        The image.
    dtype
        Data type of the decoded samples.
    bands
        Number of bands (at least 1).

    Returns
    -------
    RasterMetadata
        Whatever is damaged is left out, and named in its ``warnings``.
    """
    warnings: list[str] = []
    items, problem = read_items(ifd)
    if problem:
        warnings.append(problem)
    per_band = _per_band(items, min(max(bands, 1), _MAX_BANDS))
    tags = _tiff_tags(ifd) | {item.name: item.value for item in items if item.band is None and not item.domain}
    nodata = read_nodata(ifd, dtype, warnings)
    band_tags = tuple(map(_band_tags, per_band))
    return RasterMetadata(
        nodata=nodata,
        nodata_values=_nodata_values(tags, len(per_band)),
        scales=tuple(_role_number(band, "scale", 1.0) for band in per_band),
        offsets=tuple(_role_number(band, "offset", 0.0) for band in per_band),
        units=tuple(_role_text(band, "unittype") for band in per_band),
        descriptions=tuple(_role_text(band, "description") for band in per_band),
        color_interpretation=color_interpretation(ifd, [_role_text(band, "colorinterp") for band in per_band]),
        color_map=color_map(ifd, nodata),
        statistics=tuple(map(_statistics, band_tags)),
        tags=tags,
        domains=_domains([item for item in items if item.band is None]) | _xmp(ifd),
        band_tags=band_tags,
        band_domains=tuple(_domains([i for i in band if not i.role]) for band in per_band),
        warnings=tuple(warnings),
    )


def parse_cog_ghost(text: str) -> dict[str, str]:
    """Take the ghost area of a COG apart: ``LAYOUT``, ``BLOCK_ORDER``, ``BLOCK_LEADER`` and their like."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip(" \0") for key, value in pairs}


def _per_band(items: list[MetadataItem], bands: int) -> list[list[MetadataItem]]:
    per_band: list[list[MetadataItem]] = [[] for _ in range(bands)]
    for item in items:
        if item.band is not None and item.band < bands:
            per_band[item.band].append(item)
    return per_band


def _role_text(band: list[MetadataItem], role: str) -> str | None:
    """Return the last value of a role, or None when it is absent or empty."""
    values = [item.value for item in band if item.role == role]
    return (values[-1] or None) if values else None


def _role_number(band: list[MetadataItem], role: str, default: float) -> float:
    text = _role_text(band, role)
    number = parse_number(text) if text is not None else default
    return default if number is None else number


def _band_tags(band: list[MetadataItem]) -> dict[str, str]:
    tags = {item.name: item.value for item in band if not item.role and not item.domain}
    color = _role_text(band, "colorinterp")
    return tags if color is None or color.lower() in COLOR_NAMES else tags | {"COLOR_INTERPRETATION": color}


def _domains(items: list[MetadataItem]) -> dict[str, Mapping[str, str]]:
    domains: dict[str, dict[str, str]] = {}
    for item in items:
        if item.domain.lower().startswith("xml:"):
            domains[item.domain] = {"xml": item.value}
        elif item.domain:
            domains.setdefault(item.domain, {})[item.name] = item.value
    return dict(domains)


def _xmp(ifd: Ifd) -> dict[str, Mapping[str, str]]:
    tag = ifd.tags.get(XMP)
    if tag is None or not tag.raw:
        return {}
    return {"xml:XMP": {"xml": tag.raw.split(b"\0", 1)[0].decode("utf-8", errors="replace")}}


def _tiff_tags(ifd: Ifd) -> dict[str, str]:
    """Return the descriptive TIFF tags by the names that GDAL gives them."""
    tags: dict[str, str] = {}
    for code, name in _TEXT_TAGS.items():
        tag = ifd.tags.get(code)
        if tag is not None and tag.raw is not None and tag.type in (1, 2, 7):
            tags[name] = tag.text()
    for code, name in _FLOAT_TAGS.items():
        number = _first_number(ifd.tags.get(code))
        if number is not None:
            tags[name] = format(float(np.float32(number)), ".8g")
    for code, name in _SHORT_TAGS.items():
        number = _first_number(ifd.tags.get(code))
        if number is not None:
            tags[name] = str(int(number))
    number = _first_number(ifd.tags.get(_RESOLUTION_UNIT))
    if number is not None:
        tags["TIFFTAG_RESOLUTIONUNIT"] = _RESOLUTION_UNITS.get(int(number), str(int(number)))
    return tags


def _first_number(tag: Tag | None) -> float | None:
    values = doubles(tag)[:1]
    return values[0] if values and math.isfinite(values[0]) else (0.0 if values else None)


def read_nodata(ifd: Ifd, dtype: np.dtype[Any], warnings: list[str] | None = None) -> int | float | None:
    """Return the nodata value that the data type can hold, as GDAL reads its tag.

    Parameters
    ----------
    ifd
        The image.
    dtype
        Data type of the decoded samples.
    warnings
        A list that takes a sentence when the tag is not usable.
    """
    tag = ifd.tags.get(GDAL_NODATA)
    text = tag.text().strip() if tag is not None and tag.raw is not None else ""
    if not text:
        return None
    exact = dtype.kind in "iu" and dtype.itemsize == 8
    number = parse_integer(text, signed=dtype.kind == "i") if exact else parse_number(text)
    if number is None:
        _note(warnings, f"the nodata value {text[:40]!r} is not a number and is ignored")
        return None
    held = _held(number, dtype)
    if held is None:
        _note(warnings, f"the nodata value {text[:40]} does not fit into {dtype.name} and is ignored")
    return held


def _note(warnings: list[str] | None, sentence: str) -> None:
    if warnings is not None:
        warnings.append(sentence)


def _held(number: float, dtype: np.dtype[Any]) -> int | float | None:
    """Return the number as the data type holds it, or None when it cannot."""
    if dtype.kind in "biu":
        least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        whole = isinstance(number, int) or number.is_integer()
        return int(number) if whole and least <= number <= most else None
    if not math.isfinite(number) or dtype.itemsize // (2 if dtype.kind == "c" else 1) == 8:
        return float(number)
    if dtype.itemsize == 4 and abs(abs(number) - _FLOAT32_MAX) < 1e-10 * _FLOAT32_MAX:
        return math.copysign(_FLOAT32_MAX, number)
    part = np.dtype("f4") if dtype.kind == "c" else dtype
    with np.errstate(over="ignore"):
        held = float(part.type(number))  # texts of the largest number are often rounded up
    return held if math.isfinite(held) else None


def _nodata_values(tags: Mapping[str, str], bands: int) -> tuple[float, ...] | None:
    """Return the values of NODATA_VALUES, when there is one for each band."""
    text = tags.get("NODATA_VALUES")
    numbers = [parse_number(part) for part in text.split()] if text else []
    known = tuple(number for number in numbers if number is not None)
    return known if known and len(known) == len(numbers) == bands else None


_STATISTICS: Final = {
    "STATISTICS_MINIMUM": "minimum",
    "STATISTICS_MAXIMUM": "maximum",
    "STATISTICS_MEAN": "mean",
    "STATISTICS_STDDEV": "stddev",
    "STATISTICS_VALID_PERCENT": "valid_percent",
}


def _statistics(tags: Mapping[str, str]) -> dict[str, float]:
    found = {name: parse_number(tags[key]) for key, name in _STATISTICS.items() if key in tags}
    return {name: number for name, number in found.items() if number is not None and math.isfinite(number)}
