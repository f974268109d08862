"""What killed runs leave is removed; what is in use stays. And credentials that do not fit are told at once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from tests.archives import make_archive
from tests.flaky import Fault, FlakyProxy
from tests.servers import Bucket, Web
from virtual_tiff.cube import commit as module
from virtual_tiff.cube.open import open_cube, open_repository
from virtual_tiff.cube.publish import publish
from virtual_tiff.cube.tidy import Tidied, tidy
from virtual_tiff.errors import SourceError, UsageError

FORBIDDEN: tuple[Fault, ...] = ("403",)


def test_abandoned_branches_and_objects_are_removed(tmp_path: Path) -> None:
    pixels = make_archive(tmp_path / "in", 2)[:, 0]
    cube = tmp_path / "cube"
    publish([tmp_path / "in"], cube)
    repository = open_repository(cube)
    old, young = f"publish-20200101T000000Z-{'a' * 16}", f"publish-29990101T000000Z-{'b' * 16}"
    for branch in (old, young, "mine"):
        repository.create_branch(branch, repository.lookup_branch("main"))
    session = repository.writable_session(old)
    zarr.create_group(session.store, path="unfinished")
    session.commit("of a run that was killed")
    assert tidy(cube, dry_run=True).branches == (old,)
    done = tidy(cube)
    assert (done.branches, done.objects) == ((old,), 0)
    assert open_repository(cube).list_branches() == {"main", "mine", young}
    assert tidy(cube, older_than=timedelta(0)).objects > 0
    assert np.array_equal(open_cube(cube)["band_data"].values, pixels)
    with pytest.raises(UsageError):
        tidy(cube, older_than=timedelta(-1))


def test_a_running_publish_is_not_disturbed(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    pixels = make_archive(tmp_path / "in", 3)[:, 0]
    cube = f"{bucket.url}cube"
    publish([tmp_path / "in/s0.tif"], cube)
    seen: list[Tidied] = []
    real = module.commit

    def commit(*order: Any) -> str:
        seen.append(tidy(cube, older_than=timedelta(minutes=1)))
        return real(*order)

    monkeypatch.setattr(module, "commit", commit)
    publish([tmp_path / "in"], cube, group="more", into=True, batch=10)
    assert len(seen) > 2
    assert {(one.branches, one.objects) for one in seen} == {((), 0)}
    assert np.array_equal(open_cube(cube, group="more")["band_data"].values, pixels)
    assert open_repository(cube).list_branches() == {"main"}


def test_sources_that_may_not_be_read_are_told_when_a_cube_is_opened(web: Web, tmp_path: Path) -> None:
    pixels = make_archive(web.root, 2)[:, 0]
    below = web.url.removeprefix("http://").partition("/")[2]
    with FlakyProxy(web.url, rate=0) as proxy:
        publish([f"{proxy.url}{below}s{index}.tif" for index in range(2)], tmp_path / "cube")
        assert np.array_equal(open_cube(tmp_path / "cube")["band_data"].values, pixels)
        proxy.restart(0, rate=1, faults=FORBIDDEN)
        with pytest.raises(SourceError) as caught:
            open_cube(tmp_path / "cube")
        assert caught.value.feature == "forbidden"
        assert f"{proxy.url}{below}" in str(caught.value)
        assert open_cube(tmp_path / "cube", check=False).sizes["item"] == 2
