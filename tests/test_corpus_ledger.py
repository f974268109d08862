"""Every IFD of the real files equals GDAL or tifffile, or is refused by name: exactly as the ledger says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.corpus import as_ledger, changes, corpus_files, judge, load_ledger, totals

NEVER = re.compile(r"wrong|readfail|(neither:)?(crash|hang|readfail:[A-Z])")
"""A foreign exception is never an answer; where no oracle reads a page, an error of ours at read time is."""


@pytest.mark.timeout(600)
def test_the_corpus_is_read_as_the_ledger_says(corpus: Path, closing_line: Callable[[str], None]) -> None:
    files = corpus_files(corpus)
    found = as_ledger(corpus, judge(files))
    closing_line(f"corpus: {totals(status for pages in found.values() for status in pages.values())}")
    differing = changes(load_ledger(), found)
    hint = "look into it, then accept with: python -m tests.corpus --update"
    assert not differing, f"{len(differing)} changes; {hint}\n" + "\n".join(differing)


def test_the_ledger_accepts_nothing_bad() -> None:
    bad = [
        f"{name} IFD {page}: {status}"
        for name, pages in load_ledger().items()
        for page, status in pages.items()
        if NEVER.match(status)
    ]
    assert load_ledger(), "the ledger is empty: python -m tests.corpus --update"
    assert not bad, "\n".join(bad)
