"""The geographic part of a CRS: datum, ellipsoid, prime meridian and angular unit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from pyproj import CRS

from virtual_tiff.geo import registry
from virtual_tiff.geo.citations import CitationNames, parse_citation
from virtual_tiff.geo.geokeys import USER_DEFINED, GeoKey, GeoKeys, ModelType
from virtual_tiff.geo.registry import DEGREE, Json, Unit

WGS84_SEMI_MAJOR: Final = 6378137.0
WGS84_INV_FLATTENING: Final = 298.257223563
_TOLERANCE: Final = 1e-10


@dataclass(frozen=True)
class Geographic:
    """The geographic CRS that the keys describe.

    ``json`` is PROJJSON; ``angular`` the unit of the keys' angles; ``towgs84`` the shift to WGS 84 that the
    file
    declares for a datum unknown to EPSG; ``registered`` says that ``json`` is EPSG's own definition.
    """

    json: Json
    angular: Unit
    towgs84: tuple[float, ...] = ()
    registered: bool = False
    warnings: tuple[str, ...] = ()


def geographic_crs(keys: GeoKeys, base: CRS | None, model: int) -> Geographic:
    """Build the geographic CRS.

    Parameters
    ----------
    keys
        The key directory.
    base
        The registered CRS that GeodeticCRSGeoKey names, or that the registered projected CRS is based on.
    model
        The model type; GDAL takes a registered dynamic CRS as it is when the model is geographic.
    """
    names = CitationNames()
    citation = keys.text(GeoKey.GEODETIC_CITATION)
    if base is None and citation is not None:
        names = parse_citation(citation, "geodetic")
    warnings: list[str] = []
    angular = _angular_unit(keys, base, names, warnings)
    frame, known = _frame(keys, base, names, angular, warnings)
    if base is not None:
        json = base.to_json_dict()
        if _same_frame(frame, base, angular):
            return Geographic(json, angular, registered=True, warnings=tuple(warnings))
        code = keys.code(GeoKey.GEODETIC_CRS) or json.get("id", {}).get("code")
        words = f"the GeoTIFF keys contradict EPSG:{code}"
        if model == ModelType.GEOGRAPHIC and _is_dynamic(base):
            warnings.append(f"{words}, which is used as it is registered")
            return Geographic(json, angular, registered=True, warnings=tuple(warnings))
        warnings.append(f"{words}; the keys are used, as GDAL does")
    json = {
        "type": "GeographicCRS",
        "name": base.name if base is not None else _crs_name(names, frame),
        "datum": frame,
        "coordinate_system": _lat_long(angular),
    }
    if base is not None and "id" in base.to_json_dict():
        json["id"] = base.to_json_dict()["id"]
        frame.pop("id", None)
    shift = keys.doubles(GeoKey.TOWGS84)
    towgs84 = (*shift, 0.0, 0.0, 0.0, 0.0)[:7] if len(shift) in (3, 7) and not known and base is None else ()
    return Geographic(json, angular, towgs84, warnings=tuple(warnings))


def _crs_name(names: CitationNames, frame: Json) -> str:
    if names.geodetic and names.geodetic.startswith("GCS_"):
        return registry.official_crs_name(names.geodetic, "GeographicCRS")
    return names.geodetic or (str(frame["name"]) if frame["name"] != "unnamed" else "unknown")


def _angular_unit(keys: GeoKeys, base: CRS | None, names: CitationNames, warnings: list[str]) -> Unit:
    """Return the unit of angles: that of the keys, else of the registered CRS, else the degree."""
    code, size = keys.code(GeoKey.GEOG_ANGULAR_UNITS), keys.double(GeoKey.GEOG_ANGULAR_UNIT_SIZE)
    named = names.angular_units is not None and size is not None
    if code in (None, 0) and base is None and not named:
        return Unit("unknown", DEGREE)
    if code in (None, 0) and base is not None:
        axis = base.axis_info[0]
        is_angle = axis.unit_name != "metre"
        return Unit(axis.unit_name, axis.unit_conversion_factor) if is_angle else Unit("degree", DEGREE, 9122)
    known = registry.unit(code) if code else None
    if known is not None and known.factor > 0 and code != USER_DEFINED:
        return known
    name = names.angular_units or "unknown"
    if size is None or size == 0 or abs(size) > 1e3:
        if size is not None:
            warnings.append(f"GeogAngularUnitSizeGeoKey is {size}; degrees are assumed")
        return Unit(name if size is not None else "degree", DEGREE)
    return Unit(name, size)


def _frame(
    keys: GeoKeys, base: CRS | None, names: CitationNames, angular: Unit, warnings: list[str]
) -> tuple[Json, bool]:
    """Return the datum as PROJJSON, and whether EPSG knows it."""
    datum_code = keys.code(GeoKey.GEODETIC_DATUM)
    registered = registry.datum(datum_code)
    if registered is None and base is not None and base.datum is not None and datum_code is None:
        registered = base.datum.to_json_dict()
    ellipsoid = _ellipsoid(keys, base, registered, names, warnings)
    name = registry.official_datum_name(names.datum) if names.datum and "_" in names.datum else names.datum
    known = registered is not None
    if registered is not None:
        name = name or str(registered["name"]).removesuffix(" ensemble")
    frame: Json = {"type": "GeodeticReferenceFrame", "name": name or "unnamed", "ellipsoid": ellipsoid}
    meridian = _prime_meridian(keys, base, names, angular)
    if meridian is not None:
        frame["prime_meridian"] = meridian
    if registered is not None and "id" in registered:
        frame["id"] = registered["id"]
    if not known and name:
        known = registry.is_datum_name(name)
    return frame, known


def _ellipsoid(keys: GeoKeys, base: CRS | None, frame: Json | None, names: CitationNames, warnings: list[str]) -> Json:
    code = keys.code(GeoKey.ELLIPSOID)
    found: Json = {}
    if code is not None and code != USER_DEFINED:
        found = registry.ellipsoid(code) or {}
    if not found and (code is None or code != USER_DEFINED):
        if frame is not None:
            found = dict(frame["ellipsoid"])
        elif base is not None and keys.code(GeoKey.GEODETIC_DATUM) is None and base.ellipsoid is not None:
            found = base.ellipsoid.to_json_dict()
    semi_major, semi_minor = _axes(found)
    semi_major = keys.double(GeoKey.SEMI_MAJOR_AXIS) or semi_major
    semi_minor = keys.double(GeoKey.SEMI_MINOR_AXIS) or semi_minor
    if semi_major is not None and semi_major < 0:
        msg = f"a semi-major axis of {semi_major} m"
        raise ValueError(msg)
    inverse = keys.double(GeoKey.INV_FLATTENING)
    if inverse is None and GeoKey.INV_FLATTENING in keys.values:
        inverse = 0.0
    name = names.ellipsoid or found.get("name") or "unnamed"
    if "_" in name:
        name = registry.official_ellipsoid_name(name)
    if not semi_major:
        warnings.append("the GeoTIFF keys give no usable ellipsoid; that of WGS 84 is used")
        return {
            "name": "unretrievable - using WGS84",
            "semi_major_axis": WGS84_SEMI_MAJOR,
            "inverse_flattening": WGS84_INV_FLATTENING,
        }
    if inverse is not None:
        semi_minor = semi_major * (1 - 1 / inverse) if inverse != 0 else semi_major
    return _ellipsoid_json(name, semi_major, semi_minor, inverse, found)


def _ellipsoid_json(name: str, semi_major: float, semi_minor: float | None, inverse: float | None, found: Json) -> Json:
    """Return the ellipsoid: the registered one when the numbers are its own."""
    if semi_minor is None or semi_minor <= 0:
        semi_minor = semi_major
    if _same_axes((semi_major, semi_minor), _axes(found)):
        return {**found, "name": name}
    json: Json = {"name": name, "semi_major_axis": semi_major}
    if semi_minor == semi_major:
        return {"name": name, "radius": semi_major}
    if inverse is None or inverse == 0:
        inverse = semi_major / (semi_major - semi_minor)
    if semi_major == WGS84_SEMI_MAJOR and abs(inverse - WGS84_INV_FLATTENING) < _TOLERANCE:
        inverse = WGS84_INV_FLATTENING
    return {**json, "inverse_flattening": inverse}


def _axes(ellipsoid: Json) -> tuple[float | None, float | None]:
    """Return both semi-axes in metres, from any PROJJSON form of an ellipsoid."""
    major = _metres(ellipsoid.get("semi_major_axis", ellipsoid.get("radius")))
    if major is None:
        return None, None
    if "semi_minor_axis" in ellipsoid:
        return major, _metres(ellipsoid["semi_minor_axis"])
    inverse = ellipsoid.get("inverse_flattening")
    return major, (major * (1 - 1 / float(inverse)) if inverse else major)


def _same_axes(mine: tuple[float | None, float | None], theirs: tuple[float | None, float | None]) -> bool:
    """Whether two ellipsoids are the same, by PROJ's tolerance on the inverse flattening."""
    if None in mine or None in theirs:
        return False
    (a, b), (own_a, own_b) = mine, theirs
    if not (a and b and own_a and own_b):
        return False
    flattening, own = 1 - b / a, 1 - own_b / own_a
    return math.isclose(a, own_a, rel_tol=_TOLERANCE) and math.isclose(flattening, own, rel_tol=_TOLERANCE)


def _metres(value: Any) -> float | None:
    if isinstance(value, dict):
        unit = value.get("unit", "metre")
        factor = unit["conversion_factor"] if isinstance(unit, dict) else 1.0
        return float(value["value"]) * float(factor)
    return None if value is None else float(value)


def _prime_meridian(keys: GeoKeys, base: CRS | None, names: CitationNames, angular: Unit) -> Json | None:
    """Return the prime meridian, or None for Greenwich."""
    code = keys.code(GeoKey.PRIME_MERIDIAN)
    registered = registry.prime_meridian(code)
    if registered is None and code is None and base is not None and base.prime_meridian is not None:
        registered = base.prime_meridian.to_json_dict()
    if registered is not None:
        return None if registered.get("longitude") == 0 else registered
    longitude = keys.double(GeoKey.PRIME_MERIDIAN_LONG) or 0.0
    name = names.prime_meridian or ("Reference meridian" if longitude else "Greenwich")
    if longitude == 0 and name == "Greenwich":
        return None
    if longitude == 0:
        return {"name": name, "longitude": 0}
    degrees = longitude if names.prime_meridian else longitude * angular.factor / DEGREE
    return {"name": name, "longitude": degrees}


def _lat_long(angular: Unit) -> Json:
    unit = angular.json("AngularUnit")
    return {
        "subtype": "ellipsoidal",
        "axis": [
            {"name": "Latitude", "abbreviation": "lat", "direction": "north", "unit": unit},
            {"name": "Longitude", "abbreviation": "lon", "direction": "east", "unit": unit},
        ],
    }


def _same_frame(frame: Json, base: CRS, angular: Unit) -> bool:
    """Whether datum, ellipsoid, meridian and unit are those of the registered CRS."""
    if base.datum is None or base.ellipsoid is None:
        return False
    own = base.datum.to_json_dict()
    if frame.get("id") != own.get("id"):
        return False
    if not _same_axes(_axes(frame["ellipsoid"]), _axes(base.ellipsoid.to_json_dict())):
        return False
    if base.is_geographic and not math.isclose(base.axis_info[0].unit_conversion_factor, angular.factor, rel_tol=1e-9):
        return False
    mine_pm = frame.get("prime_meridian") or {"longitude": 0}
    theirs_pm = base.prime_meridian.to_json_dict() if base.prime_meridian is not None else {"longitude": 0}
    return bool(mine_pm["longitude"] == theirs_pm["longitude"])


def _is_dynamic(base: CRS) -> bool:
    """Whether the datum of a registered CRS, or the first member of its ensemble, moves with its plate."""
    if base.datum is None:
        return False
    json = base.datum.to_json_dict()
    if json.get("type") == "DatumEnsemble":
        members = json.get("members") or [{}]
        json = registry.datum(members[0].get("id", {}).get("code")) or {}
    return bool(str(json.get("type", "")).startswith("Dynamic"))
