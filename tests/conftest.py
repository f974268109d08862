"""Fixtures that many tests share: the corpus of real files, servers, and lines for the end of the run."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.archives import make_archive
from tests.servers import HOST, Bucket, FaultServer, NginxServer, S3Server, Web, find_nginx, web_server
from virtual_tiff.codecs import compiled

ROOT = Path(__file__).resolve().parent.parent
CORPUS = Path(os.environ.get("VIRTUAL_TIFF_CORPUS") or ROOT.parent / "shared" / "corpus")


def pytest_configure() -> None:
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = f"{HOST},localhost"
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):  # tests see only their own servers
        os.environ.pop(name, None)


def pytest_report_header() -> list[str]:
    server = find_nginx() or "one in Python (there is no nginx: apt-get install nginx)"
    return [
        f"corpus: {CORPUS if CORPUS.is_dir() else 'not found; tests with real files are skipped'}",
        f"HTTP server: {server}",
    ]


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real TIFF files, which are no part of the project."""
    if not CORPUS.is_dir():
        pytest.skip("no corpus of real files: set VIRTUAL_TIFF_CORPUS")
    return CORPUS


@pytest.fixture(scope="module", params=["compiled", "libraries"])
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs a module's tests by the compiled kernels, and by what takes their place where there is no compiler."""
    if request.param == "compiled" and compiled.KERNELS is None:
        pytest.skip("there was no C compiler when this was installed")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "libraries":
            patch.setattr(compiled, "KERNELS", None)
        yield


@pytest.fixture(scope="session")
def _web_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NginxServer | FaultServer, Path]]:
    root = tmp_path_factory.mktemp("web")
    with web_server(root) as server:
        yield server, root


@pytest.fixture
def web(_web_server: tuple[NginxServer | FaultServer, Path]) -> Web:
    """An empty folder on an HTTP server with range support: nginx, or where it is missing one in Python."""
    server, root = _web_server
    name = uuid.uuid4().hex
    (root / name).mkdir()
    return Web(root / name, f"{server.url}{name}/", "nginx" if isinstance(server, NginxServer) else "python")


@pytest.fixture
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    """An HTTP server on an empty folder that fails as asked and logs each request."""
    with FaultServer(tmp_path_factory.mktemp("faults")) as server:
        yield server


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def bucket(_s3_server: S3Server) -> Bucket:
    """An empty bucket on an S3 server."""
    return _s3_server.bucket(f"bucket-{uuid.uuid4().hex}")


@pytest.fixture
def closing_line(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Return a function whose text stands at the end of the run: for totals and measured numbers."""
    return lambda text: record_property("closing line", text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in terminalreporter.stats.values() for report in kind]
    properties = [item for report in reports for item in getattr(report, "user_properties", ())]
    for text in dict.fromkeys(str(value) for name, value in properties if name == "closing line"):
        terminalreporter.write_line(text)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder of three scenes of one place."""
    make_archive(tmp_path / "archive")
    return tmp_path / "archive"


@pytest.fixture
def cube(archive: Path, tmp_path: Path) -> Path:
    """The same scenes as a cube."""
    from virtual_tiff import publish

    publish([archive], tmp_path / "cube")
    return tmp_path / "cube"
