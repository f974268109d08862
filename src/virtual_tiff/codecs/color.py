"""``color="rgb"``: palette, YCbCr, CMYK and L*a*b* samples to 8-bit RGB, in the arithmetic of libtiff.

References
----------
TIFF 6, sections 5 (palette), 16 (CMYK), 20 and 21 (YCbCr) and 23 (CIE L*a*b*); Adobe Photoshop TIFF Technical
Notes (ICCLab).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from virtual_tiff.codecs import ycbcr
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.errors import DecodeError

_Floats = npt.NDArray[np.floating[Any]]

PALETTE, CMYK, YCBCR, CIELAB, ICCLAB = 3, 5, 6, 8, 9

_JPEG: Final = frozenset({6, 7, 33007, 34892})  # whose kernels give RGB for YCbCr

_SAMPLES: Final = {PALETTE: 1, CMYK: 4, YCBCR: 3, CIELAB: 3, ICCLAB: 3}
_D50: Final = (0.345742, 0.358560)  # x, y of the white point when the tag is absent

_XYZ_TO_RGB: Final = np.array(
    [[3.2410, -1.5374, -0.4986], [-0.9692, 1.8760, 0.0416], [0.0556, -0.2040, 1.0570]], np.float32
)
_GAMMA: Final = 2.4
_BLACK, _WHITE = 1.0, 100.0  # luminance of the darkest and the brightest pixel of libtiff's display
_STEPS: Final = 1500  # of its gamma table: coarse in the dark, where it makes up to 12 of 255


def can_convert(photometric: int | None, samples: int, bits: tuple[int, ...], sample_format: int) -> bool:
    """Return whether segments of this kind can be converted to RGB; layouts refuse the others by name."""
    if _SAMPLES.get(photometric or 0) != samples or len(set(bits)) != 1:
        return False
    depth = bits[0]
    if photometric == PALETTE:
        return sample_format == 1 and depth <= 16
    if photometric in (CIELAB, ICCLAB):
        return sample_format in (1, 2) and depth in (8, 16)
    return sample_format == 1 and depth in ((8, 16) if photometric == CMYK else (8,))


def to_rgb(samples: npt.NDArray[np.generic], config: SegmentConfig) -> npt.NDArray[np.uint8]:
    """Convert stored samples to RGB.

    Samples of JPEG segments of photometric YCbCr are RGB already, and are returned as they are.

    Parameters
    ----------
    samples
        Shape (rows, columns, samples), native byte order.
    config
        Photometric and the values of the tags that go with it.

    Returns
    -------
    numpy.ndarray
        uint8 of shape (rows, columns, 3).

    Raises
    ------
    DecodeError
        ``codec-config`` when there is no such conversion.
    """
    photometric = config.photometric
    if not can_convert(photometric, config.samples, config.bits_per_sample, config.sample_format):
        msg = (
            f"no conversion to RGB from photometric {photometric} with {config.samples} samples "
            f"of {config.bits_per_sample} bits and sample format {config.sample_format}"
        )
        raise DecodeError(msg, feature="codec-config")
    if photometric == PALETTE:
        return _palette_to_rgb(samples, config)
    if photometric == CMYK:
        return _cmyk_to_rgb(samples)
    if photometric == YCBCR:
        stored = samples.astype(np.uint8, copy=False)
        if config.compression in _JPEG:
            return stored
        return ycbcr.to_rgb(stored, config.ycbcr_coefficients, config.reference_black_white)
    return _lab_to_rgb(samples, config)


def read_color_map(color_map: bytes, entries: int) -> npt.NDArray[np.uint8]:
    """Return a colour map as uint8 of shape (entries, 3).

    ColorMap holds 16-bit words: all reds, all greens, all blues. Writers do not agree on how they stretch 8
    bits to 16, so that the whole map decides, as in GDAL: no word above 255: as they are; all multiples of
    256: divided by 256; else divided by 257.

    Raises
    ------
    DecodeError
        ``codec-config`` when the map has another number of entries.
    """
    words = np.frombuffer(color_map, "<u2")
    if words.size != 3 * entries:
        msg = f"a colour map of {len(color_map)} bytes for {entries} colours"
        raise DecodeError(msg, feature="codec-config")
    stretched = 257 if (words % 256).any() else 256
    divisor = stretched if words.max(initial=0) > 255 else 1
    return (words // divisor).astype(np.uint8).reshape(3, entries).T


def _palette_to_rgb(indices: npt.NDArray[np.generic], config: SegmentConfig) -> npt.NDArray[np.uint8]:
    colors = read_color_map(config.color_map or b"", 1 << config.bits_per_sample[0])
    return np.ascontiguousarray(colors)[indices[..., 0].astype(np.uint16)]


def _cmyk_to_rgb(inks: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Multiply what cyan, magenta and yellow let through by what black does."""
    octets = inks // 257 if inks.dtype.itemsize == 2 else inks
    through = 255 - octets.astype(np.uint16)
    return (through[..., :3] * through[..., 3:] // 255).astype(np.uint8)


def _lab_to_rgb(samples: npt.NDArray[np.generic], config: SegmentConfig) -> npt.NDArray[np.uint8]:
    """Convert L*a*b* to the RGB of libtiff's display: white is not adapted, the gamma a plain 2.4."""
    lightness, a, b = _lab(samples, config)
    x_white, z_white = _white(config.white_point or _D50)
    middle = (lightness + 16) / 116
    y = np.where(lightness < 8.856, lightness / 903.292, middle**3)
    middle = np.where(lightness < 8.856, 7.787 * y + 16 / 116, middle)
    x = x_white * _from_cube(middle + a / 500)
    z = z_white * _from_cube(middle - b / 200)
    linear = np.stack([x, 100 * y, z], axis=-1) @ _XYZ_TO_RGB.T
    scaled = (np.clip(linear, _BLACK, _WHITE) - _BLACK) / (_WHITE - _BLACK)
    return _gamma_table()[(scaled * _STEPS).astype(np.int32)]


def _lab(samples: npt.NDArray[np.generic], config: SegmentConfig) -> tuple[_Floats, ...]:
    """Return L* (0 to 100), a* and b* (-128 to 127) from what CIELab and ICCLab store."""
    depth = config.bits_per_sample[0]
    unit = 1 << depth - 8  # codes per unit of a* and b*
    unsigned = samples.view(f"u{depth // 8}")
    if config.photometric == ICCLAB:
        full, chroma = 255 * unit, unsigned[..., 1:].astype(np.float32) / unit - 128
    else:
        full, chroma = (1 << depth) - 1, unsigned[..., 1:].view(f"i{depth // 8}").astype(np.float32) / unit
    lightness = unsigned[..., 0].astype(np.float32) * 100 / full
    return lightness, chroma[..., 0], chroma[..., 1]


@lru_cache(maxsize=16)
def _white(xy: tuple[float, ...]) -> tuple[float, float]:
    """Return X and Z of the white point whose Y is 100."""
    x, y = xy
    return x / y * 100, (1 - x - y) / y * 100


@lru_cache(maxsize=1)
def _gamma_table() -> npt.NDArray[np.uint8]:
    steps = np.arange(_STEPS + 1) / _STEPS
    return (255 * steps ** (1 / _GAMMA) + 0.5).astype(np.uint8)


def _from_cube(root: _Floats) -> _Floats:
    return np.where(root < 0.2069, (root - 16 / 116) / 7.787, root**3)
