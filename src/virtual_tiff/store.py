"""The store behind parsed files: what is read is complete, and local files are read without a detour.

A range of a local file that is in the page cache is copied in microseconds; an object store takes hundreds for it. And
object stores answer a range that ends behind the end of the file with what there is: here that is an error.
"""

from __future__ import annotations

import asyncio
import json
import os
import posixpath
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, override
from urllib.parse import unquote, urlparse

import numpy as np
import numpy.typing as npt
from obspec_utils.registry import ObjectStoreRegistry
from virtualizarr.manifests import ManifestArray, ManifestGroup, ManifestStore
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.sync import sync

from virtual_tiff.chain import in_chunks
from virtual_tiff.codecs.core import name_of_slow, register_unless_configured
from virtual_tiff.errors import FormatError, SourceError, UnsupportedError, UsageError, VirtualTiffError
from virtual_tiff.tiff.failures import is_past_end, source_error

type Octets = npt.NDArray[np.uint8]

_CACHED_ONLY: Final = getattr(os, "RWF_NOWAIT", None)
"""Flag of Linux: read what is in the page cache, and do not wait for a disk or a network."""

_INLINED: Final = "__inlined__"

_TAKEN_BYTES: Final = 1 << 20
"""Memory that is taken for a range before it is known whether the file, which may be damaged, has as many bytes."""


@dataclass(frozen=True, slots=True)
class ChunkRange:
    """Where the bytes of a chunk stand."""

    url: str
    offset: int
    length: int

    def part(self, wanted: ByteRequest | None) -> ChunkRange:
        """A part of these bytes."""
        if wanted is None:
            return self
        if isinstance(wanted, RangeByteRequest):
            first, end = wanted.start, wanted.end
        elif isinstance(wanted, OffsetByteRequest):
            first, end = wanted.offset, self.length
        else:
            first, end = self.length - wanted.suffix, self.length
        first, end = (min(max(position, 0), self.length) for position in (first, end))
        return ChunkRange(self.url, self.offset + first, max(end - first, 0))


class RootRegistry(ObjectStoreRegistry[Any]):
    """A registry of one store, whose URLs are a root and behind it the path as it is.

    Whatever the path has in it, such as ``#``, ``?`` or ``%41``, belongs to the name of the file.

    Parameters
    ----------
    root
        What all URLs begin with: scheme, host or bucket, and a slash.
    store
        The store; where it has a prefix, paths begin with that or do not.
    """

    def __init__(self, root: str, store: Any) -> None:
        super().__init__({root: store})
        self._root = root
        self._store = store

    @override
    def resolve(self, url: str) -> tuple[Any, str]:
        """Return the store and the path in it.

        Raises
        ------
        ValueError
            When the URL is of another root.
        """
        if not url.startswith(self._root):
            found = f"{url} does not begin with {self._root}"
            raise ValueError(found)
        path = url.removeprefix(self._root).lstrip("/")
        prefix = str(getattr(self._store, "prefix", None) or "")
        if not prefix and hasattr(self._store, "url"):
            prefix = unquote(urlparse(self._store.url).path)
        prefix = prefix.strip("/")
        return self._store, path.removeprefix(prefix + "/") if prefix else path


def resolve(registry: ObjectStoreRegistry[Any], url: str) -> tuple[Any, str]:
    """Return the store that serves a URL, and the path in it.

    The rule is VirtualiZarr's: paths are not decoded. It takes what is behind ``#`` or ``?``, and for http(s) behind
    ``;``, for no part of the path, so that another file would be read: such names are refused. A :class:`RootRegistry`
    takes them.

    Raises
    ------
    SourceError
        ``no-store`` when the registry knows none.
    UsageError
        ``usage`` for a URL of which VirtualiZarr leaves out a part.
    """
    if not isinstance(registry, RootRegistry):
        web = url.lower().startswith(("http://", "https://"))
        path = re.split("[?#]", url, maxsplit=1)[0]
        if re.search("[\t\r\n]", url) or (";" in path.rpartition("/")[2] if web else path != url):
            found = "the URL has a character that VirtualiZarr drops, or behind which it drops the rest"
            hint = "Open such files with open_tiff, or publish them."
            raise UsageError(found, feature="usage", url=url, hint=hint)
    try:
        store, path = registry.resolve(url)
    except ValueError as error:
        found = "no store is registered for this URL"
        hint = "Add one: ObjectStoreRegistry({'scheme://host/': store})."
        raise SourceError(found, feature="no-store", url=url, hint=hint) from error
    return store, path


class RangeStore(ManifestStore):
    """A ManifestStore that refuses short answers and reads local files by position.

    It can be pickled, and any number of threads may read. A file is opened for each range, so that nothing is
    remembered of a file that has been replaced; where it is shorter than the chunk needs, reading it raises
    FormatError ``truncated``.

    The first store with arrays of ``numcodecs.zlib`` or ``zstd`` makes zarr decode that by our kernels in this process,
    see :func:`virtual_tiff.codecs.core.register`, unless zarr is configured to take another decoder.
    """

    def __init__(self, group: ManifestGroup, *, registry: Any = None) -> None:
        super().__init__(group, registry=registry)
        for name in {name_of_slow(array.metadata.codecs) for array in _arrays(group)} - {None}:
            register_unless_configured(name)
        self._arrays: dict[str, ManifestArray | None] = {}
        self._places: dict[str, tuple[Any, str, str | None]] = {}

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return metadata or a chunk, or None when it is missing."""
        chunk = self._range_of(key)
        if chunk is None:
            found = await super().get(key, prototype, byte_range)
            return _in_chunks(found, prototype) if found is not None and key.endswith("zarr.json") else found
        chunk = chunk.part(byte_range)
        store, path, local = self._place(chunk.url)
        if local is not None:
            cached = _read(local, chunk, _CACHED_ONLY) if _CACHED_ONLY is not None else None
            octets = await asyncio.to_thread(_read_whole, local, chunk) if cached is None else cached
            return prototype.buffer.from_array_like(octets)
        try:
            content = await store.get_range_async(path, start=chunk.offset, end=chunk.offset + chunk.length)
        except Exception as error:
            if is_past_end(error):
                raise _truncated(chunk, 0) from error
            raise
        buffer = prototype.buffer.from_bytes(content)
        if len(buffer) != chunk.length:
            raise _truncated(chunk, len(buffer))
        return buffer

    # The fused pipeline of zarr reads synchronously from stores that have these three methods.

    @property
    def _supports_sync_io(self) -> bool:
        return self.is_local

    @cached_property
    def is_local(self) -> bool:
        """Whether every chunk is inlined, missing or in a local file."""
        urls = {url for array in _arrays(self._group) for url in _urls(array)}
        return all(self._place(url)[-1] is not None for url in urls)

    def get_sync(
        self, key: str, *, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return what :meth:`get` returns, in this thread; not from an event loop."""
        prototype = prototype or default_buffer_prototype()
        chunk = None if byte_range is not None else self._range_of(key)
        local = None if chunk is None else self._place(chunk.url)[-1]
        if chunk is None or local is None:
            return sync(self.get(key, prototype, byte_range))
        return prototype.buffer.from_array_like(_read_whole(local, chunk))

    def set_sync(self, key: str, value: Buffer) -> None:
        """Refuse."""
        del value
        raise _read_only(key)

    def delete_sync(self, key: str) -> None:
        """Refuse."""
        raise _read_only(key)

    def _range_of(self, key: str) -> ChunkRange | None:
        """Return where a chunk stands, or None for all other keys, and for chunks that are missing or inlined."""
        name, _, chunk = key.rpartition("/")
        if not chunk.startswith("c."):
            return None
        array = self._array(name)
        if array is None:
            return None
        entry = array.manifest.get_entry(tuple(map(int, chunk[2:].split("."))))
        if entry is None or entry["path"] == _INLINED:
            return None
        return ChunkRange(entry["path"], int(entry["offset"]), int(entry["length"]))

    def _array(self, name: str) -> ManifestArray | None:
        if name not in self._arrays:
            node: ManifestGroup | None = self._group
            *groups, last = name.split("/")
            for group in groups:
                node = None if node is None else node.groups.get(group)
            self._arrays[name] = None if node is None else node.arrays.get(last)
        return self._arrays[name]

    def _place(self, url: str) -> tuple[Any, str, str | None]:
        """The store of a URL, the path in it, and the local file that is."""
        if url not in self._places:
            store, path = resolve(self._registry, url)
            self._places[url] = store, path, local_path(store, path)
        return self._places[url]


def local_path(store: Any, path: str) -> str | None:
    """Return the file that obstore's LocalStore has at a path, or None for other stores and unusual paths."""
    kind = type(store)
    if os.name != "posix" or kind.__name__ != "LocalStore" or kind.__module__.partition(".")[0] != "obstore":
        return None
    file = posixpath.join(str(store.prefix or "/"), path)
    return file if posixpath.normpath(file) == file else None


def _read_whole(path: str, chunk: ChunkRange) -> Octets:
    """Read a range, however long that takes."""
    octets = _read(path, chunk, 0)
    if octets is None:
        raise _truncated(chunk, 0)
    return octets


def _read(path: str, chunk: ChunkRange, flags: int) -> Octets | None:
    """Read a range; None when the flags forbid to wait for it.

    Raises
    ------
    FormatError
        ``truncated`` when the file ends before the range does.
    SourceError
        When the file cannot be opened or read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if chunk.length > _TAKEN_BYTES:
                there = os.fstat(descriptor).st_size - chunk.offset
                if there < chunk.length:
                    raise _truncated(chunk, max(there, 0))
            return _read_open(descriptor, chunk, flags)
        finally:
            os.close(descriptor)
    except VirtualTiffError:
        raise
    except OSError as error:
        if flags:
            return None
        raise source_error(error, chunk.url) from error


def _read_open(descriptor: int, chunk: ChunkRange, flags: int) -> Octets | None:
    octets = np.empty(chunk.length, np.uint8)
    done = 0
    while done < chunk.length:
        count = os.preadv(descriptor, [octets[done:]], chunk.offset + done, flags)
        if count == 0:
            raise _truncated(chunk, done)
        done += count
        if flags and done < chunk.length:
            return None
    return octets


def _in_chunks(document: Buffer, prototype: BufferPrototype) -> Buffer:
    """A ``zarr.json`` whose arrays are decoded by as few codecs as can be."""
    metadata = json.loads(document.to_bytes())
    codecs = metadata.get("codecs")
    if codecs is None or in_chunks(codecs) == tuple(codecs):
        return document
    return prototype.buffer.from_bytes(json.dumps({**metadata, "codecs": in_chunks(codecs)}).encode())


def _truncated(chunk: ChunkRange, there: int) -> FormatError:
    found = f"{there} of the {chunk.length} bytes of a chunk are there, from byte {chunk.offset} on"
    hint = "The file has become shorter since its header was read: restore it, or parse it again."
    return FormatError(found, feature="truncated", url=chunk.url, hint=hint)


def _read_only(key: str) -> UnsupportedError:
    return UnsupportedError(f"{key} cannot be written: the store is read-only", feature="read-only")


def _arrays(group: ManifestGroup) -> list[ManifestArray]:
    """All arrays of a group and of the groups in it."""
    return [*group.arrays.values(), *(array for child in group.groups.values() for array in _arrays(child))]


def _urls(array: ManifestArray) -> set[str]:
    """The files that an array refers to."""
    paths = array.manifest._paths  # noqa: SLF001 (the public iterator takes a second for a million chunks)
    if paths.size and not any(paths.strides):
        paths = paths.reshape(-1)[:1]
    return set(paths.reshape(-1).tolist()) - {"", _INLINED}
