"""Writing a small cube by the workers of an executor, and workers that fail."""

from __future__ import annotations

import os
from collections.abc import Sequence
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import icechunk

from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube.access import repository_storage
from virtual_tiff.cube.configure import new_config
from virtual_tiff.cube.container import containers_for
from virtual_tiff.cube.distribute import write_parallel, write_share
from virtual_tiff.cube.plan import plan_stack
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.scan import scan
from virtual_tiff.cube.stores import locate
from virtual_tiff.cube.write import ReferenceBlock, tasks_of, write_groups


def write_cube(
    inputs: Sequence[str | Path], to: str | Path, executor: Any, options: ChunkOptions | None = None
) -> icechunk.Repository:
    """Publish a stack as :func:`virtual_tiff.publish` does: on a branch, that becomes the main one at the end."""
    found = scan(inputs, options=options)
    found.check()
    plan = plan_stack(found.headers)
    containers = containers_for(header.place for header in plan.headers)
    repository = make_repository(to, new_config(plan.groups, containers))
    base = repository.lookup_branch("main")
    repository.create_branch("work", base)
    session = repository.writable_session("work")
    run(write_groups(session.store, plan.groups))
    write_parallel(session, tasks_of(plan.groups), containers, executor, url=str(to))
    repository.reset_branch("main", session.commit("all"), from_snapshot_id=base)
    return repository


def make_repository(to: str | Path, config: icechunk.RepositoryConfig) -> icechunk.Repository:
    """A new repository, whose configuration is saved."""
    repository = icechunk.Repository.create(repository_storage(locate(to)).make(), config=config)
    repository.save_config()
    return repository


def is_untouched(to: str | Path) -> bool:
    """Whether the main branch of a repository has nothing but its birth."""
    repository = icechunk.Repository.open(repository_storage(locate(to)).make())
    return [snapshot.parent_id for snapshot in repository.ancestry(branch="main")] == [None]


class OddError(Exception):
    """An exception that can be pickled, but not unpickled."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


def fail_at_s3(fork: bytes, blocks: Sequence[ReferenceBlock], url: str) -> tuple[bytes, int]:
    """Write a share, but raise when it has the file s3.tif."""
    if any(block.url.endswith("/s3.tif") for block in blocks):
        raise OddError("no ", "luck")
    return write_share(fork, blocks, url)


def die_at_s3(fork: bytes, blocks: Sequence[ReferenceBlock], url: str) -> tuple[bytes, int]:
    """Write a share, but end the process when it has the file s3.tif."""
    if any(block.url.endswith("/s3.tif") for block in blocks):
        die()
    return write_share(fork, blocks, url)


def die() -> None:
    """End this process at once; it must be a worker."""
    assert parent_process() is not None
    os._exit(3)
