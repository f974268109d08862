"""Cubes as kerchunk references: read by fsspec elsewhere as GDAL reads the files, refused where they cannot be."""

from __future__ import annotations

import base64
import json
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import rasterio.enums
import rasterio.merge
import xarray as xr
import zarr
from fsspec.implementations.reference import LazyReferenceMapper
from rasterio.transform import from_origin

from tests.archives import LONG_AGO, age, files_below, gdal_reads, make_archive, make_tiff, run_python
from tests.servers import Bucket, FaultServer, Web
from tests.test_cli import run
from virtual_tiff import errors, export_references, scan
from virtual_tiff.cube import deliver, export
from virtual_tiff.cube.draft import Request, plan_request
from virtual_tiff.cube.export import Exported, Target, export_plan, nodes_of
from virtual_tiff.geo.coordinate import encode_fill_value
from virtual_tiff.references import columnar
from virtual_tiff.references.forms import form_of
from virtual_tiff.references.nodes import ArrayNode, Block

type Pixels = npt.NDArray[Any]

pytestmark = pytest.mark.filterwarnings("ignore:.*fastparquet")  # fsspec asks pandas for it

FORMS: Final = {"v3.json": 3, "v2.json": 2, "v2.parquet": 2}
"""The ends of names, and their Zarr format."""

SILENT: Final = "import warnings, numpy\nwarnings.filterwarnings('ignore', message='.*fastparquet')\n"


def export_all(inputs: Any, folder: Path, **options: Any) -> list[Exported]:
    """Write all forms of one cube."""
    return [
        export_references(inputs, folder / f"refs.{end}", zarr_format=number, **options)  # type: ignore[arg-type]
        for end, number in FORMS.items()
    ]


def script(done: Exported, result: Path, names: Sequence[str], dims: Sequence[str], *, group: str = "") -> str:
    """Code that reads variables without masking, in one order of dimensions, and saves them."""
    code = done.code.replace('"reference://",', '"reference://", mask_and_scale=False,')
    if group:
        assert f"group={done.groups[0]!r}" in code
        code = code.replace(f"group={done.groups[0]!r}", f"group={group!r}")
    saved = [f"{name!r}: ds[{name!r}].transpose(*{tuple(dims)!r}, missing_dims='ignore').values" for name in names]
    return f"{code}\nnumpy.savez({str(result)!r}, **{{{', '.join(saved)}}})\n"


def read_elsewhere(scripts: Sequence[str]) -> None:
    """Run scripts in one fresh Python, in which only the codecs of this package are loaded."""
    end = "import sys\nassert not {'icechunk', 'obstore', 'virtual_tiff.cube', 'virtualizarr'} & set(sys.modules)\n"
    run_python(SILENT + "".join(scripts) + end)


def run_here(code: str) -> dict[str, Any]:
    """Run what a reader types in this process, and return its names."""
    names: dict[str, Any] = {}
    exec(f"import numpy\n{code}", names)  # noqa: S102 (code of ours)
    return names


def read_all(
    exported: Sequence[Exported], folder: Path, names: Sequence[str], dims: Sequence[str], *, group: str = ""
) -> list[Mapping[str, Pixels]]:
    """What each form of a cube holds."""
    found: list[Mapping[str, Pixels]] = []
    for number, done in enumerate(exported):
        result = folder / f"pixels{number}.npz"
        run_here(script(done, result, names, dims, group=group))
        found.append(dict(np.load(result)))
        result.unlink()
    return found


def references(target: Path) -> dict[str, Any]:
    """The references of JSON by key."""
    found: dict[str, Any] = json.loads(target.read_text())["refs"]
    return found


# Pixels

PROFILES: Final[dict[str, dict[str, Any]]] = {
    "deflate": {},
    "predictor 2, interleaved bands": {"shape": (3, 70, 90), "predictor": 2, "interleave": "pixel"},
    "raw, interleaved bands, big-endian": {"shape": (4, 70, 90), "compress": "none", "ENDIANNESS": "BIG"},
    "zstd, interleaved bands": {"shape": (2, 70, 90), "compress": "zstd", "dtype": "float32"},
    "predictor 3, planar": {"shape": (2, 70, 90), "dtype": "float32", "predictor": 3, "interleave": "band"},
    "zstd, int8": {"dtype": "int8", "compress": "zstd", "nodata": -3},
    "lzw, big-endian": {"compress": "lzw", "predictor": 2, "ENDIANNESS": "BIG", "shape": (4, 70, 90)},
    "raw strips": {"compress": "none", "tiled": False, "dtype": "float64", "nodata": float("nan")},
    "short last strip": {"tiled": False, "blockysize": 16, "shape": (1, 70, 90)},
    "short last strip of bands": {"tiled": False, "blockysize": 16, "shape": (3, 70, 90), "predictor": 2},
}


@pytest.fixture(scope="module")
def exported_profiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive of each profile, and the pixels that one other process read from its references."""
    folder = tmp_path_factory.mktemp("profiles")
    scripts = []
    for index, profile in enumerate(PROFILES.values()):
        make_archive(folder / str(index), **profile)
        (folder / f"{index}.refs").mkdir()
        for number, done in enumerate(export_all([folder / str(index)], folder / f"{index}.refs")):
            result = folder / f"{index}.{number}.npz"
            scripts.append(script(done, result, ["band_data"], ("item", "band", "y", "x")))
    read_elsewhere(scripts)
    return folder


@pytest.mark.parametrize("form", range(len(FORMS)), ids=list(FORMS))
@pytest.mark.parametrize("profile", PROFILES)
def test_another_process_reads_what_gdal_reads(profile: str, form: int, exported_profiles: Path) -> None:
    index = list(PROFILES).index(profile)
    expected = gdal_reads(exported_profiles / str(index))
    found = np.load(exported_profiles / f"{index}.{form}.npz")["band_data"]
    assert found.dtype == expected.dtype
    assert np.array_equal(found.reshape(expected.shape), expected)


def test_missing_chunks_of_a_mosaic_read_as_nodata(tmp_path: Path) -> None:
    folder = tmp_path / "tiles"
    folder.mkdir()
    for number, (col, row) in enumerate([(0, 0), (2, 0), (1, 1), (2, 3)]):
        place = from_origin(5e5 + 640 * col, 4.6e6 - 960 * row, 10.0, 10.0)
        make_tiff(folder / f"{number}.tif", number, shape=(1, 96, 64), transform=place, nodata=9)
    with rasterio.open(folder / "3.tif") as file:
        profile, pixels = file.profile, file.read()
    with rasterio.open(folder / "3.tif", "w", **profile, SPARSE_OK=True) as file:
        file.write(np.where(np.arange(96)[:, None] < 48, 9, pixels))
    age(folder / "3.tif")
    expected, _ = rasterio.merge.merge([str(path) for path in sorted(folder.iterdir())], nodata=9)
    exported = export_all([folder], tmp_path)
    for found in read_all(exported, tmp_path, ["band_data", "x"], ("band", "y", "x")):
        assert np.array_equal(found["band_data"].reshape(expected.shape), expected)
        assert (found["x"][0], found["x"].size) == (5e5 + 5, expected.shape[-1])
    keys = [key for key in references(tmp_path / "refs.v3.json") if key.startswith("band_data/c/")]
    assert len(keys) == exported[0].references == 4 * 4 - 2
    zarray = json.loads(references(tmp_path / "refs.v2.json")["band_data/.zarray"])
    assert (zarray["fill_value"], zarray["dtype"]) == (9, "<u2")


def test_missing_chunks_without_nodata_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "tiles"
    folder.mkdir()
    for number in (0, 2):
        place = from_origin(5e5 + 640 * number, 4.6e6, 10.0, 10.0)
        make_tiff(folder / f"{number}.tif", number, shape=(1, 96, 64), transform=place)
    exported = export_all([folder], tmp_path)
    assert [any("mask_and_scale=False" in note for note in done.notes) for done in exported] == [
        False,
        True,
        True,
    ]
    expected, _ = rasterio.merge.merge([str(path) for path in sorted(folder.iterdir())], nodata=0)
    for found in read_all(exported, tmp_path, ["band_data"], ("y", "x")):
        assert np.array_equal(found["band_data"], expected[0])
    masked = [run_here(done.code)["ds"]["band_data"] for done in exported]
    assert [one.dtype.kind for one in masked] == ["u", "f", "f"]  # as it is told
    assert int(masked[1].isnull().sum()) == int((expected == 0).sum())


def test_xarray_masks_and_scales_both_formats_alike(tmp_path: Path) -> None:
    make_archive(tmp_path / "a", nodata=7, dtype="int16")
    make_archive(tmp_path / "b", nodata=float("nan"), dtype="float32")
    make_archive(tmp_path / "c")
    for path in (tmp_path / "a").iterdir():
        with rasterio.open(path, "r+") as file:
            file.scales, file.offsets = (0.5,), (3.0,)
        age(path)
    seen = {}
    for name in "abc":
        (tmp_path / f"{name}.refs").mkdir()
        exported = export_all([tmp_path / name], tmp_path / f"{name}.refs")
        seen[name], *others = (run_here(done.code)["ds"].load() for done in exported)
        for other in others:
            xr.testing.assert_equal(seen[name], other)
            assert seen[name]["band_data"].dtype == other["band_data"].dtype
    raw = gdal_reads(tmp_path / "a")[:, 0]
    expected = np.where(raw == 7, np.nan, raw * 0.5 + 3.0)
    assert np.array_equal(seen["a"]["band_data"].values, expected, equal_nan=True)
    assert np.isnan(expected).any()
    assert {name: str(ds["band_data"].dtype) for name, ds in seen.items()}["c"] == "uint16"


def test_bands_as_variables_along_time(tmp_path: Path) -> None:
    (tmp_path / "scenes").mkdir()
    made = {}
    for seed, (day, band) in enumerate([(day, band) for day in (3, 1, 2) for band in ("red", "nir")]):
        path = tmp_path / f"scenes/202401{day:02d}_{band}.tif"
        made[day, band] = make_tiff(path, seed)[0]
    exported = export_all(
        [tmp_path / "scenes"], tmp_path, pattern="{time:%Y%m%d}_{band}.tif", band_as="variable", record_size=5
    )
    for found in read_all(exported, tmp_path, ["red", "nir", "time"], ("time", "y", "x")):
        for band in ("red", "nir"):
            assert np.array_equal(found[band], np.stack([made[day, band] for day in (1, 2, 3)]))
        assert found["time"].astype("datetime64[D]").astype(str).tolist() == ["2024-01-01", "2024-01-02", "2024-01-03"]


def test_overviews_are_groups(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for seed in range(2):
        path = tmp_path / f"a/s{seed}.tif"
        make_tiff(path, seed, shape=(3, 256, 256), blockxsize=32, blockysize=32, interleave="pixel")
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4], rasterio.enums.Resampling.nearest)
        age(path)
    exported = export_all([tmp_path / "a"], tmp_path, overviews=True)
    assert {done.groups for done in exported} == {("0", "1", "2")}
    for level in range(3):
        expected = []
        for seed in range(2):
            with rasterio.open(tmp_path / f"a/s{seed}.tif", **({"overview_level": level - 1} if level else {})) as file:
                expected.append(file.read())
        for found in read_all(exported, tmp_path, ["band_data"], ("item", "band", "y", "x"), group=str(level)):
            assert np.array_equal(found["band_data"], np.stack(expected))
    for done in exported:
        tree = run_here(done.code.replace("open_dataset", "open_datatree").replace("    group='0',\n", ""))["ds"]
        assert (sorted(tree.children), "multiscales" in tree.attrs) == (["0", "1", "2"], True)


def test_files_of_several_grounds_are_groups(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    made = {crs: make_tiff(tmp_path / f"a/{crs[5:]}.tif", crs=crs)[0] for crs in ("EPSG:32633", "EPSG:32634")}
    exported = export_all([tmp_path / "a"], tmp_path)
    assert exported[0].groups == ("utm33n_10m", "utm34n_10m")
    for group, crs in zip(exported[0].groups, made, strict=True):
        for found in read_all(exported, tmp_path, ["band_data"], ("item", "y", "x"), group=group):
            assert np.array_equal(found["band_data"].reshape(made[crs].shape), made[crs])


def test_rectilinear_grids_are_for_zarr_v3_only(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    made = [make_tiff(tmp_path / f"a/s{seed}.tif", seed, tiled=False, blockysize=16)[0] for seed in range(2)]
    done = export_references([tmp_path / "a"], tmp_path / "refs.json", chunk_grid="rectilinear")
    assert "its chunk grid is rectilinear" in " ".join(done.warnings)
    code = script(done, tmp_path / "pixels.npz", ["band_data"], ("item", "y", "x"))
    with zarr.config.set({"array.rectilinear_chunks": True}):
        run_here(code)
    assert np.array_equal(np.load(tmp_path / "pixels.npz")["band_data"], np.stack(made))
    for name in ("v2.json", "v2.parquet"):
        with pytest.raises(errors.UsageError, match="rectilinear") as caught:
            export_references([tmp_path / "a"], tmp_path / name, zarr_format=2, chunk_grid="rectilinear")
        assert caught.value.hint is not None
    assert files_below(tmp_path) == ["a/s0.tif", "a/s1.tif", "pixels.npz", "refs.json"]


# What is written


def test_references_are_byte_ranges_of_the_files(tmp_path: Path) -> None:
    make_archive(tmp_path / "a", 1, compress="none", tiled=True, blockxsize=32, blockysize=32, shape=(1, 64, 64))
    export_references([tmp_path / "a"], tmp_path / "refs.json")
    found = references(tmp_path / "refs.json")
    path = tmp_path / "a/s0.tif"
    pixels = gdal_reads(tmp_path / "a", 1)[0, 0]
    for row, col in np.ndindex(2, 2):
        url, offset, length = found[f"band_data/c/0/{row}/{col}"]
        assert url == str(path)
        chunk = np.frombuffer(path.read_bytes()[offset : offset + length], "<u2").reshape(32, 32)
        assert np.array_equal(chunk, pixels[row * 32 :, col * 32 :][:32, :32])
    assert found["x/c/0"].startswith("base64:")
    assert json.loads(found["zarr.json"])["node_type"] == "group"


def test_short_last_strips_are_stored(tmp_path: Path) -> None:
    make_archive(tmp_path / "a", 2, tiled=False, blockysize=16)
    exported = export_all([tmp_path / "a"], tmp_path, record_size=3)
    found = references(tmp_path / "refs.v3.json")
    stored = [key for key, value in found.items() if key.startswith("band_data/c/") and isinstance(value, str)]
    assert stored == ["band_data/c/0/4/0", "band_data/c/1/4/0"]
    for seen in read_all(exported, tmp_path, ["band_data"], ("item", "y", "x")):
        assert np.array_equal(seen["band_data"], gdal_reads(tmp_path / "a", 2)[:, 0])


@pytest.mark.parametrize(("record_size", "waiting"), [(1, 1), (3, 2), (7, 4), (10, 1_000_000), (100_000, 1)])
def test_parquet_holds_the_same_as_json(
    record_size: int, waiting: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columnar, "_WAITING", waiting)
    (tmp_path / "a").mkdir()
    for number, (col, row) in enumerate([(2, 0), (0, 0), (1, 2), (0, 3), (2, 2)]):
        place = from_origin(5e5 + 640 * col, 4.6e6 - 960 * row, 10.0, 10.0)
        make_tiff(tmp_path / f"a/{number}.tif", number, shape=(3, 96, 64), transform=place, predictor=2)
    export_references([tmp_path / "a"], tmp_path / "refs.json", zarr_format=2)
    export_references([tmp_path / "a"], tmp_path / "refs.parquet", record_size=record_size)
    lazy = LazyReferenceMapper(str(tmp_path / "refs.parquet"), engine="pyarrow")
    for key, value in references(tmp_path / "refs.json").items():
        found = lazy[key]
        if isinstance(value, list):
            assert list(found) == value
        elif value.startswith("base64:"):
            assert found == base64.b64decode(value.removeprefix("base64:"))
        else:
            assert json.loads(found) == json.loads(value)
    records = len(list((tmp_path / "refs.parquet/band_data").iterdir()))
    assert records == len(
        {
            int(np.ravel_multi_index(tuple(map(int, key.rpartition("/")[2].split("."))), (1, 8, 6))) // record_size
            for key in references(tmp_path / "refs.json")
            if key.startswith("band_data/") and "/.z" not in key
        }
    )


def test_axes_in_another_order_take_their_chunks_along() -> None:
    block = Block(
        url="a",
        index=(5, 0, 2, 3),
        offsets=np.arange(6, dtype=np.uint64).reshape(1, 1, 2, 3),
        lengths=np.ones((1, 1, 2, 3), np.uint64),
        inlined={(5, 0, 3, 5): b"x"},
    )
    moved = block.ordered((0, 2, 3, 1))
    assert (moved.index, moved.offsets.shape, list(moved.inlined)) == ((5, 2, 3, 0), (1, 2, 3, 1), [(5, 3, 5, 0)])
    assert moved.offsets[0, 1, 2, 0] == block.offsets[0, 0, 1, 2]


def node(**metadata: Any) -> ArrayNode:
    """An array of two chunks, of which one is missing."""
    plain: dict[str, Any] = {
        "shape": [8],
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4]}},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}],
        "attributes": {},
        "dimension_names": ["x"],
    }
    one = np.array([0, 4], np.uint64)
    return ArrayNode(
        path="v", metadata=plain | metadata, grid=(2,), blocks=(Block(url="a", index=(0,), offsets=one, lengths=one),)
    )


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"attributes": {"_FillValue": 255}}, "missing chunks read as 0 and its nodata is 255"),
        ({"codecs": [{"name": "bytes"}, {"name": "blosc"}]}, "codec blosc"),
        ({"data_type": "r16"}, "data type r16"),
        ({"data_type": "datetime64"}, "data type datetime64"),
    ],
)
def test_what_zarr_v2_cannot_say_is_refused(metadata: dict[str, Any], words: str) -> None:
    assert form_of(node(**metadata), 3).documents["zarr.json"] == node(**metadata).metadata
    with pytest.raises(errors.UsageError, match=words):
        form_of(node(**metadata), 2)


@pytest.mark.parametrize(
    ("data_type", "nodata", "fill_value"),
    [
        ("float32", -3.4028234663852886e38, -3.4028234663852886e38),
        ("float32", 0.1, 0.10000000149011612),
        ("float32", 1e300, "Infinity"),
        ("float64", float("-inf"), "-Infinity"),
        ("float16", float("nan"), "NaN"),
    ],
)
def test_nodata_of_floats_is_no_longer_base64(data_type: str, nodata: float, fill_value: Any) -> None:
    attributes = {"_FillValue": encode_fill_value(nodata, np.dtype(data_type)), "units": "m"}
    documents = form_of(node(data_type=data_type, attributes=attributes, fill_value=fill_value), 2).documents
    assert documents[".zarray"]["fill_value"] == fill_value
    assert documents[".zattrs"] == {"units": "m", "_ARRAY_DIMENSIONS": ["x"]}
    json.dumps(documents, allow_nan=False)


@pytest.mark.parametrize(("zarr_format", "compress"), [(2, "deflate"), (2, "zstd"), (3, "zstd")])
def test_gdal_reads_json(zarr_format: Any, compress: str, tmp_path: Path) -> None:
    make_tiff(tmp_path / "a.tif", dtype="int16", nodata=-1, compress=compress)
    export_references([tmp_path / "a.tif"], tmp_path / "refs.json", zarr_format=zarr_format)
    with (
        rasterio.open(tmp_path / "a.tif") as theirs,
        rasterio.open(f'ZARR:"{tmp_path / "refs.json"}":/band_data:0') as ours,
    ):
        assert (ours.crs, ours.transform, ours.nodata) == (theirs.crs, theirs.transform, theirs.nodata)
        np.testing.assert_array_equal(ours.read(), theirs.read())


# Sources and targets


def test_sources_of_a_ledger_are_not_touched(tmp_path: Path, faults: FaultServer) -> None:
    pixels = make_archive(tmp_path / "a")
    make_archive(faults.root / "a")
    scan([tmp_path / "a"], ledger=tmp_path / "local.parquet")
    scan([f"{faults.url}a/s{number}.tif" for number in range(3)], ledger=tmp_path / "web.parquet")
    shutil.move(tmp_path / "a", tmp_path / "gone")
    faults.forget()
    (tmp_path / "refs").mkdir()
    exported = export_all([tmp_path / "local.parquet"], tmp_path / "refs")
    export_references([tmp_path / "web.parquet"], tmp_path / "web.json")
    assert faults.log == []
    urls = {value[0] for value in references(tmp_path / "web.json").values() if isinstance(value, list)}
    assert urls == {f"{faults.url}a/s{number}.tif" for number in range(3)}
    shutil.move(tmp_path / "gone", tmp_path / "a")
    for found in read_all(exported, tmp_path, ["band_data"], ("item", "y", "x")):
        assert np.array_equal(found["band_data"], pixels[:, 0])


def test_local_files_that_were_replaced_are_refused(tmp_path: Path) -> None:
    make_archive(tmp_path / "a", compress=None)
    scan([tmp_path / "a"], ledger=tmp_path / "scan.parquet")
    make_tiff(tmp_path / "a/s1.tif", 9, compress=None)
    age(tmp_path / "a/s1.tif", LONG_AGO + 1)
    with pytest.raises(errors.SourceError, match=r"s1\.tif: the file was replaced") as caught:
        export_references([tmp_path / "scan.parquet"], tmp_path / "refs.json")
    assert caught.value.feature == "source-changed"
    assert not (tmp_path / "refs.json").exists()


def test_names_are_written_as_their_stores_want_them(
    tmp_path: Path, web: Web, bucket: Bucket, monkeypatch: Any
) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    name = "a b#c%20ä.tif"
    made = make_tiff(tmp_path / name)
    shutil.copy(tmp_path / name, web.root / name)
    bucket.store().put(f"in put/{name}", (tmp_path / name).read_bytes())
    urls = {}
    for kind, source in (
        ("file", tmp_path / name),
        ("http", web.url + "a%20b%23c%2520%C3%A4.tif"),
        ("s3", f"{bucket.url}in put/{name}"),
    ):
        done = export_references([source], tmp_path / f"{kind}.json")
        assert f"'remote_protocol': '{kind}'" in done.code
        (urls[kind],) = {one[0] for one in references(tmp_path / f"{kind}.json").values() if isinstance(one, list)}
    assert urls == {
        "file": str(tmp_path / name),
        "http": web.url + "a%20b%23c%2520%C3%A4.tif",
        "s3": f"{bucket.url}in put/{name}",
    }
    done = export_references([tmp_path / name], tmp_path / "r.json")
    (found,) = read_all([done], tmp_path, ["band_data"], ("item", "y", "x"))
    assert np.array_equal(found["band_data"].reshape(made[0].shape), made[0])


def test_local_files_beside_remote_ones_are_told(tmp_path: Path, web: Web) -> None:
    (tmp_path / "a").mkdir()
    for number, path in enumerate((tmp_path / "a/s0.tif", web.root / "s1.tif")):
        make_tiff(path, number)
    done = export_references([tmp_path / "a/s0.tif", f"{web.url}s1.tif"], tmp_path / "refs.json")
    assert done.warnings == ("fsspec does not read local files beside those of http out of one set of references",)
    assert "aiohttp" in done.needs
    assert not export_references([f"{web.url}s1.tif"], tmp_path / "web.json").warnings


def test_the_command_tells_what_a_reader_types(tmp_path: Path) -> None:
    pixels = make_archive(tmp_path / "a", shape=(2, 70, 90))
    assert run("scan", tmp_path / "a", "--ledger", tmp_path / "scan.parquet").code == 0
    told = run(
        "export", tmp_path / "scan.parquet", "--to", tmp_path / "refs", "--format", "parquet", "--record-size", "5"
    )
    assert told.code == 0, told.err
    assert "Exported 3 files, 18 references" in told.out
    assert "note: band_data: Zarr v2 keeps the order of the file" in told.out
    assert "with fastparquet, fsspec, xarray, zarr" in told.out
    ds = run_here(textwrap.dedent(told.out.partition(":\n\n")[2]))["ds"]
    assert np.array_equal(ds["band_data"].transpose("item", "band", "y", "x").values, pixels)
    again = run("export", tmp_path / "scan.parquet", "--to", tmp_path / "refs", "--format", "parquet")
    assert (again.code, again.out) == (4, "")
    wrong = run("export", tmp_path / "a", "--to", tmp_path / "refs.parquet", "--zarr-format", "3")
    assert (wrong.code, wrong.out) == (2, "")


def test_targets_on_an_object_store(tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    make_archive(tmp_path / "a")
    local = export_all([tmp_path / "a"], tmp_path, record_size=4)
    for end, number in FORMS.items():
        done = export_references([tmp_path / "a"], f"{bucket.url}out/refs.{end}", zarr_format=number, record_size=4)  # type: ignore[arg-type]
        assert "s3fs" in done.needs
        assert "'target_options': {'endpoint_url': 'http" in done.code
    keys = [item["path"] for page in bucket.store().list("out/") for item in page]
    files = [f"out/{path}" for path in files_below(tmp_path) if path.startswith("refs.")]
    assert sorted(keys) == sorted(files)
    assert [done.references for done in local] == [18] * 3
    for key in keys:
        assert bytes(bucket.store().get(key).bytes()) == (tmp_path / key.removeprefix("out/")).read_bytes()
    for end in FORMS:
        with pytest.raises(errors.TargetError, match="exists") as caught:
            export_references([tmp_path / "a"], f"{bucket.url}out/refs.{end}")
        assert caught.value.feature == "target-exists"


def test_targets_that_are_there_stay(tmp_path: Path) -> None:
    make_archive(tmp_path / "a")
    (tmp_path / "refs.json").write_text("mine")
    (tmp_path / "refs.parquet").mkdir()
    (tmp_path / "refs.parquet/mine").write_text("mine")
    before = files_below(tmp_path)
    for name in ("refs.json", "refs.parquet", "a/s0.tif/refs.json"):
        with pytest.raises(errors.TargetError):
            export_references([tmp_path / "a"], tmp_path / name)
    assert files_below(tmp_path) == before
    assert (tmp_path / "refs.json").read_text() == "mine"


def test_nothing_is_left_of_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: Bucket) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    make_archive(tmp_path / "a")
    before = files_below(tmp_path)

    def fail(path: Path, *_: object) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "write_json", fail)
    for target in (str(tmp_path / "new/refs.json"), f"{bucket.url}refs.json"):
        with pytest.raises(errors.TargetError, match="No space left"):
            export_references([tmp_path / "a"], target)
    assert files_below(tmp_path) == before
    assert not (tmp_path / "new").exists()
    assert not [item for page in bucket.store().list() for item in page]


def test_what_was_sent_is_deleted_when_the_rest_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: Bucket
) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    make_archive(tmp_path / "a")
    objects = deliver._objects

    def break_one(made: Path, *others: Any) -> Any:
        (made / "y/refs.0.parq").unlink()
        (made / "y/refs.0.parq").symlink_to(made)  # no file that could be read
        early, late = objects(made, *others)
        place = early[0][1]
        return [*early, (made / "y/refs.0.parq", place.sibling("refs.parquet/y/refs.0.parq"))], late

    monkeypatch.setattr(deliver, "_objects", break_one)
    with pytest.raises(errors.TargetError) as caught:
        export_references([tmp_path / "a"], f"{bucket.url}refs.parquet")
    assert caught.value.feature == "target-denied"
    assert not [item for page in bucket.store().list() for item in page]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("refs", {}, "--format"),
        ("refs.txt", {}, "--format"),
        ("refs.json", {"format": "csv"}, "'parquet'"),
        ("refs.json", {"zarr_format": 4}, "2 or 3"),
        ("refs.parquet", {"zarr_format": 3}, "Zarr v2 only"),
        ("refs.json", {"format": "parquet"}, ".json in it"),
        ("refs.parquet", {"record_size": 0}, "record_size=0"),
        ("refs.json", {"moon": 1}, "unknown options moon"),
        ("refs.json", {"band_as": "x"}, "band_as"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_read(
    name: str, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(errors.UsageError, match=words.replace(".", r"\.")):
        export_references([tmp_path / "none.tif"], tmp_path / name, **options)


def test_signed_urls_are_refused(tmp_path: Path, web: Web) -> None:
    make_tiff(web.root / "a.tif")
    with pytest.raises(errors.UsageError, match="query"):
        export_references([f"{web.url}a.tif?signature=secret"], tmp_path / "refs.json")
    assert not files_below(tmp_path)


def test_a_plan_is_exported_as_it_is_published(tmp_path: Path) -> None:
    make_archive(tmp_path / "a", shape=(2, 70, 90))
    plan = plan_request(scan([tmp_path / "a"]).headers, Request())
    done = export_plan(plan, Target.of(tmp_path / "refs.json"))
    found = references(tmp_path / "refs.json")
    template = plan.groups[0].arrays[0].template
    assert json.loads(found["band_data/zarr.json"]) == template.zarr_json()
    assert done.references == plan.references == sum(isinstance(value, list) for value in found.values())
    assert {one.path for one in nodes_of(plan.groups)} == {
        key.rpartition("/")[0] for key in found if key.endswith("zarr.json")
    }
    assert zarr.core.metadata.v3.ArrayV3Metadata.from_dict(template.zarr_json()).shape == template.shape
