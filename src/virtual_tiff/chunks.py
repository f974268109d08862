"""From segments to chunks: uncompressed strips are cut or merged, short last strips are dealt with.

A regular Zarr grid needs full chunks. In this order: uncompressed strips that lie behind one another are cut into
chunks that divide the image evenly; a chain that holds ``virtual_tiff.segment`` pads by itself; a small last strip is
padded and inlined; a large one moves the array to ``virtual_tiff.segment``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np

from virtual_tiff.chain import has_core_chain
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.coding import Color
from virtual_tiff.errors import LimitError, UnsupportedError, UsageError
from virtual_tiff.layout import SegmentLayout
from virtual_tiff.segments import Positions, SegmentRanges, expected_lengths
from virtual_tiff.tiff.tags import Tags

type Codecs = Literal["core", "segment"]
type ShortStrips = Literal["auto", "pad", "inline", "rectilinear", "error"]

MAX_INLINE_BYTES: Final = 1 << 18
"""Decoded size up to which ``short_strips="auto"`` inlines a last strip, padded to the full chunk."""

_MAX_EMPTY_CHUNKS: Final = 1 << 16
_MAX_EMPTY_CUTS: Final = 1 << 20
_SPREAD: Final = 8


@dataclass(frozen=True, slots=True)
class ChunkOptions:
    """How segments become chunks.

    ``short_strips`` says what to do with a last strip that is shorter than the others; ``target_chunk_bytes`` is the
    size to which uncompressed strips are merged or cut. ``color="rgb"`` converts palettes, YCbCr, CMYK and L*a*b*
    to RGB; None leaves samples as they are stored. ``codecs="core"`` prefers the codecs that every Zarr client has;
    "segment" decodes all that is compressed with ``virtual_tiff.segment``, which is up to three times as fast, unless
    ``short_strips`` asks for a form that only core codecs have.
    """

    short_strips: ShortStrips = "auto"
    target_chunk_bytes: int = 1 << 20
    color: Color | None = None
    codecs: Codecs = "core"

    def __post_init__(self) -> None:
        for option, choices in (("short_strips", ShortStrips), ("codecs", Codecs)):
            allowed = get_args(choices.__value__)
            if getattr(self, option) not in allowed:
                found = f"{option}={getattr(self, option)!r}"
                raise UsageError(found, feature="usage", hint=f"Choose one of {', '.join(allowed)}.")
        if self.color not in (None, "rgb"):
            found = f"color={self.color!r}"
            raise UsageError(found, feature="usage", hint="Choose 'rgb' or None.")
        if self.target_chunk_bytes < 1:
            found = f"target_chunk_bytes={self.target_chunk_bytes}"
            raise UsageError(found, feature="usage", hint="It is a number of bytes.")


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """The chunks of one array: byte ranges of shape (planes, rows, columns), and how a chunk decodes.

    ``config`` is None when core codecs suffice. ``inline`` are the grid indices of chunks whose bytes must be padded
    and inlined; their ranges are those of the short segment in the file. ``last_rows`` is set when the grid is
    rectilinear: the last chunk along y has so many rows.
    """

    rows: int
    columns: int
    offsets: Positions
    lengths: Positions
    config: SegmentConfig | None
    inline: tuple[tuple[int, int, int], ...] = ()
    last_rows: int | None = None


def plan_chunks(layout: SegmentLayout, ranges: SegmentRanges, options: ChunkOptions) -> ChunkPlan:
    """Arrange the segments of a layout as chunks of a regular grid.

    Raises
    ------
    UnsupportedError
        ``short-strip`` when ``short_strips="error"`` and the last strip is short, or when it cannot be inlined.
    """
    # Core codecs are strict about the ends of streams; ours reads what libtiff reads.
    config = None if _wants_core(layout, options) and not ranges.doubtful else layout.config
    if ranges.empty:
        return _absent(layout, options)
    if layout.compression == 1 and not layout.tiled and config_is_raw(layout) and _contiguous(layout, ranges):
        cut = _cut_evenly(layout, ranges, options, config)
        if cut is not None:
            return cut
    plan = ChunkPlan(layout.rows, layout.columns, ranges.offsets, ranges.lengths, config)
    return plan if layout.last_rows is None else _complete_last_strip(layout, plan, options)


def _wants_core(layout: SegmentLayout, options: ChunkOptions) -> bool:
    """Whether core codecs suffice and are preferred; uncompressed segments are as fast with them."""
    if not has_core_chain(layout):
        return False
    only_core = layout.last_rows is not None and options.short_strips in ("inline", "rectilinear")
    return options.codecs == "core" or layout.compression == 1 or only_core


def config_is_raw(layout: SegmentLayout) -> bool:
    """Whether a row of an uncompressed segment is a fixed number of bytes, so that it can be cut between rows."""
    return layout.config.subsampling is None


def _absent(layout: SegmentLayout, options: ChunkOptions) -> ChunkPlan:
    """All chunks missing: planned like a stored image, so that it can be stacked with its siblings.

    A grid too large to hold is coarsened, since nothing is ever decoded.
    """
    row_bytes = layout.config.row_bytes
    cuts = layout.grid[0] * min(layout.height, layout.height * row_bytes // options.target_chunk_bytes)
    if layout.segments <= _MAX_EMPTY_CHUNKS and (layout.tiled or cuts <= _MAX_EMPTY_CUTS):
        lengths = expected_lengths(layout)
        ends = np.cumsum(lengths, dtype=np.uint64)
        offsets = ends - lengths + np.uint64(1)
        stored = SegmentRanges(offsets.reshape(layout.grid), lengths.reshape(layout.grid))
        plan = plan_chunks(layout, stored, options)
        zeros = np.zeros_like(plan.offsets)
        return replace(plan, offsets=zeros, lengths=zeros, inline=())
    planes, down, across = layout.grid
    if planes > _MAX_EMPTY_CHUNKS:
        found = f"an image of {planes} planes, none of which is stored"
        raise LimitError(found, feature="limit-segments", ifd=layout.ifd)
    rows, columns = layout.rows, layout.columns
    while planes * down * across > _MAX_EMPTY_CHUNKS and (down > 1 or across > 1):
        rows, columns = (rows * 2, columns) if down >= across else (rows, columns * 2)
        down, across = -(-layout.height // rows), -(-layout.width // columns)
    zeros = np.zeros((planes, down, across), np.uint64)
    return ChunkPlan(rows, columns, zeros, zeros, None if _wants_core(layout, options) else layout.config)


def _contiguous(layout: SegmentLayout, ranges: SegmentRanges) -> bool:
    """Whether the strips of each plane lie behind one another without gaps, and are complete."""
    expected = expected_lengths(layout).reshape(layout.grid)
    if not np.array_equal(ranges.lengths, expected):
        return False
    ends = ranges.offsets + ranges.lengths
    return bool((ends[:, :-1] == ranges.offsets[:, 1:]).all())


def _cut_evenly(
    layout: SegmentLayout, ranges: SegmentRanges, options: ChunkOptions, config: SegmentConfig | None
) -> ChunkPlan | None:
    """Cut contiguous uncompressed strips into chunks near the target size."""
    row_bytes = layout.config.row_bytes
    rows = _dividing_rows(layout.height, row_bytes, options.target_chunk_bytes)
    if rows is None:
        if options.short_strips in ("inline", "error") and layout.last_rows is not None:
            return None
        rows = max(1, min(layout.height, options.target_chunk_bytes // row_bytes))
        config = config if options.short_strips == "rectilinear" else layout.config
    last = layout.height % rows or None
    if config is not None:
        config = replace(config, rows=rows, last_rows=last)
    starts = np.arange(0, layout.height, rows, dtype=np.uint64) * np.uint64(row_bytes)
    offsets = ranges.offsets[:, :1, 0] + starts
    lengths = np.full_like(offsets, rows * row_bytes)
    if last is not None:
        lengths[:, -1] = last * row_bytes
    uneven = last if config is None else None
    return ChunkPlan(rows, layout.columns, offsets[:, :, None], lengths[:, :, None], config, last_rows=uneven)


def _dividing_rows(height: int, row_bytes: int, target: int) -> int | None:
    """Return the number of rows that divides the height and comes nearest to the target size, if near enough."""
    if height * row_bytes <= target:
        return height
    roots = (d for d in range(1, math.isqrt(height) + 1) if height % d == 0)
    divisors = {rows for d in roots for rows in (d, height // d)}
    best = min(divisors, key=lambda rows: abs(math.log(rows * row_bytes / target)))
    size = best * row_bytes
    near = target / _SPREAD <= size <= target * _SPREAD or (best == 1 and size > target)
    return best if near else None


def _complete_last_strip(layout: SegmentLayout, plan: ChunkPlan, options: ChunkOptions) -> ChunkPlan:
    """Apply the option for short last strips to strips that are compressed or scattered.

    ``virtual_tiff.segment`` always returns full segments, so that a chain which holds it needs no rectilinear grid.
    """
    choice = options.short_strips
    if choice == "error":
        found = f"the last strip has {layout.last_rows} of {layout.rows} rows"
        hint = "Choose another value of short_strips."
        raise UnsupportedError(found, feature="short-strip", ifd=layout.ifd, tag=Tags.RowsPerStrip, hint=hint)
    if choice == "auto":
        small = layout.config.out_bytes <= MAX_INLINE_BYTES
        choice = "inline" if plan.config is None and small else "pad"
    if choice == "rectilinear" and plan.config is None:
        return replace(plan, last_rows=layout.last_rows)
    if choice in ("pad", "rectilinear"):
        return replace(plan, config=layout.config)
    if plan.config is not None:
        found = "a last strip that core codecs cannot encode cannot be inlined"
        hint = "Choose short_strips='pad'."
        raise UnsupportedError(found, feature="short-strip", ifd=layout.ifd, tag=Tags.RowsPerStrip, hint=hint)
    planes, down, _ = plan.lengths.shape
    inline = tuple((plane, down - 1, 0) for plane in range(planes) if plan.lengths[plane, -1, 0])
    return replace(plan, inline=inline)
