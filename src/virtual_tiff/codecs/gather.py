"""Calls that tasks of an event loop ask for at about the same time, to be made at once.

zarr's default pipeline asks for some ten chunks in a few turns of the loop, each in a task of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """What is to be called, what it costs (in whatever the gatherer counts), and who waits for what it returns."""

    run: Callable[[], Any]
    cost: float
    waiting: asyncio.Future[Any]

    def outcome(self) -> Any:
        """Make the call, in any thread; return its result or its error."""
        if self.waiting.cancelled():
            return None
        try:
            return self.run()
        except Exception as error:  # noqa: BLE001 (it is raised where the result is awaited)
            return error

    def deliver(self, outcome: Any) -> None:
        """Give the outcome to who waits for it, in the thread of the loop."""
        if self.waiting.done():
            return
        if isinstance(outcome, asyncio.CancelledError):
            self.waiting.cancel()
        elif isinstance(outcome, BaseException):
            self.waiting.set_exception(outcome)
        else:
            self.waiting.set_result(outcome)


def deliver(outcomes: Iterable[tuple[Call, Any]]) -> None:
    """Give each outcome to who waits for it."""
    for call, outcome in outcomes:
        call.deliver(outcome)


@dataclass(slots=True)
class _Gathering:
    """The calls so far, what they cost, and for how many turns of the loop there was no other."""

    loop: asyncio.AbstractEventLoop
    calls: list[Call] = field(default_factory=list)
    cost: float = 0
    seen: int = 0
    quiet: int = 0


class Gatherer(threading.local):
    """Gathers calls until none comes any more; each thread, which runs one loop, has its own.

    Parameters
    ----------
    make
        Makes the calls, and delivers what they return, sooner or later.
    quiet_turns
        After so many turns of the loop without another call none is expected.
    most
        Calls that cost so much together are made at once.
    """

    def __init__(self, make: Callable[[list[Call]], None], *, quiet_turns: int, most: float) -> None:
        self._make = make
        self._quiet_turns = quiet_turns
        self._most = most
        self._now: _Gathering | None = None

    async def ask(self, run: Callable[[], Any], cost: float) -> Any:
        """Return what a function returns, that is called with others."""
        loop = asyncio.get_running_loop()
        now = self._now
        if now is None or now.loop is not loop:
            now = self._now = _Gathering(loop)
            loop.call_soon(self._turn, now)
        call = Call(run, cost, loop.create_future())
        now.calls.append(call)
        now.cost += cost
        return await call.waiting

    def _turn(self, now: _Gathering) -> None:
        count = len(now.calls)
        now.quiet = now.quiet + 1 if count == now.seen else 0
        now.seen = count
        if now.quiet < self._quiet_turns and now.cost < self._most:
            now.loop.call_soon(self._turn, now)
            return
        if self._now is now:
            self._now = None
        self._make(now.calls)
