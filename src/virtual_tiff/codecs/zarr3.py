"""``virtual_tiff.segment`` as a codec of Zarr v3: array to bytes, or bytes to bytes where it is configured so."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Final

import numpy as np
from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin
from zarr.abc.store import ByteGetter
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer
from zarr.core.common import JSON
from zarr.core.config import config as zarr_config
from zarr.core.indexing import SelectorTuple

from virtual_tiff.codecs import direct, workers
from virtual_tiff.codecs.compiled import Recipe
from virtual_tiff.codecs.config import CODEC_NAME, SegmentConfig
from virtual_tiff.codecs.packing import is_prompt
from virtual_tiff.codecs.prompt import PromptCodec, call_promptly
from virtual_tiff.codecs.room import Room
from virtual_tiff.codecs.segment import Octets, decode_segment, find_kernel
from virtual_tiff.errors import DecodeError, UnsupportedError, UsageError

_SHORT: Final = {1: 1 << 20, 32773: 1 << 18, **dict.fromkeys((5, 8, 32946, 50000), 1 << 17)}
_SHORT_OTHERS: Final = 1 << 16
_SHORT_UNPACKED: Final = 1 << 17
"""Decoded bytes, by compression, up to which decoding takes about as long as handing it to another thread.

And of samples whose unpacking takes its time.
"""


@dataclass(frozen=True)
class Segment:
    """Decode TIFF segments.

    Implements zarr's asynchronous protocol, and the synchronous one where the fused pipeline is to use that.

    Parameters
    ----------
    config
        How the segments are encoded.

    Raises
    ------
    DecodeError
        ``codec-config`` when no kernel decodes this configuration.
    """

    config: SegmentConfig

    is_fixed_size = False

    def __post_init__(self) -> None:
        find_kernel(self.config)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Any:
        """Make the codec from its JSON: ``{"name": "virtual_tiff.segment", "configuration": {...}}``.

        Returns
        -------
        Segment
            Of the class that its configuration asks for.
        """
        configuration = data.get("configuration", {})
        if data.get("name") != CODEC_NAME or not isinstance(configuration, Mapping):
            msg = f"expected the JSON of {CODEC_NAME}, found {dict(data)!r}"
            raise DecodeError(msg, feature="codec-config")
        config = SegmentConfig.from_json(configuration)
        if config.chunk is None:
            return BytesSegment(config)
        return (ArraySegment if workers.would_decode(direct.recipe(config)) else SyncArraySegment)(config)

    def to_dict(self) -> dict[str, JSON]:
        """Return the canonical JSON."""
        return {"name": CODEC_NAME, "configuration": self.config.to_json()}

    def compute_encoded_size(self, _input_byte_length: int, _chunk_spec: ArraySpec) -> int:
        """Refuse: how long segments are is known by their byte counts only."""
        raise self._read_only()

    @property
    def _how(self) -> Recipe | None:
        # not kept here: it cannot be pickled
        return direct.recipe(self.config)

    @cached_property
    def _sizes(self) -> tuple[int, int]:
        short = _SHORT.get(self.config.compression, _SHORT_OTHERS)
        prompt = self.config.color is None and is_prompt(self.config)
        return self.config.out_bytes, short if prompt else min(short, _SHORT_UNPACKED)

    @staticmethod
    def _read_only() -> UnsupportedError:
        hint = "Write to a copy of the array with codecs that encode."
        return UnsupportedError(f"{CODEC_NAME} only decodes", feature="read-only", hint=hint)


@dataclass(frozen=True)
class BytesSegment(Segment, PromptCodec):
    """The samples as bytes, in the order of the file."""

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        decoded = decode_segment(chunk_bytes.as_numpy_array(), self.config)
        return chunk_spec.prototype.buffer.from_array_like(decoded)

    def _recipe(self, _chunk_spec: ArraySpec) -> Recipe | None:
        return self._how

    def _effort(self, _chunk_spec: ArraySpec) -> tuple[int, int]:
        return self._sizes

    def _encode_sync(self, _chunk_bytes: Buffer, _chunk_spec: ArraySpec) -> Buffer | None:
        raise self._read_only()

    async def _encode_single(self, _chunk_bytes: Buffer, _chunk_spec: ArraySpec) -> Buffer | None:
        raise self._read_only()


@dataclass(frozen=True)
class ArraySegment(Segment, ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin):
    """The samples as a chunk, decoded by threads of the kernels.

    It reads the bytes itself: of all that zarr does for a chunk, that leaves the least to do. It has no synchronous
    protocol, so that the fused pipeline leaves all chunks of a read to it: threads of Python take longer, since they
    keep waiting for its lock.
    """

    @property
    def endian(self) -> str:
        """Refuse: VirtualiZarr asks for it when it translates a chain to Zarr v2, from which it leaves this codec out.

        Raises
        ------
        UsageError
            ``usage``.
        """
        found = f"VirtualiZarr would write references of Zarr v2 without {CODEC_NAME}, that read as other pixels"
        hint = "Use virtual_tiff.export_references, or references of Zarr v3."
        raise UsageError(found, feature="usage", hint=hint)

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Check that chunks have as many samples as segments, of their size.

        Raises
        ------
        DecodeError
            ``codec-config``.
        """
        del shape
        found, wanted = np.dtype(dtype.to_native_dtype()), self.config.out_dtype
        if found.itemsize != wanted.itemsize or (found == np.bool and wanted != np.bool):
            raise _refused(f"the array has the data type {found}, and its codec makes samples of type {wanted}")
        for chunk_shape in _shapes(chunk_grid):
            self._check(chunk_shape)

    def _check(self, chunk_shape: tuple[int, ...]) -> None:
        config = self.config
        if math.prod(chunk_shape) != config.rows * config.columns * config.out_samples:
            made = f"{config.rows} x {config.columns} x {config.out_samples}"
            raise _refused(
                f"the array has chunks of {' x '.join(map(str, chunk_shape))}, and its codec makes some of {made}"
            )

    def _chunk_of(self, samples: Octets, chunk_spec: ArraySpec) -> NDBuffer:
        dtype = chunk_spec.dtype.to_native_dtype()
        try:
            chunk = samples.view(dtype.newbyteorder("<")).reshape(chunk_spec.shape)
        except ValueError:
            self._check(chunk_spec.shape)
            raise
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(chunk.astype(dtype, copy=False))

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec, room: Room | None = None) -> NDBuffer:
        encoded = chunk_bytes.as_numpy_array()
        decoded = await workers.decode(encoded, self._how, room)
        if decoded is None:
            decoded = await call_promptly(partial(decode_segment, encoded, self.config), *self._sizes)
        return self._chunk_of(decoded, chunk_spec)

    async def _decode_partial_single(
        self,
        byte_getter: ByteGetter,
        selection: SelectorTuple,
        chunk_spec: ArraySpec,
        room: Room | None = None,
    ) -> NDBuffer | None:
        encoded = await byte_getter.get(prototype=chunk_spec.prototype)
        if encoded is None:
            return None
        if room is None or _is_most(selection, chunk_spec.shape):
            return (await self._decode_single(encoded, chunk_spec, room))[selection]
        return (await self._decode_single(encoded, chunk_spec))[selection].copy()

    async def decode_partial(
        self, batch_info: Iterable[tuple[ByteGetter, SelectorTuple, ArraySpec]]
    ) -> Iterable[NDBuffer | None]:
        """Read and decode chunks.

        The default pipeline passes one at a time, for which a task would be a waste. Of many, each can go as soon as
        the next one is asked for; of those that are hardly wanted, only what is wanted stays until then.
        """
        batch = list(batch_info)
        if len(batch) == 1:
            return [await self._decode_partial_single(*batch[0])]
        chunks: list[NDBuffer | None] = [None] * len(batch)
        left, room = iter(enumerate(batch)), Room(self.config.out_bytes, len(batch))

        async def decode_those_left() -> None:
            for index, one in left:
                chunks[index] = await self._decode_partial_single(*one, room)

        tasks = [asyncio.ensure_future(decode_those_left()) for _ in range(_concurrency(len(batch)))]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        return _given_away(chunks)

    async def _encode_single(self, _chunk_array: NDBuffer, _chunk_spec: ArraySpec) -> Buffer | None:
        raise self._read_only()


@dataclass(frozen=True)
class SyncArraySegment(ArraySegment):
    """The same for segments that Python decodes, by zarr's synchronous protocol too."""

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return self._chunk_of(decode_segment(chunk_bytes.as_numpy_array(), self.config), chunk_spec)

    def _decode_partial_sync(
        self, byte_getter: Any, selection: SelectorTuple, chunk_spec: ArraySpec
    ) -> NDBuffer | None:
        encoded = byte_getter.get_sync(prototype=chunk_spec.prototype)
        return None if encoded is None else self._decode_sync(encoded, chunk_spec)[selection]

    def _encode_sync(self, _chunk_array: NDBuffer, _chunk_spec: ArraySpec) -> Buffer | None:
        raise self._read_only()


def _concurrency(most: int) -> int:
    """How many chunks are read at once, as zarr is configured."""
    limit = zarr_config.get("async.concurrency")
    return most if limit is None else min(max(1, int(limit)), most)


def _is_most(selection: SelectorTuple, shape: tuple[int, ...]) -> bool:
    """Whether at least half of a chunk is selected."""
    return 2 * np.broadcast_to(np.False_, shape)[selection].size >= math.prod(shape)


def _shapes(chunk_grid: Any) -> Iterator[tuple[int, ...]]:
    """The shapes that chunks have; of a rectilinear grid each size along an axis, with the first of the others."""
    if hasattr(chunk_grid, "chunk_shape"):
        yield chunk_grid.chunk_shape
        return
    sizes = [sorted({size} if isinstance(size, int) else {*size}) for size in chunk_grid.chunk_shapes]
    first = tuple(axis[0] for axis in sizes)
    for axis, others in enumerate(sizes):
        yield from ((*first[:axis], size, *first[axis + 1 :]) for size in others)


def _refused(found: str) -> DecodeError:
    return DecodeError(f"{found} ({CODEC_NAME})", feature="codec-config")


def _given_away(chunks: list[NDBuffer | None]) -> Iterator[NDBuffer | None]:
    """The chunks one by one, none of which is kept."""
    chunks.reverse()
    while chunks:
        yield chunks.pop()
