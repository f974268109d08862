"""How the command shows where an image lies and what its bands mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

_MAX_BANDS: Final = 32
_MAX_TEXT: Final = 100


def raster_tables(raster: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the tables of one image: facts, bands, overviews."""
    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, fact in _facts(raster):
        facts.add_row(name, Text(fact))
    yield Text(f"\nImage (IFD {raster['ifd']})", style="bold underline")
    yield facts
    yield from _bands(raster["bands"])
    if raster["overviews"]:
        yield Text()
        yield _overviews(raster)


def _facts(raster: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    width, height = raster["size"]
    bands = len(raster["bands"])
    yield "size", f"{width} x {height}, {bands} band{'' if bands == 1 else 's'}, {raster['dtype'] or 'refused'}"
    crs = raster["crs"]
    if crs is not None:
        yield "CRS", f"{crs['name']} ({crs['code']})" if crs["code"] else f"{crs['name']} (no registered code)"
    if raster["transform"] is not None:
        yield "transform", ", ".join(map(_number, raster["transform"]))
        yield "bounds", _named(("left", "bottom", "right", "top"), raster["bounds"])
        yield "resolution", " x ".join(map(_number, raster["resolution"]))
    if raster["area_or_point"] is not None:
        yield "pixel is", raster["area_or_point"].lower()
    if raster["control_points"]:
        yield "control points", str(raster["control_points"])
    if raster["rational_polynomials"]:
        yield "RPCs", "yes"
    yield "nodata", "none" if raster["nodata"] is None else _number(raster["nodata"])
    yield "mask", "none" if raster["mask"] is None else f"IFD {raster['mask']}"
    if raster["colors"]:
        yield "colour map", f"{raster['colors']} entries"
    for name, text in raster["tags"].items():
        line = " ".join(str(text).split())
        yield name, line if len(line) <= _MAX_TEXT else line[:_MAX_TEXT] + "..."
    for warning in raster["warnings"]:
        yield "warning", warning


def _named(names: Sequence[str], numbers: Sequence[float]) -> str:
    return ", ".join(f"{name} {_number(number)}" for name, number in zip(names, numbers, strict=True))


def _number(number: object) -> str:
    return format(number, ".12g") if isinstance(number, float) else str(number)


def _bands(bands: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    """One row per band; columns that say nothing are left out."""
    named = any(band["name"] for band in bands)
    units = any(band["unit"] for band in bands)
    scaled = any(band["scale"] != 1 or band["offset"] != 0 for band in bands)
    columns = {
        "band": [str(band["band"]) for band in bands],
        "colour": [band["color"] for band in bands],
        **({"name": [band["name"] or "" for band in bands]} if named else {}),
        **({"unit": [band["unit"] or "" for band in bands]} if units else {}),
        **({"scale": [_number(band["scale"]) for band in bands]} if scaled else {}),
        **({"offset": [_number(band["offset"]) for band in bands]} if scaled else {}),
    }
    for name in ("minimum", "maximum", "mean", "stddev"):
        if any(name in band["statistics"] for band in bands):
            columns[name] = [_number(band["statistics"].get(name, "")) for band in bands]
    yield Text()
    yield _table(columns, _MAX_BANDS)
    if len(bands) > _MAX_BANDS:
        yield Text(f"... and {len(bands) - _MAX_BANDS} bands more")


def _overviews(raster: Mapping[str, Any]) -> Table:
    overviews = raster["overviews"]
    return _table(
        {
            "overview": [f"IFD {overview['ifd']}" for overview in overviews],
            "size": [" x ".join(map(str, overview["size"])) for overview in overviews],
            "factor": [_factor(overview["scale"]) for overview in overviews],
            "mask": ["" if overview["mask"] is None else f"IFD {overview['mask']}" for overview in overviews],
        },
        len(overviews),
    )


def _factor(scale: Sequence[float]) -> str:
    across, down = (format(factor, ".6g") for factor in scale)
    return across if across == down else f"{across} x {down}"


def _table(columns: Mapping[str, Sequence[str]], rows: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name)
    for row in list(zip(*columns.values(), strict=True))[:rows]:
        table.add_row(*map(Text, row))
    return table
