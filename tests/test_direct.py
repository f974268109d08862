"""Segments that one compiled call decodes: the same bytes and the same errors as without it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.segment_cases import encode, outcome, outcome_by_libraries
from virtual_tiff.codecs import compiled, direct, workers
from virtual_tiff.codecs.compiled import Recipe
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.segment import decode_segment
from virtual_tiff.errors import DecodeError

pytestmark = pytest.mark.skipif(compiled.KERNELS is None, reason="there was no C compiler when this was installed")

type Octets = npt.NDArray[np.uint8]

GUARD = 64


SAMPLES = st.sampled_from(
    [(8, 1), (16, 1), (32, 1), (64, 1), (8, 2), (16, 2), (32, 2), (16, 3), (24, 3), (32, 3), (64, 3), (64, 6), (128, 6)]
)
CONFIGS = st.builds(
    lambda samples, **others: SegmentConfig(bits_per_sample=(samples[0],), sample_format=samples[1], **others),
    samples=SAMPLES,
    compression=st.sampled_from([5, 8, 32946, 50000]),
    columns=st.integers(1, 40).map(lambda columns: 4 * columns),
    rows=st.integers(2, 30),
    last_rows=st.sampled_from([None, 1]),
    byte_order=st.sampled_from(["little", "big"]),
    predictor=st.sampled_from([1, 2, 3, 34892, 34893, 34894, 34895]),
    fill_order=st.sampled_from([1, 1, 1, 2]),
    chunk=st.sampled_from([None, "planes", "planes", "pixels"]),
).flatmap(lambda config: st.integers(1, 20).map(lambda samples: _with(config, samples=samples)))


def _with(config: SegmentConfig, **changes: Any) -> SegmentConfig:
    return SegmentConfig.from_json({**config.to_json(), **changes})


@settings(max_examples=400, deadline=None)
@given(
    config=CONFIGS,
    seed=st.integers(0, 2**32),
    values=st.integers(1, 256),
    damage=st.sampled_from(["none", "none", "cut", "byte", "more", "surplus", "one row", "empty"]),
)
def test_the_same_as_by_libraries(config: SegmentConfig, seed: int, values: int, damage: str) -> None:
    random = np.random.default_rng(seed)
    size = config.row_bytes if damage == "one row" else config.packed_bytes
    raw = random.integers(0, values, size, np.uint8).tobytes()
    encoded = encode(raw + bytes(7) if damage == "surplus" else raw, config.compression)
    if damage == "cut":
        encoded = encoded[: int(random.integers(len(encoded)))]
    elif damage == "byte":
        at = int(random.integers(len(encoded)))
        encoded = encoded[:at] + bytes([encoded[at] ^ int(random.integers(1, 256))]) + encoded[at + 1 :]
    elif damage == "more":
        encoded += random.integers(0, 256, 9, np.uint8).tobytes()
    elif damage == "empty":
        encoded = b""
    assert outcome(encoded, config) == outcome_by_libraries(encoded, config)


@pytest.mark.parametrize("compression", [5, 8, 32946, 50000])
@pytest.mark.parametrize("predictor", [1, 2, 3])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("chunk", ["planes", "pixels"])
def test_whole_segments_are_decoded_directly(compression: int, predictor: int, samples: int, chunk: Any) -> None:
    """As tifffile encodes the differences."""
    pixels = np.linspace(0, 1, 64 * 48 * samples, dtype="f4").reshape(48, 64, samples)
    bits: dict[str, Any] = {"bits_per_sample": (32,), "sample_format": 3, "columns": 64, "rows": 48}
    config = SegmentConfig(compression=compression, predictor=predictor, samples=samples, chunk=chunk, **bits)
    apply = tifffile.TIFF.PREDICTORS[predictor]
    raw = pixels if predictor == 1 else apply(pixels if predictor == 3 else pixels.view("u4"), axis=-2)
    encoded = np.frombuffer(encode(raw.tobytes(), compression), np.uint8)
    decoded = direct.decode(encoded, direct.recipe(config))
    assert decoded is not None
    expected = np.moveaxis(pixels, -1, 0) if chunk == "planes" else pixels
    np.testing.assert_array_equal(decoded.view("<f4").reshape(expected.shape), expected)


@pytest.mark.parametrize(
    "unusual",
    [
        {"compression": 1},
        {"compression": 32773},
        {"fill_order": 2},
        {"byte_order": "big"},
        {"bits_per_sample": 12},
        {"bits_per_sample": [16, 8, 8]},
        {"photometric": 6, "subsampling": [2, 2]},
        {"photometric": 6, "color": "rgb"},
        {"rows": 1 << 62, "columns": 1 << 62},
    ],
)
def test_other_segments_are_left_to_others(unusual: dict[str, Any]) -> None:
    plain = {"compression": 8, "columns": 8, "rows": 8, "samples": 3, "bits_per_sample": 16}
    assert direct.recipe(SegmentConfig.from_json(plain)) is not None
    assert direct.recipe(SegmentConfig.from_json({**plain, **unusual})) is None


def guarded_lzw(encoded: bytes, expected: int) -> bytes | None:
    """What the kernel makes of a stream, between bytes that nobody may touch."""
    assert compiled.KERNELS is not None
    memory = np.full(expected + 2 * GUARD, 0xA5, np.uint8)
    how = Recipe(rows=1, row_bytes=expected, compression=direct.LZW, predictor=1)
    out = memory[GUARD:-GUARD]
    is_decoded = compiled.KERNELS.segment(how, np.frombuffer(encoded, np.uint8), out)
    assert (memory[:GUARD] == 0xA5).all()
    assert (memory[-GUARD:] == 0xA5).all()
    return out.tobytes() if is_decoded else None


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 30_000),
    values=st.integers(1, 256),
    run=st.integers(1, 60),
    part=st.floats(0, 1),
)
def test_lzw_streams(seed: int, size: int, values: int, run: int, part: float) -> None:
    """Whole ones, and their beginnings."""
    random = np.random.default_rng(seed)
    decoded = np.repeat(random.integers(0, values, size // run + 1, np.uint8), run)[:size].tobytes()
    encoded = bytes(imagecodecs.lzw_encode(decoded))
    assert guarded_lzw(encoded, size) == decoded
    assert guarded_lzw(encoded, size + 1) is None
    beginning = max(1, int(part * size))
    assert guarded_lzw(encoded, beginning) in (None, decoded[:beginning])


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 3000), values=st.integers(1, 256), changes=st.integers(1, 4))
def test_damaged_lzw_streams(seed: int, size: int, values: int, changes: int) -> None:
    """What is accepted is what imagecodecs reads."""
    random = np.random.default_rng(seed)
    encoded = bytearray(imagecodecs.lzw_encode(random.integers(0, values, size, np.uint8).tobytes()))
    for at in random.integers(0, len(encoded), changes):
        encoded[at] = int(random.integers(256))
    found = guarded_lzw(bytes(encoded), size)
    if found is not None:
        assert found == imagecodecs.lzw_decode(bytes(encoded), out=size)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 9])
def test_lzw_of_hardly_any_bytes(size: int) -> None:
    """No stream is so short; a byte takes 9 bits for clearing the table and 9 of its own."""
    assert guarded_lzw(b"\x80" * size, 5) is None


def test_memory_of_another_size_is_refused() -> None:
    assert compiled.KERNELS is not None
    how = Recipe(rows=4, row_bytes=8, compression=8, predictor=1)
    with pytest.raises(ValueError, match="31 bytes of memory for a segment of 32"):
        compiled.KERNELS.segment(how, np.zeros(9, np.uint8), np.zeros(31, np.uint8))


@pytest.fixture
def _forgets() -> Iterator[None]:
    """What decompresses is asked for again, before and afterwards: it is known to the library, which is loaded once."""
    direct._decompressed_by.cache_clear()
    yield
    direct._decompressed_by.cache_clear()


HIDDEN = {
    "imagecodecs._shared": ("none",) * 2,
    "imagecodecs.no_such": ("none",) * 2,
    "imagecodecs._zstd": ("none",) * 8,
}
"""As many functions of each library as there would be."""


@pytest.mark.usefixtures("_forgets")
def test_libraries_that_hide_their_functions_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as imagecodecs has them that is linked to them for good."""
    monkeypatch.setattr(direct, "_LIBRARIES", HIDDEN)
    config = SegmentConfig(compression=8, columns=8, rows=8)
    how = direct.recipe(config)
    assert how is not None
    encoded = np.frombuffer(encode(bytes(range(64)), 8), np.uint8)
    assert direct.kernels_for(how, encoded) is None
    assert direct.decode(encoded, how) is None
    assert compiled.KERNELS is not None
    assert not compiled.KERNELS.segment(how, encoded, np.empty(64, np.uint8))
    assert decode_segment(encoded, config).tobytes() == bytes(range(64))
    assert direct.kernels_for(Recipe(compression=direct.LZW), encoded) is compiled.KERNELS


@pytest.mark.parametrize("encoded", [np.zeros(0, np.uint8), np.zeros((40, 2), np.uint8)[:, 0]])
def test_bytes_that_are_none_or_apart_are_left_to_others(encoded: Octets) -> None:
    how = direct.recipe_of_stream(direct.DEFLATE, 1 << 16)
    assert direct.decode(encoded, how) is None
    assert asyncio.run(workers.decode(encoded, how)) is None
    with pytest.raises(DecodeError):
        decode_segment(encoded, SegmentConfig(compression=8, columns=256, rows=256))
