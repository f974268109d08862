"""Colours of bands and of palettes, as GDAL derives them from TIFF tags."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from virtual_tiff.geo.lenient import integer, integers
from virtual_tiff.tiff.ifd import Ifd

_BITS_PER_SAMPLE: Final = 258
_COMPRESSION: Final = 259
_PHOTOMETRIC: Final = 262
_SAMPLES: Final = 277
_COLOR_MAP: Final = 320
_EXTRA_SAMPLES: Final = 338

COLOR_TAGS: Final = (_BITS_PER_SAMPLE, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _COLOR_MAP, _EXTRA_SAMPLES)

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _SEPARATED, _YCBCR = 0, 1, 2, 3, 5, 6
_JPEG: Final = 7
_ALPHAS: Final = (1, 2)

COLOR_NAMES: Final = {
    "ycbcr_y": "Y",
    "ycbcr_cb": "Cb",
    "ycbcr_cr": "Cr",
    **{name: name for name in ("undefined", "gray", "palette", "red", "green", "blue", "alpha")},
    **{name: name for name in ("hue", "saturation", "lightness", "cyan", "magenta", "yellow", "black")},
    **{name: name for name in ("pan", "coastal", "rededge", "nir", "swir", "mwir", "lwir", "tir", "otherir")},
    **{f"sar_{band}": f"sar_{band}" for band in ("ka", "k", "ku", "x", "c", "s", "l", "p")},
}
"""From GDAL's names of colours, in lower case, to rasterio's."""

_PRIMARIES: Final = {
    _RGB: ("red", "green", "blue"),
    _YCBCR: ("Y", "Cb", "Cr"),
    _SEPARATED: ("cyan", "magenta", "yellow", "black"),
    _BLACK_IS_ZERO: ("gray",),
}


def color_interpretation(ifd: Ifd, named: Sequence[str | None]) -> tuple[str, ...]:
    """Return the colour of each band, by the names of rasterio's enum.

    Parameters
    ----------
    ifd
        The image.
    named
        What the metadata says of each band, or None: it wins over the photometric interpretation.
    """
    samples = integer(ifd, _SAMPLES, 1)
    photometric = _photometric(ifd, samples)
    extra = integers(ifd, _EXTRA_SAMPLES)
    primaries: tuple[str, ...] = _PRIMARIES.get(photometric, ())
    if _has_palette(ifd, photometric, samples):
        primaries = ("palette", *primaries[1:]) if primaries else ("palette",)
    colors = []
    for band, name in enumerate(named):
        known = COLOR_NAMES.get(name.lower()) if name else None
        place = band - (samples - len(extra))
        if name:
            colors.append(known or "undefined")
        elif band < len(primaries):
            colors.append(primaries[band])
        else:
            alpha = 0 <= place < len(extra) and extra[place] in _ALPHAS
            colors.append("alpha" if alpha else "undefined")
    return tuple(colors)


def _photometric(ifd: Ifd, samples: int) -> int:
    """Return the photometric interpretation of the decoded samples."""
    photometric = integer(ifd, _PHOTOMETRIC, _BLACK_IS_ZERO)
    if photometric == _YCBCR and integer(ifd, _COMPRESSION, 1) == _JPEG:
        return _RGB
    if photometric == _PALETTE and _COLOR_MAP not in ifd.tags:
        return _RGB if samples == 3 else _BLACK_IS_ZERO
    return photometric


def _has_palette(ifd: Ifd, photometric: int, samples: int) -> bool:
    bits = integer(ifd, _BITS_PER_SAMPLE, 1)
    if bits == samples == 1:
        return True
    return bits <= 16 and (photometric == _WHITE_IS_ZERO or _map_values(ifd, bits) is not None)


def _map_values(ifd: Ifd, bits: int) -> npt.NDArray[np.int64] | None:
    """Return the colour map as (3, entries) 16-bit values, or None when it is absent or incomplete."""
    if not 1 <= bits <= 16:
        return None
    values, entries = integers(ifd, _COLOR_MAP), 1 << bits
    if len(values) < 3 * entries:
        return None
    return np.array(values[: 3 * entries], np.int64).reshape(3, entries).clip(0, 65535)


def color_map(ifd: Ifd, nodata: float | None) -> npt.NDArray[np.uint8] | None:
    """Return the palette with the shape (entries, 4), or None when the image has none.

    WhiteIsZero images have an inverted grey ramp and bitmaps have two entries, as in GDAL. The entry of the
    nodata
    value is transparent.
    """
    bits = integer(ifd, _BITS_PER_SAMPLE, 1)
    photometric = integer(ifd, _PHOTOMETRIC, _BLACK_IS_ZERO)
    if not 1 <= bits <= 16:
        return None
    values = _map_values(ifd, bits)
    if values is not None:
        rgb = _to_bytes(values).T
        colors = np.concatenate([rgb, np.full((rgb.shape[0], 1), 255)], axis=1)
        if nodata is not None and math.isfinite(nodata) and 0 <= int(nodata) < rgb.shape[0]:
            colors[int(nodata), 3] = 0
        return colors.astype(np.uint8)
    if photometric == _WHITE_IS_ZERO or bits == integer(ifd, _SAMPLES, 1) == 1:
        last = (1 << bits) - 1
        ramp = 255 * np.arange(last + 1) // last
        gray = ramp[::-1] if photometric == _WHITE_IS_ZERO else ramp
        return np.stack([gray, gray, gray, np.full_like(gray, 255)], axis=1).astype(np.uint8)
    return None


def _to_bytes(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Bring 16-bit colours to 8 bits, guessing the factor (257, 256 or 1) as GDAL does."""
    largest = int(values.max(initial=0))
    if 0 < largest < 256:
        return values
    if largest > 0 and not (values % 256).any():
        return values // 256
    return values // 257
