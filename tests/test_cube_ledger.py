"""The ledger of a scan: headers come back without their sources, whatever happens to the scan."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.archives import age, make_archive, make_tiff
from tests.servers import FaultServer
from virtual_tiff.array import VirtualArray
from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube import ledger as ledger_module
from virtual_tiff.cube import retry
from virtual_tiff.cube.header import FileHeader, HeaderOptions, KeyValue
from virtual_tiff.cube.ledger import ScanLedger, ledger_options, read_ledger
from virtual_tiff.cube.plan import plan_stack
from virtual_tiff.cube.publish import publish_plan
from virtual_tiff.cube.results import Failure
from virtual_tiff.cube.rows import results_of, table_of
from virtual_tiff.cube.sample import sampled_digest
from virtual_tiff.cube.scan import scan
from virtual_tiff.errors import SourceError, TargetError, UsageError, VirtualTiffError


def assert_same_array(one: VirtualArray, other: VirtualArray) -> None:
    for field in fields(VirtualArray):
        np.testing.assert_equal(getattr(one, field.name), getattr(other, field.name), field.name)
    assert type(one.fill_value) is type(other.fill_value)
    assert one.offsets.dtype == other.offsets.dtype
    assert one.zarr_json() == other.zarr_json()


def assert_same_header(one: FileHeader, other: FileHeader) -> None:
    for field in fields(FileHeader):
        mine, its = getattr(one, field.name), getattr(other, field.name)
        if field.name == "array":
            assert_same_array(mine, its)
        elif field.name in ("levels", "masks"):
            assert len(mine) == len(its)
            for left, right in zip(mine, its, strict=True):
                assert (left is None) == (right is None)
                if left is not None and right is not None:
                    assert_same_array(left, right)
        elif field.name == "metadata":
            np.testing.assert_equal(mine.color_map, its.color_map)
            np.testing.assert_equal(vars(mine), vars(its))
        else:
            assert mine == its, field.name


def back(header: FileHeader) -> FileHeader:
    (found,) = results_of(table_of([header]))
    assert isinstance(found, FileHeader)
    return found


# Rows


@pytest.mark.parametrize(
    "profile",
    [
        {"nodata": 7},
        {"dtype": "float32", "nodata": float("nan"), "predictor": 3},
        {"dtype": "complex64", "compress": "none"},
        {"tiled": False, "blockysize": 48, "compress": "none"},
        {"shape": (3, 70, 90), "interleave": "pixel", "compress": "lzw"},
        {"bigtiff": "yes", "crs": None, "sparse_ok": True},
    ],
    ids=["nodata", "float", "complex", "strips", "bands", "bigtiff"],
)
def test_a_header_comes_back_as_it_was(tmp_path: Path, profile: dict[str, object]) -> None:
    if profile.get("dtype") == "complex64":
        import rasterio

        with rasterio.open(
            tmp_path / "a.tif", "w", driver="GTiff", width=20, height=30, count=1, dtype="complex64"
        ) as file:
            file.write(np.ones((1, 30, 20), "complex64"))
    else:
        make_tiff(tmp_path / "a.tif", **profile)  # type: ignore[arg-type]
    (header,) = scan([tmp_path], overviews=True).headers
    assert_same_header(header, back(header))


def test_every_readable_image_of_the_corpus_comes_back(corpus: Path) -> None:
    paths = sorted(path for path in corpus.rglob("*") if path.suffix in (".tif", ".tiff") and path.is_file())
    found = scan(paths, overviews=True)
    assert len(found.headers) > 20
    for header in found.headers:
        assert_same_header(header, back(header))
    failures = list(results_of(table_of(found.failures)))
    assert [str(item.error) for item in failures if isinstance(item, Failure)] == [
        str(failure.error) for failure in found.failures
    ]


def test_times_and_keys_come_back(tmp_path: Path) -> None:
    make_tiff(tmp_path / "a.tif")
    (header,) = scan([tmp_path]).headers
    moment = datetime(2024, 1, 3, 15, 30, 0, 123456, UTC)
    keys: dict[str, KeyValue] = {"tile": "33UVP", "cloud": 0.25, "orbit": 7, "made": moment}
    header = replace(header, time=moment, keys=keys, item_id="S2A_1")
    assert_same_header(header, back(header))
    assert back(replace(header, time=moment.replace(tzinfo=None))).time == moment
    assert back(header).last_modified.tzinfo is UTC  # type: ignore[union-attr]


def test_urls_with_odd_characters_come_back(tmp_path: Path) -> None:
    folder = tmp_path / "ä b#c?d%20e"
    folder.mkdir()
    make_tiff(folder / "x+y&z.tif")
    (header,) = scan([folder]).headers
    assert back(header).place == header.place


def test_errors_come_back_with_all_they_say(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0\x08\0\0\0\x01\0\0\x01")
    (failure,) = scan([tmp_path]).failures
    (found,) = results_of(table_of([failure]))
    assert isinstance(found, Failure)
    assert type(found.error) is type(failure.error)
    assert str(found.error) == str(failure.error)
    assert found.place == failure.place


# Scans with a ledger


def test_a_second_scan_reads_nothing(faults: FaultServer, tmp_path: Path) -> None:
    make_archive(faults.root, 4)
    urls = [f"{faults.url}s{index}.tif" for index in range(4)]
    book = tmp_path / "scan.parquet"
    first = scan(urls, ledger=book)
    faults.forget()
    again = scan(urls, ledger=book)
    assert not faults.log
    assert (first.reused, again.reused) == (0, 4)
    for one, other in zip(first.headers, again.headers, strict=True):
        assert_same_header(one, other)
    assert [path.name for path in tmp_path.iterdir()] == ["scan.parquet"]


def test_only_new_and_failed_files_are_read(faults: FaultServer, tmp_path: Path) -> None:
    make_archive(faults.root, 2)
    (faults.root / "bad.tif").write_bytes(b"no tiff at all")
    urls = [f"{faults.url}{name}.tif" for name in ("s0", "s1", "bad")]
    book = tmp_path / "scan.parquet"
    assert len(scan(urls, ledger=book).failures) == 1
    assert [failure.error.feature for failure in read_ledger(book).failures] == ["not-a-tiff"]
    faults.forget()
    make_tiff(faults.root / "bad.tif", 5)
    make_tiff(faults.root / "s2.tif", 6)
    found = scan([*urls, f"{faults.url}s2.tif"], ledger=book)
    assert sorted(request.path for request in faults.gets()) == ["bad.tif", "s2.tif"]
    assert len(found.headers) == len(read_ledger(book).headers) == 4
    assert not found.failures
    assert not read_ledger(book).failures
    assert found.reused == 2


def test_refresh_reads_what_has_changed(faults: FaultServer, tmp_path: Path) -> None:
    make_archive(faults.root, 3)
    urls = [f"{faults.url}s{index}.tif" for index in range(3)]
    book = tmp_path / "scan.parquet"
    scan(urls, ledger=book)
    make_tiff(faults.root / "s1.tif", 99, shape=(1, 40, 40))
    age(faults.root / "s1.tif", 1_700_000_500)
    faults.forget()
    assert scan(urls, ledger=book).headers[1].array.shape == (70, 90)
    assert not faults.log
    found = scan(urls, ledger=book, refresh=True)
    assert found.headers[1].array.shape == (40, 40)
    assert [request.path for request in faults.gets()] == ["s1.tif"]
    assert sum(request.method == "HEAD" for request in faults.log) == 3
    assert read_ledger(book).headers[-1].array.shape == (40, 40)


def test_a_ledger_suffices_to_plan_and_publish(tmp_path: Path) -> None:
    pixels = make_archive(tmp_path / "in", 3)
    scan([tmp_path / "in"], ledger=tmp_path / "scan.parquet")
    headers = sorted(read_ledger(tmp_path / "scan.parquet").headers, key=lambda header: header.url)
    publish_plan(plan_stack(headers), tmp_path / "cube")
    from virtual_tiff import open_cube

    np.testing.assert_array_equal(open_cube(tmp_path / "cube")["band_data"].values, pixels[:, 0])


def test_a_ledger_of_other_options_is_refused(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 1)
    book = tmp_path / "scan.parquet"
    scan([tmp_path / "in"], ledger=book, overviews=True)
    with pytest.raises(UsageError, match=r"overviews=True, not False"):
        scan([tmp_path / "in"], ledger=book)
    with pytest.raises(UsageError, match="ifd="):
        scan([tmp_path / "in"], ledger=book, overviews=True, ifd=1)
    with pytest.raises(UsageError, match="chunks="):
        scan([tmp_path / "in"], ledger=book, overviews=True, options=ChunkOptions(short_strips="pad"))
    assert ledger_options(book) == HeaderOptions(overviews=True)
    assert ledger_options(tmp_path / "none.parquet") is None


def test_what_is_no_ledger_is_refused(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 1)
    book = tmp_path / "scan.parquet"
    book.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(UsageError, match="no ledger"):
        scan([tmp_path / "in"], ledger=book)
    assert book.read_bytes() == b"PAR1 and nothing else"
    pq.write_table(table_of([]), book)
    with pytest.raises(UsageError, match="another program"):
        read_ledger(book)
    with pytest.raises(UsageError, match="local disk"):
        scan([tmp_path / "in"], ledger="s3://bucket/scan.parquet")
    with pytest.raises(UsageError, match="there is no ledger"):
        read_ledger(tmp_path / "none.parquet")
    with pytest.raises(UsageError, match="refresh"):
        scan([tmp_path / "in"], refresh=True)


def test_a_ledger_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(TargetError) as caught:
        scan([tmp_path / "in"], ledger=tmp_path / "file" / "scan.parquet")
    assert caught.value.feature == "target-denied"


def test_signed_urls_do_not_enter_a_ledger(faults: FaultServer, tmp_path: Path) -> None:
    make_archive(faults.root, 1)
    with pytest.raises(UsageError, match="query") as caught:
        scan([f"{faults.url}s0.tif?sig=secret"], ledger=tmp_path / "scan.parquet")
    assert "secret" not in str(caught.value)


def test_two_scans_do_not_write_one_ledger(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 1)
    with ScanLedger(tmp_path / "scan.parquet"), pytest.raises(TargetError, match="another scan"):
        scan([tmp_path / "in"], ledger=tmp_path / "scan.parquet")
    assert len(scan([tmp_path / "in"], ledger=tmp_path / "scan.parquet").headers) == 1


def test_parts_come_while_the_scan_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "PART_FILES", 4)
    make_archive(tmp_path / "in", 10)
    headers = scan([tmp_path / "in"]).headers
    book = tmp_path / "scan.parquet"
    with ScanLedger(book) as ledger:
        for number, header in enumerate(headers, 1):
            ledger.add(header)
            assert len(read_ledger(book).headers) == number // 4 * 4 if number >= 4 else not book.exists()
        ledger.add(replace(headers[0], item_id="newer"))
    found = read_ledger(book).headers
    assert len(found) == 10
    assert [header.item_id for header in found if header.url == headers[0].url] == ["newer"]


def test_the_first_failure_ends_a_scan_that_is_told_so(tmp_path: Path) -> None:
    make_archive(tmp_path, 6)
    (tmp_path / "s3.tif").write_bytes(b"no tiff at all")
    book = tmp_path / "scan.parquet"
    with pytest.raises(VirtualTiffError, match="not-a-tiff"):
        scan([tmp_path], ledger=book, on_error="raise", concurrency=1)
    kept = read_ledger(book)
    assert (len(kept.headers), len(kept.failures)) == (3, 1)
    with pytest.raises(UsageError):
        scan([tmp_path], on_error="ignore")  # type: ignore[arg-type]


_KILLED = """
import sys
from virtual_tiff.cube import ledger
from virtual_tiff.cube.sample import sampled_digest
from virtual_tiff.cube.scan import scan
ledger.PART_FILES = 5
def tell(progress):
    print(progress.done, flush=True)
scan(sys.argv[2:], ledger=sys.argv[1], concurrency=2, on_progress=tell)
"""


def _done(process: subprocess.Popen[str]) -> Iterator[int]:
    assert process.stdout is not None
    yield from map(int, process.stdout)


def test_a_killed_scan_goes_on(faults: FaultServer, tmp_path: Path) -> None:
    make_archive(faults.root, 24)
    faults.faults.latency = 0.02
    urls = [f"{faults.url}s{index}.tif" for index in range(24)]
    book = tmp_path / "scan.parquet"
    for stop_at in (7, 13):
        command = [sys.executable, "-c", _KILLED, str(book), *urls]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            next(done for done in _done(process) if done >= stop_at)
            process.send_signal(signal.SIGKILL)
    kept = {header.url for header in read_ledger(book).headers}
    assert 10 <= len(kept) < 24
    faults.forget()
    found = scan(urls, ledger=book)
    assert [header.url for header in found.headers] == urls
    assert {f"{faults.url}{request.path}" for request in faults.gets()} == set(urls) - kept
    assert [path.name for path in tmp_path.iterdir()] == ["scan.parquet"]


def test_columns_can_be_read_by_others(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 2, nodata=3)
    scan([tmp_path / "in"], ledger=tmp_path / "scan.parquet")
    rows = pq.read_table(tmp_path / "scan.parquet").to_pylist()
    sizes = {path.as_uri(): path.stat().st_size for path in (tmp_path / "in").iterdir()}
    assert {row["url"]: row["size"] for row in rows} == sizes
    assert {row["nodata"] for row in rows} == {"3"}
    assert len({row["layout"] for row in rows}) == 1
    assert json.loads(rows[0]["codecs"])[-1]["name"]
    assert rows[0]["references"] == 6
    assert rows[0]["grid"].startswith("90 x 70, EPSG:32633")


def test_a_file_that_changes_while_it_is_sampled_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiff(tmp_path / "a.tif")
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.0)
    seen: list[object] = []

    def late(path: Path, **known: object) -> str:
        if not seen:
            os.utime(path, (time.time() - 100, 1_700_000_123))
        seen.append(known)
        return sampled_digest(path, **known)  # type: ignore[arg-type]

    monkeypatch.setattr("virtual_tiff.cube.header.sampled_digest", late)
    (header,) = scan([tmp_path]).headers
    assert len(seen) == 2
    assert header.last_modified == datetime.fromtimestamp(1_700_000_123, UTC)
    seen.clear()
    os.utime(tmp_path / "a.tif", (1, 1))
    (failure,) = scan([tmp_path], retries=0).failures
    assert isinstance(failure.error, SourceError)
    assert failure.error.feature == "source-changed"
