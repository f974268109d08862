"""The command: what it prints, its exit codes, and one line for each thing that goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.archives import gdal_reads, make_archive, make_tiff, read_elsewhere
from tests.servers import FaultServer, Mode
from virtual_tiff.cli.app import app

COMMAND = Path(sys.executable).parent / "virtual-tiff"


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def run(*arguments: str | Path) -> Done:
    """Run the command inside this process."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return Done(done.exit_code, done.stdout, done.stderr)


def run_outside(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Done:
    """Run the installed command."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    make_archive(tmp_path / "archive")
    return tmp_path / "archive"


def one_line(done: Done, *words: str | Path) -> None:
    """The error is one line that names what is asked for; nothing else is printed."""
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    for word in words:
        assert str(word) in done.err


# What it does


def test_publish_prints_what_a_reader_types(archive: Path, tmp_path: Path) -> None:
    done = run_outside("publish", archive, "--to", tmp_path / "cube.icechunk", "--dim", "scene")
    assert (done.code, done.err) == (0, "")
    assert "Published 3 files" in done.out
    assert "band_data (scene: 3, y: 70, x: 90) uint16" in done.out
    short, _, long = done.out.partition("\nor, with ")
    code = "\n".join(line[4:] for line in long.splitlines() if line.startswith("    "))
    assert np.array_equal(read_elsewhere(code, tmp_path), gdal_reads(archive)[:, 0])
    code = "\n".join(line[4:] for line in short.splitlines() if line.startswith("    "))
    assert code.startswith("from virtual_tiff")
    seen: dict[str, object] = {}
    exec(code, seen)  # noqa: S102 (our own text)
    assert seen["ds"].sizes["scene"] == 3  # type: ignore[attr-defined]


def test_publish_as_json(archive: Path, tmp_path: Path) -> None:
    (archive / "s1.tif").write_bytes(b"II*\0")
    done = run("publish", archive, "--to", tmp_path / "cube.icechunk", "--json", "--on-error", "skip")
    assert done.code == 0
    report = json.loads(done.out)
    assert (report["files"], [one["url"] for one in report["failed"]]) == (2, [f"file://{archive}/s1.tif"])
    assert "s1.tif" in done.err


def test_publish_from_a_list_and_a_glob(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{archive}/s2.tif\n{archive}/s0.tif\n")
    assert run("publish", f"@{tmp_path}/list.txt", "--to", tmp_path / "one").code == 0
    assert run("publish", f"{archive}/s*.tif", "--to", tmp_path / "two").code == 0


def test_info(archive: Path) -> None:
    done = run("info", archive / "s0.tif")
    assert done.code == 0
    for words in ("IFD 0: image, 90 x 70, 1 band, uint16", "tiles of 32 x 48", "numcodecs.zlib", "zarrita: yes"):
        assert words in done.out


def test_info_as_json(archive: Path) -> None:
    done = run("info", archive / "s0.tif", "--json")
    report = json.loads(done.out)
    assert report["images"][0]["array"]["chunk_shape"] == [48, 32]


def test_info_of_a_url(faults: FaultServer) -> None:
    make_tiff(faults.root / "a b.tif")
    assert run("info", f"{faults.url}a%20b.tif?token=x").code == 0


def test_demo(tmp_path: Path) -> None:
    done = run_outside("demo", tmp_path / "demo")
    assert (done.code, done.err) == (0, "")
    assert done.out.count("every pixel equal to what was made: yes") == 2
    assert done.out.count("every pixel equal to what GDAL reads: yes") == 2
    picture = imagecodecs.png_decode((tmp_path / "demo" / "picture.png").read_bytes())
    assert picture.ndim == 3
    assert picture.std() > 20
    again = run("demo", tmp_path / "demo")
    assert again.code == 4
    one_line(again, tmp_path / "demo", "[target-exists]")


def test_version_and_help() -> None:
    assert run("--version").out.startswith("virtual-tiff ")
    for command in ((), ("publish",), ("info",), ("demo",)):
        done = run(*command, "--help")
        assert done.code == 0
    assert "Exit codes" in run("--help").out


# What goes wrong


@pytest.mark.parametrize(
    ("content", "feature"),
    [(b"hello, this is no TIFF", "not-a-tiff"), (b"", "not-a-tiff"), (b"II*\0\x08\0\0\0", "truncated")],
)
def test_a_file_that_is_no_tiff(content: bytes, feature: str, archive: Path, tmp_path: Path) -> None:
    bad = archive / "s1.tif"
    bad.write_bytes(content)
    done = run("publish", archive, "--to", tmp_path / "cube.icechunk")
    assert done.code == 1
    one_line(done, bad, "[")
    done = run("info", bad)
    assert done.code == 1
    one_line(done, bad)
    assert not (tmp_path / "cube.icechunk").exists()
    assert f"[{feature}]" in done.err or not content


def test_a_truncated_file(archive: Path, tmp_path: Path) -> None:
    bad = archive / "s1.tif"
    for size in (100, bad.stat().st_size - 50):
        bad.write_bytes(bad.read_bytes()[:size]) if size == 100 else None
        make_tiff(bad, 1)
        bad.write_bytes(bad.read_bytes()[:size])
        done = run("publish", archive, "--to", tmp_path / "cube.icechunk")
        assert done.code == 1
        one_line(done, bad, "[truncated]")
    assert not (tmp_path / "cube.icechunk").exists()


def test_an_encoding_that_is_not_supported(archive: Path, tmp_path: Path) -> None:
    make_tiff(archive / "s1.tif", compress="none")
    raw = bytearray((archive / "s1.tif").read_bytes())
    at = raw.index(b"\x03\x01\x03\x00\x01\x00\x00\x00\x01\x00")
    raw[at + 8 : at + 10] = (0x77, 0x77)
    (archive / "s1.tif").write_bytes(raw)
    done = run("publish", archive, "--to", tmp_path / "cube.icechunk")
    assert done.code == 1
    one_line(done, archive / "s1.tif", "30583", "[compression]")
    done = run("info", archive / "s1.tif")
    assert done.code == 1
    assert "refused: " in done.out


@pytest.mark.parametrize(
    ("mode", "feature"), [("forbidden", "forbidden"), ("missing", "not-found"), ("no-range", "no-range")]
)
def test_servers_that_refuse(mode: Mode, feature: str, faults: FaultServer, tmp_path: Path) -> None:
    make_tiff(faults.root / "a.tif", shape=(1, 300, 300))
    faults.faults.mode = mode
    url = f"{faults.url}a.tif"
    for arguments in (("info", url), ("publish", url, "--to", tmp_path / "cube.icechunk")):
        done = run(*arguments)
        assert done.code == 3
        one_line(done, url, f"[{feature}]")
    assert not (tmp_path / "cube.icechunk").exists()


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:1/a.tif", "http://no-such-host.invalid/a.tif"):
        done = run("publish", url, "--to", tmp_path / "cube.icechunk")
        assert done.code == 3
        one_line(done, url, "[unreachable]")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = run("info", tmp_path / "gone.tif")
    assert done.code == 3
    one_line(done, tmp_path / "gone.tif", "[not-found]")
    done = run("publish", tmp_path / "*.tif", "--to", tmp_path / "cube.icechunk")
    assert done.code == 3
    one_line(done, tmp_path / "*.tif", "[no-match]")


def test_a_target_that_exists_or_cannot_be_written(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for target, feature in (("file", "target-exists"), ("file/cube", "target-denied"), ("archive", "target-exists")):
        done = run("publish", archive, "--to", tmp_path / target)
        assert done.code == 4
        one_line(done, tmp_path / target, f"[{feature}]")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_to_write(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    done = run("publish", archive, "--to", tmp_path / "locked" / "cube")
    assert done.code == 4
    one_line(done, tmp_path / "locked", "[target-denied]")


def test_different_grids(archive: Path, tmp_path: Path) -> None:
    make_tiff(archive / "s9.tif", shape=(1, 71, 90))
    done = run_outside("publish", archive, "--to", tmp_path / "cube.icechunk")
    assert done.code == 1
    one_line(done, "s9.tif", "size (90 x 71, not 90 x 70)")
    assert not (tmp_path / "cube.icechunk").exists()


def test_many_bad_files_are_one_line_each(archive: Path, tmp_path: Path) -> None:
    for index in range(30):
        (archive / f"bad{index}.tif").write_bytes(b"no tiff")
    done = run("publish", archive, "--to", tmp_path / "cube.icechunk")
    assert done.code == 1
    lines = done.err.splitlines()
    assert len(lines) == 6
    assert "25 more files failed" in lines[-1]
    done = run("publish", archive, "--to", tmp_path / "cube.icechunk", "--verbose")
    assert sum(line.startswith("error: ") for line in done.err.splitlines()) == 30


def test_wrong_usage(archive: Path, tmp_path: Path) -> None:
    assert run("publish", archive).code == 2
    assert run("nonsense").code == 2
    done = run("publish", archive, "--to", tmp_path / "cube", "--dim", "x")
    assert done.code == 2
    one_line(done, "'x'")
    done = run("info", "ftp://host/a.tif")
    assert done.code == 2
    one_line(done, "ftp://host/a.tif")


@pytest.mark.parametrize("before", [True, False])
def test_verbose_shows_the_traceback(before: bool, tmp_path: Path) -> None:
    arguments = ["info", str(tmp_path / "gone.tif")]
    done = run(*(["--verbose", *arguments] if before else [*arguments, "--verbose"]))
    assert done.code == 3
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1].startswith("error: ")


def test_an_error_of_our_own_is_one_line_too(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from virtual_tiff.cube import describe

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(describe, "describe_file", fail)
    done = run("info", archive / "s0.tif")
    assert done.code == 70
    one_line(done, "internal error: RuntimeError: two lines", "--verbose")
