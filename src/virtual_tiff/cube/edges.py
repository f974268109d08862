"""Chunks of several sizes: the edges of a rectilinear chunk grid, found from the tiles of a mosaic.

A chunk can stand amid an array only when it decodes to just the pixels that it has there. Strips do, also the short
last one of a file, as long as core codecs decode them; tiles at the edge of an image are padded, and
``virtual_tiff.segment`` always returns full segments. So rows of chunks may be as high as the strips of files, columns
as wide as files, and both as large as the tiles of images that are whole multiples of their tiles. Uncompressed rows
are cut wherever others need it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from virtual_tiff.cube.runs import AxisChunks, AxisEdges, Rival, Run, Sizes
from virtual_tiff.cube.select import Span
from virtual_tiff.errors import ConformError

type ChunkGrid = Literal["regular", "rectilinear"]
"""Whether all chunks of an array have one size, or those of a row one height and those of a column one width."""

type StoredEdges = tuple[Sizes, Sizes]
"""The heights of the rows and the widths of the columns of chunks of an array that is there."""

SIZE_TRAITS: Final = ("chunk shape", "last rows")
"""The traits in which files may differ when chunks may have several sizes."""

_NOUNS: Final = ("row", "column")
_HINT: Final = (
    "Files side by side need chunks of one height, files above each other chunks of one width: publish it as a "
    "separate group or cube."
)


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
        runs: dict[Run, Tile] = {}
        for tile in tiles:
            runs.setdefault(Run.of(tile, axis), tile)
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
    free: dict[Run, int] = {}
    of = {id(tile): Run.of(tile, 0) for tile in tiles}
    loose = {id(tile) for tile in tiles if can_recut(tile.part)}
    for tile in tiles:
        run = of[id(tile)]
        if id(tile) in loose:
            free[run] = max(free.get(run, 0), tile.part.shape[-1])
        else:
            chunks.add(run, "")
    anew: dict[Run, Run] = {}
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


def _standing(axis: int, known: StoredEdges | None, corner: tuple[int, int]) -> AxisChunks:
    """The chunks that an array has already."""
    chunks = AxisChunks()
    if known is not None:
        for start, size in zip(accumulate((corner[axis], *known[axis][:-1])), known[axis], strict=True):
            chunks.take(start, start + size, "the cube")
    return chunks


def _refusal(tile: Tile, why: str) -> ConformError:
    name = short_names([tile.header.place.plain])[0]
    return ConformError(f"{name} {why}", feature="misaligned", hint=_HINT)


def _cut(tile: Tile, rival: Rival, noun: str) -> ConformError:
    (start, end), (first, last) = rival.own, rival.other
    why = f"has a chunk of the {noun}s {start} to {end - 1}, where {rival.owner} has one of {first} to {last - 1}"
    return _refusal(tile, why)


def _padding(tile: Tile, run: Run, extent: int, noun: str) -> ConformError:
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
    for tile in sorted(tiles, key=lambda tile: any(Run.of(tile, axis).padded for axis in (0, 1))):
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
        self._axes = (AxisChunks(), AxisChunks())

    def accepts(self, tile: Tile) -> bool:
        """Add a tile if that is possible."""
        runs = tuple(Run.of(tile, axis) for axis in (0, 1))
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
    axes = [metadata["dimension_names"].index(name) for name in ("y", "x")]
    if grid["name"] == "regular":
        pairs = [(grid["configuration"]["chunk_shape"][axis], metadata["shape"][axis]) for axis in axes]
        rows, columns = ((chunk,) * -(-size // chunk) for chunk, size in pairs)
    else:
        rows, columns = (_expanded(grid["configuration"]["chunk_shapes"][axis]) for axis in axes)
    return rows, columns


def chunk_at(sizes: Sizes, pixel: int) -> int:
    """The number of the chunk that holds a pixel of an axis."""
    return bisect_right(tuple(accumulate(sizes)), pixel)


def _expanded(runs: Sequence[int | Sequence[int]]) -> Sizes:
    pairs = ((one, 1) if isinstance(one, int) else one for one in runs)
    return tuple(size for size, count in pairs for _ in range(count))
