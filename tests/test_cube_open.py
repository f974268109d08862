"""Opening cubes: versions, groups, credentials, and what is refused."""

from __future__ import annotations

from pathlib import Path

import icechunk
import numpy as np
import pytest
import rasterio
from icechunk.credentials import LocalFileSystemAccess

from tests.archives import age, gdal_reads, make_archive, make_tiff
from tests.servers import Web
from virtual_tiff.cube.open import open_cube, open_repository
from virtual_tiff.cube.publish import publish
from virtual_tiff.errors import TargetError, UsageError


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
