"""The GeoTIFF key directory: from three TIFF tags to values by key.

References
----------
OGC GeoTIFF 1.1 (19-008r4), section 7.1: the GeoKeyDirectoryTag and its two companions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from virtual_tiff.geo.lenient import doubles, integers
from virtual_tiff.tiff.ifd import Ifd

KEY_DIRECTORY: Final = 34735
DOUBLE_PARAMETERS: Final = 34736
ASCII_PARAMETERS: Final = 34737

USER_DEFINED: Final = 32767
"""The value of a key that says: the definition follows in other keys."""

_MAX_KEYS: Final = 1000


class GeoKey(IntEnum):
    """Keys that matter for reading, by the names of GeoTIFF 1.1."""

    GT_MODEL_TYPE = 1024
    GT_RASTER_TYPE = 1025
    GT_CITATION = 1026
    GEODETIC_CRS = 2048
    GEODETIC_CITATION = 2049
    GEODETIC_DATUM = 2050
    PRIME_MERIDIAN = 2051
    GEOG_LINEAR_UNITS = 2052
    GEOG_LINEAR_UNIT_SIZE = 2053
    GEOG_ANGULAR_UNITS = 2054
    GEOG_ANGULAR_UNIT_SIZE = 2055
    ELLIPSOID = 2056
    SEMI_MAJOR_AXIS = 2057
    SEMI_MINOR_AXIS = 2058
    INV_FLATTENING = 2059
    PRIME_MERIDIAN_LONG = 2061
    TOWGS84 = 2062
    PROJECTED_CRS = 3072
    PROJECTED_CITATION = 3073
    PROJECTION = 3074
    PROJ_METHOD = 3075
    PROJ_LINEAR_UNITS = 3076
    PROJ_LINEAR_UNIT_SIZE = 3077
    STD_PARALLEL_1 = 3078
    STD_PARALLEL_2 = 3079
    NAT_ORIGIN_LONG = 3080
    NAT_ORIGIN_LAT = 3081
    FALSE_EASTING = 3082
    FALSE_NORTHING = 3083
    FALSE_ORIGIN_LONG = 3084
    FALSE_ORIGIN_LAT = 3085
    FALSE_ORIGIN_EASTING = 3086
    FALSE_ORIGIN_NORTHING = 3087
    CENTER_LONG = 3088
    CENTER_LAT = 3089
    CENTER_EASTING = 3090
    CENTER_NORTHING = 3091
    SCALE_AT_NAT_ORIGIN = 3092
    SCALE_AT_CENTER = 3093
    AZIMUTH_ANGLE = 3094
    STRAIGHT_VERT_POLE_LONG = 3095
    RECTIFIED_GRID_ANGLE = 3096
    VERTICAL_CRS = 4096
    VERTICAL_CITATION = 4097
    VERTICAL_DATUM = 4098
    VERTICAL_UNITS = 4099
    COORDINATE_EPOCH = 5120


class ModelType(IntEnum):
    """Values of the key ``GT_MODEL_TYPE``."""

    PROJECTED = 1
    GEOGRAPHIC = 2
    GEOCENTRIC = 3


_REGISTRY_KEYS: Final = frozenset(
    {
        GeoKey.GEODETIC_CRS,
        GeoKey.GEODETIC_DATUM,
        GeoKey.PRIME_MERIDIAN,
        GeoKey.ELLIPSOID,
        GeoKey.PROJECTED_CRS,
        GeoKey.PROJECTION,
    }
)
_RESERVED: Final = range(1001)


@dataclass(frozen=True)
class GeoKeys:
    """The keys of one IFD.

    ``version`` is (KeyDirectoryVersion, KeyRevision, MinorRevision): (1, 1, 0) is GeoTIFF 1.0, (1, 1, 1) is
    1.1.
    ``warnings`` says why a damaged directory has no ``values``: GDAL then uses none of its keys.
    """

    version: tuple[int, int, int]
    values: Mapping[int, int | str | tuple[float, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def code(self, key: GeoKey) -> int | None:
        """The integer of a key; None when it is absent, of another type, or a code that GeoTIFF reserves."""
        value = self.values.get(key)
        if not isinstance(value, int) or (key in _REGISTRY_KEYS and value in _RESERVED):
            return None
        return value

    def double(self, key: GeoKey) -> float | None:
        """The first number of a key of doubles, or None when it is absent or not finite."""
        value = self.values.get(key)
        if isinstance(value, tuple) and value and math.isfinite(value[0]):
            return value[0]
        return None

    def doubles(self, key: GeoKey) -> tuple[float, ...]:
        """All numbers of a key of doubles."""
        value = self.values.get(key)
        return value if isinstance(value, tuple) else ()

    def text(self, key: GeoKey) -> str | None:
        """The text of a key without its trailing bar, or None when it is absent or of another type."""
        value = self.values.get(key)
        return value if isinstance(value, str) else None

    @property
    def is_geotiff_1_0(self) -> bool:
        """Whether the directory declares GeoTIFF 1.0, where GDAL leaves the vertical part out."""
        return self.version == (1, 1, 0)


def read_geokeys(ifd: Ifd) -> GeoKeys | None:
    """Read the key directory of an IFD.

    Returns
    -------
    GeoKeys or None
        None when the IFD has no directory, or one too short to hold its own header.
    """
    shorts = integers(ifd, KEY_DIRECTORY)
    if len(shorts) < 4:
        return None
    numbers = doubles(ifd.tags.get(DOUBLE_PARAMETERS))
    ascii_tag = ifd.tags.get(ASCII_PARAMETERS)
    letters = (ascii_tag.raw or b"") if ascii_tag is not None else b""
    version = (shorts[0], shorts[1], shorts[2])
    values: dict[int, int | str | tuple[float, ...]] = {}
    count = min(shorts[3], (len(shorts) - 4) // 4, _MAX_KEYS)
    for start in range(4, 4 + 4 * count, 4):
        key, location, length, offset = shorts[start : start + 4]
        value: int | str | tuple[float, ...] | None
        if location == 0:
            value = offset
        elif location == DOUBLE_PARAMETERS:
            value = numbers[offset : offset + length] if 0 < length <= len(numbers) - offset else None
        elif location == ASCII_PARAMETERS:
            value = _text(letters[offset : offset + length]) if offset < len(letters) else None
        elif location == KEY_DIRECTORY:
            value = shorts[offset] if offset < len(shorts) else None
        else:
            value = None
        if value is None:
            words = f"GeoTIFF key {key} points outside its tag; none of the keys is used, as GDAL does"
            return GeoKeys(version, warnings=(words,))
        values.setdefault(key, value)
    return GeoKeys(version, values)


def _text(raw: bytes) -> str:
    raw = raw.split(b"\0", 1)[0]
    raw = raw.removesuffix(b"|")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
