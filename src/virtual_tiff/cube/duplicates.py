"""Files that claim the very same place: copies, and scenes that have been processed again."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from virtual_tiff.cube.conform import short_names
from virtual_tiff.cube.extent import Extent
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.stack import WHERE, leading_axes, own_variable
from virtual_tiff.cube.views import StackOptions, footprint

_MAX_NAMES = 5


def drop_duplicates(
    headers: Sequence[FileHeader], options: StackOptions, extent: Extent | None = None
) -> tuple[list[FileHeader], list[FileHeader], tuple[str, ...]]:
    """Part files into those that are used and those whose place another has, as ``options.on_duplicate`` says.

    Files are duplicates when they have the same variable, the same labels along all axes and the same ground. With
    "raise" all are kept, and the plan refuses those that overlap. `extent` is that of arrays that are there.

    Returns
    -------
    list of FileHeader
        The files that are used, in their order.
    list of FileHeader
        The others.
    tuple of str
        What there is to tell of them.
    """
    files = list(headers)
    if options.on_duplicate == "raise" or (extent.named if extent is not None else _is_pile(files, options)):
        return files, [], ()
    axes = leading_axes(files, options, extent)
    places: dict[Hashable, list[FileHeader]] = {}
    for header, cell in zip(files, axes.cells, strict=True):
        key = (own_variable(header, options), header.traits["CRS"], footprint(header), cell)
        places.setdefault(key, []).append(header)
    chosen = 0 if options.on_duplicate == "first" else -1
    used = {rivals[chosen].url for rivals in places.values()}
    unused = [header for header in files if header.url not in used]
    return [header for header in files if header.url in used], unused, _notes(files, unused, options)


def _is_pile(headers: Sequence[FileHeader], options: StackOptions) -> bool:
    """Whether nothing but their names tells the files apart, so that all of them have a place of their own."""
    one_place = len({tuple(header.traits[field] for field in WHERE) for header in headers}) <= 1
    return one_place and not options.mosaic and not leading_axes(headers, options).sort


def _notes(files: Sequence[FileHeader], unused: Sequence[FileHeader], options: StackOptions) -> tuple[str, ...]:
    if not unused:
        return ()
    short = dict(zip([one.url for one in files], short_names([one.place.plain for one in files]), strict=True))
    names = [short[header.url] for header in unused]
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    other = "first" if options.on_duplicate == "first" else "last"
    listed = ", ".join(names[:_MAX_NAMES])
    return (f"the {other} file of each place is used; left out: {listed}{more}",)
