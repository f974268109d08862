"""Contenders in processes of their own: none finds memory that another one has left warm, or in pieces."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.measure.rounds import Contender, Row, Sample, clocked, take_turns

type Prepare = Callable[..., Callable[[], Any]]
"""Of a module, so that it can be named to another process; it returns what is measured."""


@dataclass(frozen=True, slots=True)
class Distant:
    """A contender that is prepared and run elsewhere; ``checks`` is that of :class:`Contender`."""

    name: str
    prepare: Prepare
    arguments: tuple[Any, ...]
    checks: str = "result"


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is run in this process."""

    run: Callable[[], Any]


_here: list[_Prepared] = []


def take_turns_apart(contenders: Sequence[Distant], rounds: int, digest: Callable[[Any], object]) -> tuple[Row, ...]:
    """Run contenders in turns, each in its process, as :func:`~benchmarks.measure.rounds.take_turns` does in one.

    Raises
    ------
    AssertionError
        When results differ.
    """
    with ExitStack() as stack:
        near = []
        for one in contenders:
            pool = stack.enter_context(fresh_process(one.prepare))
            pool.submit(_prepare, one.prepare, one.arguments).result()
            near.append(Contender(one.name, partial(_ask, pool, digest), 1, one.checks))
        return take_turns(near, rounds, _first, clock=_second)


def fresh_process(prepare: Prepare) -> ProcessPoolExecutor:
    """One process that has imported what it needs, and has run nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([prepare.__module__])
    return ProcessPoolExecutor(1, mp_context=context)


def _ask(pool: ProcessPoolExecutor, digest: Callable[[Any], object]) -> tuple[object, Sample]:
    return pool.submit(_measure, digest).result()


def _first(answer: tuple[object, Sample]) -> object:
    return answer[0]


def _second(run: Callable[[], tuple[object, Sample]]) -> Sample:
    return run()[1]


def _prepare(prepare: Prepare, arguments: tuple[Any, ...]) -> None:
    _here[:] = [_Prepared(prepare(*arguments))]


def _measure(digest: Callable[[Any], object]) -> tuple[object, Sample]:
    """Run once; the digest is not measured."""
    results: list[Any] = []
    (prepared,) = _here
    sample = clocked(lambda: results.append(prepared.run()))
    return digest(results[0]), sample
