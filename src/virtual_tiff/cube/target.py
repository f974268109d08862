"""Where a cube is written: whether the place is free, and nothing left behind when writing fails.

A local cube is written beside its place, into ``.NAME.xxxxxxxx.partial``, and renamed. The folder is locked as
long as its process lives; what a killed one left there is removed by the next that writes to the same place.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import icechunk

from virtual_tiff.cube.access import repository_storage
from virtual_tiff.cube.lock import lock, locked, unlock
from virtual_tiff.cube.patient import insist, limited, opened, time_limits
from virtual_tiff.cube.stores import Location
from virtual_tiff.errors import SourceError, TargetError
from virtual_tiff.tiff.failures import source_error

_MISSING: Final = "no Icechunk repository is there"
_FIRST_OBJECTS: Final = frozenset(f"{folder}/1CECHNKREP0F1RSTCMT0" for folder in ("snapshots", "transactions"))
"""Icechunk writes them before the object that makes a repository; they are the same in all repositories."""

NAME_THE_CUBE: Final = "Name the group that was published (--group); groups beside each other are one cube."
"""What to do where a group holds no cube."""

_DENIED: Final = ("denied", "forbidden", "not permitted", "read-only", "not a directory", "403", "401", "credential")


def check_free(place: Location) -> None:
    """Refuse a place where something is, or where nothing can be written. Nothing is written to find out.

    What killed runs left beside a local place is removed.

    Raises
    ------
    TargetError
        ``target-exists`` or ``target-denied``.
    """
    if place.local is not None:
        remove_dead(place.local)
        _check_free_folder(place.local, place.url)
    elif place.scheme in ("http", "https"):
        found = "a web server cannot be written"
        raise TargetError(found, feature="target-denied", url=place.url, hint="Write to a directory or a bucket.")
    elif not place.path.strip("/"):
        found = "the target names a bucket without a path"
        raise TargetError(found, feature="target-denied", url=place.url, hint="Add one: s3://bucket/cube.icechunk.")
    elif not _is_unborn(place) and not _is_blank_repository(place):
        raise _exists(place.url)


def _exists(url: str) -> TargetError:
    found = "the target exists already and is not empty"
    return TargetError(found, feature="target-exists", url=url, hint="Choose another place, or remove it first.")


def taken(url: str) -> TargetError:
    """The error when other writers were faster."""
    found = "another run has written there in the meantime"
    return TargetError(found, feature="target-exists", url=url, hint="Look what it wrote, and run it again.")


def _denied(url: str, why: str) -> TargetError:
    return TargetError(f"the target cannot be written: {why}", feature="target-denied", url=url)


def _check_free_folder(path: Path, url: str) -> None:
    try:
        if path.is_dir():
            if any(path.iterdir()):
                raise _exists(url)
        elif path.exists() or path.is_symlink():
            raise _exists(url)
        parent = next(folder for folder in path.parents if folder.exists())
    except OSError as error:
        if isinstance(error, TargetError):
            raise
        raise _denied(url, f"{error.strerror} ({error.filename})") from error
    if not parent.is_dir():
        raise _denied(url, f"{parent} is not a directory")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise _denied(url, f"no permission to write in {parent}")


def _is_unborn(place: Location) -> bool:
    """Whether there is nothing, or no more than the first objects of a repository whose making was interrupted."""
    prefix = place.path.strip("/") + "/"

    def look() -> bool:
        try:
            pages = place.store.list(prefix, chunk_size=8)
            return all(item["path"].removeprefix(prefix) in _FIRST_OBJECTS for page in pages for item in page)
        except Exception as error:
            raise source_error(error, place.url) from error

    try:
        return insist(look)
    except SourceError as error:
        raise _denied(place.url, error.found) from error


def _is_blank_repository(place: Location) -> bool:
    """Whether all there is is a repository without a single commit, as a killed run leaves it."""
    try:
        return is_blank(opened(repository_storage(place).make()))
    except icechunk.IcechunkError:
        return False


def is_blank(repository: icechunk.Repository, snapshot: str | None = None) -> bool:
    """Whether a snapshot, by default the newest, is the one that a repository is born with."""
    asked = {"branch": "main"} if snapshot is None else {"snapshot_id": snapshot}
    return insist(lambda: next(iter(repository.ancestry(**asked)))).parent_id is None


@dataclass(slots=True)
class Staging:
    """A storage to write a new repository into, and whether it was created there by this run."""

    storage: icechunk.Storage
    place: Location
    created: bool = False

    def create(self, config: icechunk.RepositoryConfig) -> icechunk.Repository:
        """Create the repository, or open the blank one that a killed run left, or that another run just made."""
        return insist(lambda: self._create(config))

    def _create(self, config: icechunk.RepositoryConfig) -> icechunk.Repository:
        there = self.place.local is None and icechunk.Repository.exists(self.storage, time_limits())
        if not there:
            try:
                # What a killed run left of a birth is written once more.
                repository = icechunk.Repository.create(
                    self.storage, config=config, check_clean_root=self.place.local is not None
                )
                self.created = True
                repository.save_config()
            except icechunk.IcechunkError:  # of another run, or of this one when an answer was lost
                if self.place.local is not None or not icechunk.Repository.exists(self.storage, time_limits()):
                    raise
            else:
                return repository.reopen(config=limited())
        return opened(self.storage)


@contextlib.contextmanager
def staged(place: Location) -> Iterator[Staging]:
    """Give a storage to write into; the target holds all of it after success, and nothing after a failure.

    A local target is written beside its place and renamed. On object storage the one commit is atomic, and
    what was written before it is deleted when it fails.

    Raises
    ------
    TargetError
        When the storage refuses, see :func:`translate_icechunk`.
    """
    with translated(place):
        if place.local is None:
            yield from _staged_objects(place)
        else:
            yield from _staged_folder(place.local, place)


def _staged_objects(place: Location) -> Iterator[Staging]:
    staging = Staging(repository_storage(place).make(), place)
    try:
        yield staging
    except icechunk.ConflictError:  # the cube that is there now is that of another run
        raise
    except BaseException:
        if staging.created:
            with contextlib.suppress(Exception):
                _delete_blank(place)
        raise


def _delete_blank(place: Location) -> None:
    """Delete a repository in which nobody has committed anything."""
    if not _is_blank_repository(place):
        return
    prefix = place.path.strip("/") + "/"
    place.store.delete(f"{prefix}repo")  # first, so that another run that still writes there cannot commit
    for page in place.store.list(prefix):
        place.store.delete([item["path"] for item in page])


def _staged_folder(path: Path, place: Location) -> Iterator[Staging]:
    with folder_beside(path, place.url) as work:
        yield Staging(icechunk.local_filesystem_storage(str(work)), place)
        rename(work, path, place.url)


@contextlib.contextmanager
def folder_beside(path: Path, url: str) -> Iterator[Path]:
    """Give a new folder beside a local target, to be renamed when all is written; after a failure nothing is left.

    Raises
    ------
    TargetError
        ``target-denied`` when the file system refuses.
    """
    new = [folder for folder in path.parents if not folder.exists()]
    work, handle = None, None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_dead(path)
        work, handle = _begin(path)
        yield work
    except BaseException as error:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
        for folder in new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError) and not isinstance(error, SourceError | TargetError):
            raise _denied(url, error.strerror or str(error)) from error
        raise
    finally:
        unlock(handle)


def _begin(path: Path) -> tuple[Path, int | None]:
    """Make and lock a folder beside a target; another run may remove it before it is locked."""
    while True:
        work = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
        work.mkdir()
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            return work, lock(work)


def remove_dead(path: Path) -> None:
    """Remove the folders that killed runs left beside a local target; those of running ones stay."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.partial")
    with contextlib.suppress(OSError):
        for folder in [entry for entry in path.parent.iterdir() if name.fullmatch(entry.name)]:
            with contextlib.suppress(OSError):
                handle = lock(folder)
                if handle is not None:
                    shutil.rmtree(folder, ignore_errors=True)
                    unlock(handle)


def rename(work: Path, path: Path, url: str) -> None:
    """Give what was written its name."""
    try:
        work.rename(path)
    except OSError as error:
        if path.exists():
            raise _exists(url) from error
        raise


@contextlib.contextmanager
def writing(place: Location) -> Iterator[None]:
    """Write into an existing repository: alone, where it is local, since Icechunk does not guard files.

    Raises
    ------
    TargetError
        When another process does not end, or the storage refuses.
    ConflictError
        Of Icechunk, as it is: the caller may begin again on top of what the faster writer wrote.
    """
    with translated(place, conflicts=False):
        if place.local is None:
            yield
        elif not place.local.is_dir():
            raise TargetError(_MISSING, feature="target-missing", url=place.url, hint="Check the path.")
        else:
            with locked(place.local):
                yield


@contextlib.contextmanager
def translated(place: Location, *, conflicts: bool = True) -> Iterator[None]:
    """Turn Icechunk's errors into ours, conflicts with other writers only when asked for; ours get the place."""
    try:
        yield
    except TargetError as error:
        error.at(url=place.url)
        raise
    except icechunk.IcechunkError as error:
        if isinstance(error, icechunk.ConflictError) and not conflicts:
            raise
        if place.local is not None and place.local.is_file():
            hint = "Name the folder of a repository."
            raise TargetError("a file is there", feature="target-not-a-cube", url=place.url, hint=hint) from error
        raise translate_icechunk(error, place.url) from error


def translate_icechunk(error: icechunk.IcechunkError, url: str) -> TargetError:
    """Say in one line what Icechunk reports about a repository."""
    kind = str(getattr(error, "kind", ""))
    lines = str(error).strip().splitlines()
    line = lines[0] if lines else type(error).__name__
    if isinstance(error, icechunk.RepositoryNotFoundError):
        return TargetError(_MISSING, feature="target-missing", url=url, hint="Check the path.")
    if isinstance(error, icechunk.AlreadyExistsError) or kind == icechunk.ErrorKind.PARENT_DIRECTORY_NOT_CLEAN:
        return _exists(url)
    if isinstance(error, icechunk.ConflictError):
        return taken(url)
    if kind.endswith("container") or "credentials" in kind or "virtual" in kind:
        return TargetError(line, feature="container", url=url)
    if isinstance(error, icechunk.StorageError):
        hint = "Check the credentials and permissions." if any(word in line.lower() for word in _DENIED) else None
        return TargetError(f"storage refuses: {line}", feature="target-denied", url=url, hint=hint)
    return TargetError(line, feature="target-not-a-cube", url=url)


def open_existing(place: Location, **options: Any) -> icechunk.Repository:
    """Open a repository that must be there."""
    with translated(place):
        return opened(repository_storage(place).make(), **options)
