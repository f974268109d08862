"""One TIFF as a lazy xarray Dataset, or with its overviews as a DataTree, in one call."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import xarray as xr
from obspec_utils.registry import ObjectStoreRegistry

from virtual_tiff.bandaxis import BandAxis
from virtual_tiff.chunks import ChunkOptions, ShortStrips
from virtual_tiff.coding import Color
from virtual_tiff.cube.stores import locate, split_url
from virtual_tiff.errors import UsageError
from virtual_tiff.group import ImageOptions, VirtualGroup, image_group
from virtual_tiff.manifest import PyramidStore, manifest_group
from virtual_tiff.parser import VirtualTIFF
from virtual_tiff.pipeline import FastEntrypoint, open_group
from virtual_tiff.sidecar import whole_image
from virtual_tiff.store import RootRegistry, resolve
from virtual_tiff.tiff.ifd import IfdPath, TiffFile
from virtual_tiff.tiff.source import Source, read_tiff


@dataclass(frozen=True, slots=True)
class OpenedTiff:
    """The headers of a file, and the stores by which its pixels are read."""

    source: Source
    tiff: TiffFile
    registry: ObjectStoreRegistry[Any]

    def dataset(self, group: VirtualGroup, **options: Any) -> xr.Dataset:
        """Open a group of virtual arrays; `options` are those of :func:`xarray.open_dataset`."""
        store: Any = PyramidStore(manifest_group(group), registry=self.registry)
        return open_group(store, **options)


def open_headers(url: str | os.PathLike[str], store: Any = None) -> OpenedTiff:
    """Read the headers of a file; for the arguments see :func:`open_tiff`."""
    registry, located = _registry(url, store)
    source = Source(*resolve(registry, located), located)
    return OpenedTiff(source, read_tiff(source), registry)


def open_tiff(
    url: str | os.PathLike[str],
    *,
    level: int = 0,
    ifd: int | IfdPath | None = None,
    name: str = "band_data",
    store: Any = None,
    coordinates: bool = True,
    short_strips: ShortStrips = "auto",
    target_chunk_bytes: int = 1 << 20,
    color: Color | None = None,
    band_axis: BandAxis = "first",
    sidecars: bool = False,
    mask_and_scale: bool = True,
    chunks: Any = None,
    **options: Any,
) -> xr.Dataset:
    """Open an image of a TIFF file as a lazy Dataset with coordinates and CRS.

    Parameters
    ----------
    url
        A path, or a ``file://``, ``s3://``, ``gs://``, ``az://`` or ``http(s)://`` URL; see
        :func:`virtual_tiff.cube.stores.locate` for names with ``#``, ``?`` or ``%`` in them.
    level
        The resolution of the first image: 0 the finest, then its overviews.
    ifd
        An image by index or path instead, whatever its role.
    name
        Name of the variable.
    store
        An obstore store that serves the bucket or host of the URL; by default it is made from the URL and the
        environment.
    coordinates
        Whether pixel centres become the coordinates ``x`` and ``y``.
    short_strips, target_chunk_bytes, color, band_axis, sidecars
        See :class:`~virtual_tiff.VirtualTIFF`.
    mask_and_scale
        Whether nodata becomes NaN, and scale and offset are applied.
    chunks
        As in xarray: ``{}`` gives Dask arrays, None lazy arrays without Dask.
    **options
        More arguments for :func:`xarray.open_dataset`.

    Returns
    -------
    xarray.Dataset
        The variable has dims (band, y, x), or (y, x, band) with ``band_axis="last"``, or (y, x) for a single band.

    Raises
    ------
    VirtualTiffError
        When the file cannot be read, is damaged, or holds what is refused; the error names the feature.
    """
    opened = open_headers(url, store)
    # nobody else will read this store: the fastest codecs do
    chunk_options = ChunkOptions(short_strips, target_chunk_bytes, color, codecs="segment")
    image_options = ImageOptions(name, coordinates, chunk_options, band_axis)
    if ifd is not None:
        group = opened.source.run(image_group(opened.tiff, ifd, image_options))
    else:
        image = whole_image(opened.source, opened.tiff, sidecars=sidecars)
        if not 0 <= level < len(image.images):
            found = f"the image has no level {level}"
            hint = f"It has {len(image.images)}, from 0."
            raise UsageError(found, feature="usage", url=opened.tiff.url, hint=hint)
        group = image.level_group(level, image_options)
    return opened.dataset(group, mask_and_scale=mask_and_scale, chunks=chunks, **options)


def open_pyramid(
    url: str | os.PathLike[str],
    *,
    name: str = "band_data",
    store: Any = None,
    coordinates: bool = True,
    short_strips: ShortStrips = "auto",
    target_chunk_bytes: int = 1 << 20,
    color: Color | None = None,
    band_axis: BandAxis = "first",
    sidecars: bool = False,
    mask_and_scale: bool = True,
    chunks: Any = None,
    **options: Any,
) -> xr.DataTree:
    """Open the first image of a TIFF file with its overviews: a node per level, "0" the finest.

    Parameters
    ----------
    url, name, store, coordinates, short_strips, target_chunk_bytes, color, band_axis, sidecars, mask_and_scale, chunks
        See :func:`open_tiff`.
    **options
        More arguments for :func:`xarray.open_datatree`.

    Raises
    ------
    VirtualTiffError
        When the file cannot be read, is damaged, or holds what is refused; the error names the feature.
    """
    registry, located = _registry(url, store)
    parser = VirtualTIFF(
        name=name,
        coordinates=coordinates,
        short_strips=short_strips,
        target_chunk_bytes=target_chunk_bytes,
        codecs="segment",
        color=color,
        band_axis=band_axis,
        sidecars=sidecars,
    )
    manifest_store = parser(located, registry)
    return xr.open_datatree(
        manifest_store,  # type: ignore[arg-type]
        engine=FastEntrypoint,
        consolidated=False,
        zarr_format=3,
        mask_and_scale=mask_and_scale,
        chunks=chunks,
        **options,
    )


def _registry(url: str | os.PathLike[str], store: Any) -> tuple[ObjectStoreRegistry[Any], str]:
    """Return a registry that serves the URL, and the URL as that takes it: with its path as it is, not encoded."""
    if store is not None:
        root, path = split_url(os.fspath(url))
        return RootRegistry(root, store), root + path
    place = locate(url)
    return RootRegistry(place.root, place.store), place.plain
