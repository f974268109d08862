"""STAC, stac-geoparquet, VRT and GTI become one flat list of files."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.servers import Bucket, Web
from virtual_tiff.cube.assets import AssetChoice
from virtual_tiff.cube.catalog import is_catalog, read_catalog
from virtual_tiff.cube.hrefs import gdal_name, resolve_href
from virtual_tiff.errors import (
    FormatError,
    LimitError,
    SourceError,
    UnsupportedError,
    UsageError,
    VirtualTiffError,
)

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
HOME = "https://data.test/c/items/one.json"
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def asset(href: str, *roles: str, kind: Any = COG, **fields: Any) -> dict[str, Any]:
    stated = {"type": kind} if kind else {}
    return {"href": href, **stated, **({"roles": list(roles)} if roles else {}), **fields}


def item(assets: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    known = {"red": asset("./red.tif", "data"), "meta": asset("./m.xml", "metadata", kind="application/xml")}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "one",
        "bbox": [10, 50, 11, 51],
        "properties": {"datetime": "2024-01-03T15:30:01.123456Z"},
        "links": [{"rel": "self", "href": HOME}],
        "assets": dict(known if assets is None else assets),
        **fields,
    }


def feature(caught: pytest.ExceptionInfo[VirtualTiffError]) -> str:
    return caught.value.feature


# STAC items


def test_an_item_with_all_that_it_states() -> None:
    bands = [{"name": "r", "nodata": "nan"}, {"name": "g", "raster:scale": 0.5}]
    red = asset("s3://b/red.tif", "data", bands=bands, nodata=0, **{"proj:shape": [20, 30], "raster:offset": -1})
    own = {
        "datetime": "2024-01-03T15:30:01.5+02:00",
        "start_datetime": "2024-01-03",
        "end_datetime": "2024-01-04",
    }
    grid = {
        "proj:code": "EPSG:32632",
        "proj:transform": [10, 0, 5, 0, -10, 7, 0, 0, 1],
        "grid:code": "MGRS-32UMA",
    }
    (found,) = read_catalog(item({"red": red}, properties={**own, **grid}), properties=["grid:code", "other"])
    assert (found.href, found.item_id, found.asset) == ("s3://b/red.tif", "one", "red")
    assert found.datetime == found.moment == dt.datetime(2024, 1, 3, 13, 30, 1, 500000, tzinfo=dt.UTC)
    assert found.start == dt.datetime(2024, 1, 3, tzinfo=dt.UTC)
    assert found.end == dt.datetime(2024, 1, 4, tzinfo=dt.UTC)
    assert found.bbox == (10.0, 50.0, 11.0, 51.0)
    nodata = found.properties["raster:nodata"]
    assert math.isnan(nodata[0])
    assert nodata[1] == 0
    assert {key: value for key, value in found.properties.items() if key != "raster:nodata"} == {
        "proj:code": "EPSG:32632",
        "proj:transform": (10, 0, 5, 0, -10, 7),
        "proj:shape": (20, 30),
        "raster:scale": (None, 0.5),
        "raster:offset": (-1, -1),
        "bands": ("r", "g"),
        "grid:code": "MGRS-32UMA",
    }
    assert pickle.loads(pickle.dumps(found)).href == found.href  # noqa: S301
    assert hash(found) == hash(found)


def test_older_extensions_are_read() -> None:
    old = {"eo:bands": [{"name": "B04"}], "raster:bands": [{"nodata": 2**64 - 1, "scale": 0.1, "offset": 3}]}
    (found,) = read_catalog(item({"a": asset("a.tif", **old)}, properties={"datetime": None, "proj:epsg": 3035}))
    assert found.properties == {
        "proj:code": "EPSG:3035",
        "raster:nodata": (2**64 - 1,),
        "raster:scale": (0.1,),
        "raster:offset": (3,),
        "bands": ("B04",),
    }
    assert found.moment is None


@pytest.mark.parametrize(
    "stated",
    [
        {"proj:code": "EPSG:None", "proj:epsg": None, "proj:shape": [0, 1], "proj:transform": [1, 2]},
        {
            "proj:code": 4326,
            "proj:epsg": True,
            "proj:shape": [1.5, 2],
            "proj:transform": [1, 0, 0, 0, 1, "inf"],
        },
        {
            "proj:epsg": "4326",
            "proj:shape": "ab",
            "proj:transform": [None] * 6,
            "raster:bands": 7,
            "bands": [1],
        },
        {"proj:transform": [10**400] * 6, "nodata": 10**400, "bands": [{"nodata": True}]},
    ],
)
def test_what_is_not_sound_is_left_out(stated: dict[str, Any]) -> None:
    (found,) = read_catalog(item({"a": asset("a.tif", **stated)}, bbox=[1, None, 2, 3]))
    assert found.properties == {}
    assert found.bbox is None


def test_an_asset_may_have_its_own_time_and_a_box_may_have_heights() -> None:
    own = {"datetime": None, "start_datetime": "2020-01-01T00:00:00Z"}
    (found,) = read_catalog(item({"a": asset("a.tif", **own)}, properties={}, bbox=[1, 2, 0, 3, 4, 9]))
    assert found.moment == found.start == dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    assert found.bbox == (1, 2, 3, 4)


@pytest.mark.parametrize("moment", ["yesterday", 5, "2024-02-30T00:00:00Z"])
def test_a_damaged_time_names_the_item(moment: object) -> None:
    with pytest.raises(FormatError, match="'one'") as caught:
        read_catalog(item(properties={"datetime": moment}))
    assert feature(caught) == "bad-time"


class Stac:
    """An object as pystac has them; asking for its links would go over the network."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def to_dict(self, *, transform_hrefs: bool = True) -> dict[str, Any]:
        assert not transform_hrefs
        return self.document


class Plain:
    def to_dict(self) -> dict[str, Any]:
        return item()


def collection(*items: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(items), **fields}


@pytest.mark.parametrize(
    "source",
    [
        lambda: collection(item(), item(id="two")),
        lambda: [item(), item(id="two")],
        lambda: iter([Stac(item()), item(id="two")]),
        lambda: Stac(collection(item(), item(id="two"))),
        lambda: [collection(item()), Stac(item(id="two"))],
        lambda: {"features": [item(), item(id="two")]},
        lambda: [Plain(), item(id="two")],
    ],
)
def test_forms_of_items_in_memory(source: Callable[[], object]) -> None:
    found = read_catalog(source())
    assert [(one.item_id, one.href) for one in found] == [
        ("one", "https://data.test/c/items/red.tif"),
        ("two", "https://data.test/c/items/red.tif"),
    ]


def test_objects_of_pystac() -> None:
    pystac = pytest.importorskip("pystac")
    moment = dt.datetime(2020, 1, 1, 1, 2, 3, 456789, tzinfo=dt.UTC)
    one = pystac.Item("one", None, None, moment, {})
    one.add_asset("red", pystac.Asset("./red.tif", media_type=pystac.MediaType.COG, roles=["data"]))
    one.set_self_href(HOME)
    for source in (one, [one], pystac.ItemCollection([one])):
        (found,) = read_catalog(source)
        assert (found.href, found.datetime) == ("https://data.test/c/items/red.tif", moment)


@pytest.mark.parametrize("name", ["one.json", "one.geojson", "items.ndjson"])
def test_documents_on_disk(name: str, tmp_path: Path) -> None:
    single = item(links=[])
    text = json.dumps(single, indent=1) if name != "items.ndjson" else f"{json.dumps(single)}\n{json.dumps(single)}\n"
    (tmp_path / name).write_text("\ufeff" + text, "utf-8")
    found = read_catalog(tmp_path / name)
    assert {one.href for one in found} == {str(tmp_path / "red.tif")}
    assert len(found) == (2 if name == "items.ndjson" else 1)
    assert read_catalog(f"file://{tmp_path}/{name}") == found


def enter(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment lead to a bucket."""
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)


def test_documents_in_a_bucket(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(bucket, monkeypatch)
    bucket.store().put("c/one.json", json.dumps(item({"a": asset("../t/a b.tif")}, links=[])).encode())
    (found,) = read_catalog(f"{bucket.url}c/one.json")
    assert found.href == f"{bucket.url}t/a b.tif"


def test_documents_on_a_web_server(web: Web) -> None:
    (web.root / "one.json").write_text(json.dumps(item(links=[])))
    assert read_catalog(f"{web.url}one.json")[0].href == f"{web.url}red.tif"
    (web.root / "local.json").write_text(json.dumps(item({"a": asset("file:///etc/passwd")}, links=[])))
    with pytest.raises(UsageError, match="names the local file"):
        read_catalog(f"{web.url}local.json")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (collection(item(), links=[{"rel": "next", "href": "x"}]), "one page of several"),
        ({"type": "Collection", "id": "c"}, "STAC Collection"),
        ({"type": "Catalog", "id": "c"}, "STAC Catalog"),
    ],
)
def test_what_lists_no_files_or_not_all_is_refused(document: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_catalog(document)


@pytest.mark.parametrize("document", [{}, {"assets": []}, collection(), [], [1], 7, None, b"x", {"type": "Feature"}])
def test_what_is_no_item_is_refused(document: object) -> None:
    with pytest.raises((FormatError, SourceError)) as caught:
        read_catalog(document)
    assert feature(caught) in ("bad-catalog", "no-match")


@pytest.mark.parametrize("features", [None, "ab", [1], [[]], {}])
def test_damaged_collections_are_refused(features: object) -> None:
    with pytest.raises(FormatError):
        read_catalog({"type": "FeatureCollection", "features": features})


@pytest.mark.parametrize(
    "text", ["", "{", "[1, 2", "[" * 100_000, "nothing", '{"a": 1}{', "\x00", "{\xff", '{"type": "Feature"}']
)
def test_damaged_documents_name_the_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError) as caught:
        read_catalog(path)
    assert feature(caught) == "bad-catalog"
    assert str(path) in str(caught.value)


def test_a_missing_catalogue_and_a_tiff_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as missing:
        read_catalog(tmp_path / "items.json")
    assert feature(missing) == "not-found"
    (tmp_path / "a.tif").write_bytes(b"II*\0aaaa")
    with pytest.raises(UsageError, match="it is a TIFF"):
        read_catalog(tmp_path / "a.tif")


def test_a_catalogue_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.vrt").write_text("<VRTDataset>" + " " * 99)
    monkeypatch.setattr("virtual_tiff.cube.hrefs.MAX_XML_BYTES", 99)
    with pytest.raises(LimitError) as caught:
        read_catalog(tmp_path / "a.vrt")
    assert feature(caught) == "limit-catalog"


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["assets", "properties", "links", "bbox", "id", "type"]), JSON),
    JSON,
    JSON,
)
def test_any_json_is_read_or_refused(fields: dict[str, Any], one: Any, stated: Any) -> None:
    hostile = {
        "red": {
            **asset("a.tif", "data"),
            "proj:shape": stated,
            "bands": one,
            "datetime": stated,
            "roles": one,
        }
    }
    for document in (
        {**item(), **fields},
        item({"red": one}),
        item(hostile),
        {**item(), "properties": one},
        collection(one),
        one,
    ):
        with contextlib.suppress(VirtualTiffError):
            assert all(found.href for found in read_catalog(document))


# Which assets

MANY = {
    "B2": asset("B2.tif", "data", "reflectance"),
    "B10": asset("B10.tif", "data"),
    "visual": asset("v.tif", "visual"),
    "thumb": asset("t.png", "thumbnail", kind="image/png"),
    "old": asset("o.TIFF", "overview", kind=None),
}


@pytest.mark.parametrize(
    ("choice", "keys"),
    [
        (None, ["B2", "B10"]),
        (["visual", "B2"], ["visual", "B2"]),
        ("B10", ["B10"]),
        (["B*"], ["B2", "B10"]),
        (["role:reflectance", "role:visual"], ["B2", "visual"]),
        (["type:image/tiff"], ["B2", "B10", "visual"]),
        (["type:image/tiff;profile=cloud-optimized", "role:visual"], ["visual"]),
        (["old"], ["old"]),
        (["*", "role:data"], ["B2", "B10"]),
        (AssetChoice(names=("B2", "B3"), missing="skip"), ["B2"]),
    ],
)
def test_assets_are_chosen(choice: Any, keys: list[str]) -> None:
    assert [found.asset for found in read_catalog(item(MANY), assets=choice)] == keys


@pytest.mark.parametrize(
    "choice",
    [["B3"], ["role:nothing"], ["type:image/jp2"], ["thumb"], ["X*"], ["type:image/tiff; profile=other"]],
)
def test_a_choice_that_does_not_fit_lists_the_assets(choice: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        read_catalog(item(MANY), assets=choice)
    assert all(repr(key) in str(caught.value) for key in ("one", *MANY))


def test_without_roles_one_tiff_is_clear_and_two_are_not() -> None:
    one = asset("a.tif")
    assert [found.asset for found in read_catalog(item({"a": one, "b": asset("b.png", kind="image/png")}))] == ["a"]
    with pytest.raises(UsageError, match=r"several TIFFs and none with the role 'data'.*'a'.*'b'"):
        read_catalog(item({"a": one, "b": one}))
    with pytest.raises(UsageError, match="its assets are: none"):
        read_catalog(item({}))


def test_items_without_the_asset_are_skipped_when_that_is_asked_for() -> None:
    items = [item(MANY), item(id="two")]
    assert len(read_catalog(items, assets=AssetChoice(names=("B2",), missing="skip"))) == 1
    with pytest.raises(SourceError, match="lists no file"):
        read_catalog(items, assets=AssetChoice(names=("B99",), missing="skip"))
    with pytest.raises(UsageError, match="'two'"):
        read_catalog(items, assets=["B2"])


def test_alternate_locations() -> None:
    red = asset("https://h/a.tif", "data", alternate={"s3": {"href": "s3://b/a.tif"}, "bad": 3})
    hrefs = {
        name: read_catalog(item({"red": red}), assets=[f"alternate:{name}"])[0].href for name in ("s3", "bad", "x")
    }
    assert hrefs == {"s3": "s3://b/a.tif", "bad": "https://h/a.tif", "x": "https://h/a.tif"}


@pytest.mark.parametrize("text", ["", "role:", "type: "])
def test_an_empty_choice_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="chooses no asset"):
        AssetChoice.parse([text])


# Links


@pytest.mark.parametrize(
    ("href", "base", "expected"),
    [
        ("https://h/a%20b.tif?sig=1", None, "https://h/a%20b.tif?sig=1"),
        ("s3://b/a b.tif", "https://h/c.json", "s3://b/a b.tif"),
        ("../a.tif?x=1", "https://h/c/d/e.json", "https://h/c/a.tif?x=1"),
        ("/a.tif", "https://h/c/d.json", "https://h/a.tif"),
        ("../x/a b.tif", "s3://b/c/d.json", "s3://b/x/a b.tif"),
        ("a.tif", "gs://b/d.json", "gs://b/a.tif"),
        ("./a#b.tif", "/d/c.json", "/d/a#b.tif"),
        ("../a.tif", "file:///d/c%20c/x.json", "/d/a.tif"),
        ("/d/a.tif", None, "/d/a.tif"),
        ("file:///d/a.tif", "/x.json", "file:///d/a.tif"),
        ("/vsis3/b/a.tif", None, "s3://b/a.tif"),
    ],
)
def test_links(href: str, base: str | None, expected: str) -> None:
    assert resolve_href(href, base) == expected


@pytest.mark.parametrize(
    ("href", "base"),
    [
        ("a.tif", None),
        ("../../a.tif", "s3://b/c/d.json"),
        ("", HOME),
        ("data:image/tiff;base64,AA", HOME),
        ("file:///etc/passwd", HOME),
        ("/etc/passwd", "s3://b/a.json"),
        ("/vsizip/a.zip/a.tif", None),
    ],
)
def test_links_that_lead_nowhere(href: str, base: str | None) -> None:
    with pytest.raises((UsageError, FormatError, UnsupportedError)):
        resolve_href(href, base)


def test_the_self_link_comes_before_the_place_of_the_document(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(item()))
    assert read_catalog(tmp_path / "a.json")[0].href == "https://data.test/c/items/red.tif"
    (tmp_path / "a.json").write_text(json.dumps(item(links=[{"rel": "self", "href": "./a.json"}, 5])))
    assert read_catalog(tmp_path / "a.json")[0].href == str(tmp_path / "red.tif")
    assert read_catalog(item(links=[]), base="s3://b/i/a.json")[0].href == "s3://b/i/red.tif"
    with pytest.raises(UsageError, match="no self link"):
        read_catalog(item(links=[]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/vsicurl/https://h/a.tif?x=1", "https://h/a.tif?x=1"),
        ("/vsicurl?max_retry=3&url=https%3A//h/a.tif", "https://h/a.tif"),
        ("/vsis3_streaming/b/c/a.tif", "s3://b/c/a.tif"),
        ("/vsigs/b/a.tif", "gs://b/a.tif"),
        ("/vsiaz/c/a.tif", "az://c/a.tif"),
        ("/vsiadls/c/a.tif", "az://c/a.tif"),
        ("d/a.tif", "d/a.tif"),
    ],
)
def test_names_of_gdal(name: str, expected: str) -> None:
    assert gdal_name(name, None) == expected


@pytest.mark.parametrize(
    "name",
    [
        "/vsizip/a.zip/a.tif",
        "/vsimem/a.tif",
        "/vsis3/",
        "/vsicurl?x=1",
        "GTIFF_DIR:2:a.tif",
        "NETCDF:a.nc:v",
        "vrt://a.tif?bands=1",
        "inner.VRT",
        "/vsis3/b/inner.vrt",
        "<VRTDataset/>",
        "index.gti",
    ],
)
def test_names_of_gdal_that_are_no_file(name: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        gdal_name(name, "a.vrt")
    assert feature(caught) == "catalog"
    assert caught.value.url == "a.vrt"


def test_catalogues_are_known_by_their_names() -> None:
    known: list[str | Path] = [
        "a.json",
        "https://h/A.VRT?x=a.tif",
        "i.gti.gpkg",
        "GTI:x.db",
        "s3://b/i.parquet",
    ]
    others: list[str | Path] = ["a.tif", "https://h/a.tif?x=a.json", "s3://b/p/", "@list.txt", "*.tif"]
    assert [is_catalog(name) for name in [*known, Path("a.vrt"), *others]] == [True] * 6 + [False] * 5


# stac-geoparquet


def stac_table(items: list[dict[str, Any]], moments: pa.Array | None = None) -> pa.Table:
    """Return items in the columns of stac-geoparquet: properties on top, assets as one struct of all."""
    columns: dict[str, Any] = {
        "id": [one["id"] for one in items],
        "links": [one["links"] for one in items],
        "bbox": [dict(zip(("xmin", "ymin", "xmax", "ymax"), one["bbox"], strict=True)) for one in items],
        "assets": [one["assets"] for one in items],
    }
    names = dict.fromkeys(name for one in items for name in one["properties"])
    columns |= {name: [one["properties"].get(name) for one in items] for name in names}
    if moments is not None:
        columns["datetime"] = moments
    return pa.table(columns)


def some_items() -> list[dict[str, Any]]:
    grid = {
        "proj:code": "EPSG:32632",
        "proj:transform": [10.0, 0.0, 5.0, 0.0, -10.0, 7.0],
        "proj:shape": [20, 30],
    }
    return [
        item({"red": asset("./red.tif", "data"), "meta": asset("m.xml", "metadata", kind="text/xml")}),
        item({"nir": asset("s3://b/nir.tif", "data", nodata=0)}, id="two", links=[]),
        item(
            id="three",
            links=[],
            properties={"datetime": None, "start_datetime": "2020-01-01T00:00:00Z", **grid, "cloud": 3.5},
        ),
    ]


def timestamps(texts: list[str | None], unit: str, zone: str | None) -> pa.Array:
    parsed = pa.array([text and dt.datetime.fromisoformat(text) for text in texts], pa.timestamp("us", "UTC"))
    numbers = parsed.cast(pa.timestamp(unit, "UTC")).cast(pa.int64())
    return numbers.cast(pa.timestamp(unit, zone))


@pytest.mark.parametrize(
    ("unit", "zone", "decimals"),
    [
        ("s", None, ""),
        ("ms", "UTC", ".123"),
        ("us", None, ".123456"),
        ("us", "Europe/Berlin", ".123456"),
        ("ns", "UTC", ".123456"),
        ("text", None, ".123456"),
        ("json", None, ".1"),
    ],
)
def test_a_table_gives_what_its_items_give(unit: str, zone: str | None, decimals: str, tmp_path: Path) -> None:
    items = some_items()
    for one in items[:2]:
        one["properties"]["datetime"] = f"2024-01-03T15:30:01{decimals}Z"
    table = stac_table(items)
    if unit == "json":
        texts = [json.dumps(one["assets"]) for one in items]
        table = table.set_column(table.schema.get_field_index("assets"), "assets", pa.array(texts))
    elif unit != "text":
        table = stac_table(items, timestamps(table["datetime"].to_pylist(), unit, zone))
    path = tmp_path / "items.parquet"
    pq.write_table(table, path)
    expected = read_catalog(items, base=str(path), properties=["cloud"])
    assert read_catalog(path, properties=["cloud"]) == expected
    assert len({one.href for one in expected}) == 3
    assert expected[0].datetime == dt.datetime.fromisoformat(f"2024-01-03T15:30:01{decimals}+00:00")


def test_nanoseconds_of_a_table_are_cut_off(tmp_path: Path) -> None:
    moments = pa.array([1_999, None, 10**18 + 1], pa.timestamp("ns", "UTC"))
    pq.write_table(stac_table(some_items(), moments), tmp_path / "items.parquet")
    found = [one.datetime for one in read_catalog(tmp_path / "items.parquet")]
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    assert found == [epoch + dt.timedelta(microseconds=1), None, epoch + dt.timedelta(seconds=10**9)]


def test_times_beyond_all_years_are_refused(tmp_path: Path) -> None:
    for number, unit in ((2**50, "s"), (2**62, "us"), (-(2**60), "us")):
        moments = pa.array([number, None, None], pa.timestamp(unit, "UTC"))
        pq.write_table(stac_table(some_items(), moments), tmp_path / "items.parquet")
        with pytest.raises(FormatError):
            read_catalog(tmp_path / "items.parquet")


def test_assets_of_a_table_are_chosen(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    pq.write_table(stac_table([item(MANY), item(MANY, id="two")]), path)
    assert [found.asset for found in read_catalog(path, assets=["B10", "visual"])] == ["B10", "visual"] * 2
    assert [found.asset for found in read_catalog(path, location_field="assets.visual.href")] == ["visual"] * 2
    with pytest.raises(UsageError, match="'thumb'"):
        read_catalog(path, assets=["B3"])


def test_damaged_tables_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    pq.write_table(stac_table(some_items()), path)
    content = path.read_bytes()
    rng = np.random.default_rng(5)
    refused = 0
    for trial in range(150):
        changed = np.frombuffer(content, np.uint8).copy()
        if trial % 3:
            changed[rng.integers(4, len(changed), 8)] = rng.integers(0, 256, 8)
        else:
            changed = changed[: rng.integers(4, len(changed))]
        path.write_bytes(changed.tobytes())
        try:
            read_catalog(path)
        except VirtualTiffError as error:
            refused += 1
            assert error.url is None or str(path) in str(error)  # noqa: PT017
    assert refused > 50


def test_a_table_of_something_else_lists_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"name": ["a.tif"], "n": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="no column 'location'; it has 'name', 'n'"):
        read_catalog(tmp_path / "a.parquet")
    assert read_catalog(tmp_path / "a.parquet", location_field="name")[0].href == str(tmp_path / "a.tif")
    pq.write_table(pa.table({"location": ["a.tif", None]}), tmp_path / "a.parquet")
    with pytest.raises(FormatError, match="'location' holds None"):
        read_catalog(tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": ["a"], "assets": ["{"]}), tmp_path / "a.parquet")
    with pytest.raises(FormatError, match="no JSON"):
        read_catalog(tmp_path / "a.parquet")


# Tile indexes (GTI)


def gti(tmp_path: Path, body: str = "", index: str = "index.parquet") -> Path:
    path = tmp_path / "mosaic.gti"
    path.write_text(f"<GDALTileIndexDataset><IndexDataset>{index}</IndexDataset>{body}</GDALTileIndexDataset>")
    return path


def test_a_tile_index(tmp_path: Path) -> None:
    moments = [dt.datetime(2020, 1, 1, tzinfo=dt.UTC), None]
    table = pa.table({"location": ["t/a.tif", "/vsis3/b/c.tif"], "datetime": moments, "tile": ["a", "c"]})
    pq.write_table(table, tmp_path / "index.parquet")
    for source in (
        tmp_path / "index.parquet",
        f"GTI:{tmp_path}/index.parquet",
        gti(tmp_path),
        gti(tmp_path, index="PARQUET:index.parquet"),
    ):
        found = read_catalog(source, properties=["tile"])
        assert [(one.href, one.datetime, one.properties["tile"]) for one in found] == [
            (str(tmp_path / "t/a.tif"), moments[0], "a"),
            ("s3://b/c.tif", None, "c"),
        ]


def test_a_tile_index_with_another_column_and_values(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["/t/a.tif"]}), tmp_path / "index.parquet")
    band = '<Band band="1"><NoDataValue>4</NoDataValue></Band><Band band="2"><Scale>2</Scale></Band>'
    (found,) = read_catalog(gti(tmp_path, f"<LocationField>path</LocationField>{band}"))
    assert found.href == "/t/a.tif"
    assert found.properties == {"raster:nodata": (4.0, None), "raster:scale": (None, 2.0)}


def test_a_tile_index_over_stac(tmp_path: Path) -> None:
    pq.write_table(stac_table([item(MANY)]), tmp_path / "index.parquet")
    (found,) = read_catalog(gti(tmp_path, "<LocationField>assets.visual.href</LocationField>"))
    assert (found.asset, found.href) == ("visual", "https://data.test/c/items/v.tif")


@pytest.mark.parametrize("body", ["<Filter>a = 1</Filter>", "<SQL>SELECT 1</SQL>", "<SpatialSQL/>"])
def test_a_query_is_refused_by_name(body: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"query \((Filter|SQL|SpatialSQL)\)"):
        read_catalog(gti(tmp_path, body))


@pytest.mark.parametrize(
    ("content", "name"),
    [(b"SQLite format 3\0", "GeoPackage"), (b"fgb\x03fgb\0", "FlatGeobuf"), (b"\0\0\x27\x0a", "shapefile")],
)
def test_other_indexes_are_refused_with_a_hint(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / "index.gti.gpkg").write_bytes(content + bytes(100))
    for source in (tmp_path / "index.gti.gpkg", gti(tmp_path, index="index.gti.gpkg")):
        with pytest.raises(UnsupportedError, match=f"{name}.*ogr2ogr -f Parquet"):
            read_catalog(source)


def test_indexes_in_databases_and_nowhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="driver PG"):
        read_catalog(gti(tmp_path, index="PG:dbname=x"))
    with pytest.raises(FormatError, match="no IndexDataset"):
        read_catalog(gti(tmp_path, index=""))
    with pytest.raises(SourceError):
        read_catalog(gti(tmp_path, index="nothing.parquet"))
    (tmp_path / "index.csv").write_text("location\na.tif\n")
    with pytest.raises(UnsupportedError, match="no Parquet"):
        read_catalog(gti(tmp_path, index="index.csv"))
