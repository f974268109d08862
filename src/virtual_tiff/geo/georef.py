"""Where an image lies on Earth: CRS, affine transform, ground control points, rational polynomials.

Only the tags inside the TIFF count; sidecar files (world files, ``.aux.xml``) are not read.

References
----------
OGC GeoTIFF 1.1, section 7.1; https://gdal.org/drivers/raster/gtiff.html (georeferencing)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from affine import Affine
from pyproj import CRS

from virtual_tiff.errors import FormatError
from virtual_tiff.geo.crs import read_crs
from virtual_tiff.geo.geokeys import (
    ASCII_PARAMETERS,
    DOUBLE_PARAMETERS,
    KEY_DIRECTORY,
    GeoKey,
    GeoKeys,
    read_geokeys,
)
from virtual_tiff.geo.lenient import doubles, integer
from virtual_tiff.tiff.ifd import Ifd

IMAGE_WIDTH: Final = 256
IMAGE_LENGTH: Final = 257
PIXEL_SCALE: Final = 33550
TIE_POINTS: Final = 33922
MATRIX: Final = 34264
RPC_COEFFICIENTS: Final = 50844

GEOREFERENCE_TAGS: Final = frozenset(
    {PIXEL_SCALE, TIE_POINTS, MATRIX, RPC_COEFFICIENTS, KEY_DIRECTORY, DOUBLE_PARAMETERS, ASCII_PARAMETERS}
)
"""Tags that this module reads beside the image's size; a caller loads them first when they are deferred."""

_PIXEL_IS_POINT: Final = 2
_MAX_GCPS: Final = 100_000


@dataclass(frozen=True, slots=True)
class GroundControlPoint:
    """A pixel whose place is known; ``col`` and ``row`` are in pixels from the image's upper left corner."""

    col: float
    row: float
    x: float
    y: float
    z: float


@dataclass(frozen=True)
class GeoReference:
    """Where an image lies.

    ``transform`` maps (column, row) of pixel *corners* to coordinates of ``crs``, for PixelIsPoint files too.
    ``crs`` belongs to ``transform``: files with ground control points have ``gcps`` and ``gcps_crs`` instead.
    ``full_crs`` keeps the vertical part that ``crs`` loses when a file declares GeoTIFF 1.0. ``rpcs`` has
    the names
    of GDAL's RPC metadata. ``z_scale`` and ``z_offset`` turn stored values into heights when the tie point
    says how.
    ``warnings`` are sentences for a person.
    """

    crs: CRS | None = None
    transform: Affine | None = None
    area_or_point: Literal["Area", "Point"] = "Area"
    has_raster_type: bool = False
    gcps: tuple[GroundControlPoint, ...] = ()
    gcps_crs: CRS | None = None
    rpcs: Mapping[str, float | tuple[float, ...]] | None = None
    epoch: float | None = None
    full_crs: CRS | None = None
    vertical_unit: str | None = None
    z_scale: float | None = None
    z_offset: float | None = None
    warnings: tuple[str, ...] = field(default=())


def georeference(ifd: Ifd, main: Ifd | None = None) -> GeoReference:
    """Read the georeference of an image.

    Parameters
    ----------
    ifd
        The image.
    main
        For an overview or a mask: the full image whose tags it inherits. Pixels are scaled by the quotients
        of
        both widths and of both heights.

    Returns
    -------
    GeoReference
        Damaged or contradictory tags end in its ``warnings``.

    Raises
    ------
    FormatError
        ``bad-geometry`` when an overview or its main image has no size.
    """
    if main is not None and main is not ifd:
        return _scaled(georeference(main), *_ratios(ifd, main))
    keys = read_geokeys(ifd)
    warnings: list[str] = []
    is_point = keys is not None and keys.code(GeoKey.GT_RASTER_TYPE) == _PIXEL_IS_POINT
    transform = _transform(ifd, warnings)
    gcps = () if transform is not None else _gcps(ifd, 0.5 if is_point else 0.0)
    if transform is not None and is_point:
        transform @= Affine.translation(-0.5, -0.5)
    reading = read_crs(keys)
    z_scale, z_offset = _heights(ifd, reading.crs)
    return GeoReference(
        crs=None if gcps else reading.crs,
        transform=transform,
        area_or_point="Point" if is_point else "Area",
        has_raster_type=_has_raster_type(keys),
        gcps=gcps,
        gcps_crs=reading.crs if gcps else None,
        rpcs=_rpcs(ifd),
        epoch=reading.epoch,
        full_crs=reading.full_crs,
        vertical_unit=reading.vertical_unit,
        z_scale=z_scale,
        z_offset=z_offset,
        warnings=(*warnings, *reading.warnings),
    )


def _has_raster_type(keys: GeoKeys | None) -> bool:
    return keys is not None and keys.code(GeoKey.GT_RASTER_TYPE) in (1, _PIXEL_IS_POINT)


def _finite(values: tuple[float, ...]) -> bool:
    return all(map(math.isfinite, values))


def _transform(ifd: Ifd, warnings: list[str]) -> Affine | None:
    scale = doubles(ifd.tags.get(PIXEL_SCALE))
    ties = doubles(ifd.tags.get(TIE_POINTS))
    matrix = doubles(ifd.tags.get(MATRIX))
    if len(scale) >= 2 and scale[0] != 0 and scale[1] != 0:
        if len(ties) < 6:
            return None
        found = _from_tie_point(scale, ties, warnings)
    elif len(matrix) == 16:
        found = Affine(matrix[0], matrix[1], matrix[3], matrix[4], matrix[5], matrix[7])
    else:
        return None
    if not _finite(tuple(found)[:6]):
        warnings.append("the georeferencing tags hold numbers that are not finite and are left out")
        return None
    return found


def _from_tie_point(scale: tuple[float, ...], ties: tuple[float, ...], warnings: list[str]) -> Affine:
    col, row, _, x, y, _ = ties[:6]
    step_x, step_y = scale[0], -scale[1]
    if scale[1] < 0:
        warnings.append("the pixel height is negative; the image is taken to be north-up, as GDAL does")
        step_y = scale[1]
    return Affine(step_x, 0.0, x - col * step_x, 0.0, step_y, y - row * step_y)


def _gcps(ifd: Ifd, shift: float) -> tuple[GroundControlPoint, ...]:
    ties = doubles(ifd.tags.get(TIE_POINTS))
    count = min(len(ties) // 6, _MAX_GCPS)
    rows = (ties[start : start + 6] for start in range(0, 6 * count, 6))
    return tuple(GroundControlPoint(p[0] + shift, p[1] + shift, p[3], p[4], p[5]) for p in rows if _finite(p))


def _heights(ifd: Ifd, crs: CRS | None) -> tuple[float | None, float | None]:
    """Return scale and offset of heights, which GDAL takes from the tie point when the CRS has heights."""
    scale = doubles(ifd.tags.get(PIXEL_SCALE))
    ties = doubles(ifd.tags.get(TIE_POINTS))
    if crs is None or len(scale) < 3 or len(ties) < 6 or not _finite((*scale[:3], *ties[:6])):
        return None, None
    if 0 in scale[:2] or (scale[2] == 0 and ties[2] == 0 and ties[5] == 0) or not _has_heights(crs):
        return None, None
    return scale[2], ties[5] - ties[2] * scale[2]


def _has_heights(crs: CRS) -> bool:
    return crs.is_vertical or any(part.is_vertical for part in crs.sub_crs_list)


_RPC_SCALARS: Final = (
    "ERR_BIAS",
    "ERR_RAND",
    "LINE_OFF",
    "SAMP_OFF",
    "LAT_OFF",
    "LONG_OFF",
    "HEIGHT_OFF",
    "LINE_SCALE",
    "SAMP_SCALE",
    "LAT_SCALE",
    "LONG_SCALE",
    "HEIGHT_SCALE",
)
_RPC_VECTORS: Final = ("LINE_NUM_COEFF", "LINE_DEN_COEFF", "SAMP_NUM_COEFF", "SAMP_DEN_COEFF")


def _rpcs(ifd: Ifd) -> dict[str, float | tuple[float, ...]] | None:
    values = doubles(ifd.tags.get(RPC_COEFFICIENTS))
    if len(values) != 92 or not _finite(values):
        return None
    rpcs: dict[str, float | tuple[float, ...]] = dict(zip(_RPC_SCALARS, values, strict=False))
    for index, name in enumerate(_RPC_VECTORS):
        rpcs[name] = values[12 + 20 * index : 32 + 20 * index]
    return rpcs


def _ratios(ifd: Ifd, main: Ifd) -> tuple[float, float]:
    """Return the pixels of the main image per pixel of this one, along x and y."""
    sizes = [integer(part, tag, 0) for tag in (IMAGE_WIDTH, IMAGE_LENGTH) for part in (main, ifd)]
    if min(sizes) <= 0:
        found = f"{sizes[1]} x {sizes[3]} pixels cannot be an overview of {sizes[0]} x {sizes[2]} pixels"
        raise FormatError(found, feature="bad-geometry", ifd=ifd.path)
    return sizes[0] / sizes[1], sizes[2] / sizes[3]


def _scaled(full: GeoReference, ratio_x: float, ratio_y: float) -> GeoReference:
    """Return the georeference of an overview, whose pixels cover ``ratio_x`` by ``ratio_y`` pixels."""
    transform = full.transform @ Affine.scale(ratio_x, ratio_y) if full.transform is not None else None
    gcps = tuple(replace(gcp, col=gcp.col / ratio_x, row=gcp.row / ratio_y) for gcp in full.gcps)
    rpcs = dict(full.rpcs) if full.rpcs is not None else None
    if rpcs is not None:
        for axis, ratio in (("LINE", ratio_y), ("SAMP", ratio_x)):
            offset, scale = rpcs[f"{axis}_OFF"], rpcs[f"{axis}_SCALE"]
            if isinstance(offset, float) and isinstance(scale, float):
                rpcs[f"{axis}_OFF"] = (offset + 0.5) / ratio - 0.5
                rpcs[f"{axis}_SCALE"] = scale / ratio
    return replace(full, transform=transform, gcps=gcps, rpcs=rpcs)
