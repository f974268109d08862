"""A GDAL VRT as a list of TIFFs, when it does no more than place them.

References
----------
https://gdal.org/drivers/raster/vrt.html
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote
from xml.etree.ElementTree import Element

from virtual_tiff.cube.hrefs import bad_catalog, gdal_name, resolve_href
from virtual_tiff.cube.item import MosaicUse, SourceItem, Window
from virtual_tiff.errors import UnsupportedError, UsageError

MAX_SIZE: Final = 2**31 - 1
"""Columns and rows of a mosaic, as GDAL limits them."""

_CLOSE: Final = 1e-3
"""Pixels by which a place may miss a whole number: rounding errors of the programs that write VRTs."""
_PLAIN: Final = frozenset({"SourceFilename", "SourceBand", "SourceProperties", "SrcRect", "DstRect", "OpenOptions"})
_COMPLEX: Final = frozenset({"NODATA", "UseMaskBand", "ScaleOffset", "ScaleRatio"})
_IDENTITY: Final = {"ScaleOffset": 0.0, "ScaleRatio": 1.0}
_HARMLESS_OPTIONS: Final = frozenset({"NUM_THREADS"})
_HINT: Final = "Only VRTs that place whole TIFFs, pixel by pixel, are lists of files."

type Parts = Literal["error", "whole"]


@dataclass(frozen=True, slots=True)
class _Mosaic:
    url: str
    width: int
    height: int
    transform: tuple[float, ...] | None
    code: str | None
    masked: bool
    parts: Parts

    def refuse(self, found: str) -> UnsupportedError:
        return UnsupportedError(f"the VRT {found}", feature="catalog", url=self.url, hint=_HINT)


@dataclass(frozen=True, slots=True)
class _Band:
    """A band of the mosaic, counted from 0; numbers are None where it states none."""

    index: int
    data_type: str
    nodata: float | None
    scale: float | None
    offset: float | None
    name: str | None


@dataclass(slots=True)
class _Use:
    """A file and its place, with the bands that are taken from it there: (mosaic's band, file's band)."""

    href: str
    window: Window | None
    target: Window
    bands: list[tuple[_Band, int]] = field(default_factory=list)


def vrt_items(root: Element, url: str, *, parts: Parts = "error") -> list[SourceItem]:
    """Return the files of a VRT, in the order in which it draws them.

    Parameters
    ----------
    root
        The element ``VRTDataset``.
    url
        The path or URL of the VRT, where relative names start.
    parts
        What is done when the VRT shows only a part of a file: "error", or take the "whole" file.

    Returns
    -------
    list of SourceItem
        One for each file and place, with its bands in ``use``. The properties are those of the mosaic; ``band`` is
        the name or number of its band, where every file is one band.

    Raises
    ------
    UnsupportedError
        ``catalog``, with what it is, when the VRT computes, scales, warps or resamples pixels, or draws
        from what is no single file.
    FormatError
        ``bad-catalog`` when it is damaged.
    UsageError
        ``usage`` when it shows only a part of a file.
    """
    mosaic = _mosaic(root, url, parts)
    uses: dict[tuple[str, Window | None, Window], _Use] = {}
    for index, element in enumerate(root.iterfind("VRTRasterBand")):
        band = _band(element, index, mosaic)
        for source in _sources(element, mosaic):
            use = _use(source, band, mosaic)
            kept = uses.setdefault((use.href, use.window, use.target), use)
            kept.bands.append((band, _source_band(source, mosaic)))
    if not uses:
        raise mosaic.refuse("names no file")
    return _with_band([_item(use, mosaic) for use in uses.values()])


def _with_band(items: list[SourceItem]) -> list[SourceItem]:
    """Say which band of the mosaic each file is, where files are single bands of it (``gdalbuildvrt -separate``)."""
    into = [() if item.use is None else item.use.into for item in items]
    if len(set(into)) == 1 or any(len(bands) != 1 for bands in into):
        return items
    names: list[str | None] = [next(iter(item.properties.get("bands", ())), None) for item in items]
    told = None not in names and len(set(zip(into, names, strict=True))) == len(set(names)) == len(set(into))
    labels = names if told else [bands[0] + 1 for bands in into]
    return [
        replace(item, properties={**item.properties, "band": label}) for item, label in zip(items, labels, strict=True)
    ]


def _mosaic(root: Element, url: str, parts: Parts) -> _Mosaic:
    size = (_whole(root.get("rasterXSize"), url), _whole(root.get("rasterYSize"), url))
    text = root.findtext("GeoTransform")
    numbers = tuple(_number(part, url) for part in text.split(",")) if text else ()
    code = (root.findtext("SRS") or "").strip()
    mosaic = _Mosaic(
        url=url,
        width=size[0],
        height=size[1],
        transform=numbers if len(numbers) == 6 else None,
        code=code.upper() if re.fullmatch(r"[A-Za-z]+:[0-9]+", code) else None,
        masked=root.find("MaskBand") is not None,
        parts=parts,
    )
    subclass = root.get("subClass")
    if subclass not in (None, "", "VRTDataset"):
        raise mosaic.refuse(f"is a {subclass}, which computes its pixels")
    if not all(0 < length <= MAX_SIZE for length in size):
        raise bad_catalog(f"it has {size[0]} columns and {size[1]} rows", url)
    return mosaic


def _band(element: Element, index: int, mosaic: _Mosaic) -> _Band:
    subclass = element.get("subClass")
    if subclass not in (None, "", "VRTSourcedRasterBand") or element.find("PixelFunctionType") is not None:
        raise mosaic.refuse(f"has a band that computes its pixels ({subclass or 'PixelFunctionType'})")
    stated = element.get("band")
    if stated is not None and _whole(stated, mosaic.url) != index + 1:
        raise bad_catalog(f"its band {index + 1} says that it is band {stated}", mosaic.url)
    return _Band(
        index=index,
        data_type=element.get("dataType", "Byte"),
        nodata=_optional(element.findtext("NoDataValue"), mosaic.url),
        scale=_optional(element.findtext("Scale"), mosaic.url),
        offset=_optional(element.findtext("Offset"), mosaic.url),
        name=(element.findtext("Description") or "").strip() or None,
    )


def _sources(band: Element, mosaic: _Mosaic) -> Iterator[Element]:
    for child in band:
        if child.tag in ("SimpleSource", "ComplexSource"):
            yield child
        elif child.tag.lower().endswith("source"):
            raise mosaic.refuse(f"has a {child.tag}, which computes its pixels")


def _use(source: Element, band: _Band, mosaic: _Mosaic) -> _Use:
    href = _href(source, mosaic)
    _check_source(source, band, href, mosaic)
    window, target = _windows(source, href, mosaic)
    return _Use(href, window, target)


def _href(source: Element, mosaic: _Mosaic) -> str:
    element = source.find("SourceFilename")
    name = element.text if element is not None else None
    if element is None or not name:
        raise bad_catalog("one of its sources has no SourceFilename", mosaic.url)
    plain = gdal_name(name, mosaic.url)
    relative = plain == name and "://" not in name and not name.startswith("/")
    if not relative:
        return resolve_href(plain, None, url=mosaic.url)
    stated = {key.lower(): value.strip() for key, value in element.items()}  # GDAL ignores the case
    if stated.get("relativetovrt") != "1":
        if "://" in mosaic.url:
            found = f"the source {name[:200]!r} is relative to a folder that only the writer of the VRT knows"
            raise UsageError(found, feature="usage", url=mosaic.url, hint='Write it with relativeToVRT="1".')
        return str(Path(name).absolute())  # GDAL takes it from the working folder
    if mosaic.url.startswith(("http://", "https://")):
        plain = quote(name, safe="/%~:@!$&'()*+,;=")
    return resolve_href(plain, mosaic.url, url=mosaic.url)


def _check_source(source: Element, band: _Band, href: str, mosaic: _Mosaic) -> None:
    """Refuse what changes pixels."""
    known = _PLAIN | (_COMPLEX if source.tag == "ComplexSource" else frozenset())
    for child in source:
        if child.tag not in known:
            raise mosaic.refuse(f"computes the pixels of {href!r} ({child.tag})")
    for tag, identity in _IDENTITY.items():
        if _optional(source.findtext(tag), mosaic.url) not in (None, identity):
            raise mosaic.refuse(f"scales the pixels of {href!r} ({tag})")
    nodata = _optional(source.findtext("NODATA"), mosaic.url)
    if nodata is not None and not _same(nodata, band.nodata):
        raise mosaic.refuse(f"replaces the nodata value {nodata:g} of {href!r} by {band.nodata or 0:g}")
    if (source.findtext("UseMaskBand") or "").strip().lower() in (
        "true",
        "1",
        "yes",
        "on",
    ) and not mosaic.masked:
        raise mosaic.refuse(f"draws {href!r} through a mask that it does not keep (UseMaskBand)")
    options = {option.get("key", "") for option in source.iterfind("OpenOptions/OOI")}
    if options - _HARMLESS_OPTIONS:
        raise mosaic.refuse(f"opens {href!r} with options ({', '.join(sorted(options))})")
    properties = source.find("SourceProperties")
    stated = None if properties is None else properties.get("DataType")
    if stated is not None and stated != band.data_type:
        raise mosaic.refuse(f"converts the {stated} of {href!r} to {band.data_type}")


def _windows(source: Element, href: str, mosaic: _Mosaic) -> tuple[Window | None, Window]:
    """Return the window of the file (None: all of it) and its place, or refuse resampling and cropping."""
    window, target = _rect(source, "SrcRect", href, mosaic), _rect(source, "DstRect", href, mosaic)
    if (window is None) != (target is None):
        raise mosaic.refuse(f"has only one of SrcRect and DstRect for {href!r}")
    size = _source_size(source, mosaic)
    if target is None:
        target = (0, 0, mosaic.width, mosaic.height)
        if size is not None and size != target[2:]:
            raise mosaic.refuse(f"resamples {href!r} from {size} to {target[2:]} pixels")
        return None, target
    assert window is not None  # noqa: S101 (for mypy: both or none)
    if window[2:] != target[2:]:
        raise mosaic.refuse(f"resamples {href!r} from {window[2:]} to {target[2:]} pixels")
    shown_whole = window[:2] == (0, 0) and (size is None or window[2:] == size)
    inside = _inside(target, (mosaic.width, mosaic.height))
    if mosaic.parts == "error" and not (shown_whole and inside):
        found = f"the VRT shows only a part of {href!r}: columns, rows and size {window} at {target}"
        hint = "A cube takes whole files; parts='whole' takes them, with the pixels that the VRT leaves out."
        raise UsageError(found, feature="usage", url=mosaic.url, hint=hint)
    return window, target


def _inside(target: Window, size: tuple[int, int]) -> bool:
    columns, rows = target[0] + target[2], target[1] + target[3]
    return min(target[:2]) >= 0 and columns <= size[0] and rows <= size[1]


def _rect(source: Element, tag: str, href: str, mosaic: _Mosaic) -> Window | None:
    element = source.find(tag)
    if element is None:
        return None
    numbers = [_number(element.get(name, ""), mosaic.url) for name in ("xOff", "yOff", "xSize", "ySize")]
    if any(not abs(number) <= MAX_SIZE or abs(number - round(number)) > _CLOSE for number in numbers):
        raise mosaic.refuse(f"places {href!r} between pixels ({tag} {', '.join(f'{n:g}' for n in numbers)})")
    column, row, width, height = map(round, numbers)
    if width < 1 or height < 1:
        raise bad_catalog(f"the {tag} of {href!r} has no pixel", mosaic.url)
    return column, row, width, height


def _source_size(source: Element, mosaic: _Mosaic) -> tuple[int, int] | None:
    properties = source.find("SourceProperties")
    if properties is None or properties.get("RasterXSize") is None or properties.get("RasterYSize") is None:
        return None
    return _whole(properties.get("RasterXSize"), mosaic.url), _whole(properties.get("RasterYSize"), mosaic.url)


def _source_band(source: Element, mosaic: _Mosaic) -> int:
    text = (source.findtext("SourceBand") or "1").strip()
    if text.startswith("mask"):
        raise mosaic.refuse("shows the mask of a file as a band")
    number = _whole(text, mosaic.url)
    if number < 1:
        raise bad_catalog(f"it takes band {number} of a file", mosaic.url)
    return number - 1


def _item(use: _Use, mosaic: _Mosaic) -> SourceItem:
    bands = tuple(sorted(use.bands, key=lambda pair: pair[0].index))
    return SourceItem(
        href=use.href,
        properties=_properties(use, [band for band, _ in bands], mosaic),
        use=MosaicUse(
            bands=tuple(number for _, number in bands),
            into=tuple(band.index for band, _ in bands),
            window=use.window,
            target=use.target,
        ),
    )


def _properties(use: _Use, bands: list[_Band], mosaic: _Mosaic) -> dict[str, Any]:
    """What the VRT states of the file's grid and values, see :class:`SourceItem`."""
    found: dict[str, Any] = {}
    if mosaic.code is not None:
        found["proj:code"] = mosaic.code
    if use.window is None or use.window[:2] == (0, 0):
        found["proj:shape"] = (use.target[3], use.target[2])
        if mosaic.transform is not None:
            x, dx, rx, y, ry, dy = mosaic.transform
            column, row = use.target[:2]
            found["proj:transform"] = (dx, rx, x + column * dx + row * rx, ry, dy, y + column * ry + row * dy)
    for name in ("nodata", "scale", "offset"):
        values = tuple(getattr(band, name) for band in bands)
        if any(value is not None for value in values):
            found[f"raster:{name}"] = values
    names = tuple(band.name for band in bands)
    if all(names):
        found["bands"] = names
    return found


def _same(left: float, right: float | None) -> bool:
    return right is not None and (left == right or (math.isnan(left) and math.isnan(right)))


def _optional(text: str | None, url: str) -> float | None:
    return None if text is None or not text.strip() else _number(text, url)


def _number(text: str, url: str) -> float:
    """Read a number; whole ones stay exact."""
    plain = text.strip()
    try:
        return int(plain) if re.fullmatch(r"[+-]?[0-9]{1,20}", plain) else float(plain)
    except ValueError:
        raise bad_catalog(f"{text[:40]!r} stands where a number is needed", url) from None


def _whole(text: str | None, url: str) -> int:
    number = _number(text or "", url)
    if not isinstance(number, int):
        raise bad_catalog(f"{text!r} stands where a whole number is needed", url)
    return number
