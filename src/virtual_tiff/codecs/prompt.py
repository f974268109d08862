"""What our codecs for zarr have in common: where zarr's default pipeline decodes chunks of which size."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterable
from functools import partial
from typing import Final

from zarr.abc.codec import BytesBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer

from virtual_tiff.codecs.jobs import call_in_thread
from virtual_tiff.codecs.together import call_together

_TINY: Final = 0.5
"""Chunks that take up to so many times as long as handing them to a thread are decoded where they are."""

_SHORT: Final = 8 if (os.cpu_count() or 1) <= 2 else 2
"""And those that take up to so many times as long, by the loop's thread and others together.

Where there are more processors, it soon pays to leave the loop to its own work.
"""


class PromptCodec(BytesBytesCodec):
    """Zarr's asynchronous protocol by its synchronous one, which the fused pipeline uses."""

    @abstractmethod
    def _decode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        """Decode a chunk, in this thread."""

    @abstractmethod
    def _effort(self, chunk_spec: ArraySpec) -> tuple[int, int]:
        """Return how many bytes a chunk decodes to, and how many take as long as handing them to a thread."""

    async def decode(self, chunks_and_specs: Iterable[tuple[Buffer | None, ArraySpec]]) -> Iterable[Buffer | None]:
        """Decode chunks; zarr's default pipeline passes one at a time, for which a task would be a waste."""
        chunks = list(chunks_and_specs)
        if len(chunks) != 1:
            return await super().decode(chunks)
        ((chunk, spec),) = chunks
        return [None if chunk is None else await self._decode_single(chunk, spec)]

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        size, handed_over = self._effort(chunk_spec)
        if size <= _TINY * handed_over:
            return self._decode_sync(chunk_data, chunk_spec)
        run = partial(self._decode_sync, chunk_data, chunk_spec)
        if size <= _SHORT * handed_over:
            return await call_together(run, size / handed_over)
        return await call_in_thread(run, size)
