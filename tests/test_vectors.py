"""The test vectors: what other implementations of the codec are checked against."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.segment import decode_segment

FOLDER = Path(__file__).parent / "vectors"
VECTORS = sorted(FOLDER.glob("*.json"))
PAGE = Path(__file__).parent.parent / "docs" / "segment-codec.md"


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_vector(path: Path) -> None:
    vector = json.loads(path.read_text())
    config = SegmentConfig.from_json(vector["configuration"])
    decoded = decode_segment(base64.b64decode(vector["encoded"]), config)
    assert decoded.tobytes() == base64.b64decode(vector["decoded"])
    assert config.to_json() == vector["configuration"], "vectors hold the canonical form"


def test_vectors_are_small() -> None:
    sizes = [path.stat().st_size for path in VECTORS]
    assert len(sizes) > 40
    assert max(sizes) < 4096
    assert sum(sizes) < 200_000


def test_the_specification_names_every_field_and_every_family_of_vectors() -> None:
    page = PAGE.read_text()
    for name in SegmentConfig.__dataclass_fields__:
        assert f"`{name}`" in page, name
    for path in VECTORS:
        assert f"`{path.stem.split('-')[0]}-" in page, path.stem
