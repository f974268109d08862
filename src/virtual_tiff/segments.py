"""Where the segments of an IFD lie in the file: offsets and byte counts as arrays, repaired as libtiff repairs them.

Nothing here loops over segments in Python, and absent segments of a huge grid cost no memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from virtual_tiff.errors import FormatError, LimitError, UnsupportedError
from virtual_tiff.layout import SegmentLayout
from virtual_tiff.tiff.ifd import Ifd, TiffFile
from virtual_tiff.tiff.tags import Tags

type Positions = npt.NDArray[np.uint64]

MAX_SEGMENTS: Final = 1 << 26
"""Limit on the segments of one IFD: VirtualiZarr's manifest holds them as dense arrays."""


@dataclass(frozen=True, slots=True)
class SegmentRanges:
    """Byte ranges of shape (planes, rows, columns) of the segment grid; a length of 0 is an absent segment.

    When every segment is absent, the arrays have shape (0, 0, 0) and ``empty`` is True: the grid may then be so
    large that nobody should hold it.
    """

    offsets: Positions
    lengths: Positions
    warnings: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether no segment is stored at all."""
        return self.offsets.size == 0


_EMPTY = np.zeros((0, 0, 0), dtype=np.uint64)


def segment_ranges(tiff: TiffFile, ifd: Ifd, layout: SegmentLayout) -> SegmentRanges:
    """Return the byte range of every segment.

    Raises
    ------
    FormatError
        ``missing-tag`` without offsets, ``truncated`` when a segment lies beyond the end of the file.
    LimitError
        ``limit-segments`` when a grid with stored segments is larger than a manifest can hold.
    UnsupportedError
        ``byte-counts`` when the lengths of compressed segments cannot be inferred.
    """
    offsets, counts = _declared(ifd, layout)
    if not offsets.any() or (counts.size and not counts.any() and layout.segments > 1):
        return SegmentRanges(_EMPTY, _EMPTY)
    if layout.segments > MAX_SEGMENTS:
        found = f"a grid of {layout.segments} segments, some of which are stored"
        raise LimitError(found, feature="limit-segments", ifd=ifd.path, hint="Rewrite with larger tiles.")
    warnings: list[str] = []
    full = _fit(offsets, layout.segments)
    if offsets.size < layout.segments:
        warnings.append(f"{offsets.size} offsets for {layout.segments} segments: the rest is read as absent")
    lengths = _lengths(tiff, layout, full, counts, warnings)
    lengths[full == 0] = 0
    full[lengths == 0] = 0
    _check_end(tiff, layout, full, lengths, warnings)
    return SegmentRanges(full.reshape(layout.grid), lengths.reshape(layout.grid), tuple(warnings))


def _declared(ifd: Ifd, layout: SegmentLayout) -> tuple[Positions, Positions]:
    """Return offsets and byte counts as declared; like libtiff, the tags for strips serve tiles too."""
    own, other = (Tags.TileOffsets, Tags.StripOffsets), (Tags.TileByteCounts, Tags.StripByteCounts)
    order = 1 if layout.tiled else -1
    offsets = next((v for tag in own[::order] if (v := ifd.integers(tag)) is not None), None)
    counts = next((v for tag in other[::order] if (v := ifd.integers(tag)) is not None), None)
    if offsets is None:
        found = "no offsets say where the pixels are"
        raise FormatError(found, feature="missing-tag", ifd=ifd.path, tag=own[::order][0])
    none = np.zeros(0, np.int64)
    pair = (offsets[: layout.segments], none if counts is None else counts[: layout.segments])
    for values, tag in zip(pair, (own[::order][0], other[::order][0]), strict=True):
        if values.size and values.min() < 0:
            found = f"a negative or impossibly large value {values.min()}"
            raise FormatError(found, feature="bad-tag", ifd=ifd.path, tag=tag)
    return pair[0].astype(np.uint64), pair[1].astype(np.uint64)


def _fit(values: Positions, count: int) -> Positions:
    """Copy into an array of `count` entries, the rest zeros."""
    fitted = np.zeros(count, np.uint64)
    fitted[: values.size] = values
    return fitted


def expected_lengths(layout: SegmentLayout) -> Positions:
    """Packed bytes of every segment, from the geometry alone; flat, in the order of the grid."""
    config = layout.config
    expected = np.full(layout.grid, config.packed_bytes, np.uint64)
    if layout.last_rows is not None:
        expected[:, -1, :] = -(-layout.last_rows // config.block[1]) * config.row_bytes
    return expected.reshape(-1)


def _lengths(
    tiff: TiffFile, layout: SegmentLayout, offsets: Positions, counts: Positions, warnings: list[str]
) -> Positions:
    """Byte counts as declared, or from the geometry, or up to what follows."""
    if layout.compression == 1:
        return _raw_lengths(layout, offsets, counts, warnings)
    declared = _fit(counts, offsets.size)
    unknown = np.arange(offsets.size) >= counts.size
    if offsets.size == 1 and declared[0] == 0:
        unknown = np.ones(1, dtype=bool)
    unknown &= offsets > 0
    if not unknown.any():
        return declared
    if tiff.size is None:
        found = f"{int(unknown.sum())} byte counts are missing and the size of the file is not known"
        raise UnsupportedError(found, feature="byte-counts", url=tiff.url, ifd=layout.ifd, tag=Tags.StripByteCounts)
    warnings.append(f"{int(unknown.sum())} byte counts are missing: the next segment or the end of the file ends each")
    starts = np.unique(offsets[offsets > 0])
    ends = np.append(starts[1:], np.uint64(tiff.size))
    following = ends[np.searchsorted(starts, offsets[unknown])]
    declared[unknown] = np.maximum(following, offsets[unknown]) - offsets[unknown]
    return declared


def _raw_lengths(
    layout: SegmentLayout, offsets: Positions, counts: Positions, warnings: list[str]
) -> Positions:
    """Lengths of uncompressed segments: the geometry decides wherever libtiff distrusts the counts."""
    expected = expected_lengths(layout)
    if counts.size == 0 or offsets.size == 1:
        return expected
    if not layout.planar and offsets.size > 2 and counts.size > 1 and counts[0] != counts[1] and counts[:2].all():
        if counts.size < offsets.size or (counts != expected).any():
            warnings.append("byte counts contradict the geometry: the geometry is used")
        return expected
    declared = _fit(counts, offsets.size)
    declared[counts.size :] = expected[counts.size :]
    return np.minimum(declared, expected)


def _check_end(
    tiff: TiffFile, layout: SegmentLayout, offsets: Positions, lengths: Positions, warnings: list[str]
) -> None:
    """Clamp ranges to the end of the file; refuse segments that begin behind it."""
    if tiff.size is None:
        return
    size = np.uint64(tiff.size)
    stored = lengths > 0
    beyond = stored & (offsets >= size)
    if beyond.any():
        counted = f"{int(beyond.sum())} of {int(stored.sum())} segments"
        found = f"{counted} begin behind the end of the file ({tiff.size} bytes)"
        raise FormatError(found, feature="truncated", url=tiff.url, ifd=layout.ifd, tag=Tags.StripOffsets)
    over = stored & (lengths > size - np.minimum(offsets, size))
    if over.any():
        warnings.append(f"{int(over.sum())} segments reach behind the end of the file")
        lengths[over] = size - offsets[over]
