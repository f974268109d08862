"""Chunks of several sizes: rectilinear grids out of strips, read as rasterio reads the files, else refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling

from tests.archives import age, make_tiff
from tests.test_cube_mosaic import make_tiles, merged, tile_at
from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube.append import append
from virtual_tiff.cube.draft import Request
from virtual_tiff.cube.edges import stored_edges
from virtual_tiff.cube.explain import explain
from virtual_tiff.cube.open import open_cube, open_repository
from virtual_tiff.cube.plan import CubePlan, plan_stack
from virtual_tiff.cube.publish import publish
from virtual_tiff.cube.runs import AxisEdges
from virtual_tiff.cube.scan import scan
from virtual_tiff.cube.verify import verify
from virtual_tiff.errors import ConformError, UsageError

type Profiles = Mapping[str, dict[str, Any]]
type Values = npt.NDArray[Any]

STRIPS: dict[str, Any] = {"tiled": False, "blockysize": 16, "nodata": 201}
SCHEMES: dict[str, dict[str, Any]] = {
    "uncompressed": {"compress": "none"},
    "deflate": {"compress": "deflate"},
    "zstd": {"compress": "zstd"},
}


@pytest.fixture(autouse=True)
def _flag() -> Iterator[None]:
    with zarr.config.set({"array.rectilinear_chunks": True}):
        yield


def strips(col: int, row: int, width: int, height: int, **profile: Any) -> dict[str, Any]:
    """The profile of a file in strips."""
    return tile_at(col, row, shape=(1, height, width), **{**STRIPS, **profile})


def grid_of(cube: Path, name: str = "band_data") -> dict[str, Any]:
    array = open_repository(cube).readonly_session("main").store
    found: dict[str, Any] = zarr.open_array(array, path=name, mode="r").metadata.to_dict()["chunk_grid"]  # type: ignore[assignment]
    return found


def edges_of(plan: CubePlan) -> Any:
    template = plan.groups[0].arrays[0].template
    return template.zarr_json()["chunk_grid"]["configuration"].get("chunk_shapes")


def pixels(cube: Path, name: str = "band_data") -> Values:
    found: Values = open_cube(cube, mask_and_scale=False)[name].values
    return found


def planned(folder: Path, **options: Any) -> CubePlan:
    headers = scan([folder], options=ChunkOptions(short_strips="rectilinear")).headers
    return plan_stack(headers, **{"mosaic": True, "chunk_grid": "rectilinear", **options})


def refusal(folder: Path, **options: Any) -> ConformError:
    with pytest.raises(ConformError) as caught:
        planned(folder, **options)
    return caught.value


# Grids

WIDE = {
    "a": strips(0, 0, 64, 90),
    "b": strips(64, 0, 30, 90),
    "c": strips(0, 90, 64, 55),
    "d": strips(64, 90, 30, 55),
}
GRIDS: dict[str, tuple[dict[str, dict[str, Any]], Any]] = {
    "heights that are no multiple": (
        {"a": strips(0, 0, 64, 90), "b": strips(0, 90, 64, 90), "c": strips(0, 180, 64, 33)},
        [[[16, 5], 10, [16, 5], 10, [16, 2], 1], [[64, 1]]],
    ),
    "widths and heights": (WIDE, [[[16, 5], 10, [16, 3], 7], [64, 30]]),
    "a missing tile": ({key: WIDE[key] for key in "abc"}, [[[16, 5], 10, [16, 3], 7], [64, 30]]),
    "rows and columns that no tile covers": (
        {"a": strips(0, 0, 64, 90), "b": strips(164, 130, 64, 40)},
        [[[16, 5], 10, [16, 2], 8, [16, 2], 8], [64, 64, 36, 64]],
    ),
    "uncompressed": (
        {
            "a": strips(0, 0, 64, 90, compress="none"),
            "c": strips(0, 90, 64, 55, compress="none", blockysize=5),
            "d": strips(64, 90, 30, 55, compress="none"),
        },
        [[90, 55], [64, 30]],
    ),
    "uncompressed tiles of the width of the image": (
        {
            "a": tile_at(0, 0, shape=(1, 90, 32), compress="none", nodata=201),
            "b": tile_at(0, 90, shape=(1, 96, 32), compress="none", nodata=201),
        },
        [[48, 42, 48, 48], [[32, 1]]],
    ),
    "one strip each": (
        {"a": strips(0, 0, 64, 50, blockysize=64), "b": strips(0, 50, 64, 20, blockysize=64)},
        [[50, 20], [[64, 1]]],
    ),
    "tiles of several sizes": (
        {
            "a": tile_at(0, 0, shape=(1, 64, 64), blockxsize=32, blockysize=16, nodata=201),
            "b": tile_at(0, 64, shape=(1, 64, 64), blockxsize=32, blockysize=32, nodata=201),
        },
        [[[16, 4], [32, 2]], [[32, 2]]],
    ),
}


def flat(edges: Any) -> Any:
    """Edges without runs."""
    return [size for one in edges for size in ([one] if isinstance(one, int) else [one[0]] * one[1])]


@pytest.mark.parametrize("name", GRIDS)
def test_tiles_are_read_as_by_rasterio(name: str, tmp_path: Path) -> None:
    profiles, expected = GRIDS[name]
    paths = make_tiles(tmp_path / "a", profiles)
    done = publish([tmp_path / "a"], tmp_path / "cube", chunk_grid="rectilinear")
    assert np.array_equal(pixels(tmp_path / "cube"), merged(paths, 201))
    grid = grid_of(tmp_path / "cube")
    assert grid["name"] == "rectilinear"
    assert [flat(one) for one in grid["configuration"]["chunk_shapes"]] == [flat(one) for one in expected]
    assert done.references == sum(header.array.offsets.size for header in planned(tmp_path / "a").headers)
    checked = verify(tmp_path / "cube", pixels=8, seed=1)
    assert checked.ok
    assert all(one.decoder == "same" and one.gdal == "same" for one in checked.pixels)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("bands", [1, 3])
def test_core_codecs(scheme: str, bands: int, tmp_path: Path) -> None:
    tall: Profiles = {
        name: {**profile, **SCHEMES[scheme], "shape": (bands, *profile["shape"][1:]), "interleave": "pixel"}
        for name, profile in WIDE.items()
    }
    paths = make_tiles(tmp_path / "a", tall)
    publish(
        [tmp_path / "a"],
        tmp_path / "cube",
        chunk_grid="rectilinear",
        options=ChunkOptions(target_chunk_bytes=1000),
    )
    assert grid_of(tmp_path / "cube")["name"] == "rectilinear"
    seen = pixels(tmp_path / "cube")
    assert np.array_equal(seen if bands == 1 else seen[0], merged(paths, 201))


def test_planar_bands_and_variables(tmp_path: Path) -> None:
    planar: Profiles = {
        name: {**profile, "shape": (3, *profile["shape"][1:]), "interleave": "band"} for name, profile in WIDE.items()
    }
    paths = make_tiles(tmp_path / "a", planar)
    publish([tmp_path / "a"], tmp_path / "cube", chunk_grid="rectilinear", band_as="variable")
    assert np.array_equal(pixels(tmp_path / "cube", "band_1"), merged(paths, 201))


def test_dates_and_appends(tmp_path: Path) -> None:
    names = {f"{tile}_202401{day:02}": profile for tile, profile in WIDE.items() for day in (1, 5)}
    del names["b_20240105"]
    make_tiles(tmp_path / "a", names)
    pattern = "{tile}_{time:%Y%m%d}.tif"
    publish([tmp_path / "a"], tmp_path / "cube", pattern=pattern, chunk_grid="rectilinear")

    def check(days: Sequence[int]) -> None:
        seen = pixels(tmp_path / "cube")
        assert seen.shape == (len(days), 145, 94)
        for index, day in enumerate(days):
            there = sorted((tmp_path / "a").glob(f"*_202401{day:02}.tif"))
            expected = merged(there, 201)
            assert np.array_equal(seen[index, : expected.shape[0], : expected.shape[1]], expected)

    check([1, 5])
    assert np.all(pixels(tmp_path / "cube")[1, :90, 64:] == 201)
    for seed, tile in enumerate("ad"):  # a later date, and the tile that was missing
        make_tiff(tmp_path / "a" / f"{tile}_20240109.tif", 40 + seed, **names[f"{tile}_20240101"])
    make_tiff(tmp_path / "a" / "b_20240105.tif", 50, **names["b_20240101"])
    with zarr.config.set({"array.rectilinear_chunks": False}):
        append([tmp_path / "a"], tmp_path / "cube")
        checked = verify(tmp_path / "cube", pixels=8, seed=2)
    assert checked.ok
    assert {one.chunk[1:] for one in checked.pixels} <= {(row, column) for row in range(10) for column in range(2)}
    check([1, 5, 9])
    # other strips, another ground, and a date between the others
    make_tiff(tmp_path / "other_20240110.tif", 1, **strips(0, 0, 64, 90, blockysize=8))
    with pytest.raises(ConformError, match=r"rows 0 to 7, where the cube has one of 0 to 15") as caught:
        append([tmp_path / "other_20240110.tif"], tmp_path / "cube")
    assert caught.value.feature == "misaligned"
    make_tiff(tmp_path / "below_20240110.tif", 1, **strips(0, 145, 64, 32))
    with pytest.raises(ConformError, match="cannot grow on the ground: it has a rectilinear chunk grid"):
        append([tmp_path / "below_20240110.tif"], tmp_path / "cube")
    make_tiff(tmp_path / "a_20240103.tif", 1, **strips(0, 0, 64, 90))
    with pytest.raises(ConformError, match="cannot be inserted"):
        append([tmp_path / "a_20240103.tif"], tmp_path / "cube")
    check([1, 5, 9])


def test_a_stack_on_one_ground(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    made = [make_tiff(folder / f"s{index}.tif", index, **strips(0, 0, 64, 90)) for index in range(2)]
    publish([folder], tmp_path / "cube", chunk_grid="rectilinear")
    made.append(make_tiff(folder / "s2.tif", 2, **strips(0, 0, 64, 90)))
    append([folder], tmp_path / "cube")
    assert np.array_equal(pixels(tmp_path / "cube"), np.concatenate(made))
    assert grid_of(tmp_path / "cube")["name"] == "rectilinear"


def test_new_versions_of_files(tmp_path: Path) -> None:
    paths = make_tiles(tmp_path / "a", WIDE)
    publish([tmp_path / "a"], tmp_path / "cube", chunk_grid="rectilinear")
    make_tiff(paths[2], 77, **WIDE["c"])
    age(paths[2], 1_700_000_100)
    append([tmp_path / "a"], tmp_path / "cube")
    assert np.array_equal(pixels(tmp_path / "cube"), merged(paths, 201))


def test_grids_that_are_regular_are_written_as_such(tmp_path: Path) -> None:
    regular = {"a": strips(0, 0, 64, 96), "b": strips(64, 96, 64, 48), "c": strips(192, 160, 64, 16)}
    paths = make_tiles(tmp_path / "a", regular)
    publish([tmp_path / "a"], tmp_path / "cube", chunk_grid="rectilinear")
    assert grid_of(tmp_path / "cube") == {"name": "regular", "configuration": {"chunk_shape": (16, 64)}}
    with zarr.config.set({"array.rectilinear_chunks": False}):
        assert np.array_equal(pixels(tmp_path / "cube"), merged(paths, 201))
    # then the ground grows as long as the grid stays regular
    make_tiff(tmp_path / "a" / "d.tif", 5, **strips(-64, -32, 64, 32))
    append([tmp_path / "a"], tmp_path / "cube")
    with zarr.config.set({"array.rectilinear_chunks": False}):
        assert np.array_equal(pixels(tmp_path / "cube"), merged(sorted((tmp_path / "a").iterdir()), 201))
    make_tiff(tmp_path / "a" / "e.tif", 5, **strips(-64, 208, 64, 23))
    with pytest.raises(ConformError, match="cannot grow on the ground: it would need a rectilinear chunk grid"):
        append([tmp_path / "a"], tmp_path / "cube")


def test_padding_at_the_end_of_a_regular_grid(tmp_path: Path) -> None:
    paths = make_tiles(
        tmp_path / "a",
        {"a": tile_at(0, 0, shape=(1, 96, 64)), "b": tile_at(64, 96, shape=(1, 50, 41)), "c": tile_at(0, 96)},
    )
    paths = [path for path in paths if path.stem != "c"]
    publish(paths, tmp_path / "cube", chunk_grid="rectilinear")
    assert grid_of(tmp_path / "cube")["name"] == "regular"
    assert np.array_equal(pixels(tmp_path / "cube"), merged(paths, 0))


def test_an_area(tmp_path: Path) -> None:
    paths = make_tiles(tmp_path / "a", WIDE)
    publish([tmp_path / "a"], tmp_path / "cube", chunk_grid="rectilinear", window=(70, 20, 3, 75))
    assert np.array_equal(pixels(tmp_path / "cube"), merged(paths, 201)[16:106, 64:94])
    publish([tmp_path / "a"], tmp_path / "below", chunk_grid="rectilinear", window=(0, 91, 3, 3))
    assert np.array_equal(pixels(tmp_path / "below"), merged(paths, 201)[90:106, :64])
    with pytest.raises(UsageError, match="no common block"):
        plan_stack(
            scan([tmp_path / "a"], overviews=True).headers,
            mosaic=True,
            levels=True,
            chunk_grid="rectilinear",
            window=(70, 20, 3, 75),
        )


def test_levels(tmp_path: Path) -> None:
    """Overviews in tiles that are padded are left out, or refused by their number."""
    paths = make_tiles(tmp_path / "a", {"a": strips(0, 0, 64, 96), "b": strips(0, 96, 64, 40)})
    for path in paths:
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2], Resampling.nearest)
        age(path)
    publish([tmp_path / "a"], tmp_path / "cube", chunk_grid="rectilinear", overviews=True)
    store = open_repository(tmp_path / "cube").readonly_session("main").store
    assert np.array_equal(zarr.open_array(store, path="0/band_data", mode="r")[...], merged(paths, 201))
    with pytest.raises(ConformError, match=r"level 1: a\.tif ends at row 48 of 68"):
        publish([tmp_path / "a"], tmp_path / "other", chunk_grid="rectilinear", overviews=[0, 1])


def test_levels_in_strips(tmp_path: Path) -> None:
    """Overviews whose strips are short, too."""
    paths = []
    (tmp_path / "a").mkdir()
    for seed, (row, height) in enumerate([(0, 72), (72, 40)]):
        path = tmp_path / "a" / f"s{seed}.tif"
        fine = np.random.default_rng(seed).integers(0, 200, (height, 64)).astype(np.uint16)
        geo = [(33550, "d", 3, (10.0, 10.0, 0.0)), (33922, "d", 6, (0, 0, 0, 5e5, 4.6e6 - 10 * row, 0))]
        tags = [(code, kind, count, value, False) for code, kind, count, value in geo]
        tags.append((34735, "H", 16, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633), False))
        with tifffile.TiffWriter(path) as file:
            file.write(fine, compression="zlib", rowsperstrip=16, extratags=tags, metadata=None)
            file.write(fine[::2, ::2], compression="zlib", rowsperstrip=16, subfiletype=1, metadata=None)
        age(path)
        paths.append(path)
    publish([tmp_path / "a"], tmp_path / "cube", chunk_grid="rectilinear", overviews=True)
    store = open_repository(tmp_path / "cube").readonly_session("main").store
    fine = merged(paths)
    assert np.array_equal(zarr.open_array(store, path="0/band_data", mode="r")[...], fine)
    assert np.array_equal(zarr.open_array(store, path="1/band_data", mode="r")[...], fine[::2, ::2])
    assert flat(grid_of(tmp_path / "cube", "1/band_data")["configuration"]["chunk_shapes"][0]) == [16, 16, 4, 16, 4]


def test_uncompressed_rows_are_cut_as_the_cube_has_them(tmp_path: Path) -> None:
    plain = {"compress": "none"}
    wide = {
        "a": strips(0, 0, 400, 90, **plain),
        "b": strips(400, 0, 30, 90, **plain),
        "c": strips(0, 90, 400, 37, **plain),
    }
    paths = make_tiles(tmp_path / "a", {f"{name}_20240101": profile for name, profile in wide.items()})
    options = ChunkOptions(target_chunk_bytes=10_000)
    publish(
        [tmp_path / "a"],
        tmp_path / "cube",
        pattern="{tile}_{time:%Y%m%d}.tif",
        chunk_grid="rectilinear",
        options=options,
    )
    (rows, columns) = grid_of(tmp_path / "cube")["configuration"]["chunk_shapes"][1:]
    assert (flat(rows), flat(columns)) == ([15] * 6 + [37], [400, 30])
    assert np.array_equal(pixels(tmp_path / "cube")[0], merged(paths, 201))
    later = make_tiles(tmp_path / "b", {"b_20240102": strips(400, 0, 30, 90, **plain)})
    append([tmp_path / "b"], tmp_path / "cube")
    seen = pixels(tmp_path / "cube")
    assert np.array_equal(seen[1, :90, 400:], merged(later, 201))
    assert np.all(seen[1, :, :400] == 201)
    assert verify(tmp_path / "cube", pixels=8, seed=3).ok


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_uncompressed_bands_are_cut_anew(interleave: str, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    profile = {"compress": "none", "interleave": interleave, "tiled": False, "blockysize": 16, "nodata": 201}
    wide = make_tiff(folder / "a.tif", 1, **{**tile_at(0, 0), **profile, "shape": (3, 90, 300)})
    narrow = make_tiff(folder / "b.tif", 2, **{**tile_at(300, 0), **profile, "shape": (3, 90, 20)})
    publish([folder], tmp_path / "cube", chunk_grid="rectilinear", options=ChunkOptions(target_chunk_bytes=9000))
    assert np.array_equal(pixels(tmp_path / "cube"), np.concatenate([wide, narrow], axis=2))
    assert len(flat(grid_of(tmp_path / "cube")["configuration"]["chunk_shapes"][1])) > 1


def test_an_area_of_uncompressed_files_whose_chunks_differ(tmp_path: Path) -> None:
    plain = {"compress": "none"}
    make_tiles(tmp_path / "a", {"a": strips(0, 0, 400, 90, **plain), "b": strips(400, 0, 30, 90, **plain)})
    headers = scan([tmp_path / "a"], options=ChunkOptions("rectilinear", 10_000)).headers
    with pytest.raises(ConformError, match="has a chunk of the rows"):
        plan_stack(headers, mosaic=True, chunk_grid="rectilinear", window=(390, 0, 20, 20))


# Refusals

REFUSED: dict[str, tuple[dict[str, dict[str, Any]], str, str]] = {
    "strips of two heights side by side": (
        {"a": strips(0, 0, 64, 64), "b": strips(64, 0, 64, 64, blockysize=32)},
        "misaligned",
        "b.tif has a chunk of the rows 0 to 31, where a.tif has one of 0 to 15",
    ),
    "widths that cut each other": (
        {"a": strips(0, 0, 64, 64), "b": strips(30, 64, 64, 64)},
        "misaligned",
        "b.tif has a chunk of the columns 30 to 93, where a.tif has one of 0 to 63",
    ),
    "a short strip beside full ones": (
        {"a": strips(0, 0, 64, 90), "b": strips(64, 0, 64, 96)},
        "misaligned",
        "b.tif has a chunk of the rows 80 to 95, where a.tif has one of 80 to 89",
    ),
    "tiles that are padded": (
        {"a": tile_at(0, 0, shape=(1, 90, 64)), "b": tile_at(0, 90, shape=(1, 96, 64))},
        "misaligned",
        "a.tif ends at row 90 of 186, within a chunk of 48 rows whose rest is padding",
    ),
    "tiles that are padded at the end of an uneven axis": (
        {
            "a": tile_at(0, 0, shape=(1, 64, 64), blockysize=16),
            "b": tile_at(0, 64, shape=(1, 40, 64), blockysize=32),
        },
        "misaligned",
        "b.tif ends within its last chunk",
    ),
    "tiles that are padded on the right of uneven rows": (
        {
            "a": tile_at(0, 0, shape=(1, 64, 70), blockysize=16),
            "b": tile_at(0, 64, shape=(1, 64, 70), blockysize=32),
        },
        "misaligned",
        "a.tif ends within its last chunk",
    ),
    "our codec": (
        {"a": strips(0, 0, 64, 90, compress="lzw"), "b": strips(0, 90, 64, 96, compress="lzw")},
        "conform",
        "a.tif and b.tif have chunks of 64 x 16 pixels (the last of 10 rows) and of 64 x 16 pixels, and are decoded by",
    ),
    "our codec, padded": (
        {"a": strips(0, 0, 64, 90, compress="lzw"), "b": strips(0, 90, 64, 90, compress="lzw")},
        "misaligned",
        "a.tif ends at row 90 of 180, within a chunk of 16 rows whose rest is padding",
    ),
    "a predictor beside none": (
        {"a": strips(0, 0, 64, 90), "b": strips(0, 90, 64, 90, predictor=2)},
        "conform",
        "codecs",
    ),
    "overlaps": (
        {"a": strips(0, 0, 64, 64), "b": strips(0, 48, 64, 64)},
        "overlap",
        "overlap by 64 x 16 pixels",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_one_array_is_refused_by_name(name: str, tmp_path: Path) -> None:
    profiles, feature, told = REFUSED[name]
    make_tiles(tmp_path / "a", profiles)
    error = refusal(tmp_path / "a")
    assert error.feature == feature
    assert told in str(error)


def test_what_cuts_others_is_split_when_that_is_asked_for(tmp_path: Path) -> None:
    tiles = {**WIDE, "e": strips(94, 0, 64, 145, blockysize=29), "f": strips(0, 0, 64, 90)}
    paths = make_tiles(tmp_path / "a", tiles)
    done = publish([tmp_path / "a"], tmp_path / "cube", chunk_grid="rectilinear", on_conflict="split")
    store = open_repository(tmp_path / "cube").readonly_session("main").store
    found = zarr.open_group(store, mode="r")
    names = [name for name, _ in found.groups() if name.startswith("utm")]
    assert len(names) == 3, done.notes
    sets = [paths[:4], [paths[5]], [paths[4]]]
    seen = {np.asarray(found[f"{name}/band_data"][...]).tobytes() for name in names}  # type: ignore[index]
    assert seen == {merged(members, 201).tobytes() for members in sets}


def test_clients_that_can_read_it_are_named(tmp_path: Path) -> None:
    make_tiles(tmp_path / "a", WIDE)
    told = explain(planned(tmp_path / "a"))
    (array,) = told.arrays
    assert ["rectilinear" in text for text in told.warnings] == [True]
    assert array.chunk_grid == "rectilinear"
    assert array.readers == {
        "zarr-python": "yes, where array.rectilinear_chunks is set in its configuration",
        "zarrs": "yes",
        "zarrita": "no: it has no rectilinear chunk grids",
        "GDAL": "no: it has no rectilinear chunk grids",
    }
    assert (array.references, array.missing) == (20, 0)
    text = explain(planned(tmp_path / "a")).text()
    assert "of several sizes" in text
    assert "array.rectilinear_chunks" in text


def test_the_option() -> None:
    with pytest.raises(UsageError, match="chunk_grid='ragged'"):
        Request(chunk_grid="ragged")  # type: ignore[arg-type]
    assert Request(chunk_grid="rectilinear").reading.chunks == ChunkOptions(short_strips="rectilinear")
    own = ChunkOptions(short_strips="pad", target_chunk_bytes=5)
    assert Request(chunk_grid="rectilinear", options=own).reading.chunks == own
    assert Request().reading.chunks == ChunkOptions()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_edges_that_are_stored_are_read_again(sizes: list[int], step: int) -> None:
    axis = AxisEdges(tuple(sizes), sum(sizes))
    assert list(axis.starts) == [sum(sizes[:number]) for number in range(len(sizes))]
    runs = [[size, 1] if number % step else size for number, size in enumerate(sizes)]
    grid = {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": [[[1, 2]], runs, [[step, 3]]]}}
    metadata = {"shape": [2, sum(sizes), 7], "dimension_names": ["band", "y", "x"], "chunk_grid": grid}
    assert stored_edges(metadata) == (tuple(sizes), (step,) * 3)
    regular = {"name": "regular", "configuration": {"chunk_shape": [1, step, 4]}}
    shape, names = [2, 5, 7], ["time", "y", "x"]
    found = stored_edges({"shape": shape, "dimension_names": names, "chunk_grid": regular})
    assert found == ((step,) * -(-5 // step), (4, 4))
    regular = {"name": "regular", "configuration": {"chunk_shape": [step, 4, 1]}}
    shape, names = [5, 7, 2], ["y", "x", "band"]
    assert stored_edges({"shape": shape, "dimension_names": names, "chunk_grid": regular}) == found
