"""Virtual arrays as VirtualiZarr's manifests. The only room that knows VirtualiZarr."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from virtualizarr.manifests import ChunkManifest, ManifestArray, ManifestGroup
from zarr.core.metadata.v3 import ArrayV3Metadata

from virtual_tiff.array import VirtualArray
from virtual_tiff.chain import in_bytes
from virtual_tiff.combine import TiffManifestArray
from virtual_tiff.geo.coordinate import Coordinate
from virtual_tiff.group import VirtualGroup
from virtual_tiff.store import RangeStore
from virtual_tiff.stored import stored_chunk, stored_json

if TYPE_CHECKING:
    import xarray as xr

FINEST: Final = "0"
"""Name of the group that holds the finest level of a pyramid."""

_MISSING = ""
_INLINED = "__inlined__"


def manifest_array(array: VirtualArray) -> ManifestArray:
    """Return a virtual array as a ManifestArray; missing chunks have the empty path."""
    # VirtualiZarr lists the chunks of an array only when "." separates their indices.
    codecs = in_bytes(array.codecs, len(array.shape))
    metadata = ArrayV3Metadata.from_dict({**array.zarr_json(separator="."), "codecs": codecs})
    lengths = array.lengths
    for index, chunk in array.inlined.items():
        if lengths is array.lengths:
            lengths = lengths.copy()
        lengths[index] = len(chunk)
    manifest = ChunkManifest.from_arrays(
        paths=_paths(array),
        offsets=np.ascontiguousarray(array.offsets),
        lengths=np.ascontiguousarray(lengths),
        validate_paths=False,
        inlined=dict(array.inlined),
    )
    kind = TiffManifestArray if array.last_rows is None else RectilinearManifestArray
    return kind(metadata=metadata, chunkmanifest=manifest)


class RectilinearManifestArray(ManifestArray):
    """A ManifestArray on a rectilinear chunk grid, which a ManifestStore can serve but VirtualiZarr cannot combine."""

    def __init__(self, metadata: ArrayV3Metadata, chunkmanifest: ChunkManifest) -> None:
        # VirtualiZarr's own constructor refuses every grid but the regular one.
        self._metadata = metadata
        self._manifest = chunkmanifest

    def __repr__(self) -> str:
        return f"RectilinearManifestArray<shape={self.shape}, dtype={self.dtype}>"


def _paths(array: VirtualArray) -> np.ndarray[Any, Any]:
    """One path per chunk; a broadcast view when all chunks are in the file, since the paths are most of a manifest."""
    stored = array.lengths > 0
    dtype = np.dtypes.StringDType()
    if stored.all() and not array.inlined:
        return np.broadcast_to(np.array(array.url, dtype), array.grid)
    paths = np.where(stored, np.array(array.url, dtype), np.array(_MISSING, dtype))
    for index in array.inlined:
        paths[index] = _INLINED
    return paths


def stored_array(coordinate: Coordinate) -> ManifestArray:
    """Return a coordinate as a ManifestArray of one inlined chunk."""
    metadata = ArrayV3Metadata.from_dict(stored_json(coordinate, separator="."))
    chunk = stored_chunk(coordinate.values)
    grid = (1,) * coordinate.values.ndim
    manifest = ChunkManifest.from_arrays(
        paths=np.full(grid, _INLINED, np.dtypes.StringDType()),
        offsets=np.zeros(grid, np.uint64),
        lengths=np.full(grid, len(chunk), np.uint64),
        validate_paths=False,
        inlined={(0,) * coordinate.values.ndim: chunk},
    )
    return ManifestArray(metadata=metadata, chunkmanifest=manifest)


def manifest_group(group: VirtualGroup) -> ManifestGroup:
    """Return a virtual group, with its coordinates and child groups, as a ManifestGroup."""
    arrays = {name: manifest_array(array) for name, array in group.arrays.items()}
    stored = {coordinate.name: stored_array(coordinate) for coordinate in group.coordinates}
    return ManifestGroup(
        arrays=arrays | stored,
        groups={name: manifest_group(child) for name, child in group.groups.items()},
        attributes=dict(group.attributes),
    )


class PyramidStore(RangeStore):
    """The store of an image with overviews: as a single dataset it is its finest level."""

    def to_virtual_dataset(
        self,
        group: str = "",
        loadable_variables: Iterable[str] | None = None,
        decode_times: bool | None = None,  # noqa: FBT001 (VirtualiZarr's signature)
    ) -> xr.Dataset:
        """Return one level; the root, which holds no arrays, stands for level "0"."""
        root = self._group
        if group or root.arrays or FINEST not in root.groups:
            return super().to_virtual_dataset(group, loadable_variables, decode_times)
        finest = RangeStore(root.groups[FINEST], registry=self._registry)
        return finest.to_virtual_dataset("", loadable_variables, decode_times)
