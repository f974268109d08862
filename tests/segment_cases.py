"""Segments out of TIFF files that tifffile has parsed, and images put together from decoded segments."""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from rasterio.io import MemoryFile

from virtual_tiff.codecs import compiled
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.segment import decode_segment
from virtual_tiff.errors import DecodeError


def config_of(page: tifffile.TiffPage, **changes: Any) -> SegmentConfig:
    """Return the configuration of a page's segments, as tifffile reads its tags."""
    bits: Any = page.bitspersample
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


def encode(raw: bytes, compression: int) -> bytes:
    """Compress bytes as a writer of TIFF would."""
    if compression in (8, 32946):
        return zlib.compress(raw)
    if compression == 34925:
        return lzma.compress(raw)
    encoders: dict[int, Any] = {
        1: bytes,
        5: imagecodecs.lzw_encode,
        32773: imagecodecs.packbits_encode,
        50000: imagecodecs.zstd_encode,
    }
    return bytes(encoders[compression](raw))


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
    """Write an image (y, x, sample) or (sample, y, x) with tifffile, and decode it with our codec."""
    stream = io.BytesIO()
    photometric = options.pop("photometric", "minisblack")
    tifffile.imwrite(stream, image, photometric=photometric, metadata=None, **options)
    stream.seek(0)
    with tifffile.TiffFile(stream) as tiff:
        page = tiff.pages.first
        return decode_page(page, config_of(page)).reshape(image.shape)


def wrap(encoded: bytes, config: SegmentConfig) -> bytes:
    """Return a TIFF whose only strip is the segment, for other decoders to read."""
    order = "<" if config.byte_order == "little" else ">"
    bits = config.bits_per_sample if len(config.bits_per_sample) > 1 else config.bits_per_sample * config.samples
    photometric = 2 if bits == (5, 6, 5) else 1
    tags: list[tuple[int, str, tuple[int, ...]]] = [
        (256, "I", (config.columns,)),
        (257, "I", (config.rows,)),
        (258, "H", bits),
        (259, "H", (config.compression,)),
        (262, "H", (photometric,)),
        (266, "H", (config.fill_order,)),
        (273, "I", (8,)),
        (277, "H", (config.samples,)),
        (278, "I", (config.rows,)),
        (279, "I", (len(encoded),)),
        (284, "H", (1,)),
        (317, "H", (config.predictor,)),
        (338, "H", (0,) * (config.samples - (3 if photometric == 2 else 1))),
        (339, "H", (config.sample_format,) * config.samples),
    ]
    if config.predictor == 1:
        tags = [tag for tag in tags if tag[0] != 317]
    tags = [tag for tag in tags if tag[2]]
    body = encoded + bytes(len(encoded) % 2)
    entries = b""
    for code, kind, values in tags:
        raw = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(raw) > 4:
            body += raw
            raw = struct.pack(f"{order}I", 8 + len(body) - len(raw))
            body += bytes(len(body) % 2)
        entries += struct.pack(f"{order}HHI", code, 3 if kind == "H" else 4, len(values)) + raw.ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HI", 42, 8 + len(body))
    return head + body + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


def ask_gdal(encoded: bytes, config: SegmentConfig) -> npt.NDArray[Any]:
    """Let GDAL decode a segment; the samples have the shape (row, column, sample)."""
    with MemoryFile(wrap(encoded, config)) as memory, memory.open() as source:
        return np.moveaxis(source.read(), 0, -1)


def ask_us(encoded: bytes, config: SegmentConfig) -> npt.NDArray[Any]:
    """Let our codec decode a segment; the samples have the shape (row, column, sample)."""
    decoded = decode_segment(encoded, config).view(config.dtype.newbyteorder("<"))
    return decoded.reshape(config.rows, config.columns, config.samples)


def outcome(encoded: bytes, config: SegmentConfig) -> bytes | tuple[str, str | None]:
    """What a segment decodes to, or what is said about it."""
    try:
        return decode_segment(encoded, config).tobytes()
    except DecodeError as error:
        return str(error), error.feature


def outcome_by_libraries(encoded: bytes, config: SegmentConfig) -> bytes | tuple[str, str | None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "KERNELS", None)
        return outcome(encoded, config)
