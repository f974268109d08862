"""A small picture of an image: the smallest sufficient overview, stretched, with transparent holes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt

from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.coding import Color
from virtual_tiff.dataset import OpenedTiff, open_headers
from virtual_tiff.errors import DecodeError, SourceError, UnsupportedError, UsageError, VirtualTiffError
from virtual_tiff.group import MASK, ImageOptions, VirtualGroup, image_group
from virtual_tiff.sidecar import WholeImage, whole_image
from virtual_tiff.tiff.failures import source_error
from virtual_tiff.tiff.ifd import IfdPath
from virtual_tiff.tiff.tags import Tags

MAX_SAMPLES: Final = 2**29
"""Samples of the level that a preview reads, at most."""

_IMAGE: Final = "image"
_CONVERTED: Final = frozenset({5, 6, 8})
"""Photometric interpretations without a picture of their own: separated inks, YCbCr, L*a*b*."""

type _Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Pixels:
    """Samples (band, y, x) as stored, where they are valid (y, x), and the attributes of their variable."""

    samples: _Array
    valid: npt.NDArray[np.bool_]
    attributes: dict[str, Any]


def render_preview(
    url: str | os.PathLike[str],
    size: int = 1024,
    *,
    bands: Sequence[int] | None = None,
    ifd: int | IfdPath | None = None,
    store: Any = None,
    sidecars: bool = False,
) -> bytes:
    """Draw an image.

    Colour maps are applied. Red, green and blue bands make a colour picture, as do the first three bands where none
    has such a name; otherwise the first band is drawn in grey. Bytes of colour pictures are drawn as they are, all
    else is stretched between the 2nd and the 98th percentile of each band. What nodata, a mask or an alpha band
    marks as invalid is transparent.

    Parameters
    ----------
    url, store, sidecars
        See :func:`~virtual_tiff.open_tiff`.
    size
        Width or height of the picture in pixels at most, whichever is larger. Images are not enlarged.
    bands
        One or three bands to draw, counted from 1.
    ifd
        An image by index or path, instead of the first one and its overviews.

    Returns
    -------
    bytes
        A PNG file: grey or RGB of 8 bits, with alpha where pixels are transparent.

    Raises
    ------
    VirtualTiffError
        When the file cannot be read or decoded, or holds what is refused; ``usage`` when the level to be read is
        larger than :data:`MAX_SAMPLES`, or for bands that the image does not have.
    """
    if size < 1:
        found = f"size={size}"
        raise UsageError(found, feature="usage", hint="A picture has at least one pixel.")
    opened = open_headers(url, store)
    pixels = _read(opened, _group(opened, size, ifd, sidecars=sidecars), size)
    picture, alpha = _draw(pixels, _chosen(pixels, bands))
    if alpha.min(initial=255) < 255:
        picture = np.dstack([picture, alpha])
    if picture.shape[-1] == 1:
        picture = picture[..., 0]
    # a copy, as a slice of a single pixel is contiguous for numpy, and not for the encoder
    return bytes(imagecodecs.png_encode(picture.copy()))


def _group(opened: OpenedTiff, size: int, ifd: int | IfdPath | None, *, sidecars: bool) -> VirtualGroup:
    """Describe the level to draw; colours that only a codec can turn into RGB are converted where that is possible."""
    try:
        return _level_group(opened, size, ifd, "rgb" if _is_converted(opened, ifd) else None, sidecars=sidecars)
    except UnsupportedError as error:
        if error.feature != "color":
            raise
    return _level_group(opened, size, ifd, None, sidecars=sidecars)


def _level_group(
    opened: OpenedTiff, size: int, ifd: int | IfdPath | None, color: Color | None, *, sidecars: bool
) -> VirtualGroup:
    options = ImageOptions(_IMAGE, coordinates=False, chunks=ChunkOptions(color=color))
    if ifd is not None:
        return opened.source.run(image_group(opened.tiff, ifd, options))
    whole = whole_image(opened.source, opened.tiff, sidecars=sidecars)
    return whole.level_group(_sufficient(whole, size), options)


def _sufficient(whole: WholeImage, size: int) -> int:
    """Return the coarsest level that is not smaller than the picture."""
    sizes = [max(level.width, level.height) for level in whole.pyramid.levels]
    return max((number for number, pixels in enumerate(sizes) if pixels >= min(size, sizes[0])), default=0)


def _is_converted(opened: OpenedTiff, ifd: int | IfdPath | None) -> bool:
    try:
        path = whole_image(opened.source, opened.tiff, sidecars=False).images[0].path if ifd is None else ifd
        return opened.tiff.ifd(path).integer(Tags.PhotometricInterpretation, 1) in _CONVERTED
    except VirtualTiffError:
        return False


def _read(opened: OpenedTiff, group: VirtualGroup, size: int) -> _Pixels:
    """Read a level, and keep the nearest pixels of the picture."""
    array = group.arrays[_IMAGE]
    samples = int(np.prod(array.shape, dtype=np.int64))
    if samples > MAX_SAMPLES:
        found = f"the smallest sufficient overview has {samples} samples"
        hint = "Build overviews, or ask for a smaller picture."
        raise UsageError(found, feature="usage", url=opened.tiff.url, hint=hint)
    dataset = opened.dataset(group, mask_and_scale=False, chunks=None)
    try:
        values = dataset[_IMAGE].to_numpy()
        mask = dataset[MASK].to_numpy() if MASK in dataset else None
    except VirtualTiffError:
        raise
    except Exception as error:
        raise _failure(error, opened.tiff.url) from error
    values = _nearest(values.reshape(-1, *values.shape[-2:]), size)
    valid = _valid(values, dataset[_IMAGE].attrs)
    if mask is not None:
        valid &= _nearest(mask.reshape(-1, *mask.shape[-2:]), size).astype(bool).any(axis=0)
    return _Pixels(values, valid, dict(dataset[_IMAGE].attrs))


def _failure(error: Exception, url: str) -> DecodeError | SourceError:
    """Translate what stores and Zarr's own codecs raise."""
    if type(error).__module__.startswith("obstore") or isinstance(error, OSError):
        return source_error(error, url)
    return DecodeError(f"the pixels do not decode ({error})", feature="corrupt-segment", url=url)


def _nearest(values: _Array, size: int) -> _Array:
    height, width = values.shape[-2:]
    factor = max(1.0, max(height, width) / size)
    rows, columns = (
        ((np.arange(max(1, round(length / factor))) + 0.5) * length / max(1, round(length / factor))).astype(np.intp)
        for length in (height, width)
    )
    return values[:, rows[:, None], columns[None, :]]


def _valid(values: _Array, attributes: dict[str, Any]) -> npt.NDArray[np.bool_]:
    """Return where at least one band has a value, with shape (y, x)."""
    valid = np.ones(values.shape, bool)
    if values.dtype.kind in "fc":
        valid &= np.isfinite(values)
    nodata = attributes.get("_FillValue", attributes.get("nodata"))
    if nodata is not None:
        valid &= values != nodata
    per_band = attributes.get("nodata_values")
    if per_band is not None and len(per_band) == len(values):
        valid &= (values != np.array(per_band)[:, None, None]).any(axis=0)
    colors = attributes.get("color_interpretation", [])
    counted = [band for band, color in enumerate(colors) if color != "alpha"]
    found: npt.NDArray[np.bool_] = valid[counted or slice(None)].any(axis=0)
    return found


def _chosen(pixels: _Pixels, bands: Sequence[int] | None) -> list[int]:
    """Return the bands to draw, counted from 0."""
    count = len(pixels.samples)
    if bands is not None:
        if len(bands) not in (1, 3) or not all(1 <= band <= count for band in bands):
            found = f"bands {', '.join(map(str, bands))} of an image with {count}"
            raise UsageError(found, feature="usage", hint="Choose one band or three, counted from 1.")
        return [band - 1 for band in bands]
    colors = list(pixels.attributes.get("color_interpretation", []))
    named = [colors.index(color) for color in ("red", "green", "blue") if color in colors]
    plain = [band for band in range(count) if band >= len(colors) or colors[band] != "alpha"] or [0]
    if len(named) == 3:
        return named
    return plain[:3] if len(plain) >= 3 and "colormap" not in pixels.attributes else plain[:1]


def _draw(pixels: _Pixels, bands: Sequence[int]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return a picture (y, x, 1 or 3) and its alpha (y, x)."""
    alpha = np.where(pixels.valid, 255, 0).astype(np.uint8)
    colors = list(pixels.attributes.get("color_interpretation", []))
    if "alpha" in colors:
        alpha = np.minimum(alpha, _bytes(pixels.samples[colors.index("alpha")]))
    palette = np.array(pixels.attributes.get("colormap", []), np.uint8)
    drawn = pixels.samples[list(bands)]
    if palette.size and len(bands) == 1 and bands[0] == 0 and drawn.dtype.kind in "bu":
        rgba = palette[np.minimum(drawn[0].astype(np.intp), len(palette) - 1)]
        return rgba[..., :3], np.minimum(alpha, rgba[..., 3])
    if drawn.dtype == np.bool_ or (drawn.dtype == np.uint8 and len(bands) == 3):
        return np.moveaxis(_bytes(drawn), 0, -1), alpha
    return np.stack([_stretched(band, pixels.valid) for band in drawn], axis=-1), alpha


def _bytes(values: _Array) -> npt.NDArray[np.uint8]:
    """Bring integers of a full range to 0 ... 255, and fractions of one too; wider types may hold bytes."""
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind in "iu" and 1 < int(values.max(initial=0)) < 256:
        return values.clip(0).astype(np.uint8)
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    largest = float(np.iinfo(values.dtype).max) if values.dtype.kind in "iu" else 1.0
    return (np.nan_to_num(values.astype(np.float64)) / largest * 255).clip(0, 255).astype(np.uint8)


def _stretched(values: _Array, valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    numbers = (np.abs(values) if values.dtype.kind == "c" else values).astype(np.float64)
    known = numbers[valid & np.isfinite(numbers)]
    if known.size == 0:
        return np.zeros(values.shape, np.uint8)
    low, high = (float(bound) for bound in np.percentile(known, (2, 98)))
    if low == high:
        low, high = float(known.min()), float(known.max())
    span = high - low
    if not 0 < span < np.inf:
        return np.full(values.shape, 127, np.uint8)
    scaled = (np.nan_to_num(numbers, nan=low, posinf=high, neginf=low) - low) / span
    return (scaled.clip(0, 1) * 255).round().astype(np.uint8)
