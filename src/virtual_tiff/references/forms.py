"""Groups and arrays in the form of a Zarr format: their documents, the order of their axes, the keys of chunks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from virtual_tiff.bandaxis import in_order
from virtual_tiff.references.nodes import ArrayNode, Block, GroupNode, Index, Json, ZarrFormat
from virtual_tiff.references.zarr2 import array_documents

_SEPARATORS: Final[Mapping[ZarrFormat, Literal[".", "/"]]] = {2: ".", 3: "/"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupForm:
    """A group as it is written: ``documents`` by their name in the group."""

    path: str
    documents: Mapping[str, Json]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayForm:
    """An array as it is written.

    ``documents`` are named as in the array. ``grid`` is the shape of the chunk grid, in the order of the axes that is
    written; ``order`` are these axes by their number in the node, None where they are as they were.
    """

    node: ArrayNode
    documents: Mapping[str, Json]
    grid: Index
    separator: Literal[".", "/"]
    order: Index | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def path(self) -> str:
        """The path of the array."""
        return self.node.path

    @property
    def chunks(self) -> int:
        """Number of chunks in the grid, missing ones among them."""
        return math.prod(self.grid)

    @property
    def stored(self) -> Mapping[Index, bytes]:
        """The chunks of an array that refers to no file."""
        order = self.order
        if order is None:
            return self.node.stored
        return {in_order(index, order): chunk for index, chunk in self.node.stored.items()}

    def blocks(self) -> Iterator[Block]:
        """The chunks of each file."""
        for block in self.node.blocks:
            yield block if self.order is None else block.ordered(self.order)

    def key(self, index: Index) -> str:
        """The key of a chunk, below the path of the array."""
        if self.separator == ".":
            return ".".join(map(str, index)) or "0"
        return "/".join(("c", *map(str, index)))


def form_of(node: GroupNode | ArrayNode, zarr_format: ZarrFormat) -> GroupForm | ArrayForm:
    """Bring a node into a Zarr format.

    Raises
    ------
    UsageError
        ``usage`` for what Zarr v2 cannot express, see :func:`virtual_tiff.references.zarr2.array_documents`.
    """
    if isinstance(node, GroupNode):
        return GroupForm(path=node.path, documents=_group_documents(node, zarr_format))
    separator = _SEPARATORS[zarr_format]
    if zarr_format == 3:
        return ArrayForm(node=node, documents={"zarr.json": node.metadata}, grid=node.grid, separator=separator)
    found = array_documents(node.metadata, path=node.path, missing=node.missing, stored=bool(node.stored))
    grid = node.grid if found.order is None else in_order(node.grid, found.order)
    return ArrayForm(
        node=node, documents=found.documents, grid=grid, separator=separator, order=found.order, notes=found.notes
    )


def _group_documents(node: GroupNode, zarr_format: ZarrFormat) -> Mapping[str, Json]:
    attributes = dict(node.attributes)
    if zarr_format == 3:
        return {"zarr.json": {"zarr_format": 3, "node_type": "group", "attributes": attributes}}
    return {".zgroup": {"zarr_format": 2}, ".zattrs": attributes}
