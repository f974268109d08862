"""A proxy that fails one request in so many, as object stores and web servers under load do."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
import sys
import threading
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal, cast, get_args
from urllib.parse import urlsplit

from tests.servers import HOST, Server

type Passing = Literal["500", "503", "429", "reset", "cut", "late", "done-500", "done-reset"]
type Fault = Passing | Literal["403", "denied", "region", "hang", "stall"]
"""Refused unseen (500, 503, 429, reset); answered in part (cut) or late; done, but the answer is lost (done-...).

Not among the passing ones, :data:`FAULTS`: 403 without a word; what S3 says to wrong credentials (denied) and to a
wrong region (region); no answer (hang), or half of one (stall), and the line stays open.
"""

FAULTS: Final[tuple[Fault, ...]] = get_args(Passing.__value__)
LATE: Final = 0.5
"""Seconds that a late answer takes."""

_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host"})
_SLOW_DOWN: Final = (
    b'<?xml version="1.0" encoding="UTF-8"?>'
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)

_DENIED: Final = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
)
_REGION: Final = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>PermanentRedirect</Code>'
    b"<Message>The bucket you are attempting to access must be addressed otherwise.</Message></Error>"
)


@dataclass(frozen=True, slots=True)
class Passed:
    """One request that a :class:`FlakyProxy` has seen, and what it did to it."""

    method: str
    path: str
    fault: Fault | None
    status: int | None


class FlakyProxy(Server):
    """Pass requests on to another server; a seeded share of them fails.

    Parameters
    ----------
    upstream
        URL of the server.
    rate
        The share of requests that fail; may be changed while it runs.
    seed
        Of the choice.
    faults
        Which faults there are.
    """

    def __init__(self, upstream: str, *, rate: float = 0.1, seed: int = 0, faults: Collection[Fault] = FAULTS) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.rate = rate
        self.faults = tuple(faults)
        self.methods: Collection[str] = ()
        self.log: list[Passed] = []
        self.closing = threading.Event()
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._httpd = _Httpd(self)
        self._thread = threading.Thread(target=self._httpd.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://{HOST}:{self._httpd.server_address[1]}/"

    def seen(self) -> Counter[str]:
        """How many requests had which fault; all of them under "requests"."""
        with self._lock:
            return Counter({"requests": len(self.log)}) + Counter(str(one.fault) for one in self.log if one.fault)

    def restart(
        self, seed: int, *, rate: float, faults: Collection[Fault] = FAULTS, methods: Collection[str] = ()
    ) -> None:
        """Fail in another way from now on, only requests with these methods when any are given; forget the log."""
        with self._lock:
            self._chance = random.Random(seed)
            self.rate, self.faults, self.methods = rate, tuple(faults), methods
            self.log.clear()

    def next_fault(self, method: str) -> Fault | None:
        """The fault of the next request; for the handler."""
        with self._lock:
            if self.methods and method not in self.methods:
                return None
            return self._chance.choice(self.faults) if self._chance.random() < self.rate else None

    def record(self, passed: Passed) -> None:
        """Add to the log; for the handler."""
        with self._lock:
            self.log.append(passed)

    def close(self) -> None:
        """Stop the proxy and end its open connections."""
        if self._thread.is_alive():
            self.closing.set()
            self._httpd.shutdown()
            self._thread.join()
            self._httpd.end_connections()
            self._httpd.server_close()


class _Httpd(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, owner: FlakyProxy) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((HOST, 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # clients hang up, and so do we
            super().handle_error(request, client_address)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    length: str | None = None


_REFUSED: Final[dict[str, _Answer]] = {
    "500": _Answer(500),
    "503": _Answer(503, (("Content-Type", "application/xml"),), _SLOW_DOWN),
    "429": _Answer(429),
    "403": _Answer(403),
    "denied": _Answer(403, (("Content-Type", "application/xml"),), _DENIED),
    "region": _Answer(301, (("Content-Type", "application/xml"),), _REGION),
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _pass_on(self) -> None:
        owner = cast(_Httpd, self.server).owner
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = owner.next_fault(self.command)
        answer = _REFUSED.get(fault or "")
        if fault not in ("reset", "hang") and answer is None:
            answer = self._ask(owner.upstream, body)
        owner.record(Passed(self.command, self.path, fault, None if answer is None else answer.status))
        if fault == "late":
            owner.closing.wait(LATE)
        if fault == "hang":
            owner.closing.wait()
        if answer is None or fault == "done-reset":
            self._reset()
        elif fault == "done-500":
            self._send(_REFUSED["500"])
        else:
            self._send(answer, cut=fault in ("cut", "stall") and self._has_body(answer))
            if fault == "stall":
                owner.closing.wait()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815 (as the base class calls them)

    def _has_body(self, answer: _Answer) -> bool:
        return bool(answer.body) and self.command != "HEAD"

    def _ask(self, upstream: str, body: bytes) -> _Answer:
        connection = http.client.HTTPConnection(upstream, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            found = connection.getresponse()
            headers = tuple(item for item in found.getheaders() if item[0].lower() not in _HOP)
            return _Answer(found.status, headers, found.read(), found.getheader("Content-Length"))
        finally:
            connection.close()

    def _send(self, answer: _Answer, *, cut: bool = False) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        head = self.command == "HEAD"
        if answer.status not in (204, 304):
            self.send_header("Content-Length", (head and answer.length) or str(len(answer.body)))
        self.end_headers()
        if head:
            return
        self.wfile.write(answer.body[: len(answer.body) // 2] if cut else answer.body)
        if cut:
            self.close_connection = True

    def _reset(self) -> None:
        """End the connection without a word, so that the client sees "connection reset by peer"."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
