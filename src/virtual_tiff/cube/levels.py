"""Overviews: the same cube once for each level of resolution, as a multiscale group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from virtual_tiff.cube.blueprint import Footprint, GroupPlan, TreePlan
from virtual_tiff.cube.extent import Extent
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.mosaic import lay_out
from virtual_tiff.cube.select import Span, find_span
from virtual_tiff.cube.stack import Stack, stack
from virtual_tiff.cube.views import StackOptions, footprint, views_of
from virtual_tiff.errors import ConformError, UsageError
from virtual_tiff.geo.conventions import multiscales
from virtual_tiff.pyramid import Level, Pyramid


def tree(
    headers: Sequence[FileHeader], options: StackOptions, path: str = "", extent: Extent | None = None
) -> TreePlan:
    """Put files into one group, or into one for each of the levels that are asked for.

    Levels are named "0", "1", ..., the finest first. When all levels are asked for, those that cannot be one array
    are left out, with a note that says why.

    Parameters
    ----------
    headers, options
        The files, and how they become arrays.
    path
        Of the group.
    extent
        Of the arrays that are there, into which the files are planned; it has a ground for each of the levels.

    Raises
    ------
    ConformError
        When the image, or a level that is asked for by number, cannot be one array.
    UsageError
        ``usage`` when there are no such levels.
    """
    if options.levels is False:
        found = stack(headers, options, path=path, extent=extent)
        return _tree((found.group,), [found], options, None, found.notes)
    numbers, notes = _choose(headers, options)
    spans = _spans(headers, options, numbers) if extent is None else [None] * len(numbers)
    stacks: list[Stack] = []
    for position, number in enumerate(numbers):
        try:
            below = f"{path}/{position}".lstrip("/")
            span = spans[position]
            stacks.append(
                stack(headers, options, path=below, level=number, span=span, extent=extent, position=position)
            )
        except ConformError as error:
            if options.levels is not True or position == 0:
                if number == 0:
                    raise
                raise _of_level(error, number, grown=extent is not None) from error
            left = ", ".join(map(str, numbers[position:]))
            notes.append(f"overviews from level {number} on are left out ({left}): {error.found}")
            break
    root = GroupPlan(path=path, arrays=(), attributes=_attributes(headers[0], stacks))
    notes += dict.fromkeys(text for one in stacks for text in one.notes)
    groups = (root, *(one.group for one in stacks))
    return _tree(groups, stacks, options, tuple(numbers[: len(stacks)]), notes)


def _of_level(error: ConformError, number: int, *, grown: bool) -> ConformError:
    """The same error, which tells of what level it is."""
    hint = error.hint
    if grown:
        hint = f"Publish the cube anew with overviews=[{', '.join(map(str, range(number)))}], or these files beside it."
    return ConformError(f"level {number}: {error.found}", feature=error.feature, url=error.url, hint=hint)


def _tree(
    groups: Sequence[GroupPlan],
    stacks: Sequence[Stack],
    options: StackOptions,
    levels: tuple[int, ...] | None,
    notes: Sequence[str],
) -> TreePlan:
    first = stacks[0]
    return TreePlan(
        path=groups[0].path,
        groups=tuple(groups),
        headers=first.headers,
        axes=first.axes.names,
        named=bool(first.axes.names) and not first.axes.sort,
        levels=levels,
        mosaic=options.mosaic,
        grids=tuple(one.span.on(one.grid) for one in stacks),
        claims=first.claims,
        warnings=tuple(dict.fromkeys(text for one in stacks for text in one.warnings)),
        notes=tuple(notes),
    )


def _choose(headers: Sequence[FileHeader], options: StackOptions) -> tuple[list[int], list[str]]:
    """The numbers of the levels, and notes on those that only some files have."""
    counts = [len(header.levels) for header in headers]
    if min(counts) == 0:
        without = headers[counts.index(0)]
        found = "the overviews of the file have not been read"
        raise UsageError(found, feature="usage", url=without.url, hint="Scan with overviews=True.")
    shared = min(counts)
    if not isinstance(options.levels, bool):
        wanted = sorted(set(options.levels))
        if not wanted or wanted[0] < 0 or wanted[-1] >= shared:
            found = f"levels {list(options.levels)} are asked for, and all files have levels 0 to {shared - 1}"
            raise UsageError(found, feature="usage")
        return wanted, []
    notes = []
    if max(counts) > shared:
        notes.append(f"overviews from level {shared} on are left out: only some files have them")
    return list(range(shared)), notes


def _spans(headers: Sequence[FileHeader], options: StackOptions, numbers: Sequence[int]) -> list[Span | None]:
    """The part of each level's grid that is exposed: the same ground on all levels, in whole chunks of all."""
    if options.bounds is None and options.window is None:
        return [None] * len(numbers)
    if options.chunk_grid != "regular":
        found = "an area of levels whose chunks may have several sizes: they have no common block"
        raise UsageError(found, feature="usage", hint="Take the area without overviews, or chunk_grid='regular'.")
    grid, _ = lay_out(headers, [footprint(header) for header in headers])
    ratios = [_ratio(headers, number) for number in numbers]
    rows, columns = [], []
    for ratio, number in zip(ratios, numbers, strict=True):
        for chunk in {view.array.chunk_shape[-2:] for view in views_of(headers, options, number)}:
            rows.append(chunk[0] * ratio)
            columns.append(chunk[1] * ratio)
    blocks = (math.lcm(*rows), math.lcm(*columns))
    span = find_span(grid, blocks, bounds=options.bounds, window=options.window)
    return [_coarser(span, ratio) for ratio in ratios]


def _coarser(span: Span, ratio: int) -> Span:
    return Span(span.top // ratio, span.left // ratio, -(-span.bottom // ratio), -(-span.right // ratio))


def _ratio(headers: Sequence[FileHeader], number: int) -> int:
    """How many pixels of the image one of a level is wide and high, which must be a whole number for an area."""
    ratios = set()
    for header in headers:
        full, own = header.array.shape[-2:], header.levels[number].shape[-2:]
        ratios |= {one / other for one, other in zip(full, own, strict=True)}
    (ratio, *others) = ratios
    if others or ratio != int(ratio):
        found = f"level {number} is no whole number of times as coarse as the image, so that no area has its corners"
        raise ConformError(found, feature="misaligned", hint="Take the area without overviews.")
    return int(ratio)


def _attributes(header: FileHeader, stacks: Sequence[Stack]) -> dict[str, Any]:
    """The attributes of the group above the levels."""
    grounds = [one.span.on(one.grid) for one in stacks]
    finest = grounds[0]
    levels = tuple(
        Level(path=(number,), width=ground.width, height=ground.height, scale_x=scale[0], scale_y=scale[1])
        for number, ground in enumerate(grounds)
        for scale in [_scale(finest, ground)]
    )
    return multiscales(Pyramid(levels), replace(header.geo, transform=finest.transform))


def _scale(finest: Footprint, ground: Footprint) -> tuple[float, float]:
    """How many pixels of the finest level one of another is wide and high."""
    if finest.transform is None or ground.transform is None:
        return finest.width / ground.width, finest.height / ground.height
    relative = ~finest.transform @ ground.transform
    return relative.a, relative.e
