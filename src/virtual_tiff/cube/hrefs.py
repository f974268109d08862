"""How catalogues are read, and what their links mean: relative ones, and GDAL's names for files in stores."""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urljoin
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from virtual_tiff.cube.retry import retried_here
from virtual_tiff.cube.stores import OBJECT_STORES, Location, locate
from virtual_tiff.errors import FormatError, LimitError, UnsupportedError, UsageError, VirtualTiffError
from virtual_tiff.tiff.failures import source_error

MAX_BYTES: Final = 2**30
"""Size of a catalogue as JSON, XML or Parquet."""
MAX_XML_BYTES: Final = 2**28
"""Size of a catalogue as XML, which takes much more memory than its bytes."""

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_NO_BASE: Final = "Make it absolute, or read the item with read_catalog(item, base=...): the path or URL that it has."
_NO_PATH: Final = re.compile(r"(data|urn|mailto|doi|javascript):", re.IGNORECASE)
_GDAL_STORES: Final = {
    "vsis3": "s3://",
    "vsigs": "gs://",
    "vsiaz": "az://",
    "vsiadls": "az://",
    "vsicurl": "",
}
_GDAL_DRIVER: Final = re.compile(r"([A-Za-z][A-Za-z0-9_]+):(?!//)")


def read_bytes(place: Location, *, limit: int = MAX_BYTES) -> bytes:
    """Read a catalogue as a whole.

    Raises
    ------
    LimitError
        ``limit-catalog`` when it is larger than `limit` bytes.
    SourceError
        When it cannot be read.
    """
    return retried_here(lambda: _read_bytes(place, limit))


def _read_bytes(place: Location, limit: int) -> bytes:
    try:
        result = place.store.get(place.path)
        size = int(result.meta["size"])
        if size <= limit:
            return bytes(result.bytes())
    except VirtualTiffError:
        raise
    except Exception as error:
        raise source_error(error, place.url) from error
    found = f"the catalogue has {size} bytes, more than {limit}"
    raise LimitError(found, feature="limit-catalog", url=place.url, hint="Split it into several.")


def parse_json(text: bytes, url: str | None) -> Any:
    """Parse a catalogue in JSON, or in JSON lines.

    Raises
    ------
    FormatError
        ``bad-catalog`` when it is neither.
    """
    try:
        decoded = text.decode("utf-8-sig")
        try:
            return json.loads(decoded)
        except json.JSONDecodeError as error:
            if not error.msg.startswith("Extra data"):
                raise
            return [json.loads(line) for line in decoded.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise bad_catalog(f"it is no JSON ({str(error)[:120]})", url) from error


def parse_xml(text: bytes, url: str) -> Element:
    """Parse a catalogue in XML, without entities and document types.

    Raises
    ------
    FormatError
        ``bad-catalog`` when it is not well-formed, or has a document type.
    LimitError
        ``limit-catalog`` when it has more than :data:`MAX_XML_BYTES`.
    """
    if len(text) > MAX_XML_BYTES:
        found = f"the catalogue has {len(text)} bytes, more than {MAX_XML_BYTES}"
        raise LimitError(found, feature="limit-catalog", url=url, hint="Write it as GeoParquet, or split it.")
    try:
        root: Element = fromstring(text, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise bad_catalog(f"it is no usable XML ({str(error)[:120]})", url) from error
    return root


def resolve_href(href: str, base: str | None, *, url: str | None = None) -> str:
    """Return the absolute path or URL that a link means.

    Parameters
    ----------
    href
        A URL, which is returned as it is, a path, or one of GDAL's names.
    base
        The path or URL of the document that relative links start from.
    url
        The document that was read, for messages; its links to local files are followed only when it is local.

    Raises
    ------
    UsageError
        ``usage`` when the link is relative and there is no base, when it leads out of a bucket, or when a
        remote catalogue names a local file.
    """
    if _NO_PATH.match(href) or not href.strip():
        raise bad_catalog(f"the link {href[:80]!r} leads to no file", url or base)
    if href.startswith("/vsi"):
        return gdal_name(href, url)
    resolved = href if _SCHEME.match(href) else _join(href, base)
    if _is_local(resolved) and any(_is_remote(place) for place in (base, url)):
        found = f"a remote catalogue names the local file {resolved[:200]!r}"
        raise UsageError(found, feature="usage", url=url or base, hint="Copy the catalogue to a local disk first.")
    return resolved


def _join(href: str, base: str | None) -> str:
    if base is None:
        if posixpath.isabs(href):
            return href
        found = f"the link {href[:200]!r} is relative, and the item has no self link"
        raise UsageError(found, feature="usage", hint=_NO_BASE)
    scheme = _SCHEME.match(base)
    if scheme is None or scheme[1].lower() == "file":
        here = str(locate(base).local) if scheme else str(Path(base).absolute())
        return posixpath.normpath(posixpath.join(posixpath.dirname(here), href))
    if scheme[1].lower() in ("http", "https"):
        return urljoin(base, href)
    if posixpath.isabs(href):
        return href
    bucket, _, key = base[scheme.end() :].partition("/")
    joined = posixpath.normpath(posixpath.join(posixpath.dirname(key), href))
    if joined.startswith(".."):
        raise UsageError(f"the link {href[:200]!r} leads out of the bucket", feature="usage", url=base)
    return f"{scheme[0]}{bucket}/{joined}"


def gdal_name(name: str, url: str | None) -> str:
    """Return the path or URL behind a name as GDAL writes it, such as ``/vsis3/bucket/a.tif``.

    Raises
    ------
    UnsupportedError
        ``catalog`` when it is not one file that a store holds: inside an archive, a subdataset, another VRT.
    """
    if name.startswith("/vsi"):
        driver, _, rest = name[1:].partition("/")
        driver, _, query = driver.partition("?")
        if driver == "vsicurl" and query:
            rest = "".join(parse_qs(query + ("/" + rest if rest else "")).get("url", []))
        prefix = _GDAL_STORES.get(driver.removesuffix("_streaming"))
        if prefix is None or not rest:
            raise _no_file(name, "it is read through a virtual file system of GDAL", url)
        name = prefix + rest
    if name.lstrip().startswith("<") or name.startswith("vrt://") or _suffix(name) in (".vrt", ".gti"):
        raise _no_file(name, "it is a VRT or GTI itself", url)
    match = _GDAL_DRIVER.match(name)
    if match is not None and match[1].isupper():
        raise _no_file(name, f"it is a part of a file, read by GDAL's driver {match[1]}", url)
    return name


def _no_file(name: str, why: str, url: str | None) -> UnsupportedError:
    found = f"the source {name[:200]!r} is no single file: {why}"
    return UnsupportedError(found, feature="catalog", url=url, hint="Name the TIFF files themselves.")


def _suffix(name: str) -> str:
    return posixpath.splitext(name.partition("?")[0])[1].lower()


def _is_local(name: str) -> bool:
    scheme = _SCHEME.match(name)
    return scheme is None or scheme[1].lower() == "file"


def _is_remote(place: str | None) -> bool:
    return place is not None and not _is_local(place)


def bad_catalog(why: str, url: str | None) -> FormatError:
    """Make the error for a catalogue that cannot be understood."""
    return FormatError(f"the catalogue cannot be used: {why}", feature="bad-catalog", url=url)


def place_of(source: str) -> Location:
    """Locate a catalogue; ``GTI:`` before its name is left out."""
    return locate(source.removeprefix("GTI:"))


def readable_url(place: Location) -> str:
    """The path or URL of a catalogue that its relative links start from."""
    if place.local is not None:
        return str(place.local)
    return place.url if place.scheme in ("http", "https", *OBJECT_STORES) else place.plain
