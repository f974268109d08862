"""Writing groups, arrays, references and small arrays into a session of a repository."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
from icechunk.store import IcechunkStore
from zarr.core.buffer import default_buffer_prototype

from virtual_tiff.cube.blueprint import ArrayPlan, GroupPlan, Placement
from virtual_tiff.cube.container import Container, container_of
from virtual_tiff.cube.fresh import checksum
from virtual_tiff.cube.nodes import coordinate_keys, group_json, json_bytes
from virtual_tiff.errors import TargetError

MANIFEST_REFERENCES: Final = 20_000
"""References per manifest: few enough that the first lookup in a manifest takes milliseconds."""

MAX_MANIFESTS: Final = 32
"""Manifests per array when it is made: a commit costs about 33 ns for each reference *and* manifest."""


def joined(*parts: str) -> str:
    """The path of a node below others; the root is empty."""
    return "/".join(part.strip("/") for part in parts if part.strip("/"))


@dataclass(frozen=True, slots=True)
class Task:
    """The references of one file in one array, whose path is that in the repository."""

    path: str
    placement: Placement

    @property
    def references(self) -> int:
        """Number of byte ranges."""
        return int(np.count_nonzero(self.placement.array.lengths))


def tasks_of(groups: Sequence[GroupPlan]) -> list[Task]:
    """All that is to be referenced, file by file."""
    return [
        Task(joined(group.path, array.name), placement)
        for group in groups
        for array in group.arrays
        for placement in array.placements
    ]


def batches(tasks: Sequence[Task], limit: int) -> list[list[Task]]:
    """Cut tasks into runs of at most so many references; one file is never cut."""
    runs: list[list[Task]] = [[]]
    count = 0
    for task in tasks:
        own = task.references
        if runs[-1] and count + own > limit:
            runs.append([])
            count = 0
        runs[-1].append(task)
        count += own
    return runs


async def write_groups(store: IcechunkStore, groups: Sequence[GroupPlan]) -> None:
    """Write groups, the groups above them, their coordinates and the metadata of their arrays."""
    there = {group.path for group in groups}
    for path in sorted({above for group in groups for above in _above(group.path)} - there):
        if await get(store, joined(path, "zarr.json")) is None:
            await put(store, joined(path, "zarr.json"), group_json())
    for group in groups:
        await put(store, joined(group.path, "zarr.json"), group_json(group.attributes))
        for coordinate in group.coordinates:
            for key, value in coordinate_keys(coordinate):
                await put(store, joined(group.path, key), value)
        for axis in group.axes:
            for key, value in coordinate_keys(axis.coordinate, growing=True):
                await put(store, joined(group.path, key), value)
        for array in group.arrays:
            await put(store, joined(group.path, array.name, "zarr.json"), json_bytes(array.template.zarr_json()))


def _above(path: str) -> list[str]:
    parts = path.split("/") if path else []
    return ["/".join(parts[:length]) for length in range(len(parts))]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceBlock:
    """All references of one file in one array, as plain values that can be pickled.

    ``path`` is that of the array, ``grid`` the shape of the block of chunks and ``index`` the position of its first
    chunk. ``location`` is the file as references name it, ``offsets`` and ``lengths`` its byte ranges, flat, in the
    order of C; a length of 0 is no reference. ``inlined`` are chunks that are stored, by their position in the array.
    ``url`` is the file for people.
    """

    path: str
    index: tuple[int, ...]
    grid: tuple[int, ...]
    location: str
    offsets: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.uint64]
    checksum: str | datetime | None
    inlined: Mapping[tuple[int, ...], bytes]
    url: str


def block_of(task: Task, containers: Sequence[Container]) -> ReferenceBlock:
    """The references of a file, relative to the container that holds it; its byte ranges are not copied."""
    placement = task.placement
    header = placement.header
    array = placement.array
    lead = (0,) * (len(placement.index) - len(array.grid))
    return ReferenceBlock(
        path=task.path,
        index=placement.index,
        grid=placement.grid,
        location=container_of(header.place, containers).reference(header.place),
        offsets=array.offsets.ravel(),
        lengths=array.lengths.ravel(),
        checksum=checksum(header),
        inlined={
            tuple(base + own for base, own in zip(placement.index, (*lead, *index), strict=True)): chunk
            for index, chunk in array.inlined.items()
        },
        url=header.url,
    )


async def write_references(store: IcechunkStore, tasks: Iterable[Task], containers: Sequence[Container]) -> None:
    """Write references, all of a file at once, and the few chunks that are stored."""
    await write_blocks(store, (block_of(task, containers) for task in tasks))


async def write_blocks(store: IcechunkStore, blocks: Iterable[ReferenceBlock]) -> None:
    """Write references block by block, and the few chunks that are stored.

    Raises
    ------
    TargetError
        ``container`` when Icechunk refuses a reference.
    """
    for block in blocks:
        await _refer(store, block)
        for index, chunk in block.inlined.items():
            await put(store, "/".join([block.path, "c", *map(str, index)]), chunk)


async def _refer(store: IcechunkStore, block: ReferenceBlock) -> None:
    present = block.lengths > 0
    if present.all():
        locations = [block.location] * present.size
    else:
        locations = [block.location if there else "" for there in present.tolist()]
    refused = await store.set_virtual_refs_arr_async(
        f"/{block.path}",
        block.grid,
        locations,
        # Dask unpickles arrays in place, wherever they lie in a message.
        np.require(block.offsets, np.uint64, ["C", "A"]),
        np.require(block.lengths, np.uint64, ["C", "A"]),
        arr_offset=block.index,
        checksum=block.checksum,
    )
    if refused:
        found = f"{len(refused)} references were refused, the first at {refused[0]}"
        raise TargetError(found, feature="container", url=block.url)


async def put(store: IcechunkStore, key: str, value: bytes) -> None:
    """Write one key."""
    await store.set(key, default_buffer_prototype().buffer.from_bytes(value))


async def get(store: IcechunkStore, key: str) -> bytes | None:
    """Read one key, or None when it is not there."""
    found = await store.get(key, default_buffer_prototype())
    return None if found is None else bytes(found.to_bytes())


def split_sizes(array: ArrayPlan) -> tuple[int, ...]:
    """Chunks per manifest along each axis.

    All chunks of a file stay together as far as possible, and the new dimension is cut into runs of a fixed
    length, so that an append touches only the last manifest.
    """
    references = max(MANIFEST_REFERENCES, math.prod(array.template.grid) // MAX_MANIFESTS)
    inner = list(array.template.grid[1:])
    while math.prod(inner) > references:
        longest = int(np.argmax(inner))
        inner[longest] = -(-inner[longest] // 2)
    return max(1, references // math.prod(inner)), *inner


def below(groups: Sequence[GroupPlan], path: str) -> tuple[GroupPlan, ...]:
    """The same groups below another one."""
    return tuple(replace(group, path=joined(path, group.path)) for group in groups)
