"""Uncompressed rows cut into other chunks: any run of them is a byte range of the file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from virtual_tiff.array import VirtualArray
from virtual_tiff.bandaxis import stored_order, without_order


def can_recut(array: VirtualArray) -> bool:
    """Whether the rows of an array lie behind one another in the file, plane by plane, as they are read."""
    if array.inlined or array.grid[-1] != 1 or array.chunk_shape[-1] != array.shape[-1] or not array.lengths.all():
        return False
    order = stored_order(array.codecs)
    if any(codec["name"] != "bytes" for codec in without_order(array.codecs)):
        return False
    if order is not None and order[0] != len(array.shape) - 2:
        return False
    if order is None and math.prod(array.chunk_shape[:-2]) > 1:
        return False
    sizes = np.full(array.grid[-2], array.chunk_shape[-2], np.uint64)
    if array.last_rows is not None:
        sizes[-1] = array.last_rows
    lengths = array.lengths[..., 0]
    ends = array.offsets[..., 0] + lengths
    behind = np.array_equal(ends[..., :-1], array.offsets[..., 1:, 0])
    return behind and bool((lengths == sizes * np.uint64(_row_bytes(array))).all())


def recut(array: VirtualArray, sizes: Sequence[int]) -> VirtualArray:
    """Return an array that :func:`can_recut` with chunks of so many rows, which add up to its height."""
    row_bytes = _row_bytes(array)
    rows = np.array(sizes, np.uint64)
    starts = np.array(list(accumulate((0, *sizes[:-1]))), np.uint64)
    first = array.offsets[..., :1, :]
    offsets = first + (starts * np.uint64(row_bytes))[:, np.newaxis]
    return replace(
        array,
        chunk_shape=(*array.chunk_shape[:-2], max(sizes), array.chunk_shape[-1]),
        offsets=offsets,
        lengths=np.broadcast_to((rows * np.uint64(row_bytes))[:, np.newaxis], offsets.shape),
        last_rows=None,
        edges=(tuple(sizes), (array.shape[-1],)),
    )


def _row_bytes(array: VirtualArray) -> int:
    """Bytes of one row of a chunk."""
    return math.prod(array.chunk_shape[:-2]) * array.shape[-1] * array.dtype.itemsize
