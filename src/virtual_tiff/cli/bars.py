"""Progress on a terminal: what is being done, how far it has come, how fast, what failed, and the time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from virtual_tiff.cube.results import ScanProgress
    from virtual_tiff.cube.stages import OnStage, Stage, StageName

_STAGES: Final[dict[StageName, tuple[str, str]]] = {
    "plan": ("Planning", ""),
    "check": ("Checking files", ""),
    "write": ("Writing references", "references"),
    "commit": ("Committing", ""),
    "ask": ("Asking for sources", "sources"),
    "compare": ("Comparing chunks", "chunks"),
}
"""What people read, and what is counted where a rate says something."""


class Bars:
    """A line for the headers that are read, and one for each stage after that."""

    def __init__(self, progress: Progress, *, quiet: bool) -> None:
        self._progress = progress
        self._quiet = quiet
        self._tasks: dict[str, TaskID] = {}
        self._endless: TaskID | None = None

    def scanned(self, progress: ScanProgress) -> None:
        """Show how many headers have been read."""
        errors = f"{progress.failed} failed" if progress.failed else ""
        self._show("Reading headers", progress.done, progress.total, unit="files", errors=errors)

    @property
    def staged(self) -> OnStage | None:
        """Shows a stage; None where nobody would see it."""
        return None if self._quiet else self._stage

    def _stage(self, stage: Stage) -> None:
        title, unit = _STAGES[stage.name]
        self._show(title, stage.done, stage.total, unit=unit)

    def _show(self, title: str, done: int, total: int | None, *, unit: str, errors: str = "") -> None:
        if title not in self._tasks:
            self._tasks[title] = self._progress.add_task(title, total=total, rate="", errors="")
        task = self._tasks[title]
        if self._endless not in (None, task):  # what cannot be foreseen is over when something else begins
            self._progress.update(self._endless, visible=False)
            self._endless = None
        if total is None:
            self._endless = task
        one = self._progress.tasks[task]
        speed = one.finished_speed or one.speed
        rate = f"{speed:,.0f} {unit}/s" if speed and unit else ""
        self._progress.update(task, total=total, completed=done, rate=rate, errors=errors, visible=True)


@contextmanager
def bars(*, quiet: bool = False) -> Iterator[Bars]:
    """Show progress when stderr is a terminal; when it is to be `quiet`, that of headers only."""
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[errors]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with progress:
        yield Bars(progress, quiet=quiet or not console.is_terminal)
