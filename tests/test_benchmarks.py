"""Each benchmark runs at a tiny size, finds that its contenders agree, and prints its tables. No time is asserted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import pytest
import tifffile
from obstore.store import HTTPStore

from benchmarks import cube, headers, reads, references
from benchmarks.__main__ import KERNEL_SECONDS, main
from benchmarks.measure.apart import Distant, take_turns_apart
from benchmarks.measure.files import make_cogs, make_tiled
from benchmarks.measure.machine import describe_machine, peak_memory, peer
from benchmarks.measure.rounds import MILLI, Comparison, Contender, Row, Sample, take_turns
from benchmarks.measure.server import late_server


def test_headers_prints_a_table_for_each_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(headers.SIZES, "small", headers.Size(cogs=5, side=6, rounds=1))
    assert main(["--only", "headers", "--size", "small"]) == 0
    printed = capsys.readouterr().out
    for title in ("Headers of 5 small COGs", "one file of 36 tiles", "Manifests of 5 small COGs"):
        for place in ("local disk", "HTTP, 20 ms latency"):
            assert f"{title}, {place}" in printed
    rows = [line for line in printed.splitlines() if line.startswith("| virtual_tiff.tiff, async ")]
    assert len(rows) == 4
    assert "| tifffile, one by one " in printed
    assert ("| async-tiff, obstore " in printed) == (peer("async_tiff") is not None)


def test_references_prints_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    contenders: dict[str, str | None] = {"virtual_tiff publish": None, "a peer": "a_module_that_nobody_has"}
    monkeypatch.setattr(references, "NEEDS", contenders)
    monkeypatch.setitem(references.SIZES, "small", references.Size((references.Case(2, 3, 4),), 1))
    assert main(["--only", "references", "--size", "small", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"machine", "size", "references"}
    (table,) = printed["references"]
    assert table["title"] == "References: 2 files of 12 chunks each"
    (row,) = table["rows"]
    assert row["name"] == "virtual_tiff publish"
    assert row["count"] == 24
    assert row["ours_over_this"] == {"wall": 1, "cpu": 1}
    assert row["memory"] > 10e6


@pytest.mark.parametrize("name", references.CONTENDERS)
@pytest.mark.parametrize("files", [1, 2])
def test_every_writer_writes_all_references(name: str, files: int, tmp_path: Path) -> None:
    needs = references.NEEDS[name]
    if needs is not None:
        pytest.importorskip(needs)
    for number in range(files):
        make_tiled(tmp_path / f"{number}.tif", 3, 4)
    assert references.run_here(name, tmp_path).references == 12 * files


def test_kernels_prints_its_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(KERNEL_SECONDS, "small", 0.001)
    assert main(["--only", "kernels", "--size", "small", "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)["kernels"]
    assert any(line.startswith("lzw") for line in lines)
    assert lines[-1].endswith("to tifffile (goal 1.0)")


def test_reads_prints_a_table_for_each_kind_of_encoding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("uint16 x 3 planar", "Deflate uint16, predictor 2, tiles of 256", "CCITT T.6", "JPEG YCbCr")
    monkeypatch.setitem(reads.SIZES, "small", reads.Size(512, 1, names))
    assert main(["--only", "reads", "--size", "small"]) == 0
    printed = capsys.readouterr().out
    rows = [line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("|")]
    # as published, and by our own codecs
    assert [row for row in rows if row in names] == [name for name in names for _ in range(2)]
    assert rows[-1] == "fused pipeline / tifffile asarray, all threads"


def test_the_images_of_reads_have_names_of_their_own() -> None:
    names = [encoding.name for encodings in reads.GROUPS.values() for encoding in encodings]
    assert len(set(names)) == len(names)
    assert set(reads.SIZES["small"].only or ()) <= set(names)


# The measuring itself


def test_contenders_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []

    def contender(name: str) -> Contender:
        return Contender(name, lambda: calls.append(name), 1)

    rows = take_turns([contender("a"), contender("b")], 2, str)
    assert calls == ["a", "b"] * 3
    assert [(row.name, len(row.samples)) for row in rows] == [("a", 2), ("b", 2)]


def note_process(book: Path) -> Callable[[], None]:
    """Write down who runs."""

    def run() -> None:
        with book.open("a") as lines:
            lines.write(f"{os.getpid()}\n")

    return run


def test_contenders_may_run_in_processes_of_their_own(tmp_path: Path) -> None:
    contenders = [Distant(name, note_process, (tmp_path / "book",)) for name in "ab"]
    rows = take_turns_apart(contenders, 2, str)
    assert [(row.name, len(row.samples)) for row in rows] == [("a", 2), ("b", 2)]
    first, second, *rest = (tmp_path / "book").read_text().split()
    assert len({str(os.getpid()), first, second}) == 3
    assert rest == [first, second] * 2


def test_contenders_that_disagree_are_not_timed() -> None:
    contenders = [Contender("a", lambda: 1, 1), Contender("b", lambda: 2, 1)]
    with pytest.raises(AssertionError, match="b finds 2, and others found 1"):
        take_turns(contenders, 1, int)


def test_a_ratio_is_the_median_within_rounds() -> None:
    ours = Row("ours", 2, (Sample(1.0, 1.0), Sample(8.0, 2.0), Sample(3.0, 1.0)))
    other = Row("other", 2, (Sample(2.0, 1.0), Sample(2.0, 1.0), Sample(2.0, 1.0)))
    comparison = Comparison("title", "file", MILLI, (ours, other))
    assert comparison.ratio(other, "wall") == 1.5
    assert comparison.ratio(ours, "wall") == 1
    assert ours.seconds("wall") == [0.5, 4.0, 1.5]
    assert ours.memory() is None


def test_files_are_what_they_say(tmp_path: Path) -> None:
    make_tiled(tmp_path / "tiled.tif", 3, 5)
    with tifffile.TiffFile(tmp_path / "tiled.tif") as tiff:
        assert tiff.pages.first.shape == (3 * 256, 5 * 256)
        assert len(tiff.pages.first.dataoffsets) == 15
        ends = [sum(pair) for pair in zip(tiff.pages.first.dataoffsets, tiff.pages.first.databytecounts, strict=True)]
    assert max(ends) == (tmp_path / "tiled.tif").stat().st_size
    names = make_cogs(tmp_path, 4)
    layouts = {_layout(tmp_path / name) for name in names}
    assert len(layouts) == 4


def _layout(path: Path) -> Any:
    with tifffile.TiffFile(path) as tiff:
        page: Any = tiff.pages.first
        assert page.is_tiled
        assert page.compression == 8
        return page.dtype, page.shape


def test_the_server_answers_ranges(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1024
    (tmp_path / "a.bin").write_bytes(content)
    with late_server(tmp_path, 0.0) as url:
        store = HTTPStore.from_url(url, client_options={"allow_http": True})
        assert store.head("a.bin")["size"] == len(content)
        for start, end in ((0, 10), (65000, 66000), (260000, len(content))):
            assert bytes(store.get_range("a.bin", start=start, end=end)) == content[start:end]
        assert bytes(store.get("a.bin").bytes()) == content
        with pytest.raises(FileNotFoundError):
            obstore.get(store, "b.bin")


def test_the_machine_is_described() -> None:
    described = describe_machine()
    assert described["tifffile"] == tifffile.__version__
    assert int(described["processors"]) > 0
    assert peak_memory() > 10e6
    assert peer("a_module_that_nobody_has") is None


def test_cube_prints_its_tables(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = cube.Size(cogs=2, files=2, side=3, peers=True, cubes=(3,), added=2, rounds=1)
    monkeypatch.setitem(cube.SIZES, "small", tiny)
    monkeypatch.setattr(cube, "_apart", cube.run_here)  # processes of their own take long to start
    assert main(["--only", "cube", "--size", "small", "--json"]) == 0
    tables = json.loads(capsys.readouterr().out)["cube"]
    assert [[row["name"] for row in table["rows"]] for table in tables] == [["virtual_tiff", "VirtualiZarr"]] * 3
    assert "requests per file: virtual_tiff 1.0" in tables[0]["title"]
    assert [table["rows"][0]["count"] for table in tables] == [2, 18, 2]
