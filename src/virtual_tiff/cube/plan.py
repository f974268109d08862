"""What a cube will be, before anything is written: groups, arrays, coordinates, and where each file goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from virtual_tiff.array import VirtualArray
from virtual_tiff.cube.blueprint import ArrayPlan, CubePlan, GroupPlan, Placement, texts
from virtual_tiff.cube.conform import check_conform, short_names
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.shared import shared_conventions
from virtual_tiff.errors import UsageError
from virtual_tiff.geo.coordinate import Coordinate

__all__ = ["ArrayPlan", "CubePlan", "GroupPlan", "Placement", "plan_stack", "texts"]


def plan_stack(
    headers: Sequence[FileHeader],
    *,
    dim: str = "item",
    name: str = "band_data",
    value_attributes: bool = True,
) -> CubePlan:
    """Stack files along a new leading dimension, in the order given.

    Parameters
    ----------
    headers
        The files; they must agree in everything but their pixels.
    dim
        Name of the new dimension, and of its coordinate, which holds the file names.
    name
        Name of the variable.
    value_attributes
        Whether to write ``_FillValue``, ``scale_factor`` and ``add_offset``, by which xarray masks and
        scales what it reads; without them it reads the stored values.

    Raises
    ------
    ConformError
        ``conform`` when files differ; the message names the fields, the values and the files.
    UsageError
        ``usage`` for names that clash or that Zarr does not allow.
    """
    first = headers[0].array
    _check_names(dim, name, first.dimension_names)
    check_conform(headers)
    labels = short_names([header.place.plain for header in headers])
    template = stacked(first, len(headers), dim)
    described = shared_conventions(
        headers, shape=template.shape, dims=template.dimension_names, value_attributes=value_attributes
    )
    array = ArrayPlan(
        name=name,
        template=replace(template, attributes={**template.attributes, **described.array}),
        placements=tuple(
            Placement(header, (position, *(0 for _ in header.array.grid))) for position, header in enumerate(headers)
        ),
    )
    own_warnings = tuple(
        f"{label}: {text}" for label, header in zip(labels, headers, strict=True) for text in header.array.warnings
    )
    root = GroupPlan(
        path="",
        arrays=(array,),
        coordinates=described.coordinates,
        axes=(Coordinate(dim, (dim,), texts(labels)),),
        attributes=described.group,
    )
    return CubePlan(groups=(root,), headers=tuple(headers), warnings=(*described.warnings, *own_warnings))


def stacked(array: VirtualArray, count: int, dim: str) -> VirtualArray:
    """The metadata of `count` such arrays behind one another along a new leading dimension, one per chunk."""
    return replace(
        array,
        shape=(count, *array.shape),
        chunk_shape=(1, *array.chunk_shape),
        dimension_names=(dim, *array.dimension_names),
        codecs=tuple(_lifted(codec) for codec in array.codecs),
        offsets=np.broadcast_to(array.offsets, (count, *array.grid)),
        lengths=np.broadcast_to(array.lengths, (count, *array.grid)),
        inlined={},
    )


def _lifted(codec: Mapping[str, Any]) -> dict[str, Any]:
    """A codec for arrays with one more dimension in front: only ``transpose`` counts dimensions."""
    if codec["name"] != "transpose":
        return dict(codec)
    order = [0, *(axis + 1 for axis in codec["configuration"]["order"])]
    return {"name": "transpose", "configuration": {"order": order}}


def _check_names(dim: str, name: str, taken: Sequence[str]) -> None:
    for kind, value in (("dimension", dim), ("variable", name)):
        if not value or "/" in value or value.startswith(("_", ".")):
            found = f"{value!r} cannot be the name of a {kind}"
            raise UsageError(found, feature="usage", hint="It must not be empty, hold '/' or start with '_' or '.'.")
    if dim == name or {dim, name} & {*taken, "spatial_ref"}:
        names = f"{dim!r} (dimension) and {name!r} (variable)"
        found = f"the names {names} clash with each other or with {list(taken)}"
        raise UsageError(found, feature="usage", hint="Choose other names with --dim and --name.")
