"""Layouts: defaults filled in as libtiff does, refusals by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.opening import open_array, source_of, written
from tests.tiffbytes import Dir, Entry, build
from virtual_tiff.errors import FormatError, LimitError, UnsupportedError, VirtualTiffError
from virtual_tiff.layout import SegmentLayout, segment_layout, stacked_planes
from virtual_tiff.tiff.source import read_tiff
from virtual_tiff.tiff.tags import Tags

SHORT, LONG = 3, 4

GRAY: Mapping[int, int | list[int]] = {
    Tags.ImageWidth: 5,
    Tags.ImageLength: 7,
    Tags.BitsPerSample: 8,
    Tags.StripOffsets: 8,
    Tags.StripByteCounts: 35,
}


def layout_of(tags: Mapping[int, int | list[int]], **options: Any) -> SegmentLayout:
    """The layout that the tags of an otherwise empty file describe."""
    entries = [Entry(code, LONG, value if isinstance(value, list) else [value]) for code, value in sorted(tags.items())]
    tiff = read_tiff(source_of(bytes(build([Dir(entries)]).data)))
    return segment_layout(tiff, tiff.ifd(0), **options)


def refusal(tags: Mapping[int, int | list[int]], **options: Any) -> VirtualTiffError:
    with pytest.raises(VirtualTiffError) as caught:
        layout_of(tags, **options)
    return caught.value


def test_defaults_are_those_of_the_standard() -> None:
    layout = layout_of({tag: value for tag, value in GRAY.items() if tag != Tags.BitsPerSample})
    assert (layout.bands, layout.compression, layout.predictor, layout.fill_order) == (1, 1, 1, 1)
    assert layout.bits == (1,)
    assert layout.dtype == np.dtype("?")
    assert layout.photometric is None
    assert not layout.planar


@pytest.mark.parametrize("rows_per_strip", [None, 0, 7, 8, 2**32 - 1])
def test_rows_per_strip_absent_zero_or_too_large_is_the_whole_image(rows_per_strip: int | None) -> None:
    extra: dict[int, int | list[int]] = {} if rows_per_strip is None else {Tags.RowsPerStrip: rows_per_strip}
    layout = layout_of({**GRAY, **extra})
    assert (layout.rows, layout.columns, layout.grid, layout.last_rows) == (7, 5, (1, 1, 1), None)


def test_the_last_strip_may_be_shorter() -> None:
    layout = layout_of({**GRAY, Tags.RowsPerStrip: 3})
    assert (layout.grid, layout.last_rows) == ((1, 3, 1), 1)


def test_tiles_are_full_and_may_be_larger_than_the_image() -> None:
    layout = layout_of({**GRAY, Tags.TileWidth: 16, Tags.TileLength: 32})
    assert (layout.tiled, layout.grid, layout.rows, layout.columns, layout.last_rows) == (True, (1, 1, 1), 32, 16, None)


def test_planes_are_counted_only_when_there_are_several_bands() -> None:
    planar = {**GRAY, Tags.PlanarConfiguration: 2}
    assert not layout_of(planar).planar
    layout = layout_of({**planar, Tags.SamplesPerPixel: 3})
    assert (layout.grid, layout.samples) == ((3, 1, 1), 1)


def test_one_entry_of_bits_per_sample_is_that_of_all_bands() -> None:
    assert layout_of({**GRAY, Tags.SamplesPerPixel: 3, Tags.BitsPerSample: 16}).bits == (16,)


def test_the_predictor_is_ignored_where_the_compression_has_none() -> None:
    assert layout_of({**GRAY, Tags.Predictor: 2}).predictor == 1
    assert layout_of({**GRAY, Tags.Compression: 5, Tags.Predictor: 2}).predictor == 2


REFUSED: list[tuple[dict[int, int | list[int]], type[VirtualTiffError], str, int | None]] = [
    ({Tags.ImageWidth: 0}, FormatError, "bad-geometry", Tags.ImageWidth),
    ({Tags.SamplesPerPixel: 0}, FormatError, "bad-tag", Tags.SamplesPerPixel),
    ({Tags.SamplesPerPixel: 65536}, FormatError, "bad-tag", Tags.SamplesPerPixel),
    ({Tags.SamplesPerPixel: 2**32 - 1}, FormatError, "bad-tag", Tags.SamplesPerPixel),
    ({Tags.TileWidth: 0, Tags.TileLength: 8}, FormatError, "bad-geometry", Tags.TileWidth),
    ({Tags.Compression: 4321}, UnsupportedError, "compression", Tags.Compression),
    ({Tags.Compression: 5, Tags.Predictor: 34891}, UnsupportedError, "predictor", Tags.Predictor),
    ({Tags.Compression: 5, Tags.Predictor: 34892}, UnsupportedError, "predictor", Tags.Predictor),
    ({Tags.Compression: 5, Tags.Predictor: 3}, UnsupportedError, "predictor", Tags.Predictor),
    ({Tags.BitsPerSample: 33}, UnsupportedError, "sample-format", Tags.BitsPerSample),
    ({Tags.BitsPerSample: 12, Tags.SampleFormat: 2}, UnsupportedError, "sample-format", Tags.BitsPerSample),
    ({Tags.SamplesPerPixel: 2, Tags.PlanarConfiguration: 3}, UnsupportedError, "planar", Tags.PlanarConfiguration),
    ({Tags.ImageDepth: 4, Tags.Compression: 6}, UnsupportedError, "volumetric", Tags.ImageDepth),
    (
        {Tags.ImageDepth: 4, Tags.TileWidth: 16, Tags.TileLength: 16, Tags.TileDepth: 2, Tags.Compression: 7},
        UnsupportedError,
        "volumetric",
        Tags.TileDepth,
    ),
    (
        {Tags.SamplesPerPixel: 2, Tags.SampleFormat: [1, 3]},
        UnsupportedError,
        "mixed-samples",
        Tags.SampleFormat,
    ),
    (
        {Tags.SamplesPerPixel: 2, Tags.BitsPerSample: [8, 16], Tags.PlanarConfiguration: 2},
        UnsupportedError,
        "mixed-samples",
        Tags.BitsPerSample,
    ),
    (
        {Tags.SamplesPerPixel: 3, Tags.BitsPerSample: [8, 16]},
        UnsupportedError,
        "mixed-samples",
        Tags.BitsPerSample,
    ),
    ({Tags.TileWidth: 8}, FormatError, "bad-geometry", Tags.TileWidth),
    ({Tags.TileWidth: 2**20, Tags.TileLength: 2**20}, LimitError, "limit-segment-bytes", None),
]


@pytest.mark.parametrize(("tags", "kind", "feature", "tag"), REFUSED)
def test_refusals_name_the_feature_and_the_tag(
    tags: dict[int, int | list[int]], kind: type[VirtualTiffError], feature: str, tag: int | None
) -> None:
    error = refusal({**GRAY, **tags})
    assert (type(error), error.feature, error.tag, error.ifd) == (kind, feature, tag, (0,))


@pytest.mark.parametrize("tag", [Tags.ImageWidth, Tags.ImageLength])
def test_an_ifd_without_an_image_is_refused(tag: int) -> None:
    error = refusal({code: value for code, value in GRAY.items() if code != tag})
    assert (error.feature, error.tag) == ("missing-tag", tag)


def test_the_limit_on_segments_can_be_raised() -> None:
    tags = {**GRAY, Tags.TileWidth: 64, Tags.TileLength: 64}
    assert refusal(tags, max_segment_bytes=4095).feature == "limit-segment-bytes"
    assert layout_of(tags, max_segment_bytes=4096).rows == 64


def test_imagej_counts_planes_in_the_description_of_the_only_ifd() -> None:
    pixels = np.zeros((4, 3, 2), np.uint16)
    single = written(pixels[:1], photometric="minisblack", description="ImageJ=1.54f\nimages=4\nslices=4\n")
    tiff = read_tiff(source_of(single))
    assert stacked_planes(tiff, tiff.ifd(0)) == 4
    several = written(pixels, photometric="minisblack", description="ImageJ=1.54f\nimages=4\nslices=4\n")
    tiff = read_tiff(source_of(several))
    assert stacked_planes(tiff, tiff.ifd(0)) == 1


def test_a_description_that_does_not_come_with_the_header_is_not_of_imagej() -> None:
    described = written(np.zeros((1, 3, 2), np.uint16), photometric="minisblack", description="<TemReporter>" * 8000)
    tiff = read_tiff(source_of(described))
    assert tiff.ifd(0).tags[Tags.ImageDescription].deferred
    assert segment_layout(tiff, tiff.ifd(0)).depth == 1


def test_values_that_there_are_not_and_that_do_not_matter() -> None:
    assert layout_of({**GRAY, Tags.FillOrder: 3}).fill_order == 1
    assert not layout_of({**GRAY, Tags.PlanarConfiguration: 0}).planar
    assert not layout_of({**GRAY, Tags.TileLength: 8}).tiled


@pytest.mark.parametrize("rows", [None, 7, 24])
def test_metamorph_stacks_have_a_single_ifd(rows: int | None) -> None:
    """The planes lie behind one another; UIC2 has six numbers for each."""
    pixels = np.random.default_rng(1).integers(0, 4000, (5, 24, 17), np.uint16)
    per_strip = [17 * 2 * min(rows or 24, 24 - row) for row in range(0, 24, rows or 24)]
    offsets = [8 + sum(per_strip[:strip]) for strip in range(len(per_strip))]
    tags = {256: [17], 257: [24], 258: [16], 273: offsets, 278: [rows or 24], 279: per_strip}
    stamps = Entry(33629, 5, [0] * 30, count=5)
    entries = [*(Entry(code, LONG, values) for code, values in tags.items()), stamps]
    array = open_array(bytes(build([Dir(entries)], ghost=pixels.astype("<u2").tobytes()).data))
    np.testing.assert_array_equal(np.asarray(array[...]), pixels)


def layout_by(software: bytes, **tags: int) -> SegmentLayout:
    """The layout of a file that says who has written it."""
    values = {**GRAY, **{getattr(Tags, name): value for name, value in tags.items()}}
    entries = [Entry(code, LONG, [value]) for code, value in values.items() if isinstance(value, int)]
    data = build([Dir(sorted([*entries, Entry(Tags.Software, 2, software)], key=lambda entry: entry.code))]).data
    tiff = read_tiff(source_of(bytes(data)))
    return segment_layout(tiff, tiff.ifd(0))


@pytest.mark.parametrize("software", [b"ISS Vista\0", b"Philips DP v1.0\0"])
def test_writers_of_a_wrong_depth(software: bytes) -> None:
    assert layout_by(software, ImageDepth=64).depth == 1
    assert layout_by(b"another\0", ImageDepth=64).depth == 64


def test_a_writer_of_floats_without_a_sample_format() -> None:
    assert layout_by(b"IndicaLabsImageWriter v1\0", BitsPerSample=32).dtype == np.float32
    assert layout_by(b"IndicaLabsImageWriter v1\0", BitsPerSample=16).dtype == np.uint16
    assert layout_by(b"another\0", BitsPerSample=32).dtype == np.uint32


@pytest.mark.parametrize(("number", "scheme"), [(34926, 50000), (34927, 50001), (50013, 8)])
def test_numbers_that_schemes_had_before_mean_the_same(number: int, scheme: int) -> None:
    rgb: dict[int, int | list[int]] = {Tags.BitsPerSample: [8, 8, 8], Tags.SamplesPerPixel: 3}
    assert layout_of({**GRAY, **rgb, Tags.Compression: number}).compression == scheme
