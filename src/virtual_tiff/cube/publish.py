"""Publishing files as a cube in one go: scan, plan, write."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, Unpack

from virtual_tiff.bandaxis import BandAxis
from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube.assets import AssetChoice
from virtual_tiff.cube.axes import AxisValue
from virtual_tiff.cube.cells import TimeSource
from virtual_tiff.cube.draft import Draft, Request, draft
from virtual_tiff.cube.edges import ChunkGrid
from virtual_tiff.cube.groups import GroupBy, OnConflict
from virtual_tiff.cube.listed import Input
from virtual_tiff.cube.pattern import Pattern
from virtual_tiff.cube.persist import BATCH, Published, check_target, publish_plan
from virtual_tiff.cube.reading import CONCURRENCY
from virtual_tiff.cube.results import OnProgress
from virtual_tiff.cube.retry import RETRIES
from virtual_tiff.cube.select import Bounds, Window
from virtual_tiff.cube.stages import OnStage, tell_stage
from virtual_tiff.cube.views import BandAs, OnDuplicate
from virtual_tiff.cube.vrt import Parts
from virtual_tiff.errors import UsageError
from virtual_tiff.tiff.ifd import IfdPath

__all__ = ["BATCH", "Published", "check_target", "publish", "publish_draft", "publish_plan"]


def publish(
    inputs: Input,
    to: str | os.PathLike[str],
    *,
    pattern: str | Pattern | None = None,
    assets: AssetChoice | Sequence[str] | None = None,
    properties: Sequence[str] = (),
    location_field: str | None = None,
    parts: Parts = "error",
    ifd: int | IfdPath = 0,
    options: ChunkOptions | None = None,
    overviews: bool | Sequence[int] = False,
    masks: bool = False,
    dim: str = "item",
    name: str = "band_data",
    time: TimeSource | Literal["none"] | None = None,
    axes: Sequence[str] | None = None,
    presize: Mapping[str, Sequence[AxisValue]] | None = None,
    band_as: BandAs = "dimension",
    band_axis: BandAxis = "first",
    bands: Sequence[int | str] | None = None,
    bounds: Bounds | None = None,
    window: Window | None = None,
    mosaic: bool = False,
    chunk_grid: ChunkGrid = "regular",
    group_by: GroupBy | None = "auto",
    on_conflict: OnConflict = "raise",
    on_duplicate: OnDuplicate = "raise",
    group: str = "",
    into: bool = False,
    batch: int = BATCH,
    message: str | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    ledger: str | os.PathLike[str] | None = None,
    concurrency: int = CONCURRENCY,
    retries: int = RETRIES,
    executor: Any = None,
    on_progress: OnProgress | None = None,
    on_stage: OnStage | None = None,
) -> Published:
    """Scan TIFFs, plan their cube, and publish it in an Icechunk repository.

    Parameters
    ----------
    inputs
        Files, directories, globs, prefixes, URLs and ``@list.txt``; STAC items, stac-geoparquet, VRT and GTI;
        ledgers of scans. See :func:`virtual_tiff.cube.scan.scan`.
    to
        A new local directory, or a new ``s3://``, ``gs://`` or ``az://`` prefix; with `into`, a repository.
    pattern
        What the names of files look like, such as ``"{tile}_{time:%Y%m%d}_{band}.tif"``; see
        :class:`virtual_tiff.cube.pattern.Pattern`.
    assets, properties, location_field, parts
        How catalogues are read, see :func:`virtual_tiff.cube.catalog.read_catalog`.
    ifd
        The image of each file: an index, or a path into the SubIFDs.
    options
        How strips become chunks.
    overviews
        Whether to publish the overviews that all files have, too: as a multiscale group with a group for each level;
        or the numbers of the levels, 0 the finest. Masks come with them.
    masks
        Whether to publish the masks that all files have as a variable beside the image, also without overviews. This
        reads all IFDs of the files.
    dim, name
        Names of the new leading dimension, where files have nothing but their names, and of the variable.
    time
        Where times come from, for a time axis: "keys" (a catalogue or the pattern), "tag" (the DateTime tag), "auto"
        (either) or a function from URL to datetime. By default "keys" when they tell the times of all files; "none"
        asks for no time axis.
    axes
        The fields of the pattern, or properties, that become further axes. By default those fields of the pattern
        that tell apart files of one ground; a field such as the name of a tile, which follows from the ground, does
        not. ``band`` is an axis by itself.
    presize
        Values that axes get beside those of the files, such as ``{"time": [...]}``, so that later files find their
        places there.
    band_as
        "dimension", or "variable" for one variable per band.
    band_axis
        Where the bands that files hold stand: "first", ``(..., band, y, x)``, or "last", ``(..., y, x, band)``. The
        references are the same; interleaved bands need no ``transpose`` codec then, which GDAL misreads.
    bands, bounds, window
        What is exposed: bands by number (from 1) or name; an area, in whole chunks, as (west, south, east, north) in
        units of the CRS or as (column, row, width, height) in pixels.
    mosaic
        Never to stack files that differ in nothing but their names.
    chunk_grid
        "rectilinear" lets chunks have different sizes, see :func:`virtual_tiff.cube.plan.plan_stack`; the short last
        strips of files are then described as they are, unless `options` say what to do with them. Few clients read
        such grids: zarr-python does where ``array.rectilinear_chunks`` is set in its configuration.
    group_by
        "auto" makes groups beside each other for CRSs and resolutions; "always" also where there is but one, so that
        files of others can be appended; None refuses files that do not fit into one.
    on_conflict
        What to do with files of one ground that cannot be one array, because their nodata, scale, codecs, ... differ
        or because they overlap: "raise", or "split" them into groups beside each other.
    on_duplicate
        What to do with files that claim the very same place: "raise", or use the "first" or the "last" of them: by
        their names, whatever the order of the inputs; files of lists and catalogues keep the order of these. Where
        catalogues say of all files of a place when they were updated (else created), "last" is the one updated last.
    group
        The group to write, by default the root.
    into
        Whether to add the group to a repository that exists; it must not be there yet.
    batch
        References per commit at most, which bounds the memory. Readers see all of them at once.
    message
        Of the commit; by default it says what came in.
    on_error
        What to do with files whose header cannot be read: "raise" the first error, or "skip" them.
    ledger
        A Parquet file that keeps what is read of the files, so that a run that is killed goes on from there.
    concurrency
        Files that are read at the same time.
    retries
        Further attempts for each file whose source cannot be reached.
    executor
        Reads headers and writes references on other processes or machines, see
        :func:`virtual_tiff.cube.executor.check_executor`.
    on_progress
        Called after each file whose header was read.
    on_stage
        Called with what is done next, and how far it has come: "plan", "check", "write" and "commit"; see
        :class:`virtual_tiff.cube.stages.Stage`.

    Raises
    ------
    VirtualTiffError
        What is wrong with a file, with the files together, or with the target. Nothing is left behind.
    """
    request = Request(
        pattern=pattern,
        assets=assets,
        properties=properties,
        location_field=location_field,
        parts=parts,
        ifd=ifd,
        options=options,
        overviews=overviews,
        masks=masks,
        dim=dim,
        name=name,
        time=time,
        axes=axes,
        presize=presize or {},
        band_as=band_as,
        band_axis=band_axis,
        bands=bands,
        bounds=bounds,
        window=window,
        mosaic=mosaic,
        chunk_grid=chunk_grid,
        group_by=group_by,
        on_conflict=on_conflict,
        on_duplicate=on_duplicate,
        on_error=on_error,
        ledger=ledger,
        concurrency=concurrency,
        retries=retries,
        executor=executor,
    )
    check_target(to, group=group, into=into)
    made = draft(inputs, request, on_progress=on_progress, on_scan=lambda _: tell_stage(on_stage, "plan"))
    return publish_draft(
        made, to, group=group, into=into, batch=batch, message=message, executor=executor, on_stage=on_stage
    )


class Writing(TypedDict, total=False):
    """How a plan is written, see :func:`virtual_tiff.cube.persist.publish_plan`."""

    group: str
    into: bool
    batch: int
    message: str | None
    executor: Any
    on_stage: OnStage | None


def publish_draft(made: Draft, to: str | os.PathLike[str], **writing: Unpack[Writing]) -> Published:
    """Write what :func:`virtual_tiff.cube.draft.draft` has planned; see :func:`publish_plan`."""
    if made.plan is None:
        made.scan.check()
        raise UsageError("there are no files", feature="usage")
    return publish_plan(made.plan, to, reading=made.reading, inputs=made.inputs, **writing)
