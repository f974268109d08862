"""What a TIFF holds and who can read it as Zarr: the report behind ``virtual-tiff info``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from virtual_tiff.array import LAYOUT_TAGS, VirtualArray, virtual_array
from virtual_tiff.bandaxis import BandAxis, check_band_axis, with_band_axis
from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.coding import COMPRESSION_NAMES
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.stores import Location
from virtual_tiff.describe import describe_image
from virtual_tiff.errors import SourceError, VirtualTiffError
from virtual_tiff.fluorescence import with_true_samples
from virtual_tiff.layout import SegmentLayout, segment_layout
from virtual_tiff.pyramid import pyramids
from virtual_tiff.restarts import as_tiles
from virtual_tiff.tiff.ifd import Ifd
from virtual_tiff.tiff.source import Source, load_tags_async, read_tiff_async
from virtual_tiff.tiff.tags import Tags

YES: Final = "yes"
_PREDICTORS: Final = {
    **dict.fromkeys((2, 34892, 34893), "horizontal predictor"),
    **dict.fromkeys((3, 34894, 34895), "floating-point predictor"),
}
_GDAL_CODECS: Final = {"bytes", "gzip", "zstd", "blosc"}
_JS_DTYPES: Final = {"bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReport:
    """One IFD. Either ``array`` says how it is exposed as Zarr, or ``refusal`` why it is not.

    ``segments`` and ``stored_segments`` count strips or tiles, all and those that are in the file;
    ``stored_bytes`` are the bytes of the latter. ``readers`` says by Zarr client whether it can read the
    array.
    """

    ifd: str
    subfile: str
    size: tuple[int, int] | None = None
    bands: int | None = None
    dtype: str | None = None
    layout: str | None = None
    compression: str | None = None
    array: dict[str, Any] | None = None
    readers: dict[str, str] | None = None
    stored_bytes: int | None = None
    missing_chunks: int | None = None
    warnings: tuple[str, ...] = ()
    refusal: dict[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """One file; ``size`` in bytes.

    ``images`` has every IFD, ``rasters`` what :func:`~virtual_tiff.describe.describe_image` says of each image with
    its overviews and masks.
    """

    url: str
    size: int | None
    etag: str | None
    last_modified: str | None
    bigtiff: bool
    byte_order: str
    cog: bool
    images: tuple[ImageReport, ...]
    problems: tuple[str, ...]
    rasters: tuple[dict[str, Any], ...] = ()

    @property
    def readable(self) -> bool:
        """Whether at least one image can be exposed as Zarr."""
        return any(image.array is not None for image in self.images)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def describe_file(place: Location, options: ChunkOptions | None = None, *, band_axis: BandAxis = "first") -> FileReport:
    """Read the headers of one file and report on every IFD and SubIFD, as options would expose it.

    Raises
    ------
    VirtualTiffError
        When the file cannot be read or is no TIFF; what is wrong with single images stands in the report.
    """
    check_band_axis(band_axis)
    return run(_describe(place, options, band_axis))


async def _describe(place: Location, options: ChunkOptions | None, band_axis: BandAxis) -> FileReport:
    source = Source(place.store, place.path, place.url)
    tiff = await read_tiff_async(source)
    images = []
    for ifd in tiff.walk():
        loaded = await load_tags_async(source, ifd, LAYOUT_TAGS)
        layout: SegmentLayout | None = None
        try:
            layout = segment_layout(tiff, await source.run_async(as_tiles(with_true_samples(tiff, loaded))))
            array = await source.run_async(virtual_array(tiff, ifd.path, options))
        except SourceError:
            raise
        except VirtualTiffError as error:
            images.append(_refused(ifd, layout, error))
        else:
            images.append(_exposed(ifd, layout, with_band_axis(array, band_axis)))
    rasters = [await source.run_async(describe_image(tiff, pyramid)) for pyramid in pyramids(tiff)]
    return FileReport(
        url=place.url,
        size=tiff.size,
        etag=tiff.etag,
        last_modified=tiff.last_modified.isoformat() if tiff.last_modified else None,
        bigtiff=tiff.bigtiff,
        byte_order=tiff.byte_order,
        cog=tiff.cog_ghost is not None,
        images=tuple(images),
        problems=tuple(str(problem) for problem in tiff.problems),
        rasters=tuple(rasters),
    )


def _refused(ifd: Ifd, layout: SegmentLayout | None, error: VirtualTiffError) -> ImageReport:
    found = f"{error.found}. {error.hint}" if error.hint else error.found
    return ImageReport(**_frame(ifd, layout), refusal={"feature": error.feature, "found": found})


def _exposed(ifd: Ifd, layout: SegmentLayout, array: VirtualArray) -> ImageReport:
    missing = int(np.count_nonzero(array.lengths == 0)) - len(array.inlined)
    return ImageReport(
        **_frame(ifd, layout),
        array={
            "dimensions": list(array.dimension_names),
            "shape": list(array.shape),
            "chunk_shape": list(array.chunk_shape),
            "chunks": list(array.grid),
            "codecs": [dict(codec) for codec in array.codecs],
            "inlined_chunks": len(array.inlined),
        },
        readers=find_readers(array),
        stored_bytes=int(array.lengths.sum()),
        missing_chunks=missing,
        warnings=array.warnings,
    )


def _frame(ifd: Ifd, layout: SegmentLayout | None) -> dict[str, Any]:
    frame: dict[str, Any] = {"ifd": ".".join(map(str, ifd.path)), "subfile": subfile_name(ifd)}
    if layout is not None:
        planes = ", one plane per band" if layout.planar else ""
        kind = "tiles" if layout.tiled else "strips"
        scheme = COMPRESSION_NAMES.get(layout.compression, str(layout.compression))
        predictor = _PREDICTORS.get(layout.predictor)
        frame |= {
            "size": (layout.width, layout.height),
            "bands": layout.bands,
            "dtype": layout.dtype.name,
            "layout": f"{kind} of {layout.columns} x {layout.rows}{planes}",
            "compression": f"{scheme}, {predictor}" if predictor else scheme,
        }
    return frame


def subfile_name(ifd: Ifd) -> str:
    """What the NewSubfileType tag says of an image: image, overview, page, mask, or a mix."""
    try:
        bits = ifd.integer(Tags.NewSubfileType, 0)
    except VirtualTiffError:
        bits = 0
    names = [name for bit, name in ((1, "overview"), (2, "page"), (4, "mask")) if bits & bit]
    return " ".join(names) or "image"


def find_readers(array: VirtualArray) -> dict[str, str]:
    """For each Zarr client: "yes", or what it lacks.

    The answers are about the codec chain and data type, as measured with zarr-python 3.4, zarrs 0.23,
    zarrita 0.7 and GDAL 3.12; each also needs a way to the store (Icechunk or kerchunk).
    """
    segment = array.portability == "segment"
    names = {codec["name"] for codec in array.codecs}
    lacking = "no: it lacks virtual_tiff.segment"
    zarrita = lacking if segment else YES
    if zarrita == YES and array.dtype.name not in (*_JS_DTYPES, "float32", "float64"):
        zarrita = f"no: it has no data type {array.dtype.name}"
    gdal = lacking if segment else YES
    if gdal == YES and names - _GDAL_CODECS - {"transpose"}:
        gdal = f"no: it lacks {', '.join(sorted(names - _GDAL_CODECS - {'transpose'}))}"
    elif gdal == YES and "transpose" in names:
        gdal = "no: it misreads transposed chunks without an error, which --band-axis last avoids"
    elif gdal == YES and array.dimension_names[-1] != "x":
        gdal = "yes, with the open options DIM_X=x and DIM_Y=y"  # without a CRS it takes the last axis for x
    readers = {
        "zarr-python": "yes, with virtual-tiff installed" if segment else YES,
        "zarrs": lacking if segment else YES,
        "zarrita": zarrita,
        "GDAL": gdal,
    }
    if array.rectilinear:
        why = "no: it has no rectilinear chunk grids"
        flag = "where array.rectilinear_chunks is set in its configuration"
        able = readers["zarr-python"]
        readers |= {"zarr-python": f"{able}, {flag}", "zarrita": why, "GDAL": why}
    return readers
