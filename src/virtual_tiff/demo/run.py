"""Make an archive, publish it, read it back in a fresh process, check every pixel, save a picture."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np

from virtual_tiff.cube.publish import Published, publish
from virtual_tiff.demo.cog import Ground, write_cog
from virtual_tiff.demo.scenes import NODATA, Scene, scenes
from virtual_tiff.errors import TargetError

GROUND: Final = Ground(epsg=32633, left=399960.0, top=5400000.0, pixel=10.0)
PRODUCTS: Final = ("reflectance", "ndvi")

_READ: Final = """
import hashlib, json
{code}
pixels = ds["band_data"].values
digest = hashlib.sha256(pixels.tobytes()).hexdigest()
print(json.dumps({{"shape": pixels.shape, "dtype": str(pixels.dtype), "sha256": digest}}))
"""


@dataclass(frozen=True, slots=True)
class CubeCheck:
    """One published cube: what a fresh process read, and what else could be compared."""

    published: Published
    files: int
    archive_bytes: int
    repository_bytes: int
    equal: bool
    equal_to_gdal: bool | None
    read_seconds: float


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The result of the demo."""

    folder: Path
    cubes: dict[str, CubeCheck]
    picture: Path

    @property
    def ok(self) -> bool:
        """Whether every pixel was right."""
        return all(cube.equal and cube.equal_to_gdal is not False for cube in self.cubes.values())


def run_demo(folder: Path, *, on_step: Callable[[str], None] = lambda _: None) -> DemoReport:
    """Run the demo in a new or empty folder.

    Raises
    ------
    TargetError
        ``target-exists`` when the folder holds something; ``target-denied`` when it cannot be written.
    """
    _make_folder(folder)
    on_step("Making an archive of COGs: 6 dates, 4 bands of uint16, and NDVI as float32")
    made = _make_archive(folder)
    checks = {}
    for product in PRODUCTS:
        on_step(f"Publishing {product} and reading it back in a fresh process")
        expected = np.stack([getattr(scene, product) for scene in made])
        if expected.shape[1] == 1:
            expected = expected[:, 0]
        checks[product] = _check(folder, product, expected)
    picture = folder / "picture.png"
    picture.write_bytes(imagecodecs.png_encode(_picture(made)))
    return DemoReport(folder, checks, picture)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        filled = any(folder.iterdir())
    except OSError as error:
        found = f"the folder cannot be used ({error.strerror})"
        raise TargetError(found, feature="target-denied", url=str(folder)) from error
    if filled:
        found = "the folder is not empty"
        raise TargetError(found, feature="target-exists", url=str(folder), hint="Name a new one.")


def _make_archive(folder: Path) -> list[Scene]:
    made = []
    for product in PRODUCTS:
        (folder / "archive" / product).mkdir(parents=True)
    for scene in scenes():
        date = f"{scene.date.replace('-', ':')} 10:00:00"
        for product, nodata in zip(PRODUCTS, (NODATA, np.nan), strict=True):
            path = folder / "archive" / product / f"{product}_{scene.date}.tif"
            write_cog(path, getattr(scene, product), GROUND, nodata=nodata, date=date)
        made.append(scene)
    return made


def _check(folder: Path, product: str, expected: np.ndarray[Any, Any]) -> CubeCheck:
    archive = folder / "archive" / product
    published = publish([archive], folder / f"{product}.icechunk")
    start = time.perf_counter()
    seen = read_in_fresh_process(published.code)
    seconds = time.perf_counter() - start
    return CubeCheck(
        published=published,
        files=published.files,
        archive_bytes=_bytes_below(archive),
        repository_bytes=_bytes_below(folder / f"{product}.icechunk"),
        equal=seen == _digest(expected),
        equal_to_gdal=_equal_to_gdal(archive, expected),
        read_seconds=seconds,
    )


def read_in_fresh_process(code: str) -> dict[str, Any]:
    """Run what a reader is told to type in a new Python; return shape, dtype and SHA-256 of the pixels."""
    # Stored values are compared; a reader would have nodata masked.
    script = _READ.format(code=code.replace("zarr_format=3)", "zarr_format=3, mask_and_scale=False)"))
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own text)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise TargetError(f"the cube could not be read back: {last}", feature="target-not-a-cube")
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def _digest(pixels: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {
        "shape": list(pixels.shape),
        "dtype": str(pixels.dtype),
        "sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
    }


def _equal_to_gdal(archive: Path, expected: np.ndarray[Any, Any]) -> bool | None:
    """Whether GDAL reads the same pixels from the files, or None when rasterio is not installed."""
    try:
        import rasterio
    except ImportError:
        return None
    for path, pixels in zip(sorted(archive.iterdir()), expected, strict=True):
        with rasterio.open(path) as file:
            read = file.read() if pixels.ndim == 3 else file.read(1)
        if not np.array_equal(read, pixels, equal_nan=pixels.dtype.kind == "f"):
            return False
    return True


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _picture(made: list[Scene]) -> np.ndarray[Any, Any]:
    """True colour of three dates above their NDVI, at half size, as (y, x, rgb) of uint8."""
    chosen = made[1::2]
    colour = [np.moveaxis(scene.reflectance[2::-1, ::2, ::2], 0, -1) / 3000.0 for scene in chosen]
    index = [_greens(scene.ndvi[0, ::2, ::2]) for scene in chosen]
    image = np.vstack([np.hstack(colour), np.hstack(index)])
    return np.ascontiguousarray((255 * np.clip(image, 0, 1) ** 0.8).astype(np.uint8))


def _greens(ndvi: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A ramp from sand to dark green; missing pixels are grey."""
    share = np.clip(np.nan_to_num(ndvi) / 0.9, 0, 1)[..., None]
    ramp = np.array([0.85, 0.75, 0.5]) * (1 - share) + np.array([0.0, 0.35, 0.1]) * share
    return np.where(np.isnan(ndvi)[..., None], 0.5, ramp)
