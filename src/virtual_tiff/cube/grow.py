"""Writing new files into groups that exist: at the end of their axes, between, on new ground, or in place of others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import icechunk
import numpy as np
import zarr
from icechunk.store import IcechunkStore

from virtual_tiff.chain import in_chunks
from virtual_tiff.cube.blueprint import AxisPlan, Footprint, GroupPlan
from virtual_tiff.cube.merge import agreed, merge_metadata, on_ground, resized
from virtual_tiff.cube.mosaic import same_grid
from virtual_tiff.cube.nodes import coordinate_keys, group_json, json_bytes
from virtual_tiff.cube.patient import PatientStore
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.sources import extend
from virtual_tiff.cube.standing_axis import StandingAxis
from virtual_tiff.cube.write import Task, get, joined, put, tasks_of
from virtual_tiff.errors import ConformError, TargetError
from virtual_tiff.geo.coordinate import Coordinate

type Json = dict[str, Any]

_OF_GROUND: Final = ("x", "y", "spatial_ref")
"""Coordinates that follow from the ground."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How the files of a plan fit into the group that is there; nothing is written yet.

    ``metadata`` are the new ``zarr.json`` of the arrays of pixels by name, without those that stay as they are, and
    ``attributes`` those of the group, None when they stay. ``moves`` are, for the arrays whose chunks move, their
    steps in chunks along each dimension: a number for all, or the new position of each old one. ``axes`` are those
    that get values.
    """

    group: GroupPlan
    metadata: Mapping[str, Json]
    attributes: Json | None
    moves: Mapping[str, Sequence[int | Sequence[int]]]
    axes: tuple[AxisPlan, ...]
    ground: tuple[Coordinate, ...]


def fit_group(
    store: IcechunkStore,
    group: GroupPlan,
    before: Footprint,
    now: Footprint,
    *,
    more: bool,
    finest: Mapping[str, StandingAxis] | None = None,
) -> Fit:
    """Find out where the files of a plan go in the group that has its path.

    Parameters
    ----------
    store
        The repository.
    group
        The plan of these files, with the axes and on the ground that the group will have.
    before, now
        The ground of the group as it is, and as it will be.
    more
        Whether there may be new arrays.
    finest
        The axes of the finest level of a pyramid, which those of this group must equal; None for that one.

    Raises
    ------
    ConformError
        ``conform`` when files do not fit; ``misaligned`` when the ground cannot grow.
    TargetError
        ``target-not-a-cube`` when the group is not what its ledger says.
    """
    moved = before != now
    for coordinate in group.coordinates:
        if coordinate.name not in _OF_GROUND:
            _check_coordinate(store, group.path, coordinate)
    stored = read_arrays(store, group.path)
    if moved:
        _check_regular(group, stored)
    for axis in group.axes:
        _check_axis(store, group.path, axis, finest)
    sizes = {axis.name: len(axis) for axis in group.axes} | {"y": now.height, "x": now.width}
    metadata = {}
    for array in group.arrays:
        path = joined(group.path, array.name)
        if array.name in stored:
            metadata[array.name] = merge_metadata(stored[array.name], array, sizes, path, moved=moved)
        elif more:
            metadata[array.name] = array.template.zarr_json()
        else:
            found = f"the new files would add the array /{path}"
            raise ConformError(found, feature="conform", hint="Publish them as a separate cube.")
    for name in stored.keys() - metadata.keys():
        grown = resized(stored[name], sizes)
        if moved:
            grown["attributes"] = on_ground(grown["attributes"], group.arrays[0].template.attributes)
        metadata[name] = grown
    for name in stored:
        _check_edges(joined(group.path, name), metadata[name], before, now)
    steps: dict[str, int | Sequence[int]] = {axis.name: axis.moved or 0 for axis in group.axes}
    steps |= dict(zip(("y", "x"), _offset(before, now), strict=True))
    moves = {name: _moves(joined(group.path, name), array, steps) for name, array in stored.items()}
    attributes = _read_json(store, joined(group.path, "zarr.json")).get("attributes", {})
    kept = agreed(attributes, group.attributes, group.path, moved=moved)
    return Fit(
        group=group,
        metadata={name: one for name, one in metadata.items() if one != stored.get(name)},
        attributes=None if kept == attributes else kept,
        moves={name: found for name, found in moves.items() if any(found)},
        axes=tuple(axis for axis in group.axes if len(axis.values)),
        ground=tuple(one for one in group.coordinates if one.name in _OF_GROUND) if moved else (),
    )


def grow_group(session: icechunk.Session, fit: Fit, replaced: Collection[str]) -> list[Task]:
    """Make room for files in a group, as they fit; the session is not committed.

    Parameters
    ----------
    session
        Of the repository.
    fit
        What is to be written.
    replaced
        The URLs of the files that take the place of others, whose chunks are removed first.

    Returns
    -------
    list of Task
        The references that are to be written then.
    """
    path = fit.group.path
    if fit.attributes is not None:
        run(put(session.store, joined(path, "zarr.json"), group_json(fit.attributes)))
    for name, metadata in fit.metadata.items():
        run(put(session.store, joined(path, name, "zarr.json"), json_bytes(metadata)))
    for name, steps in fit.moves.items():
        _shift(session, joined(path, name), steps)
    tasks = tasks_of([fit.group])
    run(_clear(session.store, [task for task in tasks if task.placement.header.url in replaced]))
    for axis in fit.axes:
        extend(open_array(PatientStore.of(session), joined(path, axis.name), "r+"), axis.values, axis.first)
    for coordinate in fit.ground:
        run(_put_coordinate(session.store, path, coordinate))
    return tasks


def grow_root(store: IcechunkStore, root: GroupPlan) -> None:
    """Write the attributes of the group above the levels of a pyramid that has grown."""
    key = joined(root.path, "zarr.json")
    attributes = _read_json(store, key).get("attributes", {})
    run(put(store, key, group_json(agreed(attributes, root.attributes, root.path, moved=True))))


async def _put_coordinate(store: IcechunkStore, path: str, coordinate: Coordinate) -> None:
    for key, value in coordinate_keys(coordinate):
        await put(store, joined(path, key), value)


def open_array(store: IcechunkStore, path: str, mode: Literal["r", "r+"]) -> zarr.Array[Any]:
    """One array of a cube."""
    return zarr.open_array(store, path=path, mode=mode, zarr_format=3)


def _read_json(store: IcechunkStore, key: str) -> Json:
    found = run(get(store, key))
    if found is None:
        raise TargetError(f"the cube has no {key}", feature="target-not-a-cube")
    return dict(json.loads(found))


def _check_regular(group: GroupPlan, stored: Mapping[str, Json]) -> None:
    """Refuse to grow on the ground where chunks have several sizes: what is there can neither move nor be refitted."""
    varied = [name for name, metadata in stored.items() if metadata["chunk_grid"]["name"] != "regular"]
    varied += [array.name for array in group.arrays if array.template.rectilinear and array.name not in varied]
    if varied:
        path = joined(group.path, varied[0])
        there = "has" if varied[0] in stored and stored[varied[0]]["chunk_grid"]["name"] != "regular" else "would need"
        found = f"/{path} cannot grow on the ground: it {there} a rectilinear chunk grid"
        hint = "Publish the cube anew with all files, or these beside it."
        raise ConformError(found, feature="misaligned", hint=hint)


def read_arrays(store: IcechunkStore, path: str) -> dict[str, Json]:
    """The metadata of the arrays of pixels in a group, by name."""

    async def members() -> list[str]:
        return [key async for key in store.list_dir(path)]

    found = {}
    for name in run(members()):
        if name == "zarr.json":
            continue
        metadata = _read_json(store, joined(path, name, "zarr.json"))
        if {"y", "x"} <= set(metadata.get("dimension_names") or ()):
            found[name] = {**metadata, "codecs": list(in_chunks(metadata["codecs"]))}
    return found


def _check_axis(store: IcechunkStore, path: str, axis: AxisPlan, finest: Mapping[str, StandingAxis] | None) -> None:
    """Refuse an axis whose numbers mean something else, or which is not that of the finest level.

    Of the latter only the last chunk is compared, unless values move: new ones lie behind it then.
    """
    array = open_array(store, joined(path, axis.name), "r")
    for key in ("units", "calendar"):
        if array.attrs.get(key) != axis.attributes.get(key):
            found = f"the axis {axis.name} of /{path} has {key} {array.attrs.get(key)}, not {axis.attributes.get(key)}"
            raise ConformError(found, feature="conform")
    if finest is None:
        return
    other = finest[axis.name]
    start, values = other.tail if axis.moved is None else (0, other.values)
    if array.shape != (len(other),) or not np.array_equal(np.asarray(array[start:]), values):
        found = f"the axis {axis.name} of /{path} is not that of the finest level"
        raise TargetError(found, feature="target-not-a-cube", hint="Publish the cube anew.")


def _check_coordinate(store: IcechunkStore, path: str, coordinate: Coordinate) -> None:
    """Bands that have names must keep them; numbers say nothing."""
    full = joined(path, coordinate.name)
    if run(get(store, joined(full, "zarr.json"))) is None:
        return
    there = np.asarray(open_array(store, full, "r")[...])
    new = coordinate.values
    if coordinate.name == "band" and there.dtype.kind == "i":
        return
    if there.shape != new.shape or there.tolist() != new.tolist():
        found = f"the new files do not fit /{path}: {coordinate.name} is {new.tolist()}, not {there.tolist()}"
        raise ConformError(found, feature="conform")


def _moves(path: str, array: Json, steps: Mapping[str, int | Sequence[int]]) -> list[int | Sequence[int]]:
    """How the chunks of an array that is there move, out of how far its pixels do."""
    dims = array["dimension_names"]
    found = [steps.get(name, 0) for name in dims]
    if not any(found):
        return found
    if array["chunk_grid"]["name"] != "regular":
        told = f"files that belong before the end cannot be inserted: /{path} has a rectilinear chunk grid"
        hint = "Publish the cube anew, or with short strips padded."
        raise ConformError(told, feature="conform", hint=hint)
    chunks = array["chunk_grid"]["configuration"]["chunk_shape"]
    return [step // chunk if isinstance(step, int) else step for step, chunk in zip(found, chunks, strict=True)]


def _offset(before: Footprint, now: Footprint) -> tuple[int, int]:
    """The row and column of the old corner on the new ground."""
    if before.transform is None or now.transform is None:
        return 0, 0
    place = same_grid(now.transform, before)
    assert place is not None  # noqa: S101 (the new ground holds the old one)
    return place


def _check_edges(path: str, metadata: Json, before: Footprint, now: Footprint) -> None:
    """Refuse to grow over an edge at which chunks hold padding, or by parts of chunks."""
    if before == now or metadata["chunk_grid"]["name"] != "regular":
        return
    chunk = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    step = _offset(before, now)
    old, new = (before.height, before.width), (now.height, now.width)
    for axis, (name, dim) in enumerate((("row", "y"), ("column", "x"))):
        size = chunk[metadata["dimension_names"].index(dim)]
        end = step[axis] + old[axis]
        if step[axis] % size or (end % size and end != new[axis]):
            found = f"/{path} cannot grow by these files: its last {name} lies within a chunk whose rest is padding"
            if step[axis] % size:
                found = f"/{path} cannot grow by {step[axis]} {name}s before its first one: its chunks have {size}"
            raise ConformError(found, feature="misaligned", hint="Publish them as a separate group or cube.")


def _shift(session: icechunk.Session, path: str, steps: Sequence[int | Sequence[int]]) -> None:
    """Move the references of the files that are there to their new positions; the gaps are left empty."""
    came_from: list[dict[int, int] | int] = [
        step if isinstance(step, int) else {target: position for position, target in enumerate(step)} for step in steps
    ]

    def forward(index: Iterable[int]) -> list[int] | None:
        old = list(index)
        new = [own + step if isinstance(step, int) else step[own] for own, step in zip(old, steps, strict=True)]
        return None if new == old else new  # what stays costs next to nothing

    def backward(index: Iterable[int]) -> list[int] | None:
        before = [
            own - step if isinstance(step, int) else step.get(own, -1)
            for own, step in zip(index, came_from, strict=True)
        ]
        return None if min(before) < 0 else before

    session.reindex_array(f"/{path}", forward, backward)


async def _clear(store: IcechunkStore, tasks: Sequence[Task]) -> None:
    """Remove chunks of older versions where the new version has none."""
    keys = [key for task in tasks for key in _absent(task)]
    await asyncio.gather(*(store.delete(key) for key in keys))


def _absent(task: Task) -> Iterator[str]:
    placement = task.placement
    array = placement.array
    lead = (0,) * (len(placement.index) - len(array.grid))
    for index in np.argwhere(np.asarray(array.lengths) == 0).tolist():
        if tuple(index) not in array.inlined:
            at = (str(base + own) for base, own in zip(placement.index, (*lead, *index), strict=True))
            yield "/".join([task.path, "c", *at])
