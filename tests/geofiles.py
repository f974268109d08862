"""Geospatial files for tests, and what GDAL says of them, through rasterio, without sidecars."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from affine import Affine
from rasterio.errors import RasterioError

from tests.corpus import corpus_files
from tests.opening import source_of
from tests.tiffbytes import Entry, build, image
from virtual_tiff.errors import VirtualTiffError
from virtual_tiff.tiff.ifd import Ifd, TiffFile
from virtual_tiff.tiff.source import load_file_tags, read_tiff

INTERNAL_ONLY: Final = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_GEOREF_SOURCES": "INTERNAL",
}
TRANSFORM: Final = Affine(10.0, 0.0, 500000.0, 0.0, -10.0, 4600000.0)


def tiff_of(data: bytes) -> TiffFile:
    """Return the headers with every tag loaded."""
    source = source_of(data)
    return load_file_tags(source, read_tiff(source))


def ifd_of(data: bytes) -> Ifd:
    """Return the first IFD."""
    return tiff_of(data).ifds[0]


@contextmanager
def gdal(path: Path, **options: Any) -> Iterator[Any]:
    """Open a file with GDAL's TIFF driver, which tells what the TIFF itself says."""
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)
    with rasterio.Env(**INTERNAL_ONLY), rasterio.open(path, driver="GTiff", **options) as dataset:
        yield dataset


def corpus_pairs(corpus: Path) -> Iterator[tuple[Path, TiffFile, Any]]:
    """Yield each real file that both open: its path, our headers, rasterio's dataset."""
    for path in corpus_files(corpus):
        try:
            tiff = tiff_of(path.read_bytes())
        except VirtualTiffError:
            continue
        try:
            with gdal(path) as dataset:
                yield path, tiff, dataset
        except RasterioError:
            continue


def write(
    path: Path,
    *,
    count: int = 1,
    dtype: str = "uint8",
    size: tuple[int, int] = (8, 6),
    crs: Any = None,
    transform: Affine | None = TRANSFORM,
    edit: Callable[[Any], object] | None = None,
    **options: Any,
) -> bytes:
    """Write a GeoTIFF of ``size`` (width, height) with rasterio and return its bytes."""
    width, height = size
    profile: dict[str, Any] = {"width": width, "height": height, "count": count, "dtype": dtype, "crs": crs}
    profile |= {"driver": "GTiff", "transform": transform, **options}
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.open(path, "w", **profile) as dataset:
        dataset.write(np.ones((count, height, width), dtype))
        if edit is not None:
            edit(dataset)
    return path.read_bytes()


def geokeys(*keys: tuple[int, int | float | str], version: tuple[int, int, int] = (1, 1, 0)) -> list[Entry]:
    """Return the tags of a GeoTIFF key directory."""
    shorts: list[int] = [*version, len(keys)]
    numbers: list[float] = []
    text = b""
    for key, value in keys:
        if isinstance(value, int):
            shorts += [key, 0, 1, value]
        elif isinstance(value, float):
            shorts += [key, 34736, 1, len(numbers)]
            numbers.append(value)
        else:
            raw = value.encode() + b"|"
            shorts += [key, 34737, len(raw), len(text)]
            text += raw
    entries = [Entry(34735, 3, shorts)]
    if numbers:
        entries.append(Entry(34736, 12, numbers))
    if text:
        entries.append(Entry(34737, 2, text + b"\0"))
    return entries


def tiff_with(*entries: Entry, width: int = 16, height: int = 16) -> bytes:
    """Return a small grey TIFF with more tags."""
    return bytes(build([image(width, height, *entries, gap=width * height)]).data)
