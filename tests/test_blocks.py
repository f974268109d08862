from __future__ import annotations

import random

from virtual_tiff.tiff.blocks import GAP, MAX_AHEAD, MIN_AHEAD, Blocks


def test_blocks_do_not_fetch_twice() -> None:
    blocks = Blocks()
    data = bytes(range(256)) * 1000
    fetched = 0
    rng = random.Random(3)
    for _ in range(300):
        start = rng.randrange(len(data))
        end = min(start + rng.randrange(1, 3000), len(data))
        blocks.size = len(data)
        for low, high in blocks.missing([(start, end)]):
            fetched += high - low
            blocks.add(low, memoryview(data)[low:high])
        assert blocks.take(start, end) == data[start:end]
        assert blocks.missing([(start, end)]) == []
    assert fetched <= len(data) + 300 * 16384


def filled(*spans: tuple[int, int], size: int | None = None) -> Blocks:
    blocks = Blocks()
    blocks.size = size
    for start, end in spans:
        blocks.add(start, memoryview(bytes(end - start)))
    return blocks


def test_close_ranges_are_merged_and_distant_ones_are_not() -> None:
    far = 10 * GAP
    assert Blocks().missing([(far, far + 1), (0, 5), (GAP + 5, GAP + 9)]) == [(0, GAP + 9), (far, far + 1)]
    assert len(Blocks().missing([(0, 5), (GAP + 6, GAP + 9)])) == 2


def test_a_lone_request_reads_ahead_and_grows_where_it_continues() -> None:
    blocks = filled((0, 100))
    lengths = []
    place = 100
    for _ in range(10):
        ((start, end),) = blocks.missing([(place, place + 10)])
        lengths.append(end - start)
        blocks.add(start, memoryview(bytes(end - start)))
        place = end
    assert lengths[0] == 2 * MIN_AHEAD
    assert lengths[1] == 4 * MIN_AHEAD
    assert lengths[-1] == MAX_AHEAD
    ((start, end),) = blocks.missing([(10**9, 10**9 + 10)])
    assert end - start == MIN_AHEAD


def test_no_request_leaves_the_file_or_reads_what_is_at_hand() -> None:
    blocks = filled((0, 100), (5000, 6000), size=7000)
    assert blocks.missing([(200, 300)]) == [(200, 5000)]
    assert blocks.missing([(50, 5500)]) == [(100, 5000)]
    assert blocks.missing([(6500, 6600)]) == [(6500, 7000)]
    assert blocks.missing([(7000, 9000), (8000, 9000), (50, 50)]) == []


def test_large_blocks_are_forgotten() -> None:
    blocks = filled((0, 100), (5000, 5000 + 4 * MAX_AHEAD))
    blocks.forget_large()
    assert len(blocks.take(0, 100)) == 100
    assert blocks.take(5000, 5001) == b""
