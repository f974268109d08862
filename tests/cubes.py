"""All that a repository shows to a reader: its arrays, attributes and chunk grids, by path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from virtual_tiff.cube.open import open_repository
from virtual_tiff.cube.verify import verify

type Contents = dict[str, tuple[Any, Any, Any]]
"""By path: the attributes, and of arrays their metadata and values."""


def contents(cube: Path) -> Contents:
    """Everything but the ledger of sources, read by zarr-python alone."""
    found: Contents = {}

    def walk(group: zarr.Group, path: str) -> None:
        found[path or "/"] = (dict(group.attrs), None, None)
        for name, member in group.members():
            if name == "_sources":
                continue
            if isinstance(member, zarr.Group):
                walk(member, f"{path}/{name}")
            else:
                metadata = {**member.metadata.to_dict(), "attributes": {}}
                found[f"{path}/{name}"] = (dict(member.attrs), metadata, np.asarray(member[...]))

    with zarr.config.set({"array.rectilinear_chunks": True}):
        store = open_repository(cube).readonly_session("main").store
        walk(zarr.open_group(store, mode="r", zarr_format=3), "")
    return found


def values(cube: Path, name: str = "band_data") -> Any:
    """The values of one array."""
    return contents(cube)[f"/{name}"][2]


def check_same(one: Contents, other: Contents) -> None:
    """Two repositories show the same."""
    assert one.keys() == other.keys()
    for path, (attributes, metadata, array) in one.items():
        assert as_text(other[path][0]) == as_text(attributes), path
        assert as_text(other[path][1]) == as_text(metadata), path
        if array is not None:
            assert equal(other[path][2], array), path


def as_text(json_values: Any) -> str:
    """JSON values in one order."""
    return json.dumps(json_values, sort_keys=True, default=str)


def equal(one: Any, other: Any) -> bool:
    """Whether two arrays have the same values; not-a-number is itself."""
    return one.shape == other.shape and bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "fc"))


def check_verified(cube: Path, pixels: int = 6) -> None:
    """The command verify finds nothing."""
    report = verify(cube, pixels=pixels, seed=1)
    assert report.ok
    assert {(one.decoder, one.why) for one in report.pixels if one.gdal != "same"} <= {
        ("same", "GDAL is asked for the finest level only")
    }


def snapshots(cube: Path) -> int:
    """How many there are."""
    return len(list(open_repository(cube).ancestry(branch="main")))
