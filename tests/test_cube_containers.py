"""Containers: one for each folder, one for the folder above where there are many, and those that are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.archives import make_tiff, read_elsewhere
from virtual_tiff.cube.append import append
from virtual_tiff.cube.container import MAX_FOLDERS, Container, containers_for
from virtual_tiff.cube.open import containers_in, open_cube
from virtual_tiff.cube.publish import publish
from virtual_tiff.cube.stores import Location, locate


def places(*urls: str) -> list[Location]:
    return [locate(url) for url in urls]


def prefixes(containers: tuple[Container, ...]) -> list[str]:
    return [one.prefix for one in containers]


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        (["s3://b/a/1.tif", "s3://b/a/2.tif"], ["s3://b/a/"]),
        (["s3://b/a/1.tif", "s3://b/c/2.tif"], ["s3://b/a/", "s3://b/c/"]),
        (["s3://b/a/1.tif", "s3://b/a/d/2.tif", "s3://b/ab/3.tif"], ["s3://b/a/", "s3://b/ab/"]),
        (["s3://b/1.tif", "s3://b/a/1.tif"], ["s3://b/"]),
        ([f"s3://b/a/{n}/1.tif" for n in range(MAX_FOLDERS)], [f"s3://b/a/{n}/" for n in range(MAX_FOLDERS)]),
        ([f"s3://b/a/{n}/1.tif" for n in range(MAX_FOLDERS + 1)], ["s3://b/a/"]),
        ([f"s3://b/{n}/1.tif" for n in range(MAX_FOLDERS + 1)], ["s3://b/"]),
        (["s3://b/a/1.tif", "s3://c/a/1.tif"], ["s3://b/a/", "s3://c/a/"]),
        (["s3://b/a#1/1.tif", "s3://b/a#2/1.tif"], ["s3://b/"]),
        ([f"/top{n}/a/1.tif" for n in range(6)], [f"file:///top{n}/a/" for n in range(6)]),
        ([f"/top/{n}/1.tif" for n in range(6)], ["file:///top/"]),
    ],
)
def test_folders(urls: list[str], expected: list[str]) -> None:
    found = containers_for(places(*urls))
    assert prefixes(found) == expected
    assert len({one.name for one in found}) == len(found)
    assert found[0].name == "sources"
    assert all(any(one.holds(place) for one in found) for place in places(*urls))


def test_known_containers_are_used_and_their_number_stays_small() -> None:
    known = {one.prefix: one.virtual_chunk_container() for one in containers_for(places("s3://b/x/0/1.tif"))}
    assert prefixes(containers_for(places("s3://b/x/0/2.tif", "s3://b/x/0/deep/3.tif"), known)) == ["s3://b/x/0/"]
    for number in range(1, MAX_FOLDERS):
        found = containers_for(places(f"s3://b/x/{number}/1.tif"), known)
        assert found[-1].prefix == f"s3://b/x/{number}/"
        known[found[-1].prefix] = found[-1].virtual_chunk_container()
    found = containers_for(places("s3://b/x/9/1.tif"), known)
    assert found[-1].prefix == "s3://b/x/"
    known[found[-1].prefix] = found[-1].virtual_chunk_container()
    assert len(containers_for(places("s3://b/x/10/1.tif"), known)) == len(known)
    assert len({one.name for one in known.values()}) == len(known)


def test_files_of_several_folders_are_read(tmp_path: Path) -> None:
    pixels = []
    for number in range(7):
        (tmp_path / f"in{number}").mkdir()
        pixels.append(make_tiff(tmp_path / f"in{number}/s{number}.tif", number))
    done = publish([tmp_path / "in0", tmp_path / "in1"], tmp_path / "cube")
    assert list(containers_in(locate(tmp_path / "cube"))) == [f"file://{tmp_path}/in{n}/" for n in (0, 1)]
    assert np.array_equal(read_elsewhere(done.code, tmp_path), np.concatenate(pixels[:2]))
    for number in range(2, 7):
        append([tmp_path / f"in{number}"], tmp_path / "cube")
    assert list(containers_in(locate(tmp_path / "cube"))) == [
        *[f"file://{tmp_path}/"],
        *[f"file://{tmp_path}/in{n}/" for n in range(4)],
    ]
    assert np.array_equal(open_cube(tmp_path / "cube")["band_data"].values, np.concatenate(pixels))
