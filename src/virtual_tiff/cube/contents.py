"""What is in a repository: the groups that hold the arrays of a cube."""

from __future__ import annotations

import os
from collections.abc import Sequence

from virtual_tiff.cube.patient import PatientStore, insist
from virtual_tiff.cube.sources import read_recipe
from virtual_tiff.cube.stores import locate
from virtual_tiff.cube.target import open_existing, translated
from virtual_tiff.cube.write import joined
from virtual_tiff.errors import TargetError


def groups_of(cube: str | os.PathLike[str], group: str = "") -> tuple[str, ...]:
    """The paths of the groups that hold the arrays of a cube, of a pyramid the finest level first.

    The cube is that in `group`, or the one to which that group belongs. Nothing when no cube is there that says how it
    was made.

    Raises
    ------
    TargetError
        ``target-missing`` when no repository is there.
    """
    place = locate(cube)
    with translated(place):
        repository = open_existing(place)
        store = PatientStore.of(insist(lambda: repository.readonly_session("main")))
        parts = group.strip("/").split("/") if group.strip("/") else []
        for length in range(len(parts), -1, -1):
            above = "/".join(parts[:length])
            try:
                recipe = read_recipe(store, above)
            except FileNotFoundError:
                continue
            except TargetError:  # another version of the ledger: no reason not to read its pixels
                return ()
            trees = () if recipe is None else recipe.trees
            return tuple(joined(above, path) for tree in trees for path in tree.level_paths)
    return ()


def choose_group(groups: Sequence[str], group: str = "", level: int | None = None) -> str:
    """The group among those of a cube that :func:`virtual_tiff.cube.open.open_cube` opens; the first of several."""
    wanted = joined(group, "" if level is None else str(level))
    below = [one for one in groups if not wanted or f"{one}/".startswith(f"{wanted}/")]
    if below:
        return below[0]
    return group if level == 0 else wanted
