"""``python -m benchmarks``: run benchmarks, and print their tables or JSON."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from rich.console import Console
from rich.table import Table

from benchmarks import cube, headers, reads, references
from benchmarks.measure.machine import describe_machine, load

_ROOT: Final = Path(__file__).parent.parent
_WIDTH: Final = 150
"""Columns where the output is not a terminal, so that tables are not folded."""


class Measured(Protocol):
    """What a benchmark yields."""

    @property
    def title(self) -> str:
        """What the table is called."""

    def table(self) -> Table:
        """The table for people."""

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""


TABLES: Final[Mapping[str, Callable[[str], Iterator[Measured]]]] = {
    "headers": lambda size: headers.run(headers.SIZES[size]),
    "references": lambda size: references.run(references.SIZES[size]),
    "reads": lambda size: reads.run(reads.SIZES[size]),
    "cube": lambda size: cube.run(cube.SIZES[size]),
}
KERNEL_SECONDS: Final = {"small": 0.05, "full": 1.0}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [*TABLES, "kernels"]
    parser.add_argument("--only", choices=names, action="append", help="run this benchmark (may be repeated)")
    parser.add_argument("--size", choices=("small", "full"), default="full", help="small takes a minute or two")
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    asked = parser.parse_args(arguments)
    machine = describe_machine()
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, quiet=asked.json, highlight=False)
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()), soft_wrap=True)
    results: dict[str, Any] = {"machine": machine, "size": asked.size}
    for name in asked.only or names:
        if name == "kernels":
            results[name] = _run_kernels(KERNEL_SECONDS[asked.size], quiet=asked.json)
            continue
        results[name] = []
        for comparison in TABLES[name](asked.size):
            console.print(f"\n{comparison.title} (load {load()})", comparison.table(), sep="\n")
            results[name].append(comparison.as_json())
    if asked.json:
        print(json.dumps(results, indent=1))
    return 0


def _run_kernels(seconds: float, *, quiet: bool) -> list[str]:
    """Run the benchmark of decoding in a process of its own, and return the lines that it prints."""
    command = [sys.executable, "-m", "benchmarks.kernels", "--seconds", str(seconds)]
    output = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    if not quiet:
        print(output)
    return output.splitlines()


if __name__ == "__main__":
    sys.exit(main())
