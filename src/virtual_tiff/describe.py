"""What a person asks of an image: where it lies, what its bands mean, which overviews and masks it has."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from virtual_tiff.array import LAYOUT_TAGS
from virtual_tiff.errors import VirtualTiffError
from virtual_tiff.geo.bands import band_units, scales_and_offsets
from virtual_tiff.geo.coordinate import strict_json
from virtual_tiff.geo.crs import authority_code
from virtual_tiff.geo.gdal_metadata import RasterMetadata, band_metadata
from virtual_tiff.geo.georef import GeoReference, georeference
from virtual_tiff.group import DESCRIBING_TAGS
from virtual_tiff.layout import segment_layout
from virtual_tiff.pyramid import Level, Pyramid
from virtual_tiff.tiff.deferred import load_tags
from virtual_tiff.tiff.ifd import Ifd, IfdPath, TiffFile
from virtual_tiff.tiff.protocol import Reader
from virtual_tiff.tiff.tags import Tags

MAX_BANDS: Final = 1000
"""Up to so many bands are described one by one."""

type Json = dict[str, Any]


def describe_image(tiff: TiffFile, pyramid: Pyramid) -> Reader[Json]:
    """Describe an image as JSON values.

    Returns
    -------
    dict
        ``ifd``, ``size`` (width, height), ``dtype`` (None for pixels that are refused), ``crs`` (name, code, WKT),
        ``transform`` (a, b, c, d, e, f of pixel corners), ``bounds`` (left, bottom, right, top), ``resolution``
        (x, y), ``area_or_point``, ``control_points``, ``rational_polynomials``, ``nodata``, ``colors`` in the map,
        ``bands``, ``overviews``, ``mask`` (IFD), ``tags`` and ``warnings``.
    """
    ifd = yield from load_tags(tiff.ifd(pyramid.path), {*DESCRIBING_TAGS, *LAYOUT_TAGS})
    geo = georeference(ifd)
    dtype, bands = _samples(tiff, ifd)
    metadata = band_metadata(ifd, dtype or np.dtype("f8"), bands)
    finest = pyramid.levels[0]
    described = {
        "ifd": _name(pyramid.path),
        "size": [finest.width, finest.height],
        "dtype": None if dtype is None else dtype.name,
        **_place(geo, finest),
        "nodata": metadata.nodata,
        "colors": 0 if metadata.color_map is None else len(metadata.color_map),
        "bands": _bands(metadata, geo),
        "overviews": [_overview(level) for level in pyramid.levels[1:]],
        "mask": _name(finest.mask),
        "tags": dict(metadata.tags),
        "warnings": [*geo.warnings, *metadata.warnings],
    }
    strict: Json = strict_json(described)
    return strict


def _samples(tiff: TiffFile, ifd: Ifd) -> tuple[np.dtype[Any] | None, int]:
    try:
        layout = segment_layout(tiff, ifd)
    except VirtualTiffError:
        try:
            return None, max(1, ifd.integer(Tags.SamplesPerPixel, 1))
        except VirtualTiffError:
            return None, 1
    return layout.dtype, layout.bands


def _name(path: IfdPath | None) -> str | None:
    return None if path is None else ".".join(map(str, path))


def _place(geo: GeoReference, finest: Level) -> Json:
    crs = geo.crs or geo.gcps_crs
    place: Json = {
        "crs": None if crs is None else {"name": crs.name, "code": authority_code(crs), "wkt": crs.to_wkt()},
        "transform": None,
        "bounds": None,
        "resolution": None,
        "area_or_point": geo.area_or_point if geo.has_raster_type else None,
        "control_points": len(geo.gcps),
        "rational_polynomials": geo.rpcs is not None,
    }
    if geo.transform is not None:
        t = geo.transform
        width, height = finest.width, finest.height
        xs, ys = zip(*(t @ corner for corner in ((0, 0), (width, 0), (0, height), (width, height))), strict=True)
        place |= {
            "transform": list(t)[:6],
            "bounds": [min(xs), min(ys), max(xs), max(ys)],
            "resolution": [float(np.hypot(t.a, t.d)), float(np.hypot(t.b, t.e))],
        }
    return place


def _bands(metadata: RasterMetadata, geo: GeoReference) -> list[Json]:
    scales, offsets = scales_and_offsets(metadata, geo)
    units = band_units(metadata, geo)
    return [
        {
            "band": band + 1,
            "name": metadata.descriptions[band],
            "color": metadata.color_interpretation[band],
            "unit": units[band],
            "scale": scales[band],
            "offset": offsets[band],
            "statistics": dict(metadata.statistics[band]),
        }
        for band in range(min(len(scales), MAX_BANDS))
    ]


def _overview(level: Level) -> Json:
    return {
        "ifd": _name(level.path),
        "size": [level.width, level.height],
        "scale": [level.scale_x, level.scale_y],
        "mask": _name(level.mask),
    }
