"""The commands: arguments are parsed, the API is called, results are printed. Nothing is decided here."""

# ruff: noqa: FBT002 (the signatures are what typer reads)

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from virtual_tiff.cli import build, export, upkeep
from virtual_tiff.cli.oneline import OneLineGroup
from virtual_tiff.cli.options import BandAxis, Json, Verbose
from virtual_tiff.cli.preview import preview
from virtual_tiff.cli.report import EXIT_CODES, epilog, show_json, told

app = typer.Typer(
    name="virtual-tiff",
    help="TIFF and COG archives as Zarr, without copying pixels.",
    epilog=EXIT_CODES,
    cls=OneLineGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


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


@app.command(epilog=epilog("info s3://bucket/2024/a.tif"))
def info(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE_OR_URL", help="A TIFF file.")],
    band_axis: BandAxis = "first",
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show a TIFF: where it lies, its bands, overviews and masks, chunks, codecs, who can read it, what is refused."""
    with told(verbose=verbose or bool(context.obj)):
        from virtual_tiff.cli.show import show_file
        from virtual_tiff.cube.describe import describe_file
        from virtual_tiff.cube.stores import locate

        report = describe_file(locate(file), band_axis=band_axis)
        if as_json:
            show_json(report.to_json())
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


app.command(epilog=epilog("preview s3://bucket/2024/a.tif -o a.png"))(preview)
build.add_commands(app)
export.add_commands(app)
upkeep.add_commands(app)


def main() -> None:
    """Entry point of the command."""
    app()
