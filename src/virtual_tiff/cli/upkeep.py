"""The commands that look after cubes: verify, log, open and tidy."""

# ruff: noqa: FBT002, PLR0917 (the signatures are what typer reads)

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from virtual_tiff.cli.bars import bars
from virtual_tiff.cli.options import Concurrency, Cube, Group, Json, Retries, Verbose
from virtual_tiff.cli.report import epilog, exit_code, show_json, tell, told


def verify(
    context: typer.Context,
    cube: Annotated[str, typer.Argument(metavar="CUBE", help="A cube, or the ledger of a scan.")],
    group: Group = "",
    pixels: Annotated[
        int, typer.Option(min=0, help="Compare so many random chunks of all levels and masks with their files.")
    ] = 0,
    fix: Annotated[bool, typer.Option("--fix", help="Read changed sources again and rewrite them.")] = False,
    accept: Annotated[bool, typer.Option("--accept", help="Accept touched sources, whose bytes are the same.")] = False,
    concurrency: Concurrency = 64,
    retries: Retries = 2,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compare the sources with what they were; for cron.

    Exit code 1: some differ or are gone, or pixels differ; 3: some cannot be reached.
    """
    verbose = verbose or bool(context.obj)
    with told(verbose=verbose):
        from virtual_tiff.cli.cubes import show_verification
        from virtual_tiff.cube.access import quiet_icechunk
        from virtual_tiff.cube.verify import verify as verify_sources

        quiet_icechunk()
        with bars(quiet=as_json) as shown:
            found = verify_sources(
                cube,
                group=group,
                pixels=pixels,
                fix=fix,
                accept=accept,
                concurrency=concurrency,
                retries=retries,
                on_stage=shown.staged,
            )
        if as_json:
            show_json(found.to_json())
        else:
            show_verification(found, every=verbose)
    if found.exit_code:
        raise typer.Exit(found.exit_code)


def log(
    context: typer.Context,
    cube: Cube,
    limit: Annotated[int, typer.Option(min=1, help="Show so many at most.")] = 50,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show the snapshots of a cube, newest first: when, what came in, and how many files it had then."""
    verbose = verbose or bool(context.obj)
    with told(verbose=verbose):
        from virtual_tiff.cli.cubes import show_log
        from virtual_tiff.cube.access import quiet_icechunk
        from virtual_tiff.cube.history import log as read_log

        quiet_icechunk()
        commits = read_log(cube, limit=limit)
        if as_json:
            show_json([asdict(one) | {"time": one.time.isoformat()} for one in commits])
        else:
            show_log(commits, whole=verbose)


def open_(
    context: typer.Context,
    cube: Cube,
    group: Group = "",
    level: Annotated[int | None, typer.Option(min=0, help="A level of a cube with overviews, 0 the finest.")] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show a cube as xarray sees it, the credentials that its sources need, and the code that opens it.

    One byte of a source is read in each bucket and on each web server. Exit code 3: some may not be read.
    """
    verbose = verbose or bool(context.obj)
    with told(verbose=verbose):
        from virtual_tiff.cli.cubes import has_rectilinear_chunks, opened_json, show_opened
        from virtual_tiff.cube.access import quiet_icechunk, source_credentials
        from virtual_tiff.cube.contents import choose_group, groups_of
        from virtual_tiff.cube.open import containers_in, open_cube, reader_code
        from virtual_tiff.cube.stores import locate
        from virtual_tiff.errors import SourceError

        quiet_icechunk()
        place = locate(cube)
        containers = containers_in(place)
        needs = {prefix: str(source_credentials(prefix, one.store)) for prefix, one in containers.items()}
        groups = groups_of(cube, group)
        shown = choose_group(groups, group, level)
        refused: SourceError | None = None
        where = shown if level is None else group
        try:
            dataset = open_cube(cube, group=where, level=level)
        except SourceError as error:
            refused = error
            dataset = open_cube(cube, group=where, level=level, check=False)
        code = reader_code(place, containers, group=shown, rectilinear=has_rectilinear_chunks(dataset))
        texts = [] if refused is None else [str(refused), *getattr(refused, "__notes__", ())]
        failed = {prefix: text for prefix in needs for text in texts if f"below {prefix} " in text}
        if as_json:
            show_json(
                {"url": place.url, "group": group, "shown": shown}
                | opened_json(dataset, groups, needs, failed)
                | {"code": code}
            )
        else:
            show_opened(dataset, groups, needs, failed, code, shown=shown)
        if refused is not None:
            tell(refused, verbose=verbose)
            raise typer.Exit(exit_code(refused))


def tidy(
    context: typer.Context,
    cube: Cube,
    older_than: Annotated[
        str, typer.Option(metavar="DURATION", help="What is younger stays: P1D, PT12H; P0D when nobody is writing.")
    ] = "P1D",
    keep_history: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Drop older snapshots for good, such as P90D; by default none."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and remove nothing.")] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Remove what killed and failed runs left in a repository: working branches, and objects that nothing refers to."""
    with told(verbose=verbose or bool(context.obj)):
        from virtual_tiff.cli.cubes import show_tidied
        from virtual_tiff.cube.access import quiet_icechunk
        from virtual_tiff.cube.durations import parse_duration
        from virtual_tiff.cube.tidy import tidy as tidy_repository

        quiet_icechunk()
        done = tidy_repository(
            cube,
            older_than=parse_duration(older_than).fixed(),
            keep_history=None if keep_history is None else parse_duration(keep_history).fixed(),
            dry_run=dry_run,
        )
        if as_json:
            show_json(asdict(done) | {"dry_run": dry_run})
        else:
            show_tidied(done, dry_run=dry_run)


def add_commands(app: typer.Typer) -> None:
    """Give an app the commands of this module."""
    app.command(epilog=epilog("verify cube --pixels 20", "verify s3://bucket/cube --fix --accept --json"))(verify)
    app.command(epilog=epilog("log cube --limit 10"))(log)
    app.command("open", epilog=epilog("open s3://bucket/cube", "open cube --group utm32n_10m --level 2"))(open_)
    app.command(epilog=epilog("tidy cube --dry-run", "tidy cube --keep-history P90D"))(tidy)
