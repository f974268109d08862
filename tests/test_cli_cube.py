"""The commands for cubes: what they print, what they write, their exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio
import zarr

from tests.archives import LONG_AGO, age, gdal_reads, make_tiff
from tests.test_cli import one_line, run
from virtual_tiff.cube.open import open_cube


def test_help_has_an_example_each() -> None:
    for command in ("scan", "plan", "publish", "append", "verify", "log", "open"):
        done = run(command, "--help")
        assert done.code == 0
        assert f"virtual-tiff {command}" in done.out
        assert "--json" in done.out


def test_append_dry_and_real_and_again(archive: Path, cube: Path) -> None:
    make_tiff(archive / "s3.tif", 3)
    done = run("append", archive, "--to", cube, "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert "Would append" in done.out
    assert open_cube(cube).sizes["item"] == 3
    done = run("append", archive, "--to", cube)
    assert "1 new, 0 replaced, 3 unchanged" in done.out
    assert f"+ file://{archive}/s3.tif" in done.out
    assert np.array_equal(open_cube(cube)["band_data"].values, gdal_reads(archive, 4)[:, 0])
    again = json.loads(run("append", archive, "--to", cube, "--json").out)
    assert (again["added"], again["snapshots"], again["unchanged"]) == ([], [], 4)


def test_append_that_is_refused_or_goes_on(archive: Path, cube: Path, tmp_path: Path) -> None:
    make_tiff(archive / "s3.tif", 3, compress="lzw")
    done = run("append", archive, "--to", cube)
    assert done.code == 1
    one_line(done, "s3.tif", "[conform]")
    (archive / "s3.tif").write_bytes(b"no tiff")
    make_tiff(archive / "s4.tif", 4)
    assert run("append", archive, "--to", cube).code == 1
    done = run("append", archive, "--to", cube, "--skip-errors", "--json")
    assert done.code == 0
    assert [one["url"] for one in json.loads(done.out)["failed"]] == [f"file://{archive}/s3.tif"]
    assert "s3.tif" in done.err
    done = run("append", archive, "--to", tmp_path / "nothing")
    assert done.code == 4
    one_line(done, "[target-missing]")


def test_log(archive: Path, cube: Path) -> None:
    make_tiff(archive / "s3.tif", 3)
    run("append", archive, "--to", cube)
    lines = run("log", cube).out.splitlines()
    assert "Append 1 file  [4 files]" in lines[0]
    assert "Publish 3 files" in lines[1]
    newest = json.loads(run("log", cube, "--json", "--limit", "1").out)
    assert [(one["files"], one["sources"]) for one in newest] == [(1, 4)]
    assert run("log", archive).code == 4


def test_verify(archive: Path, cube: Path) -> None:
    done = run("verify", cube, "--pixels", "3")
    assert (done.code, done.err) == (0, "")
    assert "3 same" in done.out
    assert "3 of 3 compared chunks agree" in done.out
    make_tiff(archive / "s1.tif", 50)
    age(archive / "s1.tif", LONG_AGO + 9)
    done = run("verify", cube, "--json")
    assert done.code == 1
    assert [one["state"] for one in json.loads(done.out)["sources"]] == ["changed"]
    assert run("verify", cube, "--fix").code == 0
    assert np.array_equal(open_cube(cube)["band_data"].values, gdal_reads(archive)[:, 0])


def test_scan_and_plan(archive: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "scan.parquet"
    done = run("scan", archive, "--ledger", ledger)
    assert (done.code, done.err) == (0, "")
    assert "3 files, 0 failed" in done.out
    (archive / "s9.tif").write_bytes(b"no tiff")
    done = run("scan", archive, "--ledger", ledger, "--json")
    assert done.code == 1
    (failed,) = json.loads(done.out)["failed"]
    assert (failed["url"], failed["feature"]) == (f"file://{archive}/s9.tif", "not-a-tiff")
    assert "begins with" in failed["error"]
    assert run("plan", archive).code == 1
    done = run("plan", archive, "--skip-errors")
    assert done.code == 0
    assert "band_data (item: 3, y: 70, x: 90) uint16" in done.out
    assert json.loads(run("plan", archive, "--skip-errors", "--json").out)["files"] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "scan.parquet"]


def test_open(archive: Path, cube: Path) -> None:
    done = run("open", cube)
    assert done.code == 0
    assert "band_data" in done.out
    assert f"file://{archive}/: icechunk.credentials.LocalFileSystemAccess" in done.out
    assert "icechunk.Repository.open" in done.out
    report = json.loads(run("open", cube, "--json").out)
    assert report["variables"]["band_data"]["dimensions"] == {"item": 3, "y": 70, "x": 90}
    done = run("open", cube, "--level", "2")
    assert done.code == 4
    one_line(done, "no level 2")


def test_open_rectilinear_chunks(tmp_path: Path) -> None:
    """The code that is printed sets what zarr needs, and works as it is."""
    (tmp_path / "in").mkdir()
    for top, rows in ((0, 64), (64, 100)):
        place = rasterio.transform.from_origin(500000, 4600000 - 10 * top, 10, 10)
        make_tiff(tmp_path / f"in/s{top}.tif", top, shape=(1, rows, 96), tiled=False, blockysize=rows, transform=place)
        age(tmp_path / f"in/s{top}.tif")
    options = ("--to", tmp_path / "cube", "--mosaic", "--chunk-grid", "rectilinear", "--json")
    published = run("publish", tmp_path / "in", *options)
    done = run("open", tmp_path / "cube", "--json")
    assert done.code == 0, done.err
    code = json.loads(done.out)["code"]
    assert code == json.loads(published.out)["code"]
    assert code.startswith("import zarr\nzarr.config.set(")
    shown = f"{code}print(ds['band_data'].shape, int(ds['band_data'].values[0, 0]))"
    found = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    with rasterio.open(tmp_path / "in/s0.tif") as file:
        first = file.read(1)[0, 0]
    assert found.stdout.split() == ["(164,", "96)", f"{first}"]
    assert open_cube(tmp_path / "cube")["band_data"].values[0, 0] == first
    assert not zarr.config.get("array.rectilinear_chunks")


def test_publish_along_time_and_into_a_repository(archive: Path, cube: Path) -> None:
    for day, path in enumerate(sorted(archive.iterdir()), 1):
        with rasterio.open(path, "r+") as file:
            file.update_tags(TIFFTAG_DATETIME=f"2024:05:{9 - day:02d} 10:00:00")
        age(path)
    done = run("publish", archive, "--to", cube, "--into", "--group", "series", "--time", "tag")
    assert done.code == 0, done.err
    ds = open_cube(cube, group="series")
    assert np.array_equal(ds["band_data"].values, gdal_reads(archive)[::-1, 0])
    again = run("publish", archive, "--to", cube, "--into", "--group", "series")
    assert again.code == 4
    one_line(again, "/series", "[target-exists]")
    done = run("publish", archive, "--to", cube, "--into", "--group", "other", "--time", "moon")
    assert done.code == 2
    one_line(done, "'moon'")
