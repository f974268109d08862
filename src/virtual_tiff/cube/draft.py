"""From inputs to a plan in one go: scan, fill in what the user left open, plan."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from virtual_tiff.bandaxis import BandAxis
from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube.assets import AssetChoice
from virtual_tiff.cube.axes import AxisValue
from virtual_tiff.cube.blueprint import CubePlan
from virtual_tiff.cube.cells import TIME, TimeSource, check_time_source
from virtual_tiff.cube.edges import ChunkGrid
from virtual_tiff.cube.facts import InputOptions
from virtual_tiff.cube.groups import GroupBy, OnConflict, check_grouping, plan
from virtual_tiff.cube.header import FileHeader, HeaderOptions
from virtual_tiff.cube.listed import Input, gather_inputs
from virtual_tiff.cube.pattern import Pattern
from virtual_tiff.cube.plan import stack_options
from virtual_tiff.cube.reading import CONCURRENCY
from virtual_tiff.cube.results import OnProgress, Scan
from virtual_tiff.cube.retry import RETRIES
from virtual_tiff.cube.scan import scan
from virtual_tiff.cube.select import BAND, Bounds, Window
from virtual_tiff.cube.views import BandAs, OnDuplicate
from virtual_tiff.cube.vrt import Parts
from virtual_tiff.errors import UsageError
from virtual_tiff.tiff.ifd import IfdPath

type OnError = Literal["raise", "skip"]

NO_TIME: Final = "none"
"""Asks for a cube without a time axis, also where the times of all files are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """All that is asked of a cube, but where it is written; see :func:`virtual_tiff.cube.publish.publish`."""

    pattern: str | Pattern | None = None
    assets: AssetChoice | Sequence[str] | None = None
    properties: Sequence[str] = ()
    location_field: str | None = None
    parts: Parts = "error"
    ifd: int | IfdPath = 0
    options: ChunkOptions | None = None
    overviews: bool | Sequence[int] = False
    masks: bool = False
    dim: str = "item"
    name: str = "band_data"
    value_attributes: bool = True
    time: TimeSource | Literal["none"] | None = None
    axes: Sequence[str] | None = None
    presize: Mapping[str, Sequence[AxisValue]] = field(default_factory=dict)
    band_as: BandAs = "dimension"
    band_axis: BandAxis = "first"
    bands: Sequence[int | str] | None = None
    bounds: Bounds | None = None
    window: Window | None = None
    mosaic: bool = False
    chunk_grid: ChunkGrid = "regular"
    group_by: GroupBy | None = "auto"
    on_conflict: OnConflict = "raise"
    on_duplicate: OnDuplicate = "raise"
    on_error: OnError = "raise"
    ledger: str | os.PathLike[str] | None = None
    concurrency: int = CONCURRENCY
    retries: int = RETRIES
    executor: Any = None

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "skip"):
            raise UsageError(f"on_error={self.on_error!r}", feature="usage", hint="Choose 'raise' or 'skip'.")
        check_grouping(self.group_by, self.on_conflict)
        if self.time not in (None, NO_TIME):
            check_time_source(self.time)
        if self.axes is not None:
            unknown = set(self.presize) - {TIME, BAND, self.dim, *self.axes}
            if unknown:
                found = f"presize names {', '.join(sorted(unknown))}, which is no axis"
                raise UsageError(found, feature="usage", hint="Name it in axes (--axis), too.")
        stack_options(
            None,
            band_as=self.band_as,
            band_axis=self.band_axis,
            on_duplicate=self.on_duplicate,
            bounds=self.bounds,
            window=self.window,
            chunk_grid=self.chunk_grid,
        )

    @property
    def inputs(self) -> InputOptions:
        """How inputs are understood."""
        return InputOptions(
            pattern=self.pattern,
            assets=self.assets,
            properties=self.properties,
            location_field=self.location_field,
            parts=self.parts,
            asset_bands=True if BAND in (self.axes or ()) else None,
        )

    @property
    def reading(self) -> HeaderOptions:
        """What is read of each file."""
        ifd = (self.ifd,) if isinstance(self.ifd, int) else tuple(self.ifd)
        levels = True if self.masks or not isinstance(self.overviews, bool) else self.overviews
        chunks = self.options or ChunkOptions()
        if self.chunk_grid == "rectilinear" and chunks.short_strips == "auto":
            chunks = replace(chunks, short_strips="rectilinear")
        return HeaderOptions(ifd=ifd, chunks=chunks, overviews=levels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is to be published: the plan, the scan that it comes from, and how more files are to be read.

    ``plan`` is None when no header could be read. ``inputs`` are those of :class:`virtual_tiff.cube.recipe.Recipe`.
    """

    scan: Scan
    plan: CubePlan | None
    reading: HeaderOptions
    inputs: Mapping[str, Any]


def draft(
    inputs: Input,
    request: Request,
    *,
    on_progress: OnProgress | None = None,
    on_scan: Callable[[Scan], None] | None = None,
) -> Draft:
    """Scan files and plan their cube.

    Parameters
    ----------
    inputs, request
        The files, and what is asked of their cube.
    on_progress
        Called after each file.
    on_scan
        Called before the cube is planned, with what the scan found.

    Raises
    ------
    VirtualTiffError
        What is wrong with the inputs, or with the files together. Files that cannot be read raise only when that is
        asked for; else they are the failures of the scan.
    """
    options = request.inputs
    named = gather_inputs(inputs, options)
    found = scan(
        named,
        ifd=request.reading.ifd,
        options=request.reading.chunks,
        overviews=request.reading.overviews,
        ledger=request.ledger,
        concurrency=request.concurrency,
        retries=request.retries,
        executor=request.executor,
        on_progress=on_progress,
    )
    if on_scan is not None:
        on_scan(found)
    if request.on_error == "raise":
        found.check()
    told = replace(options, asset_bands=named.asset_bands).to_json()
    made = plan_request(found.headers, request) if found.headers else None
    return Draft(scan=found, plan=made, reading=request.reading, inputs=told)


def plan_request(headers: Sequence[FileHeader], request: Request) -> CubePlan:
    """Plan the cube of files that have been scanned, filling in what the request leaves open."""
    pattern = request.inputs.compiled()
    fields = () if pattern is None or request.axes is not None else tuple(pattern.fields)
    axes = own_axes(headers, fields) if request.axes is None else request.axes
    made = plan(
        headers,
        group_by=request.group_by,
        on_conflict=request.on_conflict,
        dim=request.dim,
        name=request.name,
        value_attributes=request.value_attributes,
        time=_time(headers, request),
        axes=[axis for axis in axes if axis != TIME],
        presize=request.presize,
        band_as=request.band_as,
        band_axis=request.band_axis,
        bands=request.bands,
        bounds=request.bounds,
        window=request.window,
        levels=request.overviews,
        mosaic=request.mosaic,
        chunk_grid=request.chunk_grid,
        on_duplicate=request.on_duplicate,
    )
    lacking = request.masks and not any(mask is not None for header in made.headers for mask in header.masks)
    notes = ("none of the files has a mask",) if lacking else ()
    watched = tuple(name for name in fields if name not in (TIME, *axes))
    return replace(made, watched=watched, notes=(*notes, *made.notes))


def _time(headers: Sequence[FileHeader], request: Request) -> TimeSource | None:
    """Where times come from; by default from the pattern or the catalogue, when they tell the times of all files."""
    if request.time is None:
        return "keys" if all(header.time is not None for header in headers) else None
    return None if request.time == NO_TIME else request.time


def own_axes(headers: Sequence[FileHeader], fields: Iterable[str]) -> list[str]:
    """The fields of a pattern that are axes: those that tell apart files of one ground, besides time and band.

    A field that follows from the ground, such as the name of a tile, is none.
    """
    found = []
    for name in dict.fromkeys(fields):
        if name in (TIME, BAND):
            continue
        values: dict[tuple[str, ...], set[object]] = {}
        for header in headers:
            ground = (header.traits["CRS"], header.traits["transform"], header.traits["size"])
            values.setdefault(ground, set()).add(header.keys.get(name))
        if any(len(there) > 1 for there in values.values()):
            found.append(name)
    return found
