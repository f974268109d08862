"""Undo the differencing of predictors, row by row, over the full width of the encoded segment.

References
----------
TIFF 6, section 14 (predictor 2); TIFF Technical Note 3 (predictor 3); DNG 1.5 to 1.7, Predictor (34892 to 34895).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import imagecodecs
import numpy as np
import numpy.typing as npt

from virtual_tiff.codecs import compiled, planes
from virtual_tiff.codecs.config import SegmentConfig

type Octets = npt.NDArray[np.uint8]

INTEGER_BITS: Final = frozenset({8, 16, 32, 64})
FLOAT_BITS: Final = frozenset({16, 24, 32, 64})

HORIZONTAL: Final[Mapping[int, int]] = {2: 1, 34892: 2, 34893: 4}
"""Predictors on whole samples: how many pixels to the left lies the one that a sample is a difference to."""

FLOATING_POINT: Final[Mapping[int, int]] = {3: 1, 34894: 2, 34895: 4}
"""Predictors on planes of bytes: likewise."""

DISTANCES: Final[Mapping[int, int]] = {**HORIZONTAL, **FLOATING_POINT}

_INTEGERS: Final = frozenset({1, 2, 4})
"""Sample formats that DNG's horizontal predictors are for; floats have predictors of their own there."""

_BLOCK_BYTES: Final = 1 << 19
"""What stays in the cache between the two steps of predictor 3."""


def allows(config: SegmentConfig) -> bool:
    """Whether the predictor is defined for these samples, as libtiff defines 2 and 3, and DNG the others.

    Adobe's SDK takes rows for shorter than they are when their pixels are no whole multiple of the distance, DNG's
    text does not: those are refused.
    """
    if config.predictor == 1:
        return True
    distance = DISTANCES.get(config.predictor)
    if distance is None or len(config.bits_per_sample) > 1 or config.is_subsampled or config.columns % distance:
        return False
    bits = config.bits_per_sample[0]
    if config.predictor in HORIZONTAL:
        return bits in INTEGER_BITS and (distance == 1 or config.sample_format in _INTEGERS)
    return config.sample_format == 3 and bits in FLOAT_BITS


def undo(rows: Octets, config: SegmentConfig) -> Octets:
    """Undo the predictor of a configuration: bytes of shape (rows, row bytes), which are overwritten."""
    if config.predictor in HORIZONTAL:
        return undo_horizontal(rows, config)
    return undo_floating_point(rows, config)


def undo_horizontal(rows: Octets, config: SegmentConfig) -> Octets:
    """Undo predictor 2, 34892 or 34893.

    Every sample is taken as an unsigned integer of its width, in the file's byte order, whatever its sample
    format (so that a complex sample of two 32-bit floats is one 64-bit integer), and becomes the sum of
    itself and all samples of its band to the left; of 34892 and 34893 of those that are a multiple of 2 or 4 pixels
    away.

    Parameters
    ----------
    rows
        Contiguous writable bytes of shape (rows, row bytes); they are overwritten.
    config
        The configuration of the segment.

    Returns
    -------
    numpy.ndarray
        Little-endian samples as uint8 of the same shape.
    """
    width = config.bits_per_sample[0] // 8
    distance = config.samples * HORIZONTAL[config.predictor]
    big = config.byte_order == "big" and width > 1
    kernels = compiled.KERNELS
    if kernels is not None and kernels.horizontal(rows, width, distance * width, big=big):
        return rows
    words = rows.view(f"<u{width}")
    if big:
        # numpy swaps into a new array several times faster than in place
        words = rows.view(f">u{width}").astype(words.dtype)
    _accumulate(words, distance)
    return words.view(np.uint8)


def undo_floating_point(rows: Octets, config: SegmentConfig) -> Octets:
    """Undo predictor 3, 34894 or 34895.

    A row is stored as planes of bytes, that of the most significant bytes first, whatever the byte order of
    the file; and each byte is a difference to the one that lies as many bytes to the left as there are
    samples in a pixel, or in 2 or 4 of them.

    Parameters
    ----------
    rows
        Contiguous writable bytes of shape (rows, row bytes); used as scratch.
    config
        The configuration of the segment.

    Returns
    -------
    numpy.ndarray
        Little-endian samples as uint8 of shape (rows, row bytes), in new memory.
    """
    width = config.bits_per_sample[0] // 8
    count, row_bytes = rows.shape
    out = np.empty((count, row_bytes), np.uint8)
    distance = config.samples * FLOATING_POINT[config.predictor]
    kernels = compiled.KERNELS
    if kernels is not None and kernels.floating_point(rows, out, width, distance):
        return out
    step = max(1, _BLOCK_BYTES // row_bytes)
    at_once = distance == 1 and planes.sums(width, row_bytes // width)
    for start in range(0, count, step):
        block = rows[start : start + step]
        apart = block.reshape(block.shape[0], width, -1)
        if at_once:
            planes.sum_and_join(apart, out[start : start + step])
            continue
        _accumulate(block, distance)
        planes.join(apart, out[start : start + step])
    return out


def _accumulate(words: npt.NDArray[np.unsignedinteger], distance: int) -> None:
    """Replace words of shape (rows, words) by the running sums of those that are `distance` words apart, in place."""
    if distance == 1:
        imagecodecs.delta_decode(words, axis=-1, out=words)
        return
    pixels = words.reshape(words.shape[0], -1, distance)
    imagecodecs.delta_decode(pixels, axis=1, out=pixels)
