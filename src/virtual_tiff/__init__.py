"""TIFF and COG archives as Zarr, without copying pixels.

Public names are imported when they are first used, so that importing a codec stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virtual_tiff.cube.append import append
    from virtual_tiff.cube.explain import explain
    from virtual_tiff.cube.export import export_references
    from virtual_tiff.cube.groups import plan
    from virtual_tiff.cube.open import open_cube
    from virtual_tiff.cube.publish import publish, publish_plan
    from virtual_tiff.cube.scan import scan
    from virtual_tiff.cube.tidy import tidy
    from virtual_tiff.cube.verify import verify
    from virtual_tiff.dataset import open_pyramid, open_tiff
    from virtual_tiff.errors import (
        ConformError,
        DecodeError,
        FormatError,
        LimitError,
        SourceError,
        TargetError,
        UnsupportedError,
        UsageError,
        VirtualTiffError,
    )
    from virtual_tiff.parser import VirtualTIFF
    from virtual_tiff.tiff.protocol import Limits

_HOMES = {
    "ConformError": "errors",
    "DecodeError": "errors",
    "FormatError": "errors",
    "LimitError": "errors",
    "Limits": "tiff.protocol",
    "SourceError": "errors",
    "TargetError": "errors",
    "UnsupportedError": "errors",
    "UsageError": "errors",
    "VirtualTIFF": "parser",
    "VirtualTiffError": "errors",
    "append": "cube.append",
    "explain": "cube.explain",
    "export_references": "cube.export",
    "open_cube": "cube.open",
    "open_pyramid": "dataset",
    "open_tiff": "dataset",
    "plan": "cube.groups",
    "publish": "cube.publish",
    "publish_plan": "cube.publish",
    "scan": "cube.scan",
    "tidy": "cube.tidy",
    "verify": "cube.verify",
}

__all__ = [
    "ConformError",
    "DecodeError",
    "FormatError",
    "LimitError",
    "Limits",
    "SourceError",
    "TargetError",
    "UnsupportedError",
    "UsageError",
    "VirtualTIFF",
    "VirtualTiffError",
    "append",
    "explain",
    "export_references",
    "open_cube",
    "open_pyramid",
    "open_tiff",
    "plan",
    "publish",
    "publish_plan",
    "scan",
    "tidy",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"virtual_tiff.{_HOMES[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
