"""Where new files go in a group that exists: behind the others, between them, or in the place of an older version."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from virtual_tiff.array import VirtualArray
from virtual_tiff.cube.blueprint import ArrayPlan, GroupPlan, texts
from virtual_tiff.cube.shared import VALUE_ATTRIBUTES
from virtual_tiff.cube.sources import Row
from virtual_tiff.errors import ConformError

type Json = dict[str, Any]
type Values = npt.NDArray[Any]

_STRUCTURAL = (*VALUE_ATTRIBUTES, "grid_mapping", "coordinates")
"""Attributes that change what is read; the others only describe."""


@dataclass(frozen=True, slots=True)
class Merged:
    """An axis with new values in it.

    ``values`` is the whole axis; ``positions`` are those of the planned values, in their order; ``moved`` are the
    new positions of the values that were there, or None when they stay. ``replaced`` are the positions of files
    that were there in another version; ``late`` counts the values that lie before the old end.
    """

    values: Values
    positions: tuple[int, ...]
    labels: tuple[str, ...]
    replaced: frozenset[int]
    moved: Values | None
    late: int

    @property
    def first_changed(self) -> int:
        """The first position whose value on the axis is new or has moved."""
        fresh = [position for position in self.positions if position not in self.replaced]
        return min(fresh, default=len(self.values))


def merge_axis(group: GroupPlan, old: Values, rows: Sequence[Row | None]) -> Merged:
    """Find the places of planned files on an axis that exists.

    Parameters
    ----------
    group
        The plan of the new files alone, with one file at each position of its axis.
    old
        The values of the axis.
    rows
        For each position of the plan, the row of the ledger of the version that is there, or None for a new file.

    Raises
    ------
    ConformError
        ``conform`` when a new file would lie where another file is.
    """
    axis = group.axes[0]
    places = {value: position for position, value in enumerate(_plain(old))}
    if axis.values.dtype.kind in "TU":
        return _merge_names(_paths(group), old, rows, places)
    return _merge_numbers(group, old, rows, places)


def _merge_names(paths: Sequence[str], old: Values, rows: Sequence[Row | None], places: Mapping[Any, int]) -> Merged:
    """Names have no order: new ones come behind the others."""
    fresh = [path for path, row in zip(paths, rows, strict=True) if row is None]
    names = dict(zip(fresh, _new_names(fresh, places), strict=True))
    labels = [names[path] if row is None else row.label for path, row in zip(paths, rows, strict=True)]
    ends = {label: len(old) + index for index, label in enumerate(names.values())}
    positions = tuple(ends[label] if row is None else places[label] for label, row in zip(labels, rows, strict=True))
    values = np.concatenate([old, texts(names.values())]) if names else old
    replaced = frozenset(p for p, row in zip(positions, rows, strict=True) if row is not None)
    return Merged(values, positions, tuple(labels), replaced, moved=None, late=0)


def _new_names(paths: Sequence[str], taken: Mapping[str, int]) -> list[str]:
    """The shortest ends of paths that differ from one another and from the names that are there."""
    split = [path.split("/") for path in paths]
    depth = 1 + max((name.count("/") for name in list(taken)[:1]), default=0)
    longest = max(map(len, split), default=0)
    while True:
        names = ["/".join(parts[-depth:]) for parts in split]
        if len(set(names)) == len(names) and not taken.keys() & set(names):
            return names
        if depth >= longest:
            double = next(name for name, count in Counter([*names, *taken]).items() if count > 1)
            raise ConformError(f"there are two files with the name {double}", feature="conform")
        depth += 1


def _merge_numbers(group: GroupPlan, old: Values, rows: Sequence[Row | None], places: Mapping[Any, int]) -> Merged:
    """Times and other numbers are kept in order."""
    axis = group.axes[0]
    wanted = _plain(axis.values)
    paths = _paths(group)
    for path, value, row in zip(paths, wanted, rows, strict=True):
        label = str(value)
        if row is None and value in places:
            found = f"{path} has the same {axis.name} ({label}) as a file that is in the cube"
            raise ConformError(found, feature="conform", hint="If it replaces that file, give it the same URL.")
        if row is not None and row.label != label:
            found = f"{path} has another {axis.name} ({label}) than its older version in the cube ({row.label})"
            raise ConformError(found, feature="conform", hint="Publish the cube anew.")
    fresh = np.array([v for v, row in zip(wanted, rows, strict=True) if row is None], old.dtype)
    values = np.sort(np.concatenate([old, fresh]))
    if np.any(old[1:] <= old[:-1]):
        raise ConformError(f"the {axis.name} axis of the cube is not in order", feature="conform")
    late = int(np.count_nonzero(fresh < old[-1])) if old.size else 0
    positions = tuple(int(position) for position in np.searchsorted(values, np.array(wanted, old.dtype)))
    replaced = frozenset(p for p, row in zip(positions, rows, strict=True) if row is not None)
    moved = np.searchsorted(values, old) if late else None
    return Merged(values, positions, tuple(map(str, wanted)), replaced, moved, late)


def _paths(group: GroupPlan) -> list[str]:
    """The file at each position of a plan's axis."""
    found = {p.index[0]: p.header.place.plain for array in group.arrays for p in array.placements}
    return [found[position] for position in range(len(group.axes[0].values))]


def _plain(values: Values) -> list[Any]:
    listed: list[Any] = values.tolist()
    return listed


def resized(array: VirtualArray, count: int) -> VirtualArray:
    """The metadata of an array with another length along its first dimension."""
    rest = array.grid[1:]
    return replace(
        array,
        shape=(count, *array.shape[1:]),
        offsets=np.broadcast_to(array.offsets[:1], (count, *rest)),
        lengths=np.broadcast_to(array.lengths[:1], (count, *rest)),
    )


def merge_metadata(stored: Json, array: ArrayPlan, count: int, path: str) -> Json:
    """The ``zarr.json`` of an array that grows; all but its length and its describing attributes must agree.

    Raises
    ------
    ConformError
        ``conform``; the message names the fields.
    """
    template = array.template
    same = _without(json.loads(json.dumps(resized(template, stored["shape"][0]).zarr_json())))
    there = _without(stored)
    different = sorted(key for key in same.keys() | there.keys() if same.get(key) != there.get(key))
    if different:
        told = ", ".join(f"{key} ({same.get(key)}, not {there.get(key)})" for key in different)
        found = f"the new files do not fit the array /{path}: they differ in {told}"
        raise ConformError(found, feature="conform")
    grown = json.loads(json.dumps(resized(template, count).zarr_json()))
    grown["attributes"] = agreed(stored["attributes"], template.attributes, path)
    return dict(grown)


def _without(metadata: Json) -> Json:
    return {key: value for key, value in metadata.items() if key != "attributes"}


def agreed(stored: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Json:
    """The attributes that old and new files share.

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
    return {key: value for key, value in stored.items() if new.get(key) == value}
