"""Servers on the loopback interface: nginx, an S3 server, and an HTTP server that fails as asked.

Each takes a free port that the system chooses, is ready once it is made, and stops with ``close``.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Literal, Self, cast
from urllib.parse import unquote, urlsplit

from obstore.store import HTTPStore, S3Store

HOST: Final = "127.0.0.1"

type Mode = Literal["normal", "no-range", "forbidden", "missing", "closes-early", "unavailable"]


class Server:
    """What the servers share: a URL that ends with a slash, and an end."""

    url: str

    def close(self) -> None:
        """Stop the server; closing twice does no harm."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# An HTTP server that fails as asked


@dataclass(frozen=True, slots=True)
class Request:
    """One request that a :class:`FaultServer` has answered.

    ``start`` and ``end`` (exclusive) are the bytes that were asked for; None without a Range header.
    """

    method: str
    path: str
    start: int | None
    end: int | None
    status: int


@dataclass
class Faults:
    """How a :class:`FaultServer` answers; may be changed while it runs.

    ``mode`` applies to every request. ``every`` answers each so many requests one with 503 (0: none).
    ``latency`` is added to each request, in seconds. What is sent may be missing or cut, never altered.
    """

    mode: Mode = "normal"
    every: int = 0
    latency: float = 0.0


class FaultServer(Server):
    """Serve the files below a folder, with the faults that are asked for, and log each request."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults = Faults()
        self._log: list[Request] = []
        self._count = 0
        self._lock = threading.Lock()
        self.closing = threading.Event()
        self._httpd = _Httpd(self)
        self._thread = threading.Thread(target=self._httpd.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://{HOST}:{self._httpd.server_address[1]}/"

    @property
    def log(self) -> list[Request]:
        """The requests so far, in the order of their answers."""
        with self._lock:
            return list(self._log)

    def gets(self, path: str | None = None) -> list[Request]:
        """Return the GET requests so far, of one path or of all."""
        return [r for r in self.log if r.method == "GET" and path in (None, r.path)]

    def forget(self) -> None:
        """Empty the log and start the count of ``Faults.every`` anew."""
        with self._lock:
            self._log.clear()
            self._count = 0

    def store(self, **options: Any) -> HTTPStore:
        """Return an obstore store of the server's files; options are those of HTTPStore."""
        return http_store(self.url, **options)

    def close(self) -> None:
        """Stop the server and end its open connections."""
        if self._thread.is_alive():
            self.closing.set()
            self._httpd.shutdown()
            self._thread.join()
            self._httpd.end_connections()
            self._httpd.server_close()

    def record(self, request: Request) -> None:
        """Add to the log; the handler does so before it answers, so that a client finds its own request."""
        with self._lock:
            self._log.append(request)

    def turn_is_bad(self) -> bool:
        """Count a request; for the handler."""
        with self._lock:
            self._count += 1
            return self.faults.every > 0 and self._count % self.faults.every == 0


class _Httpd(ThreadingHTTPServer):
    """Knows its open connections, so that none of their threads outlives the server."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, owner: FaultServer) -> None:
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
                with contextlib.suppress(OSError):  # the client has ended it just now
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may hang up whenever it likes
            super().handle_error(request, client_address)


@dataclass(frozen=True)
class _Answer:
    status: HTTPStatus
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the last packet of each answer waits for the client's ACK

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _serve(self) -> None:
        owner = cast(_Httpd, self.server).owner
        path = unquote(urlsplit(self.path).path).removeprefix("/")
        mode = owner.faults.mode
        bad_turn = owner.turn_is_bad()
        if owner.faults.latency:
            owner.closing.wait(owner.faults.latency)
        target = owner.root / path
        found = target.is_file() and target.resolve().is_relative_to(owner.root.resolve())
        size = target.stat().st_size if found else 0
        span = _span(self.headers.get("Range"), size)
        if bad_turn or mode == "unavailable":
            answer = _Answer(HTTPStatus.SERVICE_UNAVAILABLE)
        elif mode == "forbidden":
            answer = _Answer(HTTPStatus.FORBIDDEN)
        elif mode == "missing" or not found:
            answer = _Answer(HTTPStatus.NOT_FOUND)
        else:
            answer = self._answer(target, span, ranges=mode != "no-range")
        start, end = span or (None, None)
        owner.record(Request(self.command, path, start, end, answer.status))
        self._send(answer, early=mode == "closes-early")

    def _answer(self, target: Path, span: tuple[int, int] | None, *, ranges: bool) -> _Answer:
        stat = target.stat()
        etag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
        headers = {"ETag": etag, "Last-Modified": formatdate(stat.st_mtime, usegmt=True)}
        wanted = self.headers.get("If-Match")
        before = self.headers.get("If-Unmodified-Since")
        if wanted and etag not in wanted and wanted.strip() != "*":
            return _Answer(HTTPStatus.PRECONDITION_FAILED)
        if not wanted and before and int(stat.st_mtime) > parsedate_to_datetime(before).timestamp():
            return _Answer(HTTPStatus.PRECONDITION_FAILED)
        if ranges:
            headers["Accept-Ranges"] = "bytes"
        if span is None or not ranges:
            return _Answer(HTTPStatus.OK, headers, target.read_bytes())
        start, end = span
        if start >= end:
            headers = {"Content-Range": f"bytes */{stat.st_size}"}
            return _Answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers)
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{stat.st_size}"
        with target.open("rb") as file:
            file.seek(start)
            return _Answer(HTTPStatus.PARTIAL_CONTENT, headers, file.read(end - start))

    def _send(self, answer: _Answer, *, early: bool) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if early and answer.body:
            self.wfile.write(answer.body[: len(answer.body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(answer.body)


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    """Return start and end (exclusive) of a Range header, cut to the file; None for no or several ranges."""
    if header is None or not header.startswith("bytes=") or "," in header:
        return None
    first, _, last = header.removeprefix("bytes=").partition("-")
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1 if last else size)


# nginx

_NGINX_CONF: Final = """\
daemon off;
{user}
error_log {run}/error.log;
pid {run}/nginx.pid;
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile on;
    client_body_temp_path {run}/body;
    proxy_temp_path {run}/proxy;
    fastcgi_temp_path {run}/fastcgi;
    uwsgi_temp_path {run}/uwsgi;
    scgi_temp_path {run}/scgi;
    server {{
        listen {host}:{port};
        root "{root}";
    }}
}}
"""


def find_nginx() -> str | None:
    """Return the path of nginx, or None; the environment variable NGINX_BINARY names another one."""
    named = os.environ.get("NGINX_BINARY")
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    return shutil.which(named or "nginx", path=places)


class NginxServer(Server):
    """nginx, serving the files below a folder with range support."""

    def __init__(self, root: Path, *, nginx: str) -> None:
        self._run = Path(tempfile.mkdtemp(prefix="nginx-"))
        user = "user root;" if os.geteuid() == 0 else ""  # else its workers may not read the folder
        # The port is bound here and handed over, as nginx does when it is upgraded: nobody else can take it.
        with socket.create_server((HOST, 0), backlog=128) as listener:
            port = listener.getsockname()[1]
            conf = self._run / "nginx.conf"
            text = _NGINX_CONF.format(user=user, run=self._run, host=HOST, port=port, root=root)
            conf.write_text(text, encoding="utf-8")
            descriptor = listener.fileno()
            self._process = subprocess.Popen(
                [nginx, "-p", self._run, "-e", self._run / "error.log", "-c", conf],
                env={**os.environ, "NGINX": f"{descriptor};"},
                pass_fds=[descriptor],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self.url = f"http://{HOST}:{port}/"
        try:
            _answers(port)
        except OSError as error:
            log = (self._run / "error.log").read_text(encoding="utf-8")
            self.close()
            msg = f"nginx does not answer: {log}"
            raise RuntimeError(msg) from error

    def close(self) -> None:
        """Stop nginx and remove what it wrote."""
        self._process.terminate()
        self._process.wait(timeout=20)
        shutil.rmtree(self._run, ignore_errors=True)


def _answers(port: int) -> None:
    """Wait for the first answer of a server whose port is bound; OSError when there is none."""
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    try:
        connection.request("HEAD", "/")
        connection.getresponse().read()
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


# S3

_MOTO: Final = """\
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()  # ends with the process that started this one
server.stop()
"""


class S3Server(Server):
    """moto's S3 server, in a process of its own: its warnings and threads stay there."""

    region: Final = "us-east-1"

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MOTO],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        if not port:
            self.close()
            msg = "moto's server did not start; python -c 'import moto.server' may say why"
            raise RuntimeError(msg)
        self.url = f"http://{HOST}:{port}/"

    def bucket(self, name: str) -> Bucket:
        """Make a new, empty bucket, which may be read without a signature."""
        acl = {"x-amz-acl": "public-read"}
        request = urllib.request.Request(self.url + name, headers=acl, method="PUT")
        urllib.request.urlopen(request, timeout=20).close()
        return Bucket(name, self.url.rstrip("/"))

    def close(self) -> None:
        """Stop the server."""
        self._process.communicate(timeout=20)


@dataclass(frozen=True)
class Bucket:
    """A bucket of an :class:`S3Server`; ``endpoint`` is the server's URL."""

    name: str
    endpoint: str

    @property
    def url(self) -> str:
        """The ``s3://`` URL of the bucket, which ends with a slash."""
        return f"s3://{self.name}/"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to find the bucket; the keys may be any."""
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": S3Server.region,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }

    def store(self, *, signed: bool = True, **options: Any) -> S3Store:
        """Return an obstore store of the bucket; options are those of S3Store."""
        keys: dict[str, Any] = {"access_key_id": "test", "secret_access_key": "test"}
        return S3Store(
            self.name,
            endpoint=self.endpoint,
            region=S3Server.region,
            client_options={"allow_http": True},
            **(keys if signed else {"skip_signature": True}),
            **options,
        )


# Files on a server


@dataclass(frozen=True)
class Web:
    """A folder and the URL, with a slash at its end, under which an HTTP server shows it."""

    root: Path
    url: str
    kind: Literal["nginx", "python"]

    def store(self, **options: Any) -> HTTPStore:
        """Return an obstore store of the folder; options are those of HTTPStore."""
        return http_store(self.url, **options)


def http_store(url: str, **options: Any) -> HTTPStore:
    """Return an obstore store for a plain ``http://`` URL."""
    return HTTPStore.from_url(url, client_options={"allow_http": True}, **options)


def web_server(root: Path) -> NginxServer | FaultServer:
    """Serve a folder by nginx, or where there is none by a server in Python."""
    nginx = find_nginx()
    return FaultServer(root) if nginx is None else NginxServer(root, nginx=nginx)
