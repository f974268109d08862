"""Damaged files through the whole parser: they raise our own errors, or nothing, in bounded time and memory."""

from __future__ import annotations

import random
import time
import tracemalloc
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.matrix import cases
from tests.matrix_more import image_codecs, odd_samples
from tests.opening import URL, registry_of
from tests.rawtiff import write
from virtual_tiff import VirtualTIFF, VirtualTiffError

MUTANTS = 150
SECONDS = 10.0
BYTES = 256 << 20
SMALL_FILE = 12_000


@cache
def seeds() -> tuple[bytes, ...]:
    """Small valid files of every kind that the matrices know."""
    plain = [write(case.pixels[:, :37, :53], case.recipe) for case in list(cases())[::40]]
    rare = [write(case.pixels, case.recipe) for family in (odd_samples, image_codecs) for case in list(family())[::12]]
    return (*plain, *rare)


def mutants(originals: tuple[bytes, ...], seed: int) -> Iterator[bytes]:
    """Files with a few bytes of their headers changed, or cut short."""
    draw = random.Random(seed)
    for _ in range(MUTANTS):
        tiff = bytearray(draw.choice(originals))
        if draw.random() < 0.2:
            yield bytes(tiff[: draw.randrange(8, len(tiff) + 1)])
            continue
        for _ in range(draw.choice((1, 1, 2, 4))):
            low, high = (max(0, len(tiff) - 1500), len(tiff)) if draw.random() < 0.5 else (0, min(len(tiff), 3000))
            place = draw.randrange(low, high)
            tiff[place] = draw.choice((0, 1, 127, 128, 255, draw.randrange(256), tiff[place] ^ 1 << draw.randrange(8)))
        yield bytes(tiff)


def parse(tiff: bytes, parser: VirtualTIFF) -> str:
    """Parse, and say what came of it; anything but our own errors gets through."""
    try:
        parser(URL, registry_of(tiff))
    except VirtualTiffError as error:
        return error.feature
    return "parsed"


@pytest.mark.parametrize("layout", ["flat", "pyramid"])
@pytest.mark.parametrize("seed", range(3))
def test_made_files(seed: int, layout: str) -> None:
    check(seeds(), seed, VirtualTIFF(ifd_layout=layout))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(2))
def test_real_files(corpus: Path, seed: int) -> None:
    files = [path for path in sorted(corpus.rglob("*.tif")) if path.stat().st_size < SMALL_FILE]
    chosen = random.Random(seed).sample(files, 60)
    check(tuple(path.read_bytes() for path in chosen), seed, VirtualTIFF(ifd_layout="flat"))


def check(originals: tuple[bytes, ...], seed: int, parser: VirtualTIFF) -> None:
    outcomes: set[str] = set()
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for tiff in mutants(originals, seed):
                begun = time.perf_counter()
                outcomes.add(parse(tiff, parser))
                assert time.perf_counter() - begun < SECONDS
        assert tracemalloc.get_traced_memory()[1] < BYTES
    finally:
        tracemalloc.stop()
    assert "parsed" in outcomes
    assert len(outcomes) > 1
