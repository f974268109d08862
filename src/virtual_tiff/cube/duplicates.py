"""Files, planned together, that claim the very same place: copies, and scenes that have been processed again."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from virtual_tiff.cube.apart import WHERE, leading_axes, own_variable
from virtual_tiff.cube.columns import UNKNOWN_TIME, ledger_time
from virtual_tiff.cube.conform import short_names
from virtual_tiff.cube.extent import Extent
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.times import decode_time
from virtual_tiff.cube.views import StackOptions, footprint

_MAX_NAMES: Final = 5


def drop_duplicates(
    headers: Sequence[FileHeader], options: StackOptions, extent: Extent | None = None
) -> tuple[list[FileHeader], list[FileHeader], tuple[str, ...]]:
    """Part files into those that are used and those whose place another has, as ``options.on_duplicate`` says.

    Files are duplicates when they have the same variable, the same labels along all axes and the same ground. With
    "raise" all are kept, and the plan refuses those that overlap. With "last" it is the file that was updated last,
    where catalogues say that of all files of a place, else the last in the order of the files; of files that were
    updated at the same moment, too. `extent` is that of arrays that are there.

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
    choices = [_choose(rivals, options) for rivals in places.values()]
    used = {choice.used.url for choice in choices}
    unused = [header for header in files if header.url not in used]
    return [header for header in files if header.url in used], unused, _notes(files, choices)


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which of the files of one place is used, and why."""

    used: FileHeader
    others: tuple[FileHeader, ...]
    why: str


def _choose(rivals: Sequence[FileHeader], options: StackOptions) -> _Choice:
    """Choose among the files of one place."""
    if options.on_duplicate == "first":
        return _Choice(rivals[0], tuple(rivals[1:]), "it comes first")
    updated = [ledger_time(one.updated) for one in rivals]
    number = newest(updated)
    if number is None:
        return _Choice(rivals[-1], tuple(rivals[:-1]), "it comes last")
    others = (*rivals[:number], *rivals[number + 1 :])
    return _Choice(rivals[number], others, f"it was updated last, on {told_time(updated[number])}")


def newest(updated: Sequence[int]) -> int | None:
    """Which of the files of one place was updated last, by their moments as the ledger has them.

    None where that is not known of all of them, or all were updated at the same moment, so that their order decides;
    it does, too, among several that were updated last.
    """
    if UNKNOWN_TIME in updated or len(set(updated)) == 1:
        return None
    return max(range(len(updated)), key=lambda index: (updated[index], index))


def _is_pile(headers: Sequence[FileHeader], options: StackOptions) -> bool:
    """Whether nothing but their names tells the files apart, so that all of them have a place of their own."""
    one_place = len({tuple(header.traits[field] for field in WHERE) for header in headers}) <= 1
    return one_place and not options.mosaic and not leading_axes(headers, options).sort


def told_time(moment: int) -> str:
    """A moment of the ledger as a message tells it."""
    (there,) = decode_time(np.array([moment], np.int64))
    return there.replace(tzinfo=None).isoformat(sep=" ", timespec="seconds") + " UTC"


def _notes(files: Sequence[FileHeader], choices: Sequence[_Choice]) -> tuple[str, ...]:
    contested = [choice for choice in choices if choice.others]
    if not contested:
        return ()
    short = dict(zip([one.url for one in files], short_names([one.place.plain for one in files]), strict=True))
    notes = []
    for choice in contested[:_MAX_NAMES]:
        names = [short[header.url] for header in choice.others]
        more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        listed = ", ".join(names[:_MAX_NAMES])
        notes.append(f"of files of the same place, {short[choice.used.url]} is used: {choice.why}; not {listed}{more}")
    if len(contested) > _MAX_NAMES:
        notes.append(f"and so one of several files is used at {len(contested) - _MAX_NAMES} more places")
    return tuple(notes)
