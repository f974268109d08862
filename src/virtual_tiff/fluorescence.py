"""Fluorescence slides of Hamamatsu: their tags speak of three samples of 8 bits, and their streams hold one of 16.

References
----------
tifffile and Bio-Formats, which correct the tags in the same way when CaptureMode says so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from virtual_tiff.tiff.ifd import Ifd, TagEntry, TagMap, TiffFile
from virtual_tiff.tiff.tags import Tags, TagType

_LAST_COLORED: Final = 6
"""The largest CaptureMode whose pages are what their tags say."""

_TRUE: Final = {Tags.BitsPerSample: 16, Tags.PhotometricInterpretation: 1, Tags.SamplesPerPixel: 1}


def with_true_samples(tiff: TiffFile, ifd: Ifd) -> Ifd:
    """Correct the tags of a level of such a slide; pictures of the whole slide, and any other IFD, stay as they are."""
    if Tags.NDPIFormat not in ifd or tiff.ifds[0].integer(Tags.NDPICaptureMode, 0) <= _LAST_COLORED:
        return ifd
    lens = ifd.tags.get(Tags.NDPISourceLens)
    if lens is not None and lens.type == TagType.FLOAT and lens.count == 1 and lens.array()[0] <= 0:
        return ifd
    kept: dict[int, TagEntry] = {tag.code: (tag.type, tag.count, tag.offset, tag.raw) for tag in ifd.tags.values()}
    true: dict[int, TagEntry] = {
        int(code): (int(TagType.SHORT), 1, kept[code][2] if code in kept else 0, value.to_bytes(2, ifd.byte_order))
        for code, value in _TRUE.items()
    }
    return replace(ifd, tags=TagMap(kept | true, ifd.byte_order))
