"""What a cube will be, as plain values: groups, arrays, coordinates, and where the chunks of each file go."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from virtual_tiff.array import VirtualArray
from virtual_tiff.bandaxis import bands_last, in_order, last_order
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.geo.coordinate import Coordinate

type Cell = tuple[Hashable, ...]
"""The labels of a file along the leading axes of an array."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """The ground that an image covers: the transform of its pixel corners, its height and width in pixels."""

    transform: Affine | None
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Claim:
    """The place of a file, which no other may have: its variable, its labels, and its pixels on a grid.

    ``variable`` is empty unless files belong to different ones. ``row`` and ``col`` are those of the upper left
    corner, negative where a file begins outside the part of the grid that is exposed.
    """

    variable: str
    cell: Cell
    row: int
    col: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Placement:
    """A file's place in an array: ``index`` is the position of its first chunk in the array's chunk grid.

    ``part`` is what is placed when it is not the whole image of the header: an overview, a mask, some of the bands
    or some of the chunks. It may have fewer dimensions than the array, which has the others in front.
    """

    header: FileHeader
    index: tuple[int, ...]
    part: VirtualArray | None = None

    @property
    def array(self) -> VirtualArray:
        """The array of byte ranges that is placed."""
        return self.header.array if self.part is None else self.part

    @property
    def grid(self) -> tuple[int, ...]:
        """The shape of the file's block of chunks, in the array's dimensions."""
        own = self.array.grid
        return (1,) * (len(self.index) - len(own)) + own


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayPlan:
    """One array made of many files; ``template`` is its metadata, whose byte ranges mean nothing."""

    name: str
    template: VirtualArray
    placements: tuple[Placement, ...]

    @property
    def references(self) -> int:
        """Number of byte ranges that are referenced."""
        return sum(int(np.count_nonzero(placement.array.lengths)) for placement in self.placements)

    def with_bands_last(self, lead: int) -> ArrayPlan:
        """The same array with the bands of files, if they have any, behind all other axes; `lead` axes lead."""
        order = last_order(self.template.dimension_names, lead)
        if order is None:
            return self
        placements = (
            Placement(one.header, in_order(one.index, order), bands_last(one.array)) for one in self.placements
        )
        return replace(self, template=bands_last(self.template, lead), placements=tuple(placements))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AxisPlan:
    """A leading axis as it will be: ``values`` are those from the position ``first`` on, the others stay as stored.

    ``moved`` are the new positions of all values that are there, None when they stay where they are.
    """

    name: str
    values: npt.NDArray[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    first: int = 0
    moved: Sequence[int] | None = None

    def __len__(self) -> int:
        return self.first + len(self.values)

    @property
    def coordinate(self) -> Coordinate:
        """A new axis as a variable of its own dimension."""
        assert self.first == 0  # noqa: S101 (of others not all values are known)
        return Coordinate(self.name, (self.name,), self.values, self.attributes)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlan:
    """One group of the repository; the empty path is the root.

    ``coordinates`` are stored, not referenced; so are ``axes``, which grow when files are added behind the
    others.
    """

    path: str
    arrays: tuple[ArrayPlan, ...]
    coordinates: tuple[Coordinate, ...] = ()
    axes: tuple[AxisPlan, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreePlan:
    """Files that share a grid: one group of arrays, or that of a pyramid with one for each level below it.

    ``axes`` are the names of the leading axes; ``named`` says that there is one, of the names of files. ``levels``
    are the numbers of the overviews of each file that became levels, None without them. ``grids`` are the exposed
    grounds, one for each level, and ``claims`` the places of the files, by URL, on the first of them. The files
    of a ``mosaic`` need not lie in one place.
    """

    path: str
    groups: tuple[GroupPlan, ...]
    headers: tuple[FileHeader, ...]
    axes: tuple[str, ...]
    named: bool
    levels: tuple[int, ...] | None
    mosaic: bool
    grids: tuple[Footprint, ...]
    claims: Mapping[str, Claim]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def filled(self) -> tuple[GroupPlan, ...]:
        """The groups that hold arrays, the finest level first."""
        return tuple(group for group in self.groups if group.arrays)


@dataclass(frozen=True, slots=True, kw_only=True)
class CubePlan:
    """Everything that one commit writes.

    ``headers`` are the files that are referenced, ``unused`` those that others take the place of, that lie outside the
    area that is asked for, or whose band is not asked for. ``asked`` are the
    options by which it was planned. ``notes`` say what was split or left out, and why; ``warnings`` what a reader of
    the cube should know. ``watched`` are keys of files that would have become axes, had they told files apart.
    """

    trees: tuple[TreePlan, ...]
    headers: tuple[FileHeader, ...]
    unused: tuple[FileHeader, ...] = ()
    asked: Mapping[str, Any] = field(default_factory=dict)
    watched: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def groups(self) -> tuple[GroupPlan, ...]:
        """All groups, those above before those below."""
        return tuple(group for tree in self.trees for group in tree.groups)

    @property
    def references(self) -> int:
        """Number of byte ranges that are referenced."""
        return sum(array.references for group in self.groups for array in group.arrays)

    @property
    def portability(self) -> str:
        """Whether a reader needs ``virtual_tiff.segment`` ("segment") or no codec of ours ("core")."""
        needs = {array.template.portability for group in self.groups for array in group.arrays}
        return "segment" if "segment" in needs else "core"

    def describe(self) -> str:
        """The arrays on one line each: ``band_data (item: 12, y: 512, x: 512) uint16``."""
        return "\n".join(describe_array(group, array) for group in self.groups for array in group.arrays)


def describe_array(group: GroupPlan, array: ArrayPlan) -> str:
    """An array on one line: its path, its dimensions with their sizes, its data type."""
    sizes = zip(array.template.dimension_names, array.template.shape, strict=True)
    shape = ", ".join(f"{name}: {size}" for name, size in sizes)
    path = f"{group.path}/{array.name}".lstrip("/")
    return f"{path} ({shape}) {array.template.dtype.name}"


def texts(values: Iterable[str]) -> np.ndarray[Any, Any]:
    """Strings as a numpy array of variable-length text."""
    return np.array(list(values), np.dtypes.StringDType())
