"""Map projections that GeoTIFF keys define by method and parameters.

Each method is expressed in the WKT 1 of GDAL, whose names of methods and parameters are stable, and read back
by PROJ as a conversion: PROJ then chooses variants (Mercator, Polar Stereographic) as it does for GDAL.

References
----------
OGC GeoTIFF 1.1, annex C.3.5.4 (ProjMethodGeoKey); https://proj.org/operations/projections
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pyproj import CRS
from pyproj.exceptions import CRSError

from virtual_tiff.geo.geokeys import GeoKey, GeoKeys
from virtual_tiff.geo.registry import Unit

type Json = dict[str, Any]

_LONG: Final = (GeoKey.NAT_ORIGIN_LONG, GeoKey.FALSE_ORIGIN_LONG, GeoKey.CENTER_LONG)
_LAT: Final = (GeoKey.NAT_ORIGIN_LAT, GeoKey.FALSE_ORIGIN_LAT, GeoKey.CENTER_LAT)
_EASTING: Final = (GeoKey.FALSE_EASTING, GeoKey.CENTER_EASTING, GeoKey.FALSE_ORIGIN_EASTING)
_NORTHING: Final = (GeoKey.FALSE_NORTHING, GeoKey.CENTER_NORTHING, GeoKey.FALSE_ORIGIN_NORTHING)
_SCALE: Final = (GeoKey.SCALE_AT_NAT_ORIGIN, GeoKey.SCALE_AT_CENTER)
_SCALE_NAT: Final = (GeoKey.SCALE_AT_NAT_ORIGIN,)


@dataclass(frozen=True)
class Parameter:
    """A parameter in WKT 1: the first of ``keys`` that is present gives its value, in the file's units."""

    name: str
    keys: tuple[GeoKey, ...]
    default: float = 0.0


_FALSE: Final = (Parameter("false_easting", _EASTING), Parameter("false_northing", _NORTHING))
_ORIGIN: Final = (Parameter("latitude_of_origin", _LAT), Parameter("central_meridian", _LONG))
_CENTER_LL: Final = (Parameter("latitude_of_center", _LAT), Parameter("longitude_of_center", _LONG))
_K: Final = Parameter("scale_factor", _SCALE, 1.0)
_K_NAT: Final = Parameter("scale_factor", _SCALE_NAT, 1.0)
_SP1: Final = Parameter("standard_parallel_1", (GeoKey.STD_PARALLEL_1,))
_SP2: Final = Parameter("standard_parallel_2", (GeoKey.STD_PARALLEL_2,))
_AZIMUTH: Final = Parameter("azimuth", (GeoKey.AZIMUTH_ANGLE,))
_RECTIFIED: Final = Parameter("rectified_grid_angle", (GeoKey.RECTIFIED_GRID_ANGLE,), 90.0)
_MERIDIAN_ONLY: Final = (Parameter("central_meridian", _LONG), *_FALSE)
_POLE_LONG: Final = Parameter("central_meridian", (GeoKey.STRAIGHT_VERT_POLE_LONG, *_LONG))

METHODS: Final[dict[int, tuple[str, tuple[Parameter, ...]]]] = {
    1: ("Transverse_Mercator", (*_ORIGIN, _K_NAT, *_FALSE)),
    3: ("Hotine_Oblique_Mercator", (*_CENTER_LL, _AZIMUTH, _RECTIFIED, _K, *_FALSE)),
    4: ("Laborde_Oblique_Mercator", (*_CENTER_LL, _AZIMUTH, _K, *_FALSE)),
    7: ("Mercator_1SP", (*_ORIGIN, _K_NAT, *_FALSE)),
    8: ("Lambert_Conformal_Conic_2SP", (*_ORIGIN, _SP1, _SP2, *_FALSE)),
    9: ("Lambert_Conformal_Conic_1SP", (*_ORIGIN, _K_NAT, *_FALSE)),
    10: ("Lambert_Azimuthal_Equal_Area", (*_CENTER_LL, *_FALSE)),
    11: ("Albers_Conic_Equal_Area", (*_CENTER_LL, _SP1, _SP2, *_FALSE)),
    12: ("Azimuthal_Equidistant", (*_CENTER_LL, *_FALSE)),
    13: ("Equidistant_Conic", (*_CENTER_LL, _SP1, _SP2, *_FALSE)),
    14: ("Stereographic", (*_ORIGIN, _K_NAT, *_FALSE)),
    15: ("Polar_Stereographic", (_ORIGIN[0], _POLE_LONG, _K, *_FALSE)),
    16: ("Oblique_Stereographic", (*_ORIGIN, _K_NAT, *_FALSE)),
    17: ("Equirectangular", (*_ORIGIN, _SP1, *_FALSE)),
    18: ("Cassini_Soldner", (*_ORIGIN, *_FALSE)),
    19: ("Gnomonic", (*_ORIGIN, *_FALSE)),
    20: ("Miller_Cylindrical", (*_CENTER_LL, *_FALSE)),
    21: ("Orthographic", (*_ORIGIN, *_FALSE)),
    22: ("Polyconic", (*_ORIGIN, *_FALSE)),
    23: ("Robinson", (Parameter("longitude_of_center", _LONG), *_FALSE)),
    24: ("Sinusoidal", (Parameter("longitude_of_center", _LONG), *_FALSE)),
    25: ("VanDerGrinten", _MERIDIAN_ONLY),
    26: ("New_Zealand_Map_Grid", (*_ORIGIN, *_FALSE)),
    27: ("Transverse_Mercator_South_Orientated", (*_ORIGIN, _K_NAT, *_FALSE)),
    28: ("Cylindrical_Equal_Area", (_SP1, Parameter("central_meridian", _LONG), *_FALSE)),
    9815: ("Hotine_Oblique_Mercator_Azimuth_Center", (*_CENTER_LL, _AZIMUTH, _RECTIFIED, _K, *_FALSE)),
}
"""By the value of ProjMethodGeoKey: GDAL's name of the method and its parameters."""

_MERCATOR: Final = 7
_MERCATOR_2SP: Final = ("Mercator_2SP", (_SP1, *_ORIGIN, *_FALSE))


def projected_from_method(keys: GeoKeys, method: int, angular: Unit, linear: Unit) -> Json | None:
    """Return the PROJJSON of a projected CRS whose conversion and axes are those of the keys.

    Its base CRS is a placeholder. None when the method is unknown or PROJ refuses the parameters.
    """
    name, parameters = METHODS.get(method, ("", ()))
    if method == _MERCATOR and keys.double(GeoKey.STD_PARALLEL_1) is not None:
        name, parameters = _MERCATOR_2SP
    if not name:
        return None
    lines = "".join(f'PARAMETER["{p.name}",{_value(keys, p)!r}],' for p in parameters)
    wkt = (
        'PROJCS["unnamed",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],'
        f'PRIMEM["Greenwich",0],UNIT["angle",{angular.factor!r}]],PROJECTION["{name}"],{lines}'
        f'UNIT["length",{linear.factor!r}]]'
    )
    try:
        json: Json = CRS.from_wkt(wkt).to_json_dict()
    except CRSError:
        return None
    units = {"angle": angular.json("AngularUnit"), "length": linear.json("LinearUnit")}
    _name_units(json, units)
    return json


def _value(keys: GeoKeys, parameter: Parameter) -> float:
    for key in parameter.keys:
        value = keys.double(key)
        if value is not None:
            return value
    return parameter.default


def _name_units(json: Json, units: dict[str, Json | str]) -> None:
    """Put the real units in the place of the two placeholders."""
    for item in (*json["conversion"]["parameters"], *json["coordinate_system"]["axis"]):
        unit = item.get("unit")
        if isinstance(unit, dict) and unit.get("name") in units:
            item["unit"] = units[unit["name"]]
