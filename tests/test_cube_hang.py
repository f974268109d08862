"""Servers that accept and never answer: everything ends with an error, by itself, and nothing is lost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.archives import make_archive
from tests.flaky import Fault, FlakyProxy
from tests.servers import Bucket, Web
from virtual_tiff.cube import patient, stores
from virtual_tiff.cube.append import append
from virtual_tiff.cube.open import open_cube
from virtual_tiff.cube.publish import publish
from virtual_tiff.cube.tidy import tidy
from virtual_tiff.cube.verify import verify
from virtual_tiff.errors import SourceError, TargetError

HANG: tuple[Fault, ...] = ("hang",)
STALL: tuple[Fault, ...] = ("stall",)


@contextlib.contextmanager
def impatience() -> Iterator[None]:
    """Parts of seconds where else it is minutes."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RETRIES": 1, "ATTEMPT": 0.3, "OPERATION": 0.6, "LONGEST_READ": 0.6}.items():
            patch.setattr(patient, name, value)
        patch.setattr(stores, "_TIMES", {"connect_timeout": "1s", "timeout": "0.6s"})
        patch.setattr(stores, "_RETRY", {"max_retries": 0, "retry_timeout": timedelta(seconds=1)})
        stores._cached.cache_clear()
        yield
    stores._cached.cache_clear()


@pytest.fixture
def s3(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyProxy]:
    """A proxy before the S3 server, to which the environment leads; it answers, at first."""
    with FlakyProxy(bucket.endpoint, rate=0) as proxy:
        for name, value in (bucket.environment | {"AWS_ENDPOINT_URL": proxy.url.rstrip("/")}).items():
            monkeypatch.setenv(name, value)
        yield proxy


WORK: dict[str, Callable[[str, Path], Any]] = {
    "publish": lambda cube, folder: publish([folder], f"{cube}-new"),
    "publish into": lambda cube, folder: publish([folder], cube, group="other", into=True),
    "append": lambda cube, folder: append([folder], cube),
    "verify": lambda cube, _: verify(cube),
    "open": lambda cube, _: open_cube(cube),
    "tidy": lambda cube, _: tidy(cube),
}
CASES = [(name, ()) for name in WORK] + [(name, ("PUT",)) for name in ("publish", "publish into", "append", "tidy")]


@pytest.mark.parametrize(("name", "methods"), CASES, ids=[f"{name}{' put' * bool(only)}" for name, only in CASES])
def test_a_target_that_never_answers(
    name: str, methods: tuple[str, ...], s3: FlakyProxy, bucket: Bucket, tmp_path: Path
) -> None:
    pixels = make_archive(tmp_path / "in", 2)[:, 0]
    cube = f"{bucket.url}cube"
    publish([tmp_path / "in/s0.tif"], cube)
    s3.restart(0, rate=1, faults=HANG, methods=methods)
    with impatience(), pytest.raises(TargetError) as caught:
        WORK[name](cube, tmp_path / "in")
    assert caught.value.feature == "target-denied"
    assert cube in str(caught.value)
    s3.restart(0, rate=0)
    assert np.array_equal(open_cube(cube)["band_data"].values, pixels[:1])
    append([tmp_path / "in"], cube)
    assert np.array_equal(open_cube(cube)["band_data"].values, pixels)


@pytest.mark.parametrize("faults", [HANG, STALL], ids=["hang", "stall"])
def test_sources_that_never_answer(faults: tuple[Fault, ...], web: Web, tmp_path: Path) -> None:
    pixels = make_archive(web.root, 2)[:, 0]
    below = web.url.removeprefix("http://").partition("/")[2]
    with FlakyProxy(web.url, rate=0) as proxy:
        urls = [f"{proxy.url}{below}s{index}.tif" for index in range(2)]
        publish(urls[:1], tmp_path / "cube")
        ds = open_cube(tmp_path / "cube")
        proxy.restart(0, rate=1, faults=faults)
        works: list[Callable[[], Any]] = [
            lambda: publish(urls, tmp_path / "new", retries=0),
            lambda: append(urls, tmp_path / "cube", retries=0),
        ]
        for work in works:
            with impatience(), pytest.raises(SourceError) as caught:
                work()
            assert caught.value.feature == "unreachable"
        with impatience():
            assert verify(tmp_path / "cube", retries=0).exit_code == (3 if faults == HANG else 0)
        with impatience(), pytest.raises(SourceError) as caught:
            ds["band_data"].load()
        assert caught.value.feature == "unreachable"
        assert "no answer" in str(caught.value)
        proxy.restart(0, rate=0)
        assert np.array_equal(ds["band_data"].values, pixels[:1])
