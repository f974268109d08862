"""Many headers at once: order, failures, progress, requests, event loops, forks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from tests.archives import make_archive, make_tiff, run_python
from tests.servers import FaultServer
from virtual_tiff.cube import retry, stores
from virtual_tiff.cube.inputs import expand_inputs
from virtual_tiff.cube.item import MosaicUse
from virtual_tiff.cube.ledger import read_ledger
from virtual_tiff.cube.scan import Scan, ScanProgress, parse_ifd, scan, scan_async
from virtual_tiff.errors import SourceError, UsageError


def test_headers_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    make_archive(tmp_path, 12)
    found = scan([tmp_path], concurrency=5)
    assert [header.place.path.rpartition("/")[2] for header in found.headers] == [f"s{i}.tif" for i in range(12)]
    assert not found.failures
    found.check()


def test_failures_are_collected(tmp_path: Path) -> None:
    make_archive(tmp_path, 3)
    (tmp_path / "s1.tif").write_bytes(b"no tiff at all")
    seen: list[ScanProgress] = []
    found = scan([tmp_path, tmp_path / "gone.tif"], on_progress=seen.append)
    assert len(found.headers) == 2
    assert {failure.error.feature for failure in found.failures} == {"not-a-tiff", "not-found"}
    assert all(failure.place.url in str(failure.error) for failure in found.failures)
    assert [progress.done for progress in seen] == [1, 2, 3, 4]
    assert seen[-1] == ScanProgress(done=4, failed=2, total=4)
    with pytest.raises(type(found.failures[0].error)):
        found.check()


def test_a_small_cog_takes_one_request(faults: FaultServer) -> None:
    make_archive(faults.root, 4)
    found = scan([f"{faults.url}s{index}.tif" for index in range(4)])
    assert len(found.headers) == 4
    assert len(faults.log) == len(faults.gets()) == 4


def test_concurrency_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        scan([make_one(tmp_path)], concurrency=0)


def make_one(folder: Path) -> Path:
    make_tiff(folder / "one.tif")
    return folder / "one.tif"


async def test_it_runs_inside_an_event_loop_both_ways(tmp_path: Path) -> None:
    make_archive(tmp_path, 3)
    places = expand_inputs([tmp_path])
    from_thread = scan([tmp_path])
    awaited, again = await asyncio.gather(scan_async(places), scan_async(places))
    for found in (awaited, again):
        assert isinstance(found, Scan)
        assert [header.url for header in found.headers] == [header.url for header in from_thread.headers]


def test_a_server_that_fails_now_and_then_is_asked_again(faults: FaultServer) -> None:
    make_archive(faults.root, 6)
    faults.faults.every = 4
    assert len(scan([f"{faults.url}s{index}.tif" for index in range(6)], concurrency=2).headers) == 6


def test_a_forked_process_is_refused(tmp_path: Path) -> None:
    make_archive(tmp_path, 1)
    script = f"""
import os, sys, warnings
from virtual_tiff.cube.scan import scan
from virtual_tiff.errors import SourceError
scan([{str(tmp_path)!r}])
warnings.simplefilter("ignore")
child = os.fork()
if child == 0:
    try:
        scan([{str(tmp_path)!r}])
    except SourceError as error:
        os._exit(7 if error.feature == "forked" else 8)
    os._exit(9)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run_python(script).strip() == "7"


def test_ifd_paths() -> None:
    assert parse_ifd("3") == 3
    assert parse_ifd("3.0") == (3, 0)
    for text in ("", "x", "-1", "1.", "1..2"):
        with pytest.raises(UsageError):
            parse_ifd(text)


def test_an_ifd_that_does_not_exist_is_named(tmp_path: Path) -> None:
    make_archive(tmp_path, 1)
    (failure,) = scan([tmp_path], ifd=4).failures
    assert failure.error.feature == "no-such-ifd"


def test_unreachable_servers_are_a_failure_of_each_file() -> None:
    (failure,) = scan(["http://127.0.0.1:1/a.tif"], retries=0).failures
    assert isinstance(failure.error, SourceError)
    assert failure.error.feature == "unreachable"


def test_retries_outlast_what_the_store_gives_up_on(faults: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    make_archive(faults.root, 1)
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(stores, "_RETRY", {"max_retries": 0, "retry_timeout": timedelta(seconds=1)})
    stores._cached.cache_clear()
    faults.faults.mode = "closes-early"
    url = f"{faults.url}s0.tif"
    assert [failure.error.feature for failure in scan([url], retries=2).failures] == ["unreachable"]
    assert len(faults.gets()) == 3
    faults.forget()
    faults.faults.mode = "forbidden"
    assert [failure.error.feature for failure in scan([url], retries=2).failures] == ["forbidden"]
    assert len(faults.gets()) == 1  # no reason that passes by itself
    with pytest.raises(UsageError):
        scan([url], retries=-1)
    stores._cached.cache_clear()


def test_overviews_and_masks_are_read_when_asked_for(tmp_path: Path) -> None:
    make_tiff(tmp_path / "a.tif", shape=(1, 256, 192), blockxsize=32, blockysize=32)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.write_mask(np.ones((256, 192), bool))
        file.build_overviews([2, 4])
    (plain,) = scan([tmp_path]).headers
    assert plain.levels == plain.masks == ()
    (header,) = scan([tmp_path], overviews=True).headers
    assert header.levels[0] is header.array
    assert [level.shape for level in header.levels] == [(256, 192), (128, 96), (64, 48)]
    shapes = [None if mask is None else mask.shape for mask in header.masks]
    assert shapes[0] == (256, 192)
    assert len(shapes) == 3


@dataclass(frozen=True)
class Item:
    """An item of a catalogue."""

    href: str
    item_id: str | None = None
    asset: str | None = None
    moment: datetime | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    use: Any = None


def test_items_of_a_catalogue_tell_what_the_tiff_does_not(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 3)
    (tmp_path / "in/s2.tif").write_bytes(b"no tiff at all")
    moment = datetime(2024, 5, 6, 7, 8, 9, 10, UTC)
    properties = {"cloud": 3.5, "proj:code": "EPSG:4326", "bands": ("a",)}
    items = [
        Item(str(tmp_path / "in/s1.tif"), "S1", "B04", moment, properties),
        Item((tmp_path / "in/s2.tif").as_uri(), "S2", "B04", moment),
    ]
    book = tmp_path / "scan.parquet"
    for reused in (0, 2):
        found = scan([tmp_path / "in/s0.tif", *items], ledger=book)
        assert found.reused == reused
        plain, told = found.headers
        assert (plain.item_id, plain.time, plain.keys) == (None, None, {})
        assert (told.item_id, told.time, told.keys) == ("S1", moment, {"asset": "B04", "cloud": 3.5})
        assert [failure.item_id for failure in found.failures] == ["S2"]
    assert [header.item_id for header in read_ledger(book).headers if header.url == told.url] == ["S1"]


def test_items_that_cannot_be_taken_whole_or_are_listed_twice_are_refused(tmp_path: Path) -> None:
    make_archive(tmp_path, 1, shape=(2, 70, 90))
    href = str(tmp_path / "s0.tif")
    whole = MosaicUse(bands=(0, 1), into=(0, 1), window=None, target=(0, 0, 90, 70))
    assert len(scan([Item(href, use=whole)]).headers) == 1
    for part in ({"bands": (0,)}, {"bands": (1, 0)}, {"window": (0, 0, 20, 20)}, {"target": (0, 0, 45, 35)}):
        (failure,) = scan([Item(href, use=replace(whole, **part))]).failures
        assert "only a part" in str(failure.error)
    assert len(scan([Item(href, "A"), Item(href, "A")]).headers) == 1
    with pytest.raises(UsageError, match="once"):
        scan([Item(href, "A"), Item(href, "B")])
    with pytest.raises(UsageError, match="no input"):
        scan([3])  # type: ignore[list-item]
