"""Bring samples from the packing of the file to whole little-endian bytes.

Rows start at whole bytes. Samples of a number of bits that is no multiple of 8 are one stream of bits, the
most significant first, in either byte order of the file (GDAL and tifffile agree on all of them).

References
----------
TIFF 6, sections 8 (BitsPerSample, FillOrder), 19 (SampleFormat) and 21 (YCbCr).
"""

from __future__ import annotations

import imagecodecs
import numpy as np
import numpy.typing as npt

from virtual_tiff.codecs import compiled
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.samples import SampleFormat

type Octets = npt.NDArray[np.uint8]

RGB_565 = (5, 6, 5)


def allows(config: SegmentConfig) -> bool:
    """Whether samples of these depths are unpacked."""
    bits = config.bits_per_sample
    if config.is_subsampled:
        return config.samples == 3 and bits in ((8,), (16,))
    if len(bits) == 1:
        return True
    whole = all(depth % 8 == 0 and depth in (8, 16, 32, 64) for depth in bits)
    return whole or (bits == RGB_565 and config.byte_order == "little" and config.dtype == np.uint8)


def is_plain(config: SegmentConfig, byte_order: str) -> bool:
    """Whether the samples, in this byte order, are already what the codec returns."""
    return (
        not config.is_subsampled
        and len(config.bits_per_sample) == 1
        and config.bits_per_sample[0] == 8 * config.dtype.itemsize
        and config.sample_format != SampleFormat.COMPLEX_INT
        and (byte_order == "little" or config.dtype.itemsize == 1)
    )


def is_prompt(config: SegmentConfig) -> bool:
    """Whether unpacking the samples takes little longer than copying them, or nothing at all."""
    depth = config.bits_per_sample[0]
    return is_plain(config, "little") or (compiled.KERNELS is not None and 8 < depth < 16 and not config.is_subsampled)


def unpack(packed: Octets, config: SegmentConfig, byte_order: str) -> Octets:
    """Unpack rows of samples.

    Parameters
    ----------
    packed
        Contiguous bytes of shape (rows, row bytes); for subsampled YCbCr (rows of blocks, bytes of such a
        row).
    config
        The configuration of the segment.
    byte_order
        That of the samples now: "little" or "big".

    Returns
    -------
    numpy.ndarray
        Little-endian samples as uint8 of shape (rows, ``config.sample_row_bytes``).
    """
    bits = config.bits_per_sample
    if config.is_subsampled:
        samples = _unpack_subsampled(packed, config, byte_order)
    elif len(bits) > 1:
        samples = _unpack_565(packed) if bits == RGB_565 else _unpack_unequal(packed, config, byte_order)
    elif bits[0] == 1:
        samples = np.unpackbits(packed, axis=1, count=config.columns * config.samples)
    elif bits[0] == 24:
        samples = _unpack_24(packed, config, byte_order)
    elif bits[0] % 8:
        samples = _unpack_bits(packed, config)
    else:
        samples = _swap(packed, config, byte_order)
    return samples.view(np.uint8).reshape(samples.shape[0], config.sample_row_bytes)


def _swap(packed: Octets, config: SegmentConfig, byte_order: str) -> npt.NDArray[np.generic]:
    """Swap the bytes of whole samples; the parts of complex ones are swapped and widened each for itself."""
    sign = ">" if byte_order == "big" else "<"
    width = config.bits_per_sample[0] // 8
    if config.dtype.kind != "c":
        return packed.view(f"{sign}u{width}").astype(f"<u{width}")
    kind = "i" if config.sample_format == SampleFormat.COMPLEX_INT else "f"
    parts: npt.NDArray[np.generic] = packed.view(f"{sign}{kind}{width // 2}")
    return parts.astype(f"<f{config.dtype.itemsize // 2}")


def _unpack_bits(packed: Octets, config: SegmentConfig) -> npt.NDArray[np.generic]:
    """Unpack a stream of 2 to 31 bits per sample; signed ones are extended."""
    depth, width = config.bits_per_sample[0], config.dtype.itemsize
    count = config.columns * config.samples
    kernels = compiled.KERNELS
    if kernels is not None and depth > 8 and config.dtype.kind in "ui":
        unpacked = np.empty((packed.shape[0], count), f"=u{width}")
        if kernels.bits(packed, unpacked, depth, signed=config.dtype.kind == "i"):
            return unpacked
    unsigned = np.dtype(f"=u{width}")
    flat = imagecodecs.packints_decode(packed.reshape(-1), unsigned, depth, runlen=count)
    samples: npt.NDArray[np.generic] = flat.reshape(packed.shape[0], count).astype(f"<u{width}", copy=False)
    return _extend_sign(samples, depth) if config.dtype.kind == "i" else samples


def _unpack_24(packed: Octets, config: SegmentConfig, byte_order: str) -> npt.NDArray[np.generic]:
    """Unpack 24-bit integers and floats.

    Integers are stored as GDAL stores them: a stream of bits in a little-endian file, hence the most
    significant byte first; and the least significant byte first in a big-endian file, as libtiff swaps them.
    """
    if config.sample_format == SampleFormat.FLOAT:
        flat = imagecodecs.float24_decode(packed.reshape(-1), byteorder=">" if byte_order == "big" else "<")
        floats: npt.NDArray[np.generic] = flat.reshape(packed.shape[0], -1).astype("<f4", copy=False)
        return floats
    out = np.zeros((packed.shape[0], packed.shape[1] // 3, 4), np.uint8)
    triples = packed.reshape(packed.shape[0], -1, 3)
    for byte in range(3):
        out[:, :, byte] = triples[:, :, byte if byte_order == "big" else 2 - byte]
    samples = out.view("<u4")[..., 0]
    return _extend_sign(samples, 24) if config.dtype.kind == "i" else samples


def _extend_sign(samples: npt.NDArray[np.generic], depth: int) -> npt.NDArray[np.generic]:
    """Take the lowest bits of unsigned words as two's complement."""
    width = samples.dtype.itemsize
    shift = 8 * width - depth
    signed: npt.NDArray[np.signedinteger] = samples.view(f"<i{width}")
    return (signed << shift) >> shift


def _unpack_565(packed: Octets) -> Octets:
    """Unpack little-endian words of 5, 6 and 5 bits, red highest, scaled to 8 bits as tifffile does."""
    words = packed.view("<u2").astype(np.uint32)
    out = np.empty((*words.shape, 3), np.uint8)
    for sample, (shift, depth) in enumerate(((11, 5), (5, 6), (0, 5))):
        repeated = (8 // depth + 1) * depth
        value = (words >> shift) & (2**depth - 1)
        out[..., sample] = value * ((2**repeated - 1) // (2**depth - 1)) // 2 ** (repeated - 8)
    return out


def _unpack_unequal(packed: Octets, config: SegmentConfig, byte_order: str) -> npt.NDArray[np.generic]:
    """Widen samples of different whole bytes to one data type, their values unchanged."""
    sign = ">" if byte_order == "big" else "<"
    kind = "u" if config.dtype.kind == "b" else config.dtype.kind
    pixel = np.dtype([(str(i), f"{sign}{kind}{bits // 8}") for i, bits in enumerate(config.bits_per_sample)])
    pixels = packed.view(pixel)
    out = np.empty((*pixels.shape, config.samples), config.dtype.newbyteorder("<"))
    for sample in range(config.samples):
        out[..., sample] = pixels[str(sample)]
    return out


def _unpack_subsampled(packed: Octets, config: SegmentConfig, byte_order: str) -> npt.NDArray[np.generic]:
    """Spread the blocks of subsampled YCbCr over their pixels: (rows, columns, 3), chroma repeated."""
    across, down = config.block
    width = config.bits_per_sample[0] // 8
    sign = ">" if byte_order == "big" else "<"
    units = packed.view(f"{sign}u{width}").reshape(packed.shape[0], -1, across * down + 2)
    block_rows, block_columns = units.shape[:2]
    out = np.empty((block_rows, down, block_columns, across, 3), f"<u{width}")
    luma = units[:, :, :-2].reshape(block_rows, block_columns, down, across)
    out[..., 0] = luma.transpose(0, 2, 1, 3)
    out[..., 1:] = units[:, None, :, None, -2:]
    pixels = out.reshape(block_rows * down, block_columns * across, 3)
    return np.ascontiguousarray(pixels[:, : config.columns]).reshape(pixels.shape[0], -1)
