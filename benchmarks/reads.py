"""Whole images on the local disk, read through VirtualTIFF and zarr, by tifffile and by GDAL, in each encoding.

Ours are zarr's default and its fused pipeline, each over the array as it is published (core codecs where they suffice),
and over our own codec; the default pipeline over ``numcodecs.zlib`` or ``zstd`` by zarr's own decoder, where the array
has it, as readers without this package have it; and ``open_tiff``, from its parsing on, which chooses our own codec and
the fused pipeline.

tifffile's are ``TiffPage.decode`` one segment after the other, of bytes that are in memory already and that are not
assembled to an image (of uncompressed segments it makes views, which nothing can beat); ``TiffPage.asarray``, which
reads, decodes and assembles, with its own default of threads; and the same with a thread for each processor. GDAL
opens the file and uses all threads. tifffile leaves interleaved bands as they are; ours are apart, but in encodings
with "bands last".

All contenders take turns, each in a process of its own, and must agree on the pixels. Peak memory is the growth of a
fresh process that reads the image once.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import tifffile
import zarr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import LocalStore
from rich import box
from rich.table import Table

from benchmarks.measure.apart import Distant, fresh_process, take_turns_apart
from benchmarks.measure.images import Encoding, write_image
from benchmarks.measure.machine import peak_memory
from benchmarks.measure.rounds import MILLI, Comparison, Row, Sample
from virtual_tiff import VirtualTIFF, open_tiff
from virtual_tiff.bandaxis import BandAxis
from virtual_tiff.chunks import Codecs

_FUSED_PATH: Final = "zarr.core.codec_pipeline.FusedCodecPipeline"
DEFAULT, FUSED, OPEN = "default pipeline", "fused pipeline", "open_tiff"
THEIRS = "default pipeline, zarr's decoder"
SEGMENT, SEGMENT_FUSED = "default pipeline, our codec", "fused pipeline, our codec"
DECODE, ASARRAY, ALL = "tifffile decode", "tifffile asarray", "tifffile asarray, all threads"
GDAL = "GDAL, all threads"
MEMORY: Final = (DEFAULT, FUSED, ASARRAY)
"""Contenders whose peak memory is measured."""


@dataclass(frozen=True, slots=True)
class Size:
    """Pixels along each side of the images, how many rounds, and the names of the encodings, if not all."""

    side: int
    rounds: int
    only: tuple[str, ...] | None = None


SIZES: Final[dict[str, Size]] = {
    "small": Size(2048, 5, ("uint16", "uint16 big", "Deflate uint16, predictor 2", "LZW uint16, predictor 2",
                            "ZSTD float32, predictor 3", "JPEG YCbCr", "WebP", "LERC float32", "12 bits")),
    "full": Size(4096, 7),
}  # fmt: skip


def _streams(title: str, compression: str, cost: int = 1) -> list[Encoding]:
    """The same images by one compression."""
    common: dict[str, Any] = {"compression": compression, "cost": cost}
    return [
        Encoding(f"{title} uint16", **common),
        Encoding(f"{title} uint8 x 3", "u1", 3, **common),
        Encoding(f"{title} uint16, predictor 2", predictor=2, **common),
        Encoding(f"{title} uint16, predictor 2, big", predictor=2, order=">", **common),
        Encoding(f"{title} uint8 x 3, predictor 2", "u1", 3, predictor=2, **common),
        Encoding(f"{title} float32, predictor 3", "f4", predictor=3, **common),
    ]


_LOSSY: Final = ()
"""Pixels differ within what the options of one library do."""
_YCBCR: Final[dict[str, Any]] = {"photometric": "rgb", "compressionargs": {"level": 90}}
GROUPS: Final[dict[str, list[Encoding]]] = {
    "Uncompressed": [
        Encoding("uint8", "u1"),
        Encoding("uint8 x 3", "u1", 3),
        Encoding("uint16"),
        Encoding("uint16, tiles of 256", tile=256),
        Encoding("uint16 big", order=">"),
        Encoding("uint16 x 3 planar", bands=3, planar=True),
        Encoding("float32", "f4"),
        Encoding("float32 big", "f4", order=">"),
        Encoding("12 bits", gdal={"nbits": 12}),
    ],
    "Deflate": [
        *_streams("Deflate", "deflate"),
        Encoding("Deflate uint8 x 3, predictor 2, bands last", "u1", 3, "deflate", predictor=2, band_axis="last"),
        Encoding("Deflate uint16, predictor 2, tiles of 256", compression="deflate", predictor=2, tile=256),
        Encoding("Deflate float32, predictor 3, big", "f4", compression="deflate", predictor=3, order=">"),
        Encoding("Deflate uint16 x 3 planar, predictor 2", bands=3, compression="deflate", predictor=2, planar=True),
    ],
    "LZW": [
        *_streams("LZW", "lzw"),
        Encoding("LZW uint16, tiles of 256", compression="lzw", tile=256),
        Encoding("LZW uint16, predictor 2, tiles of 256", compression="lzw", predictor=2, tile=256),
    ],
    "ZSTD": [
        *_streams("ZSTD", "zstd"),
        Encoding("ZSTD uint16, tiles of 256", compression="zstd", tile=256),
        Encoding("ZSTD uint8 x 3, tiles of 256", "u1", 3, "zstd", tile=256),
    ],
    "Other streams": [
        Encoding("PackBits uint8", "u1", compression="packbits"),
        Encoding("LZMA uint16, predictor 2", compression="lzma", predictor=2, cost=4, agrees=("tifffile",)),
        Encoding("CCITT T.6", "?", gdal={"nbits": 1, "compress": "CCITTFAX4"}),
    ],
    "Images": [
        Encoding("JPEG grey", "u1", compression="jpeg", agrees=_LOSSY),
        Encoding("JPEG grey, tiles of 256", "u1", compression="jpeg", tile=256, agrees=_LOSSY),
        Encoding("JPEG YCbCr", "u1", 3, "jpeg", agrees=_LOSSY, options=_YCBCR),
        Encoding("JPEG YCbCr, tiles of 256", "u1", 3, "jpeg", tile=256, agrees=_LOSSY, options=_YCBCR),
        Encoding("JPEG YCbCr, bands last", "u1", 3, "jpeg", agrees=_LOSSY, options=_YCBCR, band_axis="last"),
        Encoding("WebP", "u1", 3, "webp", cost=2, options={"photometric": "rgb"}, agrees=_LOSSY),
        Encoding("LERC float32", "f4", compression="lerc"),
        Encoding(
            "JPEG 2000", "u1", 3, "jpeg2000", cost=4, agrees=_LOSSY, without=("GDAL",), options={"photometric": "rgb"}
        ),
    ],
}


@dataclass(frozen=True, slots=True)
class Column:
    """The time of ours over that of another, by the clock or of the processors."""

    head: str
    ours: str
    other: str
    kind: Literal["wall", "cpu"] = "wall"

    def ratios(self, comparison: Comparison) -> list[float]:
        """The ratios within single rounds; none where one of them did not run."""
        rows = {row.name: row for row in comparison.rows}
        if self.ours not in rows or self.other not in rows:
            return []
        pairs = zip(rows[self.ours].seconds(self.kind), rows[self.other].seconds(self.kind), strict=True)
        return [ours / other for ours, other in pairs]

    def cell(self, comparison: Comparison) -> str:
        """The median."""
        ratios = self.ratios(comparison)
        return f"{median(ratios):.2f}" if ratios else "-"


def _against_tifffile(title: str, ours: str) -> tuple[Column, ...]:
    return (
        Column(f"{title} /decode", ours, DECODE),
        Column("/asarray", ours, ASARRAY),
        Column("/all", ours, ALL),
        Column("CPU", ours, ASARRAY, "cpu"),
    )


PUBLISHED: Final = (*_against_tifffile("default", DEFAULT), *_against_tifffile("fused", FUSED))
"""The array as it is published. CPU is over that of asarray, which reads and assembles as well."""
OWN: Final = (
    Column("zarr's decoder /decode", THEIRS, DECODE),
    Column("own /decode", SEGMENT, DECODE),
    Column("own fused /decode", SEGMENT_FUSED, DECODE),
    *_against_tifffile("open_tiff", OPEN),
    Column("/GDAL", OPEN, GDAL),
)
"""Zarr's own decoder of Deflate, our own codec in the place of core codecs, and what users of single files get."""


@dataclass(frozen=True, slots=True)
class Group:
    """The encodings of one table; with the milliseconds of the default pipeline and peaks of memory, or without."""

    title: str
    comparisons: tuple[Comparison, ...]
    columns: tuple[Column, ...]
    with_memory: bool = False

    def table(self) -> Table:
        """One line for each encoding."""
        table = Table(box=box.MARKDOWN, header_style=None, padding=(0, 0))
        table.add_column("", no_wrap=True)
        for column in self.columns:
            table.add_column(column.head, justify="right", no_wrap=True)
        for head in ("ms", "MB", "fused", "tifffile") if self.with_memory else ():
            table.add_column(head, justify="right", no_wrap=True)
        for comparison in self.comparisons:
            cells = [column.cell(comparison) for column in self.columns]
            table.add_row(comparison.title, *cells, *(_sizes(comparison) if self.with_memory else ()))
        return table

    def as_json(self) -> dict[str, Any]:
        """All numbers for programs, once."""
        encodings = [comparison.as_json() for comparison in self.comparisons] if self.with_memory else []
        return {"title": self.title, "encodings": encodings}


def _sizes(comparison: Comparison) -> Iterator[str]:
    """Milliseconds of the default pipeline, and peaks of memory in megabytes."""
    rows = {row.name: row for row in comparison.rows}
    yield f"{1e3 * median(rows[DEFAULT].seconds('wall')):.0f}"
    for name in MEMORY:
        memory = rows[name].memory()
        yield "-" if memory is None else f"{memory / 1e6:,.0f}"


@dataclass(frozen=True, slots=True)
class Summary:
    """Of each pipeline over each of tifffile's ways: which encodings take longer, of those that need decoding."""

    comparisons: tuple[Comparison, ...]
    title: str = "Slower than tifffile (whole bytes uncompressed left out), the worst first"

    def table(self) -> Table:
        """One line for each ratio."""
        table = Table(box=box.MARKDOWN, header_style=None, padding=(0, 0))
        table.add_column("", no_wrap=True)
        table.add_column("encodings", overflow="fold")
        for name, slower in self._slower().items():
            table.add_row(name, "; ".join(f"{title} {ratio:.2f}" for title, ratio in slower.items()) or "none")
        return table

    def _slower(self) -> dict[str, dict[str, float]]:
        found = {}
        for column in PUBLISHED:
            ratios = {one.title: column.ratios(one) for one in self.comparisons}
            medians = {title: median(each) for title, each in ratios.items() if each}
            slower = {title: ratio for title, ratio in medians.items() if ratio > 1}
            if column.kind == "wall":
                name = f"{column.ours} / {column.other}"
                found[name] = dict(sorted(slower.items(), key=lambda item: -item[1]))
        return found

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {"title": self.title, "slower": self._slower()}


def run(size: Size) -> Iterator[Group | Summary]:
    """Measure, and yield the tables one after the other."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Dataset has no geotransform")
        decoded: list[Comparison] = []
        for title, encodings in GROUPS.items():
            wanted = [one for one in encodings if size.only is None or one.name in size.only]
            comparisons = tuple(compare(encoding, Path(folder), size) for encoding in wanted)
            if not comparisons:
                continue
            yield Group(f"{title}: our time over tifffile's, as published", comparisons, PUBLISHED, with_memory=True)
            yield Group(f"{title}: our time over tifffile's, our own codecs", comparisons, OWN)
            pairs = zip(wanted, comparisons, strict=True)
            decoded += [one for encoding, one in pairs if encoding.compression or encoding.gdal]
        yield Summary(tuple(decoded))


def compare(encoding: Encoding, folder: Path, size: Size) -> Comparison:
    """Write the image, and measure each contender."""
    path = folder / "image.tif"
    write_image(path, encoding, size.side)
    rows = take_turns_apart(contenders(path, encoding), size.rounds, _digest)
    peaks = {name: _peak(name, path, encoding.band_axis) for name in MEMORY}
    measured = tuple(_with_memory(row, peaks.get(row.name)) for row in rows)
    path.unlink()
    shortened = f" ({encoding.side(size.side)}²)" if encoding.cost > 1 else ""
    return Comparison(encoding.name + shortened, "image", MILLI, measured)


def _with_memory(row: Row, peak: int | None) -> Row:
    return replace(row, samples=tuple(Sample(one.wall, one.cpu, peak) for one in row.samples))


def _digest(result: Any) -> object:
    """What all contenders must agree on; segments that are not assembled are counted only."""
    if isinstance(result, int):
        return result
    return result.shape, zlib.crc32(np.ascontiguousarray(result))


def _peak(name: str, path: Path, band_axis: BandAxis) -> int:
    """Return the growth of the memory of a fresh process that reads the image."""
    with fresh_process(_reader) as pool:
        return pool.submit(_growth, name, path, band_axis).result()


def _growth(name: str, path: Path, band_axis: BandAxis) -> int:
    read = _reader(name, path, band_axis)
    before = peak_memory()
    read()
    return peak_memory() - before


# Contenders

type _Prepare = Callable[[Path, BandAxis], Callable[[], Any]]


def contenders(path: Path, encoding: Encoding) -> list[Distant]:
    """All that read the image; each returns samples of shape (band, row, column), or (row, column)."""
    checks = {DECODE: DECODE}
    checks |= {name: name[:8] for name in (ASARRAY, ALL, GDAL) if not name.startswith(encoding.agrees)}
    known = [name for name in READERS if not name.startswith(encoding.without)]
    if encoding.compression not in ("deflate", "zstd") or encoding.predictor is not None:
        known.remove(THEIRS)
    arguments = path, encoding.band_axis
    return [Distant(name, _reader, (name, *arguments), checks.get(name, "result")) for name in known]


def _reader(name: str, path: Path, band_axis: BandAxis) -> Callable[[], Any]:
    return READERS[name](path, band_axis)


def _bands_first(image: npt.NDArray[Any], band_axis: BandAxis) -> npt.NDArray[Any]:
    """A view of shape (band, row, column)."""
    return np.moveaxis(image, -1, 0) if band_axis == "last" else image


def _zarr(pipeline: str | None, codecs: Codecs, *, theirs: bool = False) -> _Prepare:
    def prepare(path: Path, band_axis: BandAxis) -> Callable[[], npt.NDArray[Any]]:
        registry = ObjectStoreRegistry({"file://": LocalStore()})
        parser = VirtualTIFF(ifd=0, coordinates=False, codecs=codecs, band_axis=band_axis)
        store = parser(path.as_uri(), registry)
        settings: dict[str, Any] = {"codec_pipeline.path": pipeline} if pipeline else {}
        if theirs:
            own = {"numcodecs.zlib": "zarr.codecs.numcodecs.Zlib", "zstd": "zarr.codecs.zstd.ZstdCodec"}
            settings["codecs"] = zarr.config.get("codecs") | own
        with zarr.config.set(settings):
            array = zarr.open_array(store, path="band_data", mode="r", zarr_format=3)
        return lambda: _bands_first(np.asarray(array[...]), band_axis)

    return prepare


def _open_tiff(path: Path, band_axis: BandAxis) -> Callable[[], npt.NDArray[Any]]:
    def read() -> npt.NDArray[Any]:
        dataset = open_tiff(path, mask_and_scale=False, coordinates=False, band_axis=band_axis)
        return _bands_first(np.asarray(dataset["band_data"].values), band_axis)

    return read


def _asarray(workers: int | None) -> _Prepare:
    def prepare(path: Path, _: BandAxis) -> Callable[[], npt.NDArray[Any]]:
        with tifffile.TiffFile(path) as tiff:
            page: Any = tiff.pages.first

        def read() -> npt.NDArray[Any]:
            with warnings.catch_warnings():  # it opens the file again, and says so
                warnings.filterwarnings("ignore", ".*reading array from closed file")
                image = page.asarray(maxworkers=workers)
            interleaved = page.samplesperpixel > 1 and page.planarconfig == 1
            return _bands_first(image, "last" if interleaved else "first")

        return read

    return prepare


def _decode(path: Path, _: BandAxis) -> Callable[[], int]:
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        page: Any = tiff.pages.first
        pairs = zip(page.dataoffsets, page.databytecounts, strict=True)
        segments = [whole[offset : offset + count] for offset, count in pairs]
        tables = {"jpegtables": page.jpegtables} if page.jpegtables else {}
        page.decode(segments[0], 0, **tables)  # prepares what later calls share

    def read() -> int:
        for number, segment in enumerate(segments):
            page.decode(segment, number, **tables)
        return len(segments)

    return read


def _gdal(path: Path, _: BandAxis) -> Callable[[], npt.NDArray[Any]]:
    import rasterio

    warnings.filterwarnings("ignore", "Dataset has no geotransform")

    def read() -> npt.NDArray[Any]:
        with rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS"), rasterio.open(path, NUM_THREADS="ALL_CPUS") as dataset:
            image: npt.NDArray[Any] = dataset.read()
            if dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS") == "1":
                image = image.astype(bool)
            return image[0] if dataset.count == 1 else image

    return read


READERS: Final[dict[str, _Prepare]] = {
    DEFAULT: _zarr(None, "core"),
    FUSED: _zarr(_FUSED_PATH, "core"),
    THEIRS: _zarr(None, "core", theirs=True),
    SEGMENT: _zarr(None, "segment"),
    SEGMENT_FUSED: _zarr(_FUSED_PATH, "segment"),
    OPEN: _open_tiff,
    DECODE: _decode,
    ASARRAY: _asarray(None),
    ALL: _asarray(os.cpu_count()),
    GDAL: _gdal,
}
"""Prepares a reader of a file; ours come first."""


if __name__ == "__main__":
    from benchmarks.__main__ import main

    raise SystemExit(main(["--only", "reads", *sys.argv[1:]]))
