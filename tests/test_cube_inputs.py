"""What users name as inputs becomes single files, in natural order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.flaky import FlakyProxy
from tests.servers import Bucket
from virtual_tiff.cube.inputs import expand_inputs, is_tiff_name, natural_key
from virtual_tiff.errors import SourceError, UsageError

NAMES = ["b10.tif", "b2.TIFF", "a/c1.tif", "notes.txt", "b2.tif.aux.xml"]


def _touch(folder: Path, names: list[str]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"II")


def _names(folder: Path, *inputs: str | Path) -> list[str]:
    return [str(place.local.relative_to(folder)) for place in expand_inputs(inputs) if place.local]


def test_a_directory_gives_its_tiffs_in_natural_order(tmp_path: Path) -> None:
    _touch(tmp_path, NAMES)
    assert _names(tmp_path, tmp_path) == ["a/c1.tif", "b2.TIFF", "b10.tif"]
    assert _names(tmp_path, f"file://{tmp_path}") == ["a/c1.tif", "b2.TIFF", "b10.tif"]


def test_globs(tmp_path: Path) -> None:
    _touch(tmp_path, NAMES)
    assert _names(tmp_path, f"{tmp_path}/*.tif") == ["b10.tif"]
    assert _names(tmp_path, f"{tmp_path}/**/*.tif") == ["a/c1.tif", "b10.tif"]
    assert _names(tmp_path, f"{tmp_path}/b*") == ["b2.TIFF", "b10.tif"]
    assert _names(tmp_path, f"{tmp_path}/*.txt") == ["notes.txt"]


def test_a_file_whose_name_looks_like_a_glob_is_itself(tmp_path: Path) -> None:
    _touch(tmp_path, ["a[1].tif", "a1.tif"])
    assert _names(tmp_path, tmp_path / "a[1].tif") == ["a[1].tif"]


def test_each_file_counts_once_and_order_does_not_matter(tmp_path: Path) -> None:
    _touch(tmp_path, NAMES)
    inputs: list[str | Path] = [tmp_path / "b10.tif", tmp_path, f"{tmp_path}/b2.TIFF"]
    expected = ["a/c1.tif", "b2.TIFF", "b10.tif"]
    assert _names(tmp_path, *inputs) == _names(tmp_path, *reversed(inputs)) == expected


def test_a_list_keeps_its_order(tmp_path: Path) -> None:
    _touch(tmp_path, NAMES)
    listing = tmp_path / "list.txt"
    listing.write_text(f"# chosen by hand\n{tmp_path}/b10.tif\n\n  {tmp_path}/a/*.tif  \n{tmp_path}/b2.TIFF\n")
    assert _names(tmp_path, f"@{listing}") == ["b10.tif", "a/c1.tif", "b2.TIFF"]


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_an_empty_list_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(SourceError) as caught:
        expand_inputs([f"@{tmp_path}/list.txt"])
    assert caught.value.feature == "no-match"


@pytest.mark.parametrize("tail", ["*.tif", "empty"])
def test_no_match_is_an_error_that_names_the_input(tail: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError) as caught:
        expand_inputs([tmp_path / tail])
    assert caught.value.feature == "no-match"
    assert str(tmp_path / tail) in str(caught.value)


def test_no_inputs_and_a_missing_list_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        expand_inputs([])
    with pytest.raises(SourceError) as caught:
        expand_inputs([f"@{tmp_path}/gone.txt"])
    assert caught.value.feature == "not-found"


def test_a_missing_file_is_left_to_the_scan(tmp_path: Path) -> None:
    assert _names(tmp_path, tmp_path / "gone.tif") == ["gone.tif"]


@pytest.mark.parametrize("url", ["https://host/*.tif", "https://host/folder/"])
def test_web_servers_have_no_listing(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        expand_inputs([url])
    assert url in str(caught.value)


def test_prefixes_and_globs_on_s3(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    store = bucket.store()
    for name in ("p/t10.tif", "p/t9.tif", "p/readme.md", "p/deep/x y.tif", "q/other.tif", "pp/no.tif"):
        store.put(name, b"II")

    def keys(*inputs: str) -> list[str]:
        return [place.path for place in expand_inputs(inputs)]

    assert keys(f"{bucket.url}p/") == ["p/deep/x y.tif", "p/t9.tif", "p/t10.tif"]
    assert keys(f"{bucket.url}p") == keys(f"{bucket.url}p/")
    assert keys(f"{bucket.url}p/*.tif") == ["p/t9.tif", "p/t10.tif"]
    assert keys(f"{bucket.url}**/*.tif") == ["p/deep/x y.tif", "p/t9.tif", "p/t10.tif", "pp/no.tif", "q/other.tif"]
    assert keys(f"{bucket.url}p/t?.tif", f"{bucket.url}q/other.tif") == ["p/t9.tif", "q/other.tif"]
    with pytest.raises(SourceError) as caught:
        keys(f"{bucket.url}none/")
    assert caught.value.feature == "no-match"


def test_listings_go_on_where_an_answer_broke_off(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 lists a thousand objects at a time."""
    store = bucket.store()
    names = [f"p/{index}.tif" for index in range(1010)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: store.put(name, b"II"), names))
    store.put("list.txt", "\n".join(f"{bucket.url}{name}" for name in names).encode())
    monkeypatch.setattr("virtual_tiff.cube.retry.FIRST_PAUSE", 0.01)
    with FlakyProxy(bucket.endpoint, rate=0.4, seed=3, faults=["cut", "reset", "500"]) as proxy:
        for name, value in (bucket.environment | {"AWS_ENDPOINT_URL": proxy.url.rstrip("/")}).items():
            monkeypatch.setenv(name, value)
        for inputs in (f"{bucket.url}p/", f"{bucket.url}**/*.tif", f"@{bucket.url}list.txt"):
            assert [place.path for place in expand_inputs([inputs])] == names
        assert len(proxy.seen()) > 1
        proxy.restart(0, rate=1, faults=["cut"])
        with pytest.raises(SourceError) as caught:
            expand_inputs([f"{bucket.url}p/"])
        assert caught.value.feature == "unreachable"


def test_a_bucket_that_is_not_there_cannot_be_listed(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SourceError) as caught:
        expand_inputs(["s3://no-such-bucket-here/p/"])
    assert caught.value.feature == "not-found"


def test_natural_keys_compare_numbers() -> None:
    names = ["s10", "s9", "s1a", "S2", "10", "9b"]
    assert sorted(names, key=natural_key) == ["9b", "10", "S2", "s1a", "s9", "s10"]
    assert is_tiff_name("X.TIF")
    assert not is_tiff_name("x.tif.ovr")


@pytest.mark.parametrize("text", ["", " ", "@"])
def test_an_empty_name_is_not_the_working_directory(text: str) -> None:
    with pytest.raises(UsageError, match="is empty"):
        expand_inputs([text])
