"""A store that counts: it wraps any obspec store and remembers what was asked of it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from obspec import GetOptions, GetResult, GetResultAsync, ObjectMeta


@dataclass(frozen=True, slots=True)
class Call:
    """One request: bytes ``start`` to ``end`` (exclusive) of a path.

    An open end is None, and a start from the end of the file is negative; a whole file is 0 to None.
    ``method`` is the name of the store's method, without ``_async``. Each range of one ``get_ranges`` is a
    call, though the store may fetch several at once: :class:`tests.servers.FaultServer` counts what goes over
    the wire.
    """

    method: str
    path: str
    start: int | None = None
    end: int | None = None


class CountingStore:
    """Passes all on to another store and remembers each call; other attributes are those of that store.

    Parameters
    ----------
    store
        Any store with obspec's methods. Those that it lacks fail when they are called.
    """

    def __init__(self, store: Any) -> None:
        self.store = store
        self.calls: list[Call] = []
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("store", "_lock", "calls"):  # also while it is unpickled
            raise AttributeError(name)
        return getattr(self.store, name)

    def __getstate__(self) -> dict[str, Any]:
        return {"store": self.store, "calls": self.calls}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    @property
    def gets(self) -> list[Call]:
        """The calls that fetch bytes."""
        return [call for call in self.calls if call.method.startswith("get")]

    def forget(self) -> None:
        """Empty the list of calls."""
        with self._lock:
            self.calls.clear()

    def _note(self, *calls: Call) -> None:
        with self._lock:
            self.calls.extend(calls)

    def get(self, path: str, *, options: GetOptions | None = None) -> GetResult:
        self._note(_get_call(path, options))
        result: GetResult = self.store.get(path, options=options)
        return result

    async def get_async(self, path: str, *, options: GetOptions | None = None) -> GetResultAsync:
        self._note(_get_call(path, options))
        result: GetResultAsync = await self.store.get_async(path, options=options)
        return result

    def get_range(self, path: str, *, start: int, end: int | None = None, length: int | None = None) -> Any:
        self._note(_range_call("get_range", path, start, end, length))
        return self.store.get_range(path, start=start, end=end, length=length)

    async def get_range_async(self, path: str, *, start: int, end: int | None = None, length: int | None = None) -> Any:
        self._note(_range_call("get_range", path, start, end, length))
        return await self.store.get_range_async(path, start=start, end=end, length=length)

    def get_ranges(
        self,
        path: str,
        *,
        starts: Sequence[int],
        ends: Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Any:
        self._note(*_ranges_calls(path, starts, ends, lengths))
        return self.store.get_ranges(path, starts=starts, ends=ends, lengths=lengths)

    async def get_ranges_async(
        self,
        path: str,
        *,
        starts: Sequence[int],
        ends: Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Any:
        self._note(*_ranges_calls(path, starts, ends, lengths))
        return await self.store.get_ranges_async(path, starts=starts, ends=ends, lengths=lengths)

    def head(self, path: str) -> ObjectMeta:
        self._note(Call("head", path))
        meta: ObjectMeta = self.store.head(path)
        return meta

    async def head_async(self, path: str) -> ObjectMeta:
        self._note(Call("head", path))
        meta: ObjectMeta = await self.store.head_async(path)
        return meta


def _get_call(path: str, options: GetOptions | None) -> Call:
    """Note the range of ``get``: a pair of start and end, or a dictionary with ``offset`` or ``suffix``."""
    span: Any = (options or {}).get("range")
    if span is None:
        return Call("get", path, 0, None)
    if isinstance(span, dict):
        return Call("get", path, -span["suffix"] if "suffix" in span else span["offset"], None)
    return Call("get", path, span[0], span[1])


def _range_call(method: str, path: str, start: int, end: int | None, length: int | None) -> Call:
    return Call(method, path, start, end if length is None else start + length)


def _ranges_calls(
    path: str, starts: Sequence[int], ends: Sequence[int] | None, lengths: Sequence[int] | None
) -> list[Call]:
    stops = ends if ends is not None else [s + n for s, n in zip(starts, lengths or (), strict=True)]
    return [Call("get_ranges", path, int(s), int(e)) for s, e in zip(starts, stops, strict=True)]
