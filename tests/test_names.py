"""Names with ``#``, ``?``, ``%`` and the like are names, wherever a path or URL is taken; no other file is read."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import rasterio
import xarray as xr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import HTTPStore, LocalStore, MemoryStore
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from tests.archives import Pixels, make_tiff
from tests.servers import Bucket, Web
from tests.test_cli import run
from virtual_tiff import (
    SourceError,
    UsageError,
    VirtualTIFF,
    append,
    export_references,
    open_cube,
    open_pyramid,
    open_tiff,
    publish,
    scan,
    verify,
)
from virtual_tiff.cube.listed import gather_inputs
from virtual_tiff.cube.stores import locate, split_url
from virtual_tiff.store import RangeStore, RootRegistry

NAMES = ("a#b.tif", "a?b.tif", "a%41.tif", "50%.tif", "a b.tif", "é水.tif", "a;b.tif", "[1]*.tif", "d#1/d?2/c.tif")
WEB_NAMES = ("a#b.tif", "a?b.tif", "a%41.tif", "a;b.tif", "é b.tif")

DECOYS = ("a", "aA.tif", "d", "1.tif")
"""Files that stand where a name would lead to if a part of it were left out or decoded."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with such names, and among them those that are not meant."""
    top = tmp_path_factory.mktemp("names")
    for seed, name in enumerate((*NAMES, *DECOYS)):
        path = top / name if name != "d" else top / "d#1/d"
        path.parent.mkdir(parents=True, exist_ok=True)
        make_tiff(path, seed)
    return top


def gdal_reads(path: Path) -> Pixels:
    with rasterio.open(path) as file:
        found: Pixels = file.read()
    return found


def stored(dataset: xr.Dataset) -> Pixels:
    return np.asarray(dataset["band_data"]).reshape(1, 70, 90)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name_is_opened(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / name
    expected = gdal_reads(path)
    monkeypatch.chdir(folder)
    for way in (
        path,
        str(path),
        name,
        f"./{name}",
        f"file://{quote(str(path))}",
        f"file://localhost{quote(str(path))}",
    ):
        assert np.array_equal(stored(open_tiff(way, mask_and_scale=False)), expected), way
    assert np.array_equal(stored(open_pyramid(path, mask_and_scale=False)["0"].to_dataset()), expected)
    assert np.array_equal(stored(xr.open_dataset(path, engine="virtual-tiff", mask_and_scale=False)), expected)
    again = pickle.loads(pickle.dumps(open_tiff(path, mask_and_scale=False)))  # noqa: S301
    assert np.array_equal(stored(again), expected)
    url = f"file://{quote(str(path))}"
    for store in (LocalStore(), LocalStore(folder)):
        assert np.array_equal(stored(open_tiff(url, store=store, mask_and_scale=False)), expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name_becomes_a_cube(name: str, folder: Path, tmp_path: Path) -> None:
    path, cube = folder / name, tmp_path / "cube #1? 50%"
    publish([path], cube)
    assert np.array_equal(stored(open_cube(cube, mask_and_scale=False)), gdal_reads(path))
    assert append([path], cube).unchanged == 1
    found = verify(cube, pixels=4, seed=1)
    assert found.ok
    assert [one.url for one in found.sources] == [locate(path).url]


def test_names_come_through_lists_catalogues_and_ledgers(folder: Path, tmp_path: Path) -> None:
    names = [name for name in NAMES if "/" not in name]
    expected = {folder / name for name in names}
    (tmp_path / "list.txt").write_text("".join(f"{folder / name}\n" for name in names))
    items = [
        {"id": name, "properties": {"datetime": "2024-01-01T00:00:00Z"}, "assets": {"a": {"href": f"./{name}"}}}
        for name in names
    ]
    catalog = folder / "items.json"
    catalog.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    scan([folder / name for name in names], ledger=tmp_path / "scan.parquet").check()
    try:
        for way in (f"@{tmp_path}/list.txt", catalog, tmp_path / "scan.parquet"):
            found = scan(way)
            found.check()
            assert {header.place.local for header in found.headers} == expected, way
    finally:
        catalog.unlink()


def test_globs_in_a_folder_with_wildcards_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "[x]#1"
    odd.mkdir()
    make_tiff(odd / "a.tif")
    monkeypatch.chdir(odd)
    assert [place.local for place in gather_inputs("*.tif").places] == [odd / "a.tif"]


@pytest.mark.parametrize("name", ["a#b.tif", "a?b.tif", "50%.tif"])
def test_the_command_takes_such_names(name: str, folder: Path, tmp_path: Path) -> None:
    path = folder / name
    told = json.loads(run("info", path, "--json").out)
    assert told["url"] == locate(path).url
    assert run("preview", path, "--out", tmp_path / "a.png").code == 0
    assert json.loads(run("scan", path, "--ledger", tmp_path / "scan.parquet", "--json").out)["failed"] == []
    assert run("publish", path, "--to", tmp_path / "cube").code == 0
    assert "1 unchanged" in run("append", path, "--to", tmp_path / "cube").out
    assert run("verify", tmp_path / "cube", "--pixels", "2").code == 0


@pytest.mark.parametrize("name", ["a#b.tif", "a?b.tif", "a%41.tif", "é水.tif"])
def test_references_lead_to_such_names(name: str, folder: Path, tmp_path: Path) -> None:
    path = folder / name
    done = export_references([path], tmp_path / "refs #1.json")
    scope: dict[str, xr.Dataset] = {}
    exec(done.code.replace('"reference://",', '"reference://", mask_and_scale=False,'), scope)  # noqa: S102
    assert np.array_equal(stored(scope["ds"]), gdal_reads(path))


@pytest.fixture
def served(web: Web) -> Web:
    for seed, name in enumerate((*WEB_NAMES, *DECOYS)):
        make_tiff(web.root / name, seed)
    return web


@pytest.mark.parametrize("name", WEB_NAMES)
def test_encoded_names_on_a_web_server(name: str, served: Web, tmp_path: Path) -> None:
    url, expected = served.url + quote(name), gdal_reads(served.root / name)
    assert np.array_equal(stored(open_tiff(url, mask_and_scale=False)), expected)
    store = HTTPStore(served.url, client_options={"allow_http": True})
    assert np.array_equal(stored(open_tiff(url, store=store, mask_and_scale=False)), expected)
    publish([url], tmp_path / "cube")
    assert np.array_equal(stored(open_cube(tmp_path / "cube", mask_and_scale=False)), expected)
    assert verify(tmp_path / "cube", pixels=2, seed=1).ok


@pytest.mark.parametrize("name", WEB_NAMES)
def test_keys_of_a_bucket_are_taken_as_they_are(
    name: str, folder: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in bucket.environment.items():
        monkeypatch.setenv(variable, value)
    for key in (name, *DECOYS):
        bucket.store().put(key, (folder / ("a#b.tif" if key == name else "1.tif")).read_bytes())
    expected = gdal_reads(folder / "a#b.tif")
    publish([bucket.url + name] if "?" not in name else [f"{bucket.url}a[?]b.tif"], f"{bucket.url}cube/")
    assert np.array_equal(stored(open_cube(f"{bucket.url}cube/", mask_and_scale=False)), expected)
    assert np.array_equal(stored(open_tiff(bucket.url + name, mask_and_scale=False)), expected)
    assert np.array_equal(stored(open_tiff(bucket.url + name, store=bucket.store(), mask_and_scale=False)), expected)


def test_files_beside_a_file_of_such_a_name(tmp_path: Path, served: Web) -> None:
    for place in (tmp_path, served.root):
        make_tiff(place / "a?b.tif")
        with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(place / "a?b.tif", "r+") as dataset:
            dataset.build_overviews([2])
    for url in (tmp_path / "a?b.tif", f"{served.url}a%3Fb.tif"):
        found = open_tiff(url, level=1, sidecars=True, mask_and_scale=False)
        with rasterio.open(tmp_path / "a?b.tif.ovr") as overview:
            assert np.array_equal(np.asarray(found["band_data"]), overview.read(1)), url


@pytest.mark.parametrize("url", ["file:///a/b#c.tif", "file:///a/b?c.tif", "file://a/b.tif", "FILE://host/b.tif"])
def test_urls_that_say_something_else_than_a_path_are_refused(url: str) -> None:
    for take in (open_tiff, locate, gather_inputs, split_url):
        with pytest.raises(UsageError, match=r"names the host|where a path ends"):
            take(url)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes")
def test_a_name_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.tif"))
    try:
        path.write_bytes(b"II")
    except OSError:
        assert os.uname().sysname == "Darwin"  # whose file system refuses it itself
    for take in (open_tiff, scan):
        with pytest.raises(UsageError, match="no UTF-8"):
            take(path)


@pytest.mark.parametrize("name", ["a#b.tif", "a?b.tif", "a\tb.tif", "a\nb.tif"])
def test_the_parser_refuses_names_that_virtualizarr_would_change(name: str) -> None:
    store = MemoryStore()
    for key in ("a", "ab.tif"):
        store.put(key, b"another file")
    with pytest.raises(UsageError, match="drops the rest"):
        VirtualTIFF(ifd=0)(f"memory://box/{name}", ObjectStoreRegistry({"memory://box": store}))


def test_the_parser_takes_urls_of_which_nothing_is_lost(folder: Path) -> None:
    store = MemoryStore()
    store.put("a;1/b.tif", (folder / "a#b.tif").read_bytes())
    registry = ObjectStoreRegistry({"https://host": store})
    for url in ("https://host/a;1/b.tif", "https://host/a;1/b.tif?sig=1;2", "https://host/a;1/b.tif#part"):
        parsed = VirtualTIFF(ifd=0)(url, registry)
        assert parsed.to_virtual_dataset()["band_data"].shape == (70, 90)
    with pytest.raises(UsageError, match="drops the rest"):
        VirtualTIFF(ifd=0)("https://host/a;1/b.tif;2", registry)


def test_a_registry_of_one_root() -> None:
    inside, whole = LocalStore("/tmp"), LocalStore()  # noqa: S108
    assert RootRegistry("file:///", inside).resolve("file:///tmp/a#b?c.tif") == (inside, "a#b?c.tif")
    assert RootRegistry("file:///", inside).resolve("file:///tmpx/a.tif") == (inside, "tmpx/a.tif")
    assert RootRegistry("file:///", whole).resolve("file:///tmp/%41.tif") == (whole, "tmp/%41.tif")
    web = HTTPStore("http://host/a%20b/", client_options={"allow_http": True})
    assert RootRegistry("http://host/", web).resolve("http://host/a b/c#.tif") == (web, "c#.tif")
    with pytest.raises(SourceError, match="no-store"):
        VirtualTIFF(ifd=0)("s3://bucket/a.tif", RootRegistry("file:///", whole))


@pytest.mark.parametrize(
    ("request_", "part"),
    [
        (RangeByteRequest(2, 7), slice(2, 7)),
        (RangeByteRequest(2, 10**9), slice(2, None)),
        (OffsetByteRequest(5), slice(5, None)),
        (SuffixByteRequest(4), slice(-4, None)),
        (SuffixByteRequest(10**9), slice(None)),
    ],
)
def test_parts_of_a_chunk_are_read_from_the_same_file(request_: ByteRequest, part: slice, folder: Path) -> None:
    memory = MemoryStore()
    memory.put("a#b.tif", (folder / "a#b.tif").read_bytes())
    memory.put("a", (folder / "a").read_bytes())
    for root, store, path in (("file:///", LocalStore(), str(folder).lstrip("/") + "/"), ("m://x/", memory, "")):
        parsed = VirtualTIFF(ifd=0)(f"{root}{path}a#b.tif", RootRegistry(root, store))
        assert isinstance(parsed, RangeStore)
        key = "band_data/c.0.0"
        whole = parsed.get_sync(key)
        assert whole is not None
        found = sync(parsed.get(key, default_buffer_prototype(), request_))
        assert found is not None
        assert found.to_bytes() == whole.to_bytes()[part]


def test_keys_that_begin_with_a_slash_are_not_published(
    folder: Path, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By obstore another object is read for them than by Icechunk, which would find none."""
    for variable, value in bucket.environment.items():
        monkeypatch.setenv(variable, value)
    bucket.store().put("1.tif", (folder / "1.tif").read_bytes())
    for take in (publish, export_references):
        with pytest.raises(UsageError, match="begins with a slash"):
            take([f"{bucket.url}/1.tif"], tmp_path / "made.json")
        assert not any(tmp_path.iterdir())
    publish([bucket.url.rstrip("/") + "//"], tmp_path / "cube")
    assert np.array_equal(stored(open_cube(tmp_path / "cube", mask_and_scale=False)), gdal_reads(folder / "1.tif"))
