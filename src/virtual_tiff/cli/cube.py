"""The commands that work with cubes and ledgers beside ``publish``: scan, plan, append, verify, log and open."""

# ruff: noqa: FBT002, PLR0917 (the signatures are what typer reads)

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from virtual_tiff.cli.report import exit_code, scan_bar, show_failures, told

if TYPE_CHECKING:
    from virtual_tiff.cube.append import Appended
    from virtual_tiff.cube.verify import Verification

_INPUTS_HELP = "Files, directories, globs, s3:// gs:// az:// prefixes and globs, http(s) URLs, @list.txt."
_MAX_LISTED = 20

Inputs = Annotated[list[str], typer.Argument(metavar="FILES_OR_GLOB_OR_URL...", help=_INPUTS_HELP)]
Cube = Annotated[str, typer.Argument(metavar="CUBE", help="A directory, or an s3://, gs://, az:// or http(s):// URL.")]
Group = Annotated[str, typer.Option(help="The group of the cube in its repository; the root by default.")]
Ifd = Annotated[str, typer.Option(help="The image of each file: an index, or a path such as 3.0.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Files that are read at the same time.")]
Skip = Annotated[bool, typer.Option("--skip-errors", help="Go on without the files that cannot be read.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show the traceback of an error.")]


def scan(
    context: typer.Context,
    inputs: Inputs,
    ledger: Annotated[Path, typer.Option("--ledger", help="The Parquet file to write; a scan goes on where it is.")],
    ifd: Ifd = "0",
    overviews: Annotated[bool, typer.Option("--overviews", help="Describe overviews and masks, too.")] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask whether known files have changed.")] = False,
    concurrency: Concurrency = 64,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Read the headers of many TIFFs into a ledger. Files that fail are listed; the exit code is then theirs."""
    verbose = verbose or bool(context.obj)
    with told(verbose=verbose):
        from virtual_tiff.cube.scan import parse_ifd
        from virtual_tiff.cube.scan import scan as scan_files

        with scan_bar(quiet=as_json) as on_progress:
            found = scan_files(
                inputs,
                ifd=parse_ifd(ifd),
                overviews=overviews,
                ledger=ledger,
                refresh=refresh,
                concurrency=concurrency,
                on_progress=on_progress,
            )
        show_failures(found.failures, verbose=verbose)
        if as_json:
            failed = [{"url": one.place.url, "feature": one.error.feature} for one in found.failures]
            _print({"ledger": str(ledger), "files": len(found.headers), "failed": failed})
        else:
            typer.echo(f"{ledger}: {len(found.headers):,} files, {len(found.failures):,} failed")
        if found.failures:
            raise typer.Exit(exit_code(found.failures[0].error))


def plan(
    context: typer.Context,
    inputs: Inputs,
    dim: Annotated[str, typer.Option(help="Name of the new dimension along which files are stacked.")] = "item",
    name: Annotated[str, typer.Option(help="Name of the variable.")] = "band_data",
    ifd: Ifd = "0",
    time: Annotated[str, typer.Option(help="Stack along time, which comes from: tag, keys or auto.")] = "",
    overviews: Annotated[bool, typer.Option("--overviews", help="Overviews, too.")] = False,
    mosaic: Annotated[bool, typer.Option("--mosaic", help="Files may be tiles of one pixel grid.")] = False,
    concurrency: Concurrency = 64,
    skip: Skip = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Say what publish would write: arrays, references, sizes, requests and readers. Nothing is written."""
    verbose = verbose or bool(context.obj)
    with told(verbose=verbose):
        from virtual_tiff.cube.explain import explain
        from virtual_tiff.cube.plan import plan_stack
        from virtual_tiff.cube.scan import parse_ifd
        from virtual_tiff.cube.scan import scan as scan_files

        with scan_bar(quiet=as_json) as on_progress:
            found = scan_files(
                inputs, ifd=parse_ifd(ifd), overviews=overviews, concurrency=concurrency, on_progress=on_progress
            )
        show_failures(found.failures, verbose=verbose)
        if found.failures and (not skip or not found.headers):
            raise typer.Exit(exit_code(found.failures[0].error))
        explained = explain(
            plan_stack(found.headers, dim=dim, name=name, time=time or None, levels=overviews, mosaic=mosaic)  # type: ignore[arg-type]
        )
        if as_json:
            _print(explained.json())
        else:
            typer.echo(explained.text())


def append(
    context: typer.Context,
    inputs: Inputs,
    to: Annotated[str, typer.Option("--to", help="The repository of the cube.")],
    group: Group = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, and write nothing.")] = False,
    skip: Skip = False,
    concurrency: Concurrency = 64,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Add new files to a cube, and new versions of those it has. Files that it has already are left alone."""
    verbose = verbose or bool(context.obj)
    with told(verbose=verbose):
        from virtual_tiff.cube.access import quiet_icechunk
        from virtual_tiff.cube.append import append as append_files

        quiet_icechunk()
        failures: list[Any] = []
        with scan_bar(quiet=as_json) as on_progress:
            done = append_files(
                inputs,
                to,
                group=group,
                dry_run=dry_run,
                on_error="skip" if skip else "raise",
                concurrency=concurrency,
                on_progress=on_progress,
                on_failure=failures.append if skip else None,
            )
        show_failures(failures, verbose=verbose)
        if as_json:
            _print(asdict(done))
        else:
            _show_appended(done)


def _show_appended(done: Appended) -> None:
    for warning in done.warnings:
        typer.echo(f"warning: {warning}", err=True)
    late = f" ({done.late:,} before the end)" if done.late else ""
    counts = f"{len(done.added):,} new{late}, {len(done.replaced):,} replaced, {done.unchanged:,} unchanged"
    typer.echo(f"{'Would append' if done.dry_run else 'Appended'} to {done.url}: {counts}")
    for sign, urls in (("+", done.added), ("~", done.replaced)):
        for url in urls[:_MAX_LISTED]:
            typer.echo(f"  {sign} {url}")
        if len(urls) > _MAX_LISTED:
            typer.echo(f"  {sign} ... and {len(urls) - _MAX_LISTED:,} more")
    for snapshot in done.snapshots:
        typer.echo(f"Snapshot {snapshot}")
    for prefix in done.new_containers:
        typer.echo(f"New container: readers that name containers by hand must authorize {prefix}, too")


def verify(
    context: typer.Context,
    cube: Annotated[str, typer.Argument(metavar="CUBE", help="A cube, or the ledger of a scan.")],
    group: Group = "",
    pixels: Annotated[int, typer.Option(min=0, help="Compare so many random chunks with their files.")] = 0,
    fix: Annotated[bool, typer.Option("--fix", help="Read changed sources again and rewrite them.")] = False,
    accept: Annotated[bool, typer.Option("--accept", help="Accept touched sources, whose bytes are the same.")] = False,
    concurrency: Concurrency = 64,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compare the sources with what they were. Exit code 1: some differ or are gone; 3: some cannot be reached."""
    with told(verbose=verbose or bool(context.obj)):
        from virtual_tiff.cube.access import quiet_icechunk
        from virtual_tiff.cube.verify import verify as verify_sources

        quiet_icechunk()
        found = verify_sources(cube, group=group, pixels=pixels, fix=fix, accept=accept, concurrency=concurrency)
        if as_json:
            _print(found.to_json())
        else:
            _show_verification(found)
    if found.exit_code:
        raise typer.Exit(found.exit_code)


def _show_verification(found: Verification) -> None:
    counts = ", ".join(f"{number:,} {state}" for state, number in found.counts.items() if number)
    typer.echo(f"{found.url}: {counts or 'no sources'}")
    for one in found.problems[:_MAX_LISTED]:
        typer.echo(f"  {one.state}: {one.url} {one.why}".rstrip())
    if len(found.problems) > _MAX_LISTED:
        typer.echo(f"  ... and {len(found.problems) - _MAX_LISTED:,} more")
    if found.pixels:
        agree = sum(one.agree for one in found.pixels)
        typer.echo(f"{agree:,} of {len(found.pixels):,} compared chunks agree")
    for word, urls in (("Fixed", found.fixed), ("Accepted", found.accepted)):
        if urls:
            typer.echo(f"{word} {len(urls):,} sources")
    for url, why in found.failed.items():
        typer.echo(f"  not written: {url}: {why}")


def log(
    context: typer.Context,
    cube: Cube,
    limit: Annotated[int, typer.Option(min=1, help="Show so many at most.")] = 50,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show the snapshots of a cube, newest first: when, what came in, and how many files it had then."""
    with told(verbose=verbose or bool(context.obj)):
        from virtual_tiff.cube.access import quiet_icechunk
        from virtual_tiff.cube.history import log as read_log

        quiet_icechunk()
        commits = read_log(cube, limit=limit)
        if as_json:
            _print([asdict(one) | {"time": one.time.isoformat()} for one in commits])
            return
        for one in commits:
            sources = "" if one.sources is None else f"  [{one.sources:,} files]"
            typer.echo(f"{one.snapshot}  {one.time:%Y-%m-%d %H:%M:%S}  {one.title}{sources}")


def open_(
    context: typer.Context,
    cube: Cube,
    group: Group = "",
    level: Annotated[int | None, typer.Option(min=0, help="A level of a cube with overviews, 0 the finest.")] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show a cube as xarray sees it, the code that opens it, and what each of its containers needs."""
    with told(verbose=verbose or bool(context.obj)):
        from virtual_tiff.cube.access import quiet_icechunk, source_credentials
        from virtual_tiff.cube.open import containers_in, open_cube, reader_code
        from virtual_tiff.cube.stores import locate

        quiet_icechunk()
        place = locate(cube)
        containers = containers_in(place)
        dataset = open_cube(cube, group=group or None, level=level)
        code = reader_code(place, containers, group=group)
        needs = {prefix: str(source_credentials(prefix, one.store)) for prefix, one in containers.items()}
        if as_json:
            variables = {
                str(name): {"dimensions": {str(k): size for k, size in one.sizes.items()}, "dtype": str(one.dtype)}
                for name, one in dataset.variables.items()
            }
            _print({"url": place.url, "group": group, "variables": variables, "containers": needs, "code": code})
            return
        typer.echo(repr(dataset))
        typer.echo("\nSources:")
        for prefix, call in needs.items():
            typer.echo(f"  {prefix}: {call}")
        typer.echo(f"\nTo read it:\n\n{code}")


def _print(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def add_commands(app: typer.Typer) -> None:
    """Give an app the commands of this module."""
    app.command(epilog="Example: virtual-tiff scan 's3://bucket/2024/*.tif' --ledger scan.parquet")(scan)
    app.command(epilog="Example: virtual-tiff plan 's3://bucket/2024/*.tif' --time tag")(plan)
    app.command(epilog="Example: virtual-tiff append 's3://bucket/2024/*.tif' --to cube.icechunk --dry-run")(append)
    app.command(epilog="Example: virtual-tiff verify cube.icechunk --pixels 20 --json")(verify)
    app.command(epilog="Example: virtual-tiff log cube.icechunk --limit 10")(log)
    app.command("open", epilog="Example: virtual-tiff open s3://bucket/cube.icechunk")(open_)
