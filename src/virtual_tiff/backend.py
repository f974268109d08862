"""The xarray engine ``virtual-tiff``: ``xr.open_dataset(url, engine="virtual-tiff")`` and ``xr.open_datatree``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, ClassVar

import xarray as xr
from xarray.backends import BackendEntrypoint

from virtual_tiff.bandaxis import BandAxis
from virtual_tiff.chunks import ShortStrips
from virtual_tiff.coding import Color
from virtual_tiff.dataset import open_pyramid, open_tiff
from virtual_tiff.tiff.ifd import IfdPath

_SUFFIXES = (".tif", ".tiff", ".gtiff", ".btf")


class VirtualTiffBackend(BackendEntrypoint):
    """Opens a TIFF file lazily, by byte ranges, wherever it is."""

    description: ClassVar[str] = "Open TIFF, GeoTIFF and COG files lazily, from disk, HTTP or object storage"

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether this is the name of a TIFF file."""
        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        return os.fspath(filename_or_obj).lower().endswith(_SUFFIXES)

    def open_dataset(  # type: ignore[override]
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
        mask_and_scale: bool = True,
        decode_times: Any = True,
        concat_characters: bool = True,
        decode_coords: Any = True,
        use_cftime: bool | None = None,
        decode_timedelta: Any = None,
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
    ) -> xr.Dataset:
        """Open one level of the image, or the image of one IFD; see :func:`virtual_tiff.open_tiff`."""
        del concat_characters, use_cftime
        return open_tiff(
            filename_or_obj,
            level=level,
            ifd=ifd,
            name=name,
            store=store,
            coordinates=coordinates,
            short_strips=short_strips,
            target_chunk_bytes=target_chunk_bytes,
            color=color,
            band_axis=band_axis,
            sidecars=sidecars,
            mask_and_scale=mask_and_scale,
            drop_variables=drop_variables,
            decode_times=decode_times,
            decode_coords=decode_coords,
            decode_timedelta=decode_timedelta,
        )

    def open_datatree(  # type: ignore[override]
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
        mask_and_scale: bool = True,
        decode_times: Any = True,
        concat_characters: bool = True,
        decode_coords: Any = True,
        use_cftime: bool | None = None,
        decode_timedelta: Any = None,
        name: str = "band_data",
        store: Any = None,
        coordinates: bool = True,
        short_strips: ShortStrips = "auto",
        target_chunk_bytes: int = 1 << 20,
        color: Color | None = None,
        band_axis: BandAxis = "first",
        sidecars: bool = False,
    ) -> xr.DataTree:
        """Open the image with its overviews; see :func:`virtual_tiff.open_pyramid`."""
        del concat_characters, use_cftime
        return open_pyramid(
            filename_or_obj,
            name=name,
            store=store,
            coordinates=coordinates,
            short_strips=short_strips,
            target_chunk_bytes=target_chunk_bytes,
            color=color,
            band_axis=band_axis,
            sidecars=sidecars,
            mask_and_scale=mask_and_scale,
            drop_variables=drop_variables,
            decode_times=decode_times,
            decode_coords=decode_coords,
            decode_timedelta=decode_timedelta,
        )
