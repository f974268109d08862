"""The library under test: one page read through ``VirtualTIFF`` and zarr, with every way of failing named."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.ifdwalk import IfdPath
from tests.oracles import Pixels, Window


@dataclass(frozen=True)
class Outcome:
    """What the library makes of a page: an array (band, y, x) for each window, or a status that says why not.

    ``status`` is "read", "refused:<feature>", "error:<feature>", "readfail:<feature or exception>"
    ("core-codec" for exceptions of Zarr's own codecs) or "crash:<exception>".
    """

    status: str
    detail: str = ""
    pixels: tuple[Pixels, ...] = ()


def read(
    path: Path,
    ifd: int | IfdPath,
    areas: Sequence[Window] | None = None,
    stage: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> Outcome:
    """Parse one IFD and read windows of it, or all of it; `options` go to ``VirtualTIFF``."""
    from virtual_tiff.errors import FormatError, SourceError, UsageError, VirtualTiffError

    stage("parse")
    try:
        array = open_array(path, ifd, **options)
    except (FormatError, SourceError, UsageError) as error:
        return Outcome(f"error:{error.feature}", str(error))
    except VirtualTiffError as error:
        return Outcome(f"refused:{error.feature}", str(error))
    except Exception as error:  # noqa: BLE001
        return Outcome(f"crash:{type(error).__name__}", _place(error))
    stage("read")
    try:
        return Outcome("read", pixels=tuple(_window(array, area) for area in areas or (None,)))
    except Exception as error:  # noqa: BLE001
        return Outcome(f"readfail:{_feature(error) or _foreign(error)}", _place(error))


def open_array(path: Path, ifd: int | IfdPath, **options: Any) -> Any:
    """The Zarr array of one IFD."""
    import zarr
    from obspec_utils.registry import ObjectStoreRegistry
    from obstore.store import LocalStore

    from virtual_tiff import VirtualTIFF

    registry = ObjectStoreRegistry({"file://": LocalStore()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = VirtualTIFF(ifd=ifd, **options)(url=f"file://{path}", registry=registry)
        return zarr.open_group(store, mode="r", zarr_format=3)["band_data"]


def _window(array: Any, area: Window | None) -> Pixels:
    if area is None:
        pixels = np.asarray(array[...])
    else:
        col, row, width, height = area
        pixels = np.asarray(array[..., row : row + height, col : col + width])
    return pixels[None] if pixels.ndim == 2 else pixels


def _feature(error: BaseException | None) -> str | None:
    """Feature code of one of the library's errors, also where a client has wrapped it."""
    from virtual_tiff.errors import VirtualTiffError

    while error is not None:
        if isinstance(error, VirtualTiffError):
            return error.feature
        error = error.__cause__ or error.__context__
    return None


def _foreign(error: BaseException) -> str:
    """Return "core-codec" for what Zarr's own codecs raise on damaged bytes, else the exception."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    return "core-codec" if frames and "numcodecs" in frames[-1].filename else type(error).__name__


def _place(error: BaseException) -> str:
    """Type, message and innermost line of an exception, for a triage."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "virtual_tiff" in frame.filename] or frames
    where = f" at {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}: {error}"[:300] + where
