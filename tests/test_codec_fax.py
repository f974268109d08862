"""CCITT: every scheme, both fill orders, short last strips, against the encoder and GDAL."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest

from tests.codec_cases import agrees, first_segment, read_gdal, real_pages, wrapped
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.fax import IMAGES, RLE, T4, T6, decode_fax
from virtual_tiff.errors import DecodeError

ROWS, COLUMNS = 40, 100
_EOFB = "000000000001" * 2


@pytest.fixture(scope="module")
def page() -> npt.NDArray[np.bool_]:
    runs = np.random.default_rng(5).random((ROWS, COLUMNS)) < 0.3
    black: npt.NDArray[np.bool_] = runs.cumsum(axis=1) % 7 < 3
    return black


def config(compression: int, **fields: object) -> SegmentConfig:
    values = {"columns": COLUMNS, "rows": ROWS, "bits_per_sample": (1,), "photometric": 0, **fields}
    return SegmentConfig(compression=compression, **values)  # type: ignore[arg-type]


def encode(page: npt.NDArray[np.bool_], compression: int) -> bytes:
    written = imagecodecs.tiff_encode(page, compression=compression, photometric=1, rowsperstrip=len(page))
    return first_segment(bytes(written))


def bits_of(data: bytes) -> str:
    return "".join(f"{octet:08b}" for octet in data)


def bytes_of(bits: str) -> bytes:
    padded = bits + "0" * (-len(bits) % 8)
    return int(padded, 2).to_bytes(len(padded) // 8, "big")


def encode_t4_2d(page: npt.NDArray[np.bool_]) -> bytes:
    """T.4 with a two-dimensional line after each one-dimensional one: their codes are those of T.6 and RLE."""
    stream = ""
    for row in range(len(page)):
        stream += "000000000001"
        if row % 2 == 0:
            stream += "1" + bits_of(encode(page[row : row + 1], RLE))
            continue
        pair, first = (bits_of(encode(page[row - 1 : end], T6)) for end in (row + 1, row))
        stream += "0" + pair[first.rindex(_EOFB) : pair.rindex(_EOFB)]
    return bytes_of(stream + "0000000000011" * 6)


@pytest.mark.parametrize("compression", [RLE, T4, T6])
@pytest.mark.parametrize("photometric", [0, 1, 3])
def test_codes_become_the_bits_that_were_encoded(
    page: npt.NDArray[np.bool_], compression: int, photometric: int
) -> None:
    decoded = decode_fax(encode(page, compression), config(compression, photometric=photometric))
    assert decoded.dtype == bool
    np.testing.assert_array_equal(decoded[..., 0], page)


@pytest.mark.parametrize("compression", [RLE, T4, T6])
def test_fill_order_2(page: npt.NDArray[np.bool_], compression: int) -> None:
    reversed_bits = imagecodecs.bitorder_decode(encode(page, compression))
    decoded = decode_fax(reversed_bits, config(compression, fill_order=2))
    np.testing.assert_array_equal(decoded[..., 0], page)


def test_two_dimensional_t4(page: npt.NDArray[np.bool_], tmp_path: Path) -> None:
    stream = encode_t4_2d(page)
    decoded = decode_fax(stream, config(T4, t4_options=1))
    np.testing.assert_array_equal(decoded[..., 0], page)
    data = wrapped([stream], config(T4, t4_options=1))
    np.testing.assert_array_equal(decoded, read_gdal(tmp_path / "t4.tif", data))


@pytest.mark.parametrize("compression", [RLE, T4, T6])
def test_short_last_strip(page: npt.NDArray[np.bool_], compression: int) -> None:
    segment = encode(page[:13], compression)
    decoded = decode_fax(segment, config(compression, last_rows=13))
    np.testing.assert_array_equal(decoded[:13, :, 0], page[:13])


@pytest.mark.parametrize("lost", [2, 5])
def test_a_strip_between_short_and_full_is_damaged(page: npt.NDArray[np.bool_], lost: int) -> None:
    segment = encode(page[: len(page) - lost], RLE)
    with pytest.raises(DecodeError):
        decode_fax(segment, config(RLE, last_rows=len(page) - lost - 3))


def test_padding_behind_a_short_last_strip_of_modified_huffman(page: npt.NDArray[np.bool_]) -> None:
    """Writers pad strips to words."""
    for rows, padding in ((12, b"\0"), (13, b"\0\0"), (17, bytes(4))):
        decoded = decode_fax(encode(page[:rows], RLE) + padding, config(RLE, last_rows=rows))
        np.testing.assert_array_equal(decoded[:rows, :, 0], page[:rows])


@pytest.mark.parametrize("compression", [T4, T6])
def test_damaged_streams_are_read_as_gdal_reads_them(
    page: npt.NDArray[np.bool_], compression: int, tmp_path: Path
) -> None:
    segment = bytearray(encode(page, compression))
    segment[len(segment) // 2] ^= 0x5A
    decoded = decode_fax(bytes(segment), config(compression))
    data = wrapped([bytes(segment)], config(compression))
    np.testing.assert_array_equal(decoded, read_gdal(tmp_path / "damaged.tif", data))


def test_refusals(page: npt.NDArray[np.bool_]) -> None:
    with pytest.raises(DecodeError, match="empty") as empty:
        decode_fax(b"", config(T6))
    assert empty.value.feature == "short-segment"
    with pytest.raises(DecodeError) as short:
        decode_fax(encode(page, RLE)[:40], config(RLE))
    assert short.value.feature == "corrupt-segment"
    with pytest.raises(DecodeError) as deep:
        decode_fax(b"abc", config(T6, bits_per_sample=(8,)))
    assert deep.value.feature == "codec-config"


def test_real_files(corpus: Path) -> None:
    seen = 0
    for path, page in real_pages(corpus, frozenset(IMAGES)):
        if page.bitspersample != 1:
            continue
        assert agrees(path, page), path.name
        seen += 1
    if not seen:
        pytest.skip("the corpus has no small page with CCITT")
