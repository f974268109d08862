"""Virtual chunk containers: the named places that the references of a cube point into.

References are written relative to a name (``vcc://sources/2024/a.tif``), so that a published cube can
follow its sources to another place by changing the container alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

import icechunk

from virtual_tiff.cube.access import source_store
from virtual_tiff.cube.stores import Location, encode
from virtual_tiff.errors import UsageError

NAME: Final = "sources"

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


def containers_for(places: Iterable[Location]) -> tuple[Container, ...]:
    """One container per bucket, host or file system, as deep as all its sources allow.

    Raises
    ------
    UsageError
        ``usage`` for a URL with a query: a signature would end up in the repository, and soon expire.
    """
    folders: dict[str, list[str]] = {}
    for place in places:
        if place.query:
            found = "a URL with a query (a signed URL?) cannot be referenced for good"
            raise UsageError(found, feature="usage", url=place.url.partition("?")[0], hint="Use s3://, gs:// or az://.")
        folders.setdefault(place.root, []).append(place.path.rpartition("/")[0])
    roots = sorted(folders)
    return tuple(
        Container(NAME if index == 0 else f"{NAME}-{index + 1}", root, _common_folder(root, folders[root]))
        for index, root in enumerate(roots)
    )


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
