"""decode_segment on what tifffile and GDAL write, on damaged segments, on configurations it must refuse."""

from __future__ import annotations

import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile

from tests.segment_cases import config_of, decode_page, encode, roundtrip
from virtual_tiff.codecs import table
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.segment import decode_segment
from virtual_tiff.errors import DecodeError

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

COMPRESSIONS = {"zlib": 8, "lzw": 5, "zstd": 50000, "lzma": 34925, "packbits": 32773, None: 1}
PLAIN = SegmentConfig(compression=1, columns=4, rows=3)


def random_image(dtype: str, shape: tuple[int, ...], seed: int) -> npt.NDArray[Any]:
    """Return smooth random samples that use all bits; floats are finite."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "c":
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(kind)
    if kind.kind == "f":
        return rng.normal(scale=100, size=shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, kind, endpoint=True)


@st.composite
def written(draw: st.DrawFn) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """Draw an image and how tifffile shall write it."""
    dtype = draw(st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16"]))
    compression = draw(st.sampled_from(list(COMPRESSIONS)))
    kind = np.dtype(dtype).kind
    predictors: list[int | None] = [None]
    if compression not in (None, "packbits"):
        predictors += [2] if kind in "iu" else [3] if kind == "f" else []
    samples = draw(st.integers(1, 5))
    planar = draw(st.booleans()) and samples > 1
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    shape: tuple[int, ...] = (samples, height, width) if planar else (height, width, samples)
    shape = (height, width) if samples == 1 else shape
    tiled = draw(st.booleans())
    options: dict[str, Any] = {
        "compression": compression,
        "predictor": draw(st.sampled_from(predictors)),
        "byteorder": draw(st.sampled_from("<>")),
        "planarconfig": ("separate" if planar else "contig") if samples > 1 else None,
    }
    options |= {"tile": (16, 32)} if tiled else {"rowsperstrip": draw(st.integers(1, height + 2))}
    return random_image(dtype, shape, draw(st.integers(0, 2**32))), options


@settings(max_examples=300, deadline=None)
@given(case=written())
def test_segments_that_tifffile_writes_decode_to_the_image(
    case: tuple[npt.NDArray[Any], dict[str, Any]],
) -> None:
    image, options = case
    decoded = roundtrip(image, **options)
    assert decoded.dtype == image.dtype.newbyteorder("<")
    np.testing.assert_array_equal(decoded, image)


GDAL_CASES = [
    (dtype, predictor)
    for predictor, dtypes in {
        "1": ["uint8", "int16", "float32", "complex64", "complex_int16"],
        "2": [
            "uint8",
            "int8",
            "uint16",
            "int32",
            "uint64",
            "float32",
            "float64",
            "complex64",
            "complex_int16",
        ],
        "3": ["float32", "float64"],
    }.items()
    for dtype in dtypes
]


@pytest.mark.parametrize("endianness", ["LITTLE", "BIG"])
@pytest.mark.parametrize("interleave", ["PIXEL", "BAND"])
@pytest.mark.parametrize(("dtype", "predictor"), GDAL_CASES)
def test_segments_that_gdal_writes_decode_to_the_image(
    dtype: str, predictor: str, interleave: str, endianness: str
) -> None:
    kind = "complex64" if dtype == "complex_int16" else dtype
    image = random_image("int16" if kind == "complex64" else kind, (3, 50, 37), 7).astype(kind)
    if kind == "complex64":
        image = (image + 1j * image[:, ::-1]).astype(kind)
    options = {
        "compress": "DEFLATE",
        "predictor": predictor,
        "endianness": endianness,
        "interleave": interleave,
    }
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", width=37, height=50, count=3, dtype=dtype, blockysize=16, **options) as target:
            target.write(image)
        with memory.open() as source:
            expected = source.read()
        stream = io.BytesIO(memory.read())
    np.testing.assert_array_equal(expected, image)
    with tifffile.TiffFile(stream) as tiff:
        page = tiff.pages.first
        decoded = decode_page(page, config_of(page))
    bands = decoded[..., 0] if interleave == "BAND" else np.moveaxis(decoded[0], -1, 0)
    np.testing.assert_array_equal(bands, image)


def test_rows_are_padded_with_zeros_to_a_full_segment() -> None:
    config = replace(PLAIN, compression=8, last_rows=2)
    decoded = decode_segment(encode(bytes(range(1, 9)), 8), config)
    np.testing.assert_array_equal(decoded, [*range(1, 9), 0, 0, 0, 0])


def test_rows_that_are_not_whole_become_zeros() -> None:
    config = replace(PLAIN, compression=8, last_rows=1)
    decoded = decode_segment(encode(bytes(range(1, 8)), 8), config)
    np.testing.assert_array_equal(decoded, [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("compression", [1, 5, 8, 32773, 34925, 50000])
@pytest.mark.parametrize(("held", "last_rows"), [(1, None), (2, None), (1, 2), (2, 1)])
def test_neither_a_full_segment_nor_a_last_strip_is_refused(held: int, last_rows: int | None, compression: int) -> None:
    """A damaged strip in the middle must not be padded with zeros."""
    config = replace(PLAIN, compression=compression, last_rows=last_rows)
    with pytest.raises(DecodeError, match=f"holds {held} of 3 rows") as caught:
        decode_segment(encode(bytes(held * 4 + 3), compression), config)
    assert caught.value.feature == "short-segment"


@pytest.mark.parametrize(("length", "accepted"), [(8, True), (7, False), (9, False), (11, False), (12, True)])
def test_an_uncompressed_strip_that_lost_its_end_is_no_last_strip(length: int, *, accepted: bool) -> None:
    config = replace(PLAIN, last_rows=2)
    if accepted:
        np.testing.assert_array_equal(decode_segment(bytes(range(length)), config)[:8], range(8))
        return
    with pytest.raises(DecodeError) as caught:
        decode_segment(bytes(length), config)
    assert caught.value.feature == "short-segment"


@pytest.mark.parametrize(("blocks", "last_rows", "whole"), [(1, 1, True), (1, 2, True), (1, 3, False), (2, 1, False)])
def test_short_subsampled_segments_count_rows_of_blocks(blocks: int, last_rows: int, *, whole: bool) -> None:
    config = replace(PLAIN, rows=6, samples=3, subsampling=(2, 2), last_rows=last_rows)
    encoded = bytes(range(1, 1 + blocks * config.row_bytes))
    if whole:
        assert decode_segment(encoded, config).nbytes == config.out_bytes
        return
    with pytest.raises(DecodeError, match=f"holds {2 * blocks} of 6 rows") as caught:
        decode_segment(encoded, config)
    assert caught.value.feature == "short-segment"


@pytest.mark.parametrize(("held", "accepted"), [(1, False), (2, True), (3, True), (4, True)])
def test_images_that_state_their_height_may_hold_more_than_a_last_strip(held: int, *, accepted: bool) -> None:
    config = SegmentConfig(compression=7, columns=8, rows=4, last_rows=2)
    encoded = imagecodecs.jpeg_encode(np.full((held, 8), 9, np.uint8), level=100)
    if accepted:
        decoded = decode_segment(encoded, config).reshape(4, 8)
        np.testing.assert_array_equal(decoded[:held], 9)
        assert not decoded[held:].any()


def test_an_empty_segment_is_refused() -> None:
    with pytest.raises(DecodeError, match="no bytes") as caught:
        decode_segment(b"", PLAIN)
    assert caught.value.feature == "short-segment"


@pytest.mark.parametrize("encoded", [bytes(range(12)), bytearray(range(12)), memoryview(bytes(range(12)))])
def test_any_buffer_is_accepted(encoded: bytes) -> None:
    np.testing.assert_array_equal(decode_segment(encoded, PLAIN), range(12))


@pytest.mark.parametrize(
    "changes",
    [
        {"compression": 12345},
        {"predictor": 2},
        {"compression": 32773, "predictor": 2},
        {"compression": 5, "predictor": 3},
        {"compression": 5, "predictor": 4},
        {"compression": 5, "predictor": 2, "bits_per_sample": (12,)},
        {"compression": 5, "predictor": 2, "bits_per_sample": (24,)},
        {"compression": 5, "predictor": 2, "samples": 2, "bits_per_sample": (8, 16)},
        {"compression": 5, "predictor": 3, "bits_per_sample": (64,), "sample_format": 6},
        {"compression": 5, "predictor": 2, "bits_per_sample": (128,), "sample_format": 6},
        {"fill_order": 3},
        {"bits_per_sample": (33,)},
        {"bits_per_sample": (7,), "sample_format": 3},
        {"sample_format": 9},
        {"samples": 3, "bits_per_sample": (5, 5, 5)},
        {"samples": 3, "bits_per_sample": (5, 6, 5), "byte_order": "big"},
        {"samples": 2, "subsampling": (2, 2)},
        {"samples": 3, "subsampling": (2, 2), "bits_per_sample": (12,)},
    ],
    ids=str,
)
def test_what_is_not_decoded_is_refused_by_name(changes: dict[str, Any]) -> None:
    config = replace(PLAIN, **changes)
    with pytest.raises(DecodeError) as caught:
        decode_segment(bytes(1000), config)
    assert caught.value.feature == "codec-config"


def outcome(encoded: bytes, config: SegmentConfig) -> str:
    """Decode, and return the feature of the DecodeError or "decoded"; nothing else may be raised."""
    try:
        decoded = decode_segment(encoded, config)
    except DecodeError as error:
        return error.feature
    assert decoded.nbytes == config.out_bytes
    return "decoded"


def damaged(compression: int) -> tuple[bytes, SegmentConfig]:
    image = random_image("u2", (64, 64), 1)
    config = SegmentConfig(
        compression=compression, columns=64, rows=64, bits_per_sample=(16,), predictor=1, byte_order="little"
    )
    return encode(image.tobytes(), compression), config


@settings(max_examples=400, deadline=None)
@given(
    compression=st.sampled_from([5, 8, 32773, 34925, 50000]),
    cut=st.integers(0, 9000),
    flips=st.lists(st.tuples(st.integers(0, 9000), st.integers(1, 255)), max_size=4),
)
def test_damaged_streams_raise_nothing_but_decode_errors(
    compression: int, cut: int, flips: list[tuple[int, int]]
) -> None:
    encoded, config = damaged(compression)
    changed = bytearray(encoded)
    for position, bits in flips:
        changed[position % len(changed)] ^= bits
    assert outcome(bytes(changed[: len(changed) - cut % len(changed)]), config) != "codec-config"


@settings(max_examples=600, deadline=None)
@given(
    encoded=st.binary(min_size=1, max_size=300),
    compression=st.sampled_from(sorted(k for k, v in table.MODULES.items() if v == "streams")),
    bits=st.sampled_from([1, 3, 8, 12, 16, 24, 32, 64]),
    samples=st.integers(1, 4),
    predictor=st.integers(1, 3),
    byte_order=st.sampled_from(["little", "big"]),
    last_rows=st.sampled_from([None, 1]),
)
@example(
    encoded=b"\x28\xb5\x2f\xfd\x04\x00\x03\x80\x00", compression=50000, bits=8, samples=1, predictor=1,
    byte_order="little", last_rows=None,
)  # fmt: skip
def test_random_bytes_raise_nothing_but_decode_errors(
    *,
    encoded: bytes,
    compression: int,
    bits: int,
    samples: int,
    predictor: int,
    byte_order: Any,
    last_rows: int | None,
) -> None:
    config = SegmentConfig(
        compression=compression,
        columns=9,
        rows=7,
        last_rows=last_rows,
        samples=samples,
        bits_per_sample=(bits,),
        predictor=predictor,
        byte_order=byte_order,
    )
    assert outcome(encoded, config) in ("decoded", "corrupt-segment", "short-segment", "codec-config")


def test_threads_decode_at_the_same_time() -> None:
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 9, (64, 64), "u2") for _ in range(24)]
    config = SegmentConfig(compression=8, columns=64, rows=64, bits_per_sample=(16,), predictor=2, byte_order="big")
    segments = [encode(imagecodecs.delta_encode(image).astype(">u2").tobytes(), 8) for image in images]
    with ThreadPoolExecutor(8) as pool:
        for image, decoded in zip(images, pool.map(lambda s: decode_segment(s, config), segments), strict=True):
            np.testing.assert_array_equal(decoded.view("<u2").reshape(64, 64), image)


def test_configuration_survives_json() -> None:
    config = SegmentConfig(
        compression=7,
        columns=4,
        rows=3,
        samples=3,
        bits_per_sample=(5, 6, 5),
        subsampling=(2, 1),
        jpeg_tables=b"\xff\xd8",
        lerc_parameters=(4, 2),
    )
    assert SegmentConfig.from_json(config.to_json()) == config
    assert hash(SegmentConfig.from_json(config.to_json())) == hash(config)
    assert PLAIN.to_json() == {"compression": 1, "columns": 4, "rows": 3}


def test_pickles_hold_no_hash_of_this_process() -> None:
    config = replace(PLAIN, samples=3)
    assert hash(config) == hash(replace(PLAIN, samples=3))
    copied = pickle.loads(pickle.dumps(config))  # noqa: S301 - our own bytes
    assert copied == config
    assert vars(copied) == {name: getattr(config, name) for name in SegmentConfig.__dataclass_fields__}


@pytest.mark.parametrize("compression", sorted(table.MODULES))
def test_every_compression_of_the_table_has_a_kernel(compression: int) -> None:
    found = table.kernel(compression)
    assert found is not None
    assert found[0] == ("stream" if table.MODULES[compression] == "streams" else "image")


def test_palette_becomes_rgb_when_asked() -> None:
    colors = np.arange(48, dtype="<u2").reshape(3, 16) * 257
    config = SegmentConfig(
        compression=8,
        columns=3,
        rows=2,
        last_rows=1,
        bits_per_sample=(4,),
        photometric=3,
        color="rgb",
        color_map=colors.tobytes(),
    )
    decoded = decode_segment(encode(b"\x01\x20", 8), config)
    assert decoded.reshape(2, 3, 3).tolist() == [[[0, 16, 32], [1, 17, 33], [2, 18, 34]], [[0, 0, 0]] * 3]
    with pytest.raises(DecodeError) as caught:
        decode_segment(b"1234", replace(config, photometric=1))
    assert caught.value.feature == "codec-config"


@pytest.mark.parametrize(
    "json",
    [
        {},
        {"compression": 1, "columns": 4},
        {"compression": 1, "columns": 4, "rows": 3, "unheard_of": 1},
        {"compression": "1", "columns": 4, "rows": 3},
        {"compression": True, "columns": 4, "rows": 3},
        {"compression": 1, "columns": 0, "rows": 3},
        {"compression": 1, "columns": 4, "rows": 3, "last_rows": 3},
        {"compression": 1, "columns": 4, "rows": 3, "byte_order": "native"},
        {"compression": 1, "columns": 4, "rows": 3, "bits_per_sample": [8, 8]},
        {"compression": 1, "columns": 4, "rows": 3, "jpeg_tables": "?"},
        {"compression": 1, "columns": 4, "rows": 3, "subsampling": [0, 1]},
        {"compression": 1, "columns": 4, "rows": 3, "subsampling": [2]},
    ],
    ids=str,
)
def test_unknown_configuration_is_refused(json: dict[str, Any]) -> None:
    with pytest.raises(DecodeError) as caught:
        SegmentConfig.from_json(json)
    assert caught.value.feature == "codec-config"


def test_subsampled_ycbcr_of_the_corpus_looks_like_gdals_rgb(corpus: Path) -> None:
    folder = corpus / "gdal/autotest/gcore/data"
    compared = 0
    for path in sorted(folder.glob("ycbcr_*_lzw.tif")):
        with rasterio.open(path) as source:
            try:
                expected = source.read([1, 2, 3])
            except rasterio.errors.RasterioIOError:
                continue  # libtiff does not render chroma of one column and four rows
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages.first
            config = config_of(page, subsampling=page.subsampling)
            luma, cb, cr = np.moveaxis(decode_page(page, config)[0].astype(float), -1, 0)
        red, blue = luma + 1.402 * (cr - 128), luma + 1.772 * (cb - 128)
        green = luma - 0.344136 * (cb - 128) - 0.714136 * (cr - 128)
        apart = np.abs(np.clip([red, green, blue], 0, 255) - expected).max(axis=0)
        assert np.mean(apart > 1) < 0.01, path.name
        compared += 1
    assert compared >= 6
