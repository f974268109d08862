"""The parts of a pattern for names, and how its text is taken apart: ``{tile}_{time:%Y%m%d}_{band}.tif``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise, zip_longest
from typing import Final, Literal

from virtual_tiff.cube.timeformat import (
    Pieces,
    TimeFormat,
    check_units,
    compile_format,
    join_pieces,
    moment_of,
)
from virtual_tiff.errors import UsageError

MAX_PATTERN: Final = 1000
"""Characters of a pattern."""

_NUMBER: Final = re.compile(r"[0-9]+")
_MAX_DIGITS: Final = 18
_RESERVED: Final = frozenset({"x", "y", "spatial_ref"})

type FieldKind = Literal["text", "number", "time", "regex"]
type Known = str | int | Pieces | None
type Bound = tuple[Known, ...]
"""What is known so far of the names that occur several times; None where nothing is."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """Text that stands for itself."""

    text: str

    def ends(self, path: str, start: int) -> Iterator[int]:
        """Where this part may end when it begins at `start`."""
        if path.startswith(self.text, start):
            yield start + len(self.text)


@dataclass(frozen=True, slots=True)
class Wild:
    """``*``: anything within a folder; ``**``: also across folders; ``**/``: any folders, or none.

    ``follow`` is the text that must come next, None when that is not fixed.
    """

    text: str
    follow: str | None = None

    def ends(self, path: str, start: int) -> Iterator[int]:
        """Where this part may end when it begins at `start`."""
        if self.text == "**/":
            yield start
            yield from _found(path, "/", start, len(path), after=1)
        else:
            yield from _open_ends(path, start, self.follow, across=self.text == "**")


@dataclass(frozen=True, slots=True)
class Field:
    """``{name}`` with what may stand there.

    ``slot`` is its place in `Bound` when the name occurs several times; ``follow`` as in `Wild`.
    """

    name: str
    kind: FieldKind
    digits: int = 0
    regex: re.Pattern[str] | None = None
    format: TimeFormat | None = None
    slot: int | None = None
    follow: str | None = None

    def ends(self, path: str, start: int) -> Iterator[int]:
        """Where this part may end when it begins at `start`."""
        if self.kind == "text":
            yield from _open_ends(path, start, self.follow, least=1)
        elif self.kind == "number":
            yield from self._number_ends(path, start)
        elif self.format is not None:
            ends = range(start + self.format.least, min(start + self.format.most, len(path)) + 1)
            yield from (end for end in ends if self._holds_time(path[start:end]))
        elif self.regex is not None and self.regex.match(path, start):
            ends = range(start, len(path) + 1)
            yield from (end for end in ends if self.regex.fullmatch(path, start, end))

    def work(self, path: str, start: int) -> int:
        """How many texts are tried when it begins at `start`, besides those that fit."""
        return 0 if self.regex is None else len(path) - start

    def _number_ends(self, path: str, start: int) -> Iterator[int]:
        match = _NUMBER.match(path, start)
        if match is None:
            return
        if self.digits:
            if match.end() >= start + self.digits:
                yield start + self.digits
        elif len(match[0]) <= _MAX_DIGITS and not (start and path[start - 1] in "0123456789"):
            yield match.end()  # a number is a whole run of digits

    def _holds_time(self, text: str) -> bool:
        pieces = None if self.format is None else self.format.pieces(text)
        return pieces is not None and (self.slot is not None or moment_of(pieces) is not None)

    def bind(self, bound: Bound, text: str) -> Bound | None:
        """Add what the text says to what is known, or return None when they contradict each other."""
        if self.slot is None:
            return bound
        known = bound[self.slot]
        new: Known = int(text) if self.kind == "number" else text
        if self.format is not None:
            before = known if isinstance(known, tuple) else ()
            new = join_pieces((*before, *(self.format.pieces(text) or ())))
            if new is None:
                return None
        elif known is not None and known != new:
            return None
        return (*bound[: self.slot], new, *bound[self.slot + 1 :])


def _open_ends(path: str, start: int, follow: str | None, *, least: int = 0, across: bool = False) -> Iterator[int]:
    """Where open text may end that has `least` characters: anywhere, or where `follow` comes next ("": the end)."""
    slash = -1 if across else path.find("/", start)
    first, last = start + least, len(path) if slash < 0 else slash
    if follow is None:
        yield from range(first, last + 1)
    elif follow:
        yield from _found(path, follow, first, last)
    elif first <= last == len(path):
        yield last


def _found(path: str, text: str, start: int, stop: int, *, after: int = 0) -> Iterator[int]:
    """Where a text occurs between two positions, plus `after`."""
    position = path.find(text, start)
    while 0 <= position <= stop:
        yield position + after
        position = path.find(text, position + 1)


type Part = Fixed | Wild | Field


@lru_cache(maxsize=64)
def compile_pattern(text: str) -> tuple[Part, ...]:
    """Take a pattern apart.

    Raises
    ------
    UsageError
        ``usage`` when it cannot be understood, or can never be read in one way only.
    """
    if len(text) > MAX_PATTERN:
        raise _bad(text, f"it has more than {MAX_PATTERN} characters")
    parts = _join_fixed(_split(text))
    fields = [part for part in parts if isinstance(part, Field)]
    if not fields:
        raise _bad(text, "it has no field")
    _check_neighbours(text, parts)
    names = [part.name for part in fields]
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    for name in dict.fromkeys(names):
        _check_field(text, [part for part in fields if part.name == name])
    slots = {name: index for index, name in enumerate(repeated)}
    return tuple(_placed(part, after, slots) for part, after in zip_longest(parts, parts[1:]))


def _placed(part: Part, after: Part | None, slots: Mapping[str, int]) -> Part:
    """Tell a part what comes next, and where what it says is kept."""
    if isinstance(part, Fixed):
        return part
    follow = after.text if isinstance(after, Fixed) else ("" if after is None else None)
    if isinstance(part, Wild):
        return replace(part, follow=follow)
    return replace(part, follow=follow, slot=slots.get(part.name))


def _split(text: str) -> Iterator[Part]:
    position = 0
    while position < len(text):
        wild = re.compile(r"\*\*/|\*\*|\*").match(text, position)
        if text.startswith(("{{", "}}"), position):
            yield Fixed(text[position])
            position += 2
        elif text[position] == "{":
            end = _closing(text, position)
            yield _field(text, text[position + 1 : end])
            position = end + 1
        elif text[position] == "}":
            raise _bad(text, "it has a closing brace without an opening one")
        elif wild is not None:
            yield Wild(wild[0])
            position = wild.end()
        else:
            yield Fixed(text[position])
            position += 1


def _closing(text: str, start: int) -> int:
    """Find the brace that closes a field; those of its regular expression are counted."""
    depth, position = 0, start
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif text[position] in "{}":
            depth += 1 if text[position] == "{" else -1
            if depth == 0:
                return position
        position += 1
    raise _bad(text, "it has an opening brace without a closing one")


def _field(pattern: str, inside: str) -> Field:
    name, colon, what = inside.partition(":")
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
        raise _bad(pattern, f"{name!r} is no name for a field", "A name has letters, digits and underscores.")
    if name in _RESERVED:
        raise _bad(pattern, f"{name!r} is taken by the georeference of the images", "Choose another name.")
    if colon and not what:
        raise _bad(pattern, f"the field {name!r} says nothing behind its colon")
    if "%" in what:
        return Field(name, "time", format=compile_format(what))
    if name == "time":
        raise _bad(pattern, "the field 'time' has no format", "Write it as in {time:%Y%m%d}.")
    if not what:
        return Field(name, "text")
    number = re.fullmatch("0?([0-9]{0,2})d", what)
    if number is not None:
        digits = int(number[1] or 0)
        if digits > _MAX_DIGITS:
            raise _bad(pattern, f"a number has at most {_MAX_DIGITS} digits")
        return Field(name, "number", digits=digits)
    return Field(name, "regex", regex=_regex(pattern, what))


def _regex(pattern: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise _bad(pattern, f"{text!r} is no regular expression ({error})") from error


def _join_fixed(parts: Iterable[Part]) -> list[Part]:
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, Fixed) and isinstance(last, Fixed):
            joined[-1] = Fixed(last.text + part.text)
        else:
            joined.append(part)
    return joined


def _check_neighbours(text: str, parts: Sequence[Part]) -> None:
    for left, right in pairwise(parts):
        if _is_open(left) and _is_open(right):
            hint = "Put something between them, or say what they may hold."
            raise _bad(text, "two of its fields touch, so that it is not clear where one ends", hint)
        touching = [part for part in (left, right) if isinstance(part, Field) and part.kind in ("number", "time")]
        if len(touching) == 2 and any(part.kind == "number" and not part.digits for part in touching):
            hint = "Give it a width, as in {n:3d}."
            raise _bad(text, "a number is a full run of digits, and more digits follow or precede it", hint)


def _is_open(part: Part) -> bool:
    return part.kind == "text" if isinstance(part, Field) else isinstance(part, Wild) and part.text != "**/"


def _check_field(text: str, fields: Sequence[Field]) -> None:
    """Check that the occurrences of one name agree, and that the pieces of a moment make one."""
    name = fields[0].name
    if len({part.kind == "time" for part in fields}) > 1:
        raise _bad(text, f"the field {name!r} is a moment in one place and none in another")
    if len({part.kind == "number" for part in fields}) > 1:
        raise _bad(text, f"the field {name!r} is a number in one place and none in another")
    formats = [part.format for part in fields if part.format is not None]
    if formats:
        check_units(frozenset().union(*(part.units for part in formats)), f"the field {name!r} of {text!r}")


def _bad(pattern: str, why: str, hint: str | None = None) -> UsageError:
    return UsageError(f"the pattern {pattern[:200]!r} cannot be used: {why}", feature="usage", hint=hint)


def crosses(part: Part) -> bool:
    """Whether a part may hold slashes besides those that the pattern shows."""
    if isinstance(part, Field):
        return part.regex is not None or (part.format is not None and "/" in part.format.text)
    return isinstance(part, Wild) and part.text != "*"
