"""What is in a repository: the groups that hold the arrays of a cube."""

from __future__ import annotations

import os

from virtual_tiff.cube.patient import PatientStore, insist
from virtual_tiff.cube.sources import read_recipe
from virtual_tiff.cube.stores import locate
from virtual_tiff.cube.target import open_existing, translated
from virtual_tiff.cube.write import joined
from virtual_tiff.errors import TargetError


def groups_of(cube: str | os.PathLike[str], group: str = "") -> tuple[str, ...]:
    """The paths of the groups that hold the arrays of a cube, of a pyramid the finest level first.

    Nothing when no cube that says how it was made is in `group`.

    Raises
    ------
    TargetError
        ``target-missing`` when no repository is there.
    """
    place = locate(cube)
    with translated(place):
        repository = open_existing(place)
        store = PatientStore.of(insist(lambda: repository.readonly_session("main")))
        try:
            recipe = read_recipe(store, group.strip("/"))
        except (FileNotFoundError, TargetError):  # another version of the ledger: no reason not to read its pixels
            return ()
    trees = () if recipe is None else recipe.trees
    return tuple(joined(group.strip("/"), path) for tree in trees for path in tree.level_paths)
