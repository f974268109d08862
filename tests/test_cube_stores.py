"""Paths and URLs find their store, and are written in one canonical way."""

from __future__ import annotations

import os
from pathlib import Path

import obstore
import pytest
from obstore.store import AzureStore, GCSStore, HTTPStore, LocalStore, S3Store

from virtual_tiff.cube.stores import canonical, locate
from virtual_tiff.errors import UsageError


@pytest.mark.parametrize(
    ("text", "kind", "url", "path"),
    [
        ("/data/a b.tif", LocalStore, "file:///data/a%20b.tif", "data/a b.tif"),
        ("file:///data/a%20b.tif", LocalStore, "file:///data/a%20b.tif", "data/a b.tif"),
        ("/data/x%20y#?.tif", LocalStore, "file:///data/x%2520y%23%3F.tif", "data/x%20y#?.tif"),
        ("s3://bucket/a b%20c.tif", S3Store, "s3://bucket/a b%20c.tif", "a b%20c.tif"),
        ("s3a://bucket/k.tif", S3Store, "s3://bucket/k.tif", "k.tif"),
        ("gs://bucket/k/l.tif", GCSStore, "gs://bucket/k/l.tif", "k/l.tif"),
        ("gcs://bucket/k.tif", GCSStore, "gs://bucket/k.tif", "k.tif"),
        ("az://box@acc.dfs.core.windows.net/k.tif", AzureStore, "az://box@acc.dfs.core.windows.net/k.tif", "k.tif"),
        ("https://host:81/p/a%20b.tif", HTTPStore, "https://host:81/p/a%20b.tif", "p/a b.tif"),
        ("http://host/p/a b.tif", HTTPStore, "http://host/p/a%20b.tif", "p/a b.tif"),
    ],
)
def test_each_scheme_has_its_store_and_canonical_url(text: str, kind: type, url: str, path: str) -> None:
    place = locate(text)
    assert isinstance(place.store, kind)
    assert (place.url, place.path) == (url, path)
    assert locate(place.url) == place
    assert canonical(place.root, place.path) == url


def test_a_relative_path_is_made_absolute_without_following_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    assert locate("link/../link/a.tif").local == tmp_path / "link" / "a.tif"


def test_strange_local_names_are_read(tmp_path: Path) -> None:
    for name in ("a b", "a%20b", "a#b", "a?b", "ä&+", "[1]", 'q"', "~x", "se;m:i"):
        (tmp_path / name).write_bytes(name.encode())
        place = locate(tmp_path / name)
        assert bytes(obstore.get(place.store, place.path).bytes()) == name.encode()
        assert locate(place.url) == place


def test_one_store_serves_a_bucket_until_the_environment_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = locate("s3://one/a.tif").store
    assert locate("s3://one/b/c.tif").store is first
    assert locate("s3://two/a.tif").store is not first
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    other = locate("s3://one/a.tif").store
    assert other is not first
    assert isinstance(other, S3Store)
    assert other.config["endpoint"] == "http://127.0.0.1:1"


@pytest.mark.parametrize("name", ["AWS_SKIP_SIGNATURE", "AWS_NO_SIGN_REQUEST"])
def test_the_environment_asks_for_unsigned_requests(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "YES")
    store = locate("s3://public/a.tif").store
    assert isinstance(store, S3Store)
    assert store.config["skip_signature"] in (True, "true")


def test_a_query_stays_with_the_url() -> None:
    place = locate("https://host/a.tif?sig=1%2F2")
    assert (place.path, place.query, place.url) == ("a.tif", "sig=1%2F2", "https://host/a.tif?sig=1%2F2")


@pytest.mark.parametrize("text", ["ftp://host/a.tif", "s3:///a.tif", "https:///a.tif"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        locate(text)
    assert os.fspath(text) in str(caught.value)
