"""Predictors against encoders written here, and against GDAL for what no encoder at hand writes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.segment_cases import ask_gdal, ask_us, encode
from virtual_tiff.codecs import planes, predictor
from virtual_tiff.codecs.config import SegmentConfig

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

type Order = Literal["little", "big"]


def difference(words: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Encode unsigned words (row, column, sample) by predictor 2."""
    encoded = words.copy()
    encoded[:, 1:] -= words[:, :-1]
    return encoded


def difference_planes(floats: npt.NDArray[Any]) -> bytes:
    """Encode floats (row, column, sample) by predictor 3, byte by byte as Technical Note 3 says."""
    rows, _, samples = floats.shape
    encoded = bytearray()
    for row in floats.astype(floats.dtype.newbyteorder(">")):
        octets = row.tobytes()
        width = floats.dtype.itemsize
        planes = b"".join(octets[byte::width] for byte in range(width))
        line = [value - (planes[i - samples] if i >= samples else 0) & 255 for i, value in enumerate(planes)]
        encoded += bytes(line)
    assert len(encoded) == floats.nbytes, rows
    return bytes(encoded)


SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 20), st.integers(1, 6))


@settings(max_examples=200, deadline=None)
@given(
    shape=SHAPES,
    bits=st.sampled_from([8, 16, 32, 64]),
    order=st.sampled_from(["little", "big"]),
    compression=st.sampled_from([5, 8, 50000]),
    seed=st.integers(0, 2**32),
)
def test_horizontal_in_every_width_and_order(
    shape: tuple[int, int, int], bits: int, order: Order, compression: int, seed: int
) -> None:
    words = np.frombuffer(np.random.default_rng(seed).bytes(bits // 8 * int(np.prod(shape))), f"<u{bits // 8}")
    words = words.reshape(shape)
    stored = difference(words).astype(f"{'>' if order == 'big' else '<'}u{bits // 8}")
    config = SegmentConfig(
        compression=compression,
        columns=shape[1],
        rows=shape[0],
        samples=shape[2],
        bits_per_sample=(bits,),
        predictor=2,
        byte_order=order,
    )
    np.testing.assert_array_equal(ask_us(encode(stored.tobytes(), compression), config), words)


@settings(max_examples=200, deadline=None)
@given(
    shape=SHAPES,
    width=st.sampled_from([2, 4, 8]),
    order=st.sampled_from(["little", "big"]),
    seed=st.integers(0, 2**32),
)
def test_floating_point_in_every_width_whatever_the_order(
    shape: tuple[int, int, int], width: int, order: Order, seed: int
) -> None:
    octets = np.random.default_rng(seed).bytes(width * int(np.prod(shape)))
    floats = np.frombuffer(octets, f"<f{width}").reshape(shape)
    config = SegmentConfig(
        compression=8,
        columns=shape[1],
        rows=shape[0],
        samples=shape[2],
        bits_per_sample=(8 * width,),
        sample_format=3,
        predictor=3,
        byte_order=order,
    )
    decoded = ask_us(encode(difference_planes(floats), 8), config)
    assert decoded.tobytes() == octets  # bit by bit: random bytes hold NaNs


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("samples", [1, 2, 3, 4, 7])
@pytest.mark.parametrize(
    ("bits", "sample_format", "predictor"),
    [(bits, 3, 3) for bits in (16, 24, 32, 64)]
    + [(bits, sample_format, 2) for bits in (8, 16, 32, 64) for sample_format in (1, 2)]
    + [(bits, 3, 2) for bits in (16, 32, 64)]
    + [(bits, sample_format, 2) for bits, sample_format in ((32, 5), (64, 6))],
)
def test_any_bytes_decode_as_gdal_decodes_them(
    bits: int, sample_format: int, predictor: int, samples: int, order: Order
) -> None:
    config = SegmentConfig(
        compression=8,
        columns=13,
        rows=6,
        samples=samples,
        bits_per_sample=(bits,),
        sample_format=sample_format,
        predictor=predictor,
        byte_order=order,
    )
    raw = np.random.default_rng(bits * samples).bytes(config.packed_bytes)
    encoded = encode(raw, 8)
    ours, theirs = ask_us(encoded, config), ask_gdal(encoded, config)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((300, 700, 1), "f8"),
        ((200, 700, 1), "f8"),
        ((1, 400_000, 1), "f4"),
        ((700, 150, 3), "f4"),
        ((2000, 3, 1), "f8"),
        ((700, 500, 1), "f2"),
    ],
)
def test_floating_point_in_several_blocks(shape: tuple[int, int, int], dtype: str) -> None:
    """Segments larger than the block that is undone at a time, whose last block is not full."""
    rows, columns, samples = shape
    width = np.dtype(dtype).itemsize
    octets = np.random.default_rng(0).integers(0, 256, (rows, columns * samples, width), np.uint8)
    planes = np.moveaxis(octets[..., ::-1], -1, 1).reshape(rows, -1)
    encoded = planes.copy()
    encoded[:, samples:] -= planes[:, :-samples]
    config = SegmentConfig(
        compression=8, columns=columns, rows=rows, samples=samples, bits_per_sample=(8 * width,), sample_format=3,
        predictor=3,
    )  # fmt: skip
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: predictor.undo_floating_point(encoded.copy(), config), range(4)))
    for decoded in found:
        np.testing.assert_array_equal(decoded.reshape(octets.shape), octets)


def test_without_blosc(monkeypatch: pytest.MonkeyPatch) -> None:
    octets = np.random.default_rng(0).integers(0, 256, (9, 4, 7), np.uint8)
    joined = {}
    for name, vectorized in (("blosc", {4, 8}), ("numpy", set[int]())):
        monkeypatch.setattr(planes, "_VECTORIZED", vectorized)
        joined[name] = np.empty((9, 28), np.uint8)
        planes.join(octets, joined[name])
    np.testing.assert_array_equal(joined["blosc"], joined["numpy"])
