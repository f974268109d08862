"""``virtual_tiff.segment`` as a codec of Zarr v3, bytes to bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer
from zarr.core.common import JSON

from virtual_tiff.codecs import direct
from virtual_tiff.codecs.compiled import Recipe
from virtual_tiff.codecs.config import CODEC_NAME, SegmentConfig
from virtual_tiff.codecs.packing import is_prompt
from virtual_tiff.codecs.prompt import PromptCodec
from virtual_tiff.codecs.segment import decode_segment, find_kernel
from virtual_tiff.errors import DecodeError, UnsupportedError

_SHORT: Final = {1: 1 << 20, 32773: 1 << 18, **dict.fromkeys((5, 8, 32946, 50000), 1 << 17)}
_SHORT_OTHERS: Final = 1 << 16
_SHORT_UNPACKED: Final = 1 << 17
"""Decoded bytes, by compression, up to which decoding takes about as long as handing it to another thread.

And of samples whose unpacking takes its time.
"""


@dataclass(frozen=True)
class Segment(PromptCodec):
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

    def _recipe(self, _chunk_spec: ArraySpec) -> Recipe | None:
        return direct.recipe(self.config)

    def _effort(self, _chunk_spec: ArraySpec) -> tuple[int, int]:
        return self._sizes

    @cached_property
    def _sizes(self) -> tuple[int, int]:
        config = self.config
        short = _SHORT.get(config.compression, _SHORT_OTHERS)
        prompt = config.color is None and is_prompt(config)
        return config.out_bytes, short if prompt else min(short, _SHORT_UNPACKED)

    def _encode_sync(self, _chunk_bytes: Buffer, _chunk_spec: ArraySpec) -> Buffer | None:
        raise self._read_only()

    async def _encode_single(self, _chunk_bytes: Buffer, _chunk_spec: ArraySpec) -> Buffer | None:
        raise self._read_only()

    @staticmethod
    def _read_only() -> UnsupportedError:
        hint = "Write to a copy of the array with codecs that encode."
        return UnsupportedError(f"{CODEC_NAME} only decodes", feature="read-only", hint=hint)
