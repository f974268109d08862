"""From a segment layout to a Zarr codec chain, as JSON. Codecs are known here by their names only.

Core codecs come first, since zarr-python, zarrs and zarrita all read them; everything else is
``virtual_tiff.segment``.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from virtual_tiff.codecs.config import CODEC_NAME, SegmentConfig
from virtual_tiff.layout import SegmentLayout

type CodecJson = dict[str, Any]
type Portability = Literal["core", "segment"]

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
    own = () if config is None else ({"name": CODEC_NAME, "configuration": config.to_json()},)
    compressors = _CORE[layout.compression] if config is None else own
    # The segment codec always returns little-endian samples.
    endian = layout.byte_order if config is None else "little"
    samples = layout.samples if config is None else config.out_samples
    transposed: tuple[CodecJson, ...] = ()
    if samples > 1:
        order = [1, 2, 0] if layout.depth == 1 else [1, 2, 3, 0]
        transposed = ({"name": "transpose", "configuration": {"order": order}},)
    return (*transposed, _bytes(layout, endian), *compressors)


def _bytes(layout: SegmentLayout, endian: str) -> CodecJson:
    if layout.out_dtype.itemsize == 1:
        return {"name": "bytes"}
    return {"name": "bytes", "configuration": {"endian": endian}}
