"""The command that writes references for kerchunk's readers."""

# ruff: noqa: A002 (the signatures are what typer reads)

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from virtual_tiff.cli.bars import bars
from virtual_tiff.cli.build import drafted
from virtual_tiff.cli.options import (
    WRITING,
    CubeOptions,
    InputNames,
    Json,
    Ledger,
    ReadOptions,
    SpeedOptions,
    Verbose,
    spread,
)
from virtual_tiff.cli.report import epilog, failed_json, show_json, told
from virtual_tiff.cli.show import count, indent
from virtual_tiff.cli.workers import started

if TYPE_CHECKING:
    from virtual_tiff.cube.export import Exported

To = Annotated[
    str,
    typer.Option(
        "--to",
        help="A new file or folder: refs.json or refs.parquet, or such a name at s3://, gs:// or az://.",
        rich_help_panel=WRITING,
    ),
]
Format = Annotated[
    Literal["json", "parquet"] | None,
    typer.Option(help="One file of JSON, or a folder of Parquet; else what the suffix says.", rich_help_panel=WRITING),
]
ZarrFormat = Annotated[
    Literal["2", "3"] | None,
    typer.Option(
        help="Zarr v3 (JSON's default), or v2 for older readers (Parquet has no other).", rich_help_panel=WRITING
    ),
]
RecordSize = Annotated[int, typer.Option(min=1, help="References in a file of Parquet.", rich_help_panel=WRITING)]


def export(
    context: typer.Context,
    inputs: InputNames,
    *,
    reading: ReadOptions,
    cube: CubeOptions,
    to: To,
    format: Format = None,
    zarr_format: ZarrFormat = None,
    record_size: RecordSize = 100_000,
    ledger: Ledger = None,
    speed: SpeedOptions,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Scan TIFFs, plan their cube, and write its references in kerchunk's form, as JSON or Parquet.

    Of ledgers of scans no source is opened.
    """
    verbose = verbose or bool(context.obj)
    with told(verbose=verbose), started(speed.workers) as executor:
        from virtual_tiff.cube.export import Target, export_draft
        from virtual_tiff.references.nodes import ZarrFormat as Number

        request = cube.request(reading, speed, ledger=ledger, executor=executor)
        number = None if zarr_format is None else cast("Number", int(zarr_format))
        target = Target.of(to, format=format, zarr_format=number, record_size=record_size)
        with bars(quiet=as_json) as shown:
            made = drafted(inputs, request, shown, skip=cube.skips, verbose=verbose)
        done = export_draft(made, target)
        failures = made.scan.failures
        if as_json:
            show_json(asdict(done) | {"failed": failed_json(failures)})
        else:
            show_exported(done, failed=len(failures))


def show_exported(done: Exported, *, failed: int) -> None:
    """Say what was written, and what a reader types."""
    for warning in done.warnings:
        typer.echo(f"warning: {warning}", err=True)
    counts = f"{count(done.files, 'file')}, {count(done.references, 'reference')}"
    form = {"json": "JSON", "parquet": "Parquet"}[done.format]
    typer.echo(f"Exported {counts}, to {done.url} ({form}, Zarr v{done.zarr_format})")
    for line in done.arrays.splitlines():
        typer.echo(f"  {line}")
    for note in done.notes:
        typer.echo(f"  note: {note}")
    if failed:
        typer.echo(f"Skipped {count(failed, 'file')} that could not be read")
    typer.echo(f"\nTo read it, with {', '.join(done.needs)}:\n")
    typer.echo(indent(done.code))


def add_commands(app: typer.Typer) -> None:
    """Give an app the command of this module."""
    app.command(
        epilog=epilog(
            "export 'scenes/*.tif' --to refs.json --pattern '{time:%Y%m%d}.tif'",
            "export scan.parquet --to s3://bucket/refs.parquet",
            "export a.tif --to refs.json --zarr-format 2",
        )
    )(spread(export))
