"""Opening cubes: versions, groups, credentials, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import icechunk
import numpy as np
import pytest
import rasterio
from icechunk.credentials import LocalFileSystemAccess

from tests.archives import age, gdal_reads, make_archive, make_tiff
from tests.flaky import Fault, FlakyProxy
from tests.servers import Bucket, Web
from virtual_tiff.cube.open import open_cube, open_repository
from virtual_tiff.cube.publish import publish
from virtual_tiff.errors import SourceError, TargetError, UsageError


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    make_archive(tmp_path / "archive", 2)
    return tmp_path / "archive"


@pytest.fixture
def cube(archive: Path, tmp_path: Path) -> Path:
    publish([archive], tmp_path / "cube.icechunk")
    return tmp_path / "cube.icechunk"


def test_it_is_lazy_and_right(cube: Path, archive: Path) -> None:
    ds = open_cube(cube)
    assert not ds["band_data"]._in_memory
    assert np.array_equal(ds["band_data"].values, gdal_reads(archive, 2)[:, 0])


def test_versions(cube: Path) -> None:
    repository = open_repository(cube)
    (newest, birth) = list(repository.ancestry(branch="main"))
    repository.create_tag("v1", newest.id)
    repository.create_branch("other", birth.id)
    assert "band_data" in open_cube(cube, tag="v1")
    assert "band_data" in open_cube(cube, snapshot=newest.id)
    with pytest.raises(TargetError) as caught:
        open_cube(cube, branch="no-such-branch")
    assert "no-such-branch" in str(caught.value)
    with pytest.raises(UsageError):
        open_cube(cube, tag="v1", branch="main")
    with pytest.raises(TargetError) as caught:
        open_cube(cube, branch="other")
    assert caught.value.feature == "target-not-a-cube"


def test_what_is_not_there(cube: Path, tmp_path: Path) -> None:
    for missing in (tmp_path / "nothing", tmp_path / "archive"):
        with pytest.raises(TargetError) as caught:
            open_cube(missing)
        assert caught.value.feature == "target-missing"
        assert str(missing) in str(caught.value)
    with pytest.raises(TargetError) as caught:
        open_cube(cube, group="elsewhere")
    assert caught.value.feature == "target-not-a-cube"
    assert "elsewhere" in str(caught.value)
    with pytest.raises(TargetError, match="/band_data is an array, not a group"):
        open_cube(cube, group="band_data")


def test_credentials_by_name_or_prefix(cube: Path, archive: Path) -> None:
    for key in ("sources", f"file://{archive}/"):
        ds = open_cube(cube, credentials={key: LocalFileSystemAccess})
        assert ds["band_data"].values.any()
    with pytest.raises(UsageError) as caught:
        open_cube(cube, credentials={"s3://other/": icechunk.s3_anonymous_credentials()})
    assert "s3://other/" in str(caught.value)


def test_a_cube_on_the_web_may_not_read_local_files_unasked(web: Web, archive: Path) -> None:
    publish([archive], web.root / "cube.icechunk")
    with pytest.raises(TargetError) as caught:
        open_cube(f"{web.url}cube.icechunk")
    assert caught.value.feature == "container"
    allowed = {f"file://{archive}/": LocalFileSystemAccess}
    assert open_cube(f"{web.url}cube.icechunk", credentials=allowed)["band_data"].values.any()


def test_the_finest_level_is_opened_by_default_and_groups_are_told(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    make_tiff(tmp_path / "a" / "one.tif", shape=(1, 128, 128))
    with rasterio.open(tmp_path / "a" / "one.tif", "r+") as file:
        file.build_overviews([2])
    age(tmp_path / "a" / "one.tif")
    publish([tmp_path / "a"], tmp_path / "levels", overviews=True)
    assert open_cube(tmp_path / "levels").sizes["x"] == 128
    assert open_cube(tmp_path / "levels", level=1).sizes["x"] == 64
    make_tiff(tmp_path / "a" / "two.tif", shape=(1, 128, 128), crs="EPSG:32634")
    publish([tmp_path / "a"], tmp_path / "zones")
    with pytest.raises(TargetError, match=r"utm33n_10m.*utm34n_10m"):
        open_cube(tmp_path / "zones")
    assert open_cube(tmp_path / "zones", group="utm34n_10m").sizes["x"] == 128


def test_groups_that_are_there_are_named_where_one_is_not(cube: Path, archive: Path) -> None:
    with pytest.raises(TargetError, match=r"no group utm99n .*Open it without a group"):
        open_cube(cube, group="utm99n")
    for name in ("north", "south"):
        publish([archive], cube, into=True, group=name)
    with pytest.raises(TargetError, match=r"no group utm99n .*It has 'north', 'south'"):
        open_cube(cube, group="utm99n")


def test_a_file_is_no_repository(archive: Path) -> None:
    with pytest.raises(TargetError, match=r"a file is there \[target-not-a-cube\]"):
        open_cube(archive / "s0.tif")


@pytest.fixture
def cube_on_s3(bucket: Bucket, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyProxy]:
    """A proxy before the sources of ``tmp_path / "cube"``, to which the environment leads; it refuses nothing yet."""
    for path in archive.iterdir():
        bucket.store().put(f"in/{path.name}", path.read_bytes())
    monkeypatch.setattr("virtual_tiff.cube.patient.RETRIES", 1)
    with FlakyProxy(bucket.endpoint, rate=0) as proxy:
        changed = {"AWS_ENDPOINT_URL": proxy.url.rstrip("/"), "AWS_EC2_METADATA_DISABLED": "true"}
        for name, value in (bucket.environment | changed).items():
            monkeypatch.setenv(name, value)
        publish([f"{bucket.url}in/"], tmp_path / "cube")
        yield proxy


REFUSALS: dict[tuple[Fault, bool], tuple[str, str]] = {
    ("denied", False): ("forbidden", "with the credentials of the environment"),
    ("denied", True): ("forbidden", "with unsigned requests"),
    ("region", False): ("forbidden", "AWS_REGION"),
    ("500", False): ("unreachable", "It may be overloaded"),
    ("403", False): ("unreachable", "Or it refuses the credentials"),
}


@pytest.mark.parametrize(("fault", "unsigned"), REFUSALS)
def test_what_s3_refuses_is_told_when_a_cube_is_opened(
    fault: Fault, unsigned: bool, cube_on_s3: FlakyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", str(unsigned).lower())
    assert open_cube(tmp_path / "cube")["band_data"].values.any()
    cube_on_s3.restart(0, rate=1, faults=[fault])
    with pytest.raises(SourceError) as caught:
        open_cube(tmp_path / "cube")
    feature, text = REFUSALS[fault, unsigned]
    assert caught.value.feature == feature
    assert text in str(caught.value)
    assert "/in/" in str(caught.value)
    assert "band_data" in open_cube(tmp_path / "cube", check=False)


def test_servers_that_are_busy_are_left_to_the_reading_of_pixels(cube_on_s3: FlakyProxy, tmp_path: Path) -> None:
    cube_on_s3.restart(0, rate=1, faults=["503"])
    ds = open_cube(tmp_path / "cube")
    with pytest.raises(icechunk.StorageError, match="SlowDown"):
        ds["band_data"].load()
    cube_on_s3.restart(0, rate=0)
    assert ds["band_data"].values.any()


@pytest.mark.usefixtures("cube_on_s3")
def test_keys_and_regions_that_are_missing_or_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The region is known from the cube; the server of the tests takes any key and region."""
    monkeypatch.delenv("AWS_REGION")
    assert open_cube(tmp_path / "cube")["band_data"].values.any()
    monkeypatch.setenv("AWS_REGION", "eu-nowhere-9")
    assert open_cube(tmp_path / "cube")["band_data"].values.any()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(SourceError) as caught:
        open_cube(tmp_path / "cube")
    assert caught.value.feature == "forbidden"
    assert "AWS_SKIP_SIGNATURE=true" in str(caught.value)


def test_times_of_all_years_are_read_exactly(archive: Path, tmp_path: Path) -> None:
    """Nanoseconds hold the years 1678 to 2261 only."""
    moments = {"s0.tif": datetime(1066, 10, 14, 9, 0, 0, 1, tzinfo=UTC), "s1.tif": datetime(3000, 1, 2, tzinfo=UTC)}
    publish([archive], tmp_path / "cube", time=lambda url: moments[url.rpartition("/")[2]])
    ds = open_cube(tmp_path / "cube")
    expected = np.array([time.replace(tzinfo=None) for time in moments.values()], "datetime64[us]")
    assert ds["time"].dtype == np.dtype("datetime64[us]")
    assert np.array_equal(ds["time"].values, expected)
    assert np.array_equal(ds["band_data"].values, gdal_reads(archive, 2)[:, 0])
