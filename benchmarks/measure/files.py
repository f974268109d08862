"""Files for the benchmarks: small COGs with pixels, and headers of many tiles on files that are sparse on disk."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine

from tests.tiffbytes import Dir, Entry, build
from virtual_tiff.tiff.protocol import PREFETCH

_SIDES = (200, 300, 512, 700, 1000)
_KINDS = (("uint8", 3), ("uint16", 1), ("int16", 1), ("float32", 1))
_TILE = 256
_HOUR = 3600
_SHORT, _LONG, _LONG8 = 3, 4, 16


def make_cogs(folder: Path, count: int) -> list[str]:
    """Write COGs of several sizes and data types by GDAL (Deflate, predictor, overviews); return their names."""
    rng = np.random.default_rng(0)
    side = max(_SIDES)
    surface = np.cumsum(np.cumsum(rng.normal(size=(side, side)), axis=0), axis=1) / 40
    names = []
    for number in range(count):
        dtype, bands = _KINDS[number % len(_KINDS)]
        size = _SIDES[number % len(_SIDES)]
        band = (surface[:size, :size] - surface[:size, :size].min()).astype(dtype)
        names.append(f"{number:05}.tif")
        _write_cog(folder / names[-1], np.broadcast_to(band, (bands, size, size)), 600000.0 + 10 * size * number)
    return names


def make_stack(folder: Path, count: int) -> list[str]:
    """Write COGs of one grid, with 3 bands and 4 overviews: copies of one file, an hour old; return their names."""
    rng = np.random.default_rng(0)
    first = folder / "00000.tif"
    pixels = np.cumsum(rng.integers(-1, 2, (3, 1024, 1024)), axis=2).astype("uint8")
    _write_cog(first, pixels, 600000.0, overview_count=4)
    names = [f"{number:05}.tif" for number in range(count)]
    then = time.time() - _HOUR
    for name in names:
        if name != first.name:
            shutil.copyfile(first, folder / name)
        os.utime(folder / name, (then, then))
    return names


def _write_cog(path: Path, pixels: np.ndarray[Any, Any], left: float, **options: Any) -> None:
    import rasterio  # here, since the processes that only write references need no GDAL

    bands, height, width = pixels.shape
    with rasterio.open(
        path,
        "w",
        driver="COG",
        width=width,
        height=height,
        count=bands,
        dtype=pixels.dtype,
        crs="EPSG:32633",
        transform=Affine(10, 0, left, 0, -10, 5000000),
        nodata=0,
        compress="deflate",
        predictor="yes",
        blocksize=128,
        **options,
    ) as dataset:
        dataset.write(pixels)


def make_tiled(path: Path, down: int, across: int) -> None:
    """Write the header of a BigTIFF with that many tiles; the tiles themselves are a hole in the file.

    The file is an hour old, since publishing waits until no file is younger than a second.
    """
    count = down * across
    counts = np.random.default_rng(count).integers(1000, 3000, count, dtype="<u4")
    # behind what the first request brings: small files are decoded while they are parsed
    start = PREFETCH + 4096 + 12 * count
    ends = start + np.cumsum(counts, dtype="<u8")
    entries = [
        Entry(256, _LONG, [across * _TILE]),
        Entry(257, _LONG, [down * _TILE]),
        Entry(258, _SHORT, [16]),
        Entry(259, _SHORT, [8]),
        Entry(262, _SHORT, [1]),
        Entry(277, _SHORT, [1]),
        Entry(322, _SHORT, [_TILE]),
        Entry(323, _SHORT, [_TILE]),
        Entry(324, _LONG8, (ends - counts).astype("<u8").tobytes(), count=count),
        Entry(325, _LONG, counts.tobytes(), count=count),
        Entry(339, _SHORT, [1]),
    ]
    with path.open("wb") as file:
        file.write(build([Dir(entries)], bigtiff=True).data)
        file.truncate(int(ends[-1]))
    then = time.time() - _HOUR
    os.utime(path, (then, then))
