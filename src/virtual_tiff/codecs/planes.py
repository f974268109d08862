"""Put samples together whose bytes are stored in planes, the most significant bytes first.

By the vector code of c-blosc, which is several times faster than numpy: the planes are written into a chunk of blosc
whose blocks, one for each row, are shuffled but not compressed. That of c-blosc2 sums differences up besides.

References
----------
https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst
https://github.com/Blosc/c-blosc2/blob/main/README_CHUNK_FORMAT.rst
https://github.com/Blosc/c-blosc2/tree/main/plugins/filters/bytedelta
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Final

import imagecodecs
import numpy as np
import numpy.typing as npt

type Octets = npt.NDArray[np.uint8]

_SHUFFLED, _BITS_SHUFFLED, _NOT_SPLIT = 0x01, 0x04, 0x10
_EXTENDED: Final = _SHUFFLED | _BITS_SHUFFLED  # both: the header names filters
_SHUFFLE, _BYTEDELTA = 1, 35

_KEPT_BYTES: Final = 1 << 20
"""Threads keep no larger chunk than this."""

_VECTORIZED: Final = frozenset({4, 8}) if imagecodecs.BLOSC.available else frozenset[int]()
"""Bytes of the samples that blosc puts together faster than numpy does."""

_SUMMED: Final = frozenset({2, 4, 8})
_SUMMED_SAMPLES: Final = 192
"""Samples of a row from which on blosc2, which has more to do for each block, is the faster way to sum up."""


def join(planes: Octets, out: Octets) -> None:
    """Put samples together from their bytes.

    Parameters
    ----------
    planes
        Bytes of shape (rows, bytes of a sample, samples), the most significant ones first.
    out
        Contiguous memory for the bytes of little-endian samples, of shape (rows, bytes of a row).
    """
    width = planes.shape[1]
    if width in _VECTORIZED:
        _join_by_blosc(planes, out)
    elif width == 2:
        # contiguous passes with shifts are faster than strided copies
        words = out.view("<u2")
        words[...] = planes[:, 0]
        words <<= 8
        words |= planes[:, 1]
    else:
        samples = out.reshape(planes.shape[0], -1, width)
        for plane in range(width):
            samples[:, :, width - 1 - plane] = planes[:, plane]


def sums(width: int, samples: int) -> bool:
    """Whether :func:`sum_and_join` takes rows of so many samples of so many bytes, and is the faster way."""
    return width in _SUMMED and samples >= _SUMMED_SAMPLES and _has_bytedelta()


def sum_and_join(planes: Octets, out: Octets) -> None:
    """Sum up differences of bytes to the ones before them, through all planes of a row, and put samples together.

    Parameters
    ----------
    planes
        Differences, of shape (rows, bytes of a sample, samples), the most significant bytes first.
    out
        Contiguous memory for the bytes of little-endian samples, of shape (rows, bytes of a row).
    """
    width = planes.shape[1]
    chunk, rows = _chunk(_summing(width), planes.shape)
    rows = rows[: planes.shape[0]]
    rows[...] = planes[:, ::-1]
    # the filter starts each plane with 0, and not with the last byte of the plane before it
    last = np.add.reduce(planes[:, :-1], axis=2, dtype=np.uint8)
    np.add.accumulate(last, axis=1, out=last)
    rows[:, width - 2 :: -1, 0] += last
    _set_size(chunk, out.size)
    imagecodecs.blosc2_decode(chunk, numthreads=1, out=out.reshape(-1).data)


@lru_cache(maxsize=1)
def _has_bytedelta() -> bool:
    """Whether this build of blosc2 has the filter, and undoes it as we expect."""
    if not imagecodecs.BLOSC2.available:
        return False
    differences = (np.arange(2 * 4 * 40) * 37 % 251).astype(np.uint8).reshape(2, 4, 40)
    found, expected = np.empty((2, 2, 160), np.uint8)
    try:
        sum_and_join(differences, found)
    except imagecodecs.Blosc2Error:
        return False
    total = np.cumsum(differences.reshape(2, -1), axis=1, dtype=np.uint8).reshape(differences.shape)
    expected[...] = np.moveaxis(total[:, ::-1], 1, 2).reshape(2, -1)
    return np.array_equal(found, expected)


def _join_by_blosc(planes: Octets, out: Octets) -> None:
    chunk, rows = _chunk(_PLAIN, planes.shape)
    rows[: planes.shape[0]] = planes[:, ::-1]
    _set_size(chunk, out.size)
    imagecodecs.blosc_decode(chunk, numthreads=1, out=out.reshape(-1).data)


def _set_size(chunk: Octets, size: int) -> None:
    """Say how many bytes a chunk decodes to: one that was made for more rows ends earlier."""
    chunk[4:8].view("<u4")[0] = size


_PLAIN: Final = bytes((2, 1, _SHUFFLED | _NOT_SPLIT)).ljust(16, b"\0")
"""Header of a chunk of blosc: version of the format, version of the compressor (there is none), flags; sizes follow."""


def _summing(width: int) -> bytes:
    """Header of a chunk of blosc2, which ends with its filters and their parameters: six bytes for each of both."""
    filters, parameters = bytes((_SHUFFLE, _BYTEDELTA)), bytes((0, width))
    return bytes((5, 1, _EXTENDED | _NOT_SPLIT)).ljust(16, b"\0") + filters.ljust(8, b"\0") + parameters.ljust(8, b"\0")


class _Kept(threading.local):
    """The last chunk that a thread has made for each kind of header, with the shape of its planes."""

    def __init__(self) -> None:
        self.chunks: dict[bytes, tuple[tuple[int, ...], Octets, Octets]] = {}


_kept = _Kept()


def _chunk(header: bytes, shape: tuple[int, ...]) -> tuple[Octets, Octets]:
    """Return a chunk for at least so many rows, and its planes, of shape (rows, bytes, samples)."""
    kept = _kept.chunks.get(header)
    if kept is not None and kept[0][1:] == shape[1:] and kept[0][0] >= shape[0]:
        return kept[1:]
    chunk, rows = _make_chunk(header, *shape)
    if chunk.size <= _KEPT_BYTES:
        _kept.chunks[header] = shape, chunk, rows
    return chunk, rows


def _make_chunk(header: bytes, count: int, width: int, samples: int) -> tuple[Octets, Octets]:
    """Make a chunk; a block is the number of its bytes and these, and is not compressed when they are all."""
    row_bytes = width * samples
    first, step = len(header) + 4 * count, 4 + row_bytes
    chunk = np.empty(first + count * step, np.uint8)
    chunk[: len(header)] = np.frombuffer(header, np.uint8)
    chunk[3] = width
    chunk[4:16].view("<u4")[...] = count * row_bytes, row_bytes, chunk.size
    chunk[len(header) : first].view("<u4")[...] = first + step * np.arange(count)
    blocks = chunk[first:].reshape(count, step)
    blocks[:, :4] = np.array([row_bytes], "<u4").view(np.uint8)
    planes: Octets = np.lib.stride_tricks.as_strided(blocks[:, 4:], (count, width, samples), (step, samples, 1))
    return chunk, planes
