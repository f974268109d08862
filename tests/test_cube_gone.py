"""Files that are gone from a folder, prefix or glob leave the ledger of a scan; all other rows stay."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.archives import make_archive, make_tiff
from tests.servers import Bucket, Web
from tests.test_cli import run
from virtual_tiff import SourceError, append, publish, scan
from virtual_tiff.cube import gone as gone_module
from virtual_tiff.cube.inputs import Listing, expand_input
from virtual_tiff.cube.ledger import read_ledger


def kept(ledger: Path) -> list[str]:
    """The names of the files that a ledger offers when it is an input, those that failed among them."""
    files, again = (
        sorted([*(one.url for one in found.headers), *(one.url for one in found.failures)])
        for found in (read_ledger(ledger), scan([ledger]))
    )
    assert again == files
    return names(files)


def names(urls: Iterable[str]) -> list[str]:
    return [url.rpartition("/")[2] for url in urls]


@pytest.mark.parametrize("glob", ["", "/*.tif", "/**/s*.tif", "/s?.*"])
def test_a_file_that_is_gone_leaves_the_ledger(glob: str, archive: Path, tmp_path: Path) -> None:
    ledger, inputs = tmp_path / "scan.parquet", [f"{archive}{glob}"]
    assert scan(inputs, ledger=ledger).gone == ()
    (archive / "s1.tif").unlink()
    make_tiff(archive / "s3.tif", 3)
    found = scan(inputs, ledger=ledger)
    assert (names(found.gone), found.reused) == (["s1.tif"], 2)
    assert kept(ledger) == ["s0.tif", "s2.tif", "s3.tif"]
    scan(inputs, ledger=tmp_path / "new.parquet")
    assert kept(tmp_path / "new.parquet") == kept(ledger)
    (archive / "s0.tif").unlink()  # and when nothing new is read
    assert names(scan(inputs, ledger=ledger).gone) == ["s0.tif"]
    assert kept(ledger) == ["s2.tif", "s3.tif"]
    assert publish([ledger], tmp_path / "cube").files == 2


def test_rows_of_other_inputs_stay(archive: Path, web: Web, tmp_path: Path) -> None:
    ledger = tmp_path / "scan.parquet"
    make_archive(tmp_path / "archive2", 1)  # its name begins like that of the folder
    make_archive(web.root, 1)
    (archive / "other").mkdir()
    make_tiff(archive / "other" / "o.tif")
    make_tiff(archive / "plain.dat")
    (tmp_path / "list.txt").write_text(f"{archive}/plain.dat\n")
    everything: list[Any] = [archive, tmp_path / "archive2", f"{web.url}s0.tif", f"@{tmp_path}/list.txt"]
    scan(everything, ledger=ledger).check()
    for path in (archive / "plain.dat", web.root / "s0.tif", tmp_path / "archive2" / "s0.tif", archive / "s1.tif"):
        path.unlink()
    assert names(scan([f"{archive}/s*.tif"], ledger=ledger).gone) == ["s1.tif"]
    assert kept(ledger) == ["o.tif", "plain.dat", "s0.tif", "s2.tif", "s0.tif", "s0.tif"]
    # a file that is named, in whatever way, is not taken out: it fails, or is known
    (archive / "s0.tif").unlink()
    found = scan([archive, archive / "s0.tif"], ledger=ledger)
    assert found.gone == ()
    found = scan([archive, ledger], ledger=ledger)
    assert found.gone == ()
    assert len(found.headers) == 6
    assert names(scan([archive], ledger=ledger).gone) == ["s0.tif"]


def test_files_that_a_listing_does_not_see_stay(archive: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "scan.parquet"
    make_archive(tmp_path / "elsewhere", 1)
    (archive / "link").symlink_to(tmp_path / "elsewhere")  # which a walk does not follow
    scan([archive, f"{archive}/link/*.tif"], ledger=ledger)
    found = scan([archive], ledger=ledger)
    assert (len(found.headers), found.gone) == (3, ())
    assert kept(ledger) == ["s0.tif", "s0.tif", "s1.tif", "s2.tif"]


def test_a_store_that_gives_no_answer_takes_out_nothing(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "scan.parquet"
    scan([archive], ledger=ledger)
    (archive / "s1.tif").unlink()

    async def silent(sources: Sequence[Any], *, on_answer: Any, **_: Any) -> None:
        for source in sources:
            on_answer(source, SourceError("no answer", feature="unreachable", url=source.place.url))

    with monkeypatch.context() as patched:
        patched.setattr(gone_module, "ask_all", silent)
        assert scan([archive], ledger=ledger).gone == ()
    assert kept(ledger) == ["s0.tif", "s1.tif", "s2.tif"]
    assert names(scan([archive], ledger=ledger).gone) == ["s1.tif"]


def test_failures_of_files_that_are_gone_go_too(archive: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "scan.parquet"
    (archive / "bad.tif").write_bytes(b"no tiff")
    assert len(scan([archive], ledger=ledger).failures) == 1
    (archive / "bad.tif").unlink()
    assert names(scan([archive], ledger=ledger).gone) == ["bad.tif"]
    assert kept(ledger) == ["s0.tif", "s1.tif", "s2.tif"]
    (archive / "bad.tif").write_bytes(b"no tiff")  # a scan that ends with an error takes out, too
    (archive / "s1.tif").unlink()
    with pytest.raises(Exception, match="not-a-tiff"):
        scan([archive], ledger=ledger, on_error="raise")
    assert kept(ledger) == ["bad.tif", "s0.tif", "s2.tif"]


def test_a_folder_that_has_become_empty_is_an_error(archive: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "scan.parquet"
    scan([archive], ledger=ledger)
    for path in archive.iterdir():
        path.unlink()
    with pytest.raises(SourceError, match="no-match"):
        scan([archive], ledger=ledger)
    assert kept(ledger) == ["s0.tif", "s1.tif", "s2.tif"]


KILLED = """
import os, sys
from virtual_tiff import scan
from virtual_tiff.cube import ledger
ledger.PART_FILES = 1
scan([sys.argv[1]], ledger=sys.argv[2], concurrency=1, on_progress=lambda one: one.done == 4 and os._exit(9))
"""


def test_a_scan_that_is_killed_takes_out_nothing(archive: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "scan.parquet"
    scan([archive], ledger=ledger)
    (archive / "s1.tif").unlink()
    for number in range(3, 7):
        make_tiff(archive / f"s{number}.tif", number)
    command = [sys.executable, "-c", KILLED, str(archive), str(ledger)]
    assert subprocess.run(command, check=False).returncode == 9
    before = kept(ledger)
    assert {"s0.tif", "s1.tif", "s2.tif", "s3.tif"} <= set(before)
    (archive / "s3.tif").unlink()  # which stands in a part only
    found = scan([archive], ledger=ledger)
    assert names(found.gone) == ["s1.tif", "s3.tif"]
    assert found.reused >= 2
    assert kept(ledger) == ["s0.tif", "s2.tif", "s4.tif", "s5.tif", "s6.tif"]


@pytest.mark.parametrize("glob", ["", "*.tif", "**"])
def test_objects_that_are_gone(glob: str, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in bucket.environment.items():
        monkeypatch.setenv(variable, value)
    make_archive(tmp_path / "archive", 1)
    content = (tmp_path / "archive" / "s0.tif").read_bytes()
    keys = ["a/s 0.tif", "a/s#1.tif", "a/s2.tif", "ab/s3.tif"]
    for key in keys:
        bucket.store().put(key, content)
    ledger = tmp_path / "scan.parquet"
    scan([f"{bucket.url}a/", f"{bucket.url}ab/"], ledger=ledger).check()
    for key in (keys[1], keys[3]):
        bucket.store().delete(key)
    assert names(scan([f"{bucket.url}a/{glob}"], ledger=ledger).gone) == ["s#1.tif"]
    assert kept(ledger) == ["s 0.tif", "s2.tif", "s3.tif"]


def test_an_append_takes_them_out_of_its_ledger(archive: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "scan.parquet"
    publish([archive], tmp_path / "cube", ledger=ledger)
    (archive / "s1.tif").unlink()
    make_tiff(archive / "s3.tif", 3)
    assert names(append([archive], tmp_path / "cube", ledger=ledger).added) == ["s3.tif"]
    assert kept(ledger) == ["s0.tif", "s2.tif", "s3.tif"]


def test_the_command_says_how_many_are_gone(archive: Path, tmp_path: Path) -> None:
    arguments = ("scan", archive, "--ledger", tmp_path / "scan.parquet")
    assert "gone" not in run(*arguments).out
    (archive / "s1.tif").unlink()
    assert "2 files (2 known), 0 failed, 1 gone" in run(*arguments).out
    (archive / "s0.tif").unlink()
    assert names(json.loads(run(*arguments, "--json").out)["gone"]) == ["s0.tif"]


@pytest.mark.parametrize(
    ("listing", "url", "covered"),
    [
        (Listing("file:///", "d/"), "file:///d/a/b.tif", True),
        (Listing("file:///", "d/"), "file:///d/a.txt", False),
        (Listing("file:///", "d/"), "file:///da.tif", False),
        (Listing("file:///", "d #/"), "file:///d%20%23/a.tif", True),
        (Listing("s3://b/", ""), "s3://b/a.tif", True),
        (Listing("s3://b/", ""), "s3://bb/a.tif", False),
        (Listing("s3://b/", "", "*.tif"), "s3://b/a/b.tif", False),
        (Listing("s3://b/", "a/", "**/[0-9].tif"), "s3://b/a/1.tif", True),
        (Listing("s3://b/", "a/", "**/[0-9].tif"), "s3://b/a/x/y/1.tif", True),
        (Listing("s3://b/", "a/", "**/x/?.tif"), "s3://b/a/y/1.tif", False),
    ],
)
def test_what_a_listing_covers(listing: Listing, url: str, *, covered: bool) -> None:
    assert listing.covers(url) == covered


def test_what_is_listed_as_a_whole(archive: Path) -> None:
    folder = f"{archive}/".lstrip("/")
    expected = {
        str(archive): Listing("file:///", folder),
        f"file://{archive}/": Listing("file:///", folder),
        f"{archive}/*/../s?.tif": Listing("file:///", folder, "s?.tif"),
        f"{archive}/s1.tif": None,
        "s3://bucket/a.tif": None,
        "https://host/a.tif": None,
    }
    (archive / "x").mkdir()
    for text, listing in expected.items():
        assert expand_input(text).listing == listing, text
