"""Publishing and appending are killed at random moments; two writers meet. The last commit is whole each time.

``VIRTUAL_TIFF_KILLS`` is the number of kills, of both kinds together.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.archives import age, files_below, make_archive, make_tiff
from tests.crash import KILLS, ROOT, Worker
from tests.servers import Bucket
from virtual_tiff.cube.append import append
from virtual_tiff.cube.lock import lock, locked, unlock
from virtual_tiff.cube.open import open_cube, open_repository
from virtual_tiff.cube.publish import publish
from virtual_tiff.cube.target import remove_dead
from virtual_tiff.cube.tidy import tidy
from virtual_tiff.errors import TargetError

COUNT = 30
pytestmark = pytest.mark.timeout(120 + 10 * KILLS)


@pytest.fixture(scope="module")
def workers() -> Iterator[tuple[Worker, Worker]]:
    both = Worker(), Worker()
    for worker in both:
        worker.get_ready()
    yield both
    for worker in both:
        worker.close()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("crash") / "archive"
    return folder, make_archive(folder, COUNT, shape=(1, 33, 40), blockxsize=16, blockysize=16)[:, 0]


@dataclass(frozen=True)
class Environment:
    """Places on disk and in a bucket, and the workers."""

    workers: tuple[Worker, Worker]
    folder: Path
    bucket: Bucket

    def target(self, place: str, name: str) -> str:
        return f"{self.bucket.url}{name}" if place == "s3" else str(self.folder / name)

    def of(self, place: str) -> Mapping[str, str]:
        return self.bucket.environment if place == "s3" else {}


@pytest.fixture
def env(workers: tuple[Worker, Worker], bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    return Environment(workers, tmp_path, bucket)


def litter(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".partial")]


def test_publish_is_killed(archive: tuple[Path, Any], workers: tuple[Worker, Worker], tmp_path: Path) -> None:
    folder, pixels = archive
    worker = workers[0]
    whole = worker.duration("publish", folder, tmp_path / "first")
    chance = random.Random(5)
    done = 0
    for number in range(-(-KILLS // 2)):
        cube = tmp_path / f"cube-{number}"
        worker.begin("publish", folder, cube)
        worker.kill_after(chance.uniform(0, whole))
        if cube.exists():
            done += 1
            with pytest.raises(TargetError):
                publish([folder], cube)
        else:
            publish([folder], cube)
        assert np.array_equal(open_cube(cube)["band_data"].values, pixels)
        assert litter(tmp_path) == []
    assert done <= KILLS // 2


def test_publish_on_s3_is_killed(
    bucket: Bucket, archive: tuple[Path, Any], workers: tuple[Worker, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    folder, pixels = archive
    worker = workers[0]
    whole = worker.duration("publish", folder, f"{bucket.url}first", bucket.environment)
    chance = random.Random(6)
    for number in range(max(1, KILLS // 8)):
        cube = f"{bucket.url}cube-{number}"
        worker.begin("publish", folder, cube, bucket.environment)
        worker.kill_after(chance.uniform(0, whole))
        try:
            publish([folder], cube)
        except TargetError as error:
            assert error.feature == "target-exists"  # noqa: PT017 (either way the cube must be whole)
        assert np.array_equal(open_cube(cube)["band_data"].values, pixels)


def test_append_is_killed(archive: tuple[Path, Any], workers: tuple[Worker, Worker], tmp_path: Path) -> None:
    folder, pixels = archive
    worker = workers[0]
    first = [folder / f"s{index}.tif" for index in range(5)]
    publish(first, tmp_path / "start")
    shutil.copytree(tmp_path / "start", tmp_path / "first")
    whole = worker.duration("append", folder, tmp_path / "first")
    chance = random.Random(7)
    sizes = set()
    for number in range(-(-KILLS // 2)):
        cube = tmp_path / f"cube-{number}"
        shutil.copytree(tmp_path / "start", cube)
        worker.begin("append", folder, cube)
        worker.kill_after(chance.uniform(0, whole))
        sizes.add(check_scenes(cube, pixels))
        append([folder], cube)
        assert check_scenes(cube, pixels) == COUNT
        assert append([folder], cube).snapshots == ()
    assert min(sizes) < COUNT


@pytest.mark.parametrize("place", ["local", "s3"])
def test_publishing_into_a_repository_is_killed(place: str, env: Environment, archive: tuple[Path, Any]) -> None:
    """Of several commits on a branch of their own; what was there before stays readable all the time."""
    folder, pixels = archive
    first = [folder / "s3.tif", folder / "s4.tif"]
    cube = env.target(place, "cube")
    publish(first, cube, group="old/one")
    worker = env.workers[0]
    whole = worker.duration("publish", folder, cube, env.of(place), group="timed", batch=60)
    chance = random.Random(8)
    for number in range(max(2, KILLS // 8)):
        group = f"new/g{number}"
        worker.begin("publish", folder, cube, env.of(place), group=group, batch=60)
        worker.kill_after(chance.uniform(0, whole))
        assert np.array_equal(open_cube(cube, group="old/one")["band_data"].values, pixels[3:5])
        try:
            publish([folder], cube, group=group, into=True)
        except TargetError as error:
            assert error.feature == "target-exists"  # noqa: PT017 (then it is whole)
        assert np.array_equal(open_cube(cube, group=group)["band_data"].values, pixels)
    tidy(cube, older_than=timedelta(0))
    assert open_repository(cube).list_branches() == {"main"}
    assert np.array_equal(open_cube(cube, group="old/one")["band_data"].values, pixels[3:5])
    assert np.array_equal(open_cube(cube, group="new/g0")["band_data"].values, pixels)


def test_append_on_s3_is_killed(env: Environment, archive: tuple[Path, Any]) -> None:
    folder, pixels = archive
    worker = env.workers[0]
    first = [folder / f"s{index}.tif" for index in range(5)]
    chance = random.Random(9)
    publish(first, env.target("s3", "first"))
    whole = worker.duration("append", folder, env.target("s3", "first"), env.of("s3"))
    for number in range(max(1, KILLS // 8)):
        cube = env.target("s3", f"cube-{number}")
        publish(first, cube)
        worker.begin("append", folder, cube, env.of("s3"))
        worker.kill_after(chance.uniform(0, whole))
        check_scenes(cube, pixels)
        append([folder], cube)
        assert check_scenes(cube, pixels) == COUNT
        assert append([folder], cube).snapshots == ()


def check_scenes(cube: Path | str, pixels: Any) -> int:
    """Each scene has the pixels of the file by whose name it goes, and each is in the ledger; how many there are."""
    ds = open_cube(cube)
    seen = ds["band_data"].values
    assert open_cube(cube, group="_sources").sizes["source"] == len(seen)
    for name, scene in zip(ds["item"].values, seen, strict=True):
        assert np.array_equal(scene, pixels[int(str(name)[1:-4])])
    return len(seen)


def test_two_publishers_at_once(archive: tuple[Path, Any], workers: tuple[Worker, Worker], tmp_path: Path) -> None:
    folder, pixels = archive
    for worker in workers:
        worker.begin("publish", folder, tmp_path / "cube")
    ends = sorted(worker.end() for worker in workers)
    assert ends[0] == ""
    assert "target-exists" in ends[1]
    assert np.array_equal(open_cube(tmp_path / "cube")["band_data"].values, pixels)
    assert litter(tmp_path) == []


def test_two_publishers_at_once_on_s3(
    bucket: Bucket,
    archive: tuple[Path, Any],
    workers: tuple[Worker, Worker],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    folder, pixels = archive
    other = tmp_path / "other"
    others = make_archive(other, COUNT, shape=(1, 33, 40), nodata=0, blockxsize=16, blockysize=16)[:, 0]
    for worker, place in zip(workers, (folder, other), strict=True):
        worker.begin("publish", place, f"{bucket.url}cube", bucket.environment)
    ends = [worker.end() for worker in workers]
    assert min(ends) == ""
    assert "target-exists" in max(ends)
    seen = open_cube(f"{bucket.url}cube", mask_and_scale=False)["band_data"].values
    assert np.array_equal(seen, others if ends[0] else pixels)


def test_two_appenders_at_once(archive: tuple[Path, Any], workers: tuple[Worker, Worker], tmp_path: Path) -> None:
    folder, pixels = archive
    publish([folder / "s0.tif"], tmp_path / "cube")
    for number, worker in enumerate(workers):
        wanted = tmp_path / f"{number}.txt"
        wanted.write_text("".join(f"{folder}/s{index}.tif\n" for index in range(1, COUNT) if index % 3 != number))
        worker.begin("append", Path(f"@{wanted}"), tmp_path / "cube")
    assert [worker.end() for worker in workers] == ["", ""]
    assert check_scenes(tmp_path / "cube", pixels) == COUNT


def test_two_appenders_at_once_on_s3(env: Environment, archive: tuple[Path, Any], tmp_path: Path) -> None:
    """Both want most of the files; each file is there once in the end."""
    folder, pixels = archive
    cube = env.target("s3", "cube")
    publish([folder / "s0.tif"], cube)
    for number, worker in enumerate(env.workers):
        wanted = tmp_path / f"{number}.txt"
        wanted.write_text("".join(f"{folder}/s{index}.tif\n" for index in range(1, COUNT) if index % 5 != number))
        worker.begin("append", Path(f"@{wanted}"), cube, env.of("s3"))
    assert [worker.end() for worker in env.workers] == ["", ""]
    assert check_scenes(cube, pixels) == COUNT


@pytest.mark.parametrize("place", ["local", "s3"])
def test_two_publishers_into_one_repository(place: str, env: Environment, archive: tuple[Path, Any]) -> None:
    """Into two groups both succeed; into one group one of them."""
    folder, pixels = archive
    cube = env.target(place, "cube")
    publish([folder / "s0.tif"], cube, group="old")
    for groups in (("a", "b/c"), ("d", "d")):
        for worker, group in zip(env.workers, groups, strict=True):
            worker.begin("publish", folder, cube, env.of(place), group=group, batch=60)
        ends = sorted(worker.end() for worker in env.workers)
        assert ends[0] == ""
        assert "target-exists" in ends[1] if len(set(groups)) == 1 else ends[1] == ""
        for group in groups:
            assert np.array_equal(open_cube(cube, group=group)["band_data"].values, pixels)
    assert np.array_equal(open_cube(cube, group="old")["band_data"].values, pixels[:1])
    assert open_repository(cube).list_branches() == {"main"}


def test_folders_of_running_processes_stay(tmp_path: Path) -> None:
    alive, dead, foreign = (tmp_path / name for name in (".c.0000000a.partial", ".c.0000000b.partial", ".c.d.partial"))
    for folder in (alive, dead, foreign):
        folder.mkdir()
        (folder / "x").write_text("x")
    holder = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            (
                "import sys; from pathlib import Path; from virtual_tiff.cube.lock import lock;"
                f"lock(Path({str(alive)!r})); print('ready', flush=True); sys.stdin.readline()"
            ),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    try:
        remove_dead(tmp_path / "c")
        assert sorted(path.name for path in tmp_path.iterdir()) == [alive.name, foreign.name]
        with pytest.raises(BlockingIOError):
            lock(alive)
        with pytest.raises(TargetError), locked(alive, wait=0):
            pass
    finally:
        holder.kill()
        holder.communicate()
    unlock(lock(alive))
    remove_dead(tmp_path / "c")
    assert not alive.exists()
    with pytest.raises(FileNotFoundError):
        lock(alive)


def test_a_failed_append_leaves_the_cube(archive: tuple[Path, Any], tmp_path: Path) -> None:
    folder, pixels = archive
    publish([folder / "s0.tif"], tmp_path / "cube")
    files = files_below(tmp_path / "cube")
    make_tiff(tmp_path / "bad.tif", shape=(1, 33, 41), blockxsize=16, blockysize=16)
    age(tmp_path / "bad.tif")
    with pytest.raises(ValueError, match="conform"):
        append([folder / "s1.tif", tmp_path / "bad.tif"], tmp_path / "cube")
    assert files_below(tmp_path / "cube") == files
    assert np.array_equal(open_cube(tmp_path / "cube")["band_data"].values, pixels[:1])
