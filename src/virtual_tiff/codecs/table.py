"""The one table of what is decoded: from a compression to its kernel, imported when it is needed.

A *stream* kernel gives back the bytes that were compressed; predictor, packing and byte order are undone
after it. An *image* kernel gives back samples. Each module named here has a dict ``STREAMS`` or ``IMAGES``,
or both.
"""

from __future__ import annotations

from collections.abc import Buffer, Callable
from functools import lru_cache
from importlib import import_module
from typing import Any, Final, Literal

import numpy.typing as npt

from virtual_tiff.codecs.config import SegmentConfig

type Stream = Callable[[Buffer, SegmentConfig, int], Buffer]
"""(encoded, config, expected bytes) -> at most or about as many bytes; in memory bounded by them."""

type Image = Callable[[Buffer, SegmentConfig], npt.NDArray[Any]]
"""(encoded, config) -> samples of ``config.dtype`` and shape (any rows, columns, samples)."""

MODULES: Final[dict[int, str]] = {
    **dict.fromkeys((1, 5, 8, 32773, 32946, 34925, 50000), "streams"),
    **dict.fromkeys((2, 3, 4), "fax"),
    6: "ojpeg",
    **dict.fromkeys((7, 33007, 34892), "jpeg"),
    **dict.fromkeys((33003, 33004, 33005, 34712), "images"),
    **dict.fromkeys((22610, 34933, 34934, 50001, 50002, 52546), "images"),
    34887: "lerc",
    **dict.fromkeys((32766, 32809), "nibbles"),
    **dict.fromkeys((32909, 34676, 34677), "logs"),
}
"""Compression -> module of this package that holds its kernel."""

SIZED: Final = frozenset(
    compression for compression, name in MODULES.items() if name in {"fax", "images", "jpeg", "lerc", "ojpeg"}
)
"""Compressions of images that say themselves how many rows they have."""

PREDICTED: Final = frozenset({5, 8, 32946, 34925, 50000})
"""Compressions that the Predictor tag applies to; libtiff ignores the tag with any other."""


@lru_cache(maxsize=64)
def kernel(compression: int) -> tuple[Literal["stream"], Stream] | tuple[Literal["image"], Image] | None:
    """Return the kind and the kernel of a compression, or None when it is not decoded."""
    name = MODULES.get(compression)
    if name is None:
        return None
    try:
        module = import_module(f"virtual_tiff.codecs.{name}")
    except ModuleNotFoundError as error:
        if error.name == f"virtual_tiff.codecs.{name}":
            return None
        raise
    stream = getattr(module, "STREAMS", {}).get(compression)
    if stream is not None:
        return "stream", stream
    image = getattr(module, "IMAGES", {}).get(compression)
    return None if image is None else ("image", image)
