"""Where the segments of an IFD lie in the file: offsets and byte counts as arrays, repaired as libtiff repairs them.

Nothing here loops over segments in Python, and absent segments of a huge grid cost no memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from virtual_tiff.coding import OLD_JPEG
from virtual_tiff.errors import FormatError, LimitError, UnsupportedError
from virtual_tiff.layout import SegmentLayout
from virtual_tiff.tiff.ifd import Ifd, TiffFile
from virtual_tiff.tiff.tags import Tags

type Positions = npt.NDArray[np.uint64]

MAX_SEGMENTS: Final = 1 << 26
"""Limit on the segments of one IFD: VirtualiZarr's manifest holds them as dense arrays."""

_MAX_WITHOUT_OFFSETS: Final = 1 << 20
"""Up to so many segments may lack an offset: for more, a small file could take any amount of memory."""
_UNPROVABLE: Final = frozenset({1, 2, 3, 4, OLD_JPEG, 7, 22610, 33007, 34892, 34934})
"""Compressions whose segments decode although their ends are lost: none, CCITT, JPEG, JPEG XR make up the rest."""


_HEADER: Final = 8
"""Bytes of the header of classic TIFF."""

LEADER_BYTES: Final = 4
"""Size of the block leader before each segment that GDAL's COG driver writes: the byte count, little-endian."""


@dataclass(frozen=True, slots=True)
class SegmentRanges:
    """Byte ranges of shape (planes, rows, columns) of the segment grid; a length of 0 is an absent segment.

    ``doubtful`` are flat indices of compressed segments whose length was inferred or cut at the end of the file:
    whether they decode is only known when it is tried. When every segment is absent, the arrays have shape (0, 0, 0)
    and ``empty`` is True: the grid may then be so large that nobody should hold it.
    """

    offsets: Positions
    lengths: Positions
    warnings: tuple[str, ...] = ()
    doubtful: tuple[int, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether no segment is stored at all."""
        return self.offsets.size == 0

    def with_lengths(self, lengths: Mapping[int, int]) -> SegmentRanges:
        """Replace the lengths of segments, by flat index, with what is known of them; they are no longer doubtful."""
        replaced = self.lengths.reshape(-1).copy()
        replaced[list(lengths)] = list(lengths.values())
        doubtful = tuple(index for index in self.doubtful if index not in lengths)
        return replace(self, lengths=replaced.reshape(self.lengths.shape), doubtful=doubtful)


def has_leaders(tiff: TiffFile) -> bool:
    """Whether the file says, in the ghost area of GDAL's COG driver, that block leaders hold the byte counts."""
    return "BLOCK_LEADER=SIZE_AS_UINT4" in (tiff.cog_ghost or "")


_EMPTY = np.zeros((0, 0, 0), dtype=np.uint64)


def segment_ranges(tiff: TiffFile, ifd: Ifd, layout: SegmentLayout) -> SegmentRanges:
    """Return the byte range of every segment.

    Raises
    ------
    FormatError
        ``missing-tag`` without offsets, ``truncated`` when a segment lies beyond the end of the file,
        ``bad-geometry`` when no file could hold it, or when there are offsets for another number of segments.
    LimitError
        ``limit-segments`` when a grid with stored segments is larger than a manifest can hold.
    UnsupportedError
        ``byte-counts`` when the lengths of compressed segments cannot be inferred, ``volumetric`` when a volume lacks
        segments.
    """
    if layout.config.packed_bytes >= 1 << 63:
        found = f"segments of {layout.columns} x {layout.rows} pixels: more bytes than any file can have"
        raise FormatError(found, feature="bad-geometry", ifd=ifd.path, tag=Tags.ImageWidth)
    offsets, counts = _declared(ifd, layout)
    if layout.stacked:
        offsets, counts = _stack(tiff, layout, offsets)
    in_header = _in_header(ifd, layout, offsets, counts)
    if in_header is not None:
        return in_header
    if not offsets.any() or (counts.size and not counts.any() and (layout.tiled or layout.segments > 1)):
        return SegmentRanges(_EMPTY, _EMPTY)
    if layout.depth > 1 and not layout.stacked and offsets.size < layout.segments:
        found = f"{offsets.size} offsets for the {layout.segments} segments of {layout.depth} planes"
        hint = "Some software writes an ImageDepth although there is a single plane."
        raise UnsupportedError(found, feature="volumetric", ifd=ifd.path, tag=Tags.ImageDepth, hint=hint)
    if layout.segments > MAX_SEGMENTS:
        found = f"a grid of {layout.segments} segments, some of which are stored"
        raise LimitError(found, feature="limit-segments", ifd=ifd.path, hint="Rewrite with larger tiles.")
    warnings: list[str] = []
    if offsets.size < layout.segments:
        _refuse_wrong_grid(ifd, layout, offsets.size, counts)
        warnings.append(f"{offsets.size} offsets for {layout.segments} segments: the rest is read as absent")
    full = _fit(offsets, layout.segments)
    inferred = _inferred(full, counts)
    if layout.compression == 1:
        lengths = _raw_lengths(layout, full, counts)
    elif inferred.any():
        lengths = _inferred_lengths(tiff, full, counts, inferred)
        warnings.append(f"{int(inferred.sum())} byte counts are missing: what follows ends each segment")
    else:
        lengths = _fit(counts, full.size)
        if Tags.LSMInfo in tiff.ifds[0]:
            lengths = _lsm_lengths(full, lengths, tiff.size)
    lengths[full == 0] = 0
    full[lengths == 0] = 0
    cut = _cut_at_end(tiff, layout, full, lengths, warnings)
    doubtful = () if layout.compression == 1 else tuple(np.flatnonzero((inferred | cut) & (lengths > 0)).tolist())
    return SegmentRanges(full.reshape(layout.grid), lengths.reshape(layout.grid), tuple(warnings), doubtful)


def _declared(ifd: Ifd, layout: SegmentLayout) -> tuple[Positions, Positions]:
    """Return offsets and byte counts as declared; like libtiff, the tags for strips serve tiles too."""
    own, other = (Tags.TileOffsets, Tags.StripOffsets), (Tags.TileByteCounts, Tags.StripByteCounts)
    order = 1 if layout.tiled else -1
    both = [v for tag in own if (v := ifd.integers(tag)) is not None]
    if len(both) > 1 and not np.array_equal(both[0], both[1]):
        found = "offsets both of tiles and of strips, which libtiff does not tell apart"
        raise FormatError(found, feature="bad-geometry", ifd=ifd.path, tag=Tags.TileOffsets)
    offsets = next((v for tag in own[::order] if (v := ifd.integers(tag)) is not None), None)
    counts = next((v for tag in other[::order] if (v := ifd.integers(tag)) is not None), None)
    if offsets is None and layout.compression == OLD_JPEG:
        offsets = ifd.integers(Tags.JPEGInterchangeFormat)
        counts = ifd.integers(Tags.JPEGInterchangeFormatLength)
    if offsets is None:
        found = "no offsets say where the pixels are"
        raise FormatError(found, feature="missing-tag", ifd=ifd.path, tag=own[::order][0])
    none = np.zeros(0, np.int64)
    used = layout.segments // (layout.depth if layout.stacked else 1)
    pair = (offsets[:used], none if counts is None else counts[:used])
    for values, tag in zip(pair, (own[::order][0], other[::order][0]), strict=True):
        if values.size and values.min() < 0:
            found = f"a negative or impossibly large value {values.min()}"
            raise FormatError(found, feature="bad-tag", ifd=ifd.path, tag=tag)
    return pair[0].astype(np.uint64), pair[1].astype(np.uint64)


def _in_header(ifd: Ifd, layout: SegmentLayout, offsets: Positions, counts: Positions) -> SegmentRanges | None:
    """The only segment of an image at offset 0, which its byte count does not call absent; None for all others.

    Readers show the header of the file there. One that lies in the header altogether is read as they read it: so do
    GDAL's tests write the smallest image of all.

    Raises
    ------
    FormatError
        ``bad-geometry`` when it is longer.
    """
    is_called_absent = counts.size > 0 and not counts[0]
    if layout.segments > 1 or offsets.any() or is_called_absent:
        return None
    if layout.compression != 1 or layout.config.packed_bytes > _HEADER:
        found = "the only segment lies at offset 0, where the header of the file is"
        raise FormatError(found, feature="bad-geometry", ifd=ifd.path, tag=Tags.StripOffsets)
    return SegmentRanges(np.zeros(layout.grid, np.uint64), np.full(layout.grid, layout.config.packed_bytes, np.uint64))


def _refuse_wrong_grid(ifd: Ifd, layout: SegmentLayout, found_offsets: int, counts: Positions) -> None:
    """Refuse a grid that has too few offsets, unless its segments are of the size that the tags say.

    libtiff takes the rest for absent; but a damaged number of rows or bands looks the same, and gives other pixels.
    """
    fits = layout.compression == 1 and counts.size > 0 and layout.segments - found_offsets <= _MAX_WITHOUT_OFFSETS
    if not fits or (counts != expected_lengths(layout)[: counts.size])[counts > 0].any():
        found = f"{found_offsets} offsets for a grid of {layout.segments} segments"
        tag = Tags.TileOffsets if layout.tiled else Tags.StripOffsets
        raise FormatError(found, feature="bad-geometry", ifd=ifd.path, tag=tag)


def _stack(tiff: TiffFile, layout: SegmentLayout, offsets: Positions) -> tuple[Positions, Positions]:
    """The offsets of all planes of an ImageJ stack, from those of the first: its strips lie behind one another."""
    if layout.segments > min(MAX_SEGMENTS, MAX_SEGMENTS if tiff.size is None else tiff.size):
        found = f"a stack of {layout.depth} planes in a file of {tiff.size} bytes"
        raise LimitError(found, feature="limit-segments")
    expected = expected_lengths(layout)
    of_plane = expected[: offsets.size]
    starts = np.cumsum(of_plane) - of_plane + offsets[:1]
    if expected.size != offsets.size * layout.depth or not np.array_equal(starts, offsets):
        found = f"the strips of the first of {layout.depth} planes do not lie behind one another"
        raise FormatError(found, feature="bad-geometry", tag=Tags.StripOffsets)
    return np.cumsum(expected) - expected + offsets[0], expected


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


def _inferred(offsets: Positions, counts: Positions) -> npt.NDArray[np.bool_]:
    """Which lengths the tags do not say: like libtiff, none of them, or a zero for the only segment.

    A count of zero among others, or one that is left out at the end, is an absent segment.
    """
    return (offsets > 0) & (counts.size == 0 or (offsets.size == 1 and counts[0] == 0))


def _inferred_lengths(
    tiff: TiffFile, offsets: Positions, counts: Positions, inferred: npt.NDArray[np.bool_]
) -> Positions:
    """Lengths of compressed segments up to the next segment or the end of the file."""
    if tiff.size is None:
        found = f"{int(inferred.sum())} byte counts are missing and the size of the file is not known"
        raise UnsupportedError(found, feature="byte-counts", tag=Tags.StripByteCounts)
    lengths = _fit(counts, offsets.size)
    starts = np.unique(offsets[offsets > 0])
    ends = np.append(starts[1:], np.uint64(tiff.size))
    following = ends[np.searchsorted(starts, offsets[inferred])]
    lengths[inferred] = np.maximum(following, offsets[inferred]) - offsets[inferred]
    return lengths


def _lsm_lengths(offsets: Positions, counts: Positions, size: int | None) -> Positions:
    """Lengths of compressed segments of Zeiss LSM files, whose byte counts are those of the decompressed samples.

    A segment ends where the next one begins, or at twice its count: LZW may be longer than what it encodes.
    """
    starts = np.unique(offsets[offsets > 0])
    ends = np.append(starts[1:], np.uint64(max(size or 2**63, int(starts[-1]))))
    following: Positions = ends[np.searchsorted(starts, offsets) % starts.size] - offsets
    return np.where(counts > 0, np.minimum(2 * counts, following), np.uint64(0))


def _raw_lengths(layout: SegmentLayout, offsets: Positions, counts: Positions) -> Positions:
    """Lengths of uncompressed segments: the geometry decides, byte counts only say what is absent."""
    expected = expected_lengths(layout)
    if counts.size and offsets.size > 1:
        expected[_fit(counts, offsets.size) == 0] = 0
    return expected


def _cut_at_end(
    tiff: TiffFile, layout: SegmentLayout, offsets: Positions, lengths: Positions, warnings: list[str]
) -> npt.NDArray[np.bool_]:
    """Cut compressed ranges at the end of the file, and say which; refuse what certainly misses bytes."""
    if tiff.size is None:
        return np.zeros(offsets.size, dtype=bool)
    size = np.uint64(tiff.size)
    cut: npt.NDArray[np.bool_] = (lengths > 0) & (lengths > size - np.minimum(offsets, size))
    lost = cut if layout.compression in _UNPROVABLE else cut & (offsets >= size)
    if lost.any():
        counted = f"{int(lost.sum())} of {int((lengths > 0).sum())} segments"
        found = f"{counted} reach behind the end of the file ({tiff.size} bytes)"
        hint = "The file is truncated: fetch it again."
        raise FormatError(found, feature="truncated", tag=Tags.StripOffsets, hint=hint)
    if cut.any():
        warnings.append(f"{int(cut.sum())} byte counts reach behind the end of the file, which ends these segments")
        lengths[cut] = size - offsets[cut]
    return cut
