"""The fields in which files must agree to be one array, as text that fits a message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final
from zlib import crc32

from virtual_tiff.array import VirtualArray
from virtual_tiff.chain import TRANSPOSE
from virtual_tiff.codecs.config import CODEC_NAME
from virtual_tiff.geo.bands import band_units, scales_and_offsets
from virtual_tiff.geo.crs import authority_code
from virtual_tiff.geo.gdal_metadata import RasterMetadata
from virtual_tiff.geo.georef import GeoReference

_MAX_TEXT: Final = 120


def find_traits(array: VirtualArray, geo: GeoReference, metadata: RasterMetadata) -> dict[str, str]:
    """Return the traits of one file by field; files that agree in all of them can be one array."""
    return array_traits(array) | _geo_traits(geo) | _value_traits(geo, metadata)


def array_traits(array: VirtualArray) -> dict[str, str]:
    """Everything in the array's metadata, the configuration of its codecs field by field."""
    bands = array.shape[:-2]
    traits = {
        "size": f"{array.shape[-1]} x {array.shape[-2]}",
        "bands": str(bands[0] if bands else 1),
        "data type": array.dtype.name,
        "chunk shape": " x ".join(map(str, array.chunk_shape)),
        "last rows": str(array.last_rows or array.chunk_shape[-2]),
        "codecs": " > ".join(codec["name"] for codec in array.codecs),
        "fill value": repr(array.fill_value),
    }
    for codec in array.codecs:
        for key, value in codec.get("configuration", {}).items():
            traits[f"{codec['name']} {key}"] = _short(value)
    return traits


def as_found_now(traits: Mapping[str, str]) -> dict[str, str]:
    """Return traits as they would be found now; before, ``virtual_tiff.segment`` made bytes and others the chunk."""
    if traits.get("codecs") not in (f"bytes > {CODEC_NAME}", f"{TRANSPOSE} > bytes > {CODEC_NAME}"):
        return dict(traits)
    kept = {field: text for field, text in traits.items() if field not in ("bytes endian", f"{TRANSPOSE} order")}
    return kept | {"codecs": CODEC_NAME, f"{CODEC_NAME} chunk": "planes"}


def _geo_traits(geo: GeoReference) -> dict[str, str]:
    crs = geo.crs if geo.crs is not None else geo.gcps_crs
    transform = geo.transform
    traits = {
        "CRS": "none" if crs is None else authority_code(crs) or _short(crs.to_wkt()),
        "transform": "none" if transform is None else _short([float(value) for value in tuple(transform)[:6]]),
    }
    if geo.epoch is not None:
        traits["coordinate epoch"] = repr(geo.epoch)
    if geo.full_crs is not None and geo.full_crs is not geo.crs:
        traits["compound CRS"] = _short(geo.full_crs.to_wkt())
    if geo.gcps:
        traits["ground control points"] = _short([[p.col, p.row, p.x, p.y, p.z] for p in geo.gcps])
    if geo.rpcs is not None:
        traits["rational polynomials"] = _short(dict(geo.rpcs))
    return traits


def _value_traits(geo: GeoReference, metadata: RasterMetadata) -> dict[str, str]:
    scales, offsets = scales_and_offsets(metadata, geo)
    traits = {
        "nodata": "none" if metadata.nodata is None else repr(metadata.nodata),
        "scale": _numbers(scales),
        "offset": _numbers(offsets),
        "units": _short(sorted({unit or "none" for unit in band_units(metadata, geo)})),
    }
    if metadata.nodata_values is not None:
        traits["nodata values"] = _numbers(metadata.nodata_values)
    if metadata.color_map is not None:
        traits["colour map"] = f"#{crc32(metadata.color_map.tobytes()):08x}"
    return traits


def _numbers(values: tuple[float, ...]) -> str:
    """One number when all bands agree, else the list."""
    return repr(values[0]) if len(set(values)) == 1 else _short(list(values))


def _short(value: object) -> str:
    """A value as text that is different for different values and still fits a message."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=repr)
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 13]}...#{crc32(text.encode()):08x}"
