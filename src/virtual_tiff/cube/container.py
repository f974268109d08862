"""Virtual chunk containers: the named places that the references of a cube point into.

References are written relative to a name (``vcc://sources/2024/a.tif``), so that a published cube can
follow its sources to another place by changing the container alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Final
from zlib import crc32

import icechunk
from icechunk import ObjectStoreConfig

from virtual_tiff.cube.access import source_store
from virtual_tiff.cube.stores import OBJECT_STORES, Location, encode
from virtual_tiff.errors import TargetError, UsageError

NAME: Final = "sources"

MAX_FOLDERS: Final = 4
"""Containers for one bucket, host or file system: readers have to authorize each."""

_UNFIT: Final = re.compile(r"[#?%\\]")


@dataclass(frozen=True, slots=True)
class Container:
    """The folder of a store below which sources lie: a raw path, empty or with a slash at its end."""

    name: str
    root: str
    folder: str

    @property
    def prefix(self) -> str:
        """The URL of the folder, unencoded: Icechunk compares it with the decoded locations."""
        # An Azure account stands in the configuration of the store, not in the URL.
        return re.sub(r"^(az://[^@/]*)@[^/]*", r"\1", self.root) + self.folder

    def holds(self, place: Location) -> bool:
        """Whether a source lies in this container."""
        return place.root == self.root and place.path.startswith(self.folder)

    def reference(self, place: Location) -> str:
        """The location of a source as references name it."""
        return f"vcc://{self.name}/{encode(place.path.removeprefix(self.folder))}"

    def virtual_chunk_container(self) -> icechunk.VirtualChunkContainer:
        """The container in Icechunk's form."""
        return icechunk.VirtualChunkContainer(self.prefix, source_store(self.root, self.folder), name=self.name)


def check_lasting(place: Location) -> None:
    """Refuse a file that cannot be referenced for good.

    Raises
    ------
    UsageError
        ``usage`` for a URL with a query: a signature would end up in the references, and soon expire. For a key with
        two slashes in a row: obstore leaves out one at its beginning, those who read the references do not.
    """
    if place.query:
        found = "a URL with a query (a signed URL?) cannot be referenced for good"
        raise UsageError(found, feature="usage", url=place.url.partition("?")[0], hint="Use s3://, gs:// or az://.")
    if place.scheme in OBJECT_STORES and "//" in f"/{place.path}":
        found = "a key that begins with a slash, or has two in a row, cannot be referenced"
        raise UsageError(found, feature="usage", url=place.url, hint="Write the URL with single slashes.")


def containers_for(
    places: Iterable[Location], known: Mapping[str, icechunk.VirtualChunkContainer] | None = None
) -> tuple[Container, ...]:
    """The containers of all sources: those of a repository as they are, and new ones for the other sources.

    New ones are one for each folder, so that a cube demands no more access than it needs. Where a bucket, host or file
    system would get more than :data:`MAX_FOLDERS`, one is made for the folder above all of them, which later sources
    from beside them need, too; but none for a whole file system.

    Parameters
    ----------
    places
        The sources.
    known
        The containers that the repository has, by prefix.

    Raises
    ------
    UsageError
        ``usage`` for a place that :func:`check_lasting` refuses.
    TargetError
        ``container`` when the repository has one for the same folder that leads to another server.
    """
    places = list(places)
    old = _known(known or {}, {place.root for place in places})
    folders: dict[str, set[str]] = {}
    for place in places:
        check_lasting(place)
        if not any(one.holds(place) for one in old):
            folders.setdefault(place.root, set()).add(place.path.rpartition("/")[0])
    wanted = [
        (root, folder)
        for root in sorted(folders)
        for folder in _new_folders(root, folders[root], [one.folder for one in old if one.root == root])
    ]
    new = [
        _named(Container(f"{NAME}-{number}".removesuffix("-1"), root, folder), known)
        for number, (root, folder) in enumerate(wanted, 1)
    ]
    for one in new:
        if one.prefix in (known or {}):
            found = f"the repository has a container for {one.prefix} that cannot be used for this source"
            hint = "Are the endpoint and the account those with which it was published?"
            raise TargetError(found, feature="container", url=one.prefix, hint=hint)
    return (*old, *new)


def _known(known: Mapping[str, icechunk.VirtualChunkContainer], roots: Iterable[str]) -> list[Container]:
    """The named containers of a repository that lie below these roots and lead to the same servers."""
    found = []
    for root in roots:
        for prefix, one in known.items():
            top = Container(one.name or "", root, "").prefix
            if one.name and prefix.startswith(top):
                own = Container(one.name, root, prefix.removeprefix(top))
                if _server(one.store) == _server(source_store(root, own.folder)):
                    found.append(own)
    return found


def _server(store: Any) -> tuple[str, str]:
    """What tells two stores with the same prefix apart: the endpoint or account."""
    options = getattr(store, "_0", None)
    if isinstance(store, ObjectStoreConfig.Azure):
        return "azure", str(dict(options or {}).get("account"))
    return type(store).__name__, str(getattr(options, "endpoint_url", None))


def _named(new: Container, known: Mapping[str, icechunk.VirtualChunkContainer] | None) -> Container:
    """A name that follows from the prefix, so that two writers cannot give one name to two prefixes."""
    return replace(new, name=f"{NAME}-{crc32(new.prefix.encode()):08x}") if known else new


def _new_folders(root: str, folders: Iterable[str], known: Sequence[str]) -> list[str]:
    """The folders of new containers below a root: each that lies in no other, or the one above all."""
    top: list[str] = []
    for folder in sorted({_common_folder(root, [folder]) for folder in folders}):
        if not top or not folder.startswith(top[-1]):
            top.append(folder)
    if len(known) + len(top) <= MAX_FOLDERS:
        return top
    above = _common_folder(root, [folder.rstrip("/") for folder in (*known, *top)])
    return top if not above and root.startswith("file:") else [above]


def _common_folder(root: str, folders: Iterable[str]) -> str:
    """The deepest folder above all, ending before a name that a URL prefix cannot hold."""
    split = [folder.split("/") for folder in folders]
    # What the smallest and the largest have in common, all have in common.
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(min(split), max(split), strict=False))
    web = root.startswith("http")
    common = takewhile(
        lambda part: encode(part) == part if web else not _UNFIT.search(part), (part for part, _ in pairs)
    )
    folder = "/".join(common)
    return folder + "/" if folder else ""


def container_of(place: Location, containers: Sequence[Container]) -> Container:
    """The deepest container that holds a source."""
    return max((one for one in containers if one.holds(place)), key=lambda one: len(one.folder))
