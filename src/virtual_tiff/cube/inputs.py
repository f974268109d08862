"""What a user names as inputs: paths, directories, globs, prefixes, URLs, lists; expanded to single files."""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Literal

from obspec_utils.glob import glob as glob_store

from virtual_tiff.cube.hrefs import read_bytes, readable_url, resolve_href
from virtual_tiff.cube.retry import RETRIES, is_passing, pause
from virtual_tiff.cube.stores import OBJECT_STORES, Location, canonical, locate
from virtual_tiff.errors import SourceError, UsageError
from virtual_tiff.tiff.failures import source_error

if TYPE_CHECKING:
    from obspec import ObjectMeta

TIFF_SUFFIXES: Final = frozenset({".tif", ".tiff", ".gtif", ".gtiff", ".geotiff", ".cog", ".btf", ".tf8", ".tf2"})
"""File names that count as TIFFs when a directory or prefix is listed."""

_WILDCARDS: Final = re.compile(r"[*?\[]")

type _Kind = Literal["file", "folder", "glob"]


@dataclass(frozen=True, slots=True)
class Listing:
    """What an input lists as a whole: all TIFFs below a folder or prefix, or all files that a glob matches.

    ``folder`` is a raw path inside the store, empty or with a slash at its end, and ``pattern`` the rest of a glob.
    """

    root: str
    folder: str
    pattern: str | None = None

    def covers(self, url: str) -> bool:
        """Whether this names a file with a canonical URL, if it is there."""
        if not url.startswith(canonical(self.root, self.folder)):
            return False
        path = locate(url).path
        if self.pattern is None:
            return is_tiff_name(path)
        return _matches(self.pattern.split("/"), path.removeprefix(self.folder).split("/"))


def _matches(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether a glob matches a path, both cut at their slashes."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(pattern[1:], parts[skipped:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(pattern[1:], parts[1:])


def _listing(place: Location, kind: _Kind) -> Listing | None:
    """What a folder, prefix or glob lists."""
    if kind == "file":
        return None
    if kind == "folder":
        folder = place.path.rstrip("/")
        return Listing(place.root, f"{folder}/" if folder else "")
    parts = place.path.split("/")
    first = next(number for number, part in enumerate(parts) if _WILDCARDS.search(part))
    return Listing(place.root, "".join(f"{part}/" for part in parts[:first]), "/".join(parts[first:]))


def _kind(text: str, place: Location) -> _Kind:
    """What a path or a URL of an object store names."""
    if place.local is not None:
        path = _local(text, place)
        if path.is_dir():
            return "folder"
        return "glob" if _WILDCARDS.search(str(path)) and not path.exists() else "file"
    if _WILDCARDS.search(place.path):
        return "glob"
    return "file" if "." in PurePosixPath(place.path).name and not place.path.endswith("/") else "folder"


def _local(text: str, place: Location) -> Path:
    """A local path; what is relative stays so, for the working directory may have wildcards in its name."""
    return place.local if "://" in text and place.local is not None else Path(os.path.expanduser(text))  # noqa: PTH111


def expand_inputs(inputs: Iterable[str | os.PathLike[str]]) -> list[Location]:
    """Expand inputs to single files.

    Parameters
    ----------
    inputs
        Local files, directories and globs (``**`` crosses directories), single URLs, ``s3://``, ``gs://`` and
        ``az://`` prefixes and globs, and ``@list.txt``: a text file with one input per line, see
        :func:`expand_lists`.

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
    for text, in_list in expand_lists(os.fspath(item) for item in inputs):
        (listed if in_list else named).update((place.url, place) for place in expand_input(text).places)
    files = in_order(named, listed)
    if not files:
        raise nothing_given()
    return files


def in_order(named: Mapping[str, Location], listed: Mapping[str, Location]) -> list[Location]:
    """Each file once, by URL: those that are named in natural order, then those of lists in theirs."""
    ordered = {place.url: place for place in sorted(named.values(), key=lambda place: natural_key(place.plain))}
    return list((ordered | dict(listed)).values())


def nothing_given() -> SourceError:
    """Make the error for no input at all."""
    return SourceError("no input was given", feature="no-match", hint="Name files, directories, globs or URLs.")


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """A sort key that compares runs of digits as numbers."""
    parts = re.split(r"(\d+)", text)
    return [(0, int(part), part) if part.isdigit() and part.isascii() else (1, 0, part) for part in parts]


def is_tiff_name(name: str) -> bool:
    """Whether a file name has one of the suffixes of TIFF files."""
    return PurePosixPath(name).suffix.lower() in TIFF_SUFFIXES


def expand_lists(texts: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Put the lines of ``@list.txt`` in the place of that name, and say of each input whether it stood in a list.

    Lists may be anywhere that files may be, and may name further lists. Lines with relative paths start from the
    working directory, those of a list on a store or web server from the list.

    Raises
    ------
    SourceError
        ``no-match`` for an empty list, and why one cannot be read.
    UsageError
        ``usage`` for an input without a name, for a list that names itself, and for a remote one that names local
        files.
    """
    for text in texts:
        if not text.strip() or text.strip() == "@":  # an empty variable of a shell, not the working directory
            hint = "Name files, directories, globs or URLs; the working directory is '.'."
            raise UsageError(f"the input {text!r} is empty", feature="usage", hint=hint)
        if text.startswith("@"):
            yield from ((line, True) for line in _lines(text[1:], ()))
        else:
            yield text, False


def _lines(name: str, above: tuple[str, ...]) -> Iterator[str]:
    place = locate(name)
    if place.url in above:
        raise UsageError("the list of inputs names itself", feature="usage", url=place.plain)
    try:
        text = read_bytes(place).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"the list of inputs cannot be read ({error})"
        raise SourceError(found, feature="not-found", url=place.plain) from error
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise SourceError("the list of inputs is empty", feature="no-match", url=place.plain)
    for line in lines:
        meant = line if place.local is not None else _from_list(line, place)
        if meant.startswith("@"):
            yield from _lines(meant[1:], (*above, place.url))
        else:
            yield meant


def _from_list(line: str, place: Location) -> str:
    """What a line of a remote list means."""
    mark = next((mark for mark in ("@", "GTI:") if line.startswith(mark)), "")
    url = readable_url(place)
    text = resolve_href(line.removeprefix(mark), url, url=url)
    return mark + text + "/" * (line.endswith("/") and not text.endswith("/"))


@dataclass(frozen=True, slots=True)
class Expansion:
    """The files of an input, and what it lists where it is no single file."""

    places: Iterator[Location]
    listing: Listing | None = None


def expand_input(text: str) -> Expansion:
    """Expand one path, glob, prefix or URL to files, see :func:`expand_inputs`."""
    place = locate(text)
    if place.local is not None:
        kind = _kind(text, place)
        return Expansion(_expand_local(text, place, kind), _listing(place, kind))
    if place.scheme in OBJECT_STORES:
        kind = _kind(text, place)
        return Expansion(_expand_object(text, place, kind), _listing(place, kind))
    path = text.partition("?")[0]
    if "*" in path or path.endswith("/"):
        found = "a web server gives no listing, so globs and directories do not work over http(s)"
        raise UsageError(found, feature="usage", url=text, hint="Name the files, or put their URLs into @list.txt.")
    return Expansion(iter([place]))


def _expand_local(text: str, place: Location, kind: _Kind) -> Iterator[Location]:
    path = _local(text, place)
    if kind == "folder":
        return _require(map(locate, _walk(path)), text, "the directory holds no TIFF file")
    if kind == "file":
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


def _expand_object(text: str, place: Location, kind: _Kind) -> Iterator[Location]:
    if kind == "glob":
        keys = _wanted(_keys(place, place.path), place.path)
        return _require(map(place.sibling, keys), text, "no TIFF file matches")
    if kind == "file":
        return iter([place])
    prefix = place.path.rstrip("/")
    keys = (key for key in _keys(place, f"{prefix}/**" if prefix else "**") if is_tiff_name(key))
    return _require(map(place.sibling, keys), text, "the prefix holds no TIFF file")


def _keys(place: Location, pattern: str) -> Iterator[str]:
    return glob_store(_Store(place), pattern)


@dataclass(frozen=True, slots=True)
class _Store:
    """A store that lists, and goes on behind the last object when an answer breaks off."""

    place: Location

    def list(self, prefix: str | None = None, **_: Any) -> Iterator[Sequence[ObjectMeta]]:
        """All objects below a prefix, page by page, each once."""
        keys: list[str] = []
        failed = 0
        while True:
            try:
                for page in self.place.store.list(prefix, offset=keys[-1] if keys else None):
                    yield page
                    keys = [*keys[-1:], *(item["path"] for item in page)]
                    failed = 0
            except Exception as error:
                reason = self._reason(error)
                # A store that lists in another order gives no place to go on from.
                ordered = keys == sorted(keys, key=str.encode)
                if failed == RETRIES or not ordered or not is_passing(reason):
                    raise reason from error
            else:
                return
            time.sleep(pause(failed))
            failed += 1

    def _reason(self, error: Exception) -> SourceError:
        if "404 Not Found" in str(error):
            return SourceError("the bucket does not exist", feature="not-found", url=self.place.url)
        return source_error(error, self.place.url)


def _require(places: Iterator[Location], text: str, found: str) -> Iterator[Location]:
    files = list(places)
    if not files:
        raise SourceError(found, feature="no-match", url=text, hint="Check the path; quote globs for the shell.")
    return iter(files)
