"""What people read: reports of verify, log and open, the groups of a cube, and the bars of long work."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from tests.archives import LONG_AGO, age, make_archive, make_tiff
from tests.test_cli import run
from virtual_tiff.cli.bars import Bars, bars
from virtual_tiff.cube.contents import choose_group
from virtual_tiff.cube.results import ScanProgress
from virtual_tiff.cube.stages import Stage


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """A cube of four groups."""
    folder = tmp_path / "split"
    folder.mkdir()
    make_tiff(folder / "a.tif", 1)
    make_tiff(folder / "b.tif", 2, compress="lzw", nodata=0)
    make_tiff(folder / "c.tif", 3, compress="lzw", nodata=1)
    make_tiff(folder / "d.tif", 4, crs="EPSG:32634", compress="lzw", nodata=0)
    assert run("publish", folder, "--to", tmp_path / "groups", "--on-conflict", "split").code == 0
    return folder


def test_verify_says_why_line_by_line_and_the_totals_last(archive: Path, tmp_path: Path) -> None:
    run("publish", archive, "--to", tmp_path / "cube")
    make_tiff(archive / "s0.tif", 9, shape=(1, 71, 90))
    (archive / "s1.tif").unlink()
    age(archive / "s2.tif", LONG_AGO + 1)
    lines = run("verify", tmp_path / "cube", "--pixels", "4").out.splitlines()
    changed, missing, touched, pixels, totals = lines
    assert changed.startswith(f"  changed  file://{archive}/s0.tif: ")
    assert "bytes have become" in changed
    assert missing.startswith(f"  missing  file://{archive}/s1.tif: the source does not exist")
    assert touched.startswith(f"  touched  file://{archive}/s2.tif: ")
    assert pixels == "0 of 0 compared chunks agree (4 were asked for)"
    assert totals == f"file://{tmp_path}/cube: 1 touched, 1 changed, 1 missing"
    (archive / "s0.tif").write_bytes(b"no tiff")
    line = run("verify", tmp_path / "cube", "--fix").out.splitlines()[0]
    assert "; not written again: the file begins with" in line
    assert line.count("s0.tif") == 1


def test_verify_lists_a_part_and_with_verbose_all(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 25, shape=(1, 16, 16), blockysize=16)
    run("publish", tmp_path / "in", "--to", tmp_path / "cube")
    for path in (tmp_path / "in").iterdir():
        path.unlink()
    lines = run("verify", tmp_path / "cube").out.splitlines()
    assert len(lines) == 22
    assert lines[-2] == "  ... and 5 more; --verbose tells of all"
    assert len(run("verify", tmp_path / "cube", "--verbose").out.splitlines()) == 26
    assert len(json.loads(run("verify", tmp_path / "cube", "--json").out)["sources"]) == 25


@pytest.mark.usefixtures("split")
def test_groups_are_told_from_the_most_similar_one(tmp_path: Path) -> None:
    done = run("plan", tmp_path / "split", "--on-conflict", "split")
    notes = [line.strip() for line in done.out.splitlines() if "is apart" in line]
    codecs = "virtual_tiff.segment of LZW, not bytes > numcodecs.zlib"
    nodata = "0, not none"
    assert notes == [
        f"utm33n_10m_era2 (1 file) is apart from utm33n_10m_era1: it differs in codecs ({codecs}), nodata ({nodata})",
        "utm33n_10m_era3 (1 file) is apart from utm33n_10m_era2: it differs in nodata (1, not 0)",
        "utm34n_10m (1 file) is apart from utm33n_10m_era2: it differs in CRS (EPSG:32634, not EPSG:32633)",
    ]
    assert "zarrs, zarrita, GDAL (they lack virtual_tiff.segment)" in done.out


@pytest.mark.usefixtures("split")
def test_open_marks_the_group_that_it_shows(tmp_path: Path) -> None:
    out = run("open", tmp_path / "groups").out
    assert "  utm33n_10m_era1 (shown above)\n  utm33n_10m_era2\n" in out
    assert "  utm34n_10m (shown above)\n" in run("open", tmp_path / "groups", "--group", "utm34n_10m").out
    assert json.loads(run("open", tmp_path / "groups", "--json").out)["shown"] == "utm33n_10m_era1"


def test_the_group_that_is_shown() -> None:
    levels = ("a/0", "a/1", "b/0", "b/1")
    assert choose_group(levels) == "a/0"
    assert choose_group(levels, "b") == "b/0"
    assert choose_group(levels, "b", 1) == "b/1"
    assert choose_group(levels, "b", 2) == "b/2"
    assert choose_group(("0", "1"), "", 1) == "1"
    assert choose_group(("",), "", 0) == ""
    assert choose_group((), "c") == "c"
    assert choose_group(("ab", "a"), "a") == "a"


def test_publish_says_how_other_groups_are_opened(split: Path, tmp_path: Path) -> None:
    out = run("publish", split, "--to", tmp_path / "cube", "--on-conflict", "split").out
    assert f"ds = open_cube('file://{tmp_path}/cube', group='utm33n_10m_era1')" in out
    others = out.partition("Other groups:")[2].split()
    assert others[1::2] == ["group='utm33n_10m_era2')", "group='utm33n_10m_era3')", "group='utm34n_10m')"]
    report = json.loads(run("publish", split, "--to", tmp_path / "two", "--on-conflict", "split", "--json").out)
    assert report["groups"] == ["utm33n_10m_era1", "utm33n_10m_era2", "utm33n_10m_era3", "utm34n_10m"]


@pytest.mark.usefixtures("split")
def test_log_cuts_long_titles(tmp_path: Path) -> None:
    line = run("log", tmp_path / "groups").out.splitlines()[0]
    assert line.endswith("...  [4 files]")
    assert len(line) < 170
    (newest, *_) = json.loads(run("log", tmp_path / "groups", "--json").out)
    assert newest["message"].partition("\n")[0].endswith("; utm34n_10m/band_data (item: 1, y: 70, x: 90) uint16")
    assert newest["message"].partition("\n")[0] in run("log", tmp_path / "groups", "--verbose").out


def test_names_that_do_not_match_are_told_five_times(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 8)
    done = run("plan", tmp_path / "in", "--pattern", "{time:%Y%m%d}.tif")
    assert done.code == 1
    lines = done.err.splitlines()
    assert sum("does not match" in line for line in lines) == 5
    assert lines[5:] == ["error: 3 more files failed; --verbose tells of all"]


@pytest.fixture
def progress() -> Iterator[Progress]:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    columns = [TextColumn("{task.description}|{task.completed:.0f}|{task.total}|{task.fields[errors]}")]
    with Progress(*columns, console=console, auto_refresh=False) as made:
        yield made


def visible(progress: Progress) -> list[tuple[str, float, float | None]]:
    return [(one.description, one.completed, one.total) for one in progress.tasks if one.visible]


def test_bars_show_one_line_for_each_stage(progress: Progress) -> None:
    shown = Bars(progress, quiet=False)
    shown.scanned(ScanProgress(done=2, failed=1, total=3))
    assert progress.tasks[0].fields["errors"] == "1 failed"
    tell = shown.staged
    assert tell is not None
    tell(Stage("plan"))
    assert visible(progress) == [("Reading headers", 2, 3), ("Planning", 0, None)]
    tell(Stage("write", 5, 10))
    tell(Stage("commit", 0, 2))
    tell(Stage("write", 10, 10))
    assert visible(progress) == [("Reading headers", 2, 3), ("Writing references", 10, 10), ("Committing", 0, 2)]


def test_no_stages_where_nobody_sees_them(progress: Progress) -> None:
    assert Bars(progress, quiet=True).staged is None
    with bars() as shown:  # stderr is no terminal here
        assert shown.staged is None
