"""Which chunks of a cube are compared: distinct ones, spread over its files, and over all that each file gives."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

type Ranges = Sequence[range]
"""By dimension, the indices of the chunks to choose from."""


def in_turn[T](sources: Iterable[Iterator[T]], count: int) -> Iterator[T]:
    """Take one from each source in turn, until there are so many or none is left.

    A source is asked for nothing before it is its turn.
    """
    waiting = deque(sources)
    while waiting and count > 0:
        source = waiting.popleft()
        for one in source:
            yield one
            count -= 1
            waiting.append(source)
            break


def draw(ranges: Ranges, count: int, choose: random.Random) -> Iterator[tuple[int, ...]]:
    """Draw random indices of chunks, up to a number of them and none of them twice."""
    shape = tuple(map(len, ranges))
    total = int(np.prod(shape, dtype=np.int64))
    for flat in choose.sample(range(total), min(count, total)):
        places = np.unravel_index(flat, shape)
        yield tuple(one[int(place)] for one, place in zip(ranges, places, strict=True))


def chunks_inside(size: int, step: int, start: int, limit: int) -> range:
    """The chunks, along one dimension, of a file that begins at `start` of an array, which lie within the array.

    ``size`` is that of the file, ``step`` that of a chunk, ``limit`` that of the array.
    """
    first = max(0, -(start // step))
    last = -(-size // step) if start + size <= limit else max(0, limit - start) // step
    return range(first, last)
