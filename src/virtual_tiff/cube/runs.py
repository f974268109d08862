"""The chunks of many tiles along one axis: whether they agree, and what sizes they have together."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from virtual_tiff.cube.mosaic import Tile

type Sizes = tuple[int, ...]
"""The sizes of chunks along an axis, in pixels."""


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
class Run:
    """The chunks of a tile along an axis: where the first begins, their sizes, and where the pixels of the tile end."""

    start: int
    sizes: Sizes
    end: int

    @classmethod
    def of(cls, tile: Tile, axis: int) -> Run:
        """The chunks of a tile along y (0) or x (1)."""
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
class Rival:
    """A chunk that another one does not agree with."""

    own: tuple[int, int]
    other: tuple[int, int]
    owner: str


class AxisChunks:
    """The chunks of many tiles along one axis, which must not cut each other.

    ``end`` is where the last tile ends, ``ragged`` holds the ends of those whose last chunk holds padding.
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._chunks: dict[int, tuple[int, str]] = {}
        self._runs: set[Run] = set()
        self.end = 0
        self.ragged: set[int] = set()

    def take(self, start: int, end: int, owner: str) -> None:
        """Add a chunk that agrees with the others."""
        if start not in self._chunks:
            insort(self._starts, start)
            self._chunks[start] = (end, owner)

    def fits(self, run: Run) -> bool:
        """Whether the chunks of a tile agree with those that are there."""
        return run in self._runs or all(self.rival(*chunk) is None for chunk in run.chunks())

    def add(self, run: Run, owner: str) -> Rival | None:
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

    def rival(self, start: int, end: int) -> Rival | None:
        """A chunk that cuts another, or None."""
        at = bisect_left(self._starts, start)
        for near in self._starts[max(at - 1, 0) : at + 1]:
            other_end, owner = self._chunks[near]
            if near < end and start < other_end and (near, other_end) != (start, end):
                return Rival((start, end), (near, other_end), owner)
        return None

    def cuts(self, run: Run) -> Run | None:
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
        return Run(run.start, tuple(sizes), run.end)

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
