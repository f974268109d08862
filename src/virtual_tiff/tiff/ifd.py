"""Tags, IFDs and the file they stand in, as immutable values.

A tag keeps its bytes as they stand in the file and is interpreted on demand; large arrays may be *deferred*:
then ``raw`` is None, and :mod:`virtual_tiff.tiff.source` loads them when they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

from virtual_tiff.errors import FormatError, UsageError, VirtualTiffError
from virtual_tiff.tiff.tags import TYPE_DTYPES, TYPE_SIZES, TagType, tag_name

type ByteOrder = Literal["little", "big"]
type IfdPath = tuple[int, ...]
type TagValue = int | float | str | bytes | npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Tag:
    """One entry of an IFD.

    ``offset`` is the position of the value's bytes in the file (inside the entry itself when they fit).
    """

    code: int
    type: int
    count: int
    offset: int
    byte_order: ByteOrder
    raw: bytes | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The standard's name of the tag, or its number as text."""
        return tag_name(self.code)

    @property
    def nbytes(self) -> int:
        """Size of the value in bytes."""
        return self.count * TYPE_SIZES.get(self.type, 1)

    @property
    def deferred(self) -> bool:
        """Whether the value's bytes have not been read yet."""
        return self.raw is None

    def array(self) -> npt.NDArray[np.generic]:
        """Interpret the value as a 1-D array in native byte order; rationals have shape (count, 2)."""
        if self.raw is None:
            found = f"the value of {self.nbytes} bytes has not been loaded"
            raise UsageError(found, feature="usage", tag=self.code)
        dtype = TYPE_DTYPES[self.type].newbyteorder("<" if self.byte_order == "little" else ">")
        values = np.frombuffer(self.raw, dtype)
        values = values.astype(dtype.newbyteorder("="), copy=False)
        return values.reshape(-1, 2) if self.type in (TagType.RATIONAL, TagType.SRATIONAL) else values

    def text(self) -> str:
        """Interpret the value as text: UTF-8, else Latin-1; it ends at the first NUL."""
        raw = (self.raw or b"").split(b"\0", 1)[0]
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    @property
    def value(self) -> TagValue:
        """The value in the Python form that fits its type and count."""
        if self.type == TagType.ASCII:
            return self.text()
        if self.type == TagType.UNDEFINED or self.type not in TYPE_DTYPES:
            return self.raw if self.raw is not None else b""
        values = self.array()
        if self.count == 1 and values.ndim == 1:
            scalar: int | float = values[0].item()
            return scalar
        return values


@dataclass(frozen=True, slots=True)
class Ifd:
    """An image file directory: its place, its tags by number, its SubIFDs.

    ``path`` is ``(3,)`` for IFD 3 of the main chain, ``(3, 0)`` for its first SubIFD. ``problems`` are damaged
    tags that were left out; they matter only to those who need these tags.
    """

    path: IfdPath
    offset: int
    byte_order: ByteOrder
    bigtiff: bool
    tags: Mapping[int, Tag]
    children: tuple[Ifd, ...] = ()
    problems: tuple[VirtualTiffError, ...] = ()

    def __contains__(self, code: int) -> bool:
        return code in self.tags

    def integers(self, code: int) -> npt.NDArray[np.int64] | None:
        """All values of an integer tag as int64, or None when absent.

        Raises
        ------
        FormatError
            ``bad-tag`` when the tag does not hold integers.
        """
        tag = self.tags.get(code)
        if tag is None:
            return None
        dtype = TYPE_DTYPES.get(tag.type)
        if tag.type in (TagType.ASCII, TagType.RATIONAL, TagType.SRATIONAL) or dtype is None or dtype.kind not in "iu":
            found = f"expected integers, found TIFF type {tag.type}"
            raise FormatError(found, feature="bad-tag", ifd=self.path, tag=code)
        return tag.array().astype(np.int64, copy=False)

    def integer(self, code: int, default: int) -> int:
        """The first value of an integer tag, or the default when it is absent or empty."""
        values = self.integers(code)
        return default if values is None or values.size == 0 else int(values[0])

    def text(self, code: int) -> str | None:
        """The text of a tag, or None when absent."""
        tag = self.tags.get(code)
        return None if tag is None else tag.text()

    def walk(self) -> Iterator[Ifd]:
        """This IFD and all below it, depth first."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class TiffFile:
    """The headers of one TIFF file, and what the store said of it when they were read.

    ``size`` (bytes), ``etag``, ``last_modified`` and ``version`` come from the response that carried the header.
    ``cog_ghost`` is the text of GDAL's COG ghost area behind the header, or None.
    ``complete`` is False when reading stopped before the end of the IFD chain, as asked.
    """

    url: str
    byte_order: ByteOrder
    bigtiff: bool
    ifds: tuple[Ifd, ...]
    size: int | None = None
    etag: str | None = None
    last_modified: datetime | None = None
    version: str | None = None
    cog_ghost: str | None = None
    complete: bool = True
    problems: tuple[VirtualTiffError, ...] = ()

    def walk(self) -> Iterator[Ifd]:
        """Every IFD and SubIFD, depth first in chain order."""
        for ifd in self.ifds:
            yield from ifd.walk()

    def ifd(self, path: int | IfdPath) -> Ifd:
        """The IFD at an index of the main chain, or at a path into its SubIFDs.

        Raises
        ------
        UsageError
            ``no-such-ifd`` when there is none; the message names those that exist.
        """
        wanted = (path,) if isinstance(path, int) else tuple(path)
        siblings: tuple[Ifd, ...] = self.ifds
        found: Ifd | None = None
        for index in wanted:
            if not 0 <= index < len(siblings):
                found = None
                break
            found = siblings[index]
            siblings = found.children
        if found is None:
            raise self._no_such_ifd(wanted)
        return found

    def _no_such_ifd(self, wanted: IfdPath) -> UsageError:
        paths = [".".join(map(str, ifd.path)) for ifd in self.walk()]
        listed = ", ".join(paths[:12]) + (", ..." if len(paths) > 12 else "")
        reason = f" ({self.problems[0].found})" if self.problems else ""
        found = f"the file has no IFD {'.'.join(map(str, wanted)) or '()'}{reason}"
        return UsageError(found, feature="no-such-ifd", url=self.url, hint=f"It has: {listed}.")
