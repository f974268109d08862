"""Odd bit depths, image codecs and unusual structure: read as written, or as GDAL and tifffile read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.matrix import judge
from tests.matrix_more import GROUPS, compare, written

MAY_BE_REFUSED = ("unequal bits",)
"""No witness reads these; a refusal by name is as good as pixels."""

WITHOUT_WITNESS = (*MAY_BE_REFUSED, "no byte counts, uncompressed")


@pytest.mark.timeout(0)
@pytest.mark.parametrize("group", GROUPS)
def test_rare_images_are_read_as_they_were_written(group: str, tmp_path: Path) -> None:
    failures, unattested = [], []
    for case in GROUPS[group]():
        failure, said = judge(case, tmp_path / "image.tif")
        if failure and not (failure.startswith("refused:") and case.name.startswith(MAY_BE_REFUSED)):
            failures.append(f"{case.name}: {failure}; {said}")
        if "agrees" not in said.values() and not case.name.startswith(WITHOUT_WITNESS):
            unattested.append(f"{case.name}: {said}")
    assert not failures, f"{len(failures)}\n" + "\n".join(failures)
    assert not unattested, "the writer of the tests is wrong, or its files are too odd\n" + "\n".join(unattested)


@pytest.mark.timeout(0)
def test_files_of_other_writers_are_read_as_gdal_or_tifffile_read_them(
    tmp_path: Path, closing_line: Callable[[str], None]
) -> None:
    failures, count = [], 0
    for count, file in enumerate(written(), start=1):  # noqa: B007
        path = tmp_path / "image.tif"
        file.write(path)
        failure = compare(path)
        if failure:
            failures.append(f"{file.name}: {failure}")
        path.unlink()
    closing_line(f"files of other writers: {count - len(failures)} of {count} as GDAL or tifffile read them")
    assert not failures, f"{len(failures)} of {count}\n" + "\n".join(failures)
