"""Overviews and masks are those of GDAL, with true scales; roles of pages, thumbnails and SubIFDs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import MaskFlags

from tests.geofiles import corpus_pairs, gdal, tiff_of, write
from tests.tiffbytes import Dir, Entry, build, image
from virtual_tiff.pyramid import Level, Pyramid, pyramids, roles
from virtual_tiff.tiff.ifd import TiffFile

HIDDEN_FROM_GDAL = {"test3_with_mask_1bit.tif", "test3_with_mask_8bit.tif"}
"""Files whose mask has one band for each band of the image, which is no per-dataset mask for GDAL."""


def parsed(*dirs: Dir) -> TiffFile:
    return tiff_of(bytes(build(dirs).data))


def page(width: int, height: int, subfile: int | None = None, *more: Entry, **options: Any) -> Dir:
    extra = [] if subfile is None else [Entry(254, 4, [subfile])]
    return image(width, height, *extra, *more, gap=width * height, **options)


def tiled(width: int, height: int, *more: Entry) -> Dir:
    return page(width, height, None, Entry(322, 4, [16]), Entry(323, 4, [16]), *more)


def levels_of(pyramid: Pyramid) -> list[tuple[int, int, bool]]:
    return sorted((level.width, level.height, level.mask is not None) for level in pyramid.levels[1:])


def gdal_levels(path: Path, dataset: Any) -> list[tuple[int, int, bool]]:
    found = []
    for index in range(len(dataset.overviews(1))):
        with gdal(path, overview_level=index) as level:
            found.append((level.width, level.height, has_mask(level)))
    return sorted(found)


def has_mask(dataset: Any) -> bool:
    flags = dataset.mask_flag_enums[0]
    return MaskFlags.per_dataset in flags and not {MaskFlags.alpha, MaskFlags.nodata} & set(flags)


@pytest.mark.parametrize("size", [(256, 128), (101, 67), (33, 500)])
@pytest.mark.parametrize("mask", [False, True])
def test_overviews_and_masks_that_gdal_writes(size: tuple[int, int], mask: bool, tmp_path: Path) -> None:
    def edit(dataset: Any) -> None:
        if mask:
            dataset.write_mask(np.eye(size[1], size[0], dtype="uint8") * 255)
        dataset.build_overviews([2, 4, 8])

    path = tmp_path / "a.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        tiff = tiff_of(write(path, size=size, edit=edit))
    (ours,) = pyramids(tiff)
    with gdal(path) as dataset:
        assert levels_of(ours) == gdal_levels(path, dataset)
        assert (ours.levels[0].mask is not None) == has_mask(dataset) == mask
    assert [level.width for level in ours.levels] == sorted((v.width for v in ours.levels), reverse=True)
    assert ours.levels[1].scale_x == size[0] / ours.levels[1].width
    assert ours.levels[1].scale_y == size[1] / ours.levels[1].height
    counts = Counter(roles(tiff).values())
    assert counts == Counter({"image": 1, "overview": 3} | ({"mask": 4} if mask else {}))


def test_overviews_in_subifds(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pixels = np.zeros((2, 64, 96), np.uint8)
    with tifffile.TiffWriter(path) as writer:
        for plane in pixels:
            writer.write(plane, subifds=2, tile=(16, 16), metadata=None)
            for step in (2, 4):
                writer.write(plane[::step, ::step], subfiletype=1, tile=(16, 16), metadata=None)
    first, second = pyramids(tiff_of(path.read_bytes()))
    assert [level.path for level in first.levels] == [(0,), (0, 0), (0, 1)]
    assert [level.path for level in second.levels] == [(1,), (1, 0), (1, 1)]
    with gdal(path) as dataset:
        assert levels_of(first) == gdal_levels(path, dataset)


def test_pages_are_no_overviews() -> None:
    tiff = parsed(page(64, 64), page(64, 64), page(32, 32))
    assert [pyramid.path for pyramid in pyramids(tiff)] == [(0,), (1,), (2,)]
    assert roles(tiff) == {(0,): "image", (1,): "page", (2,): "page"}


def test_flagless_pyramids_of_tiled_images() -> None:
    tiff = parsed(tiled(100, 70), tiled(50, 35), tiled(25, 17), page(20, 15))
    first, second = pyramids(tiff)
    assert first.inferred
    assert [(level.width, level.scale_x, level.scale_y) for level in first.levels] == [
        (100, 1.0, 1.0),
        (50, 2.0, 2.0),
        (25, 4.0, 70 / 17),
    ]
    assert second.path == (3,)
    assert len(pyramids(tiff, size_chains=False)) == 4


@pytest.mark.parametrize(
    "other",
    [
        tiled(50, 70),
        tiled(99, 70),
        page(50, 35),
        tiled(50, 35, Entry(33550, 12, [1.0, 1.0, 0.0])),
        tiled(50, 35, Entry(339, 3, [3])),
        tiled(50, 35, Entry(254, 4, [2])),
        tiled(100, 70),
    ],
)
def test_no_flagless_pyramid_of_unlike_images(other: Dir) -> None:
    assert len(pyramids(parsed(tiled(100, 70), other))) == 2


def test_thumbnail_before_the_image() -> None:
    raw = page(64, 64, 0)
    tiff = parsed(page(16, 16, 1, subifds=[[raw], [page(8, 8, 1)]]))
    assert roles(tiff) == {(0,): "thumbnail", (0, 0): "image", (0, 1): "overview"}
    assert [pyramid.path for pyramid in pyramids(tiff)] == [(0, 0)]


def test_reduced_image_with_other_bands_is_a_thumbnail() -> None:
    other = [entry for entry in page(8, 8, 1).entries if entry.code != 277]
    rgb = Dir(sorted([*other, Entry(277, 3, [3])], key=lambda entry: entry.code), gap=64)
    tiff = parsed(page(16, 16), rgb)
    assert roles(tiff)[(1,)] == "thumbnail"
    assert pyramids(tiff) == (Pyramid((Level((0,), 16, 16, 1.0, 1.0),)),)


@pytest.mark.parametrize(("width", "height"), [(128, 43), (39, 46)], ids=["whole glass", "label"])
def test_reduced_photographs_of_another_shape_are_thumbnails(width: int, height: int) -> None:
    tiff = parsed(page(222, 297), page(111, 148, 1), page(width, height, 9))
    assert roles(tiff) == {(0,): "image", (1,): "overview", (2,): "thumbnail"}


@pytest.mark.parametrize(("width", "height"), [(500, 200), (7, 3), (8, 4), (1, 1), (125, 51)])
def test_rounded_sizes_are_of_the_same_shape(width: int, height: int) -> None:
    assert roles(parsed(page(1001, 401), page(width, height, 1)))[1,] == "overview"


def test_levels_whose_last_tiles_are_padded_are_of_the_same_shape() -> None:
    padded = page(64, 32, 1, Entry(322, 4, [32]), Entry(323, 4, [32]))
    assert roles(parsed(page(1000, 400), padded))[1,] == "overview"


def test_overviews_follow_their_own_page() -> None:
    tiff = parsed(page(64, 64), page(32, 32, 1), page(16, 16), page(8, 8, 1), page(16, 16, 4))
    first, second = pyramids(tiff)
    assert [level.path for level in first.levels] == [(0,), (1,)]
    assert [level.path for level in second.levels] == [(2,), (3,)]
    assert second.levels[0].mask == (4,)


def test_masks_of_other_sizes_or_depths_belong_to_nobody() -> None:
    deep = [entry for entry in page(16, 16, 4).entries if entry.code != 258]
    mask16 = Dir(sorted([*deep, Entry(258, 3, [16])], key=lambda entry: entry.code), gap=512)
    tiff = parsed(page(16, 16), page(9, 9, 4), mask16)
    assert pyramids(tiff)[0].levels[0].mask is None
    assert roles(tiff) == {(0,): "image", (1,): "mask", (2,): "mask"}


def test_old_subfile_type() -> None:
    tiff = parsed(page(16, 16), page(8, 8, None, Entry(255, 3, [2])))
    assert roles(tiff)[(1,)] == "overview"


def test_ifds_without_a_size_have_no_role() -> None:
    tiff = parsed(page(16, 16), page(0, 4, 1))
    assert roles(tiff) == {(0,): "image"}


@settings(max_examples=60, deadline=None)
@given(
    pages=st.lists(
        st.tuples(
            st.integers(0, 40), st.integers(0, 40), st.sampled_from([None, 0, 1, 2, 3, 4, 5, 7, 2**31]), st.booleans()
        ),
        min_size=1,
        max_size=8,
    )
)
def test_every_ifd_has_one_role_and_levels_fall(pages: list[tuple[int, int, int | None, bool]]) -> None:
    dirs = [page(w, h, s, *([Entry(322, 4, [16])] if t else [])) for w, h, s, t in pages]
    tiff = parsed(*dirs)
    found = pyramids(tiff)
    paths = [level.path for pyramid in found for level in pyramid.levels]
    masks = [level.mask for pyramid in found for level in pyramid.levels if level.mask is not None]
    assert len(paths + masks) == len(set(paths + masks))
    assert set(roles(tiff)) == {(i,) for i, (w, h, _, _) in enumerate(pages) if w and h}
    for pyramid in found:
        areas = [level.width * level.height for level in pyramid.levels]
        assert areas == sorted(areas, reverse=True)


def test_corpus(corpus: Path, closing_line: Callable[[str], None]) -> None:
    totals: Counter[str] = Counter()
    different = {}
    for path, tiff, dataset in corpus_pairs(corpus):
        ours = pyramids(tiff)[0]
        mask = ours.levels[0].mask is not None
        totals["files"] += 1
        totals["with overviews"] += len(ours.levels) > 1
        totals["overviews"] += len(ours.levels) - 1
        totals["with masks"] += mask
        theirs = gdal_levels(path, dataset)
        if levels_of(ours) != theirs or mask != has_mask(dataset):
            different[path.name] = (levels_of(ours), theirs, mask)
    closing_line("pyramids of the corpus: " + ", ".join(f"{n} {name}" for name, n in totals.items()))
    assert different.keys() == HIDDEN_FROM_GDAL, different
    assert totals["with overviews"] > 20
