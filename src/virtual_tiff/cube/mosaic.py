"""Tiles of one grid: where each file lies in pixels, and whether its chunks are chunks of the whole.

A reference can point to a whole chunk and to nothing less. So a file may only start where a chunk starts, it may end
within a chunk only where the whole array ends (behind the end of a file its last chunks hold padding), and no two
files may claim the same chunk.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from affine import Affine

from virtual_tiff.array import VirtualArray
from virtual_tiff.cube.blueprint import Cell, Footprint
from virtual_tiff.cube.conform import short_names
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.errors import ConformError

TOLERANCE: Final = 1e-3
"""How far, in pixels, a file may be from where the grid would have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """An array of one file on a grid: its upper left corner is at pixel (``row``, ``col``) of the grid."""

    header: FileHeader
    part: VirtualArray
    row: int
    col: int
    cell: Cell = ()

    @property
    def bottom(self) -> int:
        """The first row of the grid below the tile."""
        return self.row + self.part.shape[-2]

    @property
    def right(self) -> int:
        """The first column of the grid right of the tile."""
        return self.col + self.part.shape[-1]

    @property
    def chunk(self) -> tuple[int, int]:
        """Rows and columns of a chunk."""
        rows, columns = self.part.chunk_shape[-2:]
        return rows, columns


def same_grid(reference: Affine | None, footprint: Footprint) -> tuple[int, int] | None:
    """Return the (row, column) of a footprint on the grid of `reference`, or None when it is not on that grid."""
    if reference is None or footprint.transform is None:
        return (0, 0) if reference is footprint.transform else None
    relative = ~reference @ footprint.transform
    drift = max(
        (abs(relative.a - 1) + abs(relative.d)) * footprint.width,
        (abs(relative.e - 1) + abs(relative.b)) * footprint.height,
    )
    row, col = round(relative.f), round(relative.c)
    off = max(abs(relative.f - row), abs(relative.c - col))
    return (row, col) if drift < TOLERANCE and off < TOLERANCE else None


def same_resolution(reference: Affine | None, footprint: Footprint) -> bool:
    """Whether the pixels of a footprint have the size and the rotation of those of `reference`."""
    if reference is None or footprint.transform is None:
        return reference is footprint.transform
    own = footprint.transform
    moved = Affine(own.a, own.b, reference.c, own.d, own.e, reference.f)
    return same_grid(reference, Footprint(moved, footprint.height, footprint.width)) is not None


def lay_out(
    headers: Sequence[FileHeader], footprints: Sequence[Footprint], base: Footprint | None = None
) -> tuple[Footprint, list[tuple[int, int]]]:
    """Find the grid that holds all footprints.

    Parameters
    ----------
    headers, footprints
        The files, and the ground of each.
    base
        A grid that is there already, which the result holds too.

    Returns
    -------
    Footprint
        The grid from the first to the last row and column that any file covers.
    list of tuple of int
        The upper left corner of each file as (row, column), in pixels of that grid.

    Raises
    ------
    ConformError
        ``misaligned`` for files on other grids; ``conform`` for files without a transform whose sizes differ.
    """
    first = footprints[0] if base is None else base
    places: dict[Footprint, tuple[int, int]] = {first: (0, 0)}
    for header, footprint in zip(headers, footprints, strict=True):
        if footprint not in places:
            place = same_grid(first.transform, footprint)
            if place is None:
                raise _other_grid(None if base is not None else headers[0], first, header, footprint)
            places[footprint] = place
    if first.transform is None:
        _check_sizes(headers, footprints, first)
        return first, [(0, 0)] * len(headers)
    top, left = (min(place[axis] for place in places.values()) for axis in (0, 1))
    bottom = max(row + footprint.height for footprint, (row, _) in places.items())
    right = max(col + footprint.width for footprint, (_, col) in places.items())
    grid = Footprint(_origin(first.transform, places, top, left), bottom - top, right - left)
    return grid, [(places[one][0] - top, places[one][1] - left) for one in footprints]


def _origin(reference: Affine, places: dict[Footprint, tuple[int, int]], top: int, left: int) -> Affine:
    """The transform of the grid; where files are north-up its corner has the very numbers of those that touch it."""
    if reference.b != 0 or reference.d != 0:
        return reference @ Affine.translation(left, top)
    xs = (one.transform.c for one, place in places.items() if one.transform is not None and place[1] == left)
    ys = (one.transform.f for one, place in places.items() if one.transform is not None and place[0] == top)
    return Affine(reference.a, 0.0, next(xs), 0.0, reference.e, next(ys))


def _other_grid(base: FileHeader | None, first: Footprint, other: FileHeader, footprint: Footprint) -> ConformError:
    one, two = _names(base, other)
    if first.transform is None or footprint.transform is None:
        why = "only one of them has a transform"
    elif not same_resolution(first.transform, footprint):
        why = f"their pixels differ: {pixel_size(footprint)}, not {pixel_size(first)}"
    else:
        moved = ~first.transform @ footprint.transform
        why = f"their origins are {moved.c:.6g} columns and {moved.f:.6g} rows apart, which is no whole number"
    found = f"{two} is not on the pixel grid of {one}: {why}"
    return ConformError(found, feature="misaligned", hint="Publish them as separate groups or cubes.")


def pixel_size(ground: Footprint) -> str:
    """The size of a pixel in units of the CRS, for messages."""
    transform = ground.transform
    if transform is None:
        return "nowhere, without a transform"
    rotated = "" if transform.b == transform.d == 0 else ", rotated"
    return f"{transform.a:.10g} x {transform.e:.10g}{rotated}"


def _names(base: FileHeader | None, other: FileHeader) -> list[str]:
    """What to call two files; the first is the cube when it is None."""
    if base is None:
        return ["the cube", *short_names([other.place.plain])]
    return short_names([base.place.plain, other.place.plain])


def _check_sizes(headers: Sequence[FileHeader], footprints: Sequence[Footprint], first: Footprint) -> None:
    for header, footprint in zip(headers, footprints, strict=True):
        if footprint != first:
            one, two = _names(headers[0] if footprints[0] == first else None, header)
            found = f"{one} and {two} differ in size, and without a transform nothing says how they lie"
            raise ConformError(found, feature="conform")


def check_blocks(tiles: Sequence[Tile], grid: Footprint) -> None:
    """Refuse tiles whose chunks are not chunks of the grid.

    Raises
    ------
    ConformError
        ``misaligned``; the message names the first such file and what is wrong with it.
    """
    for tile in tiles:
        why = _block_problem(tile, grid)
        if why is not None:
            name = short_names([tile.header.place.plain])[0]
            hint = "Publish it as a separate group or cube, or tile the files alike."
            raise ConformError(f"{name} {why}", feature="misaligned", hint=hint)


def _block_problem(tile: Tile, grid: Footprint) -> str | None:
    rows, columns = tile.chunk
    if tile.row % rows or tile.col % columns:
        return f"starts at row {tile.row} and column {tile.col}, between the chunks of {columns} x {rows} pixels"
    if tile.bottom % rows and tile.bottom != grid.height:
        return f"ends at row {tile.bottom} of {grid.height}, within a chunk of {rows} rows whose rest is padding"
    if tile.right % columns and tile.right != grid.width:
        return f"ends at column {tile.right} of {grid.width}, within a chunk of {columns} columns whose rest is padding"
    if tile.part.last_rows is not None and (tile.row != 0 or tile.bottom != grid.height):
        return "has a rectilinear chunk grid, which only files of the full height may have"
    return None


def check_overlaps(tiles: Sequence[Tile], tell: Callable[[Cell], str]) -> None:
    """Refuse tiles that claim the same pixels of the same cell.

    Parameters
    ----------
    tiles
        All tiles of one array.
    tell
        Says of a cell where it is, such as ``" at time 2024-01-01"``.

    Raises
    ------
    ConformError
        ``overlap``; the message names both files.
    """
    overlap = next(find_overlaps(tiles), None)
    if overlap is None:
        return
    one, two = short_names([tile.header.place.plain for tile in overlap])
    same = (overlap[0].row, overlap[0].col) == (overlap[1].row, overlap[1].col)
    verb = "claim the same place" if same else f"overlap by {_shared(*overlap)} pixels"
    hint = "Leave one of them out, or give an axis that tells them apart."
    if same:
        hint += " Or use one of them: on_duplicate='last' (--on-duplicate last)."
    raise ConformError(f"{one} and {two} {verb}{tell(overlap[0].cell)}", feature="overlap", hint=hint)


def _shared(one: Tile, two: Tile) -> str:
    """Width and height of the pixels that two tiles share."""
    width = min(one.right, two.right) - max(one.col, two.col)
    return f"{width} x {min(one.bottom, two.bottom) - max(one.row, two.row)}"


def find_overlaps(tiles: Iterable[Tile]) -> Iterator[tuple[Tile, Tile]]:
    """Yield pairs of tiles that claim the same pixels; the later tile of each pair is no candidate for more."""
    tiles = tuple(tiles)
    room = _Room(tiles)
    for tile in tiles:
        other = room.occupant(tile)
        if other is None:
            room.add(tile)
        else:
            yield other, tile


class _Room:
    """Which tiles lie where; squares as large as the largest tile make the search short."""

    def __init__(self, tiles: Sequence[Tile]) -> None:
        self._height = max((tile.bottom - tile.row for tile in tiles), default=1)
        self._width = max((tile.right - tile.col for tile in tiles), default=1)
        self._squares: defaultdict[tuple[Cell, int, int], list[Tile]] = defaultdict(list)

    def _square(self, tile: Tile) -> tuple[int, int]:
        return tile.row // self._height, tile.col // self._width

    def add(self, tile: Tile) -> None:
        down, across = self._square(tile)
        self._squares[tile.cell, down, across].append(tile)

    def occupant(self, tile: Tile) -> Tile | None:
        """A tile that overlaps with this one."""
        down, across = self._square(tile)
        for square in ((down + y, across + x) for y in (-1, 0, 1) for x in (-1, 0, 1)):
            for other in self._squares.get((tile.cell, *square), ()):
                if _overlap(tile, other):
                    return other
        return None


def _overlap(one: Tile, two: Tile) -> bool:
    apart = one.bottom <= two.row or two.bottom <= one.row or one.right <= two.col or two.right <= one.col
    return not apart


def split_tiles(tiles: Sequence[Tile]) -> list[list[Tile]]:
    """Part tiles of one pixel grid into as few sets as a greedy search finds, each of which can be one array."""
    classes: defaultdict[tuple[int, int], list[Tile]] = defaultdict(list)
    for tile in tiles:
        rows, columns = tile.chunk
        classes[tile.row % rows, tile.col % columns].append(tile)
    return [part for group in classes.values() for part in _layers(group)]


class _Layer:
    """Tiles that can be one array; `ragged` are the ends, along each axis, that lie within a chunk."""

    def __init__(self, tiles: Sequence[Tile]) -> None:
        self.tiles: list[Tile] = []
        self._room = _Room(tiles)
        self._ends = (0, 0)
        self._ragged: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())

    def accepts(self, tile: Tile) -> bool:
        """Add a tile if that is possible."""
        ends = (tile.bottom, tile.right)
        starts = (tile.row, tile.col)
        total, ragged = [], []
        for axis in (0, 1):
            total.append(max(ends[axis], self._ends[axis]) if self.tiles else ends[axis])
            cut = (ends[axis] - starts[axis]) % tile.chunk[axis] != 0
            ragged.append(self._ragged[axis] | ({ends[axis]} if cut else set()))
            if any(end != total[axis] for end in ragged[axis]):
                return False
        if self._room.occupant(tile) is not None:
            return False
        self._room.add(tile)
        self.tiles.append(tile)
        self._ends = (total[0], total[1])
        self._ragged = (ragged[0], ragged[1])
        return True


def _layers(tiles: Sequence[Tile]) -> list[list[Tile]]:
    """Part tiles whose chunks are aligned; those that end within a chunk come last, where they can close an array."""

    def ends_within(tile: Tile) -> bool:
        rows, columns = tile.chunk
        return bool(tile.part.shape[-2] % rows or tile.part.shape[-1] % columns)

    layers: list[_Layer] = []
    for tile in sorted(tiles, key=ends_within):
        if not any(layer.accepts(tile) for layer in layers):
            layer = _Layer(tiles)
            layer.accepts(tile)
            layers.append(layer)
    order = {id(tile): position for position, tile in enumerate(tiles)}
    return [sorted(layer.tiles, key=lambda tile: order[id(tile)]) for layer in layers]
