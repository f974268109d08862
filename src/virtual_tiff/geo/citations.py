r"""Names that writers hide in GeoTIFF citations, in the notations of ESRI and ERDAS IMAGINE.

ESRI (and GDAL after it) writes ``GCS Name = X|Datum = Y|Ellipsoid = Z|``; IMAGINE writes a copyright notice,
then
lines such as ``Projection Name = UTM`` and ``Units = meters``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

type CitationKind = Literal["model", "projected", "geodetic"]

_FIELDS: Final = {
    "PCS Name = ": "projected",
    "PRJ Name = ": "projection",
    "LUnits = ": "linear_units",
    "GCS Name = ": "geodetic",
    "Datum = ": "datum",
    "Ellipsoid = ": "ellipsoid",
    "Primem = ": "prime_meridian",
    "AUnits = ": "angular_units",
}

LINEAR_UNITS: Final[dict[str, float]] = {
    "meters": 1.0,
    "meter": 1.0,
    "metre": 1.0,
    "m": 1.0,
    "centimeters": 0.01,
    "centimeter": 0.01,
    "millimeters": 0.001,
    "kilometers": 1000.0,
    "kilometer": 1000.0,
    "us_survey_feet": 1200 / 3937,
    "us_survey_foot": 1200 / 3937,
    "feet": 1200 / 3937,
    "foot": 1200 / 3937,
    "ft": 1200 / 3937,
    "international_feet": 0.3048,
    "international_foot": 0.3048,
    "yards": 0.9144,
    "yard": 0.9144,
    "modified_american_feet": 0.3048122530,
    "clarke_feet": 0.3047972651,
    "indian_feet": 0.3047995142,
    "foot_clarke": 0.3047972654,
    "foot_gold_coast": 0.3047997101815088,
    "link_clarke": 0.201166195164,
    "yard_indian": 0.9143985307444408,
    "yard_sears": 0.9143984146160287,
}
"""Metres per unit, for the unit names of citations; a plain foot is the US survey foot there."""


@dataclass(frozen=True, kw_only=True)
class CitationNames:
    """What a citation names; None where it is silent."""

    projected: str | None = None
    projection: str | None = None
    linear_units: str | None = None
    geodetic: str | None = None
    datum: str | None = None
    ellipsoid: str | None = None
    prime_meridian: str | None = None
    angular_units: str | None = None


def parse_citation(text: str, kind: CitationKind) -> CitationNames:
    """Take a citation apart. A geodetic citation without any known field is the name of the CRS itself."""
    if text.upper().startswith("IMAGINE GEOTIFF SUPPORT"):
        text = _from_imagine(text, kind)
    found: dict[str, str] = {}
    parts = [part for part in text.split("|") if part]
    for part in parts:
        for mark, name in _FIELDS.items():
            if part.startswith(mark):
                found.setdefault(name, part.removeprefix(mark))
    if not found and kind == "geodetic" and parts:
        found["geodetic"] = parts[-1]
    return CitationNames(**found)


def imagine_name(text: str) -> str:
    """Return the citation without IMAGINE's copyright notice, in one line."""
    if "IMAGINE GeoTIFF" not in text:
        return text
    return text[text.rfind("$") + 1 :].removeprefix("\n").replace("\n", " ")


_IMAGINE_MARKS: Final = ("NAD = ", "Datum = ", "Ellipsoid = ", "Units = ")


def _from_imagine(text: str, kind: CitationKind) -> str:
    """Bring an IMAGINE citation into the notation of ESRI."""
    parts: list[str] = []
    dollar = text.find("$")
    if dollar >= 0:
        line_end = text.find("\n", dollar)
        body = text[line_end + 1 :] if line_end >= 0 else text[dollar:]
        label = {
            "projected": "PRJ Name = " if "Projection = " in text else "PCS Name = ",
            "model": "PCS Name = ",
            "geodetic": "" if "Unable to" in body else "GCS Name = ",
        }[kind]
        if label:
            for mark in ("Projection Name = ", "Projection = "):
                if mark in text:
                    body = text.split(mark, 1)[1]
            parts.append(label + _until_mark(body))
    for mark in _IMAGINE_MARKS:
        if mark in text:
            value = _until_mark(text.split(mark, 1)[1])
            parts.append(("LUnits = " if mark == "Units = " else mark) + value)
    return "|".join(parts)


def _until_mark(text: str) -> str:
    text = text.split("\n", 1)[0]
    for mark in _IMAGINE_MARKS:
        text = text.split(mark, 1)[0]
    return text.strip()
