"""``virtual_tiff.segment`` as a codec of Zarr v3, bytes to bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self

from zarr.abc.codec import BytesBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer
from zarr.core.common import JSON

from virtual_tiff.codecs.config import CODEC_NAME, SegmentConfig
from virtual_tiff.codecs.jobs import call_in_thread
from virtual_tiff.codecs.segment import decode_segment, find_kernel
from virtual_tiff.errors import DecodeError, UnsupportedError

_INLINE: Final = {1: 1 << 20, 32773: 1 << 18, **dict.fromkeys((5, 8, 32946, 50000), 1 << 17)}
_INLINE_OTHERS: Final = 1 << 16
"""Decoded bytes, by compression, up to which decoding takes about as long as handing it to another thread."""


@dataclass(frozen=True)
class Segment(BytesBytesCodec):
    """Decode TIFF segments.

    Implements zarr's asynchronous and synchronous protocols; the fused pipeline uses the latter.

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
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make the codec from its JSON: ``{"name": "virtual_tiff.segment", "configuration": {...}}``."""
        configuration = data.get("configuration", {})
        if data.get("name") != CODEC_NAME or not isinstance(configuration, Mapping):
            msg = f"expected the JSON of {CODEC_NAME}, found {dict(data)!r}"
            raise DecodeError(msg, feature="codec-config")
        return cls(SegmentConfig.from_json(configuration))

    def to_dict(self) -> dict[str, JSON]:
        """Return the canonical JSON."""
        return {"name": CODEC_NAME, "configuration": self.config.to_json()}

    def compute_encoded_size(self, _input_byte_length: int, _chunk_spec: ArraySpec) -> int:
        """Refuse: how long segments are is known by their byte counts only."""
        raise self._read_only()

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        decoded = decode_segment(chunk_bytes.as_numpy_array(), self.config)
        return chunk_spec.prototype.buffer.from_array_like(decoded)

    async def decode(self, chunks_and_specs: Iterable[tuple[Buffer | None, ArraySpec]]) -> Iterable[Buffer | None]:
        """Decode chunks; zarr's default pipeline passes one at a time, for which a task would be a waste."""
        chunks = list(chunks_and_specs)
        if len(chunks) != 1:
            return await super().decode(chunks)
        ((chunk, spec),) = chunks
        return [None if chunk is None else await self._decode_single(chunk, spec)]

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        if self.config.out_bytes <= _INLINE.get(self.config.compression, _INLINE_OTHERS):
            return self._decode_sync(chunk_bytes, chunk_spec)
        return await call_in_thread(partial(self._decode_sync, chunk_bytes, chunk_spec), self.config.out_bytes)

    def _encode_sync(self, _chunk_bytes: Buffer, _chunk_spec: ArraySpec) -> Buffer | None:
        raise self._read_only()

    async def _encode_single(self, _chunk_bytes: Buffer, _chunk_spec: ArraySpec) -> Buffer | None:
        raise self._read_only()

    @staticmethod
    def _read_only() -> UnsupportedError:
        hint = "Write to a copy of the array with codecs that encode."
        return UnsupportedError(f"{CODEC_NAME} only decodes", feature="read-only", hint=hint)
