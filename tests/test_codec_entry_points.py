"""The codec as Zarr v3, Zarr v2 and a fresh interpreter find it."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numcodecs
import numpy as np
import pytest
import zarr
from zarr.core.array_spec import ArrayConfig, ArraySpec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.dtype import UInt8
from zarr.storage import MemoryStore

from tests.segment_cases import encode
from virtual_tiff.codecs import direct, workers, zarr2, zarr3
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.errors import DecodeError, UnsupportedError

CONFIG = SegmentConfig(
    compression=8,
    columns=8,
    rows=4,
    last_rows=2,
    samples=3,
    bits_per_sample=(16,),
    byte_order="big",
    predictor=2,
)
IMAGE = np.random.default_rng(0).integers(0, 60000, (6, 8, 3), "u2")

PIPELINES = [
    "zarr.core.codec_pipeline.BatchedCodecPipeline",
    "zarr.core.codec_pipeline.FusedCodecPipeline",
]

FOREIGN = ["virtualizarr", "icechunk", "obstore", "pyproj", "xarray", "tifffile", "rasterio"]

FRESH = """
import json, sys
import numcodecs, numpy as np, zarr, zarr.registry
json_config = json.loads(sys.argv[1])
assert zarr.registry.get_codec_class("virtual_tiff.segment").__module__ == "virtual_tiff.codecs.zarr3"
v2 = numcodecs.get_codec({"id": "virtual_tiff.segment", **json_config})
array = zarr.open_array(sys.argv[2], mode="r")
decoded = array[...]
loaded = sorted(name for name in sys.modules if name.split(".")[0] == "virtual_tiff")
foreign = sorted(set(sys.modules) & set(sys.argv[3:]))
v2_module = type(v2).__module__
print(json.dumps({"sum": int(decoded.sum()), "loaded": loaded, "foreign": foreign, "v2": v2_module}))
"""


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("side", [8, 256, 700])
@pytest.mark.parametrize("chunk", [None, "planes"])
def test_batches_of_chunks_small_and_large(chunk: Any, side: int, count: int, pipeline: str) -> None:
    """Small chunks are decoded where they are, large ones in another thread; missing ones stay missing."""
    config = SegmentConfig(compression=8, columns=side, rows=side, bits_per_sample=(16,), predictor=2, chunk=chunk)
    codec = zarr3.Segment.from_dict({"name": "virtual_tiff.segment", "configuration": config.to_json()})
    chain = {"compressors": [codec]} if chunk is None else {"serializer": codec, "compressors": None}
    images = [np.random.default_rng(seed).integers(0, 60000, (side, side), "u2") for seed in range(count)]
    tiles = [encode(np.diff(image, axis=1, prepend=np.uint16(0)).tobytes(), 8) for image in images]
    with zarr.config.set({"codec_pipeline.path": pipeline, "codec_pipeline.batch_size": 4}):
        array = zarr.create_array(
            MemoryStore(), shape=(side, (count + 1) * side), chunks=(side, side), dtype="uint16",
            fill_value=7, **chain,
        )  # fmt: skip
        for number, tile in enumerate(tiles):
            sync(array.store.set(f"c/0/{number}", default_buffer_prototype().buffer.from_bytes(tile)))
        expected = np.concatenate([*images, np.full((side, side), 7, "u2")], axis=1)
        np.testing.assert_array_equal(array[...], expected)
        np.testing.assert_array_equal(array[2:5, side - 3 :], expected[2:5, side - 3 :])
        np.testing.assert_array_equal(array[3], expected[3])
        chosen = np.array([side - 1, 0, side + 1])
        metadata: Any = array.metadata
        again = pickle.loads(pickle.dumps(metadata))  # noqa: S301 - our own bytes
        assert again.codecs == copy.deepcopy(metadata).codecs == metadata.codecs
        rows = np.array([1, 0, 2])
        np.testing.assert_array_equal(array.oindex[rows, chosen], expected[np.ix_(rows, chosen)])
        np.testing.assert_array_equal(array.vindex[rows, chosen], expected[rows, chosen])


def segments() -> list[bytes]:
    """The image in two strips, the second one short."""
    stored = imagecodecs.delta_encode(IMAGE, axis=1).astype(">u2")
    return [encode(strip.tobytes(), 8) for strip in (stored[:4], stored[4:])]


CHAINS: dict[str, list[dict[str, Any]]] = {
    "array to bytes": [
        {"name": "virtual_tiff.segment", "configuration": replace(CONFIG, chunk="planes").to_json()},
    ],
    "array to bytes, transposed": [
        {"name": "transpose", "configuration": {"order": [1, 2, 0]}},
        {"name": "virtual_tiff.segment", "configuration": replace(CONFIG, chunk="pixels").to_json()},
    ],
    "bytes to bytes": [
        {"name": "transpose", "configuration": {"order": [1, 2, 0]}},
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "virtual_tiff.segment", "configuration": CONFIG.to_json()},
    ],
}


def metadata(chain: str) -> dict[str, Any]:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [3, 6, 8],
        "data_type": "uint16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3, 4, 8]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": CHAINS[chain],
    }


def write_array(folder: Path, chain: str = "array to bytes") -> None:
    (folder / "zarr.json").write_text(json.dumps(metadata(chain)))
    for row, segment in enumerate(segments()):
        path = folder / f"c/0/{row}/0"
        path.parent.mkdir(parents=True)
        path.write_bytes(segment)


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_zarr_reads_through_either_pipeline(tmp_path: Path, pipeline: str, chain: str) -> None:
    write_array(tmp_path, chain)
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        array = zarr.open_array(tmp_path, mode="r")
        assert getattr(array.async_array.codec_pipeline, "sync_transform", "absent") is not None
        np.testing.assert_array_equal(array[...], np.moveaxis(IMAGE, -1, 0))
        np.testing.assert_array_equal(array[1:2, 3:5, 2:7], np.moveaxis(IMAGE, -1, 0)[1:2, 3:5, 2:7])
        again = pickle.loads(pickle.dumps(array))  # noqa: S301 - our own bytes
        assert again.metadata == array.metadata
        np.testing.assert_array_equal(again[...], np.moveaxis(IMAGE, -1, 0))


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_damaged_chunk_raises_our_error(tmp_path: Path, pipeline: str, chain: str) -> None:
    write_array(tmp_path, chain)
    (tmp_path / "c/0/1/0").write_bytes(b"garbage")
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        array = zarr.open_array(tmp_path, mode="r")
        with pytest.raises(DecodeError) as caught:
            array[...]
    assert caught.value.feature == "corrupt-segment"


@pytest.mark.parametrize(
    "change",
    [
        {"data_type": "uint8"},
        {"chunk": [3, 4, 4]},
        {"chunk": [1, 4, 8]},
        {"data_type": "uint8", "chunk": [3, 4, 16]},
        {"data_type": "uint32", "chunk": [3, 4, 4]},
        {"data_type": "string"},
        {"edges": [3, [4, 2], 8]},
        {"edges": [[3], [[4, 2]], [8, 4]]},
    ],
    ids=str,
)
def test_chunks_of_another_size_are_refused_when_the_array_is_opened(tmp_path: Path, change: dict[str, Any]) -> None:
    write_array(tmp_path)
    document = metadata("array to bytes")
    document["data_type"] = change.get("data_type", "uint16")
    document["fill_value"] = "" if change.get("data_type") == "string" else 0
    document["chunk_grid"]["configuration"]["chunk_shape"] = change.get("chunk", [3, 4, 8])
    if "edges" in change:
        configuration = {"kind": "inline", "chunk_shapes": change["edges"]}
        document["chunk_grid"] = {"name": "rectilinear", "configuration": configuration}
    (tmp_path / "zarr.json").write_text(json.dumps(document))
    with (
        zarr.config.set({"array.rectilinear_chunks": True}),
        pytest.raises(DecodeError, match="and its codec makes") as caught,
    ):
        zarr.open_array(tmp_path, mode="r")
    assert caught.value.feature == "codec-config"


def test_chunks_of_equal_sizes_are_read_on_a_rectilinear_grid(tmp_path: Path) -> None:
    write_array(tmp_path)
    document = metadata("array to bytes")
    edges = {"kind": "inline", "chunk_shapes": [3, [[4, 2]], 8]}
    document["chunk_grid"] = {"name": "rectilinear", "configuration": edges}
    (tmp_path / "zarr.json").write_text(json.dumps(document))
    with zarr.config.set({"array.rectilinear_chunks": True}):
        np.testing.assert_array_equal(zarr.open_array(tmp_path, mode="r")[...], np.moveaxis(IMAGE, -1, 0))


def test_a_chunk_of_bool_has_samples_of_one_bit(tmp_path: Path) -> None:
    write_array(tmp_path)
    document = metadata("array to bytes") | {"shape": [4, 8], "data_type": "bool", "fill_value": False}
    document["chunk_grid"]["configuration"]["chunk_shape"] = [4, 8]
    for bits, is_right in ((1, True), (8, False)):
        configuration = {"compression": 1, "columns": 8, "rows": 4, "bits_per_sample": bits, "chunk": "planes"}
        document["codecs"] = [{"name": "virtual_tiff.segment", "configuration": configuration}]
        (tmp_path / "zarr.json").write_text(json.dumps(document))
        if is_right:
            assert zarr.open_array(tmp_path, mode="r").dtype == bool
        else:
            with pytest.raises(DecodeError, match="data type bool, and its codec makes samples of type uint8"):
                zarr.open_array(tmp_path, mode="r")


@pytest.mark.parametrize("concurrency", [None, 1, 0, -1, 2.5])
def test_however_many_chunks_are_read_at_once(concurrency: Any) -> None:
    """The fused pipeline leaves their number to the codec."""
    side, count = 160, 5
    config = SegmentConfig(compression=8, columns=side, rows=side, chunk="planes")
    codec: Any = zarr3.Segment.from_dict({"name": "virtual_tiff.segment", "configuration": config.to_json()})
    image = np.random.default_rng(1).integers(0, 99, (side, count * side), "u1")
    with zarr.config.set({"codec_pipeline.path": PIPELINES[1]}):
        array = zarr.create_array(
            MemoryStore(), shape=image.shape, chunks=(side, side), dtype="uint8", serializer=codec, compressors=None
        )
    for number, tile in enumerate(np.split(image, count, axis=1)):
        value = default_buffer_prototype().buffer.from_bytes(encode(tile.tobytes(), 8))
        sync(array.store.set(f"c/0/{number}", value))
    with zarr.config.set({"async.concurrency": concurrency}):
        np.testing.assert_array_equal(array[...], image)
        np.testing.assert_array_equal(array[::side, ::side], image[::side, ::side])
        np.testing.assert_array_equal(array[3:, 150:], image[3:, 150:])


def test_of_chunks_that_are_hardly_wanted_hardly_anything_is_kept() -> None:
    """A sample of each chunk of one read."""
    spec = ArraySpec((256, 256), UInt8(), 0, ArrayConfig.from_dict({}), default_buffer_prototype())
    config = SegmentConfig(compression=8, columns=256, rows=256, chunk="planes")
    codec: Any = zarr3.ArraySegment(config)
    encoded = default_buffer_prototype().buffer.from_bytes(encode(bytes(1 << 16), 8))

    class Getter:
        async def get(self, **_options: Any) -> Any:
            return encoded

    wanted: dict[Any, Any] = {
        (slice(0, 256), slice(0, 256)): True,
        (slice(0, 256), slice(0, 128)): True,
        (slice(0, 256), slice(0, 127)): False,
        (0, 0): False,
    }
    for selection, is_view in wanted.items():
        first, second = sync(codec.decode_partial([(Getter(), selection, spec)] * 2))
        for part in (first, second):
            whole = np.asarray(part.as_ndarray_like()).base
            assert (whole is not None and whole.nbytes >= 1 << 16) == is_view, selection


def test_chunks_that_threads_of_the_kernels_decode_are_not_for_threads_of_python() -> None:
    """Only those have no synchronous protocol, for which the fused pipeline has threads."""
    if not workers.would_decode(direct.recipe(replace(CONFIG, columns=128, rows=128, last_rows=None))):
        pytest.skip("this installation has no kernels, or this machine one processor")
    kinds = {
        (side, compression): type(
            zarr3.Segment.from_dict(
                {
                    "name": "virtual_tiff.segment",
                    "configuration": {"compression": compression, "columns": side, "rows": side, "chunk": "planes"},
                }
            )
        )
        for side in (16, 256, 2048)
        for compression in (8, 32773)
    }
    assert {key for key, kind in kinds.items() if kind is zarr3.ArraySegment} == {(256, 8)}
    assert set(kinds.values()) == {zarr3.ArraySegment, zarr3.SyncArraySegment}


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_writing_is_refused(tmp_path: Path, pipeline: str, chain: str) -> None:
    write_array(tmp_path, chain)
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        array = zarr.open_array(tmp_path, mode="r+")
        with pytest.raises(UnsupportedError, match="only decodes"):
            array[...] = np.moveaxis(IMAGE, -1, 0) + 1


@pytest.mark.parametrize("chunk", [None, "planes", "pixels"])
def test_zarr_v2_reads_through_numcodecs(chunk: Any) -> None:
    shape, chunks = ([3, 6, 8], [3, 4, 8]) if chunk == "planes" else ([6, 8, 3], [4, 8, 3])
    v2 = {
        "zarr_format": 2,
        "shape": shape,
        "chunks": chunks,
        "dtype": "<u2",
        "compressor": {"id": "virtual_tiff.segment", **replace(CONFIG, chunk=chunk).to_json()},
        "filters": None,
        "fill_value": 0,
        "order": "C",
    }
    keys = ["0.0.0", "0.1.0" if chunk == "planes" else "1.0.0"]
    entries = {".zarray": json.dumps(v2).encode(), **dict(zip(keys, segments(), strict=True))}
    prototype = zarr.core.buffer.default_buffer_prototype()
    store = MemoryStore({key: prototype.buffer.from_bytes(value) for key, value in entries.items()})
    array = zarr.open_array(store, mode="r", zarr_format=2)
    np.testing.assert_array_equal(array[...], np.moveaxis(IMAGE, -1, 0) if chunk == "planes" else IMAGE)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (zarr3.BytesSegment, CONFIG),
        (zarr3.SyncArraySegment, replace(CONFIG, chunk="planes")),
        (zarr3.SyncArraySegment, replace(CONFIG, chunk="pixels")),
    ],
)
def test_the_codec_of_zarr_is_a_value(kind: type[zarr3.Segment], config: SegmentConfig) -> None:
    codec: Any = kind(config)
    described = codec.to_dict()
    assert described == {"name": "virtual_tiff.segment", "configuration": config.to_json()}
    again = zarr3.Segment.from_dict(json.loads(json.dumps(described)))
    assert again == codec
    assert hash(again) == hash(codec)
    assert pickle.loads(pickle.dumps(codec)) == codec  # noqa: S301 - our own bytes
    with pytest.raises(UnsupportedError):
        codec.compute_encoded_size(1, None)
    with pytest.raises(UnsupportedError):
        sync(codec._encode_single(None, None))


@pytest.mark.parametrize("configuration", [{"columns": 1, "rows": 1, "compression": 99}, {"bits": 8}, "none"])
def test_unknown_configuration_is_refused_when_the_codec_is_made(configuration: Any) -> None:
    with pytest.raises(DecodeError) as caught:
        zarr3.Segment.from_dict({"name": "virtual_tiff.segment", "configuration": configuration})
    assert caught.value.feature == "codec-config"


def test_the_codec_of_numcodecs_is_a_value() -> None:
    codec = numcodecs.get_codec({"id": "virtual_tiff.segment", **CONFIG.to_json()})
    assert isinstance(codec, zarr2.Segment)
    assert codec.get_config() == {"id": "virtual_tiff.segment", **CONFIG.to_json()}
    assert codec == zarr2.Segment.from_config(codec.get_config())
    assert pickle.loads(pickle.dumps(codec)) == codec  # noqa: S301 - our own bytes
    encoded = segments()[0]
    np.testing.assert_array_equal(codec.decode(encoded).view("<u2").reshape(4, 8, 3), IMAGE[:4])
    out = np.empty((4, 8, 3), "<u2")
    assert codec.decode(encoded, out) is out
    np.testing.assert_array_equal(out, IMAGE[:4])
    with pytest.raises(UnsupportedError):
        codec.encode(b"")
    with pytest.raises(DecodeError):
        zarr2.Segment(compression=1, columns=1, rows=1, unheard_of=1)


def test_a_fresh_interpreter_needs_nothing_but_the_codecs(tmp_path: Path) -> None:
    write_array(tmp_path)
    arguments = [
        sys.executable,
        "-W",
        "error",
        "-c",
        FRESH,
        json.dumps(CONFIG.to_json()),
        str(tmp_path),
        *FOREIGN,
    ]
    run = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["sum"] == int(IMAGE.sum())
    assert found["v2"] == "virtual_tiff.codecs.zarr2"
    assert found["foreign"] == []
    rooms = {name for name in found["loaded"] if not name.startswith("virtual_tiff.codecs")}
    assert rooms <= {"virtual_tiff", "virtual_tiff.errors"}
    kernels = {"fax", "jpeg", "images", "lerc", "nibbles", "logs", "libtiff"}
    assert not kernels & {name.rsplit(".", 1)[-1] for name in found["loaded"]}
