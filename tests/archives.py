"""Small archives of GeoTIFFs made by rasterio, and what GDAL reads from them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.transform import from_origin

type Pixels = npt.NDArray[Any]

LONG_AGO: Final = 1_700_000_000
"""Time of change of the files, in seconds: publishing waits for files that are younger than a second."""

_DEFAULTS: Final[dict[str, Any]] = {
    "driver": "GTiff",
    "crs": "EPSG:32633",
    "transform": from_origin(500000.0, 4600000.0, 10.0, 10.0),
    "compress": "deflate",
    "tiled": True,
    "blockxsize": 32,
    "blockysize": 48,
}


def make_tiff(path: Path, seed: int = 0, *, shape: tuple[int, int, int] = (1, 70, 90), **profile: Any) -> Pixels:
    """Write random pixels of shape (band, y, x) as one GeoTIFF; options are those of rasterio."""
    dtype = np.dtype(profile.pop("dtype", "uint16"))
    random = np.random.default_rng(seed)
    if dtype.kind == "f":
        pixels = random.normal(size=shape).astype(dtype)
    else:
        pixels = random.integers(0, 200, shape).astype(dtype)
    options = _DEFAULTS | {"count": shape[0], "height": shape[1], "width": shape[2], "dtype": dtype.name} | profile
    if not options["tiled"]:
        options.pop("blockxsize")
    with rasterio.open(path, "w", **options) as file:
        file.write(pixels)
    age(path)
    return pixels


def age(path: Path, seconds: float = LONG_AGO) -> None:
    """Set the time of the last change."""
    os.utime(path, (seconds, seconds))


def make_archive(folder: Path, count: int = 3, **profile: Any) -> Pixels:
    """Write scenes ``s0.tif``, ``s1.tif``, ... and return their pixels, of shape (file, band, y, x)."""
    folder.mkdir(parents=True, exist_ok=True)
    return np.stack([make_tiff(folder / f"s{index}.tif", index, **profile) for index in range(count)])


def gdal_reads(folder: Path, count: int = 3) -> Pixels:
    """What GDAL reads from the scenes of an archive, of shape (file, band, y, x)."""
    scenes = []
    for index in range(count):
        with rasterio.open(folder / f"s{index}.tif") as file:
            scenes.append(file.read())
    return np.stack(scenes)


def read_elsewhere(code: str, tmp_path: Path, environment: Mapping[str, str] | None = None) -> Pixels:
    """Run what a reader is told to type in a fresh Python, with warnings as errors; return the variable's pixels."""
    result = tmp_path / "pixels.npy"
    script = f"{code}\nimport numpy\nnumpy.save({str(result)!r}, ds['band_data'].values)\n"
    script += "import sys\nassert not any(name.startswith('virtual_tiff.cube') for name in sys.modules)\n"
    run_python(script, environment)
    pixels: Pixels = np.load(result)
    return pixels


def run_python(script: str, environment: Mapping[str, str] | None = None) -> str:
    """Run a script in a fresh Python, with warnings as errors, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_below(folder: Path) -> list[str]:
    """The files below a folder, as relative paths."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
