"""Decompressors on streams that are cut off, too long, concatenated, unverified or in the old bit order."""

from __future__ import annotations

import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.measure.machine import peak_memory
from tests.segment_cases import encode
from virtual_tiff.codecs import table
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.segment import decode_segment
from virtual_tiff.errors import DecodeError

COMPRESSIONS = [5, 8, 32946, 32773, 34925, 50000]
RAW = np.random.default_rng(0).integers(0, 20, 64 * 48, dtype="u1").tobytes()


def config_for(compression: int, last_rows: int | None = None) -> SegmentConfig:
    return SegmentConfig(compression=compression, columns=64, rows=48, last_rows=last_rows)


def decode(encoded: bytes, compression: int, last_rows: int | None = None) -> bytes:
    return decode_segment(encoded, config_for(compression, last_rows)).tobytes()


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_sound_stream(compression: int) -> None:
    assert decode(encode(RAW, compression), compression) == RAW


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("tail", [b"\0", b"\x05", b"\xff\xff\xff", bytes(9), b"\x28\xb5\x2f\xfd", RAW])
def test_bytes_behind_the_stream_are_ignored(compression: int, tail: bytes) -> None:
    assert decode(encode(RAW, compression) + tail, compression) == RAW


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("extra", [1, 64, 5000])
def test_more_bytes_than_a_full_segment_are_ignored(compression: int, extra: int) -> None:
    assert decode(encode(RAW + bytes(range(250)) * 20 + bytes(extra), compression), compression) == RAW


@pytest.mark.parametrize("compression", [5, 8, 32773, 34925])
def test_a_stream_that_is_cut_off_gives_its_whole_rows(compression: int) -> None:
    encoded = encode(RAW, compression)
    cut = encoded[: len(encoded) * 3 // 4]
    with pytest.raises(DecodeError) as caught:
        decode(cut, compression)
    assert caught.value.feature == "short-segment"
    found = table.kernel(compression)
    assert found is not None
    decompress: Any = found[1]
    octets = np.asarray(decompress(cut, SegmentConfig(compression=compression, columns=64, rows=48), len(RAW)))
    rows = octets.size // 64
    assert 10 <= rows < 48
    assert decode(cut, compression, last_rows=rows) == RAW[: rows * 64].ljust(len(RAW), b"\0")


@pytest.mark.parametrize("compression", [8, 32946])
def test_deflate_without_its_checksum_is_complete(compression: int) -> None:
    assert decode(zlib.compress(RAW)[:-4], compression) == RAW


def test_deflate_with_a_wrong_checksum_is_corrupt() -> None:
    with pytest.raises(DecodeError) as caught:
        decode(zlib.compress(RAW)[:-4] + b"abcd", 8)
    assert caught.value.feature == "corrupt-segment"


def test_deflate_without_a_zlib_header_is_corrupt() -> None:
    with pytest.raises(DecodeError) as caught:
        decode(zlib.compress(RAW)[2:-4], 8)
    assert caught.value.feature == "corrupt-segment"


@pytest.mark.parametrize("compression", [5, 8, 34925, 50000])
def test_garbage_is_corrupt(compression: int) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(b"\xa5" * 100, compression)
    assert caught.value.feature == "corrupt-segment"


@pytest.mark.parametrize("sizes", [[1000, 2072], [1, 1, 3070], [3072, 0]])
def test_zstd_in_several_frames(sizes: list[int]) -> None:
    parts = np.split(np.frombuffer(RAW, "u1"), np.cumsum(sizes)[:-1])
    encoded = b"".join(encode(part.tobytes(), 50000) for part in parts)
    skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    assert decode(encoded, 50000) == RAW
    assert decode(skippable + encoded + skippable + b"junk behind", 50000) == RAW


def test_zstd_frames_that_are_much_too_long_are_refused_in_little_memory() -> None:
    ends = [0] * 9999 + [1]
    blocks = b"".join((131072 << 3 | 2 | end).to_bytes(3, "little") + b"\0" for end in ends)
    bomb = b"\x28\xb5\x2f\xfd\x00\x58" + blocks  # 1.3 GB of run-length blocks
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError) as caught:
            decode(bomb, 50000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.feature == "corrupt-segment"
    assert peak < 10_000_000


@pytest.mark.parametrize("compression", [5, 8, 32773, 34925])
def test_long_streams_take_no_memory(compression: int) -> None:
    bomb = encode(bytes(30_000_000), compression) if compression != 32773 else b"\x81\0" * 240_000
    tracemalloc.start()
    try:
        assert decode(bomb, compression) == bytes(len(RAW))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def huge_dictionary(encoded: bytes) -> bytes:
    """Declare a dictionary of 4 GiB in the header of the first block of an .xz stream."""
    changed = bytearray(encoded)
    assert changed[14:16] == b"\x21\x01"  # LZMA2, one byte of properties
    changed[16] = 40
    end = 12 + 4 * changed[12]
    changed[end : end + 4] = zlib.crc32(changed[12:end]).to_bytes(4, "little")
    return bytes(changed)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux")
@pytest.mark.parametrize("tail", [b"", b"junk behind"])
def test_a_huge_dictionary_takes_no_memory(tail: bytes) -> None:
    """It is address space only: memory is touched as far as bytes are decoded."""
    encoded = huge_dictionary(encode(RAW, 34925)) + tail
    before = peak_memory()
    assert decode(encoded, 34925) == RAW
    assert peak_memory() - before < 20_000_000


def encode_old_lzw(raw: bytes) -> bytes:
    """Encode as before TIFF 6: the least significant bit first, and wider codes one code later."""
    codes: dict[bytes, int] = {bytes([i]): i for i in range(256)}
    bits = [(256, 9)]
    following, width, word = 258, 9, b""
    for value in raw:
        longer = word + bytes([value])
        if longer in codes:
            word = longer
            continue
        bits.append((codes[word], width))
        codes[longer] = following
        following += 1
        if following > 1 << width:
            width += 1
        if following >= 4094:
            bits.append((256, width))
            codes = {bytes([i]): i for i in range(256)}
            following, width = 258, 9
        word = bytes([value])
    bits += [(codes[word], width), (257, width)]
    number = position = 0
    for code, size in bits:
        number |= code << position
        position += size
    return number.to_bytes(-(-position // 8), "little")


@pytest.mark.parametrize("size", [1, 100, 3072])
def test_lzw_in_the_old_bit_order(size: int) -> None:
    encoded = encode_old_lzw(RAW[:size])
    assert encoded[:1] == b"\0"
    decoded = decode_segment(encoded, SegmentConfig(compression=5, columns=size, rows=1))
    assert decoded.tobytes() == RAW[:size]
