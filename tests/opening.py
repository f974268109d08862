"""Open TIFF bytes that stand in memory, as virtual arrays and through zarr."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import tifffile
import zarr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import MemoryStore

from virtual_tiff import VirtualTIFF
from virtual_tiff.array import VirtualArray, virtual_array
from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.tiff.ifd import IfdPath
from virtual_tiff.tiff.source import Source, read_tiff

URL = "memory://files/a.tif"


def source_of(tiff: bytes) -> Source:
    """A source that serves the bytes."""
    store = MemoryStore()
    store.put("a.tif", tiff)
    return Source(store, "a.tif", URL)


def virtual(tiff: bytes, ifd: int | IfdPath = 0, **options: Any) -> VirtualArray:
    """The virtual array of one IFD."""
    source = source_of(tiff)
    return source.run(virtual_array(read_tiff(source), ifd, ChunkOptions(**options)))


def registry_of(tiff: bytes) -> ObjectStoreRegistry[Any]:
    """A registry that serves the bytes under :data:`URL`."""
    store = MemoryStore()
    store.put("a.tif", tiff)
    return ObjectStoreRegistry({"memory://files": store})


def open_array(tiff: bytes, ifd: int | IfdPath = 0, **options: Any) -> zarr.Array[Any]:
    """One IFD as a zarr array, through the parser."""
    store = VirtualTIFF(ifd=ifd, **options)(URL, registry_of(tiff))
    array = zarr.open_group(store, mode="r", zarr_format=3)["band_data"]
    assert isinstance(array, zarr.Array)
    return array


def written(pixels: np.ndarray[Any, Any], **options: Any) -> bytes:
    """A TIFF file with these pixels, written by tifffile."""
    buffer = BytesIO()
    tifffile.imwrite(buffer, pixels, metadata=None, software=False, **options)
    return buffer.getvalue()
