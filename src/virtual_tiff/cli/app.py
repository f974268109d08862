"""The commands: arguments are parsed, the API is called, results are printed. Nothing is decided here."""

# ruff: noqa: FBT002, PLR0917 (the signatures are what typer reads)

from __future__ import annotations

import json
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from virtual_tiff.cli.cube import add_commands
from virtual_tiff.cli.preview import preview
from virtual_tiff.cli.report import EXIT_CODES, exit_code, scan_bar, show_failures, told

app = typer.Typer(
    name="virtual-tiff",
    help="TIFF and COG archives as Zarr, without copying pixels.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class OnError(StrEnum):
    """What to do with files that cannot be read."""

    STOP = "stop"
    SKIP = "skip"


Verbose = Annotated[bool, typer.Option("--verbose", help="Show the traceback of an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _show_version(asked: bool) -> None:  # noqa: FBT001 (a callback of typer)
    if asked:
        typer.echo(f"virtual-tiff {version('virtual-tiff')}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """TIFF and COG archives as Zarr, without copying pixels."""
    context.obj = verbose


@app.command(epilog="Example: virtual-tiff publish 's3://bucket/2024/*.tif' --to cube.icechunk")
def publish(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES_OR_GLOB_OR_URL...",
            help="Files, directories, globs, s3:// gs:// az:// prefixes and globs, http(s) URLs, @list.txt.",
        ),
    ],
    to: Annotated[
        str,
        typer.Option("--to", help="A new directory, or a new s3://, gs:// or az:// prefix; with --into a repository."),
    ],
    dim: Annotated[str, typer.Option(help="Name of the new dimension along which files are stacked.")] = "item",
    name: Annotated[str, typer.Option(help="Name of the variable.")] = "band_data",
    ifd: Annotated[str, typer.Option(help="The image of each file: an index, or a path such as 3.0.")] = "0",
    time: Annotated[str, typer.Option(help="Stack along time, which comes from: tag, keys or auto.")] = "",
    overviews: Annotated[bool, typer.Option("--overviews", help="Publish overviews as a multiscale group.")] = False,
    mosaic: Annotated[bool, typer.Option("--mosaic", help="Files may be tiles of one pixel grid.")] = False,
    group: Annotated[str, typer.Option(help="The group to write; the root by default.")] = "",
    into: Annotated[bool, typer.Option("--into", help="Add the group to a repository that exists.")] = False,
    batch: Annotated[int, typer.Option(min=1, help="References per commit at most.")] = 5_000_000,
    on_error: Annotated[OnError, typer.Option(help="What to do with files that cannot be read.")] = OnError.STOP,
    concurrency: Annotated[int, typer.Option(min=1, help="Files that are read at the same time.")] = 64,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Stack TIFFs along a new dimension and publish them as an Icechunk repository of references."""
    verbose = verbose or bool(context.obj)
    with told(verbose=verbose):
        from virtual_tiff.cli.show import show_published
        from virtual_tiff.cube.access import quiet_icechunk
        from virtual_tiff.cube.draft import Request, draft
        from virtual_tiff.cube.publish import check_target, publish_draft
        from virtual_tiff.cube.scan import parse_ifd

        quiet_icechunk()
        request = Request(
            ifd=parse_ifd(ifd),
            overviews=overviews,
            dim=dim,
            name=name,
            time=time or None,  # type: ignore[arg-type]
            mosaic=mosaic,
            on_error="skip",
            concurrency=concurrency,
        )
        check_target(to, group=group, into=into)
        with scan_bar(quiet=as_json) as on_progress:
            made = draft(inputs, request, on_progress=on_progress)
        failures = made.scan.failures
        show_failures(failures, verbose=verbose)
        if failures and (on_error is OnError.STOP or not made.scan.headers):
            raise typer.Exit(exit_code(failures[0].error))
        show_published(
            publish_draft(made, to, group=group, into=into, batch=batch),
            skipped=[failure.place.url for failure in failures],
            as_json=as_json,
        )


@app.command(epilog="Example: virtual-tiff info s3://bucket/2024/a.tif")
def info(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE_OR_URL", help="A TIFF file.")],
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show a TIFF: where it lies, its bands, overviews and masks, chunks, codecs, who can read it, what is refused."""
    with told(verbose=verbose or bool(context.obj)):
        from virtual_tiff.cli.show import show_file
        from virtual_tiff.cube.describe import describe_file
        from virtual_tiff.cube.stores import locate

        report = describe_file(locate(file))
        if as_json:
            typer.echo(json.dumps(report.to_json(), indent=2, allow_nan=False))
        else:
            show_file(report)
    if not report.readable:
        raise typer.Exit(1)


@app.command()
def demo(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="A new or empty folder.", show_default=True)] = Path(
        "virtual-tiff-demo"
    ),
    verbose: Verbose = False,
) -> None:
    """Make a small archive of COGs, publish it, read it back, check every pixel, and save a picture."""
    with told(verbose=verbose or bool(context.obj)):
        from virtual_tiff.cli.show import show_demo
        from virtual_tiff.cube.access import quiet_icechunk
        from virtual_tiff.demo.run import run_demo

        quiet_icechunk()
        report = run_demo(folder, on_step=typer.echo)
        show_demo(report)
    if not report.ok:
        raise typer.Exit(1)


app.command(epilog="Example: virtual-tiff preview s3://bucket/2024/a.tif -o a.png")(preview)


add_commands(app)


def main() -> None:
    """Entry point of the command."""
    app()
