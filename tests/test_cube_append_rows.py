"""Rows of the ledger are found by keys as if all columns were searched, also where keys collide or are missing."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import pytest
import zarr

from tests.archives import LONG_AGO, age, make_archive, make_tiff
from virtual_tiff.cube import columns, known, sources
from virtual_tiff.cube.append import append
from virtual_tiff.cube.blueprint import Claim
from virtual_tiff.cube.columns import KEYS, Entry, Place, ledger_column
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.known import Rows
from virtual_tiff.cube.nodes import coordinate_keys
from virtual_tiff.cube.open import open_cube, open_repository
from virtual_tiff.cube.publish import publish
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.scan import scan
from virtual_tiff.cube.sources import ledger_keys, update_rows
from virtual_tiff.cube.write import put
from virtual_tiff.errors import ConformError

ROWS = 150


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> FileHeader:
    path = tmp_path_factory.mktemp("one") / "one.tif"
    make_tiff(path, 1)
    return scan(path).headers[0]


def make_entries(header: FileHeader, count: int, seed: int) -> list[Entry]:
    """Files with and without places and items; some items have several files of one asset."""
    choose = random.Random(seed)
    found = []
    for number in range(count):
        item = choose.choice([None, f"item{choose.randrange(count)}"])
        place = replace(header.place, url=f"file:///a/{seed}-{number}.tif")
        keys = {"asset": choose.choice(["red", "nir"])} if item else {}
        one = replace(header, place=place, item_id=item, keys=keys, etag=str(choose.randrange(9)))
        row, col = 16 * choose.randrange(8), 16 * choose.randrange(8)
        claim = Claim(choose.choice(["", "B02"]), (choose.randrange(5),), row, col, 16, choose.choice([16, 32]))
        found.append(Entry(one, choose.choice([None, *[Place(tree=choose.choice(["", "utm"]), claim=claim)] * 4])))
    return found


@pytest.fixture(params=["keys", "collisions", "no keys", "other length"])
def session(request: pytest.FixtureRequest, header: FileHeader, monkeypatch: pytest.MonkeyPatch) -> icechunk.Session:
    """A ledger with small chunks."""
    if request.param == "collisions":
        for module in (columns, known):
            monkeypatch.setattr(module, "key_of", lambda *texts: len(texts[0]) % 2)
    small = partial(coordinate_keys, growing=True, rows=16)
    monkeypatch.setattr(sources, "coordinate_keys", lambda column, **_: small(column))
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    found = repository.writable_session("main")
    for key, value in ledger_keys(make_entries(header, ROWS, 0), None):
        run(put(found.store, key, value))
    group = zarr.open_group(found.store, path="_sources", mode="r+")
    for name in KEYS:
        if request.param == "no keys":
            del group[name]
        if request.param == "other length":
            array: Any = group[name]
            array.resize((ROWS - 1,))
    return found


def search(session: icechunk.Session) -> list[dict[str, Any]]:
    """All rows, read by zarr."""
    group = zarr.open_group(session.store, path="_sources", mode="r")
    names = [*columns.TEXTS, *columns.BOX, "used", "etag", "size", "last_modified"]
    read = [np.asarray(group[name]).tolist() for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*read, strict=True)]


def is_rival(row: dict[str, Any], place: Place) -> bool:
    if not row["used"]:
        return False
    if (row["tree"], row["variable"], row["label"]) != (place.tree, place.claim.variable, place.label):
        return False
    top, left, height, width = place.box
    rows = set(range(top, top + height)) & set(range(row["row"], row["row"] + row["height"]))
    columns_ = set(range(left, left + width)) & set(range(row["col"], row["col"] + row["width"]))
    return bool(rows and columns_)


def check(session: icechunk.Session, entries: list[Entry]) -> None:
    """Each question about some files has the answer that a search through all rows gives."""
    there, rows = search(session), Rows(session.store, "")
    assert len(rows) == len(there)
    by_url = {row["url"]: number for number, row in enumerate(there)}
    assert len(by_url) == len(there)
    asked = {entry.header.url: entry.place for entry in entries if entry.place is not None}
    rivals = rows.rivals(asked)
    for url, place in asked.items():
        expected = [number for number, row in enumerate(there) if is_rival(row, place)]
        assert [row.number for row in rivals.get(url, [])] == expected
        assert rows.has_box(place.tree, place.box) == any(
            row["used"] and row["tree"] == place.tree and [row[name] for name in columns.BOX] == list(place.box)
            for row in there
        )
    for number, entry in enumerate(entries):
        if number == len(entries) // 2:  # the others one by one
            rows.look_up_all([entry.header for entry in entries])
        header = entry.header
        found = by_url.get(header.url)
        assert rows.number(header.url) == found
        row = rows.at(header.url)
        assert (row is None) == (found is None)
        if row is not None and found is not None:
            assert {name: getattr(row, name) for name in (*columns.TEXTS, "used")} == {
                name: there[found][name] for name in (*columns.TEXTS, "used")
            }
            assert row.box == tuple(there[found][name] for name in columns.BOX)
            assert rows.has(header) == (header.etag == there[found]["etag"])
        same = [
            number
            for number, one in enumerate(there)
            if header.item_id and one["used"]
            if (one["item_id"], one["asset"]) == (header.item_id, header.keys["asset"])
        ]
        if found is not None and there[found]["used"]:
            same = [found]
        best = rows.find(header)
        assert (None if best is None else best.number) == (same[0] if len(same) == 1 else None)


def test_found_as_by_a_search(session: icechunk.Session, header: FileHeader) -> None:
    new = make_entries(header, 25, 1)
    known_files = [
        replace(one, header=replace(one.header, etag=str(number % 9)))
        for number, one in enumerate(make_entries(header, ROWS, 0)[::7])
    ]
    check(session, new + known_files)
    rows = Rows(session.store, "")
    rivals = rows.rivals({entry.header.url: entry.place for entry in new if entry.place is not None})
    replaced = {url: found[0] for url, found in rivals.items()}
    taken: set[int] = set()
    for url, row in list(replaced.items()):
        if row.number in taken:
            del replaced[url]
        taken.add(row.number)
    assert replaced
    update_rows(session.store, "", rows, new, replaced)
    check(session, [*make_entries(header, 25, 2), *new, *known_files])
    group = zarr.open_group(session.store, path="_sources", mode="r")
    assert {array.shape for _, array in group.arrays()} == {(len(search(session)),)}
    again = Rows(session.store, "")
    assert all(again.has_keys(name) for name in KEYS)  # those that were missing have been added


@pytest.mark.parametrize("scale", [1, 10, 5000])
def test_boxes_that_overlap_are_found_on_a_coarse_grid(scale: int) -> None:
    random_ = np.random.default_rng(scale)
    for count in (0, 1, 400):
        corners = random_.integers(-100 * scale, 100 * scale, (2, count))
        boxes = np.concatenate([corners, random_.integers(1, 20 * scale, (2, count))])
        tops, lefts = random_.integers(-120 * scale, 120 * scale, (2, 9))
        areas = np.stack([tops, lefts, *(end + random_.integers(1, 9 * scale, 9) for end in (tops, lefts))], axis=1)
        found = known._touching(boxes, areas)
        ends = boxes[:2] + boxes[2:]
        overlapping = np.zeros(count, bool)
        for top, left, bottom, right in areas:
            overlapping |= (boxes[0] < bottom) & (top < ends[0]) & (boxes[1] < right) & (left < ends[1])
        assert np.array_equal(found & overlapping, overlapping)
        assert np.count_nonzero(found) <= np.count_nonzero(overlapping) + count // 8


def test_an_append_of_new_files_reads_no_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_archive(tmp_path / "archive", 3)
    publish([tmp_path / "archive"], tmp_path / "cube")
    read = []

    def noted(store: Any, group: str, name: str) -> Any:
        read.append(name)
        return ledger_column(store, group, name)

    monkeypatch.setattr(known, "ledger_column", noted)
    make_tiff(tmp_path / "archive" / "s3.tif", 3)
    append([tmp_path / "archive" / "s3.tif"], tmp_path / "cube")
    # of "url" and "updated", how many rows there are
    assert set(read) <= {"url", "updated", *KEYS, *columns.BOX}


def test_a_cube_without_keys_grows_and_gets_them(tmp_path: Path) -> None:
    folder, cube = tmp_path / "archive", tmp_path / "cube"
    make_archive(folder, 3)
    publish([folder], cube)
    session = open_repository(cube).writable_session("main")
    group = zarr.open_group(session.store, path="_sources", mode="r+")
    for name in KEYS:
        del group[name]
    session.commit("as it was before there were keys")
    make_tiff(folder / "s3.tif", 3)
    make_tiff(folder / "s0.tif", 30)
    age(folder / "s0.tif", LONG_AGO + 5)
    done = append([folder], cube)
    assert (len(done.added), len(done.replaced), done.unchanged) == (1, 1, 2)
    ledger = open_cube(cube, group="_sources")
    assert ledger["url_key"].values.tolist() == [columns.key_of(url) for url in ledger["url"].values.tolist()]
    assert ledger["place_key"].values.tolist() == [
        columns.key_of("", "", label) for label in ledger["label"].values.tolist()
    ]
    assert set(ledger["item_key"].values.tolist()) == {0}
    assert append([folder], cube).snapshots == ()
    make_tiff(folder / "t.tif", 3, dtype="int16")
    with pytest.raises(ConformError):
        append([folder], cube)
