"""What is asked of an append: ledgers of scans, rules for duplicates, files that do not fit, workers."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from tests.archives import LONG_AGO, age, make_archive, make_tiff
from tests.servers import FaultServer
from tests.test_cli import run
from virtual_tiff.cube import append as append_module
from virtual_tiff.cube import change, distribute
from virtual_tiff.cube.append import append
from virtual_tiff.cube.misfits import sift
from virtual_tiff.cube.open import open_cube, open_repository
from virtual_tiff.cube.publish import publish
from virtual_tiff.cube.results import Failure
from virtual_tiff.cube.scan import scan
from virtual_tiff.cube.sources import update_rows
from virtual_tiff.cube.views import OnDuplicate
from virtual_tiff.errors import ConformError, FormatError, UsageError

PATTERN = "*_{time:%Y%m%d}.tif"


def read(path: Path) -> Any:
    with rasterio.open(path) as file:
        return file.read(1)


def check(cube: Path, paths: Sequence[Path], **options: Any) -> None:
    """The cube holds these files, in this order along its first axis."""
    seen = open_cube(cube, **options)["band_data"].values
    assert np.array_equal(seen, np.stack([read(path) for path in paths]))


def names(urls: Any) -> list[str]:
    return [url.rpartition("/")[2] for url in urls]


def history(cube: Path) -> list[str]:
    return [snapshot.id for snapshot in open_repository(cube).ancestry(branch="main")]


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Three days, of which a cube ``times`` knows the first two; the third lies between them."""
    folder = tmp_path / "series"
    folder.mkdir()
    for day in (1, 9):
        make_tiff(folder / f"a_202405{day:02}.tif", day)
    publish([folder], tmp_path / "times", pattern=PATTERN)
    make_tiff(folder / "a_20240505.tif", 5)
    return folder


# Duplicates


@pytest.mark.parametrize(("rule", "wins"), [("first", "a_20240509.tif"), ("last", "a_new_20240509.tif")])
def test_another_rule_for_duplicates_once(rule: OnDuplicate, wins: str, series: Path, tmp_path: Path) -> None:
    cube = tmp_path / "times"
    make_tiff(series / "a_new_20240509.tif", 99)
    with pytest.raises(ConformError, match="on_duplicate"):
        append([series], cube)
    done = append([series], cube, on_duplicate=rule)
    assert names(done.added) == ["a_20240505.tif"]
    assert names(done.replaced if rule == "last" else done.unused) == ["a_new_20240509.tif"]
    check(cube, [series / "a_20240501.tif", series / "a_20240505.tif", series / wins])
    make_tiff(series / "a_newest_20240509.tif", 100)
    with pytest.raises(ConformError, match="a_newest"):  # the rule of the cube has stayed
        append([series], cube)
    with pytest.raises(UsageError):
        append([series], cube, on_duplicate="sometimes")  # type: ignore[arg-type]


def test_new_files_that_are_duplicates_of_each_other(series: Path, tmp_path: Path) -> None:
    make_tiff(series / "b_20240505.tif", 55)
    rules: dict[OnDuplicate, str] = {"first": "a", "last": "b"}
    for rule, wins in rules.items():
        cube = tmp_path / f"{rule}"
        publish([series / "a_20240501.tif", series / "a_20240509.tif"], cube, pattern=PATTERN)
        done = append([series], cube, on_duplicate=rule)
        assert (names(done.added), len(done.unused)) == ([f"{wins}_20240505.tif"], 1)
        check(cube, [series / name for name in ("a_20240501.tif", f"{wins}_20240505.tif", "a_20240509.tif")])


# Ledgers of scans


def test_a_ledger_among_the_inputs_is_all_that_is_read(faults: FaultServer, tmp_path: Path) -> None:
    make_archive(faults.root, 6)
    urls = [f"{faults.url}s{index}.tif" for index in range(6)]
    publish(urls[:3], tmp_path / "cube")
    scan(urls, ledger=tmp_path / "scan.parquet")
    faults.forget()
    done = append([tmp_path / "scan.parquet"], tmp_path / "cube")
    assert (done.added, done.unchanged) == (tuple(urls[3:]), 3)
    assert append([tmp_path / "scan.parquet"], tmp_path / "cube").unchanged == 6
    assert faults.log == []
    check(tmp_path / "cube", [faults.root / f"s{index}.tif" for index in range(6)])


def test_an_old_ledger_brings_no_old_version_back(faults: FaultServer, tmp_path: Path) -> None:
    make_archive(faults.root, 3)
    urls = [f"{faults.url}s{index}.tif" for index in range(3)]
    publish(urls, tmp_path / "cube", ledger=tmp_path / "scan.parquet")
    make_tiff(faults.root / "s1.tif", 71)
    age(faults.root / "s1.tif", LONG_AGO + 5)
    assert append(urls, tmp_path / "cube").replaced == (urls[1],)
    done = append([tmp_path / "scan.parquet"], tmp_path / "cube")
    assert (done.unchanged, done.snapshots) == (3, ())
    make_tiff(faults.root / "s1.tif", 72)
    age(faults.root / "s1.tif", LONG_AGO + 9)
    assert append([tmp_path / "scan.parquet"], tmp_path / "cube", dry_run=True).replaced == (urls[1],)
    done = append(urls, tmp_path / "cube", ledger=tmp_path / "scan.parquet")
    assert done.replaced == (urls[1],)
    check(tmp_path / "cube", [faults.root / f"s{index}.tif" for index in range(3)])


def test_a_killed_append_goes_on_from_its_ledger(
    faults: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_archive(faults.root, 7)
    urls = [f"{faults.url}s{index}.tif" for index in range(7)]
    cube, ledger = tmp_path / "cube", tmp_path / "ledger.parquet"
    publish(urls[:2], cube)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(append_module, "write_change", killed)
        with pytest.raises(KeyboardInterrupt):
            append(urls[:5], cube, ledger=ledger)
    faults.forget()
    done = append(urls, cube, ledger=ledger)
    assert names(done.added) == [f"s{index}.tif" for index in range(2, 7)]
    assert {request.path for request in faults.gets()} == {"s5.tif", "s6.tif"}
    check(cube, [faults.root / f"s{index}.tif" for index in range(7)])


def test_a_ledger_of_other_options_is_refused(archive: Path, cube: Path, tmp_path: Path) -> None:
    make_tiff(archive / "s3.tif", 3)
    scan([archive], ledger=tmp_path / "scan.parquet", overviews=True)
    with pytest.raises(UsageError, match="overviews"):
        append([tmp_path / "scan.parquet"], cube)
    with pytest.raises(UsageError, match="overviews"):
        append([archive], cube, ledger=tmp_path / "scan.parquet")


# Files that do not fit


def test_misfits_are_left_out(archive: Path, cube: Path) -> None:
    for number in range(3, 12):
        make_tiff(archive / f"s{number}.tif", number)
    wrong: dict[str, dict[str, Any]] = {
        "t0.tif": {"dtype": "int16"},
        "s5x.tif": {"shape": (1, 71, 90)},
        "s5y.tif": {"crs": "EPSG:32634"},
        "s8x.tif": {"compress": "lzw"},
    }
    for name, profile in wrong.items():
        make_tiff(archive / name, 1, **profile)
    (archive / "u.tif").write_bytes(b"no tiff")
    told: list[Failure] = []
    before = history(cube)
    with pytest.raises(FormatError):
        append([archive], cube, on_misfit="skip")
    assert history(cube) == before
    planned = append([archive], cube, on_misfit="skip", on_error="skip", dry_run=True)
    done = append([archive], cube, on_misfit="skip", on_error="skip", on_failure=told.append, batch=20)
    assert planned.failed == done.failed
    assert sorted(names(done.failed)) == sorted([*wrong, "u.tif"])
    assert {"dtype", "size", "CRS", "codecs"} & {word for why in done.failed.values() for word in why.split()}
    assert {failure.error.feature for failure in told} == {"conform", "not-a-tiff"}
    assert {failure.url: str(failure.error) for failure in told} == done.failed
    assert (len(done.added), done.unchanged, len(done.snapshots)) == (9, 3, 3)
    check(cube, [archive / f"s{number}.tif" for number in range(12)])
    again = append([archive], cube, on_misfit="skip", on_error="skip")
    assert (again.snapshots, len(again.failed), again.unchanged) == ((), 5, 12)


def test_nothing_fits(cube: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for number in range(3):
        make_tiff(tmp_path / f"other/o{number}.tif", number, dtype="int16")
    told: list[Failure] = []
    before = history(cube)
    with pytest.raises(ConformError):
        append([tmp_path / "other"], cube, on_misfit="skip", on_failure=told.append)
    assert len(told) == 3
    assert history(cube) == before
    with pytest.raises(UsageError):
        append([tmp_path / "other"], cube, on_misfit="ignore")  # type: ignore[arg-type]


def test_of_new_files_that_exclude_each_other_the_first_is_taken(series: Path, tmp_path: Path) -> None:
    make_tiff(series / "b_20240505.tif", 55)
    make_tiff(series / "c_20240509.tif", 56)
    make_tiff(series / "c_20240511.tif", 57)
    done = append([series], tmp_path / "times", on_misfit="skip")
    assert names(done.added) == ["a_20240505.tif", "c_20240511.tif"]
    assert names(done.failed) == ["b_20240505.tif", "c_20240509.tif"]
    assert all("[overlap]" in why for why in done.failed.values())
    found = ["a_20240501.tif", "a_20240505.tif", "a_20240509.tif", "c_20240511.tif"]
    check(tmp_path / "times", [series / name for name in found])


def test_misfits_of_a_pyramid_of_tiles(tmp_path: Path) -> None:
    folder = tmp_path / "tiles"
    folder.mkdir()

    def tile(name: str, east: float, seed: int, *, levels: Sequence[int] = (2,), **profile: Any) -> None:
        place = from_origin(500000.0 + 10 * east, 4600000.0, 10.0, 10.0)
        sizes = {"blockxsize": 32, "blockysize": 32}
        make_tiff(folder / name, seed, shape=(1, 128, 128), transform=place, **sizes | profile)
        with rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE="64"), rasterio.open(folder / name, "r+") as file:
            file.build_overviews(levels, rasterio.enums.Resampling.nearest)
        age(folder / name)

    tile("a.tif", 0, 1)
    publish([folder], tmp_path / "cube", overviews=True, mosaic=True)
    tile("b.tif", 128, 2)
    tile("c.tif", 256, 3, levels=())
    tile("d.tif", 257, 4)
    tile("e.tif", 64, 5)
    tile("f.tif", 384, 6)
    tile("g.tif", 512, 7, nodata=9)
    done = append([folder], tmp_path / "cube", on_misfit="skip")
    assert (names(done.added), names(done.failed)) == (["b.tif", "f.tif"], ["c.tif", "d.tif", "e.tif", "g.tif"])
    features = ("misaligned", "misaligned", "conform")
    for why, feature in zip(list(done.failed.values())[1:], features, strict=True):
        assert f"[{feature}]" in why
    expected = np.zeros((128, 512), np.uint16)
    for name, column in (("a.tif", 0), ("b.tif", 128), ("f.tif", 384)):
        expected[:, column : column + 128] = read(folder / name)
    assert np.array_equal(open_cube(tmp_path / "cube", level=0)["band_data"].values, expected)
    assert open_cube(tmp_path / "cube", level=1).sizes["x"] == 256
    assert len(done.notes) == 1


def test_options_that_are_wrong_are_wrong_with_no_file(archive: Path, tmp_path: Path) -> None:
    from datetime import UTC, datetime

    def year(url: str) -> datetime:
        return datetime(2000 + int(url[-5]), 1, 1, tzinfo=UTC)

    publish([archive], tmp_path / "cube", time=year)
    make_tiff(archive / "s3.tif", 3)
    with pytest.raises(UsageError, match="function"):
        append([archive], tmp_path / "cube", on_misfit="skip")
    assert len(append([archive], tmp_path / "cube", on_misfit="skip", time=year).added) == 1


def test_a_place_that_another_writer_takes(series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cube = tmp_path / "times"
    make_tiff(series / "a_20240511.tif", 11)
    (tmp_path / "b").mkdir()
    make_tiff(tmp_path / "b/b_20240505.tif", 55)
    turns: list[int] = []

    def overtaken(*arguments: Any) -> None:
        update_rows(*arguments)
        if not turns:  # once, right before the commit, while the lock is not there
            turns.append(1)
            append([tmp_path / "b"], cube)

    monkeypatch.setattr(append_module, "writing", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(change, "update_rows", overtaken)
    told: list[Failure] = []
    done = append([series], cube, on_misfit="skip", on_failure=told.append)
    assert (names(done.added), names(done.failed)) == (["a_20240511.tif"], ["a_20240505.tif"])
    assert names(failure.url for failure in told) == ["a_20240505.tif"]
    days = [series / "a_20240501.tif", tmp_path / "b/b_20240505.tif", series / "a_20240509.tif"]
    check(cube, [*days, series / "a_20240511.tif"])


def test_sifting_tries_few_times(archive: Path) -> None:
    header = scan([archive]).headers[0]
    tries: list[int] = []

    def attempt(misfits: set[int], some: Sequence[Any]) -> None:
        tries.append(len(some))
        if misfits & {id(one) for one in some}:
            raise ConformError("no", feature="conform")

    from dataclasses import replace

    headers = [replace(header, place=replace(header.place, url=f"file:///{number}.tif")) for number in range(1000)]
    bad = [headers[number] for number in (0, 499, 998, 999)]
    found, errors = sift(headers, lambda some: attempt({id(one) for one in bad}, some))
    assert list(errors) == [one.url for one in bad]
    assert found == [one for one in headers if one.url not in errors]
    assert len(tries) < 90


# Ground


@pytest.mark.parametrize("group", ["", "maps/one"])
def test_growing_ground_is_told(group: str, tmp_path: Path) -> None:
    folder = tmp_path / "tiles"
    folder.mkdir()

    def tile(name: str, east: int, north: int, seed: int) -> Path:
        place = from_origin(500000.0 + 960.0 * east, 4600000.0 + 960.0 * north, 10.0, 10.0)
        make_tiff(folder / name, seed, shape=(1, 96, 96), transform=place)
        return folder / name

    first = tile("a.tif", 0, 0, 1)
    publish([folder], tmp_path / "cube", mosaic=True, group=group)
    second = tile("b.tif", 1, 0, 2)
    done = append([folder], tmp_path / "cube", group=group)
    assert done.notes == (f"grows /{group}: 96 x 96 -> 192 x 96",)
    third = tile("c.tif", -1, 2, 3)
    assert append([folder], tmp_path / "cube", group=group, dry_run=True).notes == (
        f"grows /{group}: 192 x 96 -> 288 x 288",
    )
    append([folder], tmp_path / "cube", group=group)
    expected = np.zeros((288, 288), np.uint16)
    for path, row, column in ((first, 2, 1), (second, 2, 2), (third, 0, 0)):
        expected[96 * row :, 96 * column :][:96, :96] = read(path)
    assert np.array_equal(open_cube(tmp_path / "cube", group=group)["band_data"].values, expected)
    tile("a.tif", 0, 0, 4)
    age(folder / "a.tif", LONG_AGO + 3)
    assert append([folder], tmp_path / "cube", group=group).notes == ()


# Workers


def test_workers_read_and_write(series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (change, distribute):
        monkeypatch.setattr(module, "SHARE", 1)
    work: list[str] = []

    class Noted(ThreadPoolExecutor):
        def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any:
            work.append(arguments[0].__name__)
            return super().submit(function, *arguments, **options)

    make_tiff(series / "a_20240501.tif", 101)
    age(series / "a_20240501.tif", LONG_AGO + 4)
    make_tiff(series / "a_20240520.tif", 20)
    with Noted(2) as executor:
        done = append([series], tmp_path / "times", executor=executor)
    assert (names(done.added), names(done.replaced)) == (["a_20240505.tif", "a_20240520.tif"], ["a_20240501.tif"])
    assert (set(work), done.late) == ({"read_shard", "write_share"}, 1)
    check(tmp_path / "times", [series / f"a_202405{day}.tif" for day in ("01", "05", "09", "20")])
    assert append([series], tmp_path / "times").snapshots == ()
    with pytest.raises(UsageError):
        append([series], tmp_path / "times", executor="two")


# The command


def test_the_command(series: Path, tmp_path: Path) -> None:
    cube, ledger = tmp_path / "times", tmp_path / "scan.parquet"
    make_tiff(series / "b_20240505.tif", 55, dtype="int16")
    make_tiff(series / "c_20240509.tif", 56)
    assert run("append", series, "--to", cube).code == 1
    done = run("append", series, "--to", cube, "--skip-misfits", "--dry-run", "--ledger", ledger)
    assert done.code == 0
    assert "Skipped 2 files" in done.out
    assert done.err.count("error:") == 2
    os.utime(series / "a_20240505.tif", (LONG_AGO, LONG_AGO))
    told = json.loads(run("append", ledger, "--to", cube, "--skip-misfits", "--json").out)
    failed = {one["url"].rpartition("/")[2]: one["feature"] for one in told["failed"]}
    assert failed == {"b_20240505.tif": "conform", "c_20240509.tif": "overlap"}
    assert names(told["added"]) == ["a_20240505.tif"]
    done = run("append", series / "b_20240505.tif", "--to", cube, "--skip-misfits")
    assert (done.code, done.err.count("error:")) == (1, 1)
    done = run("append", series / "c_20240509.tif", "--to", cube, "--on-duplicate", "last", "--workers", "1")
    assert done.code == 0
    check(cube, [series / name for name in ("a_20240501.tif", "a_20240505.tif", "c_20240509.tif")])
