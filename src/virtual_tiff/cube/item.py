"""One file of a catalogue (STAC, VRT, GTI), with what the catalogue says of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

type Window = tuple[int, int, int, int]
"""Column and row offset, width and height, in pixels."""
type BoundingBox = tuple[float, float, float, float]
"""West, south, east, north, in degrees (WGS 84)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MosaicUse:
    """How a mosaic (VRT) uses a file, which it neither computes nor resamples.

    Parameters
    ----------
    bands, into
        Bands of the file, and the bands of the mosaic that they are; both count from 0.
    window
        The part of the file that is used; None is the whole file.
    target
        Where that part stands in the mosaic.
    """

    bands: tuple[int, ...]
    into: tuple[int, ...]
    window: Window | None
    target: Window

    def takes_whole(self, height: int, width: int) -> bool:
        """Whether the mosaic shows all of a file that has this size, pixel by pixel."""
        whole = (0, 0, width, height)
        return self.window in (None, whole) and self.target[2:] == whole[2:]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceItem:
    """One file of a catalogue.

    Parameters
    ----------
    href
        An absolute path or URL, as the catalogue has it: nothing is signed, nothing is stripped.
    item_id, asset
        The id of the STAC item and the key of its asset; None in lists of other kinds.
    datetime, start, end
        The nominal moment and the interval of the acquisition, in UTC.
    properties
        What the catalogue states of the pixels, as far as it is sound; the file's own header is right when
        they differ. ``proj:code`` (text), ``proj:transform`` (6 numbers, affine, row by row), ``proj:shape``
        (rows, columns), ``raster:nodata``, ``raster:scale`` and ``raster:offset`` (one number or None for
        each band, or one for all), ``bands`` (names), and the properties that were asked for.
    bbox
        West, south, east, north, in degrees.
    updated
        When the asset, else the item, was last updated, or else created, as the catalogue says it.
    use
        What a mosaic uses of the file.
    """

    href: str
    item_id: str | None = None
    asset: str | None = None
    datetime: dt.datetime | None = None
    start: dt.datetime | None = None
    end: dt.datetime | None = None
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)
    bbox: BoundingBox | None = None
    use: MosaicUse | None = None
    updated: dt.datetime | None = None

    @property
    def moment(self) -> dt.datetime | None:
        """The nominal moment, else the start of the interval."""
        return self.datetime or self.start
