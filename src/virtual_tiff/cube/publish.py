"""Publishing a planned cube: into a new Icechunk repository, or as a new group of an existing one."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import icechunk
from icechunk.store import IcechunkStore

from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube.access import repository_storage
from virtual_tiff.cube.blueprint import CubePlan, GroupPlan
from virtual_tiff.cube.cells import TimeSource
from virtual_tiff.cube.configure import configured, new_config
from virtual_tiff.cube.conform import short_names
from virtual_tiff.cube.container import Container, containers_for
from virtual_tiff.cube.fresh import settle
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.open import containers_in, reader_code
from virtual_tiff.cube.plan import plan_stack
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.scan import CONCURRENCY, OnProgress, scan
from virtual_tiff.cube.sources import labels_of, ledger_keys
from virtual_tiff.cube.stores import Location, locate
from virtual_tiff.cube.target import check_free, is_blank, staged, taken, translated, writing
from virtual_tiff.cube.write import (
    Task,
    batches,
    below,
    joined,
    put,
    tasks_of,
    write_groups,
    write_references,
)
from virtual_tiff.errors import TargetError, UsageError
from virtual_tiff.tiff.ifd import IfdPath

BATCH: Final = 5_000_000
"""References per commit, by default; Icechunk holds about 400 bytes of memory for each."""

_MAX_LISTED: Final = 50
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Published:
    """What was written: where, which snapshot, of how many files and references, and how to read it."""

    url: str
    group: str
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
    time: TimeSource | None = None,
    overviews: bool = False,
    mosaic: bool = False,
    group: str = "",
    into: bool = False,
    batch: int = BATCH,
    on_error: Literal["raise", "skip"] = "raise",
    concurrency: int = CONCURRENCY,
    on_progress: OnProgress | None = None,
) -> Published:
    """Scan TIFFs, check that they can be one array, and publish it in an Icechunk repository.

    Parameters
    ----------
    inputs
        Files, directories, globs, prefixes, URLs and ``@list.txt``.
    to
        A new local directory, or a new ``s3://``, ``gs://`` or ``az://`` prefix; with `into`, a repository.
    dim, name
        Names of the new leading dimension and of the variable.
    ifd
        The image of each file: an index, or a path into the SubIFDs.
    options
        How strips become chunks.
    time
        Where times come from, for a leading axis of times instead of names: see
        :func:`virtual_tiff.cube.plan.plan_stack`.
    overviews
        Whether to publish the overviews that all files have, too: as a multiscale group with a group for each level.
    mosaic
        Whether files may be tiles of one pixel grid.
    group
        The group to write, by default the root.
    into
        Whether to add the group to a repository that exists; it must not be there yet.
    batch
        References per commit at most, which bounds the memory. Readers see all of them at once.
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
    check_target(to, group=group, into=into)
    found = scan(
        inputs, ifd=ifd, options=options, overviews=overviews, concurrency=concurrency, on_progress=on_progress
    )
    if on_error == "raise" or not found.headers:
        found.check()
    asked: dict[str, Any] = {"dim": dim, "name": name, "time": time, "levels": overviews, "mosaic": mosaic}
    plan = plan_stack(found.headers, **asked)
    return publish_plan(plan, to, group=group, into=into, batch=batch, recipe=make_recipe(plan, asked, options))


def make_recipe(plan: CubePlan, asked: Mapping[str, Any], options: ChunkOptions | None = None) -> dict[str, Any] | None:
    """How a stack was made, for those who append to it, as JSON values; None for what cannot grow.

    ``path`` is the group of the images (the finest level), below that of the cube, ``axis`` the name of their axis.

    Parameters
    ----------
    plan
        The plan.
    asked
        The arguments of :func:`virtual_tiff.cube.plan.plan_stack` that made it.
    options
        How strips became chunks.
    """
    filled = [group for group in plan.groups if group.arrays]
    told = dict(asked)
    if callable(told.get("time")) or told.get("mosaic") or not all(_is_stack(group) for group in filled):
        return None
    if told.get("levels"):
        told["levels"] = [int(group.path) for group in filled]
    first = plan.headers[0]
    return {
        "kind": "stack",
        "plan": told,
        "path": filled[0].path,
        "axis": filled[0].axes[0].name,
        "ifd": list(first.array.ifd),
        "options": asdict(options or ChunkOptions()),
        "traits": dict(first.traits),
    }


def _is_stack(group: GroupPlan) -> bool:
    """Whether a group has one axis in front, and at each of its positions the same one file in all arrays."""
    if len(group.axes) != 1:
        return False
    count = len(group.axes[0].values)
    files = {(p.index[0], p.header.url) for array in group.arrays for p in array.placements}
    return len(files) == count and len({position for position, _ in files}) == count


def check_target(to: str | os.PathLike[str], *, group: str = "", into: bool = False) -> None:
    """Refuse a target before any work is done for it. What killed runs left beside it is removed.

    Raises
    ------
    TargetError
        ``target-exists``, ``target-missing`` or ``target-denied``.
    UsageError
        ``usage`` for a group that cannot be one.
    """
    _check_group(group)
    place = locate(to)
    if not into:
        check_free(place)
        return
    if place.scheme in ("http", "https"):
        found = "a web server cannot be written"
        raise TargetError(found, feature="target-denied", url=place.url, hint="Write to a directory or a bucket.")
    with translated(place):
        session = icechunk.Repository.open(repository_storage(place).make()).readonly_session("main")
        run(_check_unused(session.store, group, place))


def _check_group(group: str) -> None:
    parts = group.split("/") if group else []
    if any(not part or part.startswith(("_", ".")) for part in parts):
        found = f"{group!r} cannot be a group"
        raise UsageError(found, feature="usage", hint="Write names between slashes; none may start with '_' or '.'.")


async def _check_unused(store: IcechunkStore, group: str, place: Location) -> None:
    """Refuse a group in which something is, or that lies in an array."""
    found = [key async for key in store.list_dir(group)]
    if set(found) - {"zarr.json"} or (group and found):
        what = f"the repository has something at /{group} already"
        raise TargetError(what, feature="target-exists", url=place.url, hint="Choose another group.")
    parts = group.split("/")
    for length in range(1, len(parts)):
        above = "/".join(parts[:length])
        if "c" in [key async for key in store.list_dir(above)]:
            what = f"/{above} is an array, which holds no groups"
            raise TargetError(what, feature="target-exists", url=place.url, hint="Choose another group.")


def publish_plan(
    plan: CubePlan,
    to: str | os.PathLike[str],
    *,
    group: str = "",
    into: bool = False,
    batch: int = BATCH,
    message: str | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> Published:
    """Write a planned cube, so that readers see all of it or nothing.

    Parameters
    ----------
    plan
        What is written.
    to, group, into, batch
        See :func:`publish`.
    message
        Of the commit; by default it says what came in.
    recipe
        How the plan was made; without it, nothing can be appended.

    Raises
    ------
    TargetError
        ``target-exists`` or ``target-denied``; nothing is left behind.
    SourceError
        ``source-changed`` when a file was replaced after its header had been read.
    """
    if batch < 1:
        raise UsageError(f"batch={batch}", feature="usage", hint="It is a number of references.")
    place = locate(to)
    check_target(to, group=group, into=into)
    work = _Work(place, group, below(plan.groups, group), plan, recipe, message, batch)
    run(settle(plan.headers))
    if into:
        with writing(place):
            snapshot = _publish_into(work)
        code = reader_code(place, containers_in(place), group=group)
    else:
        with staged(place) as staging:
            containers = containers_for(header.place for header in plan.headers)
            repository = staging.create(new_config(work.groups, containers))
            if not staging.created:
                containers, repository = _configured(work, staging.storage)
            base = repository.lookup_branch("main")
            if not is_blank(repository, base):
                raise taken(place.url)
            snapshot = _commit(work, repository, containers, base)
            _configured(work, staging.storage)
            config = icechunk.Repository.open(staging.storage).config
            code = reader_code(place, config.virtual_chunk_containers or {}, group=group)
    return Published(
        url=place.url,
        group=group,
        snapshot=snapshot,
        files=len(plan.headers),
        references=plan.references,
        arrays=plan.describe(),
        portability=plan.portability,
        warnings=plan.warnings,
        code=code,
    )


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be written, and where."""

    place: Location
    group: str
    groups: tuple[GroupPlan, ...]
    plan: CubePlan
    recipe: Mapping[str, Any] | None
    message: str | None
    batch: int


def _configured(work: _Work, storage: icechunk.Storage) -> tuple[tuple[Container, ...], icechunk.Repository]:
    known = icechunk.Repository.open(storage).config.virtual_chunk_containers or {}
    containers = containers_for((header.place for header in work.plan.headers), known)
    return containers, configured(storage, work.groups, containers)


def _publish_into(work: _Work) -> str:
    """Add groups to a repository; start again when another writer was faster with other groups."""
    storage = repository_storage(work.place).make()
    for _ in range(_TRIES):
        containers, repository = _configured(work, storage)
        base = repository.lookup_branch("main")
        run(_check_unused(repository.readonly_session(snapshot_id=base).store, work.group, work.place))
        with contextlib.suppress(icechunk.ConflictError):
            snapshot = _commit(work, repository, containers, base)
            _configured(work, storage)
            return snapshot
    raise taken(work.place.url)


def _commit(work: _Work, repository: icechunk.Repository, containers: Sequence[Container], base: str) -> str:
    """Commit everything: at once, or part by part on a branch of its own that becomes the main one at the end.

    Raises
    ------
    ConflictError
        Of Icechunk, when the main branch is no longer at `base`; then it stays as it is.
    """
    parts = batches(tasks_of(work.groups), work.batch)
    branch = f"publish-{secrets.token_hex(8)}"
    repository.create_branch(branch, base)
    try:
        for number, part in enumerate(parts, 1):
            session = repository.writable_session(branch)
            run(write_plan(session.store, work, part, containers, structure=number == 1))
            text = work.message or commit_message(work.plan)
            if len(parts) > 1:
                text = f"Part {number} of {len(parts)}. {text}"
            files = len(work.plan.headers)
            references = sum(task.references for task in part)
            snapshot = session.commit(text, {"files": files, "references": references, "sources": files})
        repository.reset_branch("main", snapshot, from_snapshot_id=base)
    finally:
        with contextlib.suppress(icechunk.IcechunkError):
            repository.delete_branch(branch)
    return snapshot


async def write_plan(
    store: IcechunkStore, work: _Work, part: Sequence[Task], containers: Sequence[Container], *, structure: bool
) -> None:
    """Write references, and before the first ones groups, arrays and the ledger of sources."""
    if structure:
        await write_groups(store, work.groups)
        if all(group.path != work.group for group in work.groups):
            await write_groups(store, [GroupPlan(path=work.group, arrays=())])
        labels = labels_of(work.groups, work.plan.headers)
        for key, value in ledger_keys(work.plan.headers, labels, work.recipe):
            await put(store, joined(work.group, key), value)
    await write_references(store, part, containers)


def commit_message(plan: CubePlan) -> str:
    """What came in, with the names of the files."""
    count = len(plan.headers)
    head = f"Publish {count} file{'s' if count > 1 else ''}: {plan.describe().replace(chr(10), '; ')}"
    return "\n".join([head, "", *file_names(plan.headers)])


def file_names(headers: Sequence[FileHeader]) -> list[str]:
    """The names of files for a message: the first ones, and how many more there are."""
    names = short_names([header.place.plain for header in headers])
    more = [f"... and {len(names) - _MAX_LISTED} more, listed in _sources"] if len(names) > _MAX_LISTED else []
    return [*names[:_MAX_LISTED], *more]
