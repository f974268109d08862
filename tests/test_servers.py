"""The servers and the counting store do what the other tests rely on."""

from __future__ import annotations

import json
import pickle
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import obstore
import pytest
from obstore.exceptions import GenericError, NotSupportedError, PermissionDeniedError
from obstore.store import LocalStore, MemoryStore

from tests.servers import (
    HOST,
    Bucket,
    FaultServer,
    NginxServer,
    Request,
    S3Server,
    Web,
    find_nginx,
    web_server,
)
from tests.stores import Call, CountingStore

CONTENT = bytes(range(256)) * 64
ONCE = {"max_retries": 0}
RETRY = {
    "max_retries": 3,
    "backoff": {
        "init_backoff": timedelta(milliseconds=1),
        "max_backoff": timedelta(milliseconds=5),
        "base": 2,
    },
}


@pytest.fixture
def served(faults: FaultServer) -> FaultServer:
    """A server with one file."""
    (faults.root / "a.bin").write_bytes(CONTENT)
    return faults


@pytest.fixture(params=["nginx", "python"])
def any_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NginxServer | FaultServer]:
    """Each of the two kinds of server, with one file."""
    (tmp_path / "a.bin").write_bytes(CONTENT)
    nginx = find_nginx()
    if request.param == "nginx" and nginx is None:
        pytest.skip("nginx is neither installed nor could dev.py install it")
    with NginxServer(tmp_path, nginx=nginx) if request.param == "nginx" and nginx else FaultServer(tmp_path) as s:
        yield s


def refused(url: str) -> bool:
    """Whether nobody listens at the port of a URL."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, urlsplit(url).port or 0)) != 0


# HTTP


def test_ranges_are_the_bytes_of_the_file(any_server: NginxServer | FaultServer) -> None:
    url = any_server.url + "a.bin"
    for header, expected in {
        "bytes=0-9": CONTENT[:10],
        "bytes=100-100": CONTENT[100:101],
        "bytes=16000-": CONTENT[16000:],
        "bytes=-7": CONTENT[-7:],
        "bytes=16380-99999": CONTENT[16380:],
    }.items():
        request = urllib.request.Request(url, headers={"Range": header})
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert (answer.status, answer.read()) == (206, expected), header
            assert answer.headers["Content-Range"].endswith(f"/{len(CONTENT)}")
            assert answer.headers["ETag"]
            assert answer.headers["Last-Modified"]
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert (answer.status, answer.read()) == (200, CONTENT)


@pytest.mark.parametrize(
    ("name", "headers", "status"),
    [
        ("nothing.bin", {}, 404),
        ("a.bin", {"Range": "bytes=99999-"}, 416),
        ("a.bin", {"If-Match": '"another"'}, 412),
        ("a.bin", {"If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}, 412),
    ],
)
def test_what_cannot_be_served_is_refused(
    any_server: NginxServer | FaultServer, name: str, headers: dict[str, str], status: int
) -> None:
    request = urllib.request.Request(any_server.url + name, headers=headers)
    with pytest.raises(urllib.error.HTTPError) as error, urllib.request.urlopen(request, timeout=20):
        pass
    error.value.close()
    assert error.value.code == status


def test_closed_servers_are_gone(any_server: NginxServer | FaultServer) -> None:
    any_server.close()
    assert refused(any_server.url)
    any_server.close()


def test_web_fixture_serves_its_folder(web: Web) -> None:
    (web.root / "in").mkdir()
    (web.root / "in" / "a.bin").write_bytes(CONTENT)
    store = web.store()
    assert bytes(store.get_range("in/a.bin", start=5, end=15)) == CONTENT[5:15]
    parts = store.get_ranges("in/a.bin", starts=[0, 9000], lengths=[10, 20])
    assert [bytes(part) for part in parts] == [CONTENT[:10], CONTENT[9000:9020]]
    assert store.head("in/a.bin")["size"] == len(CONTENT)
    assert web.kind == ("python" if find_nginx() is None else "nginx")


def test_without_nginx_python_takes_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NGINX_BINARY", "no-such-nginx")
    with web_server(tmp_path) as server:
        assert isinstance(server, FaultServer)


def test_an_nginx_that_cannot_run_says_why(tmp_path: Path) -> None:
    nginx = find_nginx()
    if nginx is None:
        pytest.skip("nginx is neither installed nor could dev.py install it")
    with pytest.raises(RuntimeError, match=r"(?s)does not answer.*emerg"):
        NginxServer(tmp_path / '"; nonsense "', nginx=nginx)


def test_a_server_stays_in_its_folder(served: FaultServer) -> None:
    (served.root.parent / "outside.bin").write_bytes(b"secret")
    with socket.create_connection((HOST, urlsplit(served.url).port or 0), timeout=20) as connection:
        connection.sendall(b"GET /../outside.bin HTTP/1.0\r\n\r\n")
        assert b" 404 " in connection.recv(100)


# Faults


def test_the_log_knows_each_request(served: FaultServer) -> None:
    store = served.store(retry_config=ONCE)
    store.get_range("a.bin", start=10, end=20)
    store.get("a.bin", options={"range": {"offset": 16380}}).bytes()
    store.get("a.bin").bytes()
    store.head("a.bin")
    assert served.log == [
        Request("GET", "a.bin", 10, 20, 206),
        Request("GET", "a.bin", 16380, len(CONTENT), 206),
        Request("GET", "a.bin", None, None, 200),
        Request("HEAD", "a.bin", None, None, 200),
    ]
    assert len(served.gets("a.bin")) == 3
    assert served.gets("b.bin") == []
    served.forget()
    assert served.log == []


def test_no_range_sends_the_whole_file(served: FaultServer) -> None:
    served.faults.mode = "no-range"
    request = urllib.request.Request(served.url + "a.bin", headers={"Range": "bytes=0-9"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert (answer.status, answer.read()) == (200, CONTENT)
    with pytest.raises(NotSupportedError):
        served.store(retry_config=ONCE).get_range("a.bin", start=0, end=10)
    assert [(r.start, r.end, r.status) for r in served.log] == [(0, 10, 200)] * 2


@pytest.mark.parametrize(
    ("mode", "error"),
    [("forbidden", PermissionDeniedError), ("missing", FileNotFoundError), ("unavailable", GenericError)],
)
def test_refusals(served: FaultServer, mode: str, error: type[Exception]) -> None:
    served.faults.mode = mode  # type: ignore[assignment]
    with pytest.raises(error):
        served.store(retry_config=ONCE).get_range("a.bin", start=0, end=10)
    assert len(served.log) == 1


def test_closing_early_is_an_error_of_the_client(served: FaultServer) -> None:
    served.faults.mode = "closes-early"
    with pytest.raises(GenericError):
        served.store(retry_config=ONCE).get_range("a.bin", start=0, end=1000)


def test_one_request_in_three_fails_and_is_retried(served: FaultServer) -> None:
    served.faults.every = 3
    store = served.store(retry_config=RETRY)
    for start in range(0, 1000, 100):
        assert bytes(store.get_range("a.bin", start=start, end=start + 100)) == CONTENT[start : start + 100]
    statuses = [request.status for request in served.log]
    assert statuses.count(206) == 10
    assert statuses == [503 if number % 3 == 0 else 206 for number in range(1, len(statuses) + 1)]


def test_latency_is_added_and_does_not_hold_up_the_end(served: FaultServer) -> None:
    served.faults.latency = 0.05
    begin = time.monotonic()
    assert bytes(served.store().get_range("a.bin", start=0, end=1)) == CONTENT[:1]
    assert time.monotonic() - begin >= served.faults.latency
    served.faults.latency = 3600
    with socket.create_connection((HOST, urlsplit(served.url).port or 0), timeout=20) as connection:
        connection.sendall(b"GET /a.bin HTTP/1.0\r\n\r\n")
        served.close()
    assert refused(served.url)


def test_many_requests_at_once(served: FaultServer) -> None:
    served.faults.latency = 0.01
    store = served.store()
    starts = list(range(0, len(CONTENT) - 10, 1000))
    threads = [
        threading.Thread(target=store.get_range, args=("a.bin",), kwargs={"start": s, "length": 10}) for s in starts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert sorted(request.start or 0 for request in served.log) == starts


# S3


def test_bucket_reads_what_was_written(bucket: Bucket) -> None:
    store = bucket.store()
    store.put("dir/a.bin", CONTENT)
    assert bytes(store.get_range("dir/a.bin", start=1, length=3)) == CONTENT[1:4]
    assert [item["path"] for page in store.list() for item in page] == ["dir/a.bin"]
    assert store.head("dir/a.bin")["e_tag"]
    with pytest.raises(FileNotFoundError):
        store.head("dir/b.bin")


def test_bucket_without_signature(bucket: Bucket) -> None:
    bucket.store().put("a.bin", CONTENT)
    assert bucket.store(signed=False).get("a.bin").bytes() == CONTENT


def test_each_bucket_is_empty_at_first(bucket: Bucket) -> None:
    assert [item for page in bucket.store().list() for item in page] == []


def test_a_changed_object_does_not_match(bucket: Bucket) -> None:
    store = bucket.store()
    old = store.put("a.bin", CONTENT)["e_tag"]
    store.put("a.bin", CONTENT + b"!")
    with pytest.raises(obstore.exceptions.PreconditionError):
        store.get("a.bin", options={"if_match": old})


def test_environment_leads_another_process_to_the_bucket(bucket: Bucket) -> None:
    bucket.store().put("a.bin", CONTENT)
    code = f"import obstore; print(obstore.store.from_url({bucket.url!r}).head('a.bin')['size'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=bucket.environment, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == len(CONTENT)


def test_a_closed_s3_server_is_gone() -> None:
    with S3Server() as server:
        url = server.bucket("first").endpoint
    assert refused(url)


# The counting store


def test_counting_store_notes_each_call() -> None:
    memory = MemoryStore()
    memory.put("a.bin", CONTENT)
    store = CountingStore(memory)
    assert bytes(store.get("a.bin").buffer()) == CONTENT
    assert bytes(store.get("a.bin", options={"range": (0, 10)}).buffer()) == CONTENT[:10]
    assert bytes(store.get("a.bin", options={"range": {"suffix": 4}}).buffer()) == CONTENT[-4:]
    assert bytes(store.get_range("a.bin", start=5, length=10)) == CONTENT[5:15]
    assert len(store.get_ranges("a.bin", starts=[1, 2], ends=[3, 4])) == 2
    assert store.head("a.bin")["size"] == len(CONTENT)
    assert store.calls == [
        Call("get", "a.bin", 0, None),
        Call("get", "a.bin", 0, 10),
        Call("get", "a.bin", -4, None),
        Call("get_range", "a.bin", 5, 15),
        Call("get_ranges", "a.bin", 1, 3),
        Call("get_ranges", "a.bin", 2, 4),
        Call("head", "a.bin"),
    ]
    assert len(store.gets) == 6
    store.forget()
    assert store.calls == []


async def test_counting_store_notes_async_calls() -> None:
    memory = MemoryStore()
    memory.put("a.bin", CONTENT)
    store = CountingStore(memory)
    assert bytes(await (await store.get_async("a.bin")).buffer_async()) == CONTENT
    assert bytes(await store.get_range_async("a.bin", start=5, end=15)) == CONTENT[5:15]
    parts = await store.get_ranges_async("a.bin", starts=[1], lengths=[2])
    assert [bytes(part) for part in parts] == [CONTENT[1:3]]
    await store.head_async("a.bin")
    assert [call.method for call in store.calls] == ["get", "get_range", "get_ranges", "head"]


def test_counting_store_passes_other_attributes_on_and_pickles(tmp_path: Path) -> None:
    store = CountingStore(LocalStore(tmp_path))
    store.put("a.bin", CONTENT)
    assert store.prefix == tmp_path
    with pytest.raises(AttributeError, match="nonsense"):
        _ = store.nonsense
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301  (its own bytes)
    assert bytes(copy.get_range("a.bin", start=0, end=1)) == CONTENT[:1]


# The fixtures of conftest.py


def test_closing_lines_come_at_the_end_of_a_run(tmp_path: Path) -> None:
    probe = "def test_it(closing_line):\n    closing_line('total: 42')\n"
    (tmp_path / "test_probe.py").write_text(probe, encoding="utf-8")
    words = [
        "-m",
        "pytest",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        str(tmp_path),
    ]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, *words], cwd=root, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + json.dumps(done.stderr)
    assert "total: 42" in done.stdout.splitlines()
