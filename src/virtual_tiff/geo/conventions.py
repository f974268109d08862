"""The attributes and coordinates by which readers find out what an array means.

Three conventions are written side by side, because no reader knows them all: CF (xarray, rioxarray, GDAL),
``proj:`` + ``spatial:`` (rioxarray, rasterix, rio-tiler, GDAL from 3.13) and ``multiscales``.

References
----------
https://cfconventions.org (grid mappings, flags); https://github.com/zarr-conventions/spatial;
https://github.com/zarr-experimental/geo-proj; https://github.com/zarr-conventions/multiscales
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
from affine import Affine
from pyproj import CRS

from virtual_tiff.geo.bands import band_coordinates, value_attributes
from virtual_tiff.geo.coordinate import Coordinate, strict_json
from virtual_tiff.geo.crs import authority_code
from virtual_tiff.geo.gdal_metadata import RasterMetadata
from virtual_tiff.geo.georef import GeoReference
from virtual_tiff.pyramid import Pyramid

__all__ = ["Conventions", "Coordinate", "conventions", "mask_conventions", "multiscales"]

type Json = dict[str, Any]

GRID_MAPPING: Final = "spatial_ref"

MAX_AXIS: Final = 2**20
"""Longest axis, in pixels, that gets a coordinate array (8 bytes per pixel)."""

_MULTISCALES: Final[Json] = {
    "uuid": "d35379db-88df-4056-af3a-620245f8e347",
    "name": "multiscales",
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/multiscales/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/multiscales/blob/v1/README.md",
    "description": "Multiscale layout of zarr datasets",
}
_PROJ: Final[Json] = {
    "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "name": "proj:",
    "schema_url": "https://raw.githubusercontent.com/zarr-experimental/geo-proj/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-experimental/geo-proj/blob/v1/README.md",
    "description": "Coordinate reference system information for geospatial data",
}
_SPATIAL: Final[Json] = {
    "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
    "name": "spatial:",
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/spatial/refs/tags/v0.1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/spatial/blob/v0.1/README.md",
    "description": "Spatial coordinate information",
}


@dataclass(frozen=True)
class Conventions:
    """What is written beside the chunks of one image.

    ``array`` are the attributes of the data variable, ``group`` those of the group that holds it,
    ``coordinates`` the
    small variables to store in the same group, ``fill_value`` Zarr's value of missing chunks. Everything is
    strict
    JSON. ``warnings`` are sentences for a person.
    """

    array: Json
    group: Json
    coordinates: tuple[Coordinate, ...]
    fill_value: bool | int | float | complex
    warnings: tuple[str, ...] = field(default=())


def conventions(
    geo: GeoReference,
    metadata: RasterMetadata,
    *,
    shape: Sequence[int],
    dims: Sequence[str],
    dtype: np.dtype[Any],
    xy_coordinates: bool = True,
    band_names: bool = True,
) -> Conventions:
    """Render what is known of one image, at its own resolution.

    Parameters
    ----------
    geo, metadata
        Results of :func:`~virtual_tiff.geo.georef.georeference` and
        :func:`~virtual_tiff.geo.gdal_metadata.band_metadata`.
    shape, dims
        Of the array: ``("band", "y", "x")``, ``("y", "x", "band")`` or ``("y", "x")``; further dims may lead.
    dtype
        Data type of the array.
    xy_coordinates
        Whether to make ``x`` and ``y`` arrays of pixel centres; rotated images have none.
    band_names
        Whether bands are labelled by their descriptions or colours instead of numbers from 1.
    """
    height, width = _size(shape, dims)
    spatial = _spatial(geo, height, width)
    array, warnings = value_attributes(metadata, geo, dtype, dims)
    array |= {"AREA_OR_POINT": geo.area_or_point} if geo.has_raster_type else {}
    grid_mapping = _grid_mapping(geo)
    if grid_mapping is not None:
        array["grid_mapping"] = GRID_MAPPING
    coordinates = [] if grid_mapping is None else [grid_mapping]
    if xy_coordinates:
        coordinates += _xy(geo, height, width, warnings)
    if "band" in dims:
        coordinates += band_coordinates(metadata, geo, names=band_names)
    group: Json = dict(spatial)
    named = [coordinate.name for coordinate in coordinates if coordinate.name not in coordinate.dims]
    if named:
        array["coordinates"] = group["coordinates"] = " ".join(named)
    fill_value = _fill_value(metadata.nodata, dtype)
    return Conventions(
        strict_json(array | spatial), strict_json(group), tuple(coordinates), fill_value, tuple(warnings)
    )


def mask_conventions(geo: GeoReference, *, shape: Sequence[int], dims: Sequence[str]) -> Json:
    """Return the attributes of a mask; the image's variable names it in ``ancillary_variables``."""
    height, width = _size(shape, dims)
    array: Json = {"long_name": "mask of valid pixels", "standard_name": "status_flag"}
    array |= {"flag_values": [0, 1], "flag_meanings": "masked valid"}
    if _grid_mapping(geo) is not None:
        array |= {"grid_mapping": GRID_MAPPING, "coordinates": GRID_MAPPING}
    return _object(array | _spatial(geo, height, width))


def multiscales(pyramid: Pyramid, geo: GeoReference, assets: Sequence[str] | None = None) -> Json:
    """Return the attributes of the group above the levels of a pyramid.

    Parameters
    ----------
    pyramid
        The levels, finest first.
    geo
        The georeference of the finest level.
    assets
        Names of the child groups, by default "0", "1", ...
    """
    names = list(assets) if assets is not None else [str(index) for index in range(len(pyramid.levels))]
    finest = pyramid.levels[0]
    root = _spatial(geo, finest.height, finest.width)
    layout: list[Json] = []
    for name, level in zip(names, pyramid.levels, strict=True):
        scale = [level.scale_y, level.scale_x]
        item: Json = {"asset": name, "transform": {"scale": scale, "translation": [0.0, 0.0]}}
        if level is not finest:
            item["derived_from"] = names[0]
        item["spatial:shape"] = [level.height, level.width]
        if geo.transform is not None:
            item["spatial:transform"] = _coefficients(_scaled(geo.transform, level.scale_x, level.scale_y))
        layout.append(item)
    registered = root.pop("zarr_conventions", [])
    attributes = {"zarr_conventions": [_MULTISCALES, *registered], "multiscales": {"layout": layout}}
    root.pop("spatial:transform", None)
    root.pop("spatial:shape", None)
    root.pop("spatial:registration", None)
    return _object(attributes | root)


def _object(json: Json) -> Json:
    strict: Json = strict_json(json)
    return strict


def _scaled(transform: Affine, scale_x: float, scale_y: float) -> Affine:
    return transform @ Affine.scale(scale_x, scale_y)


def _size(shape: Sequence[int], dims: Sequence[str]) -> tuple[int, int]:
    sizes = dict(zip(dims, shape, strict=True))
    return sizes["y"], sizes["x"]


def _coefficients(transform: Affine) -> list[float]:
    return [float(value) for value in tuple(transform)[:6]]


def _spatial(geo: GeoReference, height: int, width: int) -> Json:
    """Return the attributes of ``proj:`` and ``spatial:``; exactly one form of the CRS."""
    json: Json = {"zarr_conventions": []}
    if geo.crs is not None:
        json["zarr_conventions"].append(_PROJ)
        code = authority_code(geo.crs)
        json |= {"proj:code": code} if code is not None else {"proj:wkt2": geo.crs.to_wkt()}
    if geo.transform is not None:
        json["zarr_conventions"].append(_SPATIAL)
        corners = [geo.transform @ corner for corner in ((0, 0), (width, 0), (0, height), (width, height))]
        xs, ys = zip(*corners, strict=True)
        json |= {
            "spatial:dimensions": ["y", "x"],
            "spatial:shape": [height, width],
            "spatial:transform": _coefficients(geo.transform),
            "spatial:bbox": [min(xs), min(ys), max(xs), max(ys)],
            "spatial:registration": "pixel",
        }
    return json if json["zarr_conventions"] else {}


@lru_cache(maxsize=256)
def _crs_attributes(crs: CRS) -> Json:
    """Return the CF attributes of a CRS, and its WKT under both names in use."""
    try:
        attributes: Json = dict(crs.to_cf())
    except KeyError:  # pyproj knows the method, but misses a parameter that it takes for granted
        attributes = {}
    wkt = attributes.pop("crs_wkt", None) or crs.to_wkt()
    return {"crs_wkt": wkt, "spatial_ref": wkt, **attributes}


def _grid_mapping(geo: GeoReference) -> Coordinate | None:
    """Return the scalar variable that carries CRS, transform, control points and rational polynomials."""
    crs = geo.crs if geo.crs is not None else geo.gcps_crs
    attributes: Json = dict(_crs_attributes(crs)) if crs is not None else {}
    if geo.transform is not None:
        t = geo.transform
        attributes["GeoTransform"] = " ".join(repr(float(v)) for v in (t.c, t.a, t.b, t.f, t.d, t.e))
    if geo.gcps:
        attributes["gcps"] = json.dumps(_geojson(geo))
    if geo.rpcs is not None:
        attributes["rpcs"] = json.dumps({name.lower(): value for name, value in geo.rpcs.items()})
    if geo.epoch is not None:
        attributes["coordinate_epoch"] = geo.epoch
    if geo.full_crs is not None and geo.full_crs is not geo.crs and geo.full_crs.is_compound:
        attributes["compound_crs_wkt"] = geo.full_crs.to_wkt()
    if not attributes:
        return None
    return Coordinate(GRID_MAPPING, (), np.array(0, np.int64), strict_json(attributes))


def _geojson(geo: GeoReference) -> Json:
    """Return the control points as rioxarray stores them."""
    features = [
        {
            "type": "Feature",
            "properties": {"id": str(index + 1), "info": "", "row": gcp.row, "col": gcp.col},
            "geometry": {"type": "Point", "coordinates": [gcp.x, gcp.y, gcp.z]},
        }
        for index, gcp in enumerate(geo.gcps)
    ]
    return {"type": "FeatureCollection", "features": features}


_PLAIN_AXES: Final[dict[str, Json]] = {
    "X": {"axis": "X", "long_name": "x"},
    "Y": {"axis": "Y", "long_name": "y"},
}


def _xy(geo: GeoReference, height: int, width: int, warnings: list[str]) -> list[Coordinate]:
    """Return the coordinates of pixel centres, which exist per axis only when the image is not rotated."""
    t = geo.transform
    if t is None or t.b != 0 or t.d != 0:
        return []
    if max(height, width) > MAX_AXIS:
        warnings.append(f"an image of {width} x {height} pixels gets no x and y arrays: the limit is {MAX_AXIS}")
        return []
    axes = dict(_PLAIN_AXES)
    if geo.crs is not None:
        axes |= {axis["axis"]: axis for axis in geo.crs.cs_to_cf() if axis.get("axis") in axes}
    x = t.c + t.a * (np.arange(width) + 0.5)
    y = t.f + t.e * (np.arange(height) + 0.5)
    return [
        Coordinate("x", ("x",), x, strict_json(axes["X"])),
        Coordinate("y", ("y",), y, strict_json(axes["Y"])),
    ]


def _fill_value(nodata: float | None, dtype: np.dtype[Any]) -> bool | int | float | complex:
    """Return the value of chunks that are not stored: nodata, else 0, as GDAL has it."""
    value = 0 if nodata is None else nodata
    if dtype.kind == "b":
        return bool(value)
    if dtype.kind in "iu":
        return int(value)
    return complex(value) if dtype.kind == "c" else float(value)
