"""Files and folders that are written in one go, to a local disk or to an object store.

They are made in a local folder first: beside a local target, where they are renamed, else in a temporary one, from
which they are sent. A folder on an object store is there for readers when its last object is, which they read first.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from virtual_tiff.cube.runner import run
from virtual_tiff.cube.stores import OBJECT_STORES, Location
from virtual_tiff.cube.target import check_free, folder_beside, rename
from virtual_tiff.errors import TargetError, VirtualTiffError
from virtual_tiff.tiff.failures import source_error

type _Object = tuple[Path, Location]

_AT_ONCE: Final = 16


def check_vacant(place: Location) -> None:
    """Refuse a target before any work is done for it, as :func:`virtual_tiff.cube.target.check_free` does, or a file.

    Raises
    ------
    TargetError
        ``target-exists`` or ``target-denied``.
    """
    check_free(place)
    if place.scheme not in OBJECT_STORES:
        return
    try:
        place.store.head(place.path)
    except FileNotFoundError:
        return
    except Exception as error:
        raise _denied(error, place) from error
    found = "the target exists already"
    raise TargetError(found, feature="target-exists", url=place.url, hint="Choose another place, or remove it first.")


@contextlib.contextmanager
def delivered(place: Location, *, last: str | None = None) -> Iterator[Path]:
    """Give a path at which a file or a folder is to be made; afterwards it is in its place, or nothing is.

    Parameters
    ----------
    place
        A new file or folder.
    last
        Of a folder the file that is sent last.

    Raises
    ------
    TargetError
        ``target-denied`` when the file system or the store refuses; ``target-exists`` when another was faster.
    """
    if place.local is None:
        with tempfile.TemporaryDirectory(prefix="virtual-tiff-") as work:
            made = Path(work) / "made"
            try:
                yield made
            except OSError as error:
                if isinstance(error, VirtualTiffError):
                    raise
                found = f"the temporary folder cannot be written ({error.strerror or error})"
                raise TargetError(found, feature="target-denied", url=work, hint="Set TMPDIR.") from error
            run(_send(*_objects(made, place, last)))
        return
    with folder_beside(place.local, place.url) as work_beside:
        made = work_beside / place.local.name
        yield made
        check_free(place)
        rename(made, place.local, place.url)
        work_beside.rmdir()


def _objects(made: Path, place: Location, last: str | None) -> tuple[list[_Object], list[_Object]]:
    """What is sent: first, and when all of that is there."""
    if made.is_file():
        return [], [(made, place)]
    top = place.path.rstrip("/")
    files = sorted(file for file in made.rglob("*") if file.is_file())
    found = [(file, place.sibling(f"{top}/{file.relative_to(made).as_posix()}")) for file in files]
    late = made / (last or "")
    return [one for one in found if one[0] != late], [one for one in found if one[0] == late]


async def _send(early: Sequence[_Object], late: Sequence[_Object]) -> None:
    """Send files; when that fails, delete what was sent."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def put(file: Path, place: Location) -> None:
        async with gate:
            try:
                await place.store.put_async(place.path, file)
            except Exception as error:
                raise _denied(error, place) from error

    try:
        async with asyncio.TaskGroup() as group:
            for one in early:
                group.create_task(put(*one))
        for one in late:
            await put(*one)
    except BaseException as error:
        for _, place in early:
            with contextlib.suppress(Exception):
                await place.store.delete_async(place.path)
        if isinstance(error, BaseExceptionGroup):
            raise _first(error.exceptions) from None
        raise


def _first(errors: Sequence[BaseException]) -> BaseException:
    return next((error for error in errors if isinstance(error, TargetError)), errors[0])


def _denied(error: Exception, place: Location) -> TargetError:
    found = f"the target cannot be written: {source_error(error, place.url).found}"
    return TargetError(found, feature="target-denied", url=place.url)
