"""Which of the files that are offered to a cube are new to it, and what their headers say."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from virtual_tiff.cube.columns import Identity, identity_of
from virtual_tiff.cube.facts import Inputs
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.known import Rows
from virtual_tiff.cube.reading import CONCURRENCY
from virtual_tiff.cube.recipe import Recipe
from virtual_tiff.cube.results import OnProgress, Scan
from virtual_tiff.cube.retry import RETRIES
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.scan import scan
from virtual_tiff.cube.stages import OnStage, tell_stage
from virtual_tiff.cube.stores import Location

_MAX_NAMES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How files are read, see :func:`virtual_tiff.cube.scan.scan`; that known ones are asked for is told as "ask"."""

    ledger: str | os.PathLike[str] | None = None
    concurrency: int = CONCURRENCY
    retries: int = RETRIES
    executor: Any = None
    on_progress: OnProgress | None = None
    on_stage: OnStage | None = None


def scan_new(inputs: Inputs, rows: Rows, recipe: Recipe, reading: Reading) -> Scan:
    """Read the headers of the files that a cube does not have in this version, as it reads headers.

    A file that the cube has costs one small request, or none when a ledger among the inputs has the version that the
    cube has. When such a ledger has another version, or the file has changed, the store is asked before a header of a
    ledger is believed.

    Parameters
    ----------
    inputs
        The files that are offered.
    rows, recipe
        Of the cube.
    reading
        How files are read.

    Raises
    ------
    VirtualTiffError
        As :func:`virtual_tiff.cube.scan.scan`; files that cannot be read are failures.
    """
    rows.look_up(place.url for place in inputs.places)
    known = [rows.identity(place.url) for place in inputs.places]
    unknown = run(_find_unknown(inputs, known, reading))
    doubtful = {place.url for place in unknown if rows.number(place.url) is not None}
    if reading.ledger is None and not inputs.known:
        return _scan(inputs, unknown, recipe, reading)
    parts = (
        _scan(inputs, [place for place in unknown if place.url not in doubtful], recipe, reading),
        _scan(inputs, [place for place in unknown if place.url in doubtful], recipe, reading, refresh=True),
    )
    order = {place.url: number for number, place in enumerate(unknown)}
    return Scan(
        headers=tuple(sorted((one for part in parts for one in part.headers), key=lambda one: order[one.url])),
        failures=tuple(sorted((one for part in parts for one in part.failures), key=lambda one: order[one.url])),
        reused=sum(part.reused for part in parts),
        gone=tuple(url for part in parts for url in part.gone),
    )


def unused_notes(inputs: Inputs, rows: Rows, headers: Sequence[FileHeader], *, rule: object) -> tuple[str, ...]:
    """What there is to tell, to one who asks for a rule for duplicates, of known files that it does not concern.

    Parameters
    ----------
    inputs
        The files that are offered.
    rows
        Of the cube.
    headers
        Those files that the cube does not have in this version.
    rule
        What is asked for, or None.
    """
    if rule is None:
        return ()
    new = {header.url for header in headers}
    left = rows.unused(place.url for place in inputs.places if place.url not in new)
    if not left:
        return ()
    names = [url.rpartition("/")[2] for url in left[:_MAX_NAMES]]
    more = f" and {len(left) - _MAX_NAMES} more" if len(left) > _MAX_NAMES else ""
    why = (
        "others have their places, or they lie outside; a rule for duplicates decides when a file comes in, or changes"
    )
    return (f"known and not used: {', '.join(names)}{more} ({why})",)


def _scan(
    inputs: Inputs, places: Sequence[Location], recipe: Recipe, reading: Reading, *, refresh: bool = False
) -> Scan:
    if not places:
        inputs.check_options(recipe.reading)
        return Scan((), ())
    return scan(
        inputs.only(places),
        ifd=recipe.reading.ifd,
        options=recipe.reading.chunks,
        overviews=recipe.reading.overviews,
        refresh=refresh,
        ledger=reading.ledger,
        concurrency=reading.concurrency,
        retries=reading.retries,
        executor=reading.executor,
        on_progress=reading.on_progress,
    )


async def _find_unknown(inputs: Inputs, known: Sequence[Identity | None], reading: Reading) -> list[Location]:
    """The files of which not the version that is known is there; None stands for those that are not known."""
    there = {place.url: one for place, one in zip(inputs.places, known, strict=True) if one is not None}
    scanned = {url: identity_of(inputs.known[url]) for url in there.keys() & inputs.known.keys()}
    same = {url for url, one in scanned.items() if there[url].same(one)}
    asked = [place for place in inputs.places if place.url in there.keys() - same]
    gate = asyncio.Semaphore(reading.concurrency)
    done = count(1)

    async def ask(place: Location) -> None:
        async with gate:
            now = await _identify(place)
        if now is not None and there[place.url].same(now):
            same.add(place.url)
        tell_stage(reading.on_stage, "ask", next(done), len(asked))

    await asyncio.gather(*map(ask, asked))
    return [place for place in inputs.places if place.url not in same]


async def _identify(place: Location) -> Identity | None:
    """What the store says of a file now; None when it says nothing, then reading the header will tell why."""
    try:
        now = await place.store.head_async(place.path)
    except Exception:  # noqa: BLE001 (some servers refuse HEAD)
        return None
    return Identity.of(now["e_tag"], now["size"], now["last_modified"])
