"""Whatever is named as inputs becomes described files: catalogues, STAC in memory, ledgers, patterns of names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.transform import from_origin

from tests.archives import make_archive, make_tiff
from tests.servers import Bucket, FaultServer, Web
from virtual_tiff import open_cube
from virtual_tiff.cube.assets import AssetChoice
from virtual_tiff.cube.header import FileHeader, HeaderOptions
from virtual_tiff.cube.inputs import expand_inputs
from virtual_tiff.cube.item import SourceItem
from virtual_tiff.cube.ledger import ScanLedger, read_ledger
from virtual_tiff.cube.listed import InputOptions, Inputs, gather_inputs
from virtual_tiff.cube.pattern import Pattern
from virtual_tiff.cube.plan import plan_stack
from virtual_tiff.cube.publish import publish_plan
from virtual_tiff.cube.results import Failure
from virtual_tiff.cube.scan import Scan, scan, scan_async
from virtual_tiff.errors import ConformError, SourceError, UsageError

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
DAYS = (1, 4)
BANDS = ("B02", "B03", "B04")

type Facts = list[tuple[str, str | None, datetime | None, dict[str, Any]]]


def facts(found: Scan) -> Facts:
    """What is told of each file, by its path below the folder of the test."""
    return [(Path(h.place.path).name, h.item_id, h.time, dict(h.keys)) for h in found.headers]


def moment(day: int) -> datetime:
    return datetime(2024, 5, day, 10, 30, 15, 250000, UTC)


def item(day: int, assets: Mapping[str, str], **changed: Any) -> dict[str, Any]:
    """A STAC item of one day with TIFFs as assets."""
    known = {key: {"href": href, "type": COG, "roles": ["data"]} for key, href in assets.items()}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"S2_{day}",
        "geometry": None,
        "properties": {"datetime": moment(day).isoformat().replace("+00:00", "Z"), "eo:cloud_cover": 2.5 * day},
        "links": [],
        "assets": {**known, "meta": {"href": "./m.xml", "type": "application/xml", "roles": ["data"]}},
        **changed,
    }


def collection(*items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(items)}


@pytest.fixture
def scenes(tmp_path: Path) -> npt.NDArray[Any]:
    """Write scenes ``in/S2_DAY_BAND.tif``; return their pixels, of shape (day, band, y, x)."""
    (tmp_path / "in").mkdir()
    return np.array(
        [
            [make_tiff(tmp_path / f"in/S2_{day}_{band}.tif", 10 * day + number)[0] for number, band in enumerate(BANDS)]
            for day in DAYS
        ]
    )


def stac(folder: Path, *, relative: bool = False, bands: Sequence[str] = BANDS, **changed: Any) -> dict[str, Any]:
    """An item collection of the scenes."""
    top = "./" if relative else f"{folder}/in/"
    return collection(*(item(day, {band: f"{top}S2_{day}_{band}.tif" for band in bands}, **changed) for day in DAYS))


def expected(bands: Sequence[str] = BANDS, **more: Any) -> Facts:
    several = len(bands) > 1
    return [
        (
            f"S2_{day}_{band}.tif",
            f"S2_{day}",
            moment(day),
            {"asset": band, **({"band": band} if several else {}), **more},
        )
        for day in DAYS
        for band in bands
    ]


# STAC


class Object:
    """An item as pystac and others have it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def to_dict(self, *, transform_hrefs: bool = True) -> dict[str, Any]:
        assert not transform_hrefs
        return self.document


def on_disk(folder: Path) -> str:
    (folder / "in/items.json").write_text(json.dumps(stac(folder, relative=True)))
    return f"{folder}/in/items.json"


def in_lines(folder: Path) -> str:
    lines = [json.dumps(feature) for feature in stac(folder, relative=True)["features"]]
    (folder / "in/items.ndjson").write_text("\n".join(lines))
    return f"{folder}/in/items.ndjson"


def in_list(folder: Path) -> str:
    (folder / "list.txt").write_text(f"# catalogues\n{on_disk(folder)}\n")
    (folder / "lists.txt").write_text(f"@{folder}/list.txt\n")
    return f"@{folder}/lists.txt"


def in_glob(folder: Path) -> str:
    on_disk(folder)
    return f"{folder}/in/*.json"


def in_table(folder: Path) -> str:
    items = stac(folder, relative=True)["features"]
    columns = {
        "id": [one["id"] for one in items],
        "links": [[{"rel": "root", "href": "x"}] for _ in items],
        "assets": [one["assets"] for one in items],
        "datetime": pa.array([moment(day) for day in DAYS], pa.timestamp("ms", "UTC")),
    }
    pq.write_table(pa.table(columns), folder / "in/items.parquet")
    return f"{folder}/in/items.parquet"


def in_pystac(folder: Path) -> Any:
    pystac = pytest.importorskip("pystac")
    return pystac.ItemCollection.from_dict(stac(folder))


FORMS: list[Callable[[Path], Any]] = [
    stac,
    lambda folder: [stac(folder)],
    lambda folder: stac(folder)["features"],
    lambda folder: [Object(stac(folder)["features"][0]), stac(folder)["features"][1]],
    lambda folder: [[stac(folder)["features"][0]], iter([stac(folder)["features"][1]])],
    lambda folder: Object(stac(folder)),
    on_disk,
    lambda folder: [Path(on_disk(folder))],
    in_lines,
    in_list,
    in_glob,
    lambda folder: [in_table(folder)],
    in_pystac,
    lambda folder: [in_pystac(folder)],
    lambda folder: list(in_pystac(folder)),
]


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_stac_say_the_same(form: Callable[[Path], Any], tmp_path: Path, scenes: Any) -> None:
    del scenes
    found = scan(form(tmp_path))
    assert facts(found) == expected()
    assert not found.failures


def test_assets_become_a_band_axis_or_variables(tmp_path: Path, scenes: npt.NDArray[Any]) -> None:
    headers = scan(stac(tmp_path), assets=["B02", "B04"]).headers
    assert len(headers) == 4
    publish_plan(plan_stack(headers, time="keys"), tmp_path / "cube")
    cube = open_cube(tmp_path / "cube")
    assert cube["band"].values.tolist() == ["B02", "B04"]
    np.testing.assert_array_equal(
        cube["time"].values, np.array([moment(day).replace(tzinfo=None) for day in DAYS], "M8[us]")
    )
    pixels = cube["band_data"].transpose("time", "band", "y", "x").values
    np.testing.assert_array_equal(pixels, scenes[:, [0, 2]])
    publish_plan(plan_stack(headers, time="keys", band_as="variable"), tmp_path / "variables")
    cube = open_cube(tmp_path / "variables")
    for number, band in enumerate(BANDS):
        if band != "B03":
            np.testing.assert_array_equal(cube[band].values, scenes[:, number])


def test_bands_are_told_where_items_have_several_assets(tmp_path: Path, scenes: Any) -> None:
    del scenes
    assert facts(scan(stac(tmp_path), assets=["B03"])) == expected(["B03"])
    for asked, several in ((True, True), (False, False), (None, False)):
        inputs = gather_inputs(stac(tmp_path), InputOptions(assets=["B03"], asset_bands=asked))
        assert {"band" in header.keys for header in scan(inputs).headers} == {several}
    make_tiff(tmp_path / "in/visual.tif", shape=(3, 70, 90))
    both = item(1, {"B02": f"{tmp_path}/in/S2_1_B02.tif", "visual": f"{tmp_path}/in/visual.tif"})
    keys = [dict(header.keys) for header in scan(both).headers]
    assert keys == [{"asset": "B02", "band": "B02"}, {"asset": "visual", "band": "visual"}]


def test_properties_that_are_asked_for_become_keys(tmp_path: Path, scenes: Any) -> None:
    del scenes
    found = scan(stac(tmp_path), assets=["B03"], properties=["eo:cloud_cover", "datetime", "none"])
    assert [header.keys["eo:cloud_cover"] for header in found.headers] == [2.5, 10.0]
    odd = {"datetime": None, "start_datetime": "2024-05-01T00:00:00Z", "end_datetime": "2024-05-02T00:00:00Z"}
    odd_numbers = {"a": float("nan"), "b": [1], "c": True, "d": 7}
    (header,) = scan(
        item(1, {"B02": f"{tmp_path}/in/S2_1_B02.tif"}, properties=odd | odd_numbers),
        properties=["a", "b", "c", "d"],
        ledger=tmp_path / "scan.parquet",
    ).headers
    assert header.time == datetime(2024, 5, 1, tzinfo=UTC)
    assert header.keys == {"asset": "B02", "c": True, "d": 7}
    assert read_ledger(tmp_path / "scan.parquet").headers[0].keys == header.keys


def test_choices_without_a_catalogue_are_refused(tmp_path: Path) -> None:
    make_archive(tmp_path, 1)
    for choice in ({"assets": ["B02"]}, {"location_field": "path"}):
        with pytest.raises(UsageError, match="no input is a catalogue"):
            scan([tmp_path], **choice)
    with pytest.raises(UsageError, match="parts='half'"):
        scan([tmp_path], parts="half")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="has no field"):
        scan([tmp_path], pattern="a.tif")


def test_options_come_back_from_json() -> None:
    assert InputOptions.from_json(json.loads(json.dumps(InputOptions().to_json()))) == InputOptions()
    options = InputOptions(
        pattern=Pattern("{tile}.tif"),
        assets=AssetChoice(names=("B0?",), missing="skip"),
        properties=("a", "b"),
        location_field="path",
        parts="whole",
        asset_bands=True,
    )
    back = InputOptions.from_json(json.loads(json.dumps(options.to_json())))
    assert (back.compiled(), back.choice()) == (options.compiled(), options.choice())
    assert replace(back, pattern=None) == replace(options, pattern=None)


@pytest.mark.parametrize("inputs", [3, [3], [None], b"a.tif", [b"a.tif"]])
def test_what_is_no_input_is_refused(inputs: Any) -> None:
    with pytest.raises(UsageError, match="is no input"):
        scan(inputs)


def test_one_input_needs_no_list(tmp_path: Path) -> None:
    make_archive(tmp_path, 1)
    for one in (str(tmp_path), tmp_path / "s0.tif", SourceItem(href=f"{tmp_path}/s0.tif")):
        assert [name for name, *_ in facts(scan(one))] == ["s0.tif"]
    with pytest.raises(SourceError):
        scan([])
    with pytest.raises(UsageError, match="relative"):
        scan(item(1, {"B02": "./s0.tif"}))


# Patterns of names


def test_a_pattern_gives_times_tiles_and_bands(tmp_path: Path) -> None:
    pixels: dict[tuple[int, str, str], npt.NDArray[Any]] = {}
    for day, tile, band in ((d, t, b) for d in (3, 1) for t in ("33UVP", "33UVQ") for b in ("B2", "B10")):
        name = f"{tile}_202405{day:02}_{band}.tif"
        pixels[day, tile, band] = make_tiff(tmp_path / name, len(pixels))[0]
    found = scan([tmp_path], pattern="{tile}_{time:%Y%m%d}_{band}.tif")
    assert len(found.headers) == 8
    for header in found.headers:
        tile, date, band = Path(header.place.path).stem.split("_")
        assert header.time == datetime(2024, 5, int(date[-2:]), tzinfo=UTC)
        assert header.keys == {"tile": tile, "band": band}
    publish_plan(plan_stack(found.headers, time="keys", axes=("tile",)), tmp_path / "cube")
    cube = open_cube(tmp_path / "cube")["band_data"]
    assert cube["band"].values.tolist() == ["B2", "B10"]
    for (day, tile, band), own in pixels.items():
        part = cube.sel(time=f"2024-05-{day:02}", tile=tile, band=band)
        np.testing.assert_array_equal(part.values.reshape(own.shape), own)


def test_files_that_do_not_match_are_failures_that_are_not_read(faults: FaultServer, tmp_path: Path) -> None:
    for name in ("a_1.tif", "a_2.tif", "other.tif"):
        make_tiff(faults.root / name)
    urls = [f"{faults.url}{name}" for name in ("a_1.tif", "other.tif", "a_2.tif")]
    book = tmp_path / "scan.parquet"
    found = scan(urls, pattern=Pattern("a_{n:d}.tif"), ledger=book)
    assert [dict(header.keys) for header in found.headers] == [{"n": 1}, {"n": 2}]
    (failure,) = found.failures
    assert isinstance(failure.error, ConformError)
    assert failure.url == urls[1]
    for words in (urls[1], "'a_{n:d}.tif'"):
        assert words in str(failure.error)
    assert not faults.gets("other.tif")
    assert [one.url for one in read_ledger(book).failures] == [urls[1]]
    faults.forget()
    with pytest.raises(ConformError, match="does not match"):
        scan(urls, pattern="a_{n:d}.tif", on_error="raise")
    assert not faults.log
    assert len(scan(urls, ledger=book).headers) == 3
    ambiguous = scan([f"{faults.url}a_1_2.tif"], pattern="{x1}_{x2}.tif").failures
    assert "more than one way" in str(ambiguous[0].error)


def test_a_pattern_may_look_at_folders(tmp_path: Path) -> None:
    for year in (2023, 2024):
        make_archive(tmp_path / f"{year}/B2", 1)
    found = scan([tmp_path], pattern="{time:%Y}/{band}/s{n:d}.tif")
    assert [(h.time, dict(h.keys)) for h in found.headers] == [
        (datetime(year, 1, 1, tzinfo=UTC), {"band": "B2", "n": 0}) for year in (2023, 2024)
    ]


def test_a_pattern_goes_before_the_catalogue(tmp_path: Path, scenes: Any) -> None:
    del scenes
    found = scan(stac(tmp_path, bands=["B02"]), pattern="S2_{day:d}_{name}.tif")
    assert facts(found) == [
        (f"S2_{day}_B02.tif", f"S2_{day}", moment(day), {"asset": "B02", "day": day, "name": "B02"}) for day in DAYS
    ]
    for name in ("2021_B07.tif", "2021_B08.tif", "x.tif"):
        make_tiff(tmp_path / name)
    three = item(
        1,
        {key: f"{tmp_path}/{name}" for key, name in zip("abc", ("2021_B07.tif", "2021_B08.tif", "x.tif"), strict=True)},
    )
    found = scan(three, pattern="{time:%Y}_{band}.tif")
    assert facts(found) == [
        (f"2021_{band}.tif", "S2_1", datetime(2021, 1, 1, tzinfo=UTC), {"asset": asset, "band": band})
        for asset, band in (("a", "B07"), ("b", "B08"))
    ]
    assert [(failure.item_id, failure.time) for failure in found.failures] == [("S2_1", moment(1))]


# Ledgers


def same(one: Sequence[FileHeader], other: Sequence[FileHeader]) -> bool:
    """Whether headers say the same, but for what compares by identity; arrays are compared by their references."""
    skipped = {"array", "levels", "masks", "metadata"}
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left.array.offsets, right.array.offsets)
        assert left.array.zarr_json() == right.array.zarr_json()
        for field in fields(FileHeader):
            if field.name not in skipped:
                assert getattr(left, field.name) == getattr(right, field.name), field.name
    return True


def test_a_ledger_is_an_input_that_needs_no_sources(tmp_path: Path, scenes: npt.NDArray[Any]) -> None:
    del scenes
    book = tmp_path / "scan.parquet"
    first = scan(stac(tmp_path), properties=["eo:cloud_cover"], ledger=book)
    shutil.rmtree(tmp_path / "in")
    again = scan([book])
    assert (first.reused, again.reused) == (0, 6)
    assert (
        facts(again)
        == facts(first)
        == expected()[:0]
        + [
            (name, item_id, time, keys | {"eo:cloud_cover": 2.5 * int(name[3])})
            for name, item_id, time, keys in expected()
        ]
    )
    assert same(first.headers, again.headers)
    assert same(first.headers, scan(str(book), ledger=tmp_path / "copy.parquet").headers)
    assert same(first.headers, scan(tmp_path / "copy.parquet").headers)
    (tmp_path / "list.txt").write_text(f"{book}\n")
    assert facts(scan(f"@{tmp_path}/list.txt")) == facts(first)
    plan = plan_stack(again.headers, time="keys")
    assert len(plan.headers) == 6


async def test_gathered_inputs_can_be_awaited_and_narrowed(tmp_path: Path, scenes: Any) -> None:
    del scenes
    book = tmp_path / "scan.parquet"
    scan(stac(tmp_path, bands=["B02"]), ledger=book)
    shutil.move(tmp_path / "in/S2_1_B02.tif", tmp_path / "gone.tif")
    inputs = gather_inputs([str(book), stac(tmp_path, bands=["B03"])], InputOptions(pattern="S2_{day:d}_{band}.tif"))
    assert isinstance(inputs, Inputs)
    found = await scan_async(inputs)
    assert found.reused == 2
    bands = [(header.keys["asset"], header.keys["band"], header.keys["day"]) for header in found.headers]
    assert bands == [("B02", "B02", 1), ("B02", "B02", 4), ("B03", "B03", 1), ("B03", "B03", 4)]
    few = inputs.only(place for place in inputs.places if "_4_" in place.url)
    assert facts(await scan_async(few)) == [one for one in facts(found) if "_4_" in one[0]]
    with pytest.raises(UsageError, match="overviews=False, not True"):
        await scan_async(inputs, overviews=True)
    with pytest.raises(UsageError, match="gather_inputs"):
        scan(inputs, pattern="{band}.tif")
    places = expand_inputs([tmp_path / "in"])
    assert len((await scan_async(places)).headers) == 5


def test_a_ledger_of_other_options_is_refused_as_an_input(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 1)
    scan([tmp_path / "in"], ledger=tmp_path / "scan.parquet", overviews=True)
    with pytest.raises(UsageError, match="overviews=True, not False"):
        scan([tmp_path / "scan.parquet"])
    with pytest.raises(UsageError, match="ifd="):
        scan([tmp_path / "scan.parquet"], overviews=True, ifd=1)
    assert len(scan([tmp_path / "scan.parquet"], overviews=True).headers[0].levels) == 1


def test_what_failed_is_read_again_with_what_was_known_of_it(tmp_path: Path, scenes: Any) -> None:
    del scenes
    book = tmp_path / "scan.parquet"
    whole = (tmp_path / "in/S2_4_B03.tif").read_bytes()
    (tmp_path / "in/S2_4_B03.tif").write_bytes(b"no tiff at all")
    (failure,) = scan(stac(tmp_path), ledger=book).failures
    assert (failure.item_id, failure.time, failure.keys) == ("S2_4", moment(4), {"asset": "B03", "band": "B03"})
    assert [one.error.feature for one in scan(book).failures] == ["not-a-tiff"]
    (tmp_path / "in/S2_4_B03.tif").write_bytes(whole)
    found = scan(book)
    assert found.reused == 5
    assert sorted(facts(found)) == sorted(expected())


def test_what_a_catalogue_refused_stays_refused_in_the_ledger(tmp_path: Path) -> None:
    make_tiff(tmp_path / "a.tif", shape=(2, 70, 90))
    (tmp_path / "mosaic.vrt").write_text(
        '<VRTDataset rasterXSize="90" rasterYSize="70"><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">a.tif</SourceFilename><SourceBand>2</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    book = tmp_path / "scan.parquet"
    for inputs in ([tmp_path / "mosaic.vrt"], [book], [book]):
        found = scan(inputs, ledger=None if inputs == [book] else book)
        assert not found.headers
        assert "other bands" in str(found.failures[0].error)
    assert len(scan([book, tmp_path / "a.tif"]).headers) == 1


def test_a_new_pattern_is_applied_to_known_files(tmp_path: Path) -> None:
    for name in ("a_2024.tif", "b_2025.tif"):
        make_tiff(tmp_path / name)
    book = tmp_path / "scan.parquet"
    files = f"{tmp_path}/*.tif"
    assert [dict(h.keys) for h in scan(files, pattern="{tile}_{n:d}.tif", ledger=book).headers] == [
        {"tile": "a", "n": 2024},
        {"tile": "b", "n": 2025},
    ]
    found = scan(files, pattern="{name}_{time:%Y}.tif", ledger=book)
    assert found.reused == 2
    assert [(h.time, dict(h.keys)) for h in found.headers] == [
        (datetime(2024, 1, 1, tzinfo=UTC), {"name": "a"}),
        (datetime(2025, 1, 1, tzinfo=UTC), {"name": "b"}),
    ]
    for kept in (read_ledger(book), scan(book), scan(files, ledger=book, refresh=True)):
        assert sorted(facts(kept)) == sorted(facts(found))
    (header, other) = scan(book, pattern="{name}_{n:d}.tif").headers
    assert (header.time, dict(header.keys)) == (datetime(2024, 1, 1, tzinfo=UTC), {"name": "a", "n": 2024})
    assert other.keys["n"] == 2025
    assert [failure.url for failure in scan(book, pattern="a_{n:d}.tif").failures] == [other.url]


def test_refresh_reads_changed_files_of_a_ledger_that_is_an_input(tmp_path: Path, scenes: Any) -> None:
    del scenes
    book = tmp_path / "scan.parquet"
    scan(stac(tmp_path, bands=["B02"]), ledger=book)
    make_tiff(tmp_path / "in/S2_4_B02.tif", 99, shape=(1, 40, 40))
    assert [header.array.shape for header in scan(book).headers] == [(70, 90)] * 2
    found = scan(book, refresh=True)
    assert [header.array.shape for header in found.headers] == [(70, 90), (40, 40)]
    assert facts(found) == expected(["B02"])
    with pytest.raises(UsageError, match="without a ledger"):
        scan(tmp_path / "in", refresh=True)


def test_a_ledger_may_be_input_and_output_at_once(tmp_path: Path, scenes: Any) -> None:
    del scenes
    book = tmp_path / "scan.parquet"
    scan(stac(tmp_path), ledger=book)
    make_tiff(tmp_path / "in/S2_4_B02.tif", 99, shape=(1, 40, 40))
    with ThreadPoolExecutor(2) as executor:
        found = scan(book, ledger=book, refresh=True, pattern="S2_{day:d}_*.tif", executor=executor)
    assert found.reused == 5
    assert sorted(facts(found)) == sorted(
        (name, item_id, time, keys | {"day": int(name[3])}) for name, item_id, time, keys in expected()
    )
    assert sorted(facts(read_ledger(book))) == sorted(facts(found))
    assert {header.array.shape for header in scan(book).headers} == {(70, 90), (40, 40)}


def test_an_unfinished_ledger_is_an_input(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 2)
    headers = scan(tmp_path / "in").headers
    book = ScanLedger(tmp_path / "scan.parquet", HeaderOptions())
    with book:
        book.add(headers[0])
        book.flush()
        assert not (tmp_path / "scan.parquet").exists()
        assert [header.url for header in scan(tmp_path / "scan.parquet").headers] == [headers[0].url]
        book.add(Failure(headers[1].place, SourceError("gone", feature="not-found")))
    assert len(scan(tmp_path / "scan.parquet").headers) == 2
    with ScanLedger(tmp_path / "none.parquet"):
        pass
    with pytest.raises(SourceError, match="does not exist"):
        scan(tmp_path / "none.parquet")


def test_mixed_inputs_come_once_each(tmp_path: Path, scenes: Any) -> None:
    del scenes
    make_archive(tmp_path / "plain", 3)
    book = tmp_path / "scan.parquet"
    scan([tmp_path / "plain/s1.tif"], ledger=book)
    (tmp_path / "plain/s1.tif").unlink()
    (tmp_path / "list.txt").write_text(f"{tmp_path}/plain/s2.tif\n{on_disk(tmp_path)}\n")
    inputs = [f"@{tmp_path}/list.txt", str(book), stac(tmp_path)["features"][0], f"{tmp_path}/plain", str(book)]
    found = scan(inputs)
    plain: Facts = [(f"s{n}.tif", None, None, {}) for n in range(3)]
    assert found.reused == 1
    assert facts(found) == plain + expected()
    moved = stac(tmp_path)["features"][0] | {"id": "another"}
    with pytest.raises(UsageError, match="once"):
        scan([stac(tmp_path), moved])


# Lists and ledgers on stores


def enter(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)


def test_lists_catalogues_and_ledgers_in_a_bucket(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scenes: Any
) -> None:
    del scenes
    enter(bucket, monkeypatch)
    store = bucket.store()
    for path in (tmp_path / "in").iterdir():
        store.put(f"p/in/{path.name}", path.read_bytes())
    store.put("p/in/items.json", json.dumps(stac(tmp_path, relative=True)).encode())
    store.put("p/list.txt", b"\xef\xbb\xbf# all\nin/\nin/items.json\n")
    store.put("p/files.txt", f"in/S2_4_*.tif\n{bucket.url}p/in/S2_1_B03.tif\n@./more/list.txt\n".encode())
    store.put("p/more/list.txt", b"../in/S2_1_B02.tif\n")
    assert sorted(facts(scan(f"@{bucket.url}p/list.txt"))) == sorted(expected())
    names = [name for name, *_ in facts(scan(f"@{bucket.url}p/files.txt"))]
    assert names == [f"S2_4_{band}.tif" for band in BANDS] + ["S2_1_B03.tif", "S2_1_B02.tif"]
    scan(f"{bucket.url}p/in/items.json", ledger=tmp_path / "scan.parquet")
    store.put("p/scan.parquet", (tmp_path / "scan.parquet").read_bytes())
    for path in (tmp_path / "in").iterdir():
        store.delete(f"p/in/{path.name}")
    found = scan(f"{bucket.url}p/scan.parquet")
    assert found.reused == 6
    assert facts(found) == expected()
    store.put("p/bad.txt", b"/etc/passwd\n")
    with pytest.raises(UsageError, match="local file"):
        scan(f"@{bucket.url}p/bad.txt")


def test_a_list_on_a_web_server(web: Web) -> None:
    make_archive(web.root / "in", 2)
    (web.root / "list.txt").write_text(f"in/s1.tif\n{web.url}in/s0.tif\n/in/s1.tif\n")
    assert [name for name, *_ in facts(scan(f"@{web.url}list.txt"))] == ["s1.tif", "s0.tif"]
    with pytest.raises(SourceError) as caught:
        scan(f"@{web.url}none.txt")
    assert caught.value.feature == "not-found"


def test_a_list_that_names_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"@{tmp_path}/b.txt\n")
    (tmp_path / "b.txt").write_text(f"@{tmp_path}/a.txt\n")
    with pytest.raises(UsageError, match="names itself"):
        scan(f"@{tmp_path}/a.txt")


# VRT


def place(name: str, band: int, at: tuple[int, int] = (0, 0), size: tuple[int, int] = (90, 70)) -> str:
    """A file of a VRT."""
    inside = f'xSize="{size[0]}" ySize="{size[1]}"'
    return (
        f'<SimpleSource><SourceFilename relativeToVRT="1">{name}</SourceFilename><SourceBand>{band}</SourceBand>'
        f'<SrcRect xOff="0" yOff="0" {inside}/><DstRect xOff="{at[0]}" yOff="{at[1]}" {inside}/></SimpleSource>'
    )


def mosaic(folder: Path, *bands: str, width: int = 90) -> Path:
    text = "".join(f'<VRTRasterBand dataType="UInt16" band="{n}">{b}</VRTRasterBand>' for n, b in enumerate(bands, 1))
    (folder / "a.vrt").write_text(f'<VRTDataset rasterXSize="{width}" rasterYSize="70">{text}</VRTDataset>')
    return folder / "a.vrt"


def test_files_of_a_vrt(tmp_path: Path) -> None:
    left, right = (from_origin(500000.0 + 960 * n, 4600000.0, 10.0, 10.0) for n in (0, 1))
    pixels = [
        make_tiff(tmp_path / f"{name}.tif", n, transform=transform, shape=(1, 70, 96))
        for n, (name, transform) in enumerate({"a": left, "b": right}.items())
    ]
    path = mosaic(tmp_path, place("a.tif", 1, size=(96, 70)) + place("b.tif", 1, (96, 0), (96, 70)), width=192)
    found = scan(path)
    assert facts(found) == [("a.tif", None, None, {}), ("b.tif", None, None, {})]
    publish_plan(plan_stack(found.headers, mosaic=True), tmp_path / "cube")
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), np.hstack([one[0] for one in pixels]))
        np.testing.assert_array_equal(open_cube(tmp_path / "cube")["band_data"].values, file.read(1))


def test_a_vrt_of_single_bands_names_them(tmp_path: Path) -> None:
    make_archive(tmp_path, 2)
    found = scan(mosaic(tmp_path, place("s1.tif", 1), place("s0.tif", 1)))
    assert [(name, keys) for name, _, _, keys in facts(found)] == [("s1.tif", {"band": 1}), ("s0.tif", {"band": 2})]
    described = [f"<Description>{name}</Description>" for name in ("red", "nir")]
    found = scan(mosaic(tmp_path, *(place(f"s{n}.tif", 1) + text for n, text in enumerate(described))))
    assert [keys for *_, keys in facts(found)] == [{"band": "red"}, {"band": "nir"}]


def test_parts_of_files_are_taken_whole_when_asked(tmp_path: Path) -> None:
    make_archive(tmp_path, 1, shape=(2, 70, 90))
    path = mosaic(tmp_path, place("s0.tif", 1, size=(50, 40)), place("s0.tif", 2, size=(50, 40)))
    (failure,) = scan(path).failures
    assert "only a part" in str(failure.error)
    assert len(scan(path, parts="whole").headers) == 1
    path = mosaic(tmp_path, place("s0.tif", 2), place("s0.tif", 1))
    (failure,) = scan(path, parts="whole").failures
    assert "another order" in str(failure.error)
