"""Segments for the tests of the kernels: wrapped into files for other decoders, and taken out of real files."""

from __future__ import annotations

import contextlib
import io
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
import tifffile

from tests.ifdwalk import walk
from tests.oracles import max_difference, quiet
from tests.segment_cases import config_of, decode_page
from tests.tiffbytes import Dir, Entry, build
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.errors import DecodeError

type Pixels = npt.NDArray[Any]
type Kernel = Callable[[bytes, SegmentConfig], Pixels]

SHORT, LONG, RATIONAL, UNDEFINED = 3, 4, 5, 7
HEADER_BYTES: Final = 8


def smooth(rows: int, columns: int, samples: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """An image of shape (rows, columns, samples) that compresses like a photograph."""
    steps = np.random.default_rng(seed).integers(-4, 5, (rows, columns, samples))
    image: npt.NDArray[np.uint8] = np.clip(np.cumsum(steps, axis=0) + 128, 0, 255).astype(np.uint8)
    return image


def wrapped(
    segments: Sequence[bytes],
    config: SegmentConfig,
    *,
    rows: int | None = None,
    blobs: Sequence[bytes] = (),
    tags: Mapping[int, tuple[int, Sequence[int] | bytes]] | None = None,
) -> bytes:
    """A TIFF of strips: `blobs`, then `segments`, stand from byte 8 on; `tags` have the last word."""
    places = list(itertools.accumulate([len(part) for part in (*blobs, *segments)], initial=HEADER_BYTES))
    bits = config.bits_per_sample
    entries: dict[int, tuple[int, Sequence[int] | bytes]] = {
        256: (LONG, [config.columns]),
        257: (LONG, [rows or config.rows]),
        258: (SHORT, bits if len(bits) == config.samples else bits * config.samples),
        259: (SHORT, [config.compression]),
        262: (SHORT, [1 if config.photometric is None else config.photometric]),
        266: (SHORT, [config.fill_order]),
        273: (LONG, places[len(blobs) : -1]),
        277: (SHORT, [config.samples]),
        278: (LONG, [config.rows]),
        279: (LONG, [len(segment) for segment in segments]),
        339: (SHORT, [config.sample_format] * config.samples),
        **(tags or {}),
    }
    if config.t4_options is not None:
        entries[292] = (LONG, [config.t4_options])
    ifd = Dir([Entry(code, kind, values) for code, (kind, values) in sorted(entries.items())])
    return bytes(build([ifd], order=config.byte_order, ghost=b"".join((*blobs, *segments))).data)


def rationals(values: Sequence[float]) -> tuple[int, list[int]]:
    """The values of a tag of rationals, in ten thousandths."""
    return RATIONAL, [part for value in values for part in (round(value * 10000), 10000)]


def read_gdal(path: Path, data: bytes | None = None, *, raw: bool = True, offset: int | None = None) -> Pixels:
    """What GDAL reads, as (rows, columns, bands)."""
    if data is not None:
        path.write_bytes(data)
    place = walk(path)[0].offset if offset is None else offset
    prefix = "GTIFF_RAW:" if raw else ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(f"{prefix}GTIFF_DIR:off:{place}:{path}") as dataset:
            bands: Pixels = dataset.read()
    return bands.transpose(1, 2, 0)


def first_segment(data: bytes) -> bytes:
    """The first strip or tile of a TIFF in memory."""
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages.first
        offset, count = page.dataoffsets[0], page.databytecounts[0]
    return data[offset : offset + count]


def real_pages(root: Path, compressions: frozenset[int]) -> Iterator[tuple[Path, Any]]:
    """Pages of real files with these compressions, not larger than some megapixels."""
    for path in sorted(root.rglob("*.tif*")):
        if not any(page.compression in compressions for page in walk(path)):
            continue
        with quiet(), tifffile.TiffFile(path) as tiff:
            pages: Iterator[Any] = iter(tiff.pages)
            for page in pages:
                small = page.imagewidth * page.imagelength < 1 << 23
                if int(page.compression) in compressions and small and all(page.databytecounts):
                    yield path, page


def page_config(page: Any) -> SegmentConfig:
    """The configuration of a real page, with what image kernels want to know."""
    photometric = int(page.photometric)
    subsampled = photometric == 6 and page.planarconfig == 1 and page.subsampling is not None
    parameters = page.tags.valueof(50674)
    return config_of(
        page,
        predictor=1,
        photometric=photometric,
        subsampling=tuple(page.subsampling) if subsampled else None,
        t4_options=page.tags.valueof(292),
        jpeg_tables=page.jpegtables,
        lerc_parameters=None if parameters is None else tuple(parameters),
    )


def agrees(path: Path, page: Any, tolerance: float = 0) -> bool:
    """Compare a page through our codec with GDAL and tifffile: equal to one of them, or refused like by both."""
    theirs = []
    with contextlib.suppress(rasterio.errors.RasterioError):
        theirs.append(read_gdal(path, offset=page.offset))
    with contextlib.suppress(Exception):
        read = page.asarray()
        planar = page.planarconfig == 2 and read.ndim == 3
        theirs.append(read.transpose(1, 2, 0) if planar else read.reshape(*read.shape[:2], -1))
    try:
        image = decode_page(page, page_config(page))
    except DecodeError:
        return not theirs
    ours = image.transpose(1, 2, 0, 3).reshape(*image.shape[1:3], -1)
    return any(max_difference(ours, other) <= tolerance for other in theirs)
