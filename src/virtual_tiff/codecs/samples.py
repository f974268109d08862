"""What one sample is: from BitsPerSample and SampleFormat to the data type that it decodes to."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

import numpy as np


class SampleFormat(IntEnum):
    """Values of the SampleFormat tag (TIFF 6, section 19)."""

    UINT = 1
    INT = 2
    FLOAT = 3
    UNDEFINED = 4
    COMPLEX_INT = 5
    COMPLEX_FLOAT = 6


_FLOATS = {16: "f2", 24: "f4", 32: "f4", 64: "f8"}
_COMPLEX_INTS = {16: "c8", 32: "c8", 64: "c16"}
_COMPLEX_FLOATS = {32: "c8", 64: "c8", 128: "c16"}


@lru_cache(maxsize=256)
def sample_dtype(bits: int, sample_format: int) -> np.dtype[np.generic] | None:
    """Return the data type that samples decode to, in native byte order, or None when there is none.

    1-bit samples are bool; 2 to 31 bits widen to the next integer of the same sign; 24-bit floats widen to
    float32; complex integers to the complex float that holds them exactly.
    """
    if sample_format in (SampleFormat.UINT, SampleFormat.UNDEFINED):
        if bits == 1:
            return np.dtype("?")
        if 1 < bits <= 32:
            return np.dtype("u1" if bits <= 8 else "u2" if bits <= 16 else "u4")
        return np.dtype("u8") if bits == 64 else None
    if sample_format == SampleFormat.INT:
        if 1 < bits <= 32:
            return np.dtype("i1" if bits <= 8 else "i2" if bits <= 16 else "i4")
        return np.dtype("i8") if bits == 64 else None
    table = {
        SampleFormat.FLOAT: _FLOATS,
        SampleFormat.COMPLEX_INT: _COMPLEX_INTS,
        SampleFormat.COMPLEX_FLOAT: _COMPLEX_FLOATS,
    }.get(SampleFormat(sample_format) if 1 <= sample_format <= 6 else SampleFormat.UNDEFINED, {})
    code = table.get(bits)
    return None if code is None else np.dtype(code)


@lru_cache(maxsize=256)
def pixel_dtype(bits: tuple[int, ...], sample_format: int) -> np.dtype[np.generic] | None:
    """Return the data type that holds the samples of all bands: that of the deepest band."""
    dtypes = [sample_dtype(depth, sample_format) for depth in set(bits)]
    known = [dtype for dtype in dtypes if dtype is not None]
    if not known or len(known) < len(dtypes):
        return None
    return max(known, key=lambda dtype: dtype.itemsize)
