"""ThunderScan (32809, 4 bits) and NeXT (32766, 2 bits): the run lengths of two early scanners.

References
----------
libtiff's ``tif_thunder.c`` and ``tif_next.c`` are the only definition of both.
"""

from __future__ import annotations

from collections.abc import Buffer, Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from virtual_tiff.codecs import libtiff
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.errors import DecodeError

NEXT, THUNDERSCAN = 32766, 32809
_BITS: Final = {NEXT: 2, THUNDERSCAN: 4}


def decode_nibbles(segment: Buffer, config: SegmentConfig) -> npt.NDArray[np.uint8]:
    """Decode a segment of one sample of 4 (ThunderScan) or 2 (NeXT) bits.

    Returns
    -------
    numpy.ndarray
        uint8 samples of shape (rows or last_rows, columns, 1).

    Raises
    ------
    DecodeError
        ``corrupt-segment``, ``short-segment`` for an empty segment, ``codec-config`` for other samples.
    """
    if config.bits_per_sample != (_BITS[config.compression],) or config.samples != 1:
        msg = f"compression {config.compression} with {config.samples} samples of {config.bits_per_sample} bits"
        raise DecodeError(msg, feature="codec-config")
    return libtiff.decode_strip(segment, config)


STREAMS: Final[dict[int, Callable[[Buffer, SegmentConfig, int], Any]]] = {}
IMAGES: Final[dict[int, Callable[[Buffer, SegmentConfig], npt.NDArray[Any]]]] = dict.fromkeys(
    (NEXT, THUNDERSCAN), decode_nibbles
)
