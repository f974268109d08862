"""What happened to a cube: its snapshots, newest first."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from virtual_tiff.cube.patient import insist
from virtual_tiff.cube.stores import locate
from virtual_tiff.cube.target import open_existing, translated


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One snapshot.

    ``files`` and ``references`` are those that came in with it, ``sources`` the files of the cube since then; None
    where the writer did not say.
    """

    snapshot: str
    time: datetime
    message: str
    files: int | None
    references: int | None
    sources: int | None

    @property
    def title(self) -> str:
        """The first line of the message."""
        return self.message.partition("\n")[0]


def log(cube: str | os.PathLike[str], *, branch: str = "main", limit: int | None = None) -> list[Commit]:
    """The snapshots of a repository, newest first, up to a number of them.

    Raises
    ------
    TargetError
        ``target-missing`` when no repository is there; ``target-not-a-cube`` when it has no such branch.
    """
    place = locate(cube)
    repository = open_existing(place)
    with translated(place):
        return [
            Commit(
                snapshot=one.id,
                time=one.written_at,
                message=one.message,
                files=one.metadata.get("files"),
                references=one.metadata.get("references"),
                sources=one.metadata.get("sources"),
            )
            for one in insist(lambda: list(islice(repository.ancestry(branch=branch), limit)))
        ]
