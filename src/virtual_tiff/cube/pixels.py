"""Comparing pixels: what a cube reads, what our decoder reads from the file, and what GDAL reads from it."""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from operator import floordiv
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import zarr
from icechunk.store import IcechunkStore
from obspec_utils.registry import ObjectStoreRegistry

from virtual_tiff.array import VirtualArray
from virtual_tiff.cube.axes import Axis
from virtual_tiff.cube.edges import chunk_at, stored_edges
from virtual_tiff.cube.header import FileHeader, read_header
from virtual_tiff.cube.mosaic import same_grid
from virtual_tiff.cube.open import Credentials, open_repository
from virtual_tiff.cube.patient import PatientStore
from virtual_tiff.cube.recipe import Recipe, TreeRecipe
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.select import BAND, Span, crop, find_bands
from virtual_tiff.cube.sources import Row, read_recipe, read_rows
from virtual_tiff.cube.stores import Location, locate
from virtual_tiff.cube.target import translated
from virtual_tiff.cube.times import parse_time
from virtual_tiff.cube.views import StackOptions, View, variable_names, views_of
from virtual_tiff.cube.write import joined
from virtual_tiff.errors import UsageError, VirtualTiffError
from virtual_tiff.geo.bands import band_labels
from virtual_tiff.group import VirtualGroup
from virtual_tiff.manifest import manifest_group
from virtual_tiff.store import RangeStore

type Values = npt.NDArray[Any]
type Outcome = Literal["same", "differs", "not compared"]

MAX_DOWNLOAD: Final = 256 << 20
"""Bytes of a remote file up to which GDAL gets all of it to compare with."""

_LOSSY: Final = 2
"""JPEG decoders may differ by so much."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """One chunk that was compared; `chunk` is its index in the array of the cube.

    ``decoder`` and ``gdal`` say whether the cube agrees with our decoder and with GDAL; ``why`` says what differs,
    or why nothing could be compared.
    """

    url: str
    array: str
    chunk: tuple[int, ...]
    decoder: Outcome
    gdal: Outcome
    why: str = ""

    @property
    def agree(self) -> bool:
        """Whether nothing differs, and at least our decoder was asked."""
        return self.decoder == "same" and self.gdal != "differs"

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "url": self.url,
            "array": self.array,
            "chunk": list(self.chunk),
            "decoder": self.decoder,
            "gdal": self.gdal,
            "why": self.why,
        }


def compare_pixels(
    cube: Location,
    group: str,
    urls: Collection[str],
    count: int,
    *,
    credentials: Credentials | None = None,
    seed: int | None = None,
) -> tuple[Pixels, ...]:
    """Compare random chunks of random sources.

    Parameters
    ----------
    cube, group
        The repository, and the group of the cube in it.
    urls
        The files to choose from.
    count
        Number of chunks.
    credentials
        For the containers of the cube.
    seed
        Of the choice.

    Raises
    ------
    UsageError
        ``usage`` when the cube does not say how it was made.
    """
    choose = random.Random(seed)  # noqa: S311 (no secret)
    with translated(cube):
        path = str(cube.local) if cube.local is not None else cube.url
        session = open_repository(path, credentials=credentials).readonly_session("main")
        store = PatientStore.of(session)
        recipe = read_recipe(store, group.strip("/"))
        rows = read_rows(store, group.strip("/"))
    if recipe is None:
        found = "pixels cannot be compared: this cube does not say how it was made"
        raise UsageError(found, feature="usage", url=cube.url, hint="Leave out --pixels.")
    known = [row for row in map(rows.at, sorted(urls)) if row is not None and row.used]
    if not known:
        return ()
    own = _Cube(store, group.strip("/"), recipe)
    return tuple(_compare_one(own, row, choose) for row in choose.choices(known, k=count))


@dataclass(frozen=True, slots=True)
class _Cube:
    """A cube that is compared."""

    store: IcechunkStore
    group: str
    recipe: Recipe

    def tree(self, row: Row) -> TreeRecipe:
        """The tree of a file."""
        return next(tree for tree in self.recipe.trees if tree.path == row.tree)

    def array(self, row: Row, name: str) -> zarr.Array[Any]:
        """The array that has pixels of a file, on the finest level."""
        path = joined(self.group, self.tree(row).level_paths[0], name)
        with zarr.config.set({"array.rectilinear_chunks": True}):
            return zarr.open_array(self.store, path=path, mode="r", zarr_format=3)

    def position(self, row: Row) -> tuple[int, ...]:
        """Where a file lies along the leading axes."""
        tree = self.tree(row)
        found = []
        for name, label in zip(tree.axes, json.loads(row.label), strict=True):
            array = zarr.open_array(
                self.store, path=joined(self.group, tree.level_paths[0], name), mode="r", zarr_format=3
            )
            axis = Axis.decode(name, np.asarray(array[:]), dict(array.attrs))
            found.append(int(axis.indices_of([parse_time(label) if axis.kind == "time" else label])[0]))
        return tuple(found)

    def corner(self, row: Row) -> tuple[int, int]:
        """The upper left pixel of a file on the ground of its tree."""
        tree = self.tree(row)
        now, anchor = tree.grids[0], tree.anchor
        moved = (0, 0) if now.transform is None else same_grid(now.transform, anchor) or (0, 0)
        return row.box[0] + moved[0], row.box[1] + moved[1]


def _compare_one(cube: _Cube, row: Row, choose: random.Random) -> Pixels:
    """Compare one random chunk of a file."""
    tree, reading = cube.tree(row), cube.recipe.reading
    level = tree.levels[0] if tree.levels is not None else None
    try:
        header = run(
            read_header(
                locate(row.url), ifd=reading.ifd, options=reading.chunks, overviews=level is not None and level > 0
            )
        )
    except VirtualTiffError as error:
        return Pixels(row.url, row.tree, (), "not compared", "not compared", str(error))
    options = replace(cube.recipe.options(tree, time="auto"), bounds=None, window=None)
    band = row.variable or tree.constant.get(BAND)
    named = {BAND: band} if band else {}
    if BAND in tree.axes:
        named = {BAND: json.loads(row.label)[tree.axes.index(BAND)]}
    header = replace(header, keys=named)
    views = [view for view in views_of([header], options, level or None) if view.metadata is not None]
    view = choose.choice(views)
    array = cube.array(row, view.variable)
    index = tuple(choose.randrange(size) for size in view.array.grid)
    box: tuple[slice, ...] = tuple(
        slice(i * step, min((i + 1) * step, size))
        for i, step, size in zip(index, view.array.chunk_shape, view.array.shape, strict=True)
    )
    try:
        at = _place(cube, row, box, array)
        if at is None:
            return Pixels(row.url, array.path, (), "not compared", "not compared", "the chunk lies outside the cube")
        ours = np.asarray(array[at])
    except Exception as error:  # noqa: BLE001 (whatever reading raises is the finding)
        why = f"reading the cube raises {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return Pixels(row.url, array.path, index, "differs", "not compared", why)
    chunk = _chunk(array, view.array, at)
    decoded = _decode(header, view.array, box)
    decoder: Outcome = "same" if _equal(ours, decoded) else "differs"
    gdal, why = _compare_gdal(header, _bands(header, view, options), box, ours, level=level or 0)
    found = why if decoder == "same" else "our decoder reads other pixels"
    return Pixels(row.url, array.path, chunk, decoder, gdal, found)


def _place(cube: _Cube, row: Row, box: Sequence[slice], array: zarr.Array[Any]) -> tuple[int | slice, ...] | None:
    """A part of a file in its array, or None when the array does not have all of it."""
    corner = cube.corner(row)
    rows, columns = (slice(part.start + first, part.stop + first) for part, first in zip(box[-2:], corner, strict=True))
    height, width = array.shape[-2:]
    if rows.start < 0 or columns.start < 0 or rows.stop > height or columns.stop > width:
        return None
    return (*cube.position(row), *box[:-2], rows, columns)


def _chunk(array: zarr.Array[Any], part: VirtualArray, at: Sequence[int | slice]) -> tuple[int, ...]:
    """The chunk of a cube that has the first pixel of a part."""
    first = [one if isinstance(one, int) else one.start for one in at]
    inner = part.chunk_shape[:-2]
    outer = [*first[: len(first) - len(part.chunk_shape)], *map(floordiv, first[-len(part.chunk_shape) : -2], inner)]
    rows, columns = map(chunk_at, stored_edges(array.metadata.to_dict()), first[-2:])
    return (*outer, rows, columns)


def _bands(header: FileHeader, view: View, options: StackOptions) -> list[int]:
    """The bands of the file, from 1, that a view shows."""
    array = header.array
    count = array.shape[0] if BAND in array.dimension_names else 1
    if BAND in header.keys or count == 1:
        return list(range(1, count + 1))
    if options.band_as == "variable":
        return [variable_names(header.metadata, count).index(view.variable) + 1]
    if options.bands is None:
        return list(range(1, count + 1))
    return [band + 1 for band in find_bands(options.bands, band_labels(header.metadata) or (), count)]


def _decode(header: FileHeader, image: VirtualArray, box: Sequence[slice]) -> Values:
    """The pixels of one chunk as they are read straight from the file."""
    place = header.place
    rows, columns = box[-2:]
    part = crop(image, Span(rows.start, columns.start, rows.stop, columns.stop))
    if part.last_rows is not None:  # one chunk is a regular grid
        part = replace(part, chunk_shape=(*part.chunk_shape[:-2], part.last_rows, part.chunk_shape[-1]), last_rows=None)
    registry: ObjectStoreRegistry[Any] = ObjectStoreRegistry({place.root: place.store})
    array = replace(part, url=place.root + place.path)  # registries take paths as they are, not encoded
    store = RangeStore(manifest_group(VirtualGroup(arrays={"image": array})), registry=registry)
    inside: Any = (*box[:-2], slice(None), slice(None))
    return np.asarray(zarr.open_array(store, path="image", mode="r", zarr_format=3)[inside])


def _compare_gdal(
    header: FileHeader, bands: Sequence[int], box: tuple[slice, ...], ours: Values, *, level: int
) -> tuple[Outcome, str]:
    """Compare with GDAL, where it sees the same image."""
    why = "GDAL is asked for the finest level only" if level else _beyond_gdal(header)
    if why:
        return "not compared", why
    try:
        theirs = _read_gdal(header, bands, box)
    except Exception as error:  # noqa: BLE001 (GDAL cannot read it: that says nothing of the cube)
        return "not compared", f"GDAL: {error}"
    if theirs.shape != ours.shape:
        return "not compared", f"GDAL reads the shape {theirs.shape}"
    same = _equal(ours, theirs) or (_is_jpeg(header) and _distance(ours, theirs) <= _LOSSY)
    return ("same", "") if same else ("differs", "GDAL reads other pixels")


def _beyond_gdal(header: FileHeader) -> str:
    """Why GDAL cannot be asked, or nothing."""
    if find_spec("rasterio") is None:
        return "rasterio is not installed"
    if len(header.array.ifd) > 1:
        return "GDAL cannot name a SubIFD"
    if any("color" in codec.get("configuration", {}) for codec in header.array.codecs):
        return "colours are converted"
    if header.place.local is None and (header.size is None or header.size > MAX_DOWNLOAD):
        return "the file is too large to be fetched whole"
    return ""


def _is_jpeg(header: FileHeader) -> bool:
    return any(codec.get("configuration", {}).get("compression") in (6, 7) for codec in header.array.codecs)


def _distance(one: Values, other: Values) -> int:
    return int(np.abs(one.astype(np.int64) - other.astype(np.int64)).max(initial=0))


def _read_gdal(header: FileHeader, shown: Sequence[int], box: tuple[slice, ...]) -> Values:
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.windows import Window

    rows, columns = box[-2:]
    bands = list(shown[box[0]]) if len(box) == 3 else shown[0]
    window = Window.from_slices(rows, columns, height=header.array.shape[-2], width=header.array.shape[-1])
    number = header.array.ifd[0] + 1
    local = header.place.local
    if local is not None:
        with rasterio.open(f"GTIFF_DIR:{number}:{local}" if number > 1 else local) as file:
            return np.asarray(file.read(bands, window=window))
    whole = bytes(header.place.store.get(header.place.path).bytes())
    with (
        MemoryFile(whole) as memory,
        rasterio.open(f"GTIFF_DIR:{number}:{memory.name}" if number > 1 else memory.name) as file,
    ):
        return np.asarray(file.read(bands, window=window))


def _equal(one: Any, other: Any) -> bool:
    left, right = np.asarray(one), np.asarray(other)
    nan = left.dtype.kind in "fc" and right.dtype.kind in "fc"
    return left.shape == right.shape and bool(np.array_equal(left, right, equal_nan=nan))
