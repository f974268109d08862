"""From files that fit together to one group: a grid on the ground, leading axes, and an array for each variable."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from virtual_tiff.array import VirtualArray
from virtual_tiff.cube.apart import free_traits, leading_axes, own_variable
from virtual_tiff.cube.blueprint import ArrayPlan, Cell, Claim, Footprint, GroupPlan, Placement
from virtual_tiff.cube.cells import Axes, label_axes
from virtual_tiff.cube.conform import check_band_order, check_conform, short_names
from virtual_tiff.cube.edges import GridEdges, align, check_codecs, find_edges, widen
from virtual_tiff.cube.extent import Extent
from virtual_tiff.cube.header import ASSET, FileHeader, is_own_name
from virtual_tiff.cube.mosaic import Tile, check_blocks, check_overlaps, lay_out, same_grid
from virtual_tiff.cube.select import BAND, Span, crop, find_span, whole
from virtual_tiff.cube.shared import shared_conventions
from virtual_tiff.cube.traits import array_traits
from virtual_tiff.cube.views import StackOptions, View, check_names, footprint, variables_of, views_of
from virtual_tiff.errors import ConformError
from virtual_tiff.geo.conventions import Conventions, mask_conventions
from virtual_tiff.geo.coordinate import Coordinate


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One group, the grid that its files share, the part of it that is exposed, and what there is to tell."""

    group: GroupPlan
    grid: Footprint
    span: Span
    axes: Axes
    claims: Mapping[str, Claim]
    headers: tuple[FileHeader, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Variable:
    """The tiles of one array, with what describes it."""

    name: str
    views: list[View] = field(default_factory=list)
    tiles: list[Tile] = field(default_factory=list)
    edges: GridEdges | None = None


def stack(
    headers: Sequence[FileHeader],
    options: StackOptions,
    *,
    path: str = "",
    level: int | None = None,
    span: Span | None = None,
    extent: Extent | None = None,
    position: int = 0,
) -> Stack:
    """Put files into one group.

    Parameters
    ----------
    headers
        The files.
    options
        How they become arrays.
    path
        Of the group.
    level
        The overview to take; None takes the image of each header.
    span
        The part of the grid, beginning and ending with chunks; by default what ``options`` ask for.
    extent
        Of the arrays that are there, into which the files are planned.
    position
        Which of the grounds of `extent` is that of this group.

    Raises
    ------
    ConformError
        ``conform``, ``misaligned`` or ``overlap``; the message names the files.
    UsageError
        ``usage`` for names, bands or areas that cannot be.
    """
    for members in variables_of(headers, options).values():
        if options.chunk_grid == "rectilinear":
            check_codecs(members)
        check_conform(members, ignore=free_traits(options))
        check_band_order(members)
        _check_assets(members, options)
    views = list(views_of(headers, options, level))
    ground = {view.header.url: view.footprint for view in views}
    base = None if extent is None else extent.grids[position]
    grid, places = lay_out(headers, [ground[header.url] for header in headers], base)
    if extent is not None and base is not None:
        span = _span_of(grid, base) if extent.fixed else whole(grid)
    axes = leading_axes(headers, options, extent)
    where = dict(zip([h.url for h in headers], zip(places, axes.cells, strict=True), strict=True))
    if span is None:
        span = _find_span(grid, views, where, options)
    variables = _tiles(views, where, span)
    exposed = span.on(grid)
    _check_points(headers, exposed, level)
    for variable in variables:
        _check_alike(variable.views, ignore=free_traits(options))
        check_overlaps(variable.tiles, axes.tell)
        if options.chunk_grid == "rectilinear":
            there = None if extent is None else extent.edges.get((position, variable.name))
            corner = (0, 0) if base is None else _corner(exposed, base)
            variable.tiles = align(variable.tiles, there, corner)
            variable.edges = find_edges(variable.tiles, exposed, there, corner)
        else:
            check_blocks(variable.tiles, exposed)
    claims = {
        header.url: Claim(own_variable(header, options), cell, place[0] - span.top, place[1] - span.left, *size)
        for header, place, cell in zip(headers, places, axes.cells, strict=True)
        for size in [(ground[header.url].height, ground[header.url].width)]
    }
    found = _group(headers, variables, axes, options, extent, path=path, grid=grid, span=span)
    return replace(found, claims={header.url: claims[header.url] for header in found.headers})


def _check_assets(headers: Sequence[FileHeader], options: StackOptions) -> None:
    """Refuse to put several assets of a catalogue into one array, which does not tell them apart."""
    if ASSET in options.axes:
        return
    found = {str(header.keys[ASSET]): header for header in headers if ASSET in header.keys and BAND not in header.keys}
    names = {asset: header for asset, header in found.items() if not is_own_name(asset, header)}
    if len(names) > 1:
        (one, first), (two, second), *_ = names.items()
        files = short_names([first.place.plain, second.place.plain])
        told = f"{files[1]} is the asset {two!r} of its item, and {files[0]} the asset {one!r}"
        raise ConformError(told, feature="conform", hint="Choose one asset, or make the asset an axis.")


def _corner(grid: Footprint, part: Footprint) -> tuple[int, int]:
    """The row and column at which a part of a grid begins."""
    return (0, 0) if grid.transform is None else same_grid(grid.transform, part) or (0, 0)


def _span_of(grid: Footprint, part: Footprint) -> Span:
    """Where a part of a grid is."""
    row, col = _corner(grid, part)
    return Span(row, col, row + part.height, col + part.width)


def _find_span(
    grid: Footprint,
    views: Sequence[View],
    places: Mapping[str, tuple[tuple[int, int], Cell]],
    options: StackOptions,
) -> Span:
    """The area that is asked for, in whole chunks of all variables."""
    if options.chunk_grid == "regular":
        return find_span(grid, _blocks(view.array for view in views), bounds=options.bounds, window=options.window)
    span = find_span(grid, (1, 1), bounds=options.bounds, window=options.window)
    if span == whole(grid):
        return span
    return widen(span, [find_edges(one.tiles, grid) for one in _tiles(views, places, whole(grid))])


def _check_alike(views: Sequence[View], ignore: Collection[str]) -> None:
    """Refuse overviews and masks that differ, which the traits of their files do not say."""
    first, *others = views
    for view in others:
        one, two = first.array, view.array
        free = -2 if "chunk shape" in ignore else None  # then what rows and columns of chunks are is seen later
        if (one.dtype, one.chunk_shape[:free], one.codecs) == (two.dtype, two.chunk_shape[:free], two.codecs) and (
            (one.dimension_names, one.shape[:-2], repr(one.fill_value))
            == (two.dimension_names, two.shape[:-2], repr(two.fill_value))
            and (free is not None or one.last_rows == two.last_rows)
        ):
            continue
        before, after = array_traits(one), array_traits(two)
        fields = (key for key in before | after if key not in ("size", *ignore) and before.get(key) != after.get(key))
        listed = ", ".join(f"{key} ({after.get(key, 'none')}, not {before.get(key, 'none')})" for key in fields)
        names = short_names([first.header.place.plain, view.header.place.plain])
        found = f"{view.variable} of {names[1]} differs from that of {names[0]} in {listed}"
        raise ConformError(found, feature="conform", hint="Publish them as separate cubes.")


def _check_points(headers: Sequence[FileHeader], exposed: Footprint, level: int | None) -> None:
    """Refuse what would move pixels away from their ground control points or rational polynomials."""
    for header in headers:
        if (header.geo.gcps or header.geo.rpcs is not None) and (level or footprint(header, level) != exposed):
            found = "ground control points and rational polynomials count pixels of the whole image"
            hint = "Such files can only be stacked whole, without overviews."
            raise ConformError(found, feature="conform", url=header.url, hint=hint)


def _blocks(arrays: Iterable[VirtualArray]) -> tuple[int, int]:
    shapes = {array.chunk_shape[-2:] for array in arrays}
    return math.lcm(*(rows for rows, _ in shapes)), math.lcm(*(columns for _, columns in shapes))


def _tiles(views: Sequence[View], places: Mapping[str, tuple[tuple[int, int], Cell]], span: Span) -> list[_Variable]:
    """The tiles of each variable that lie in a span, as far as they do."""
    variables: dict[str, _Variable] = {}
    for view in views:
        variable = variables.setdefault(view.variable, _Variable(view.variable))
        (row, col), cell = places[view.header.url]
        tile = _cropped(Tile(header=view.header, part=view.array, row=row, col=col, cell=cell), span)
        if tile is not None:
            variable.views.append(view)
            variable.tiles.append(tile)
    return [variable for variable in variables.values() if variable.tiles]


def _cropped(tile: Tile, span: Span) -> Tile | None:
    """The chunks of a tile that touch a span; rows and columns then count from the corner of the span."""
    rows, columns = tile.chunk
    height, width = tile.part.shape[-2:]
    if tile.bottom <= span.top or tile.right <= span.left:
        return None
    top = max(0, (span.top - tile.row) // rows * rows)
    left = max(0, (span.left - tile.col) // columns * columns)
    bottom = min(height, -(-(span.bottom - tile.row) // rows) * rows)
    right = min(width, -(-(span.right - tile.col) // columns) * columns)
    if top >= bottom or left >= right:
        return None
    part = crop(tile.part, Span(top, left, bottom, right))
    return replace(tile, part=part, row=tile.row + top - span.top, col=tile.col + left - span.left)


def _group(
    headers: Sequence[FileHeader],
    variables: Sequence[_Variable],
    axes: Axes,
    options: StackOptions,
    extent: Extent | None,
    *,
    path: str,
    grid: Footprint,
    span: Span,
) -> Stack:
    exposed = span.on(grid)
    used = {tile.header.url for variable in variables for tile in variable.tiles}
    kept = tuple(header for header in headers if header.url in used)
    cells = [tile.cell for variable in variables for tile in variable.tiles]
    known = extent.axes if extent is not None else ()
    coordinates, index = label_axes(axes, cells, known=known, presize=options.presize if extent is None else None)
    sizes = tuple(map(len, coordinates))
    arrays, described = [], []
    for variable in variables:
        template = _template(variable.tiles[0].part, axes.names, sizes, exposed)
        if variable.edges is not None:
            template = variable.edges.shape(template)
        found = _describe(variable, exposed, template, options)
        described.append(found)
        array = ArrayPlan(
            name=variable.name,
            template=replace(template, attributes={**template.attributes, **found.array}),
            placements=tuple(_placement(tile, index, variable.edges) for tile in variable.tiles),
        )
        # All is planned with bands first; only what is written has them elsewhere.
        arrays.append(array.with_bands_last(len(sizes)) if options.band_axis == "last" else array)
    stored = _merged(described)
    dims = {name for array in arrays for name in array.template.dimension_names}
    check_names(axes.names, [array.name for array in arrays], _taken(dims - set(axes.names), stored))
    _check_dimensions(arrays)
    left_out = len(headers) - len(kept)
    warnings = [text for one in described for text in one.warnings]
    if extent is None:
        warnings += [text for array in arrays for text in (*_holes(array), *_rectilinear(array))]
    warnings += _own_warnings(kept)
    return Stack(
        group=GroupPlan(
            path=path,
            arrays=tuple(arrays),
            coordinates=stored,
            axes=coordinates,
            attributes=next((one.group for one in described if one.group), {}),
        ),
        grid=grid,
        span=span,
        axes=axes,
        claims={},
        headers=kept,
        warnings=tuple(dict.fromkeys(warnings)),
        notes=(f"{left_out} of {len(headers)} files lie outside the area",) if left_out else (),
    )


def _taken(inner: Iterable[str], stored: Sequence[Coordinate]) -> set[str]:
    return {*inner, *(coordinate.name for coordinate in stored)} - {"spatial_ref"}


def _placement(tile: Tile, index: Mapping[Cell, tuple[int, ...]], edges: GridEdges | None) -> Placement:
    rows, columns = tile.chunk
    inner = (0,) * (len(tile.part.grid) - 2)
    chunk = (tile.row // rows, tile.col // columns) if edges is None else edges.index(tile)
    at = (*index[tile.cell], *inner, *chunk)
    return Placement(tile.header, at, None if tile.part is tile.header.array else tile.part)


def _template(part: VirtualArray, names: Sequence[str], sizes: Sequence[int], ground: Footprint) -> VirtualArray:
    """The metadata of an array that has leading axes in front of those of its parts."""
    shape = (*sizes, *part.shape[:-2], ground.height, ground.width)
    chunk_shape = (*(1 for _ in sizes), *part.chunk_shape)
    grid = tuple(-(-size // chunk) for size, chunk in zip(shape, chunk_shape, strict=True))
    nowhere = np.broadcast_to(np.uint64(0), grid)
    return replace(
        part,
        shape=shape,
        chunk_shape=chunk_shape,
        dimension_names=(*names, *part.dimension_names),
        codecs=tuple(_lifted(codec, len(sizes)) for codec in part.codecs),
        offsets=nowhere,
        lengths=nowhere,
        inlined={},
    )


def _lifted(codec: Mapping[str, Any], count: int) -> dict[str, Any]:
    """A codec for arrays with more dimensions in front: only ``transpose`` counts dimensions."""
    if codec["name"] != "transpose":
        return dict(codec)
    order = [*range(count), *(axis + count for axis in codec["configuration"]["order"])]
    return {"name": "transpose", "configuration": {"order": order}}


def _describe(variable: _Variable, ground: Footprint, template: VirtualArray, options: StackOptions) -> Conventions:
    """The attributes and coordinates of one array."""
    view = variable.views[0]
    geo = replace(view.header.geo, transform=ground.transform)
    if len({one.header.geo.area_or_point for one in variable.views}) > 1:
        geo = replace(geo, has_raster_type=False)  # nothing is said of what differs
    inner = view.array.dimension_names
    shape = template.shape[-len(inner) :]
    if view.metadata is None:
        attributes = mask_conventions(geo, shape=shape, dims=inner)
        if view.array.dtype.kind != "b":
            attributes["flag_values"] = [0, int(np.iinfo(view.array.dtype).max)]
        return Conventions(attributes, {}, (), fill_value=False)
    found = shared_conventions(
        geo,
        [view.metadata for view in variable.views if view.metadata is not None],
        shape=shape,
        dims=inner,
        dtype=template.dtype,
        value_attributes=options.value_attributes,
    )
    if view.mask is not None:
        found = replace(found, array={**found.array, "ancillary_variables": view.mask})
    return found


def _merged(described: Sequence[Conventions]) -> tuple[Coordinate, ...]:
    """The coordinates of all variables, which must agree where they have one name."""
    found: dict[str, Coordinate] = {}
    for coordinate in (coordinate for one in described for coordinate in one.coordinates):
        known = found.setdefault(coordinate.name, coordinate)
        if known is not coordinate and not np.array_equal(known.values, coordinate.values):
            text = f"the variables differ in their coordinate {coordinate.name!r}"
            raise ConformError(text, feature="conform", hint="Publish the bands as separate cubes.")
    return tuple(found.values())


def _check_dimensions(arrays: Sequence[ArrayPlan]) -> None:
    sizes: dict[str, int] = {}
    for array in arrays:
        for name, size in zip(array.template.dimension_names, array.template.shape, strict=True):
            if sizes.setdefault(name, size) != size:
                found = f"the variables differ in the size of {name!r}: {sizes[name]} and {size}"
                raise ConformError(found, feature="conform", hint="Publish the bands as separate cubes.")


def _holes(array: ArrayPlan) -> list[str]:
    """A warning when chunks are in no file and nothing marks what is read there."""
    total = math.prod(array.template.grid)
    placed = sum(math.prod(placement.grid) for placement in array.placements)
    marked = any(key in array.template.attributes for key in ("_FillValue", "nodata", "flag_meanings"))
    if placed == total or marked:
        return []
    value = array.template.fill_value
    absent = f"{array.name}: {total - placed} of {total} chunks are in no file"
    return [f"{absent} and are read as {value!r}, which the files do not declare as nodata"]


def _rectilinear(array: ArrayPlan) -> list[str]:
    """A warning when few clients can read an array, and others not even the arrays beside it."""
    if not array.template.rectilinear:
        return []
    where = "array.rectilinear_chunks is set in the configuration of zarr-python"
    return [f"{array.name}: its chunk grid is rectilinear, so that the group can only be opened where {where}"]


def _own_warnings(headers: Sequence[FileHeader]) -> list[str]:
    labels = short_names([header.place.plain for header in headers])
    return [f"{label}: {text}" for label, header in zip(labels, headers, strict=True) for text in header.array.warnings]
