"""One IFD as a Zarr array of byte ranges: plain values, before VirtualiZarr or Icechunk see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from virtual_tiff.tiff.ifd import IfdPath


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualArray:
    """A Zarr v3 array whose chunks are byte ranges of one file.

    ``offsets`` and ``lengths`` (bytes) have the shape of the chunk grid; a length of 0 is a missing chunk, which
    reads as ``fill_value``. ``inlined`` holds the bytes of the few chunks that are not ranges of the file,
    by grid index; their length in ``lengths`` is 0 too. ``codecs`` are the JSON specs of the chain in Zarr's order.
    ``portability`` is "core" when every Zarr client can decode the chain, "segment" when ``virtual_tiff.segment``
    is needed. ``warnings`` are sentences for a person, about repairs made while reading the file.
    """

    url: str
    ifd: IfdPath
    shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]
    dimension_names: tuple[str, ...]
    dtype: np.dtype[Any]
    codecs: tuple[Mapping[str, Any], ...]
    fill_value: bool | float | complex
    offsets: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.uint64]
    inlined: Mapping[tuple[int, ...], bytes] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    portability: Literal["core", "segment"] = "core"
    warnings: tuple[str, ...] = ()

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of chunks along each axis."""
        return tuple(self.offsets.shape)
