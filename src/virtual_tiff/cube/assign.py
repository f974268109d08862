"""Where further files belong in a cube: in which of its trees, and where there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from icechunk.store import IcechunkStore

from virtual_tiff.cube.apart import free_traits, leading_axes, own_variable
from virtual_tiff.cube.blueprint import Cell, Claim, Footprint, TreePlan
from virtual_tiff.cube.cells import TIME
from virtual_tiff.cube.columns import Entry, Place, cell_text
from virtual_tiff.cube.conform import check_conform, short_names
from virtual_tiff.cube.duplicates import drop_duplicates
from virtual_tiff.cube.edges import StoredEdges, stored_edges
from virtual_tiff.cube.extent import Extent
from virtual_tiff.cube.grow import open_array, read_arrays
from virtual_tiff.cube.header import ASSET, FileHeader, KeyValue, is_own_name
from virtual_tiff.cube.known import Row, Rows
from virtual_tiff.cube.levels import tree
from virtual_tiff.cube.mosaic import same_grid, same_resolution
from virtual_tiff.cube.recipe import Recipe, TreeRecipe
from virtual_tiff.cube.rivals import check_left, decides, settle
from virtual_tiff.cube.select import BAND
from virtual_tiff.cube.standing_axis import StandingAxis
from virtual_tiff.cube.stores import Location
from virtual_tiff.cube.times import parse_time
from virtual_tiff.cube.views import OnDuplicate, StackOptions, footprint, is_masked
from virtual_tiff.cube.write import joined
from virtual_tiff.errors import ConformError, UsageError

_ROOTED: Final = (
    "Publish them as a cube of their own. A cube that was published with group_by='always' (--group-by always) takes "
    "files of other CRSs and resolutions, as further groups."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What the files of one tree change: the plan into what is there, their entries, and the files that they replace.

    ``replaced`` are rows of the ledger by the URL of the file that takes the place; ``old`` is the tree as it was,
    and ``late`` counts the new files whose label lies before the last one of the first axis.
    """

    old: TreeRecipe
    plan: TreePlan
    entries: tuple[Entry, ...]
    replaced: Mapping[str, Row]
    late: int = 0

    @property
    def new(self) -> TreeRecipe:
        """The tree as it will be."""
        return self.old.grown(self.plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A cube as it stands: its place and group for messages and paths, its recipe and its ledger.

    ``on_duplicate`` stands in for the rule of the recipe.
    """

    place: Location
    group: str
    snapshot: str
    store: IcechunkStore = field(repr=False)
    recipe: Recipe
    rows: Rows
    time: object = None
    on_duplicate: OnDuplicate | None = None
    read: dict[str, tuple[StandingAxis, ...]] = field(default_factory=dict, repr=False)

    def axes(self, own: TreeRecipe) -> tuple[StandingAxis, ...]:
        """The leading axes of a tree, which are read once."""
        if own.path not in self.read:
            self.read[own.path] = tuple(self._read_axis(own, name) for name in own.axes)
        return self.read[own.path]

    def _read_axis(self, own: TreeRecipe, name: str) -> StandingAxis:
        array = open_array(self.store, joined(self.group, own.level_paths[0], name), "r")
        having = partial(self._having, own) if own.named else None
        return StandingAxis.read(name, array, dict(array.attrs), named=own.named, having=having)

    def _having(self, own: TreeRecipe, names: Collection[str]) -> set[str] | None:
        """Those of some names that the axis of a tree has; None when the ledger does not know all that are there.

        It does not know those that an axis got beside the names of files.
        """
        trees = self.recipe.trees
        if not all(one.named for one in trees):
            return None
        if sum(len(axis) for one in trees for axis in self.axes(one)) != self.rows.placed():
            return None
        by_label = {cell_text((name,)): name for name in names}
        found = self.rows.having(own.path, ["", *own.traits], by_label)
        return {by_label[label] for label in found}

    def options(self, own: TreeRecipe) -> StackOptions:
        """How further files of a tree are planned."""
        options = self.recipe.options(own, time=self.time)
        return options if self.on_duplicate is None else replace(options, on_duplicate=self.on_duplicate)

    def group_options(self) -> dict[str, Any]:
        """How files that fit no tree are planned."""
        options = self.recipe.group_options(time=self.time)
        return options if self.on_duplicate is None else options | {"on_duplicate": self.on_duplicate}

    def variable(self, header: FileHeader) -> str:
        """The variable that a file belongs to by its key, or nothing where it belongs to all."""
        return str(header.keys[BAND]) if self.recipe.plan.get("band_as") == "variable" and BAND in header.keys else ""


def described(standing: Standing, header: FileHeader) -> FileHeader:
    """A header that tells nothing but what the file does, with what is known of its older version in the cube.

    So a file of a catalogue can be named without the catalogue.
    """
    row = standing.rows.at(header.url)
    if row is None or not row.used or header.time is not None or header.keys:
        return header
    header = replace(header, updated=header.updated or standing.rows.updated(row, header.digest))
    (own,) = (one for one in standing.recipe.trees if one.path == row.tree)
    if own.named:
        return replace(header, item_id=header.item_id or row.item_id or None)
    keys: dict[str, KeyValue] = dict(zip(own.axes, json.loads(row.label), strict=True))
    moment = keys.pop(TIME, None)
    tagged = standing.recipe.plan.get("time") == "auto" and "TIFFTAG_DATETIME" in header.metadata.tags
    time = parse_time(moment) if isinstance(moment, str) and not tagged else None
    keys |= {BAND: row.variable} if row.variable else {}
    keys |= {"asset": row.asset} if row.asset else {}
    return replace(header, time=time, keys=keys, item_id=row.item_id or None)


def assign(standing: Standing, headers: Sequence[FileHeader]) -> tuple[dict[str, list[FileHeader]], list[FileHeader]]:
    """Find the tree of each file.

    Returns
    -------
    dict
        The files by the path of their tree.
    list
        The files that belong to no tree, because their CRS, resolution or the meaning of their values differ.
    """
    trees = standing.recipe.trees
    found: dict[str, list[FileHeader]] = {}
    others = []
    for header in headers:
        row = standing.rows.find(header)
        near = [own for own in trees if own.path == row.tree] if row is not None else _candidates(standing, header)
        if not near and standing.recipe.plan.get("on_conflict") == "raise":
            near = [own for own in trees if _same_ground(own, header)]  # which tells why it does not fit
        if near:
            found.setdefault(near[0].path, []).append(header)
        else:
            others.append(header)
    return found, others


def _candidates(standing: Standing, header: FileHeader) -> list[TreeRecipe]:
    """The trees that a file may belong to; a lone tree gets all files, and refuses them with its reasons."""
    trees = standing.recipe.trees
    if len(trees) == 1 and not trees[0].path:
        return list(trees)
    near = [own for own in trees if _alike(standing, own, header)]
    if standing.recipe.plan.get("on_conflict") == "split":
        return [own for own in near if _is_free(standing, own, header)]
    if len(near) < 2:
        return near
    free = [own for own in near if _is_free(standing, own, header)]
    return free or near


def _alike(standing: Standing, own: TreeRecipe, header: FileHeader) -> bool:
    """Whether a file has the CRS, the resolution, the meaning of values and the masks of a tree."""
    variable = standing.variable(header)
    if variable not in own.traits:
        return _same_ground(own, header)
    ignored = free_traits(standing.options(own))
    meaning = {key: text for key, text in header.traits.items() if key not in ignored}
    known = {key: text for key, text in own.traits[variable].items() if key not in ignored}
    level = own.levels[0] if own.levels else 0
    if meaning != known or is_masked(header, level) != own.masked[variable]:
        return False
    return _same_ground(own, header)


def _same_ground(own: TreeRecipe, header: FileHeader) -> bool:
    """Whether a file has the CRS and the resolution of a tree."""
    level = own.levels[0] if own.levels else None
    there = level is None or level < len(header.levels)
    same = own.crs == header.traits["CRS"]
    return same and there and same_resolution(own.grids[0].transform, footprint(header, level))


def _is_free(standing: Standing, own: TreeRecipe, header: FileHeader) -> bool:
    """Whether a file lies on the chunks of a tree, where no other file is."""
    ground = footprint(header, own.levels[0] if own.levels else None)
    place = same_grid(own.anchor.transform, ground)
    rows, columns = header.array.chunk_shape[-2:]
    options = standing.options(own)
    if place is None or (options.chunk_grid == "regular" and (place[0] % rows or place[1] % columns)):
        return False
    (cell,) = leading_axes([header], options, read_extent(standing, own, {})).cells
    claim = Claim(own_variable(header, options), cell, *place, ground.height, ground.width)
    found = Place(tree=own.path, claim=claim)
    rivals = standing.rows.rivals({header.url: found}).get(header.url, ())
    return all(decides(options.on_duplicate, row, found) for row in rivals)


def read_extent(standing: Standing, own: TreeRecipe, replaced: Mapping[str, Row]) -> Extent:
    """How far a tree reaches now."""
    axes = standing.axes(own)
    names: dict[str, str] = {}
    if own.named:
        by_label = {cell_text((value,)): value for value in axes[0].names()} if replaced else {}
        names = {url: by_label[row.label] for url, row in replaced.items()}
    varied = standing.recipe.plan.get("chunk_grid", "regular") != "regular"
    return Extent(
        axes=axes,
        grids=own.grids,
        named=own.named,
        fixed=own.fixed,
        names=names,
        edges=_read_edges(standing, own) if varied else {},
    )


def _read_edges(standing: Standing, own: TreeRecipe) -> dict[tuple[int, str], StoredEdges]:
    """The chunks of each array, by the number of its level and its name."""
    found = {}
    for position, path in enumerate(own.level_paths):
        for name, metadata in read_arrays(standing.store, joined(standing.group, path)).items():
            found[position, name] = stored_edges(metadata)
    return found


def plan_growth(standing: Standing, own: TreeRecipe, headers: Sequence[FileHeader]) -> Growth:
    """Plan files into a tree.

    Parameters
    ----------
    standing
        The cube.
    own
        Its tree.
    headers
        The files; they are not in the cube in this version.

    Raises
    ------
    ConformError
        ``conform``, ``misaligned`` or ``overlap`` when files do not fit, or claim the place of another.
    """
    options = standing.options(own)
    try:
        _check_traits(standing, own, headers)
    except ConformError as error:
        if own.path or all(_same_ground(own, header) for header in headers):
            raise
        error.hint = _ROOTED
        raise
    _check_keys(standing, own, headers, options)
    found = ((header.url, standing.rows.find(header)) for header in headers)
    versions = {url: row for url, row in found if row is not None}
    extent = read_extent(standing, own, versions)
    used, _, notes = drop_duplicates(headers, options, extent)
    while True:
        plan = tree(used, options, own.path, extent)
        places = {url: _place(own, plan, claim) for url, claim in plan.claims.items()}
        settled = settle(standing.rows, plan.headers, places, versions, options.on_duplicate)
        notes = (*notes, *settled.notes)
        if not settled.lost:
            break
        used = [header for header in used if header.url not in settled.lost]
        if not used:
            plan = replace(plan, headers=(), claims={}, groups=(), grids=own.grids)
            places = {}
            break
    check_left(versions, places)
    inside = {header.url for header in plan.headers}
    unused = [header for header in headers if header.url not in inside]
    entries = [Entry(header, places[header.url]) for header in plan.headers]
    entries += [Entry(header, None) for header in unused]
    return Growth(
        old=own,
        plan=replace(plan, notes=(*_grown(standing, own, plan), *notes, *plan.notes)),
        entries=tuple(entries),
        replaced=settled.replaced,
        late=_late(extent, [claim.cell for url, claim in plan.claims.items() if url not in settled.replaced]),
    )


def _grown(standing: Standing, own: TreeRecipe, plan: TreePlan) -> tuple[str, ...]:
    """A note when the ground grows, in pixels of the finest level."""
    before, now = own.grids[0], plan.grids[0]
    if (before.height, before.width) == (now.height, now.width):
        return ()
    path = joined(standing.group, own.path)
    return (f"grows /{path}: {before.width} x {before.height} -> {now.width} x {now.height}",)


def _late(extent: Extent, cells: Sequence[Cell]) -> int:
    """How many labels of the first axis are new, and lie before its end."""
    return extent.axes[0].late(cell[0] for cell in cells) if extent.axes else 0


def _check_traits(standing: Standing, own: TreeRecipe, headers: Sequence[FileHeader]) -> None:
    """Refuse files that do not fit; the cube speaks as one more file."""
    level = own.levels[0] if own.levels else 0
    by_variable: dict[str, list[FileHeader]] = {}
    for header in headers:
        by_variable.setdefault(standing.variable(header), []).append(header)
    for variable, members in by_variable.items():
        if variable not in own.traits:  # it is new
            there = replace(headers[0], place=standing.place, traits={"CRS": own.crs})
            check_conform([there, *(replace(one, traits={"CRS": one.traits["CRS"]}) for one in members)])
            continue
        there = replace(headers[0], place=standing.place, traits=own.traits[variable])
        check_conform([there, *members], ignore=free_traits(standing.options(own)))
        _check_masks(members, level, masked=own.masked[variable])


def _check_masks(headers: Sequence[FileHeader], level: int, *, masked: bool) -> None:
    for header in headers:
        if is_masked(header, level) != masked:
            found = "the file has no mask, as those of the cube have" if masked else "the file has a mask"
            raise ConformError(found, feature="conform", url=header.url, hint="Publish it as a separate cube.")


def _check_keys(standing: Standing, own: TreeRecipe, headers: Sequence[FileHeader], options: StackOptions) -> None:
    """Refuse files of another band, or with another key that would have become an axis, had it been known before."""
    for key, known in own.constant.items():
        if key == BAND and options.band_as == "variable":
            continue
        values = {header.url: str(header.keys[key]) if key in header.keys else None for header in headers}
        others = [header for header in headers if values[header.url] != known]
        if key not in (BAND, ASSET):  # it may follow from the ground, as the name of a tile does
            grounds = Counter(ground for ground, _ in {(footprint(header), values[header.url]) for header in headers})
            others = [
                header for header in others if grounds[footprint(header)] > 1 or _is_known_ground(standing, own, header)
            ]
        for header in others:
            value = values[header.url]
            if key == ASSET and is_own_name(value or "", header):
                continue
            if value is None and standing.rows.find(header) is not None:
                continue
            name = short_names([header.place.plain])[0]
            what = f"no {key}" if value is None else f"the {key} {value!r}"
            found = f"{name} has {what}, but the files of the cube have {known!r}, and it has no axis {key!r}"
            hint = f"Publish it as a separate cube, or all anew with {key!r} among the axes."
            raise ConformError(found, feature="conform", hint=hint)


def _is_known_ground(standing: Standing, own: TreeRecipe, header: FileHeader) -> bool:
    """Whether a tree has a file on exactly this ground."""
    ground = footprint(header, own.levels[0] if own.levels else None)
    place = same_grid(own.anchor.transform, ground)
    return place is not None and standing.rows.has_box(own.path, (*place, ground.height, ground.width))


def _place(own: TreeRecipe, plan: TreePlan, claim: Claim) -> Place:
    row, col = _corner(own.anchor, plan.grids[0])
    return Place(tree=own.path, claim=replace(claim, row=claim.row + row, col=claim.col + col))


def _corner(anchor: Footprint, ground: Footprint) -> tuple[int, int]:
    """Where a ground begins, counted from the anchor."""
    if anchor.transform is None:
        return 0, 0
    place = same_grid(anchor.transform, ground)
    assert place is not None  # noqa: S101 (a tree has one pixel grid)
    return place


def check_time(standing: Standing) -> None:
    """Refuse a function for times where the cube has another source for them, see :meth:`Recipe.options`."""
    if standing.time is not None and standing.recipe.plan.get("time") != "function":
        found = "the cube does not take its times from a function"
        raise UsageError(found, feature="usage", hint="Leave out time=.")
