"""Synthetic images in all combinations of encoding, sample, byte order, container and layout.

Each (compression, predictor, data type, byte order) that is valid occurs; the other factors are chosen so
that all pairs of values occur. ``VIRTUAL_TIFF_MATRIX=all`` takes every combination instead (hours).
"""

from __future__ import annotations

import itertools
import os
import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests import oracles, subject
from tests.ifdwalk import Page, walk
from tests.rawtiff import ABSENT, Pixels, Recipe, expected, places, write

COMPRESSIONS: Final = (1, 8, 32946, 5, 50000, 32773, 34925)
PREDICTED: Final = (8, 32946, 5, 50000, 34925)
INTEGERS: Final = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8")
FLOATS: Final = ("f2", "f4", "f8")
COMPLEX: Final = ("c8", "c16")
HEIGHT, WIDTH = 37, 53

LAYOUTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "tiles": {"tile": (16, 16)},
    "wide tiles": {"tile": (16, 48)},
    "tile larger than the image": {"tile": (64, 64)},
    "strips that divide": {"rows_per_strip": 8, "height": 32},
    "short last strip": {"rows_per_strip": 8},
    "strips of one row": {"rows_per_strip": 1},
    "single strip": {"rows_per_strip": HEIGHT},
    "full last strip": {"rows_per_strip": 16, "full_last_strip": True},
    "rows per strip absent": {"rows_per_strip": ABSENT},
    "rows per strip 0": {"rows_per_strip": 0},
    "rows per strip 2**32 - 1": {"rows_per_strip": 2**32 - 1},
    "rows per strip too large": {"rows_per_strip": 1000},
}

FACTORS: Final[Mapping[str, Sequence[Any]]] = {
    "bigtiff": (False, True),
    "planar": (False, True),
    "bands": (1, 3, 4, 5),
    "layout": tuple(LAYOUTS),
    "sparse": ("", "some", "all", "some with nodata"),
}

type Core = tuple[int, int, str, str]
type Rest = tuple[Any, ...]


@dataclass(frozen=True)
class Case:
    """An image to be written, and what must be read."""

    name: str
    pixels: Pixels
    recipe: Recipe

    @property
    def wanted(self) -> Pixels:
        """The pixels that a reader must see."""
        return expected(self.pixels, self.recipe)


def predictors(compression: int, dtype: str) -> tuple[int, ...]:
    """Predictors that are valid with a compression and a data type."""
    if compression not in PREDICTED or dtype == "c16":
        return (1,)
    return (1, 2, 3) if dtype in FLOATS else (1, 2)


def cores() -> list[Core]:
    """Every valid (compression, predictor, data type, byte order)."""
    return [
        (compression, predictor, dtype, order)
        for compression in COMPRESSIONS
        for dtype in (*INTEGERS, *FLOATS, *COMPLEX)
        for predictor in predictors(compression, dtype)
        for order in ("little", "big")
    ]


def cases(everything: bool | None = None, count: int = 600) -> Iterator[Case]:
    """The cases of a run."""
    if everything is None:
        everything = os.environ.get("VIRTUAL_TIFF_MATRIX") == "all"
    rests = list(itertools.product(*FACTORS.values()))
    if everything:
        yield from (case(core, rest) for core in cores() for rest in rests)
        return
    chooser = _Pairs(rests)
    chosen = cores()
    for core in itertools.islice(itertools.cycle(chosen), max(count, len(chosen))):
        yield case(core, chooser.choose(core))


class _Pairs:
    """Chooses combinations greedily by the number of pairs of values that have not occurred."""

    def __init__(self, rests: Sequence[Rest]) -> None:
        self.rests = rests
        self.seen: set[tuple[Any, ...]] = set()
        self.random = random.Random(20)

    def choose(self, core: Core) -> Rest:
        best = max(self.random.sample(self.rests, 24), key=lambda rest: len(self._pairs(core, rest) - self.seen))
        self.seen |= self._pairs(core, best)
        return best

    @staticmethod
    def _pairs(core: Core, rest: Rest) -> set[tuple[Any, ...]]:
        return set(itertools.combinations(enumerate((*core, *rest)), 2))


def case(core: Core, rest: Rest) -> Case:
    """The case of one combination."""
    compression, predictor, dtype, order = core
    bigtiff, planar, bands, layout, sparse = rest
    options = dict(LAYOUTS[layout])
    height = options.pop("height", HEIGHT)
    container, planes = "big" if bigtiff else "classic", "planar" if planar else "chunky"
    name = " ".join(map(str, (*core, container, planes, bands, layout)))
    pixels = noise(dtype, (bands, height, WIDTH), seed=zlib.crc32(name.encode()))
    recipe = Recipe(
        compression=compression,
        predictor=predictor,
        order="little" if order == "little" else "big",
        bigtiff=bigtiff,
        planar=planar,
        nodata="7" if "nodata" in sparse else None,
        photometric=2 if bands in (3, 4) else 1,
        sparse=_sparse(sparse, planar, bands, pixels.shape, options),
        **options,
    )
    return Case(f"{name}{' sparse ' + sparse if sparse else ''}", pixels, recipe)


def _sparse(kind: str, planar: bool, bands: int, shape: tuple[int, ...], options: Mapping[str, Any]) -> frozenset[int]:
    total = sum(1 for _ in places(shape, Recipe(planar=planar, **options)))
    if kind == "all":
        return frozenset(range(total))
    return frozenset(range(0, total, 3)) if kind and total > bands else frozenset()


def noise(dtype: str, shape: tuple[int, ...], seed: int) -> Pixels:
    """Pixels of all magnitudes, with runs; floats hold NaN and infinities."""
    random_numbers = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind in "ui":
        limits = np.iinfo(kind)
        values = random_numbers.integers(limits.min, limits.max, shape, kind, endpoint=True)
        small = random_numbers.integers(0, 3, shape).astype(kind)
        return np.where(random_numbers.random(shape) < 0.5, values, small)
    if kind.kind == "c":
        half = "f4" if dtype == "c8" else "f8"
        result = np.empty(shape, kind)
        result.real, result.imag = noise(half, shape, seed), noise(half, shape, seed + 1)
        return result
    limit = 6e4 if dtype == "f2" else 1e30
    magnitudes = np.float64(limit) ** random_numbers.random(shape)
    values = np.clip(random_numbers.standard_normal(shape) * magnitudes, -limit, limit).astype(kind)
    values[random_numbers.random(shape) < 0.05] = np.nan
    values[random_numbers.random(shape) < 0.02] = -np.inf
    values[random_numbers.random(shape) < 0.3] = 1.5
    return values


def failure(path: Path, ifd: int | tuple[int, ...], wanted: Pixels, **options: Any) -> str:
    """Why a file is not read as it must be; "" when it is."""
    outcome = subject.read(path, ifd, **options)
    if outcome.status != "read":
        return f"{outcome.status}: {outcome.detail}"
    (pixels,) = outcome.pixels
    if pixels.shape != wanted.shape:
        return f"shape {pixels.shape} instead of {wanted.shape}"
    if oracles.digest([pixels]) == oracles.digest([wanted]):
        return "" if pixels.dtype == wanted.dtype else f"dtype {pixels.dtype} instead of {wanted.dtype}"
    gap = oracles.max_difference(pixels, wanted)
    bad = (pixels != wanted) & ~((pixels != pixels) & (wanted != wanted))  # noqa: PLR0124
    first = tuple(np.argwhere(bad)[0].tolist())
    return f"wrong by {gap:g} in {bad.sum()} of {bad.size} samples, first at {first}"


def witnesses(path: Path, page: Page, wanted: Pixels) -> dict[str, str]:
    """What GDAL and tifffile say of the file: "agrees", "differs" or "refuses"."""
    found = {}
    for name in ("gdal", "tifffile"):
        opinion = oracles.ask(name, path, page)
        agrees = opinion.digest == oracles.digest([wanted])
        found[name] = "refuses" if not opinion.reads else "agrees" if agrees else "differs"
    return found


def judge(case: Case, path: Path) -> tuple[str, dict[str, str]]:
    """Write a case to `path` and read it: the failure ("" for none), and what the witnesses say."""
    path.write_bytes(write(case.pixels, case.recipe))
    (page,) = walk(path)
    return failure(path, 0, case.wanted), witnesses(path, page, case.wanted)
