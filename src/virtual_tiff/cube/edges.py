"""Chunks of several sizes: the edges of a rectilinear chunk grid, found from the tiles of a mosaic.

A chunk can stand amid an array only when it decodes to just the pixels that it has there. Strips do, also the short
last one of a file, as long as core codecs decode them; tiles at the edge of an image are padded, and
``virtual_tiff.segment`` always returns full segments. So rows of chunks may be as high as the strips of files, columns
as wide as files, and both as large as the tiles of images that are whole multiples of their tiles. Uncompressed rows
are cut wherever others need it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, Final, Literal

import numpy as np

from virtual_tiff.array import VirtualArray
from virtual_tiff.codecs.config import CODEC_NAME
from virtual_tiff.cube.blueprint import Footprint
from virtual_tiff.cube.conform import short_names
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.mosaic import Tile, find_overlaps
from virtual_tiff.cube.recut import can_recut, recut
from virtual_tiff.cube.select import Span
from virtual_tiff.errors import ConformError

type ChunkGrid = Literal["regular", "rectilinear"]
"""Whether all chunks of an array have one size, or those of a row one height and those of a column one width."""

type Sizes = tuple[int, ...]
type StoredEdges = tuple[Sizes, Sizes]
"""The heights of the rows and the widths of the columns of chunks of an array that is there."""

SIZE_TRAITS: Final = ("chunk shape", "last rows")
"""The traits in which files may differ when chunks may have several sizes."""

_NOUNS: Final = ("row", "column")
_HINT: Final = (
    "Files side by side need chunks of one height, files above each other chunks of one width: publish it as a "
    "separate group or cube."
)


@dataclass(frozen=True)
class AxisEdges:
    """The chunks along one axis: their sizes in pixels as they decode, and the pixels of the axis."""

    sizes: Sizes
    extent: int

    @cached_property
    def step(self) -> int | None:
        """The size of all chunks, the last of which may reach beyond the axis, or None when sizes vary."""
        return self.sizes[0] if len(set(self.sizes)) == 1 else None

    @cached_property
    def starts(self) -> dict[int, int]:
        """The number of each chunk by its first pixel."""
        return {start: number for number, start in enumerate(accumulate((0, *self.sizes[:-1])))}

    @property
    def exact(self) -> Sizes:
        """The sizes with the last one cut to the axis."""
        return (*self.sizes[:-1], self.sizes[-1] - (sum(self.sizes) - self.extent))

    @property
    def usual(self) -> int:
        """The commonest size, the largest of several."""
        return max(Counter(self.sizes).items(), key=lambda item: (item[1], item[0]))[0]


@dataclass(frozen=True, slots=True)
class GridEdges:
    """The chunk grid of an array along y and x."""

    rows: AxisEdges
    columns: AxisEdges

    @property
    def rectilinear(self) -> bool:
        """Whether sizes vary along an axis."""
        return self.rows.step is None or self.columns.step is None

    def index(self, tile: Tile) -> tuple[int, int]:
        """The row and column of the first chunk of a tile."""
        return self.rows.starts[tile.row], self.columns.starts[tile.col]

    def shape(self, template: VirtualArray) -> VirtualArray:
        """A template whose chunks have these edges; it is regular when they are."""
        axes = (self.rows, self.columns)
        grid = (*template.grid[:-2], *(len(axis.sizes) for axis in axes))
        nowhere = np.broadcast_to(np.uint64(0), grid)
        return replace(
            template,
            chunk_shape=(*template.chunk_shape[:-2], *(axis.usual for axis in axes)),
            last_rows=None,
            edges=(self.rows.exact, self.columns.exact) if self.rectilinear else None,
            offsets=nowhere,
            lengths=nowhere,
        )


@dataclass(frozen=True, slots=True)
class _Run:
    """The chunks of a tile along an axis: where the first begins, their sizes, and where the pixels of the tile end."""

    start: int
    sizes: Sizes
    end: int

    @classmethod
    def of(cls, tile: Tile, axis: int) -> _Run:
        start, end, size = (tile.row, tile.col)[axis], (tile.bottom, tile.right)[axis], tile.chunk[axis]
        if tile.part.edges is not None:
            return cls(start, tile.part.edges[axis], end)
        last = tile.part.last_rows or size if axis == 0 else size
        return cls(start, (size,) * (tile.part.grid[axis - 2] - 1) + (last,), end)

    @property
    def padded(self) -> bool:
        """Whether the last chunk holds more than the tile does."""
        return self.start + sum(self.sizes) > self.end

    def chunks(self) -> Iterator[tuple[int, int]]:
        """Start and end of each chunk."""
        start = self.start
        for size in self.sizes:
            yield start, start + size
            start += size


@dataclass(frozen=True, slots=True)
class _Rival:
    """A chunk that another one does not agree with."""

    own: tuple[int, int]
    other: tuple[int, int]
    owner: str


class _Axis:
    """The chunks of many tiles along one axis, which must not cut each other.

    ``end`` is where the last tile ends, ``ragged`` holds the ends of those whose last chunk holds padding.
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._chunks: dict[int, tuple[int, str]] = {}
        self._runs: set[_Run] = set()
        self.end = 0
        self.ragged: set[int] = set()

    def take(self, start: int, end: int, owner: str) -> None:
        """Add a chunk that agrees with the others."""
        if start not in self._chunks:
            insort(self._starts, start)
            self._chunks[start] = (end, owner)

    def fits(self, run: _Run) -> bool:
        """Whether the chunks of a tile agree with those that are there."""
        return run in self._runs or all(self.rival(*chunk) is None for chunk in run.chunks())

    def add(self, run: _Run, owner: str) -> _Rival | None:
        """Add the chunks of a tile, or none when one of them cuts another: that is returned."""
        if run in self._runs:
            return None
        for chunk in run.chunks():
            rival = self.rival(*chunk)
            if rival is not None:
                return rival
        self._runs.add(run)
        self.end = max(self.end, run.end)
        self.ragged |= {run.end} if run.padded else set()
        for start, end in run.chunks():
            self.take(start, end, owner)
        return None

    def rival(self, start: int, end: int) -> _Rival | None:
        """A chunk that cuts another, or None."""
        at = bisect_left(self._starts, start)
        for near in self._starts[max(at - 1, 0) : at + 1]:
            other_end, owner = self._chunks[near]
            if near < end and start < other_end and (near, other_end) != (start, end):
                return _Rival((start, end), (near, other_end), owner)
        return None

    def cuts(self, run: _Run) -> _Run | None:
        """The same pixels in the chunks that are there, or None when those begin before them or end behind them."""
        size = max(run.sizes)
        sizes: list[int] = []
        reached = run.start
        at = max(bisect_left(self._starts, run.start) - 1, 0)
        for start in [*self._starts[at : bisect_left(self._starts, run.end)], run.end]:
            end = run.end if start == run.end else self._chunks[start][0]
            if end <= run.start:
                continue
            if start < run.start or end > run.end:
                return None
            gap = start - reached
            sizes += [size] * (gap // size) + ([gap % size] if gap % size else [])
            sizes += [end - start] if end > start else []
            reached = end
        return _Run(run.start, tuple(sizes), run.end)

    def edges(self, extent: int) -> AxisEdges:
        """All chunks from the first to the last pixel; where there is none, they have the commonest size."""
        there = [(start, self._chunks[start][0]) for start in self._starts]
        usual = AxisEdges(tuple(end - start for start, end in there), extent).usual
        sizes: list[int] = []
        reached = 0
        for start, end in [*there, (extent, extent)]:
            gap = start - reached
            if gap > 0:
                sizes += [usual] * (gap // usual)
                # behind the last tile nothing is decoded, so that an array which is regular else may stay so
                rest = usual if start == end and set(sizes) <= {usual} else gap % usual
                sizes += [rest] if gap % usual else []
            sizes += [end - start] if end > start else []
            reached = max(reached, end)
        return AxisEdges(tuple(sizes), extent)


def find_edges(
    tiles: Sequence[Tile],
    ground: Footprint,
    known: StoredEdges | None = None,
    corner: tuple[int, int] = (0, 0),
) -> GridEdges:
    """Find the chunk grid that has the chunks of all tiles.

    Parameters
    ----------
    tiles
        All tiles of one array.
    ground
        The grid of pixels on which they lie.
    known, corner
        The chunks that an array has already, and where on the ground its first one begins, as (row, column).

    Returns
    -------
    GridEdges
        Rows and columns that no tile covers have the commonest size.

    Raises
    ------
    ConformError
        ``misaligned``; the message names the first file whose chunks cut those of others, or which ends amid the
        array with a chunk that holds padding.
    """
    found: list[AxisEdges] = []
    padded: list[Tile] = []
    for axis, extent in enumerate((ground.height, ground.width)):
        chunks = _standing(axis, known, corner)
        runs: dict[_Run, Tile] = {}
        for tile in tiles:
            runs.setdefault(_Run.of(tile, axis), tile)
        for run, tile in runs.items():
            if run.start < 0 or run.end > extent:
                raise _refusal(tile, f"has a chunk across the edge of the area, which lies between its {_NOUNS[axis]}s")
            rival = chunks.add(run, short_names([tile.header.place.plain])[0])
            if rival is not None:
                raise _cut(tile, rival, _NOUNS[axis])
            if run.padded and run.end != extent:
                raise _padding(tile, run, extent, _NOUNS[axis])
        padded += [tile for run, tile in runs.items() if run.padded]
        found.append(chunks.edges(extent))
    grid = GridEdges(*found)
    if grid.rectilinear and padded:
        raise _beyond(padded[0])
    return grid


def align(tiles: Sequence[Tile], known: StoredEdges | None = None, corner: tuple[int, int] = (0, 0)) -> list[Tile]:
    """Cut uncompressed tiles anew where their rows of chunks are not those of others; the widest decide.

    Parameters
    ----------
    tiles, known, corner
        As for :func:`find_edges`, which refuses what still disagrees.
    """
    chunks = _standing(0, known, corner)
    free: dict[_Run, int] = {}
    of = {id(tile): _Run.of(tile, 0) for tile in tiles}
    loose = {id(tile) for tile in tiles if can_recut(tile.part)}
    for tile in tiles:
        run = of[id(tile)]
        if id(tile) in loose:
            free[run] = max(free.get(run, 0), tile.part.shape[-1])
        else:
            chunks.add(run, "")
    anew: dict[_Run, _Run] = {}
    for run in sorted(free, key=lambda run: (-free[run], run.start)):
        if run.padded or chunks.add(run, "") is not None:
            other = chunks.cuts(run)
            if other is not None and chunks.add(other, "") is None:
                anew[run] = other
    return [
        replace(tile, part=recut(tile.part, anew[of[id(tile)]].sizes))
        if id(tile) in loose and of[id(tile)] in anew
        else tile
        for tile in tiles
    ]


def _standing(axis: int, known: StoredEdges | None, corner: tuple[int, int]) -> _Axis:
    """The chunks that an array has already."""
    chunks = _Axis()
    if known is not None:
        for start, size in zip(accumulate((corner[axis], *known[axis][:-1])), known[axis], strict=True):
            chunks.take(start, start + size, "the cube")
    return chunks


def _refusal(tile: Tile, why: str) -> ConformError:
    name = short_names([tile.header.place.plain])[0]
    return ConformError(f"{name} {why}", feature="misaligned", hint=_HINT)


def _cut(tile: Tile, rival: _Rival, noun: str) -> ConformError:
    (start, end), (first, last) = rival.own, rival.other
    why = f"has a chunk of the {noun}s {start} to {end - 1}, where {rival.owner} has one of {first} to {last - 1}"
    return _refusal(tile, why)


def _padding(tile: Tile, run: _Run, extent: int, noun: str) -> ConformError:
    why = f"ends at {noun} {run.end} of {extent}, within a chunk of {run.sizes[-1]} {noun}s whose rest is padding"
    return _refusal(tile, why)


def _beyond(tile: Tile) -> ConformError:
    # zarr-python and Icechunk take edges that reach beyond the array; zarrs and the first specification do not
    why = "ends within its last chunk, whose rest is padding; in a rectilinear chunk grid the last chunks end the array"
    return _refusal(tile, why)


def check_codecs(headers: Sequence[FileHeader]) -> None:
    """Refuse files with chunks of several sizes where the codec that decodes them states the size.

    Raises
    ------
    ConformError
        ``conform``; the message names two of the files.
    """
    sizes: dict[tuple[Any, ...], FileHeader] = {}
    for header in headers:
        for codec in header.array.codecs:
            if codec["name"] == CODEC_NAME:
                config = codec["configuration"]
                sizes.setdefault((config["columns"], config["rows"], config.get("last_rows")), header)
    if len(sizes) < 2:
        return
    (one, first), (two, second), *_ = sizes.items()
    names = short_names([first.place.plain, second.place.plain])
    found = (
        f"{names[0]} and {names[1]} have chunks of {_told(one)} and of {_told(two)}, "
        f"and are decoded by {CODEC_NAME}, which states one size for all chunks of an array"
    )
    hint = "Only files that are uncompressed, or Deflate or Zstandard without a predictor, can differ in their chunks."
    raise ConformError(found, feature="conform", hint=hint)


def _told(sizes: tuple[Any, ...]) -> str:
    columns, rows, last = sizes
    return f"{columns} x {rows} pixels" + ("" if last is None else f" (the last of {last} rows)")


def widen(span: Span, grids: Sequence[GridEdges]) -> Span:
    """The least span around another one that begins and ends between the chunks of all arrays."""
    rows = _common([grid.rows for grid in grids])
    columns = _common([grid.columns for grid in grids])
    top, bottom = _around(rows, span.top, span.bottom)
    left, right = _around(columns, span.left, span.right)
    return Span(top, left, bottom, right)


def _common(axes: Sequence[AxisEdges]) -> list[int]:
    """The pixels at which chunks begin in all arrays, and the end."""
    shared = set.intersection(*(set(axis.starts) for axis in axes))
    return sorted({*shared, axes[0].extent})


def _around(edges: Sequence[int], start: int, end: int) -> tuple[int, int]:
    return max(edge for edge in edges if edge <= start), min(edge for edge in edges if edge >= min(end, edges[-1]))


def split_by_edges(tiles: Sequence[Tile]) -> list[list[Tile]]:
    """Part tiles of one pixel grid into as few sets as a greedy search finds, each of which can be one array."""
    tiles = align(tiles)
    classes: list[_Class] = []
    for tile in sorted(tiles, key=lambda tile: any(_Run.of(tile, axis).padded for axis in (0, 1))):
        if not any(known.accepts(tile) for known in classes):
            classes.append(_Class())
            classes[-1].accepts(tile)
    order = {id(tile): position for position, tile in enumerate(tiles)}
    found = []
    for members in classes:
        rest = sorted(members.tiles, key=lambda tile: order[id(tile)])
        while rest:
            over = {id(tile) for _, tile in find_overlaps(rest)}
            found.append([tile for tile in rest if id(tile) not in over])
            rest = [tile for tile in rest if id(tile) in over]
    return found


class _Class:
    """Tiles whose chunks do not cut each other."""

    def __init__(self) -> None:
        self.tiles: list[Tile] = []
        self._axes = (_Axis(), _Axis())

    def accepts(self, tile: Tile) -> bool:
        """Add a tile if that is possible."""
        runs = tuple(_Run.of(tile, axis) for axis in (0, 1))
        for axis, run in zip(self._axes, runs, strict=True):
            end = max(axis.end, run.end)
            ragged = {*axis.ragged, *({run.end} if run.padded else ())}
            if any(one != end for one in ragged) or not axis.fits(run):
                return False
        for axis, run in zip(self._axes, runs, strict=True):
            axis.add(run, "")
        self.tiles.append(tile)
        return True


def stored_edges(metadata: Mapping[str, Any]) -> StoredEdges:
    """The chunks of an array along y and x, out of its ``zarr.json``."""
    grid = metadata["chunk_grid"]
    if grid["name"] == "regular":
        pairs = zip(grid["configuration"]["chunk_shape"][-2:], metadata["shape"][-2:], strict=True)
        rows, columns = ((chunk,) * -(-size // chunk) for chunk, size in pairs)
    else:
        rows, columns = map(_expanded, grid["configuration"]["chunk_shapes"][-2:])
    return rows, columns


def chunk_at(sizes: Sizes, pixel: int) -> int:
    """The number of the chunk that holds a pixel of an axis."""
    return bisect_right(tuple(accumulate(sizes)), pixel)


def _expanded(runs: Sequence[int | Sequence[int]]) -> Sizes:
    pairs = ((one, 1) if isinstance(one, int) else one for one in runs)
    return tuple(size for size, count in pairs for _ in range(count))
