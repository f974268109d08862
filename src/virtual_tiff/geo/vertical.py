"""The vertical part of a CRS, and the compound of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pyproj import CRS
from pyproj.crs import Datum  # type: ignore[attr-defined] # documented there
from pyproj.exceptions import CRSError

from virtual_tiff.geo import registry
from virtual_tiff.geo.geokeys import USER_DEFINED, GeoKey, GeoKeys
from virtual_tiff.geo.registry import Json, Unit

_METRE: Final = Unit("metre", 1.0, 9001)
_WGS84_ELLIPSOID: Final = 6030


@dataclass(frozen=True)
class Vertical:
    """A vertical CRS and its unit; or ``geographic_3d``, which replaces the horizontal CRS."""

    json: Json | None
    unit: str | None = None
    registered: bool = False
    geographic_3d: CRS | None = None


def vertical_part(keys: GeoKeys, horizontal: CRS, warnings: list[str]) -> Vertical | None:
    """Return what the vertical keys describe, or None when they are absent, unusable or do not fit."""
    crs = keys.code(GeoKey.VERTICAL_CRS) or 0
    datum = keys.code(GeoKey.VERTICAL_DATUM) or 0
    units = keys.code(GeoKey.VERTICAL_UNITS) or 0
    if not (crs or datum or units):
        return None
    crs, datum = _old_codes(keys, crs, datum)
    if max(crs, datum, units) > USER_DEFINED:
        warnings.append("the vertical keys hold codes of the private range and are left out")
        return None
    ellipsoidal = _geographic_3d(horizontal, crs, datum)
    if ellipsoidal is not None:
        return Vertical(None, geographic_3d=ellipsoidal)
    if horizontal.is_geocentric or (horizontal.is_engineering and not units):
        return None
    return _registered(crs, warnings) if 0 < crs < USER_DEFINED else _described(keys, datum, units)


def _registered(crs: int, warnings: list[str]) -> Vertical | None:
    found = registry.crs(crs)
    if found is None or not found.is_vertical or found.is_compound:
        warnings.append(f"VerticalGeoKey names EPSG:{crs}, which is not a vertical CRS; it is left out")
        return None
    return Vertical(found.to_json_dict(), found.axis_info[0].unit_name, registered=True)


def _old_codes(keys: GeoKeys, crs: int, datum: int) -> tuple[int, int]:
    """Translate codes of datums that GeoTIFF 1.0 had taken for codes of vertical CRSs."""
    if keys.is_geotiff_1_0:
        if 5101 <= crs <= 5112 and datum == 0:
            crs, datum = crs + 600, crs
        if crs == 5171:
            crs, datum = 5773, 5171
    if 5001 <= crs <= 5033 and datum == 0:
        crs, datum = 0, crs + 1000
    return crs, datum


def _geographic_3d(horizontal: CRS, crs: int, datum: int) -> CRS | None:
    """Return the geographic 3-D CRS when the heights are ellipsoidal ones on the horizontal datum."""
    base = horizontal.geodetic_crs
    if base is None or horizontal.is_bound:
        return None
    code = base.to_authority(min_confidence=100)
    if datum == _WGS84_ELLIPSOID and code == ("EPSG", "4326"):
        crs = 4979
    found = registry.crs(crs)
    if found is None or not found.is_geographic or len(found.axis_info) != 3 or base.datum != found.datum:
        return None
    if horizontal.is_geographic:
        return found
    try:
        return horizontal.to_3d()
    except CRSError:
        return None


def _described(keys: GeoKeys, datum: int, units: int) -> Vertical:
    """Return a vertical CRS that is not registered."""
    citation = keys.text(GeoKey.VERTICAL_CITATION) or ""
    name = citation.removeprefix("VCS Name = ").split("|")[0] if citation.startswith("VCS Name = ") else citation
    frame: Json = {"type": "VerticalReferenceFrame", "name": "unknown"}
    registered = registry.vertical_datum(datum)
    if registered is None and datum == USER_DEFINED and name:
        registered = _datum_of_named_crs(name)
    if registered is not None:
        frame = registered
    elif 0 < datum < USER_DEFINED:
        frame["id"] = {"authority": "EPSG", "code": datum}
    unit = (registry.unit(units) if units != USER_DEFINED else None) or _METRE
    axis = {"name": "Up", "abbreviation": "", "direction": "up", "unit": unit.json("LinearUnit")}
    json = {
        "type": "VerticalCRS",
        "name": name or "unknown",
        "datum": frame,
        "coordinate_system": {"subtype": "vertical", "axis": [axis]},
    }
    return Vertical(json, unit.name)


def _datum_of_named_crs(name: str) -> Json | None:
    try:
        crs = CRS.from_user_input(name)
    except CRSError:
        return None
    if not crs.is_vertical or not isinstance(crs.datum, Datum):
        return None
    json: Json = crs.datum.to_json_dict()
    json.pop("$schema", None)
    return json


def add_vertical(keys: GeoKeys, horizontal: CRS, vertical: Vertical | None) -> CRS:
    """Return the compound CRS: a registered one when EPSG has a pair of both."""
    if vertical is None:
        return horizontal
    if vertical.geographic_3d is not None:
        return vertical.geographic_3d
    if vertical.json is None:
        return horizontal
    name = keys.text(GeoKey.GT_CITATION)
    if name is None or " = " in name:
        name = f"{horizontal.name} + {vertical.json['name']}"
    json = {"type": "CompoundCRS", "name": name, "components": [horizontal.to_json_dict(), vertical.json]}
    compound = CRS.from_json_dict(json)
    if vertical.registered and horizontal.to_authority(min_confidence=100) is not None:
        match = compound.to_authority(min_confidence=100)
        if match is not None:
            return CRS.from_authority(*match)
    return compound
