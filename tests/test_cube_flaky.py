"""Servers that fail one request in ten: cubes are published, grown, verified and read through them all the same.

``VIRTUAL_TIFF_FLAKY`` is the number of repetitions, each with another seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import pytest

from tests.archives import make_archive
from tests.flaky import FAULTS, Fault, FlakyProxy
from tests.servers import Bucket, Web
from virtual_tiff.cube.append import append
from virtual_tiff.cube.open import open_cube, open_repository
from virtual_tiff.cube.publish import publish
from virtual_tiff.cube.verify import verify

REPETITIONS = int(os.environ.get("VIRTUAL_TIFF_FLAKY", "1"))
COUNT = 12
OPTIONS: dict[str, Any] = {"shape": (1, 33, 40), "blockxsize": 16, "blockysize": 16}
CUT: tuple[Fault, ...] = ("cut",)
LOST: tuple[Fault, ...] = ("done-500", "done-reset")


@pytest.fixture
def s3(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyProxy]:
    """A proxy before the S3 server, to which the environment leads; it does not fail yet."""
    with FlakyProxy(bucket.endpoint, rate=0) as proxy:
        for name, value in (bucket.environment | {"AWS_ENDPOINT_URL": proxy.url.rstrip("/")}).items():
            monkeypatch.setenv(name, value)
        yield proxy


def check(cube: str | Path, pixels: Any) -> None:
    """Each file is there once, with its own pixels."""
    ds = open_cube(cube)
    names = [str(name).rpartition("/")[2] for name in ds["item"].values]
    assert sorted(names) == sorted(f"s{index}.tif" for index in range(len(pixels)))
    expected = np.stack([pixels[int(name[1:-4])] for name in names])
    assert np.array_equal(ds["band_data"].values, expected)


def go_through(sources: list[str], cube: str | Path, pixels: Any, batch: int) -> None:
    half = len(sources) // 2
    publish(sources[:half], cube, batch=batch)
    done = append(sources, cube, batch=batch)
    assert len(done.added) == len(sources) - half
    assert append(sources, cube).snapshots == ()
    assert all(one.state == "same" for one in verify(cube).sources)
    check(cube, pixels)
    assert open_repository(cube).list_branches() == {"main"}


@pytest.mark.parametrize("seed", range(REPETITIONS))
def test_sources_and_target_on_s3(seed: int, s3: FlakyProxy, bucket: Bucket, tmp_path: Path) -> None:
    pixels = make_archive(tmp_path, COUNT, **OPTIONS)[:, 0]
    for index in range(COUNT):
        bucket.store().put(f"in/s{index}.tif", (tmp_path / f"s{index}.tif").read_bytes())
    s3.restart(seed, rate=0.1)
    sources = [f"{bucket.url}in/s{index}.tif" for index in range(COUNT)]
    go_through(sources, f"{bucket.url}cube", pixels, batch=(30, 1000)[seed % 2])
    assert sum(s3.seen()[fault] for fault in FAULTS) > 20


@pytest.mark.parametrize("seed", range(REPETITIONS))
def test_sources_on_a_web_server(seed: int, web: Web, tmp_path: Path) -> None:
    pixels = make_archive(web.root, COUNT, **OPTIONS)[:, 0]
    with FlakyProxy(web.url, seed=seed) as proxy:
        below = web.url.removeprefix("http://").partition("/")[2]
        sources = [f"{proxy.url}{below}s{index}.tif" for index in range(COUNT)]
        go_through(sources, tmp_path / "cube", pixels, batch=1000)
        assert sum(proxy.seen()[fault] for fault in FAULTS) > 10


@pytest.mark.parametrize("seed", range(REPETITIONS))
def test_commits_whose_answers_get_lost_are_made_once(
    seed: int, s3: FlakyProxy, bucket: Bucket, tmp_path: Path
) -> None:
    """They are done, and look as if they had failed: that is no conflict, and nothing is written twice."""
    pixels = make_archive(tmp_path / "in", 6, **OPTIONS)[:, 0]
    sources = [str(tmp_path / f"in/s{index}.tif") for index in range(6)]
    s3.restart(seed, rate=0.2, faults=LOST)
    cube = f"{bucket.url}cube"
    publish(sources[:3], cube, batch=10)
    done = append(sources, cube, batch=10)
    assert (len(done.added), len(done.snapshots)) == (3, 3)
    s3.restart(0, rate=0)
    history = [one.message for one in open_repository(cube).ancestry(branch="main")]
    assert len(history) == len(set(done.snapshots)) + 3 + 1, history
    check(cube, pixels)


def test_a_storage_that_always_fails_is_a_clear_error(
    s3: FlakyProxy, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("virtual_tiff.cube.patient.RETRIES", 1)
    monkeypatch.setattr("virtual_tiff.cube.patient.OPERATION", 2.0)
    pixels = make_archive(tmp_path / "in", 2, **OPTIONS)[:, 0]
    sources = [str(tmp_path / f"in/s{index}.tif") for index in range(2)]
    cube = f"{bucket.url}cube"
    publish(sources[:1], cube)
    ds = open_cube(cube)
    s3.restart(0, rate=1, faults=CUT, methods=("GET",))
    with pytest.raises((OSError, icechunk.StorageError)):
        open_cube(cube)
    s3.restart(0, rate=0)
    assert np.array_equal(ds["band_data"].values, pixels[:1])
    check(cube, pixels[:1])
