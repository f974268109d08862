"""One source as a cube sees it: its array of byte ranges, what places it on the ground, and its identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from virtual_tiff.array import VirtualArray, virtual_array
from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube.stores import Location
from virtual_tiff.cube.traits import find_traits
from virtual_tiff.geo.gdal_metadata import METADATA_TAGS, RasterMetadata, band_metadata
from virtual_tiff.geo.georef import GeoReference, georeference
from virtual_tiff.tiff.ifd import ByteOrder, Ifd, IfdPath, Tag
from virtual_tiff.tiff.source import Source, load_tags_async, read_tiff_async
from virtual_tiff.tiff.tags import Tags

GEO_TAGS: Final = (
    Tags.ModelPixelScale,
    Tags.ModelTiepoint,
    Tags.ModelTransformation,
    Tags.GeoKeyDirectory,
    Tags.GeoDoubleParams,
    Tags.GeoAsciiParams,
    Tags.RPCCoefficient,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHeader:
    """What a cube needs to know of one file.

    ``size`` (bytes), ``etag`` and ``last_modified`` are those of the response that carried the header,
    ``read_at`` is when that was. ``traits`` are the fields in which files must agree to be one array, as
    text. ``time`` (aware, or naive in UTC) and ``keys`` come from a catalogue or from a pattern of names, and place
    the file along axes. ``levels`` are the image and its overviews, finest first, when overviews were asked for, and
    ``masks`` are their masks, one per level; else both are empty.
    """

    place: Location
    array: VirtualArray
    geo: GeoReference
    metadata: RasterMetadata
    size: int | None
    etag: str | None
    last_modified: datetime | None
    version: str | None
    read_at: datetime
    traits: Mapping[str, str]
    time: datetime | None = None
    keys: Mapping[str, str | int | float | datetime] = field(default_factory=dict)
    item_id: str | None = None
    levels: tuple[VirtualArray, ...] = ()
    masks: tuple[VirtualArray | None, ...] = ()

    @property
    def url(self) -> str:
        """The canonical URL of the file."""
        return self.place.url


async def read_header(place: Location, *, ifd: int | IfdPath = 0, options: ChunkOptions | None = None) -> FileHeader:
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
    image = await load_tags_async(source, tiff.ifd(path), {*GEO_TAGS, *METADATA_TAGS})
    bands = array.shape[0] if "band" in array.dimension_names else 1
    geo = find_georeference(image)
    metadata = band_metadata(image, array.dtype, bands)
    return FileHeader(
        place=place,
        array=array,
        geo=geo,
        metadata=metadata,
        size=tiff.size,
        etag=tiff.etag,
        last_modified=tiff.last_modified,
        version=tiff.version,
        read_at=read_at,
        traits=find_traits(array, geo, metadata),
    )


def find_georeference(ifd: Ifd) -> GeoReference:
    """The georeference of an image; the files of an archive that share a grid share the work."""
    return _georeference(ifd.byte_order, tuple(ifd.tags[code] for code in GEO_TAGS if code in ifd))


@lru_cache(maxsize=1024)
def _georeference(byte_order: ByteOrder, tags: tuple[Tag, ...]) -> GeoReference:
    chosen = {tag.code: tag for tag in tags}
    return georeference(Ifd(path=(0,), offset=0, byte_order=byte_order, bigtiff=False, tags=chosen))
