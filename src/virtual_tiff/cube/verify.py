"""Whether the sources of a cube, or of a scan, are still what they were when they were read.

Each source is asked about (HEAD) and compared with the ledger. One whose ETag or time of change differs is compared
by a part of its bytes, where such a part is known: see :mod:`virtual_tiff.cube.sample`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from virtual_tiff.cube.access import repository_storage
from virtual_tiff.cube.append import append
from virtual_tiff.cube.commit import commit
from virtual_tiff.cube.fresh import round_up
from virtual_tiff.cube.heads import Head, ask_all
from virtual_tiff.cube.ledger import read_ledger
from virtual_tiff.cube.open import Credentials
from virtual_tiff.cube.patient import PatientStore, insist, opened
from virtual_tiff.cube.pixels import Pixels, compare_pixels
from virtual_tiff.cube.reading import CONCURRENCY, check_concurrency
from virtual_tiff.cube.retry import RETRIES
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.sample import extent_of, head_digest, sampled_digest
from virtual_tiff.cube.scan import scan_async
from virtual_tiff.cube.sources import UNKNOWN_SIZE, UNKNOWN_TIME, ledger_column, read_recipe, read_rows, refresh_rows
from virtual_tiff.cube.stages import OnStage, tell_stage
from virtual_tiff.cube.stores import OBJECT_STORES, Location, locate
from virtual_tiff.cube.target import NAME_THE_CUBE, open_existing, translated, writing
from virtual_tiff.errors import SourceError, TargetError, UsageError, VirtualTiffError
from virtual_tiff.tiff.source import Source

type State = Literal["same", "touched", "changed", "missing", "unreachable"]

STATES: Final[tuple[State, ...]] = ("same", "touched", "changed", "missing", "unreachable")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS: Final = ("url", "used", "etag", "size", "last_modified", "digest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A source as the ledger has it."""

    place: Location
    size: int | None
    etag: str | None
    last_modified: datetime | None
    digest: str | None


@dataclass(frozen=True, slots=True)
class Checked:
    """The state of one source.

    ``readable`` says whether the cube still reads it: a touched file on object storage is known by its ETag, while
    elsewhere the time of change is what readers compare. ``why`` is a phrase for people.
    """

    url: str
    state: State
    readable: bool
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a verification found, and what it did.

    ``asked`` is the number of chunks that were to be compared; ``pixels`` has fewer where the cube has fewer.
    ``fixed`` and ``accepted`` are the URLs of sources whose references were written anew in ``snapshots``; among
    ``sources`` they have the state that was found before.
    """

    url: str
    sources: tuple[Checked, ...]
    asked: int = 0
    pixels: tuple[Pixels, ...] = ()
    fixed: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    snapshots: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[State, int]:
        """Number of sources in each state."""
        return {state: sum(one.state == state for one in self.sources) for state in STATES}

    @property
    def problems(self) -> tuple[Checked, ...]:
        """The sources that the cube does not read, and that were neither fixed nor accepted."""
        done = {*self.fixed, *self.accepted}
        return tuple(one for one in self.sources if not one.readable and one.url not in done)

    @property
    def ok(self) -> bool:
        """Whether the cube reads all of its sources, and the compared pixels agree."""
        return not self.problems and all(one.agree for one in self.pixels)

    @property
    def exit_code(self) -> int:
        """For a cron job: 0 all is well; 1 sources differ or are missing, or pixels differ; 3 some are unreachable."""
        if self.ok:
            return 0
        definite = any(one.state != "unreachable" for one in self.problems)
        return 1 if definite or not all(one.agree for one in self.pixels) else 3

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values: counts, and each source that is not the same."""
        return {
            "url": self.url,
            "ok": self.ok,
            "counts": dict(self.counts),
            "sources": [
                {"url": one.url, "state": one.state, "readable": one.readable, "why": one.why}
                for one in self.sources
                if one.state != "same"
            ],
            "asked": self.asked,
            "pixels": [one.to_json() for one in self.pixels],
            "fixed": list(self.fixed),
            "accepted": list(self.accepted),
            "failed": dict(self.failed),
            "snapshots": list(self.snapshots),
        }


def verify(
    cube: str | os.PathLike[str],
    *,
    group: str = "",
    pixels: int = 0,
    fix: bool = False,
    accept: bool = False,
    concurrency: int = CONCURRENCY,
    retries: int = RETRIES,
    credentials: Credentials | None = None,
    seed: int | None = None,
    on_stage: OnStage | None = None,
) -> Verification:
    """Compare the sources of a cube, or of the ledger of a scan, with what they were.

    Parameters
    ----------
    cube
        A published cube, or the Parquet file of a scan.
    group
        The group of the cube in its repository.
    pixels
        Read so many random chunks through the cube, and from their files by our decoder and by GDAL (where rasterio
        is installed), and compare: different ones, of as many files as possible, of all levels and masks.
    fix
        Read the headers of changed sources again, and write their references in new snapshots. Files that cannot be
        read or no longer fit the cube stay as they are; ``failed`` of the result says why.
    accept
        Do so for touched sources, whose bytes are the same: readers accept them again.
    concurrency
        Sources that are asked at the same time.
    retries
        Further attempts for each source that cannot be reached.
    credentials
        For the containers, see :func:`virtual_tiff.cube.open.open_repository`; needed for `pixels` only.
    seed
        Of the choice of chunks.
    on_stage
        Called after each source that was asked about ("ask") and each chunk that was compared ("compare").

    Raises
    ------
    TargetError
        ``target-missing``, ``target-not-a-cube``; with `fix` and `accept`, what
        :func:`virtual_tiff.cube.append.append` raises.
    UsageError
        ``usage`` for a ledger with `pixels`, `fix` or `accept`: those need a cube.
    """
    check_concurrency(concurrency)
    if pixels < 0:
        raise UsageError(f"pixels={pixels}", feature="usage", hint="It is a number of chunks.")
    if _is_parquet(cube):
        if pixels or fix or accept:
            found = "pixels, fix and accept need a cube, not the ledger of a scan"
            hint = "Scanning their folder again with --refresh reads changed files, and takes out those that are gone."
            raise UsageError(found, feature="usage", url=str(cube), hint=hint)
        known = [_from_header(header) for header in read_ledger(cube).headers]
        sources = run(_check_all(known, concurrency, retries, on_stage))
        return Verification(url=str(cube), sources=tuple(sources))
    place = locate(cube)
    known = recorded_sources(place, group)
    sources = run(_check_all(known, concurrency, retries, on_stage))
    compared: tuple[Pixels, ...] = ()
    if pixels:
        readable = {one.url for one in sources if one.readable}
        done = itertools.count(1)
        compared = compare_pixels(
            place,
            group,
            readable,
            pixels,
            credentials=credentials,
            seed=seed,
            on_compared=lambda _: tell_stage(on_stage, "compare", next(done), pixels),
        )
    to_fix = [one.url for one in sources if one.state == "changed"] if fix else []
    to_accept = [one.url for one in sources if one.state == "touched"] if accept else []
    snapshots, failed = _write_again(place, group, to_fix + to_accept, concurrency)
    return Verification(
        url=place.url,
        sources=tuple(sources),
        asked=pixels,
        pixels=compared,
        fixed=tuple(url for url in to_fix if url not in failed),
        accepted=tuple(url for url in to_accept if url not in failed),
        failed=failed,
        snapshots=snapshots,
    )


def recorded_sources(place: Location, group: str = "") -> list[Recorded]:
    """The sources of a cube as its ledger has them.

    Raises
    ------
    TargetError
        ``target-missing`` or ``target-not-a-cube``.
    """
    with translated(place):
        store = PatientStore.of(open_existing(place).readonly_session("main"))
        try:
            read_recipe(store, group.strip("/"))  # knows the version of the ledger
            columns = [np.asarray(ledger_column(store, group.strip("/"), name)[:]).tolist() for name in _COLUMNS]
        except FileNotFoundError as error:
            found = f"the repository has no ledger of sources at /{group.strip('/')}"
            raise TargetError(found, feature="target-not-a-cube", url=place.url, hint=NAME_THE_CUBE) from error
    rows = [dict(zip(_COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]
    return [_from_row(row) for row in rows if row["used"]]


def _from_row(row: Mapping[str, Any]) -> Recorded:
    changed = row["last_modified"]
    return Recorded(
        place=locate(row["url"]),
        size=None if row["size"] == UNKNOWN_SIZE else row["size"],
        etag=row["etag"] or None,
        last_modified=None if changed == UNKNOWN_TIME else _EPOCH + timedelta(microseconds=changed),
        digest=row["digest"] or None,
    )


def _from_header(header: Any) -> Recorded:
    names = ("place", "size", "etag", "last_modified", "digest")
    return Recorded(**{name: getattr(header, name) for name in names})


def _is_parquet(cube: str | os.PathLike[str]) -> bool:
    text = os.fspath(cube)
    return "://" not in text and Path(text).suffix.lower() == ".parquet" and not Path(text).is_dir()


# States


async def _check_all(
    known: Sequence[Recorded], concurrency: int, retries: int, on_stage: OnStage | None = None
) -> list[Checked]:
    answers: dict[str, Head | SourceError] = {}

    def note(source: Recorded, answer: Head | SourceError) -> None:
        answers[source.place.url] = answer
        tell_stage(on_stage, "ask", len(answers), len(known))

    await ask_all(known, concurrency=concurrency, retries=retries, on_answer=note)
    gate = asyncio.Semaphore(concurrency)

    async def check(source: Recorded) -> Checked:
        async with gate:
            return await _check(source, answers[source.place.url])

    return list(await asyncio.gather(*map(check, known)))


async def _check(source: Recorded, answer: Head | SourceError) -> Checked:
    url = source.place.url
    if isinstance(answer, SourceError):
        state: State = "missing" if answer.feature == "not-found" else "unreachable"
        return Checked(url, state, readable=False, why=answer.found)
    if answer.same_as(source):
        return Checked(url, "same", readable=True)
    if None not in (source.size, answer.size) and source.size != answer.size:
        return Checked(url, "changed", readable=False, why=f"{source.size} bytes have become {answer.size}")
    if source.place.scheme in OBJECT_STORES and source.etag and source.etag == answer.etag:
        # Only on S3 do readers compare the ETag, see fresh.py.
        readable = source.place.scheme == "s3"
        return Checked(url, "touched", readable=readable, why="the ETag is the same, the time of change is not")
    return await _check_bytes(source, answer)


async def _check_bytes(source: Recorded, answer: Head) -> Checked:
    """Compare a part of the bytes; where that proves nothing, a source counts as changed."""
    url = source.place.url
    extent = extent_of(source.digest)
    try:
        now = await _digest_now(source.place, answer)
    except SourceError as error:
        state: State = "changed" if error.feature == "source-changed" else "unreachable"
        return Checked(url, state, readable=False, why=error.found)
    if extent in ("whole", "sample") and now == source.digest:
        covered = "all bytes are" if extent == "whole" else "a sample of the bytes is"
        differing = "ETag" if answer.last_modified == source.last_modified else "time of change"
        readable = _is_read_by_time(source, answer)
        return Checked(url, "touched", readable=readable, why=f"{covered} the same, the {differing} is not")
    if extent == "head" and now == source.digest:
        why = "ETag or time of change differ; the first 32 KiB are the same, of the rest nothing is known"
        return Checked(url, "changed", readable=False, why=why)
    return Checked(url, "changed", readable=False, why="the bytes differ" if extent else "ETag or time differ")


def _is_read_by_time(source: Recorded, answer: Head) -> bool:
    """Whether readers, who compare times where there is no object store, take a file for that which was read.

    So they do with one that came back from a backup with its old time; a local file's ETag names its inode.
    """
    before, now = source.last_modified, answer.last_modified
    if source.place.scheme in OBJECT_STORES or before is None or now is None:
        return False
    return now <= round_up(before)


async def _digest_now(place: Location, answer: Head) -> str | None:
    if place.local is not None:
        return sampled_digest(place.local, size=answer.size, last_modified=answer.last_modified)
    source = Source(place.store, place.path, place.url)
    await source.open_async()
    return await source.run_async(head_digest(source.origin.size))


# Writing again


def _write_again(
    place: Location, group: str, urls: Sequence[str], concurrency: int
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Read sources again and write their references; returns the snapshots, and why some cannot be."""
    if not urls:
        return (), {}
    failed: dict[str, str] = {}

    def note(failure: Any) -> None:
        failed[failure.place.url] = str(failure.error)

    try:
        done = append(
            urls,
            _target(place),
            group=group,
            on_error="skip",
            on_misfit="skip",
            concurrency=concurrency,
            on_failure=note,
            message=f"Verify: {len(urls)} source{'s' * (len(urls) > 1)} read again",
        )
    except VirtualTiffError:
        if failed.keys() != set(urls):
            raise
        return (), failed
    rest = [url for url in urls if url not in failed and url not in done.replaced]
    return (*done.snapshots, *_note_times(place, group, rest, concurrency)), failed


def _note_times(place: Location, group: str, urls: Sequence[str], concurrency: int) -> tuple[str, ...]:
    """Note the new times of sources whose ETag is the same: their references hold, only the ledger is old."""
    if not urls:
        return ()
    headers = run(scan_async([locate(url) for url in urls], concurrency=concurrency)).headers
    with writing(place), translated(place):
        repository = opened(repository_storage(place).make())
        session = insist(partial(repository.writable_session, "main"))
        rows = read_rows(PatientStore.of(session), group.strip("/"))
        same = [header for header in headers if rows.has(header)]
        if not same:
            return ()
        refresh_rows(session.store, group.strip("/"), rows, same)
        return (commit(repository, session, f"Verify: {len(same)} touched sources accepted"),)


def _target(place: Location) -> str:
    """A repository as a path or URL that :func:`locate` takes."""
    return str(place.local) if place.local is not None else place.url
