"""Plan a stack or a mosaic: whether files fit together, and where each goes, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from virtual_tiff.bandaxis import BandAxis
from virtual_tiff.cube.axes import AxisValue
from virtual_tiff.cube.blueprint import ArrayPlan, CubePlan, GroupPlan, Placement, texts
from virtual_tiff.cube.cells import TimeSource
from virtual_tiff.cube.duplicates import drop_duplicates
from virtual_tiff.cube.edges import ChunkGrid
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.levels import tree
from virtual_tiff.cube.presize import presized
from virtual_tiff.cube.select import Bounds, Window
from virtual_tiff.cube.views import BandAs, OnDuplicate, StackOptions, chosen_files
from virtual_tiff.errors import UsageError

__all__ = ["ArrayPlan", "CubePlan", "GroupPlan", "Placement", "plan_stack", "stack_options", "texts"]


def plan_stack(
    headers: Sequence[FileHeader],
    *,
    dim: str = "item",
    name: str = "band_data",
    value_attributes: bool = True,
    time: TimeSource | None = None,
    axes: Sequence[str] = (),
    band_as: BandAs = "dimension",
    band_axis: BandAxis = "first",
    bands: Sequence[int | str] | None = None,
    bounds: Bounds | None = None,
    window: Window | None = None,
    levels: bool | Sequence[int] = False,
    mosaic: bool = False,
    chunk_grid: ChunkGrid = "regular",
    on_duplicate: OnDuplicate = "raise",
    presize: Mapping[str, Sequence[AxisValue]] | None = None,
) -> CubePlan:
    """Stack files along leading axes into one group; files that do not fit together are refused.

    Parameters
    ----------
    headers
        The files; those of one variable must agree in everything but their pixels.
    dim
        Name of the leading axis when neither a time nor other axes are asked for: the files in the order given,
        labelled by their names. A mosaic has no such axis.
    name
        Name of the variable.
    value_attributes
        Whether to write ``_FillValue``, ``scale_factor`` and ``add_offset``, by which xarray masks and
        scales what it reads; without them it reads the stored values.
    time
        Where the times of files come from, for a leading axis ``time`` in whole microseconds, sorted:
        "keys" (a catalogue or a pattern of names), "tag" (the DateTime tag, 306), "auto" (either), or a function
        from URL to datetime. Times without a zone are in UTC.
    axes
        Keys of the files that become further axes, sorted. ``band`` is one of them by itself where the keys of
        files name different bands. What no file holds is a missing chunk.
    band_as
        "dimension", or "variable" for one variable per band: bands named by the keys of files, or bands of planar
        files.
    band_axis
        Where the bands that files hold stand: "first", ``(..., band, y, x)``, or "last", ``(..., y, x, band)``, which
        needs no ``transpose`` codec for interleaved bands. An axis ``band`` of files that hold one band each leads.
    bands
        Which bands: numbers from 1, or names.
    bounds, window
        An area, which grows to whole chunks: (west, south, east, north) in units of the CRS, or (column, row, width,
        height) in pixels of the grid that the files share.
    levels
        Overviews as a multiscale group with the levels as groups "0", "1", ...: True takes those that all files
        have and that can be arrays, a sequence of numbers just these. The files must have been scanned with their
        overviews.
    mosaic
        Whether files may be tiles of one pixel grid. Their chunks must be chunks of the whole.
    chunk_grid
        "regular", or "rectilinear" where the chunks of files may have different sizes, such as strips of files whose
        heights are no multiple of them, or of files of several widths. Files side by side need chunks of one height,
        files above each other chunks of one width, and all of them core codecs. The files must have been scanned
        with ``ChunkOptions(short_strips="rectilinear")``. A grid that turns out to be regular is written as such; few
        clients read others, see :func:`virtual_tiff.cube.explain.explain`, and only the leading axes of such a cube
        grow, at their ends.
    on_duplicate
        What to do with files that claim the very same place (the same labels, the same ground): "raise", or use
        the "first" or the "last" of them; where ``updated`` is known of all of them, the one updated last.
    presize
        Values that axes get beside those of the files, so that later files find their places there: a list, or a
        text such as ``"2024-05-01/2024-05-31/P1D"``, see :func:`virtual_tiff.cube.presize.parse_presize`.

    Raises
    ------
    ConformError
        ``conform`` when files differ: the message names the fields, the values and the files. ``overlap`` when two
        files claim one place, ``misaligned`` when one does not lie on the chunks of the grid.
    UsageError
        ``usage`` for names that clash or that Zarr does not allow, and for bands, levels or areas that cannot be had.
    """
    options = stack_options(
        headers,
        dim=dim,
        name=name,
        value_attributes=value_attributes,
        time=time,
        axes=axes,
        band_as=band_as,
        band_axis=band_axis,
        bands=bands,
        bounds=bounds,
        window=window,
        levels=levels,
        mosaic=mosaic,
        chunk_grid=chunk_grid,
        on_duplicate=on_duplicate,
        presize=presize or {},
    )
    used, _, notes = drop_duplicates(chosen_files(headers, options), options)
    found = tree(used, options)
    there = {header.url for header in found.headers}
    return CubePlan(
        trees=(found,),
        asked=asked_json(options),
        headers=found.headers,
        unused=tuple(header for header in headers if header.url not in there),
        warnings=found.warnings,
        notes=(*notes, *found.notes),
    )


def asked_json(options: StackOptions) -> dict[str, Any]:
    """The options as JSON values, but for a function that gives times."""
    found = {field.name: getattr(options, field.name) for field in fields(options)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def stack_options(headers: Sequence[FileHeader] | None, **options: Any) -> StackOptions:
    """Check and freeze the options of :func:`plan_stack`; without headers, nothing is checked of them.

    Raises
    ------
    UsageError
        ``usage`` for choices that do not exist, and when there are no files.
    """
    if headers is not None and not headers:
        raise UsageError("there are no files", feature="usage")
    unknown = set(options) - {field.name for field in fields(StackOptions)}
    if unknown:
        raise UsageError(f"unknown options {sorted(unknown)}", feature="usage")
    for name in ("axes", "bands", "levels"):
        if isinstance(options.get(name), str):
            raise UsageError(f"{name}={options[name]!r} is one text", feature="usage", hint="Give a list.")
        if isinstance(options.get(name), Iterable):
            options[name] = tuple(options[name])
    if options.get("presize"):
        options["presize"] = presized(options["presize"])
    return StackOptions(**options)
