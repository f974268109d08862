"""Codec chains: one codec that makes chunks in stores, and for VirtualiZarr codecs that it does not drop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import virtualizarr
import xarray as xr
import zarr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import LocalStore
from virtualizarr.manifests import ManifestArray, ManifestGroup, ManifestStore
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

import virtual_tiff.array
from tests import matrix
from tests.archives import gdal_reads, make_archive, make_tiff
from tests.cubes import check_verified, contents
from tests.opening import virtual
from tests.rawtiff import write
from virtual_tiff import VirtualTIFF, open_cube, publish
from virtual_tiff.bandaxis import bands_last
from virtual_tiff.chain import codec_chain, in_bytes, in_chunks
from virtual_tiff.cube.append import append
from virtual_tiff.errors import UsageError, VirtualTiffError

PLANES = {"compression": 5, "columns": 8, "rows": 4, "samples": 3, "chunk": "planes"}
SEGMENT = "virtual_tiff.segment"


def segment(**changes: Any) -> dict[str, Any]:
    configuration = {**PLANES, **changes}
    return {"name": SEGMENT, "configuration": {key: value for key, value in configuration.items() if value is not None}}


TRANSPOSE = {"name": "transpose", "configuration": {"order": [1, 2, 0]}}
VOLUME = {"name": "transpose", "configuration": {"order": [1, 2, 3, 0]}}
LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}


@pytest.mark.parametrize(
    ("chunks", "dimensions", "octets"),
    [
        (segment(), 3, (TRANSPOSE, {"name": "bytes"}, segment(chunk=None))),
        (segment(), 4, (VOLUME, {"name": "bytes"}, segment(chunk=None))),
        (segment(chunk="pixels"), 3, ({"name": "bytes"}, segment(chunk=None))),
        (segment(samples=None), 2, ({"name": "bytes"}, segment(chunk=None, samples=None))),
        (segment(bits_per_sample=16), 3, (TRANSPOSE, LITTLE, segment(chunk=None, bits_per_sample=16))),
        (
            segment(compression=1, samples=None, photometric=3, color="rgb"),
            3,
            (
                TRANSPOSE,
                {"name": "bytes"},
                segment(compression=1, samples=None, photometric=3, color="rgb", chunk=None),
            ),
        ),
    ],
)
def test_one_form_and_the_other(chunks: Any, dimensions: int, octets: Any) -> None:
    assert in_bytes([chunks], dimensions) == octets
    assert in_chunks(octets) == (chunks,)
    assert in_bytes(octets, dimensions) == octets
    assert in_chunks([chunks]) == (chunks,)


@pytest.mark.parametrize(
    "chain",
    [
        [{"name": "bytes"}],
        [LITTLE, {"name": "zstd", "configuration": {"level": 0, "checksum": False}}],
        [TRANSPOSE, {"name": "bytes"}, {"name": "numcodecs.zlib", "configuration": {"level": 6}}],
        [TRANSPOSE, {"name": "bytes", "configuration": {"endian": "big"}}, segment(chunk=None, bits_per_sample=16)],
        [{"name": "transpose", "configuration": {"order": [2, 1, 0]}}, {"name": "bytes"}, segment(chunk=None)],
        [{"name": "bytes"}, {"name": "crc32c"}, segment(chunk=None)],
        [segment(chunk=None)],
    ],
)
def test_other_chains_stay_as_they_are(chain: Any) -> None:
    assert in_chunks(chain) == tuple(chain)
    assert in_bytes(chain, 3) == tuple(chain)


def test_chains_of_all_encodings() -> None:
    count = 0
    for case in matrix.cases(everything=False):
        try:
            array = virtual(write(case.pixels, case.recipe))
        except VirtualTiffError:
            continue
        for one in (array, bands_last(array)):
            octets = in_bytes(one.codecs, len(one.shape))
            assert in_chunks(octets) == one.codecs, case.name
            assert octets[-1].get("configuration", {}).get("chunk") is None
            count += len(octets) > len(one.codecs)
    assert count > 200


def chunk_bytes(reference: Any) -> bytes:
    url, offset, size = reference
    return Path(str(url).removeprefix("file://")).read_bytes()[offset : offset + size]


@pytest.mark.parametrize("interleave", ["band", "pixel"])
@pytest.mark.parametrize("encoding", [{"compress": "lzw"}, {"compress": "deflate", "predictor": 2}])
def test_references_that_virtualizarr_writes_have_the_codec(
    encoding: dict[str, Any], interleave: str, tmp_path: Path
) -> None:
    """Those of Zarr v2, from which it leaves codecs out that make a chunk by themselves."""
    options = {"shape": (3, 70, 90), "interleave": interleave, **encoding}
    pixels = [make_tiff(tmp_path / f"{number}.tif", number, **options) for number in range(2)]
    registry = ObjectStoreRegistry({"file://": LocalStore()})
    parser = VirtualTIFF(ifd=0, band_axis="last", coordinates=False)
    datasets = [
        virtualizarr.open_virtual_dataset((tmp_path / f"{number}.tif").as_uri(), registry=registry, parser=parser)
        for number in range(2)
    ]
    both = xr.concat(datasets, dim="time", coords="minimal", compat="override", join="override")
    both.vz.to_kerchunk(str(tmp_path / "refs.json"), format="json")
    refs = json.loads((tmp_path / "refs.json").read_text())["refs"]
    assert [one["id"] for one in json.loads(refs["band_data/.zarray"])["filters"]] == [SEGMENT]
    content = {
        key: value.encode() if isinstance(value, str) else chunk_bytes(value)
        for key, value in refs.items()
        if key.startswith("band_data/")
    }
    buffers = {key: default_buffer_prototype().buffer.from_bytes(value) for key, value in content.items()}
    array: Any = zarr.open_array(MemoryStore(buffers), path="band_data", mode="r", zarr_format=2)
    np.testing.assert_array_equal(np.moveaxis(array[...], -1, 1), np.stack(pixels))


def test_a_codec_that_virtualizarr_would_leave_out_is_refused(tmp_path: Path) -> None:
    """Where it has the chain from a store."""
    make_tiff(tmp_path / "a.tif", compress="lzw")
    registry = ObjectStoreRegistry({"file://": LocalStore()})
    store = VirtualTIFF(ifd=0, coordinates=False)((tmp_path / "a.tif").as_uri(), registry)
    array: Any = store._group.arrays["band_data"]
    metadata: Any = zarr.open_array(store, path="band_data", mode="r", zarr_format=3).metadata
    group = ManifestGroup(arrays={"band_data": ManifestArray(metadata=metadata, chunkmanifest=array.manifest)})
    dataset = ManifestStore(group, registry=registry).to_virtual_dataset()
    with pytest.raises(UsageError, match="would write references of Zarr v2 without"):
        dataset.vz.to_kerchunk(str(tmp_path / "refs.json"), format="json")


@pytest.mark.parametrize("band_axis", ["first", "last"])
@pytest.mark.parametrize(
    "profile",
    [
        {"shape": (3, 70, 90), "interleave": "pixel"},
        {"shape": (3, 70, 90), "interleave": "band"},
        {"shape": (1, 70, 90), "dtype": "uint8"},
    ],
    ids=str,
)
def test_cubes_of_before_can_be_appended_to(
    profile: dict[str, Any], band_axis: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those whose chunks were made by other codecs, of the bytes that ours made."""
    folder, cube = tmp_path / "a", tmp_path / "cube.icechunk"
    make_archive(folder, 2, compress="lzw", **profile)

    def of_before(layout: Any, config: Any) -> Any:
        return in_bytes(codec_chain(layout, config), 3)

    with monkeypatch.context() as before:
        before.setattr(virtual_tiff.array, "codec_chain", of_before)
        publish([folder], cube, band_axis=band_axis)
    _, stored, _ = contents(cube)["/band_data"]
    assert [codec["name"] for codec in stored["codecs"]][-2:] == ["bytes", SEGMENT]
    make_tiff(folder / "s2.tif", 2, compress="lzw", **profile)
    append([folder], cube)
    check_verified(cube)
    found = open_cube(cube)["band_data"]
    expected = gdal_reads(folder, 3)
    lead = ("item", "band", "y", "x") if profile["shape"][0] > 1 else ("item", "y", "x")
    np.testing.assert_array_equal(found.transpose(*lead), expected if len(lead) == 4 else expected[:, 0])
