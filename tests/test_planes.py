"""Bytes in planes become samples, with and without summing up, and with every library that may be there."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest

from virtual_tiff.codecs import planes
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.segment import decode_segment

RNG = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def _as_new() -> Iterator[None]:
    planes._has_bytedelta.cache_clear()
    yield
    planes._has_bytedelta.cache_clear()


def differences(count: int, width: int, samples: int) -> npt.NDArray[np.uint8]:
    return RNG.integers(0, 256, (count, width, samples), "u1")


def summed(deltas: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Sums by numpy, byte by byte, as samples in little-endian order."""
    total = np.cumsum(deltas.reshape(deltas.shape[0], -1), axis=1, dtype="u1").reshape(deltas.shape)
    return np.ascontiguousarray(np.moveaxis(total[:, ::-1], 1, 2)).reshape(deltas.shape[0], -1)


@pytest.mark.parametrize("width", [2, 4, 8])
@pytest.mark.parametrize("samples", [1, 2, 7, 15, 16, 17, 192, 257, 1000])
@pytest.mark.parametrize("count", [1, 2, 9])
def test_sums_through_all_planes(width: int, samples: int, count: int) -> None:
    deltas = differences(count, width, samples)
    out = np.empty((count, width * samples), np.uint8)
    if width * samples >= 32:
        planes.sum_and_join(deltas, out)
        np.testing.assert_array_equal(out, summed(deltas))
    assert planes.sums(width, samples) == (samples >= 192)
    total = np.cumsum(deltas.reshape(count, -1), axis=1, dtype="u1").reshape(deltas.shape)
    planes.join(total, out)
    np.testing.assert_array_equal(out, summed(deltas))


def test_chunks_that_are_kept_serve_fewer_rows_and_other_shapes() -> None:
    for count, width, samples in ((9, 4, 300), (4, 4, 300), (9, 4, 300), (12, 4, 300), (3, 8, 300), (5, 4, 301)):
        deltas = differences(count, width, samples)
        out = np.full((count + 1, width * samples), 77, np.uint8)
        planes.sum_and_join(deltas, out[:count])
        np.testing.assert_array_equal(out[:count], summed(deltas))
        assert (out[count] == 77).all()


def test_threads_do_not_share_chunks() -> None:
    many = [differences(60, 4, 400) for _ in range(24)]

    def run(deltas: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        out = np.empty((60, 1600), np.uint8)
        planes.sum_and_join(deltas, out)
        return out

    with ThreadPoolExecutor(4) as pool:
        for deltas, out in zip(many, pool.map(run, many), strict=True):
            np.testing.assert_array_equal(out, summed(deltas))


def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagecodecs.BLOSC2, "available", False)


def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise imagecodecs.Blosc2Error("blosc2_decompress", -12)

    monkeypatch.setattr(imagecodecs, "blosc2_decode", refuse)


def wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def scribble(_chunk: Any, *, numthreads: int, out: Any) -> None:
        assert numthreads == 1
        np.frombuffer(out, np.uint8)[...] = 3

    monkeypatch.setattr(imagecodecs, "blosc2_decode", scribble)


@pytest.mark.parametrize("kind", [lambda _patch: None, absent, broken, wrong])
@pytest.mark.parametrize("columns", [60, 200, 1100])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_the_samples_do_not_depend_on_the_library(
    dtype: str, columns: int, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1100 columns are more than one block of the two steps."""
    image = RNG.normal(size=(300, columns)).astype(dtype)
    stored = imagecodecs.floatpred_encode(image, axis=-1)
    bits = 8 * image.itemsize
    config = SegmentConfig(
        compression=50000, columns=columns, rows=300, bits_per_sample=(bits,), sample_format=3, predictor=3
    )
    segment = imagecodecs.zstd_encode(stored.tobytes())
    kind(monkeypatch)
    assert planes.sums(image.itemsize, columns) == (columns >= 192 and kind.__name__ == "<lambda>")
    np.testing.assert_array_equal(decode_segment(segment, config).view(f"<{dtype}").reshape(image.shape), image)
