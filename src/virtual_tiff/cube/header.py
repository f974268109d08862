"""One source as a cube sees it: its array of byte ranges, what places it on the ground, and its identity."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from zlib import crc32

from virtual_tiff.array import VirtualArray, virtual_array
from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube.stores import Location
from virtual_tiff.tiff.ifd import Ifd, IfdPath
from virtual_tiff.tiff.source import Source, load_tags_async, read_tiff_async
from virtual_tiff.tiff.tags import Tags

_GRID_TAGS = (Tags.ModelPixelScale, Tags.ModelTiepoint, Tags.ModelTransformation)
_CRS_TAGS = (Tags.GeoKeyDirectory, Tags.GeoDoubleParams, Tags.GeoAsciiParams)

_MAX_TEXT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHeader:
    """What a cube needs to know of one file.

    ``size`` (bytes), ``etag`` and ``last_modified`` are those of the response that carried the header,
    ``read_at`` is when that was. ``traits`` are the fields in which files must agree to be one array, with
    values as text.
    """

    place: Location
    array: VirtualArray
    size: int | None
    etag: str | None
    last_modified: datetime | None
    version: str | None
    read_at: datetime
    traits: Mapping[str, str]

    @property
    def url(self) -> str:
        """The canonical URL of the file."""
        return self.place.url


async def read_header(
    place: Location, *, ifd: int | IfdPath = 0, options: ChunkOptions | None = None
) -> FileHeader:
    """Read the header of one file, and where the pixels of one of its images are.

    Raises
    ------
    VirtualTiffError
        When the file cannot be read, is damaged, or holds what is refused.
    """
    source = Source(place.store, place.path, place.url)
    path = (ifd,) if isinstance(ifd, int) else tuple(ifd)
    read_at = datetime.now(UTC)
    tiff = await read_tiff_async(source, last=path[0])
    array = await source.run_async(virtual_array(tiff, path, options))
    geo = await load_tags_async(source, tiff.ifd(path), (*_GRID_TAGS, *_CRS_TAGS, Tags.GDAL_NODATA))
    return FileHeader(
        place=place,
        array=array,
        size=tiff.size,
        etag=tiff.etag,
        last_modified=tiff.last_modified,
        version=tiff.version,
        read_at=read_at,
        traits=array_traits(array) | geo_traits(geo),
    )


def array_traits(array: VirtualArray) -> dict[str, str]:
    """The traits of an array: everything in its metadata, the configuration of its codecs field by field."""
    bands = array.shape[:-2]
    traits = {
        "size": f"{array.shape[-1]} x {array.shape[-2]}",
        "bands": str(bands[0] if bands else 1),
        "data type": array.dtype.name,
        "chunk shape": " x ".join(map(str, array.chunk_shape)),
        "last rows": str(array.last_rows or array.chunk_shape[-2]),
        "codecs": " > ".join(codec["name"] for codec in array.codecs),
        "fill value": repr(array.fill_value),
    }
    for codec in array.codecs:
        for key, value in codec.get("configuration", {}).items():
            traits[f"{codec['name']} {key}"] = _short(value)
    traits |= {f"attribute {key}": _short(value) for key, value in array.attributes.items()}
    return traits


def geo_traits(ifd: Ifd) -> dict[str, str]:
    """The traits that place an image on the ground, and its nodata value, as the tags hold them."""
    return {
        "CRS": _tag_values(ifd, _CRS_TAGS),
        "transform": _tag_values(ifd, _GRID_TAGS),
        "nodata": (ifd.text(Tags.GDAL_NODATA) or "none").strip(),
    }


def _tag_values(ifd: Ifd, codes: tuple[int, ...]) -> str:
    tags = (ifd.tags[code] for code in codes if code in ifd)
    values = (tag.text() if tag.code == Tags.GeoAsciiParams else tag.array().tolist() for tag in tags)
    return ", ".join(map(_short, values)) or "none"


def _short(value: object) -> str:
    """A value as text that is different for different values and still fits a message."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=repr)
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 13]}...#{crc32(text.encode()):08x}"
