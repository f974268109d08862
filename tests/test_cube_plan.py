"""Plans are published and read back: values described as in single files, axes, bands, areas, overviews."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr

from tests.archives import age, make_archive, make_tiff
from tests.opening import source_of
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.open import open_cube
from virtual_tiff.cube.plan import CubePlan, plan_stack
from virtual_tiff.cube.publish import publish_plan
from virtual_tiff.cube.scan import scan
from virtual_tiff.cube.times import encode_time
from virtual_tiff.errors import ConformError, UsageError
from virtual_tiff.group import ImageOptions, image_group
from virtual_tiff.tiff.source import read_tiff

DAY = timedelta(days=1)
START = datetime(2024, 1, 31, 23, 59, 59, 123457, tzinfo=UTC)


def published(plan: CubePlan, tmp_path: Path, group: str | None = None, **options: Any) -> xr.Dataset:
    """What a plan reads as after it was published."""
    target = tmp_path / "cube.icechunk"
    if not target.exists():
        publish_plan(plan, target)
    return open_cube(target, group=group, **options)


def stored(plan: CubePlan, tmp_path: Path, group: str | None = None) -> xr.Dataset:
    """The stored values, neither masked nor scaled."""
    return published(plan, tmp_path, group, mask_and_scale=False)


def edit(path: Path, **changes: Any) -> None:
    """Change attributes of an open dataset: ``scales``, ``units``, ``descriptions``, ..."""
    with rasterio.open(path, "r+") as file:
        for name, value in changes.items():
            setattr(file, name, value)
    age(path)


def with_keys(headers: Sequence[FileHeader], *keys: dict[str, Any]) -> list[FileHeader]:
    return [replace(header, keys=own) for header, own in zip(headers, keys, strict=True)]


# The meaning of values


MEANINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nodata, scale, units, name": (
        {"nodata": 7, "dtype": "int16"},
        {"scales": (0.1,), "offsets": (-20.0,), "units": ("m",), "descriptions": ("height",)},
    ),
    "bands of different scales": (
        {"shape": (2, 70, 90)},
        {"scales": (0.1, 0.5), "offsets": (0.0, 1.0), "units": ("m", "K"), "descriptions": ("h", "t")},
    ),
    "float NaN": ({"dtype": "float32", "nodata": float("nan")}, {}),
    "palette": ({"dtype": "uint8", "photometric": "palette"}, {}),
    "nothing": ({"crs": None}, {}),
}


@pytest.mark.parametrize("name", MEANINGS)
def test_a_cube_says_of_itself_what_a_single_file_does(name: str, tmp_path: Path) -> None:
    profile, changes = MEANINGS[name]
    for index in range(2):
        make_tiff(tmp_path / f"s{index}.tif", index, **profile)
        edit(tmp_path / f"s{index}.tif", **changes)
    source = source_of((tmp_path / "s0.tif").read_bytes())
    single = source.run(image_group(read_tiff(source), 0, ImageOptions()))
    plan = plan_stack(scan([tmp_path]).headers)
    (group,) = plan.groups
    (array,) = group.arrays
    assert array.template.attributes == single.arrays["band_data"].attributes
    assert group.attributes == single.attributes
    assert [(c.name, c.dims, c.attributes) for c in group.coordinates] == [
        (c.name, c.dims, c.attributes) for c in single.coordinates
    ]
    pairs = zip(group.coordinates, single.coordinates, strict=True)
    assert all(np.array_equal(one.values, other.values) for one, other in pairs)


def test_masked_and_scaled_reading_equals_rioxarray(tmp_path: Path) -> None:
    make_archive(tmp_path / "a", 2, nodata=7, dtype="int16")
    for index in range(2):
        edit(tmp_path / f"a/s{index}.tif", scales=(0.5,), offsets=(-20.0,))
    ds = published(plan_stack(scan([tmp_path / "a"]).headers), tmp_path)
    for index in range(2):
        opened = rioxarray.open_rasterio(tmp_path / f"a/s{index}.tif", mask_and_scale=True)
        assert isinstance(opened, xr.DataArray)
        with opened as expected:
            own = ds["band_data"].isel(item=index)
            np.testing.assert_array_equal(own.values, expected.values[0])
            assert np.isnan(own.values).any()
            assert own.rio.crs == expected.rio.crs
            assert own.rio.transform() == expected.rio.transform()
            np.testing.assert_array_equal(own.x, expected.x)


def test_values_are_left_alone_when_asked_for(tmp_path: Path) -> None:
    made = make_archive(tmp_path / "a", 2, nodata=7)
    ds = published(plan_stack(scan([tmp_path / "a"]).headers, value_attributes=False), tmp_path)
    assert ds["band_data"].dtype == np.uint16
    assert np.array_equal(ds["band_data"], made[:, 0])


# Time


def test_times_are_sorted_and_exact(tmp_path: Path) -> None:
    made = make_archive(tmp_path / "a", 3)
    times = [START + 2 * DAY, START, START + 9 * DAY]  # with holes, and not in the order of names
    plan = plan_stack(scan([tmp_path / "a"]).headers, time=lambda url: times[int(url[-5])])
    ds = published(plan, tmp_path)
    assert ds["band_data"].dims == ("time", "y", "x")
    assert np.array_equal(ds["band_data"], made[[1, 0, 2], 0])
    expected = np.array([time.replace(tzinfo=None) for time in sorted(times)], "datetime64[us]")
    assert np.array_equal(ds["time"].values.astype("datetime64[us]"), expected)
    raw = published(plan, tmp_path, decode_times=False)["time"]
    assert raw.dtype == np.int64
    assert raw.attrs["units"] == "microseconds since 1970-01-01"


def test_times_come_from_the_tag_or_from_a_catalogue(tmp_path: Path) -> None:
    make_archive(tmp_path / "a", 2)
    for index in range(2):
        with rasterio.open(tmp_path / f"a/s{index}.tif", "r+") as file:
            file.update_tags(TIFFTAG_DATETIME=f"2024:05:0{2 - index} 12:30:00")
        age(tmp_path / f"a/s{index}.tif")
    headers = scan([tmp_path / "a"]).headers
    noon = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)
    for source in ("tag", "auto"):
        (axis,) = plan_stack(headers, time=source).groups[0].axes
        assert np.array_equal(axis.values, encode_time([noon, noon + DAY]))
    told = [replace(header, time=START + index * DAY) for index, header in enumerate(headers)]
    (axis,) = plan_stack(told, time="auto").groups[0].axes
    assert np.array_equal(axis.values, encode_time([START, START + DAY]))
    with pytest.raises(ConformError, match=r"s0\.tif, s1\.tif have no time"):
        plan_stack(headers, time="keys")
    with pytest.raises(UsageError):
        plan_stack(headers, time="clock")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="returned 'today'"):
        plan_stack(headers, time=lambda _: "today")  # type: ignore[arg-type]


def test_two_files_of_one_time_are_refused_by_name(tmp_path: Path) -> None:
    make_archive(tmp_path, 4)
    with pytest.raises(ConformError) as caught:
        plan_stack(scan([tmp_path]).headers, time=lambda url: START + (int(url[-5]) % 3) * DAY)
    assert caught.value.feature == "overlap"
    assert "s0.tif and s3.tif claim the same place at time 2024-01-31T23:59:59.123457" in str(caught.value)


# Bands and other axes


def test_bands_of_separate_files_become_an_axis_with_holes(tmp_path: Path) -> None:
    made = make_archive(tmp_path / "a", 3, nodata=201)
    headers = with_keys(
        scan([tmp_path / "a"]).headers,
        {"band": "B08", "time": START},
        {"band": "B04", "time": START},
        {"band": "B08", "time": START + DAY},
    )
    plan = plan_stack(headers, time="auto")
    ds = stored(plan, tmp_path)
    assert ds["band_data"].dims == ("time", "band", "y", "x")
    assert list(ds["band"].values) == ["B04", "B08"]
    assert np.array_equal(ds["band_data"].sel(band="B08"), made[[0, 2], 0])
    assert np.array_equal(ds["band_data"].sel(band="B04").values[0], made[1, 0])
    assert (ds["band_data"].sel(band="B04").values[1] == 201).all()
    assert plan.warnings == ()


def test_labels_of_one_axis_are_of_one_kind(tmp_path: Path) -> None:
    make_archive(tmp_path, 3)
    headers = scan([tmp_path]).headers
    with pytest.raises(ConformError, match="several kinds"):
        plan_stack(with_keys(headers, {"a": 1}, {"a": "one"}, {"a": 2}), axes=["a"])
    with pytest.raises(ConformError, match=r"s1\.tif has no key 'a'"):
        plan_stack(with_keys(headers, {"a": 1}, {}, {"a": 2}), axes=["a"])
    natural = plan_stack(with_keys(headers, {"a": "b10"}, {"a": "b2"}, {"a": "b1"}), axes=["a"])
    assert natural.groups[0].axes[0].values.tolist() == ["b1", "b2", "b10"]


def test_holes_without_nodata_are_told(tmp_path: Path) -> None:
    make_archive(tmp_path, 3)
    headers = with_keys(scan([tmp_path]).headers, {"a": 1, "b": 1.5}, {"a": 2, "b": 1.5}, {"a": 1, "b": 2.5})
    plan = plan_stack(headers, axes=["a", "b"])
    assert [axis.values.dtype for axis in plan.groups[0].axes] == [np.int64, np.float64]
    assert plan.warnings == (
        "band_data: 6 of 24 chunks are in no file and are read as 0, which the files do not declare as nodata",
    )


def test_bands_of_separate_files_become_variables(tmp_path: Path) -> None:
    make_tiff(tmp_path / "red.tif", 1)
    make_tiff(tmp_path / "mask.tif", 2, dtype="uint8", nodata=3)
    red, mask = (rasterio.open(tmp_path / name).read(1) for name in ("red.tif", "mask.tif"))
    headers = with_keys(scan([tmp_path]).headers, {"band": "quality"}, {"band": "red"})
    ds = stored(plan_stack(headers, band_as="variable"), tmp_path)
    assert ds["red"].dims == ("y", "x")
    assert ds["quality"].attrs["_FillValue"] == 3
    assert np.array_equal(ds["red"], red)
    assert np.array_equal(ds["quality"], mask)
    chosen = plan_stack(headers, band_as="variable", bands=["red"])
    assert [array.name for array in chosen.groups[0].arrays] == ["red"]
    with pytest.raises(UsageError, match="no file holds the band 'nir'"):
        plan_stack(headers, bands=["nir"])


def test_picked_bands_without_names_keep_their_numbers(tmp_path: Path) -> None:
    made = make_archive(tmp_path / "a", 2, shape=(4, 70, 90), interleave="band", photometric="minisblack")
    headers = scan([tmp_path / "a"]).headers
    ds = stored(plan_stack(headers, bands=[4, 2]), tmp_path)
    assert ds["band"].values.tolist() == [4, 2]
    assert np.array_equal(ds["band_data"].sel(band=2), made[:, 1])


def test_planar_bands_can_be_picked_or_become_variables(tmp_path: Path) -> None:
    made = make_archive(tmp_path / "a", 2, shape=(3, 70, 90), interleave="band", predictor=2)
    for index in range(2):
        edit(tmp_path / f"a/s{index}.tif", descriptions=("blue", "green", "red"), scales=(1.0, 2.0, 3.0))
    headers = scan([tmp_path / "a"]).headers
    plan = plan_stack(headers, bands=[3, "blue"])
    ds = stored(plan, tmp_path)
    assert list(ds["band"].values) == ["red", "blue"]
    assert list(ds["band_scale"].values) == [3.0, 1.0]
    assert np.array_equal(ds["band_data"], made[:, [2, 0]])
    assert plan.references == 2 * 2 * 6
    variables = plan_stack(headers, band_as="variable", bands=["green", "red"])
    publish_plan(variables, tmp_path / "variables")
    ds = open_cube(tmp_path / "variables", mask_and_scale=False)
    assert set(ds.data_vars) == {"green", "red"}
    assert np.array_equal(ds["red"], made[:, 2])
    assert ds["green"].attrs["scale_factor"] == 2.0


def test_bands_in_another_order_are_refused(tmp_path: Path) -> None:
    make_archive(tmp_path, 2, shape=(2, 70, 90))
    edit(tmp_path / "s0.tif", descriptions=("red", "nir"))
    edit(tmp_path / "s1.tif", descriptions=("nir", "red"))
    headers = scan([tmp_path]).headers
    with pytest.raises(ConformError, match=r"'nir' is band 2 of s0\.tif and band 1 of s1\.tif"):
        plan_stack(headers)
    edit(tmp_path / "s1.tif", descriptions=("red of Monday", "nir of Monday"))
    assert "long_name" not in plan_stack(scan([tmp_path]).headers).groups[0].arrays[0].template.attributes


def test_bands_that_are_interleaved_cannot_be_parted(tmp_path: Path) -> None:
    make_archive(tmp_path, 1, shape=(3, 70, 90), interleave="pixel")
    headers = scan([tmp_path]).headers
    for options in ({"bands": [1]}, {"band_as": "variable"}):
        with pytest.raises(UsageError, match="each chunk holds all 3 bands"):
            plan_stack(headers, **options)
    assert plan_stack(headers, bands=[1, 2, 3]).references == 6
    with pytest.raises(UsageError, match="there is no band 4"):
        plan_stack(headers, bands=[4])


# Areas


@pytest.mark.parametrize("tiled", [True, False])
def test_an_area_grows_to_whole_chunks(tiled: bool, tmp_path: Path) -> None:
    made = make_archive(tmp_path / "a", 2, tiled=tiled, blockysize=16, nodata=3)
    headers = scan([tmp_path / "a"]).headers
    # 10 m pixels, origin (500000, 4600000)
    plan = plan_stack(headers, bounds=(500400.0, 4599300.0, 500650.0, 4599650.0))
    ds = stored(plan, tmp_path)
    columns = slice(32, 90) if tiled else slice(0, 90)
    assert np.array_equal(ds["band_data"], made[:, 0, 32:, columns])
    assert ds["y"].values[0] == 4600000 - 32 * 10 - 5
    assert ds["x"].values[0] == 500000 + (columns.start) * 10 + 5
    assert ds.rio.transform().f == 4600000 - 320
    same = plan_stack(headers, window=(40, 35, 25, 35))
    assert same.describe() == plan.describe()


def test_areas_that_cannot_be_had(tmp_path: Path) -> None:
    make_archive(tmp_path, 1)
    headers = scan([tmp_path]).headers
    for options in (
        {"bounds": (0.0, 0.0, 1.0, 1.0)},
        {"bounds": (500400.0, 4599650.0, 500650.0, 4599300.0)},
        {"window": (90, 0, 5, 5)},
        {"window": (0, 0, 0, 5)},
        {"window": (0, 0, 5, 5), "bounds": (500400.0, 4599300.0, 500650.0, 4599650.0)},
    ):
        with pytest.raises(UsageError):
            plan_stack(headers, **options)


# Overviews


@pytest.fixture
def pyramids(tmp_path: Path) -> Path:
    """Two scenes with two overviews and masks."""
    folder = tmp_path / "a"
    folder.mkdir()
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True, GDAL_TIFF_OVR_BLOCKSIZE=64):
        for index in range(2):
            path = folder / f"s{index}.tif"
            make_tiff(path, index, shape=(1, 512, 640), blockxsize=64, blockysize=64)
            with rasterio.open(path, "r+") as file:
                valid = np.random.default_rng(index).integers(0, 2, (512, 640)).astype(bool)
                file.write_mask(valid)
                file.build_overviews([2, 4], rasterio.enums.Resampling.nearest)
            age(path)
    return folder


def test_overviews_and_masks_are_a_multiscale_group(pyramids: Path, tmp_path: Path) -> None:
    headers = scan([pyramids], overviews=True).headers
    plan = plan_stack(headers, time=lambda url: START + int(url[-5]) * DAY, levels=True)
    assert [group.path for group in plan.groups] == ["", "0", "1", "2"]
    layout = plan.groups[0].attributes["multiscales"]["layout"]
    assert [level["transform"]["scale"] for level in layout] == [[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]]
    assert [level["spatial:shape"] for level in layout] == [[512, 640], [256, 320], [128, 160]]
    for number in range(3):
        ds = stored(plan, tmp_path, str(number))
        assert ds["band_data"].attrs["ancillary_variables"] == "mask"
        assert ds.sizes["time"] == 2
        for index in range(2):
            options = {"overview_level": number - 1} if number else {}
            with rasterio.open(pyramids / f"s{index}.tif", **options) as file:
                assert np.array_equal(ds["band_data"][index], file.read(1))
                assert np.array_equal(ds["mask"].values[index].astype(bool), file.dataset_mask() > 0)
                assert ds.rio.transform().almost_equals(file.transform)


def test_an_area_is_the_same_on_all_levels(pyramids: Path, tmp_path: Path) -> None:
    headers = scan([pyramids], overviews=True).headers
    plan = plan_stack(headers, levels=(0, 2), window=(300, 10, 20, 20))
    assert [group.path for group in plan.groups] == ["", "0", "1"]
    fine, coarse = (stored(plan, tmp_path, name) for name in ("0", "1"))
    assert fine.rio.bounds() == coarse.rio.bounds()
    with rasterio.open(pyramids / "s1.tif") as file:
        window = rasterio.windows.Window(256, 0, 256, 256)
        assert np.array_equal(fine["band_data"][1], file.read(1, window=window))
    with rasterio.open(pyramids / "s1.tif", overview_level=1) as file:
        window = rasterio.windows.Window(64, 0, 64, 64)
        assert np.array_equal(coarse["band_data"][1], file.read(1, window=window))


def test_overviews_that_only_some_files_have(pyramids: Path) -> None:
    make_tiff(pyramids / "s2.tif", 2, shape=(1, 512, 640), blockxsize=64, blockysize=64)
    headers = scan([pyramids], overviews=True).headers
    with pytest.raises(ConformError, match="no mask"):
        plan_stack(headers, levels=True)
    with pytest.raises(ConformError, match="no mask at level 0, but 2 of 3"):
        plan_stack(headers)
    maskless = [replace(header, masks=(None,) * len(header.levels)) for header in headers]
    plan = plan_stack(maskless, levels=True)
    assert [group.path for group in plan.groups] == ["", "0"]
    assert plan.notes == ("overviews from level 1 on are left out: only some files have them",)
    with pytest.raises(UsageError, match="all files have levels 0 to 0"):
        plan_stack(maskless, levels=[1])
    with pytest.raises(UsageError, match="have not been read"):
        plan_stack(scan([pyramids]).headers, levels=True)


def test_overviews_and_masks_must_agree(pyramids: Path) -> None:
    headers = list(scan([pyramids], overviews=True).headers)
    for part in ("levels", "masks"):
        arrays = getattr(headers[1], part)
        other = replace(arrays[1], codecs=({"name": "bytes"}, {"name": "zstd", "configuration": {}}))
        changes: dict[str, Any] = {part: (arrays[0], other, *arrays[2:])}
        changed = [headers[0], replace(headers[1], **changes)]
        with pytest.raises(
            ConformError, match=r"of s1\.tif differs from that of s0\.tif in codecs \(bytes > zstd, not"
        ):
            plan_stack(changed, levels=[0, 1])
        made = plan_stack(changed, levels=True)
        assert [group.path for group in made.groups] == ["", "0"]
        assert "overviews from level 1 on are left out (1, 2)" in made.notes[0]


def test_overviews_of_other_block_sizes_are_not_mixed(tmp_path: Path) -> None:
    for index, size in enumerate(("64", "128")):
        path = tmp_path / f"s{index}.tif"
        make_tiff(path, index, shape=(1, 512, 640), blockxsize=64, blockysize=64)
        with rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE=size), rasterio.open(path, "r+") as file:
            file.build_overviews([2], rasterio.enums.Resampling.nearest)
        age(path)
    with pytest.raises(ConformError, match="chunk shape \\(128 x 128, not 64 x 64\\)"):
        plan_stack(scan([tmp_path], overviews=True).headers, levels=[1])


def test_names_that_clash_are_refused(tmp_path: Path) -> None:
    make_archive(tmp_path, 2)
    headers = with_keys(scan([tmp_path]).headers, {"x": 1, "band": "y"}, {"x": 2, "band": "x"})
    for options in ({"axes": ["x"]}, {"band_as": "variable"}, {"axes": ["band", "band"]}, {"name": "band"}):
        with pytest.raises(UsageError):
            plan_stack(headers, **options)
    with pytest.raises(UsageError):
        plan_stack([])


def test_plans_are_made_inside_a_running_event_loop(tmp_path: Path) -> None:
    make_archive(tmp_path, 2)

    async def work() -> CubePlan:
        await asyncio.sleep(0)
        return plan_stack(scan([tmp_path]).headers)

    assert asyncio.run(work()).references == 12
