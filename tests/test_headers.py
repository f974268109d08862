"""Headers of real files: equal to tifffile's, and damaged at random."""

from __future__ import annotations

import io
import logging
import pickle
import random
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.drive import Drive, parse, problems
from tests.tiffbytes import FORMATS
from virtual_tiff.errors import FormatError, VirtualTiffError
from virtual_tiff.tiff.deferred import load_file_tags
from virtual_tiff.tiff.ifd import Ifd, Origin
from virtual_tiff.tiff.parse import parse_tiff
from virtual_tiff.tiff.protocol import Limits
from virtual_tiff.tiff.tags import Tags, TagType


def small_files(corpus: Path) -> list[bytes]:
    files = sorted(path for path in corpus.rglob("*.tif*") if 0 < path.stat().st_size < 20000)
    return [path.read_bytes() for path in files[:: max(len(files) // 60, 1)]]


def mutate(data: bytes, rng: random.Random) -> bytes:
    mutated = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place = rng.randrange(min(len(mutated), rng.choice((16, 600, 20000))))
        what = rng.randrange(5)
        if what == 0:
            mutated[place] = rng.randrange(256)
        elif what == 1:
            mutated[place : place + 4] = rng.choice((b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0" * 4, b"\0\0\0\1"))
        elif what == 2:
            mutated[place : place + 8] = mutated[: min(8, len(mutated) - place)]
        elif what == 3 and len(mutated) > 16:
            del mutated[max(place, 8) :]
        else:
            mutated[place] ^= 1 << rng.randrange(8)
    return bytes(mutated)


def check_mutation(data: bytes, prefetch: int, *, known: bool) -> None:
    drive = Drive(data)
    origin = Origin("x", len(data) if known else None)
    try:
        tiff = drive(parse_tiff(origin, prefetch=prefetch, limits=Limits(max_ifds=2000)))
        tiff = drive(load_file_tags(tiff))
    except VirtualTiffError:
        return
    finally:
        assert drive.requests < 5000
    for ifd in tiff.walk():
        for tag in ifd.tags.values():
            assert not tag.deferred
            assert len(tag.raw or b"") in (tag.nbytes, 4, 8)
            if tag.type in FORMATS:
                assert tag.array().size in (tag.count, 2 * tag.count)
            assert tag.value is not None
    pickle.loads(pickle.dumps(tiff))  # noqa: S301


@settings(deadline=5000, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.booleans())
def test_mutated_files_raise_only_our_errors(corpus: Path, seed: int, known: bool) -> None:
    rng = random.Random(seed)
    for data in small_files_once(corpus):
        check_mutation(mutate(data, rng), rng.choice((64, 300, 32768)), known=known)


_SMALL: dict[Path, list[bytes]] = {}


def small_files_once(corpus: Path) -> list[bytes]:
    return _SMALL.setdefault(corpus, small_files(corpus))


def test_mutated_files_need_bounded_memory(corpus: Path) -> None:
    rng = random.Random(2)
    tracemalloc.start()
    worst = 0.0
    for data in small_files_once(corpus):
        for _ in range(5):
            began = time.perf_counter()
            check_mutation(mutate(data, rng), rng.choice((64, 300, 32768)), known=False)
            worst = max(worst, time.perf_counter() - began)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20
    assert worst < 10


# ---- the corpus, against tifffile

EXPLAINED = {
    "ossfuzz_470691578.tif": "fuzzed: unknown types, duplicate tags",
    "bigtiff_header_extract.tif": "the arrays are not in the file",
    "corrupted_deflate_singlestrip.tif": "the IFD chain leaves the file",
    "corrupted_gtiff_tags.tif": "a text is cut by the end of the file",
    "excessive-memory-TIFFFillStrip.tif": "the file ends before the values",
    "excessive-memory-TIFFFillStrip2.tif": "the file ends before the values",
    "missing_tilebytecounts_and_offsets.tif": "the arrays lie behind the end of the file",
    "huge-number-strips.tif": "the arrays lie behind the end of the file",
    "many_blocks_truncated.tif": "the file ends before the arrays",
    "packbits-not-enough-data.tif": "the IFD chain leaves the file",
}
"""Files with problems, and why."""


def their_pages(theirs: tifffile.TiffFile) -> Iterator[tuple[tuple[int, ...], Any]]:
    seen: set[int] = set()

    def below(page: Any, path: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Any]]:
        yield path, page
        for number, child in enumerate(page.pages or () if page.subifds else ()):
            if child.offset not in seen:
                seen.add(child.offset)
                yield from below(child, (*path, number))

    index = 0
    theirs.pages.cache = True
    theirs.pages.useframes = False
    while True:
        try:
            page: Any = theirs.pages.get(index, validate=False, aspage=True)
        except IndexError:
            return
        if page.offset in seen:
            return
        seen.add(page.offset)
        yield from below(page, (index,))
        index += 1


def compare_tags(data: bytes, ifd: Ifd, page: Any) -> Iterator[str]:
    compared: set[int] = set()
    for theirs in page.tags:
        if theirs.code in compared:
            continue  # the first of duplicates counts
        compared.add(theirs.code)
        ours = ifd.tags.get(theirs.code)
        if ours is None:
            yield f"{theirs.code} is missing"
            continue
        pointed = theirs.code in (Tags.ExifIFD, Tags.GPSIFD)  # tifffile gives what these point to
        if int(theirs.dtype) != ours.type or (theirs.valueoffset != ours.offset and not pointed):
            yield f"{theirs.code}: {theirs} != {ours}"
        if data[ours.offset : ours.offset + ours.nbytes] != ours.raw:
            yield f"{theirs.code}: not the bytes of the file"
        numbers = isinstance(theirs.value, int | float) or (
            isinstance(theirs.value, tuple) and all(isinstance(v, int | float) for v in theirs.value)
        )
        if numbers and ours.type != TagType.UNDEFINED:
            values = np.asarray(theirs.value).ravel()
            if theirs.count != ours.count or not np.array_equal(ours.array().ravel(), values, equal_nan=True):
                yield f"{theirs.code}: {values[:5]} != {ours.array().ravel()[:5]}"
        texts = ours.type == TagType.ASCII and isinstance(theirs.value, str) and "\0" not in theirs.value
        if texts and ours.text().strip() != theirs.value.strip():
            yield f"{theirs.code}: {theirs.value!r} != {ours.text()!r}"
    missing = set(ifd.tags) - compared - {code for code, tag in ifd.tags.items() if tag.type not in FORMATS}
    if missing:
        yield f"tifffile lacks {missing}"


def test_the_corpus_equals_tifffile(corpus: Path, closing_line: Any) -> None:
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    differences: list[str] = []
    files = pages = 0
    for path in sorted(corpus.rglob("*")):
        if not path.is_file() or path.suffix.lower() not in (".tif", ".tiff"):
            continue
        data = path.read_bytes()
        try:
            tiff = Drive(data)(load_file_tags(parse(data)))
        except FormatError as error:
            with pytest.raises(tifffile.TiffFileError):
                tifffile.TiffFile(io.BytesIO(data)).close()
            assert error.feature == "not-a-tiff"  # noqa: PT017
            continue
        assert bool(problems(tiff)) == (path.name in EXPLAINED), path
        if path.name in EXPLAINED:
            continue
        with tifffile.TiffFile(io.BytesIO(data)) as theirs:
            found = dict(their_pages(theirs))
        ours = {ifd.path: ifd for ifd in tiff.walk()}
        if {p: ifd.offset for p, ifd in ours.items()} != {p: page.offset for p, page in found.items()}:
            differences.append(f"{path}: {list(ours)} != {list(found)}")
            continue
        files += 1
        pages += len(ours)
        differences += [f"{path} {p}: {line}" for p in ours for line in compare_tags(data, ours[p], found[p])]
    closing_line(f"headers: {pages} IFDs of {files} corpus files have the tags that tifffile finds")
    assert differences == []
    assert files > 600
