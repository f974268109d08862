"""What a request refuses before a single file is read, and what it leaves to the files to say."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rasterio.transform import from_origin

from tests.archives import make_tiff
from virtual_tiff.cube.draft import Request, draft, own_axes
from virtual_tiff.cube.scan import scan
from virtual_tiff.errors import UsageError


@pytest.mark.parametrize(
    "options",
    [
        {"on_error": "maybe"},
        {"group_by": "crs"},
        {"on_conflict": "merge"},
        {"on_duplicate": "newest"},
        {"time": "clock"},
        {"band_as": "layer"},
        {"bounds": (0, 0, 1, 1), "window": (0, 0, 1, 1)},
        {"axes": ["model"], "presize": {"run": [1, 2]}},
    ],
    ids=str,
)
def test_wrong_choices_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        Request(**options)
    assert next(name for name in ("presize", "bounds", *options) if name in options) in str(caught.value)


def test_fields_of_a_pattern_are_axes_where_they_tell_files_of_one_ground_apart(tmp_path: Path) -> None:
    for tile, west in (("h1", 500000.0), ("h2", 500960.0)):
        for model in ("a", "b"):
            place = from_origin(west, 4600000.0, 10.0, 10.0)
            make_tiff(tmp_path / f"{tile}_{model}_20240101.tif", shape=(1, 96, 96), transform=place)
    headers = scan([tmp_path], pattern="{tile}_{model}_{time:%Y%m%d}.tif").headers
    assert own_axes(headers, ["tile", "model", "time"]) == ["model"]
    made = draft([tmp_path], Request(pattern="{tile}_{model}_{time:%Y%m%d}.tif"))
    assert made.plan is not None
    (tree,) = made.plan.trees
    assert tree.axes == ("time", "model")
    assert dict(made.scan.headers[0].keys) == {"tile": "h1", "model": "a"}
    assert made.scan.headers[0].time == datetime(2024, 1, 1, tzinfo=UTC)
    timeless = draft([tmp_path], Request(pattern="{tile}_{model}_{time:%Y%m%d}.tif", time="none"))
    assert timeless.plan is not None
    assert timeless.plan.trees[0].axes == ("model",)
