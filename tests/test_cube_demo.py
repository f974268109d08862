"""The writer of the demo writes what GDAL reads; the demo itself is run in ``test_cli.py``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.archives import run_python
from virtual_tiff.demo.cog import Ground, write_cog

GROUND = Ground(epsg=32633, left=399960.0, top=5400000.0, pixel=10.0)


@pytest.mark.parametrize(("dtype", "bands", "nodata"), [("uint16", 4, 0), ("float32", 1, float("nan"))])
def test_gdal_reads_what_the_writer_writes(dtype: str, bands: int, nodata: float, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 9000, (bands, 300, 520)).astype(dtype)
    pixels[:, :256, :256] = nodata
    write_cog(tmp_path / "a.tif", pixels, GROUND, nodata=nodata, date="2024:07:15 10:30:00")
    with rasterio.open(tmp_path / "a.tif") as file:
        assert np.array_equal(file.read(), pixels, equal_nan=dtype == "float32")
        assert file.crs.to_epsg() == 32633
        assert tuple(file.transform)[:6] == (10.0, 0.0, 399960.0, 0.0, -10.0, 5400000.0)
        assert file.overviews(1) == [2]
        assert np.array_equal(file.nodata, nodata, equal_nan=True)
        assert file.tags()["TIFFTAG_DATETIME"] == "2024:07:15 10:30:00"
    with rasterio.open(tmp_path / "a.tif", overview_level=0) as file:
        assert np.array_equal(file.read(), pixels[:, ::2, ::2], equal_nan=dtype == "float32")


def test_the_demo_needs_no_test_dependency() -> None:
    script = """
import sys
for name in ("rasterio", "tifffile", "rioxarray", "boto3", "pytest"):
    sys.modules[name] = None
import virtual_tiff.demo.run, virtual_tiff.cli
print("ok")
"""
    assert run_python(script).strip() == "ok"
