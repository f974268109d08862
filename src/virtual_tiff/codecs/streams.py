"""Byte-stream decompressors: Deflate, LZW, PackBits, LZMA, ZSTD, and none.

Each returns the bytes in one buffer of the expected size, or a shorter part of it when the stream ends
early. What follows the expected bytes is ignored, as libtiff does. The frequent, well-formed stream takes
one C call that writes straight into the buffer; only when that call refuses is the stream looked at
leniently.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Buffer, Callable, Sized
from typing import Final

import imagecodecs
import numpy as np
import numpy.typing as npt

from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.errors import DecodeError

type Octets = npt.NDArray[np.uint8]

_OVERLONG_BYTES: Final = 1 << 20
"""Frames may hold four times the expected bytes and this; beyond that they are taken for hostile."""

_PART_BYTES: Final = 1 << 16

_SCRATCH_BYTES: Final = 1 << 24
"""Threads keep no more memory than this."""


def store(encoded: Buffer, _config: SegmentConfig, expected: int) -> Octets:
    """Return the bytes of an uncompressed segment, without a copy."""
    return np.frombuffer(encoded, np.uint8)[:expected]


class _Scratch(threading.local):
    """Memory that a thread keeps: the kernel takes its time to hand out fresh pages."""

    octets: Octets = np.empty(0, np.uint8)


_scratch = _Scratch()


def _buffer(size: int, config: SegmentConfig) -> Octets:
    """Return memory to decompress into; the thread's own when predictor 3 moves the samples on anyway."""
    if config.predictor != 3 or size > _SCRATCH_BYTES:
        return np.empty(size, np.uint8)
    if _scratch.octets.size < size:
        _scratch.octets = np.empty(size, np.uint8)
    return _scratch.octets[:size]


def _decompress(decode: Callable[..., Sized], encoded: Buffer, config: SegmentConfig, size: int) -> Octets:
    """Let imagecodecs write into a buffer, and return the part that it has written to."""
    out = _buffer(size, config)
    written = decode(encoded, out=out.data)
    return out[: len(written)]


def inflate(encoded: Buffer, config: SegmentConfig, expected: int) -> Octets:
    """Decompress a zlib stream (RFC 1950).

    A stream that is cut off gives what it holds; bytes behind the expected ones are neither decoded nor
    verified.
    """
    try:
        return _decompress(imagecodecs.deflate_decode, encoded, config, expected)
    except imagecodecs.DeflateError:
        return np.frombuffer(zlib.decompressobj().decompress(encoded, expected), np.uint8)


def stream_size(config: SegmentConfig, encoded: Buffer) -> int | None:
    """Return how many bytes a stream that decodes holds; None for images.

    Of those beyond a full segment only Deflate's are counted, up to a limit.

    Raises
    ------
    DecodeError
        ``corrupt-segment`` when what follows in a Deflate stream is damaged, which its checksum tells.
    """
    decode = STREAMS.get(config.compression)
    if decode is None:
        return None
    octets = bytes(encoded) if config.fill_order == 1 else imagecodecs.bitorder_decode(bytes(encoded))
    expected = config.packed_bytes
    found = min(len(memoryview(decode(octets, config, expected))), expected)
    return found + _surplus(octets, expected) if decode is inflate and found == expected else found


def _surplus(encoded: Buffer, expected: int) -> int:
    """Return how many bytes follow the expected ones."""
    stream = zlib.decompressobj()
    more, part = 0, max(expected // 8, _PART_BYTES)
    try:
        stream.decompress(encoded, expected)
        while more < 3 * expected + _OVERLONG_BYTES:
            size = len(stream.decompress(stream.unconsumed_tail, part))
            if not size:
                break
            more += size
    except zlib.error as error:
        msg = f"a Deflate stream of more than {expected} bytes is damaged: {error}"
        raise DecodeError(msg, feature="corrupt-segment") from error
    return more


def lzw(encoded: Buffer, config: SegmentConfig, expected: int) -> Octets:
    """Decompress LZW in either bit order: the old one (before TIFF 6) starts with the bytes 0 and 1."""
    return _decompress(imagecodecs.lzw_decode, encoded, config, expected)


def packbits(encoded: Buffer, config: SegmentConfig, expected: int) -> Octets:
    """Decompress PackBits (TIFF 6, section 9)."""
    try:
        return _decompress(imagecodecs.packbits_decode, encoded, config, expected)
    except imagecodecs.PackbitsError:
        return _packbits_leniently(bytes(encoded), expected)


def _packbits_leniently(encoded: bytes, expected: int) -> Octets:
    """Decompress run by run until there are enough bytes, or the stream ends."""
    out = bytearray()
    position, end = 0, len(encoded)
    while position < end and len(out) < expected:
        count = encoded[position]
        if count < 128:
            out += encoded[position + 1 : position + 2 + count]
            position += 2 + count
        elif count == 128:
            position += 1
        else:
            out += encoded[position + 1 : position + 2] * (257 - count)
            position += 2
    return np.frombuffer(out, np.uint8)[:expected]


def unxz(encoded: Buffer, config: SegmentConfig, expected: int) -> Octets:
    """Decompress an .xz stream."""
    try:
        return _decompress(imagecodecs.lzma_decode, encoded, config, expected)
    except imagecodecs.LzmaError:
        # some bytes behind the stream are taken for another stream
        import lzma

        return np.frombuffer(lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(encoded, expected), np.uint8)


def zstd(encoded: Buffer, config: SegmentConfig, expected: int) -> Octets:
    """Decompress Zstandard frames (RFC 8878), one behind the other."""
    try:
        return _decompress(imagecodecs.zstd_decode, encoded, config, expected)
    except imagecodecs.ZstdError:
        end, bound = _zstd_extent(memoryview(encoded).cast("B"))
        if end == 0 or bound > 4 * expected + _OVERLONG_BYTES:
            raise
        frames = memoryview(encoded)[:end]
        return _decompress(imagecodecs.zstd_decode, frames, config, max(bound, expected))[:expected]


def is_exact(compression: int, encoded: Buffer, expected: int) -> bool:
    """Whether strict decoders read a Deflate or ZSTD segment: whole, of the expected size, nothing behind it."""
    try:
        if compression == _ZSTD:
            return len(imagecodecs.zstd_decode(encoded, out=expected)) == expected
        stream = zlib.decompressobj()
        size = len(stream.decompress(encoded, expected + 1))
    except (imagecodecs.ZstdError, zlib.error):
        return False
    return size == expected and stream.eof and not stream.unused_data


def _zstd_extent(encoded: memoryview) -> tuple[int, int]:
    """Return where the last whole frame ends, and an upper bound of the bytes that the frames decode to."""
    end = bound = 0
    while len(encoded) - end >= 8:
        magic = int.from_bytes(encoded[end : end + 4], "little")
        if magic & 0xFFFFFFF0 == 0x184D2A50:  # a skippable frame
            size, following = 0, end + 8 + int.from_bytes(encoded[end + 4 : end + 8], "little")
        elif magic == 0xFD2FB528:
            size, following = _zstd_frame(encoded, end + 4)
        else:
            break
        if following > len(encoded):
            break
        end, bound = following, bound + size
    return end, bound


def _zstd_frame(encoded: memoryview, position: int) -> tuple[int, int]:
    """Return the size that the frame at this descriptor decodes to at most, and where it ends."""
    descriptor = encoded[position]
    single, checksum = descriptor >> 5 & 1, descriptor >> 2 & 1
    width = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    position += 1 + (not single) + (0, 1, 2, 4)[descriptor & 3]
    declared = int.from_bytes(encoded[position : position + width], "little") + (256 if width == 2 else 0)
    position += width
    bound, last = 0, False
    while not last and position + 3 <= len(encoded):
        header = int.from_bytes(encoded[position : position + 3], "little")
        last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        position += 3 + (1 if kind == 1 else size)
        bound += size if kind < 2 else 1 << 17
    if not last:
        return 0, len(encoded) + 1
    return (declared if width else bound), position + 4 * checksum


_ZSTD: Final = 50000

STREAMS: Final[dict[int, Callable[[Buffer, SegmentConfig, int], Octets]]] = {
    1: store,
    5: lzw,
    8: inflate,
    32773: packbits,
    32946: inflate,
    34925: unxz,
    _ZSTD: zstd,
}
"""Compression -> decompressor."""
