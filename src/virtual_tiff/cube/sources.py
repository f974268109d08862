"""The ledger of sources: which files a cube was made of, and what they looked like when they were read.

It lies beside the cube, as the group ``_sources`` with one array per column, so that it is part of the same commit,
any Zarr client can read it, and an append rewrites only its last rows. The attributes of the group hold what an append
needs to know: how the cube was planned, and the traits in which further files must agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import zarr
from icechunk.store import IcechunkStore

from virtual_tiff.cube.blueprint import CubePlan
from virtual_tiff.cube.columns import (
    GROUP,
    KEY_ROWS,
    KEYS,
    PLACE_KEY,
    UNKNOWN_SIZE,
    UNKNOWN_TIME,
    VERSION_COLUMNS,
    Entry,
    Place,
    key_column,
    ledger_column,
    ledger_columns,
    updated_column,
)
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.known import Row, Rows
from virtual_tiff.cube.nodes import coordinate_keys, group_json
from virtual_tiff.cube.recipe import Recipe
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.write import joined, put
from virtual_tiff.errors import TargetError
from virtual_tiff.geo.coordinate import Coordinate

__all__ = ["GROUP", "UNKNOWN_SIZE", "UNKNOWN_TIME", "Entry", "Place", "Row", "Rows", "ledger_column"]

ATTRIBUTE: Final = "virtual_tiff"
VERSION: Final = 2
"""Of the ledger in a repository: its columns and the form of the recipe."""

_OF_USE: Final = ("used", PLACE_KEY)
"""Columns that are 0 for a file that is not used."""


def entries_of(plan: CubePlan) -> list[Entry]:
    """All files of a plan with their places, and those that are not used."""
    found = [
        Entry(header, Place(tree=tree.path, claim=tree.claims[header.url]))
        for tree in plan.trees
        for header in tree.headers
    ]
    return found + [Entry(header, None) for header in plan.unused]


def ledger_keys(entries: Sequence[Entry], recipe: Recipe | None) -> Iterator[tuple[str, bytes]]:
    """The keys and bytes of the ledger, relative to the group of the cube."""
    yield f"{GROUP}/zarr.json", ledger_group(recipe)
    for column in ledger_columns(entries):
        yield from _column_keys(column)


def _column_keys(column: Coordinate) -> Iterator[tuple[str, bytes]]:
    rows = {"rows": KEY_ROWS} if column.name in KEYS else {}
    for key, value in coordinate_keys(column, growing=True, **rows):
        yield f"{GROUP}/{key}", value


def ledger_group(recipe: Recipe | None) -> bytes:
    """The ``zarr.json`` of the group of the ledger, whose attributes hold the recipe."""
    own: dict[str, Any] = {"ledger": VERSION}
    if recipe is not None:
        own["recipe"] = recipe.to_json()
    return group_json({ATTRIBUTE: own, "title": "The files that this cube refers to"})


def read_recipe(store: IcechunkStore, group: str) -> Recipe | None:
    """How the cube in a group was made, or None when it does not say that.

    Raises
    ------
    FileNotFoundError
        When the group has no ledger.
    TargetError
        ``target-not-a-cube`` when its ledger is of another version.
    """
    attributes = zarr.open_group(store, path=joined(group, GROUP), mode="r", zarr_format=3).attrs
    own: Any = attributes.get(ATTRIBUTE)
    version = own.get("ledger") if isinstance(own, Mapping) else None
    if version != VERSION:
        found = f"its ledger of sources is of version {version}; this program reads version {VERSION}"
        hint = "It can be read all the same. To append or verify, publish it anew, or use the release that made it."
        raise TargetError(found, feature="target-not-a-cube", hint=hint)
    recipe = own.get("recipe")
    return Recipe.from_json(recipe) if isinstance(recipe, Mapping) else None


def read_rows(store: IcechunkStore, group: str) -> Rows:
    """The ledger in a repository, which is read as far as that is needed.

    Raises
    ------
    FileNotFoundError
        When the group has no ledger.
    """
    return Rows(store, group)


def update_rows(
    store: IcechunkStore, group: str, rows: Rows, entries: Sequence[Entry], replaced: Mapping[str, Row]
) -> None:
    """Overwrite the rows of older versions, and add rows for the other files.

    Parameters
    ----------
    store, group
        The repository, and the group of the cube.
    rows
        The ledger as it is.
    entries
        The new files.
    replaced
        By the URL of a new file, the row whose place it has now. When that row has another URL, it is kept, in
        another row where need be, as a file that is not used.
    """
    end = len(rows)
    numbers: list[int] = []
    for entry in entries:
        row = replaced.get(entry.header.url)
        number = rows.number(entry.header.url)
        if number is None and row is not None:
            number = row.number
        numbers.append(end if number is None else number)
        end += number is None
    urls = {entry.header.url for entry in entries}
    others = [row.number for row in replaced.values() if row.url not in urls]
    away = [number for number in others if number in set(numbers)]
    order = np.array([*numbers, *range(end, end + len(away)), *(set(others) - set(away))], np.int64)
    kept = np.array([*away, *(set(others) - set(away))], np.int64)
    _add_lacking(store, group, rows)
    for column in ledger_columns(entries):
        array = ledger_column(store, group, column.name)
        values = column.values
        if kept.size:
            before = np.asarray(array.get_orthogonal_selection((kept,)))
            values = np.concatenate([values, np.zeros_like(before) if column.name in _OF_USE else before])
        _write_rows(array, order, values)


def _add_lacking(store: IcechunkStore, group: str, rows: Rows) -> None:
    """Write the columns that a cube lacks, since it is older or another program has added rows."""
    lacking = [key_column(name, rows.keys(name).tolist()) for name in KEYS if not rows.has_keys(name)]
    lacking += [] if rows.has_updated() else [updated_column([None] * len(rows))]
    for column in lacking:
        for key, value in _column_keys(column):
            run(put(store, joined(group, key), value))


def refresh_rows(store: IcechunkStore, group: str, rows: Rows, headers: Sequence[FileHeader]) -> None:
    """Overwrite what tells versions apart, of files whose place stays."""
    rows.look_up(header.url for header in headers)
    order = np.array([rows.number(header.url) for header in headers], np.int64)
    for column in ledger_columns([Entry(header, None) for header in headers]):
        if column.name in VERSION_COLUMNS:
            _write_rows(ledger_column(store, group, column.name), order, column.values)


def _write_rows(array: zarr.Array[Any], numbers: npt.NDArray[np.int64], values: npt.NDArray[Any]) -> None:
    """Write rows, of which those behind the end come in their order."""
    first = array.shape[0]
    old = numbers < first
    if old.any():
        array.set_orthogonal_selection((numbers[old],), values[old])
    extend(array, values[~old], first)


def extend(array: zarr.Array[Any], values: npt.NDArray[Any], first: int) -> None:
    """Write values from a row on; the array becomes as long as they need."""
    if values.size:
        array.resize((first + values.size,))
        array[first:] = values
