"""The configuration of ``virtual_tiff.segment``: the TIFF tags that decide how a segment decodes.

A published configuration never changes meaning: fields are only added, and each has a default that means what
its absence meant before. Unknown fields and values are refused, never guessed. ``docs/segment-codec.md`` is
the specification.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np

from virtual_tiff.codecs.samples import pixel_dtype
from virtual_tiff.errors import DecodeError

CODEC_NAME: Final = "virtual_tiff.segment"

_END_OF_IMAGE: Final = b"\xff\xd9"


@dataclass(frozen=True, kw_only=True)
class SegmentConfig:
    """How one segment (strip or tile) becomes samples.

    All integers are values of the TIFF tags of the same name. ``columns`` and ``rows`` are the pixels of a
    full segment; ``last_rows`` those of a short last strip, or None when there is none. ``samples`` is the
    number of samples per pixel *in the segment*: 1 when planes are separate. ``bits_per_sample`` has one
    entry, or one for each sample when they differ. ``color_map`` is the ColorMap as little-endian 16-bit
    words; the fields after it matter to colour conversions only, and hold the values of rational tags. ``chunk`` is the
    order of the samples where the codec makes a chunk of an array of them, None where it makes bytes.
    """

    compression: int
    columns: int
    rows: int
    last_rows: int | None = None
    samples: int = 1
    bits_per_sample: tuple[int, ...] = (8,)
    sample_format: int = 1
    byte_order: Literal["little", "big"] = "little"
    predictor: int = 1
    fill_order: int = 1
    photometric: int | None = None
    subsampling: tuple[int, int] | None = None
    t4_options: int | None = None
    t6_options: int | None = None
    jpeg_tables: bytes | None = field(default=None, repr=False)
    lerc_parameters: tuple[int, ...] | None = None
    color: Literal["rgb"] | None = None
    color_map: bytes | None = field(default=None, repr=False)
    ycbcr_coefficients: tuple[float, ...] | None = None
    reference_black_white: tuple[float, ...] | None = None
    white_point: tuple[float, ...] | None = None
    chunk: Literal["planes", "pixels"] | None = None

    def __post_init__(self) -> None:
        if self.columns < 1 or self.rows < 1 or self.samples < 1:
            msg = f"columns {self.columns}, rows {self.rows}, samples {self.samples}: each must be at least 1"
            raise DecodeError(msg, feature="codec-config")
        if len(self.bits_per_sample) not in (1, self.samples):
            msg = f"{len(self.bits_per_sample)} entries of bits_per_sample for {self.samples} samples"
            raise DecodeError(msg, feature="codec-config")
        if 0 in self.block or len(self.block) != 2:
            msg = f"subsampling {self.subsampling}"
            raise DecodeError(msg, feature="codec-config")
        if self.last_rows is not None and not 0 < self.last_rows < self.rows:
            msg = f"last_rows {self.last_rows} is not between 1 and rows {self.rows}"
            raise DecodeError(msg, feature="codec-config")

    def __hash__(self) -> int:
        return self._hash

    def __getstate__(self) -> dict[str, Any]:
        # hashes are those of one process, and everything else that is cached follows from the fields
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @cached_property
    def _hash(self) -> int:
        # asked for with every segment, to find the kernel
        return hash(tuple(getattr(self, item.name) for item in fields(self)))

    @cached_property
    def dtype(self) -> np.dtype[np.generic]:
        """Data type of the decoded samples, in native byte order."""
        dtype = pixel_dtype(self.bits_per_sample, self.sample_format)
        if dtype is None:
            msg = f"no data type for {self.bits_per_sample} bits of sample format {self.sample_format}"
            raise DecodeError(msg, feature="codec-config")
        return dtype

    @cached_property
    def bits_per_pixel(self) -> int:
        """Bits of all samples of one pixel."""
        if len(self.bits_per_sample) == 1:
            return self.bits_per_sample[0] * self.samples
        return sum(self.bits_per_sample)

    @cached_property
    def is_subsampled(self) -> bool:
        """Whether chroma is stored for blocks of several pixels."""
        return self.subsampling not in (None, (1, 1))

    @cached_property
    def block(self) -> tuple[int, int]:
        """Columns and rows of pixels that are packed together: those of a chroma sample, else (1, 1)."""
        return self.subsampling if self.subsampling is not None else (1, 1)

    @cached_property
    def has_whole_tables(self) -> bool:
        """Whether the JPEG tables are a stream of their own, or there are none: else segments continue them."""
        return not self.jpeg_tables or self.jpeg_tables.endswith(_END_OF_IMAGE)

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one packed row: rows start at whole bytes.

        Of subsampled YCbCr the bytes of one row of blocks: in a block, the luma samples row by row, then Cb
        and Cr.
        """
        if self.is_subsampled:
            across, down = self.block
            blocks = -(-self.columns // across)
            return (blocks * (across * down + 2) * self.bits_per_sample[0] + 7) // 8
        return (self.columns * self.bits_per_pixel + 7) // 8

    @cached_property
    def packed_bytes(self) -> int:
        """Bytes of a full segment when it is decompressed, but not yet unpacked."""
        return -(-self.rows // self.block[1]) * self.row_bytes

    @cached_property
    def sample_row_bytes(self) -> int:
        """Bytes of one row of unpacked samples, before any conversion of colour."""
        return self.columns * self.samples * self.dtype.itemsize

    @cached_property
    def out_dtype(self) -> np.dtype[np.generic]:
        """Data type of what the codec returns, in native byte order."""
        return self.dtype if self.color is None else np.dtype(np.uint8)

    @cached_property
    def out_samples(self) -> int:
        """Samples per pixel of what the codec returns."""
        return self.samples if self.color is None else 3

    @cached_property
    def in_planes(self) -> bool:
        """Whether interleaved samples are taken apart, to (sample, row, column)."""
        return self.chunk == "planes" and self.out_samples > 1

    @cached_property
    def out_row_bytes(self) -> int:
        """Bytes of one row of what the codec returns."""
        return self.columns * self.out_samples * self.out_dtype.itemsize

    @cached_property
    def out_bytes(self) -> int:
        """Bytes that the codec returns: always a full segment."""
        return self.rows * self.out_row_bytes

    def to_json(self) -> dict[str, Any]:
        """Return the canonical JSON: without defaults, bytes in base64, in the order of the fields."""
        json: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value == item.default:
                continue
            if isinstance(value, bytes):
                value = base64.b64encode(value).decode("ascii")
            elif isinstance(value, tuple):
                value = value[0] if item.name == "bits_per_sample" and len(value) == 1 else list(value)
            json[item.name] = value
        return json

    @classmethod
    def from_json(cls, json: Mapping[str, Any]) -> SegmentConfig:
        """Read a configuration.

        Raises
        ------
        DecodeError
            ``codec-config`` when a field is unknown, missing or of the wrong type.
        """
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(json) - known)
        missing = sorted({"compression", "columns", "rows"} - set(json))
        if unknown or missing:
            words = [f"unknown {unknown}"] if unknown else []
            words += [f"missing {missing}"] if missing else []
            msg = f"{CODEC_NAME} cannot decode this configuration: {', '.join(words)}"
            raise DecodeError(msg, feature="codec-config", hint="A newer virtual-tiff may know it.")
        values: dict[str, Any] = {name: _field_from_json(name, value) for name, value in json.items()}
        return cls(**values)


_BYTES = {"jpeg_tables", "color_map"}
_TUPLES = {"bits_per_sample", "subsampling", "lerc_parameters"}
FLOATS: Final = {"ycbcr_coefficients": 3, "reference_black_white": 6, "white_point": 2}
"""Fields that are fractions, and how many they are."""
_WORDS = {"byte_order": ("little", "big"), "color": ("rgb",), "chunk": ("planes", "pixels")}


def _field_from_json(name: str, value: object) -> object:
    """Check one field and bring it into the form of the dataclass."""
    if name in _WORDS:
        if value in _WORDS[name]:
            return value
    elif name in _BYTES:
        if isinstance(value, str):
            try:
                return base64.b64decode(value, validate=True)
            except binascii.Error:
                pass
    elif name in _TUPLES:
        values = value if isinstance(value, list | tuple) else [value]
        if values and all(type(v) is int and v >= 0 for v in values):
            return tuple(values)
    elif name in FLOATS:
        if isinstance(value, list | tuple) and len(value) == FLOATS[name]:
            numbers = tuple(float(v) for v in value if type(v) in (int, float) and math.isfinite(v))
            if len(numbers) == len(value):
                return numbers
    elif type(value) is int and value >= 0:
        return value
    msg = f"{CODEC_NAME} cannot decode {name} = {value!r}"
    raise DecodeError(msg, feature="codec-config", hint="A newer virtual-tiff may know it.")
