"""Predictors against encoders written here, and against GDAL for what no encoder at hand writes."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.opening import open_array
from tests.segment_cases import ask_gdal, ask_us, encode
from virtual_tiff.codecs import planes, predictor
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.segment import find_kernel
from virtual_tiff.errors import DecodeError

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.usefixtures("kernels"),
]

type Order = Literal["little", "big"]


def difference(words: npt.NDArray[Any], distance: int = 1) -> npt.NDArray[Any]:
    """Encode unsigned words (row, column, sample) as differences to the pixel so many to the left."""
    encoded = words.copy()
    encoded[:, distance:] -= words[:, :-distance]
    return encoded


def difference_planes(floats: npt.NDArray[Any], distance: int = 1) -> bytes:
    """Encode floats (row, column, sample) by predictor 3, byte by byte as Technical Note 3 says."""
    rows, _, samples = floats.shape
    samples *= distance
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


@settings(max_examples=100, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 4)),
    distance=st.sampled_from([2, 4]),
    bits=st.sampled_from([8, 16, 32, 64]),
    order=st.sampled_from(["little", "big"]),
    seed=st.integers(0, 2**32),
)
def test_horizontal_to_the_pixel_two_or_four_to_the_left(
    shape: tuple[int, int, int], distance: int, bits: int, order: Order, seed: int
) -> None:
    """Neither GDAL nor tifffile reads these: the oracle is the definition, and sums of each pixel of a group."""
    rows, groups, samples = shape
    shape = (rows, groups * distance, samples)
    words = np.frombuffer(np.random.default_rng(seed).bytes(bits // 8 * int(np.prod(shape))), f"<u{bits // 8}")
    words = words.reshape(shape)
    differences = difference(words, distance)
    for first in range(distance):
        summed = np.cumsum(differences[:, first::distance], axis=1, dtype=words.dtype)
        np.testing.assert_array_equal(summed, words[:, first::distance])
    stored = differences.astype(f"{'>' if order == 'big' else '<'}u{bits // 8}")
    config = SegmentConfig(
        compression=8,
        columns=shape[1],
        rows=rows,
        samples=samples,
        bits_per_sample=(bits,),
        predictor={2: 34892, 4: 34893}[distance],
        byte_order=order,
    )
    assert ask_us(encode(stored.tobytes(), 8), config).tobytes() == words.tobytes()


@pytest.mark.parametrize("predictor", [34894, 34895])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("shape", [(24, 32), (24, 32, 3), (3, 24, 32), (40, 48)])
def test_floating_point_as_tifffile_reads_it(
    shape: tuple[int, ...], dtype: str, order: Literal["<", ">"], predictor: int
) -> None:
    floats = np.random.default_rng(3).normal(scale=1e3, size=shape).astype(dtype)
    options: dict[str, Any] = {"planarconfig": "separate" if shape[0] == 3 else "contig"} if len(shape) == 3 else {}
    if shape[0] != 24:
        options |= {"tile": (16, 32)}
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        floats,
        photometric="minisblack",
        compression="deflate",
        predictor=predictor,
        byteorder=order,
        metadata=None,
        **options,
    )
    theirs = tifffile.imread(io.BytesIO(stream.getvalue()))
    np.testing.assert_array_equal(theirs, floats)
    ours = np.asarray(open_array(stream.getvalue())[...])
    np.testing.assert_array_equal(ours if options.get("planarconfig") != "contig" else np.moveaxis(ours, 0, -1), theirs)


def test_floats_of_24_bits_to_the_pixel_two_to_the_left() -> None:
    """The bytes are those of three planes, whichever bits they hold."""
    octets = np.random.default_rng(4).integers(0, 128, (3, 8, 3), np.uint8)
    encoded = bytearray()
    for row in octets:
        line = row.T.tobytes()
        encoded += bytes(value - (line[i - 2] if i >= 2 else 0) & 255 for i, value in enumerate(line))
    config = SegmentConfig(
        compression=8, columns=8, rows=3, bits_per_sample=(24,), sample_format=3, predictor=34894, byte_order="big"
    )
    plain = replace(config, predictor=1)
    expected = ask_us(encode(octets.tobytes(), 8), plain)
    np.testing.assert_array_equal(ask_us(encode(bytes(encoded), 8), config), expected)


@pytest.mark.parametrize(
    ("predictor", "bits", "sample_format", "columns"),
    [
        (34892, 16, 1, 13),
        (34893, 16, 1, 6),
        (34894, 32, 3, 7),
        (34895, 32, 3, 10),
        (34892, 32, 3, 8),
        (34893, 64, 6, 8),
        (34892, 12, 1, 8),
        (34894, 32, 1, 8),
        (34896, 8, 1, 8),
    ],
)
def test_what_the_predictors_of_dng_are_not_defined_for(
    predictor: int, bits: int, sample_format: int, columns: int
) -> None:
    """Adobe's SDK and the text of DNG disagree on rows that are no whole number of groups."""
    config = SegmentConfig(
        compression=8,
        columns=columns,
        rows=2,
        bits_per_sample=(bits,),
        sample_format=sample_format,
        predictor=predictor,
    )
    with pytest.raises(DecodeError, match=f"predictor = {predictor}") as caught:
        find_kernel(config)
    assert caught.value.feature == "codec-config"
