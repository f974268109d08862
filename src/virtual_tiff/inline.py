"""Pad a short last strip to a full chunk and encode it anew, by the same core codec."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

from numcodecs.zstd import Zstd

from virtual_tiff.errors import FormatError
from virtual_tiff.layout import SegmentLayout

_LEVEL: Final = 6
_ZSTD: Final = Zstd(level=3)


def _zlib_decode(encoded: bytes) -> bytes:
    return zlib.decompressobj().decompress(encoded)


def _same(plain: bytes) -> bytes:
    return plain


_CODECS: Final[dict[int, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]]] = {
    1: (_same, _same),
    8: (_zlib_decode, lambda plain: zlib.compress(plain, _LEVEL)),
    32946: (_zlib_decode, lambda plain: zlib.compress(plain, _LEVEL)),
    50000: (lambda encoded: bytes(_ZSTD.decode(encoded)), lambda plain: bytes(_ZSTD.encode(plain))),
}


def padded_chunk(layout: SegmentLayout, encoded: bytes) -> bytes:
    """Return the encoded bytes of a full chunk whose first rows are those of a short strip; the rest is zeros.

    Raises
    ------
    FormatError
        ``truncated`` when the strip does not decode to the rows that it must have.
    """
    decode, encode = _CODECS[layout.compression]
    try:
        plain = decode(encoded)
    except (zlib.error, RuntimeError, ValueError) as error:
        found = f"the last strip does not decode ({error})"
        raise FormatError(found, feature="truncated", url=layout.url, ifd=layout.ifd) from error
    needed = (layout.last_rows or layout.rows) * layout.config.row_bytes
    if len(plain) < needed:
        found = f"the last strip decodes to {len(plain)} bytes, its rows need {needed}"
        raise FormatError(found, feature="truncated", url=layout.url, ifd=layout.ifd)
    full = layout.rows * layout.config.row_bytes
    return encode(plain[:full].ljust(full, b"\0"))
