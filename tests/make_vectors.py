"""Make the test vectors of ``virtual_tiff.segment`` in ``tests/vectors/``: ``python -m tests.make_vectors``.

Every vector is a JSON file with a description, the configuration of the codec, and in base64 the bytes that
go in and those that must come out. The encoders here share no code with the codec.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Buffer, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from tests.segment_cases import encode

FOLDER = Path(__file__).parent / "vectors"
COLUMNS, ROWS = 13, 5


@dataclass(frozen=True)
class Vector:
    """One file: what it is called, what it shows, and what goes in and out."""

    name: str
    description: str
    configuration: dict[str, Any]
    encoded: bytes
    decoded: bytes

    def write(self) -> None:
        """Write the file."""
        content = {
            "description": self.description,
            "configuration": self.configuration,
            "encoded": base64.b64encode(self.encoded).decode("ascii"),
            "decoded": base64.b64encode(self.decoded).decode("ascii"),
        }
        (FOLDER / f"{self.name}.json").write_text(json.dumps(content, indent=1) + "\n")


def picture(dtype: str, samples: int) -> npt.NDArray[Any]:
    """Return samples (row, column, sample) that use the whole range of their type."""
    rng = np.random.default_rng(20)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.normal(scale=1000, size=(ROWS, COLUMNS, samples)).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, (ROWS, COLUMNS, samples), kind, endpoint=True)


def config(compression: int, **fields: Any) -> dict[str, Any]:
    """Return a configuration for segments of the usual size, without fields that have their default."""
    defaults = {
        "samples": 1,
        "bits_per_sample": 8,
        "sample_format": 1,
        "byte_order": "little",
        "fill_order": 1,
    }
    fields = {name: value for name, value in fields.items() if value != defaults.get(name)}
    return {"compression": compression, "columns": COLUMNS, "rows": ROWS, **fields}


def streams() -> Iterator[Vector]:
    """Every byte-stream compression."""
    image = (picture("u2", 3) // 4096).astype("<u2")
    fields = {"samples": 3, "bits_per_sample": 16}
    names = {1: "none", 5: "lzw", 8: "deflate", 32773: "packbits", 34925: "lzma", 50000: "zstd"}
    for compression, name in {**names, 32946: "deflate-old"}.items():
        encoded = encode(image.tobytes(), compression)
        text = f"compression {compression}, three interleaved samples of 16 bits"
        yield Vector(f"stream-{name}", text, config(compression, **fields), encoded, image.tobytes())
        swapped = encode(image.astype(">u2").tobytes(), compression)
        configuration = config(compression, **fields, byte_order="big")
        yield Vector(f"stream-{name}-big", f"{text}, big-endian", configuration, swapped, image.tobytes())


def horizontal() -> Iterator[Vector]:
    """Predictor 2 in every width and order."""
    cases = [("u1", 1), ("u1", 3), ("i2", 1), ("u2", 4), ("u4", 2), ("u8", 1), ("f4", 1)]
    for (dtype, samples), order in ((case, order) for case in cases for order in ("little", "big")):
        if dtype == "u1" and order == "big":
            continue
        image = picture(dtype, samples)
        bits = 8 * image.itemsize
        words = image.view(f"u{image.itemsize}")
        differences = words.copy()
        differences[:, 1:] -= words[:, :-1]
        stored = differences.astype(f"{'>' if order == 'big' else '<'}u{image.itemsize}")
        sample_format = {"u": 1, "i": 2, "f": 3}[image.dtype.kind]
        configuration = config(
            8,
            samples=samples,
            bits_per_sample=bits,
            sample_format=sample_format,
            byte_order=order,
            predictor=2,
        )
        yield Vector(
            f"predictor2-{dtype}-x{samples}-{order}",
            f"predictor 2 on {samples} sample(s) of {bits} bits and format {sample_format}, {order}-endian",
            configuration,
            encode(stored.tobytes(), 8),
            image.astype(image.dtype.newbyteorder("<")).tobytes(),
        )


def floating_point() -> Iterator[Vector]:
    """Predictor 3 in every width; the byte order does not matter."""
    for dtype, samples, order in (
        ("f2", 1, "little"),
        ("f4", 1, "little"),
        ("f4", 3, "big"),
        ("f8", 2, "big"),
    ):
        image = picture(dtype, samples)
        stored = b"".join(_planes(row.astype(f">{dtype}").tobytes(), image.itemsize, samples) for row in image)
        configuration = config(
            8, samples=samples, bits_per_sample=8 * image.itemsize, sample_format=3, byte_order=order
        )
        yield Vector(
            f"predictor3-{dtype}-x{samples}-{order}",
            f"predictor 3 on {samples} sample(s) of {8 * image.itemsize} bits, {order}-endian file",
            configuration | {"predictor": 3},
            encode(stored, 8),
            image.astype(f"<{dtype}").tobytes(),
        )
    image = (picture("f4", 1).view("u4") & 0xFFFF8000).view("f4")
    image = (np.round(image * 4) / 4).astype("f4")
    triples = b"".join(_float24(float(value)) for value in image.reshape(-1))
    lines = [triples[3 * COLUMNS * row :][: 3 * COLUMNS] for row in range(ROWS)]
    widened = np.array([_widen24(triples[i : i + 3]) for i in range(0, len(triples), 3)], "<f4").tobytes()
    configuration = config(8, bits_per_sample=24, sample_format=3, predictor=3)
    stored = b"".join(_planes(line, 3, 1) for line in lines)
    text = "predictor 3 on floats of 24 bits, which widen to 32"
    yield Vector("predictor3-f3-x1-little", text, configuration, encode(stored, 8), widened)


def apart() -> Iterator[Vector]:
    """The predictors of DNG: differences to the pixel two or four to the left."""
    columns = 16
    rng = np.random.default_rng(21)
    for predictor, distance, dtype, samples, order in (
        (34892, 2, "u2", 1, "little"),
        (34892, 2, "u1", 3, "little"),
        (34893, 4, "i4", 1, "big"),
        (34893, 4, "u2", 2, "little"),
        (34894, 2, "f2", 1, "little"),
        (34894, 2, "f4", 3, "big"),
        (34895, 4, "f4", 1, "little"),
        (34895, 4, "f8", 1, "big"),
    ):
        kind = np.dtype(dtype)
        bits = 8 * kind.itemsize
        octets = rng.bytes(ROWS * columns * samples * kind.itemsize)
        image = np.frombuffer(octets, f"<u{kind.itemsize}").reshape(ROWS, columns, samples)
        if kind.kind == "f":
            lines = (row.astype(f">u{kind.itemsize}").tobytes() for row in image)
            stored = b"".join(_planes(line, kind.itemsize, samples * distance) for line in lines)
        else:
            differences = image.copy()
            differences[:, distance:] -= image[:, :-distance]
            stored = differences.astype(f"{'>' if order == 'big' else '<'}u{kind.itemsize}").tobytes()
        sample_format = {"u": 1, "i": 2, "f": 3}[kind.kind]
        configuration = config(
            8,
            samples=samples,
            bits_per_sample=bits,
            sample_format=sample_format,
            byte_order=order,
            predictor=predictor,
        )
        yield Vector(
            f"predictor{predictor}-{dtype}-x{samples}-{order}",
            f"predictor {predictor} on {samples} sample(s) of {bits} bits and format {sample_format}, {order}-endian",
            configuration | {"columns": columns},
            encode(stored, 8),
            image.tobytes(),
        )


def _planes(row: bytes, width: int, samples: int) -> bytes:
    """Split a row of big-endian floats into planes of bytes, and take differences."""
    planes = b"".join(row[byte::width] for byte in range(width))
    return bytes((value - (planes[i - samples] if i >= samples else 0)) & 255 for i, value in enumerate(planes))


def _float24(value: float) -> bytes:
    """Round a normal float towards zero to 1, 7 and 16 bits of sign, exponent and mantissa, big-endian."""
    word = int(np.float32(value).view("u4"))
    sign, exponent, mantissa = word >> 31, (word >> 23) & 255, word & 0x7FFFFF
    if exponent == 0:
        return (sign << 23).to_bytes(3, "big")
    return (sign << 23 | (exponent - 127 + 63) << 16 | mantissa >> 7).to_bytes(3, "big")


def _widen24(triple: bytes) -> float:
    """Return the value of a normal 24-bit float."""
    word = int.from_bytes(triple, "big")
    sign, exponent, mantissa = word >> 23, (word >> 16) & 127, word & 0xFFFF
    magnitude = 2.0 ** (exponent - 63) * (1 + mantissa / 65536) if exponent else 0.0
    return -magnitude if sign else magnitude


def packing() -> Iterator[Vector]:
    """Depths that are no whole bytes, fill order, and samples that are widened."""
    rng = np.random.default_rng(5)
    for bits, samples, fill_order in (
        (1, 1, 1),
        (1, 3, 2),
        (2, 1, 1),
        (4, 3, 1),
        (10, 1, 1),
        (12, 3, 2),
        (31, 1, 1),
    ):
        values = rng.integers(0, 2**bits, (ROWS, COLUMNS * samples))
        packed = b""
        for row in values:
            text = "".join(f"{int(value):0{bits}b}" for value in row)
            text += "0" * (-len(text) % 8)
            packed += int(text, 2).to_bytes(len(text) // 8, "big")
        if fill_order == 2:
            packed = bytes(int(f"{byte:08b}"[::-1], 2) for byte in packed)
        width = 1 if bits <= 8 else 2 if bits <= 16 else 4
        configuration = config(1, samples=samples, bits_per_sample=bits, fill_order=fill_order)
        yield Vector(
            f"packed-{bits}-x{samples}-fill{fill_order}",
            f"{samples} sample(s) of {bits} bits, fill order {fill_order}",
            configuration,
            packed,
            values.astype(f"<u{width}").tobytes(),
        )
    values = rng.integers(0, 2**24, (ROWS, COLUMNS))
    for order, stored in (("little", "big"), ("big", "little")):
        raw = b"".join(int(value).to_bytes(3, stored) for value in values.reshape(-1))  # type: ignore[arg-type]
        configuration = config(1, bits_per_sample=24, byte_order=order)
        text = f"integers of 24 bits in a {order}-endian file"
        yield Vector(f"packed-24-{order}", text, configuration, raw, values.astype("<u4").tobytes())
    parts = rng.integers(-(2**15), 2**15, (ROWS, COLUMNS, 2))
    configuration = config(1, bits_per_sample=32, sample_format=5, byte_order="big")
    text = "complex integers of two times 16 bits, which widen to two times 32-bit floats"
    yield Vector("complex-int16-big", text, configuration, parts.astype(">i2").tobytes(), parts.astype("<f4").tobytes())
    values = rng.integers(0, 256, (ROWS, COLUMNS, 2))
    raw = b"".join(bytes([int(a)]) + int(b * 257).to_bytes(2, "little") for a, b in values.reshape(-1, 2))
    text = "samples of 8 and of 16 bits, which widen to 16"
    decoded = (values * [1, 257]).astype("<u2").tobytes()
    yield Vector("unequal-8-16", text, config(1, samples=2, bits_per_sample=[8, 16]), raw, decoded)


def padding() -> Iterator[Vector]:
    """Short last strips, and what is longer than a segment."""
    image = picture("u1", 1)
    for rows, name in ((2, "short"), (5, "full")):
        text = f"a strip of {rows} of {ROWS} rows, where the last strip has 2"
        decoded = image[:rows].tobytes().ljust(ROWS * COLUMNS, b"\0")
        encoded = encode(image[:rows].tobytes(), 8)
        yield Vector(f"padding-{name}", text, config(8, last_rows=2), encoded, decoded)
    partial = image.tobytes()[: 3 * COLUMNS + 4]
    decoded = partial[: 3 * COLUMNS].ljust(ROWS * COLUMNS, b"\0")
    text = "the three rows of a last strip and a part of a fourth: the part becomes zeros"
    yield Vector("padding-partial", text, config(5, last_rows=3), encode(partial, 5), decoded)
    text = "more bytes than the segment has, which are ignored"
    encoded = encode(image.tobytes() + b"more than a segment", 50000)
    yield Vector("padding-long", text, config(50000), encoded, image.tobytes())


def subsampling() -> Iterator[Vector]:
    """Uncompressed YCbCr with fewer chroma samples."""
    rng = np.random.default_rng(9)
    luma = rng.integers(0, 256, (6, 14), "u1")
    chroma = rng.integers(0, 256, (3, 7, 2), "u1")
    raw = b"".join(
        luma[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].tobytes() + chroma[y, x].tobytes() for y, x in np.ndindex(3, 7)
    )
    spread = chroma.repeat(2, axis=0).repeat(2, axis=1)
    decoded = np.dstack([luma[..., None], spread])[:ROWS, :COLUMNS].tobytes()
    configuration = config(1, samples=3, photometric=6, subsampling=[2, 2])
    yield Vector("ycbcr-2x2", "uncompressed YCbCr, chroma for blocks of 2 x 2 pixels", configuration, raw, decoded)


def old_lzw() -> Iterator[Vector]:
    """LZW with the bits of its codes in the old order."""
    codes = [256, 7, 258, 258, 9, 257]  # clear, 7, 77, 77, 9, end
    number = sum(code << 9 * i for i, code in enumerate(codes))
    encoded = number.to_bytes(7, "little")
    configuration = {"compression": 5, "columns": 6, "rows": 1}
    assert imagecodecs.lzw_decode(encoded)[:6] == b"\7\7\7\7\7\t"
    yield Vector("stream-lzw-old-order", "LZW as before TIFF 6", configuration, encoded, b"\7\7\7\7\7\t")


def images() -> Iterator[Vector]:
    """Lossless images in segments, palettes, and a colour conversion."""
    gray, rgb = picture("u1", 1), picture("u1", 3)
    deep = picture("u2", 1)
    encoders: list[tuple[str, int, Buffer, npt.NDArray[Any], dict[str, Any]]] = [
        ("png", 34933, imagecodecs.png_encode(rgb), rgb, {}),
        ("webp", 50001, imagecodecs.webp_encode(rgb, lossless=True), rgb, {}),
        ("jpeg2000", 34712, imagecodecs.jpeg2k_encode(deep[..., 0], reversible=True, level=0), deep, {}),
        ("jpegxl", 52546, imagecodecs.jpegxl_encode(rgb, lossless=True), rgb, {}),
        ("lerc", 34887, imagecodecs.lerc_encode(deep[..., 0], level=0.0), deep, {"lerc_parameters": [4, 0]}),
        (
            "lerc-zstd",
            34887,
            imagecodecs.zstd_encode(imagecodecs.lerc_encode(deep[..., 0], level=0.0)),
            deep,
            {"lerc_parameters": [4, 2]},
        ),
        ("ljpeg", 7, imagecodecs.ljpeg_encode(deep[..., 0], bitspersample=16), deep, {"photometric": 1}),
    ]
    for name, compression, encoded, image, fields in encoders:
        shape = {"samples": image.shape[2], "bits_per_sample": 8 * image.dtype.itemsize}
        text = f"compression {compression}, a lossless image of {image.shape[2]} samples of {image.dtype}"
        yield Vector(f"image-{name}", text, config(compression, **shape, **fields), bytes(encoded), image.tobytes())
    words = (np.arange(3 * 256) * 85 % 256 * 257).astype("<u2")
    color_map = base64.b64encode(words.tobytes()).decode("ascii")
    colors = (words // 257).astype(np.uint8).reshape(3, 256).T[gray[..., 0]]
    palette = config(8, photometric=3, color="rgb", color_map=color_map)
    yield Vector("color-palette", "a palette converted to RGB", palette, encode(gray.tobytes(), 8), colors.tobytes())


def long_lzw() -> Iterator[Vector]:
    """LZW whose codes become wider, in either bit order; in the old one, codes widen one code later."""
    octets = np.random.default_rng(22).bytes(900)
    shape = {"columns": 30, "rows": 30}
    text = "LZW with codes of 9, 10 and 11 bits"
    yield Vector("stream-lzw-wide", text, {"compression": 5, **shape}, encode(octets, 5), octets)
    number, place = 256, 9
    for count, octet in enumerate(octets):  # no strings: every code but the first makes an entry of the table
        number |= octet << place
        place += 9 if 257 + count < 512 else 10 if 257 + count < 1024 else 11
    number |= 257 << place  # the end
    encoded = number.to_bytes(place // 8 + 2, "little")
    assert imagecodecs.lzw_decode(encoded)[: len(octets)] == octets
    text = "LZW as before TIFF 6, with codes of 9, 10 and 11 bits"
    yield Vector("stream-lzw-old-order-wide", text, {"compression": 5, **shape}, encoded, octets)


def sound_or_not() -> Iterator[Vector]:
    """Deflate that is no exact zlib stream, but decodes."""
    image = picture("u1", 1)
    encoded = encode(image.tobytes(), 8)
    yield Vector("stream-deflate-behind", "bytes behind the stream", config(8), encoded + b"behind", image.tobytes())
    yield Vector("stream-deflate-cut", "half of the checksum is missing", config(8), encoded[:-2], image.tobytes())
    longer = encode(image.tobytes() + b"more than a segment", 8)
    yield Vector("stream-deflate-long", "more rows than the segment has", config(8), longer, image.tobytes())


def parts() -> Iterator[Vector]:
    """Samples that are easily misread: complex ones as integers, floats of 24 bits, depths that differ."""
    values = np.random.default_rng(23).normal(size=(ROWS, COLUMNS, 2)).astype("<f4")
    words = values.view("<u8")[..., 0]  # the lower half is the real part
    differences = words.copy()
    differences[:, 1:] -= words[:, :-1]
    for order, kind in (("little", "<u8"), ("big", ">u8")):
        configuration = config(8, bits_per_sample=64, sample_format=6, byte_order=order) | {"predictor": 2}
        text = f"predictor 2 on complex floats of two times 32 bits, {order}-endian"
        stored = encode(differences.astype(kind).tobytes(), 8)
        yield Vector(f"predictor2-c8-x1-{order}", text, configuration, stored, values.tobytes())
    # 0, -0, the least and the largest subnormal, 1, the largest, infinities, NaN
    triples = [0, 0x800000, 1, 0xFFFF, 0x3F0000, 0x7EFFFF, 0x7F0000, 0xFF0000, 0x7F8001]
    floats = [0, -0.0, 2.0**-78, 65535 * 2.0**-78, 1, 2.0**63 * (2 - 2**-16), np.inf, -np.inf, np.nan]
    decoded = np.array(floats, "<f4").tobytes()
    shape = {"columns": 9, "rows": 1}
    for order in ("little", "big"):
        configuration = config(1, bits_per_sample=24, sample_format=3, byte_order=order) | shape
        raw = b"".join(triple.to_bytes(3, order) for triple in triples)  # type: ignore[arg-type]
        yield Vector(f"packed-24-float-{order}", f"floats of 24 bits, {order}-endian", configuration, raw, decoded)
    rng = np.random.default_rng(24)
    pair = np.stack([rng.integers(-(2**15), 2**15, (ROWS, COLUMNS)), rng.integers(-128, 128, (ROWS, COLUMNS))], -1)
    raw = b"".join(
        int(a).to_bytes(2, "big", signed=True) + int(b).to_bytes(1, signed=True) for a, b in pair.reshape(-1, 2)
    )
    configuration = config(1, samples=2, bits_per_sample=[16, 8], sample_format=2, byte_order="big")
    text = "signed samples of 16 and of 8 bits, which widen to 16, big-endian"
    yield Vector("unequal-16-8-signed-big", text, configuration, raw, pair.astype("<i2").tobytes())
    colors = rng.integers(0, [32, 64, 32], (ROWS, COLUMNS, 3))
    raw = (colors @ [2048, 32, 1]).astype("<u2").tobytes()
    decoded = (colors * [33, 65, 33] // [4, 16, 4]).astype("u1").tobytes()
    text = "words of 5, 6 and 5 bits, which are stretched to 8"
    yield Vector("unequal-5-6-5", text, config(1, samples=3, bits_per_sample=[5, 6, 5]), raw, decoded)


def short_blocks() -> Iterator[Vector]:
    """A last strip of subsampled YCbCr, which ends inside a row of blocks."""
    rng = np.random.default_rng(25)
    luma = rng.integers(0, 256, (4, 14), "u1")
    chroma = rng.integers(0, 256, (2, 7, 2), "u1")
    raw = b"".join(
        luma[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].tobytes() + chroma[y, x].tobytes() for y, x in np.ndindex(2, 7)
    )
    spread = chroma.repeat(2, axis=0).repeat(2, axis=1)
    decoded = np.dstack([luma[..., None], spread])[:, :COLUMNS].tobytes().ljust(3 * ROWS * COLUMNS, b"\0")
    configuration = config(1, last_rows=3, samples=3, photometric=6, subsampling=[2, 2])
    text = "a last strip of 3 rows in blocks of 2 x 2 pixels: the fourth row of the blocks stays"
    yield Vector("ycbcr-2x2-short", text, configuration, raw, decoded)


def inks_and_chroma() -> Iterator[Vector]:
    """Conversions to RGB of CMYK and of YCbCr without JPEG."""
    for kind in ("u1", "u2"):
        inks = picture(kind, 4)
        narrow = (inks // (257 if kind == "u2" else 1)).astype(int)
        rgb = ((255 - narrow[..., :3]) * (255 - narrow[..., 3:]) // 255).astype("u1")
        bits = 8 * inks.itemsize
        configuration = config(1, samples=4, bits_per_sample=bits, photometric=5, color="rgb")
        yield Vector(
            f"color-cmyk-{bits}",
            f"CMYK of {bits} bits",
            configuration,
            inks.astype(f"<{kind}").tobytes(),
            rgb.tobytes(),
        )
    codes = picture("u1", 3)
    standard = [0.299, 0.587, 0.114, 0.0, 255.0, 128.0, 255.0, 128.0, 255.0]
    video = [0.2125, 0.7154, 0.0721, 16.0, 235.0, 128.0, 240.0, 128.0, 240.0]
    for name, values in (("color-ycbcr", standard), ("color-ycbcr-video", video)):
        rgb = np.array([_rgb(code.tolist(), values) for code in codes.reshape(-1, 3)], "u1")
        configuration = config(1, samples=3, photometric=6, color="rgb")
        if values is video:
            configuration |= {"ycbcr_coefficients": values[:3], "reference_black_white": values[3:]}
        yield Vector(name, "YCbCr converted to RGB", configuration, codes.tobytes(), rgb.tobytes())


def _rgb(code: list[int], values: list[float]) -> list[int]:
    """Convert one pixel as the page says: luma coefficients, then black and white of Y, Cb and Cr."""
    luma, blue, red = code
    r, g, b, *pairs = values

    def scaled(code: int, zero: int, full: int, black: float, white: float) -> int:
        return int((code - zero - int(black - zero)) * full / (white - black))

    def times(factor: float, value: int) -> Fraction:
        return Fraction(math.floor(min(factor, 2) * 65536 + 0.5), 65536) * value

    y = scaled(luma, 0, 255, *pairs[0:2])
    cb, cr = scaled(blue, 128, 127, *pairs[2:4]), scaled(red, 128, 127, *pairs[4:6])
    half = Fraction(1, 2)
    green = -times(r * (2 - 2 * r) / g, cr) - times(b * (2 - 2 * b) / g, cb)
    sums = (times(2 - 2 * r, cr), green, times(2 - 2 * b, cb))
    return [min(max(y + math.floor(part + half), 0), 255) for part in sums]


def scanners() -> Iterator[Vector]:
    """NeXT and ThunderScan: each kind of row, each operation."""
    rng = np.random.default_rng(26)
    values = rng.integers(0, 4, (3, COLUMNS))
    packed = [
        sum(int(value) << 6 - 2 * i for i, value in enumerate(values[0, at : at + 4])) for at in range(0, COLUMNS, 4)
    ]
    values[1] = [3, 3, 3, 3, 0, 1, 2, 3, 3, 3, 3, 3, 3]
    values[2] = [2] * 5 + [0] * 7 + [1]
    encoded = bytes([0, *packed, 0x40, 0, 1, 0, 1, 0b00011011, 0x80 | 5, 7, 0x40 | 1])
    configuration = {"compression": 32766, "columns": COLUMNS, "rows": 3, "bits_per_sample": 2}
    text = "NeXT: a row as it is, one with a span, one of runs"
    yield Vector("image-next", text, configuration, encoded, values.astype("u1").tobytes())
    operations = [0xC0 | 15, 3, 0x40 | 0b011101, 0x40 | 0b101110, 0x80 | 0b011101, 0x80 | 0b100001, 0xC0 | 4]
    rows = [15, 15, 15, 15, 0, 15, 0, 15, 2, 15, 0, 4, *[0] * 5, *[9] * 7]
    operations += [5, 0xC0 | 9, 6]
    configuration = {"compression": 32809, "columns": 12, "rows": 2, "bits_per_sample": 4}
    text = "ThunderScan: a value, a run, differences of 2 and of 3 bits, codes that are skipped"
    yield Vector("image-thunderscan", text, configuration, bytes(operations), bytes(rows))


def logarithms() -> Iterator[Vector]:
    """PixarLog, SGI LogL and LogLuv: codes that are known, as integers."""
    codes = np.random.default_rng(27).integers(0, 2048, (ROWS, COLUMNS, 1))
    differences = codes.copy()
    differences[:, 1:] = (codes[:, 1:] - codes[:, :-1]) % 2048
    light = np.where(codes < 250, codes / 250 * math.exp(1), np.exp(codes / 250)) * math.exp(-5)
    decoded = np.minimum(np.floor(light.astype("f4").astype("f8") * 65535 + 0.5), 65535).astype("<u2").tobytes()
    for order, kind in (("little", "<u2"), ("big", ">u2")):
        configuration = config(32909, bits_per_sample=16, byte_order=order)
        stored = encode(differences.astype(kind).tobytes(), 8)
        yield Vector(f"image-pixarlog-{order}", f"PixarLog, {order}-endian", configuration, stored, decoded)
    runs = bytes([3, 64, 65, 66, 136, 77, 131, 9, 8, *range(8)])  # 3 bytes, 10 times 77; 5 times 9, 8 bytes
    high, low = [64, 65, 66] + [77] * 10, [9] * 5 + list(range(8))
    levels = np.array([a << 8 | b for a, b in zip(high, low, strict=True)], "<u2")
    configuration = {"compression": 34676, "columns": COLUMNS, "rows": 1, "bits_per_sample": 16, "sample_format": 2}
    text = "SGI LogL of 16 bits: two planes of runs"
    yield Vector("image-sgilog-logl", text, configuration | {"photometric": 32844}, runs, levels.tobytes())
    planes = runs + bytes([139, 94, 139, 213])  # the same L16, u and v everywhere
    uv = [math.floor((code + 0.5) / 410 * 32768) for code in (94, 213)]
    samples = b"".join(np.array([level, *uv], "<u2").tobytes() for level in levels)
    fields = {"samples": 3, "photometric": 32845}
    text = "SGI LogLuv of 32 bits to integers: four planes of runs"
    yield Vector("image-sgilog-luv", text, configuration | fields, planes, samples)
    # 700 of luminance, some of chromaticity: the second square of the second row, and a code beyond the last
    pixels = [700 << 14 | 5, 700 << 14 | 16300]
    places = [(0.243779 + 1.5 * 0.0035, 0.016940 + 1.5 * 0.0035), (0.210526316, 0.473684211)]
    words = [
        word
        for pixel, place in zip(pixels, places, strict=True)
        for word in ((pixel >> 12 & 0xFFD) + 13314, *(math.floor(value * 32768) for value in place))
    ]
    encoded = b"".join(pixel.to_bytes(3, "big") for pixel in pixels)
    configuration |= {"compression": 34677, "columns": 2, **fields}
    text = "SGI LogLuv of 24 bits to integers: a square, and a code beyond the last"
    yield Vector("image-sgilog24", text, configuration, encoded, np.array(words, "<u2").tobytes())


def planes() -> Iterator[Vector]:
    """Samples that are taken apart, or need not be."""
    for dtype, samples in (("u1", 3), ("u2", 4), ("f4", 3), ("f8", 2), ("u2", 7)):
        image = picture(dtype, samples)
        sample_format = 3 if image.dtype.kind == "f" else 1
        fields = {"samples": samples, "bits_per_sample": 8 * image.itemsize, "sample_format": sample_format}
        configuration = config(8, **fields, byte_order="big") | {"chunk": "planes"}
        encoded = encode(image.astype(f">{dtype}").tobytes(), 8)
        text = f"{samples} interleaved samples of {8 * image.itemsize} bits, in planes"
        apart = np.moveaxis(image, -1, 0).astype(f"<{dtype}")
        yield Vector(f"chunk-planes-{dtype}-x{samples}", text, configuration, encoded, apart.tobytes())
    image = picture("u1", 3)
    fields = {"samples": 3, "predictor": 2, "last_rows": 2}
    differences = image[:2].copy()
    differences[:, 1:] -= image[:2, :-1]
    apart = np.zeros((3, ROWS, COLUMNS), np.uint8)
    apart[:, :2] = np.moveaxis(image[:2], -1, 0)
    text = "a short last strip with predictor 2, in planes: each is padded"
    configuration = config(5, **fields) | {"chunk": "planes"}
    yield Vector("chunk-planes-short", text, configuration, encode(differences.tobytes(), 5), apart.tobytes())
    inks = picture("u1", 4)
    rgb = ((255 - inks[..., :3].astype(int)) * (255 - inks[..., 3:].astype(int)) // 255).astype(np.uint8)
    configuration = config(32773, samples=4) | {"photometric": 5, "color": "rgb", "chunk": "planes"}
    text = "CMYK as RGB, in planes"
    yield Vector(
        "chunk-planes-color", text, configuration, encode(inks.tobytes(), 32773), np.moveaxis(rgb, -1, 0).tobytes()
    )
    configuration = config(8, samples=3) | {"chunk": "pixels"}
    text = "interleaved samples as they are"
    yield Vector("chunk-pixels", text, configuration, encode(image.tobytes(), 8), image.tobytes())
    single = picture("u2", 1).astype("<u2")
    configuration = config(8, bits_per_sample=16) | {"chunk": "planes"}
    text = "planes of one sample"
    yield Vector("chunk-planes-u2-x1", text, configuration, encode(single.tobytes(), 8), single.tobytes())


def main() -> None:
    """Write all vectors."""
    FOLDER.mkdir(exist_ok=True)
    families = [streams, horizontal, floating_point, apart, packing, padding, subsampling, old_lzw, images]
    families += [long_lzw, sound_or_not, parts, short_blocks, inks_and_chroma, scanners, logarithms, planes]
    for family in families:
        for vector in family():
            vector.write()


if __name__ == "__main__":
    main()
