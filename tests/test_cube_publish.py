"""Published cubes read back in another process as GDAL reads the files; what goes wrong leaves nothing behind."""

from __future__ import annotations

import asyncio
import errno
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import pytest
import xarray as xr

from tests.archives import LONG_AGO, age, files_below, gdal_reads, make_archive, make_tiff, read_elsewhere, run_python
from tests.servers import Bucket, FaultServer, Web
from virtual_tiff.cube import persist
from virtual_tiff.cube.fresh import round_up
from virtual_tiff.cube.open import open_cube, open_repository
from virtual_tiff.cube.plan import plan_stack
from virtual_tiff.cube.publish import publish, publish_plan
from virtual_tiff.cube.scan import scan
from virtual_tiff.cube.write import MANIFEST_REFERENCES, split_sizes
from virtual_tiff.errors import ConformError, FormatError, SourceError, TargetError, UsageError

PROFILES: dict[str, dict[str, Any]] = {
    "deflate": {},
    "predictor 2, interleaved bands": {"shape": (3, 70, 90), "predictor": 2, "interleave": "pixel"},
    "predictor 3, planar": {"shape": (2, 70, 90), "dtype": "float32", "predictor": 3, "interleave": "band"},
    "zstd, int8": {"dtype": "int8", "compress": "zstd"},
    "lzw, big-endian": {"compress": "lzw", "predictor": 2, "ENDIANNESS": "BIG", "shape": (4, 70, 90)},
    "raw strips": {"compress": "none", "tiled": False, "dtype": "float64"},
    "short last strip": {"tiled": False, "blockysize": 16, "shape": (1, 70, 90)},
    "short last strip of bands": {"tiled": False, "blockysize": 16, "shape": (3, 70, 90), "predictor": 2},
    "BigTIFF": {"BIGTIFF": "YES", "shape": (2, 33, 65), "dtype": "int16"},
    "complex": {"dtype": "float32", "compress": "lzma"},
}


@pytest.fixture(scope="module")
def published_profiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive of each profile, and the pixels that one other process read from their cubes."""
    folder = tmp_path_factory.mktemp("profiles")
    script = "import numpy\n"
    for index, profile in enumerate(PROFILES.values()):
        make_archive(folder / str(index), **profile)
        published = publish([folder / str(index)], folder / f"{index}.icechunk")
        script += f"{published.code}\nnumpy.save({str(folder / f'{index}.npy')!r}, ds['band_data'].values)\n"
    run_python(script)
    return folder


@pytest.mark.parametrize("name", PROFILES)
def test_another_process_reads_what_gdal_reads(name: str, published_profiles: Path) -> None:
    index = list(PROFILES).index(name)
    seen = np.load(published_profiles / f"{index}.npy")
    expected = gdal_reads(published_profiles / str(index))
    if expected.shape[1] == 1:
        expected = expected[:, 0]
    assert seen.dtype == expected.dtype
    assert np.array_equal(seen, expected)


def test_sparse_tiles_read_as_nodata(tmp_path: Path) -> None:
    import rasterio

    (tmp_path / "archive").mkdir()
    pixels = np.full((1, 96, 96), 7, np.uint16)
    pixels[:, :48, 32:] = 0
    make_tiff(tmp_path / "archive/s0.tif", shape=(1, 96, 96))
    profile = {"driver": "GTiff", "width": 96, "height": 96, "count": 1, "dtype": "uint16", "nodata": 7}
    options = {"tiled": True, "blockxsize": 32, "blockysize": 48, "compress": "deflate", "SPARSE_OK": True}
    for index in range(2):
        path = tmp_path / f"archive/s{index}.tif"
        with rasterio.open(path, "w", **profile, **options, crs="EPSG:32633") as file:
            file.write(pixels[:, :48], window=((0, 48), (0, 96)))
        age(path)
    published = publish([tmp_path / "archive"], tmp_path / "cube.icechunk")
    assert published.references < 2 * 6
    seen = read_elsewhere(published.code, tmp_path)
    expected = gdal_reads(tmp_path / "archive", 2)[:, 0]
    assert np.array_equal(np.where(np.isnan(seen), 7, seen), expected)
    assert np.array_equal(expected[0, :48], pixels[0, :48])


def test_what_the_dataset_says_of_itself(archive: Path, tmp_path: Path) -> None:
    published = publish([archive], tmp_path / "cube.icechunk", dim="scene", name="red")
    ds = open_cube(tmp_path / "cube.icechunk")
    assert ds["red"].dims == ("scene", "y", "x")
    assert list(ds["scene"].values) == ["s0.tif", "s1.tif", "s2.tif"]
    assert ds.sel(scene="s1.tif")["red"].shape == (70, 90)
    assert ds["x"].values[:2] == pytest.approx([500005.0, 500015.0])
    assert ds["y"].values[:2] == pytest.approx([4599995.0, 4599985.0])
    assert "32633" in ds["spatial_ref"].attrs["crs_wkt"]
    assert ds.attrs["proj:code"] == "EPSG:32633"
    assert ds["red"].dtype == np.uint16
    assert "red (scene: 3, y: 70, x: 90) uint16" in published.arrays


def test_nodata_is_masked_by_xarray(tmp_path: Path) -> None:
    make_archive(tmp_path / "archive", nodata=0)
    publish([tmp_path / "archive"], tmp_path / "cube.icechunk")
    masked = open_cube(tmp_path / "cube.icechunk")["band_data"]
    stored = open_cube(tmp_path / "cube.icechunk", mask_and_scale=False)["band_data"]
    assert masked.dtype.kind == "f"
    assert np.array_equal(np.isnan(masked.values), stored.values == 0)


def test_the_ledger_of_sources(archive: Path, tmp_path: Path) -> None:
    publish([archive], tmp_path / "cube.icechunk")
    ledger = open_cube(tmp_path / "cube.icechunk", group="_sources").load()
    assert list(ledger["url"].values) == [f"file://{archive}/s{index}.tif" for index in range(3)]
    assert list(ledger["size"].values) == [(archive / f"s{index}.tif").stat().st_size for index in range(3)]
    assert list(ledger["last_modified"].values.astype("datetime64[s]").astype("int64")) == [LONG_AGO] * 3
    assert all(ledger["etag"].values)


def test_one_commit_says_what_came_in(archive: Path, tmp_path: Path) -> None:
    published = publish([archive], tmp_path / "cube.icechunk")
    history = list(open_repository(tmp_path / "cube.icechunk").ancestry(branch="main"))
    assert len(history) == 2  # the other one is the birth of the repository
    assert history[0].id == published.snapshot
    assert "s0.tif\ns1.tif\ns2.tif" in history[0].message
    assert "band_data (item: 3, y: 70, x: 90) uint16" in history[0].message


def test_strange_names_of_files_and_folders(tmp_path: Path) -> None:
    folder = tmp_path / "50% of #1, ä" / "a b"
    folder.mkdir(parents=True)
    names = ["a b.tif", "c%20d.tif", "e#f.tif", "g?h.tif", "ü&+.tif"]
    made = [make_tiff(folder / name, seed)[0] for seed, name in enumerate(names)]
    published = publish([folder], tmp_path / "cube.icechunk")
    assert np.array_equal(read_elsewhere(published.code, tmp_path), np.stack(made))
    assert list(open_cube(tmp_path / "cube.icechunk")["item"].values) == names


def test_files_of_two_places_and_equal_names(tmp_path: Path) -> None:
    one, two = make_archive(tmp_path / "a" / "x", 2), make_archive(tmp_path / "b" / "x", 2)
    published = publish([tmp_path / "b", tmp_path / "a"], tmp_path / "cube.icechunk")
    ds = open_cube(tmp_path / "cube.icechunk")
    assert list(ds["item"].values) == ["a/x/s0.tif", "a/x/s1.tif", "b/x/s0.tif", "b/x/s1.tif"]
    assert np.array_equal(read_elsewhere(published.code, tmp_path), np.concatenate([one, two])[:, 0])


def test_a_chosen_overview(tmp_path: Path) -> None:
    import rasterio

    make_archive(tmp_path / "archive", 2, blockxsize=32, blockysize=32)
    for path in sorted((tmp_path / "archive").iterdir()):
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2], rasterio.enums.Resampling.nearest)
        age(path)
    published = publish([tmp_path / "archive"], tmp_path / "cube.icechunk", ifd=1)
    seen = read_elsewhere(published.code, tmp_path)
    for index in range(2):
        with rasterio.open(tmp_path / f"archive/s{index}.tif", overview_level=0) as file:
            assert np.array_equal(seen[index], file.read(1))


async def test_it_works_inside_a_running_event_loop(archive: Path, tmp_path: Path) -> None:
    await asyncio.sleep(0)
    publish([archive], tmp_path / "cube.icechunk")
    assert open_cube(tmp_path / "cube.icechunk").load()["band_data"].shape == (3, 70, 90)


# Sources and targets elsewhere


def test_sources_on_a_web_server(web: Web, tmp_path: Path) -> None:
    made = make_archive(web.root / "sub dir", 3, shape=(2, 70, 90))
    urls = [f"{web.url}sub%20dir/s{index}.tif" for index in range(3)]
    published = publish(urls, tmp_path / "cube.icechunk")
    assert np.array_equal(read_elsewhere(published.code, tmp_path), made)


def test_the_repository_on_a_web_server(web: Web) -> None:
    made = make_archive(web.root / "files", 2)
    publish([f"{web.url}files/s{index}.tif" for index in range(2)], web.root / "cube.icechunk")
    ds = open_cube(f"{web.url}cube.icechunk")
    assert np.array_equal(ds["band_data"].values, made[:, 0])


def test_sources_and_repository_on_s3(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    made = make_archive(tmp_path / "archive", 3, shape=(3, 70, 90), predictor=2)
    store = bucket.store()
    for index in range(3):
        store.put(f"in put/a%20#/s{index}.tif", (tmp_path / f"archive/s{index}.tif").read_bytes())
    published = publish([f"{bucket.url}in put/"], f"{bucket.url}out/cube.icechunk")
    assert np.array_equal(open_cube(f"{bucket.url}out/cube.icechunk")["band_data"].values, made)
    seen = read_elsewhere(published.code, tmp_path, bucket.environment)
    assert np.array_equal(seen, made)
    with pytest.raises(TargetError) as caught:
        publish([f"{bucket.url}in put/"], f"{bucket.url}out/cube.icechunk")
    assert caught.value.feature == "target-exists"


def test_a_public_bucket_is_read_without_a_signature(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bucket.environment.items():
        if "KEY" not in name:
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    made = make_archive(tmp_path / "archive", 2)
    store = bucket.store()
    for index in range(2):
        store.put(f"in/s{index}.tif", (tmp_path / f"archive/s{index}.tif").read_bytes())
    published = publish([f"{bucket.url}in/*.tif"], tmp_path / "cube.icechunk")
    assert "s3_anonymous_credentials" in published.code
    monkeypatch.delenv("AWS_SKIP_SIGNATURE")  # the cube remembers
    assert np.array_equal(open_cube(tmp_path / "cube.icechunk")["band_data"].values, made[:, 0])


# Sources that change


def _read(path: Path) -> None:
    open_cube(path)["band_data"].load()


def test_a_changed_file_is_never_read_silently(archive: Path, tmp_path: Path) -> None:
    publish([archive], tmp_path / "cube.icechunk")
    _read(tmp_path / "cube.icechunk")
    make_tiff(archive / "s1.tif", seed=99)
    age(archive / "s1.tif", LONG_AGO + 2)
    with pytest.raises(icechunk.StorageError, match="changed"):
        _read(tmp_path / "cube.icechunk")


def test_a_changed_object_is_never_read_silently(
    bucket: Bucket, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    store = bucket.store()
    for index in range(3):
        store.put(f"s{index}.tif", (archive / f"s{index}.tif").read_bytes())
    publish([bucket.url], tmp_path / "cube.icechunk")
    _read(tmp_path / "cube.icechunk")
    store.put("s1.tif", (archive / "s1.tif").read_bytes())  # touched: the same bytes
    _read(tmp_path / "cube.icechunk")
    store.put("s1.tif", (archive / "s2.tif").read_bytes())
    with pytest.raises(icechunk.StorageError, match="changed"):
        _read(tmp_path / "cube.icechunk")


def test_a_changed_web_file_is_never_read_silently(web: Web, tmp_path: Path) -> None:
    make_archive(web.root, 2)
    publish([f"{web.url}s{index}.tif" for index in range(2)], tmp_path / "cube.icechunk")
    _read(tmp_path / "cube.icechunk")
    make_tiff(web.root / "s1.tif", seed=99)
    age(web.root / "s1.tif", LONG_AGO + 2)
    with pytest.raises(icechunk.StorageError, match="changed"):
        _read(tmp_path / "cube.icechunk")


def test_a_file_replaced_within_its_last_second_is_noticed(archive: Path, tmp_path: Path) -> None:
    now = datetime.now(UTC).timestamp()
    age(archive / "s1.tif", now)
    found = scan([archive])
    make_tiff(archive / "s1.tif", seed=99)
    age(archive / "s1.tif", now + 0.0001)
    with pytest.raises(SourceError) as caught:
        publish_plan(plan_stack(found.headers), tmp_path / "cube.icechunk")
    assert caught.value.feature == "source-changed"
    assert "s1.tif" in str(caught.value)
    assert not (tmp_path / "cube.icechunk").exists()


def test_a_file_replaced_right_after_publishing_is_noticed(archive: Path, tmp_path: Path) -> None:
    make_tiff(archive / "s1.tif", seed=98)
    age(archive / "s1.tif", datetime.now(UTC).timestamp())
    publish([archive], tmp_path / "cube.icechunk")
    (archive / "s1.tif").write_bytes((archive / "s2.tif").read_bytes())
    with pytest.raises(icechunk.StorageError, match="changed"):
        _read(tmp_path / "cube.icechunk")


def test_times_are_rounded_up_to_whole_seconds() -> None:
    whole = datetime(2024, 5, 1, 12, 0, 0, tzinfo=UTC)
    assert round_up(whole) == whole
    assert round_up(whole + timedelta(microseconds=1)) == whole + timedelta(seconds=1)
    elsewhere = whole.astimezone(tz=None)
    assert round_up(elsewhere).tzinfo is UTC


# What goes wrong leaves nothing behind


def _nothing_else(folder: Path, *expected: str) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(expected)


def test_an_existing_target_is_left_alone(archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "cube.icechunk"
    publish([archive], target)
    before = files_below(target)
    for kind in (target, tmp_path / "file"):
        (tmp_path / "file").write_text("x")
        with pytest.raises(TargetError) as caught:
            publish([archive], kind)
        assert caught.value.feature == "target-exists"
    assert files_below(target) == before
    _nothing_else(tmp_path, "archive", "cube.icechunk", "file")


def test_an_empty_directory_may_become_a_cube(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "cube.icechunk").mkdir()
    publish([archive], tmp_path / "cube.icechunk")
    _read(tmp_path / "cube.icechunk")


def test_different_grids_leave_no_repository(archive: Path, tmp_path: Path) -> None:
    make_tiff(archive / "s9.tif", shape=(1, 71, 90))
    with pytest.raises(ConformError):
        publish([archive], tmp_path / "new" / "cube.icechunk")
    _nothing_else(tmp_path, "archive")


def test_a_damaged_file_leaves_no_repository_or_is_skipped(archive: Path, tmp_path: Path) -> None:
    (archive / "s1.tif").write_bytes((archive / "s1.tif").read_bytes()[:60])
    with pytest.raises(FormatError) as caught:
        publish([archive], tmp_path / "cube.icechunk")
    assert "s1.tif" in str(caught.value)
    _nothing_else(tmp_path, "archive")
    published = publish([archive], tmp_path / "cube.icechunk", on_error="skip")
    assert published.files == 2
    assert list(open_cube(tmp_path / "cube.icechunk")["item"].values) == ["s0.tif", "s2.tif"]


@pytest.mark.parametrize("when", ["write_plan", "commit_message", "reader_code"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_a_failure_in_the_middle_leaves_nothing(
    when: str, error: BaseException, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(persist, when, fail)
    expected = TargetError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        publish([archive], tmp_path / "a" / "b" / "cube.icechunk")
    _nothing_else(tmp_path, "archive")


@pytest.fixture
def s3_archive(bucket: Bucket, archive: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    return archive


def test_a_failure_on_s3_leaves_nothing(bucket: Bucket, s3_archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError

    store = bucket.store()
    store.put("out/cube.icechunk.other", b"stays")
    with monkeypatch.context() as patch:
        patch.setattr(persist, "commit_message", fail)
        with pytest.raises(ValueError):  # noqa: PT011 (any)
            publish([s3_archive], f"{bucket.url}out/cube.icechunk")
    left = [item["path"] for page in store.list() for item in page]
    assert left == ["out/cube.icechunk.other"]
    publish([s3_archive], f"{bucket.url}out/cube.icechunk")


def test_the_blank_repository_of_a_killed_run_is_taken_over(bucket: Bucket, s3_archive: Path) -> None:
    from virtual_tiff.cube.access import repository_storage
    from virtual_tiff.cube.stores import locate

    url = f"{bucket.url}cube.icechunk"
    icechunk.Repository.create(repository_storage(locate(url)).make())
    publish([s3_archive], url)
    assert np.array_equal(open_cube(url)["band_data"].values, gdal_reads(s3_archive)[:, 0])


def test_targets_that_cannot_be_written(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file" / "cube.icechunk", "https://host/cube.icechunk", "s3://bucket-only"):
        with pytest.raises(TargetError) as caught:
            publish([archive], target)
        assert caught.value.feature == "target-denied"
        assert str(target) in str(caught.value)


def test_a_bucket_that_does_not_exist_is_no_target(s3_archive: Path) -> None:
    with pytest.raises(TargetError) as caught:
        publish([s3_archive], "s3://no-such-bucket-at-all/cube.icechunk")
    assert caught.value.feature == "target-denied"


def test_a_url_with_a_query_is_refused_for_good(faults: FaultServer, tmp_path: Path) -> None:
    make_archive(faults.root, 2)
    with pytest.raises(UsageError) as caught:
        publish([f"{faults.url}s0.tif?signature=secret", f"{faults.url}s1.tif"], tmp_path / "cube.icechunk")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("names", [("", "v"), ("y", "v"), ("v", "v"), ("_d", "v"), ("d", "a/b"), ("d", "spatial_ref")])
def test_names_that_clash_are_refused(names: tuple[str, str], archive: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        publish([archive], tmp_path / "cube.icechunk", dim=names[0], name=names[1])
    _nothing_else(tmp_path, "archive")


# Manifests


def test_manifests_are_split_so_that_lookups_stay_fast(archive: Path, tmp_path: Path) -> None:
    plan = plan_stack(scan([archive]).headers)
    ((array,),) = (group.arrays for group in plan.groups)
    sizes = split_sizes(array)
    assert np.prod(sizes) <= MANIFEST_REFERENCES
    assert sizes[1:] == array.template.grid[1:]
    publish_plan(plan, tmp_path / "cube.icechunk")
    persisted = open_repository(tmp_path / "cube.icechunk").config.manifest
    assert str(sizes[0]) in str(persisted)


def test_no_transport_options_are_persisted(web: Web, tmp_path: Path) -> None:
    make_archive(web.root, 1)
    publish([f"{web.url}s0.tif"], tmp_path / "cube.icechunk")
    containers = open_repository(tmp_path / "cube.icechunk").config.virtual_chunk_containers or {}
    ((prefix, container),) = containers.items()
    assert (prefix, container.name) == (web.url, "sources")
    assert "allow_http" not in str(container.store)


def test_a_moved_archive_is_followed_by_its_container(archive: Path, tmp_path: Path) -> None:
    publish([archive], tmp_path / "cube.icechunk")
    expected = gdal_reads(archive)[:, 0]
    moved = archive.rename(tmp_path / "moved")
    storage = icechunk.local_filesystem_storage(str(tmp_path / "cube.icechunk"))
    config = icechunk.RepositoryConfig.default()
    store = icechunk.local_filesystem_store(str(moved))
    config.set_virtual_chunk_container(icechunk.VirtualChunkContainer(f"file://{moved}/", store, name="sources"))
    access = icechunk.containers_credentials({f"file://{moved}/": icechunk.credentials.LocalFileSystemAccess})
    repository = icechunk.Repository.open(storage, config, access)
    ds = xr.open_zarr(repository.readonly_session("main").store, consolidated=False, zarr_format=3)
    assert np.array_equal(ds["band_data"].values, expected)


def test_files_that_are_left_out_are_named_apart(tmp_path: Path) -> None:
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
        make_tiff(tmp_path / folder / "s_20240101.tif")
        age(tmp_path / folder / "s_20240101.tif")
    made = publish(
        [tmp_path / "old", tmp_path / "new"], tmp_path / "c", pattern="s_{time:%Y%m%d}.tif", on_duplicate="last"
    )
    told = "of files of the same place, old/s_20240101.tif is used: it comes last; not new/s_20240101.tif"
    assert made.notes == (told,)
