"""Writing a planned cube into a new Icechunk repository, in one commit."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import icechunk
import numpy as np
from icechunk import (
    ManifestConfig,
    ManifestSplitCondition,
    ManifestSplitDimCondition,
    ManifestSplittingConfig,
)
from icechunk.store import IcechunkStore
from zarr.core.buffer import default_buffer_prototype

from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube.conform import short_names
from virtual_tiff.cube.container import Container, container_of, containers_for
from virtual_tiff.cube.fresh import checksum, settle
from virtual_tiff.cube.sources import ledger_keys
from virtual_tiff.cube.nodes import coordinate_keys, group_json, json_bytes
from virtual_tiff.cube.open import reader_code
from virtual_tiff.cube.plan import ArrayPlan, CubePlan, GroupPlan, Placement, plan_stack
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.scan import CONCURRENCY, OnProgress, scan
from virtual_tiff.cube.stores import locate
from virtual_tiff.cube.target import check_free, staged
from virtual_tiff.errors import TargetError, UsageError
from virtual_tiff.tiff.ifd import IfdPath

MANIFEST_REFERENCES: Final = 20_000
"""References per manifest: few enough that the first lookup in a manifest takes milliseconds."""

_MAX_LISTED: Final = 50


@dataclass(frozen=True, slots=True)
class Published:
    """What was written: where, which snapshot, of how many files and references, and how to read it."""

    url: str
    snapshot: str
    files: int
    references: int
    arrays: str
    portability: str
    warnings: tuple[str, ...]
    code: str


def publish(
    inputs: Iterable[str | os.PathLike[str]],
    to: str | os.PathLike[str],
    *,
    dim: str = "item",
    name: str = "band_data",
    ifd: int | IfdPath = 0,
    options: ChunkOptions | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    concurrency: int = CONCURRENCY,
    on_progress: OnProgress | None = None,
) -> Published:
    """Scan TIFFs, check that they can be one array, and publish it as a new Icechunk repository.

    Parameters
    ----------
    inputs
        Files, directories, globs, prefixes, URLs and ``@list.txt``.
    to
        A new local directory, or a new ``s3://``, ``gs://`` or ``az://`` prefix.
    dim, name
        Names of the new leading dimension and of the variable.
    ifd
        The image of each file: an index, or a path into the SubIFDs.
    options
        How strips become chunks.
    on_error
        What to do with files whose header cannot be read: "raise" the first error, or "skip" them.
    concurrency
        Files that are read at the same time.
    on_progress
        Called after each file.

    Raises
    ------
    VirtualTiffError
        What is wrong with a file, with the files together, or with the target. Nothing is left behind.
    """
    if on_error not in ("raise", "skip"):
        raise UsageError(f"on_error={on_error!r}", feature="usage", hint="Choose 'raise' or 'skip'.")
    check_free(locate(to))
    found = scan(inputs, ifd=ifd, options=options, concurrency=concurrency, on_progress=on_progress)
    if on_error == "raise" or not found.headers:
        found.check()
    return publish_plan(plan_stack(found.headers, dim=dim, name=name), to)


def publish_plan(plan: CubePlan, to: str | os.PathLike[str], *, message: str | None = None) -> Published:
    """Write a planned cube into a new repository, as one commit.

    Raises
    ------
    TargetError
        ``target-exists`` or ``target-denied``; nothing is left behind.
    SourceError
        ``source-changed`` when a file was replaced after its header had been read.
    """
    place = locate(to)
    check_free(place)
    containers = containers_for(header.place for header in plan.headers)
    run(settle(plan.headers))
    with staged(place) as staging:
        repository = staging.create(repository_config(plan, containers))
        session = repository.writable_session("main")
        run(write_plan(session.store, plan, containers))
        snapshot = session.commit(
            message or commit_message(plan), {"files": len(plan.headers), "references": plan.references}
        )
        code = reader_code(place, repository.config.virtual_chunk_containers or {})
    return Published(
        url=place.url,
        snapshot=snapshot,
        files=len(plan.headers),
        references=plan.references,
        arrays=plan.describe(),
        portability=plan.portability,
        warnings=plan.warnings,
        code=code,
    )


def repository_config(plan: CubePlan, containers: Sequence[Container]) -> icechunk.RepositoryConfig:
    """The configuration that is persisted with the repository: containers, and how manifests are split."""
    config = icechunk.RepositoryConfig.default()
    for container in containers:
        config.set_virtual_chunk_container(container.virtual_chunk_container())
    splits: dict[ManifestSplitCondition, Any] = {}
    for group in plan.groups:
        for array in group.arrays:
            path = "/".join(part for part in (group.path, array.name) if part)
            sizes = split_sizes(array)
            splits[ManifestSplitCondition.path_matches(f"^/{re.escape(path)}$")] = {
                ManifestSplitDimCondition.Axis(axis): size for axis, size in enumerate(sizes)
            }
    config.manifest = ManifestConfig(splitting=ManifestSplittingConfig.from_dict(splits))
    return config


def split_sizes(array: ArrayPlan) -> tuple[int, ...]:
    """Chunks per manifest along each axis.

    All chunks of a file stay together as far as possible, and the new dimension is cut into runs of a fixed
    length, so that an append touches only the last manifest.
    """
    inner = list(array.template.grid[1:])
    while math.prod(inner) > MANIFEST_REFERENCES:
        longest = int(np.argmax(inner))
        inner[longest] = -(-inner[longest] // 2)
    return max(1, MANIFEST_REFERENCES // math.prod(inner)), *inner


async def write_plan(store: IcechunkStore, plan: CubePlan, containers: Sequence[Container]) -> None:
    """Write groups, arrays, references and the ledger of sources into a writable session."""
    if all(group.path for group in plan.groups):
        await _put(store, "zarr.json", group_json())
    for group in plan.groups:
        await _write_group(store, group, containers)
    for key, value in ledger_keys(plan.headers):
        await _put(store, key, value)


async def _write_group(store: IcechunkStore, group: GroupPlan, containers: Sequence[Container]) -> None:
    prefix = f"{group.path}/" if group.path else ""
    await _put(store, f"{prefix}zarr.json", group_json(group.attributes))
    for coordinate in group.coordinates:
        for key, value in coordinate_keys(coordinate):
            await _put(store, prefix + key, value)
    for axis in group.axes:
        for key, value in coordinate_keys(axis, growing=True):
            await _put(store, prefix + key, value)
    for array in group.arrays:
        await _put(store, f"{prefix}{array.name}/zarr.json", json_bytes(array.template.zarr_json()))
        for placement in array.placements:
            await _refer(store, f"{prefix}{array.name}", placement, containers)


async def _refer(store: IcechunkStore, path: str, placement: Placement, containers: Sequence[Container]) -> None:
    """Write the references of one file, all at once, and the few chunks that are stored."""
    header = placement.header
    array = header.array
    location = container_of(header.place, containers).reference(header.place)
    lengths = np.ascontiguousarray(array.lengths, np.uint64).ravel()
    present = lengths > 0
    if present.all():
        locations = [location] * lengths.size
    else:
        locations = [location if there else "" for there in present.tolist()]
    refused = await store.set_virtual_refs_arr_async(
        f"/{path}",
        placement.grid,
        locations,
        np.ascontiguousarray(array.offsets, np.uint64).ravel(),
        lengths,
        arr_offset=placement.index,
        checksum=checksum(header),
    )
    if refused:
        found = f"{len(refused)} references were refused, the first at {refused[0]}"
        raise TargetError(found, feature="container", url=header.url)
    lead = (0,) * (len(placement.index) - len(array.grid))
    for index, chunk in array.inlined.items():
        at = (str(base + own) for base, own in zip(placement.index, (*lead, *index), strict=True))
        await _put(store, "/".join([path, "c", *at]), chunk)


async def _put(store: IcechunkStore, key: str, value: bytes) -> None:
    await store.set(key, default_buffer_prototype().buffer.from_bytes(value))


def commit_message(plan: CubePlan) -> str:
    """What came in, with the names of the files."""
    names = short_names([header.place.plain for header in plan.headers])
    listed = names[:_MAX_LISTED]
    if len(names) > len(listed):
        listed.append(f"... and {len(names) - len(listed)} more, listed in _sources")
    head = f"Publish {len(names)} file{'s' if len(names) > 1 else ''}: {plan.describe().replace(chr(10), '; ')}"
    return "\n".join([head, "", *listed])
