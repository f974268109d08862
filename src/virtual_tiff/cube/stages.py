"""What a long piece of work is at, so that a program can show it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

type StageName = Literal["plan", "check", "write", "commit", "ask", "compare"]


@dataclass(frozen=True, slots=True)
class Stage:
    """How far one stage has come; what has no `total` cannot be foreseen.

    "plan" and "check" (whether files are still those that were read) count nothing; "write" counts references,
    "commit" commits, "ask" sources, and "compare" chunks.
    """

    name: StageName
    done: int = 0
    total: int | None = None


type OnStage = Callable[[Stage], None]


def tell_stage(on_stage: OnStage | None, name: StageName, done: int = 0, total: int | None = None) -> None:
    """Tell a stage, where anybody listens."""
    if on_stage is not None:
        on_stage(Stage(name, done, total))


def counted[T](things: Iterable[T], weigh: Callable[[T], int], on_stage: OnStage | None, start: Stage) -> Iterator[T]:
    """Yield things, and tell after each how many have been used up since a stage was at `start`."""
    done = start.done
    for one in things:
        yield one
        done += weigh(one)
        tell_stage(on_stage, start.name, done, start.total)
