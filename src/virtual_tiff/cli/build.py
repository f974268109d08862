"""The commands that make cubes and let them grow: scan, plan, publish and append."""

# ruff: noqa: FBT002, PLR0917 (the signatures are what typer reads)

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from virtual_tiff.cli.bars import Bars, bars
from virtual_tiff.cli.options import (
    CUBE,
    INPUTS,
    WRITING,
    Batch,
    CubeOptions,
    Group,
    InputNames,
    Into,
    Json,
    Ledger,
    Message,
    NewGroup,
    OnError,
    ReadOptions,
    Refresh,
    SkipErrors,
    SpeedOptions,
    Target,
    Verbose,
    spread,
)
from virtual_tiff.cli.report import epilog, failed_json, show_failures, show_json, stop_or_go_on, told
from virtual_tiff.cli.workers import started
from virtual_tiff.errors import VirtualTiffError

if TYPE_CHECKING:
    from virtual_tiff.cube.draft import Draft, Request
    from virtual_tiff.cube.results import Failure, Scan


def scan(
    context: typer.Context,
    inputs: InputNames,
    ledger: Annotated[Path, typer.Option("--ledger", help="The Parquet file to write; a scan goes on where it is.")],
    *,
    reading: ReadOptions,
    refresh: Refresh = False,
    speed: SpeedOptions,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Read the headers of many TIFFs into a ledger, which is an input of plan, publish and append.

    Files that fail are listed, and are tried again the next time; the exit code is that of the first. Files that are
    gone from the folders, prefixes and globs that are scanned are taken out of the ledger.
    """
    verbose = verbose or bool(context.obj)
    with told(verbose=verbose), started(speed.workers) as executor:
        from virtual_tiff.cube.scan import scan as scan_files

        with bars() as shown:
            found = scan_files(
                inputs,
                **reading.arguments(),
                **speed.arguments(),
                ledger=ledger,
                refresh=refresh,
                executor=executor,
                on_progress=shown.scanned,
            )
        counts = {"ledger": str(ledger), "files": len(found.headers), "reused": found.reused}
        if as_json:
            show_json(counts | {"gone": list(found.gone), "failed": failed_json(found.failures)})
        else:
            gone = f", {len(found.gone):,} gone" if found.gone else ""
            reused = f" ({found.reused:,} known)" if found.reused else ""
            typer.echo(f"{ledger}: {len(found.headers):,} files{reused}, {len(found.failures):,} failed{gone}")
        stop_or_go_on(found.failures, skip=False, verbose=verbose)


def plan(
    context: typer.Context,
    inputs: InputNames,
    *,
    reading: ReadOptions,
    cube: CubeOptions,
    ledger: Ledger = None,
    speed: SpeedOptions,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Say what publish would write: groups, arrays, references, sizes, requests, readers, files that are left out."""
    verbose = verbose or bool(context.obj)
    with told(verbose=verbose), started(speed.workers) as executor:
        from virtual_tiff.cli.cubes import show_plan
        from virtual_tiff.cube.explain import explain

        request = cube.request(reading, speed, ledger=ledger, executor=executor)
        with bars(quiet=as_json) as shown:
            made = drafted(inputs, request, shown, skip=cube.skips, verbose=verbose)
        if made.plan is None:
            made.scan.check()
            return
        explanation = explain(made.plan)
        unused = [header.url for header in made.plan.unused]
        if as_json:
            show_json(explanation.json() | {"unused": unused, "failed": failed_json(made.scan.failures)})
        else:
            show_plan(explanation, failed=len(made.scan.failures), ledger=ledger)


def publish(
    context: typer.Context,
    inputs: InputNames,
    *,
    reading: ReadOptions,
    cube: CubeOptions,
    to: Target,
    group: NewGroup = "",
    into: Into = False,
    batch: Batch = 2_500_000,
    message: Message = None,
    ledger: Ledger = None,
    speed: SpeedOptions,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Scan TIFFs, plan their cube, and publish it as an Icechunk repository of references, in one go or not at all."""
    verbose = verbose or bool(context.obj)
    with told(verbose=verbose), started(speed.workers) as executor:
        from virtual_tiff.cli.cubes import show_published
        from virtual_tiff.cube.access import quiet_icechunk
        from virtual_tiff.cube.contents import groups_of
        from virtual_tiff.cube.persist import check_target
        from virtual_tiff.cube.publish import publish_draft

        quiet_icechunk()
        request = cube.request(reading, speed, ledger=ledger, executor=executor)
        check_target(to, group=group, into=into)
        with bars(quiet=as_json) as shown:
            made = drafted(inputs, request, shown, skip=cube.skips, verbose=verbose)
            done = publish_draft(
                made,
                to,
                group=group,
                into=into,
                batch=batch,
                message=message,
                executor=executor,
                on_stage=shown.staged,
            )
        failures = made.scan.failures
        if as_json:
            show_json(asdict(done) | {"groups": groups_of(to, group), "failed": failed_json(failures)})
        else:
            show_published(done, groups_of(to, group), failed=len(failures))


def drafted(inputs: list[str], request: Request, shown: Bars, *, skip: bool, verbose: bool) -> Draft:
    """Scan and plan, as ``plan`` and ``publish`` both do it; failures are told before the plan is made."""
    from virtual_tiff.cube.draft import draft
    from virtual_tiff.cube.stages import tell_stage

    def tell(found: Scan) -> None:
        stop_or_go_on(found.failures, skip=skip and bool(found.headers), verbose=verbose)
        tell_stage(shown.staged, "plan")

    return draft(inputs, request, on_progress=shown.scanned, on_scan=tell)


def append(
    context: typer.Context,
    inputs: InputNames,
    to: Annotated[str, typer.Option("--to", help="The repository of the cube.", rich_help_panel=WRITING)],
    group: Group = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, and write nothing.", rich_help_panel=WRITING)
    ] = False,
    batch: Batch = 2_500_000,
    message: Message = None,
    on_duplicate: Annotated[
        Literal["raise", "first", "last"] | None,
        typer.Option(
            help="Files that claim the same place: refuse, or use one; none replaces a file that was updated later, as "
            "catalogues say. By default as the cube was published.",
            rich_help_panel=CUBE,
        ),
    ] = None,
    on_error: OnError = "stop",
    skip_errors: SkipErrors = False,
    skip_misfits: Annotated[
        bool,
        typer.Option("--skip-misfits", help="Leave out the files that do not fit the cube.", rich_help_panel=INPUTS),
    ] = False,
    *,
    ledger: Ledger = None,
    speed: SpeedOptions,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Add new files to a cube, and new versions of those it has; the others are left alone.

    Patterns, assets, axes and all else are those with which the cube was published. Files that are skipped are listed,
    and the exit code is 0, unless there is no other file.
    """
    verbose = verbose or bool(context.obj)
    skip = skip_errors or on_error == "skip"
    with told(verbose=verbose), started(speed.workers) as executor:
        from virtual_tiff.cli.cubes import show_appended
        from virtual_tiff.cube.access import quiet_icechunk
        from virtual_tiff.cube.append import append as append_files

        quiet_icechunk()
        failures: list[Failure] = []

        def tell(failure: Failure) -> None:
            failures.append(failure)

        try:
            with bars(quiet=as_json) as shown:
                done = append_files(
                    inputs,
                    to,
                    group=group,
                    dry_run=dry_run,
                    batch=batch,
                    message=message,
                    on_duplicate=on_duplicate,
                    on_error="skip" if skip else "raise",
                    on_misfit="skip" if skip_misfits else "raise",
                    ledger=ledger,
                    **speed.arguments(),
                    executor=executor,
                    on_progress=shown.scanned,
                    on_failure=tell,
                    on_stage=shown.staged,
                )
        except VirtualTiffError as error:
            own = any(failure.error is error for failure in failures)
            stop_or_go_on(failures, skip=not own, verbose=verbose)
            raise
        show_failures(failures, verbose=verbose)
        if as_json:
            show_json(asdict(done) | {"failed": failed_json(failures)})
        else:
            show_appended(done)


def add_commands(app: typer.Typer) -> None:
    """Give an app the commands of this module."""
    app.command(
        epilog=epilog("scan 's3://bucket/2024/*.tif' --ledger scan.parquet", "scan items.json --ledger l.parquet")
    )(spread(scan))
    app.command(
        epilog=epilog(
            "plan 'scenes/*.tif' --pattern '{tile}_{time:%Y%m%d}_{band}.tif'",
            "plan scan.parquet --time tag --json",
        )
    )(spread(plan))
    app.command(
        epilog=epilog(
            "publish 'scenes/*.tif' --to cube --pattern '{time:%Y%m%d}.tif'",
            "publish items.json --to s3://bucket/cube --asset B04 --asset B08",
            "publish tiles/ --to cube --mosaic --bounds -10,40,0,50",
        )
    )(spread(publish))
    app.command(epilog=epilog("append 'scenes/*.tif' --to cube --dry-run", "append items.json --to s3://bucket/cube"))(
        spread(append)
    )
