"""One IFD as a Zarr array of byte ranges: plain values, before VirtualiZarr or Icechunk see them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

import numpy as np

from virtual_tiff import fluorescence, oldjpeg, restarts
from virtual_tiff.chain import CodecJson, Portability, codec_chain
from virtual_tiff.chunks import ChunkOptions, ChunkPlan, plan_chunks
from virtual_tiff.coding import OLD_JPEG
from virtual_tiff.errors import FormatError, VirtualTiffError
from virtual_tiff.geo.gdal_metadata import read_nodata
from virtual_tiff.inline import padded_chunk
from virtual_tiff.layout import SegmentLayout, segment_layout
from virtual_tiff.proof import prove
from virtual_tiff.segments import LEADER_BYTES, Positions, SegmentRanges, has_leaders, segment_ranges
from virtual_tiff.tiff.deferred import load_tags
from virtual_tiff.tiff.ifd import Ifd, IfdPath, TiffFile
from virtual_tiff.tiff.protocol import Reader
from virtual_tiff.tiff.tags import Tags

LAYOUT_TAGS = (
    Tags.TileOffsets,
    Tags.TileByteCounts,
    Tags.StripOffsets,
    Tags.StripByteCounts,
    Tags.BitsPerSample,
    Tags.SampleFormat,
    Tags.JPEGTables,
    Tags.ColorMap,
    Tags.GDAL_NODATA,
)
"""Tags that the layout of the pixels may need and that may be large enough to be deferred."""

MAX_LEADERS = 4096
"""Up to so many block leaders are read when byte counts are missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualArray:
    """A Zarr v3 array whose chunks are byte ranges of one file.

    ``offsets`` and ``lengths`` (bytes) have the shape of the chunk grid; a length of 0 is a missing chunk, which
    reads as ``fill_value``. ``inlined`` holds the bytes of the few chunks that are not ranges of the file,
    by grid index; their length in ``lengths`` is 0 too. ``codecs`` are the JSON specs of the chain in Zarr's order.
    ``last_rows`` is set when the chunk grid is rectilinear: the rows of the last chunk along y.
    ``edges`` are set when it is rectilinear in another way: the sizes of the chunks along y and x, which add up to
    the shape; ``chunk_shape`` then has the commonest.
    ``portability`` is "core" when every Zarr client can decode the chain, "segment" when ``virtual_tiff.segment``
    is needed. ``warnings`` are sentences for a person, about repairs made while reading the file.
    """

    url: str
    ifd: IfdPath
    shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]
    dimension_names: tuple[str, ...]
    dtype: np.dtype[Any]
    codecs: tuple[CodecJson, ...]
    fill_value: bool | float | complex
    offsets: Positions
    lengths: Positions
    inlined: Mapping[tuple[int, ...], bytes] = field(default_factory=dict)
    last_rows: int | None = None
    edges: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    portability: Portability = "core"
    warnings: tuple[str, ...] = ()

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of chunks along each axis."""
        return tuple(self.offsets.shape)

    @property
    def rectilinear(self) -> bool:
        """Whether the sizes of chunks vary along an axis."""
        return self.last_rows is not None or self.edges is not None

    def zarr_json(self, *, separator: Literal[".", "/"] = "/") -> dict[str, Any]:
        """Return the array's ``zarr.json`` as a dictionary of JSON values.

        References
        ----------
        Zarr core specification 3.1, array metadata.
        """
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(self.shape),
            "data_type": self.dtype.name,
            "chunk_grid": self._chunk_grid(),
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": separator}},
            "fill_value": fill_value_json(self.fill_value),
            "codecs": [dict(codec) for codec in self.codecs],
            "attributes": dict(self.attributes),
            "dimension_names": list(self.dimension_names),
            "storage_transformers": [],
        }

    def _chunk_grid(self) -> dict[str, Any]:
        if not self.rectilinear:
            return {"name": "regular", "configuration": {"chunk_shape": list(self.chunk_shape)}}
        edges: list[Any] = [[[size, count]] for size, count in zip(self.chunk_shape, self.grid, strict=True)]
        y, x = (self.dimension_names.index(name) for name in ("y", "x"))
        if self.edges is not None:
            edges[y], edges[x] = map(_runs, self.edges)
        else:
            edges[y] = [[self.chunk_shape[y], self.grid[y] - 1], self.last_rows]
        return {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": edges}}


def _runs(sizes: tuple[int, ...]) -> list[Any]:
    """Sizes as Zarr writes them: each run of equal ones as the size and their number."""
    runs = ((size, sum(1 for _ in run)) for size, run in groupby(sizes))
    return [[size, count] if count > 1 else size for size, count in runs]


def fill_value_json(value: complex) -> bool | float | str | list[Any]:
    """Return a scalar as Zarr's JSON writes fill values: NaN and infinities as words, complex numbers as pairs."""
    if isinstance(value, complex):
        return [fill_value_json(value.real), fill_value_json(value.imag)]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def virtual_array(tiff: TiffFile, path: int | IfdPath, options: ChunkOptions | None = None) -> Reader[VirtualArray]:
    """Describe the image of one IFD as a Zarr array of byte ranges.

    Sans I/O: run it with :meth:`virtual_tiff.tiff.source.Source.run`.

    Returns
    -------
    VirtualArray
        Of shape (y, x) for one band, else (band, y, x); (plane, y, x) or (band, plane, y, x) for stacks and volumes.

    Raises
    ------
    VirtualTiffError
        When the IFD holds no image, or one that is refused; the error names the feature.
    """
    ifd = tiff.ifd(path)
    try:
        return (yield from _virtual_array(tiff, ifd, options or ChunkOptions()))
    except VirtualTiffError as error:
        raise error.at(url=tiff.url, ifd=ifd.path) from error.__cause__


def _virtual_array(tiff: TiffFile, ifd: Ifd, options: ChunkOptions) -> Reader[VirtualArray]:
    ifd = yield from load_tags(ifd, tuple(tag for tag in LAYOUT_TAGS if tag in ifd))
    ifd = yield from oldjpeg.with_size(ifd)
    ifd = yield from restarts.as_tiles(fluorescence.with_true_samples(tiff, ifd))
    layout = segment_layout(tiff, ifd, color=options.color)
    ranges = segment_ranges(tiff, ifd, layout)
    if ranges.doubtful and has_leaders(tiff):
        ranges = yield from _read_leaders(tiff, ranges)
    if layout.compression == OLD_JPEG:
        layout, ranges = yield from oldjpeg.assemble(tiff, ifd, layout, ranges)
    ranges = yield from prove(tiff, layout, ranges)
    plan = plan_chunks(layout, ranges, options)
    inlined = yield from _inline(layout, plan)
    lengths = plan.lengths
    if inlined:
        lengths = lengths.copy()
        for index in inlined:
            lengths[index] = 0
    shape, chunk_shape, names = _axes(layout, plan)
    grid = tuple(-(-size // chunk) for size, chunk in zip(shape, chunk_shape, strict=True))
    return VirtualArray(
        url=tiff.url,
        ifd=ifd.path,
        shape=shape,
        chunk_shape=chunk_shape,
        dimension_names=names,
        dtype=layout.out_dtype,
        codecs=codec_chain(layout, plan.config),
        fill_value=_fill_value(ifd, layout),
        offsets=plan.offsets.reshape(grid),
        lengths=lengths.reshape(grid),
        inlined={_regridded(index, plan.lengths.shape, grid): chunk for index, chunk in inlined.items()},
        last_rows=plan.last_rows,
        portability="core" if plan.config is None else "segment",
        warnings=ranges.warnings,
    )


def _fill_value(ifd: Ifd, layout: SegmentLayout) -> bool | float | complex:
    """What absent segments read as: the nodata value when the data type holds it, else 0, as in GDAL."""
    nodata = None if layout.config.color else read_nodata(ifd, layout.dtype)
    value: bool | float | complex = layout.out_dtype.type(0 if nodata is None else nodata).item()
    return value


def _read_leaders(tiff: TiffFile, ranges: SegmentRanges) -> Reader[SegmentRanges]:
    """Take doubtful byte counts from the block leaders of GDAL's COG driver, where these are possible."""
    offsets = ranges.offsets.reshape(-1)
    asked = [index for index in ranges.doubtful[:MAX_LEADERS] if offsets[index] > LEADER_BYTES]
    leaders = yield [(int(offsets[index]) - LEADER_BYTES, int(offsets[index])) for index in asked]
    counts = [int.from_bytes(leader, "little") for leader in leaders]
    size = tiff.size or 0
    return ranges.with_lengths(
        {index: count for index, count in zip(asked, counts, strict=True) if 0 < count <= size - int(offsets[index])}
    )


def _axes(layout: SegmentLayout, plan: ChunkPlan) -> tuple[tuple[int, ...], tuple[int, ...], tuple[str, ...]]:
    """Return shape, chunk shape and dimension names: the planes of bands come before those of a volume, as in the file.

    An axis of one band or one plane is left out.
    """
    axes = [
        ("band", layout.out_bands, layout.config.out_samples),
        ("plane", layout.depth, layout.planes),
    ]
    lead = [axis for axis in axes if axis[1] > 1]
    names, shape, chunk_shape = zip(
        *lead, ("y", layout.height, plan.rows), ("x", layout.width, plan.columns), strict=True
    )
    return shape, chunk_shape, names


def _regridded(index: tuple[int, ...], of: tuple[int, ...], grid: tuple[int, ...]) -> tuple[int, ...]:
    """The index in another grid of as many chunks in the same order."""
    return tuple(int(at) for at in np.unravel_index(np.ravel_multi_index(index, of), grid))


def _inline(layout: SegmentLayout, plan: ChunkPlan) -> Reader[dict[tuple[int, ...], bytes]]:
    """Read the short last strips that are to be inlined, and pad them."""
    if not plan.inline:
        return {}
    wanted = [(int(plan.offsets[index]), int(plan.offsets[index] + plan.lengths[index])) for index in plan.inline]
    strips = yield wanted
    for (start, end), strip in zip(wanted, strips, strict=True):
        if len(strip) < end - start:
            found = f"the last strip ends {end - start - len(strip)} bytes too early"
            raise FormatError(found, feature="truncated")
    return {index: padded_chunk(layout, bytes(strip)) for index, strip in zip(plan.inline, strips, strict=True)}
