"""The report on one file: layout, chunks, codecs, who can read it, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import rasterio

from tests.archives import make_tiff
from virtual_tiff.cube.describe import FileReport, describe_file
from virtual_tiff.cube.stores import locate
from virtual_tiff.errors import FormatError, UsageError


def _describe(path: Path, **profile: Any) -> FileReport:
    make_tiff(path, **profile)
    return describe_file(locate(path))


def test_a_cog_with_overviews(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    make_tiff(path, shape=(3, 70, 90), predictor=2, interleave="pixel")
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2], rasterio.enums.Resampling.nearest)
    report = describe_file(locate(path))
    first, second = report.images
    assert (first.ifd, first.subfile, first.size, first.bands, first.dtype) == ("0", "image", (90, 70), 3, "uint16")
    assert (second.ifd, second.subfile, second.size) == ("1", "overview", (45, 35))
    assert first.layout == "tiles of 32 x 48"
    assert first.compression == "Deflate, horizontal predictor"
    assert first.array is not None
    assert first.array["chunks"] == [1, 2, 3]
    assert first.readers == {
        "zarr-python": "yes, with virtual-tiff installed",
        "zarrs": "no: it lacks virtual_tiff.segment",
        "zarrita": "no: it lacks virtual_tiff.segment",
        "GDAL": "no: it lacks virtual_tiff.segment",
    }
    assert report.size == path.stat().st_size
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["url"] == f"file://{path}"


@pytest.mark.parametrize(
    ("compress", "gdal"),
    [
        ("zstd", "yes, with the open options DIM_X=x and DIM_Y=y"),
        ("deflate", "no: it lacks numcodecs.zlib"),
        ("lzw", "no: it lacks virtual_tiff.segment"),
    ],
)
def test_gdal_can_read_bands_that_stand_last(compress: str, gdal: str, tmp_path: Path) -> None:
    make_tiff(tmp_path / "a.tif", shape=(3, 70, 90), interleave="pixel", compress=compress)
    (image,) = describe_file(locate(tmp_path / "a.tif"), band_axis="last").images
    assert image.array is not None
    assert (image.array["dimensions"], image.array["chunk_shape"]) == (["y", "x", "band"], [48, 32, 3])
    assert (image.readers or {})["GDAL"] == gdal
    with pytest.raises(UsageError, match="band_axis='middle'"):
        describe_file(locate(tmp_path / "a.tif"), band_axis="middle")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("profile", "readers"),
    [
        ({}, ("yes", "yes", "yes", "no: it lacks numcodecs.zlib")),
        ({"compress": "zstd"}, ("yes", "yes", "yes", "yes")),
        (
            {"compress": "zstd", "shape": (3, 70, 90), "interleave": "pixel"},
            ("yes", "yes", "yes", "no: it misreads transposed chunks without an error, which --band-axis last avoids"),
        ),
        ({"compress": "zstd", "dtype": "complex64"}, ("yes", "yes", "no: it has no data type complex64", "yes")),
    ],
)
def test_who_can_read_it(profile: dict[str, Any], readers: tuple[str, ...], tmp_path: Path) -> None:
    if profile.get("dtype") == "complex64":
        profile = {**profile, "dtype": "complex64"}
    (image,) = _describe(tmp_path / "a.tif", **profile).images
    assert tuple((image.readers or {}).values()) == readers


def test_short_strips_and_sparse_tiles(tmp_path: Path) -> None:
    (image,) = _describe(tmp_path / "a.tif", tiled=False, blockysize=16).images
    assert image.layout == "strips of 90 x 16"
    assert image.array is not None
    assert image.array["inlined_chunks"] == 1
    assert image.missing_chunks == 0
    sparse = tmp_path / "sparse.tif"
    options = {"tiled": True, "blockxsize": 16, "blockysize": 16, "SPARSE_OK": True, "crs": "EPSG:4326"}
    with rasterio.open(sparse, "w", driver="GTiff", width=64, height=32, count=1, dtype="uint8", **options):
        pass
    (image,) = describe_file(locate(sparse)).images
    assert (image.missing_chunks, image.stored_bytes) == (8, 0)


def test_a_refusal_stands_in_the_report(tmp_path: Path) -> None:
    make_tiff(tmp_path / "a.tif", compress="none")
    raw = bytearray((tmp_path / "a.tif").read_bytes())
    at = raw.index(b"\x03\x01\x03\x00\x01\x00\x00\x00\x01\x00")  # Compression, SHORT, one value: 1
    raw[at + 8 : at + 10] = (0x77, 0x77)
    (tmp_path / "a.tif").write_bytes(raw)
    report = describe_file(locate(tmp_path / "a.tif"))
    (image,) = report.images
    assert not report.readable
    assert image.array is None
    assert image.refusal is not None
    assert image.refusal["feature"] == "compression"


def test_no_tiff_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("hello, this is text")
    with pytest.raises(FormatError):
        describe_file(locate(tmp_path / "a.tif"))
