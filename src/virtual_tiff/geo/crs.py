"""From GeoTIFF keys to a coordinate reference system, as GDAL reads them with its default options.

References
----------
OGC GeoTIFF 1.1, sections 7.4 and 7.5; https://gdal.org/drivers/raster/gtiff.html (GTIFF_SRS_SOURCE)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pyproj import CRS
from pyproj.exceptions import CRSError

from virtual_tiff.geo import registry
from virtual_tiff.geo.citations import LINEAR_UNITS, imagine_name, parse_citation
from virtual_tiff.geo.datum import Geographic, geographic_crs
from virtual_tiff.geo.geokeys import USER_DEFINED, GeoKey, GeoKeys, ModelType
from virtual_tiff.geo.projections import projected_from_method
from virtual_tiff.geo.registry import Json, Unit
from virtual_tiff.geo.vertical import add_vertical, vertical_part

_PE_STRING: Final = "ESRI PE String = "
_METRE: Final = Unit("metre", 1.0, 9001)


@dataclass(frozen=True)
class CrsReading:
    """What the keys say: the CRS, the unit of heights, the epoch, and sentences about what was odd.

    ``crs`` has no vertical part when the file declares GeoTIFF 1.0, as GDAL has it; ``full_crs`` keeps it.
    """

    crs: CRS | None = None
    full_crs: CRS | None = None
    vertical_unit: str | None = None
    epoch: float | None = None
    warnings: tuple[str, ...] = ()


def read_crs(keys: GeoKeys | None) -> CrsReading:
    """Build the CRS that the keys describe; whatever is wrong with them ends in warnings, not in exceptions.

    Like files share one reading, hence one CRS object: the files of an archive mostly have the same keys.
    """
    if keys is None or not keys.values:
        return CrsReading(warnings=keys.warnings if keys is not None else ())
    return _read_crs(keys.version, tuple(keys.values.items()), keys.warnings)


@lru_cache(maxsize=256)
def _read_crs(
    version: tuple[int, int, int],
    values: tuple[tuple[int, int | str | tuple[float, ...]], ...],
    damage: tuple[str, ...],
) -> CrsReading:
    keys = GeoKeys(version, dict(values), damage)
    warnings = list(keys.warnings)
    try:
        horizontal = _horizontal(keys, warnings)
        whole = horizontal is None or (_model(keys) is None and not horizontal.is_engineering)
        vertical = vertical_part(keys, horizontal, warnings) if horizontal is not None and not whole else None
        full = add_vertical(keys, horizontal, vertical) if horizontal is not None else None
    except (CRSError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        first = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        return CrsReading(warnings=(*warnings, f"the GeoTIFF keys describe no usable CRS ({first})"))
    unit = vertical.unit if vertical is not None and full is not None and full.is_compound else None
    strip = keys.is_geotiff_1_0 and full is not None and full.is_compound
    return CrsReading(
        crs=horizontal if strip else full,
        full_crs=full,
        vertical_unit=unit,
        epoch=keys.double(GeoKey.COORDINATE_EPOCH),
        warnings=tuple(warnings),
    )


_AUTHORITY_CODE: Final = re.compile(r"[A-Z]+:[0-9]+")


@lru_cache(maxsize=256)
def authority_code(crs: CRS) -> str | None:
    """Return a code such as ``EPSG:32633`` that stands for exactly this CRS, or None when there is none."""
    authority = crs.to_authority(min_confidence=100)
    if authority is None:
        return None
    code = ":".join(authority)
    try:
        registered = CRS.from_authority(*authority)
    except CRSError:
        return None
    same = crs.equals(registered, ignore_axis_order=True) or (crs.is_projected and _same_but_axes(crs, registered))
    return code if same and _AUTHORITY_CODE.fullmatch(code) else None


def _model(keys: GeoKeys) -> ModelType | None:
    """Return the model type; a file with the code of a projected CRS needs no key for it."""
    model = keys.code(GeoKey.GT_MODEL_TYPE)
    if model in (None, USER_DEFINED) and keys.code(GeoKey.PROJECTED_CRS) not in (None, USER_DEFINED):
        return ModelType.PROJECTED
    return ModelType(model) if model in tuple(ModelType) else None


def _horizontal(keys: GeoKeys, warnings: list[str]) -> CRS | None:
    model = _model(keys)
    if model is None:
        return _local(keys, warnings)
    if model == ModelType.PROJECTED:
        return _projected(keys, warnings)
    return _geodetic(keys, model, warnings)


def _geodetic(keys: GeoKeys, model: int, warnings: list[str]) -> CRS:
    base = _base_crs(keys, None)
    if model == ModelType.GEOCENTRIC:
        return _geocentric(keys, base, warnings)
    geographic = geographic_crs(keys, base, model)
    warnings.extend(geographic.warnings)
    if geographic.registered and base is not None:
        return base
    return _shifted(CRS.from_json_dict(geographic.json), geographic)


def _geocentric(keys: GeoKeys, base: CRS | None, warnings: list[str]) -> CRS:
    if base is not None and base.is_geocentric:
        return base
    geographic = geographic_crs(keys, base, ModelType.GEOCENTRIC)
    warnings.extend(geographic.warnings)
    name = keys.text(GeoKey.GT_CITATION) or keys.text(GeoKey.GEODETIC_CITATION) or "unnamed"
    unit = _linear_unit(keys, None).json("LinearUnit")
    axes = [
        {"name": f"Geocentric {axis}", "abbreviation": axis, "direction": f"geocentric{axis}", "unit": unit}
        for axis in "XYZ"
    ]
    json = {"type": "GeodeticCRS", "name": name, "coordinate_system": {"subtype": "Cartesian", "axis": axes}}
    for part in ("datum", "datum_ensemble"):
        if part in geographic.json:
            json[part] = geographic.json[part]
    return CRS.from_json_dict(json)


def _base_crs(keys: GeoKeys, projected: CRS | None) -> CRS | None:
    """Return the registered geographic CRS: the key's, else that of the registered projected CRS."""
    code = keys.code(GeoKey.GEODETIC_CRS)
    found = registry.crs(code)
    if found is not None and (found.is_geographic or found.is_geocentric):
        return found
    if code is None and projected is not None and projected.geodetic_crs is not None:
        return projected.geodetic_crs
    return None


_OVERRIDES: Final = (
    GeoKey.PROJECTION,
    GeoKey.PROJ_METHOD,
    GeoKey.GEODETIC_CRS,
    GeoKey.GEODETIC_DATUM,
    GeoKey.ELLIPSOID,
)


def _projected(keys: GeoKeys, warnings: list[str]) -> CRS:
    registered = _registered_projected(keys, warnings)
    linear = _linear_unit(keys, registered)
    if registered is not None and not any(keys.code(key) is not None for key in _OVERRIDES):
        return _with_unit(registered, linear)
    name = registered.name if registered is not None else _projected_name(keys)
    return _special(name) or _projected_of_keys(keys, registered, name, linear, warnings)


def _registered_projected(keys: GeoKeys, warnings: list[str]) -> CRS | None:
    code = keys.code(GeoKey.PROJECTED_CRS)
    registered = registry.crs(code)
    if registered is not None and not registered.is_projected:
        warnings.append(f"ProjectedCRSGeoKey names EPSG:{code}, which is not a projected CRS")
        return None
    if registered is None and code not in (None, USER_DEFINED):
        warnings.append(f"ProjectedCRSGeoKey names EPSG:{code}, which is not registered")
    return registered


def _projected_of_keys(keys: GeoKeys, registered: CRS | None, name: str, linear: Unit, warnings: list[str]) -> CRS:
    """Build the CRS from all keys, and return the registered one when it comes out the same."""
    geographic = geographic_crs(keys, _base_crs(keys, registered), ModelType.PROJECTED)
    json = _conversion(keys, registered, geographic, linear)
    if json is None:
        warnings.append("the GeoTIFF keys do not define the projection")
        return registered or _engineering(name, linear)
    warnings.extend(geographic.warnings)
    json |= {"name": name, "base_crs": geographic.json}
    json.pop("id", None)
    built = CRS.from_json_dict(json)
    if registered is None:
        return _shifted(_official(built, json), geographic)
    if built.equals(registered):
        return registered
    code = keys.code(GeoKey.PROJECTED_CRS)
    if not _same_but_axes(built, registered):
        warnings.append(f"the GeoTIFF keys contradict EPSG:{code}; the keys are used, as GDAL does")
    return _shifted(CRS.from_json_dict(json | {"id": {"authority": "EPSG", "code": code}}), geographic)


def _official(built: CRS, json: Json) -> CRS:
    """Return the registered CRS that a name of ESRI or the IAU means, or the built one."""
    planetary = "(2015)" in built.name
    if "_" not in built.name and not planetary:
        return built
    name = registry.official_crs_name(built.name, "ProjectedCRS")
    if name == built.name and not planetary:
        return built
    try:
        named = CRS.from_user_input(name)
    except CRSError:
        return built
    return named if _same_but_axes(built, named) else CRS.from_json_dict(json | {"name": name})


def _same_but_axes(one: CRS, other: CRS) -> bool:
    """Whether two projected CRSs differ at most in the order and direction of their axes."""
    axes = one.to_json_dict()["coordinate_system"]
    json = other.to_json_dict()
    if not other.is_projected or {axis.unit_conversion_factor for axis in other.axis_info} != {
        axis.unit_conversion_factor for axis in one.axis_info
    }:
        return False
    json.pop("id", None)
    return one.equals(CRS.from_json_dict(json | {"coordinate_system": axes}), ignore_axis_order=True)


def _conversion(keys: GeoKeys, registered: CRS | None, geographic: Geographic, linear: Unit) -> Json | None:
    """Return a projected CRS with the right conversion and axes, and a base that is still to be set."""
    method = keys.code(GeoKey.PROJ_METHOD)
    if method is not None and method != USER_DEFINED:
        return projected_from_method(keys, method, geographic.angular, linear)
    conversion: Json | None
    if registered is not None:
        conversion = registered.to_json_dict()["conversion"]
    else:
        conversion = registry.conversion(keys.code(GeoKey.PROJECTION)) or _conversion_of_citation(keys)
    if conversion is None:
        return None
    unit = linear.json("LinearUnit")
    axes = [
        {"name": "Easting", "abbreviation": "E", "direction": "east", "unit": unit},
        {"name": "Northing", "abbreviation": "N", "direction": "north", "unit": unit},
    ]
    system = {"subtype": "Cartesian", "axis": axes}
    return {"type": "ProjectedCRS", "conversion": conversion, "coordinate_system": system}


def _conversion_of_citation(keys: GeoKeys) -> Json | None:
    """Return the projection that a citation of IMAGINE names: a UTM zone or a US state plane zone."""
    text = keys.text(GeoKey.PROJECTED_CITATION) or ""
    for mark, zone_code in (("UTM Zone ", _utm_code), ("State Plane Zone ", _state_plane_code)):
        if mark in text:
            return registry.conversion(zone_code(text.split(mark, 1)[1], text))
    return None


def _utm_code(zone: str, _: str) -> int | None:
    digits = zone[:2].strip().rstrip("NSns")
    if not digits.isdecimal() or not 1 <= int(digits) <= 60:
        return None
    hemisphere = zone[len(digits) :].lstrip(" ,")[:1].upper()
    return (16100 if hemisphere == "S" else 16000) + int(digits)


def _state_plane_code(zone: str, text: str) -> int | None:
    digits = (zone.lstrip("-").split() or [""])[0].split("|")[0]
    if not digits.isdecimal() or len(digits) > 4:
        return None
    nad27 = "NAD27" in text or "NAD = 27" in text
    return 10000 + int(digits) + (0 if nad27 else 30)


def _linear_unit(keys: GeoKeys, registered: CRS | None) -> Unit:
    """Return the unit of coordinates: of the citation, of the keys, of the registered CRS, else the metre."""
    cited = _cited_unit(keys, registered)
    if cited is not None:
        return cited
    code = keys.code(GeoKey.PROJ_LINEAR_UNITS)
    if code is None and registered is not None:
        axis = registered.axis_info[0]
        return Unit(axis.unit_name, axis.unit_conversion_factor, int(axis.unit_code) if axis.unit_code else None)
    if code is None:
        code = keys.code(GeoKey.GEOG_LINEAR_UNITS)
    known = registry.unit(code) if code != USER_DEFINED else None
    if known is not None:
        return known
    size = keys.double(GeoKey.PROJ_LINEAR_UNIT_SIZE)
    return Unit("unknown", size if size is not None and 0 < size < 1e9 else 1.0)


def _cited_unit(keys: GeoKeys, registered: CRS | None) -> Unit | None:
    """Return the unit that a citation names with ``LUnits``, as ESRI and IMAGINE do."""
    sources = [(GeoKey.GT_CITATION, "model")]
    if registered is None:
        sources.append((GeoKey.PROJECTED_CITATION, "projected"))
    for key, kind in sources:
        text = keys.text(key)
        name = parse_citation(text, kind).linear_units if text else None  # type: ignore[arg-type]
        if name:
            size = LINEAR_UNITS.get(name.lower()) or keys.double(GeoKey.PROJ_LINEAR_UNIT_SIZE)
            if size is not None and 0 < size < 1e9:
                return _METRE if size == 1.0 else Unit(name, size)
    return None


def _with_unit(registered: CRS, linear: Unit) -> CRS:
    """Return a registered CRS, whose coordinates are in another unit when the file says so."""
    own = registered.axis_info[0].unit_conversion_factor
    if abs(own - linear.factor) <= 1e-12 * own:
        return registered
    json = registered.to_json_dict()
    json.pop("id", None)
    for axis in json["coordinate_system"]["axis"]:
        axis["unit"] = linear.json("LinearUnit")
    return CRS.from_json_dict(json)


def _projected_name(keys: GeoKeys) -> str:
    """Return the name of a user-defined projected CRS."""
    text = keys.text(GeoKey.PROJECTED_CITATION)
    if text:
        names = parse_citation(text, "projected")
        if names.projected:
            return names.projected
        if not text.upper().startswith(("LUNITS = ", "IMAGINE GEOTIFF")):
            return text
    text = keys.text(GeoKey.GT_CITATION)
    if text:
        names = parse_citation(text, "model")
        return names.projected or (text if "Projected Coordinates" not in text else "unnamed")
    return "unnamed"


def _special(name: str) -> CRS | None:
    """Return the CRS of two names that stand for spherical web Mercator in files of old software."""
    if name.lower() == "wgs_1984_web_mercator":
        return CRS.from_authority("ESRI", 102113)
    if name.lower() == "google maps global mercator":
        return CRS.from_epsg(3857)
    return None


def _local(keys: GeoKeys, warnings: list[str]) -> CRS | None:
    """Return a CRS that is neither projected nor geographic: an ESRI string, or a name and a unit."""
    text = keys.text(GeoKey.PROJECTED_CITATION) or ""
    if _PE_STRING in text:
        wkt = text.split(_PE_STRING, 1)[1]
        if 'PROJCS["WGS_1984_Web_Mercator_Auxiliary_Sphere"' in wkt:
            return CRS.from_epsg(3857)
        try:
            return CRS.from_wkt(wkt)
        except CRSError:
            warnings.append("the ESRI PE string in the citation is not WKT")
            return None
    name = keys.text(GeoKey.GT_CITATION) or keys.text(GeoKey.GEODETIC_CITATION) or "unnamed"
    return _engineering(imagine_name(name), _linear_unit(keys, None))


def _engineering(name: str, linear: Unit) -> CRS:
    unit = linear.json("LinearUnit")
    axes = [
        {"name": "Easting", "abbreviation": "E", "direction": "east", "unit": unit},
        {"name": "Northing", "abbreviation": "N", "direction": "north", "unit": unit},
    ]
    json = {
        "type": "EngineeringCRS",
        "name": name or "unnamed",
        "datum": {"name": "Unknown engineering datum"},
        "coordinate_system": {"subtype": "Cartesian", "axis": axes},
    }
    return CRS.from_json_dict(json)


_POSITION_VECTOR: Final = ("Position Vector transformation (geog2D domain)", 9606)
_TRANSLATIONS: Final = ("Geocentric translations (geog2D domain)", 9603)
_ARC_SECOND: Final = Unit("arc-second", 4.84813681109536e-06).json("AngularUnit")
_PPM: Final = Unit("parts per million", 1e-06).json("ScaleUnit")
_SHIFTS: Final = (
    *((f"{axis}-axis translation", "metre") for axis in "XYZ"),
    *((f"{axis}-axis rotation", _ARC_SECOND) for axis in "XYZ"),
    ("Scale difference", _PPM),
)


def _shifted(crs: CRS, geographic: Geographic) -> CRS:
    """Bind a CRS of an unregistered datum to WGS 84 by the shift that the file declares."""
    if not geographic.towgs84:
        return crs
    full = any(geographic.towgs84[3:])
    name, code = _POSITION_VECTOR if full else _TRANSLATIONS
    parameters = [
        {"name": name, "value": value, "unit": unit, "id": {"authority": "EPSG", "code": 8605 + index}}
        for index, ((name, unit), value) in enumerate(zip(_SHIFTS, geographic.towgs84, strict=True))
    ][: 7 if full else 3]
    transformation = {
        "name": "Transformation to WGS84",
        "method": {"name": name, "id": {"authority": "EPSG", "code": code}},
        "parameters": parameters,
    }
    json = {
        "type": "BoundCRS",
        "source_crs": crs.to_json_dict(),
        "target_crs": CRS.from_epsg(4326).to_json_dict(),
        "transformation": transformation,
    }
    return CRS.from_json_dict(json)
