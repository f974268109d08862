"""libtiff as a decoder of single segments: each is wrapped into a TIFF in memory that holds nothing else.

For the compressions of old fax machines and scanners libtiff is the reference, also in what it makes of
damaged streams; GDAL reads through it. imagecodecs carries it with all its codecs.
"""

from __future__ import annotations

import struct
from collections.abc import Buffer
from functools import lru_cache
from typing import Any, Final

import imagecodecs
import numpy.typing as npt

from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.errors import DecodeError

_SHORT, _LONG = 3, 4
_ENTRY: Final = {"little": "<HHI", "big": ">HHI"}
_BYTE_COUNTS: Final = 279
_RLE: Final = 2
_LOGL, _LOGLUV = 32844, 32845


def decode(segment: Buffer, config: SegmentConfig, rows: int) -> npt.NDArray[Any]:
    """Decode one segment with libtiff.

    Parameters
    ----------
    segment
        The bytes of the segment, as they stand in the file.
    config
        How the segment is encoded; predictors and byte order are libtiff's business.
    rows
        Rows that the segment holds.

    Returns
    -------
    numpy.ndarray
        Samples of shape (rows, config.columns, config.samples), native byte order, of libtiff's data type:
        bool for 1 bit, uint8 for 2 to 8 bits.

    Raises
    ------
    DecodeError
        ``corrupt-segment`` when libtiff gives up.
    """
    view = memoryview(segment).cast("B")
    head, tail = _wrapping(config, rows)
    size = struct.pack("<I" if config.byte_order == "little" else ">I", view.nbytes)
    try:
        samples: npt.NDArray[Any] = imagecodecs.tiff_decode(b"".join((head, size, tail, view)))
    except (imagecodecs.TiffError, ValueError, IndexError, MemoryError) as error:
        msg = f"libtiff cannot decode {view.nbytes} bytes of compression {config.compression}: {error}"
        raise DecodeError(msg, feature="corrupt-segment") from error
    shape = (rows, config.columns, config.samples)
    if samples.size != rows * config.columns * config.samples:
        msg = f"libtiff decodes compression {config.compression} to shape {samples.shape}, not to {shape}"
        raise DecodeError(msg, feature="corrupt-segment")
    return samples.reshape(shape)


def decode_strip(segment: Buffer, config: SegmentConfig) -> npt.NDArray[Any]:
    """Decode a segment of a scheme that marks no end: libtiff wants exactly the rows that it holds.

    It holds all rows, or exactly those of the last strip: one that decodes to more of them, but not to all, is
    damaged. In modified Huffman, where rows end without a mark, libtiff takes padding for rows, and
    the end of the data for one more: both are left out of account.

    Raises
    ------
    DecodeError
        ``short-segment`` for an empty segment, ``corrupt-segment`` for a damaged one.
    """
    if memoryview(segment).nbytes == 0:
        msg = f"the segment of compression {config.compression} is empty"
        raise DecodeError(msg, feature="short-segment")
    try:
        return decode(segment, config, config.rows)
    except DecodeError as error:
        last = config.last_rows
        codes, more = (bytes(segment).rstrip(b"\0"), 2) if config.compression == _RLE else (segment, 1)
        if last is None or (last + more < config.rows and _decodes(codes, config, last + more)):
            raise error from error.__cause__
        return decode(segment, config, last)


def _decodes(segment: Buffer, config: SegmentConfig, rows: int) -> bool:
    try:
        decode(segment, config, rows)
    except DecodeError:
        return False
    return True


@lru_cache(maxsize=64)
def _wrapping(config: SegmentConfig, rows: int) -> tuple[bytes, bytes]:
    """Return header and IFD, as the bytes before and after the value of StripByteCounts."""
    tags = _tags(config, rows)
    order = "<" if config.byte_order == "little" else ">"
    start = 8 + 2 + 12 * len(tags) + 4
    long_values = b""
    entries: list[bytes] = []
    # values of more than four bytes stand between the IFD and the segment
    segment_offset = start + sum(_size(kind, values) for kind, values in tags.values() if _size(kind, values) > 4)
    tags[273] = (_LONG, (segment_offset,))
    for tag, (kind, values) in sorted(tags.items()):
        raw = struct.pack(f"{order}{len(values)}{'H' if kind == _SHORT else 'I'}", *values)
        if len(raw) > 4:
            place = struct.pack(f"{order}I", start + len(long_values))
            long_values += raw
        else:
            place = raw.ljust(4, b"\0")
        entries.append(struct.pack(_ENTRY[config.byte_order], tag, kind, len(values)) + place)
    magic = b"II" if order == "<" else b"MM"
    head = magic + struct.pack(f"{order}HIH", 42, 8, len(tags)) + b"".join(entries) + bytes(4) + long_values
    cut = 8 + 2 + 12 * sorted(tags).index(_BYTE_COUNTS) + 8
    return head[:cut], head[cut + 4 :]


def _size(kind: int, values: tuple[int, ...]) -> int:
    return len(values) * (2 if kind == _SHORT else 4)


def _tags(config: SegmentConfig, rows: int) -> dict[int, tuple[int, tuple[int, ...]]]:
    """Return the tags that libtiff needs, as type and values."""
    bits = config.bits_per_sample
    # no colours here: a palette would have to be given whole; only SGILog looks at what the samples mean
    photometric = config.photometric if config.photometric in (_LOGL, _LOGLUV) else 1
    tags = {
        256: (_LONG, (config.columns,)),
        257: (_LONG, (rows,)),
        258: (_SHORT, bits if len(bits) == config.samples else bits * config.samples),
        259: (_SHORT, (config.compression,)),
        262: (_SHORT, (photometric,)),
        266: (_SHORT, (config.fill_order,)),
        273: (_LONG, (0,)),
        277: (_SHORT, (config.samples,)),
        278: (_LONG, (rows,)),
        _BYTE_COUNTS: (_LONG, (0,)),
        284: (_SHORT, (1,)),
        317: (_SHORT, (config.predictor,)),
        339: (_SHORT, (config.sample_format,) * config.samples),
    }
    if config.t4_options is not None:
        tags[292] = (_LONG, (config.t4_options,))
    if config.t6_options is not None:
        tags[293] = (_LONG, (config.t6_options,))
    if config.predictor == 1:
        del tags[317]
    return tags
