"""Writing a planned cube: into a new Icechunk repository, or as a new group of an existing one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import icechunk
from icechunk.store import IcechunkStore

from virtual_tiff.cube.access import repository_storage
from virtual_tiff.cube.blueprint import CubePlan, GroupPlan
from virtual_tiff.cube.commit import commit_parts
from virtual_tiff.cube.configure import configured, new_config
from virtual_tiff.cube.conform import short_names
from virtual_tiff.cube.container import Container, containers_for
from virtual_tiff.cube.distribute import write_told
from virtual_tiff.cube.fresh import settle
from virtual_tiff.cube.header import FileHeader, HeaderOptions
from virtual_tiff.cube.open import containers_in, reader_code
from virtual_tiff.cube.patient import PatientStore, insist, opened
from virtual_tiff.cube.recipe import Recipe
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.sources import entries_of, ledger_keys
from virtual_tiff.cube.stages import OnStage, Stage, tell_stage
from virtual_tiff.cube.stores import Location, locate
from virtual_tiff.cube.target import check_free, is_blank, staged, taken, translated, writing
from virtual_tiff.cube.write import batches, below, joined, put, tasks_of, write_groups
from virtual_tiff.errors import TargetError, UsageError

BATCH: Final = 2_500_000
"""References per commit, by default; Icechunk holds about 400 bytes of memory for each."""

_MAX_LISTED: Final = 50
_MAX_ARRAYS: Final = 3
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Published:
    """What was written: where, which snapshot, of how many files and references, and how to read it.

    ``notes`` say what was split or left out, and why; ``unused`` are the URLs of files without a place.
    """

    url: str
    group: str
    snapshot: str
    files: int
    references: int
    arrays: str
    portability: str
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    unused: tuple[str, ...]
    code: str


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
        repository = opened(repository_storage(place).make())
        session = insist(partial(repository.readonly_session, "main"))
        run(_check_unused(PatientStore.of(session), group, place))


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
    executor: Any = None,
    reading: HeaderOptions | None = None,
    inputs: Mapping[str, Any] | None = None,
    on_stage: OnStage | None = None,
) -> Published:
    """Write a planned cube, so that readers see all of it or nothing.

    Parameters
    ----------
    plan
        What is written.
    to, group, into, batch, executor
        See :func:`publish`.
    message
        Of the commit; by default it says what came in.
    reading, inputs
        How the headers were read and what inputs are like, so that more files can be appended: see
        :class:`virtual_tiff.cube.recipe.Recipe`. By default as :func:`virtual_tiff.cube.scan.scan` does it.
    on_stage
        Called as the work goes on: "check", then "write" and "commit" once for each commit.

    Raises
    ------
    TargetError
        ``target-exists`` or ``target-denied``; nothing is left behind.
    SourceError
        ``source-changed`` when a local file, or one that was younger than its checksum can tell, was replaced after its
        header had been read. Of others reading the cube raises it.
    """
    if batch < 1:
        raise UsageError(f"batch={batch}", feature="usage", hint="It is a number of references.")
    place = locate(to)
    check_target(to, group=group, into=into)
    recipe = Recipe.of(plan, reading or _reading(plan.headers), inputs)
    work = _Work(place, group, below(plan.groups, group), plan, recipe, message, batch, executor, on_stage)
    shown = next((one for one in work.groups if one.arrays), GroupPlan(path=group, arrays=()))
    options: dict[str, Any] = {
        "group": shown.path,
        "rectilinear": any(array.template.rectilinear for array in shown.arrays),
    }
    tell_stage(on_stage, "check")
    run(settle(plan.headers))
    if into:
        with writing(place):
            snapshot = _publish_into(work)
        code = reader_code(place, containers_in(place), **options)
    else:
        with staged(place) as staging:
            containers = containers_for(header.place for header in plan.headers)
            repository = staging.create(new_config(work.groups, containers))
            if not staging.created:
                containers, repository = _configured(work, staging.storage)
            base = insist(partial(repository.lookup_branch, "main"))
            if not is_blank(repository, base):
                raise taken(place.url)
            snapshot = _commit(work, repository, containers, base)
            _configured(work, staging.storage)
            known = opened(staging.storage).config.virtual_chunk_containers or {}
            code = reader_code(place, known, **options)
    return Published(
        url=place.url,
        group=group,
        snapshot=snapshot,
        files=len(plan.headers),
        references=plan.references,
        arrays=plan.describe(),
        portability=plan.portability,
        warnings=plan.warnings,
        notes=plan.notes,
        unused=tuple(header.url for header in plan.unused),
        code=code,
    )


def _reading(headers: Sequence[FileHeader]) -> HeaderOptions:
    return HeaderOptions(ifd=headers[0].array.ifd, overviews=any(header.levels for header in headers))


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be written, and where."""

    place: Location
    group: str
    groups: tuple[GroupPlan, ...]
    plan: CubePlan
    recipe: Recipe
    message: str | None
    batch: int
    executor: Any
    on_stage: OnStage | None


def _configured(work: _Work, storage: icechunk.Storage) -> tuple[tuple[Container, ...], icechunk.Repository]:
    known = opened(storage).config.virtual_chunk_containers or {}
    containers = containers_for((header.place for header in work.plan.headers), known)
    return containers, configured(storage, work.groups, containers)


def _publish_into(work: _Work) -> str:
    """Add groups to a repository; start again when another writer was faster with other groups."""
    storage = repository_storage(work.place).make()
    for _ in range(_TRIES):
        containers, repository = _configured(work, storage)
        session = insist(partial(repository.readonly_session, "main"))
        base = session.snapshot_id
        run(_check_unused(PatientStore.of(session), work.group, work.place))
        with contextlib.suppress(icechunk.ConflictError):
            snapshot = _commit(work, repository, containers, base)
            _configured(work, storage)
            return snapshot
    raise taken(work.place.url)


def _commit(work: _Work, repository: icechunk.Repository, containers: Sequence[Container], base: str) -> str:
    """Commit everything: at once, or part by part, which readers see together.

    Raises
    ------
    ConflictError
        Of Icechunk, when the main branch is no longer at `base`; then it stays as it is.
    """
    parts = batches(tasks_of(work.groups), work.batch)
    counts = [sum(task.references for task in part) for part in parts]

    def write(session: icechunk.Session, number: int) -> tuple[str, dict[str, Any]]:
        part = parts[number]
        run(write_plan(session.store, work, structure=number == 0))
        write_told(
            session,
            part,
            containers,
            work.executor,
            url=work.place.url,
            on_stage=work.on_stage,
            start=Stage("write", sum(counts[:number]), sum(counts)),
        )
        tell_stage(work.on_stage, "commit", number, len(parts))
        text = work.message or commit_message(work.plan)
        if len(parts) > 1:
            text = f"Part {number + 1} of {len(parts)}. {text}"
        files = len(work.plan.headers)
        came = files if number == len(parts) - 1 else 0  # with the last part they are complete
        return text, {"files": came, "references": counts[number], "sources": files + len(work.plan.unused)}

    return commit_parts(repository, base, len(parts), write)


async def write_plan(store: IcechunkStore, work: _Work, *, structure: bool) -> None:
    """Write groups, arrays and the ledger of sources, before the first references."""
    if not structure:
        return
    await write_groups(store, work.groups)
    if all(group.path != work.group for group in work.groups):
        await write_groups(store, [GroupPlan(path=work.group, arrays=())])
    for key, value in ledger_keys(entries_of(work.plan), work.recipe):
        await put(store, joined(work.group, key), value)


def commit_message(plan: CubePlan) -> str:
    """What came in, with the names of the files."""
    count = len(plan.headers)
    arrays = plan.describe().splitlines()
    more = [f"{len(arrays) - _MAX_ARRAYS} more arrays"] if len(arrays) > _MAX_ARRAYS + 1 else []
    shown = arrays[:_MAX_ARRAYS] if more else arrays
    head = f"Publish {count} file{'s' if count > 1 else ''}: {'; '.join([*shown, *more])}"
    return "\n".join([head, "", *file_names(plan.headers)])


def file_names(headers: Sequence[FileHeader]) -> list[str]:
    """The names of files for a message: the first ones, and how many more there are."""
    names = short_names([header.place.plain for header in headers])
    more = [f"... and {len(names) - _MAX_LISTED} more, listed in _sources"] if len(names) > _MAX_LISTED else []
    return [*names[:_MAX_LISTED], *more]
