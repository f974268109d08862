"""The options that commands share: each is declared once, and becomes a part of a request in one place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_type_hints

import typer

from virtual_tiff.cli.values import parse_bands, parse_bounds, parse_levels, parse_window

if TYPE_CHECKING:
    from virtual_tiff.cube.draft import Request

INPUTS: Final = "Inputs"
EXPOSED: Final = "What is exposed"
CUBE: Final = "Cube"
WRITING: Final = "Writing"
SPEED: Final = "Speed"

InputNames = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUTS",
        help="Files, directories, globs, s3:// gs:// az:// prefixes and globs, http(s) URLs, @list.txt; STAC JSON, "
        "stac-geoparquet, VRT and GTI; ledgers of scans.",
        show_default=False,
    ),
]
Cube = Annotated[str, typer.Argument(metavar="CUBE", help="A directory, or an s3://, gs://, az:// or http(s):// URL.")]
Group = Annotated[str, typer.Option(help="The group of the cube in its repository; the root by default.")]
Refresh = Annotated[
    bool, typer.Option("--refresh", help="Ask whether the files in the ledger have changed.", rich_help_panel=SPEED)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show tracebacks of errors, and lists in full.")]
Concurrency = Annotated[
    int, typer.Option(min=1, help="Files that are read at the same time; by each worker.", rich_help_panel=SPEED)
]
Retries = Annotated[
    int,
    typer.Option(min=0, help="Further attempts for each file that cannot be reached.", rich_help_panel=SPEED),
]
OnError = Annotated[
    Literal["stop", "skip"],
    typer.Option(help="What to do with files that cannot be read.", rich_help_panel=INPUTS),
]
SkipErrors = Annotated[bool, typer.Option("--skip-errors", help="The same as --on-error skip.", rich_help_panel=INPUTS)]
Target = Annotated[
    str,
    typer.Option(
        "--to",
        help="A new directory, or a new s3://, gs:// or az:// prefix; with --into a repository.",
        rich_help_panel=WRITING,
    ),
]
NewGroup = Annotated[str, typer.Option(help="The group to write; the root by default.", rich_help_panel=WRITING)]
Into = Annotated[
    bool, typer.Option("--into", help="Add the group to a repository that exists.", rich_help_panel=WRITING)
]
Ledger = Annotated[
    Path | None,
    typer.Option(help="A Parquet file from which a run that was killed goes on.", rich_help_panel=SPEED),
]
BandAxis = Annotated[
    Literal["first", "last"],
    typer.Option(
        help="Where the bands of files stand: (band, y, x), or (y, x, band), which GDAL needs for interleaved ones.",
        rich_help_panel=EXPOSED,
    ),
]
Batch = Annotated[int, typer.Option(min=1, help="References per commit at most.", rich_help_panel=WRITING)]
Message = Annotated[str | None, typer.Option(help="Of the commit; else what came in.", rich_help_panel=WRITING)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How inputs are understood, and what is read of each file."""

    pattern: Annotated[
        str | None,
        typer.Option(
            help="What names look like, such as '{tile}_{time:%Y%m%d}_{band}.tif'; the fields become axes.",
            rich_help_panel=INPUTS,
        ),
    ] = None
    asset: Annotated[
        list[str] | None,
        typer.Option(
            help="An asset of STAC items: its key (* and ? match), role:data, type:image/tiff or alternate:s3. "
            "Repeat it.",
            rich_help_panel=INPUTS,
        ),
    ] = None
    property: Annotated[
        list[str] | None,
        typer.Option(help="A property of STAC items, or a column, that is kept. Repeat it.", rich_help_panel=INPUTS),
    ] = None
    location_field: Annotated[
        str | None, typer.Option(help="The column of a tile index that names the files.", rich_help_panel=INPUTS)
    ] = None
    parts: Annotated[
        Literal["error", "whole"],
        typer.Option(help="What to do when a VRT shows a part of a file only.", rich_help_panel=INPUTS),
    ] = "error"
    ifd: Annotated[
        str, typer.Option(help="The image of each file: an index, or a path such as 3.0.", rich_help_panel=EXPOSED)
    ] = "0"
    overviews: Annotated[
        bool,
        typer.Option(
            "--overviews", help="Overviews and masks, too; in a cube as a multiscale group.", rich_help_panel=EXPOSED
        ),
    ] = False
    short_strips: Annotated[
        Literal["auto", "pad", "inline", "rectilinear", "error"],
        typer.Option(help="What to do with a last strip that is shorter.", rich_help_panel=EXPOSED),
    ] = "auto"
    target_chunk_bytes: Annotated[
        int,
        typer.Option(min=1, help="Size to which uncompressed strips are merged or cut.", rich_help_panel=EXPOSED),
    ] = 1 << 20
    color: Annotated[
        Literal["rgb"] | None,
        typer.Option(help="Convert palettes, YCbCr, CMYK and L*a*b* to RGB.", rich_help_panel=EXPOSED),
    ] = None
    codecs: Annotated[
        Literal["core", "segment"],
        typer.Option(help="Codecs to prefer: those of all clients, or the faster one.", rich_help_panel=EXPOSED),
    ] = "core"

    def arguments(self) -> dict[str, Any]:
        """The arguments that scans and requests share."""
        from virtual_tiff.chunks import ChunkOptions
        from virtual_tiff.cube.scan import parse_ifd

        return {
            "pattern": self.pattern,
            "assets": self.asset or None,
            "properties": self.property or (),
            "location_field": self.location_field,
            "parts": self.parts,
            "ifd": parse_ifd(self.ifd),
            "options": ChunkOptions(
                short_strips=self.short_strips,
                target_chunk_bytes=self.target_chunk_bytes,
                color=self.color,
                codecs=self.codecs,
            ),
            "overviews": self.overviews,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedOptions:
    """How much is done at once."""

    concurrency: Concurrency = 64
    retries: Retries = 2
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that read and write; 0 is this one.", rich_help_panel=SPEED)
    ] = 0

    def arguments(self) -> dict[str, Any]:
        """The arguments that scans and requests share."""
        return {"concurrency": self.concurrency, "retries": self.retries}


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeOptions:
    """What a cube is like."""

    masks: Annotated[
        bool,
        typer.Option(
            "--masks",
            help="Masks beside the image, also without overviews; the ledger of a scan needs --overviews then.",
            rich_help_panel=EXPOSED,
        ),
    ] = False
    levels: Annotated[
        str | None,
        typer.Option(
            help="These levels only, such as 0,2,3, as a multiscale group; 0 is the finest.", rich_help_panel=EXPOSED
        ),
    ] = None
    bands: Annotated[
        str | None, typer.Option(help="Bands by number, from 1, or name: 4,3,2 or red,nir.", rich_help_panel=EXPOSED)
    ] = None
    bounds: Annotated[
        str | None,
        typer.Option(metavar="W,S,E,N", help="An area in units of the CRS, in whole chunks.", rich_help_panel=EXPOSED),
    ] = None
    window: Annotated[
        str | None,
        typer.Option(
            metavar="COL,ROW,WIDTH,HEIGHT", help="An area in pixels, in whole chunks.", rich_help_panel=EXPOSED
        ),
    ] = None
    stored_values: Annotated[
        bool,
        typer.Option(
            "--stored-values",
            help="Leave out _FillValue, scale_factor and add_offset, by which xarray masks and scales.",
            rich_help_panel=EXPOSED,
        ),
    ] = False
    dim: Annotated[
        str, typer.Option(help="Name of the dimension of files that only their names tell apart.", rich_help_panel=CUBE)
    ] = "item"
    name: Annotated[str, typer.Option(help="Name of the variable.", rich_help_panel=CUBE)] = "band_data"
    time: Annotated[
        Literal["keys", "tag", "auto", "none"] | None,
        typer.Option(
            help="Where times come from: keys (pattern or catalogue), the DateTime tag, or either. By default keys, "
            "when they tell all times.",
            rich_help_panel=CUBE,
        ),
    ] = None
    axis: Annotated[
        list[str] | None,
        typer.Option(
            help="A field of the pattern, or a property, that becomes an axis. Repeat it. By default the fields that "
            "tell apart files of one ground.",
            rich_help_panel=CUBE,
        ),
    ] = None
    presize: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AXIS=VALUES",
            help="Values that an axis gets from the start: time=2024-01-01/2024-12-31/P1D, band=B02,B03, "
            "level=0/1000/100. Repeat it.",
            rich_help_panel=CUBE,
        ),
    ] = None
    band_as: Annotated[
        Literal["dimension", "variable"],
        typer.Option(help="Bands along a dimension, or as variables.", rich_help_panel=CUBE),
    ] = "dimension"
    band_axis: BandAxis = "first"
    mosaic: Annotated[
        bool, typer.Option("--mosaic", help="Never stack files by their names.", rich_help_panel=CUBE)
    ] = False
    chunk_grid: Annotated[
        Literal["regular", "rectilinear"],
        typer.Option(help="Chunks of one size, or of several, which few clients read.", rich_help_panel=CUBE),
    ] = "regular"
    group_by: Annotated[
        Literal["auto", "always", "none"],
        typer.Option(
            help="Groups for CRSs and resolutions; always: also for a single one, so that others can come; none: one "
            "for all files.",
            rich_help_panel=CUBE,
        ),
    ] = "auto"
    on_conflict: Annotated[
        Literal["raise", "split"],
        typer.Option(help="Files that cannot be one array: refuse, or make groups.", rich_help_panel=CUBE),
    ] = "raise"
    on_duplicate: Annotated[
        Literal["raise", "first", "last"],
        typer.Option(
            help="Files that claim the same place: refuse, or use one, by the order of their names; of lists and "
            "catalogues, by theirs. The last is the one updated last, where catalogues tell that of all.",
            rich_help_panel=CUBE,
        ),
    ] = "raise"
    on_error: OnError = "stop"
    skip_errors: SkipErrors = False

    @property
    def skips(self) -> bool:
        """Whether files that cannot be read are left out."""
        return self.skip_errors or self.on_error == "skip"

    def request(
        self, reading: ReadOptions, speed: SpeedOptions, *, ledger: Path | None = None, executor: Any = None
    ) -> Request:
        """What is asked of a cube. Files that cannot be read are left to the command.

        Raises
        ------
        UsageError
            ``usage`` for values that cannot be understood, and for choices that exclude each other.
        """
        from virtual_tiff.cube.draft import Request
        from virtual_tiff.cube.plan import stack_options
        from virtual_tiff.cube.presize import parse_presize

        shared = reading.arguments() | speed.arguments()
        levels = parse_levels(self.levels)
        request = Request(
            **shared | {"overviews": shared["overviews"] if levels is None else levels},
            masks=self.masks,
            dim=self.dim,
            name=self.name,
            value_attributes=not self.stored_values,
            time=self.time,
            axes=self.axis or None,
            band_as=self.band_as,
            band_axis=self.band_axis,
            bands=parse_bands(self.bands),
            bounds=parse_bounds(self.bounds),
            window=parse_window(self.window),
            mosaic=self.mosaic,
            chunk_grid=self.chunk_grid,
            group_by=None if self.group_by == "none" else self.group_by,
            on_conflict=self.on_conflict,
            on_duplicate=self.on_duplicate,
            on_error="skip",
            ledger=ledger,
            executor=executor,
        )
        pattern = request.inputs.compiled()
        presize = parse_presize(self.presize or (), None if pattern is None else pattern.kinds)
        stack_options(None, bounds=request.bounds, window=request.window)
        return replace(request, presize=presize)


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Let typer see the fields of a command's groups of options as parameters of its own.

    A group is a keyword-only parameter whose type is a dataclass.
    """
    hints = get_type_hints(command, include_extras=True)
    signature = inspect.signature(command)
    groups = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    parameters = [
        parameter
        for one in signature.parameters.values()
        for parameter in (_parameters(groups[one.name]) if one.name in groups else [_typed(one, hints)])
    ]

    @wraps(command)
    def spreading(**values: Any) -> None:
        made = {name: _made(kind, values) for name, kind in groups.items()}
        command(**values, **made)

    spreading.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    spreading.__annotations__ = {one.name: one.annotation for one in parameters}
    return spreading


def _typed(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> inspect.Parameter:
    return parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)


def _parameters(group: Any) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        yield inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name]
        )


def _made(group: Any, values: dict[str, Any]) -> Any:
    """Make a group of options, whose values are taken out of all."""
    return group(**{field.name: values.pop(field.name) for field in fields(group)})
