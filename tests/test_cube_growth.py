"""Random archives grow in random steps, and become the cubes that they are when all is published at once.

Each cube is compared with what rasterio reads from the files, pixel by pixel, and with the transforms of the files.
More archives are tried with ``VIRTUAL_TIFF_GROWTH=1000``.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import Resampling

from tests.archives import LONG_AGO, age
from tests.cubes import Contents, check_same, check_verified, contents, equal
from virtual_tiff.cube.append import append
from virtual_tiff.cube.publish import publish
from virtual_tiff.errors import ConformError

CASES: Final = int(os.environ.get("VIRTUAL_TIFF_GROWTH") or 14)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
STARTS: Final = tuple(map(datetime.fromisoformat, ("2024-01-01T00Z", "1650-03-04T00Z", "2020-02-29T13:04:05Z")))
COLOURS: Final = ("red", "green", "blue")


@dataclass(frozen=True, slots=True)
class Scene:
    """One file of an archive, and what its name or its catalogue says."""

    path: Path
    time: datetime | None
    tile: tuple[int, int]
    band: str | None


class Archive:
    """Scenes of one kind; all of it follows from a seed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder, self.made = seed, folder, 0
        self.scenes: list[Scene] = []
        choose = self.random = random.Random(seed)
        self.source = choose.choice(["pattern", "tag", "function", "stac", "stac", None])
        self.by_band = self.source in ("pattern", "stac") and choose.random() < 0.5
        self.bands = 1 if self.by_band else choose.choice([1, 1, 3])
        self.interleave = choose.choice(["pixel", "band"])
        parts = self.by_band or (self.bands == 3 and self.interleave == "band")
        self.band_as = choose.choice(["dimension", "variable"]) if parts else "dimension"
        if self.by_band and self.source == "stac":  # else items with one asset each would tell of no bands
            self.band_as = "dimension"
        self.dtype = choose.choice(["uint8", "uint16", "int16", "float32"])
        self.nodata = choose.choice([None, 0, 201])
        self.overviews = choose.random() < 0.3
        self.masks = self.overviews and self.nodata is None and choose.random() < 0.6
        self.pixel = choose.choice([10.0, 0.1, 1 / 3, 463.3127165279165])
        self.corner = choose.choice([(500000.0, 4600000.0), (-180.0, 90.0), (-20015109.354, 10007554.677)])
        self.block = choose.choice([16, 32])
        self.shape = tuple(choose.choice([1, 2]) * self.block * (8 if self.overviews else 1) for _ in range(2))
        self.profile = {
            "driver": "GTiff",
            "crs": choose.choice(["EPSG:32633", "EPSG:32633", None]),
            "compress": choose.choice(["deflate", "lzw", "zstd", None]),
            "predictor": choose.choice([1, 2]) if self.dtype != "float32" else 1,
            "BIGTIFF": choose.choice(["YES", "NO"]),
            "ENDIANNESS": choose.choice(["BIG", "LITTLE"]),
            "interleave": self.interleave,
            "nodata": self.nodata,
            "tiled": choose.random() < 0.75,
            "blockxsize": self.block,
            "blockysize": self.block,
        }
        if not self.profile["tiled"]:
            del self.profile["blockxsize"]
        self._fill()

    def _fill(self) -> None:
        choose = self.random
        moment = choose.choice(STARTS)
        times: list[datetime | None] = [None]
        if self.source is not None:
            finest = timedelta(microseconds=1 if self.source in ("function", "stac") else 1_000_000)
            times = [moment + day * timedelta(days=11) + day * finest for day in range(choose.randint(2, 4))]
        tiles = [(row, col) for row in range(choose.randint(1, 3)) for col in range(choose.randint(1, 3))]
        bands = ["B02", "B03", "B8A"] if self.by_band else [None]
        places = [(time, tile, band) for time in times for tile in tiles for band in bands]
        for place in choose.sample(places, max(1, min(24, round(len(places) * choose.choice([0.5, 0.8, 1.0]))))):
            self.scenes.append(self.write(*place))

    def write(self, time: datetime | None, tile: tuple[int, int], band: str | None, path: Path | None = None) -> Scene:
        """Write a scene with new pixels; where no path is named, its own."""
        self.made += 1
        pixels = np.random.default_rng([self.seed, self.made]).integers(1, 200, (self.bands, *self.shape))
        stamp = "none" if time is None else f"{time:%Y%m%dT%H%M%S}"
        path = path or self.folder / f"h{tile[1]}v{tile[0]}_{stamp}_{band or 'all'}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        height, width = self.shape
        x, y = (
            start + sign * self.pixel * step
            for start, sign, step in zip(self.corner, (1, -1), (tile[1] * width, tile[0] * height), strict=True)
        )
        sizes = {"count": self.bands, "height": height, "width": width, "dtype": self.dtype}
        place = Affine(self.pixel, 0, x, 0, -self.pixel, y)
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True, GDAL_TIFF_OVR_BLOCKSIZE=str(64)):
            with rasterio.open(path, "w", **self.profile, **sizes, transform=place) as file:
                if time is not None and self.source == "tag":
                    file.update_tags(TIFFTAG_DATETIME=time.strftime("%Y:%m:%d %H:%M:%S"))
                file.write(pixels.astype(self.dtype))
                if self.masks:
                    file.write_mask((pixels[0] > 70).astype(np.uint8) * 255)
            if self.overviews:
                with rasterio.open(path, "r+") as file:
                    file.build_overviews([2], Resampling.nearest)
        age(path, LONG_AGO + self.made)
        return Scene(path, time, tile, band)

    def inputs(self, scenes: Iterable[Scene]) -> list[Any]:
        """The scenes as a user names them."""
        if self.source != "stac":
            return [scene.path for scene in scenes]
        items: dict[str, dict[str, Any]] = {}
        for scene in scenes:
            assert scene.time is not None
            name = f"{scene.tile} {scene.time.isoformat()}"
            item = items.setdefault(
                name,
                {
                    "type": "Feature",
                    "stac_version": "1.0.0",
                    "id": name,
                    "geometry": None,
                    "links": [],
                    "properties": {"datetime": scene.time.isoformat()},
                    "assets": {},
                },
            )
            asset = {"href": str(scene.path), "roles": ["data"], "type": "image/tiff; application=geotiff"}
            item["assets"][scene.band or "data"] = asset
        return list(items.values())

    @property
    def time(self) -> Callable[[str], datetime] | None:
        """The function that tells the times."""
        times = {scene.path.name: scene.time for scene in self.scenes}
        return (lambda url: times[url.rpartition("/")[2]]) if self.source == "function" else None  # type: ignore[return-value]

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of publish."""
        found: dict[str, Any] = {"band_as": self.band_as, "overviews": [0, 1] if self.overviews else False}
        if self.source == "pattern":
            found["pattern"] = "h{h}v{v}_{time:%Y%m%dT%H%M%S}_" + ("{band}.tif" if self.by_band else "all.tif")
        if self.source in ("tag", "function"):
            found["time"] = self.time or "tag"
        if self.by_band:
            found["axes"] = ["band"]
        return found | {"mosaic": True}


def check_against_rasterio(archive: Archive, cube: Contents) -> None:
    """Each array is what rasterio reads, put where the transforms of the files say."""
    scenes = archive.scenes
    top, left = (min(scene.tile[axis] for scene in scenes) for axis in (0, 1))
    height, width = archive.shape
    rows, columns = (1 + max(scene.tile[axis] for scene in scenes) - first for axis, first in ((0, top), (1, left)))
    times = sorted({scene.time for scene in scenes if scene.time is not None})
    bands = sorted({scene.band for scene in scenes if scene.band is not None})
    by_axis = archive.band_as == "dimension" and bool(bands)
    lead = ((len(times),) if times else ()) + ((len(bands),) if by_axis else ())
    inner = (archive.bands,) if archive.bands > 1 and archive.band_as == "dimension" else ()
    expected: dict[str, Any] = {}
    for scene in scenes:
        with rasterio.open(scene.path) as file:
            pixels, mask = file.read(), file.read_masks(1)
        at: tuple[Any, ...] = (times.index(scene.time),) if scene.time is not None else ()
        at += (bands.index(scene.band),) if by_axis and scene.band else ()
        row, col = (scene.tile[0] - top) * height, (scene.tile[1] - left) * width
        at += (..., slice(row, row + height), slice(col, col + width))
        name = scene.band if archive.band_as == "variable" and scene.band else "band_data"
        images = {name: pixels if inner else pixels[0]}
        if archive.band_as == "variable" and archive.bands > 1:
            names = COLOURS if archive.dtype == "uint8" else ("band_1", "band_2", "band_3")
            images = dict(zip(names, pixels, strict=True))
        for name, image in images.items():
            whole = (*lead, *inner, rows * height, columns * width)
            expected.setdefault(name, np.full(whole, archive.nodata or 0, image.dtype))[at] = image
        if archive.masks:
            name = f"{scene.band}_mask" if archive.band_as == "variable" and scene.band else "mask"
            expected.setdefault(name, np.zeros((*lead, rows * height, columns * width), bool))[at] = mask > 0
    root = "/0" if archive.overviews else ""
    for name, array in expected.items():
        assert equal(cube[f"{root}/{name}"][2], array), name
    if times:
        moments = [(time - EPOCH) // timedelta(microseconds=1) for time in times]
        assert cube[f"{root}/time"][2].tolist() == moments
    place = Affine(archive.pixel, 0, archive.corner[0], 0, -archive.pixel, archive.corner[1])
    place @= Affine.translation(left * width, top * height)
    near = archive.pixel * 1e-3
    steps = np.arange(columns * width) + 0.5, np.arange(rows * height) + 0.5
    assert np.allclose(cube[f"{root}/x"][2], place.c + steps[0] * place.a, rtol=0, atol=near)
    assert np.allclose(cube[f"{root}/y"][2], place.f + steps[1] * place.e, rtol=0, atol=near)
    stated = [float(text) for text in cube[f"{root}/spatial_ref"][0]["GeoTransform"].split()]
    assert np.allclose(stated, place.to_gdal(), rtol=0, atol=near)


def grow(archive: Archive, cube: Path, steps: Sequence[Sequence[Scene]], *, batch: int) -> None:
    """Publish the first scenes and append the others."""
    publish(archive.inputs(steps[0]), cube, **archive.options)
    for step in steps[1:]:
        done = append(archive.inputs([*step, steps[0][0]]), cube, time=archive.time, batch=batch)
        assert len(done.added) == len(step)
        assert done.unchanged == 1


@pytest.mark.parametrize("seed", range(CASES))
def test_cubes_grow_to_what_they_are_at_once(seed: int, tmp_path: Path) -> None:
    archive = Archive(seed, tmp_path / "files")
    once, grown = tmp_path / "once", tmp_path / "grown"
    publish(archive.inputs(archive.scenes), once, **archive.options)
    check_against_rasterio(archive, contents(once))
    scenes = archive.random.sample(archive.scenes, len(archive.scenes))
    cuts = sorted(archive.random.sample(range(1, len(scenes)), min(2, len(scenes) - 1)))
    steps = [scenes[first:last] for first, last in zip([0, *cuts], [*cuts, len(scenes)], strict=True)]
    grow(archive, grown, steps, batch=archive.random.choice([1, 10, 10**6]))
    check_same(contents(once), contents(grown))
    assert append(archive.inputs(archive.scenes), grown, time=archive.time).snapshots == ()
    check_verified(grown)


@pytest.mark.parametrize("seed", range(5000, 5000 + CASES // 2))
def test_replaced_and_reprocessed_scenes(seed: int, tmp_path: Path) -> None:
    """Scenes are written anew in place, or come under another name with the policy of the cube."""
    archive = Archive(seed, tmp_path / "files")
    cube = tmp_path / "cube"
    policy = archive.random.choice(["first", "last", "raise"])
    options = archive.options | {"on_duplicate": policy}
    publish(archive.inputs(archive.scenes), cube, **options)
    for step in range(2):
        chosen = archive.random.sample(range(len(archive.scenes)), min(3, len(archive.scenes)))
        for number in chosen[:2]:
            scene = archive.scenes[number]
            archive.scenes[number] = archive.write(scene.time, scene.tile, scene.band, scene.path)
        done = append(archive.inputs(archive.scenes), cube, time=archive.time)
        assert (len(done.replaced), done.added) == (len(chosen[:2]), ())
        if archive.source in ("tag", "stac"):
            scene = archive.scenes[chosen[-1]]
            path = scene.path.with_name(f"again{step}_{scene.path.name}")
            again = archive.write(scene.time, scene.tile, scene.band, path)
            same_item = archive.source == "stac"  # its id has not changed: that is a new version
            if policy == "raise" and not same_item:
                with pytest.raises(ConformError) as caught:
                    append(archive.inputs([again]), cube)
                assert caught.value.feature == "overlap"
                assert path.name in str(caught.value)
            else:
                found = append(archive.inputs([again]), cube)
                wins = same_item or policy == "last"
                assert found.replaced == ((f"file://{path}",) if wins else ())
                assert append(archive.inputs([again]), cube).snapshots == ()
                if wins:
                    archive.scenes[chosen[-1]] = again
        check_against_rasterio(archive, contents(cube))
    check_verified(cube)
