"""Readers that load the tags which the header parser has left deferred."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from virtual_tiff.errors import FormatError, VirtualTiffError
from virtual_tiff.tiff.ifd import Ifd, IfdPath, TagEntry, TagMap, TiffFile
from virtual_tiff.tiff.protocol import DEFAULT_LIMITS, Limits, Reader, too_much_metadata
from virtual_tiff.tiff.tags import TYPE_SIZES


def load_tags(ifd: Ifd, codes: Collection[int] | None = None, *, limits: Limits = DEFAULT_LIMITS) -> Reader[Ifd]:
    """Load deferred tags (all, or those in ``codes``) and return the IFD with them.

    Its children stay as they are. A tag whose bytes are not in the file moves to the problems of the IFD.

    Raises
    ------
    LimitError
        ``limit-metadata-bytes``.
    """
    (loaded,) = yield from _load((ifd,), codes, limits)
    return loaded


def load_file_tags(
    tiff: TiffFile, codes: Collection[int] | None = None, *, limits: Limits = DEFAULT_LIMITS
) -> Reader[TiffFile]:
    """Load deferred tags of all IFDs and SubIFDs in one batch; otherwise as :func:`load_tags`."""
    flat = tuple(tiff.walk())
    try:
        loaded = iter((yield from _load(flat, codes, limits)))
    except VirtualTiffError as error:
        raise error.at(url=tiff.url) from None
    return replace(tiff, ifds=tuple(_with_children(ifd, loaded) for ifd in tiff.ifds))


def _with_children(ifd: Ifd, loaded: Iterator[Ifd]) -> Ifd:
    """Put loaded IFDs, which come in the order of ``walk``, in the places of the old ones."""
    new = next(loaded)
    if not ifd.children:
        return new
    return replace(new, children=tuple(_with_children(child, loaded) for child in ifd.children))


def _load(ifds: Sequence[Ifd], codes: Collection[int] | None, limits: Limits) -> Reader[list[Ifd]]:
    places: list[dict[int, tuple[int, int]]] = []
    for ifd in ifds:
        deferred = ifd.tags.deferred() if isinstance(ifd.tags, TagMap) else {}
        places.append({code: place for code, place in deferred.items() if codes is None or code in codes})
    total = sum(nbytes for wanted in places for _, nbytes in wanted.values())
    if total > limits.max_metadata_bytes:
        raise too_much_metadata(limits)
    ranges = [(offset, offset + nbytes) for wanted in places for offset, nbytes in wanted.values()]
    buffers = iter((yield ranges) if ranges else ())
    pairs = zip(ifds, places, strict=True)
    return [_loaded(ifd, wanted, buffers) if wanted else ifd for ifd, wanted in pairs]


def _loaded(ifd: Ifd, wanted: dict[int, tuple[int, int]], buffers: Iterable[bytes]) -> Ifd:
    values: dict[int, bytes | None] = {}
    problems = list(ifd.problems)
    for (code, (offset, nbytes)), raw in zip(wanted.items(), buffers, strict=False):
        values[code] = raw if len(raw) == nbytes else None
        if len(raw) != nbytes:
            problems.append(outside(ifd.path, code, offset, nbytes, offset + len(raw)))
    assert isinstance(ifd.tags, TagMap)  # noqa: S101 - nothing else has deferred tags
    return replace(ifd, tags=ifd.tags.filled(values), problems=tuple(problems))


def unloaded(entries: Mapping[int, TagEntry], codes: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Return offset and size in bytes of those of the tags whose values have not been read yet."""
    found = ((code, entries[code]) for code in codes if code in entries)
    return {code: (at, count * TYPE_SIZES.get(kind, 0)) for code, (kind, count, at, raw) in found if raw is None}


def outside(path: IfdPath, code: int, offset: int, nbytes: int, size: int) -> FormatError:
    """Make the error for a value that the file does not hold in full."""
    found = f"the value at {offset} has {nbytes} bytes, and the file ends at {size}"
    return FormatError(found, feature="truncated", ifd=path, tag=code)
