"""Virtual arrays as VirtualiZarr's manifests. The only room that knows VirtualiZarr."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from virtualizarr.manifests import ChunkManifest, ManifestArray, ManifestGroup
from zarr.core.metadata.v3 import ArrayV3Metadata

from virtual_tiff.array import VirtualArray

_MISSING = ""
_INLINED = "__inlined__"


def manifest_array(array: VirtualArray) -> ManifestArray:
    """Return a virtual array as a ManifestArray; missing chunks have the empty path."""
    # VirtualiZarr lists the chunks of an array only when "." separates their indices.
    metadata = ArrayV3Metadata.from_dict(array.zarr_json(separator="."))
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
    kind = ManifestArray if array.last_rows is None else RectilinearManifestArray
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


def manifest_group(
    arrays: Mapping[str, VirtualArray],
    groups: Mapping[str, ManifestGroup] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> ManifestGroup:
    """Return virtual arrays by name, and groups, as a ManifestGroup."""
    return ManifestGroup(
        arrays={name: manifest_array(array) for name, array in arrays.items()},
        groups=dict(groups or {}),
        attributes=dict(attributes or {}),
    )


def flat_group(arrays: Iterable[VirtualArray]) -> ManifestGroup:
    """All arrays in one group, named by the paths of their IFDs: "0", "1", and "1_0" for a SubIFD."""
    return manifest_group({"_".join(map(str, array.ifd)): array for array in arrays})


def nested_group(arrays: Iterable[VirtualArray]) -> ManifestGroup:
    """One group per IFD, which holds an array of the same name and the groups of the SubIFDs' arrays ("1_0")."""
    groups = {}
    for array in arrays:
        name = "_".join(map(str, array.ifd))
        groups[name] = manifest_group({name: array}, attributes=array.attributes)
    return ManifestGroup(groups=groups)
