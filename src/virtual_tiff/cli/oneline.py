"""Wrong options are told like all errors: in one line on stderr, with exit code 2."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, Final

import typer
from typer.core import TyperGroup

_HELP: Final = "NoArgsIsHelpError"


class OneLineGroup(TyperGroup):
    """Commands whose usage errors are one line each."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run a command and leave with its exit code."""
        standalone = options.pop("standalone_mode", True)
        run = partial(super().main, *arguments, **options | {"standalone_mode": False})
        if not standalone:
            return run()
        try:
            code = run()
        except typer.Abort:
            sys.exit(1)
        except Exception as error:
            # Which module the exceptions of click are in depends on the version of typer.
            told = getattr(error, "format_message", None)
            if told is None:
                raise
            if type(error).__name__ == _HELP:
                error.show()  # type: ignore[attr-defined]
            else:
                typer.echo(f"error: {_told(error, told())}", err=True)
            sys.exit(getattr(error, "exit_code", 2))
        sys.exit(code if isinstance(code, int) else 0)


def _told(error: Exception, text: str) -> str:
    """The text in one line, and where to find help."""
    context = getattr(error, "ctx", None)
    line = " ".join(text.split()).rstrip(".").replace(": Value error, ", ": ")
    return f"{line}. See {context.command_path} --help." if context is not None else f"{line}."
