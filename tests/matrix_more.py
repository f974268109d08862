"""Synthetic images of what is rarer: odd bit depths, image codecs, colours, unusual structure.

Files of our own writer are compared with the pixels that were written; files of GDAL and tifffile (codecs
that are not written here) with what GDAL and tifffile read from them.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests import oracles, subject
from tests.ifdwalk import Page, walk
from tests.matrix import HEIGHT, WIDTH, Case, noise
from tests.rawtiff import ABSENT, Order, Pixels, Recipe
from tests.tiffbytes import Entry

ORDERS: Final[tuple[Order, ...]] = ("little", "big")
SHAPE: Final = (1, HEIGHT, WIDTH)


def integers(bits: int, shape: tuple[int, ...], seed: int = 0) -> Pixels:
    """Unsigned integers of some bits in the data type that they are read as; bool for 1 bit."""
    dtype = "u1" if bits <= 8 else "u2" if bits <= 16 else "u4"
    values = np.random.default_rng(seed + bits).integers(0, 2**bits, shape).astype(dtype)
    return values.astype(bool) if bits == 1 else values


def exact_float24(shape: tuple[int, ...]) -> Pixels:
    """Values that 24-bit floats hold exactly."""
    numbers = np.random.default_rng(24)
    values = numbers.integers(-(2**16), 2**16, shape) * 2.0 ** numbers.integers(-20, 20, shape)
    return values.astype("f4")


def bit_depths() -> Iterator[Case]:
    """1 to 31 bits, both fill orders."""
    for bits in (*range(1, 8), *range(9, 16), *range(17, 32)):
        for index, (fill, compression) in enumerate(itertools.product((1, 2), (1, 5, 8, 32773))):
            bands = (1, 3)[(bits + index) % 2]
            recipe = Recipe(
                bits=(bits,),
                compression=compression,
                fill_order=fill,
                order=ORDERS[(bits + index // 2) % 2],
                planar=index % 3 == 1,
                tile=(16, 32) if index % 4 == 2 else None,
                rows_per_strip=(8, ABSENT, HEIGHT)[index % 3],
            )
            yield _case("bits", integers(bits, (bands, HEIGHT, WIDTH)), recipe)


def fill_orders() -> Iterator[Case]:
    """Fill order 2 with whole bytes, also compressed and predicted."""
    for dtype, compression, order in itertools.product(("u1", "i2", "f4", "f8"), (1, 5, 8, 32773, 50000), ORDERS):
        predictor = 2 if compression in (5, 8) and dtype != "f8" else 1
        recipe = Recipe(fill_order=2, compression=compression, order=order, predictor=predictor, rows_per_strip=8)
        yield _case("fill", noise(dtype, (3, HEIGHT, WIDTH), 5), recipe)


def odd_samples() -> Iterator[Case]:
    """24-bit integers and floats, complex integers, unequal bits, undefined format."""
    wide = (3, HEIGHT, WIDTH)
    for order, tile in itertools.product(ORDERS, (None, (16, 16))):
        base = Recipe(order=order, tile=tile, rows_per_strip=8)
        for compression, predictor in ((1, 1), (8, 1), (5, 3), (8, 3), (50000, 3)):
            recipe = replace(base, bits=(24,), compression=compression, predictor=predictor)
            yield _case("float24", exact_float24(wide), replace(recipe, sample_format=3))
            if predictor == 1:
                yield _case("uint24", integers(24, wide), recipe)
        for bits, dtype in ((32, "c8"), (64, "c16")):
            for compression in (1, 8):
                parts = np.random.default_rng(bits).integers(-30000, 30000, (2, *wide)).astype("f8")
                pixels = (parts[0] + 1j * parts[1]).astype(dtype)
                recipe = replace(base, bits=(bits,), sample_format=5, compression=compression)
                yield _case("complex integers", pixels, recipe)
        for depths in ((8, 8, 16), (8, 16, 8), (1, 2, 4), (4, 8, 12)):
            top = "u2" if max(depths) > 8 else "u1"
            pixels = np.concatenate([integers(depth, SHAPE).astype(top) for depth in depths])
            yield _case("unequal bits", pixels, replace(base, bits=depths, photometric=2))
        yield _case("undefined", integers(16, wide), replace(base, sample_format=4, extra=_formats(4, 3)))


def structures() -> Iterator[Case]:
    """Absent tags, absent byte counts, tiles of any size, photometrics, many bands, odd nodata."""
    for order in ORDERS:
        plain = Recipe(order=order, rows_per_strip=8)
        grey, rgb = noise("u2", SHAPE, 1), noise("u1", (3, HEIGHT, WIDTH), 2)
        yield _case("no byte counts, uncompressed", grey, replace(plain, omit=frozenset({279})))
        yield _case("no byte counts, one strip", grey, Recipe(order=order, omit=frozenset({279})))
        yield _case("no planar configuration", rgb, replace(plain, photometric=2, omit=frozenset({284})))
        yield _case("no sample format", grey, replace(plain, omit=frozenset({339})))
        yield _case("no compression", grey, replace(plain, omit=frozenset({259})))
        yield _case("no photometric", grey, replace(plain, omit=frozenset({262})))
        yield _case("no extra samples", noise("u1", (5, HEIGHT, WIDTH), 3), replace(plain, omit=frozenset({338})))
        bilevel = Recipe(bits=(1,), order=order, omit=frozenset({258, 277, 339, 284, 259}))
        yield _case("defaults of a bilevel image", integers(1, SHAPE), bilevel)
        yield _case("white is zero", rgb[:1], replace(plain, photometric=0))
        yield _case("inks", noise("u1", (4, HEIGHT, WIDTH), 4), replace(plain, photometric=5))
        yield _case("CIELab", rgb, replace(plain, photometric=8))
        yield _case("YCbCr, not subsampled", rgb, replace(plain, photometric=6, extra=_subsampling(1, 1)))
        yield _case("palette", rgb[:1], replace(plain, photometric=3, extra=_palette()))
        yield _case("300 bands", noise("u1", (300, 9, 7), 5), replace(plain, compression=8))
        yield _case("300 planes", noise("u1", (300, 9, 7), 6), replace(plain, compression=8, planar=True))
        for tile in ((5, 7), (1, 53), (37, 1), (100, 3)):
            yield _case("odd tile", grey, Recipe(order=order, tile=tile, compression=8))
        for nodata in ("nan", "-9999", "1e400", "65536", "text", ""):
            recipe = replace(plain, nodata=nodata)
            yield Case(f"nodata {nodata!r} {order}", grey, replace(recipe, nodata=None, extra=_nodata(nodata)))


LITTLE_ONLY: Final = ("jpeg", "jpeg2000", "jpegxr", "png", "lerc")
"""Codecs with which tifffile writes samples of several bytes in little-endian files only."""


def image_codecs() -> Iterator[Case]:
    """Codecs that hold an image of their own, in files of either byte order; all of them lossless."""
    for order, tile in itertools.product(ORDERS, (None, (16, 32))):
        base = Recipe(order=order, tile=tile, rows_per_strip=8)
        for compression, name, dtype, bands, options in (
            (7, "ljpeg_encode", "u2", 1, {}),
            (34933, "png_encode", "u2", 1, {}),
            (34933, "png_encode", "u1", 3, {}),
            (34712, "jpeg2k_encode", "u2", 1, {"level": 0, "reversible": True}),
            (33005, "jpeg2k_encode", "u1", 3, {"level": 0, "reversible": True}),
            (50002, "jpegxl_encode", "u2", 1, {"lossless": True}),
            (50002, "jpegxl_encode", "u1", 4, {"lossless": True}),
            (50001, "webp_encode", "u1", 3, {"lossless": True}),
            (34887, "lerc_encode", "i4", 1, {}),
            (34887, "lerc_encode", "u2", 3, {}),
        ):
            pixels = np.nan_to_num(smooth(dtype, (bands, HEIGHT, WIDTH)))
            recipe = replace(base, compression=compression, encoder=_encoder(name, options, order))
            yield _case(name, pixels, replace(recipe, photometric=2 if bands > 1 else 1))
    for order in ORDERS:
        yield _case("backwards", noise("u2", SHAPE, 3), Recipe(order=order, rows_per_strip=8, backwards=True))
        deflated = Recipe(order=order, tile=(16, 16), compression=8, backwards=True)
        yield _case("backwards", noise("u2", SHAPE, 3), deflated)


def _encoder(name: str, options: Mapping[str, Any], order: Order) -> Callable[[Pixels], bytes]:
    def encode(samples: Pixels) -> bytes:
        import imagecodecs

        if name == "lerc_encode" and order == "big":  # libtiff swaps before it encodes and after it has decoded
            samples = samples.byteswap()
        image = samples[..., 0] if samples.shape[2] == 1 else samples
        data: bytes = getattr(imagecodecs, name)(np.ascontiguousarray(image), **options)
        return data

    return encode


@dataclass(frozen=True)
class Written:
    """A file that GDAL or tifffile writes; `write` gets the path."""

    name: str
    write: Callable[[Path], None]


def written() -> Iterator[Written]:
    """Files with codecs that are not written here."""
    yield from _by_gdal()
    yield from _by_tifffile()
    yield from _cogs()
    yield Written("ImageJ stack", _imagej)
    yield Written("OME-TIFF pyramid with SubIFDs", _pyramid)


def smooth(dtype: str, shape: tuple[int, ...]) -> Pixels:
    """A picture of waves and some noise, such as lossy codecs are made for."""
    bands, height, width = shape
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (7 + band)) + np.cos(y / (5 + band)) for band in range(bands)]
    pixels = (np.stack(waves) + 2) / 4
    pixels += np.random.default_rng(3).normal(0, 0.01, shape)
    if np.dtype(dtype).kind == "f":
        return (pixels * 1000).astype(dtype)
    high = 200 if dtype == "u1" else 3000
    return np.clip(pixels * high, 0, high).astype(dtype)


def _by_gdal() -> Iterator[Written]:
    jpeg = {"compress": "JPEG", "jpeg_quality": 90}
    tiled = {"tiled": True, "blockxsize": 64, "blockysize": 48}
    for layout, interleave in itertools.product(({}, tiled, {"blockysize": 40}), ("pixel", "band")):
        yield _gdal("u1", 1, {**jpeg, **layout, "interleave": interleave})
        yield _gdal("u1", 3, {**jpeg, **layout, "interleave": interleave, "photometric": "RGB"})
        yield _gdal("u1", 4, {**jpeg, **layout, "interleave": interleave})
        yield _gdal("u1", 3, {"compress": "WEBP", "webp_level": 75, **layout, "interleave": "pixel"})
        yield _gdal("u1", 4, {"compress": "WEBP", "webp_lossless": True, **layout, "interleave": "pixel"})
        for method, dtype in itertools.product(("LERC", "LERC_DEFLATE", "LERC_ZSTD"), ("u1", "i2", "f4", "f8")):
            options = {"compress": method, **layout, "interleave": interleave}
            yield _gdal(dtype, 3, {**options, "max_z_error": 0})
            yield _gdal(dtype, 1, {**options, "max_z_error": 0.5})
    for layout in ({}, tiled, {"blockysize": 48}):
        yield _gdal("u1", 3, {**jpeg, **layout, "photometric": "YCBCR", "interleave": "pixel"})
        yield _gdal("u1", 3, {**jpeg, **layout, "photometric": "YCBCR", "interleave": "pixel", "endianness": "BIG"})
        yield _gdal("u1", 4, {**jpeg, **layout, "photometric": "CMYK", "interleave": "pixel"})
        for method in ("CCITTRLE", "CCITTFAX3", "CCITTFAX4", "PACKBITS", "LZW"):
            yield _gdal("u1", 1, {"compress": method, "nbits": 1, **layout})
        for bits in (2, 5, 12):
            yield _gdal("u1" if bits <= 8 else "u2", 3, {"nbits": bits, "compress": "DEFLATE", **layout})
        for method, endianness in itertools.product(("LERC", "LERC_DEFLATE", "LERC_ZSTD"), ("LITTLE", "BIG")):
            options = {"compress": method, "max_z_error": 0, "endianness": endianness, **layout}
            yield _gdal("u2", 3, options)
            yield _gdal("f4", 1, options)
        yield _gdal("f4", 1, {"nbits": 16, "compress": "DEFLATE", "predictor": 3, **layout})
    for bands, endianness in itertools.product((1, 3), ("LITTLE", "BIG")):  # libtiff loses columns of odd strips
        options = {"nbits": 12, "endianness": endianness, "interleave": "pixel"}
        yield _gdal("u2", bands, {**jpeg, **tiled, **options})
    for flags in (0, 1, 2, 3):
        yield _gdal("u1", 3, {**jpeg, **tiled, "jpegtablesmode": flags, "photometric": "YCBCR", "interleave": "pixel"})


def _gdal(dtype: str, bands: int, options: Mapping[str, Any]) -> Written:
    def write(path: Path) -> None:
        import rasterio

        pixels = smooth(dtype, (bands, 101, 131))
        if "nbits" in options and dtype != "f4":
            pixels %= 2 ** options["nbits"]
        if str(options["compress"]).startswith("LERC") and dtype[0] == "f":
            pixels[:, 10:20, 30:90] = np.nan
        profile = {"driver": "GTiff", "height": 101, "width": 131, "count": bands, "dtype": pixels.dtype.name}
        with oracles.quiet(), rasterio.open(path, "w", **{**profile, **options}) as file:
            file.write(pixels)

    return Written(f"GDAL {dtype} {bands} " + " ".join(f"{key}={value}" for key, value in options.items()), write)


def _by_tifffile() -> Iterator[Written]:
    for tile, order in itertools.product((None, (48, 64)), "<>"):
        layout = {"tile": tile} if tile else {"rowsperstrip": 40}
        for method, dtype, bands, more in (
            ("jpeg", "u1", 1, {}),
            ("jpeg", "u1", 3, {"photometric": "rgb"}),
            ("jpeg", "u1", 3, {"photometric": "ycbcr", "subsampling": (2, 2)}),
            ("jpeg", "u1", 3, {"photometric": "ycbcr", "subsampling": (2, 1)}),
            ("jpeg", "u1", 3, {"photometric": "ycbcr", "subsampling": (1, 1)}),
            ("jpeg", "u2", 1, {"compressionargs": {"bitspersample": 12}, "bitspersample": 12}),
            ("jpegxl", "u1", 3, {"photometric": "rgb"}),
            ("jpegxl", "u2", 1, {}),
            ("jpeg2000", "u1", 3, {"photometric": "rgb"}),
            ("jpeg2000", "u2", 1, {}),
            ("jpegxr", "u1", 3, {"photometric": "rgb"}),
            ("jpegxr", "u2", 1, {}),
            ("webp", "u1", 3, {"photometric": "rgb"}),
            ("png", "u1", 3, {"photometric": "rgb"}),
            ("png", "u2", 1, {}),
            ("lerc", "f4", 1, {}),
            ("lerc", "u2", 3, {"photometric": "rgb"}),
            ("zstd", "f2", 1, {"predictor": 3}),
            ("lzma", "i4", 3, {"predictor": 2, "photometric": "rgb"}),
            ("packints", "u2", 1, {"bitspersample": 12}),
        ):
            compression = None if method == "packints" else method
            if order == ">" and method in LITTLE_ONLY and dtype != "u1":
                continue
            yield _tifffile(dtype, bands, {"compression": compression, "byteorder": order, **layout, **more})


def _cogs() -> Iterator[Written]:
    """Files of GDAL's COG driver, with overviews, masks and block leaders."""
    for compress, dtype, bands, more in (
        ("DEFLATE", "u2", 1, {"predictor": "YES"}),
        ("LZW", "f4", 3, {"predictor": "YES", "nodata": -9999}),
        ("ZSTD", "u1", 4, {"bigtiff": "YES"}),
        ("JPEG", "u1", 3, {"add_mask": "YES"}),
        ("WEBP", "u1", 3, {"add_mask": "YES"}),
        ("LERC", "f4", 1, {}),
        ("LZMA", "i2", 1, {"interleave": "BAND"}),
        ("NONE", "u1", 2, {"sparse_ok": "TRUE"}),
    ):
        yield Written(f"COG {compress} {dtype} {bands} {more}", _cog(compress, dtype, bands, more))


def _cog(compress: str, dtype: str, bands: int, options: Mapping[str, Any]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import rasterio

        profile = {
            "driver": "COG",
            "height": 300,
            "width": 340,
            "count": bands,
            "dtype": np.dtype(dtype).name,
        }
        with (
            oracles.quiet(),
            rasterio.open(path, "w", compress=compress, blocksize=128, **profile, **options) as file,
        ):
            pixels = smooth(dtype, (bands, 300, 340))
            pixels[:, :150, :140] = 0
            file.write(pixels)

    return write


def _tifffile(dtype: str, bands: int, options: Mapping[str, Any]) -> Written:
    def write(path: Path) -> None:
        import tifffile

        pixels = smooth(dtype, (bands, 101, 131))
        image = pixels[0] if bands == 1 else pixels.transpose(1, 2, 0)
        tifffile.imwrite(path, image, metadata=None, **options)

    return Written(f"tifffile {dtype} {bands} " + " ".join(f"{key}={value}" for key, value in options.items()), write)


def _imagej(path: Path) -> None:
    import tifffile

    tifffile.imwrite(path, noise("u2", (5, 40, 30), 9), imagej=True, metadata={"axes": "ZYX"})


def _pyramid(path: Path) -> None:
    import tifffile

    pixels = noise("u2", (2, 96, 80), 9)
    with tifffile.TiffWriter(path, ome=True, bigtiff=True) as file:
        options: dict[str, Any] = {"tile": (16, 32), "compression": "zlib", "predictor": True}
        for plane in pixels:
            file.write(plane, subifds=2, metadata=None, **options)
            file.write(plane[::2, ::2], subfiletype=1, metadata=None, **options)
            file.write(plane[::4, ::4], subfiletype=1, metadata=None, **options)


def compare(path: Path, **options: Any) -> str:
    """Why a file is not read as GDAL or tifffile read it, page by page; "" when it is."""
    return "; ".join(filter(None, (_compare_page(path, page, **options) for page in walk(path))))


def _compare_page(path: Path, page: Page, **options: Any) -> str:
    areas = oracles.windows(page)
    outcome = subject.read(path, page.path, areas, **options)
    said = []
    for oracle in ("gdal", "tifffile"):
        try:
            with oracles.quiet():
                kind, theirs = oracles.ORACLES[oracle](path, page, areas)
        except Exception as error:  # noqa: BLE001
            said.append(f"{oracle} refuses: {str(error)[:80]}")
            continue
        if outcome.status != "read":
            said.append(f"{kind} reads")
            continue
        agrees, gap = oracles.close(page, kind, outcome.pixels, theirs)
        if agrees:
            return ""
        said.append(f"{kind} {theirs[0].dtype}{theirs[0].shape} differs by {gap:g}")
    if all("refuses" in text for text in said):
        return f"no witness: {said}"
    return f"{outcome.status} {outcome.detail} {[p.dtype.name + str(p.shape) for p in outcome.pixels]}; {said}"


def _case(group: str, pixels: Pixels, recipe: Recipe) -> Case:
    return Case(f"{group}: {pixels.dtype} {pixels.shape}, {recipe}", pixels, recipe)


def _formats(value: int, bands: int) -> dict[int, Entry]:
    return {339: Entry(339, 3, [value] * bands)}


def _subsampling(horizontal: int, vertical: int) -> dict[int, Entry]:
    return {530: Entry(530, 3, [horizontal, vertical])}


def _palette() -> dict[int, Entry]:
    return {320: Entry(320, 3, [zlib.crc32(bytes([i % 256, i // 256])) & 0xFFFF for i in range(768)])}


def _nodata(text: str) -> dict[int, Entry]:
    return {42113: Entry(42113, 2, text.encode() + b"\0")}


GROUPS: Final[Mapping[str, Callable[[], Iterator[Case]]]] = {
    "bit depths": bit_depths,
    "fill orders": fill_orders,
    "odd samples": odd_samples,
    "image codecs": image_codecs,
    "structures": structures,
}
