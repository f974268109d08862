"""Files that cannot be one array are refused, and what differs is named with the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.transform import from_origin

from tests.archives import age, make_archive, make_tiff
from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube.conform import check_conform, find_differences, short_names
from virtual_tiff.cube.plan import plan_stack
from virtual_tiff.cube.scan import scan
from virtual_tiff.errors import ConformError

DIFFERENCES: dict[str, tuple[dict[str, Any], str]] = {
    "size": ({"shape": (1, 70, 91)}, "size (91 x 70, not 90 x 70)"),
    "bands": ({"shape": (2, 70, 90)}, "bands (2, not 1)"),
    "data type": ({"dtype": "int16"}, "data type (int16, not uint16)"),
    "tiles": ({"blockxsize": 64}, "chunk shape (48 x 64, not 48 x 32)"),
    "codec": ({"compress": "zstd"}, "codecs (bytes > zstd, not bytes > numcodecs.zlib)"),
    "predictor": ({"predictor": 2}, "codecs (virtual_tiff.segment, not bytes > numcodecs.zlib)"),
    "nodata": ({"nodata": 5}, "nodata (5, not none)"),
    "CRS": ({"crs": "EPSG:32634"}, "CRS (EPSG:32634, not EPSG:32633)"),
    "transform": ({"transform": from_origin(500010.0, 4600000.0, 10.0, 10.0)}, "transform ([10.0, 0.0, 500010.0"),
}


@pytest.mark.parametrize(("profile", "told"), DIFFERENCES.values(), ids=list(DIFFERENCES))
def test_each_difference_is_named_with_the_file(profile: dict[str, Any], told: str, tmp_path: Path) -> None:
    make_archive(tmp_path, 3)
    make_tiff(tmp_path / "s3.tif", 3, **profile)
    with pytest.raises(ConformError) as caught:
        plan_stack(scan([tmp_path]).headers)
    message = str(caught.value)
    assert "s3.tif differs from the other 3 in" in message
    assert told in message
    assert "\n" not in message


def test_scale_and_offset_must_agree(tmp_path: Path) -> None:
    make_archive(tmp_path, 3)
    with rasterio.open(tmp_path / "s1.tif", "r+") as file:
        file.scales, file.offsets = (0.1,), (-3.0,)
    age(tmp_path / "s1.tif")
    with pytest.raises(ConformError, match=r"s1\.tif differs .* scale \(0\.1, not 1\.0\), offset \(-3\.0, not 0\.0\)"):
        check_conform(scan([tmp_path]).headers)


def test_the_configuration_of_a_codec_is_compared_field_by_field(tmp_path: Path) -> None:
    make_archive(tmp_path, 2, compress="lzw", predictor=2)
    make_tiff(tmp_path / "s5.tif", compress="lzw", predictor=1)
    differences = find_differences(scan([tmp_path]).headers)
    assert list(differences) == ["virtual_tiff.segment predictor"]


def test_tables_are_told_by_their_beginnings(tmp_path: Path) -> None:
    for number in range(2):
        table = np.full((3, 256), number << 8, "u2")
        pixels = np.zeros((16, 16), "u1")
        tifffile.imwrite(tmp_path / f"s{number}.tif", pixels, photometric="palette", colormap=table)
    with pytest.raises(ConformError, match=r"color_map \(\S{60}\.\.\., not \S{60}\.\.\.\)"):
        check_conform(scan([tmp_path], options=ChunkOptions(color="rgb")).headers)


def test_many_values_are_told_one_by_one(tmp_path: Path) -> None:
    for index, nodata in enumerate([None, 1, 2, 1]):
        make_tiff(tmp_path / f"s{index}.tif", index, nodata=nodata)
    with pytest.raises(ConformError) as caught:
        check_conform(scan([tmp_path]).headers)
    assert "they differ in nodata (1 in s1.tif, s3.tif, none in s0.tif, 2 in s2.tif)" in str(caught.value)


def test_dates_and_descriptions_may_differ(tmp_path: Path) -> None:
    make_archive(tmp_path, 2)
    for index in range(2):
        with rasterio.open(tmp_path / f"s{index}.tif", "r+") as file:
            file.update_tags(TIFFTAG_DATETIME=f"2024:05:0{index + 1} 00:00:00", PLATFORM="both")
            file.set_band_description(1, f"band of day {index}")
        age(tmp_path / f"s{index}.tif")
    plan = plan_stack(scan([tmp_path]).headers)
    attributes = plan.groups[0].arrays[0].template.attributes
    assert attributes["tags"]["PLATFORM"] == "both"
    assert "TIFFTAG_DATETIME" not in attributes["tags"]
    assert "long_name" not in attributes


def test_short_names() -> None:
    assert short_names(["s3://b/x/a.tif", "s3://b/y/c.tif"]) == ["a.tif", "c.tif"]
    assert short_names(["s3://b/k/x/a.tif", "s3://b/k/y/a.tif"]) == ["x/a.tif", "y/a.tif"]
    assert short_names(["s3://b/a.tif"]) == ["a.tif"]
    assert short_names(["s3://b/a.tif", "s3://c/a.tif"]) == ["b/a.tif", "c/a.tif"]
