"""Calls from tasks of a loop: each gets its own result or error, in whatever jobs they are made."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial

import pytest

from virtual_tiff.codecs import jobs
from virtual_tiff.codecs.jobs import call_in_thread


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PROCESSORS", 2)


def threads(sizes: list[int]) -> list[int]:
    """Make so many calls in one turn; return how many each thread-and-job made, in their order."""
    made: list[list[int]] = []
    start = jobs._run

    def counted(job: list[jobs._Call]) -> list[object]:
        made.append([call.size for call in job])
        return start(job)

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(call_in_thread(partial(int, size), size) for size in sizes))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "_run", counted)
        assert asyncio.run(all_of_them()) == sizes
    return [len(job) for job in sorted(made, key=lambda job: sizes.index(job[0]))]


@pytest.mark.parametrize(
    ("sizes", "shares"),
    [
        ([1], [1]),
        ([1, 2], [1, 1]),
        ([1, 2, 3, 4, 5], [3, 2]),
        ([1 << 20, 2 << 20, 3 << 20, 4, 5, 6], [1, 1, 1, 3]),
    ],
)
def test_calls_are_shared_out(sizes: list[int], shares: list[int]) -> None:
    assert threads(sizes) == shares


def test_errors_reach_those_who_asked() -> None:
    def fail(number: int) -> Callable[[], int]:
        def run() -> int:
            if number % 2:
                raise ValueError(number)
            return threading.get_ident()

        return run

    async def all_of_them() -> list[int | BaseException]:
        return await asyncio.gather(*(call_in_thread(fail(i), 1) for i in range(6)), return_exceptions=True)

    outcomes = asyncio.run(all_of_them())
    assert [str(one) for one in outcomes[1::2]] == ["1", "3", "5"]
    assert threading.get_ident() not in outcomes[::2]
    assert all(isinstance(one, int) for one in outcomes[::2])


def test_who_gave_up_hinders_nobody() -> None:
    async def one_gives_up() -> tuple[int, bool]:
        first = asyncio.create_task(call_in_thread(lambda: 1, 1))
        second = asyncio.create_task(call_in_thread(lambda: 2, 1))
        await asyncio.sleep(0)
        first.cancel()
        return await second, first.cancelled()

    assert asyncio.run(one_gives_up()) == (2, True)


def test_a_loop_that_is_continued_after_another() -> None:
    """The calls of a turn belong to their loop, though another has run in the same thread since."""
    first = asyncio.new_event_loop()
    task = first.create_task(call_in_thread(lambda: 1, 1))
    first.call_soon(first.stop)
    first.run_forever()
    assert not task.done()
    assert asyncio.run(call_in_thread(lambda: 2, 1)) == 2
    assert first.run_until_complete(task) == 1
    first.run_until_complete(first.shutdown_default_executor())
    first.close()


def test_a_pool_that_is_shut_down() -> None:
    async def too_late() -> None:
        await asyncio.get_running_loop().shutdown_default_executor()
        await call_in_thread(lambda: 1, 1)

    with pytest.raises(RuntimeError, match="shutdown"):
        asyncio.run(too_late())
