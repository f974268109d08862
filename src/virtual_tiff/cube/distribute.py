"""Writing references by workers: each writes its share into a fork of the session, and the forks are merged.

A fork that comes back holds the references themselves; a worker stores nothing but inlined chunks, which are garbage
as long as no commit names them. So a worker that dies leaves nothing behind that a reader could see.

This does not make a commit faster: to merge references takes as long as to write them, and it is the commit, of this
process alone, that takes most of the time. What it spares this process is storing inlined chunks.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Sequence
from typing import Any, Final

import icechunk
import numpy as np

from virtual_tiff.cube.container import Container
from virtual_tiff.cube.executor import check_executor, run_on
from virtual_tiff.cube.patient import insist
from virtual_tiff.cube.runner import begin_threads, run
from virtual_tiff.cube.stages import OnStage, Stage, counted, tell_stage
from virtual_tiff.cube.target import translate_icechunk
from virtual_tiff.cube.write import ReferenceBlock, Task, batches, block_of, write_blocks, write_references

SHARE: Final = 100_000
"""References that a worker writes at a time, at least: a fork of so many is 7 MB."""

MAX_SHARES: Final = 64
"""Shares of one commit at most; then each has more references."""


def write_told(
    session: icechunk.Session,
    tasks: Sequence[Task],
    containers: Sequence[Container],
    executor: Any,
    *,
    url: str,
    on_stage: OnStage | None,
    start: Stage,
) -> None:
    """Write references here, or by the workers of an executor; what earlier commits wrote is in `start`."""
    tell_stage(on_stage, start.name, start.done, start.total)
    if executor is None:
        run(write_references(session.store, counted(tasks, lambda task: task.references, on_stage, start), containers))
        return
    written = start.done

    def note(references: int) -> None:
        nonlocal written
        written += references
        tell_stage(on_stage, start.name, written, start.total)

    write_parallel(session, tasks, containers, executor, url=url, on_written=note)


def write_parallel(
    session: icechunk.Session,
    tasks: Sequence[Task],
    containers: Sequence[Container],
    executor: Any,
    *,
    url: str = "",
    on_written: Callable[[int], None] | None = None,
) -> None:
    """Write references by the workers of an executor into a session, which is not committed.

    Call it once for each commit, after groups and arrays have been written: what is uncommitted by then goes, by
    :meth:`icechunk.Session.fork`, into a snapshot without a name, from which the workers start. That snapshot is no
    part of the history, and Icechunk's garbage collection removes it.

    The workers must reach the storage of the repository with the credentials of their own environment. They reach a
    repository in a local directory when they run on the same machine, or see that directory under the same path.

    Parameters
    ----------
    session
        A writable session. When this fails, discard it: some shares may have been merged.
    tasks, containers
        See :func:`virtual_tiff.cube.write.write_references`.
    executor
        See :func:`virtual_tiff.cube.executor.check_executor`.
    url
        The repository, for messages.
    on_written
        Called after each share, with the number of its references.

    Raises
    ------
    TargetError
        ``container`` when Icechunk refuses a reference, and what :func:`translate_icechunk` makes of its errors.
    SourceError
        ``worker`` and ``forked``, see :func:`virtual_tiff.cube.executor.run_on`.
    UsageError
        ``usage`` for what is no executor.
    """
    check_executor(executor)
    if not tasks:
        return
    limit = max(SHARE, -(-sum(task.references for task in tasks) // MAX_SHARES))
    fork = pickle.dumps(insist(session.fork))
    shares = ((fork, [block_of(task, containers) for task in share], url) for share in batches(tasks, limit))
    with contextlib.closing(run_on(executor, write_share, shares)) as forks:
        for written, references in forks:
            session.merge(pickle.loads(written))  # noqa: S301 (from workers that run what we tell them)
            if on_written is not None:
                on_written(references)


def write_share(fork: bytes, blocks: Sequence[ReferenceBlock], url: str) -> tuple[bytes, int]:
    """Write blocks into a fork of a session, in a worker; return the fork, and how many references came in.

    Forks travel pickled, so that they are unpickled where an error can be told.
    """
    begin_threads()
    try:
        session: icechunk.ForkSession = pickle.loads(fork)  # noqa: S301 (a worker trusts who started it)
        insist(lambda: run(write_blocks(session.store, blocks)))
        return pickle.dumps(session), sum(int(np.count_nonzero(block.lengths)) for block in blocks)
    except icechunk.IcechunkError as error:
        raise translate_icechunk(error, url) from error
