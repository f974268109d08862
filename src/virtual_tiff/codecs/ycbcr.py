"""YCbCr to RGB, by the tables of TIFF 6 and in the arithmetic of libtiff's RGBA interface.

References
----------
TIFF 6, section 20 (ReferenceBlackWhite) and section 21 (YCbCrCoefficients).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

Coefficients = tuple[float, ...]

CCIR_601: Final[Coefficients] = (0.299, 0.587, 0.114)
"""YCbCrCoefficients when the tag is absent: luma of red, green and blue."""

FULL_RANGE: Final[tuple[float, ...]] = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)
"""ReferenceBlackWhite when the tag is absent: black and white of Y, Cb and Cr."""

_FRACTION: Final = 1 << 16  # fixed point, as libtiff's


def can_convert(coefficients: Coefficients | None, black_white: Coefficients | None) -> bool:
    """Return whether RGB can be computed from these values of the tags."""
    _, green, _ = coefficients or CCIR_601
    pairs = black_white or FULL_RANGE
    return green > 0 and all(pairs[i] != pairs[i + 1] for i in (0, 2, 4))


def to_rgb(
    samples: npt.NDArray[np.uint8],
    coefficients: Coefficients | None = None,
    black_white: Coefficients | None = None,
) -> npt.NDArray[np.uint8]:
    """Convert full-resolution YCbCr to RGB.

    Parameters
    ----------
    samples
        Y, Cb and Cr along the last axis, shape (..., 3).
    coefficients, black_white
        Values of YCbCrCoefficients and ReferenceBlackWhite, or None when the tags are absent.

    Returns
    -------
    numpy.ndarray
        uint8 of the same shape.
    """
    luma, red_cr, green_cr, green_cb, blue_cb = _tables(coefficients or CCIR_601, black_white or FULL_RANGE)
    y, cb, cr = luma[samples[..., 0]], samples[..., 1], samples[..., 2]
    rgb = np.empty(samples.shape, np.int32)
    rgb[..., 0] = y + red_cr[cr]
    rgb[..., 1] = y + (green_cb[cb] + green_cr[cr]) // _FRACTION
    rgb[..., 2] = y + blue_cb[cb]
    return np.clip(rgb, 0, 255, out=rgb).astype(np.uint8)


@lru_cache(maxsize=16)
def _tables(coefficients: Coefficients, black_white: Coefficients) -> tuple[npt.NDArray[np.int64], ...]:
    """Return what each code of Y, Cr and Cb adds: luma, red, green (fixed point, twice), blue."""
    red, green, blue = coefficients
    codes = np.arange(256, dtype=np.float64)
    y = _decode(codes, black_white[0:2], 0.0, 255)
    cb = _decode(codes, black_white[2:4], 128.0, 127)
    cr = _decode(codes, black_white[4:6], 128.0, 127)
    red_cr, blue_cb = 2 - 2 * red, 2 - 2 * blue
    half = _FRACTION // 2
    return (
        y,
        (_fixed(red_cr) * cr + half) // _FRACTION,
        -_fixed(red * red_cr / green) * cr,
        -_fixed(blue * blue_cb / green) * cb + half,
        (_fixed(blue_cb) * cb + half) // _FRACTION,
    )


def _fixed(factor: float) -> int:
    return int(max(0.0, min(factor, 2.0)) * _FRACTION + 0.5)


def _decode(
    codes: npt.NDArray[np.float64], black_white: tuple[float, ...], zero: float, full: int
) -> npt.NDArray[np.int64]:
    """Scale codes so that black is 0 and white `full`; chroma codes are counted from `zero`."""
    black, white = black_white
    scaled = (codes - zero - int(black - zero)) * full / (white - black)
    return np.trunc(np.clip(scaled, -4096, 4096)).astype(np.int64)
