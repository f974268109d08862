"""The bytes of one file that have been fetched, and the plan of what to fetch next. No I/O."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from virtual_tiff.tiff.protocol import Ranges

GAP: Final = 16 * 1024
"""Ranges no farther apart are fetched by one request: the bytes between cost less than a round trip."""

MIN_AHEAD: Final = 16 * 1024
MAX_AHEAD: Final = 2**20
_NEAR: Final = 64 * 1024
_KEPT: Final = 2 * MAX_AHEAD


class Blocks:
    """Disjoint blocks of a file, sorted by position."""

    def __init__(self) -> None:
        self.size: int | None = None
        self._starts: list[int] = []
        self._buffers: list[memoryview] = []
        self._ahead = MIN_AHEAD

    def missing(self, ranges: Ranges) -> list[tuple[int, int]]:
        """Return the requests that complete the ranges: gaps, merged where they are close, and read ahead.

        A lone request reads at least 16 KiB, and twice as far each time that it continues where another one
        ended.
        """
        gaps: list[tuple[int, int]] = []
        for start, end in ranges:
            stop = end if self.size is None else min(end, self.size)
            if start < stop:
                self._add_gaps(gaps, start, stop)
        if not gaps:
            return gaps
        merged = _merge(gaps)
        return [self._read_ahead(*merged[0])] if len(merged) == 1 else merged

    def _add_gaps(self, gaps: list[tuple[int, int]], start: int, stop: int) -> None:
        """Append the parts of a range that no block holds."""
        index = max(bisect_right(self._starts, start) - 1, 0)
        for begin, buffer in zip(self._starts[index:], self._buffers[index:], strict=True):
            if start >= stop or begin >= stop:
                break
            if begin > start:
                gaps.append((start, begin))
            start = max(start, begin + len(buffer))
        if start < stop:
            gaps.append((start, stop))

    def _read_ahead(self, start: int, end: int) -> tuple[int, int]:
        index = bisect_right(self._starts, start) - 1
        distance = start - self._starts[index] - len(self._buffers[index]) if index >= 0 else _NEAR
        near = 0 <= distance < _NEAR and index >= 0
        self._ahead = min(self._ahead * 2, MAX_AHEAD) if near else MIN_AHEAD
        stop = max(end, start + self._ahead)
        if index + 1 < len(self._starts):
            stop = max(end, min(stop, self._starts[index + 1]))
        return start, stop if self.size is None else min(stop, self.size)

    def add(self, start: int, buffer: memoryview) -> None:
        """Keep a fetched block; it replaces the blocks that it covers."""
        if not len(buffer):
            return
        low = bisect_left(self._starts, start)
        high = bisect_left(self._starts, start + len(buffer))
        self._starts[low:high] = [start]
        self._buffers[low:high] = [buffer]

    def take(self, start: int, end: int) -> bytes:
        """Return the bytes of a range, as far as they follow one another."""
        index = bisect_right(self._starts, start) - 1
        if index < 0:
            return b""
        begin, buffer = self._starts[index], self._buffers[index]
        if end - begin <= len(buffer):
            return bytes(buffer[start - begin : end - begin])
        parts: list[memoryview] = []
        while begin <= start < min(end, begin + len(buffer)):
            parts.append(buffer[start - begin : end - begin])
            start = begin + len(buffer)
            index += 1
            if index == len(self._starts):
                break
            begin, buffer = self._starts[index], self._buffers[index]
        return b"".join(parts)

    def forget_large(self) -> None:
        """Drop large blocks: they hold arrays, which their tags now keep."""
        if any(len(buffer) > _KEPT for buffer in self._buffers):
            kept = [i for i, buffer in enumerate(self._buffers) if len(buffer) <= _KEPT]
            self._starts = [self._starts[i] for i in kept]
            self._buffers = [self._buffers[i] for i in kept]


def _merge(gaps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge ranges that overlap or lie close to one another."""
    gaps.sort()
    merged = [gaps[0]]
    for start, end in gaps[1:]:
        if start <= merged[-1][1] + GAP:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
