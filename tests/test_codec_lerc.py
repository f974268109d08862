"""LERC as GDAL writes it: second compressions, masks, NaN, and the alpha band that becomes a mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import rasterio
import tifffile

from tests.codec_cases import agrees, page_config, read_gdal, real_pages, smooth
from tests.oracles import quiet
from tests.segment_cases import decode_page
from virtual_tiff.codecs.config import SegmentConfig
from virtual_tiff.codecs.lerc import IMAGES, LERC, decode_lerc
from virtual_tiff.errors import DecodeError

ROWS, COLUMNS = 40, 50


def with_nan(samples: int, *, same: bool, dtype: Any = np.float32) -> Any:
    image = smooth(ROWS, COLUMNS, samples).astype(dtype)
    holes = np.random.default_rng(3).random((ROWS, COLUMNS, 1 if same else samples)) < 0.2
    return np.where(holes, np.nan, image).astype(dtype)


def with_alpha(samples: int) -> Any:
    image = smooth(ROWS, COLUMNS, samples)
    image[..., -1] = np.where(np.random.default_rng(4).random((ROWS, COLUMNS)) < 0.3, 0, 255)
    return image


IMAGES_WRITTEN: dict[str, tuple[Any, dict[str, Any]]] = {
    "bytes": (smooth(ROWS, COLUMNS, 1), {}),
    "int8": (smooth(ROWS, COLUMNS, 1).view(np.int8), {}),
    "int32 in 4 bands": (smooth(ROWS, COLUMNS, 4).astype(np.int32) * 1000, {}),
    "float64": (smooth(ROWS, COLUMNS, 2).astype(np.float64) / 3, {}),
    "NaN": (with_nan(1, same=True), {}),
    "NaN in all bands": (with_nan(3, same=True), {}),
    "NaN in each band": (with_nan(3, same=False), {}),
    "NaN in each double": (with_nan(3, same=False, dtype=np.float64), {}),
    "nothing but NaN": (np.full((ROWS, COLUMNS, 1), np.nan, np.float32), {}),
    "alpha": (with_alpha(4), {"photometric": "RGB", "alpha": "YES"}),
    "grey and alpha": (with_alpha(2), {"alpha": "YES"}),
    "alpha of another kind": (with_alpha(4), {"photometric": "RGB"}),
    "lossy": (with_nan(1, same=True) / 7, {"max_z_error": 0.01}),
}


@pytest.mark.parametrize("name", IMAGES_WRITTEN)
@pytest.mark.parametrize("second", ["LERC", "LERC_DEFLATE", "LERC_ZSTD"])
@pytest.mark.parametrize(("interleave", "endianness"), [("pixel", "LITTLE"), ("band", "LITTLE"), ("pixel", "BIG")])
def test_what_gdal_writes(name: str, second: str, interleave: str, endianness: str, tmp_path: Path) -> None:
    image, options = IMAGES_WRITTEN[name]
    path = tmp_path / "lerc.tif"
    with quiet(), rasterio.open(
        path, "w", driver="GTiff", width=COLUMNS, height=ROWS, count=image.shape[2], dtype=image.dtype,
        compress=second, interleave=interleave, blockysize=16, endianness=endianness, **options,
    ) as dataset:  # fmt: skip
        dataset.write(image.transpose(2, 0, 1))
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        assert page.compression == LERC
        decoded = decode_page(page, page_config(page))
    ours = decoded.transpose(1, 2, 0, 3).reshape(image.shape)
    np.testing.assert_array_equal(ours, read_gdal(path))
    if "lossy" not in name and "alpha" not in name:
        np.testing.assert_array_equal(ours, image)


def test_masked_integers_are_zero() -> None:
    image = smooth(ROWS, COLUMNS, 1)[..., 0] | 1
    valid = np.random.default_rng(8).random(image.shape) < 0.5
    what = SegmentConfig(compression=LERC, columns=COLUMNS, rows=ROWS)
    decoded = decode_lerc(imagecodecs.lerc_encode(image, masks=valid), what)[..., 0]
    np.testing.assert_array_equal(decoded, np.where(valid, image, 0))


def test_refusals() -> None:
    segment = bytes(imagecodecs.lerc_encode(smooth(ROWS, COLUMNS, 1)[..., 0]))
    cases: list[tuple[bytes, dict[str, Any], str]] = [
        (b"", {}, "short-segment"),
        (b"Lerc2 nothing of the kind, but long enough", {}, "corrupt-segment"),
        (segment[:60], {}, "corrupt-segment"),
        (segment, {"lerc_parameters": (4, 1)}, "corrupt-segment"),
        (segment, {"lerc_parameters": (4, 9)}, "codec-config"),
        (segment, {"samples": 3}, "corrupt-segment"),
        (segment, {"columns": 49}, "corrupt-segment"),
        (segment, {"bits_per_sample": (32,), "sample_format": 3}, "corrupt-segment"),
    ]
    for encoded, fields, feature in cases:
        what = SegmentConfig(compression=LERC, **{"columns": COLUMNS, "rows": ROWS, **fields})
        with pytest.raises(DecodeError) as refusal:
            decode_lerc(encoded, what)
        assert refusal.value.feature == feature, fields


def test_real_files(corpus: Path) -> None:
    pages = [(path.name, agrees(path, page)) for path, page in real_pages(corpus, frozenset(IMAGES))]
    assert len(pages) > 10
    assert [name for name, equal in pages if not equal] == []
