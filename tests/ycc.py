"""A third oracle: YCbCr with subsampled chroma outside of JPEG, as stored.

GDAL shows such pages as RGB only, tifffile not at all. Each block of ``h * v`` luma samples is followed
by one Cb and one Cr (TIFF 6, section 21), which stand for all of the block's pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tests.ifdwalk import Page

type Window = tuple[int, int, int, int]


def _inflate(data: bytes) -> bytes:
    import zlib

    return zlib.decompress(data)


def _imagecodecs(name: str) -> Callable[[bytes], bytes]:
    def decode(data: bytes) -> bytes:
        import imagecodecs

        decoded: bytes = getattr(imagecodecs, name)(data)
        return decoded

    return decode


_STREAMS: Final[dict[int, Callable[[bytes], bytes]]] = {
    1: bytes,
    5: _imagecodecs("lzw_decode"),
    8: _inflate,
    32773: _imagecodecs("packbits_decode"),
    32946: _inflate,
    50000: _imagecodecs("zstd_decode"),
}


def applies(page: Page) -> bool:
    """Whether a page is of this kind."""
    plain = page.photometric == 6 and page.bits == 8 and page.bands == 3 and page.first(284, 1) == 1
    return plain and page.compression in _STREAMS and _subsampling(page) != (1, 1)


def read_ycc(path: Path, page: Page, areas: Sequence[Window]) -> tuple[str, list[npt.NDArray[Any]]]:
    """Read windows of Y, Cb and Cr, chroma repeated over its block."""
    if not applies(page):
        msg = "no subsampled YCbCr outside of JPEG"
        raise ValueError(msg)
    tiled = 322 in page.tags
    columns = page.first(322, 0) if tiled else page.width
    rows = page.first(323, 0) if tiled else min(page.first(278, page.height), page.height)
    across = -(-page.width // columns)
    image = np.zeros((3, page.height, page.width), np.uint8)
    with path.open("rb") as file:
        for index, (offset, count) in enumerate(zip(page.segment_offsets, page.segment_counts, strict=True)):
            file.seek(offset)
            row, col = index // across * rows, index % across * columns
            height = rows if tiled else min(rows, page.height - row)
            data = file.read(count)
            if page.first(266, 1) == 2:
                data = _imagecodecs("bitorder_decode")(data)
            part = _unpack(_STREAMS[page.compression](data), columns, height, *_subsampling(page))
            target = image[:, row : row + height, col : col + columns]
            target[:] = part[:, : target.shape[1], : target.shape[2]]
    return "ycc", [image[:, row : row + h, col : col + w] for col, row, w, h in areas]


def _subsampling(page: Page) -> tuple[int, int]:
    values = page.tags.get(530, (2, 2))
    return values[0], values[1]


def _unpack(data: bytes, columns: int, rows: int, horizontal: int, vertical: int) -> npt.NDArray[np.uint8]:
    """Blocks of luma and chroma to (3, y, x), as large as whole blocks are."""
    across, down = -(-columns // horizontal), -(-rows // vertical)
    luma = horizontal * vertical
    blocks = np.frombuffer(data, np.uint8, across * down * (luma + 2)).reshape(down, across, luma + 2)
    image = np.empty((3, down * vertical, across * horizontal), np.uint8)
    y = blocks[..., :luma].reshape(down, across, vertical, horizontal)
    image[0] = y.transpose(0, 2, 1, 3).reshape(image.shape[1:])
    for band in (1, 2):
        image[band] = blocks[..., luma + band - 1].repeat(vertical, axis=0).repeat(horizontal, axis=1)
    return image
