"""Cubes whose ledger of sources is of another version: they are read, and everything else refuses them by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import icechunk
import numpy as np
import pytest
import zarr

from virtual_tiff.cube.append import append
from virtual_tiff.cube.contents import groups_of
from virtual_tiff.cube.open import open_cube
from virtual_tiff.cube.sources import ATTRIBUTE, GROUP, VERSION
from virtual_tiff.cube.verify import verify
from virtual_tiff.errors import TargetError


def set_version(cube: Path, version: int) -> None:
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(cube)))
    session = repository.writable_session("main")
    ledger = zarr.open_group(session.store, path=GROUP, mode="r+", zarr_format=3)
    ledger.attrs[ATTRIBUTE] = {**dict(ledger.attrs[ATTRIBUTE]), "ledger": version}  # type: ignore[arg-type]
    session.commit(f"ledger version {version}")


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1])
@pytest.mark.parametrize(
    "act",
    [
        lambda archive, cube: append([archive], cube),
        lambda archive, cube: append([archive], cube, dry_run=True),
        lambda _, cube: verify(cube),
        lambda _, cube: verify(cube, pixels=1),
        lambda _, cube: verify(cube, fix=True),
    ],
)
def test_other_versions_are_refused(
    archive: Path, cube: Path, version: int, act: Callable[[Path, Path], object]
) -> None:
    set_version(cube, version)
    with pytest.raises(TargetError, match=f"version {version}") as caught:
        act(archive, cube)
    assert caught.value.feature == "target-not-a-cube"
    assert str(cube) in str(caught.value)


def test_pixels_of_other_versions_are_read(cube: Path) -> None:
    before = open_cube(cube)["band_data"].values
    groups = groups_of(cube)
    set_version(cube, VERSION - 1)
    assert np.array_equal(open_cube(cube)["band_data"].values, before)
    assert groups
    assert groups_of(cube) == ()
