"""Georeferencing is GDAL's: on written files of every projection, on odd tags, and on the corpus."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS
from rasterio import crs as rasterio_crs
from rasterio.control import GroundControlPoint as RasterioGcp
from rasterio.rpc import RPC

from tests.geofiles import TRANSFORM, corpus_pairs, gdal, geokeys, ifd_of, tiff_of, tiff_with, write
from tests.tiffbytes import Entry, build, image
from virtual_tiff.errors import FormatError
from virtual_tiff.geo.crs import authority_code
from virtual_tiff.geo.geokeys import read_geokeys
from virtual_tiff.geo.georef import GeoReference, georeference

SPHERE = "+a=6371000 +b=6371000"
METHODS = {
    "transverse mercator": "+proj=tmerc +lat_0=1 +lon_0=9 +k=0.9996 +x_0=500000 +y_0=7 +ellps=bessel",
    "oblique mercator A": "+proj=omerc +no_uoff +lat_0=4 +lonc=115 +alpha=53 +gamma=53.1 +k=0.99984",
    "oblique mercator B": "+proj=omerc +lat_0=4 +lonc=115 +alpha=53 +gamma=53.1 +k=0.99984 +x_0=5 +y_0=6",
    "laborde": "+proj=labrd +lat_0=-18.9 +lon_0=46.4 +azi=18.9 +k=0.9995 +x_0=400000 +y_0=800000",
    "mercator 1SP": "+proj=merc +lon_0=100 +k=0.997 +x_0=3900000 +y_0=900000",
    "mercator 2SP": "+proj=merc +lat_ts=42 +lon_0=51",
    "lambert 1SP": "+proj=lcc +lat_1=18 +lat_0=18 +lon_0=-77 +k_0=1.1 +x_0=250000 +y_0=150000",
    "lambert 2SP": "+proj=lcc +lat_1=33 +lat_2=45 +lat_0=23 +lon_0=-96 +x_0=1 +y_0=2",
    "lambert azimuthal": "+proj=laea +lat_0=52 +lon_0=10 +x_0=4321000 +y_0=3210000 +ellps=GRS80",
    "albers": "+proj=aea +lat_0=23 +lon_0=-96 +lat_1=29.5 +lat_2=45.5 +datum=NAD83",
    "azimuthal equidistant": "+proj=aeqd +lat_0=9 +lon_0=138 +x_0=40000 +y_0=60000",
    "equidistant conic": "+proj=eqdc +lat_0=1 +lon_0=2 +lat_1=30 +lat_2=60",
    "stereographic": "+proj=stere +lat_0=40 +lon_0=10 +k=0.9 +x_0=1",
    "polar stereographic A": "+proj=stere +lat_0=90 +lon_0=10 +k=0.994 +x_0=2000000 +y_0=2000000",
    "polar stereographic B": "+proj=stere +lat_0=-90 +lat_ts=-71 +lon_0=0",
    "oblique stereographic": "+proj=sterea +lat_0=52.15 +lon_0=5.38 +k=0.99 +x_0=155000 +ellps=bessel",
    "equirectangular": "+proj=eqc +lat_ts=30 +lon_0=20",
    "cassini": "+proj=cass +lat_0=10.44 +lon_0=-61.33 +x_0=86501 +y_0=65379",
    "gnomonic": f"+proj=gnom +lat_0=10 +lon_0=20 {SPHERE}",
    "miller": f"+proj=mill +lon_0=10 {SPHERE}",
    "orthographic": f"+proj=ortho +lat_0=10 +lon_0=20 {SPHERE}",
    "polyconic": "+proj=poly +lat_0=0 +lon_0=-54 +x_0=5000000 +y_0=10000000",
    "robinson": "+proj=robin +lon_0=10",
    "sinusoidal": f"+proj=sinu +lon_0=10 {SPHERE}",
    "van der grinten": f"+proj=vandg +lon_0=10 {SPHERE}",
    "new zealand": "+proj=nzmg +lat_0=-41 +lon_0=173 +x_0=2510000 +y_0=6023150 +ellps=intl",
    "south orientated": "+proj=tmerc +axis=wsu +lat_0=0 +lon_0=29 +k=1",
    "cylindrical equal area": "+proj=cea +lat_ts=30 +lon_0=10",
    "feet": "+proj=tmerc +lat_0=1 +lon_0=-9 +k=0.9996 +x_0=152400.3048 +units=us-ft +datum=NAD27",
    "geographic of its own": "+proj=longlat +a=6378000 +rf=298",
    "shift to WGS 84": "+proj=tmerc +lon_0=9 +ellps=intl +towgs84=-87,-98,-121,0.1,0.2,0.3,1.5",
    "prime meridian": "+proj=longlat +ellps=bessel +pm=ferro",
}
CODES = (
    *(4326, 3857, 4267, 4269, 4258, 4979, 4978, 2193, 3035, 2056, 5514, 27700, 28992, 31370, 2154, 3413, 3031),
    *(32633, 32733, 26910, 2227, 26746, 2263, 3005, 3577, 6933, 5070, 2180, 3067, 22275, 21781, 4807, 2100),
    *(5498, 7415, 5555, 8857, 6316, 24877),
)
CORPUS_DIFFERENCES = {
    "WGS_1984_Web_Mercator.tif": "the same CRS, ESRI:102113, which GDAL names otherwise",
}


def same_crs(ours: CRS | None, theirs: Any) -> bool:
    """Whether two CRSs are the same: equal, or equal but for the order of axes, for GDAL or for PROJ."""
    if ours is None or not theirs:
        return ours is None and not theirs
    as_theirs = rasterio_crs.CRS.from_wkt(ours.to_wkt())
    if as_theirs == theirs or as_theirs.equals(theirs, ignore_axis_order=True):
        return True
    return bool(ours.equals(CRS.from_wkt(theirs.to_wkt()), ignore_axis_order=True))


def read(data: bytes) -> GeoReference:
    return georeference(ifd_of(data))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("code", CODES)
def test_registered_crs(code: int, version: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    data = write(path, crs=f"EPSG:{code}", GEOTIFF_VERSION=version)
    with gdal(path) as dataset:
        assert same_crs(read(data).crs, dataset.crs)


@pytest.mark.parametrize("flavor", ["STANDARD", "ESRI_PE"])
@pytest.mark.parametrize("method", METHODS)
def test_user_defined_crs(method: str, flavor: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    proj = METHODS[method] + (
        "" if any(word in METHODS[method] for word in ("+a=", "+ellps", "+datum")) else " +datum=WGS84"
    )
    data = write(path, crs=rasterio_crs.CRS.from_string(proj), GEOTIFF_KEYS_FLAVOR=flavor)
    with gdal(path) as dataset:
        assert dataset.crs
        assert same_crs(read(data).crs, dataset.crs)


UNIT_OF_A_CITATION = "GCS Name = unknown|Datum = unknown|Ellipsoid = own|Primem = Greenwich|AUnits = metre|"
"""As GDAL writes images whose coordinates are those of their pixels."""


@pytest.mark.parametrize(
    "keys",
    [
        [(1024, 1), (1025, 1)],
        [(1024, 2), (1025, 1)],
        [(1024, 3), (2048, 4326), (3076, 9001)],
        [(1024, 3), (1026, "mine"), (2048, 4978)],
        [(3072, 32633)],
        [(1024, 1), (3072, 32633), (3076, 9003)],
        [(1024, 1), (3072, 32633), (2048, 4326), (3076, 9002)],
        [(1024, 1), (2048, 4267), (3074, 16010), (3072, 32767), (3076, 9001)],
        [(1024, 1), (2048, 4326), (3072, 32767), (3074, 16133), (3076, 32767), (3077, 0.5)],
        [(1024, 2), (2048, 4326), (2057, 6378000.0), (2059, 298.0)],
        [(1024, 2), (2048, 4267), (2057, 6378000.0), (2059, 298.0)],
        [(1024, 2), (2048, 32767), (2049, "own"), (2050, 6326), (2056, 7030), (2054, 9105)],
        [(1024, 2), (2048, 32767), (2050, 32767), (2057, 6378137.0), (2058, 6356752.3), (2051, 8903)],
        [(1024, 2), (2048, 32767), (2050, 32767), (2057, 6378137.0), (2059, 298.257), (2055, 0.01)],
        [(1024, 2), (2048, 32767), (2049, UNIT_OF_A_CITATION), (2050, 32767), (2057, 6.4e6), (2059, 0.0), (2055, 1.0)],
        [(1024, 2), (2048, 4326), (2055, 0.01)],
        [(1024, 2), (2048, 4326), (4096, 5773)],
        [(1024, 1), (3072, 32633), (4096, 5773), (4099, 9001)],
        [(1024, 2), (2048, 4326), (4096, 5030)],
        [(1024, 1), (3072, 32633), (4096, 5103)],
        [(1024, 2), (2048, 9999)],
        [(1024, 1), (3072, 9999)],
        [(1024, 32767), (1026, "a local grid"), (3076, 9002)],
        [(1024, 9)],
        [(1025, 2)],
    ],
)
@pytest.mark.parametrize("version", [(1, 1, 0), (1, 1, 1)])
def test_keys_as_gdal_reads_them(keys: list[tuple[int, Any]], version: tuple[int, int, int], tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_with(*geokeys(*keys, version=version)))
    ours = read(path.read_bytes())
    with gdal(path) as dataset:
        assert same_crs(ours.crs, dataset.crs)
        assert (ours.area_or_point if ours.has_raster_type else None) == dataset.tags().get("AREA_OR_POINT")


@pytest.mark.parametrize(
    "entries",
    [
        [Entry(33550, 12, [2.0, 3.0, 0.0]), Entry(33922, 12, [0.0, 0.0, 0.0, 100.0, 200.0, 0.0])],
        [Entry(33550, 12, [2.0, 3.0, 0.0]), Entry(33922, 12, [4.0, 5.0, 0.0, 100.0, 200.0, 0.0])],
        [Entry(33550, 12, [2.0, -3.0, 0.0]), Entry(33922, 12, [0.0, 0.0, 0.0, 100.0, 200.0, 0.0])],
        [Entry(33550, 12, [2.0, 3.0, 0.0]), Entry(33922, 12, [0.0, 0, 0, 1, 2, 0] * 3)],
        [Entry(33922, 12, [0.0, 0, 0, 1, 2, 0])],
        [Entry(33922, 12, [0.0, 0, 0, 1, 2, 3, 8, 0, 0, 4, 2, 5, 8, 8, 0, 4, 9, 1])],
        [Entry(34264, 12, [1.0, 2, 0, 3, 4, 5, 0, 6, 0, 0, 0, 0, 0, 0, 0, 1])],
        [Entry(34264, 12, [1.0, 2, 0, 3, 4, 5, 0, 6])],
        [Entry(33550, 12, [0.0, 3.0, 0.0]), Entry(33922, 12, [0.0, 0, 0, 1, 2, 0])],
        [],
    ],
)
@pytest.mark.parametrize("raster_type", [1, 2])
def test_transform_and_control_points(entries: list[Entry], raster_type: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_with(*entries, *geokeys((1024, 1), (1025, raster_type), (3072, 32633))))
    ours = read(path.read_bytes())
    with gdal(path) as dataset:
        assert (ours.transform or Affine.identity()).almost_equals(dataset.transform, 1e-9)
        gcps, crs = dataset.gcps
        assert [(g.row, g.col, g.x, g.y, g.z) for g in ours.gcps] == [(g.row, g.col, g.x, g.y, g.z) for g in gcps]
        assert same_crs(ours.gcps_crs, crs)
        assert same_crs(ours.crs, dataset.crs)


def test_rotated_and_south_up(tmp_path: Path) -> None:
    for transform in (Affine(1, 2, 3, 4, -5, 6), Affine(10, 0, 5, 0, 10, 6)):
        data = write(tmp_path / "a.tif", crs="EPSG:32633", transform=transform)
        ours = read(data).transform
        assert ours is not None
        assert ours.almost_equals(transform, 1e-9)


def test_written_gcps_and_rpcs(tmp_path: Path) -> None:
    gcps = [RasterioGcp(0, 0, 10, 20, 1), RasterioGcp(0, 8, 11, 20, 2), RasterioGcp(6, 8, 11, 19, 3)]
    coefficients = [float(i) / 7 for i in range(20)]
    scalars = ("height", "lat", "line", "long", "samp")
    numbers = {f"{name}_{kind}": float(i) for i, name in enumerate(scalars, 2) for kind in ("off", "scale")}
    vectors = {f"{axis}_{part}_coeff": coefficients for axis in ("line", "samp") for part in ("num", "den")}
    rpcs = RPC(**numbers, **vectors, err_bias=0.5, err_rand=0.25)

    def edit(dataset: Any) -> None:
        dataset.gcps = (gcps, rasterio_crs.CRS.from_epsg(4326))
        dataset.rpcs = rpcs

    path = tmp_path / "a.tif"
    ours = read(write(path, transform=None, edit=edit))
    assert ours.transform is None
    assert ours.crs is None
    assert ours.gcps_crs == CRS.from_epsg(4326)
    assert [(g.col, g.row, g.x, g.y, g.z) for g in ours.gcps] == [(g.col, g.row, g.x, g.y, g.z) for g in gcps]
    with gdal(path) as dataset:
        _assert_same_rpcs(ours, dataset)
    assert ours.rpcs is not None


def _assert_same_rpcs(ours: GeoReference, dataset: Any) -> None:
    theirs = dataset.rpcs.to_gdal() if dataset.rpcs else None
    assert (theirs is None) == (ours.rpcs is None)
    for name, text in (theirs or {}).items():
        if text is None:
            continue
        value = (ours.rpcs or {})[name]
        mine = value if isinstance(value, tuple) else (value,)
        assert mine == pytest.approx([float(part) for part in str(text).split()], rel=1e-9)


def test_overview_inherits_with_scales_of_each_axis(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    data = write(path, crs="EPSG:32633", size=(101, 67), edit=lambda dataset: dataset.build_overviews([2, 4]))
    tiff = tiff_of(data)
    for index, ifd in enumerate(tiff.ifds[1:]):
        ours = georeference(ifd, tiff.ifds[0])
        with gdal(path, overview_level=index) as dataset:
            assert ours.transform is not None
            assert ours.transform.almost_equals(dataset.transform, 1e-9)
            assert same_crs(ours.crs, dataset.crs)
    last = georeference(tiff.ifds[-1], tiff.ifds[0]).transform
    assert last is not None
    assert last.a != -last.e


def test_overview_scales_control_points_and_rpcs() -> None:
    ties = Entry(33922, 12, [0.0, 0, 0, 1, 2, 3, 8, 4, 0, 4, 2, 5])
    rpc = Entry(50844, 12, [float(i) for i in range(92)])
    tiff = tiff_of(bytes(build([image(16, 16, ties, rpc, gap=256), image(4, 8, gap=64)]).data))
    ours = georeference(tiff.ifds[1], tiff.ifds[0])
    assert (ours.gcps[1].col, ours.gcps[1].row) == (2.0, 2.0)
    assert ours.rpcs is not None
    assert (ours.rpcs["LINE_OFF"], ours.rpcs["SAMP_OFF"]) == (2.5 / 2 - 0.5, 3.5 / 4 - 0.5)
    assert (ours.rpcs["LINE_SCALE"], ours.rpcs["SAMP_SCALE"]) == (7 / 2, 8 / 4)


def test_vertical_part_and_epoch() -> None:
    keys = [(1024, 1), (3072, 32633), (4096, 5773), (5120, 2021.3)]
    old = read(tiff_with(*geokeys(*keys)))
    new = read(tiff_with(*geokeys(*keys, version=(1, 1, 1))))
    assert old.crs == CRS.from_epsg(32633)
    assert old.full_crs is not None
    assert old.full_crs.is_compound
    assert new.crs == new.full_crs == old.full_crs
    assert new.vertical_unit == old.vertical_unit == "metre"
    assert new.epoch == 2021.3


def test_like_files_share_one_crs() -> None:
    entries = geokeys((1024, 1), (3072, 32633))
    assert read(tiff_with(*entries)).crs is read(tiff_with(*entries)).crs


def test_a_damaged_key_discards_all_with_a_warning() -> None:
    shorts = [1, 1, 0, 2, 1024, 0, 1, 2, 2057, 34736, 1, 7]
    ours = read(tiff_with(Entry(34735, 3, shorts), Entry(34736, 12, [1.0])))
    assert ours.crs is None
    assert any("2057" in warning for warning in ours.warnings)


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ([(1024, 1), (3072, 4326)], "4326"),
        ([(1024, 1), (3072, 9999)], "9999"),
        ([(1024, 1), (2048, 4326), (3072, 32767), (3075, 7), (3080, 1e300)], ""),
        ([(1024, 2), (2048, 32767), (2057, -5.0)], "no usable CRS"),
        ([(1024, 2), (2048, 4267), (2057, 6378000.0), (2059, 298.0)], "contradict"),
        ([(1024, 2), (2048, 4326), (4096, 4326)], "vertical"),
    ],
)
def test_bad_keys_are_named(keys: list[tuple[int, Any]], word: str) -> None:
    ours = read(tiff_with(*geokeys(*keys)))
    assert word == "" or any(word in warning for warning in ours.warnings)


def test_overview_without_a_size_is_refused() -> None:
    tiff = tiff_of(bytes(build([image(16, 16, gap=256), image(0, 8, gap=64)]).data))
    with pytest.raises(FormatError, match="cannot be an overview"):
        georeference(tiff.ifds[1], tiff.ifds[0])


NUMBER = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, 1.0, 6378137.0, 298.25])
CODE = st.sampled_from([0, 1, 2, 3, 7, 8, 15, 4326, 4267, 4978, 32633, 5773, 5030, 9001, 9003, 9102, 9105, 32767])
KEY = st.sampled_from([1024, 1025, 1026, *range(2048, 2063), *range(3072, 3097), *range(4096, 4100), 5120])
VALUE = st.one_of(CODE, st.integers(0, 65535), NUMBER, st.text("aN=|EPSG 0{[\"'", max_size=30))


@settings(max_examples=150, deadline=None)
@given(keys=st.lists(st.tuples(KEY, VALUE), max_size=14), places=st.lists(NUMBER, max_size=24))
def test_hostile_tags_never_raise(keys: list[tuple[int, Any]], places: list[float]) -> None:
    entries = geokeys(*dict(keys).items())
    entries += [Entry(code, 12, places) for code in (33550, 33922, 34264) if places]
    ours = read(tiff_with(*entries))
    assert ours.transform is None or all(math.isfinite(value) for value in tuple(ours.transform)[:6])


@given(shorts=st.lists(st.integers(0, 65535), max_size=40))
@settings(max_examples=100, deadline=None)
def test_hostile_directory_never_raises(shorts: list[int]) -> None:
    ifd = ifd_of(tiff_with(Entry(34735, 3, shorts), Entry(34736, 12, [1.0, 2.0]), Entry(34737, 2, b"ab|\0")))
    keys = read_geokeys(ifd)
    assert (keys is None) == (len(shorts) < 4)
    georeference(ifd)


def test_authority_code_stands_for_the_very_same_crs() -> None:
    assert authority_code(CRS.from_epsg(32633)) == "EPSG:32633"
    changed = CRS.from_epsg(32633).to_json_dict()
    changed["base_crs"]["datum"] = {
        "type": "GeodeticReferenceFrame",
        "name": "mine",
        "ellipsoid": {"name": "mine", "semi_major_axis": 6370000, "inverse_flattening": 300},
    }
    changed["base_crs"].pop("datum_ensemble", None)
    assert authority_code(CRS.from_json_dict(changed)) is None


def test_corpus(corpus: Path, closing_line: Callable[[str], None]) -> None:
    totals: Counter[str] = Counter()
    different: dict[str, str] = {}
    for path, tiff, dataset in corpus_pairs(corpus):
        ours = georeference(tiff.ifds[0])
        totals["files"] += 1
        gcps, gcps_crs = dataset.gcps
        theirs = dataset.crs if not gcps else gcps_crs
        mine = ours.gcps_crs if gcps else ours.crs
        equal = bool(theirs) and mine is not None and rasterio_crs.CRS.from_wkt(mine.to_wkt()) == theirs
        totals["CRS equal" if equal else "no CRS" if not theirs else "CRS equal after normalisation"] += 1
        transform = tuple(ours.transform or Affine.identity())[:6]
        points = [(g.row, g.col, g.x, g.y, g.z) for g in ours.gcps]
        checks = {
            "CRS": same_crs(mine, theirs),
            "CRS code": mine is None
            or not equal
            or rasterio_crs.CRS.from_wkt(mine.to_wkt()).to_epsg() == theirs.to_epsg(),
            "transform": transform == pytest.approx(tuple(dataset.transform)[:6], rel=1e-9, abs=1e-12),
            "control points": points == [(g.row, g.col, g.x, g.y, g.z) for g in gcps],
            "raster type": (ours.area_or_point if ours.has_raster_type else None)
            == dataset.tags().get("AREA_OR_POINT"),
        }
        _assert_same_rpcs(ours, dataset)
        totals["with a transform"] += ours.transform is not None
        totals["with GCPs"] += bool(gcps)
        totals["with RPCs"] += ours.rpcs is not None
        totals["PixelIsPoint"] += ours.area_or_point == "Point"
        wrong = [name for name, good in checks.items() if not good]
        if wrong or (theirs and not equal):
            different[path.name] = ", ".join(wrong) or "normalised"
    closing_line("georeferencing of the corpus: " + ", ".join(f"{n} {name}" for name, n in totals.items()))
    assert different.keys() == CORPUS_DIFFERENCES.keys(), different
    assert totals["with a transform"] > 300


def test_a_pixel_scale_without_tie_point_is_no_georeference() -> None:
    assert read(tiff_with(Entry(33550, 12, [2.0, 3.0, 0.0]))).transform is None


def test_transform_of_the_writer(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.tif", crs="EPSG:32633")).transform == TRANSFORM


@pytest.mark.parametrize("zone", ["UTM Zone ²", "UTM Zone ³ N", "State Plane Zone ²¹", "State Plane Zone --"])
def test_zones_of_citations_that_are_no_numbers_are_ignored(zone: str) -> None:
    """A damaged byte of Latin-1 may be a superscript, which Python calls a digit."""
    keys: list[tuple[int, int | str]] = [
        (1024, 1),
        (3072, 32767),
        (3073, f"IMAGINE GeoTIFF Support\nProjection = {zone}"),
    ]
    assert isinstance(read(tiff_with(*geokeys(*keys))), GeoReference)
