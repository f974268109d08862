"""Proof that segments decode, where that costs no request: what is broken is refused now and not when it is read.

Decoded are segments whose length is a guess, all segments of a file so small that its first bytes are all of it, and
of any other file the first segment, when it lies in these bytes: what is wrong with the tags is wrong with all of them.
"""

from __future__ import annotations

from collections.abc import Buffer
from dataclasses import replace
from typing import Final

import numpy as np

from virtual_tiff.chain import has_core_chain
from virtual_tiff.codecs import lerc
from virtual_tiff.codecs.images import image_size
from virtual_tiff.codecs.jpeg import IMAGES as JPEGS
from virtual_tiff.codecs.jpeg import frame_size
from virtual_tiff.codecs.segment import decode_segment
from virtual_tiff.codecs.streams import is_exact, stream_size
from virtual_tiff.errors import DecodeError, FormatError, UnsupportedError
from virtual_tiff.layout import SegmentLayout
from virtual_tiff.segments import Positions, SegmentRanges, expected_lengths
from virtual_tiff.tiff.ifd import TiffFile
from virtual_tiff.tiff.protocol import PREFETCH, Reader
from virtual_tiff.tiff.tags import Tags

MAX_DOUBTFUL: Final = 64
"""Up to so many compressed segments of unknown length are decoded when the file is read, to prove them."""

_MOST_SEGMENTS: Final = 1024
_MOST_BYTES: Final = 1 << 25
"""Small files are proven as long as they have no more segments, and decode to no more bytes, than these."""

_FIRST_BYTES: Final = 1 << 20
_LOOKED_AT: Final = 64
"""Of larger files one of so many first segments is decoded, if that takes next to no time."""

_MOST_SORTED: Final = 1 << 16
_LERC: Final = 34887


def prove(tiff: TiffFile, layout: SegmentLayout, ranges: SegmentRanges) -> Reader[SegmentRanges]:
    """Decode the segments that may be broken.

    Returns
    -------
    SegmentRanges
        With those segments as doubtful, too, that only a lenient decoder reads.

    Raises
    ------
    FormatError
        ``truncated`` when a segment of unknown length does not decode.
    DecodeError
        ``corrupt-segment`` or ``short-segment`` when a segment that is at hand does not.
    UnsupportedError
        ``byte-counts`` when too many segments are of unknown length.
    """
    yield from _prove_doubtful(layout, ranges)
    if layout.compression == 1 or ranges.empty:
        return ranges
    stored = _at_hand(tiff, layout, ranges)
    offsets, lengths = ranges.offsets.reshape(-1), ranges.lengths.reshape(-1)
    segments = yield [(int(offsets[index]), int(offsets[index] + lengths[index])) for index in stored]
    plain = expected_lengths(layout) if has_core_chain(layout) else None
    lenient = _overlapping(offsets, lengths) if plain is not None else []
    for index, segment in zip(stored, segments, strict=True):
        _decode(layout, index, segment)
        if plain is not None and is_exact(layout.compression, segment, int(plain[index])):
            continue
        _refuse_other_size(layout, index, segment)
        if plain is not None:
            lenient.append(index)
    return ranges if not lenient else replace(ranges, doubtful=tuple(sorted({*ranges.doubtful, *lenient})))


def _at_hand(tiff: TiffFile, layout: SegmentLayout, ranges: SegmentRanges) -> list[int]:
    """The segments that the first request has brought, as far as decoding them takes next to no time."""
    if tiff.size is None:
        return []
    size = layout.config.out_bytes
    if tiff.size <= PREFETCH and layout.segments <= _MOST_SEGMENTS and layout.segments * size <= _MOST_BYTES:
        return [int(index) for index in np.flatnonzero(ranges.lengths)]
    if size > _FIRST_BYTES:
        return []
    offsets, lengths = ranges.offsets.reshape(-1)[:_LOOKED_AT], ranges.lengths.reshape(-1)[:_LOOKED_AT]
    there = (lengths > 0) & (offsets + lengths <= min(PREFETCH, tiff.size))
    return [int(index) for index in np.flatnonzero(there)[:1]]


def _overlapping(offsets: Positions, lengths: Positions) -> list[int]:
    """The first segment that reaches into another one, if any: its byte count is too large, its stream ends earlier.

    Segments of equal offsets share their bytes. Large grids are only looked at when their segments lie in order.
    """
    if (offsets[:-1] + lengths[:-1] <= offsets[1:]).all():
        return []
    places = np.flatnonzero(lengths)
    starts, ends = offsets[places], offsets[places] + lengths[places]
    if (starts[1:] < starts[:-1]).any():
        if places.size > _MOST_SORTED:
            return []
        order = np.argsort(starts, kind="stable")
        places, starts, ends = places[order], starts[order], ends[order]
    over = (ends[:-1] > starts[1:]) & (starts[1:] > starts[:-1])
    return [int(index) for index in places[:-1][over][:1]]


def _decode(layout: SegmentLayout, index: int, segment: Buffer) -> None:
    """Decode one segment; only the last ones of a plane may be short, and in LERC they must be."""
    _, down, across = layout.grid
    is_last = index // across % down == down - 1
    config = layout.config if is_last else replace(layout.config, last_rows=None)
    if is_last and layout.last_rows is not None and layout.compression == _LERC:
        config = replace(config, rows=layout.last_rows, last_rows=None)
    try:
        decode_segment(segment, config)
    except DecodeError as error:
        found = f"segment {index} does not decode: {error.found}"
        raise DecodeError(found, feature=error.feature, hint=error.hint) from error


def _refuse_other_size(layout: SegmentLayout, index: int, segment: Buffer) -> None:
    """Refuse segments of another size than the tags say, where readers do not agree on what they show.

    Of a Deflate stream that is too long libdeflate, and so GDAL, leaves the end out, and tifffile refuses it; only rows
    behind the last one of an image in a single strip are harmless. Where a JPEG stream is too small, libtiff leaves its
    buffer as it was; it refuses one that is too tall, and WebP of any other size. A stream may end where the
    image ends.
    """
    config, (_, down, across) = layout.config, layout.grid
    size = stream_size(config, segment)
    more = 0 if size is None else size - config.packed_bytes
    if size is not None and more < 0 and size % config.row_bytes:
        # a last strip ends with a row: this one, or another that is as long by chance, has lost its end
        found = f"segment {index} decodes to {size} bytes, which are no whole number of rows"
        raise DecodeError(found, feature="short-segment")
    if more > 0 and (layout.tiled or down > 1 or more % config.row_bytes):
        found = f"segment {index} decodes to more than the {config.packed_bytes} bytes that the tags announce"
        raise FormatError(found, feature="bad-geometry", tag=Tags.TileWidth if layout.tiled else Tags.ImageWidth)
    if layout.compression == _LERC:
        _refuse_other_lerc(layout, index, segment)
    frame = frame_size(segment, config) if layout.compression in JPEGS else image_size(layout.compression, segment)
    if frame is not None:
        row, column = index // across % down * layout.rows, index % across * layout.columns
        rows, columns = min(layout.rows, layout.height - row), min(layout.columns, layout.width - column)
        is_too_tall = frame[0] > layout.rows and (layout.tiled or down > 1)
        if frame[0] < rows or frame[1] < columns or is_too_tall:
            found = f"segment {index} holds {frame[1]} x {frame[0]} pixels of {columns} x {rows}"
            raise DecodeError(found, feature="corrupt-segment")


def _refuse_other_lerc(layout: SegmentLayout, index: int, segment: Buffer) -> None:
    """Refuse a LERC stream of any other size than its segment: libtiff reads no others."""
    found = lerc.stream_size(segment, layout.config)
    _, down, across = layout.grid
    is_last = index // across % down == down - 1
    rows = layout.last_rows if is_last and layout.last_rows is not None else layout.rows
    if found is not None and found != (rows, layout.columns):
        told = f"segment {index} is a LERC stream of {found[1]} x {found[0]} pixels, not of {layout.columns} x {rows}"
        raise DecodeError(told, feature="corrupt-segment")


def _prove_doubtful(layout: SegmentLayout, ranges: SegmentRanges) -> Reader[None]:
    """Decode the segments whose length is a guess."""
    if len(ranges.doubtful) > MAX_DOUBTFUL:
        found = f"the byte counts of {len(ranges.doubtful)} compressed segments are missing or wrong"
        hint = f"Up to {MAX_DOUBTFUL} are proven by decoding them."
        raise UnsupportedError(found, feature="byte-counts", tag=Tags.StripByteCounts, hint=hint)
    offsets, lengths = ranges.offsets.reshape(-1), ranges.lengths.reshape(-1)
    for index in ranges.doubtful:
        (segment,) = yield [(int(offsets[index]), int(offsets[index] + lengths[index]))]
        try:
            decode_segment(segment, layout.config)
        except DecodeError as error:
            found = (
                f"the byte count of segment {index} is missing or wrong, and its bytes do not decode ({error.found})"
            )
            raise FormatError(found, feature="truncated", tag=Tags.StripByteCounts) from error
