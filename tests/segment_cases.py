"""Segments out of TIFF files that tifffile has parsed, and images put together from decoded segments."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.segment import decode_segment


def config_of(page: tifffile.TiffPage, **changes: Any) -> SegmentConfig:
    """Return the configuration of a page's segments, as tifffile reads its tags."""
    bits = page.bitspersample
    rows, columns = segment_shape(page)
    values: dict[str, Any] = {
        "compression": int(page.compression),
        "columns": columns,
        "rows": rows,
        "last_rows": None if page.is_tiled else (page.imagelength % rows or None),
        "samples": page.samplesperpixel if page.planarconfig == 1 else 1,
        "bits_per_sample": bits if isinstance(bits, tuple) else (bits,),
        "sample_format": int(page.sampleformat),
        "byte_order": "big" if page.parent.byteorder == ">" else "little",
        "predictor": int(page.predictor),
        "fill_order": int(page.fillorder),
    }
    return SegmentConfig(**{**values, **changes})


def segment_shape(page: tifffile.TiffPage) -> tuple[int, int]:
    """Return rows and columns of a full segment."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip or page.imagelength, page.imagelength), page.imagewidth


def encoded_segments(page: tifffile.TiffPage) -> Iterator[bytes]:
    """Yield the bytes of each segment."""
    handle = page.parent.filehandle
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        handle.seek(offset)
        yield handle.read(count)


def decode_page(page: tifffile.TiffPage, config: SegmentConfig) -> npt.NDArray[Any]:
    """Decode all segments with our codec and return the image, of shape (plane, y, x, sample)."""
    height, width = page.imagelength, page.imagewidth
    rows, columns = segment_shape(page)
    down, across = -(-height // rows), -(-width // columns)
    planes = page.samplesperpixel // config.samples
    dtype = config.dtype.newbyteorder("<")
    image = np.zeros((planes, down * rows, across * columns, config.samples), dtype)
    for index, encoded in enumerate(encoded_segments(page)):
        plane, rest = divmod(index, down * across)
        y, x = rest // across * rows, rest % across * columns
        decoded = decode_segment(encoded, config)
        assert decoded.nbytes == config.out_bytes
        image[plane, y : y + rows, x : x + columns] = decoded.view(dtype).reshape(rows, columns, -1)
    return image[:, :height, :width]


def roundtrip(image: npt.NDArray[Any], **options: Any) -> npt.NDArray[Any]:
    """Write an image (y, x, sample) or (sample, y, x) with tifffile, and decode its segments with our codec."""
    stream = io.BytesIO()
    photometric = options.pop("photometric", "minisblack")
    tifffile.imwrite(stream, image, photometric=photometric, metadata=None, **options)
    stream.seek(0)
    with tifffile.TiffFile(stream) as tiff:
        page = tiff.pages.first
        return decode_page(page, config_of(page)).reshape(image.shape)
