"""Arrays that are opened through xarray here are read by our decoders; all others as zarr is configured.

Deflate and ZSTD are decoded by our kernels, though the metadata of the arrays names zarr's codecs. This is set on the
arrays that are opened here, and nowhere else: zarr's configuration stays as it is, and where it names another pipeline,
that one is used, with its codecs.
"""

from __future__ import annotations

from typing import Any

import xarray as xr
from xarray.backends.zarr import ZarrBackendEntrypoint, ZarrStore
from zarr import Array
from zarr.core.array_spec import ArrayConfig, ArraySpec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.core.metadata.v3 import ArrayV3Metadata

from virtual_tiff.codecs.core import with_own_decoders


def open_group(store: Any, **options: Any) -> xr.Dataset:
    """Open a group of arrays of Zarr v3; `options` are those of :func:`xarray.open_zarr`."""
    return xr.open_dataset(store, engine=FastEntrypoint, consolidated=False, zarr_format=3, **options)


class FastEntrypoint(ZarrBackendEntrypoint):
    """xarray's own engine for Zarr, but that it sets the pipeline of the arrays that it opens."""

    def open_dataset(self, filename_or_obj: Any, *, store: Any = None, group: str | None = None, **options: Any) -> Any:
        """Open a group."""
        if store is None:
            store = _Members.open_group(filename_or_obj, group=group, **_taken(options))
        return super().open_dataset(filename_or_obj, store=store, **options)

    def open_groups_as_dict(self, filename_or_obj: Any, *, group: str | None = None, **options: Any) -> Any:
        """Open all groups, by their paths."""
        if group:
            return super().open_groups_as_dict(filename_or_obj, group=group, **options)
        stores = _Members.open_store(filename_or_obj, group="/", **_taken(options))
        return {path: self.open_dataset(filename_or_obj, store=store, **options) for path, store in stores.items()}


def _taken(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options that say how a store is opened from those that say how its arrays are."""
    return {name: options.pop(name) for name in ("consolidated", "mode", "zarr_format") if name in options}


class _Members(ZarrStore):
    """The arrays of a group."""

    __slots__ = ()

    def open_store_variable(self, name: str) -> xr.Variable:
        array = self.members.get(name)
        if isinstance(array, Array):
            set_own_decoders(array)
        variable: xr.Variable = super().open_store_variable(name)  # type: ignore[no-untyped-call]
        return variable


def set_own_decoders(array: Array[Any]) -> None:
    """Let an array be read by our decoders, where zarr's default pipeline is set."""
    opened = array.async_array
    metadata = opened.metadata
    if type(opened.codec_pipeline) is not BatchedCodecPipeline or not isinstance(metadata, ArrayV3Metadata):
        return
    codecs = with_own_decoders(metadata.codecs)
    if codecs is None:
        return
    # as zarr's create_codec_pipeline does: the shape is not used, and rectilinear grids have none
    spec = ArraySpec(
        shape=(1,) * len(metadata.shape),
        dtype=metadata.data_type,
        fill_value=metadata.fill_value,
        config=ArrayConfig.from_dict({}),
        prototype=default_buffer_prototype(),
    )
    pipeline = BatchedCodecPipeline.from_codecs(codecs).evolve_from_array_spec(spec)
    object.__setattr__(opened, "codec_pipeline", pipeline)
