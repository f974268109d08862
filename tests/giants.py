"""Builds NDPI and LSM files of more than 4 GiB that are mostly holes: they take no room on disk."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import imagecodecs
import numpy as np
import numpy.typing as npt

from tests.tiffbytes import FORMATS, Entry
from virtual_tiff.tiff.tags import Tags

GIB: Final = 1 << 30
WRAP: Final = 1 << 32


@dataclass(frozen=True)
class Page:
    """One IFD of an NDPI file: its strips at ``places``, then the values of its tags and the IFD itself at ``at``."""

    entries: Sequence[Entry]
    strips: Sequence[bytes]
    places: Sequence[int]
    at: int


def write_ndpi(path: Path, pages: Sequence[Page], *, size: int = 0) -> Path:
    """Write an NDPI file: offsets of 64 bits, the high halves of values behind the entries."""
    with path.open("wb") as file:
        file.write(b"II*\0")
        pointer = 4
        for page in pages:
            for place, strip in zip(page.places, page.strips, strict=True):
                file.seek(place)
                file.write(strip)
            pointer = _write_ndpi_ifd(file, page, pointer)
        file.seek(pointer)
        file.write(bytes(8))
        file.truncate(max(size, file.seek(0, 2)))
    return path


def _write_ndpi_ifd(file: BinaryIO, page: Page, pointer: int) -> int:
    """Write the values of a page and its IFD; return where the offset of the next one goes."""
    table, highs = b"", b""
    places, counts = list(page.places), [len(strip) for strip in page.strips]
    entries = [*page.entries, Entry(Tags.StripOffsets, 4, places), Entry(Tags.StripByteCounts, 4, counts)]
    if len(places) > 1:
        entries.append(Entry(Tags.NDPIOffsetHighBytes, 4, [place >> 32 for place in places]))
    file.seek(page.at)
    for entry in sorted(entries, key=lambda entry: entry.code):
        values = entry.values
        if not isinstance(values, bytes) and len(values) > 1 and entry.kind == 4:
            values = [int(value) % WRAP for value in values]
        count = len(values)
        if not isinstance(values, bytes) and count == 1 and entry.kind == 4:
            field = int(values[0])
        else:
            raw = values if isinstance(values, bytes) else struct.pack(f"<{count}{FORMATS[entry.kind]}", *values)
            field = int.from_bytes(raw, "little")
            if len(raw) > 4 or entry.kind == 2:
                field = file.tell()
                file.write(raw)
        table += struct.pack("<HHII", entry.code, entry.kind, count, field % WRAP)
        highs += struct.pack("<I", field >> 32)
    offset = file.tell()
    file.write(struct.pack("<H", len(entries)) + table + bytes(8) + highs)
    file.seek(pointer)
    file.write(struct.pack("<Q", offset))
    return offset + 2 + len(table)


def slide_tags(width: int, height: int, bands: int = 1, *, compression: int = 1, photometric: int = 1) -> list[Entry]:
    """Return the tags of a page of an NDPI file, without those of its strips."""
    return [
        Entry(Tags.ImageWidth, 4, [width]),
        Entry(Tags.ImageLength, 4, [height]),
        Entry(Tags.BitsPerSample, 3, [8] * bands),
        Entry(Tags.Compression, 3, [compression]),
        Entry(Tags.PhotometricInterpretation, 3, [photometric]),
        Entry(Tags.Make, 2, b"Hamamatsu\0"),
        Entry(Tags.Model, 2, b"C1\0"),
        Entry(Tags.SamplesPerPixel, 3, [bands]),
        Entry(Tags.RowsPerStrip, 4, [height]),
        Entry(Tags.Software, 2, b"NDP.scan\0"),
        Entry(Tags.NDPIFormat, 4, [1]),
        Entry(Tags.NDPISourceLens, 11, [20.0]),
        Entry(Tags.NDPIXOffset, 9, [-1234567]),
    ]


@dataclass(frozen=True)
class Strip:
    """A strip of one channel in an LSM file: where it lies, and its bytes as stored."""

    at: int
    raw: bytes


def lsm_info(times: int = 1, positions: int = 0, tiles: int = 0) -> bytes:
    """Return an LSMInfo tag that says how many times, positions and tiles were recorded."""
    value = bytearray(512)
    struct.pack_into("<Ii", value, 0, 0x0400494C, 512)
    struct.pack_into("<i", value, 24, times)
    struct.pack_into("<ii", value, 264, positions, tiles)
    return bytes(value)


def write_lsm(
    path: Path,
    pages: Sequence[tuple[npt.NDArray[np.uint8], Sequence[Strip]]],
    *,
    size: int,
    info: bytes,
    compression: int = 1,
    at: int = 1 << 20,
) -> Path:
    """Write an LSM file: all IFDs behind one another from ``at`` on, the strips where they say, modulo 2**32.

    Parameters
    ----------
    pages
        Samples of each IFD, of shape (channels, rows, columns), and its strips: one per channel.
    """
    table, offset = b"", at
    with path.open("wb") as file:
        file.write(b"II*\0" + struct.pack("<I", at))
        for number, (pixels, strips) in enumerate(pages):
            channels, rows, columns = pixels.shape
            for strip in strips:
                file.seek(strip.at)
                file.write(strip.raw)
            values: dict[int, tuple[int, bytes]] = {
                Tags.NewSubfileType: (4, struct.pack("<I", number % 2)),
                Tags.ImageWidth: (4, struct.pack("<I", columns)),
                Tags.ImageLength: (4, struct.pack("<I", rows)),
                Tags.BitsPerSample: (3, struct.pack(f"<{channels}H", *[8] * channels)),
                Tags.Compression: (3, struct.pack("<H", 1 if number % 2 else compression)),
                Tags.PhotometricInterpretation: (3, struct.pack("<H", 1)),
                Tags.StripOffsets: (4, struct.pack(f"<{channels}I", *(strip.at % WRAP for strip in strips))),
                Tags.SamplesPerPixel: (3, struct.pack("<H", channels)),
                Tags.StripByteCounts: (4, struct.pack(f"<{channels}I", *[rows * columns] * channels)),
                Tags.PlanarConfiguration: (3, struct.pack("<H", 2)),
            }
            if number == 0:
                values[Tags.LSMInfo] = (1, info)
            table = _lsm_ifd(values, offset, last=number == len(pages) - 1)
            file.seek(offset)
            file.write(table)
            offset += len(table)
        file.truncate(max(size, file.seek(0, 2)))
    return path


def _lsm_ifd(values: dict[int, tuple[int, bytes]], offset: int, *, last: bool) -> bytes:
    """Return an IFD of classic TIFF, with its long values behind it."""
    sizes = {1: 1, 3: 2, 4: 4}
    behind, table = b"", b""
    start = offset + 2 + 12 * len(values) + 4
    for code, (kind, raw) in sorted(values.items()):
        field = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<I", start + len(behind))
        behind += raw if len(raw) > 4 else b""
        table += struct.pack("<HHI", code, kind, len(raw) // sizes[kind]) + field
    following = 0 if last else start + len(behind)
    return struct.pack("<H", len(values)) + table + struct.pack("<I", following) + behind


def restarted_jpeg(
    tiles: npt.NDArray[np.uint8], *, subsampling: str = "444", size: tuple[int, int] = (0, 0)
) -> tuple[bytes, list[int]]:
    """Return a JPEG stream with a restart marker behind each tile, and where the data of each begin in it.

    Parameters
    ----------
    tiles
        Shape (tile rows, tiles, rows, columns, 3): one row of blocks each.
    size
        Rows and columns that the frame states; Hamamatsu writes 0 where there are more than JPEG can count.
    """
    blocks = tiles.shape[3] // (8 if subsampling == "444" else 16)
    stream, starts = b"", []
    for number, tile in enumerate(tiles.reshape(-1, *tiles.shape[2:])):
        own = bytes(
            imagecodecs.jpeg8_encode(tile, 90, colorspace="rgb", outcolorspace="ycbcr", subsampling=subsampling)
        )
        scan = own.index(b"\xff\xda")
        start = scan + 2 + int.from_bytes(own[scan + 2 : scan + 4], "big")
        if not stream:
            frame = own.index(b"\xff\xc0") + 5
            patched = own[:frame] + struct.pack(">HH", *size) + own[frame + 4 : scan]
            stream = patched + b"\xff\xdd\0\x04" + struct.pack(">H", blocks) + own[scan:start]
        else:
            stream += bytes([0xFF, 0xD0 + (number - 1) % 8])
        starts.append(len(stream))
        stream += own[start:-2]
    return stream + b"\xff\xd9", starts
