"""What our codecs for zarr have in common: they decode short chunks where they are, and long ones in a thread."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from functools import partial

from zarr.abc.codec import BytesBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer

from virtual_tiff.codecs import workers
from virtual_tiff.codecs.compiled import Recipe
from virtual_tiff.codecs.jobs import call_in_thread


async def call_promptly[T](decode: Callable[[], T], size: int, short: int) -> T:
    """Decode here what decodes to no more than so many bytes, and anything else in a thread."""
    return decode() if size <= short else await call_in_thread(decode, size)


class PromptCodec(BytesBytesCodec):
    """Zarr's asynchronous protocol by its synchronous one, which the fused pipeline uses."""

    @abstractmethod
    def _decode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        """Decode a chunk, in this thread."""

    @abstractmethod
    def _effort(self, chunk_spec: ArraySpec) -> tuple[int, int]:
        """Return how many bytes a chunk decodes to, and up to how many it is not worth a thread."""

    @abstractmethod
    def _recipe(self, chunk_spec: ArraySpec) -> Recipe | None:
        """Return how the kernels decode a chunk, or None when they do not."""

    async def decode(self, chunks_and_specs: Iterable[tuple[Buffer | None, ArraySpec]]) -> Iterable[Buffer | None]:
        """Decode chunks; zarr's default pipeline passes one at a time, for which a task would be a waste."""
        chunks = list(chunks_and_specs)
        if len(chunks) != 1:
            return await super().decode(chunks)
        ((chunk, spec),) = chunks
        return [None if chunk is None else await self._decode_single(chunk, spec)]

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        decoded = await workers.decode(chunk_data.as_numpy_array(), self._recipe(chunk_spec))
        if decoded is not None:
            return chunk_spec.prototype.buffer.from_array_like(decoded)
        return await call_promptly(partial(self._decode_sync, chunk_data, chunk_spec), *self._effort(chunk_spec))
