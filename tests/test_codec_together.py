"""Short calls from tasks of a loop: each gets its own result or error, whoever makes them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial

import pytest

from virtual_tiff.codecs import together
from virtual_tiff.codecs.gather import Call
from virtual_tiff.codecs.together import call_together


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "_PROCESSORS", 2)
    together._helpers.cache_clear()


def rounds(efforts: list[float]) -> list[int]:
    """Make calls of such efforts; return how many were made at a time."""
    made: list[int] = []

    def counted(calls: list[Call]) -> None:
        made.append(len(calls))
        together._make(calls)

    async def one(number: int, effort: float) -> int:
        for _ in range(number % 3):  # as tasks of zarr, which come some turns later
            await asyncio.sleep(0)
        return await call_together(partial(int, number), effort)

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(one(number, effort) for number, effort in enumerate(efforts)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(together._gatherer, "_make", counted)
        assert asyncio.run(all_of_them()) == list(range(len(efforts)))
    return made


def test_calls_of_several_turns_are_made_at_once() -> None:
    assert rounds([1.0] * 10) == [10]


def test_the_loop_does_not_stand_still_for_long() -> None:
    made = rounds([together._MOST_EFFORT / 4] * 12)
    assert sum(made) == 12
    assert max(made) < 12


def test_another_thread_helps() -> None:
    """One call waits for another, so that two threads must make them."""
    met = threading.Barrier(2, timeout=60)

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(call_together(partial(_meet, met), 1) for _ in range(2)))

    assert len(set(asyncio.run(all_of_them()))) == 2


def _meet(barrier: threading.Barrier) -> int:
    barrier.wait()
    return threading.get_ident()


def test_helpers_that_are_busy_are_not_waited_for() -> None:
    free = threading.Event()
    busy = together._helpers().submit(free.wait, 60)

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(call_together(threading.get_ident, 1) for _ in range(4)))

    assert asyncio.run(all_of_them()) == [threading.get_ident()] * 4
    assert not busy.done()
    free.set()
    assert busy.result() is True


@pytest.mark.parametrize("processors", [1, 2])
def test_errors_reach_those_who_asked(processors: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "_PROCESSORS", processors)

    def fail(number: int) -> Callable[[], int]:
        def run() -> int:
            if number % 2:
                raise ValueError(number)
            return number

        return run

    async def all_of_them() -> list[int | BaseException]:
        return await asyncio.gather(*(call_together(fail(i), 1) for i in range(6)), return_exceptions=True)

    assert [str(one) for one in asyncio.run(all_of_them())] == ["0", "1", "2", "3", "4", "5"]


def test_who_gave_up_hinders_nobody() -> None:
    async def one_gives_up() -> tuple[int, bool]:
        first = asyncio.create_task(call_together(lambda: 1, 1))
        second = asyncio.create_task(call_together(lambda: 2, 1))
        await asyncio.sleep(0)
        first.cancel()
        return await second, first.cancelled()

    assert asyncio.run(one_gives_up()) == (2, True)


def test_a_loop_that_is_continued_after_another() -> None:
    """Calls belong to their loop, though another has run in the same thread since."""
    first = asyncio.new_event_loop()
    task = first.create_task(call_together(lambda: 1, 1))
    first.call_soon(first.stop)
    first.run_forever()
    assert not task.done()
    assert asyncio.run(call_together(lambda: 2, 1)) == 2
    assert first.run_until_complete(task) == 1
    first.close()


def test_helpers_that_are_shut_down() -> None:
    together._helpers().shutdown()

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(call_together(partial(int, number), 1) for number in range(4)))

    assert asyncio.run(all_of_them()) == [0, 1, 2, 3]
    together._helpers.cache_clear()
