"""Drives header readers over bytes in memory, for tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from virtual_tiff.tiff.ifd import Origin, TiffFile
from virtual_tiff.tiff.parse import parse_tiff
from virtual_tiff.tiff.protocol import Reader


@dataclass
class Drive:
    """Answers a reader out of bytes in memory, and counts."""

    data: bytes
    batches: list[list[tuple[int, int]]] = field(default_factory=list)

    def __call__[T](self, reader: Reader[T]) -> T:
        answers: list[bytes] | None = None
        while True:
            try:
                ranges = next(reader) if answers is None else reader.send(answers)
            except StopIteration as stop:
                result: T = stop.value
                return result
            self.batches.append(list(ranges))
            answers = [self.data[start:end] for start, end in ranges]

    @property
    def requests(self) -> int:
        """Ranges that were asked for."""
        return sum(map(len, self.batches))


def parse(data: bytes | bytearray, *, known: bool = True, **options: Any) -> TiffFile:
    """Parse a file in memory; ``known`` says whether the parser is told its size."""
    data = bytes(data)
    origin = Origin("memory://file.tif", len(data) if known else None)
    return Drive(data)(parse_tiff(origin, **options))


def problems(tiff: TiffFile) -> list[tuple[str, tuple[int, ...] | None, int | None]]:
    """Return feature code, IFD and tag of all problems."""
    every = [*tiff.problems, *(problem for ifd in tiff.walk() for problem in ifd.problems)]
    return [(problem.feature, problem.ifd, problem.tag) for problem in every]
