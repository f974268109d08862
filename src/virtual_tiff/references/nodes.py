"""What is referenced, as plain values: groups, arrays, and where their chunks lie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from virtual_tiff.bandaxis import in_order

type Json = Mapping[str, Any]
type ZarrFormat = Literal[2, 3]
type Index = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The chunks of one file in an array.

    ``offsets`` and ``lengths`` (bytes) have the shape of the block; a length of 0 is no reference. ``index`` is the
    position of its first chunk in the grid of the array. ``inlined`` are chunks that are stored, by their position in
    the grid.
    """

    url: str
    index: Index
    offsets: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.uint64]
    inlined: Mapping[Index, bytes] = field(default_factory=dict)

    def ordered(self, order: Index) -> Block:
        """The same chunks of an array whose axes have been put in another order."""
        return Block(
            url=self.url,
            index=in_order(self.index, order),
            offsets=self.offsets.transpose(order),
            lengths=self.lengths.transpose(order),
            inlined={in_order(index, order): chunk for index, chunk in self.inlined.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupNode:
    """A group; the empty path is the root."""

    path: str
    attributes: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayNode:
    """An array: the ``zarr.json`` of Zarr v3, the shape of its chunk grid, its chunks file by file.

    ``stored`` are the chunks of an array that refers to no file.
    """

    path: str
    metadata: Json
    grid: Index
    blocks: Sequence[Block] = ()
    stored: Mapping[Index, bytes] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """Number of chunks that are neither referenced nor stored."""
        there = sum(int(np.count_nonzero(block.lengths)) + len(block.inlined) for block in self.blocks)
        return math.prod(self.grid) - there - len(self.stored)


type Node = GroupNode | ArrayNode
