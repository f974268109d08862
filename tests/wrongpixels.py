"""Files with wrong tags and damaged bytes, and whether what we read of them is what another reader reads.

Readers refuse a file for tags that do not concern the pixels, and for one segment among many. Therefore, where none
reads a file as we do, each segment is put into a clean file of its own, by the tags as we understand them: GDAL
or tifffile must read it as we do. What then remains unproven is that the tags are understood, which the matrices prove.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import imagecodecs
import numpy as np
from obstore.store import LocalStore

from tests import subject
from tests.ifdwalk import Page, walk
from tests.oracles import ORACLES, Pixels, close
from tests.rawtiff import Recipe, encode, places, write
from tests.tiffbytes import Entry
from virtual_tiff.array import LAYOUT_TAGS
from virtual_tiff.layout import SegmentLayout, segment_layout
from virtual_tiff.segments import segment_ranges
from virtual_tiff.tiff.deferred import load_tags
from virtual_tiff.tiff.source import Source, read_tiff

VALUES: Final[Mapping[int, Sequence[int]]] = {
    256: (1, 16, 52, 54, 106, 500),
    257: (1, 5, 16, 36, 38, 500),
    258: (1, 2, 4, 8, 10, 12, 16, 24, 32, 64),
    259: (1, 4, 5, 7, 8, 32773, 32909, 34887, 34925, 50000),
    262: (0, 1, 2, 3, 5, 6, 8, 32844),
    266: (1, 2),
    277: (1, 2, 3, 4, 5),
    278: (1, 5, 7, 8, 16, 1000),
    284: (1, 2),
    317: (1, 2, 3),
    322: (8, 15, 16, 32, 48, 500),
    323: (8, 15, 16, 32, 48, 500),
    324: (8, 300),
    338: (0, 1, 2),
    339: (1, 2, 3, 4, 5, 6),
    530: (1, 2, 4),
}
"""Tag -> values that are found in files; of this one most are wrong."""

LARGEST: Final = 1 << 20
"""Samples of the largest image that is compared."""

_COUNTS: Final = {258: 0, 339: 0, 530: 2}
"""Tag -> how many values it has, 0 for one of each band, when that is not one."""

_DEFLATE: Final = (8, 32946)
_GUESSED: Final = (7, 34933, 34934, 34712, 50001, 50002, 52546)
"""Compressions of images whose readers look at the photometric interpretation."""


def mutant(pixels: Pixels, recipe: Recipe, draw: random.Random) -> bytes:
    """An image whose tags are changed, of whose bytes some are, or which is cut short."""
    wrong = {}
    for code in draw.sample(sorted(VALUES), draw.choice((0, 1, 1, 1, 2, 3))):
        count = _COUNTS.get(code, 1) or len(pixels)
        wrong[code] = Entry(code, 3, [draw.choice(VALUES[code])] * count)
    tiff = bytearray(write(pixels, replace(recipe, extra={**recipe.extra, **wrong})))
    for _ in range(draw.choice((0, 0, 1, 1, 2, 5)) if wrong else draw.choice((1, 2, 5))):
        tiff[draw.randrange(len(tiff))] = draw.choice((0, 255, draw.randrange(256)))
    if draw.random() < 0.1:
        del tiff[draw.randrange(8, len(tiff)) :]
    return bytes(tiff)


def verdict(path: Path) -> str:
    """How our reading of the first image is found: "refused", "equal", "proven", or else what is wrong with it.

    An image that has become too large to be compared is "large".
    """
    pages = walk(path)
    if pages and pages[0].width * pages[0].height * pages[0].bands > LARGEST:
        return "large"
    outcome = subject.read(path, 0)
    kind = outcome.status.partition(":")[0]
    if kind in ("refused", "error", "readfail"):
        return "refused"
    if kind != "read":
        return f"{outcome.status}: {outcome.detail}"
    (pixels,) = outcome.pixels
    if any(_agrees(path, reader, pixels) for reader in ORACLES):
        return "equal"
    unproven = list(_unproven(path, pixels))
    return f"nobody reads segments {unproven[:9]} as we do" if unproven else "proven"


def _agrees(path: Path, reader: str, ours: Pixels) -> bool:
    """Whether a reader sees what we see in the first image."""
    pages = walk(path)
    if not pages or pages[0].path != (0,):
        return False
    page = pages[0]
    try:
        kind, (theirs,) = ORACLES[reader](path, page, ((0, 0, page.width, page.height),))
    except Exception:  # noqa: BLE001
        return False
    return theirs.shape == ours.shape and close(page, kind, [_as_gdal_shows(ours, theirs, page)], [theirs])[0]


def _as_gdal_shows(ours: Pixels, theirs: Pixels, page: Page) -> Pixels:
    """Our samples without what GDAL loses: the sign of 24 bits, and half the digits of complex integers of 64 bits."""
    if page.bits == 24 and ours.dtype.kind == "i" and theirs.dtype == np.uint32:
        return ours.view(np.uint32) & 0xFFFFFF
    return ours.astype(theirs.dtype) if ours.dtype == np.complex128 and theirs.dtype == np.complex64 else ours


def _unproven(path: Path, pixels: Pixels) -> Iterator[int]:
    """The segments that no reader reads as we do when they stand in a clean file."""
    source = Source(LocalStore(path.parent), path.name, path.as_uri())
    tiff = read_tiff(source)
    ifd = source.run(load_tags(tiff.ifd(0), [tag for tag in LAYOUT_TAGS if tag in tiff.ifd(0)]))
    layout = segment_layout(tiff, ifd)
    ranges = segment_ranges(tiff, ifd, layout)
    if layout.depth > 1:
        return
    recipe, stored, alone = recipe_of(layout), path.read_bytes(), path.with_name("alone.tif")
    for number, (plane, row, col) in enumerate(places(pixels.shape, recipe)):
        bands = slice(plane, plane + 1) if layout.planar else slice(None)
        part = pixels[bands, row : row + layout.rows, col : col + layout.columns]
        length = 0 if ranges.empty else int(ranges.lengths.reshape(-1)[number])
        if length == 0:
            if not np.array_equal(part, np.full_like(part, part.flat[0]), equal_nan=part.dtype.kind in "fc"):
                yield number
            continue
        offset = int(ranges.offsets.reshape(-1)[number])
        for segment in _forms(stored[offset : offset + length], layout, part.shape[1]):
            alone.write_bytes(write(part, replace(recipe, planar=False, encoder=_holding(segment))))
            if any(_agrees(alone, reader, part) for reader in ORACLES):
                break
        else:
            yield number


def _holding(segment: bytes) -> Callable[[Pixels], bytes]:
    """An encoder that gives the same bytes for whatever it is to encode."""
    return lambda _: segment


def _forms(segment: bytes, layout: SegmentLayout, rows: int) -> Iterator[bytes]:
    """The segment as it is, and a Deflate stream that is too long without what GDAL stumbles over."""
    yield segment
    if layout.compression in _DEFLATE:
        config = layout.config
        size = config.packed_bytes if layout.tiled else -(-rows // config.block[1]) * config.row_bytes
        octets = imagecodecs.bitorder_decode(segment) if layout.fill_order == 2 else segment
        plain = np.frombuffer(zlib.decompressobj().decompress(octets, size), np.uint8)
        yield encode(plain[None, :, None], Recipe(compression=8, fill_order=layout.fill_order))


def recipe_of(layout: SegmentLayout) -> Recipe:
    """How a clean file with such segments is written."""
    config = layout.config
    extra = {
        292: config.t4_options,
        293: config.t6_options,
        347: config.jpeg_tables,
        530: config.subsampling,
        50674: config.lerc_parameters,
    }
    kinds = {292: 4, 293: 4, 347: 7, 530: 3, 50674: 4}
    guessed = layout.photometric or (2 if layout.samples > 2 else 1)
    return Recipe(
        compression=layout.compression,
        predictor=layout.predictor,
        order=layout.byte_order,
        planar=layout.planar,
        tile=(layout.rows, layout.columns) if layout.tiled else None,
        rows_per_strip=layout.rows,
        bits=layout.bits,
        sample_format=layout.sample_format,
        fill_order=layout.fill_order,
        photometric=6 if config.subsampling else guessed if layout.compression in _GUESSED else 1,
        extra={
            code: Entry(code, kinds[code], values if isinstance(values, bytes | tuple) else [values])
            for code, values in extra.items()
            if values is not None
        },
    )
