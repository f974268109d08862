"""Writing new files into a group that exists."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import icechunk
import numpy as np
import zarr
from icechunk.store import IcechunkStore

from virtual_tiff.cube.blueprint import ArrayPlan, GroupPlan, Placement
from virtual_tiff.cube.container import Container
from virtual_tiff.cube.merge import Merged, agreed, merge_axis, merge_metadata
from virtual_tiff.cube.nodes import group_json, json_bytes
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.sources import Row, extend
from virtual_tiff.cube.write import Task, get, joined, put, write_references
from virtual_tiff.errors import ConformError, TargetError
from virtual_tiff.geo.coordinate import Coordinate

_SHARED_BY_TRAITS = ("x", "y", "spatial_ref")
"""Coordinates that follow from the traits, which have been compared."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How the files of a plan fit into the group that is there; nothing is written yet.

    ``labels`` are their values on the axis, by URL; ``metadata`` are the new ``zarr.json`` of the arrays,
    ``attributes`` those of the group, None where they stay as they are.
    """

    group: GroupPlan
    merged: Merged
    labels: Mapping[str, str]
    metadata: tuple[dict[str, Any] | None, ...]
    attributes: dict[str, Any] | None


def fit_group(store: IcechunkStore, group: GroupPlan, old: Mapping[str, Row]) -> Fit:
    """Find out where the files of a plan go in the group that has its path.

    Parameters
    ----------
    store
        The repository.
    group
        The plan of these files alone, with one axis in front and one file at each of its positions.
    old
        By URL, the rows of the ledger for files that replace an older version.

    Raises
    ------
    ConformError
        ``conform`` when files do not fit, or belong where others are.
    TargetError
        ``target-not-a-cube`` when the group cannot grow.
    """
    urls = _urls(group)
    axis = _open(store, group, "r")
    _check_attributes(group.axes[0], dict(axis.attrs), group.path)
    merged = merge_axis(group, np.asarray(axis[:]), [old.get(url) for url in urls])
    for coordinate in group.coordinates:
        if coordinate.name not in _SHARED_BY_TRAITS:
            _check_coordinate(store, group.path, coordinate)
    stored = _read_json(store, joined(group.path, "zarr.json")).get("attributes", {})
    kept = agreed(stored, group.attributes, group.path)
    return Fit(
        group=group,
        merged=merged,
        labels=dict(zip(urls, merged.labels, strict=True)),
        metadata=tuple(_fit_array(store, joined(group.path, array.name), array, merged) for array in group.arrays),
        attributes=None if kept == stored else kept,
    )


def _open(store: IcechunkStore, group: GroupPlan, mode: Literal["r", "r+"]) -> zarr.Array[Any]:
    return zarr.open_array(store, path=joined(group.path, group.axes[0].name), mode=mode, zarr_format=3)


def _read_json(store: IcechunkStore, key: str) -> dict[str, Any]:
    found = run(get(store, key))
    if found is None:
        raise TargetError(f"the cube has no {key}", feature="target-not-a-cube")
    return dict(json.loads(found))


def _fit_array(store: IcechunkStore, path: str, array: ArrayPlan, merged: Merged) -> dict[str, Any] | None:
    stored = _read_json(store, f"{path}/zarr.json")
    metadata = merge_metadata(stored, array, len(merged.values), path)
    if merged.moved is not None and metadata["chunk_grid"]["name"] != "regular":
        found = f"files that belong before the end cannot be inserted: /{path} has a rectilinear chunk grid"
        hint = "Publish the cube anew, or with short strips padded."
        raise ConformError(found, feature="conform", hint=hint)
    return None if metadata == stored else metadata


def grow_group(session: icechunk.Session, fit: Fit, containers: Sequence[Container]) -> None:
    """Write files into a group, as they fit; the session is not committed."""
    group, merged = fit.group, fit.merged
    if fit.attributes is not None:
        run(put(session.store, joined(group.path, "zarr.json"), group_json(fit.attributes)))
    for array, metadata in zip(group.arrays, fit.metadata, strict=True):
        path = joined(group.path, array.name)
        if metadata is not None:
            run(put(session.store, f"{path}/zarr.json", json_bytes(metadata)))
        if merged.moved is not None:
            _shift(session, path, merged.moved.tolist(), len(merged.values))
        tasks = [Task(path, _moved(placement, merged)) for placement in array.placements]
        run(_clear(session.store, [task for task in tasks if task.placement.index[0] in merged.replaced]))
        run(write_references(session.store, tasks, containers))
    first = merged.first_changed
    extend(_open(session.store, group, "r+"), merged.values[first:], first)


def _urls(group: GroupPlan) -> list[str]:
    """The file at each position of the axis of a plan."""
    found = {p.index[0]: p.header.url for array in group.arrays for p in array.placements}
    if len(group.axes) != 1 or len(found) != len(group.axes[0].values) or len(set(found.values())) != len(found):
        found_text = f"/{group.path} has more than one file at one position, or more than one growing axis"
        raise TargetError(found_text, feature="target-not-a-cube", hint="Only stacks of files can grow.")
    return [found[position] for position in sorted(found)]


def _check_attributes(axis: Coordinate, stored: Mapping[str, Any], path: str) -> None:
    for key in ("units", "calendar"):
        if stored.get(key) != axis.attributes.get(key):
            found = f"the axis {axis.name} of /{path} has {key} {stored.get(key)}, not {axis.attributes.get(key)}"
            raise ConformError(found, feature="conform")


def _check_coordinate(store: IcechunkStore, path: str, coordinate: Coordinate) -> None:
    """Bands that have names must keep them; numbers say nothing."""
    full = joined(path, coordinate.name)
    if run(get(store, joined(full, "zarr.json"))) is None:
        return
    there = np.asarray(zarr.open_array(store, path=full, mode="r", zarr_format=3)[...])
    new = coordinate.values
    if coordinate.name == "band" and there.dtype.kind == "i":
        return
    if there.shape != new.shape or there.tolist() != new.tolist():
        found = f"the new files do not fit /{path}: {coordinate.name} is {new.tolist()}, not {there.tolist()}"
        raise ConformError(found, feature="conform")


def _moved(placement: Placement, merged: Merged) -> Placement:
    first, *rest = placement.index
    return replace(placement, index=(merged.positions[first], *rest))


def _shift(session: icechunk.Session, path: str, moved: list[int], count: int) -> None:
    """Move the references of the files that are there to their new positions; the gaps are left empty."""
    came_from: list[int | None] = [None] * count
    for position, target in enumerate(moved):
        came_from[target] = position

    def forward(index: Iterable[int]) -> list[int]:
        first, *rest = index
        return [moved[first], *rest]

    def backward(index: Iterable[int]) -> list[int] | None:
        first, *rest = index
        before = came_from[first]
        return None if before is None else [before, *rest]

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
