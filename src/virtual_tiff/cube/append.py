"""Adding files to a published cube: new ones, late ones and new versions of old ones; each commit is complete."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Final, Literal

import icechunk
import numpy as np

from virtual_tiff.cube.access import repository_storage
from virtual_tiff.cube.arrivals import Reading, scan_new, unused_notes
from virtual_tiff.cube.assign import Standing, check_time, described
from virtual_tiff.cube.change import Change, plan_change, write_change
from virtual_tiff.cube.commit import commit, remove_abandoned
from virtual_tiff.cube.configure import configured
from virtual_tiff.cube.container import containers_for
from virtual_tiff.cube.executor import check_executor
from virtual_tiff.cube.fresh import settle
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.known import Rows
from virtual_tiff.cube.listed import Input
from virtual_tiff.cube.misfits import sift
from virtual_tiff.cube.patient import PatientStore, insist, opened
from virtual_tiff.cube.persist import BATCH, file_names
from virtual_tiff.cube.plan import stack_options
from virtual_tiff.cube.reading import CONCURRENCY
from virtual_tiff.cube.recipe import Recipe
from virtual_tiff.cube.results import Failure, OnProgress
from virtual_tiff.cube.retry import RETRIES
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.sources import read_recipe, read_rows
from virtual_tiff.cube.stages import OnStage, Stage, tell_stage
from virtual_tiff.cube.stores import Location, locate
from virtual_tiff.cube.target import NAME_THE_CUBE, open_existing, taken, translated, writing
from virtual_tiff.cube.views import OnDuplicate
from virtual_tiff.cube.write import below
from virtual_tiff.errors import TargetError, UsageError

_TRIES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """What an append did, or with ``dry_run`` what it would do.

    ``added``, ``replaced`` and ``unused`` are URLs: ``replaced`` files took the place of older ones, ``unused``
    files have no place, because another has it or because they lie outside the area of the cube. ``unchanged``
    counts the files that were known already, and ``late`` those of `added` that lie before the old end of the first
    axis. ``failed`` says, by URL, why files could not be read or do not fit. ``new_groups`` are groups that were added
    for files that fit no other. ``snapshots`` are the new ones, oldest first: none when nothing was written.
    ``new_containers`` are prefixes that readers must know from now on.
    """

    url: str
    group: str
    dry_run: bool
    snapshots: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    unchanged: int = 0
    late: int = 0
    references: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    new_groups: tuple[str, ...] = ()
    new_containers: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Cube:
    """The cube that grows."""

    place: Location
    group: str
    batch: int
    message: str | None
    time: object = None
    on_duplicate: OnDuplicate | None = None
    executor: Any = None
    skips: bool = False
    on_stage: OnStage | None = None
    seen: dict[str, tuple[Recipe, Rows]] = field(default_factory=dict)
    planned: dict[tuple[str, tuple[str, ...]], Change] = field(default_factory=dict)
    misfits: dict[str, Failure] = field(default_factory=dict)

    def state(self, session: icechunk.Session) -> Standing:
        """How the cube was made, and its ledger; each snapshot is read once."""
        if session.snapshot_id not in self.seen:
            self.seen.clear()
            self.seen[session.snapshot_id] = self._read(session)
        recipe, rows = self.seen[session.snapshot_id]
        return Standing(
            place=self.place,
            group=self.group,
            snapshot=session.snapshot_id,
            store=PatientStore.of(session),
            recipe=recipe,
            rows=rows,
            time=self.time,
            on_duplicate=self.on_duplicate,
        )

    def fitting(self, standing: Standing, headers: Sequence[FileHeader]) -> list[FileHeader]:
        """The files that fit, when the others are to be skipped; these are noted."""
        if not self.skips or not headers:
            return list(headers)
        for tree in standing.recipe.trees:
            standing.options(tree)  # what is wrong with the options is wrong with no file
        found, errors = sift(headers, lambda some: self.plan(standing, some))
        wrong = [header for header in headers if header.url in errors]
        self.misfits.update({header.url: Failure(header.place, errors[header.url]) for header in wrong})
        return found

    def plan(self, standing: Standing, headers: Sequence[FileHeader]) -> Change:
        """What files change, planned once for each snapshot."""
        key = standing.snapshot, tuple(header.url for header in headers)
        if key not in self.planned:
            self.planned.clear()
            self.planned[key] = plan_change(standing, headers)
        return self.planned[key]

    def _read(self, session: icechunk.Session) -> tuple[Recipe, Rows]:
        try:
            recipe = read_recipe(PatientStore.of(session), self.group)
        except FileNotFoundError as error:
            found = f"the repository has no cube of virtual-tiff at /{self.group}"
            raise TargetError(found, feature="target-not-a-cube", url=self.place.url, hint=NAME_THE_CUBE) from error
        if recipe is None:
            found = "nothing can be appended to this cube: it does not say how it was made"
            raise TargetError(found, feature="target-not-a-cube", url=self.place.url, hint="Publish it anew.")
        return recipe, read_rows(PatientStore.of(session), self.group)


@dataclass(slots=True)
class _Done:
    """What the commits so far did; ``foreseen`` are the references of all."""

    snapshots: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    new_groups: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    late: int = 0
    references: int = 0
    foreseen: int = 0

    def note(self, change: Change) -> None:
        """Add what a change does."""
        for entry in change.entries:
            url = entry.header.url
            kind = self.unused if entry.place is None else self.replaced if url in change.replaced else self.added
            kind.append(url)
        self.new_groups += [tree.path for tree in change.beside.trees] if change.beside is not None else []
        self.warnings += change.told("warnings")
        self.notes += change.told("notes")
        self.late += change.late
        self.references += change.references


def append(
    inputs: Input,
    cube: str | os.PathLike[str],
    *,
    group: str = "",
    time: Callable[[str], datetime] | None = None,
    dry_run: bool = False,
    batch: int = BATCH,
    message: str | None = None,
    on_duplicate: OnDuplicate | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    on_misfit: Literal["raise", "skip"] = "raise",
    ledger: str | os.PathLike[str] | None = None,
    concurrency: int = CONCURRENCY,
    retries: int = RETRIES,
    executor: Any = None,
    on_progress: OnProgress | None = None,
    on_failure: Callable[[Failure], None] | None = None,
    on_stage: OnStage | None = None,
) -> Appended:
    """Add files to a published cube.

    Files that the cube has are left alone: they are known by URL and ETag (where a server gives none, by size and
    time of change). Files with a known URL, or of a known item and asset of a catalogue, and another ETag replace
    the older version in its place. Others find their places by the options with which the cube was published: behind
    the last file, between others, or on new ground. When another writer commits first, everything is looked up and
    written again on top of that.

    Parameters
    ----------
    inputs
        As for :func:`virtual_tiff.cube.publish.publish`; files that the cube has may be among them. Patterns and
        choices of assets are those with which the cube was published. Of files in the ledger of a scan, only those
        are asked about that the cube has in another version.
    cube, group
        The repository, and the group of the cube in it.
    time
        The function from URL to time with which the cube was published, if it was.
    dry_run
        Check everything, and write nothing.
    batch
        References per commit at most. Each commit holds whole files.
    message
        Of the commits; by default it says what came in.
    on_duplicate
        What to do with files that claim the very same place as others, also as such that the cube has: "raise", or use
        the "first" or the "last"; by default as the cube was published. The rule of the cube stays. With "last" a file
        does not replace one that was updated later, where catalogues say of both when they were updated. A file that an
        earlier run left out stays so until it changes, whatever the rule: so the same inputs write nothing again.
    on_error
        What to do with files whose header cannot be read: "raise" the first error, or "skip" them.
    on_misfit
        What to do with files that do not fit the cube: "raise", or "skip" them and append the others. When none of the
        files fits or is known, that raises all the same.
    ledger
        A Parquet file that keeps what is read of new files, so that a run that is killed goes on from there.
    concurrency
        Files that are read at the same time.
    retries
        Further attempts for each file whose source cannot be reached.
    executor
        Reads headers and, where there are many, writes references on other processes or machines, see
        :func:`virtual_tiff.cube.executor.check_executor`.
    on_progress, on_failure
        Called after each new file, and for each that cannot be read or is skipped because it does not fit.
    on_stage
        Called with what is done next, and how far it has come: "ask" for each file that the cube has, "plan", "check",
        and for each commit "write" and "commit"; see :class:`virtual_tiff.cube.stages.Stage`. How many commits there
        will be cannot be foreseen, and other writers may leave fewer references to write.

    Raises
    ------
    ConformError
        ``conform``, ``misaligned`` or ``overlap`` when a file does not fit the cube.
    TargetError
        ``target-missing``, ``target-not-a-cube``, ``target-exists`` (other writers were always faster), ...
    SourceError
        ``source-changed`` when a file was replaced after its header had been read.
    """
    _check_choices(on_error=on_error, on_misfit=on_misfit, on_duplicate=on_duplicate, batch=batch)
    if executor is not None:
        check_executor(executor)
    skips = on_misfit == "skip"
    own = _Cube(locate(cube), group.strip("/"), batch, message, time, on_duplicate, executor, skips, on_stage)
    if own.place.scheme in ("http", "https"):
        found = "a web server cannot be written"
        raise TargetError(found, feature="target-denied", url=own.place.url, hint="Write to a directory or a bucket.")
    repository = open_existing(own.place)
    with translated(own.place):
        standing = own.state(insist(partial(repository.readonly_session, "main")))
    check_time(standing)
    reading = Reading(
        ledger=ledger,
        concurrency=concurrency,
        retries=retries,
        executor=executor,
        on_progress=on_progress,
        on_stage=on_stage,
    )
    named = standing.recipe.gather(inputs)
    scanned = scan_new(named, standing.rows, standing.recipe, reading)
    failures = list(scanned.failures)
    tell = on_failure or (lambda _: None)
    for failure in failures:
        tell(failure)
    if on_error == "raise":
        scanned.check()
    standing.rows.look_up_all(scanned.headers)
    headers = [described(standing, header) for header in scanned.headers if not standing.rows.has(header)]
    if time is None and all(header.time is not None for header in headers):  # the ledger has those of known files
        own, standing = replace(own, time="keys"), replace(standing, time="keys")
    before = set(repository.config.virtual_chunk_containers or {})
    done = _Done()
    done.notes += unused_notes(named, standing.rows, headers, rule=on_duplicate)
    with translated(own.place):
        headers, change = _foresee(own, standing, headers)
        if change is not None:
            done.foreseen = change.references
            if dry_run:
                done.note(change)
        told = list(own.misfits.values())
        for failure in told:
            tell(failure)
        if told and len(told) + len(failures) == len(named.places):
            raise told[0].error
    if not dry_run:
        _write(own, headers, done)
    for failure in list(own.misfits.values())[len(told) :]:  # because of another writer
        tell(failure)
    failures += own.misfits.values()
    containers = set() if dry_run else set(open_existing(own.place).config.virtual_chunk_containers or {}) - before
    handled = len(done.added) + len(done.replaced) + len(done.unused)
    return Appended(
        url=own.place.url,
        group=own.group,
        dry_run=dry_run,
        snapshots=tuple(done.snapshots),
        added=tuple(done.added),
        replaced=tuple(done.replaced),
        unused=tuple(done.unused),
        unchanged=len(named.places) - handled - len(failures),
        late=done.late,
        references=done.references,
        failed={failure.url: str(failure.error) for failure in failures},
        new_groups=tuple(dict.fromkeys(done.new_groups)),
        new_containers=tuple(sorted(containers)),
        warnings=tuple(dict.fromkeys(done.warnings)),
        notes=tuple(dict.fromkeys(done.notes)),
    )


def _check_choices(*, on_error: object, on_misfit: object, on_duplicate: object, batch: int) -> None:
    for name, value in (("on_error", on_error), ("on_misfit", on_misfit)):
        if value not in ("raise", "skip"):
            raise UsageError(f"{name}={value!r}", feature="usage", hint="Choose 'raise' or 'skip'.")
    if on_duplicate is not None:
        stack_options(None, on_duplicate=on_duplicate)
    if batch < 1:
        raise UsageError(f"batch={batch}", feature="usage", hint="It is a number of references.")


def _foresee(cube: _Cube, standing: Standing, headers: Sequence[FileHeader]) -> tuple[list[FileHeader], Change | None]:
    """Plan all files at once, and check that those that fit are still what was read; nothing is written."""
    if not headers:
        return [], None
    tell_stage(cube.on_stage, "plan")
    fitting = cube.fitting(standing, headers)
    if not fitting:
        return [], None
    change = cube.plan(standing, fitting)
    tell_stage(cube.on_stage, "check")
    run(settle(fitting))
    return fitting, change


def _write(cube: _Cube, headers: Sequence[FileHeader], done: _Done) -> None:
    """Commit part by part, and begin a part again when another writer was faster."""
    headers = list(headers)
    tries = 0
    while headers:
        try:
            headers = _write_part(cube, headers, done)
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
        repository = opened(storage)
        standing = cube.state(insist(partial(repository.readonly_session, "main")))
        standing.rows.look_up_all(headers)
        lacking = [header for header in headers if not standing.rows.has(header)]
        if not lacking:
            return []
        batch = _first_batch(lacking, cube.batch)
        todo = cube.fitting(standing, batch)
        if not todo:
            return lacking[len(batch) :]
        known = repository.config.virtual_chunk_containers or {}
        change = cube.plan(standing, todo)
        used = (entry.header.place for entry in change.entries if entry.place is not None)
        containers = containers_for(used, known)
        new = () if change.beside is None else below(change.beside.groups, cube.group)
        repository = configured(storage, new, containers)
        session = insist(partial(repository.writable_session, "main"))
        now = cube.state(session)
        if now.snapshot != standing.snapshot:  # another writer was faster
            return [header for header in lacking if header.url not in cube.misfits]
        standing = now
        start = Stage("write", done.references, max(done.foreseen, done.references + change.references))
        write_change(session, standing, change, containers, cube.executor, on_stage=cube.on_stage, start=start)
        metadata = {
            "files": len(change.entries),
            "references": change.references,
            "sources": len(standing.rows) + len(change.entries) - len(change.replaced),
        }
        tell_stage(cube.on_stage, "commit", len(done.snapshots))
        done.snapshots.append(commit(repository, session, cube.message or _message(change), metadata))
        done.note(change)
        remove_abandoned(configured(storage, new, containers))
    return lacking[len(batch) :]


def _first_batch(headers: Sequence[FileHeader], limit: int) -> list[FileHeader]:
    counts = np.cumsum([int(np.count_nonzero(header.array.lengths)) for header in headers])
    return list(headers[: max(1, int(np.searchsorted(counts, limit, side="right")))])


def _message(change: Change) -> str:
    added = [entry.header for entry in change.entries if entry.place and entry.header.url not in change.replaced]
    parts = []
    if added:
        late = f" ({change.late} before the end)" if change.late else ""
        parts.append(f"append {len(added)} file{'s' * (len(added) > 1)}{late}")
    if change.replaced:
        count = len(change.replaced)
        parts.append(f"replace {count} file{'s' * (count > 1)}")
    unused = sum(entry.place is None for entry in change.entries)
    if unused:
        parts.append(f"note {unused} file{'s' * (unused > 1)} without a place")
    head = " and ".join(parts)
    headers = [entry.header for entry in change.entries]
    return "\n".join([head[0].upper() + head[1:], "", *file_names(headers)])
