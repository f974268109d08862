"""Unpacking of samples against GDAL, tifffile and arithmetic on Python's integers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.segment_cases import ask_gdal, ask_us, config_of, decode_page, encode, wrap
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.samples import sample_dtype

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.usefixtures("kernels"),
]

type Order = Literal["little", "big"]


def config_for(bits: int | tuple[int, ...], **changes: Any) -> SegmentConfig:
    bits = bits if isinstance(bits, tuple) else (bits,)
    values: dict[str, Any] = {"compression": 1, "columns": 11, "rows": 5, "bits_per_sample": bits}
    return SegmentConfig(**{**values, **changes})


def random_bytes(config: SegmentConfig) -> bytes:
    return np.random.default_rng(config.packed_bytes).bytes(config.packed_bytes)


@settings(max_examples=150, deadline=None)
@given(
    bits=st.integers(1, 31).filter(lambda bits: bits not in (8, 16, 24)),
    columns=st.integers(1, 19),
    samples=st.integers(1, 4),
    rows=st.integers(1, 4),
    order=st.sampled_from(["little", "big"]),
    fill_order=st.integers(1, 2),
    signed=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_bits_are_one_stream_with_the_most_significant_first(
    *,
    bits: int,
    columns: int,
    samples: int,
    rows: int,
    order: Order,
    fill_order: int,
    signed: bool,
    seed: int,
) -> None:
    signed = signed and bits > 1
    config = config_for(
        bits,
        columns=columns,
        samples=samples,
        rows=rows,
        byte_order=order,
        fill_order=fill_order,
        sample_format=2 if signed else 1,
    )
    raw = np.random.default_rng(seed).bytes(config.packed_bytes)
    expected = []
    for row in range(rows):
        line = raw[row * config.row_bytes :][: config.row_bytes]
        text = "".join(f"{byte:08b}" if fill_order == 1 else f"{byte:08b}"[::-1] for byte in line)
        values = [int(text[bits * i : bits * (i + 1)], 2) for i in range(columns * samples)]
        expected += [value - 2**bits if signed and value >> (bits - 1) else value for value in values]
    decoded = ask_us(raw, config)
    assert decoded.dtype == sample_dtype(bits, config.sample_format)
    assert decoded.reshape(-1).tolist() == expected


GDAL_READS = [(bits, 1) for bits in (1, 2, 4, 7, 8, 9, 10, 12, 13, 16, 17, 20, 24, 25, 31, 32, 64)]
GDAL_READS += [(8, 2), (16, 2), (32, 2), (64, 2), (16, 3), (24, 3), (32, 3), (64, 3)]
GDAL_READS += [(32, 5), (64, 5), (64, 6), (128, 6)]


@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("fill_order", [1, 2])
@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize(("bits", "sample_format"), GDAL_READS)
def test_any_bytes_decode_as_gdal_decodes_them(
    bits: int, sample_format: int, order: Order, fill_order: int, samples: int
) -> None:
    config = config_for(bits, sample_format=sample_format, byte_order=order, fill_order=fill_order, samples=samples)
    raw = random_bytes(config)
    ours, theirs = ask_us(raw, config), ask_gdal(raw, config)
    if bits == 1:  # GDAL has no bool
        ours = ours.view(np.uint8)
    if (bits, sample_format) == (64, 5):  # rasterio rounds complex integers of 32 bits to floats of 32 bits
        ours = ours.astype(np.complex64)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 10, 12, 14, 20, 28, 31])
def test_tifffile_agrees_on_packed_bits(bits: int, samples: int, order: Order) -> None:
    config = config_for(bits, byte_order=order, samples=samples)
    raw = random_bytes(config)
    theirs = tifffile.imread(io.BytesIO(wrap(raw, config)))
    np.testing.assert_array_equal(ask_us(raw, config), theirs.reshape(5, 11, samples))


def test_tifffile_agrees_on_rgb_of_5_6_and_5_bits() -> None:
    config = config_for((5, 6, 5), samples=3)
    raw = random_bytes(config)
    np.testing.assert_array_equal(ask_us(raw, config), tifffile.imread(io.BytesIO(wrap(raw, config))))


@pytest.mark.parametrize("order", ["little", "big"])
def test_unequal_whole_bytes_are_widened(order: Order) -> None:
    config = config_for((8, 16, 32), samples=3, byte_order=order)
    values = np.random.default_rng(0).integers(0, 256, (5, 11, 3), "u4") * np.array([1, 257, 65793], "u4")
    raw = b"".join(
        int(value).to_bytes(width, order)
        for pixel in values.reshape(-1, 3)
        for value, width in zip(pixel, (1, 2, 4), strict=True)
    )
    decoded = ask_us(raw, config)
    assert decoded.dtype == np.uint32
    np.testing.assert_array_equal(decoded, values)


def test_signed_24_bits_are_extended() -> None:
    config = config_for(24, sample_format=2, columns=3, rows=1)
    assert ask_us(bytes.fromhex("ffffff 00006b 800000"), config).reshape(-1).tolist() == [-1, 107, -(2**23)]


def test_complex_halves_and_complex_bytes_are_widened() -> None:
    halves = np.array([[[1.5], [-2.0]]], ">f2").tobytes()
    config = config_for(32, sample_format=6, columns=1, rows=1, byte_order="big")
    assert ask_us(halves, config).reshape(-1).tolist() == [1.5 - 2j]
    config = config_for(16, sample_format=5, columns=1, rows=1)
    assert ask_us(b"\x01\xff", config).reshape(-1).tolist() == [1 - 1j]


@pytest.mark.parametrize("compression", [5, 8, 32773, 50000])
def test_bits_are_reversed_before_decompression(compression: int) -> None:
    config = config_for(16, compression=compression, fill_order=2)
    samples = np.arange(55, dtype="<u2")
    encoded = bytes(imagecodecs.bitorder_decode(encode(samples.tobytes(), compression)))
    np.testing.assert_array_equal(ask_us(encoded, config).reshape(-1), samples)
    np.testing.assert_array_equal(ask_gdal(encoded, config).reshape(-1), samples)


@pytest.mark.parametrize("block", [(1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4)])
@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("bits", [8, 16])
def test_chroma_is_repeated_over_its_block(block: tuple[int, int], order: Order, bits: int) -> None:
    rng = np.random.default_rng(1)
    across, down = block
    luma = rng.integers(0, 2**bits, (6, 10))
    chroma = rng.integers(0, 2**bits, (-(-6 // down), -(-10 // across), 2))
    raw = b""
    for y, x in np.ndindex(chroma.shape[:2]):
        for dy, dx in np.ndindex(down, across):
            inside = y * down + dy < 6 and x * across + dx < 10
            value = int(luma[y * down + dy, x * across + dx]) if inside else 99
            raw += value.to_bytes(bits // 8, order)
        raw += b"".join(int(value).to_bytes(bits // 8, order) for value in chroma[y, x])
    config = config_for(bits, samples=3, columns=10, rows=6, subsampling=block, byte_order=order)
    decoded = ask_us(raw, config)
    np.testing.assert_array_equal(decoded[..., 0], luma)
    for y, x in np.ndindex(6, 10):
        np.testing.assert_array_equal(decoded[y, x, 1:], chroma[y // down, x // across])


@pytest.mark.parametrize("name", ["int10.tif", "int12.tif", "int24.tif", "float24.tif"])
def test_files_of_gdals_tests(corpus: Path, name: str) -> None:
    path = corpus / "gdal/autotest/gcore/data" / name
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        decoded = decode_page(page, config_of(page))
    with rasterio.open(path) as source:
        np.testing.assert_array_equal(decoded[0, :, :, 0], source.read(1))
