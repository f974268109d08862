"""Commits that are made once, also when the answer of the storage gets lost on its way.

Each commit carries a word of its own in its metadata. When a commit fails or conflicts, it is looked for first:
the one that is there already may be this very one.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import icechunk

from virtual_tiff.cube.patient import insist, next_pause, pauses

WORD: Final = "write"
"""The name of the word in the metadata of a commit."""

DAY: Final = timedelta(days=1)
"""No run takes so long: what is older belongs to none that is still at work."""

_BRANCH: Final = re.compile(r"publish-(?:(\d{8}T\d{6})Z-)?[0-9a-f]{16}")


def commit(
    repository: icechunk.Repository, session: icechunk.Session, message: str, metadata: Mapping[str, Any] | None = None
) -> str:
    """Commit a session and return the new snapshot.

    Raises
    ------
    ConflictError
        Of Icechunk, when another writer was faster; nothing has been committed then.
    """
    branch, base = session.branch or "main", session.snapshot_id
    told = {**(metadata or {}), WORD: secrets.token_hex(8)}

    def look() -> str | None:
        for one in insist(lambda: list(_since(repository, branch, base))):
            if one.metadata.get(WORD) == told[WORD]:
                return one.id
        return None

    return _once(lambda: session.commit(message, told), look)


def commit_parts(
    repository: icechunk.Repository,
    base: str,
    count: int,
    write: Callable[[icechunk.Session, int], tuple[str, Mapping[str, Any]]],
) -> str:
    """Commit so many parts on top of a snapshot; readers of the main branch see all of them or none.

    Parts are committed on a branch of their own, which becomes the main one at the end. Such branches of runs that
    were killed more than a day ago are removed.

    Parameters
    ----------
    repository
        The repository.
    base
        The snapshot at which the main branch must be.
    count
        Number of parts.
    write
        Writes a part, by its number, into a session; returns the message and the metadata of its commit.

    Raises
    ------
    ConflictError
        Of Icechunk, when the main branch is no longer at `base`; then it stays as it is.
    """
    branch = f"publish-{datetime.now(UTC):%Y%m%dT%H%M%S}Z-{secrets.token_hex(8)}"
    _create_branch(repository, branch, base)
    try:
        snapshot = base
        for number in range(count):
            session = insist(lambda: repository.writable_session(branch))
            message, metadata = write(session, number)
            snapshot = commit(repository, session, message, metadata)
        _move_main(repository, snapshot, base)
    finally:
        remove_branch(repository, branch)
    remove_abandoned(repository)
    return snapshot


def remove_abandoned(repository: icechunk.Repository, age: timedelta = DAY) -> None:
    """Remove the working branches that are older, if possible: what stays is removed by a later run."""
    with contextlib.suppress(icechunk.IcechunkError):
        for branch in insist(lambda: abandoned(repository, datetime.now(UTC) - age)):
            remove_branch(repository, branch)


def abandoned(repository: icechunk.Repository, before: datetime) -> list[str]:
    """The working branches of runs that began before a moment and have not removed them."""
    times = {branch: _begun(branch) for branch in repository.list_branches()}
    return sorted(branch for branch, time in times.items() if time is not None and time < before)


def remove_branch(repository: icechunk.Repository, branch: str) -> None:
    """Remove a working branch, if possible: one that stays is removed by a later run."""
    with contextlib.suppress(icechunk.IcechunkError):
        insist(lambda: repository.delete_branch(branch))


def _begun(branch: str) -> datetime | None:
    """When the run began whose working branch this is; None for other branches.

    The working branches of version 0 have no time in their names: they count as begun long ago.
    """
    match = _BRANCH.fullmatch(branch)
    if match is None:
        return None
    if match[1] is None:
        return datetime.fromtimestamp(0, UTC)
    return datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)


def _create_branch(repository: icechunk.Repository, branch: str, base: str) -> None:
    def look() -> bool | None:
        return True if branch in insist(repository.list_branches) else None

    def create() -> bool:
        repository.create_branch(branch, base)
        return True

    _once(create, look)


def _move_main(repository: icechunk.Repository, snapshot: str, base: str) -> None:
    def look() -> bool | None:
        there = insist(lambda: [one.id for one in _since(repository, "main", base)])
        return True if snapshot in there else None

    def move() -> bool:
        repository.reset_branch("main", snapshot, from_snapshot_id=base)
        return True

    _once(move, look)


def _once[T](act: Callable[[], T], look: Callable[[], T | None]) -> T:
    """Do something once. After a failure look whether it was done nevertheless, and only else do it again."""
    waits = pauses()
    while True:
        try:
            return act()
        except icechunk.IcechunkError as error:
            done = look()
            if done is not None:
                return done
            pause = next_pause(error, waits)
            if pause is None:
                raise
        time.sleep(pause)


def _since(repository: icechunk.Repository, branch: str, base: str) -> list[icechunk.SnapshotInfo]:
    """The snapshots of a branch, newest first, that came after another one."""
    found: list[icechunk.SnapshotInfo] = []
    for one in repository.ancestry(branch=branch):
        if one.id == base:
            break
        found.append(one)
    return found
