"""Proof that segments decode, where that costs no request: what is broken is refused now and not when it is read.

Decoded are segments whose length is a guess, and all segments of a file so small that its first bytes are all of it.
"""

from __future__ import annotations

from collections.abc import Buffer
from dataclasses import replace
from typing import Final

import numpy as np

from virtual_tiff.chain import has_core_chain
from virtual_tiff.codecs.segment import decode_segment
from virtual_tiff.codecs.streams import is_exact
from virtual_tiff.errors import DecodeError, FormatError, UnsupportedError
from virtual_tiff.layout import SegmentLayout
from virtual_tiff.segments import SegmentRanges, expected_lengths
from virtual_tiff.tiff.ifd import TiffFile
from virtual_tiff.tiff.protocol import PREFETCH, Reader
from virtual_tiff.tiff.tags import Tags

MAX_DOUBTFUL: Final = 64
"""Up to so many compressed segments of unknown length are decoded when the file is read, to prove them."""

_MOST_SEGMENTS: Final = 1024
_MOST_BYTES: Final = 1 << 25
"""Small files are proven as long as they have no more segments, and decode to no more bytes, than these."""


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
        ``corrupt-segment`` or ``short-segment`` when a segment of a small file does not.
    UnsupportedError
        ``byte-counts`` when too many segments are of unknown length.
    """
    yield from _prove_doubtful(layout, ranges)
    if not _at_hand(tiff, layout, ranges):
        return ranges
    offsets, lengths = ranges.offsets.reshape(-1), ranges.lengths.reshape(-1)
    stored = np.flatnonzero(lengths).tolist()
    segments = yield [(int(offsets[index]), int(offsets[index] + lengths[index])) for index in stored]
    plain = expected_lengths(layout) if has_core_chain(layout) else None
    lenient = []
    for index, segment in zip(stored, segments, strict=True):
        _decode(layout, index, segment)
        if plain is not None and not is_exact(layout.compression, segment, int(plain[index])):
            lenient.append(index)
    return ranges if not lenient else replace(ranges, doubtful=tuple(sorted({*ranges.doubtful, *lenient})))


def _at_hand(tiff: TiffFile, layout: SegmentLayout, ranges: SegmentRanges) -> bool:
    """Whether the first request has brought the whole file, and decoding it takes next to no time."""
    if tiff.size is None or tiff.size > PREFETCH or layout.compression == 1 or ranges.empty:
        return False
    return layout.segments <= _MOST_SEGMENTS and layout.segments * layout.config.out_bytes <= _MOST_BYTES


def _decode(layout: SegmentLayout, index: int, segment: Buffer) -> None:
    """Decode one segment; only the last ones of a plane may be short."""
    _, down, across = layout.grid
    is_last = index // across % down == down - 1
    config = layout.config if is_last else replace(layout.config, last_rows=None)
    try:
        decode_segment(segment, config)
    except DecodeError as error:
        found = f"segment {index} does not decode: {error.found}"
        raise DecodeError(found, feature=error.feature, hint=error.hint) from error


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
