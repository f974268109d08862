"""Names of files as labels of an axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence

from virtual_tiff.errors import ConformError


def new_names(paths: Sequence[str], like: str, having: Callable[[Collection[str]], set[str]]) -> list[str]:
    """The shortest ends of paths that differ from one another and from the names that are there.

    Parameters
    ----------
    paths
        Of the files.
    like
        A name that is there: new ones have no fewer parts.
    having
        Tells which of some names are there.

    Raises
    ------
    ConformError
        ``conform`` when two files have one path.
    """
    split = [path.split("/") for path in paths]
    depth = 1 + like.count("/")
    longest = max(map(len, split), default=0)
    while True:
        names = ["/".join(parts[-depth:]) for parts in split]
        known = having(names)
        if len(set(names)) == len(names) and not known:
            return names
        if depth >= longest:
            double = next(name for name, count in Counter([*names, *known]).items() if count > 1)
            raise ConformError(f"there are two files with the name {double}", feature="conform")
        depth += 1
