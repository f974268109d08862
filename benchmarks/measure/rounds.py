"""Contenders that take turns, and the tables of their times.

The machine may be shared: contenders run in the order A B C, A B C, ... so that each meets the same weather, a
ratio is the median of the ratios within single rounds, and the range is printed beside each median.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich import box
from rich.table import Table

MICRO, MILLI = 1e6, 1e3
_UNITS = {MICRO: "µs", MILLI: "ms"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: seconds by the clock and of the processors (all threads), and bytes of memory at the peak."""

    wall: float
    cpu: float
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Contender:
    """Software to be measured. ``count`` is the number of things (files, references) that one run deals with.

    The results of all contenders with the same ``checks`` must be equal after a function that the benchmark gives.
    """

    name: str
    run: Callable[[], Any]
    count: int
    checks: str = "result"


@dataclass(frozen=True, slots=True)
class Row:
    """The samples of one contender, in the order of the rounds."""

    name: str
    count: int
    samples: tuple[Sample, ...]

    def seconds(self, kind: str) -> list[float]:
        """Seconds per thing in each round; `kind` is "wall" or "cpu"."""
        return [getattr(sample, kind) / self.count for sample in self.samples]

    def memory(self) -> float | None:
        """Median of the peaks of memory in bytes, if measured."""
        peaks = [sample.memory for sample in self.samples if sample.memory is not None]
        return median(peaks) if peaks else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The rows of one table; the first is ours, and the ratios are its times over those of each row."""

    title: str
    thing: str
    scale: float
    rows: tuple[Row, ...]

    def ratio(self, row: Row, kind: str) -> float:
        """Our time over the time of a row: below 1 we are faster."""
        pairs = zip(self.rows[0].seconds(kind), row.seconds(kind), strict=True)
        return median(ours / other for ours, other in pairs)

    def table(self) -> Table:
        """A table for people, which is Markdown too."""
        unit = f"{_UNITS[self.scale]} per {self.thing}"
        table = Table(box=box.MARKDOWN, header_style=None)
        table.add_column("")
        for head in (f"wall, {unit}", f"CPU, {unit}", f"{self.thing}s/s", "ours/this: wall", "CPU"):
            table.add_column(head, justify="right", no_wrap=True)
        with_memory = any(row.memory() for row in self.rows)
        if with_memory:
            table.add_column("peak MB", justify="right")
        for row in self.rows:
            cells = [row.name, *(self._spread(row.seconds(kind)) for kind in ("wall", "cpu"))]
            cells += [f"{1 / median(row.seconds('wall')):,.0f}"]
            ours = row is self.rows[0]
            cells += ["1" if ours else f"{self.ratio(row, kind):.2f}" for kind in ("wall", "cpu")]
            if with_memory:
                memory = row.memory()
                cells.append("-" if memory is None else f"{memory / 1e6:,.0f}")
            table.add_row(*cells)
        return table

    def _spread(self, seconds: Sequence[float]) -> str:
        """Median, least and most."""
        middle, low, high = (self.scale * pick(seconds) for pick in (median, min, max))
        return f"{_short(middle)} ({_short(low)} - {_short(high)})"

    def as_json(self) -> dict[str, Any]:
        """The same for programs, in seconds per thing and bytes."""
        return {
            "title": self.title,
            "thing": self.thing,
            "rows": [
                {
                    "name": row.name,
                    "count": row.count,
                    "wall": row.seconds("wall"),
                    "cpu": row.seconds("cpu"),
                    "memory": row.memory(),
                    "ours_over_this": {kind: self.ratio(row, kind) for kind in ("wall", "cpu")},
                }
                for row in self.rows
            ],
        }


def _short(number: float) -> str:
    return f"{number:.3g}" if number < 1000 else f"{number:,.0f}"


def clocked(run: Callable[[], object]) -> Sample:
    """Run once and measure."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return Sample(time.perf_counter() - wall, time.process_time() - cpu)


def take_turns(
    contenders: Sequence[Contender],
    rounds: int,
    digest: Callable[[Any], object],
    clock: Callable[[Callable[[], Any]], Sample] = clocked,
) -> tuple[Row, ...]:
    """Run contenders in turns, after one round that does not count and whose results must agree.

    Parameters
    ----------
    contenders
        Ours first.
    rounds
        How often each is measured.
    digest
        What must be equal of the results.
    clock
        Runs a contender and measures it.

    Raises
    ------
    AssertionError
        When results differ: then the times mean nothing.
    """
    expected: dict[str, object] = {}
    for contender in contenders:
        found = digest(contender.run())
        wanted = expected.setdefault(contender.checks, found)
        assert found == wanted, f"{contender.name} finds {found}, and others found {wanted}"
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            samples[contender.name].append(clock(contender.run))
    return tuple(Row(one.name, one.count, tuple(samples[one.name])) for one in contenders)
