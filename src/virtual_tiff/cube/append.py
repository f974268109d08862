"""Adding files to a published cube: new ones, late ones and new versions of old ones; each commit is complete."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import icechunk
import numpy as np

from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube.access import repository_storage
from virtual_tiff.cube.blueprint import CubePlan
from virtual_tiff.cube.configure import configured
from virtual_tiff.cube.conform import check_conform
from virtual_tiff.cube.container import containers_for
from virtual_tiff.cube.fresh import settle
from virtual_tiff.cube.grow import Fit, fit_group, grow_group
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.inputs import expand_inputs
from virtual_tiff.cube.plan import plan_stack
from virtual_tiff.cube.publish import BATCH, file_names
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.scan import CONCURRENCY, Failure, OnProgress, Scan, scan_async
from virtual_tiff.cube.sources import Identity, Rows, read_recipe, read_rows, update_rows
from virtual_tiff.cube.stores import Location, locate
from virtual_tiff.cube.target import open_existing, taken, translated, writing
from virtual_tiff.cube.write import below
from virtual_tiff.errors import TargetError, UsageError

_TRIES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """What an append did, or with ``dry_run`` what it would do.

    ``added``, ``replaced`` and ``failed`` are URLs; ``unchanged`` counts the files that were there already, and
    ``late`` those of `added` that lie before the old end of the axis. ``snapshots`` are the new ones, oldest first:
    none when nothing was written. ``containers`` are the prefixes of the cube's containers, as a reader must know
    them.
    """

    url: str
    group: str
    dry_run: bool
    snapshots: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    unchanged: int = 0
    late: int = 0
    references: int = 0
    failed: tuple[str, ...] = ()
    new_containers: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Cube:
    """The cube that grows."""

    place: Location
    group: str
    batch: int
    message: str | None
    seen: dict[str, tuple[Mapping[str, Any], Rows]] = field(default_factory=dict)

    def state(self, session: icechunk.Session) -> tuple[Mapping[str, Any], Rows]:
        """How the cube was made, and its ledger; each snapshot is read once."""
        if session.snapshot_id not in self.seen:
            self.seen.clear()
            self.seen[session.snapshot_id] = self._read(session)
        return self.seen[session.snapshot_id]

    def _read(self, session: icechunk.Session) -> tuple[Mapping[str, Any], Rows]:
        try:
            recipe = read_recipe(session.store, self.group)
        except FileNotFoundError as error:
            found = f"the repository has no cube of virtual-tiff at /{self.group}"
            raise TargetError(found, feature="target-not-a-cube", url=self.place.url) from error
        if recipe is None:
            found = "nothing can be appended to this cube: it does not say how it was made"
            hint = "Only stacks of files that `publish` made can grow."
            raise TargetError(found, feature="target-not-a-cube", url=self.place.url, hint=hint)
        return recipe, read_rows(session.store, self.group)


@dataclass(slots=True)
class _Done:
    """What the commits so far did."""

    snapshots: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    late: int = 0
    references: int = 0
    warnings: list[str] = field(default_factory=list)


def append(
    inputs: Iterable[str | os.PathLike[str]],
    cube: str | os.PathLike[str],
    *,
    group: str = "",
    dry_run: bool = False,
    batch: int = BATCH,
    message: str | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    concurrency: int = CONCURRENCY,
    on_progress: OnProgress | None = None,
    on_failure: Callable[[Failure], None] | None = None,
) -> Appended:
    """Add files to a published cube.

    Files that the cube has are left alone: they are known by URL and ETag (where a server gives none, by size and
    time of change). Files with a known URL, or of a known item of a catalogue, and another ETag replace the older
    version in its place. Others come behind the last file; on an axis of times in their order. When another writer
    commits first, everything is looked up and written again on top of that.

    Parameters
    ----------
    inputs
        Files, directories, globs, prefixes, URLs and ``@list.txt``; those that the cube has may be among them.
    cube, group
        The repository, and the group of the cube in it.
    dry_run
        Check everything, and write nothing.
    batch
        References per commit at most. Each commit holds whole files.
    message
        Of the commits; by default it says what came in.
    on_error
        What to do with files whose header cannot be read: "raise" the first error, or "skip" them.
    concurrency
        Files that are read at the same time.
    on_progress, on_failure
        Called after each new file, and for each that cannot be read.

    Raises
    ------
    ConformError
        ``conform`` when a file does not fit the cube.
    TargetError
        ``target-missing``, ``target-not-a-cube``, ``target-exists`` (other writers were always faster), ...
    SourceError
        ``source-changed`` when a file was replaced after its header had been read.
    """
    if on_error not in ("raise", "skip"):
        raise UsageError(f"on_error={on_error!r}", feature="usage", hint="Choose 'raise' or 'skip'.")
    if batch < 1:
        raise UsageError(f"batch={batch}", feature="usage", hint="It is a number of references.")
    own = _Cube(locate(cube), group.strip("/"), batch, message)
    if own.place.scheme in ("http", "https"):
        found = "a web server cannot be written"
        raise TargetError(found, feature="target-denied", url=own.place.url, hint="Write to a directory or a bucket.")
    repository = open_existing(own.place)
    with translated(own.place):
        recipe, rows = own.state(repository.readonly_session("main"))
    places = expand_inputs(inputs)
    unknown = run(_find_unknown(places, rows, concurrency))
    scanned = _scan(unknown, recipe, concurrency, on_progress)
    for failure in scanned.failures:
        if on_failure is not None:
            on_failure(failure)
    if on_error == "raise":
        scanned.check()
    headers = [header for header in scanned.headers if not rows.has(header)]
    _check(own, recipe, headers)
    run(settle(headers))
    before = set(repository.config.virtual_chunk_containers or {})
    done = _plan_only(own, recipe, headers) if dry_run else _write(own, headers)
    containers = set() if dry_run else set(open_existing(own.place).config.virtual_chunk_containers or {}) - before
    return Appended(
        url=own.place.url,
        group=own.group,
        dry_run=dry_run,
        snapshots=tuple(done.snapshots),
        added=tuple(done.added),
        replaced=tuple(done.replaced),
        unchanged=len(places) - len(done.added) - len(done.replaced) - len(scanned.failures),
        late=done.late,
        references=done.references,
        failed=tuple(failure.place.url for failure in scanned.failures),
        new_containers=tuple(sorted(containers)),
        warnings=tuple(dict.fromkeys(done.warnings)),
    )


async def _find_unknown(places: Sequence[Location], rows: Rows, concurrency: int) -> list[Location]:
    """The files that are not in the cube, or in another version. Known ones cost one small request."""
    gate = asyncio.Semaphore(concurrency)

    async def is_known(place: Location) -> bool:
        row = rows.at(place.url)
        if row is None:
            return False
        async with gate:
            now = await _identify(place)
        return now is not None and row.identity.same(now)

    known = await asyncio.gather(*(is_known(place) for place in places))
    return [place for place, there in zip(places, known, strict=True) if not there]


async def _identify(place: Location) -> Identity | None:
    """What the store says of a file now; None when it says nothing, then reading the header will tell why."""
    try:
        now = await place.store.head_async(place.path)
    except Exception:  # noqa: BLE001 (some servers refuse HEAD)
        return None
    return Identity.of(now["e_tag"], now["size"], now["last_modified"])


def _scan(
    places: Sequence[Location], recipe: Mapping[str, Any], concurrency: int, on_progress: OnProgress | None
) -> Scan:
    if not places:
        return Scan((), ())
    return run(
        scan_async(
            places,
            ifd=tuple(recipe["ifd"]),
            options=ChunkOptions(**recipe["options"]),
            overviews=bool(recipe["plan"]["levels"]),
            concurrency=concurrency,
            on_progress=on_progress,
        )
    )


def _check(cube: _Cube, recipe: Mapping[str, Any], headers: Sequence[FileHeader]) -> None:
    """Refuse files that do not fit the cube; it speaks as one more file."""
    if headers:
        check_conform([replace(headers[0], place=cube.place, traits=recipe["traits"]), *headers])


def _plan(recipe: Mapping[str, Any], headers: Sequence[FileHeader]) -> CubePlan:
    return plan_stack(headers, **recipe["plan"])


def _plan_only(cube: _Cube, recipe: Mapping[str, Any], headers: Sequence[FileHeader]) -> _Done:
    """Find out what would be written."""
    with translated(cube.place):
        session = open_existing(cube.place).readonly_session("main")
        todo, rows = _todo(cube, session, headers)
        return _fit(cube, session, recipe, todo, rows)[1] if todo else _Done()


def _todo(cube: _Cube, session: icechunk.Session, headers: Sequence[FileHeader]) -> tuple[list[FileHeader], Rows]:
    _, rows = cube.state(session)
    return [header for header in headers if not rows.has(header)], rows


def _write(cube: _Cube, headers: Sequence[FileHeader]) -> _Done:
    """Commit part by part, and begin a part again when another writer was faster."""
    done = _Done()
    headers = list(headers)
    tries = 0
    while True:
        try:
            headers = _write_part(cube, headers, done)
            if not headers:
                return done
        except icechunk.ConflictError:
            tries += 1
            if tries == _TRIES:
                raise taken(cube.place.url) from None
        else:
            tries = 0


def _write_part(cube: _Cube, headers: Sequence[FileHeader], done: _Done) -> list[FileHeader]:
    """Commit as many of the files that the cube lacks as fit into one batch, and return the others."""
    storage = repository_storage(cube.place).make()
    with writing(cube.place):
        repository = icechunk.Repository.open(storage)
        todo, _ = _todo(cube, repository.readonly_session("main"), headers)
        if not todo:
            return []
        known = repository.config.virtual_chunk_containers or {}
        containers = containers_for((header.place for header in todo), known)
        session = configured(storage, (), containers).writable_session("main")
        recipe, rows = cube.state(session)
        lacking = [header for header in todo if not rows.has(header)]
        if not lacking:
            return []
        todo = _first_batch(lacking, cube.batch)
        _check(cube, recipe, todo)
        fits, part = _fit(cube, session, recipe, todo, rows)
        for fit in fits:
            grow_group(session, fit, containers)
        labels = {url: label for fit in fits for url, label in fit.labels.items()}
        update_rows(session.store, cube.group, rows, todo, [labels[header.url] for header in todo])
        metadata = {
            "files": len(todo),
            "references": part.references,
            "sources": len(rows) + len(part.added),
        }
        part.snapshots.append(session.commit(cube.message or _message(part, todo), metadata))
        configured(storage, (), containers)
    for name in ("snapshots", "added", "replaced", "warnings"):
        getattr(done, name).extend(getattr(part, name))
    done.late += part.late
    done.references += part.references
    return lacking[len(todo) :]


def _first_batch(headers: Sequence[FileHeader], limit: int) -> list[FileHeader]:
    counts = np.cumsum([int(np.count_nonzero(header.array.lengths)) for header in headers])
    return list(headers[: max(1, int(np.searchsorted(counts, limit, side="right")))])


def _fit(
    cube: _Cube, session: icechunk.Session, recipe: Mapping[str, Any], headers: Sequence[FileHeader], rows: Rows
) -> tuple[list[Fit], _Done]:
    """Find out where files go, and what that changes."""
    plan = _plan(recipe, headers)
    found = {header.url: rows.find(header) for header in headers}
    old = {url: row for url, row in found.items() if row is not None}
    fits = [fit_group(session.store, group, old) for group in below(plan.groups, cube.group) if group.arrays]
    return fits, _Done(
        added=[url for url in found if url not in old],
        replaced=list(old),
        late=max(fit.merged.late for fit in fits),
        references=plan.references,
        warnings=list(plan.warnings),
    )


def _message(done: _Done, headers: Sequence[FileHeader]) -> str:
    parts = []
    if done.added:
        late = f" ({done.late} before the end)" if done.late else ""
        parts.append(f"append {len(done.added)} file{'s' * (len(done.added) > 1)}{late}")
    if done.replaced:
        parts.append(f"replace {len(done.replaced)} file{'s' * (len(done.replaced) > 1)}")
    head = " and ".join(parts)
    return "\n".join([head[0].upper() + head[1:], "", *file_names(headers)])
