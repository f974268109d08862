"""Cubes of several groups, mosaics that grow to all sides and series with late files, killed while they are written.

``VIRTUAL_TIFF_KILLS`` is the number of kills of :mod:`tests.test_cube_crash`; each case here has an eighth of it, and
few cases run by default.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import zarr
from rasterio.transform import from_origin

from tests.archives import Pixels, age, make_tiff
from tests.crash import KILLS, Worker
from tests.servers import Bucket
from virtual_tiff.cube.append import append
from virtual_tiff.cube.open import open_cube, open_repository
from virtual_tiff.cube.publish import publish
from virtual_tiff.cube.stores import locate
from virtual_tiff.cube.tidy import tidy
from virtual_tiff.errors import TargetError

pytestmark = pytest.mark.timeout(120 + 10 * KILLS)

SIDE = 32
ORIGIN = (500000.0, 4600000.0)
SMALL: dict[str, Any] = {"blockxsize": 16, "blockysize": 16}


@dataclass
class Case:
    """Files, those of them with which the cube begins, and what it must look like at any time.

    ``check`` returns how many files the cube has, of which none may have any other pixels than its own.
    """

    folder: Path
    first: list[Path]
    check: Callable[[str], int]
    count: int
    options: dict[str, Any] = field(default_factory=dict)
    batch: int = 20


def series(folder: Path) -> Case:
    """Days of which every fourth is there at first: the others lie between them."""
    pixels = {}
    for day in range(1, 29):
        path = folder / f"s_202405{day:02d}.tif"
        pixels[day] = make_tiff(path, day, shape=(1, 33, 40), **SMALL)[0]
        with rasterio.open(path, "r+") as file:
            file.update_tags(TIFFTAG_DATETIME=f"2024:05:{day:02d} 10:30:00")
        age(path)

    def check(cube: str) -> int:
        ds = open_cube(cube)
        days = [int(str(time)[8:10]) for time in ds["time"].values]
        assert days == sorted(set(days))
        assert np.array_equal(ds["band_data"].values, np.stack([pixels[day] for day in days]))
        return len(days)

    return Case(folder, sorted(folder.iterdir())[3::4], check, 28, {"time": "auto"}, batch=50)


def tile(folder: Path, name: str, column: int, row: int, crs: str = "EPSG:32633") -> Pixels:
    """A tile without zeros, which stand for what is missing; of shape (y, x)."""
    corner = from_origin(ORIGIN[0] + 10 * SIDE * column, ORIGIN[1] - 10 * SIDE * row, 10.0, 10.0)
    seed = 100 * column + row + int(crs[-2:])
    path = folder / f"{name}.tif"
    make_tiff(path, seed, shape=(1, SIDE, SIDE), transform=corner, crs=crs, nodata=0, **SMALL)
    with rasterio.open(path, "r+") as file:
        pixels: Pixels = file.read()[0] + 1
        file.write(pixels, 1)
    age(path)
    return pixels


def placed(cube: str, tiles: Mapping[tuple[int, int], Pixels], group: str | None = None) -> int:
    """How many tiles a mosaic has, each at its place and whole; there is nothing else in it."""
    ds = open_cube(cube, group=group, mask_and_scale=False)
    seen = ds["band_data"].values
    left = round((float(ds["x"][0]) - 5 - ORIGIN[0]) / 10)
    top = round((ORIGIN[1] - float(ds["y"][0]) - 5) / 10)
    there = 0
    for (column, row), pixels in tiles.items():
        y, x = SIDE * row - top, SIDE * column - left
        if 0 <= y < seen.shape[0] and 0 <= x < seen.shape[1] and seen[y : y + SIDE, x : x + SIDE].any():
            assert np.array_equal(seen[y : y + SIDE, x : x + SIDE], pixels)
            there += 1
    assert np.count_nonzero(seen) == there * SIDE * SIDE
    return there


def mosaic(folder: Path) -> Case:
    """Tiles of which those in the south east are there at first: the others are left of and above them."""
    places = [(column, row) for column in range(4) for row in range(4)]
    tiles = {place: tile(folder, f"c{place[0]}r{place[1]}", *place) for place in places}
    first = [folder / f"c{column}r{row}.tif" for column in (2, 3) for row in (2, 3)]
    return Case(folder, first, lambda cube: placed(cube, tiles), 16, {"mosaic": True}, batch=16)


def zones(folder: Path) -> Case:
    """Two zones side by side, and a third one that comes later."""
    codes = ("EPSG:32632", "EPSG:32633", "EPSG:32634")
    corners = [(column, row) for column in (0, 1) for row in (0, 1)]
    tiles = {
        code: {(column, row): tile(folder, f"{code[-2:]}c{column}r{row}", column, row, code) for column, row in corners}
        for code in codes
    }
    first = [folder / f"{zone}c{column}r1.tif" for zone in (32, 33) for column in (0, 1)]

    def check(cube: str) -> int:
        root = zarr.open_group(open_repository(cube).readonly_session("main").store, mode="r")
        there = [code for code in codes if f"utm{code[-2:]}n_10m" in root]
        return sum(placed(cube, tiles[code], f"utm{code[-2:]}n_10m") for code in there)

    return Case(folder, first, check, 12, batch=16)


CASES = {"series": series, "mosaic": mosaic, "zones": zones}


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    made = Worker()
    made.get_ready()
    yield made
    made.close()


@dataclass(frozen=True)
class Place:
    """Where cubes are written: below a folder or a bucket."""

    top: str
    environment: Mapping[str, str]

    def target(self, name: str) -> str:
        return f"{self.top}{name}"


MANY = [(case, place) for case in CASES for place in ("local", "s3")]
FEW = [("series", "s3"), ("mosaic", "local"), ("zones", "s3")]
everywhere = pytest.mark.parametrize(("case", "place"), MANY if KILLS >= 20 else FEW, indirect=True)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "local":
        return Place(f"{tmp_path}/", {})
    bucket: Bucket = request.getfixturevalue("bucket")
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    return Place(bucket.url, bucket.environment)


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    (tmp_path / "in").mkdir()
    return CASES[request.param](tmp_path / "in")


@everywhere
def test_publishing_is_killed(case: Case, place: Place, worker: Worker) -> None:
    """Of several commits: readers see all of them or no cube at all."""
    options: dict[str, Any] = {"options": case.options, "batch": case.batch}
    whole = worker.duration("publish", case.folder, place.target("timed"), place.environment, **options)
    chance = random.Random(f"{case.options} {place.environment == {}}")
    for number in range(max(1, KILLS // 8)):
        cube = place.target(f"cube-{number}")
        worker.begin("publish", case.folder, cube, place.environment, **options)
        worker.kill_after(chance.uniform(0.2, 1) * whole)
        try:
            publish([case.folder], cube, batch=case.batch, **case.options)
        except TargetError as error:
            assert error.feature == "target-exists"  # noqa: PT017 (then it is whole)
        assert case.check(cube) == case.count
        check_tidied(cube)
        assert case.check(cube) == case.count


@everywhere
def test_appending_is_killed(case: Case, place: Place, worker: Worker) -> None:
    """Of several commits: readers see the files of those that are done, and the run can be started again."""

    def begin(name: str) -> str:
        publish(case.first, place.target(name), batch=case.batch, **case.options)
        return place.target(name)

    whole = worker.duration("append", case.folder, begin("timed"), place.environment, batch=case.batch)
    assert len(list(open_repository(place.target("timed")).ancestry(branch="main"))) > 3
    chance = random.Random(f"{case.options} {place.environment == {}}")
    for number in range(max(1, KILLS // 8)):
        cube = begin(f"cube-{number}")
        worker.begin("append", case.folder, cube, place.environment, batch=case.batch)
        worker.kill_after(chance.uniform(0.2, 1) * whole)
        assert case.check(cube) >= len(case.first)
        append([case.folder], cube)
        assert case.check(cube) == case.count
        assert append([case.folder], cube).snapshots == ()
        check_tidied(cube)
        assert case.check(cube) == case.count


def check_tidied(cube: str) -> None:
    """Nothing is left that the history does not refer to, when it is tidied."""
    tidy(cube, older_than=timedelta(0))
    repository = open_repository(cube)
    assert repository.list_branches() == {"main"}
    history = list(repository.ancestry(branch="main"))
    snapshots = {one.id for one in history}
    manifests = {file.id for one in history for file in repository.list_manifest_files(one.id)}
    assert objects(cube, "snapshots") == snapshots
    assert objects(cube, "manifests") == manifests
    assert objects(cube, "transactions") <= snapshots
    assert tidy(cube, older_than=timedelta(0)).objects == 0


def objects(cube: str, folder: str) -> set[str]:
    """The names of the objects of one kind."""
    where = locate(cube)
    prefix = f"{where.path.rstrip('/')}/{folder}/"
    return {item["path"].rpartition("/")[2] for page in where.store.list(prefix) for item in page}
