"""A VRT is a list of TIFFs when GDAL reads from it what stands in them, and is refused by name when not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import rasterio.shutil
from rasterio.transform import from_origin
from rasterio.windows import Window

from tests.servers import Bucket, Web
from virtual_tiff.cube.catalog import read_catalog
from virtual_tiff.cube.item import MosaicUse
from virtual_tiff.errors import FormatError, UnsupportedError, UsageError


def tiff(
    path: Path, *, width: int = 6, height: int = 4, bands: int = 1, seed: int = 0, nodata: float | None = None
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(1, 250, (bands, height, width)).astype(np.uint8)
    grid = {"transform": from_origin(100, 50, 2, 2), "crs": "EPSG:32632"}
    size = {"width": width, "height": height, "count": bands}
    with rasterio.open(path, "w", driver="GTiff", dtype="uint8", nodata=nodata, **grid, **size) as file:
        file.write(pixels)
    return path


def rect(tag: str, x: float, y: float, width: float, height: float) -> str:
    return f'<{tag} xOff="{x}" yOff="{y}" xSize="{width}" ySize="{height}"/>'


def source(
    name: str,
    *,
    band: str = "1",
    kind: str = "SimpleSource",
    at: tuple[float, float] = (0, 0),
    size: tuple[float, float] = (6, 4),
    of: tuple[float, float, float, float] | None = None,
    extra: str = "",
    relative: str = 'relativeToVRT="1"',
    stated: str = '<SourceProperties RasterXSize="6" RasterYSize="4" DataType="Byte" BlockXSize="6" BlockYSize="4"/>',
) -> str:
    window = of or (0, 0, *size)
    return (
        f"<{kind}><SourceFilename {relative}>{name}</SourceFilename><SourceBand>{band}</SourceBand>{stated}"
        f"{rect('SrcRect', *window)}{rect('DstRect', *at, *size)}{extra}</{kind}>"
    )


def vrt(*bands: str, size: tuple[int, int] = (6, 4), attributes: str = "", head: str = "") -> str:
    grid = "<SRS>EPSG:32632</SRS><GeoTransform>100, 2, 0, 50, 0, -2</GeoTransform>"
    body = "".join(
        band
        if band.startswith("<VRTRasterBand")
        else f'<VRTRasterBand dataType="Byte" band="{n}">{band}</VRTRasterBand>'
        for n, band in enumerate(bands, 1)
    )
    return f'<VRTDataset rasterXSize="{size[0]}" rasterYSize="{size[1]}"{attributes}>{grid}{head}{body}</VRTDataset>'


def written(folder: Path, text: str) -> Path:
    path = folder / "mosaic.vrt"
    path.write_text(text, "utf-8")
    return path


def drawn(path: Path, **options: Any) -> npt.NDArray[Any]:
    """Draw a mosaic from nothing but the list of its files, whose pixels rasterio reads."""
    with rasterio.open(path) as mosaic:
        canvas = np.zeros(mosaic.shape if mosaic.count == 1 else (mosaic.count, *mosaic.shape), mosaic.dtypes[0])
        if mosaic.nodata is not None:
            canvas[:] = mosaic.nodata
    canvas = canvas.reshape(-1, *canvas.shape[-2:])
    for found in read_catalog(path, **options):
        assert found.use is not None
        with rasterio.open(found.href) as file:
            window = None if found.use.window is None else Window(*found.use.window)
            for band, into in zip(found.use.bands, found.use.into, strict=True):
                x, y, width, height = found.use.target
                canvas[into, y : y + height, x : x + width] = file.read(band + 1, window=window)
    return canvas


def agrees(path: Path, **options: Any) -> bool:
    with rasterio.open(path) as mosaic:
        return bool((drawn(path, **options) == mosaic.read()).all())


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    for number, name in enumerate(["a", "b", "c & d"]):
        tiff(tmp_path / f"t/{name}.tif", seed=number, bands=2)
    return tmp_path


def test_a_mosaic_of_tiles_is_what_gdal_reads(tiles: Path) -> None:
    places = {"a": (0, 0), "b": (6, 0), "c &amp; d": (6, 4)}
    bands = [
        "".join(source(f"t/{name}.tif", band=str(band), at=at) for name, at in places.items())
        + f"<NoDataValue>255</NoDataValue><Scale>{band}</Scale><Description>band{band}</Description>"
        for band in (1, 2)
    ]
    path = written(tiles, vrt(*bands, size=(12, 8)))
    assert agrees(path)
    found = read_catalog(path)
    assert [one.href for one in found] == [str(tiles / f"t/{name}.tif") for name in ("a", "b", "c & d")]
    assert found[2].use == MosaicUse(bands=(0, 1), into=(0, 1), window=(0, 0, 6, 4), target=(6, 4, 6, 4))
    assert found[2].use.takes_whole(4, 6)
    assert not found[2].use.takes_whole(6, 4)
    assert found[2].properties == {
        "proj:code": "EPSG:32632",
        "proj:shape": (4, 6),
        "proj:transform": (2, 0, 112, 0, -2, 42),
        "raster:nodata": (255, 255),
        "raster:scale": (1, 2),
        "bands": ("band1", "band2"),
    }
    assert [one.item_id for one in found] == [one.datetime for one in found] == [None] * 3


def test_separate_bands_and_swapped_ones(tiles: Path) -> None:
    path = written(tiles, vrt(source("t/a.tif", band="2"), source("t/b.tif"), source("t/a.tif", band="1")))
    assert agrees(path)
    uses = [(Path(one.href).name, one.use and (one.use.bands, one.use.into)) for one in read_catalog(path)]
    assert uses == [("a.tif", ((1, 0), (0, 2))), ("b.tif", ((0,), (1,)))]


def test_a_vrt_that_gdal_has_written(tiles: Path) -> None:
    rasterio.shutil.copy(tiles / "t/a.tif", tiles / "t/copy.vrt", driver="VRT")
    assert agrees(tiles / "t/copy.vrt")
    assert [one.href for one in read_catalog(tiles / "t/copy.vrt")] == [str(tiles / "t/a.tif")]


@pytest.mark.parametrize(
    "text",
    [
        "<SimpleSource><SourceFilename relativeToVRT='1'>t/a.tif</SourceFilename></SimpleSource>",
        source("t/a.tif", extra="<OpenOptions><OOI key='NUM_THREADS'>2</OOI></OpenOptions>"),
        source("t/a.tif", kind="ComplexSource", extra="<ScaleOffset>0</ScaleOffset><ScaleRatio>1</ScaleRatio>"),
        source("t/a.tif", kind="ComplexSource", extra="<NODATA>0</NODATA>") + "<NoDataValue>0</NoDataValue>",
        source("t/a.tif").replace("<SimpleSource>", '<SimpleSource resampling="cubic">'),
        source("t/a.tif", at=(0.0004, -0.0004), of=(0.0001, 0, 6, 4)),
        source("t/a.tif", stated=""),
        source("t/a.tif", relative='relativetoVRT="1" shared="0"'),
    ],
)
def test_forms_of_sources_that_change_no_pixel(text: str, tiles: Path) -> None:
    path = written(tiles, vrt(text))
    assert agrees(path)
    assert len(read_catalog(path)) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (vrt(source("t/a.tif"), attributes=' subClass="VRTWarpedDataset"'), "VRTWarpedDataset"),
        (vrt(source("t/a.tif"), attributes=' subClass="VRTPansharpenedDataset"'), "VRTPansharpenedDataset"),
        (vrt(source("t/a.tif"), attributes=' subClass="VRTProcessedDataset"'), "VRTProcessedDataset"),
        (vrt('<VRTRasterBand dataType="Byte" subClass="VRTDerivedRasterBand"/>'), "VRTDerivedRasterBand"),
        (vrt('<VRTRasterBand dataType="Byte" subClass="VRTRawRasterBand"/>'), "VRTRawRasterBand"),
        (vrt("<PixelFunctionType>sum</PixelFunctionType>" + source("t/a.tif")), "PixelFunctionType"),
        (vrt(source("t/a.tif", kind="KernelFilteredSource")), "KernelFilteredSource"),
        (vrt(source("t/a.tif", kind="AveragedSource")), "AveragedSource"),
        (vrt(source("t/a.tif", kind="NoDataFromMaskSource")), "NoDataFromMaskSource"),
        (vrt("<ArraySource/>"), "ArraySource"),
        (vrt(source("t/a.tif", kind="simplesource")), "simplesource"),
        (vrt(source("t/a.tif", kind="ComplexSource", extra="<LUT>0:1,255:2</LUT>")), "LUT"),
        (vrt(source("t/a.tif", kind="ComplexSource", extra="<ScaleRatio>2</ScaleRatio>")), "ScaleRatio"),
        (vrt(source("t/a.tif", kind="ComplexSource", extra="<ScaleOffset>-1</ScaleOffset>")), "ScaleOffset"),
        (vrt(source("t/a.tif", kind="ComplexSource", extra="<SrcMin>0</SrcMin>")), "SrcMin"),
        (vrt(source("t/a.tif", kind="ComplexSource", extra="<NODATA>3</NODATA>")), "nodata value 3"),
        (
            vrt(source("t/a.tif", kind="ComplexSource", extra="<NODATA>3</NODATA>") + "<NoDataValue>nan</NoDataValue>"),
            "nodata value 3",
        ),
        (
            vrt(source("t/a.tif", kind="ComplexSource", extra="<UseMaskBand>true</UseMaskBand>")),
            "UseMaskBand",
        ),
        (vrt(source("t/a.tif", extra="<LUT>0:1</LUT>")), "LUT"),
        (
            vrt(source("t/a.tif", extra="<OpenOptions><OOI key='OVERVIEW_LEVEL'>0</OOI></OpenOptions>")),
            "OVERVIEW_LEVEL",
        ),
        (vrt(source("t/a.tif", of=(0, 0, 3, 2))), "resamples"),
        (vrt(source("t/a.tif", at=(0.5, 0))), "between pixels"),
        (vrt(source("t/a.tif", of=(0, 0, 5.5, 4), size=(5.5, 4))), "between pixels"),
        (vrt(source("t/a.tif", of=(0, 0, math.nan, 4))), "between pixels"),
        (vrt(source("t/a.tif").replace("DstRect", "Dst")), "Dst"),
        (
            vrt(
                "<SimpleSource><SourceFilename>/t/a.tif</SourceFilename>"
                + rect("SrcRect", 0, 0, 6, 4)
                + "</SimpleSource>"
            ),
            "only one of SrcRect and DstRect",
        ),
        (
            vrt(
                "<SimpleSource><SourceFilename>/a.tif</SourceFilename>"
                "<SourceProperties RasterXSize='6' RasterYSize='4'/>"
                "</SimpleSource>",
                size=(12, 8),
            ),
            "resamples",
        ),
        (vrt(source("t/a.tif", band="mask,1")), "mask"),
        (vrt(source("t/a.tif").replace('DataType="Byte"', 'DataType="UInt16"')), "converts the UInt16"),
        (vrt(source("t/inner.vrt")), "VRT or GTI itself"),
        (vrt(source("/vsizip/a.zip/a.tif")), "virtual file system"),
        (vrt(), "names no file"),
        (vrt("<NoDataValue>1</NoDataValue>"), "names no file"),
    ],
)
def test_what_computes_pixels_is_refused_by_name(text: str, words: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UnsupportedError, match=words) as caught:
        read_catalog(path)
    assert caught.value.feature == "catalog"
    assert caught.value.url == str(path)


def test_a_mask_that_the_mosaic_keeps_is_no_obstacle(tiles: Path) -> None:
    text = source("t/a.tif", kind="ComplexSource", extra="<UseMaskBand>true</UseMaskBand>")
    mask = f'<MaskBand><VRTRasterBand dataType="Byte">{source("t/a.tif", band="mask,1")}</VRTRasterBand></MaskBand>'
    path = written(tiles, vrt(text, head=mask))
    assert agrees(path)
    assert len(read_catalog(path)) == 1


@pytest.mark.parametrize(
    "text",
    [
        source("t/a.tif", of=(1, 0, 5, 4), size=(5, 4)),
        source("t/a.tif", of=(0, 0, 5, 4), size=(5, 4)),
        source("t/a.tif", at=(1, 0)),
        source("t/a.tif", at=(0, -1)),
    ],
)
def test_a_part_of_a_file_is_refused_or_taken_whole_as_asked(text: str, tiles: Path) -> None:
    path = written(tiles, vrt(text))
    with pytest.raises(UsageError, match=r"only a part of .*a\.tif"):
        read_catalog(path)
    (found,) = read_catalog(path, parts="whole")
    assert found.use is not None
    assert found.href == str(tiles / "t/a.tif")
    assert found.use.takes_whole(4, 6) == (found.use.window == (0, 0, 6, 4))


def test_a_part_is_described_as_gdal_reads_it(tiles: Path) -> None:
    text = source("t/a.tif", of=(2, 1, 3, 2), size=(3, 2), at=(1, 1))
    assert agrees(written(tiles, vrt(text)), parts="whole")


@pytest.mark.parametrize(
    "text",
    [
        "<VRTDataset/>",
        '<VRTDataset rasterXSize="0" rasterYSize="1"/>',
        '<VRTDataset rasterXSize="5000000000" rasterYSize="1"/>',
        '<VRTDataset rasterXSize="1e2" rasterYSize="1"/>',
        "<VRTDataset",
        "<Other/>",
        '<!DOCTYPE a [<!ENTITY b "c">]><VRTDataset rasterXSize="1" rasterYSize="1"/>',
        '<?xml version="1.0" encoding="no-such"?><VRTDataset rasterXSize="1" rasterYSize="1"/>',
        vrt('<VRTRasterBand band="2">' + source("/t/a.tif") + "</VRTRasterBand>"),
        vrt("<SimpleSource/>"),
        vrt("<SimpleSource><SourceFilename/></SimpleSource>"),
        vrt(source("/t/a.tif", band="0")),
        vrt(source("/t/a.tif", band="x")),
        vrt(source("/t/a.tif", size=(0, 0))),
        vrt(source("/t/a.tif").replace('xOff="0"', 'xOff="no"')),
        vrt("<NoDataValue>none</NoDataValue>" + source("/t/a.tif")),
        vrt(source("/t/a.tif"), head="<GeoTransform>1,2</GeoTransform>").replace("100, 2, 0", "100, b, 0"),
    ],
)
def test_damaged_vrts_name_the_file(text: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(FormatError) as caught:
        read_catalog(path)
    assert caught.value.feature == "bad-catalog"
    assert caught.value.url == str(path)


@pytest.fixture
def shown(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket that the environment leads to."""
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    return bucket


def test_where_names_start(tiles: Path, shown: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiles / "t")
    (found,) = read_catalog(written(tiles, vrt(source("a.tif", relative='relativeToVRT="0"'))))
    assert found.href == str(tiles / "t/a.tif")
    names = {
        "../t/c &amp; d.tif": f"{shown.url}t/c & d.tif",
        "/vsicurl/https://h/a.tif": "https://h/a.tif",
        "s3://other/a.tif": "s3://other/a.tif",
    }
    for name, expected in names.items():
        shown.store().put("m/mosaic.vrt", vrt(source(name)).encode())
        assert read_catalog(f"{shown.url}m/mosaic.vrt")[0].href == expected


@pytest.mark.parametrize(
    ("name", "relative"),
    [("a.tif", ""), ("/etc/a.tif", 'relativeToVRT="1"'), ("../../a.tif", 'relativeToVRT="1"')],
)
def test_names_that_lead_out_of_a_bucket(name: str, relative: str, shown: Bucket) -> None:
    shown.store().put("m/mosaic.vrt", vrt(source(name, relative=relative)).encode())
    with pytest.raises(UsageError):
        read_catalog(f"{shown.url}m/mosaic.vrt")


def test_names_beside_a_mosaic_on_a_web_server(web: Web) -> None:
    (web.root / "mosaic.vrt").write_text(vrt(source("t/c &amp; d#1.tif")))
    assert read_catalog(f"{web.url}mosaic.vrt")[0].href == f"{web.url}t/c%20&%20d%231.tif"
