"""What GDAL and tifffile read from one page, brought to one form, and how far a third reading may differ.

Readings are (band, y, x) arrays, one for each window. Where the two differ for known reasons,
:func:`distrusted` says who is wrong. GDAL is asked for raw samples; its RGB rendering is taken only where it
refuses them.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tests.ifdwalk import Page
from tests.ycc import read_ycc

type Pixels = npt.NDArray[Any]
type Window = tuple[int, int, int, int]
"""col_off, row_off, width, height."""

FULL_READ_SAMPLES: Final = 2**24
WINDOW_SIDE: Final = 256
MOST_BANDS: Final = 1024

LOSSY: Final = frozenset({6, 7, 22610, 33003, 33004, 33005, 34712, 34892, 34934, 50001, 50002, 52546})
"""Compressions whose decoders may differ by rounding: old JPEG, JPEG, JPEG XR, JPEG 2000, WebP, JPEG XL."""

CCITT: Final = frozenset({2, 3, 4})
SGI_LOG: Final = frozenset({34676, 34677})

_GDAL_ENV: Final[dict[str, str | int]] = {
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_CACHEMAX": 64,
    "GDAL_NUM_THREADS": "1",
    "GDAL_TIFF_INTERNAL_MASK_TO_8BIT": "NO",
    "GTIFF_IGNORE_READ_ERRORS": "NO",
    "CPL_LOG": os.devnull,
}


@dataclass(frozen=True)
class Opinion:
    """One oracle's reading of a page, short enough to be cached; ``digest`` is None when it has none."""

    oracle: str
    digest: str | None = None
    shape: tuple[int, ...] = ()
    dtype: str = ""
    error: str = ""

    @property
    def reads(self) -> bool:
        """Whether the oracle reads the page."""
        return self.digest is not None

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return asdict(self)

    @classmethod
    def from_json(cls, json: dict[str, Any]) -> Opinion:
        """The inverse of :meth:`to_json`."""
        return cls(**{**json, "shape": tuple(json["shape"])})


def windows(page: Page) -> tuple[Window, ...]:
    """The whole page, or corners and centre of one that is too large to be read as a whole."""
    width, height, bands = page.width, page.height, max(page.bands, 1)
    if width * height * bands <= FULL_READ_SAMPLES:
        return ((0, 0, width, height),)
    side = max(1, min(WINDOW_SIDE, math.isqrt(FULL_READ_SAMPLES // bands)))
    w, h = min(side, width), min(side, height)
    places = {
        (0, 0),
        (width - w, 0),
        (0, height - h),
        (width - w, height - h),
        ((width - w) // 2, (height - h) // 2),
    }
    return tuple((col, row, w, h) for col, row in sorted(places))


def read_gdal(path: Path, page: Page, areas: Sequence[Window]) -> tuple[str, list[Pixels]]:
    """Read with GDAL; return ("gdal", pixels) for raw samples, ("gdal-rgb", pixels) for its RGB rendering."""
    place = f"GTIFF_DIR:off:{page.offset}:{path}"
    try:
        return "gdal", _read_dataset(f"GTIFF_RAW:{place}", areas)
    except Exception as raw_error:  # noqa: BLE001
        try:
            rendered = _read_dataset(place, areas)
        except Exception:  # noqa: BLE001
            raise raw_error from None
    if all(band.shape[0] == 4 and bool((band[3] == 255).all()) for band in rendered):
        rendered = [band[:3] for band in rendered]
    return "gdal-rgb", rendered


def _read_dataset(name: str, areas: Sequence[Window]) -> list[Pixels]:
    import rasterio
    from rasterio.windows import Window as RasterWindow

    with quiet(), rasterio.Env(**_GDAL_ENV), rasterio.open(name) as dataset:
        for col, row, width, height in areas:
            if col + width > dataset.width or row + height > dataset.height:
                msg = f"GDAL sees {dataset.width} x {dataset.height} pixels"
                raise ValueError(msg)
        return [dataset.read(window=RasterWindow(*area)) for area in areas]


def read_tifffile(path: Path, page: Page, areas: Sequence[Window]) -> tuple[str, list[Pixels]]:
    """Read with tifffile; the file is opened for this page alone, as its decoders are cached too broadly."""
    from tifffile import TiffFile, TiffPage

    with quiet(), TiffFile(path) as tif:
        tif.filehandle.seek(page.offset)
        found = TiffPage(tif, index=page.path)
        tif._decoders.clear()
        planes, depth, height, width, samples = found.shaped
        if depth != 1 or found.dtype is None:
            msg = f"depth {depth}, dtype {found.dtype}"
            raise ValueError(msg)
        whole = (0, 0, width, height)
        if list(areas) == [whole]:
            image = found.asarray(squeeze=False, maxworkers=1)
            return "tifffile", [_bands_first(image.reshape(planes, height, width, samples))]
        return "tifffile", _read_windows(found, areas)


def _read_windows(found: Any, areas: Sequence[Window]) -> list[Pixels]:
    """Windows of a large page through tifffile's own Zarr store."""
    import zarr

    array: Any = zarr.open(found.aszarr(maxworkers=1), mode="r")
    planes, _, height, width, samples = found.shaped
    result = []
    for col, row, w, h in areas:
        y, x = slice(row, row + h), slice(col, col + w)
        if array.ndim == 2:
            image = np.asarray(array[y, x])[None, :, :, None]
        elif planes > 1 and array.shape == (planes, height, width):
            image = np.asarray(array[:, y, x])[:, :, :, None]
        elif array.shape == (height, width, samples):
            image = np.asarray(array[y, x, :])[None]
        else:
            msg = f"tifffile's Zarr array has shape {array.shape}"
            raise ValueError(msg)
        result.append(_bands_first(image))
    return result


def _bands_first(image: Pixels) -> Pixels:
    """(plane, y, x, sample) to (band, y, x); one of plane and sample is 1."""
    planes, height, width, samples = image.shape
    return image.transpose(0, 3, 1, 2).reshape(planes * samples, height, width)


ORACLES: Final[dict[str, Callable[[Path, Page, Sequence[Window]], tuple[str, list[Pixels]]]]] = {
    "gdal": read_gdal,
    "tifffile": read_tifffile,
    "ycc": read_ycc,
}


def ask(oracle: str, path: Path, page: Page) -> Opinion:
    """One oracle's opinion on a page; never raises for what the oracle cannot read."""
    if page.bands > MOST_BANDS and page.width * page.height * page.bands > FULL_READ_SAMPLES:
        return Opinion(oracle, error=f"not asked: GDAL takes minutes for {page.bands} bands")
    try:
        kind, pixels = ORACLES[oracle](path, page, windows(page))
    except Exception as error:  # noqa: BLE001
        return Opinion(oracle, error=f"{type(error).__name__}: {error}"[:200])
    return Opinion(kind, digest(pixels), tuple(pixels[0].shape), str(pixels[0].dtype))


def distrusted(page: Page, opinions: Sequence[Opinion]) -> frozenset[str]:
    """Oracles that are known to be wrong about a page.

    Measured on real files: tifffile returns 24-bit big-endian integers shifted by 8 bits, damages some CCITT
    pages, and reads the file header where the only segment of a page is absent.
    """
    kinds = {opinion.oracle: opinion for opinion in opinions if opinion.reads}
    wrong: set[str] = set()
    if page.big_endian and page.bits == 24 and page.sample_format in (1, 2):
        wrong.add("tifffile")
    if len(page.segment_offsets) == 1 and 0 in (*page.segment_offsets, *page.segment_counts):
        wrong.add("tifffile")
    gdal, other = kinds.get("gdal"), kinds.get("tifffile")
    if gdal is not None and other is not None and gdal.digest != other.digest and page.compression in CCITT:
        wrong.add("tifffile")
    return frozenset(wrong)


def canonical(pixels: Pixels) -> Pixels:
    """The same values in a data type that depends on the values alone, in native byte order."""
    kind = pixels.dtype.kind
    if kind == "b":
        return pixels.astype(np.uint8)
    if kind in "iu":
        low, high = (int(pixels.min()), int(pixels.max())) if pixels.size else (0, 0)
        dtype = np.min_scalar_type(high) if low >= 0 else np.promote_types(np.min_scalar_type(low), _signed(high))
        return np.ascontiguousarray(pixels, dtype)
    wide = np.ascontiguousarray(pixels, np.complex128 if kind == "c" else np.float64)
    parts = wide.view(np.float64)
    if np.isnan(parts).any():
        parts = np.where(np.isnan(parts), np.nan, parts)
    return parts + 0.0  # -0.0 + 0.0 is 0.0


def _signed(high: int) -> np.dtype[Any]:
    return np.min_scalar_type(-high - 1)


def digest(pixels: Sequence[Pixels]) -> str:
    """Digest of shapes and values, equal for equal values of any data type of the same kind."""
    state = hashlib.sha256()
    for part in pixels:
        values = canonical(part)
        kind = "c" if part.dtype.kind == "c" else "f" if part.dtype.kind == "f" else "i"
        state.update(f"{kind}{part.shape}{values.dtype.str}".encode())
        state.update(values.data if values.flags.c_contiguous else values.tobytes())
    return state.hexdigest()[:32]


def tolerance(page: Page, kind: str) -> float:
    """By how much samples may differ from an oracle's: 2 of 255 for lossy codecs and colour, else 0."""
    if page.compression in LOSSY or kind == "gdal-rgb" or page.photometric == 6:
        return 2.0 if page.bits <= 8 else 2 * (2**page.bits - 1) / 255
    return 0.0


def difference(ours: Sequence[Pixels], theirs: Sequence[Pixels]) -> float:
    """Largest difference of two readings; 0 for NaN against NaN, infinite when shapes or NaNs differ."""
    worst = 0.0
    for mine, other in zip(ours, theirs, strict=True):
        if mine.shape != other.shape:
            return math.inf
        worst = max(worst, max_difference(mine, other))
    return worst


def max_difference(mine: Pixels, other: Pixels) -> float:
    """Largest absolute difference of two arrays of one shape."""
    if mine.size == 0:
        return 0.0
    if mine.dtype.kind in "biu" and other.dtype.kind in "biu":
        if np.array_equal(mine, other):
            return 0.0
        if max(mine.dtype.itemsize, other.dtype.itemsize) <= 4:
            return float(np.abs(mine.astype(np.int64) - other.astype(np.int64)).max())
    common = np.complex128 if "c" in (mine.dtype.kind, other.dtype.kind) else np.float64
    a, b = mine.astype(common), other.astype(common)
    with np.errstate(all="ignore"):
        gap = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
        if mine.dtype.kind in "iu":  # values beyond 2**53 that float64 takes for equal
            gap = np.where((gap == 0) & (mine != other), 1.0, gap)
    return math.inf if np.isnan(gap).any() else float(gap.max())


def close(page: Page, kind: str, ours: Sequence[Pixels], theirs: Sequence[Pixels]) -> tuple[bool, float]:
    """Whether two readings agree within the page's tolerance, and their largest difference."""
    gap = difference(ours, theirs)
    if page.compression in SGI_LOG and math.isfinite(gap):
        pairs = zip(ours, theirs, strict=True)
        return all(np.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True) for a, b in pairs), gap
    return gap <= tolerance(page, kind), gap


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Neither warnings nor log messages of the oracles about damaged files."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
