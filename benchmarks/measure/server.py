"""An HTTP server with range support that answers each request a little later, in a process of its own.

It is written for speed rather than completeness (the servers of the tests are slower than the clients measured
here); its own time counts for no contender, unless it keeps a processor busy that they need.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import re
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from multiprocessing.connection import Connection
from pathlib import Path

_REQUEST = re.compile(rb"(GET|HEAD) /(\S*) HTTP/1\.1\r\n")
_RANGE = re.compile(rb"\r\nrange: *bytes=(\d+)-(\d+)", re.IGNORECASE)
_HEAD = 65536


@contextmanager
def late_server(root: Path, latency: float) -> Iterator[str]:
    """Serve a folder with a latency in seconds; yields the URL, with a slash at its end."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(root, latency, there), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}/"
    finally:
        process.terminate()
        process.join()
        here.close()
        there.close()


def _serve(root: Path, latency: float, told: Connection) -> None:
    asyncio.run(_serve_forever(root, latency, told))


async def _serve_forever(root: Path, latency: float, told: Connection) -> None:
    files: dict[str, _File] = {}

    def connection() -> _Connection:
        return _Connection(root, latency, files)

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0, backlog=512)
    told.send(server.sockets[0].getsockname()[1])
    async with server:
        await server.serve_forever()


class _File:
    """A file, its first bytes, and the header lines that describe it."""

    def __init__(self, path: Path) -> None:
        stat = path.stat()
        self.path = path
        self.size = stat.st_size
        with path.open("rb") as file:
            self.head = file.read(_HEAD)
        self.lines = (
            f'ETag: "{stat.st_mtime_ns:x}-{stat.st_size:x}"\r\nAccept-Ranges: bytes\r\n'
            f"Last-Modified: {formatdate(stat.st_mtime, usegmt=True)}\r\n"
        )

    def read(self, start: int, end: int) -> bytes:
        if end <= len(self.head):
            return self.head[start:end]
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)


class _Connection(asyncio.Protocol):
    def __init__(self, root: Path, latency: float, files: dict[str, _File]) -> None:
        self.root = root
        self.latency = latency
        self.files = files
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.received.endswith(b"\r\n\r\n"):  # no client sends a request before it has the answer to the last
            request, self.received = self.received, b""
            asyncio.get_running_loop().call_later(self.latency, self._answer, request)

    def _answer(self, request: bytes) -> None:
        asked = _REQUEST.match(request)
        name = asked[2].decode() if asked else ""
        if name not in self.files:
            if not asked or not (self.root / name).is_file():
                self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                return
            self.files[name] = _File(self.root / name)
        file = self.files[name]
        span = _RANGE.search(request)
        start, end = (int(span[1]), min(int(span[2]) + 1, file.size)) if span else (0, file.size)
        status = f"206 Partial Content\r\nContent-Range: bytes {start}-{end - 1}/{file.size}" if span else "200 OK"
        head = f"HTTP/1.1 {status}\r\nContent-Length: {end - start}\r\n{file.lines}\r\n".encode()
        body = b"" if request.startswith(b"HEAD") else file.read(start, end)
        self.transport.write(head + body)
