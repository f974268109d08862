"""Small variables beside an image, and the form of their attributes."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Coordinate:
    """A variable small enough to be stored inline; ``values`` has one axis for each of ``dims``."""

    name: str
    dims: tuple[str, ...]
    values: npt.NDArray[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)


def encode_fill_value(nodata: float, dtype: np.dtype[Any]) -> int | str:
    """Return the ``_FillValue`` attribute as xarray wants it: floats as base64 of a float64."""
    if dtype.kind in "iu":
        return int(nodata)
    return base64.standard_b64encode(struct.pack("<d", float(nodata))).decode("ascii")


def strict_json(value: Any) -> Any:
    """Bring a value into strict JSON: numbers that are not finite become text."""
    if isinstance(value, Mapping):
        return {str(key): strict_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict_json(item) for item in value]
    if isinstance(value, np.generic):
        return strict_json(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value
