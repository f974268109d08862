"""The store behind parsed files: what is read is complete, and local files are read without a detour.

A range of a local file that is in the page cache is copied in microseconds; an object store takes hundreds for it. And
object stores answer a range that ends behind the end of the file with what there is: here that is an error.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlparse

import numpy as np
import numpy.typing as npt
from virtualizarr.manifests import ManifestArray, ManifestGroup, ManifestStore
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.sync import sync

from virtual_tiff.codecs.core import is_slow, register_unless_configured
from virtual_tiff.errors import FormatError, UnsupportedError, VirtualTiffError
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


class RangeStore(ManifestStore):
    """A ManifestStore that refuses short answers and reads local files by position.

    It can be pickled, and any number of threads may read. A file is opened for each range, so that nothing is
    remembered of a file that has been replaced; where it is shorter than the chunk needs, reading it raises
    FormatError ``truncated``.

    The first store with arrays of ``numcodecs.zlib`` makes zarr decode those by libdeflate in this process, see
    :func:`virtual_tiff.codecs.core.register`, unless zarr is configured to take another decoder.
    """

    def __init__(self, group: ManifestGroup, *, registry: Any = None) -> None:
        super().__init__(group, registry=registry)
        if any(is_slow(array.metadata.codecs) for array in _arrays(group)):
            register_unless_configured()
        self._arrays: dict[str, ManifestArray | None] = {}
        self._paths: dict[str, str | None] = {}

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return metadata or a chunk, or None when it is missing."""
        chunk = None if byte_range is not None else self._range_of(key)
        if chunk is None:
            return await super().get(key, prototype, byte_range)
        path = self._local_path(chunk.url)
        if path is not None:
            cached = _read(path, chunk, _CACHED_ONLY) if _CACHED_ONLY is not None else None
            octets = await asyncio.to_thread(_read_whole, path, chunk) if cached is None else cached
            return prototype.buffer.from_array_like(octets)
        try:
            buffer = await super().get(key, prototype)
        except Exception as error:
            if is_past_end(error):
                raise _truncated(chunk, 0) from error
            raise
        if buffer is not None and len(buffer) != chunk.length:
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
        return all(self._local_path(url) is not None for url in urls)

    def get_sync(
        self, key: str, *, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return what :meth:`get` returns, in this thread; not from an event loop."""
        prototype = prototype or default_buffer_prototype()
        chunk = None if byte_range is not None else self._range_of(key)
        path = None if chunk is None else self._local_path(chunk.url)
        if chunk is None or path is None:
            return sync(self.get(key, prototype, byte_range))
        return prototype.buffer.from_array_like(_read_whole(path, chunk))

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

    def _local_path(self, url: str) -> str | None:
        if url not in self._paths:
            store, _ = self._registry.resolve(url)
            self._paths[url] = local_path(store, url)
        return self._paths[url]


def local_path(store: Any, url: str) -> str | None:
    """Return the file that obstore's LocalStore takes for a URL, or None for other stores and unusual paths."""
    kind = type(store)
    if os.name != "posix" or kind.__name__ != "LocalStore" or kind.__module__.partition(".")[0] != "obstore":
        return None
    # the rule is VirtualiZarr's: URLs are not decoded, and begin with the prefix of the store or do not
    prefix = str(store.prefix or "/")
    key = urlparse(url).path.lstrip("/").removeprefix(prefix.lstrip("/")).lstrip("/")
    path = posixpath.join(prefix, key)
    return path if posixpath.normpath(path) == path else None


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
