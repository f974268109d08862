"""One source as a cube sees it: its array of byte ranges, what places it on the ground, and its identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from virtual_tiff.array import VirtualArray, virtual_array
from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube.sample import head_digest, sampled_digest
from virtual_tiff.cube.stores import Location
from virtual_tiff.cube.traits import find_traits
from virtual_tiff.geo.gdal_metadata import RasterMetadata
from virtual_tiff.geo.georef import GEOREFERENCE_TAGS, GeoReference, georeference
from virtual_tiff.group import DESCRIBING_TAGS, Image, image_metadata
from virtual_tiff.pyramid import Level, pyramids
from virtual_tiff.tiff.ifd import ByteOrder, Ifd, IfdPath, Tag, TiffFile
from virtual_tiff.tiff.source import Source, load_tags_async, read_tiff_async

type KeyValue = str | int | float | datetime
"""What a pattern or a catalogue says of a file."""

ASSET: Final = "asset"
"""The key of a file that is the key of its asset in a catalogue."""

_GEO_TAGS: Final = tuple(sorted(GEOREFERENCE_TAGS))
_CODES: Final = tuple(sorted(DESCRIBING_TAGS))


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderOptions:
    """What is read of each file: the image by its path, how strips become chunks, and whether overviews too."""

    ifd: IfdPath = (0,)
    chunks: ChunkOptions = field(default_factory=ChunkOptions)
    overviews: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a store said of a file when its header was read, at `read_at`.

    ``size`` is in bytes. ``digest`` is the hash of a part of the bytes, see :mod:`virtual_tiff.cube.sample`.
    """

    size: int | None
    etag: str | None
    last_modified: datetime | None
    version: str | None
    read_at: datetime
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHeader:
    """What a cube needs to know of one file.

    ``size`` (bytes), ``etag`` and ``last_modified`` are those of the response that carried the header,
    ``read_at`` is when that was. ``traits`` are the fields in which files must agree to be one array, as
    text. ``image`` has the tags that describe the image and no others.

    ``time`` (aware, or naive in UTC), ``keys`` and ``item_id`` come from a catalogue or from a pattern of names, and
    place the file along axes. ``updated`` is when a catalogue says that the file was last updated.

    ``levels`` are the image and its overviews, finest first, and ``masks`` the mask of each level or None. Both
    are empty when overviews were not asked for.
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
    image: Ifd
    digest: str | None = None
    time: datetime | None = None
    keys: Mapping[str, KeyValue] = field(default_factory=dict)
    item_id: str | None = None
    updated: datetime | None = None
    levels: tuple[VirtualArray, ...] = ()
    masks: tuple[VirtualArray | None, ...] = ()

    @property
    def url(self) -> str:
        """The canonical URL of the file."""
        return self.place.url


def make_header(
    place: Location,
    array: VirtualArray,
    image: Ifd,
    identity: Identity,
    *,
    levels: tuple[VirtualArray, ...] = (),
    masks: tuple[VirtualArray | None, ...] = (),
) -> FileHeader:
    """Put a header together from what was read of the file; nothing is read here.

    Parameters
    ----------
    place, identity
        Which file, and what the store said of it.
    array
        The image.
    image
        The tags that describe it, from which georeference, metadata and traits are derived.
    levels, masks
        See :class:`FileHeader`.
    """
    geo = find_georeference(image)
    metadata = image_metadata(Image(array, image))
    return FileHeader(
        place=place,
        array=array,
        geo=geo,
        metadata=metadata,
        size=identity.size,
        etag=identity.etag,
        last_modified=identity.last_modified,
        version=identity.version,
        read_at=identity.read_at,
        digest=identity.digest,
        traits=find_traits(array, geo, metadata),
        image=image,
        levels=levels,
        masks=masks,
    )


async def read_header(
    place: Location,
    *,
    ifd: int | IfdPath = 0,
    options: ChunkOptions | None = None,
    overviews: bool = False,
) -> FileHeader:
    """Read the header of one file, and where the pixels of one of its images are.

    Parameters
    ----------
    place
        The file.
    ifd
        The image: an index, or a path into the SubIFDs.
    options
        How strips become chunks.
    overviews
        Whether to describe the overviews and masks that stand in the file, too.

    Raises
    ------
    VirtualTiffError
        When the file cannot be read, is damaged, or holds what is refused.
    """
    source = Source(place.store, place.path, place.url)
    path = (ifd,) if isinstance(ifd, int) else tuple(ifd)
    read_at = datetime.now(UTC)
    tiff = await read_tiff_async(source, last=None if overviews else path[0])
    array = await source.run_async(virtual_array(tiff, path, options))
    image = describing(await load_tags_async(source, tiff.ifd(path), DESCRIBING_TAGS))
    levels, masks = await _read_levels(source, tiff, array, options) if overviews else ((), ())
    if place.local is None:
        digest = await source.run_async(head_digest(tiff.size))
    else:
        digest = sampled_digest(place.local, size=tiff.size, last_modified=tiff.last_modified)
    identity = Identity(
        size=tiff.size,
        etag=tiff.etag,
        last_modified=tiff.last_modified,
        version=tiff.version,
        read_at=read_at,
        digest=digest,
    )
    return make_header(place, array, image, identity, levels=levels, masks=masks)


async def _read_levels(
    source: Source, tiff: TiffFile, array: VirtualArray, options: ChunkOptions | None
) -> tuple[tuple[VirtualArray, ...], tuple[VirtualArray | None, ...]]:
    """Describe the overviews of an image, and the masks of all levels."""
    found = next((one.levels for one in pyramids(tiff) if one.path == array.ifd), ())
    levels, masks = [], []
    for level in found or (Level(array.ifd, array.shape[-1], array.shape[-2], 1.0, 1.0),):
        own = array if level.path == array.ifd else await source.run_async(virtual_array(tiff, level.path, options))
        levels.append(own)
        mask = None if level.mask is None else await source.run_async(virtual_array(tiff, level.mask, options))
        masks.append(mask)
    return tuple(levels), tuple(masks)


def describing(ifd: Ifd) -> Ifd:
    """The IFD with nothing left but the tags that describe its image."""
    # Where the values stand in the file says nothing about the image.
    tags = {code: replace(ifd.tags[code], offset=0) for code in _CODES if code in ifd.tags}
    return Ifd(path=ifd.path, offset=0, byte_order=ifd.byte_order, bigtiff=False, tags=tags)


def find_georeference(ifd: Ifd) -> GeoReference:
    """The georeference of an image; the files of an archive that share a grid share the work."""
    return _georeference(ifd.byte_order, tuple(ifd.tags[code] for code in _GEO_TAGS if code in ifd.tags))


@lru_cache(maxsize=1024)
def _georeference(byte_order: ByteOrder, tags: tuple[Tag, ...]) -> GeoReference:
    chosen = {tag.code: tag for tag in tags}
    return georeference(Ifd(path=(0,), offset=0, byte_order=byte_order, bigtiff=False, tags=chosen))


def is_own_name(asset: str, header: FileHeader) -> bool:
    """Whether the key of an asset is but the name of its file, as in some catalogues."""
    name = header.place.plain.rpartition("/")[2]
    return asset in (name, name.partition(".")[0])
