"""Reading in Node.js by zarrita, without anything of ours: core codecs by their names, metadata as they stand."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile

from tests.archives import make_tiff
from virtual_tiff import export_references

ROOT = Path(__file__).parents[1]
PACKAGES = ROOT / "build" / "node"

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (PACKAGES / "node_modules" / "zarrita").exists(),
    reason="without Node.js and npm, `dev.py test` cannot install zarrita",
)


def node(references: Path, name: str, *codecs: str) -> subprocess.CompletedProcess[str]:
    command = ["node", str(ROOT / "tests" / "read_references.mjs"), str(PACKAGES), str(references), name, *codecs]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def read(references: Path, name: str, *codecs: str) -> Any:
    done = node(references, name, *codecs)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return np.frombuffer(base64.b64decode(found["samples"]), found["dtype"]).reshape(found["shape"])


def gdal(path: Path) -> Any:
    with rasterio.open(path) as file:
        return file.read().squeeze()


@pytest.mark.parametrize(
    "profile",
    [
        {"dtype": "uint16"},
        {"dtype": "int16", "endianness": "BIG"},
        {"dtype": "float64", "compress": "deflate"},
        {"dtype": "float32", "compress": "zstd", "endianness": "BIG"},
        {"dtype": "uint8", "shape": (3, 96, 80), "interleave": "pixel", "compress": "deflate"},
        {"dtype": "uint8", "shape": (3, 96, 80), "interleave": "band", "compress": "zstd"},
        {"dtype": "uint16", "tiled": False, "blockysize": 40},
        {"dtype": "uint16", "tiled": False, "blockysize": 40, "compress": "deflate"},
    ],
    ids=lambda profile: " ".join(map(str, profile.values())),
)
def test_zarrita_reads_what_gdal_reads(tmp_path: Path, profile: dict[str, Any]) -> None:
    make_tiff(tmp_path / "a.tif", 1, **profile)
    export_references([tmp_path / "a.tif"], tmp_path / "refs.json")
    pixels = read(tmp_path / "refs.json", "band_data").squeeze()
    expected = gdal(tmp_path / "a.tif")
    assert pixels.dtype == expected.dtype
    assert np.array_equal(pixels, expected)


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_zarrita_reads_bands_that_stand_last(tmp_path: Path, interleave: str) -> None:
    make_tiff(tmp_path / "a.tif", 1, shape=(3, 96, 80), interleave=interleave)
    export_references([tmp_path / "a.tif"], tmp_path / "refs.json", band_axis="last")
    pixels = read(tmp_path / "refs.json", "band_data")
    assert pixels.shape == (1, 96, 80, 3)
    assert np.array_equal(np.moveaxis(pixels[0], -1, 0), gdal(tmp_path / "a.tif"))


def test_missing_chunks_and_axes(tmp_path: Path) -> None:
    for day, seed in ((1, 0), (3, 1)):
        make_tiff(tmp_path / f"b_2024050{day}.tif", seed, nodata=7)
    days = "2024-05-01/2024-05-03/P1D"
    export_references([tmp_path], tmp_path / "refs.json", pattern="b_{time:%Y%m%d}.tif", presize={"time": days})
    pixels = read(tmp_path / "refs.json", "band_data")
    times = read(tmp_path / "refs.json", "time").astype("datetime64[us]")
    assert times.astype("datetime64[D]").astype(str).tolist() == ["2024-05-01", "2024-05-02", "2024-05-03"]
    assert np.array_equal(pixels[0], gdal(tmp_path / "b_20240501.tif"))
    assert np.array_equal(pixels[2], gdal(tmp_path / "b_20240503.tif"))
    assert (pixels[1] == 7).all()


def test_without_our_codec_there_are_no_pixels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((32, 32), np.uint16), compression="lzw")
    export_references([tmp_path / "a.tif"], tmp_path / "refs.json")
    done = node(tmp_path / "refs.json", "band_data")
    assert done.returncode != 0
    assert "virtual_tiff.segment" in done.stderr
