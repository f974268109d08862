"""Undo the differencing of predictors 2 and 3, row by row, over the full width of the encoded segment.

References
----------
TIFF 6, section 14 (predictor 2); TIFF Technical Note 3 (predictor 3).
"""

from __future__ import annotations

from typing import Final

import imagecodecs
import numpy as np
import numpy.typing as npt

from virtual_tiff.codecs import planes
from virtual_tiff.codecs.config import SegmentConfig

type Octets = npt.NDArray[np.uint8]

INTEGER_BITS: Final = frozenset({8, 16, 32, 64})
FLOAT_BITS: Final = frozenset({16, 24, 32, 64})

_BLOCK_BYTES: Final = 1 << 19
"""What stays in the cache between the two steps of predictor 3."""


def allows(config: SegmentConfig) -> bool:
    """Whether the predictor is defined for these samples, as libtiff defines it."""
    if config.predictor == 1:
        return True
    if len(config.bits_per_sample) > 1 or config.is_subsampled:
        return False
    bits = config.bits_per_sample[0]
    if config.predictor == 2:
        return bits in INTEGER_BITS
    return config.predictor == 3 and config.sample_format == 3 and bits in FLOAT_BITS


def undo_horizontal(rows: Octets, config: SegmentConfig) -> Octets:
    """Undo predictor 2.

    Every sample is taken as an unsigned integer of its width, in the file's byte order, whatever its sample
    format (so that a complex sample of two 32-bit floats is one 64-bit integer), and becomes the sum of
    itself and all samples of its band to the left.

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
    words = rows.view(f"<u{width}")
    if config.byte_order == "big" and width > 1:
        # numpy swaps into a new array several times faster than in place
        words = rows.view(f">u{width}").astype(words.dtype)
    _accumulate(words, config.samples)
    return words.view(np.uint8)


def undo_floating_point(rows: Octets, config: SegmentConfig) -> Octets:
    """Undo predictor 3.

    A row is stored as planes of bytes, that of the most significant bytes first, whatever the byte order of
    the file; and each byte is a difference to the one that lies as many bytes to the left as there are
    samples in a pixel.

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
    step = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, count, step):
        block = rows[start : start + step]
        _accumulate(block, config.samples)
        planes.join(block.reshape(block.shape[0], width, -1), out[start : start + step])
    return out


def _accumulate(words: npt.NDArray[np.unsignedinteger], samples: int) -> None:
    """Replace words of shape (rows, columns * samples) by their running sums per row and sample, in place."""
    if samples == 1:
        imagecodecs.delta_decode(words, axis=-1, out=words)
        return
    pixels = words.reshape(words.shape[0], -1, samples)
    imagecodecs.delta_decode(pixels, axis=1, out=pixels)
