"""What publish and append tell of their stages: asking, planning, checking, writing references, committing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.archives import make_archive
from virtual_tiff.cube.append import append
from virtual_tiff.cube.publish import publish
from virtual_tiff.cube.stages import Stage


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    make_archive(tmp_path / "in")  # of 6 chunks each
    return tmp_path / "in"


def test_stages_of_a_publish(archive: Path, tmp_path: Path) -> None:
    told: list[Stage] = []
    publish([archive], tmp_path / "cube", on_stage=told.append)
    assert told == [
        Stage("plan"),
        Stage("check"),
        *(Stage("write", done, 18) for done in (0, 6, 12, 18)),
        Stage("commit", 0, 1),
    ]


def test_stages_of_several_commits(archive: Path, tmp_path: Path) -> None:
    told: list[Stage] = []
    publish([archive], tmp_path / "cube", batch=12, on_stage=told.append)
    assert told[2:] == [
        *(Stage("write", done, 18) for done in (0, 6, 12)),
        Stage("commit", 0, 2),
        *(Stage("write", done, 18) for done in (12, 18)),
        Stage("commit", 1, 2),
    ]


def test_stages_with_workers(archive: Path, tmp_path: Path) -> None:
    told: list[Stage] = []
    with ThreadPoolExecutor(2) as executor:
        publish([archive], tmp_path / "cube", executor=executor, on_stage=told.append)
    assert [one for one in told if one.name == "write"] == [Stage("write", 0, 18), Stage("write", 18, 18)]


def test_stages_of_an_append(archive: Path, tmp_path: Path) -> None:
    publish([archive / "s0.tif"], tmp_path / "cube")
    told: list[Stage] = []
    append([archive], tmp_path / "cube", batch=6, on_stage=told.append)
    assert told == [
        Stage("ask", 1, 1),
        Stage("plan"),
        Stage("check"),
        *(Stage("write", done, 12) for done in (0, 6)),
        Stage("commit", 0),
        *(Stage("write", done, 12) for done in (6, 12)),
        Stage("commit", 1),
    ]
    told.clear()
    append([archive], tmp_path / "cube", on_stage=told.append)
    assert told == [Stage("ask", done, 3) for done in (1, 2, 3)]
