"""Tags, IFDs and the file they stand in, as immutable values.

A tag keeps its bytes as they stand in the file and is interpreted on demand; large arrays may be *deferred*:
then ``raw`` is None, and :mod:`virtual_tiff.tiff.source` loads them when they are asked for.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, overload

import numpy as np
import numpy.typing as npt

from virtual_tiff.errors import FormatError, UsageError, VirtualTiffError
from virtual_tiff.tiff.tags import TYPE_DTYPES, TYPE_SIZES, TagType, tag_name

type ByteOrder = Literal["little", "big"]
type IfdPath = tuple[int, ...]
type TagValue = int | float | str | bytes | npt.NDArray[np.generic]
type TagEntry = tuple[int, int, int, bytes | None]
"""Type, count, offset and raw bytes of a tag, before it becomes a :class:`Tag`."""

_RATIONALS: Final = frozenset({int(TagType.RATIONAL), int(TagType.SRATIONAL)})
_TEXTS: Final = frozenset({int(TagType.ASCII), int(TagType.BYTE), int(TagType.UNDEFINED), int(TagType.SBYTE)})
_INTEGERS: Final[dict[int, tuple[int, bool]]] = {
    code: (dtype.itemsize, dtype.kind == "i")
    for code, dtype in TYPE_DTYPES.items()
    if dtype.kind in "iu" and code != TagType.ASCII and code not in _RATIONALS
}
"""Bytes and signedness of the field types that hold integers."""

_UNSIGNED_64: Final = frozenset({int(TagType.LONG8), int(TagType.IFD8)})

_STORED: Final = {
    "little": {code: dtype.newbyteorder("<") for code, dtype in TYPE_DTYPES.items()},
    "big": {code: dtype.newbyteorder(">") for code, dtype in TYPE_DTYPES.items()},
}


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
        """Interpret the value as a 1-D array in native byte order; rationals have shape (count, 2).

        Raises
        ------
        FormatError
            ``bad-tag`` when the field type is unknown.
        UsageError
            ``usage`` when the value is deferred.
        """
        if self.raw is None:
            raise self._not_loaded()
        dtype = TYPE_DTYPES.get(self.type)
        if dtype is None:
            found = f"TIFF field type {self.type} is unknown"
            raise FormatError(found, feature="bad-tag", tag=self.code)
        values = np.frombuffer(self.raw, _STORED[self.byte_order][self.type])
        values = values.astype(dtype, copy=False)
        return values.reshape(-1, 2) if self.type in _RATIONALS else values

    def _not_loaded(self) -> UsageError:
        found = f"the value of {self.nbytes} bytes has not been loaded"
        hint = "Load it with load_tags of virtual_tiff.tiff.source."
        return UsageError(found, feature="usage", tag=self.code, hint=hint)

    def text(self) -> str:
        """Interpret the value as text: UTF-8, else Latin-1; it ends at the first NUL.

        Writers store text as BYTE or UNDEFINED too.

        Raises
        ------
        FormatError
            ``bad-tag`` when the field type holds numbers.
        UsageError
            ``usage`` when the value is deferred.
        """
        if self.type not in _TEXTS:
            raise FormatError(f"expected text, found TIFF type {self.type}", feature="bad-tag", tag=self.code)
        if self.raw is None:
            raise self._not_loaded()
        raw = self.raw.split(b"\0", 1)[0]
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    @property
    def value(self) -> TagValue:
        """The value in the Python form that fits its type and count; bytes where that is not known."""
        if self.type == TagType.ASCII:
            return self.text()
        if self.type == TagType.UNDEFINED or self.type not in TYPE_DTYPES:
            if self.raw is None:
                raise self._not_loaded()
            return self.raw
        values = self.array()
        if self.count == 1 and values.ndim == 1:
            scalar: int | float = values[0].item()
            return scalar
        return values


class TagMap(Mapping[int, Tag]):
    """Tags by number, in the order of the file; :class:`Tag` objects are made when they are asked for."""

    __slots__ = ("_byte_order", "_entries")

    def __init__(self, entries: dict[int, TagEntry], byte_order: ByteOrder) -> None:
        self._entries = entries
        self._byte_order: ByteOrder = byte_order

    def __getitem__(self, code: int) -> Tag:
        kind, count, offset, raw = self._entries[code]
        return Tag(code, kind, count, offset, self._byte_order, raw)

    @overload
    def get(self, key: int, /) -> Tag | None: ...
    @overload
    def get[T](self, key: int, default: T, /) -> Tag | T: ...
    def get(self, key: int, default: Any = None, /) -> Any:
        """Return the tag, or the default when it is absent."""
        entry = self._entries.get(key)
        if entry is None:
            return default
        kind, count, offset, raw = entry
        return Tag(key, kind, count, offset, self._byte_order, raw)

    def __contains__(self, code: object) -> bool:
        return code in self._entries

    def __iter__(self) -> Iterator[int]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"TagMap({', '.join(map(tag_name, self._entries))})"

    def deferred(self) -> dict[int, tuple[int, int]]:
        """Return offset and size in bytes of each deferred value."""
        return {
            code: (offset, count * TYPE_SIZES.get(kind, 1))
            for code, (kind, count, offset, raw) in self._entries.items()
            if raw is None
        }

    def filled(self, values: Mapping[int, bytes | None]) -> TagMap:
        """Return a copy with the bytes of deferred values; tags whose bytes are None are left out."""
        entries = dict(self._entries)
        for code, raw in values.items():
            if raw is None:
                del entries[code]
            else:
                entries[code] = (*entries[code][:3], raw)
        return TagMap(entries, self._byte_order)


@dataclass(frozen=True, slots=True)
class Ifd:
    """An image file directory: its place, its tags by number, its SubIFDs.

    ``path`` is ``(3,)`` for IFD 3 of the main chain, ``(3, 0)`` for its first SubIFD; IFDs that are chained
    to a SubIFD are numbered after all SubIFDs of the tag. ``problems`` are damaged tags, which are missing in
    ``tags``; they matter only to those who need these tags: :meth:`integers` raises them. A damaged tag is
    still ``in`` the IFD, so that nobody takes it for absent and assumes a default.
    """

    path: IfdPath
    offset: int
    byte_order: ByteOrder
    bigtiff: bool
    tags: Mapping[int, Tag]
    children: tuple[Ifd, ...] = ()
    problems: tuple[VirtualTiffError, ...] = ()

    def __contains__(self, code: int) -> bool:
        return code in self.tags or any(problem.tag == code for problem in self.problems)

    def integers(self, code: int) -> npt.NDArray[np.int64] | None:
        """All values of an integer tag as int64 (read-only), or None when absent.

        BYTE and UNDEFINED count as integers.

        Raises
        ------
        FormatError
            ``bad-tag`` when the tag does not hold integers below 2**63, or the reason why a damaged tag was
            left out.
        UsageError
            ``usage`` when the value is deferred.
        """
        tag = self._integer_tag(code)
        if tag is None:
            return None
        if tag.type not in _UNSIGNED_64 or tag.raw is None:
            return tag.array().astype(np.int64, copy=False)
        values = tag.array()
        signed = values.view(np.int64)
        if signed.size and signed.min() < 0:
            found = f"the value {int(values.max())} exceeds 63 bits"
            raise FormatError(found, feature="bad-tag", ifd=self.path, tag=code)
        return signed

    def integer(self, code: int, default: int) -> int:
        """The first value of an integer tag, or the default when it is absent or empty.

        Raises
        ------
        FormatError
            As :meth:`integers`.
        """
        tag = self._integer_tag(code)
        if tag is None or tag.raw == b"":
            return default
        if tag.raw is None:
            raise tag._not_loaded().at(ifd=self.path)  # noqa: SLF001 - both stand in this module
        size, signed = _INTEGERS[tag.type]
        return int.from_bytes(tag.raw[:size], tag.byte_order, signed=signed)

    def _integer_tag(self, code: int) -> Tag | None:
        tag = self.tags.get(code)
        if tag is None:
            for problem in self.problems:
                if problem.tag == code:
                    raise copy.copy(problem)  # the stored one must not collect tracebacks
            return None
        if tag.type not in _INTEGERS:
            found = f"expected integers, found TIFF type {tag.type}"
            raise FormatError(found, feature="bad-tag", ifd=self.path, tag=code)
        return tag

    def text(self, code: int) -> str | None:
        """The text of a tag, or None when it is absent, damaged, or holds numbers (libtiff ignores those)."""
        tag = self.tags.get(code)
        return None if tag is None or tag.type not in _TEXTS else tag.text()

    def walk(self) -> Iterator[Ifd]:
        """This IFD and all below it, depth first."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the bytes come from, and what the store says of them; ``size`` in bytes, None where unknown."""

    url: str
    size: int | None = None
    etag: str | None = None
    last_modified: datetime | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class TiffFile:
    """The headers of one TIFF file, and what the store said of it when they were read.

    ``size`` (bytes), ``etag``, ``last_modified`` and ``version`` come from the response that carried the
    header. ``cog_ghost`` is the text of GDAL's COG ghost area behind the header, or None. ``complete`` is
    False when reading stopped before the end of the IFD chain, as asked. ``problems`` are damaged IFDs, which
    are missing in ``ifds`` or in the children of an IFD.
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
            found = _numbered(siblings, index)
            if found is None:
                break
            siblings = found.children
        if found is None:
            raise self._no_such_ifd(wanted)
        return found

    def _no_such_ifd(self, wanted: IfdPath) -> UsageError:
        paths = [".".join(map(str, ifd.path)) for ifd in self.walk()]
        listed = ", ".join(paths[:12]) + (", ..." if len(paths) > 12 else "")
        reasons = [problem.found for problem in self.problems if problem.ifd == wanted]
        reason = f" ({reasons[0]})" if reasons else ""
        found = f"the file has no readable IFD {'.'.join(map(str, wanted)) or '()'}{reason}"
        if not self.complete:
            found += "; reading stopped before the end of the IFD chain"
        return UsageError(found, feature="no-such-ifd", url=self.url, hint=f"It has: {listed}.")


def _numbered(siblings: tuple[Ifd, ...], index: int) -> Ifd | None:
    """Return the IFD with that number; damaged siblings are missing, so its position may differ."""
    if 0 <= index < len(siblings) and siblings[index].path[-1] == index:
        return siblings[index]
    return next((ifd for ifd in siblings if ifd.path[-1] == index), None)
