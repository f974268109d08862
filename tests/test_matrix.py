"""Synthetic images of all encodings, samples, byte orders and layouts are read as they were written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.matrix import COMPRESSIONS, Case, cases, judge

WITHOUT_WITNESS = ("rows per strip 0", "full last strip")
"""Layouts that GDAL and tifffile may both miss: they refuse 0 rows, and GDAL loses the end of some strips."""


@pytest.fixture(scope="module")
def by_compression() -> dict[int, list[Case]]:
    groups: dict[int, list[Case]] = {compression: [] for compression in COMPRESSIONS}
    for case in cases():
        groups[case.recipe.compression].append(case)
    return groups


@pytest.mark.timeout(0)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_images_are_read_as_they_were_written(
    compression: int, by_compression: dict[int, list[Case]], tmp_path: Path
) -> None:
    failures, unattested = [], []
    for case in by_compression[compression]:
        failure, said = judge(case, tmp_path / "image.tif")
        if failure:
            failures.append(f"{case.name}: {failure}; {said}")
        if "agrees" not in said.values() and not any(layout in case.name for layout in WITHOUT_WITNESS):
            unattested.append(f"{case.name}: {said}")
    assert not failures, f"{len(failures)} of {len(by_compression[compression])}\n" + "\n".join(failures)
    assert not unattested, "the writer of the tests is wrong, or its files are too odd\n" + "\n".join(unattested)
