"""How the command speaks: errors in one line on stderr, JSON, exit codes."""

from __future__ import annotations

import json
import sys
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import typer

from virtual_tiff.errors import SourceError, TargetError, UsageError, VirtualTiffError

if TYPE_CHECKING:
    from virtual_tiff.cube.results import Failure

REFUSED: Final = 1
USAGE: Final = 2
SOURCE: Final = 3
TARGET: Final = 4
INTERNAL: Final = 70
INTERRUPTED: Final = 130

_MAX_FAILURES: Final = 20
_MAX_ALIKE: Final = 5

EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 a file is refused, or the files do not conform; 2 wrong usage; "
    "3 a source cannot be read; 4 the target cannot be written or opened; "
    "70 an error in virtual-tiff itself; 130 interrupted."
)


def exit_code(error: BaseException) -> int:
    """The exit code of an error."""
    if isinstance(error, UsageError):
        return USAGE
    if isinstance(error, SourceError):
        return SOURCE
    if isinstance(error, TargetError):
        return TARGET
    return REFUSED if isinstance(error, VirtualTiffError) else INTERNAL


def tell(error: BaseException, *, verbose: bool = False) -> None:
    """Print an error as one line, after its traceback when that is asked for."""
    if verbose:
        sys.stderr.writelines(traceback.format_exception(error))
    if isinstance(error, VirtualTiffError):
        text = str(error)
    else:
        text = f"internal error: {type(error).__name__}: {error}"
        if not verbose:
            text += " (run it with --verbose and report the traceback)"
    typer.echo(f"error: {' '.join(text.split())}", err=True)


def show_json(value: Any) -> None:
    """Print JSON, in which there is no NaN."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def failed_json(failures: Sequence[Failure]) -> list[dict[str, str]]:
    """The files that could not be read, or not be used, and why, as JSON values."""
    return [{"url": one.url, "feature": one.error.feature, "error": str(one.error)} for one in failures]


def epilog(*examples: str) -> str:
    """What stands below the help of a command: examples and exit codes."""
    title = "Example:" if len(examples) == 1 else "Examples:"
    return "\n\n".join([title, *(f"  virtual-tiff {example}" for example in examples), EXIT_CODES])


def stop_or_go_on(failures: Sequence[Failure], *, skip: bool, verbose: bool) -> None:
    """Print the errors of files, and leave with the exit code of the first unless they may be skipped."""
    show_failures(failures, verbose=verbose)
    if failures and not skip:
        raise typer.Exit(exit_code(failures[0].error))


def show_failures(failures: Sequence[Failure], *, verbose: bool = False) -> None:
    """Print the errors of files, one line each, up to a number of them and fewer of those that say the same."""
    alike: Counter[tuple[str, str]] = Counter()
    shown = 0
    for failure in failures:
        kind = failure.error.feature, failure.error.found
        alike[kind] += 1
        if verbose or (alike[kind] <= _MAX_ALIKE and shown < _MAX_FAILURES):
            tell(failure.error, verbose=verbose)
            shown += 1
    if len(failures) > shown:
        typer.echo(f"error: {len(failures) - shown:,} more files failed; --verbose tells of all", err=True)


@contextmanager
def told(*, verbose: bool) -> Iterator[None]:
    """Turn exceptions into one line and an exit code."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        tell(error, verbose=verbose)
        raise typer.Exit(exit_code(error)) from error
