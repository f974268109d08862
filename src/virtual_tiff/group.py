"""Images of one file as Zarr groups: arrays of byte ranges, with the coordinates and attributes that explain them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from virtual_tiff.array import VirtualArray, virtual_array
from virtual_tiff.bandaxis import BandAxis, check_band_axis, with_band_axis
from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.errors import FormatError
from virtual_tiff.geo.conventions import conventions, mask_conventions, multiscales
from virtual_tiff.geo.coordinate import Coordinate
from virtual_tiff.geo.gdal_metadata import METADATA_TAGS, RasterMetadata, band_metadata, parse_cog_ghost
from virtual_tiff.geo.georef import GEOREFERENCE_TAGS, GeoReference, georeference
from virtual_tiff.geo.lenient import integer
from virtual_tiff.pyramid import Pyramid, pyramids
from virtual_tiff.tiff.deferred import load_tags
from virtual_tiff.tiff.ifd import Ifd, IfdPath, TiffFile
from virtual_tiff.tiff.protocol import Reader
from virtual_tiff.tiff.tags import Tags

DESCRIBING_TAGS: Final = GEOREFERENCE_TAGS | METADATA_TAGS
"""Tags that say what pixels mean and where they are, and that may be large enough to be deferred."""

_MASK_FLAG: Final = 4

MASK: Final = "mask"
"""Name of the variable that holds the mask of an image."""


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """How an image becomes a group.

    The name of its variable, whether ``x`` and ``y`` are stored, its chunks, and where its bands stand.
    """

    name: str = "band_data"
    coordinates: bool = True
    chunks: ChunkOptions = field(default_factory=ChunkOptions)
    band_axis: BandAxis = "first"

    def __post_init__(self) -> None:
        check_band_axis(self.band_axis)


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualGroup:
    """A Zarr group of virtual arrays, small stored coordinates and child groups, by name."""

    arrays: Mapping[str, VirtualArray] = field(default_factory=dict)
    coordinates: tuple[Coordinate, ...] = ()
    groups: Mapping[str, VirtualGroup] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """One image as it was read: its array, and its IFD with the tags that describe it."""

    array: VirtualArray
    ifd: Ifd
    cog_ghost: str | None = None


def read_image(tiff: TiffFile, path: int | IfdPath, options: ImageOptions) -> Reader[Image]:
    """Read what becomes the array and the attributes of one image.

    Raises
    ------
    VirtualTiffError
        When the IFD holds no image, or one that is refused.
    """
    array = yield from virtual_array(tiff, path, options.chunks)
    ifd = yield from load_tags(tiff.ifd(path), DESCRIBING_TAGS)
    return Image(with_band_axis(array, options.band_axis), ifd, tiff.cog_ghost)


def image_group(
    tiff: TiffFile,
    path: int | IfdPath,
    options: ImageOptions,
    *,
    mask: IfdPath | None = None,
    parents: Mapping[IfdPath, IfdPath] | None = None,
) -> Reader[VirtualGroup]:
    """Describe one image as a group: its array, its coordinates, its attributes and, if asked for, its mask.

    An overview or a mask gets the georeference of the image it belongs to, at its own scale. ``parents`` is what
    :func:`parent_images` returns, for those who describe many images of one file.

    Raises
    ------
    VirtualTiffError
        When the IFD holds no image, or one that is refused.
    """
    image = yield from read_image(tiff, path, options)
    parent = (parent_images(tiff) if parents is None else parents).get(image.ifd.path)
    main = None
    if parent is not None:
        main = yield from load_tags(tiff.ifd(parent), DESCRIBING_TAGS)
    beside = None
    if mask is not None:
        beside = yield from read_image(tiff, mask, options)
    return described_group(image, options, main=main, mask=beside)


def described_group(
    image: Image, options: ImageOptions, *, main: Ifd | None = None, mask: Image | None = None
) -> VirtualGroup:
    """Put an image, its coordinates, its attributes and its mask into a group.

    Parameters
    ----------
    image
        The image.
    options
        How it becomes a group.
    main
        For an overview or a mask: the full image, whose georeference and whose meaning of values it inherits.
    mask
        The mask of the same size.
    """
    array = image.array
    geo = georeference(image.ifd, main)
    described = conventions(
        geo,
        image_metadata(image, main),
        shape=array.shape,
        dims=array.dimension_names,
        dtype=array.dtype,
        xy_coordinates=options.coordinates,
    )
    attributes = dict(described.array)
    if image.cog_ghost is not None and main is None:
        attributes["structural_metadata"] = parse_cog_ghost(image.cog_ghost)
    arrays = {}
    if mask is not None:
        attributes["ancillary_variables"] = MASK
        arrays[MASK] = _mask_array(mask, geo)
    return VirtualGroup(
        arrays={options.name: replace(array, attributes=attributes), **arrays},
        coordinates=described.coordinates,
        attributes=described.group,
        warnings=(*array.warnings, *described.warnings),
    )


def image_metadata(image: Image, main: Ifd | None = None) -> RasterMetadata:
    """Return what the values of an image mean; those of an overview mean what those of the full image do."""
    array = image.array
    bands = dict(zip(array.dimension_names, array.shape, strict=True)).get("band", 1)
    own = band_metadata(image.ifd, array.dtype, bands)
    if _is_converted(array):
        return _rgb_metadata(own)
    if main is None or integer(image.ifd, Tags.NewSubfileType, 0) & _MASK_FLAG:
        return own
    full = band_metadata(main, array.dtype, bands)
    same_colors = integer(image.ifd, Tags.PhotometricInterpretation, 1) == integer(
        main, Tags.PhotometricInterpretation, 1
    )
    return replace(
        own,
        nodata=full.nodata if own.nodata is None else own.nodata,
        nodata_values=own.nodata_values or full.nodata_values,
        scales=full.scales,
        offsets=full.offsets,
        units=full.units,
        descriptions=full.descriptions,
        color_interpretation=full.color_interpretation if same_colors else own.color_interpretation,
        category_names=full.category_names,
        warnings=tuple(dict.fromkeys((*own.warnings, *full.warnings))),
    )


def _is_converted(array: VirtualArray) -> bool:
    """Whether the codec turns the stored colours into others."""
    return any("color" in codec.get("configuration", {}) for codec in array.codecs)


def _rgb_metadata(stored: RasterMetadata) -> RasterMetadata:
    """Return what is left of the metadata when colours are converted: nothing that speaks of stored values."""
    return RasterMetadata(
        scales=(1.0,) * 3,
        offsets=(0.0,) * 3,
        units=(None,) * 3,
        descriptions=(None,) * 3,
        color_interpretation=("red", "green", "blue"),
        statistics=({},) * 3,
        band_tags=({},) * 3,
        band_domains=({},) * 3,
        tags=stored.tags,
        domains=stored.domains,
        warnings=stored.warnings,
    )


def _mask_array(mask: Image, geo: GeoReference) -> VirtualArray:
    """Return a mask with its attributes; one of 8 bits keeps its values, of which 0 is masked and 255 valid."""
    array = mask.array
    attributes = mask_conventions(geo, shape=array.shape, dims=array.dimension_names)
    if array.dtype.kind != "b":
        largest = (1 << integer(mask.ifd, Tags.BitsPerSample, 8)) - 1
        attributes["flag_values"] = [0, largest]
    return replace(array, attributes=attributes)


def first_pyramid(tiff: TiffFile) -> Pyramid:
    """Return the first image of a file with its overviews.

    Raises
    ------
    FormatError
        ``no-ifd`` when the file has no image.
    """
    pyramid = next(iter(pyramids(tiff)), None)
    if pyramid is None:
        found = "none of the IFDs holds an image"
        raise FormatError(found, feature="no-ifd", url=tiff.url)
    return pyramid


def tree_group(pyramid: Pyramid, main: Ifd, levels: Sequence[VirtualGroup]) -> VirtualGroup:
    """Put the groups of all levels into one; `main` is the IFD of the finest."""
    return VirtualGroup(
        groups={str(number): level for number, level in enumerate(levels)},
        attributes=multiscales(pyramid, georeference(main)),
        warnings=tuple(dict.fromkeys(warning for level in levels for warning in level.warnings)),
    )


def parent_images(tiff: TiffFile) -> dict[IfdPath, IfdPath]:
    """Return, for each overview and each mask, the image that it belongs to."""
    parents: dict[IfdPath, IfdPath] = {}
    for pyramid in pyramids(tiff):
        paths = {path for level in pyramid.levels for path in (level.path, level.mask) if path is not None}
        parents |= dict.fromkeys(paths - {pyramid.path}, pyramid.path)
    return parents


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
