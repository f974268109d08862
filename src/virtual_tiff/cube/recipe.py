"""How a cube was made: all that an append must know to plan further files as the first ones were planned."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final, Self

from affine import Affine

from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube.blueprint import CubePlan, Footprint, TreePlan
from virtual_tiff.cube.catalog import is_catalog
from virtual_tiff.cube.facts import InputOptions, Inputs
from virtual_tiff.cube.header import ASSET, HeaderOptions, is_own_name
from virtual_tiff.cube.listed import Input, gather_inputs
from virtual_tiff.cube.plan import stack_options
from virtual_tiff.cube.select import BAND
from virtual_tiff.cube.traits import as_found_now
from virtual_tiff.cube.views import StackOptions, is_masked
from virtual_tiff.errors import UsageError

FUNCTION: Final = "function"
"""Written for a time that a function gave."""

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeRecipe:
    """One tree of a cube, see :class:`virtual_tiff.cube.blueprint.TreePlan`.

    ``traits`` are those in which all files of a variable agree, by its name, or by nothing where files belong to
    all variables; ``masked`` says whether they have masks. The claims of files in the ledger count from the corner of
    ``anchor``, which stays when the grids grow; those that are ``fixed`` do not. ``constant`` are keys of files, such
    as the band, that are no axes since all files have the same value.
    """

    path: str
    traits: Mapping[str, Mapping[str, str]]
    masked: Mapping[str, bool]
    named: bool
    axes: tuple[str, ...]
    levels: tuple[int, ...] | None
    mosaic: bool
    fixed: bool
    anchor: Footprint
    grids: tuple[Footprint, ...]
    constant: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, tree: TreePlan, *, fixed: bool, watched: Iterable[str] = ()) -> Self:
        """The recipe of a tree that is being published."""
        traits, masked = _meanings(tree)
        return cls(
            path=tree.path,
            traits=traits,
            masked=masked,
            named=tree.named,
            axes=tree.axes,
            levels=tree.levels,
            mosaic=tree.mosaic,
            fixed=fixed,
            anchor=tree.grids[0],
            grids=tree.grids,
            constant=_constant(tree, (BAND, ASSET, *watched)),
        )

    def grown(self, tree: TreePlan) -> Self:
        """The recipe of the tree when further files have been planned into it."""
        traits, masked = _meanings(tree)
        constant = {
            key: known
            for key, known in self.constant.items()
            if all(str(header.keys.get(key, known)) == known for header in tree.headers)
        }
        return replace(
            self,
            grids=tree.grids,
            traits=traits | dict(self.traits),
            masked=masked | dict(self.masked),
            constant=constant,
        )

    @property
    def crs(self) -> str:
        """The CRS of all files."""
        return next(iter(self.traits.values()))["CRS"]

    @property
    def level_paths(self) -> tuple[str, ...]:
        """The groups that hold arrays, the finest level first."""
        if self.levels is None:
            return (self.path,)
        return tuple(f"{self.path}/{position}".lstrip("/") for position in range(len(self.levels)))

    def to_json(self) -> Json:
        """The recipe as JSON values."""
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        return own | {
            "traits": {variable: dict(traits) for variable, traits in self.traits.items()},
            "masked": dict(self.masked),
            "constant": dict(self.constant),
            "axes": list(self.axes),
            "levels": None if self.levels is None else list(self.levels),
            "anchor": _ground_json(self.anchor),
            "grids": [_ground_json(grid) for grid in self.grids],
        }

    @classmethod
    def from_json(cls, json: Mapping[str, Any]) -> Self:
        """The recipe out of :meth:`to_json`."""
        own = {one.name: json[one.name] for one in fields(cls)}
        return cls(
            **own
            | {
                "traits": {variable: as_found_now(traits) for variable, traits in json["traits"].items()},
                "axes": tuple(json["axes"]),
                "levels": None if json["levels"] is None else tuple(json["levels"]),
                "anchor": _ground(json["anchor"]),
                "grids": tuple(map(_ground, json["grids"])),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A cube: the options of its plan, how headers are read, what inputs say, and its trees.

    ``plan`` are arguments of :func:`virtual_tiff.cube.groups.plan`, ``inputs`` those of
    :class:`virtual_tiff.cube.listed.InputOptions`, ``watched`` those of the plan. A plan without ``band_axis`` has its
    bands first: nothing more is written then than before there was a choice.
    """

    plan: Mapping[str, Any]
    reading: HeaderOptions
    inputs: Mapping[str, Any] = field(default_factory=dict)
    trees: tuple[TreeRecipe, ...]
    watched: tuple[str, ...] = ()

    @classmethod
    def of(cls, plan: CubePlan, reading: HeaderOptions, inputs: Mapping[str, Any] | None = None) -> Self:
        """The recipe of a plan that is being published."""
        asked = {key: value for key, value in plan.asked.items() if key not in ("levels", "mosaic", "presize")}
        if callable(asked.get("time")):
            asked["time"] = FUNCTION
        if asked.get("band_axis") == "first":
            del asked["band_axis"]
        fixed = asked.get("bounds") is not None or asked.get("window") is not None
        found = (TreeRecipe.of(tree, fixed=fixed, watched=plan.watched) for tree in plan.trees if tree.headers)
        return cls(plan=asked, reading=reading, inputs=dict(inputs or {}), trees=tuple(found), watched=plan.watched)

    def options(self, tree: TreeRecipe, *, time: Any = None) -> StackOptions:
        """How further files of a tree are planned; `time` stands for a function that made the times.

        Raises
        ------
        UsageError
            ``usage`` when the times came from a function, and none is given.
        """
        return self._options(mosaic=tree.mosaic, levels=False if tree.levels is None else tree.levels, time=time)

    def group_options(self, *, time: Any = None) -> Json:
        """The arguments of :func:`virtual_tiff.cube.groups.plan` for files that fit no tree."""
        levels = any(tree.levels is not None for tree in self.trees)
        own = {key: self.plan[key] for key in ("group_by", "on_conflict") if key in self.plan}
        found = asdict(self._options(mosaic=False, levels=levels, time=time))
        return own | found

    def _options(self, *, mosaic: bool, levels: bool | Sequence[int], time: Any) -> StackOptions:
        asked = {key: value for key, value in self.plan.items() if key not in ("group_by", "on_conflict")}
        if asked.get("time") == FUNCTION:
            if time is None:
                found = "the times of this cube came from a function"
                raise UsageError(found, feature="usage", hint="Give it again: append(..., time=function).")
            asked["time"] = time
        for name in ("bounds", "window"):
            if asked.get(name) is not None:
                asked[name] = tuple(asked[name])
        return stack_options(None, **asked, mosaic=mosaic, levels=levels)

    def gather(self, inputs: Input) -> Inputs:
        """Find the files of inputs, which are understood as the first ones were."""
        options = InputOptions.from_json(self.inputs) if self.inputs else InputOptions()
        if _are_files(inputs):  # then there is nothing to choose from
            options = replace(options, assets=None, location_field=None)
        return gather_inputs(inputs, options)

    def with_trees(self, trees: Mapping[str, TreeRecipe]) -> Recipe:
        """The recipe with some trees changed or added."""
        kept = {tree.path: tree for tree in self.trees} | dict(trees)
        return replace(self, trees=tuple(kept.values()))

    def to_json(self) -> Json:
        """The recipe as JSON values."""
        return {
            "plan": dict(self.plan),
            "reading": asdict(self.reading),
            "inputs": dict(self.inputs),
            "watched": list(self.watched),
            "trees": [tree.to_json() for tree in self.trees],
        }

    @classmethod
    def from_json(cls, json: Mapping[str, Any]) -> Self:
        """The recipe out of :meth:`to_json`."""
        reading = json["reading"]
        return cls(
            plan=dict(json["plan"]),
            reading=HeaderOptions(
                ifd=tuple(reading["ifd"]),
                chunks=ChunkOptions(**reading["chunks"]),
                overviews=bool(reading["overviews"]),
            ),
            inputs=dict(json["inputs"]),
            trees=tuple(map(TreeRecipe.from_json, json["trees"])),
            watched=tuple(json["watched"]),
        )


def _meanings(tree: TreePlan) -> tuple[dict[str, Mapping[str, str]], dict[str, bool]]:
    """The traits of the files of each variable, and whether they have masks."""
    firsts = {tree.claims[header.url].variable: header for header in reversed(tree.headers)}
    level = tree.levels[0] if tree.levels else 0
    traits = {variable: dict(header.traits) for variable, header in firsts.items()}
    return dict(traits), {variable: is_masked(header, level) for variable, header in firsts.items()}


def _constant(tree: TreePlan, keys: Iterable[str]) -> dict[str, str]:
    """The keys in which all files of a tree agree, as text; the names of files are no names of assets."""
    found: dict[str, str] = {}
    for key in keys:
        values = {header.keys.get(key) for header in tree.headers}
        if key not in tree.axes and len(values) == 1 and None not in values:
            found[key] = str(values.pop())
    if BAND in found or BAND in tree.axes or is_own_name(found.get(ASSET, ""), tree.headers[0]):
        found.pop(ASSET, None)
    return found


def _are_files(inputs: Input) -> bool:
    """Whether inputs are nothing but names, and none is that of a catalogue or a list."""
    listed = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    return isinstance(listed, Sequence) and all(
        isinstance(one, str | os.PathLike) and not is_catalog(one) and not os.fspath(one).startswith("@")
        for one in listed
    )


def _ground_json(ground: Footprint) -> Json:
    transform = None if ground.transform is None else list(ground.transform)[:6]
    return {"transform": transform, "height": ground.height, "width": ground.width}


def _ground(json: Mapping[str, Any]) -> Footprint:
    transform = None if json["transform"] is None else Affine(*json["transform"])
    return Footprint(transform, json["height"], json["width"])
