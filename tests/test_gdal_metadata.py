"""Nodata, scales, units, names, colours and free metadata are GDAL's, and hostile XML does no harm."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.shutil
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp

from tests.geofiles import corpus_pairs, gdal, ifd_of, tiff_of, tiff_with, write
from tests.tiffbytes import Entry, build, image
from virtual_tiff.geo.bands import band_units, scales_and_offsets
from virtual_tiff.geo.gdal_metadata import RasterMetadata, band_metadata, parse_cog_ghost, read_nodata
from virtual_tiff.geo.georef import GeoReference, georeference
from virtual_tiff.tiff.ifd import Ifd

NOT_FROM_TAGS = ("IMAGE_STRUCTURE", "SUBDATASETS", "COLOR_PROFILE", "EXIF", "RPC", "IMD", "DERIVED_SUBDATASETS")


def read(data: bytes, dtype: str = "uint8", bands: int = 1) -> RasterMetadata:
    return band_metadata(ifd_of(data), np.dtype(dtype), bands)


def equal(mine: Any, theirs: Any) -> bool:
    """Equality under which NaN equals itself."""
    if isinstance(mine, tuple | list):
        return len(mine) == len(theirs) and all(map(equal, mine, theirs))
    both_nan = isinstance(mine, float) and isinstance(theirs, float) and math.isnan(mine) and math.isnan(theirs)
    return both_nan or mine == theirs


def differences(ifd: Ifd, geo: GeoReference, ours: RasterMetadata, dataset: Any) -> list[str]:
    """Name the properties that differ from rasterio's."""
    scales, offsets = scales_and_offsets(ours, geo)
    palette = None if ours.color_map is None else {i: tuple(c) for i, c in enumerate(ours.color_map.tolist())}
    tags = dict(ours.tags) | ({"AREA_OR_POINT": geo.area_or_point} if geo.has_raster_type else {})
    indexes = dataset.indexes[:40]
    namespaces = {name: dataset.tags(ns=name) for name in dataset.tag_namespaces()}
    band_namespaces = [{n: dataset.tags(i, ns=n) for n in dataset.tag_namespaces(i)} for i in indexes]
    pairs = {
        "nodata": ((ours.nodata,) * dataset.count, dataset.nodatavals),
        "scales": (scales, dataset.scales),
        "offsets": (offsets, dataset.offsets),
        "descriptions": (ours.descriptions, dataset.descriptions),
        "units": (band_units(ours, geo), dataset.units),
        "colour map": (palette, _colormap(dataset)),
        "tags": (tags, dataset.tags()),
        "band tags": (list(ours.band_tags)[:40], [dataset.tags(i) for i in indexes]),
        "domains": (_domains(ours.domains), _domains(namespaces)),
        "band domains": ([_domains(d) for d in ours.band_domains[:40]], [_domains(d) for d in band_namespaces]),
    }
    if not _shown_as_rgba(ifd):
        pairs["colours"] = (ours.color_interpretation, tuple(color.name for color in dataset.colorinterp))
    return [name for name, (mine, theirs) in pairs.items() if not equal(mine, theirs)]


def _colormap(dataset: Any) -> dict[int, tuple[int, ...]] | None:
    try:
        return dict(dataset.colormap(1))
    except ValueError:
        return None


def _domains(domains: Mapping[str, Mapping[str, str]]) -> dict[str, object]:
    kept = {name: items for name, items in domains.items() if name not in NOT_FROM_TAGS and items}
    return {name: "xml" if name.startswith("xml:") else dict(items) for name, items in kept.items()}


def _shown_as_rgba(ifd: Ifd) -> bool:
    """Whether GDAL converts the image to RGBA, while we keep the samples as they are stored."""
    photometric, compression = ifd.integer(262, 1), ifd.integer(259, 1)
    converted = photometric in (5, 8, 32844, 32845) or (photometric == 6 and compression != 7)
    return (converted and ifd.integer(258, 1) <= 8) or compression == 6


def compare(path: Path, data: bytes) -> tuple[RasterMetadata, list[str]]:
    ifd = ifd_of(data)
    with gdal(path) as dataset:
        ours = band_metadata(ifd, np.dtype(dataset.dtypes[0]), dataset.count)
        return ours, differences(ifd, georeference(ifd), ours, dataset)


def test_everything_that_rasterio_can_write(tmp_path: Path) -> None:
    def edit(dataset: Any) -> None:
        dataset.scales, dataset.offsets = (0.1, 2.0, 1.0), (0.0, -5.5, 0.0)
        dataset.units = ("m", "K", "")
        for index, name in enumerate(["höhe", 'a <b> & "c"', ""], 1):
            dataset.set_band_description(index, name)
        dataset.update_tags(OWNER="me & you", TIFFTAG_SOFTWARE="test", TIFFTAG_DATETIME="2024:01:02 03:04:05")
        dataset.update_tags(TIFFTAG_XRESOLUTION="72.5", TIFFTAG_RESOLUTIONUNIT="2")
        dataset.update_tags(ns="MINE", KEY="value")
        dataset.update_tags(2, STATISTICS_MINIMUM="1.5", STATISTICS_MAXIMUM="2", STATISTICS_MEAN="nan")
        dataset.update_tags(3, ns="OTHER", A="<b>")

    path = tmp_path / "a.tif"
    data = write(path, count=3, dtype="int16", nodata=-1, edit=edit)
    ours, wrong = compare(path, data)
    assert wrong == []
    assert ours.nodata == -1
    assert ours.scales == (0.1, 2.0, 1.0)
    assert ours.descriptions == ("höhe", 'a <b> & "c"', None)
    assert ours.statistics == ({}, {"minimum": 1.5, "maximum": 2.0}, {})
    assert ours.warnings == ()


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [
        ("uint8", 0),
        ("int8", -128),
        ("int16", -32768),
        ("uint16", 65535),
        ("int32", -(2**31)),
        ("float32", float("nan")),
        ("float32", -9999.1),
        ("float32", -3.4028234663852886e38),
        ("float32", float("-inf")),
        ("float64", 1e-300),
        ("float64", float("inf")),
    ],
)
def test_nodata_is_exact(dtype: str, nodata: float, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    ours, wrong = compare(path, write(path, dtype=dtype, nodata=nodata))
    assert wrong == []
    assert equal(ours.nodata, float(np.float32(nodata)) if dtype == "float32" else nodata)
    assert type(ours.nodata) is (int if "int" in dtype else float)


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("int64", -(2**63)), ("int64", 2**53 + 1), ("uint64", 2**64 - 1), ("uint64", 0)]
)
def test_nodata_of_64_bit_integers_is_exact(dtype: str, nodata: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tag = (42113, "s", 0, str(nodata), True)  # rasterio rounds it to a float when it writes
    tifffile.imwrite(path, np.zeros((4, 4), dtype), extratags=[tag], metadata=None)
    ours, wrong = compare(path, path.read_bytes())
    assert set(wrong) <= {"nodata"}  # rasterio gives it as a float
    assert ours.nodata == nodata


@pytest.mark.parametrize(
    ("text", "dtype", "nodata"),
    [
        ("nan", "float32", float("nan")),
        ("-1.#IND", "float32", float("nan")),
        ("1.#QNAN", "float64", float("nan")),
        ("-1.#INF", "float32", float("-inf")),
        ("1.#INF00", "float64", float("inf")),
        ("-9999 ", "int16", -9999),
        ("0x", "uint8", 0),
        ("3,5", "float64", 3.5),
        ("-3.4028234663852886e+38", "float32", -3.4028234663852886e38),
        ("-3.40282346639e+38", "float32", -3.4028234663852886e38),
        ("-3.4028235e+38", "float32", -3.4028234663852886e38),
        ("1e2", "uint8", 100),
        ("99999999999999999999", "int64", 2**63 - 1),
        ("-1", "uint64", 2**64 - 1),
        ("1", "bool", 1),
    ],
)
def test_forms_of_nodata(text: str, dtype: str, nodata: float) -> None:
    data = tiff_with(Entry(42113, 2, text.encode() + b"\0"))
    ours = read(data, dtype)
    assert equal(ours.nodata, nodata)
    assert equal(read_nodata(ifd_of(data), np.dtype(dtype)), nodata)
    assert ours.warnings == ()


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("-9999", "uint8"),
        ("256", "uint8"),
        ("0.5", "int16"),
        ("nan", "uint8"),
        ("1e39", "float32"),
        ("1e5", "float16"),
        ("none", "uint8"),
        ("2", "bool"),
    ],
)
def test_nodata_that_the_data_type_cannot_hold_is_dropped_with_a_warning(text: str, dtype: str) -> None:
    ours = read(tiff_with(Entry(42113, 2, text.encode() + b"\0")), dtype)
    assert ours.nodata is None
    assert len(ours.warnings) == 1


def test_nodata_values_for_each_band() -> None:
    xml = b'<GDALMetadata><Item name="NODATA_VALUES">1 2 nan</Item></GDALMetadata>\0'
    assert equal(read(tiff_with(Entry(42112, 2, xml)), bands=3).nodata_values, (1.0, 2.0, math.nan))
    assert read(tiff_with(Entry(42112, 2, xml)), bands=2).nodata_values is None


@pytest.mark.parametrize(
    ("photometric", "colors"),
    [("RGB", 4), ("MINISBLACK", 3), ("MINISWHITE", 1), ("CMYK", 4), ("YCBCR", 3)],
)
def test_colour_interpretation(photometric: str, colors: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    compress = "JPEG" if photometric == "YCBCR" else "NONE"
    data = write(path, count=colors, photometric=photometric, COMPRESS=compress)
    ours, wrong = compare(path, data)
    assert wrong == []
    if photometric == "CMYK":
        assert ours.color_interpretation == ("cyan", "magenta", "yellow", "black")


def test_named_colours(tmp_path: Path) -> None:
    def edit(dataset: Any) -> None:
        dataset.colorinterp = [ColorInterp.blue, ColorInterp.alpha, ColorInterp.gray, ColorInterp.undefined]

    path = tmp_path / "a.tif"
    assert compare(path, write(path, count=4, edit=edit))[1] == []


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_colour_map(dtype: str, tmp_path: Path) -> None:
    def edit(dataset: Any) -> None:
        dataset.write_colormap(1, {0: (255, 0, 1, 255), 1: (0, 17, 255, 255), 7: (1, 2, 3, 255)})

    path = tmp_path / "a.tif"
    ours, wrong = compare(path, write(path, dtype=dtype, nodata=7, edit=edit))
    assert wrong == []
    assert ours.color_map is not None
    assert ours.color_map.shape == (256 if dtype == "uint8" else 65536, 4)
    assert ours.color_map[7].tolist() == [1, 2, 3, 0]


@pytest.mark.parametrize("factor", [1, 256, 257, 300])
def test_colour_map_of_other_writers(factor: int, tmp_path: Path) -> None:
    values = [min(value * factor, 65535) for value in range(200)] + [0] * 568
    entries = image(16, 16, Entry(320, 3, values), gap=256).entries
    palette = [Entry(262, 3, [3]) if entry.code == 262 else entry for entry in entries]
    path = tmp_path / "a.tif"
    path.write_bytes(bytes(build([type(image())(palette, gap=256)]).data))
    assert compare(path, path.read_bytes())[1] == []


def test_bitmap(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    assert compare(path, write(path, NBITS="1"))[1] == []


@pytest.mark.parametrize(
    "xml",
    [
        b"",
        b"   ",
        b"not xml",
        b"<GDALMetadata><Item name='a'>",
        b"<Other><Item name='a'>b</Item></Other>",
        b"<!DOCTYPE x [<!ENTITY e 'ee'>]><GDALMetadata><Item name='a'>&e;</Item></GDALMetadata>",
        b"<!DOCTYPE x SYSTEM 'file:///etc/passwd'><GDALMetadata/>",
        b"\xff\xfe\x00",
        b"<GDALMetadata>\x01</GDALMetadata>",
    ],
)
def test_damaged_xml_is_ignored_with_a_warning(xml: bytes) -> None:
    ours = read(tiff_with(Entry(42112, 2, xml + b"\0")))
    assert not ours.tags
    assert len(ours.warnings) == (1 if xml.strip() else 0)


def test_items_of_other_bands_and_odd_items_are_left_out() -> None:
    xml = b"""<?xml version="1.0" encoding="latin-1"?><GDALMetadata>
      <Item name="far" sample="9" role="scale">3</Item><Item>no name</Item><Item name="empty"></Item>
      <Item name="nested"><b>x</b></Item><Item name="odd" sample="x">first band</Item>
      <item name="lower">kept &amp;lt;</item><Item name="x" sample="-7">y</Item>
      <Item name="SCALE" sample="0" role="Scale">bad</Item><Else name="z">z</Else>
      <Item name="secret" domain="IMAGE_STRUCTURE">s</Item></GDALMetadata>"""
    ours = read(tiff_with(Entry(42112, 2, xml + b"\0")))
    assert ours.tags == {"lower": "kept <"}
    assert ours.scales == (1.0,)
    assert not ours.domains


def test_xml_beyond_the_limit_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("virtual_tiff.geo.items.MAX_XML_BYTES", 50)
    xml = b"<GDALMetadata><Item name='a'>" + b"b" * 50 + b"</Item></GDALMetadata>\0"
    assert "more than 50" in read(tiff_with(Entry(42112, 2, xml))).warnings[0]


@settings(max_examples=150, deadline=None)
@given(
    xml=st.one_of(st.binary(max_size=80), st.text(max_size=80).map(str.encode)),
    nodata=st.text("0123456789.#INFnae+-, ", max_size=12),
    dtype=st.sampled_from(["?", "u1", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]),
    numbers=st.lists(st.integers(0, 65535), max_size=6),
    place=st.tuples(
        st.sampled_from([258, 262, 277, 280, 296, 320, 338, 339]), st.sampled_from([1, 2, 3, 4, 5, 7, 11, 12])
    ),
)
def test_hostile_tags_never_raise(
    xml: bytes, nodata: str, dtype: str, numbers: list[int], place: tuple[int, int]
) -> None:
    code, kind = place
    values: Any = bytes(n % 256 for n in numbers) if kind in (2, 7) else [n % 256 for n in numbers]
    entries = [e for e in image(16, 16).entries if e.code != code]
    values = values * 2 if kind == 5 else values
    more = [Entry(42112, 2, xml + b"\0"), Entry(42113, 2, nodata.encode() + b"\0"), Entry(code, kind, values)]
    listed = sorted([*entries, *more], key=lambda e: e.code)
    ifd = ifd_of(bytes(build([type(image())(listed, gap=256)]).data))
    ours = band_metadata(ifd, np.dtype(dtype), 3)
    assert len(ours.color_interpretation) == len(ours.scales) == 3


def test_cog_ghost(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path, size=(600, 600))
    rasterio.shutil.copy(path, tmp_path / "cog.tif", driver="COG")
    ghost = tiff_of((tmp_path / "cog.tif").read_bytes()).cog_ghost
    assert ghost is not None
    parsed = parse_cog_ghost(ghost)
    assert parsed["LAYOUT"] == "IFDS_BEFORE_DATA"
    assert parsed["BLOCK_ORDER"] == "ROW_MAJOR"
    assert parsed["BLOCK_LEADER"] == "SIZE_AS_UINT4"


def test_corpus(corpus: Path, closing_line: Callable[[str], None]) -> None:
    totals: Counter[str] = Counter()
    different: dict[str, list[str]] = {}
    for path, tiff, dataset in corpus_pairs(corpus):
        ifd = tiff.ifds[0]
        dtype = "complex64" if dataset.dtypes[0] == "complex_int16" else dataset.dtypes[0]
        ours = band_metadata(ifd, np.dtype(dtype), dataset.count)
        try:
            wrong = differences(ifd, georeference(ifd), ours, dataset)
        except CPLE_BaseError:  # GDAL opens some damaged files, then fails to describe them
            totals["not described by GDAL"] += 1
            continue
        totals["files"] += 1
        totals["with nodata"] += ours.nodata is not None
        totals["with scale or offset"] += set(ours.scales) != {1.0} or set(ours.offsets) != {0.0}
        totals["with band names"] += any(ours.descriptions)
        totals["with units"] += any(ours.units)
        totals["with a colour map"] += ours.color_map is not None
        if wrong:
            different[path.name] = wrong
    closing_line("metadata of the corpus: " + ", ".join(f"{n} {name}" for name, n in totals.items()))
    assert different == {}
    assert totals["with nodata"] > 50


def test_an_item_of_a_band_with_thousands_of_digits_is_left_out() -> None:
    item = f'<GDALMetadata><Item name="a" sample="{"9" * 5000}">x</Item><Item name="b">y</Item></GDALMetadata>'
    assert read(tiff_with(Entry(42112, 2, item.encode() + b"\0"))).tags == {"b": "y"}
