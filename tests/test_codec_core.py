"""Zarr's codecs for Deflate and ZSTD by our kernels: same names and samples, our errors, only where they are set."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import rasterio
import tifffile
import xarray as xr
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec
from zarr.codecs import numcodecs as zarr_numcodecs
from zarr.core.buffer import default_buffer_prototype
from zarr.core.codec_pipeline import BatchedCodecPipeline, FusedCodecPipeline
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from virtual_tiff.codecs.core import ExactZlib, ExactZstd, Zlib, Zstd, with_own_decoders
from virtual_tiff.cube.open import open_cube, open_repository
from virtual_tiff.cube.publish import publish
from virtual_tiff.errors import DecodeError
from virtual_tiff.pipeline import set_own_decoders

PIXELS = np.random.default_rng(0).integers(0, 900, (3, 40, 30), "u2")
WHOLE = np.moveaxis(PIXELS, 0, -1).tobytes()
ZLIB = zarr_numcodecs.Zlib(level=6)
CODECS: dict[str, Any] = {"zlib": ZLIB, "zstd": ZstdCodec(level=0)}
OURS = {"zlib": ExactZlib, "zstd": ExactZstd}
MODULES = {"numcodecs.zlib": zarr_numcodecs.Zlib.__module__, "zstd": ZstdCodec.__module__}


@pytest.fixture(autouse=True)
def _as_it_comes() -> Iterator[None]:
    """Parsed files of other tests may have asked zarr for our decoder."""
    theirs = {"numcodecs.zlib": "zarr.codecs.numcodecs.Zlib", "zstd": "zarr.codecs.zstd.ZstdCodec"}
    with zarr.config.set({"codecs": zarr.config.get("codecs") | theirs}):
        yield


def array_of(codec: Any, chunk: bytes | None = None, pixels: Any = PIXELS) -> zarr.Array[Any]:
    """An array of two chunks, the first of which is replaced."""
    array = zarr.create_array(
        MemoryStore(), shape=(3, 40, 60), chunks=(3, 40, 30), dtype=pixels.dtype, fill_value=0,
        filters=[TransposeCodec(order=(1, 2, 0))], serializer=BytesCodec(endian="little"), compressors=[codec],
    )  # fmt: skip
    array[...] = np.concatenate([pixels, pixels], axis=2)
    if chunk is not None:
        sync(array.store.set("c/0/0/0", default_buffer_prototype().buffer.from_bytes(chunk)))
    return zarr.open_array(array.store, mode="r")


def codec_of(array: zarr.Array[Any]) -> Any:
    return list(array.async_array.codec_pipeline)[-1]  # type: ignore[call-overload]


def encoded(name: str, decoded: bytes) -> bytes:
    return bytes((numcodecs.Zlib() if name == "zlib" else numcodecs.Zstd()).encode(decoded))


@pytest.mark.parametrize("side", [30, 600])
@pytest.mark.parametrize("name", CODECS)
def test_the_same_samples_and_the_same_metadata(name: str, side: int) -> None:
    """Short chunks are decoded in the event loop, long ones in a thread."""
    array = zarr.create_array(MemoryStore(), shape=(side, 2 * side), chunks=(side, side), dtype=">f4", fill_value=1,
                              compressors=[CODECS[name]])  # fmt: skip
    values = np.random.default_rng(1).integers(0, 99, (side, 2 * side)).astype("f4")
    array[:, :side] = values[:, :side]
    values[:, side:] = 1  # a chunk that is missing
    opened = zarr.open_array(array.store, mode="r")
    theirs = opened.metadata.to_dict()
    set_own_decoders(opened)
    assert type(codec_of(opened)) is OURS[name]
    assert type(opened.async_array.codec_pipeline) is BatchedCodecPipeline
    assert opened.metadata.to_dict() == theirs
    for one in (opened, pickle.loads(pickle.dumps(opened))):  # noqa: S301 (our own bytes)
        assert type(codec_of(one)) is OURS[name]
        np.testing.assert_array_equal(one[...], values)
        np.testing.assert_array_equal(one[3:5, side - 2 : side + 2], values[3:5, side - 2 : side + 2])


@pytest.mark.parametrize("name", CODECS)
def test_they_encode_as_zarr_does(name: str) -> None:
    store = MemoryStore()
    array = zarr.create_array(store, shape=(9,), chunks=(9,), dtype="i8", compressors=[CODECS[name]])
    ours = zarr.open_array(store, mode="r+")
    set_own_decoders(ours)
    ours[...] = np.arange(9)
    assert codec_of(ours).to_dict() == array.metadata.to_dict()["codecs"][-1]  # type: ignore[index]
    np.testing.assert_array_equal(array[...], np.arange(9))


DAMAGED: dict[str, Callable[[str], bytes]] = {
    "cut off": lambda name: encoded(name, WHOLE)[:-9],
    "empty": lambda _name: b"",
    "noise": lambda _name: bytes(range(1, 200)),
    "a bit is wrong": lambda name: (e := encoded(name, WHOLE))[:900] + bytes([e[900] ^ 64]) + e[901:],
    "too short": lambda name: encoded(name, WHOLE[:-2]),
    "too long": lambda name: encoded(name, WHOLE + b"ab"),
    "far too long": lambda name: encoded(name, bytes(20 << 20)),
}


@pytest.mark.parametrize(
    ("damage", "name"),
    # frames of ZSTD without a checksum do not tell of a wrong bit
    [(damage, name) for damage in DAMAGED for name in CODECS if (damage, name) != ("a bit is wrong", "zstd")],
)
def test_damaged_chunks_raise_our_error(damage: str, name: str) -> None:
    array = array_of(CODECS[name], DAMAGED[damage](name))
    set_own_decoders(array)
    np.testing.assert_array_equal(array[:, :, 30:], PIXELS)
    with pytest.raises(DecodeError) as caught:
        array[:, :, :30]
    assert caught.value.feature == "corrupt-segment"


def test_bytes_behind_the_stream_are_ignored_as_zlib_does() -> None:
    array = array_of(ZLIB, zlib.compress(WHOLE) + b"more")
    np.testing.assert_array_equal(array[:, :, :30], PIXELS)
    set_own_decoders(array)
    np.testing.assert_array_equal(array[:, :, :30], PIXELS)


def test_other_chains_are_left_alone() -> None:
    little = BytesCodec(endian="little")

    class Mine(zarr_numcodecs.Zlib):
        """A codec that somebody has configured."""

    for chain in (
        (little,),
        (little, GzipCodec()),
        (little, Mine()),
        (little, ZLIB, ZLIB),
        (little, ZLIB, ZstdCodec()),
    ):
        assert with_own_decoders(chain) is None
    ours = with_own_decoders((little, Zlib(level=4)))
    assert ours is not None
    assert type(ours[-1]) is ExactZlib
    assert ours[-1].to_dict() == {"name": "numcodecs.zlib", "configuration": {"level": 4}}


def test_a_pipeline_that_is_configured_stays() -> None:
    with zarr.config.set({"codec_pipeline.path": "zarr.core.codec_pipeline.FusedCodecPipeline"}):
        array = array_of(ZLIB)
    set_own_decoders(array)
    assert type(array.async_array.codec_pipeline) is FusedCodecPipeline
    assert type(codec_of(array)) is zarr_numcodecs.Zlib


def write_tiff(path: Path, compress: str) -> None:
    with rasterio.open(
        path, "w", driver="GTiff", width=64, height=64, count=1, dtype="uint16", tiled=True, blockxsize=32,
        blockysize=32, compress=compress, crs="EPSG:32633", transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6),
    ) as dataset:  # fmt: skip
        dataset.write(np.arange(64 * 64, dtype="u2").reshape(1, 64, 64))


@pytest.mark.parametrize("compress", ["deflate", "zstd"])
def test_cubes_that_we_open_raise_our_error(compress: str, tmp_path: Path) -> None:
    """Their metadata is zarr's own; only the decoding of what we open is ours."""
    folder = tmp_path / "archive"
    folder.mkdir()
    write_tiff(folder / "a.tif", compress)
    publish([folder], tmp_path / "cube.icechunk")
    configured = dict(zarr.config.get("codecs"))
    pixels = open_cube(tmp_path / "cube.icechunk")["band_data"]
    np.testing.assert_array_equal(pixels.squeeze(), np.arange(64 * 64, dtype="u2").reshape(64, 64))
    assert [type(codec) for codec in pixels.encoding["compressors"]] == [
        {"deflate": zarr_numcodecs.Zlib, "zstd": ZstdCodec}[compress]
    ]
    assert zarr.config.get("codecs") == configured
    chunked = open_cube(tmp_path / "cube.icechunk", chunks={})["band_data"]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(chunked)), pixels)  # noqa: S301 (our own bytes)


@pytest.mark.parametrize("compress", ["deflate", "zstd"])
def test_damaged_segments_of_cubes(compress: str, tmp_path: Path) -> None:
    """The file is as long and as old as it was: only decoding can tell."""
    path = tmp_path / "archive" / "a.tif"
    path.parent.mkdir()
    write_tiff(path, compress)
    publish([path.parent], tmp_path / "cube.icechunk")
    opened = open_cube(tmp_path / "cube.icechunk")["band_data"]
    with tifffile.TiffFile(path) as tiff:
        (page,) = tiff.pages
        offset, count = page.dataoffsets[0], page.databytecounts[0]
    times = path.stat()
    octets = bytearray(path.read_bytes())
    octets[offset : offset + count] = bytes(count)
    path.write_bytes(octets)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(DecodeError):
        opened.load()


FRESH = """
import json, sys, warnings
warnings.simplefilter("error")
import numpy as np, zarr
from zarr.registry import get_codec_class
name = sys.argv[1]
codec = {"numcodecs.zlib": zarr.codecs.numcodecs.Zlib, "zstd": zarr.codecs.ZstdCodec}[name](level=4)
array = zarr.create_array({}, shape=(9, 9), chunks=(3, 3), dtype="f4", compressors=[codec])
array[...] = 5
found = [get_codec_class(name).__module__]
assert not any(name.startswith("virtual_tiff") for name in sys.modules)
before = zarr.config.get("codecs")
from virtual_tiff.codecs.core import register
found.append(get_codec_class(name).__module__)
register([name])
register([name])
found.append(get_codec_class(name).__module__)
opened = zarr.open_array(array.store, mode="r+")
opened[0, 0] = 6
assert opened[...].sum() == array[...].sum() == 406
found += [type(opened.compressors[0]).__module__, type(array.compressors[0]).__module__]
assert opened.metadata.to_dict() == array.metadata.to_dict()
assert before == {**zarr.config.get("codecs"), name: before[name]}
register()
assert {get_codec_class(each).__module__ for each in ("numcodecs.zlib", "zstd")} == {"virtual_tiff.codecs.core"}
print(json.dumps(found))
"""


PARSED = """
import json, sys, warnings
warnings.simplefilter("error")
import numpy as np, zarr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import LocalStore
from virtual_tiff import VirtualTIFF
from zarr.registry import get_codec_class, register_codec

def parse(name):
    store = VirtualTIFF(ifd=0)(f"file://{sys.argv[1]}/{name}.tif", ObjectStoreRegistry({"file://": LocalStore()}))
    return zarr.open_group(store, mode="r", zarr_format=3)["band_data"]

name = sys.argv[3]

def decoder():
    return get_codec_class(name).__module__

before = zarr.config.get("codecs")
if sys.argv[2] == "configured":
    class Other({"numcodecs.zlib": zarr.codecs.numcodecs.Zlib, "zstd": zarr.codecs.ZstdCodec}[name]):
        pass

    register_codec(name, Other)
    zarr.config.set({"codecs": {**before, name: "__main__.Other"}})
parse("plain")[...]
found = [decoder()]
array = parse("compressed")
total = int(array[...].sum())
found += [decoder(), type(array.compressors[0]).__module__, array.metadata.to_dict()["codecs"][-1]["name"]]
zarr.config.set({"codecs": before})
parse("compressed")
print(json.dumps([*found, decoder(), total]))
"""


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("configured", ["configured", "as it comes"])
def test_the_first_parsed_file_that_needs_it_asks_for_it(configured: str, name: str, tmp_path: Path) -> None:
    """A decoder that somebody has chosen, before or afterwards, stays."""
    pixels = np.arange(64 * 48, dtype="u2").reshape(48, 64)
    tifffile.imwrite(tmp_path / "plain.tif", pixels)
    compression = {"numcodecs.zlib": "zlib", "zstd": "zstd"}[name]
    tifffile.imwrite(tmp_path / "compressed.tif", pixels, compression=compression, tile=(16, 16))
    run = [sys.executable, "-c", PARSED, str(tmp_path), configured, name]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    *found, total = json.loads(done.stdout)
    ours, theirs = Zlib.__module__, MODULES[name]
    other = "__main__" if configured == "configured" else theirs
    chosen = other if configured == "configured" else ours
    assert found == [other, chosen, chosen, name, theirs]
    assert total == pixels.sum()


@pytest.mark.parametrize("name", MODULES)
def test_zarr_uses_it_only_when_asked(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", FRESH, name], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    ours, theirs = Zlib.__module__, MODULES[name]
    assert json.loads(done.stdout) == [theirs, theirs, ours, ours, theirs]


@pytest.mark.parametrize("last", [Zlib(level=1), Zstd(level=1)])
@pytest.mark.parametrize("between", [(), (Crc32cCodec(),), (zarr_numcodecs.BZ2(level=1),)])
@pytest.mark.parametrize("side", [30, 99])
def test_asked_for_it_reads_what_other_codecs_have_left(side: int, between: tuple[Any, ...], last: Any) -> None:
    """More bytes than samples, and fewer; of short chunks and of such as threads decode."""
    values = np.arange(side**2).reshape(side, side)
    array = zarr.create_array(
        MemoryStore(), shape=(side, side), chunks=(side, side), dtype="i4", compressors=[*between, last]
    )
    array[...] = values
    np.testing.assert_array_equal(array[...], values)
    words = zarr.create_array(MemoryStore(), shape=(2,), chunks=(2,), dtype=str, compressors=[last])
    words[...] = np.array(["a" * 9, "b" * (2 << 20)])  # a type without a size
    np.testing.assert_array_equal(np.strings.str_len(words[...]), [9, 2 << 20])


def test_what_it_cannot_decode_is_zarrs_to_refuse() -> None:
    array = zarr.create_array({}, shape=(900,), chunks=(900,), dtype="i4", compressors=[Zstd(level=1)])
    array[...] = np.arange(900)
    sync(array.store.set("c/0", default_buffer_prototype().buffer.from_bytes(b"no frame")))
    with pytest.raises(RuntimeError, match=r"(?i)zstd"):
        array[...]


def test_other_processes_get_zarrs_own() -> None:
    """They may lack this package, and have arrays of their own that are compressed by zarr's default."""
    assert type(pickle.loads(pickle.dumps(Zstd(level=3)))) is ZstdCodec  # noqa: S301 (our own bytes)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mask_and_scale": False, "decode_coords": "all"},
        {"decode_cf": False},
        {"drop_variables": ["spatial_ref"], "chunks": {"x": 32}, "overwrite_encoded_chunks": True},
        {"decode_times": False, "create_default_indexes": False, "storage_options": None, "from_array_kwargs": None},
        {"chunks": {}, "chunked_array_type": "dask", "use_zarr_fill_value_as_mask": None, "use_cftime": None},
    ],
)
def test_cubes_take_the_options_of_open_zarr(options: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    write_tiff(folder / "a.tif", "deflate")
    publish([folder], tmp_path / "cube.icechunk")
    store = open_repository(tmp_path / "cube.icechunk").readonly_session("main").store
    theirs = xr.open_zarr(store, **{"chunks": None, **options}, consolidated=False, zarr_format=3)
    ours = open_cube(tmp_path / "cube.icechunk", **options)
    xr.testing.assert_identical(ours, theirs)
    assert ours["band_data"].encoding == theirs["band_data"].encoding
    assert ours.chunks == theirs.chunks
    with pytest.raises(TypeError, match="nonsense"):
        open_cube(tmp_path / "cube.icechunk", nonsense=1)
