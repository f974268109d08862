"""Pad a short last strip to a full chunk and encode it anew, by the same core codec."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from numcodecs.zstd import Zstd

from virtual_tiff.codecs.segment import decode_segment
from virtual_tiff.errors import DecodeError, FormatError
from virtual_tiff.layout import SegmentLayout

_LEVEL: Final = 6
_ZSTD: Final = Zstd(level=3)


def _same(plain: bytes) -> bytes:
    return plain


_ENCODERS: Final[dict[int, Callable[[bytes], bytes]]] = {
    1: _same,
    8: lambda plain: zlib.compress(plain, _LEVEL),
    32946: lambda plain: zlib.compress(plain, _LEVEL),
    50000: lambda plain: bytes(_ZSTD.encode(plain)),
}


def padded_chunk(layout: SegmentLayout, encoded: bytes) -> bytes:
    """Return the encoded bytes of a full chunk whose first rows are those of a short strip; the rest is zeros.

    Raises
    ------
    FormatError
        ``truncated`` when the strip does not decode to the rows that it must have.
    """
    # the bytes stay in the order of the file: the chain swaps them
    config = replace(layout.config, rows=layout.last_rows or layout.rows, last_rows=None, byte_order="little")
    try:
        plain = decode_segment(encoded, config).tobytes()
    except DecodeError as error:
        found = f"the last strip does not decode ({error.found})"
        raise FormatError(found, feature="truncated", url=layout.url, ifd=layout.ifd) from error
    return _ENCODERS[layout.compression](plain.ljust(layout.rows * layout.config.row_bytes, b"\0"))
