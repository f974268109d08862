"""The store behind parsed files: the same bytes as object stores give, and errors where a file has become shorter."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import LocalStore, MemoryStore
from virtualizarr.manifests import ManifestStore
from zarr.core.buffer import default_buffer_prototype

from virtual_tiff import FormatError, SourceError, UnsupportedError, VirtualTIFF, store
from virtual_tiff.chain import in_chunks
from virtual_tiff.store import RangeStore, RootRegistry, local_path, resolve

FUSED = "zarr.core.codec_pipeline.FusedCodecPipeline"
PIXELS = np.random.default_rng(5).integers(0, 250, (3, 200, 150), "u2")
PROTOTYPE = default_buffer_prototype()


def write(path: Path, **options: Any) -> Path:
    stored = np.moveaxis(PIXELS, 0, -1)
    tifffile.imwrite(path, stored, photometric="rgb", planarconfig="contig", metadata=None, **options)
    return path


def opened(path: Path, registry: Any = None, **options: Any) -> RangeStore:
    registry = registry or ObjectStoreRegistry({"file://": LocalStore()})
    parsed = VirtualTIFF(ifd=0, **options)(path.as_uri(), registry)
    assert isinstance(parsed, RangeStore)
    return parsed


def array_of(parsed: ManifestStore, pipeline: str | None = None) -> zarr.Array[Any]:
    with zarr.config.set({"codec_pipeline.path": pipeline} if pipeline else {}):
        return zarr.open_array(parsed, path="band_data", mode="r", zarr_format=3)


ENCODINGS: dict[str, dict[str, Any]] = {
    "raw strips": {"rowsperstrip": 20},
    "raw strips, cut": {"rowsperstrip": 7, "target_chunk_bytes": 20_000},
    "raw tiles": {"tile": (64, 64)},
    "core codecs": {"tile": (64, 64), "compression": "zlib"},
    "inlined last strip": {"rowsperstrip": 60, "compression": "zlib"},
    "our codec": {"tile": (64, 64), "compression": "lzw", "predictor": 2},
    "padding": {"rowsperstrip": 60, "compression": "lzw"},
}
PARSER_OPTIONS = {"target_chunk_bytes"}


def case(tmp_path: Path, name: str) -> tuple[Path, dict[str, Any]]:
    options = ENCODINGS[name]
    path = write(tmp_path / "a.tif", **{k: v for k, v in options.items() if k not in PARSER_OPTIONS})
    return path, {k: v for k, v in options.items() if k in PARSER_OPTIONS}


@pytest.mark.parametrize("pipeline", [None, FUSED])
@pytest.mark.parametrize("cached", ["as it is", "never", "unknown"])
@pytest.mark.parametrize("name", ENCODINGS)
def test_local_files_are_read_right(
    name: str, cached: str, pipeline: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, options = case(tmp_path, name)
    if cached == "unknown":
        monkeypatch.setattr(store, "_CACHED_ONLY", None)
    elif cached == "never":
        monkeypatch.setattr(os, "preadv", uncached(os.preadv))
    np.testing.assert_array_equal(array_of(opened(path, **options), pipeline)[...], PIXELS)


def uncached(preadv: Callable[..., int]) -> Callable[..., int]:
    """Like reading from a disk: what may not wait fails, and what may gives 1000 bytes at a time."""

    def read(descriptor: int, buffers: list[Any], offset: int, flags: int) -> int:
        if flags:
            raise BlockingIOError
        return preadv(descriptor, [buffers[0][:1000]], offset, flags)

    return read


@pytest.mark.parametrize("pipeline", [None, FUSED])
@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("kept", [0.6, 0.01, 0.0])
def test_a_file_that_has_become_shorter_is_an_error(
    name: str, kept: float, pipeline: str | None, tmp_path: Path
) -> None:
    path, options = case(tmp_path, name)
    array = array_of(opened(path, **options), pipeline)
    os.truncate(path, int(path.stat().st_size * kept))
    with pytest.raises(FormatError, match="bytes of a chunk are there") as caught:
        array[...]
    assert caught.value.feature == "truncated"
    assert caught.value.url == path.as_uri()


@pytest.mark.parametrize("name", ENCODINGS)
def test_an_object_that_has_become_shorter_is_an_error(name: str, tmp_path: Path) -> None:
    path, options = case(tmp_path, name)
    memory, whole = MemoryStore(), path.read_bytes()
    memory.put("a.tif", whole)
    registry = ObjectStoreRegistry({"memory://files": memory})
    parsed = VirtualTIFF(ifd=0, **options)("memory://files/a.tif", registry)
    array = array_of(parsed)
    np.testing.assert_array_equal(array[...], PIXELS)
    memory.put("a.tif", whole[: len(whole) // 2])
    with pytest.raises(FormatError) as caught:
        array[...]
    assert caught.value.feature == "truncated"


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", tile=(64, 64))
    parsed = opened(path)
    arrays = [array_of(parsed), array_of(parsed, FUSED)]
    path.unlink()
    for array in arrays:
        with pytest.raises(SourceError) as caught:
            array[...]
        assert caught.value.feature == "not-found"


def test_a_replaced_file_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", tile=(64, 64))
    array = array_of(opened(path))
    np.testing.assert_array_equal(array[...], PIXELS)
    other = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages.first.dataoffsets[0]
    (tmp_path / "b.tif").write_bytes(other[:place] + b"\0\0" + other[place + 2 :])
    (tmp_path / "b.tif").replace(path)
    assert np.asarray(array[0, 0, 0]) == 0


@pytest.mark.parametrize("name", ENCODINGS)
def test_both_ways_of_reading_give_what_manifest_stores_give(name: str, tmp_path: Path) -> None:
    path, options = case(tmp_path, name)
    parsed = opened(path, **options)
    plain = ManifestStore(parsed._group, registry=parsed._registry)
    array = array_of(parsed)
    keys = [f"band_data/c.0.{y}.{x}" for y, x in np.ndindex(*array.cdata_shape[1:])]
    for key in ["zarr.json", "band_data/zarr.json", "band_data/.zattrs", *keys]:
        expected = asyncio.run(plain.get(key, PROTOTYPE))
        found = [asyncio.run(parsed.get(key, PROTOTYPE)), parsed.get_sync(key)]
        if key == "band_data/zarr.json" and name in {"our codec", "padding"}:
            assert expected is not None
            document = json.loads(expected.to_bytes())
            assert [codec["name"] for codec in document["codecs"]] == ["transpose", "bytes", "virtual_tiff.segment"]
            document["codecs"] = list(in_chunks(document["codecs"]))
            assert [one and json.loads(one.to_bytes()) for one in found] == [document] * 2
        else:
            assert [one and one.to_bytes() for one in found] == [expected and expected.to_bytes()] * 2, key


def test_missing_chunks_are_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", tile=(64, 64), compression="zlib")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages.first.tags["TileByteCounts"]
    width = tag.valuebytecount // tag.count
    content[tag.valueoffset : tag.valueoffset + width] = bytes(width)
    path.write_bytes(content)
    parsed = opened(path)
    assert parsed.get_sync("band_data/c.0.0.0") is None
    assert parsed._supports_sync_io
    expected = PIXELS.copy()
    expected[:, :64, :64] = 0
    for pipeline in (None, FUSED):
        np.testing.assert_array_equal(array_of(parsed, pipeline)[...], expected)


def test_the_store_is_read_only(tmp_path: Path) -> None:
    parsed = opened(write(tmp_path / "a.tif"))
    value = PROTOTYPE.buffer.from_bytes(b"a")
    with pytest.raises(UnsupportedError, match="read-only"):
        parsed.set_sync("band_data/c.0.0.0", value)
    with pytest.raises(UnsupportedError, match="read-only"):
        parsed.delete_sync("band_data/c.0.0.0")


def test_stores_can_be_pickled_and_shared_by_threads(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", tile=(16, 16), compression="lzw")
    parsed = opened(path)
    assert np.array_equal(array_of(parsed)[...], PIXELS)
    copy = pickle.loads(pickle.dumps(parsed))  # noqa: S301 (our own bytes)
    arrays = [array_of(copy, pipeline) for pipeline in [None, FUSED] * 4]  # zarr's configuration is that of all threads
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda array: array[...], arrays))
    assert all(np.array_equal(image, PIXELS) for image in found)


def test_only_local_files_are_read_synchronously(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif")
    memory = MemoryStore()
    memory.put("a.tif", path.read_bytes())
    registry = ObjectStoreRegistry({"memory://files": memory})
    parsed = VirtualTIFF(ifd=0)("memory://files/a.tif", registry)
    assert isinstance(parsed, RangeStore)
    assert not parsed._supports_sync_io
    assert opened(path)._supports_sync_io
    np.testing.assert_array_equal(array_of(parsed, FUSED)[...], PIXELS)


class Watched(LocalStore):
    """A store that somebody has put between us and the files."""


@pytest.mark.skipif(os.name != "posix", reason="paths have drives")
def test_paths_are_those_of_the_object_store(tmp_path: Path) -> None:
    url = (tmp_path / "a.tif").as_uri()
    whole, inside = LocalStore(), LocalStore(tmp_path)
    for files in (whole, inside):
        for registry in (ObjectStoreRegistry({"file://": files}), RootRegistry("file:///", files)):
            assert local_path(*resolve(registry, url)) == str(tmp_path / "a.tif")
    assert local_path(inside, "a.tif") == str(tmp_path / "a.tif")
    assert local_path(whole, "a%20b.tif") == "/a%20b.tif"
    for unusual in ("a/../b.tif", "a//b.tif"):
        assert local_path(whole, unusual) is None
    assert local_path(Watched(), "a.tif") is None
    assert local_path(MemoryStore(), "a.tif") is None


@pytest.mark.parametrize("name", ["a b.tif", "ä.tif", "50%20.tif", "[1]*.tif"])
@pytest.mark.parametrize("inside", [False, True])
def test_unusual_names_are_read(name: str, tmp_path: Path, *, inside: bool) -> None:
    path = write(tmp_path / name, tile=(64, 64))
    files = LocalStore(tmp_path) if inside else LocalStore()
    url = f"file://{tmp_path}/{name}"
    parsed = VirtualTIFF(ifd=0)(url, ObjectStoreRegistry({"file://": files}))
    np.testing.assert_array_equal(array_of(parsed)[...], tifffile.imread(path).transpose(2, 0, 1))
