"""Where bands stand among the axes: first, ``(band, y, x)``, or last, ``(y, x, band)``, as interleaved files have them.

Chunks are the same bytes either way. With interleaved bands first, a ``transpose`` codec says how they lie in a chunk,
where core codecs decode it; with bands last there is none, and readers that misread it (GDAL 3.12) or do not have it
(Zarr v2) read the array. ``virtual_tiff.segment`` is told where it puts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, get_args

from virtual_tiff.array import VirtualArray
from virtual_tiff.chain import TRANSPOSE, with_bands_last
from virtual_tiff.errors import UsageError

type BandAxis = Literal["first", "last"]
type Order = tuple[int, ...]

_BAND: Final = "band"


def check_band_axis(band_axis: object) -> None:
    """Refuse places of the band axis that do not exist.

    Raises
    ------
    UsageError
        ``usage``.
    """
    if band_axis not in get_args(BandAxis.__value__):
        raise UsageError(f"band_axis={band_axis!r}", feature="usage", hint="Choose 'first' or 'last'.")


def stored_order(codecs: Sequence[Mapping[str, Any]]) -> Order | None:
    """Return the axes of an array in the order in which its chunks are stored, None when that is their own."""
    orders = (codec["configuration"]["order"] for codec in codecs if codec["name"] == TRANSPOSE)
    return next((tuple(order) for order in orders), None)


def without_order(codecs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the codecs of an array whose axes are in the order in which its chunks are stored."""
    return [dict(codec) for codec in codecs if codec["name"] != TRANSPOSE]


def in_order[T](values: Sequence[T], order: Order) -> tuple[T, ...]:
    """Return what there is for each axis, with the axes in another order."""
    return tuple(values[axis] for axis in order)


def last_order(names: Sequence[str], lead: int = 0) -> Order | None:
    """Return the axes with the bands last, None where there are none; `lead` leading axes are no bands of a file."""
    if _BAND not in names[lead:]:
        return None
    band = list(names).index(_BAND, lead)
    return (*range(band), *range(band + 1, len(names)), band)


def bands_last(array: VirtualArray, lead: int = 0) -> VirtualArray:
    """Return an array with its bands behind all other axes, whose chunks are the same bytes.

    Parameters
    ----------
    array
        With bands before rows, as :func:`virtual_tiff.array.virtual_array` makes it; one without a band axis is
        returned as it is.
    lead
        Number of its leading axes that are no axes of a file, such as time.
    """
    order = last_order(array.dimension_names, lead)
    if order is None:
        return array
    return replace(
        array,
        shape=in_order(array.shape, order),
        chunk_shape=in_order(array.chunk_shape, order),
        dimension_names=in_order(array.dimension_names, order),
        codecs=with_bands_last(array.codecs),
        offsets=array.offsets.transpose(order),
        lengths=array.lengths.transpose(order),
        inlined={in_order(index, order): chunk for index, chunk in array.inlined.items()},
    )


def with_band_axis(array: VirtualArray, band_axis: BandAxis) -> VirtualArray:
    """Return an array of one image with its bands, if it has any, where they are asked for."""
    return bands_last(array) if band_axis == "last" else array
