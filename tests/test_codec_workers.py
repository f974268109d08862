"""Threads that decode for event loops: right results, errors, and nothing left behind, whatever becomes of the loop."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import zarr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import LocalStore

from tests.segment_cases import encode
from virtual_tiff import VirtualTIFF
from virtual_tiff.codecs import compiled, direct, room, workers
from virtual_tiff.codecs.compiled import Kernels, Line, Recipe
from virtual_tiff.codecs.jobs import PROCESSORS
from virtual_tiff.errors import DecodeError

pytestmark = pytest.mark.skipif(
    compiled.KERNELS is None or os.name != "posix" or PROCESSORS < 2,
    reason="there was no C compiler when this was installed, or there are no such threads here",
)

type Octets = npt.NDArray[np.uint8]

SIZE = 1 << 16
DEFLATE = Recipe(rows=1, row_bytes=SIZE, compression=8, predictor=1)


def segment(seed: int) -> tuple[Octets, Octets]:
    """A segment, encoded and decoded."""
    decoded = np.random.default_rng(seed).integers(0, 40, SIZE, np.uint8)
    return np.frombuffer(encode(decoded.tobytes(), 8), np.uint8), decoded


async def decode_many(count: int) -> None:
    cases = [segment(seed) for seed in range(count)]
    for found, (_, decoded) in zip(
        await asyncio.gather(*(workers.decode(encoded, DEFLATE) for encoded, _ in cases)), cases, strict=True
    ):
        assert found is not None
        np.testing.assert_array_equal(found, decoded)


def test_more_results_than_are_collected_at_once() -> None:
    asyncio.run(decode_many(300))


HELPING = """
import select
import numpy as np
from tests.test_codec_workers import DEFLATE, SIZE, segment
from virtual_tiff.codecs import compiled, direct

kernels = compiled.KERNELS
encoded, decoded = segment(0)
assert direct.kernels_for(DEFLATE, encoded) is kernels
assert kernels.start(1)
line, other = kernels.open_line(), kernels.open_line()
results = [np.empty(SIZE, np.uint8) for _ in range(200)]
for number, out in enumerate(results):
    assert line.submit(number, DEFLATE, encoded if number != 150 else encoded[:9], out)
assert not other.help(0, SIZE), "another line has no jobs"
assert not other.drop(199)
assert not line.help(len(results), SIZE), "so many are spared"
assert line.drop(199), "one thread has taken them all meanwhile"
assert not line.drop(199)
helped, done = 0, []
while line.help(0, SIZE):
    helped += 1
assert helped
while len(done) < len(results) - 1:
    select.select([line.descriptor], [], [])
    done += line.collect()
assert sorted(number for number, _ in done) == list(range(199)), "each once"
assert {number for number, is_decoded in done if not is_decoded} == {150}
assert all((out == decoded).all() for number, out in enumerate(results[:199]) if number != 150)
assert line.collect() == []
assert select.select([line.descriptor], [], [], 0)[0] == []
line.close()
other.close()
print("end")
"""


def test_who_waits_decodes_what_no_thread_has_taken() -> None:
    """Each job is done once, by either."""
    done = run_fresh(HELPING)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "end\n")


HELPING_LOOP = """
import asyncio
from tests.test_codec_workers import decode_many
from virtual_tiff.codecs import workers
from virtual_tiff.codecs.compiled import Line

workers._THREADS = 1
turns, helped, help_line = 0, [], Line.help

def counted(self, spared, size):
    assert spared == workers._SPARED
    is_done = help_line(self, 0, size)
    if is_done:
        helped.append(turns)
    return is_done

async def count_turns():
    global turns
    while True:
        turns += 1
        await asyncio.sleep(0)

async def run():
    counting = asyncio.ensure_future(count_turns())
    await decode_many(100)
    counting.cancel()

Line.help = counted
asyncio.run(run())
assert helped, "one thread has decoded them all meanwhile"
assert len(set(helped)) == len(helped), "more than one in a turn"
print("end")
"""


def test_a_loop_helps_and_goes_on() -> None:
    """Not more than one segment in a turn: other tasks have their turns in between."""
    done = run_fresh(HELPING_LOOP)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "end\n")


def test_loops_of_several_threads() -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: asyncio.run(decode_many(40)), range(12)))


def test_what_does_not_decode_is_left_to_others() -> None:
    async def decode() -> list[Octets | None]:
        whole, _ = segment(0)
        return list(await asyncio.gather(*(workers.decode(whole[:end], DEFLATE) for end in (0, 9, whole.size))))

    none, short, whole = asyncio.run(decode())
    assert none is None
    assert short is None
    assert whole is not None


def test_cancelled_waiting_does_no_harm() -> None:
    async def run() -> None:
        encoded, decoded = segment(1)
        tasks = [asyncio.ensure_future(workers.decode(encoded, DEFLATE)) for _ in range(100)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in found[::2])
        for one in found[1::2]:
            np.testing.assert_array_equal(one, decoded)

    asyncio.run(run())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts what /proc lists")
def test_loops_that_are_gone_leave_nothing_open() -> None:
    """Also those that were closed while threads had work for them."""

    async def leave() -> None:
        encoded, _ = segment(2)
        for _ in range(30):
            asyncio.get_running_loop().create_task(workers.decode(encoded, DEFLATE))
        await asyncio.sleep(0)

    asyncio.run(decode_many(1))
    gc.collect()
    before = descriptors()
    for _ in range(20):
        asyncio.run(leave())
        asyncio.run(decode_many(3))
    gc.collect()
    assert descriptors() <= before


@pytest.mark.parametrize(
    ("fails", "error"),
    [("start", None), ("open_line", OSError), ("add_reader", NotImplementedError), ("add_reader", OSError)],
)
def test_where_there_are_no_threads_others_decode(
    fails: str, error: type[Exception] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> bool:
        if error is not None:
            raise error
        return False

    async def read() -> npt.NDArray[Any]:
        array = await zarr.api.asynchronous.open_array(
            store=parsed(tmp_path), path="band_data", mode="r", zarr_format=3
        )
        assert await workers.decode(segment(3)[0], DEFLATE) is None
        return np.asarray(await array.getitem(...))

    pixels = write(tmp_path, "zlib", 2)
    monkeypatch.setattr(asyncio.SelectorEventLoop if fails == "add_reader" else Kernels, fails, refuse)
    np.testing.assert_array_equal(asyncio.run(read()), pixels)


def write(folder: Path, compression: str, predictor: int, dtype: str = "u2") -> npt.NDArray[Any]:
    pixels = np.random.default_rng(0).integers(0, 99, (512, 768)).astype(dtype)
    path, options = folder / "a.tif", {"compression": compression, "predictor": predictor}
    tifffile.imwrite(path, pixels, tile=(256, 256), **options)  # type: ignore[arg-type]
    return pixels


def parsed(folder: Path) -> Any:
    return VirtualTIFF(ifd=0)((folder / "a.tif").as_uri(), ObjectStoreRegistry({"file://": LocalStore()}))


def test_what_nobody_waits_for_leaves_nothing() -> None:
    """It is dropped, or collected when a thread has begun it."""

    async def run() -> None:
        encoded, _ = segment(1)
        tasks = [asyncio.ensure_future(workers.decode(encoded, DEFLATE)) for _ in range(500)]
        await asyncio.sleep(0)
        queue = workers._queue_of(asyncio.get_running_loop())
        assert queue is not None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while queue._memory:  # noqa: ASYNC110 (nothing else happens when threads are done with what they had begun)
            await asyncio.sleep(0)
        assert not queue._waiting

    asyncio.run(run())


def test_a_loop_that_is_interrupted_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it decoded when the interrupt came is delivered when it runs again."""
    help_line, interrupts = Line.help, [KeyboardInterrupt]

    def interrupted(self: Line, _: int, size: int) -> bool:
        is_done = help_line(self, 0, size)
        if interrupts:
            raise interrupts.pop()
        return is_done

    monkeypatch.setattr(Line, "help", interrupted)
    encoded, decoded = segment(0)
    loop = asyncio.new_event_loop()
    waiting = asyncio.gather(*[loop.create_task(workers.decode(encoded, DEFLATE)) for _ in range(200)])
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(waiting)
    for found in loop.run_until_complete(asyncio.wait_for(waiting, 60)):
        np.testing.assert_array_equal(found, decoded)
    loop.close()


@pytest.mark.parametrize("seed", range(8))
def test_jobs_of_lines_are_delivered_once(seed: int) -> None:
    """In whichever order lines take, collect and drop them."""
    kernels, draw, encoded = compiled.KERNELS, random.Random(seed), segment(0)[0]
    assert kernels is not None
    assert direct.kernels_for(DEFLATE, encoded) is kernels
    assert kernels.start(1)
    lines: list[tuple[Line, dict[int, Octets]]] = [(kernels.open_line(), {}) for _ in range(3)]
    for number in range(600):
        at = draw.randrange(3)
        line, waiting = lines[at]
        waiting[number] = np.empty(SIZE, np.uint8)
        assert line.submit(number, DEFLATE, encoded, waiting[number])
        other, results = draw.choice(lines)
        if draw.random() < 0.6:
            other.help(draw.randrange(4), SIZE)
            for done, is_decoded in other.collect():
                assert is_decoded
                del results[done]
        if draw.random() < 0.1 and results and other.drop(max(results)):
            del results[max(results)]
        if draw.random() < 0.05:
            line.close()
            lines[at] = kernels.open_line(), {}
    for line, waiting in lines:
        while waiting:
            for done, _ in line.collect():
                del waiting[done]
        line.close()


@pytest.mark.parametrize(("predictor", "dtype"), [(1, "u1"), (1, "f4"), (2, "u1"), (2, "u2"), (2, "i4"), (3, "f4")])
@pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd"])
@pytest.mark.parametrize("pipeline", ["Batched", "Fused"])
def test_pixels_through_zarr(
    compression: str, predictor: int, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, pipeline: str
) -> None:
    """All of them come from these threads, and a damaged one raises what it raises elsewhere."""
    taken = []
    decode = workers._Queue.decode

    async def counted(self: workers._Queue, encoded: Octets, how: Recipe, out: Octets) -> Octets | None:
        taken.append(how)
        return await decode(self, encoded, how, out)

    monkeypatch.setattr(workers._Queue, "decode", counted)
    pixels = write(tmp_path, compression, predictor, dtype)
    with zarr.config.set({"codec_pipeline.path": f"zarr.core.codec_pipeline.{pipeline}CodecPipeline"}):
        array: Any = zarr.open_array(parsed(tmp_path), path="band_data", mode="r", zarr_format=3)
    np.testing.assert_array_equal(array[...], pixels)
    is_core = (compression, predictor) in {("zlib", 1), ("zstd", 1)}
    assert len(taken) == (0 if is_core and pipeline == "Fused" else 6)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        (page,) = tiff.pages
        offset, size = page.dataoffsets[4], page.databytecounts[4]
    with (tmp_path / "a.tif").open("r+b") as file:
        file.seek(offset)
        file.write(bytes(size))
    with pytest.raises((DecodeError, RuntimeError)):
        array[...]
    np.testing.assert_array_equal(array[:256], pixels[:256])


@pytest.mark.parametrize("size", [1, 63, 64, 65, 200_000, room.BLOCK_BYTES - 1, room.BLOCK_BYTES + 1])
@pytest.mark.parametrize("count", [1, 2, 400])
def test_room_for_results(size: int, count: int) -> None:
    """Large blocks, and all of a result; more are asked for where a result is left to others."""
    memory = room.Room(size, count)
    taken = [memory.take() for _ in range(min(count, 10 * room.BLOCK_BYTES // size) + 1)]
    starts = [one.__array_interface__["data"][0] for one in taken]
    assert {one.size for one in taken} == {size}
    assert all(second - first >= size for first, second in pairwise(sorted(starts)))
    blocks = {id(one.base) for one in taken}
    assert len(blocks) <= 2 + len(taken) // max(1, room.BLOCK_BYTES // (size + 64))


@pytest.mark.parametrize(
    ("size", "is_taken"),
    [(workers._SHORT_BYTES, False), (workers._SHORT_BYTES + 1, True), (workers._LONG_BYTES, True),
     (workers._LONG_BYTES + 1, False)],
)  # fmt: skip
def test_short_and_long_segments_are_for_others(size: int, is_taken: bool) -> None:
    encoded = np.frombuffer(encode(bytes(size), 5), np.uint8)
    found = asyncio.run(workers.decode(encoded, direct.recipe_of_stream(direct.LZW, size)))
    assert (found is not None) == is_taken
    assert asyncio.run(workers.decode(encoded, None)) is None


def test_a_loop_asks_its_own_line() -> None:
    """Results come in the thread that asked for them."""
    found: dict[int, set[int]] = {}

    async def ask(number: int) -> None:
        encoded, _ = segment(number)
        for _ in range(5):
            assert await workers.decode(encoded, DEFLATE) is not None
            found.setdefault(number, set()).add(threading.get_ident())

    threads = [threading.Thread(target=lambda number=number: asyncio.run(ask(number))) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(idents) for _, idents in sorted(found.items())] == [1, 1, 1, 1]


def run_fresh(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter of its own."""
    run = [sys.executable, "-X", "faulthandler", "-W", "ignore::DeprecationWarning", "-c", code]
    return subprocess.run(
        run, capture_output=True, text=True, check=False, timeout=120, cwd=Path(__file__).parent.parent
    )


RESTRICTED = """
import asyncio, os
from tests.test_codec_workers import decode_many
asyncio.run(decode_many(20))
one, threads = {min(os.sched_getaffinity(0))}, os.listdir("/proc/self/task")
for thread in threads:
    os.sched_setaffinity(int(thread), one)
asyncio.run(decode_many(20))
print(all(os.sched_getaffinity(int(thread)) == one for thread in threads))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not let processors be chosen")
def test_threads_stay_where_the_process_is_restricted_later() -> None:
    done = run_fresh(RESTRICTED)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "True\n")


FRESH = """
import asyncio, os, sys, threading
import numpy as np
from tests.test_codec_workers import DEFLATE, decode_many, segment
from virtual_tiff.codecs import workers

def check():
    asyncio.run(decode_many(20))

def check_at_exit():
    encoded, decoded = segment(0)
    found = asyncio.run(workers.decode(encoded, DEFLATE))
    assert found is None or (found == decoded).all()  # the threads may be gone

async def begin():
    encoded, _ = segment(0)
    for _ in range(200):
        asyncio.get_running_loop().create_task(workers.decode(encoded, DEFLATE))
    await asyncio.sleep(0)
    {begun}

{script}
print("end")
"""

SCRIPTS = {
    "the end of the script": ("pass", "asyncio.run(begin())"),
    "sys.exit": ("sys.exit()", "print('end', flush=True); asyncio.run(begin())"),
    "a loop in a daemon thread": (
        "started.set(); await asyncio.sleep(60)",
        """
started = threading.Event()
threading.Thread(target=lambda: asyncio.run(begin()), daemon=True).start()
started.wait()
""",
    ),
    "a fork": (
        "child = os.fork()\n    if not child: os._exit(0)\n    assert os.waitpid(child, 0)[1] == 0",
        """
asyncio.run(begin())
child = os.fork()
if not child:
    check()
    print("end", flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
check()
""",
    ),
    "at exit": ("pass", "import atexit; atexit.register(check_at_exit); asyncio.run(begin())"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_processes_end_and_fork_while_threads_have_work(name: str) -> None:
    begun, script = SCRIPTS[name]
    code = FRESH.format(begun=begun, script=script)
    done = run_fresh(code)
    assert (done.returncode, done.stderr, done.stdout.count("end")) == (0, "", 2 if name == "a fork" else 1)
