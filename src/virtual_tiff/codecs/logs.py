"""Logarithmic encodings: PixarLog (32909), SGI LogL and LogLuv (34676, 34677).

Decoded to what BitsPerSample and SampleFormat say, as GDAL's raw mode does: 16 bits are the encoded log
luminance (and u, v scaled by 2**15), 32-bit floats are luminance or CIE XYZ.

References
----------
TIFF Technical Note on LogLuv (G. Ward Larson, "LogLuv encoding for full-gamut, high-dynamic range images",
1998); libtiff's ``tif_luv.c`` and ``tif_pixarlog.c``.
"""

from __future__ import annotations

import zlib
from collections.abc import Buffer, Callable
from functools import cache
from typing import Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt

from virtual_tiff.codecs import libtiff
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.errors import DecodeError

PIXARLOG, SGILOG, SGILOG24 = 32909, 34676, 34677
LOGL, LOGLUV = 32844, 32845

_PIXARLOG_MOST: Final = (1 << 11) - 1

_UV_SIDE: Final = 0.0035  # side of the squares into which LogLuv24 cuts the (u, v) plane
_UV_BOTTOM: Final = 0.016940
_UV_CODES: Final = 16289
_UV_NEUTRAL: Final = (0.210526316, 0.473684211)
_UV_SCALE: Final = 410.0  # steps of u and v per unit, in LogLuv32

_DECODED: Final = {LOGL: ((16, 2), (16, 1), (32, 3), (8, 1)), LOGLUV: ((16, 2), (16, 1), (32, 3))}
"""Bits per sample and sample format that can be decoded, by photometric interpretation."""


def can_decode(photometric: int | None, samples: int, bits: tuple[int, ...], sample_format: int) -> bool:
    """Return whether SGILog samples of this kind are decoded; layouts refuse the others by name."""
    wanted = {LOGL: 1, LOGLUV: 3}.get(photometric or 0)
    kinds = {(depth, sample_format) for depth in bits}
    return samples == wanted and len(kinds) == 1 and kinds <= set(_DECODED[photometric or 0])


def decode_sgilog(segment: Buffer, config: SegmentConfig) -> npt.NDArray[Any]:
    """Decode a segment of LogL or LogLuv samples.

    Returns
    -------
    numpy.ndarray
        Samples of shape (rows or last_rows, columns, samples). 16-bit LogLuv: L16, and u and v times 2**15;
        16-bit LogL: L16; float32: luminance, or CIE X, Y and Z.

    Raises
    ------
    DecodeError
        ``corrupt-segment``, ``short-segment``, or ``codec-config`` for samples that are not decoded.
    """
    if not can_decode(config.photometric, config.samples, config.bits_per_sample, config.sample_format):
        msg = f"photometric {config.photometric} with {config.samples} samples of {config.bits_per_sample} bits"
        raise DecodeError(msg, feature="codec-config")
    if memoryview(segment).nbytes == 0:
        msg = "the SGILog segment is empty"
        raise DecodeError(msg, feature="short-segment")
    if config.photometric == LOGLUV and config.bits_per_sample[0] == 16:
        return _decode_luv48(segment, config)
    try:
        return libtiff.decode(segment, config, config.rows)
    except DecodeError:
        if config.last_rows is None:
            raise
        return libtiff.decode(segment, config, config.last_rows)


def _decode_luv48(segment: Buffer, config: SegmentConfig) -> npt.NDArray[Any]:
    """Decode LogLuv to three 16-bit samples: imagecodecs asks libtiff for floats only."""
    if config.compression == SGILOG24:
        packed = _packed24(segment, config)
        luminance = (packed >> 12 & 0xFFD) + 13314
        u, v = (axis[packed & 0x3FFF] for axis in _uv_table())
    else:
        packed = _packed32(segment, config)
        luminance = packed >> 16
        u, v = (_fixed((axis + 0.5) / _UV_SCALE) for axis in (packed >> 8 & 0xFF, packed & 0xFF))
    samples = np.stack([luminance.astype("u2"), u, v], axis=-1)
    return samples.view(config.dtype)


def _fixed(axis: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint16]:
    return (axis * 32768).astype("u2")


def _packed24(segment: Buffer, config: SegmentConfig) -> npt.NDArray[np.uint32]:
    """Return one 24-bit code per pixel, shape (rows, columns)."""
    octets = np.frombuffer(segment, "u1")
    rows = min(config.rows, octets.size // (3 * config.columns))
    if rows < (config.last_rows or config.rows):
        msg = f"{octets.size} bytes of LogLuv24 are {rows} of {config.rows} rows"
        raise DecodeError(msg, feature="short-segment")
    triples = octets[: rows * config.columns * 3].reshape(rows, config.columns, 3).astype("u4")
    packed: npt.NDArray[np.uint32] = triples[..., 0] << 16 | triples[..., 1] << 8 | triples[..., 2]
    return packed


def _packed32(segment: Buffer, config: SegmentConfig) -> npt.NDArray[np.uint32]:
    """Return one 32-bit code per pixel, shape (rows, columns): a row is four runs of bytes, highest first."""
    octets = bytes(segment)
    planes = np.zeros((config.rows, 4, config.columns), "u1")
    at = 0
    for row in range(config.rows):
        if at >= len(octets) and row == config.last_rows:
            planes = planes[:row]
            break
        for plane in planes[row]:
            at = _read_runs(octets, at, plane)
    packed: npt.NDArray[np.uint32] = planes.transpose(0, 2, 1).copy().view(">u4")[..., 0].astype("u4")
    return packed


def _read_runs(octets: bytes, at: int, plane: npt.NDArray[np.uint8]) -> int:
    """Fill one row of one byte plane from the runs at ``at``, and return where the next one starts."""
    filled = 0
    while filled < plane.size:
        if at + 1 >= len(octets):
            msg = f"LogLuv runs end at byte {len(octets)} in the middle of a row"
            raise DecodeError(msg, feature="short-segment")
        count = octets[at]
        if count >= 128:
            plane[filled : filled + count - 126] = octets[at + 1]
            filled += count - 126
            at += 2
        else:
            literal = octets[at + 1 : at + 1 + min(count, plane.size - filled)]
            plane[filled : filled + len(literal)] = np.frombuffer(literal, "u1")
            filled += count
            at += 1 + count
    return at


@cache
def _uv_table() -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """Return u and v, times 2**15, of the 2**14 codes of LogLuv24.

    The codes number the squares of the visible part of the plane, row by row. Where the rows start is a table
    of constants with six decimals: they are measured on the colours that libtiff makes of all codes.
    """
    codes = np.arange(_UV_CODES, dtype="u4")
    pixels = codes | 512 << 14
    segment = pixels.astype(">u4").view("u1").reshape(-1, 4)[:, 1:].tobytes()
    config = SegmentConfig(
        compression=SGILOG24, columns=_UV_CODES, rows=1, samples=3, bits_per_sample=(32,), sample_format=3,
        photometric=LOGLUV,
    )  # fmt: skip
    x, y, z = libtiff.decode(segment, config, 1)[0].astype("f8").T
    denominator = x + 15 * y + 3 * z
    rows = np.rint((9 * y / denominator - _UV_BOTTOM) / _UV_SIDE - 0.5).astype(int)
    _, first, row = np.unique(rows, return_index=True, return_inverse=True)
    steps = (codes - first[row] + 0.5) * _UV_SIDE
    starts = np.bincount(row, 4 * x / denominator - steps) / np.bincount(row)
    table = np.full((2, 1 << 14), np.array(_UV_NEUTRAL)[:, None])
    table[0, :_UV_CODES] = np.round(starts, 6)[row] + steps
    table[1, :_UV_CODES] = _UV_BOTTOM + (rows + 0.5) * _UV_SIDE
    return _fixed(table[0]), _fixed(table[1])


def decode_pixarlog(segment: Buffer, config: SegmentConfig) -> npt.NDArray[Any]:
    """Decode a PixarLog segment: deflated differences of 11-bit logarithms.

    Returns
    -------
    numpy.ndarray
        Samples of shape (rows or last_rows, columns, samples): uint8, uint16 or float32, as the bits per
        sample say.

    Raises
    ------
    DecodeError
        ``corrupt-segment`` or ``short-segment``.
    """
    row_bytes = 2 * config.columns * config.samples
    try:
        codes = imagecodecs.zlib_decode(segment, out=config.rows * row_bytes)
    except (imagecodecs.ZlibError, zlib.error, ValueError) as error:
        msg = f"the deflate stream of PixarLog does not decode: {error}"
        raise DecodeError(msg, feature="corrupt-segment") from error
    rows = len(codes) // row_bytes
    if rows < (config.last_rows or config.rows):
        msg = f"{len(codes)} bytes of PixarLog codes are {rows} of {config.rows} rows"
        raise DecodeError(msg, feature="short-segment")
    native = np.frombuffer(codes, "<u2" if config.byte_order == "little" else ">u2").astype("=u2")
    if native.max(initial=0) > _PIXARLOG_MOST:
        msg = f"the PixarLog code {native.max()} has more than 11 bits"
        raise DecodeError(msg, feature="corrupt-segment")
    samples: npt.NDArray[Any] = imagecodecs.pixarlog_decode(
        native[: rows * row_bytes // 2].tobytes(),
        shape=(rows, config.columns, config.samples),
        dtype=config.dtype,
        deflate=False,
    )
    return samples


STREAMS: Final[dict[int, Callable[[Buffer, SegmentConfig, int], Any]]] = {}
IMAGES: Final[dict[int, Callable[[Buffer, SegmentConfig], npt.NDArray[Any]]]] = {
    PIXARLOG: decode_pixarlog,
    SGILOG: decode_sgilog,
    SGILOG24: decode_sgilog,
}
