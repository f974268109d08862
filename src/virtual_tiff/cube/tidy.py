"""Removing from a repository what killed and failed runs left, and on request the history."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from virtual_tiff.cube.commit import DAY, abandoned, remove_branch
from virtual_tiff.cube.patient import insist
from virtual_tiff.cube.stores import locate
from virtual_tiff.cube.target import open_existing, remove_dead, writing
from virtual_tiff.errors import TargetError, UsageError

_CLOCK: Final = timedelta(seconds=1.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tidied:
    """What was removed: working branches, snapshots of the history, objects and their bytes."""

    url: str
    branches: tuple[str, ...]
    expired: int
    objects: int
    bytes: int


def tidy(
    cube: str | os.PathLike[str],
    *,
    older_than: timedelta = DAY,
    keep_history: timedelta | None = None,
    dry_run: bool = False,
) -> Tidied:
    """Remove what killed and failed runs left in a repository.

    These are working branches, and objects that no branch, tag or snapshot of the history refers to. Readers are not
    disturbed, nor are writers, as long as none has been at work for longer than `older_than`.

    Parameters
    ----------
    cube
        The repository.
    older_than
        What is younger stays. Zero only when nobody is writing: it takes away what a running writer needs.
    keep_history
        Drop the snapshots that are older, except the newest one of each branch and those with tags: then nobody can go
        back to them. None keeps all.
    dry_run
        Count, and remove nothing. What only dropped branches and snapshots refer to is not counted.

    Raises
    ------
    TargetError
        ``target-missing`` or ``target-denied``.
    UsageError
        ``usage`` for a negative time.
    """
    for name, span in (("older_than", older_than), ("keep_history", keep_history)):
        if span is not None and span < timedelta(0):
            raise UsageError(f"{name}={span}", feature="usage", hint="It must be zero or more.")
    place = locate(cube)
    if place.scheme in ("http", "https"):
        found = "a web server cannot be written"
        raise TargetError(found, feature="target-denied", url=place.url, hint="Write to a directory or a bucket.")
    if place.local is not None and not dry_run:
        remove_dead(place.local)
    now = datetime.now(UTC)
    with writing(place):
        repository = open_existing(place)
        branches = abandoned(repository, now - older_than)
        expired: set[str] = set()
        if not dry_run:
            for branch in branches:
                remove_branch(repository, branch)
            if keep_history is not None:
                expired = insist(lambda: repository.expire_snapshots(now - keep_history))
        if older_than < _CLOCK:  # storages tell times in whole seconds
            time.sleep(_CLOCK.total_seconds())
            now = datetime.now(UTC)
        summary = insist(lambda: repository.garbage_collect(now - older_than, dry_run=dry_run))
    objects = (
        summary.chunks_deleted
        + summary.manifests_deleted
        + summary.snapshots_deleted
        + summary.attributes_deleted
        + summary.transaction_logs_deleted
    )
    return Tidied(
        url=place.url,
        branches=tuple(branches),
        expired=len(expired),
        objects=objects,
        bytes=summary.bytes_deleted,
    )
