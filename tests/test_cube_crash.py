"""Publishing and appending are killed at random moments; two writers meet. The last commit is whole each time.

``VIRTUAL_TIFF_KILLS`` is the number of kills, of both kinds together.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.archives import age, files_below, make_archive, make_tiff
from tests.servers import Bucket
from virtual_tiff.cube.append import append
from virtual_tiff.cube.lock import lock, locked, unlock
from virtual_tiff.cube.open import open_cube
from virtual_tiff.cube.publish import publish
from virtual_tiff.cube.target import remove_dead
from virtual_tiff.errors import TargetError

KILLS = int(os.environ.get("VIRTUAL_TIFF_KILLS", "15"))
COUNT = 30
ROOT = Path(__file__).resolve().parent.parent


class Worker:
    """The children of one process of :mod:`tests.crash_worker`; the next one gets ready while others are checked."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.crash_worker"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )
        self._child = 0

    def begin(
        self,
        task: str,
        inputs: Path,
        cube: Path | str,
        environment: Mapping[str, str] | None = None,
        *,
        group: str = "",
        batch: int = 0,
    ) -> None:
        order = {"task": task, "inputs": str(inputs), "cube": str(cube), "environment": dict(environment or {})}
        order |= {"group": group, "batch": batch or {"publish": 100, "append": 50}[task]}
        assert self._process.stdin is not None
        word, number = self._line().split()
        assert word == "ready"
        self._child = int(number)
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the worker has died"
        return line.strip()

    def kill_after(self, seconds: float) -> None:
        """Kill the child, if it still works, and wait until it is gone."""
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child, signal.SIGKILL)
        while self._line() != f"gone {self._child}":
            pass

    def end(self) -> str:
        """Wait for it; what went wrong, else nothing."""
        said: str = json.loads(self._line())
        assert self._line() == f"gone {self._child}"
        return said.removesuffix("done")

    def duration(self, *order: Any, **options: Any) -> float:
        """How long the work takes."""
        self.begin(*order, **options)
        start = time.perf_counter()
        assert self.end() == ""
        return time.perf_counter() - start

    def close(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=60)


@pytest.fixture(scope="module")
def workers() -> Iterator[tuple[Worker, Worker]]:
    both = Worker(), Worker()
    yield both
    for worker in both:
        worker.close()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("crash") / "archive"
    return folder, make_archive(folder, COUNT, shape=(1, 33, 40), blockxsize=16, blockysize=16)[:, 0]


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
    for number in range(max(2, KILLS // 8)):
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


def check_scenes(cube: Path, pixels: Any) -> int:
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
