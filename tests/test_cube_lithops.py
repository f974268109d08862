"""A real Lithops, which runs functions in processes of this machine: its backend called localhost."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lithops
import numpy as np
import pytest
import rasterio

from tests.archives import make_archive
from virtual_tiff.cube.executor import run_on
from virtual_tiff.cube.open import open_cube
from virtual_tiff.cube.publish import publish
from virtual_tiff.errors import ConformError

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def interpreter() -> str:
    """This Python by its version, if it has such a name: Lithops remembers, by name, which version each one is."""
    versioned = Path(sys.executable).with_name(f"python{sys.version_info.major}.{sys.version_info.minor}")
    return str(versioned) if versioned.exists() else sys.executable


@pytest.fixture(scope="module")
def functions() -> Iterator[Any]:
    config = {
        "lithops": {"backend": "localhost", "storage": "localhost"},
        "localhost": {"runtime": interpreter()},
    }
    with lithops.FunctionExecutor(config=config, log_level=None) as executor:
        yield executor
    gc.collect()  # the files that Lithops leaves open are told here, and not in the next test


def refuse() -> None:
    found = "no"
    raise ConformError(found, feature="conform")


def test_a_cube_is_published_by_functions(tmp_path: Path, functions: Any) -> None:
    archive = tmp_path / "in"
    make_archive(archive, 9)
    publish([archive], tmp_path / "cube", executor=functions)
    cube = open_cube(tmp_path / "cube")["band_data"]
    for scene in range(9):
        with rasterio.open(archive / f"s{scene}.tif") as file:
            assert np.array_equal(cube.isel(item=scene).values, file.read(1))


def test_functions_tell_what_went_wrong(functions: Any) -> None:
    with pytest.raises(ConformError, match="no"):
        list(run_on(functions, refuse, [()]))
