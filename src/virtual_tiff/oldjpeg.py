"""Old-style JPEG (compression 6): from tags that point all over the file to segments that decode by themselves.

TIFF 6 spread a JPEG stream over tags: a stream or its header at JPEGInterchangeFormat, or tables at JPEGQTables,
JPEGDCTables and JPEGACTables. What a segment lacks becomes the ``jpeg_tables`` of the codec's configuration.

References
----------
TIFF 6, section 22; TIFF Technical Note 2.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from virtual_tiff.codecs import ojpeg
from virtual_tiff.codecs.jpeg import read_frame
from virtual_tiff.coding import OLD_JPEG, YCBCR, YCBCR_TAGS, float_fields
from virtual_tiff.errors import DecodeError, UnsupportedError
from virtual_tiff.layout import SegmentLayout
from virtual_tiff.segments import SegmentRanges
from virtual_tiff.tiff.ifd import Ifd, TagMap, TiffFile
from virtual_tiff.tiff.protocol import Reader
from virtual_tiff.tiff.tags import Tags, TagType

_BASELINE: Final = 1
_HEAD_BYTES: Final = 1 << 16
_QUANTIZATION_BYTES: Final = 64
_HUFFMAN_BYTES: Final = 16 + 256
_SOI: Final = b"\xff\xd8"
_EOI: Final = b"\xff\xd9"

type Assembled = tuple[SegmentLayout, SegmentRanges]


def with_size(ifd: Ifd) -> Reader[Ifd]:
    """Add the tags that EXIF thumbnails lack: JPEGInterchangeFormat says where the stream is, the stream how large.

    Any other IFD is returned as it is.
    """
    known = (Tags.ImageWidth, Tags.ImageLength, Tags.StripOffsets, Tags.TileOffsets)
    if Tags.JPEGInterchangeFormat not in ifd or any(tag in ifd for tag in known):
        return ifd
    if ifd.integer(Tags.Compression, OLD_JPEG) != OLD_JPEG:
        return ifd
    start = ifd.integer(Tags.JPEGInterchangeFormat, 0)
    (stream,) = yield [(start, start + _HEAD_BYTES)]
    try:
        frame = read_frame(stream)
    except DecodeError as error:
        raise _refused(f"no stream ({error.found})", Tags.JPEGInterchangeFormat) from error
    values = {
        Tags.ImageWidth: frame.columns,
        Tags.ImageLength: frame.rows,
        Tags.Compression: OLD_JPEG,
        Tags.BitsPerSample: frame.precision,
        Tags.SamplesPerPixel: frame.components,
        Tags.PhotometricInterpretation: YCBCR if frame.components == 3 else 1,
    }
    missing = {
        int(tag): (int(TagType.LONG), 1, start, value.to_bytes(4, ifd.byte_order))
        for tag, value in values.items()
        if tag not in ifd
    }
    kept = {tag.code: (tag.type, tag.count, tag.offset, tag.raw) for tag in ifd.tags.values()}
    return replace(ifd, tags=TagMap(kept | missing, ifd.byte_order))


def assemble(tiff: TiffFile, ifd: Ifd, layout: SegmentLayout, ranges: SegmentRanges) -> Reader[Assembled]:
    """Return the layout and the byte ranges of segments that decode by themselves.

    Raises
    ------
    UnsupportedError
        ``old-jpeg`` when the stream cannot be assembled.
    """
    if ranges.empty:
        return layout, ranges
    if ifd.integer(Tags.JPEGProc, _BASELINE) != _BASELINE:
        raise _refused(f"JPEG process {ifd.integer(Tags.JPEGProc, 0)}", Tags.JPEGProc)
    if layout.planar:
        raise _refused("separate planes", Tags.PlanarConfiguration)
    first = int(ranges.offsets.flat[0])
    (segment,) = yield [(first, first + min(int(ranges.lengths.flat[0]), _HEAD_BYTES))]
    if segment.startswith(_SOI) and ojpeg.read_head(segment).frame is not None:
        return (yield from _from_whole_streams(layout, ranges))
    if Tags.JPEGInterchangeFormat in ifd:
        return (yield from _from_stream(tiff, ifd, layout, ranges, segment))
    header = yield from _header_from_tables(ifd, layout)
    return _with_header(ifd, layout, header), ranges


def _from_whole_streams(layout: SegmentLayout, ranges: SegmentRanges) -> Reader[Assembled]:
    """Take segments that are streams as they are; when only the first is, its scan goes on in the others."""
    second = int(ranges.offsets.flat[1]) if layout.segments > 1 else 0
    if not second:
        return layout, ranges
    (start,) = yield [(second, second + len(_SOI))]
    if start == _SOI:
        return layout, ranges
    if layout.tiled:
        raise _refused("one stream in several tiles", Tags.TileOffsets)
    begin, end = int(ranges.offsets.min()), int((ranges.offsets + ranges.lengths).max())
    return replace(layout, rows=layout.height), _one_range(begin, end, ranges)


def _one_range(begin: int, end: int, ranges: SegmentRanges) -> SegmentRanges:
    grid = (1, 1, 1)
    return SegmentRanges(np.full(grid, begin, np.uint64), np.full(grid, end - begin, np.uint64), ranges.warnings, (0,))


def _from_stream(
    tiff: TiffFile, ifd: Ifd, layout: SegmentLayout, ranges: SegmentRanges, segment: bytes
) -> Reader[Assembled]:
    """Use the stream at JPEGInterchangeFormat: whole, or its header alone; `segment` begins as the first one does.

    Wang's writers end the stream before the header of the scan, which only the first strip begins with.
    """
    start = ifd.integer(Tags.JPEGInterchangeFormat, 0)
    (stream,) = yield [(start, start + _HEAD_BYTES)]
    head = ojpeg.read_head(stream)
    begin = 0 if head.scan is None else start + head.scan
    first = int(ranges.offsets.flat[0])
    length = ifd.integer(Tags.JPEGInterchangeFormatLength, 0)
    alone = head.scan is None or 0 < length == head.scan or stream.startswith(_EOI, head.scan) or first < start
    if head.scan is None or (begin != first and (alone or layout.segments > 1)):
        if head.scan is None:
            stream = stream[: length or len(stream)] + ojpeg.scan_header(segment)
        header = ojpeg.header_from_stream(stream, columns=layout.columns, rows=layout.rows)
        return _with_header(ifd, layout, header), ranges
    header = ojpeg.header_from_stream(stream, columns=layout.columns, rows=layout.height)
    ends = ranges.offsets + ranges.lengths
    end = max(start + length, int(ends.max()))
    end = end if tiff.size is None else min(end, tiff.size)
    if layout.tiled or end <= begin:
        raise _refused("a stream whose scan does not fit the segments", Tags.JPEGInterchangeFormat)
    whole = replace(layout, rows=layout.height)
    return _with_header(ifd, whole, header), _one_range(begin, end, ranges)


def _header_from_tables(ifd: Ifd, layout: SegmentLayout) -> Reader[bytes]:
    """Read the tables that the tags point at, and build a header of them."""
    sizes = {
        Tags.JPEGQTables: _QUANTIZATION_BYTES,
        Tags.JPEGDCTables: _HUFFMAN_BYTES,
        Tags.JPEGACTables: _HUFFMAN_BYTES,
    }
    tables: dict[int, list[bytes]] = {}
    for tag, size in sizes.items():
        places = ifd.integers(tag)
        if places is None:
            raise _refused("no tables", tag)
        asked = [(int(place), int(place) + size) for place in places[: layout.bands]]
        tables[tag] = [bytes(table) for table in (yield asked)]
    declared = ifd.integers(Tags.YCbCrSubSampling)
    across, down = (2, 2) if declared is None or declared.size < 2 else (int(declared[0]), int(declared[1]))
    return ojpeg.header_from_tables(
        columns=layout.columns,
        rows=layout.rows,
        subsampling=(across, down),
        quantization=tables[Tags.JPEGQTables],
        dc=tables[Tags.JPEGDCTables],
        ac=tables[Tags.JPEGACTables],
        restart_interval=ifd.integer(Tags.JPEGRestartInterval, 0),
        samples=layout.bands,
    )


def _with_header(ifd: Ifd, layout: SegmentLayout, header: bytes) -> SegmentLayout:
    """Put the header into the configuration; strips must end where rows of blocks end."""
    block_rows = ojpeg.block_rows(header)
    if layout.grid[1] > 1 and layout.rows % block_rows:
        raise _refused(f"strips of {layout.rows} rows, blocks of {block_rows}", Tags.RowsPerStrip)
    return replace(layout, coding={**layout.coding, "jpeg_tables": header, **float_fields(ifd, YCBCR_TAGS)})


def _refused(what: str, tag: int) -> UnsupportedError:
    hint = "Rewrite the file with JPEG (compression 7)."
    return UnsupportedError(f"{what} in old-style JPEG", feature="old-jpeg", tag=tag, hint=hint)
