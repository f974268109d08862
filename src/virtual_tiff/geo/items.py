"""The items of the GDAL_METADATA tag, read from XML that anyone may have written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from virtual_tiff.tiff.ifd import Ifd

GDAL_METADATA: Final = 42112
MAX_XML_BYTES: Final = 16 * 2**20
MAX_ITEMS: Final = 100_000


@dataclass(frozen=True, slots=True)
class MetadataItem:
    """One item: ``band`` counts from 0 and is None for the image; ``role`` is lower-case or empty."""

    name: str
    value: str
    band: int | None = None
    role: str = ""
    domain: str = ""


def read_items(ifd: Ifd) -> tuple[list[MetadataItem], str | None]:
    """Return the items of an IFD in their order, and what is wrong with the tag, or None."""
    tag = ifd.tags.get(GDAL_METADATA)
    if tag is None or not tag.raw:
        return [], None
    if len(tag.raw) > MAX_XML_BYTES:
        return (
            [],
            f"the GDAL_METADATA tag has {len(tag.raw)} bytes, more than {MAX_XML_BYTES}, and is ignored",
        )
    text = tag.text().strip()
    if not text:
        return [], None
    try:
        root = fromstring(_without_declaration(text), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        return (
            [],
            f"the GDAL_METADATA tag is not usable XML ({str(error)[:80]}) and is ignored",
        )
    if root.tag != "GDALMetadata":
        return [], f"the GDAL_METADATA tag holds <{root.tag[:40]}> instead of <GDALMetadata> and is ignored"
    found = (_item(element) for element in list(root)[:MAX_ITEMS] if element.tag.lower() == "item")
    return [item for item in found if item is not None], None


def _without_declaration(text: str) -> str:
    """Cut the XML declaration: its encoding is that of the bytes, which are text already."""
    return re.sub(r"^<\?xml[^>]*\?>", "", text)


def _item(element: Element) -> MetadataItem | None:
    name, text = element.get("name"), element.text
    if name is None or not text or not text.lstrip() or len(element):
        return None
    sample = re.match(r"\s*[+-]?\d{1,18}", element.get("sample", "-1"))
    band = int(sample[0]) if sample is not None else 0
    domain = element.get("domain", "")
    if not -1 <= band <= 65535 or domain.upper() == "IMAGE_STRUCTURE":
        return None
    role = element.get("role", "").lower() if band >= 0 else ""
    role = role if role in _ROLES else ""
    return MetadataItem(name, _unescape(text.lstrip()), band if band >= 0 else None, role, domain)


_ROLES: Final = frozenset({"scale", "offset", "unittype", "description", "colorinterp"})
_ENTITY: Final = re.compile(r"&(lt|gt|amp|quot|apos|#\d{1,7}|#x[0-9a-fA-F]{1,6});")
_ENTITIES: Final = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}


def _unescape(text: str) -> str:
    """Resolve entities once more: GDAL escapes values twice."""

    def resolve(match: re.Match[str]) -> str:
        entity = match[1]
        if not entity.startswith("#"):
            return _ENTITIES[entity]
        code = int(entity.removeprefix("#x"), 16) if entity[1] == "x" else int(entity[1:])
        return chr(code) if 0 < code < 0xD800 or 0xE000 <= code < 0x110000 else match[0]

    return _ENTITY.sub(resolve, text)
