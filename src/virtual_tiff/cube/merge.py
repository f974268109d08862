"""The metadata of arrays and groups that grow: what may change, what must agree, and what follows the ground."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from virtual_tiff.cube.blueprint import ArrayPlan
from virtual_tiff.cube.shared import VALUE_ATTRIBUTES
from virtual_tiff.errors import ConformError

type Json = dict[str, Any]

_STRUCTURAL: Final = (*VALUE_ATTRIBUTES, "grid_mapping", "coordinates")
"""Attributes that change what is read; the others only describe."""

_GROUND: Final = ("spatial:", "multiscales")
"""How the names of attributes begin that say where the pixels lie."""


def resized(stored: Json, sizes: Mapping[str, int]) -> Json:
    """The ``zarr.json`` of an array whose dimensions have other sizes; leading axes have one step per chunk."""
    shape = [sizes.get(name, size) for name, size in zip(stored["dimension_names"], stored["shape"], strict=True)]
    grid = stored["chunk_grid"]
    if grid["name"] == "rectilinear":
        edges = grid["configuration"]["chunk_shapes"]
        grown = [
            edge if new == old else [[1, new]] for edge, old, new in zip(edges, stored["shape"], shape, strict=True)
        ]
        grid = {**grid, "configuration": {**grid["configuration"], "chunk_shapes": grown}}
    return {**stored, "shape": shape, "chunk_grid": grid}


def merge_metadata(stored: Json, array: ArrayPlan, sizes: Mapping[str, int], path: str, *, moved: bool) -> Json:
    """The ``zarr.json`` of an array that grows; all but its sizes and its describing attributes must agree.

    Parameters
    ----------
    stored
        What is there.
    array
        The plan of the new files, with the sizes that the array gets.
    sizes
        These sizes, by dimension.
    path
        Of the array, for messages.
    moved
        Whether the ground has grown.

    Raises
    ------
    ConformError
        ``conform``; the message names the fields.
    """
    grown = resized(stored, sizes)
    planned = json.loads(json.dumps(array.template.zarr_json()))
    fields = (grown.keys() | planned.keys()) - {"attributes"}
    different = sorted(key for key in fields if grown.get(key) != planned.get(key))
    if different:
        told = ", ".join(f"{key} ({planned.get(key)}, not {grown.get(key)})" for key in different)
        found = f"the new files do not fit the array /{path}: they differ in {told}"
        raise ConformError(found, feature="conform")
    return {**grown, "attributes": agreed(stored["attributes"], array.template.attributes, path, moved=moved)}


def agreed(stored: Mapping[str, Any], new: Mapping[str, Any], path: str, *, moved: bool) -> Json:
    """The attributes that old and new files share; those of the ground are the new ones when it has grown.

    Raises
    ------
    ConformError
        ``conform`` when they differ in an attribute that changes what is read.
    """
    new = json.loads(json.dumps(dict(new)))
    for key in _STRUCTURAL:
        if key in stored and stored[key] != new.get(key):
            found = f"the new files do not fit /{path}: they differ in {key} ({new.get(key)}, not {stored[key]})"
            raise ConformError(found, feature="conform")
    kept = {key: value for key, value in stored.items() if new.get(key) == value}
    return on_ground(kept, new) if moved else kept


def on_ground(stored: Mapping[str, Any], new: Mapping[str, Any]) -> Json:
    """Attributes with those of another ground."""
    return {**stored, **{key: value for key, value in new.items() if key.startswith(_GROUND)}}
