"""What tells the files of one group apart: labels along leading axes, variables, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from virtual_tiff.cube.cells import TIME, Axes, find_axes
from virtual_tiff.cube.conform import short_names
from virtual_tiff.cube.edges import SIZE_TRAITS
from virtual_tiff.cube.extent import Extent
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.names import new_names
from virtual_tiff.cube.select import BAND
from virtual_tiff.cube.views import StackOptions, axis_keys, variables_of

WHERE: Final = ("size", "transform")
"""The traits that say where a tile of a grid lies; its pixels may differ in no other."""


def free_traits(options: StackOptions) -> tuple[str, ...]:
    """The traits in which files of one array may differ."""
    sizes = SIZE_TRAITS if options.chunk_grid == "rectilinear" else ()
    return (*WHERE, *sizes) if options.mosaic else sizes


def leading_axes(headers: Sequence[FileHeader], options: StackOptions, extent: Extent | None = None) -> Axes:
    """The leading axes of a stack: time and keys, else the files one behind another, else none for a mosaic."""
    if extent is not None:
        return _known_axes(headers, options, extent)
    keys = axis_keys(headers, options)
    if options.time is not None or keys:
        return find_axes(headers, time=options.time, keys=keys)
    if options.mosaic or len(variables_of(headers, options)) > 1:
        return Axes((), ((),) * len(headers))
    labels = short_names([header.place.plain for header in headers])
    return Axes((options.dim,), tuple((label,) for label in labels), sort=False)


def _known_axes(headers: Sequence[FileHeader], options: StackOptions, extent: Extent) -> Axes:
    """The same axes as those that are there, and where on them these files belong."""
    names = tuple(axis.name for axis in extent.axes)
    if not names:
        return Axes((), ((),) * len(headers))
    if not extent.named:
        keys = [name for name in names if options.time is None or name != TIME]
        return find_axes(headers, time=options.time, keys=keys)
    fresh = [header for header in headers if header.url not in extent.names]
    (axis,) = extent.axes
    found = new_names([header.place.plain for header in fresh], axis.first_name(), axis.having)
    labels = dict(zip([header.url for header in fresh], found, strict=True)) | dict(extent.names)
    return Axes(names, tuple((labels[header.url],) for header in headers), sort=False)


def own_variable(header: FileHeader, options: StackOptions) -> str:
    """The variable that a file belongs to by its key, or nothing where it belongs to all."""
    return str(header.keys[BAND]) if options.band_as == "variable" and BAND in header.keys else ""
