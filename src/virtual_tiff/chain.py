"""From a segment layout to a Zarr codec chain, as JSON. Codecs are known here by their names only.

Core codecs come first, since zarr-python, zarrs and zarrita all read them; everything else is
``virtual_tiff.segment`` alone, which makes a chunk of a segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Literal

from virtual_tiff.codecs.config import CODEC_NAME, SegmentConfig
from virtual_tiff.layout import SegmentLayout

type CodecJson = dict[str, Any]
type Portability = Literal["core", "segment"]

TRANSPOSE: Final = "transpose"

# The levels say nothing about decoding, but concatenation needs equal codecs and zarrs needs the field.
_CORE: Final[dict[int, tuple[CodecJson, ...]]] = {
    1: (),
    8: ({"name": "numcodecs.zlib", "configuration": {"level": 6}},),
    32946: ({"name": "numcodecs.zlib", "configuration": {"level": 6}},),
    50000: ({"name": "zstd", "configuration": {"level": 0, "checksum": False}},),
}


def has_core_chain(layout: SegmentLayout) -> bool:
    """Whether full segments of this layout decode by core codecs alone."""
    return layout.compression in _CORE and layout.whole_bytes and not layout.coding


def codec_chain(layout: SegmentLayout, config: SegmentConfig | None) -> tuple[CodecJson, ...]:
    """Return the JSON of the codec chain, in Zarr's order of encoding.

    Parameters
    ----------
    layout
        The layout of the segments.
    config
        The configuration of ``virtual_tiff.segment``, or None for core codecs alone.
    """
    if config is not None:
        return (segment_codec(replace(config, chunk="planes")),)
    transposed: tuple[CodecJson, ...] = ()
    if layout.samples > 1:
        order = [1, 2, 0] if layout.depth == 1 else [1, 2, 3, 0]
        transposed = ({"name": TRANSPOSE, "configuration": {"order": order}},)
    return (*transposed, _bytes(layout), *_CORE[layout.compression])


def segment_codec(config: SegmentConfig) -> CodecJson:
    """Return the JSON of ``virtual_tiff.segment``."""
    return {"name": CODEC_NAME, "configuration": config.to_json()}


def with_bands_last(codecs: Sequence[CodecJson]) -> tuple[CodecJson, ...]:
    """Return the chain by which chunks are the same bytes, of arrays whose bands are behind all other axes."""
    return tuple(_with_bands_last(codec) for codec in codecs if codec["name"] != TRANSPOSE)


def _with_bands_last(codec: CodecJson) -> CodecJson:
    if codec["name"] != CODEC_NAME:
        return codec
    config = SegmentConfig.from_json(codec["configuration"])
    return segment_codec(replace(config, chunk="pixels")) if config.in_planes else codec


def _bytes(layout: SegmentLayout) -> CodecJson:
    if layout.out_dtype.itemsize == 1:
        return {"name": "bytes"}
    return {"name": "bytes", "configuration": {"endian": layout.byte_order}}
