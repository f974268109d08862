from __future__ import annotations

import numpy as np
import pytest
import tifffile

from virtual_tiff.errors import TIFF_NAMES, FormatError
from virtual_tiff.tiff.tags import TYPE_DTYPES, TYPE_SIZES, Tags, TagType, tag_name

RENAMED = {
    263: "Thresholding", 33550: "ModelPixelScaleTag", 33628: "UIC1tag", 33629: "UIC2tag", 33630: "UIC3tag",
    33631: "UIC4tag", 33723: "IPTCNAA", 33918: "IntergraphPacketData", 33920: "IntergraphMatrixTag",
    33922: "ModelTiepointTag", 34118: "CZ_SEM", 34264: "ModelTransformationTag", 34361: "MM_Header",
    34362: "MM_Stamp", 34412: "CZ_LSMINFO", 34665: "ExifTag", 34675: "InterColorProfile", 34680: "FEI_SFEG",
    34682: "FEI_HELIOS", 34735: "GeoKeyDirectoryTag", 34736: "GeoDoubleParamsTag",
    34737: "GeoAsciiParamsTag", 34853: "GPSTag", 40965: "InteroperabilityTag", 50844: "RPCCoefficientTag",
    50908: "RSID",
}  # fmt: skip
"""Tags that tifffile calls otherwise (the suffix Tag, a program's name, a spelling)."""


def test_names_are_those_of_tifffile_apart_from_a_known_list() -> None:
    theirs: dict[int, set[str]] = {}
    for code, name in tifffile.TIFF.TAGS.items():
        theirs.setdefault(code, set()).add(name)
    for tag in Tags:
        if tag.origin != "Hamamatsu NDPI":  # tifffile has no names for these
            assert RENAMED.get(tag, tag.name) in theirs[tag], tag


def test_each_number_has_one_name() -> None:
    assert len({int(tag) for tag in Tags}) == len(Tags.__members__)


NEEDED = (
    *range(254, 260), 273, 279, 322, 323, 324, 325, 330, 339, 347, *range(512, 516), *range(517, 522),
    530, 32997, 33550, 33922, 34264, 34412, 34735, 34736, 34737, 42112, 42113, 50674, 50838, 50839,
    50844, 33628, 33629, 33630, 33631, 50706,
)  # fmt: skip


@pytest.mark.parametrize("code", NEEDED)
def test_the_tags_that_the_product_needs_are_named(code: int) -> None:
    assert tag_name(code) == Tags(code).name == TIFF_NAMES[code]


def test_an_unknown_tag_is_named_by_its_number() -> None:
    assert tag_name(65000) == "65000"


def test_messages_name_the_tag() -> None:
    error = FormatError("found it odd", feature="bad-tag", ifd=(3, 0), tag=322)
    assert "IFD 3.0, tag TileWidth (322)" in str(error)


def test_every_type_has_a_size_and_a_data_type() -> None:
    assert set(TYPE_SIZES) == set(TYPE_DTYPES) == set(TagType)
    for kind in TagType:
        name = tifffile.TIFF.DATA_FORMATS.get(kind)
        if name is not None:
            numbers = int(name[:-1] or 1)
            assert TYPE_SIZES[kind] == TYPE_DTYPES[kind].itemsize * numbers
            assert TYPE_DTYPES[kind].itemsize == np.dtype(name[-1].replace("s", "B")).itemsize


def test_defaults_are_those_of_the_standard() -> None:
    found = {tag.name: tag.default for tag in Tags if tag.default is not None and tag.origin.startswith("TIFF 6")}
    assert found["BitsPerSample"] == found["SamplesPerPixel"] == found["Compression"] == 1
    assert found["PlanarConfiguration"] == found["Predictor"] == found["FillOrder"] == found["SampleFormat"] == 1
    assert found["RowsPerStrip"] == 0xFFFFFFFF
    assert found["YCbCrSubSampling"] == (2, 2)
    assert Tags.ImageWidth.default is None


def test_definitions_allow_only_known_types() -> None:
    for tag in Tags:
        assert tag.types
        assert tag.types <= set(TagType)
