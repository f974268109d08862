"""A small writer of cloud-optimised GeoTIFFs, so that the demo needs no further package.

Tiled, pixel-interleaved, Deflate with a predictor, one overview, IFDs at the head, empty tiles left out.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np

from virtual_tiff.tiff.tags import Tags

TILE: Final = 256

_SHORT, _LONG, _ASCII, _DOUBLE = 3, 4, 2, 12
_FORMATS: Final = {_SHORT: "H", _LONG: "I", _DOUBLE: "d"}

type Value = bytes | int | float | list[int] | list[float]
type Entry = tuple[int, int, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where an image lies: EPSG code of a projected CRS, its upper left corner, and the size of a pixel."""

    epsg: int
    left: float
    top: float
    pixel: float


def write_cog(path: Path, pixels: np.ndarray[Any, Any], ground: Ground, *, nodata: float, date: str) -> None:
    """Write one GeoTIFF with an overview of half the size.

    Parameters
    ----------
    path
        The file to write.
    pixels
        Shape (band, y, x); integers get predictor 2, floats predictor 3.
    ground
        CRS and position.
    nodata
        Value of missing pixels; tiles that hold nothing else are left out.
    date
        As TIFF writes it: ``2024:07:15 10:30:00``.
    """
    levels = [pixels, pixels[:, ::2, ::2]]
    tiles = [_encode_tiles(level, nodata) for level in levels]
    heads = [_entries(level, nodata, date) for level in levels]
    heads[0] += _geo_entries(ground)
    heads[1].append((Tags.NewSubfileType, _LONG, 1))
    # The first pass finds the size of the IFDs, which the offsets of the tiles depend on.
    sizes = [len(_ifd(_with_tiles(head, parts, 0), 0, last=True)) for head, parts in zip(heads, tiles, strict=True)]
    positions = [8, 8 + sizes[0]]
    behind = 8 + sum(sizes)
    body = [behind + sum(map(len, tiles[1])), behind]  # as in a COG, the overview's tiles come first
    with path.open("wb") as file:
        file.write(struct.pack("<2sHI", b"II", 42, 8))
        for index, (head, parts) in enumerate(zip(heads, tiles, strict=True)):
            file.write(_ifd(_with_tiles(head, parts, body[index]), positions[index], last=index == 1))
        for parts in reversed(tiles):
            file.writelines(parts)


def _encode_tiles(pixels: np.ndarray[Any, Any], nodata: float) -> list[bytes]:
    bands, height, width = pixels.shape
    down, across = -(-height // TILE), -(-width // TILE)
    padded = np.full((down * TILE, across * TILE, bands), nodata, pixels.dtype)
    padded[:height, :width] = np.moveaxis(pixels, 0, -1)
    grid = padded.reshape(down, TILE, across, TILE, bands).swapaxes(1, 2)
    return [_encode_tile(np.ascontiguousarray(tile), nodata) for row in grid for tile in row]


def _encode_tile(tile: np.ndarray[Any, Any], nodata: float) -> bytes:
    """Encode one tile of shape (y, x, band); an empty one becomes no bytes at all."""
    if np.all(np.isnan(tile) if np.isnan(nodata) else tile == nodata):
        return b""
    if tile.dtype.kind == "f":
        tile = imagecodecs.floatpred_encode(tile, axis=-2, dist=tile.shape[2])
    else:
        tile = imagecodecs.delta_encode(tile, axis=-2)
    return bytes(imagecodecs.deflate_encode(tile.tobytes(), level=6))


def _entries(level: np.ndarray[Any, Any], nodata: float, date: str) -> list[Entry]:
    bands, height, width = level.shape
    floating = level.dtype.kind == "f"
    entries: list[Entry] = [
        (Tags.ImageWidth, _LONG, width),
        (Tags.ImageLength, _LONG, height),
        (Tags.BitsPerSample, _SHORT, [8 * level.dtype.itemsize] * bands),
        (Tags.Compression, _SHORT, 8),
        (Tags.PhotometricInterpretation, _SHORT, 1),
        (Tags.SamplesPerPixel, _SHORT, bands),
        (Tags.PlanarConfiguration, _SHORT, 1),
        (Tags.DateTime, _ASCII, date.encode() + b"\0"),
        (Tags.Predictor, _SHORT, 3 if floating else 2),
        (Tags.TileWidth, _SHORT, TILE),
        (Tags.TileLength, _SHORT, TILE),
        (Tags.SampleFormat, _SHORT, [3 if floating else 1] * bands),
        (Tags.GDAL_NODATA, _ASCII, f"{nodata:g}".encode() + b"\0"),
    ]
    if bands > 1:
        entries.append((Tags.ExtraSamples, _SHORT, [0] * (bands - 1)))
    return entries


def _geo_entries(ground: Ground) -> list[Entry]:
    keys = [1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, ground.epsg]  # projected, pixel is area
    return [
        (Tags.ModelPixelScale, _DOUBLE, [ground.pixel, ground.pixel, 0.0]),
        (Tags.ModelTiepoint, _DOUBLE, [0.0, 0.0, 0.0, ground.left, ground.top, 0.0]),
        (Tags.GeoKeyDirectory, _SHORT, keys),
    ]


def _with_tiles(entries: list[Entry], tiles: list[bytes], start: int) -> list[Entry]:
    counts = [len(tile) for tile in tiles]
    ends = np.cumsum([0, *counts[:-1]]) + start
    offsets = [int(offset) if count else 0 for offset, count in zip(ends, counts, strict=True)]
    return sorted([*entries, (Tags.TileOffsets, _LONG, offsets), (Tags.TileByteCounts, _LONG, counts)])


def _ifd(entries: list[Entry], position: int, *, last: bool) -> bytes:
    """One IFD at a position of the file, followed by the values that do not fit into it."""
    directory = struct.pack("<H", len(entries))
    outside = b""
    behind = position + 2 + 12 * len(entries) + 4
    for tag, kind, value in entries:
        raw, count = _pack(kind, value)
        if len(raw) > 4:
            field = struct.pack("<I", behind + len(outside))
            outside += raw + b"\0" * (len(raw) % 2)
        else:
            field = raw.ljust(4, b"\0")
        directory += struct.pack("<HHI", tag, kind, count) + field
    return directory + struct.pack("<I", 0 if last else behind + len(outside)) + outside


def _pack(kind: int, value: Value) -> tuple[bytes, int]:
    if isinstance(value, bytes):
        return value, len(value)
    values = value if isinstance(value, list) else [value]
    return struct.pack(f"<{len(values)}{_FORMATS[kind]}", *values), len(values)
