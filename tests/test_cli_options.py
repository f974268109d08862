"""The options of the command: they are those of the API, reach it, and are refused in one line."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from tests.archives import LONG_AGO, age, make_tiff
from tests.pages import ROOT
from tests.test_cli import one_line, run
from virtual_tiff import bandaxis, chunks, export_references
from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cli import build, upkeep, workers
from virtual_tiff.cli import export as cli_export
from virtual_tiff.cli.options import CubeOptions, ReadOptions, SpeedOptions
from virtual_tiff.cube import append, edges, groups, publish, verify, views, vrt
from virtual_tiff.cube import open as opening
from virtual_tiff.cube.draft import Request
from virtual_tiff.cube.open import open_cube
from virtual_tiff.errors import SourceError

DATED = "{time:%Y%m%d}.tif"


def read(path: Path) -> Any:
    with rasterio.open(path) as file:
        return file.read(1)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """One file for each of three days."""
    folder = tmp_path / "series"
    folder.mkdir()
    for day in (1, 3, 5):
        make_tiff(folder / f"2024050{day}.tif", day)
    return folder


# The same as the API


def choices(kind: Any, name: str) -> set[Any]:
    """The values that an option lets through."""
    return set(get_args(get_type_hints(kind)[name]))


@pytest.mark.parametrize(
    ("kind", "name", "there"),
    [
        (ReadOptions, "parts", vrt.Parts),
        (ReadOptions, "short_strips", chunks.ShortStrips),
        (ReadOptions, "codecs", chunks.Codecs),
        (CubeOptions, "band_as", views.BandAs),
        (CubeOptions, "band_axis", bandaxis.BandAxis),
        (CubeOptions, "chunk_grid", edges.ChunkGrid),
        (CubeOptions, "on_conflict", groups.OnConflict),
        (CubeOptions, "on_duplicate", views.OnDuplicate),
    ],
)
def test_choices_are_those_of_the_api(kind: Any, name: str, there: Any) -> None:
    assert choices(kind, name) == set(get_args(there.__value__))


def test_defaults_are_those_of_the_api() -> None:
    request = CubeOptions().request(ReadOptions(), SpeedOptions())
    plain = Request(on_error="skip", options=ChunkOptions())
    assert {one.name: getattr(request, one.name) for one in fields(Request)} == {
        one.name: getattr(plain, one.name) for one in fields(Request)
    }


@pytest.mark.parametrize(
    ("command", "function", "names"),
    [
        (build.publish, publish.publish, ("group", "into", "batch", "message")),
        (cli_export.export, export_references, ("format", "zarr_format", "record_size")),
        (build.append, append.append, ("group", "dry_run", "batch", "message", "on_duplicate", "ledger")),
        (upkeep.verify, verify.verify, ("group", "pixels", "fix", "accept", "concurrency", "retries")),
    ],
)
def test_defaults_of_commands_are_those_of_functions(
    command: Callable[..., None], function: Callable[..., Any], names: tuple[str, ...]
) -> None:
    ours, theirs = inspect.signature(command).parameters, inspect.signature(function).parameters
    assert {name: ours[name].default for name in names} == {name: theirs[name].default for name in names}


def test_each_field_of_a_request_can_be_asked_for(tmp_path: Path) -> None:
    speed = SpeedOptions(concurrency=3, retries=4, workers=1)
    reading = ReadOptions(
        pattern="{tile}_{time:%Y%m%d}.tif",
        asset=["B04"],
        property=["platform"],
        location_field="file",
        parts="whole",
        ifd="3.0",
        overviews=True,
        short_strips="pad",
    )
    cube = CubeOptions(
        masks=True,
        levels="0,2",
        bands="4,red",
        bounds="-10,40,0,50",
        stored_values=True,
        dim="scene",
        name="dn",
        time="tag",
        axis=["tile"],
        presize=["tile=1,2"],
        band_as="variable",
        band_axis="last",
        mosaic=True,
        chunk_grid="rectilinear",
        group_by="none",
        on_conflict="split",
        on_duplicate="last",
    )
    request = cube.request(reading, speed, ledger=tmp_path / "l.parquet", executor=object())
    plain = Request()
    same = {one.name for one in fields(Request) if getattr(request, one.name) == getattr(plain, one.name)}
    assert same == {"window"}
    assert (request.bounds, request.bands, request.overviews) == ((-10, 40, 0, 50), [4, "red"], [0, 2])
    assert request.presize == {"tile": ["1", "2"]}
    assert CubeOptions(window="-1,0,5,6").request(reading, speed).window == (-1, 0, 5, 6)


def test_plan_takes_the_options_of_publish() -> None:
    def options(command: str) -> set[str]:
        return set(re.findall(r"--[a-z-]+", run(command, "--help").out))

    writing = {"--to", "--group", "--into", "--batch", "--message"}
    assert options("publish") - writing == options("plan")
    assert options("export") - {"--to", "--format", "--zarr-format", "--record-size"} == options("plan")
    assert {"--pattern", "--presize", "--bounds", "--workers"} < options("plan")


# What is wrong


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--bounds=1,2,3", "west,south"),
        ("--bounds=0,0,nan,1", "west,south"),
        ("--bounds=5,0,1,1", "west,south"),
        ("--window=0,0,0,5", "column,row"),
        ("--window=0,0,1.5,5", "column,row"),
        ("--levels=x", "--levels"),
        ("--bands=1,,2", "--bands"),
        ("--presize=time", "AXIS=VALUES"),
        ("--presize=other=1,2", "which is no axis"),
        ("--time=moon", "'moon'"),
        ("--color=red", "'red'"),
        ("--short-strips=x", "rectilinear"),
        ("--parts=x", "whole"),
        ("--ifd=x", "IFD"),
        ("--pattern={", "brace"),
        ("--asset=B04", "catalogue"),
        ("--location-field=x", "catalogue"),
        ("--workers=-1", "--workers"),
        ("--target-chunk-bytes=0", "--target-chunk-bytes"),
        ("--concurrency=many", "--concurrency"),
        ("--nonsense", "--nonsense"),
    ],
)
def test_wrong_values_are_one_line(option: str, words: str, series: Path) -> None:
    done = run("plan", series, option)
    assert done.code == 2
    one_line(done, words)


def test_commands_without_what_they_need(series: Path) -> None:
    for arguments in (("publish", series), ("scan", series), ("append", series), ("plan",), ("nonsense",)):
        done = run(*arguments)
        assert done.code == 2
        one_line(done, "--help")
    done = run("plan", series, "--bounds", "0,0,1,1", "--window", "0,0,1,1")
    assert done.code == 2
    one_line(done, "both bounds and a window")
    for duration in ("P1M", "1d"):
        done = run("tidy", series, "--older-than", duration)
        assert done.code == 2
        one_line(done, "P")


def test_values_may_begin_with_a_minus(tmp_path: Path) -> None:
    place = from_origin(-100.0, 50.0, 1.0, 1.0)
    make_tiff(tmp_path / "a.tif", shape=(1, 96, 96), crs="EPSG:4326", transform=place)
    done = run("publish", tmp_path / "a.tif", "--to", tmp_path / "cube", "--bounds", "-60,10,-20,40")
    assert done.code == 0, done.err
    ds = open_cube(tmp_path / "cube")
    assert np.array_equal(ds["band_data"].values.squeeze(), read(tmp_path / "a.tif")[:48, 32:])


# What they do


def test_plan_says_what_publish_writes(series: Path, tmp_path: Path) -> None:
    (series / "copy").mkdir()
    make_tiff(series / "copy" / "20240503.tif", 33)
    (series / "20240509.tif").write_bytes(b"no tiff")
    asked = (f"{series}/**/*.tif", "--pattern", DATED, "--on-duplicate", "first", "--on-error", "skip", "--json")
    planned = run("plan", *asked)
    assert planned.code == 0, planned.err
    assert not (tmp_path / "cube").exists()
    plan = json.loads(planned.out)
    done = json.loads(run("publish", *asked, "--to", tmp_path / "cube").out)
    for key in ("files", "references", "notes", "warnings", "unused", "failed"):
        assert plan[key] == done[key]
    assert (plan["files"], len(plan["unused"]), len(plan["failed"]), len(plan["notes"])) == (3, 1, 1, 1)
    text = run("plan", *asked[:-1]).out
    assert "18 references" in text
    assert " is used: it comes first; not " in text
    assert "1 file that cannot be read" in text
    assert text.endswith("Nothing was written.\n")


def test_presized_time_and_late_and_changed_files(series: Path, tmp_path: Path) -> None:
    cube = tmp_path / "cube"
    presize = ("--presize", "time=2024-05-01/2024-05-07/P1D")
    done = run("publish", series, "--to", cube, "--pattern", DATED, *presize, "--message", "May")
    assert done.code == 0, done.err
    assert "time: 7" in done.out
    make_tiff(series / "20240502.tif", 2)
    make_tiff(series / "20240503.tif", 30)
    age(series / "20240503.tif", LONG_AGO + 9)
    found = json.loads(run("append", series, "--to", cube, "--json").out)
    assert [len(found[key]) for key in ("added", "replaced", "unused", "failed")] == [1, 1, 0, 0]
    pixels = open_cube(cube)["band_data"]
    assert pixels.sizes["time"] == 7
    for day in (1, 2, 3, 5):
        assert np.array_equal(
            pixels.sel(time=f"2024-05-{day:02d}").values.squeeze(), read(series / f"2024050{day}.tif")
        )
    assert [one["message"] for one in json.loads(run("log", cube, "--json").out)][1] == "May"


def test_groups_are_named_to_readers(tmp_path: Path) -> None:
    folder = tmp_path / "zones"
    folder.mkdir()
    for zone in (32, 33):
        make_tiff(folder / f"{zone}.tif", zone, crs=f"EPSG:326{zone}")
    done = run("publish", folder, "--to", tmp_path / "cube", "--group", "a")
    assert done.code == 0, done.err
    assert "group='a/utm32n_10m')" in done.out
    assert "note: utm33n_10m (1 file) is apart from utm32n_10m" in done.out
    report = json.loads(run("open", tmp_path / "cube", "--group", "a", "--json").out)
    assert report["groups"] == ["a/utm32n_10m", "a/utm33n_10m"]
    seen: dict[str, Any] = {}
    exec(report["code"], seen)  # noqa: S102 (our own text)
    assert np.array_equal(seen["ds"]["band_data"].values.squeeze(), read(folder / "32.tif"))


def test_a_ledger_is_an_input(series: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "scan.parquet"
    assert run("scan", series, "--ledger", ledger, "--pattern", DATED).code == 0
    done = run("scan", series, "--ledger", ledger, "--pattern", DATED, "--refresh", "--json")
    assert json.loads(done.out) == {"ledger": str(ledger), "files": 3, "reused": 3, "gone": [], "failed": []}
    done = run("plan", ledger)
    assert "band_data (time: 3, y: 70, x: 90) uint16" in done.out


def test_workers_read_and_write(series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads stand for the processes, whose start takes long; ``test_cube_executor.py`` has those."""
    asked: list[tuple[int, str]] = []
    work: list[str] = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, count: int, *, mp_context: Any, initializer: object) -> None:
            asked.append((count, mp_context.get_start_method()))
            assert callable(initializer)
            super().__init__(count)

        def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Any:
            work.append(arguments[0].__name__)
            return super().submit(function, *arguments, **options)

    monkeypatch.setattr(workers, "ProcessPoolExecutor", Pool)
    done = run("publish", series, "--to", tmp_path / "cube", "--pattern", DATED, "--workers", "2")
    assert (done.code, done.err) == (0, "")
    assert asked == [(2, "spawn")]
    assert set(work) == {"read_shard", "write_share"}
    for day, pixels in zip((1, 3, 5), open_cube(tmp_path / "cube")["band_data"].values, strict=True):
        assert np.array_equal(pixels.squeeze(), read(series / f"2024050{day}.tif"))


def test_open_tells_which_sources_may_not_be_read(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("publish", series, "--to", tmp_path / "cube").code == 0
    prefix = f"file://{series}/"
    real = opening.open_cube

    def refused(*arguments: Any, check: bool = True, **options: Any) -> Any:
        if check:
            raise SourceError(f"the sources below {prefix} may not be read", feature="forbidden", url=prefix)
        return real(*arguments, check=False, **options)

    monkeypatch.setattr(opening, "open_cube", refused)
    done = run("open", tmp_path / "cube")
    assert done.code == 3
    assert f"{prefix}: icechunk.credentials.LocalFileSystemAccess (may not be read)" in done.out
    assert done.err.count("\n") == 1
    done = run("open", tmp_path / "cube", "--json")
    assert (done.code, "may not be read" in json.loads(done.out)["containers"][prefix]["error"]) == (3, True)


def test_tidy(series: Path, tmp_path: Path) -> None:
    cube = tmp_path / "cube"
    assert run("publish", series, "--to", cube).code == 0
    assert "Removed from" in run("tidy", cube, "--older-than", "P0D").out
    done = run("tidy", cube, "--keep-history", "P30D", "--dry-run")
    assert (done.code, "Would remove from" in done.out) == (0, True)
    assert open_cube(cube)["band_data"].shape == (3, 70, 90)


def test_documented_keys_are_those_that_are_printed(series: Path, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "command.md").read_text(encoding="utf-8")
    documented = {
        command: set(re.findall(r"`(\w+)`", keys))
        for command, keys in re.findall(r"^\| `(\w+)` \| (.*) \|$", page, flags=re.MULTILINE)
    }
    cube, ledger = tmp_path / "cube", tmp_path / "scan.parquet"
    calls: dict[str, tuple[str | Path, ...]] = {
        "scan": (series, "--ledger", ledger),
        "plan": (series,),
        "publish": (series, "--to", cube),
        "export": (series, "--to", tmp_path / "refs.json"),
        "append": (series, "--to", cube),
        "verify": (cube,),
        "log": (cube,),
        "open": (cube,),
        "tidy": (cube,),
    }
    printed = {}
    for command, arguments in calls.items():
        done = run(command, *arguments, "--json")
        assert (done.code, done.err) == (0, "")
        found = json.loads(done.out)
        printed[command] = set(found[0] if isinstance(found, list) else found)
    assert printed == documented
