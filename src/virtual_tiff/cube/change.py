"""What further files change in a cube: planned against what is there, and written into a session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import icechunk

from virtual_tiff.cube.assign import Growth, Standing, assign, plan_growth
from virtual_tiff.cube.blueprint import CubePlan, GroupPlan
from virtual_tiff.cube.container import Container
from virtual_tiff.cube.distribute import SHARE, write_told
from virtual_tiff.cube.groups import plan
from virtual_tiff.cube.grow import Fit, fit_group, grow_group, grow_root
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.patient import PatientStore
from virtual_tiff.cube.recipe import Recipe, TreeRecipe
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.sources import GROUP, Entry, Row, entries_of, ledger_group, update_rows
from virtual_tiff.cube.stages import OnStage, Stage
from virtual_tiff.cube.views import is_chosen
from virtual_tiff.cube.write import Task, below, joined, put, tasks_of, write_groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What files change in a cube: in its trees, where none is used perhaps nothing, and by new ones beside them."""

    fits: tuple[tuple[Growth, tuple[Fit, ...]], ...]
    beside: CubePlan | None
    recipe: Recipe
    entries: tuple[Entry, ...]
    replaced: Mapping[str, Row]

    @property
    def references(self) -> int:
        """Number of byte ranges that are referenced."""
        beside = 0 if self.beside is None else self.beside.references
        return beside + sum(
            array.references for growth, _ in self.fits for group in growth.plan.groups for array in group.arrays
        )

    @property
    def groups(self) -> tuple[GroupPlan, ...]:
        """All groups in which something is written."""
        own = tuple(fit.group for _, fits in self.fits for fit in fits)
        return own if self.beside is None else own + self.beside.groups

    @property
    def late(self) -> int:
        """The new files that lie before the old end of the first axis."""
        return sum(growth.late for growth, _ in self.fits)

    def told(self, what: Literal["warnings", "notes"]) -> tuple[str, ...]:
        """What there is to tell of all plans."""
        plans: list[Any] = [growth.plan for growth, _ in self.fits]
        plans += [self.beside] if self.beside is not None else []
        return tuple(dict.fromkeys(text for one in plans for text in getattr(one, what)))


def plan_change(standing: Standing, headers: Sequence[FileHeader]) -> Change:
    """Find out where files go, and what that changes; nothing is written."""
    recipe = standing.recipe
    bands = recipe.plan.get("bands")
    by_tree, others = assign(standing, [header for header in headers if is_chosen(header, bands)])
    growths = [plan_growth(standing, own, by_tree[own.path]) for own in recipe.trees if own.path in by_tree]
    beside = None
    if others:
        there = {own.path: own.mosaic for own in recipe.trees}
        beside = plan(others, taken=there, **standing.group_options())
    trees = {growth.old.path: growth.new for growth in growths}
    entries = [entry for growth in growths for entry in growth.entries]
    entries += [Entry(header, None) for header in headers if not is_chosen(header, bands)]
    if beside is not None:
        fixed = any(own.fixed for own in recipe.trees)
        trees |= {tree.path: TreeRecipe.of(tree, fixed=fixed, watched=recipe.watched) for tree in beside.trees}
        entries += entries_of(beside)
    return Change(
        fits=tuple((growth, _fit(standing, growth) if growth.plan.headers else ()) for growth in growths),
        beside=beside,
        recipe=recipe.with_trees(trees),
        entries=tuple(entries),
        replaced={url: row for growth in growths for url, row in growth.replaced.items()},
    )


def _fit(standing: Standing, growth: Growth) -> tuple[Fit, ...]:
    """How the groups of a tree grow."""
    filled = below(growth.plan.filled, standing.group)
    more = standing.recipe.plan.get("band_as") == "variable"
    grounds = zip(filled, growth.old.grids, growth.plan.grids, strict=True)
    finest = {axis.name: axis for axis in standing.axes(growth.old)}
    return tuple(
        fit_group(standing.store, group, before, now, more=more, finest=finest if number else None)
        for number, (group, before, now) in enumerate(grounds)
    )


def write_change(
    session: icechunk.Session,
    standing: Standing,
    change: Change,
    containers: Sequence[Container],
    executor: Any = None,
    *,
    on_stage: OnStage | None = None,
    start: Stage | None = None,
) -> None:
    """Write all that changes into a session, which is not committed.

    An executor writes the references when there are so many that it is worth while. The stage of earlier commits is
    `start`.
    """
    store = PatientStore.of(session)
    tasks: list[Task] = []
    for growth, fits in change.fits:
        for fit in fits:
            tasks += grow_group(session, fit, growth.replaced.keys())
        if fits and growth.plan.levels is not None and growth.old.grids != growth.plan.grids:
            (root,) = below([group for group in growth.plan.groups if not group.arrays], standing.group)
            grow_root(store, root)
    if change.beside is not None:
        groups = below(change.beside.groups, standing.group)
        run(write_groups(store, groups))
        tasks += tasks_of(groups)
    if change.recipe != standing.recipe:
        run(put(store, joined(standing.group, GROUP, "zarr.json"), ledger_group(change.recipe)))
    update_rows(store, standing.group, standing.rows, change.entries, change.replaced)
    write_told(
        session,
        tasks,
        containers,
        None if change.references < SHARE else executor,
        url=standing.place.url,
        on_stage=on_stage,
        start=start or Stage("write", 0, change.references),
    )
