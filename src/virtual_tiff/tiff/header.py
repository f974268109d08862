"""The first bytes of a file: whether it is a TIFF, how its numbers are written, and where its first IFD is."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from virtual_tiff.errors import FormatError
from virtual_tiff.tiff import ndpi
from virtual_tiff.tiff.ifd import ByteOrder

_GHOST: Final = b"GDAL_STRUCTURAL_METADATA_SIZE="


@dataclass(frozen=True, slots=True)
class Form:
    """How numbers and IFDs are written: one of four, by byte order and classic or BigTIFF, or that of large NDPI."""

    byte_order: ByteOrder
    bigtiff: bool
    counter: Struct
    entry: Struct
    pointer: Struct
    ndpi: bool = False

    @classmethod
    def of(cls, byte_order: ByteOrder, *, bigtiff: bool) -> Form:
        """Make one of the four."""
        sign = "<" if byte_order == "little" else ">"
        counter, entry, pointer = ("Q", "HHQ8s", "Q") if bigtiff else ("H", "HHI4s", "I")
        return cls(byte_order, bigtiff, Struct(sign + counter), Struct(sign + entry), Struct(sign + pointer))


CLASSIC: Final = Form.of("little", bigtiff=False)
"""Classic TIFF in little-endian order; large NDPI files begin like it."""

FORMS: Final = {
    b"II*\0": CLASSIC,
    b"EP*\0": CLASSIC,  # Microsoft Document Imaging
    b"MM\0*": Form.of("big", bigtiff=False),
    b"II+\0": Form.of("little", bigtiff=True),
    b"MM\0+": Form.of("big", bigtiff=True),
}
LARGE_NDPI: Final = Form(
    "little", bigtiff=False, counter=ndpi.COUNTER, entry=ndpi.ENTRY, pointer=ndpi.POINTER, ndpi=True
)


_RELATIVES: Final = {
    b"IIU\0": "a Panasonic raw file (RW2)",
    b"IIRO": "an Olympus raw file (ORF)",
    b"IIRS": "an Olympus raw file (ORF)",
    b"MMOR": "an Olympus raw file (ORF)",
    b"IIRC": "a DNG camera profile (DCP), which holds no image",
    b"MMCR": "a DNG camera profile (DCP), which holds no image",
    b"II1N": "a Navy Image File Format (NIFF)",
    b"II\xbc\0": "a JPEG XR file",
    b"II\xbc\1": "a JPEG XR file",
}
"""Formats that are made like TIFF, but whose tags mean other things, by the bytes that they begin with."""


def read_header(head: bytes) -> tuple[Form, int]:
    """Return the form of the file and the offset of its first IFD.

    Raises
    ------
    FormatError
        ``not-a-tiff``, ``truncated``, ``no-ifd``.
    """
    form = FORMS.get(head[:4])
    if form is None:
        found = "the file is empty" if not head else f"the file begins with {head[:8]!r}"
        if head[:4] in _RELATIVES:
            found += f", like {_RELATIVES[head[:4]]}"
        hint = "TIFF files begin with II or MM and the number 42 or 43."
        raise FormatError(found, feature="not-a-tiff", hint=hint)
    start = 8 if form.bigtiff else 4
    if form.bigtiff and head[4:8] != Struct("<HH" if form.byte_order == "little" else ">HH").pack(8, 0):
        found = f"a BigTIFF header with offset size {head[4:8].hex(' ')} (expected 8)"
        raise FormatError(found, feature="not-a-tiff")
    if len(head) < start + form.pointer.size:
        raise FormatError(f"the file ends after {len(head)} bytes, inside of its header", feature="truncated")
    first: int = form.pointer.unpack_from(head, start)[0]
    if first == 0:
        hint = "Files that were not closed by their writer look like this."
        raise FormatError("the offset of the first IFD is 0", feature="no-ifd", hint=hint)
    return form, first


def cog_ghost(head: bytes, start: int) -> str | None:
    """Return the text of GDAL's ghost area behind the header, its first line included."""
    if not head.startswith(_GHOST, start):
        return None
    line_end = head.find(b"\n", start, start + 64)
    digits = head[start + len(_GHOST) : start + len(_GHOST) + 6]
    if line_end < 0 or not digits.isdigit():
        return None
    return head[start : line_end + 1 + int(digits)].decode("latin-1")
