"""The command ``preview``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from virtual_tiff.cli.report import told


def preview(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE_OR_URL", help="A TIFF file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The PNG file to write.")],
    size: Annotated[int, typer.Option(min=1, help="Width or height in pixels at most.")] = 1024,
    *,
    bands: Annotated[str, typer.Option(help="One band or three, counted from 1, such as 4,3,2.")] = "",
    ifd: Annotated[str, typer.Option(help="An image by index, or by a path such as 3.0, as it is.")] = "",
    sidecars: Annotated[bool, typer.Option("--sidecars", help="Use .ovr and .msk files beside it.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show tracebacks of errors.")] = False,
) -> None:
    """Draw a TIFF as a PNG: its smallest sufficient overview, stretched, transparent where there is no data."""
    with told(verbose=verbose or bool(context.obj)):
        from virtual_tiff.cube.scan import parse_ifd
        from virtual_tiff.errors import TargetError, UsageError
        from virtual_tiff.preview import render_preview

        try:
            chosen = [int(band) for band in bands.split(",")] if bands else None
        except ValueError as error:
            found = f"--bands {bands}"
            raise UsageError(found, feature="usage", hint="Write numbers, such as 4,3,2.") from error
        picture = render_preview(file, size, bands=chosen, ifd=parse_ifd(ifd) if ifd else None, sidecars=sidecars)
        try:
            out.write_bytes(picture)
        except OSError as error:
            found = f"the picture cannot be written ({error.strerror})"
            raise TargetError(found, feature="target-denied", url=str(out)) from error
        typer.echo(f"{out}: {len(picture):,} bytes")
