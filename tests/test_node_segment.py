"""javascript/segment.mjs, written from docs/segment-codec.md alone: the vectors, and archives through zarrita."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from tests.archives import make_tiff
from tests.test_node import PACKAGES, ROOT, gdal, node, read
from virtual_tiff import export_references

VECTORS = ROOT / "tests" / "vectors"
README = ROOT / "javascript" / "README.md"

MISSING: Final = {
    "image-jpeg2000": "jpeg2000",
    "image-jpegxl": "jpegxl",
    "image-lerc": "lerc",
    "image-lerc-zstd": "lerc",
    "image-ljpeg": "jpeg",
    "image-png": "png",
    "image-webp": "webp",
    "padding-long": "zstd",
    "stream-lzma": "lzma",
    "stream-lzma-big": "lzma",
    "stream-zstd": "zstd",
    "stream-zstd-big": "zstd",
}
"""Vectors that are refused, and the name of the decompressor that the error says is missing."""

BAD: Final[dict[str, dict[str, Any]]] = {
    "unknown field interleave": {"interleave": "pixel"},
    "rows is missing": {"rows": ...},
    "rows must not be 0": {"rows": 0},
    'columns must not be "8"': {"columns": "8"},
    "last_rows 4 of rows 4": {"last_rows": 4},
    "unknown compression 32771": {"compression": 32771},
    "predictor must not be 4": {"predictor": 4},
    "predictor 2 with compression 32773": {"compression": 32773, "predictor": 2},
    "predictor 3 with bits_per_sample 16 and sample_format 1": {"bits_per_sample": 16, "predictor": 3},
    "fill_order must not be 3": {"fill_order": 3},
    'byte_order must not be "native"': {"byte_order": "native"},
    "no samples of bits_per_sample 33": {"bits_per_sample": 33},
    "bits_per_sample has 2 entries, samples is 3": {"bits_per_sample": [8, 16], "samples": 3},
    "subsampling 2,2 of 1 samples": {"subsampling": [2, 2]},
    'color must not be "lab"': {"color": "lab"},
    "color rgb of photometric 2": {"color": "rgb", "photometric": 2, "samples": 3},
    "color_map of 0 bytes": {"color": "rgb", "photometric": 3},
    'color_map must not be "AAA"': {"color": "rgb", "photometric": 3, "color_map": "AAA"},
    'no decompressor "ccitt"': {"compression": 4, "bits_per_sample": 1},
}
"""What the error says of a configuration of Deflate with these changes; `...` takes a field away."""

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
needs_zarrita = pytest.mark.skipif(
    not (PACKAGES / "node_modules" / "zarrita").exists(), reason="without npm, `dev.py test` cannot install zarrita"
)


def decode(cases: Path) -> dict[str, dict[str, str]]:
    command = ["node", str(ROOT / "tests" / "decode_vectors.mjs"), str(cases)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    return found


def test_every_vector_is_equal_or_refused_by_name() -> None:
    expected = {path.stem: json.loads(path.read_text())["decoded"] for path in VECTORS.glob("*.json")}
    found = decode(VECTORS)
    refused = {name: result["message"] for name, result in found.items() if "decoded" not in result}
    assert refused.keys() == MISSING.keys(), refused
    assert all(f'no decompressor "{MISSING[name]}"' in message for name, message in refused.items()), refused
    assert [name for name, result in found.items() if result.get("decoded", expected[name]) != expected[name]] == []
    assert found.keys() == expected.keys()


def test_configurations_that_are_not_understood_are_refused(tmp_path: Path) -> None:
    for number, changes in enumerate(BAD.values()):
        configuration = {"compression": 8, "columns": 8, "rows": 4} | changes
        known = {name: value for name, value in configuration.items() if value is not ...}
        (tmp_path / f"{number}.json").write_text(json.dumps({"configuration": known, "encoded": "eJwDAAAAAAE="}))
    found = decode(tmp_path)
    messages = [found[str(number)]["message"] for number in range(len(BAD))]
    assert [text for text, message in zip(BAD, messages, strict=True) if text not in message] == []
    codes = {result["refused"] for result in found.values()}
    assert codes == {"codec-config", "missing-decompressor"}


def test_segments_that_do_not_decode_are_errors(tmp_path: Path) -> None:
    vectors = {name: json.loads((VECTORS / f"{name}.json").read_text()) for name in ("stream-deflate", "stream-lzw")}
    for name, vector in vectors.items():
        encoded = base64.b64decode(vector["encoded"])
        damaged = bytes([encoded[0] ^ 0x40]) + encoded[1:]
        for kind, octets in (("cut", encoded[: len(encoded) // 2]), ("damaged", damaged), ("empty", b"")):
            content = {**vector, "encoded": base64.b64encode(octets).decode()}
            (tmp_path / f"{name}-{kind}.json").write_text(json.dumps(content))
    found = {name: result["refused"] for name, result in decode(tmp_path).items()}
    codes = {"cut": "short-segment", "damaged": "corrupt-segment", "empty": "short-segment"}
    assert found == {f"{name}-{kind}": code for name in vectors for kind, code in codes.items()}


def test_a_short_strip_holds_the_rows_of_the_last_one(tmp_path: Path) -> None:
    for octets in (16, 19, 24, 32):
        configuration = {"compression": 32773, "columns": 8, "rows": 4, "last_rows": 2}
        encoded = base64.b64encode(bytes([octets - 1]) + bytes(range(octets))).decode()
        (tmp_path / f"{octets}.json").write_text(json.dumps({"configuration": configuration, "encoded": encoded}))
    found = decode(tmp_path)
    assert found["16"] == {"decoded": base64.b64encode(bytes(range(16)) + bytes(16)).decode()}
    assert found["32"] == {"decoded": base64.b64encode(bytes(range(32))).decode()}
    assert found["19"] == found["16"]  # rows that are not whole are zeros
    assert found["24"]["refused"] == "short-segment"


def test_the_readme_names_every_decompressor() -> None:
    text = README.read_text()
    assert [name for name in MISSING.values() if f"`{name}`" not in text] == []


@needs_zarrita
@pytest.mark.parametrize(
    "profile",
    [
        {"dtype": "uint16", "compress": "lzw"},
        {"dtype": "int16", "compress": "deflate", "predictor": 2, "endianness": "BIG"},
        {"dtype": "float32", "compress": "lzw", "predictor": 3, "tiled": False, "blockysize": 40},
        {"dtype": "uint16", "nbits": 12, "compress": "deflate"},
        {"dtype": "uint8", "nbits": 1, "tiled": False, "blockysize": 40},
        {"dtype": "uint8", "shape": (3, 96, 80), "interleave": "pixel", "compress": "packbits"},
        {"dtype": "uint8", "shape": (3, 96, 80), "interleave": "pixel", "compress": "zstd", "predictor": 2},
    ],
    ids=lambda profile: " ".join(map(str, profile.values())),
)
def test_zarrita_reads_what_gdal_reads(tmp_path: Path, profile: dict[str, Any]) -> None:
    make_tiff(tmp_path / "a.tif", 1, **profile)
    export_references([tmp_path / "a.tif"], tmp_path / "refs.json")
    pixels = read(tmp_path / "refs.json", "band_data", "segment", "zstd").squeeze()
    expected = gdal(tmp_path / "a.tif")
    assert np.array_equal(pixels, expected)
    assert expected.min() < expected.max()


@needs_zarrita
def test_a_decompressor_that_is_not_plugged_in_is_named(tmp_path: Path) -> None:
    make_tiff(tmp_path / "a.tif", 1, dtype="uint8", compress="zstd", predictor=2)
    export_references([tmp_path / "a.tif"], tmp_path / "refs.json")
    done = node(tmp_path / "refs.json", "band_data", "segment")
    assert done.returncode != 0
    assert re.search('no decompressor "zstd", which compression 50000 needs', done.stderr)
