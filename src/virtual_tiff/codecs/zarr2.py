"""``virtual_tiff.segment`` as a codec of numcodecs, for Zarr v2 and kerchunk references."""

from __future__ import annotations

from collections.abc import Buffer, Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from numcodecs.abc import Codec

from virtual_tiff.codecs.config import CODEC_NAME, SegmentConfig
from virtual_tiff.codecs.segment import decode_segment, find_kernel
from virtual_tiff.errors import UnsupportedError


class Segment(Codec):  # type: ignore[misc]  # numcodecs ships no types
    """Decode TIFF segments.

    Parameters
    ----------
    configuration
        The fields of the codec's JSON, as in Zarr v3.

    Raises
    ------
    DecodeError
        ``codec-config`` when no kernel decodes this configuration.
    """

    codec_id = CODEC_NAME

    def __init__(self, **configuration: Any) -> None:
        self.config = SegmentConfig.from_json(configuration)
        find_kernel(self.config)

    def encode(self, buf: Buffer) -> bytes:
        """Refuse: the codec only decodes."""
        del buf
        raise UnsupportedError(f"{CODEC_NAME} only decodes", feature="read-only")

    def decode(self, buf: Buffer, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Decode a segment, into `out` when it is given."""
        decoded = decode_segment(buf, self.config)
        if out is None:
            return decoded
        np.frombuffer(out, np.uint8)[...] = decoded
        return out

    def get_config(self) -> dict[str, Any]:
        """Return the JSON of the codec: its fields beside its id."""
        return {"id": CODEC_NAME, **self.config.to_json()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make the codec from its JSON; numcodecs leaves the id out."""
        return cls(**{name: value for name, value in config.items() if name != "id"})
