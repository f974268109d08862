"""Large images in every encoding, written fast: a few different segments are encoded and then repeated."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import tifffile

_DISTINCT: Final = 4
"""Encoded are so many tiles across and down; the image repeats them."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How an image is written: the words of tifffile; ``gdal`` are options of GDAL's GTiff driver instead.

    ``cost`` is the factor by which sides are shortened, since some formats take seconds for each large image;
    ``agrees`` are the beginnings of the names of the decoders that must find the very samples that we find;
    ``without`` are those of decoders that do not know the encoding; ``band_axis`` is where our arrays have the bands.
    """

    name: str
    dtype: str = "u2"
    bands: int = 1
    compression: str | None = None
    predictor: int | None = None
    order: Literal["<", ">"] = "<"
    planar: bool = False
    tile: int = 512
    cost: int = 1
    agrees: tuple[str, ...] = ("tifffile", "GDAL")
    without: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    gdal: dict[str, Any] = field(default_factory=dict)
    band_axis: Literal["first", "last"] = "first"

    def side(self, side: int) -> int:
        """Pixels of the image along each axis."""
        return max(side // self.cost, self.tile)


def surface(dtype: str, bands: int, side: int) -> npt.NDArray[Any]:
    """Return terrain-like samples of shape (row, column, band): smooth, with a little noise."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(side, side, bands))
    heights = np.cumsum(np.cumsum(steps, axis=0), axis=1) / 40 + rng.normal(size=steps.shape)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (np.round(heights * 16) / 16).astype(kind)
    heights -= heights.min()
    if kind.kind == "b":
        return (heights.astype("u4") // 64 % 2).astype(kind)
    return heights.astype("u4").astype(kind)


def write_image(path: Path, encoding: Encoding, side: int) -> None:
    """Write an image of ``encoding.side(side)`` squared pixels."""
    side, tile = encoding.side(side), encoding.tile
    if encoding.gdal:
        _write_by_gdal(path, encoding, side)
        return
    distinct = min(_DISTINCT, -(-side // tile))
    pixels = surface(encoding.dtype, encoding.bands, distinct * tile)
    segments = _encode(encoding, pixels)
    planes = encoding.bands if encoding.planar else 1
    shape: tuple[int, ...] = (side, side) if encoding.bands == 1 else (side, side, encoding.bands)
    if encoding.planar:
        shape = (encoding.bands, side, side)
    across = -(-side // tile)
    per_plane = len(segments) // planes

    def repeated() -> Iterator[bytes]:
        for plane, row, column in itertools.product(range(planes), range(across), range(across)):
            yield segments[plane * per_plane + row % distinct * distinct + column % distinct]

    options = _options(encoding)
    tifffile.imwrite(path, repeated(), shape=shape, dtype=pixels.dtype.newbyteorder(encoding.order), **options)


def _options(encoding: Encoding) -> dict[str, Any]:
    planar = "separate" if encoding.planar else "contig"
    return {
        "tile": (encoding.tile, encoding.tile),
        "compression": encoding.compression,
        "predictor": encoding.predictor,
        "byteorder": encoding.order,
        "photometric": "minisblack",
        "planarconfig": planar if encoding.bands > 1 else None,
        "metadata": None,
        **encoding.options,
    }


def _encode(encoding: Encoding, pixels: npt.NDArray[Any]) -> list[bytes]:
    """Return the encoded tiles of an image."""
    stream = io.BytesIO()
    image = pixels[..., 0] if encoding.bands == 1 else pixels
    tifffile.imwrite(stream, np.moveaxis(image, -1, 0) if encoding.planar else image, **_options(encoding))
    whole = stream.getvalue()
    stream.seek(0)
    with tifffile.TiffFile(stream) as tiff:
        page: Any = tiff.pages.first
        pairs = zip(page.dataoffsets, page.databytecounts, strict=True)
        return [whole[offset : offset + count] for offset, count in pairs]


def _write_by_gdal(path: Path, encoding: Encoding, side: int) -> None:
    import rasterio  # here, since only a few encodings need it

    part = surface(encoding.dtype, encoding.bands, min(side, _DISTINCT * encoding.tile))
    repeats = -(-side // part.shape[0])
    pixels = np.tile(np.moveaxis(part, -1, 0), (1, repeats, repeats))[:, :side, :side]
    bits = encoding.gdal.get("nbits")
    if bits is not None and bits > 1:
        pixels = pixels % (1 << bits)
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=encoding.bands,
        dtype="uint8" if pixels.dtype == bool else pixels.dtype, tiled=True,
        blockxsize=encoding.tile, blockysize=encoding.tile, **encoding.gdal,
    ) as dataset:  # fmt: skip
        dataset.write(pixels.astype("u1") if pixels.dtype == bool else pixels)
