"""Sans-I/O parser of TIFF and BigTIFF headers: IFD chain, SubIFDs, tags.

Damage that concerns one tag or a later IFD becomes a *problem* of the Ifd or the TiffFile, and the rest is
kept; only a file without any readable IFD raises. Limits raise, apart from the limit of a single tag.

References
----------
TIFF 6 section 2; the BigTIFF design of Aware Systems; SubIFDs: PageMaker 6 technical notes; the ghost
area: GDAL's COG driver, https://gdal.org/en/stable/drivers/raster/cog.html.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from virtual_tiff.errors import FormatError, LimitError, VirtualTiffError
from virtual_tiff.tiff import lsm, ndpi
from virtual_tiff.tiff.deferred import outside, unloaded
from virtual_tiff.tiff.header import CLASSIC, LARGE_NDPI, Form, cog_ghost, read_header
from virtual_tiff.tiff.ifd import Ifd, IfdPath, Origin, TagEntry, TagMap, TiffFile
from virtual_tiff.tiff.protocol import DEFAULT_LIMITS, PREFETCH, Limits, Reader, too_much_metadata
from virtual_tiff.tiff.tags import TYPE_DTYPES, TYPE_SIZES, Tags, TagType
from virtual_tiff.tiff.wrapped import GIANT, SCANIMAGE_TEXTS, drop_wrapped, is_scanimage, refuse_wrapped

EAGER_BYTES: Final = 4096
"""Values up to this size are loaded with their IFD; larger ones that are not at hand are deferred."""

_IFD_GUESS: Final = 1024
"""Bytes asked for where an IFD begins: some 60 entries and small values that follow them."""

_MAX_RUN: Final = 6
"""A chain that advances by equal strides is read ahead by up to 2**6 IFDs at once."""

_MIN_PREFETCH: Final = 64
_MAX_ENTRIES: Final = 65535
_ENTRY_COST, _IFD_COST, _PROBLEM_COST = 192, 1024, 1024  # memory of the Python objects, roughly, in bytes
_INTEGER_CODES: Final = frozenset({3, 4, 9, 13, 16, 17, 18})


@dataclass(slots=True)
class _Draft:
    """An IFD being read; ``wanted`` are offset and size of the small values still to be fetched."""

    path: IfdPath
    offset: int
    entries: dict[int, TagEntry] = field(default_factory=dict)
    wanted: dict[int, tuple[int, int]] = field(default_factory=dict)
    problems: list[VirtualTiffError] = field(default_factory=list)
    children: list[_Draft] = field(default_factory=list)
    following: int = 0

    def freeze(self, form: Form) -> Ifd:
        children = tuple(child.freeze(form) for child in self.children)
        tags = TagMap(self.entries, form.byte_order)
        problems = tuple(self.problems)
        return Ifd(self.path, self.offset, form.byte_order, form.bigtiff, tags, children, problems)


def parse_tiff(
    origin: Origin, *, prefetch: int = PREFETCH, limits: Limits = DEFAULT_LIMITS, last: int | None = None
) -> Reader[TiffFile]:
    """Read the headers of a TIFF file.

    Parameters
    ----------
    origin
        What is known of the file; a known size bounds every offset.
    prefetch
        Bytes of the first range, from the start of the file.
    limits
        Bounds against hostile files.
    last
        Stop the main chain after the IFD with this index. In vain for LSM files of 4 GiB and more, whose
        offsets are only known from all IFDs.

    Raises
    ------
    FormatError
        ``not-a-tiff``, ``truncated``, ``no-ifd``, ``wrapped-offsets``, or the damage of the first IFD when
        there is no readable one.
    LimitError
        ``limit-ifds``, ``limit-metadata-bytes``.
    """
    prefetch = max(prefetch, _MIN_PREFETCH)
    (head,) = yield [(0, prefetch)]
    size = len(head) if origin.size is None and len(head) < prefetch else origin.size
    try:
        form, first = read_header(head)
        if form is CLASSIC and head[:2] == b"II" and size is not None and size >= GIANT:
            slide = yield from ndpi.first_ifd(head, size)
            form, first = (form, first) if slide is None else (LARGE_NDPI, slide)
        parser = _Parser(form, head, size, limits)
        drafts = yield from parser.main_chain(first, last)
    except VirtualTiffError as error:
        raise error.at(url=origin.url) from None
    for problem in parser.all_problems(drafts):
        problem.at(url=origin.url)
    return TiffFile(
        origin.url,
        form.byte_order,
        form.bigtiff,
        tuple(draft.freeze(form) for draft in drafts),
        size,
        origin.etag,
        origin.last_modified,
        origin.version,
        cog_ghost(head, 16 if form.bigtiff else 8),
        parser.complete,
        tuple(parser.problems),
    )


class _Parser:
    """State of one header being read."""

    def __init__(self, form: Form, head: bytes, size: int | None, limits: Limits) -> None:
        self.form = form
        self.head = head
        self.size = size
        self.limits = limits
        self.complete = True
        self.lsm = False
        self.problems: list[VirtualTiffError] = []
        self._budget = limits.max_metadata_bytes
        self._seen: set[int] = set()
        self._ahead: dict[int, bytes] = {}

    def main_chain(self, offset: int, last: int | None) -> Reader[list[_Draft]]:
        """Read the IFDs of the main chain and everything below them."""
        drafts: list[_Draft] = []
        stride = run = 0
        while offset:
            path = (len(drafts),)
            if last is not None and len(drafts) > last:
                self.complete = False
                break
            if not self._admit(path, offset):
                break
            ahead = 1
            if drafts:
                step = offset - drafts[-1].offset
                run = min(run + 1, _MAX_RUN) if step == stride else 0
                stride = step
                ahead = 2**run if stride > 0 else 1
            if last is not None:
                ahead = min(ahead, last + 1 - len(drafts))
            draft = yield from self._read_one(path, offset, stride, ahead)
            if draft is None:
                break
            drafts.append(draft)
            offset = draft.following
            last = None if self.lsm else last
        self._ahead.clear()
        if not drafts:
            raise self.problems[0]
        yield from self._level(drafts)
        if self.form.ndpi or self.lsm:
            yield from self._complete_offsets(drafts)
        elif not self.form.bigtiff and self.size is not None and self.size >= GIANT:
            yield from self._drop_wrapped(drafts)
        return drafts

    def all_problems(self, drafts: list[_Draft]) -> Iterable[VirtualTiffError]:
        """Problems of the file and of all IFDs."""
        yield from self.problems
        for draft in drafts:
            yield from draft.problems
            if draft.children:
                yield from self.all_problems(draft.children)

    def _admit(self, path: IfdPath, offset: int) -> bool:
        """Decide whether there may be a new IFD at an offset."""
        if offset in self._seen:
            found = f"the chain of IFDs comes back to offset {offset}"
            self._problem(FormatError(found, feature="ifd-cycle", ifd=path))
            return False
        if offset < 0 or (self.size is not None and offset >= self.size):
            found = f"the IFD at {offset} lies outside of the file ({self.size} bytes)"
            self._problem(FormatError(found, feature="truncated", ifd=path))
            return False
        if len(self._seen) >= self.limits.max_ifds:
            hint = "Raise Limits.max_ifds if you trust the file."
            found = f"more than {self.limits.max_ifds} IFDs"
            raise LimitError(found, feature="limit-ifds", ifd=path, hint=hint)
        self._seen.add(offset)
        self._charge(_IFD_COST)
        return True

    def _charge(self, nbytes: int) -> None:
        self._budget -= nbytes
        if self._budget < 0:
            raise too_much_metadata(self.limits)

    def _problem(self, problem: VirtualTiffError, draft: _Draft | None = None) -> None:
        self._charge(_PROBLEM_COST)
        (self.problems if draft is None else draft.problems).append(problem)

    def _read_one(self, path: IfdPath, offset: int, stride: int, ahead: int) -> Reader[_Draft | None]:
        """Read one IFD of the main chain; guess that the next ones follow at the same stride."""
        if offset + self.form.counter.size <= len(self.head):
            return (yield from self._parse(path, offset, self.head, 0))
        buffer = self._ahead.pop(offset, None)
        if buffer is None:
            self._ahead.clear()
            guesses = range(offset, offset + stride * ahead, stride) if ahead > 1 else (offset,)
            starts = [start for start in guesses if self.size is None or start < self.size]
            buffers = yield [(start, start + _IFD_GUESS) for start in starts]
            buffer = buffers[0]
            self._ahead.update(zip(starts[1:], buffers[1:], strict=True))
        return (yield from self._parse(path, offset, buffer, offset))

    def _parse(self, path: IfdPath, offset: int, buffer: bytes, base: int) -> Reader[_Draft | None]:
        """Read the IFD at an offset out of a buffer that begins at ``base``; fetch more if need be."""
        form = self.form
        first = offset - base + form.counter.size
        if first > len(buffer):
            self._problem(self._cut_off(path, offset))
            return None
        count: int = form.counter.unpack_from(buffer, first - form.counter.size)[0]
        if not 0 < count <= _MAX_ENTRIES:
            found = f"the IFD at {offset} announces {count} entries"
            self._problem(FormatError(found, feature="bad-tag", ifd=path))
            return None
        table_end = first + count * form.entry.size
        tail = ndpi.tail_bytes(count) if form.ndpi else form.pointer.size
        if table_end + tail > len(buffer):
            if self.size is not None and base + table_end > self.size:
                self._problem(self._cut_off(path, offset))
                return None
            (buffer,) = yield [(offset, base + table_end + tail)]
            table_end += base - offset
            first += base - offset
            base = offset
            if table_end + (tail if form.ndpi else 0) > len(buffer):
                self._problem(self._cut_off(path, offset))
                return None
        draft = _Draft(path, offset)
        self._charge(count * _ENTRY_COST)
        self._entries(draft, buffer, base, first, table_end)
        self._refuse_wrapped(draft)
        if table_end + form.pointer.size <= len(buffer):
            draft.following = form.pointer.unpack_from(buffer, table_end)[0]
        else:
            self._problem(self._cut_off((*path[:-1], path[-1] + 1), base + table_end))
        return draft

    def _refuse_wrapped(self, draft: _Draft) -> None:
        """Recognise LSM files of 4 GiB and more; refuse what else has offsets that are written otherwise."""
        form = self.form
        if form.bigtiff or form.ndpi or (self.size is not None and self.size < GIANT):
            return
        if draft.path == (0,) and self.size is not None and form.byte_order == "little":
            self.lsm = Tags.LSMInfo in draft.entries
        refuse_wrapped(draft.entries.keys() - {Tags.LSMInfo if self.lsm else 0}, draft.path, self.size)

    def _complete_offsets(self, drafts: list[_Draft]) -> Reader[None]:
        """Complete offsets of strips and tiles that stand in arrays without their high halves."""
        yield from self._load_now(drafts, lsm.NEEDED if self.lsm else None)
        if self.lsm and self.size is not None:
            lsm.unwrap([draft.entries for draft in drafts], self.size, is_whole=not self.problems)
            return
        for draft in drafts:
            for problem in ndpi.complete(draft.entries, draft.path):
                self._problem(problem, draft)
            yield from self._complete_offsets(draft.children)

    def _drop_wrapped(self, drafts: list[_Draft]) -> Reader[None]:
        """Take out what wrapped offsets of ScanImage files point at."""
        yield from self._load_now(drafts[:1], SCANIMAGE_TEXTS)
        if not is_scanimage(drafts[0].entries):
            return
        yield from self._load_now(drafts, (Tags.StripOffsets,))
        for draft in drafts:
            for problem in drop_wrapped(draft.entries, draft.path, draft.offset, self.form.byte_order):
                self._problem(problem, draft)

    def _load_now(self, drafts: list[_Draft], codes: Iterable[int] | None) -> Reader[None]:
        """Load values that would be deferred; by default the halves of arrays of NDPI."""
        for draft in drafts:
            draft.wanted = unloaded(draft.entries, ndpi.halves(draft.entries) if codes is None else codes)
            self._charge(sum(nbytes for _, nbytes in draft.wanted.values()))
        yield from self._load_wanted(drafts)

    def _cut_off(self, path: IfdPath, offset: int) -> FormatError:
        found = f"the file ends inside of the IFD at {offset}"
        return FormatError(found, feature="truncated", ifd=path)

    def _entries(self, draft: _Draft, buffer: bytes, base: int, first: int, table_end: int) -> None:
        """Read the entries of an IFD; values that stand in the buffer or in the head are taken at once."""
        form, head = self.form, self.head
        entries, order, slide = draft.entries, form.byte_order, form.ndpi
        width = 4 if slide else form.pointer.size
        sizes, head_end, buffer_end = TYPE_SIZES, len(head), base + len(buffer)
        place = base + first + form.entry.size - width
        table = ndpi.rows(buffer, first, table_end) if slide else form.entry.iter_unpack(buffer[first:table_end])
        for code, kind, count, value in table:
            nbytes = sizes.get(kind, 0) * count
            if code in entries:
                found = "the tag appears more than once; the first one counts"
                self._problem(FormatError(found, feature="bad-tag", ifd=draft.path, tag=code), draft)
            elif nbytes <= width and not (slide and kind == TagType.ASCII):
                entries[code] = (kind, count, place, value[:nbytes] if kind in sizes else value)
            else:
                offset = int.from_bytes(value, order)
                end = offset + nbytes
                if end <= head_end:
                    self._charge(nbytes)
                    entries[code] = (kind, count, offset, head[offset:end])
                elif base <= offset and end <= buffer_end:
                    self._charge(nbytes)
                    entries[code] = (kind, count, offset, buffer[offset - base : end - base])
                else:
                    self._distant(draft, code, (kind, count, offset, None), nbytes)
            place += form.entry.size
        if slide:
            ndpi.widen(entries, buffer, first, table_end)

    def _distant(self, draft: _Draft, code: int, entry: TagEntry, nbytes: int) -> None:
        """Note a value that is not at hand: to be fetched, deferred, or damaged."""
        offset = entry[2]
        if self.size is not None and offset + nbytes > self.size:
            self._problem(outside(draft.path, code, offset, nbytes, self.size), draft)
        elif nbytes > self.limits.max_tag_bytes:
            found = f"a value of {nbytes} bytes (the limit is {self.limits.max_tag_bytes})"
            hint = "Raise Limits.max_tag_bytes if you trust the file."
            limit = LimitError(found, feature="limit-tag-bytes", ifd=draft.path, tag=code, hint=hint)
            self._problem(limit, draft)
        elif code == Tags.SubIFDs and entry[1] > self.limits.max_ifds:
            found = f"{entry[1]} SubIFDs (the limit is {self.limits.max_ifds} IFDs)"
            self._problem(LimitError(found, feature="limit-ifds", ifd=draft.path, tag=code), draft)
        else:
            draft.entries[code] = entry
            if nbytes <= EAGER_BYTES or code == Tags.SubIFDs:
                self._charge(nbytes)
                draft.wanted[code] = (offset, nbytes)

    def _level(self, drafts: list[_Draft], depth: int = 0) -> Reader[None]:
        """Load the small values of sibling IFDs in one batch, then read their SubIFDs, level by level."""
        yield from self._load_wanted(drafts)
        parents = [draft for draft in drafts if Tags.SubIFDs in draft.entries]
        if not parents:
            return
        if depth >= self.limits.max_depth:
            hint = "Raise Limits.max_depth if you trust the file."
            found = f"SubIFDs are nested deeper than {self.limits.max_depth} levels"
            raise LimitError(found, feature="limit-ifds", ifd=parents[0].path, tag=Tags.SubIFDs, hint=hint)
        yield from self._read_children(parents)
        children = [child for parent in parents for child in parent.children]
        if children:
            yield from self._level(children, depth + 1)

    def _load_wanted(self, drafts: list[_Draft]) -> Reader[None]:
        wanted = [(draft, code, *place) for draft in drafts for code, place in draft.wanted.items()]
        if not wanted:
            return
        buffers = yield [(offset, offset + nbytes) for _, _, offset, nbytes in wanted]
        for (draft, code, offset, nbytes), raw in zip(wanted, buffers, strict=True):
            if len(raw) == nbytes:
                draft.entries[code] = (*draft.entries[code][:3], raw)
            else:
                del draft.entries[code]
                self._problem(outside(draft.path, code, offset, nbytes, offset + len(raw)), draft)

    def _read_children(self, parents: list[_Draft]) -> Reader[None]:
        """Read the SubIFDs of all parents, and the IFDs chained to these: each step is one batch."""
        numbers: dict[IfdPath, int] = {}
        step: list[tuple[_Draft, int, int]] = []
        for parent in parents:
            offsets = self._child_offsets(parent)
            numbers[parent.path] = len(offsets)
            step += [(parent, number, offset) for number, offset in enumerate(offsets) if offset]
        while step:
            admitted = [item for item in step if self._admit((*item[0].path, item[1]), item[2])]
            reach = len(self.head) - self.form.counter.size
            missing = [offset for _, _, offset in admitted if offset > reach]
            buffers = (yield [(offset, offset + _IFD_GUESS) for offset in missing]) if missing else ()
            fetched = dict(zip(missing, buffers, strict=True))
            step = []
            for parent, number, offset in admitted:
                at_hand = (fetched[offset], offset) if offset in fetched else (self.head, 0)
                child = yield from self._parse((*parent.path, number), offset, *at_hand)
                if child is None:
                    continue
                parent.children.append(child)
                if child.following:
                    step.append((parent, numbers[parent.path], child.following))
                    numbers[parent.path] += 1

    def _child_offsets(self, draft: _Draft) -> list[int]:
        """Return the values of the SubIFDs tag."""
        kind, _, _, raw = draft.entries[Tags.SubIFDs]
        if kind not in _INTEGER_CODES:
            found = f"the SubIFDs are of TIFF type {kind}"
            self._problem(FormatError(found, feature="bad-tag", ifd=draft.path, tag=Tags.SubIFDs), draft)
            return []
        sign: Literal["<", ">"] = "<" if self.form.byte_order == "little" else ">"
        offsets: list[int] = np.frombuffer(raw or b"", TYPE_DTYPES[kind].newbyteorder(sign)).tolist()
        return offsets
