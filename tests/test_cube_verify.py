"""Sources that stay, are touched, change and vanish, on disk, on a web server and on S3; and reading them."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import pytest
import zarr

from tests.archives import LONG_AGO, Pixels, age, make_archive, make_tiff
from tests.servers import Bucket, FaultServer, Web
from virtual_tiff.cube.append import append
from virtual_tiff.cube.open import open_cube
from virtual_tiff.cube.publish import publish
from virtual_tiff.cube.sample import sample_ranges
from virtual_tiff.cube.scan import scan
from virtual_tiff.cube.verify import Verification, verify
from virtual_tiff.errors import TargetError, UsageError

COUNT = 4


@dataclass
class Archive:
    """Scenes on some store: a folder that may be served, or copied into a bucket."""

    kind: str
    folder: Path
    urls: list[str]
    cube: Path
    bucket: Bucket | None = None

    def make(self, index: int, seed: int, seconds: float = LONG_AGO, **profile: Any) -> Pixels:
        """Write a scene anew."""
        path = self.folder / f"s{index}.tif"
        pixels = make_tiff(path, seed, **profile)
        age(path, seconds)
        self.send(index)
        return pixels

    def send(self, index: int) -> None:
        """Copy a scene into the bucket."""
        if self.bucket is not None:
            self.bucket.store().put(f"in/s{index}.tif", (self.folder / f"s{index}.tif").read_bytes())

    def remove(self, index: int) -> None:
        """Take a scene away."""
        (self.folder / f"s{index}.tif").unlink()
        if self.bucket is not None:
            self.bucket.store().delete(f"in/s{index}.tif")

    def states(self, found: Verification) -> list[str]:
        """The states in the order of the scenes."""
        states = {one.url: one.state for one in found.sources}
        return [states[url] for url in self.urls]

    def read(self, index: int) -> Pixels:
        """Read one scene through the cube."""
        pixels: Pixels = open_cube(self.cube)["band_data"][index].values
        return pixels


@pytest.fixture(params=["file", "http", "s3"])
def archive(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """A published cube of four scenes."""
    cube = tmp_path / "cube"
    if request.param == "http":
        web: Web = request.getfixturevalue("web")
        made = Archive("http", web.root, [f"{web.url}s{index}.tif" for index in range(COUNT)], cube)
    elif request.param == "s3":
        bucket: Bucket = request.getfixturevalue("bucket")
        for name, value in bucket.environment.items():
            monkeypatch.setenv(name, value)
        folder = tmp_path / "in"
        made = Archive("s3", folder, [f"{bucket.url}in/s{index}.tif" for index in range(COUNT)], cube, bucket)
    else:
        folder = tmp_path / "in"
        made = Archive("file", folder, [(folder / f"s{index}.tif").as_uri() for index in range(COUNT)], cube)
    made.folder.mkdir(exist_ok=True)
    for index in range(COUNT):
        made.make(index, index)
    publish(made.urls, cube)
    return made


def test_unchanged_sources_are_the_same_and_readable(archive: Archive) -> None:
    found = verify(archive.cube, pixels=6, seed=1)
    assert archive.states(found) == ["same"] * COUNT
    assert found.ok
    assert found.exit_code == 0
    assert [(one.decoder, one.gdal) for one in found.pixels] == [("same", "same")] * 6
    for index in range(COUNT):
        archive.read(index)
    assert archive.states(verify(archive.cube)) == ["same"] * COUNT


def test_a_changed_source_is_found_raises_and_is_fixed(archive: Archive) -> None:
    before = archive.read(0)
    pixels = archive.make(1, 77, LONG_AGO + 1000)
    found = verify(archive.cube)
    assert archive.states(found) == ["same", "changed", "same", "same"]
    assert (found.ok, found.exit_code) == (False, 1)
    with pytest.raises(Exception, match=r"changed|modified|checksum|recondition|etag|expired"):
        archive.read(1)
    np.testing.assert_array_equal(archive.read(0), before)
    fixed = verify(archive.cube, fix=True)
    assert fixed.fixed == (archive.urls[1],)
    assert len(fixed.snapshots) == 1
    assert fixed.exit_code == 0
    np.testing.assert_array_equal(archive.read(1), pixels[0])
    np.testing.assert_array_equal(archive.read(0), before)
    again = verify(archive.cube, fix=True, pixels=8, seed=3)
    assert archive.states(again) == ["same"] * COUNT
    assert again.ok
    assert again.snapshots == ()


def test_a_source_replaced_by_one_of_equal_size_raises_and_the_others_are_read_many_times(archive: Archive) -> None:
    """Uncompressed, so that the sizes agree; the time of change is the next second."""
    plain: dict[str, Any] = {"compress": "none"}
    before = [archive.make(index, index, **plain) for index in range(COUNT)]
    archive.cube = archive.cube.with_name("plain")
    publish(archive.urls, archive.cube)
    size = (archive.folder / "s1.tif").stat().st_size
    ds = open_cube(archive.cube)
    archive.make(1, 77, LONG_AGO + 1, **plain)
    assert (archive.folder / "s1.tif").stat().st_size == size
    for _ in range(10):
        with pytest.raises(icechunk.StorageError, match="changed"):
            ds["band_data"][1].load()
        for index in (0, 2, 3):
            assert np.array_equal(ds["band_data"][index].values, before[index][0])
    if archive.bucket is None:
        archive.make(1, 1, LONG_AGO, **plain)  # as it was
    else:
        archive.make(1, 1, LONG_AGO + 2, **plain)  # touched: the same bytes and ETag
    for _ in range(10):
        assert np.array_equal(ds["band_data"].values, np.concatenate(before))


def test_a_web_file_replaced_right_after_publishing_is_noticed(web: Web, tmp_path: Path) -> None:
    """Web servers tell whole seconds: publishing waits until the second of the last change is over."""
    path = web.root / "s0.tif"
    make_tiff(path, 1, compress="none")
    age(path, time.time())
    size = path.stat().st_size
    publish([f"{web.url}s0.tif"], tmp_path / "cube")
    ds = open_cube(tmp_path / "cube")
    other = make_tiff(web.root / "other.tif", 2, compress="none")
    path.write_bytes((web.root / "other.tif").read_bytes())
    assert path.stat().st_size == size
    with pytest.raises(icechunk.StorageError, match="changed"):
        ds["band_data"].load()
    verify(tmp_path / "cube", fix=True)
    assert np.array_equal(open_cube(tmp_path / "cube")["band_data"].values, other)


def test_a_file_from_a_backup_is_read_on(tmp_path: Path) -> None:
    """It has its old bytes and time, but another inode, which is in its ETag."""
    pixels = make_archive(tmp_path / "in")
    publish([tmp_path / "in"], tmp_path / "cube")
    path = tmp_path / "in/s1.tif"
    shutil.copy2(path, tmp_path / "backup.tif")
    (tmp_path / "backup.tif").replace(path)
    found = verify(tmp_path / "cube", pixels=3)
    (touched,) = [one for one in found.sources if one.state != "same"]
    assert (touched.state, touched.readable, found.exit_code) == ("touched", True, 0)
    assert touched.why == "all bytes are the same, the ETag is not"
    assert np.array_equal(open_cube(tmp_path / "cube")["band_data"].values, pixels[:, 0])
    assert verify(tmp_path / "cube", accept=True).accepted == (touched.url,)
    assert verify(tmp_path / "cube").counts["same"] == 3
    age(path, LONG_AGO + 5)
    assert verify(tmp_path / "cube").exit_code == 1


def test_a_touched_source_is_told_from_a_changed_one_and_accepted(archive: Archive) -> None:
    pixels = archive.read(2)
    if archive.bucket is None:
        age(archive.folder / "s2.tif", LONG_AGO + 1000)
    else:
        age_in_bucket(archive, 2)
    found = verify(archive.cube)
    assert archive.states(found) == ["same", "same", "touched", "same"]
    if archive.kind == "s3":  # readers compare the ETag
        assert found.ok
        np.testing.assert_array_equal(archive.read(2), pixels)
    else:
        assert found.exit_code == 1
        with pytest.raises(Exception, match=r"changed|modified|checksum|recondition|expired"):
            archive.read(2)
    assert verify(archive.cube, fix=True).snapshots == ()  # it is not changed
    accepted = verify(archive.cube, accept=True)
    assert accepted.accepted == (archive.urls[2],)
    assert accepted.ok
    np.testing.assert_array_equal(archive.read(2), pixels)
    assert archive.states(verify(archive.cube)) == ["same"] * COUNT


def age_in_bucket(archive: Archive, index: int) -> None:
    """Put the same bytes again, in another second than the first time."""
    assert archive.bucket is not None
    path = f"in/s{index}.tif"
    before = archive.bucket.store().head(path)["last_modified"]
    while archive.bucket.store().head(path)["last_modified"] == before:
        archive.send(index)


def test_a_missing_source_is_told(archive: Archive) -> None:
    archive.remove(3)
    found = verify(archive.cube, fix=True, accept=True, pixels=3, seed=0)
    assert archive.states(found) == ["same", "same", "same", "missing"]
    assert found.exit_code == 1
    assert found.counts == {"same": 3, "touched": 0, "changed": 0, "missing": 1, "unreachable": 0}
    assert len(found.pixels) == 3
    assert archive.urls[3] not in {one.url for one in found.pixels}
    told = json.loads(json.dumps(found.to_json()))
    assert [(one["url"], one["state"]) for one in told["sources"]] == [(archive.urls[3], "missing")]


def test_a_changed_source_that_does_not_fit_is_told_and_the_others_are_fixed(archive: Archive) -> None:
    archive.make(1, 5, LONG_AGO + 1000, shape=(1, 50, 60))
    found = verify(archive.cube, fix=True)
    assert (found.fixed, found.snapshots, found.exit_code) == ((), (), 1)
    assert "[conform]" in found.failed[archive.urls[1]]
    assert archive.states(verify(archive.cube)) == ["same", "changed", "same", "same"]
    archive.make(2, 6, LONG_AGO + 1000)
    found = verify(archive.cube, fix=True)
    assert (found.fixed, list(found.failed), found.exit_code) == ((archive.urls[2],), [archive.urls[1]], 1)
    assert archive.states(verify(archive.cube)) == ["same", "changed", "same", "same"]


def test_a_source_that_is_damaged_now_cannot_be_fixed(archive: Archive) -> None:
    (archive.folder / "s1.tif").write_bytes(b"no tiff at all")
    archive.send(1)
    found = verify(archive.cube, fix=True)
    assert "not-a-tiff" in found.failed[archive.urls[1]]
    assert (found.fixed, found.exit_code) == ((), 1)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for index in range(3):
        make_tiff(tmp_path / f"in/s{index}.tif", index, shape=(1, 256, 512), compress="none")
    publish([tmp_path / "in"], tmp_path / "cube")
    return tmp_path


def states(found: Verification) -> list[str]:
    return [one.state for one in found.sources]


def test_a_file_of_the_same_size_and_header_with_other_pixels_is_changed(published: Path) -> None:
    path = published / "in/s1.tif"
    size = path.stat().st_size
    make_tiff(path, 9, shape=(1, 256, 512), compress="none")
    age(path, LONG_AGO + 5)
    assert path.stat().st_size == size
    assert states(verify(published / "cube")) == ["same", "changed", "same"]


def test_a_replaced_file_with_an_older_time_is_changed(published: Path) -> None:
    make_tiff(published / "in/s1.tif", 9, shape=(1, 256, 512), compress="none")
    age(published / "in/s1.tif", LONG_AGO - 5000)
    assert states(verify(published / "cube")) == ["same", "changed", "same"]


def test_samples_cover_what_they_say() -> None:
    for size in (0, 1, 32768, 102400, 102401, 1_000_000, 10**12):
        ranges = sample_ranges(size)
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(ranges))
        assert ranges[0][0] == 0
        assert ranges[-1][1] == size
        assert sum(end - start for start, end in ranges) == min(size, 102400)


def test_the_ledger_of_a_scan_is_verified_too(published: Path) -> None:
    scan([published / "in"], ledger=published / "scan.parquet")
    age(published / "in/s0.tif", LONG_AGO + 5)
    (published / "in/s2.tif").unlink()
    found = verify(published / "scan.parquet")
    assert found.counts == {"same": 1, "touched": 1, "changed": 0, "missing": 1, "unreachable": 0}
    with pytest.raises(UsageError, match="need a cube"):
        verify(published / "scan.parquet", fix=True)


def test_a_server_that_is_away_is_unreachable(faults: FaultServer, tmp_path: Path) -> None:
    make_tiff(faults.root / "s0.tif")
    publish([f"{faults.url}s0.tif"], tmp_path / "cube")
    faults.faults.mode = "forbidden"
    found = verify(tmp_path / "cube", retries=0)
    assert states(found) == ["unreachable"]
    assert found.exit_code == 3


def test_one_small_request_per_source(faults: FaultServer, tmp_path: Path) -> None:
    for index in range(5):
        make_tiff(faults.root / f"s{index}.tif", index)
    publish([f"{faults.url}s{index}.tif" for index in range(5)], tmp_path / "cube")
    faults.forget()
    assert verify(tmp_path / "cube").ok
    assert [request.method for request in faults.log] == ["HEAD"] * 5


def test_what_is_no_cube_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError) as caught:
        verify(tmp_path / "nothing")
    assert caught.value.feature == "target-missing"
    with pytest.raises(UsageError):
        verify(tmp_path / "nothing", pixels=-1)
    with pytest.raises(UsageError):
        verify(tmp_path / "nothing", concurrency=0)


@pytest.mark.parametrize(
    "profile",
    [
        {"shape": (3, 96, 90), "interleave": "pixel", "predictor": 2},
        {"dtype": "float32", "predictor": 3, "nodata": float("nan")},
        {"shape": (3, 96, 96), "dtype": "uint8", "compress": "jpeg", "blockysize": 32, "photometric": "ycbcr"},
        {"tiled": False, "blockysize": 16, "compress": "lzw"},
    ],
    ids=["bands", "float", "jpeg", "strips"],
)
def test_pixels_of_many_encodings_agree(tmp_path: Path, profile: dict[str, Any]) -> None:
    (tmp_path / "a b").mkdir()
    for index in range(2):
        make_tiff(tmp_path / f"a b/s{index}.tif", index, **profile)
    publish([tmp_path / "a b"], tmp_path / "cube")
    found = verify(tmp_path / "cube", pixels=8, seed=2)
    assert {(one.decoder, one.gdal) for one in found.pixels} == {("same", "same")}


def test_files_at_the_places_of_others_are_found_by_their_pixels(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for index in range(2):
        make_tiff(tmp_path / f"in/s{index}.tif", index)
    publish([tmp_path / "in"], tmp_path / "cube")
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(tmp_path / "cube")))
    session = repository.writable_session("main")
    names: Any = zarr.open_array(session.store, path="item", zarr_format=3)
    names[:] = np.asarray(names[:])[::-1]
    session.commit("names at wrong places")
    found = verify(tmp_path / "cube", pixels=4, seed=5)
    assert found.exit_code == 1
    assert {one.decoder for one in found.pixels} == {"differs"}
    assert verify(tmp_path / "cube").ok


def test_ages_are_kept_to_the_microsecond(tmp_path: Path) -> None:
    make_tiff(tmp_path / "s0.tif")
    os.utime(tmp_path / "s0.tif", ns=(1, LONG_AGO * 10**9 + 123_456_789))
    publish([tmp_path / "s0.tif"], tmp_path / "cube")
    assert states(verify(tmp_path / "cube")) == ["same"]


def test_where_no_cube_is_the_group_is_asked_for(published: Path) -> None:
    publish([published / "in"], published / "zones", group="north")
    for refused in (lambda: verify(published / "zones"), lambda: append([published / "in"], published / "zones")):
        with pytest.raises(TargetError, match="--group"):
            refused()
    assert verify(published / "zones", group="north").ok
