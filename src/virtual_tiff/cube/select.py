"""Parts of an array of byte ranges: some of its bands, some of its chunks. Only whole chunks can be left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from virtual_tiff.array import VirtualArray
from virtual_tiff.cube.blueprint import Footprint
from virtual_tiff.errors import UsageError
from virtual_tiff.geo.gdal_metadata import RasterMetadata

BAND = "band"

type Bounds = tuple[float, float, float, float]
"""West, south, east and north in units of the CRS, that is the least x, least y, greatest x and greatest y."""

type Window = tuple[int, int, int, int]
"""Column and row of the upper left corner, width and height, in pixels."""


@dataclass(frozen=True, slots=True)
class Span:
    """Rows and columns of a grid, in pixels; the ends are exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    def on(self, grid: Footprint) -> Footprint:
        """The ground of this span of a grid."""
        transform = grid.transform
        if transform is not None:
            x, y = transform @ (self.left, self.top)
            transform = replace_corner(transform, x, y)
        return Footprint(transform, self.bottom - self.top, self.right - self.left)


def replace_corner(transform: Any, x: float, y: float) -> Any:
    """The same pixels with the upper left corner elsewhere."""
    return type(transform)(transform.a, transform.b, x, transform.d, transform.e, y)


def whole(grid: Footprint) -> Span:
    """All of a grid."""
    return Span(0, 0, grid.height, grid.width)


def find_span(
    grid: Footprint, blocks: tuple[int, int], *, bounds: Bounds | None = None, window: Window | None = None
) -> Span:
    """Find the whole blocks of a grid that an area touches.

    Parameters
    ----------
    grid
        The grid.
    blocks
        Rows and columns of a block.
    bounds, window
        The area in units of the CRS, or in pixels; at most one of them. All of the grid without either.

    Raises
    ------
    UsageError
        ``usage`` when the area does not touch the grid, or bounds are asked of a grid without a transform or with a
        rotated one.
    """
    if bounds is None and window is None:
        return whole(grid)
    if not touches(grid, bounds=bounds, window=window):
        asked = f"bounds {bounds} do" if bounds is not None else f"window {window} does"
        found = f"the {asked} not touch the grid of {grid.width} x {grid.height} pixels"
        raise UsageError(found, feature="usage", hint="Bounds are west, south, east, north in units of the CRS.")
    col, row, width, height = _window(grid, bounds, window)
    top, bottom = _snapped(row, row + height, blocks[0], grid.height)
    left, right = _snapped(col, col + width, blocks[1], grid.width)
    return Span(top, left, bottom, right)


def touches(grid: Footprint, *, bounds: Bounds | None = None, window: Window | None = None) -> bool:
    """Whether an area has a pixel of a grid; see :func:`find_span`."""
    if bounds is None and window is None:
        return True
    col, row, width, height = _window(grid, bounds, window)
    beside = col >= grid.width or row >= grid.height or col + width <= 0 or row + height <= 0
    return width > 0 and height > 0 and not beside


def _window(grid: Footprint, bounds: Bounds | None, window: Window | None) -> Window:
    """The area in pixels of the grid."""
    if bounds is None:
        return (0, 0, grid.width, grid.height) if window is None else _checked(window)
    if not _are_four(bounds) or not all(map(math.isfinite, bounds)):
        hint = "They are west, south, east, north."
        raise UsageError(f"the bounds {tuple(bounds)} are not four numbers", feature="usage", hint=hint)
    west, south, east, north = bounds
    if grid.transform is None or grid.transform.b != 0 or grid.transform.d != 0:
        found = "bounds are asked for, but the files have no transform, or a rotated one"
        raise UsageError(found, feature="usage", hint="Give a window in pixels.")
    if west >= east or south >= north:
        hint = "They are west, south, east, north."
        raise UsageError(f"the bounds {bounds} are empty", feature="usage", hint=hint)
    corners = [~grid.transform @ corner for corner in ((west, north), (east, south))]
    (left, right), (top, bottom) = (sorted(values) for values in zip(*corners, strict=True))
    near = 1e-6  # so that bounds which are pixel corners stay where they are
    col, row = math.floor(left + near), math.floor(top + near)
    return col, row, math.ceil(right - near) - col, math.ceil(bottom - near) - row


def _are_four(numbers: Sequence[float]) -> bool:
    return len(numbers) == 4


def _checked(window: Window) -> Window:
    if not _are_four(window) or not all(isinstance(one, int | np.integer) for one in window):
        hint = "It is column, row, width, height."
        raise UsageError(f"the window {tuple(window)} is not four whole numbers", feature="usage", hint=hint)
    return window


def _snapped(start: int, end: int, block: int, size: int) -> tuple[int, int]:
    return max(0, start // block * block), min(size, -(-end // block) * block)


def crop(array: VirtualArray, span: Span) -> VirtualArray:
    """Return the chunks of an array that lie in a span of its pixels, which must begin and end with whole chunks."""
    height, width = array.shape[-2:]
    if span == Span(0, 0, height, width):
        return array
    rows, columns = array.chunk_shape[-2:]
    first_row, first_col = span.top // rows, span.left // columns
    last_row, last_col = -(-span.bottom // rows), -(-span.right // columns)
    inlined = {
        (*index[:-2], index[-2] - first_row, index[-1] - first_col): chunk
        for index, chunk in array.inlined.items()
        if first_row <= index[-2] < last_row and first_col <= index[-1] < last_col
    }
    return replace(
        array,
        shape=(*array.shape[:-2], span.bottom - span.top, span.right - span.left),
        offsets=array.offsets[..., first_row:last_row, first_col:last_col],
        lengths=array.lengths[..., first_row:last_row, first_col:last_col],
        inlined=inlined,
        last_rows=array.last_rows if span.bottom == height else None,
    )


def find_bands(asked: Sequence[int | str], names: Sequence[str], count: int) -> tuple[int, ...]:
    """Return the indices, from 0, of bands that are asked for by number, from 1, or by name.

    Raises
    ------
    UsageError
        ``usage`` when there is no such band, or one is named twice.
    """
    found = []
    for band in asked:
        if isinstance(band, int) and 1 <= band <= count:
            found.append(band - 1)
        elif isinstance(band, str) and band in names:
            found.append(names.index(band))
        else:
            what = f"there is no band {band!r}"
            raise UsageError(what, feature="usage", hint=f"Bands are 1 to {count}, or {', '.join(names) or 'unnamed'}.")
    if len(set(found)) < len(found) or not found:
        raise UsageError(f"the bands {list(asked)} are none, or name one twice", feature="usage")
    return tuple(found)


def pick_bands(array: VirtualArray, bands: Sequence[int]) -> VirtualArray:
    """Return an array with some of its bands, in this order.

    Raises
    ------
    UsageError
        ``usage`` when the bands are interleaved by pixel, so that every chunk holds all of them.
    """
    if tuple(bands) == tuple(range(_band_count(array))):
        return array
    if array.chunk_shape[0] != 1:
        found = f"each chunk holds all {array.shape[0]} bands, which are interleaved by pixel"
        hint = "Take all bands here, and pick some when the cube is read."
        raise UsageError(found, feature="usage", url=array.url, ifd=array.ifd, hint=hint)
    chosen = list(bands)
    return replace(
        array,
        shape=(len(chosen), *array.shape[1:]),
        offsets=array.offsets[chosen],
        lengths=array.lengths[chosen],
        inlined={
            (chosen.index(index[0]), *index[1:]): chunk for index, chunk in array.inlined.items() if index[0] in chosen
        },
    )


def drop_band(array: VirtualArray) -> VirtualArray:
    """Return an array of one band without its band dimension."""
    if BAND not in array.dimension_names:
        return array
    return replace(
        array,
        shape=array.shape[1:],
        chunk_shape=array.chunk_shape[1:],
        dimension_names=array.dimension_names[1:],
        codecs=tuple(_lowered(codec) for codec in array.codecs),
        offsets=array.offsets[0],
        lengths=array.lengths[0],
        inlined={index[1:]: chunk for index, chunk in array.inlined.items()},
    )


def _lowered(codec: Mapping[str, Any]) -> dict[str, Any]:
    """A codec for arrays with one dimension less in front, which had one element: only ``transpose`` counts them."""
    if codec["name"] != "transpose":
        return dict(codec)
    order = [axis - 1 for axis in codec["configuration"]["order"] if axis != 0]
    return {"name": "transpose", "configuration": {"order": order}}


def _band_count(array: VirtualArray) -> int:
    return array.shape[0] if BAND in array.dimension_names else 1


def metadata_of_bands(metadata: RasterMetadata, bands: Sequence[int]) -> RasterMetadata:
    """Return what the values of some bands mean."""
    if tuple(bands) == tuple(range(len(metadata.scales))):
        return metadata

    def picked[T](values: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(values[band] for band in bands) if len(values) > max(bands) else values

    nodata = metadata.nodata_values
    return replace(
        metadata,
        nodata_values=None if nodata is None else picked(nodata),
        scales=picked(metadata.scales),
        offsets=picked(metadata.offsets),
        units=picked(metadata.units),
        descriptions=picked(metadata.descriptions),
        color_interpretation=picked(metadata.color_interpretation),
        statistics=picked(metadata.statistics),
        band_tags=picked(metadata.band_tags),
        band_domains=picked(metadata.band_domains),
        numbers=tuple(band + 1 for band in bands),
    )
