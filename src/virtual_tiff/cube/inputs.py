"""What a user names as inputs: paths, directories, globs, prefixes, URLs, lists; expanded to single files."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from obspec_utils.glob import glob as glob_store

from virtual_tiff.cube.stores import OBJECT_STORES, Location, locate
from virtual_tiff.errors import SourceError, UsageError
from virtual_tiff.tiff.failures import source_error

TIFF_SUFFIXES: Final = frozenset({".tif", ".tiff", ".gtif", ".gtiff", ".geotiff", ".cog", ".btf", ".tf8", ".tf2"})
"""File names that count as TIFFs when a directory or prefix is listed."""

_WILDCARDS: Final = re.compile(r"[*?\[]")


def expand_inputs(inputs: Iterable[str | os.PathLike[str]]) -> list[Location]:
    """Expand inputs to single files.

    Parameters
    ----------
    inputs
        Local files, directories and globs (``**`` crosses directories), single URLs, ``s3://``, ``gs://`` and
        ``az://`` prefixes and globs, and ``@list.txt``: a text file with one input per line.

    Returns
    -------
    list of Location
        Each file once, in natural order (``b2`` before ``b10``); files from a list keep the list's order
        and follow the others.

    Raises
    ------
    SourceError
        ``no-match`` when an input names no file; or why a prefix cannot be listed.
    UsageError
        ``usage`` for a glob over http(s), which has no listing.
    """
    named: dict[str, Location] = {}
    listed: dict[str, Location] = {}
    for item in inputs:
        text = os.fspath(item)
        if text.startswith("@"):
            listed.update((place.url, place) for line in _lines(Path(text[1:])) for place in _expand(line))
        else:
            named.update((place.url, place) for place in _expand(text))
    ordered = {place.url: place for place in sorted(named.values(), key=lambda place: natural_key(place.plain))}
    files = list((ordered | listed).values())
    if not files:
        raise SourceError("no input was given", feature="no-match", hint="Name files, directories, globs or URLs.")
    return files


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """A sort key that compares runs of digits as numbers."""
    parts = re.split(r"(\d+)", text)
    return [(0, int(part), part) if part.isdigit() and part.isascii() else (1, 0, part) for part in parts]


def is_tiff_name(name: str) -> bool:
    """Whether a file name has one of the suffixes of TIFF files."""
    return PurePosixPath(name).suffix.lower() in TIFF_SUFFIXES


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        found = f"the list of inputs cannot be read ({error})"
        raise SourceError(found, feature="not-found", url=str(path)) from error
    inputs = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not inputs:
        raise SourceError("the list of inputs is empty", feature="no-match", url=str(path))
    return inputs


def _expand(text: str) -> Iterator[Location]:
    if "://" not in text or text.startswith("file://"):
        return _expand_local(text)
    scheme = locate(text).scheme
    if scheme in OBJECT_STORES:
        return _expand_object(text)
    path = text.partition("?")[0]
    if "*" in path or path.endswith("/"):
        found = "a web server gives no listing, so globs and directories do not work over http(s)"
        raise UsageError(found, feature="usage", url=text, hint="Name the files, or put their URLs into @list.txt.")
    return iter([locate(text)])


def _expand_local(text: str) -> Iterator[Location]:
    here = locate(text).local
    path = here if text.startswith("file://") and here is not None else Path(os.path.expanduser(text))  # noqa: PTH111
    if path.is_dir():
        return _require(map(locate, _walk(path)), text, "the directory holds no TIFF file")
    if path.exists() or not _WILDCARDS.search(str(path)):
        return iter([locate(path)])
    found = (match for match in glob.glob(str(path), recursive=True) if Path(match).is_file())  # noqa: PTH207
    return _require(map(locate, _wanted(found, str(path))), text, "no TIFF file matches")


def _walk(top: Path) -> Iterator[str]:
    for folder, _, names in os.walk(top):
        yield from (str(Path(folder) / name) for name in names if is_tiff_name(name))


def _wanted(names: Iterable[str], pattern: str) -> Iterator[str]:
    """Files that a glob matches: all of them when it names a suffix, else those with a TIFF's suffix."""
    suffix = PurePosixPath(pattern).suffix
    if suffix and not _WILDCARDS.search(suffix):
        return iter(names)
    return (name for name in names if is_tiff_name(name))


def _expand_object(text: str) -> Iterator[Location]:
    place = locate(text)
    name = PurePosixPath(place.path).name
    if _WILDCARDS.search(place.path):
        keys = _wanted(_listing(place, place.path), place.path)
        return _require(map(place.sibling, keys), text, "no TIFF file matches")
    if place.path and not place.path.endswith("/") and "." in name:
        return iter([place])
    prefix = place.path.rstrip("/")
    keys = (key for key in _listing(place, f"{prefix}/**" if prefix else "**") if is_tiff_name(key))
    return _require(map(place.sibling, keys), text, "the prefix holds no TIFF file")


def _listing(place: Location, pattern: str) -> Iterator[str]:
    try:
        yield from glob_store(place.store, pattern)
    except Exception as error:
        if "404 Not Found" in str(error):
            raise SourceError("the bucket does not exist", feature="not-found", url=place.url) from error
        raise source_error(error, place.url) from error


def _require(places: Iterator[Location], text: str, found: str) -> Iterator[Location]:
    files = list(places)
    if not files:
        raise SourceError(found, feature="no-match", url=text, hint="Check the path; quote globs for the shell.")
    return iter(files)
