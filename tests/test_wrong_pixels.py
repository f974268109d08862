"""Files with wrong tags and damaged bytes are read as another reader reads them, or refused.

More of them are tried with ``VIRTUAL_TIFF_MUTATIONS=10000``.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from tests import matrix, matrix_more, subject
from tests.rawtiff import Pixels, Recipe, write
from tests.tiffbytes import Entry
from tests.wrongpixels import mutant, verdict

MUTANTS: Final = int(os.environ.get("VIRTUAL_TIFF_MUTATIONS") or 300)
WORKS: Final = frozenset({"refused", "equal", "proven"})


@cache
def originals() -> Sequence[tuple[Pixels, Recipe]]:
    """Small images of every kind that readers know."""
    plain = [(case.pixels[:, :37, :53], case.recipe) for case in list(matrix.cases())[::4]]
    families = (matrix_more.bit_depths, matrix_more.fill_orders, matrix_more.image_codecs)
    return plain + [(case.pixels, case.recipe) for family in families for case in list(family())[::3]]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.timeout(30 + MUTANTS // 10)
def test_no_pixel_is_read_that_nobody_else_reads(tmp_path: Path) -> None:
    path, found, failures = tmp_path / "a.tif", Counter[str](), []
    for number in range(MUTANTS):
        draw = random.Random(number)
        pixels, recipe = draw.choice(originals())
        path.write_bytes(mutant(pixels, recipe, draw))
        result = verdict(path)
        found[result] += 1
        if result not in (*WORKS, "large"):
            failures.append(f"{number}: {recipe}: {result}")
    assert not failures, f"{len(failures)} of {MUTANTS}\n" + "\n".join(failures)
    assert min(found[result] for result in WORKS) > 0, found


def test_a_pixel_that_nobody_else_reads_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.arange(12, dtype=np.uint16).reshape(1, 4, 3)
    path = tmp_path / "a.tif"
    path.write_bytes(write(image, Recipe(rows_per_strip=2, extra={284: Entry(284, 3, [3])})))
    assert verdict(path) == "equal"
    image[0, 3, 0] += 1
    monkeypatch.setattr(subject, "read", lambda *_: subject.Outcome("read", pixels=(image,)))
    assert verdict(path) == "nobody reads segments [1] as we do"
