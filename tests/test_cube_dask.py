"""A Dask cluster of two processes scans and writes a bucket; its workers die, or there are none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.archives import gdal_reads, make_archive
from tests.servers import Bucket, S3Server
from tests.spread import die_at_s3
from virtual_tiff.cube import distribute, executor
from virtual_tiff.cube.executor import run_on
from virtual_tiff.cube.open import open_cube
from virtual_tiff.cube.publish import publish
from virtual_tiff.cube.scan import scan
from virtual_tiff.errors import SourceError, UsageError

pytestmark = [  # of Dask itself
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def cluster_of(workers: int) -> Any:
    from distributed import LocalCluster

    start: Any = LocalCluster
    return start(
        host="127.0.0.1",
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address="127.0.0.1:0",
        silence_logs="CRITICAL",
    )


@pytest.fixture(scope="module")
def client(_s3_server: S3Server) -> Iterator[Any]:
    import dask
    from distributed import Client

    connect: Any = Client
    quick = dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with quick, pytest.MonkeyPatch.context() as patch:
        for name, value in Bucket("any", _s3_server.url.rstrip("/")).environment.items():  # the workers inherit it
            patch.setenv(name, value)
        with cluster_of(2) as cluster, connect(cluster) as connected:
            yield connected


@pytest.fixture
def source(bucket: Bucket, tmp_path: Path, client: Any) -> str:
    """Six scenes in a bucket, which lie in the folder "in", too."""
    assert client.scheduler_info()
    make_archive(tmp_path / "in", 6)
    for path in (tmp_path / "in").iterdir():
        bucket.store().put(f"in/{path.name}", path.read_bytes())
    return f"{bucket.url}in/"


def test_a_cluster_scans_and_writes(client: Any, source: str, bucket: Bucket, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(distribute, "SHARE", 1)
    assert len(set(client.run(os.getpid).values()) - {os.getpid()}) == 2
    found = scan([source], executor=client)
    assert [header.etag for header in found.headers] == [header.etag for header in scan([source]).headers]
    published = publish([source], f"{bucket.url}cube", executor=client)
    assert published.references == sum(np.count_nonzero(header.array.lengths) for header in found.headers)
    pixels = open_cube(f"{bucket.url}cube")["band_data"]
    np.testing.assert_array_equal(pixels.values, gdal_reads(tmp_path / "in", 6)[:, 0])


def test_workers_that_die_leave_nothing(client: Any, source: str, bucket: Bucket, monkeypatch: Any) -> None:
    monkeypatch.setattr(distribute, "SHARE", 1)
    monkeypatch.setattr(distribute, "write_share", die_at_s3)
    with pytest.raises(SourceError, match="KilledWorker") as caught:
        publish([source], f"{bucket.url}dead", executor=client)
    assert caught.value.feature == "worker"
    assert list(bucket.store().list("dead/")) == []


def test_a_cluster_without_workers_is_given_up(monkeypatch: Any) -> None:
    from distributed import Client

    connect: Any = Client
    monkeypatch.setattr(executor, "_LOOK", 0.05)
    monkeypatch.setattr(executor, "NO_WORKERS", 0.1)
    with cluster_of(0) as cluster, connect(cluster) as lonely:
        with pytest.raises(SourceError, match="no worker") as caught:
            list(run_on(lonely, abs, [(1,)]))
        assert caught.value.feature == "worker"


def test_an_asynchronous_client_is_refused() -> None:
    class Asynchronous:
        asynchronous = True
        gather = nthreads = None

    with pytest.raises(UsageError, match="asynchronous"):
        run_on(Asynchronous(), abs, [])
