"""Look-ups in PROJ's copy of the EPSG registry, as PROJJSON; what is not there is None."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pyproj import CRS
from pyproj.crs import CoordinateOperation, Datum, Ellipsoid, PrimeMeridian  # type: ignore[attr-defined] # documented there
from pyproj.database import get_units_map
from pyproj.exceptions import CRSError

from virtual_tiff.geo.geokeys import USER_DEFINED

type Json = dict[str, Any]

DEGREE: Final = math.pi / 180
_DEGREE_CODES: Final = (9102, 9107, 9108, 9110, 9115, 9116, 9122)


@dataclass(frozen=True)
class Unit:
    """A unit of measure; ``factor`` is metres or radians per unit."""

    name: str
    factor: float
    code: int | None = None

    def json(self, kind: str) -> Json | str:
        """Return the PROJJSON form; ``kind`` is LinearUnit or AngularUnit."""
        if kind == "LinearUnit" and self.factor == 1.0 and self.name in ("metre", "meter"):
            return "metre"
        if kind == "AngularUnit" and self.name == "degree":
            return "degree"
        json: Json = {"type": kind, "name": self.name, "conversion_factor": self.factor}
        if self.code is not None:
            json["id"] = {"authority": "EPSG", "code": self.code}
        return json


@lru_cache(maxsize=512)
def crs(code: int | None) -> CRS | None:
    """Return the CRS with an EPSG code."""
    if code is None or not 0 < code < USER_DEFINED:
        return None
    try:
        return CRS.from_epsg(code)
    except CRSError:
        return None


def _json(kind: type[CoordinateOperation | Datum | Ellipsoid | PrimeMeridian], code: int | None) -> Json | None:
    if code is None or not 0 < code < USER_DEFINED:
        return None
    try:
        json: Json = kind.from_epsg(code).to_json_dict()
    except CRSError:
        return None
    for name in ("$schema", "scope", "area", "bbox", "remarks", "usages"):
        json.pop(name, None)
    return json


@lru_cache(maxsize=256)
def conversion(code: int | None) -> Json | None:
    """Return a map projection with its parameters, without datum (EPSG 16001 is "UTM zone 1N")."""
    json = _json(CoordinateOperation, code)
    return json if json is not None and json.get("type") == "Conversion" else None


@lru_cache(maxsize=256)
def datum(code: int | None) -> Json | None:
    """Return a geodetic datum or datum ensemble."""
    json = _json(Datum, code)
    kinds = ("GeodeticReferenceFrame", "DynamicGeodeticReferenceFrame", "DatumEnsemble")
    return json if json is not None and json.get("type") in kinds and "ellipsoid" in json else None


@lru_cache(maxsize=256)
def vertical_datum(code: int | None) -> Json | None:
    """Return a vertical datum."""
    json = _json(Datum, code)
    return json if json is not None and "Vertical" in str(json.get("type")) else None


@lru_cache(maxsize=256)
def ellipsoid(code: int | None) -> Json | None:
    """Return an ellipsoid."""
    return _json(Ellipsoid, code)


@lru_cache(maxsize=256)
def prime_meridian(code: int | None) -> Json | None:
    """Return a prime meridian."""
    return _json(PrimeMeridian, code)


@lru_cache(maxsize=1)
def _units() -> dict[int, Unit]:
    units = {
        int(unit.code): Unit(unit.name, unit.conv_factor, int(unit.code))
        for unit in get_units_map(auth_name="EPSG", allow_deprecated=True).values()
        if unit.category in ("linear", "angular") and unit.code.isdigit()
    }
    units[9003] = Unit("US survey foot", 1200 / 3937, 9003)
    units |= {code: Unit("degree", DEGREE, 9122) for code in _DEGREE_CODES}
    return units


def unit(code: int | None) -> Unit | None:
    """Return a unit of length or angle; all writings of a degree are one degree."""
    return None if code is None else _units().get(code)


@lru_cache(maxsize=128)
def official_datum_name(name: str) -> str:
    """Return EPSG's name of a datum that is known by an alias, such as ESRI's ``D_North_American_1983``."""
    try:
        return str(Datum.from_name(name, auth_name="EPSG").name).removesuffix(" ensemble")
    except CRSError:
        return name


@lru_cache(maxsize=128)
def is_datum_name(name: str) -> bool:
    """Whether any registry knows a datum by that name."""
    try:
        Datum.from_name(name)
    except CRSError:
        return False
    return True


@lru_cache(maxsize=128)
def official_ellipsoid_name(name: str) -> str:
    """Return EPSG's name of an ellipsoid that is known by an alias."""
    try:
        return str(Ellipsoid.from_name(name, auth_name="EPSG").name)
    except CRSError:
        return name


@lru_cache(maxsize=128)
def official_crs_name(name: str, kind: str) -> str:
    """Return the registered name of a CRS that is known by an alias; ``kind`` is its PROJJSON type."""
    try:
        found = CRS.from_user_input(name)
    except CRSError:
        return name
    is_kind = found.is_projected if kind == "ProjectedCRS" else found.is_geographic
    authority = found.to_authority(min_confidence=100)
    return found.name if is_kind and authority is not None and authority[0] in ("EPSG", "IAU_2015") else name
