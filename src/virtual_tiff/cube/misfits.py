"""Telling the files that fit a cube from those that do not, by planning them again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from virtual_tiff.cube.header import FileHeader
from virtual_tiff.errors import SourceError, TargetError, VirtualTiffError

type TryPlan = Callable[[Sequence[FileHeader]], object]
"""Plans files, and raises when they do not fit."""


def sift(headers: Sequence[FileHeader], try_plan: TryPlan) -> tuple[list[FileHeader], dict[str, VirtualTiffError]]:
    """Part files into those that fit, all together, and the others.

    A file that fits by itself but not with others is left out when it comes behind them.

    Parameters
    ----------
    headers
        The files.
    try_plan
        What decides.

    Returns
    -------
    list of FileHeader
        The files that fit, in their order.
    dict
        By URL, why the others do not.

    Raises
    ------
    SourceError, TargetError
        What `try_plan` raises of these has nothing to do with a file.
    """
    if _why_not(headers, try_plan) is None:
        return list(headers), {}
    misfits: dict[str, VirtualTiffError] = {}
    single = _halve(headers, try_plan, misfits, together=False)  # most do not fit the cube, whatever else comes
    return _halve(single, try_plan, misfits, together=True), misfits


def _halve(
    headers: Sequence[FileHeader],
    try_plan: TryPlan,
    misfits: dict[str, VirtualTiffError],
    *,
    together: bool,
    before: Sequence[FileHeader] = (),
) -> list[FileHeader]:
    """The files that fit: with those before them and with each other, or each part of them for itself."""
    if not headers:
        return []
    error = _why_not([*before, *headers], try_plan)
    if error is None:
        return list(headers)
    if len(headers) == 1:
        misfits[headers[0].url] = error
        return []
    middle = len(headers) // 2
    first = _halve(headers[:middle], try_plan, misfits, together=together, before=before)
    behind = [*before, *first] if together else before
    return first + _halve(headers[middle:], try_plan, misfits, together=together, before=behind)


def _why_not(headers: Sequence[FileHeader], try_plan: TryPlan) -> VirtualTiffError | None:
    try:
        try_plan(headers)
    except (SourceError, TargetError):
        raise
    except VirtualTiffError as error:
        return error
    return None
