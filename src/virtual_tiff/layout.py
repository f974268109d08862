"""From an IFD to the layout of its segments: every default and every refusal about pixels is decided here.

Segments (strips or tiles) form a grid of shape ``(planes, rows, columns)``; ``planes`` is the number of bands when
they are stored separately (PlanarConfiguration 2) and 1 otherwise, times that of segments along the depth of a volume.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np

from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.samples import SampleFormat, pixel_dtype
from virtual_tiff.codecs.segment import find_kernel
from virtual_tiff.codecs.table import PREDICTED
from virtual_tiff.coding import (
    COMPRESSION_NAMES,
    OLD_JPEG,
    YCBCR,
    Color,
    coding_fields,
    color_fields,
    compression_of,
    refuse_samples,
)
from virtual_tiff.errors import DecodeError, FormatError, LimitError, UnsupportedError
from virtual_tiff.tiff.ifd import ByteOrder, Ifd, IfdPath, TiffFile
from virtual_tiff.tiff.tags import Tags

_MAX_BANDS: Final = (1 << 16) - 1
"""SamplesPerPixel is a SHORT; a larger value can only be meant to exhaust memory."""

_SIGNED_BITS: Final = frozenset({8, 16, 24, 32, 64})

_COMPLEX_BITS: Final = 32

MAX_SEGMENT_BYTES: Final = 1 << 30
"""Default limit on the decoded size of one segment."""


@dataclass(frozen=True, kw_only=True)
class SegmentLayout:
    """How the pixels of one IFD lie in its segments, as values of the tags with all defaults filled in.

    ``rows`` and ``columns`` are the pixels of a full segment. ``dtype`` is that of the decoded samples.
    ``bits`` has one entry, or one per band when they differ. ``depth`` is the number of planes of a volume or a stack,
    ``planes`` that of a full segment. ``stacked`` is True for a stack of ImageJ or MetaMorph: one IFD describes the
    first plane, the others lie behind it.
    """

    url: str
    ifd: IfdPath
    width: int
    height: int
    bands: int
    planar: bool
    tiled: bool
    columns: int
    rows: int
    bits: tuple[int, ...]
    sample_format: int
    byte_order: ByteOrder
    compression: int
    predictor: int
    fill_order: int
    photometric: int | None
    dtype: np.dtype[Any]
    coding: Mapping[str, Any] = field(default_factory=dict)
    depth: int = 1
    planes: int = 1
    stacked: bool = False

    @property
    def samples(self) -> int:
        """Samples per pixel in one segment."""
        return 1 if self.planar else self.bands

    @property
    def grid(self) -> tuple[int, int, int]:
        """Number of segments: (planes, rows, columns)."""
        across = -(-self.width // self.columns)
        down = -(-self.height // self.rows)
        deep = -(-self.depth // self.planes)
        return ((self.bands if self.planar else 1) * deep, down, across)

    @property
    def segments(self) -> int:
        """Number of segments."""
        planes, down, across = self.grid
        return planes * down * across

    @property
    def last_rows(self) -> int | None:
        """Rows of the last strip when it is shorter than the others, else None; tiles are full."""
        return None if self.tiled else (self.height % self.rows or None)

    @property
    def _least_rows(self) -> int | None:
        """Rows that a segment may end with: some writers end a tile that is taller than the image with the image."""
        if self.tiled and self.grid[1] == self.planes == 1 and self.compression != 1:
            return self.height % self.rows or None
        return self.last_rows

    @cached_property
    def config(self) -> SegmentConfig:
        """The configuration that decodes one segment; the planes of a tile stand below one another."""
        return SegmentConfig(
            compression=self.compression,
            columns=self.columns,
            rows=self.rows * self.planes,
            last_rows=self._least_rows,
            samples=self.samples,
            bits_per_sample=self.bits if not self.planar else self.bits[:1],
            sample_format=self.sample_format,
            byte_order=self.byte_order if max(self.bits) > 8 else "little",
            predictor=self.predictor,
            fill_order=self.fill_order,
            **self.coding,
        )

    @property
    def out_dtype(self) -> np.dtype[Any]:
        """Data type of what the codec returns: that of the samples, unless colours are converted."""
        return self.config.out_dtype

    @property
    def out_bands(self) -> int:
        """Bands of what the codec returns."""
        return self.bands if self.planar else self.config.out_samples

    @property
    def whole_bytes(self) -> bool:
        """Whether decompressed samples are what the dtype says, up to their byte order."""
        return (
            len(self.bits) == 1
            and self.bits[0] == 8 * self.dtype.itemsize
            and self.dtype.kind != "b"
            and self.sample_format != SampleFormat.COMPLEX_INT
            and self.predictor == 1
            and self.fill_order == 1
        )


def segment_layout(
    tiff: TiffFile, ifd: Ifd, *, color: Color | None = None, max_segment_bytes: int = MAX_SEGMENT_BYTES
) -> SegmentLayout:
    """Read the layout of an IFD's pixels from its tags.

    Parameters
    ----------
    tiff, ifd
        The file, and the image whose tags are loaded.
    color
        None for samples as they are stored, "rgb" to have palettes, YCbCr, CMYK and L*a*b* converted.
    max_segment_bytes
        Limit on the decoded size of a segment.

    Raises
    ------
    FormatError
        ``missing-tag``, ``bad-tag`` or ``bad-geometry`` when the tags do not describe an image.
    UnsupportedError
        With the code of the feature that is refused.
    LimitError
        ``limit-segment-bytes`` when a segment decodes to more than `max_segment_bytes` and cannot be cut.

    References
    ----------
    TIFF 6.0, sections 3, 8, 15 and 19.
    """
    width, height = _size(ifd)
    compression = compression_of(ifd)
    old_jpeg = compression == OLD_JPEG
    bands = ifd.integer(Tags.SamplesPerPixel, 3 if old_jpeg else 1)
    if not 1 <= bands <= _MAX_BANDS:
        found = f"{bands} samples per pixel"
        raise FormatError(found, feature="bad-tag", ifd=ifd.path, tag=Tags.SamplesPerPixel)
    photometric = _photometric(ifd)
    if old_jpeg and bands == 3 and photometric in (None, 2):
        photometric = YCBCR
    tiled, rows, columns = _segment_size(ifd, width, height)
    bits, sample_format = _samples(ifd, bands, 8 if old_jpeg else 1)
    dtype = _dtype(ifd, bits, sample_format)
    depth, planes = _depth(ifd, tiled=tiled)
    stacked = stacked_planes(tiff, ifd) if bands == depth == compression == 1 else 1
    layout = SegmentLayout(
        url=tiff.url,
        ifd=ifd.path,
        width=width,
        height=height,
        bands=bands,
        planar=_planar(ifd, bands),
        tiled=tiled,
        columns=columns,
        rows=rows,
        bits=bits,
        sample_format=sample_format,
        byte_order=ifd.byte_order,
        compression=compression,
        predictor=_predictor(ifd, compression),
        fill_order=_fill_order(ifd),
        photometric=photometric,
        dtype=dtype,
        coding=coding_fields(ifd, compression, photometric) | color_fields(ifd, compression, photometric, color),
        depth=max(depth, stacked),
        planes=planes,
        stacked=stacked > 1,
    )
    _refuse_undecodable(ifd, layout)
    if layout.config.out_bytes > max_segment_bytes and (compression != 1 or tiled):
        found = f"a segment of {columns} x {rows} pixels decodes to {layout.config.out_bytes} bytes"
        raise LimitError(found, feature="limit-segment-bytes", ifd=ifd.path, hint="Raise max_segment_bytes.")
    return layout


_IMAGEJ_IMAGES: Final = re.compile(r"^images=(\d{1,19})\s*$", re.MULTILINE)


def stacked_planes(tiff: TiffFile, ifd: Ifd) -> int:
    """Return the number of planes that one IFD stands for.

    MetaMorph writes stacks with a single IFD, and so does ImageJ those of more than 4 GiB: the planes lie behind one
    another, uncompressed; only a private tag, or the description, counts them.
    """
    if not tiff.complete or len(tiff.ifds) != 1 or ifd.path != (0,):
        return 1
    planes = ifd.tags.get(Tags.UIC2)  # its count is the number of planes
    if planes is not None:
        return max(1, planes.count)
    tag = ifd.tags.get(Tags.ImageDescription)
    if tag is None or tag.deferred:  # ImageJ's are a few lines, which come with the header
        return 1
    description = ifd.text(Tags.ImageDescription) or ""
    if not description.startswith("ImageJ="):
        return 1
    images = _IMAGEJ_IMAGES.search(description.replace("\r", "\n"))
    return max(1, int(images[1])) if images else 1


_FALSE_DEPTH: Final = ("ISS Vista", "Philips DP")
"""Software that writes an ImageDepth although the IFD holds one slice."""

_FLOAT_WRITER: Final = "IndicaLabsImageWriter"
"""Software whose samples of 32 bits are floats, without a SampleFormat."""


def _size(ifd: Ifd) -> tuple[int, int]:
    for tag in (Tags.ImageWidth, Tags.ImageLength):
        if tag not in ifd:
            found = "the IFD has no image: the tag is absent"
            raise FormatError(found, feature="missing-tag", ifd=ifd.path, tag=tag)
    width, height = ifd.integer(Tags.ImageWidth, 0), ifd.integer(Tags.ImageLength, 0)
    if width < 1 or height < 1:
        found = f"an image of {width} x {height} pixels"
        raise FormatError(found, feature="bad-geometry", ifd=ifd.path, tag=Tags.ImageWidth)
    return width, height


def _depth(ifd: Ifd, *, tiled: bool) -> tuple[int, int]:
    """Return the planes of a volume, and those of a segment: of a tile its depth, of a strip always one.

    References
    ----------
    SGI, TIFF Image Depth Extension; no reader but tifffile looks further than the first plane.
    """
    depth = ifd.integer(Tags.ImageDepth, 1)
    if depth <= 1 or (ifd.text(Tags.Software) or "").startswith(_FALSE_DEPTH):
        return 1, 1
    return depth, max(1, ifd.integer(Tags.TileDepth, 1)) if tiled else 1


def _photometric(ifd: Ifd) -> int | None:
    """The photometric interpretation; None when it is absent, which libtiff allows."""
    return ifd.integer(Tags.PhotometricInterpretation, 0) if Tags.PhotometricInterpretation in ifd else None


def _segment_size(ifd: Ifd, width: int, height: int) -> tuple[bool, int, int]:
    """Return (tiled, rows, columns); like libtiff, RowsPerStrip absent or 0 is the whole image.

    A TileLength alone does not make tiles of strips.
    """
    if Tags.TileWidth in ifd or (Tags.TileLength in ifd and Tags.StripOffsets not in ifd):
        columns, rows = ifd.integer(Tags.TileWidth, 0), ifd.integer(Tags.TileLength, 0)
        if columns < 1 or rows < 1:
            found = f"tiles of {columns} x {rows} pixels"
            raise FormatError(found, feature="bad-geometry", ifd=ifd.path, tag=Tags.TileWidth)
        return True, rows, columns
    rows = ifd.integer(Tags.RowsPerStrip, 0)
    return False, (min(rows, height) if rows > 0 else height), width


def _samples(ifd: Ifd, bands: int, default: int) -> tuple[tuple[int, ...], int]:
    """Return bits per sample (one entry when all agree) and the sample format."""
    declared = ifd.integers(Tags.BitsPerSample)
    depths = declared[:bands].tolist() if declared is not None and declared.size else [default]
    if len(depths) < bands:
        if len(set(depths)) > 1:
            found = f"{len(depths)} different numbers of bits for {bands} samples"
            raise UnsupportedError(found, feature="mixed-samples", ifd=ifd.path, tag=Tags.BitsPerSample)
        depths += depths[:1] * (bands - len(depths))
    unique = set(depths)
    bits = (depths[0],) if len(unique) == 1 else tuple(depths)
    formats = ifd.integers(Tags.SampleFormat)
    kinds = {int(v) for v in formats[:bands]} if formats is not None and formats.size else {1}
    if formats is None and unique == {32} and (ifd.text(Tags.Software) or "").startswith(_FLOAT_WRITER):
        kinds = {SampleFormat.FLOAT}
    kinds = {SampleFormat.UINT if kind == SampleFormat.UNDEFINED else kind for kind in kinds}
    if len(kinds) > 1:
        found = f"sample formats {sorted(kinds)} in one IFD"
        raise UnsupportedError(found, feature="mixed-samples", ifd=ifd.path, tag=Tags.SampleFormat)
    return bits, kinds.pop()


def read_dtype(bits: tuple[int, ...], sample_format: int) -> np.dtype[Any] | None:
    """Return the data type that samples are read as, or None when they are refused.

    Signed integers of odd depths are refused: GDAL takes them for unsigned, and there is no other reader to ask. So are
    complex integers of two bytes, which GDAL takes for one unsigned integer.
    """
    if sample_format == SampleFormat.INT and not _SIGNED_BITS.issuperset(bits):
        return None
    if sample_format == SampleFormat.COMPLEX_INT and min(bits) < _COMPLEX_BITS:
        return None
    return pixel_dtype(bits, sample_format)


def _dtype(ifd: Ifd, bits: tuple[int, ...], sample_format: int) -> np.dtype[Any]:
    dtype = read_dtype(bits, sample_format)
    if dtype is None:
        depths = ", ".join(map(str, sorted(set(bits))))
        found = f"{depths} bits per sample of sample format {sample_format}"
        raise UnsupportedError(found, feature="sample-format", ifd=ifd.path, tag=Tags.BitsPerSample)
    return dtype


def _planar(ifd: Ifd, bands: int) -> bool:
    planar = ifd.integer(Tags.PlanarConfiguration, 1)
    if planar not in (1, 2) and bands > 1:
        found = f"planar configuration {planar}"
        raise UnsupportedError(found, feature="planar", ifd=ifd.path, tag=Tags.PlanarConfiguration)
    return planar == 2 and bands > 1


def _fill_order(ifd: Ifd) -> int:
    """The fill order; like libtiff, values that there are not mean the usual one."""
    order = ifd.integer(Tags.FillOrder, 1)
    return order if order == 2 else 1


def _predictor(ifd: Ifd, compression: int) -> int:
    """The predictor; libtiff ignores the tag where the compression has no predictor."""
    return ifd.integer(Tags.Predictor, 1) if compression in PREDICTED else 1


def _refuse_undecodable(ifd: Ifd, layout: SegmentLayout) -> None:
    """Refuse by name, before any pixel is read, what the codec would refuse."""
    if layout.planar and len(layout.bits) > 1:
        found = f"separate planes of {', '.join(map(str, layout.bits))} bits"
        raise UnsupportedError(found, feature="mixed-samples", ifd=ifd.path, tag=Tags.BitsPerSample)
    if layout.planar and layout.photometric == YCBCR and layout.config.subsampling is not None:
        found = "planes of subsampled chroma have different sizes"
        raise UnsupportedError(found, feature="planar", ifd=ifd.path, tag=Tags.PlanarConfiguration)
    if layout.depth > 1 and layout.compression == OLD_JPEG:
        found = f"a volume of {layout.depth} planes in old-style JPEG"
        raise UnsupportedError(found, feature="volumetric", ifd=ifd.path, tag=Tags.ImageDepth)
    refuse_samples(ifd, layout.config)
    try:
        kind, _ = find_kernel(layout.config)
    except DecodeError as error:
        feature, tag = _blame(layout)
        raise UnsupportedError(error.found, feature=feature, ifd=ifd.path, tag=tag) from error
    if kind == "image" and layout.sample_format == SampleFormat.INT and layout.bits == (24,):
        found = f"signed samples of 24 bits in {COMPRESSION_NAMES[layout.compression]}"
        raise UnsupportedError(found, feature="bit-depth", ifd=ifd.path, tag=Tags.BitsPerSample)
    if layout.sample_format == SampleFormat.COMPLEX_FLOAT and layout.bits == (32,) and layout.byte_order == "big":
        # libtiff swaps the two halves, too, and there is no other reader to ask
        found = "big-endian complex numbers of two floats of 16 bits"
        raise UnsupportedError(found, feature="sample-format", ifd=ifd.path, tag=Tags.SampleFormat)
    if layout.config.is_subsampled and layout.bits != (8,):
        found = f"subsampled chroma of {max(layout.bits)} bits, which no other reader decodes"
        raise UnsupportedError(found, feature="subsampling", ifd=ifd.path, tag=Tags.YCbCrSubSampling)
    if len(layout.bits) > 1 and kind == "image":
        found = f"samples of {', '.join(map(str, layout.bits))} bits in {COMPRESSION_NAMES[layout.compression]}"
        raise UnsupportedError(found, feature="mixed-samples", ifd=ifd.path, tag=Tags.BitsPerSample)
    if layout.planes > 1 and (kind == "image" or layout.config.is_subsampled):
        found = f"tiles of {layout.planes} planes in {COMPRESSION_NAMES[layout.compression]}"
        raise UnsupportedError(found, feature="volumetric", ifd=ifd.path, tag=Tags.TileDepth)


def _blame(layout: SegmentLayout) -> tuple[str, int]:
    """The feature and the tag that most likely keep the codec from decoding."""
    if "color" in layout.coding:
        return "color", Tags.PhotometricInterpretation
    if layout.predictor != 1:
        return "predictor", Tags.Predictor
    if layout.photometric == YCBCR:
        return "photometric", Tags.PhotometricInterpretation
    return "bit-depth", Tags.BitsPerSample
