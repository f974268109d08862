"""TIFF files with pixels, written by the book: encodings and oddities that other writers cannot write.

Independent of the library under test and of other writers: samples are packed, predicted and cut into
segments by numpy here, compressed by zlib, lzma and imagecodecs, and put into a file by
:mod:`tests.tiffbytes`.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from tests.tiffbytes import Dir, Entry, build

type Pixels = npt.NDArray[Any]
type Order = Literal["little", "big"]

ABSENT: Final = -1
"""Value of ``rows_per_strip`` when the tag is left out."""

_KINDS: Final = {"u": 1, "b": 1, "i": 2, "f": 3, "c": 6}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How an image is written.

    ``tile`` is (rows, columns), or None for strips. ``rows_per_strip`` is the tag's value, ``ABSENT`` to
    leave it out. ``bits`` has one entry for each band when they differ; None takes those of the pixels'
    data type. ``sparse`` are indices of segments with offset and byte count 0; they read as ``nodata``,
    else 0. ``omit`` are tags to leave out, ``extra`` further tags; both have the last word. ``encoder``
    compresses (rows, columns, samples) in place of the table of compressors. ``backwards`` writes the last
    segment first. ``full_last_strip`` pads a short last strip.
    """

    compression: int = 1
    predictor: int = 1
    order: Order = "little"
    bigtiff: bool = False
    planar: bool = False
    tile: tuple[int, int] | None = None
    rows_per_strip: int = ABSENT
    bits: tuple[int, ...] | None = None
    sample_format: int | None = None
    fill_order: int = 1
    photometric: int = 1
    sparse: frozenset[int] = frozenset()
    encoder: Callable[[Pixels], bytes] | None = None
    backwards: bool = False
    nodata: str | None = None
    full_last_strip: bool = False
    omit: frozenset[int] = frozenset()
    extra: Mapping[int, Entry] = field(default_factory=dict)

    def __str__(self) -> str:
        """Only what is not the default."""
        parts = [f"compression {self.compression}", self.order]
        parts += [f"predictor {self.predictor}"] if self.predictor > 1 else []
        parts += [f"tile {self.tile}"] if self.tile else [f"rows_per_strip {self.rows_per_strip}"]
        for name in ("bigtiff", "planar", "bits", "sample_format", "nodata", "full_last_strip"):
            parts += [f"{name} {getattr(self, name)}"] if getattr(self, name) not in (None, False) else []
        parts += ["fill order 2"] if self.fill_order == 2 else []
        parts += [f"sparse {sorted(self.sparse)}"] if self.sparse else []
        parts += [f"without {sorted(self.omit)}"] if self.omit else []
        parts += [f"extra {sorted(self.extra)}"] if self.extra else []
        return ", ".join(parts)


def write(pixels: Pixels, recipe: Recipe) -> bytes:
    """Write one image of shape (band, y, x)."""
    blob, entries = image(pixels, recipe, start=16 if recipe.bigtiff else 8)
    return bytes(build([Dir(entries)], order=recipe.order, bigtiff=recipe.bigtiff, ghost=blob).data)


def image(pixels: Pixels, recipe: Recipe, start: int) -> tuple[bytes, list[Entry]]:
    """The segments of an image one after the other, and its tags when they stand at `start`."""
    blob = bytearray()
    segments = [
        b"" if number in recipe.sparse else encode(samples, recipe)
        for number, samples in enumerate(cut(pixels, recipe))
    ]
    offsets = [0] * len(segments)
    for number in reversed(range(len(segments))) if recipe.backwards else range(len(segments)):
        data = segments[number]
        offsets[number] = start + len(blob) if data else 0
        blob += data + bytes(len(data) % 2)
    return bytes(blob), tags(pixels, recipe, offsets, [len(data) for data in segments])


def expected(pixels: Pixels, recipe: Recipe) -> Pixels:
    """What a reader must see: the pixels, but nodata or 0 where segments are sparse."""
    result = pixels.copy()
    fill = np.array(float(recipe.nodata or 0)).astype(pixels.dtype)
    for number, (plane, row, col) in enumerate(places(pixels.shape, recipe)):
        if number in recipe.sparse:
            rows, columns = segment_shape(pixels.shape, recipe)
            bands = slice(plane, plane + 1) if recipe.planar else slice(None)
            result[bands, row : row + rows, col : col + columns] = fill
    return result


def tags(pixels: Pixels, recipe: Recipe, offsets: Sequence[int], counts: Sequence[int]) -> list[Entry]:
    """The tags of an image in ascending order."""
    bands, height, width = pixels.shape
    long = 16 if recipe.bigtiff else 4
    bits = recipe.bits or (pixels.dtype.itemsize * 8,)
    kind = recipe.sample_format or _KINDS[pixels.dtype.kind]
    colors = 3 if recipe.photometric in (2, 6, 8) else 4 if recipe.photometric == 5 else 1
    entries = {
        256: Entry(256, 4, [width]),
        257: Entry(257, 4, [height]),
        258: Entry(258, 3, list(bits) if len(bits) == bands else [bits[0]] * bands),
        259: Entry(259, 3, [recipe.compression]),
        262: Entry(262, 3, [recipe.photometric]),
        277: Entry(277, 3, [bands]),
        284: Entry(284, 3, [2 if recipe.planar else 1]),
        339: Entry(339, 3, [kind] * bands),
        (324 if recipe.tile else 273): Entry(324 if recipe.tile else 273, long, list(offsets)),
        (325 if recipe.tile else 279): Entry(325 if recipe.tile else 279, long, list(counts)),
    }
    if recipe.tile:
        entries[322] = Entry(322, 4, [recipe.tile[1]])
        entries[323] = Entry(323, 4, [recipe.tile[0]])
    elif recipe.rows_per_strip != ABSENT:
        entries[278] = Entry(278, 4, [recipe.rows_per_strip])
    if recipe.predictor != 1:
        entries[317] = Entry(317, 3, [recipe.predictor])
    if recipe.fill_order != 1:
        entries[266] = Entry(266, 3, [recipe.fill_order])
    if bands > colors:
        entries[338] = Entry(338, 3, [0] * (bands - colors))
    if recipe.nodata is not None:
        entries[42113] = Entry(42113, 2, recipe.nodata.encode() + b"\0")
    entries |= recipe.extra
    return [entries[code] for code in sorted(entries.keys() - recipe.omit)]


def segment_shape(shape: tuple[int, ...], recipe: Recipe) -> tuple[int, int]:
    """Rows and columns of a full segment."""
    _, height, width = shape
    if recipe.tile:
        return recipe.tile
    rows = recipe.rows_per_strip
    return (rows if 0 < rows < height else height), width


def places(shape: tuple[int, ...], recipe: Recipe) -> Iterator[tuple[int, int, int]]:
    """Plane, first row and first column of each segment in the order of the file."""
    bands, height, width = shape
    rows, columns = segment_shape(shape, recipe)
    for plane in range(bands if recipe.planar else 1):
        for row in range(0, height, rows):
            for col in range(0, width, columns):
                yield plane, row, col


def cut(pixels: Pixels, recipe: Recipe) -> Iterator[Pixels]:
    """Segments as (rows, columns, samples); tiles are padded with noise, which no reader may show."""
    rows, columns = segment_shape(pixels.shape, recipe)
    padded = recipe.tile is not None or recipe.full_last_strip
    noise = np.random.default_rng(7)
    for plane, row, col in places(pixels.shape, recipe):
        bands = slice(plane, plane + 1) if recipe.planar else slice(None)
        part = pixels[bands, row : row + rows, col : col + columns].transpose(1, 2, 0)
        if padded and part.shape[:2] != (rows, columns):
            full = noise.integers(0, 2, (rows, columns, part.shape[2])).astype(pixels.dtype)
            full[: part.shape[0], : part.shape[1]] = part
            part = full
        yield np.ascontiguousarray(part)


def encode(samples: Pixels, recipe: Recipe) -> bytes:
    """One segment of shape (rows, columns, samples) as it stands in the file."""
    if recipe.encoder is not None:
        return recipe.encoder(samples)
    rows = list(_rows(samples, recipe))
    data = COMPRESSORS[recipe.compression](rows)
    if recipe.fill_order == 2:
        data = np.packbits(np.unpackbits(np.frombuffer(data, np.uint8)), bitorder="little").tobytes()
    return data


def _rows(samples: Pixels, recipe: Recipe) -> Iterator[bytes]:
    """Each row of a segment, packed and predicted."""
    bits = recipe.bits or (samples.dtype.itemsize * 8,)
    if recipe.sample_format == 5:
        samples = _complex_integers(samples, bits[0])
        bits = (bits[0] // 2,)
    for row in samples:
        if recipe.predictor == 3:
            yield predict_bytes(row, bits[0])
        elif recipe.predictor == 2:
            yield predict_samples(row, recipe.order)
        elif bits == (24,):
            yield pack_24(row, recipe.order)
        elif all(depth % 8 == 0 for depth in bits) and len(bits) > 1:
            yield pack_bytes(row, bits, recipe.order)
        elif len(bits) == 1 and bits[0] == row.dtype.itemsize * 8:
            yield row.astype(row.dtype.newbyteorder("<" if recipe.order == "little" else ">")).tobytes()
        else:
            yield pack_bits(row, bits)


def predict_samples(row: Pixels, order: Order) -> bytes:
    """Horizontal differencing (predictor 2) of a row (columns, samples), as integers that wrap around."""
    values = row.view(f"u{row.dtype.itemsize}") if row.dtype.itemsize <= 8 else row
    result = values.copy()
    result[1:] -= values[:-1]
    return result.astype(result.dtype.newbyteorder("<" if order == "little" else ">")).tobytes()


def predict_bytes(row: Pixels, bits: int) -> bytes:
    """Floating-point differencing (predictor 3) of a row (columns, samples): byte planes, highest first."""
    columns, samples = row.shape
    if bits == 24:
        planes = float24(row).reshape(-1, 3)
    else:
        planes = row.astype(row.dtype.newbyteorder(">")).reshape(-1).view(np.uint8).reshape(columns * samples, -1)
    flat = np.ascontiguousarray(planes.T).reshape(-1)
    result = flat.copy()
    result[samples:] -= flat[:-samples]
    return result.tobytes()


def float24(row: Pixels) -> npt.NDArray[np.uint8]:
    """Big-endian bytes of 24-bit floats: 1 bit sign, 7 exponent, 16 mantissa; lower bits are cut off."""
    words = np.ascontiguousarray(row, np.float32).view(np.uint32).reshape(-1).astype(np.int64)
    sign, exponent, mantissa = words >> 31, (words >> 23) & 0xFF, words & 0x7FFFFF
    small = np.where(exponent == 0, 0, ((exponent - 127 + 63) << 16) | (mantissa >> 7))
    result = ((sign << 23) | small).astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:]
    return np.ascontiguousarray(result).reshape(-1)


def pack_24(row: Pixels, order: Order) -> bytes:
    """24-bit floats in the byte order of the file; 24-bit integers the other way round.

    libtiff swaps the bytes of big-endian files and GDAL then takes the highest first, as in all odd bit
    depths.
    """
    if row.dtype.kind == "f":
        triples = float24(row).reshape(-1, 3)
        return (triples if order == "big" else triples[:, ::-1]).tobytes()
    triples = row.astype(">u4").reshape(-1).view(np.uint8).reshape(-1, 4)[:, 1:]
    return (triples if order == "little" else triples[:, ::-1]).tobytes()


def pack_bytes(row: Pixels, bits: tuple[int, ...], order: Order) -> bytes:
    """Samples of unequal numbers of whole bytes, each in the byte order of the file."""
    sign = "<" if order == "little" else ">"
    dtype = np.dtype([(f"band{band}", f"{sign}u{depth // 8}") for band, depth in enumerate(bits)])
    result = np.empty(len(row), dtype)
    for band, name in enumerate(dtype.names or ()):
        result[name] = row[:, band]
    return result.tobytes()


def pack_bits(row: Pixels, bits: tuple[int, ...]) -> bytes:
    """Samples of any bit depth, highest bit first; the row is padded to whole bytes."""
    columns, samples = row.shape
    depths = bits if len(bits) == samples else (bits[0],) * samples
    values = row.astype(np.uint64)
    planes = []
    for sample, depth in enumerate(depths):
        shifts = np.arange(depth - 1, -1, -1, dtype=np.uint64)
        planes.append((values[:, sample, None] >> shifts) & np.uint64(1))
    return np.packbits(np.concatenate(planes, axis=1).astype(np.uint8).reshape(-1)).tobytes() if columns else b""


def _complex_integers(samples: Pixels, bits: int) -> Pixels:
    parts = np.stack([samples.real, samples.imag], axis=-1).astype(f"i{bits // 16}")
    return parts.reshape(samples.shape[0], -1, 1)


def _joined(compress: Callable[[bytes], bytes]) -> Callable[[Sequence[bytes]], bytes]:
    return lambda rows: compress(b"".join(rows))


def _imagecodecs(name: str) -> Callable[[bytes], bytes]:
    def compress(data: bytes) -> bytes:
        import imagecodecs

        encoded: bytes = getattr(imagecodecs, name)(data)
        return encoded

    return compress


def _packbits(rows: Sequence[bytes]) -> bytes:
    return b"".join(map(_imagecodecs("packbits_encode"), rows))  # no run may cross the end of a row


COMPRESSORS: Final[dict[int, Callable[[Sequence[bytes]], bytes]]] = {
    1: _joined(bytes),
    5: _joined(_imagecodecs("lzw_encode")),
    8: _joined(zlib.compress),
    32773: _packbits,
    32946: _joined(zlib.compress),
    34925: _joined(lzma.compress),
    50000: _joined(_imagecodecs("zstd_encode")),
}
