"""CCITT fax: modified Huffman (2), T.4 (3) and T.6 (4).

The codes of white and black runs always decode to 0 and 1: PhotometricInterpretation says what they look
like, and is left to the reader, as with every other compression.

Lines that end on words (32771) are left out: libtiff loses its place in them, and no other decoder knows them.

References
----------
TIFF 6, sections 10 (modified Huffman) and 11 (T.4 and T.6); ITU-T T.4 and T.6.
"""

from __future__ import annotations

from collections.abc import Buffer, Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from virtual_tiff.codecs import libtiff
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.errors import DecodeError

RLE, T4, T6 = 2, 3, 4


def decode_fax(segment: Buffer, config: SegmentConfig) -> npt.NDArray[np.bool_]:
    """Decode a bilevel segment.

    FillOrder is undone here; T4Options say whether T.4 lines are two-dimensional and end on bytes.

    Returns
    -------
    numpy.ndarray
        bool samples of shape (rows or last_rows, columns, 1): 0 for the runs that the codes call white.

    Raises
    ------
    DecodeError
        ``corrupt-segment``, ``short-segment`` for an empty segment, ``codec-config`` for samples of other
        than 1 bit.
    """
    if config.bits_per_sample != (1,) or config.samples != 1:
        msg = f"{config.samples} samples of {config.bits_per_sample} bits in a CCITT segment"
        raise DecodeError(msg, feature="codec-config")
    return libtiff.decode_strip(segment, config)


STREAMS: Final[dict[int, Callable[[Buffer, SegmentConfig, int], Any]]] = {}
IMAGES: Final[dict[int, Callable[[Buffer, SegmentConfig], npt.NDArray[Any]]]] = dict.fromkeys((RLE, T4, T6), decode_fax)
