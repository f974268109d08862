"""ManifestArrays that combine as TIFF images must: bands stay in place, and different fill values do not get lost.

VirtualiZarr keeps the ``transpose`` codec of pixel-interleaved bands as it is when a dimension is added in front, which
is then an order of too few dimensions; and of two fill values it takes the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import xarray as xr
from virtualizarr.manifests import ChunkManifest, ManifestArray
from zarr.core.metadata.v3 import ArrayV3Metadata

from virtual_tiff.bandaxis import Order, stored_order, without_order
from virtual_tiff.errors import ConformError, UnsupportedError

_ADDING: Final = {np.stack, np.expand_dims, np.broadcast_to}
"""The functions that may add dimensions."""

_COMBINING: Final = {np.stack, np.concatenate}


class TiffManifestArray(ManifestArray):
    """A ManifestArray whose bands may be pixel-interleaved, and which does not combine with another fill value."""

    def __array_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        arrays = list(_arrays(args))
        if func in _COMBINING:
            _check_fill_values(arrays)
        orders = {_order(array.metadata) for array in arrays}
        if func not in _ADDING or orders == {None}:
            return _own(super().__array_function__(func, types, args, kwargs))
        if len(orders) > 1:
            found = "one array has pixel-interleaved bands, another has not"
            raise ConformError(found, feature="conform")
        if kwargs.get("axis", 0) != 0:
            found = f"a dimension inserted at {kwargs['axis']} between the dimensions of pixel-interleaved bands"
            raise UnsupportedError(found, feature="planar", hint="Insert it in front, with axis=0.")
        plain = super().__array_function__(func, types, _without_order(args), kwargs)
        return _with_order(plain, orders.pop() or (), plain.ndim - arrays[0].ndim)

    def __getitem__(self, key: Any, /) -> ManifestArray:
        keys = key if isinstance(key, tuple) else (key,)
        added = next((at for at, part in enumerate(keys) if part is not None), len(keys))
        array: Any = _own(super().__getitem__(keys[added:] or (...,)))
        for _ in range(added):
            array = np.expand_dims(array, axis=0)
        result: ManifestArray = array
        return result

    def transpose(self, *axes: Any) -> ManifestArray:
        """Refuse: references are in the order of the file. xarray comes here to combine first and last bands.

        Raises
        ------
        UnsupportedError
            ``planar``.
        """
        del axes
        found = "references whose dimensions are put in another order"
        hint = "Parse all files with the same band_axis, or transpose what is opened from the references."
        raise UnsupportedError(found, feature="planar", hint=hint)

    def to_virtual_variable(self) -> xr.Variable:
        """Return an xarray variable that holds an array of this class."""
        variable = super().to_virtual_variable()
        return xr.Variable(variable.dims, _own(variable.data), variable.attrs, variable.encoding)


def _own(value: Any) -> Any:
    """Return a ManifestArray as one of ours, anything else as it is."""
    if type(value) is not ManifestArray:
        return value
    return TiffManifestArray(metadata=value.metadata, chunkmanifest=value.manifest)


def _arrays(values: Any) -> Iterator[ManifestArray]:
    """The ManifestArrays among arguments, however nested."""
    for value in values:
        if isinstance(value, ManifestArray):
            yield value
        elif isinstance(value, list | tuple):
            yield from _arrays(value)


def _check_fill_values(arrays: Sequence[ManifestArray]) -> None:
    values = {repr(array.metadata.fill_value) for array in arrays}
    if len(values) > 1:
        found = f"arrays with different fill values, {' and '.join(sorted(values))}, would become one"
        raise ConformError(found, feature="conform", hint="Combine only files with the same nodata value.")


def _order(metadata: ArrayV3Metadata) -> Order | None:
    """The order of the transpose codec, or None."""
    codecs: Any = metadata.to_dict()["codecs"]
    return stored_order(codecs)


def _without_order(values: Any) -> Any:
    """The same arguments, with arrays that have no transpose codec."""
    if isinstance(values, list | tuple):
        return type(values)(_without_order(value) for value in values)
    if not isinstance(values, ManifestArray):
        return values
    return _with_codecs(ManifestArray, values, without_order)


def _with_order(array: ManifestArray, order: tuple[int, ...], added: int) -> ManifestArray:
    """Put the transpose codec back, behind the dimensions that were added in front."""
    lifted = [*range(added), *(axis + added for axis in order)]
    transpose = {"name": "transpose", "configuration": {"order": lifted}}
    return _with_codecs(TiffManifestArray, array, lambda codecs: [transpose, *codecs])


def _with_codecs(
    kind: type[ManifestArray], array: ManifestArray, change: Callable[[list[Any]], list[Any]]
) -> ManifestArray:
    metadata: dict[str, Any] = dict(array.metadata.to_dict())
    metadata["codecs"] = change(list(metadata["codecs"]))
    manifest: ChunkManifest = array.manifest
    return kind(metadata=ArrayV3Metadata.from_dict(metadata), chunkmanifest=manifest)
