from __future__ import annotations

import io
import pickle
import random
import time
import tracemalloc

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.drive import Drive, parse, problems
from tests.opening import open_array, written
from tests.tiffbytes import FORMATS, RATIONALS, Dir, Entry, Order, build, image
from virtual_tiff.errors import FormatError, LimitError, UsageError, VirtualTiffError
from virtual_tiff.tiff.deferred import load_file_tags, load_tags
from virtual_tiff.tiff.ifd import Ifd, Origin
from virtual_tiff.tiff.parse import parse_tiff
from virtual_tiff.tiff.protocol import Limits
from virtual_tiff.tiff.tags import Tags, TagType

FORMS: list[tuple[Order, bool]] = [("little", False), ("big", False), ("little", True), ("big", True)]


# ---- what is read


@pytest.mark.parametrize(("order", "bigtiff"), FORMS)
def test_header_chain_and_sub_ifds(order: Order, bigtiff: bool) -> None:
    tree = [image(8, 8, subifds=[[image(4, 4)], [image(2, 2), image(1, 1)]]), image(16, 8)]
    tree[1] = image(16, 8, subifds=[[image(3, 3, subifds=[[image(5, 5)]])]])
    built = build(tree, order=order, bigtiff=bigtiff)
    tiff = parse(built.data)
    assert (tiff.byte_order, tiff.bigtiff, tiff.complete, tiff.problems) == (order, bigtiff, True, ())
    assert {ifd.path: ifd.offset for ifd in tiff.walk()} == built.offsets
    widths = {ifd.path: ifd.integer(Tags.ImageWidth, 0) for ifd in tiff.walk()}
    assert widths == {(0,): 8, (0, 0): 4, (0, 1): 2, (0, 2): 1, (1,): 16, (1, 0): 3, (1, 0, 0): 5}
    assert tiff.ifd((1, 0, 0)).path == (1, 0, 0)
    assert tiff.ifd(1).path == (1,)
    with pytest.raises(UsageError, match=r"no readable IFD 1\.1.*It has: 0, 0\.0"):
        tiff.ifd((1, 1))


@st.composite
def entries(draw: st.DrawFn, *, bigtiff: bool) -> Entry:
    kinds = [kind for kind in FORMATS if bigtiff or kind not in (16, 17, 18)]
    kind = draw(st.sampled_from(kinds))
    count = draw(st.integers(0, 9) | st.just(3000))
    total = count * (2 if kind in RATIONALS else 1)
    code = FORMATS[kind]
    size = np.dtype(code).itemsize
    raw = random.Random(draw(st.integers(0, 2**32))).randbytes(size * total)
    values: list[int | float] = np.frombuffer(raw, np.dtype(code)).tolist()
    tag = draw(st.integers(1, 65534).filter(lambda number: number not in (330, Tags.NDPIFormat, Tags.LSMInfo)))
    return Entry(tag, kind, values)


@st.composite
def files(draw: st.DrawFn) -> tuple[list[Dir], Order, bool]:
    bigtiff = draw(st.booleans())
    tables = st.lists(entries(bigtiff=bigtiff), min_size=1, max_size=12, unique_by=lambda entry: entry.code)
    place = st.builds(lambda gap, first: {"gap": gap, "values_first": first}, st.integers(0, 9000), st.booleans())
    dirs = [Dir(table, **draw(place)) for table in draw(st.lists(tables, min_size=1, max_size=5))]
    return dirs, draw(st.sampled_from(["little", "big"])), bigtiff


@settings(deadline=None, max_examples=150)
@given(files(), st.sampled_from([64, 500, 32768]), st.booleans())
def test_any_header_reads_back(file: tuple[list[Dir], Order, bool], prefetch: int, known: bool) -> None:
    dirs, order, bigtiff = file
    built = build(dirs, order=order, bigtiff=bigtiff)
    data = bytes(built.data)
    drive = Drive(data)
    tiff = drive(parse_tiff(Origin("x", len(data) if known else None), prefetch=prefetch))
    tiff = drive(load_file_tags(tiff))
    assert len(tiff.ifds) == len(dirs)
    assert problems(tiff) == []
    for path, ifd in zip(built.offsets, tiff.ifds, strict=True):
        assert ifd.offset == built.offsets[path]
        expected = {entry.code: entry for entry in dirs[path[0]].entries}
        assert list(ifd.tags) == list(expected)
        for code, tag in ifd.tags.items():
            entry = expected[code]
            assert tag.raw is not None
            numbers = 2 if entry.kind in RATIONALS else 1
            assert (tag.type, tag.count * numbers) == (entry.kind, len(entry.values))
            assert data[tag.offset : tag.offset + tag.nbytes] == tag.raw
            values = np.array(entry.values, np.dtype(FORMATS[entry.kind]))
            assert tag.array().dtype.isnative
            np.testing.assert_array_equal(tag.array().ravel(), values)
    assert pickle.loads(pickle.dumps(tiff)) == tiff  # noqa: S301


# ---- values


def one(entry: Entry, order: Order = "little", *, bigtiff: bool = False) -> Ifd:
    return parse(build([image(4, 4, entry)], order=order, bigtiff=bigtiff).data).ifds[0]


@pytest.mark.parametrize("kind", [TagType.ASCII, TagType.BYTE, TagType.UNDEFINED])
@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"-9999\0", "-9999"),
        (b"0", "0"),
        (b"", ""),
        (b"one\0two\0", "one"),
        ("Zürich\0".encode(), "Zürich"),
        (b"Z\xfcrich\0", "Zürich"),
        (b"abcd", "abcd"),
    ],
)
def test_text_of_any_byte_type(kind: int, raw: bytes, text: str) -> None:
    assert one(Entry(42113, kind, raw)).text(Tags.GDAL_NODATA) == text


def test_text_of_numbers_is_none_for_the_ifd_and_an_error_of_the_tag() -> None:
    ifd = one(Entry(42113, TagType.DOUBLE, [1.5]))
    assert ifd.text(Tags.GDAL_NODATA) is None
    assert ifd.text(Tags.Software) is None
    with pytest.raises(FormatError, match="expected text"):
        ifd.tags[Tags.GDAL_NODATA].text()


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("kind", [1, 3, 4, 6, 7, 8, 9, 13, 16, 17, 18])
def test_integers_of_every_integer_type(kind: int, order: Order) -> None:
    ifd = one(Entry(65000, kind, [1, 2, 101]), order, bigtiff=True)
    values = ifd.integers(65000)
    assert values is not None
    assert values.dtype == np.int64
    assert values.tolist() == [1, 2, 101]
    assert ifd.integer(65000, 7) == 1
    assert ifd.integer(65001, 7) == 7
    assert ifd.integers(65001) is None


@pytest.mark.parametrize("kind", [6, 8, 9, 17])
@pytest.mark.parametrize("order", ["little", "big"])
def test_negative_integers(kind: int, order: Order) -> None:
    ifd = one(Entry(65000, kind, [-3, 4]), order, bigtiff=True)
    assert ifd.integer(65000, 0) == -3
    assert ifd.integers(65000).tolist() == [-3, 4]  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [2, 5, 10, 11, 12, 99])
def test_integers_of_other_types_are_refused(kind: int) -> None:
    values = b"\1\0\0\0" if kind in (2, 99) else [1, 1]
    ifd = one(Entry(65000, kind, values, count=1 if kind == 99 else None))
    for call in (ifd.integers, lambda code: ifd.integer(code, 0)):
        with pytest.raises(FormatError, match=f"found TIFF type {kind}") as caught:
            call(65000)
        assert (caught.value.feature, caught.value.ifd, caught.value.tag) == ("bad-tag", (0,), 65000)


def test_integers_beyond_63_bits_are_refused() -> None:
    ifd = one(Entry(65000, 16, [1, 2**63]), bigtiff=True)
    with pytest.raises(FormatError, match="63 bits"):
        ifd.integers(65000)


def test_an_empty_value_is_the_default() -> None:
    ifd = one(Entry(65000, 3, []))
    assert ifd.integer(65000, 5) == 5
    assert ifd.integers(65000).tolist() == []  # type: ignore[union-attr]


def test_values_in_their_python_form() -> None:
    ifd = one(Entry(65000, 12, [0.5]))
    assert ifd.tags[65000].value == 0.5
    assert ifd.tags[Tags.ImageWidth].value == 4
    assert one(Entry(305, 2, b"me\0")).tags[305].value == "me"
    assert one(Entry(65000, 7, b"abcdef")).tags[65000].value == b"abcdef"
    np.testing.assert_array_equal(one(Entry(282, 5, [300, 1])).tags[282].value, [[300, 1]])


def test_an_unknown_type_is_kept_as_raw_bytes() -> None:
    ifd = one(Entry(65000, 200, b"\1\2\3\4", count=7))
    tag = ifd.tags[65000]
    assert (tag.type, tag.count, tag.raw, tag.value) == (200, 7, b"\1\2\3\4", b"\1\2\3\4")
    with pytest.raises(FormatError, match="field type 200 is unknown"):
        tag.array()
    assert ifd.problems == ()


def test_the_ghost_area_is_kept() -> None:
    body = b"LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\n"
    ghost = b"GDAL_STRUCTURAL_METADATA_SIZE=%06d bytes\n" % len(body) + body
    for order, bigtiff in FORMS:
        tiff = parse(build([image()], order=order, bigtiff=bigtiff, ghost=ghost + b" ").data)
        assert tiff.cog_ghost == ghost.decode()
    assert parse(build([image()]).data).cog_ghost is None
    assert parse(build([image()], ghost=b"GDAL_STRUCTURAL_METADATA_SIZE=abc").data).cog_ghost is None


# ---- deferred values, batches, last


def test_large_values_that_are_not_at_hand_are_deferred() -> None:
    offsets = list(range(5000, 25000))
    built = build([image(4, 4, Entry(324, 4, offsets), Entry(325, 3, [7] * 20000), gap=40000)] * 2)
    drive = Drive(bytes(built.data))
    tiff = drive(parse_tiff(Origin("x", len(built.data))))
    before = drive.requests
    assert [tag.code for tag in tiff.ifds[1].tags.values() if tag.deferred] == [324, 325]
    with pytest.raises(UsageError, match="not been loaded"):
        tiff.ifds[1].integers(Tags.TileOffsets)
    with pytest.raises(UsageError, match="not been loaded"):
        tiff.ifds[1].integer(Tags.TileOffsets, 0)
    loaded = drive(load_tags(tiff.ifds[1], [Tags.TileOffsets]))
    assert drive.requests == before + 1
    assert loaded.integers(Tags.TileOffsets).tolist() == offsets  # type: ignore[union-attr]
    assert loaded.tags[325].deferred
    assert tiff.ifds[1].tags[324].deferred, "the old IFD must not change"
    every = drive(load_file_tags(tiff))
    assert len(drive.batches[-1]) == 4
    assert [ifd.integers(325).sum() for ifd in every.ifds] == [140000, 140000]  # type: ignore[union-attr]


def test_small_distant_values_come_in_one_batch() -> None:
    more = [Entry(code, 12, list(range(50))) for code in range(65000, 65010)]
    built = build([image(4, 4, *more, gap=40000, values_first=True) for _ in range(3)])
    drive = Drive(bytes(built.data))
    tiff = drive(parse_tiff(Origin("x", len(built.data))))
    assert not any(tag.deferred for ifd in tiff.ifds for tag in ifd.tags.values())
    assert [len(batch) for batch in drive.batches][-1] == 30


def test_deferred_values_that_the_file_does_not_hold_become_problems() -> None:
    built = build([image(4, 4, Entry(324, 4, list(range(20000))), gap=40000)])
    data = bytes(built.data[:-100])
    tiff = parse(data, known=False)
    loaded = Drive(data)(load_file_tags(tiff))
    assert problems(loaded) == [("truncated", (0,), 324)]
    with pytest.raises(FormatError, match="the file ends at"):
        loaded.ifds[0].integers(324)


def test_last_stops_the_chain() -> None:
    built = build([image(gap=40000) for _ in range(50)])
    drive = Drive(bytes(built.data))
    tiff = drive(parse_tiff(Origin("x", len(built.data)), last=2))
    assert ([ifd.path for ifd in tiff.ifds], tiff.complete) == ([(0,), (1,), (2,)], False)
    assert drive.requests == 4
    with pytest.raises(UsageError, match="reading stopped before the end"):
        tiff.ifd(3)
    assert parse(built.data, last=49).complete
    assert parse(built.data, last=500).complete


def test_equal_strides_are_read_ahead() -> None:
    built = build([image(gap=40000) for _ in range(1000)])
    drive = Drive(bytes(built.data))
    tiff = drive(parse_tiff(Origin("x", len(built.data))))
    assert [ifd.offset for ifd in tiff.ifds] == list(built.offsets.values())
    assert len(drive.batches) < 30
    assert drive.requests < 1100


# ---- damage


def test_a_cycle_ends_the_chain() -> None:
    built = build([image(), image(), image()])
    for target in (0, 1, 2):
        data = build([image(), image(), image(next_offset=built.offsets[target,])]).data
        tiff = parse(data)
        assert len(tiff.ifds) == 3
        assert problems(tiff) == [("ifd-cycle", (3,), None)]


def test_a_cycle_of_sub_ifds_ends() -> None:
    plain = build([image(subifds=[[image()]])])
    data = build([image(subifds=[[image(4, 4, Entry(330, 4, [plain.offsets[0,]]))]])]).data
    tiff = parse(data)
    assert [ifd.path for ifd in tiff.walk()] == [(0,), (0, 0)]
    assert problems(tiff) == [("ifd-cycle", (0, 0, 0), None)]


@pytest.mark.parametrize("known", [True, False])
def test_a_broken_ifd_keeps_the_others(known: bool) -> None:
    data = build([image(), image(next_offset=10**9)]).data
    tiff = parse(data, known=known)
    assert [ifd.path for ifd in tiff.ifds] == [(0,), (1,)]
    assert problems(tiff) == [("truncated", (2,), None)]
    assert tiff.problems[0].url == "memory://file.tif"
    data = build([image(subifds=[[Dir([], announced=0)], [image(3, 3)]]), Dir([], announced=60000)]).data
    tiff = parse(data, known=known)
    assert [ifd.path for ifd in tiff.walk()] == [(0,), (0, 1)]
    assert tiff.ifd((0, 1)).integer(Tags.ImageWidth, 0) == 3
    assert sorted(problems(tiff)) == [("bad-tag", (0, 0), None), ("truncated", (1,), None)]
    with pytest.raises(UsageError, match=r"no readable IFD 1 \(the file ends inside"):
        tiff.ifd(1)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("count", [10**6, 2**31, 2**32 - 1])
def test_a_broken_tag_keeps_the_others_and_is_not_taken_for_absent(count: int, known: bool) -> None:
    data = build([image(4, 4, Entry(Tags.PlanarConfiguration, 3, [], count=count, offset=100))]).data
    drive = Drive(bytes(data))
    tiff = drive(parse_tiff(Origin("x", len(data) if known else None)))
    ifd = drive(load_tags(tiff.ifds[0]))
    assert ifd.integer(Tags.ImageWidth, 0) == 4
    assert Tags.PlanarConfiguration not in ifd.tags
    assert Tags.PlanarConfiguration in ifd
    for _ in range(2):
        with pytest.raises(VirtualTiffError) as caught:
            ifd.integer(Tags.PlanarConfiguration, 1)
        assert caught.value.feature in ("truncated", "limit-tag-bytes")
    assert ifd.problems[0].__traceback__ is None


def test_the_first_of_duplicate_tags_counts() -> None:
    # libtiff and tifffile do the same
    built = build([Dir([Entry(256, 3, [7]), Entry(256, 3, [9]), Entry(257, 3, [1])])])
    tiff = parse(built.data)
    assert tiff.ifds[0].integer(256, 0) == 7
    assert problems(tiff) == [("bad-tag", (0,), 256)]
    with tifffile.TiffFile(io.BytesIO(bytes(built.data))) as theirs:
        assert theirs.pages.first.tags[256].value == 7


@pytest.mark.parametrize(
    ("data", "feature"),
    [
        (b"", "not-a-tiff"),
        (b"I", "not-a-tiff"),
        (b"II*\0", "truncated"),
        (b"II*\0\0\0\0\0", "no-ifd"),
        (b"II*\0\x08\0\0\0", "truncated"),
        (b"II*\0\xff\xff\xff\xff", "truncated"),
        (b"II*\0\x08\0\0\0\0\0\0\0\0\0", "bad-tag"),
        (b"II*\0\x08\0\0\0\x05\0abc", "truncated"),
        (b"II+\0\x08\0\0\0", "truncated"),
        (b"II+\0\x04\0\0\0" + b"\x10" + b"\0" * 7, "not-a-tiff"),
        (b"II+\0\x08\0\0\0\x10" + b"\0" * 7 + b"\xff" * 8, "bad-tag"),
        (b"MM*\0\0\0\0\x08", "not-a-tiff"),
        (b"<html>", "not-a-tiff"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_files_without_any_ifd(data: bytes, feature: str, known: bool) -> None:
    with pytest.raises(FormatError) as caught:
        parse(data, known=known)
    assert caught.value.feature == feature
    assert caught.value.url == "memory://file.tif"


@pytest.mark.parametrize(
    ("magic", "kind"),
    [
        (b"IIU\0", "RW2"),
        (b"IIRO", "ORF"),
        (b"IIRS", "ORF"),
        (b"MMOR", "ORF"),
        (b"IIRC", "DCP"),
        (b"MMCR", "DCP"),
        (b"II1N", "NIFF"),
        (b"II\xbc\1", "JPEG XR"),
    ],
)
def test_formats_that_are_made_like_tiff_are_refused_by_name(magic: bytes, kind: str) -> None:
    data = bytes(build([image()], order="big" if magic[:1] == b"M" else "little").data)
    with pytest.raises(FormatError, match=rf"like an? .*{kind}.*not-a-tiff"):
        parse(magic + data[4:])


def test_microsoft_document_imaging_is_tiff_by_another_name() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (16, 24), np.uint8)
    data = b"EP" + written(pixels, compression="deflate")[2:]
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(data)), pixels)
    np.testing.assert_array_equal(np.asarray(open_array(data)[...]), pixels)


@pytest.mark.parametrize(("tag", "kind"), [(Tags.NDPIFormat, "NDPI"), (Tags.LSMInfo, "LSM")])
def test_files_that_outgrow_their_offsets_are_refused(tag: int, kind: str) -> None:
    data = bytes(build([image(4, 4, Entry(tag, 4, [1]))]).data)
    assert parse(data).ifds[0].integer(tag, 0) == 1
    with pytest.raises(FormatError, match=rf"{kind}.*wrapped-offsets"):
        Drive(data)(parse_tiff(Origin("x", 2**33)))
    big = bytes(build([image(4, 4, Entry(tag, 4, [1]))], bigtiff=True).data)
    assert Drive(big)(parse_tiff(Origin("x", 2**33))).bigtiff


# ---- limits


def test_limit_of_ifds() -> None:
    data = build([image() for _ in range(10)]).data
    with pytest.raises(LimitError) as caught:
        parse(data, limits=Limits(max_ifds=9))
    assert caught.value.feature == "limit-ifds"
    assert len(parse(data, limits=Limits(max_ifds=10)).ifds) == 10
    assert len(parse(data, limits=Limits(max_ifds=5), last=4).ifds) == 5


def test_limit_of_a_tag_is_a_problem_of_the_tag() -> None:
    data = build([image(4, 4, Entry(65000, 1, bytes(50000)), gap=33000)]).data
    tiff = parse(data, limits=Limits(max_tag_bytes=49999))
    assert problems(tiff) == [("limit-tag-bytes", (0,), 65000)]
    assert parse(data, limits=Limits(max_tag_bytes=50000)).ifds[0].tags[65000].deferred


def test_limit_of_metadata() -> None:
    built = build([image(4, 4, *(Entry(65000 + n, 1, bytes(30000)) for n in range(4)))])
    with pytest.raises(LimitError) as caught:
        parse(built.data, limits=Limits(max_metadata_bytes=20000))
    assert caught.value.feature == "limit-metadata-bytes"
    tiff = parse(built.data)
    with pytest.raises(LimitError):
        Drive(bytes(built.data))(load_file_tags(tiff, limits=Limits(max_metadata_bytes=80000)))


def test_limit_of_depth() -> None:
    tree = image()
    for _ in range(5):
        tree = image(subifds=[[tree]])
    data = build([tree]).data
    assert len(list(parse(data).walk())) == 6
    with pytest.raises(LimitError, match="nested deeper than 4"):
        parse(data, limits=Limits(max_depth=4))


def test_hostile_overlaps_are_bounded() -> None:
    # 2,600 entries that all claim the whole prefetched head
    entry = Entry(0, 1, [], count=31000, offset=0)
    entries = [Entry(code, entry.kind, [], entry.count, entry.offset) for code in range(2600)]
    data = build([Dir(entries)]).data
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(LimitError):
        parse(data, limits=Limits(max_metadata_bytes=2**24))
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()
    assert time.perf_counter() - began < 5
