"""What an append says of files that claim places of a cube which others have; the rules between them elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rasterio.transform import from_origin

from tests.archives import LONG_AGO, age, make_tiff
from tests.cubes import check_same, contents
from virtual_tiff import ConformError, append, publish

WAY = (
    "Give the new version the same URL, leave it out, or replace such files: on_duplicate='last' (--on-duplicate last)."
)
AT = '["2024-05-01T00:00:00"]'
OVERLAPS = f"n_01.tif overlaps with a_01.tif, which is in the cube at {AT}"


def day(url: str) -> datetime:
    return datetime(2024, 5, int(url[-6:-4]), tzinfo=UTC)


def write(folder: Path, name: str, *, down: int = 0, seed: int = 0) -> Path:
    """A tile of 96 x 96 pixels, some rows down from the corner of the cube."""
    path = folder / f"{name}.tif"
    make_tiff(path, seed, shape=(1, 96, 96), transform=from_origin(500000.0, 4600000.0 - 10.0 * down, 10.0, 10.0))
    return path


@pytest.fixture
def cube(tmp_path: Path) -> Path:
    files = [write(tmp_path, "a_01"), write(tmp_path, "b_01", down=96), write(tmp_path, "a_02")]
    publish(files, tmp_path / "cube", time=day, mosaic=True)
    return tmp_path / "cube"


@pytest.mark.parametrize(
    ("down", "rule", "found"),
    [
        (0, "raise", f"n_01.tif claims the place of a_01.tif, which is in the cube at {AT}"),
        (48, "raise", OVERLAPS),
        (48, "first", OVERLAPS),
        (48, "last", OVERLAPS),
    ],
)
def test_only_files_of_the_very_same_place_are_decided_between(
    down: int, rule: Any, found: str, cube: Path, tmp_path: Path
) -> None:
    before = contents(cube)
    with pytest.raises(ConformError) as caught:
        append([write(tmp_path, "n_01", down=down, seed=7)], cube, time=day, on_duplicate=rule)
    assert (caught.value.feature, caught.value.found, caught.value.hint) == ("overlap", found, WAY)
    check_same(contents(cube), before)


@pytest.mark.parametrize("what", ["ground", "label"])
def test_a_new_version_stays_in_its_place(what: str, cube: Path, tmp_path: Path) -> None:
    age(write(tmp_path, "a_01", down=0 if what == "label" else 192, seed=7), LONG_AGO + 4)
    days = {"label": lambda url: day(url).replace(day=9), "ground": day}
    found = "a_01.tif has another place than its older version in the cube"
    with pytest.raises(ConformError) as caught:
        append([tmp_path / "a_01.tif"], cube, time=days[what])
    found += f': ["2024-05-09T00:00:00"], not {AT}' if what == "label" else ""
    assert (caught.value.feature, caught.value.found, caught.value.hint) == ("conform", found, "Publish the cube anew.")


def test_not_all_of_many_older_files_are_named(tmp_path: Path) -> None:
    def items(prefix: str, updated: str) -> list[dict[str, Any]]:
        paths = [write(tmp_path, f"{prefix}_{number:02}") for number in range(1, 8)]
        return [
            {
                "type": "Feature",
                "id": path.stem,
                "properties": {"datetime": f"2024-05-{path.stem[-2:]}T00:00:00Z", "updated": updated},
                "assets": {"image": {"href": str(path), "type": "image/tiff", "roles": ["data"]}},
                "links": [],
            }
            for path in paths
        ]

    publish(items("a", "2024-03-01T10:20:30.5+02:00"), tmp_path / "cube")
    done = append(items("n", "2024-02-01T00:00:00Z"), tmp_path / "cube", on_duplicate="last", dry_run=True)
    why = "which is in the cube, was updated later, on 2024-03-01 08:20:30 UTC"
    named = [f"n_{number:02}.tif is not used: a_{number:02}.tif, {why}" for number in range(1, 6)]
    assert done.notes == (*named, "and 2 more files are not used, for the same reason")
