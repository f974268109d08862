"""Attributes and coordinates that say what the values of each band mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from virtual_tiff.geo.coordinate import Coordinate, encode_fill_value
from virtual_tiff.geo.gdal_metadata import RasterMetadata
from virtual_tiff.geo.georef import GeoReference

type Json = dict[str, Any]

_MAX_COLORS: Final = 4096
_MAX_TEXT: Final = 65536


def scales_and_offsets(metadata: RasterMetadata, geo: GeoReference) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return scale and offset per band; the tie point gives those of heights in single bands."""
    if geo.z_scale is not None and geo.z_offset is not None and len(metadata.scales) == 1:
        return (geo.z_scale,), (geo.z_offset,)
    return metadata.scales, metadata.offsets


def band_units(metadata: RasterMetadata, geo: GeoReference) -> tuple[str | None, ...]:
    """Return the unit of each band; the CRS gives that of heights where the metadata is silent."""
    return tuple(unit or geo.vertical_unit for unit in metadata.units)


def value_attributes(
    metadata: RasterMetadata, geo: GeoReference, dtype: np.dtype[Any], dims: Sequence[str]
) -> tuple[Json, list[str]]:
    """Return the attributes of the data variable that concern its values, and warnings."""
    warnings = list(metadata.warnings) + list(geo.warnings)
    attributes: Json = {}
    if metadata.nodata is not None and dtype.kind in "iuf":
        attributes["_FillValue"] = encode_fill_value(metadata.nodata, dtype)
    elif metadata.nodata is not None:  # xarray would make complex numbers real
        attributes["nodata"] = metadata.nodata
    if metadata.nodata_values is not None:
        attributes["nodata_values"] = list(metadata.nodata_values)
    if dtype.kind != "c":
        attributes |= _scaling(metadata, geo, dims, warnings)
    units = band_units(metadata, geo)
    if units[0] is not None and len(set(units)) == 1:
        attributes["units"] = units[0]
    described = [text for text in metadata.descriptions if text is not None]
    if len(described) == len(metadata.descriptions):
        attributes["long_name"] = described[0] if len(described) == 1 else described
    if len(metadata.color_interpretation) <= _MAX_COLORS:
        attributes["color_interpretation"] = list(metadata.color_interpretation)
    attributes |= _palette(metadata, warnings)
    attributes |= _free_metadata(metadata, warnings)
    return attributes, warnings


def _scaling(metadata: RasterMetadata, geo: GeoReference, dims: Sequence[str], warnings: list[str]) -> Json:
    """Return ``scale_factor`` and ``add_offset`` when all bands agree."""
    scales, offsets = scales_and_offsets(metadata, geo)
    if len(set(scales)) > 1 or len(set(offsets)) > 1:
        if "band" not in dims:
            warnings.append("the bands differ in scale or offset, but the array has no band dimension to say so")
        return {}
    if scales[0] == 0:
        warnings.append("the scale of the values is 0 and is ignored")
        return {}
    attributes: Json = {}
    if scales[0] != 1 or offsets[0] != 0:
        attributes = {"scale_factor": scales[0], "add_offset": offsets[0]}
    return attributes


def _palette(metadata: RasterMetadata, warnings: list[str]) -> Json:
    attributes: Json = {}
    if metadata.color_map is not None:
        if len(metadata.color_map) <= _MAX_COLORS:
            attributes["colormap"] = metadata.color_map.tolist()
        else:
            warnings.append(f"the colour map of {len(metadata.color_map)} entries is too large for an attribute")
    if metadata.category_names:
        named = [(index, name) for index, name in enumerate(metadata.category_names) if name]
        attributes["flag_values"] = [index for index, _ in named]
        attributes["flag_meanings"] = " ".join("_".join(name.split()) for _, name in named)
    return attributes


def _free_metadata(metadata: RasterMetadata, warnings: list[str]) -> Json:
    """Return what has no place in CF, under names of its own: no tag can pass for a convention."""
    attributes: Json = {}
    if metadata.tags:
        attributes["tags"] = _short(metadata.tags.items(), warnings)
    domains = {name: _short(items.items(), warnings) for name, items in metadata.domains.items()}
    domains = {name: items for name, items in domains.items() if items}
    if domains:
        attributes["tag_domains"] = domains
    if any(metadata.statistics):
        attributes["statistics"] = [dict(band) for band in metadata.statistics]
    band_tags = [_short(band.items(), warnings) for band in metadata.band_tags]
    if any(band_tags):
        attributes["band_tags"] = band_tags
    band_domains = [
        {name: _short(items.items(), warnings) for name, items in band.items()} for band in metadata.band_domains
    ]
    if any(band_domains):
        attributes["band_tag_domains"] = band_domains
    return attributes


def _short(items: Any, warnings: list[str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    for name, text in items:
        if len(text) <= _MAX_TEXT:
            kept[name] = text
        else:
            warnings.append(f"the metadata item {name!r} of {len(text)} characters is left out")
    return kept


def band_labels(metadata: RasterMetadata) -> list[str] | None:
    """Return a name for each band, or None when neither descriptions nor colours tell bands apart."""
    described = [text for text in metadata.descriptions if text is not None]
    labels: Sequence[str | None] = metadata.descriptions if described else metadata.color_interpretation
    numbers = band_numbers(metadata)
    names = [
        text or (color if color == "alpha" else f"band_{number}")
        for number, text, color in zip(numbers, labels, metadata.color_interpretation, strict=True)
    ]
    if not described and (len(names) == 1 or "undefined" in names[:3]):
        return None
    if not described:
        named = zip(numbers, names, strict=True)
        names = [f"band_{number}" if name == "undefined" else name for number, name in named]
    return names if len(set(names)) == len(names) else None


def band_numbers(metadata: RasterMetadata) -> Sequence[int]:
    """Return the numbers of the bands in their file, from 1."""
    count = len(metadata.scales)
    numbers = metadata.numbers
    return numbers if numbers is not None and len(numbers) == count else range(1, count + 1)


def band_coordinates(metadata: RasterMetadata, geo: GeoReference, *, names: bool = True) -> list[Coordinate]:
    """Return the ``band`` coordinate, and one variable for each property in which bands differ."""
    labels = band_labels(metadata) if names else None
    values = np.array(labels) if labels is not None else np.array(band_numbers(metadata), np.int64)
    attributes: Json = {"long_name": "band"}
    coordinates = [Coordinate("band", ("band",), values, attributes)]
    scales, offsets = scales_and_offsets(metadata, geo)
    if len(set(scales)) > 1 or len(set(offsets)) > 1:
        text = "physical value = stored value * band_scale + band_offset"
        coordinates += [
            Coordinate("band_scale", ("band",), np.array(scales, np.float64), {"long_name": text}),
            Coordinate("band_offset", ("band",), np.array(offsets, np.float64), {"long_name": text}),
        ]
    units = band_units(metadata, geo)
    if len(set(units)) > 1:
        texts = np.array([unit or "" for unit in units])
        coordinates.append(Coordinate("band_units", ("band",), texts, {"long_name": "unit of the band"}))
    return coordinates
