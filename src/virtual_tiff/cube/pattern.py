"""Coordinates out of the names of files: ``{tile}_{time:%Y%m%d}_{band}.tif``.

A name that can be read in more than one way is refused, never guessed: all readings are followed, and a bound
on the work keeps hostile names from taking long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from urllib.parse import unquote

from virtual_tiff.cube.fields import Bound, Field, FieldKind, Fixed, Part, compile_pattern, crosses
from virtual_tiff.cube.timeformat import join_pieces, moment_of
from virtual_tiff.errors import ConformError

MAX_PATH: Final = 4096
"""Characters of a path that is matched."""
MAX_STEPS: Final = 300_000
"""Readings that are tried for one path."""

_FIRST: Final = 5
_HINT: Final = "A pattern describes the end of the path, from a slash on; * stands for what does not matter."
_ENCODED: Final = ("http", "https", "file")


@dataclass(frozen=True)
class Pattern:
    """The compiled form of a pattern for names of files.

    Parameters
    ----------
    text
        What the end of a path looks like, beginning behind a slash. Fields are ``{name}`` (any text within
        one folder or file name), ``{name:d}`` (a whole number, a full run of digits), ``{name:3d}`` (exactly
        three digits), ``{name:%Y%m%d}`` (a moment in UTC) and ``{name:[A-Z]+}`` (a regular expression). A
        name may occur several times: moments are put together (``{time:%Y}/{time:%m}/{time:%d}.tif``), other
        values must be the same. ``*`` is any text within one folder or file name, ``**`` crosses folders,
        ``{{`` and ``}}`` are braces. A pattern with ``://`` describes the whole URL.

    Raises
    ------
    UsageError
        ``usage`` when the pattern cannot be understood, or can never be read in one way only.
    """

    text: str
    _parts: tuple[Part, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_parts", compile_pattern(self.text))

    def __reduce__(self) -> tuple[type[Pattern], tuple[str]]:
        return Pattern, (self.text,)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields, in the order of their first occurrence."""
        return tuple(dict.fromkeys(part.name for part in self._parts if isinstance(part, Field)))

    @property
    def kinds(self) -> Mapping[str, FieldKind]:
        """The kind of each field: "text", "number", "time" or "regex"."""
        return {part.name: part.kind for part in self._parts if isinstance(part, Field)}

    def match(self, url: str) -> dict[str, datetime | int | str] | None:
        """Return the values of the fields in one URL or path, or None when it does not match.

        Raises
        ------
        ConformError
            ``conform`` when the path can be read in more than one way.
        """
        path = readable_path(url, whole="://" in self.text)
        last = self._parts[-1]
        if len(path) > MAX_PATH or (isinstance(last, Fixed) and not path.endswith(last.text)):
            return None
        readings = _Reader(self._parts, path, url).readings()
        if len(readings) > 1:
            ways = " or ".join(", ".join(map(repr, reading)) for reading in readings)
            found = f"the pattern {self.text!r} reads the name in more than one way: {ways}"
            hint = "Say what a field may hold, as in {tile:[0-9]{2}[A-Z]{3}} or {n:d}."
            raise ConformError(found, feature="conform", url=url, hint=hint)
        return self._values(readings[0]) if readings else None

    def coordinates_of(self, url: str) -> Mapping[str, datetime | int | str]:
        """Return the values of the fields in one URL or path, in the order of the fields.

        Raises
        ------
        ConformError
            ``conform`` when it does not match, or in more than one way.
        """
        values = self.match(url)
        if values is None:
            found = f"the name does not match the pattern {self.text!r}"
            raise ConformError(found, feature="conform", url=url, hint=_HINT)
        return values

    def read_all(self, urls: Sequence[str]) -> list[Mapping[str, datetime | int | str]]:
        """Return the values for many URLs, in their order.

        Raises
        ------
        ConformError
            ``conform`` with the first files that do not match and how many there are; or the first that
            matches in more than one way.
        """
        found = [self.match(url) for url in urls]
        failed = [url for url, values in zip(urls, found, strict=True) if values is None]
        if failed:
            raise _mismatch(self.text, failed, len(urls))
        return [values for values in found if values is not None]

    def _values(self, reading: Sequence[str]) -> dict[str, datetime | int | str]:
        texts: dict[str, str] = {}
        pieces: dict[str, list[tuple[str, int]]] = {}
        fields = [part for part in self._parts if isinstance(part, Field)]
        for part, text in zip(fields, reading, strict=True):
            texts[part.name] = text
            if part.format is not None:
                pieces.setdefault(part.name, []).extend(part.format.pieces(text) or ())
        values: dict[str, datetime | int | str] = {}
        for name, kind in self.kinds.items():
            moment = moment_of(join_pieces(pieces[name]) or ()) if kind == "time" else None
            values[name] = moment or (int(texts[name]) if kind == "number" else texts[name])
        return values


class _Reader:
    """All readings of one path; two are enough to know that it is ambiguous."""

    def __init__(self, parts: tuple[Part, ...], path: str, url: str) -> None:
        self.parts, self.path, self.url = parts, path, url
        self.steps = 0
        self.known: dict[tuple[int, int, Bound], tuple[tuple[str, ...], ...]] = {}

    def readings(self) -> tuple[tuple[str, ...], ...]:
        slots = [part.slot for part in self.parts if isinstance(part, Field) and part.slot is not None]
        unknown: Bound = (None,) * len(set(slots))
        found = (reading for start in self._starts() for reading in self._read(0, start, unknown))
        return tuple(dict.fromkeys(found))[:2]

    def _starts(self) -> list[int]:
        """Where the pattern may begin: at the path's start, or behind (for ``/...`` at) the right slash."""
        first = self.parts[0]
        shift = 0 if isinstance(first, Fixed) and first.text.startswith("/") else 1
        starts = [0, *(match.start() + shift for match in re.finditer("/", self.path))]
        if any(crosses(part) for part in self.parts):
            return starts
        slashes = sum(part.text.count("/") for part in self.parts if isinstance(part, Fixed))
        return starts[-slashes - shift :][:1] if slashes + shift <= len(starts) else []

    def _read(self, index: int, start: int, bound: Bound) -> tuple[tuple[str, ...], ...]:
        if index == len(self.parts):
            return ((),) if start == len(self.path) and self._complete(bound) else ()
        key = (index, start, bound)
        if key not in self.known:
            self.known[key] = tuple(dict.fromkeys(self._follow(index, start, bound)))
        return self.known[key]

    def _follow(self, index: int, start: int, bound: Bound) -> Iterator[tuple[str, ...]]:
        part = self.parts[index]
        found: set[tuple[str, ...]] = set()
        self._count(part.work(self.path, start) if isinstance(part, Field) else 0)
        for end in part.ends(self.path, start):
            self._count(1)
            text = self.path[start:end]
            bound_here = part.bind(bound, text) if isinstance(part, Field) else bound
            if bound_here is None:
                continue
            for rest in self._read(index + 1, end, bound_here):
                reading = (text, *rest) if isinstance(part, Field) else rest
                found.add(reading)
                yield reading
            if len(found) > 1:
                return

    def _complete(self, bound: Bound) -> bool:
        """Whether the moments that were put together exist."""
        return all(moment_of(pieces) is not None for pieces in bound if isinstance(pieces, tuple))

    def _count(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MAX_STEPS:
            found = f"the name can be read in too many ways; {MAX_STEPS} were tried"
            raise ConformError(found, feature="conform", url=self.url, hint="Use a more precise pattern.")


def readable_path(url: str, *, whole: bool = False) -> str:
    """Return the path of a URL without percent-encoding, query and fragment; other paths are returned as they are.

    Parameters
    ----------
    url
        A URL or a path. Object stores do not encode their keys, so these stay what they are.
    whole
        Return scheme and host too.
    """
    scheme, colon, rest = url.partition("://")
    if not colon:
        return url
    host, slash, path = rest.partition("/")
    if scheme.lower() in _ENCODED:
        path = unquote(re.split("[?#]", path, maxsplit=1)[0])
    return f"{scheme}://{host}/{path}" if whole else slash + path


def _mismatch(pattern: str, failed: Sequence[str], total: int) -> ConformError:
    shown = ", ".join(failed[:_FIRST]) + (", ..." if len(failed) > _FIRST else "")
    found = f"{len(failed)} of {total} names do not match the pattern {pattern!r}: {shown}"
    return ConformError(found, feature="conform", hint=_HINT)
