"""Make the test vectors of ``virtual_tiff.segment`` in ``tests/vectors/``: ``python -m tests.make_vectors``.

Every vector is a JSON file with a description, the configuration of the codec, and in base64 the bytes that
go in and those that must come out. The encoders here share no code with the codec.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Buffer, Iterator
from dataclasses import dataclass
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


def main() -> None:
    """Write all vectors."""
    FOLDER.mkdir(exist_ok=True)
    families = [streams, horizontal, floating_point, apart, packing, padding, subsampling, old_lzw, images]
    for family in families:
        for vector in family():
            vector.write()


if __name__ == "__main__":
    main()
