"""Images of one file as Zarr groups: arrays of byte ranges, with the coordinates and attributes that explain them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from virtual_tiff.array import VirtualArray, virtual_array
from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.errors import FormatError
from virtual_tiff.geo.conventions import conventions, mask_conventions, multiscales
from virtual_tiff.geo.coordinate import Coordinate
from virtual_tiff.geo.gdal_metadata import band_metadata
from virtual_tiff.geo.georef import GeoReference, georeference
from virtual_tiff.pyramid import Level, Pyramid, pyramids
from virtual_tiff.tiff.deferred import load_tags
from virtual_tiff.tiff.ifd import Ifd, IfdPath, TiffFile
from virtual_tiff.tiff.protocol import Reader
from virtual_tiff.tiff.tags import Tags

DESCRIBING_TAGS: Final = frozenset(
    {
        Tags.ImageDescription,
        Tags.ColorMap,
        Tags.ExtraSamples,
        Tags.XMP,
        Tags.ModelPixelScale,
        Tags.ModelTiepoint,
        Tags.ModelTransformation,
        Tags.GeoKeyDirectory,
        Tags.GeoDoubleParams,
        Tags.GeoAsciiParams,
        Tags.GDAL_METADATA,
        Tags.GDAL_NODATA,
        Tags.RPCCoefficient,
    }
)
"""Tags that say what pixels mean and where they are, and that may be large enough to be deferred."""

MASK: Final = "mask"
"""Name of the variable that holds the mask of an image."""


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """How an image becomes a group: the name of its variable, whether ``x`` and ``y`` are stored, and its chunks."""

    name: str = "band_data"
    coordinates: bool = True
    chunks: ChunkOptions = field(default_factory=ChunkOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualGroup:
    """A Zarr group of virtual arrays, small stored coordinates and child groups, by name."""

    arrays: Mapping[str, VirtualArray] = field(default_factory=dict)
    coordinates: tuple[Coordinate, ...] = ()
    groups: Mapping[str, VirtualGroup] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def image_group(
    tiff: TiffFile, path: int | IfdPath, options: ImageOptions, *, mask: IfdPath | None = None
) -> Reader[VirtualGroup]:
    """Describe one image as a group: its array, its coordinates, its attributes and, if asked for, its mask.

    An overview or a mask gets the georeference of the image it belongs to, at its own scale.

    Raises
    ------
    VirtualTiffError
        When the IFD holds no image, or one that is refused.
    """
    array = yield from virtual_array(tiff, path, options.chunks)
    ifd = yield from load_tags(tiff.ifd(path), DESCRIBING_TAGS)
    geo = yield from _georeference(tiff, ifd)
    bands = array.shape[0] if "band" in array.dimension_names else 1
    described = conventions(
        geo,
        band_metadata(ifd, array.dtype, bands),
        shape=array.shape,
        dims=array.dimension_names,
        dtype=array.dtype,
        xy_coordinates=options.coordinates,
    )
    attributes = dict(described.array)
    arrays = {}
    if mask is not None:
        beside = yield from virtual_array(tiff, mask, options.chunks)
        attributes["ancillary_variables"] = MASK
        told = mask_conventions(geo, shape=beside.shape, dims=beside.dimension_names)
        arrays[MASK] = replace(beside, attributes=told)
    return VirtualGroup(
        arrays={options.name: replace(array, attributes=attributes), **arrays},
        coordinates=described.coordinates,
        attributes=described.group,
        warnings=(*array.warnings, *described.warnings),
    )


def pyramid_group(tiff: TiffFile, options: ImageOptions, pyramid: Pyramid | None = None) -> Reader[VirtualGroup]:
    """Describe an image and its overviews: a group per level, "0" the finest, with the same variable names.

    The root holds no arrays, since a DataTree wants the sizes of its children to agree with those of the root.

    Parameters
    ----------
    tiff
        The headers of a file.
    options
        How each level becomes a group.
    pyramid
        The image; by default the first of the file.

    Raises
    ------
    FormatError
        ``no-ifd`` when the file has no image.
    """
    if pyramid is None:
        pyramid = next(iter(pyramids(tiff)), None)
    if pyramid is None:
        found = "none of the IFDs holds an image"
        raise FormatError(found, feature="no-ifd", url=tiff.url)
    groups: dict[str, VirtualGroup] = {}
    for number, level in enumerate(pyramid.levels):
        groups[str(number)] = yield from _level_group(tiff, level, options)
    ifd = yield from load_tags(tiff.ifd(pyramid.path), DESCRIBING_TAGS)
    return VirtualGroup(
        groups=groups,
        attributes=multiscales(pyramid, georeference(ifd)),
        warnings=tuple(warning for group in groups.values() for warning in group.warnings),
    )


def _level_group(tiff: TiffFile, level: Level, options: ImageOptions) -> Reader[VirtualGroup]:
    return (yield from image_group(tiff, level.path, options, mask=level.mask))


def _georeference(tiff: TiffFile, ifd: Ifd) -> Reader[GeoReference]:
    """The georeference of an image, or of the one that it is an overview or a mask of."""
    for pyramid in pyramids(tiff):
        parts = {path for level in pyramid.levels for path in (level.path, level.mask)}
        if ifd.path in parts and ifd.path != pyramid.path:
            main = yield from load_tags(tiff.ifd(pyramid.path), DESCRIBING_TAGS)
            return georeference(ifd, main)
    return georeference(ifd)


def flat_group(images: Mapping[str, VirtualGroup]) -> VirtualGroup:
    """Put the arrays of several images into one group, without coordinates, since their sizes differ."""
    arrays = {
        name: replace(array, attributes=_alone(array.attributes))
        for group in images.values()
        for name, array in group.arrays.items()
    }
    return VirtualGroup(arrays=arrays, warnings=tuple(text for group in images.values() for text in group.warnings))


def _alone(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of an array without those that name variables beside it."""
    return {key: value for key, value in attributes.items() if key not in ("grid_mapping", "coordinates")}
