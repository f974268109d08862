"""Comparing pixels: what a cube reads, what our decoder reads from the file, and what GDAL reads from it."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from operator import floordiv
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import zarr
from icechunk.store import IcechunkStore

from virtual_tiff.array import VirtualArray
from virtual_tiff.bandaxis import Order, in_order, last_order
from virtual_tiff.cube.axes import Axis
from virtual_tiff.cube.draws import Ranges, chunks_inside, draw, in_turn
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
from virtual_tiff.errors import TargetError, UsageError
from virtual_tiff.geo.bands import band_labels
from virtual_tiff.group import VirtualGroup
from virtual_tiff.manifest import manifest_group
from virtual_tiff.store import RangeStore, RootRegistry

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
    why it could not be read, or why GDAL was not asked.
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
    on_compared: Callable[[Pixels], None] | None = None,
) -> tuple[Pixels, ...]:
    """Compare random chunks, no chunk twice: of as many files as possible, of all levels and masks.

    Parameters
    ----------
    cube, group
        The repository, and the group of the cube in it.
    urls
        The files to choose from.
    count
        Number of chunks; all are compared when there are fewer.
    credentials
        For the containers of the cube.
    seed
        Of the choice.
    on_compared
        Called after each chunk.

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
    rows.look_up(urls)
    known = [row for row in map(rows.at, sorted(urls)) if row is not None and row.used]
    choose.shuffle(known)
    own = _Cube(store, group.strip("/"), recipe)
    files = (_draw(own, row, number, count, choose) for number, row in enumerate(known))
    by_file: dict[str, list[Pixels | _Chunk]] = {}
    for url, drawn in in_turn(files, count):
        by_file.setdefault(url, []).append(drawn)
    compared = []
    for chunks in by_file.values():  # one file after another, each of which GDAL gets once
        file = _File()
        for one in chunks:
            compared.append(one if isinstance(one, Pixels) else _compare(own, one, file))
            if on_compared is not None:
                on_compared(compared[-1])
    return tuple(compared)


@dataclass(frozen=True, slots=True)
class _Cube:
    """A cube that is compared; what was opened of it is kept."""

    store: IcechunkStore
    group: str
    recipe: Recipe
    arrays: dict[str, zarr.Array[Any]] = field(default_factory=dict)
    axes: dict[str, Axis] = field(default_factory=dict)

    def tree(self, row: Row) -> TreeRecipe:
        """The tree of a file."""
        return next(tree for tree in self.recipe.trees if tree.path == row.tree)

    def array(self, path: str) -> zarr.Array[Any]:
        """An array, by its path below the group of the cube."""
        if path not in self.arrays:
            whole = joined(self.group, path)
            try:
                with zarr.config.set({"array.rectilinear_chunks": True}):
                    self.arrays[path] = zarr.open_array(self.store, path=whole, mode="r", zarr_format=3)
            except FileNotFoundError as error:
                found = f"the cube has no array {whole}"
                raise TargetError(found, feature="target-not-a-cube") from error
        return self.arrays[path]

    def position(self, row: Row) -> tuple[int, ...]:
        """Where a file lies along the leading axes."""
        tree = self.tree(row)
        found = []
        for name, label in zip(tree.axes, json.loads(row.label), strict=True):
            path = joined(tree.level_paths[0], name)
            if path not in self.axes:
                array = self.array(path)
                self.axes[path] = Axis.decode(name, np.asarray(array[:]), dict(array.attrs))
            axis = self.axes[path]
            found.append(int(axis.indices_of([parse_time(label) if axis.kind == "time" else label])[0]))
        return tuple(found)

    def corner(self, row: Row, view: View, level: int) -> tuple[int, int]:
        """The upper left pixel of a file on one of the grounds of its tree: of the finest one by the ledger."""
        tree = self.tree(row)
        now = tree.grids[level]
        if now.transform is None:
            return (row.box[0], row.box[1]) if level == 0 else (0, 0)
        if level > 0:
            return same_grid(now.transform, view.footprint) or (0, 0)
        moved = same_grid(now.transform, tree.anchor) or (0, 0)
        return row.box[0] + moved[0], row.box[1] + moved[1]


@dataclass(frozen=True, slots=True)
class _Part:
    """What a file gives to one array of a cube; ``corner`` is its upper left pixel there.

    The file has its bands first, whatever the axes of the array are.
    """

    row: Row
    header: FileHeader
    view: View
    options: StackOptions
    corner: tuple[int, int]
    array: zarr.Array[Any]

    @property
    def chunks(self) -> Ranges:
        """The chunks of the file that lie in the array."""
        own, shape = self.view.array, [self.array.shape[self.order.index(self.array.ndim - axis)] for axis in (2, 1)]
        inner = zip(own.shape[-2:], own.chunk_shape[-2:], self.corner, shape, strict=True)
        return (*map(range, own.grid[:-2]), *(chunks_inside(*one) for one in inner))

    @property
    def order(self) -> Order:
        """The axes of the array, by their numbers where the bands of the file come first."""
        count, names = self.array.ndim, self.view.array.dimension_names
        order = last_order(("",) * (count - len(names)) + names) if self.options.band_axis == "last" else None
        return order or tuple(range(count))

    def read(self, at: Sequence[int | slice]) -> Values:
        """Read from the cube what has the axes of the file: `at` has a number for each axis that leads."""
        found = np.asarray(self.array[in_order(at, self.order)])
        lead = self.array.ndim - found.ndim
        return np.moveaxis(found, range(found.ndim), [axis - lead for axis in self.order[lead:]])


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk that is to be compared, by its index in the file."""

    part: _Part
    index: tuple[int, ...]


@dataclass(slots=True)
class _File:
    """The bytes of a remote file, once GDAL has needed them."""

    whole: bytes | None = None

    def read(self, place: Location) -> bytes:
        """Get the whole file, once."""
        if self.whole is None:
            self.whole = bytes(place.store.get(place.path).bytes())
        return self.whole


def _draw(
    cube: _Cube, row: Row, number: int, count: int, choose: random.Random
) -> Iterator[tuple[str, Pixels | _Chunk]]:
    """Draw chunks of one file, of its levels and masks in turn; or say why it cannot be read."""
    try:
        parts = list(_parts(cube, row))
    except Exception as error:  # noqa: BLE001 (whatever reading raises is the finding)
        yield row.url, Pixels(row.url, row.tree, (), "differs", "not compared", f"reading raises {_told(error)}")
        return
    first = number % max(1, len(parts))  # so that few chunks of many files are of all arrays, too
    for chunk in in_turn((_chunks(part, count, choose) for part in (*parts[first:], *parts[:first])), count):
        yield row.url, chunk


def _chunks(part: _Part, count: int, choose: random.Random) -> Iterator[_Chunk]:
    for index in draw(part.chunks, count, choose):
        yield _Chunk(part, index)


def _parts(cube: _Cube, row: Row) -> Iterator[_Part]:
    """Read the header of a file, and yield what it gives to each array."""
    tree, reading = cube.tree(row), cube.recipe.reading
    header = run(read_header(locate(row.url), ifd=reading.ifd, options=reading.chunks, overviews=reading.overviews))
    options = replace(cube.recipe.options(tree, time="auto"), bounds=None, window=None)
    band = row.variable or tree.constant.get(BAND)
    named = {BAND: band} if band else {}
    if BAND in tree.axes:
        named = {BAND: json.loads(row.label)[tree.axes.index(BAND)]}
    header = replace(header, keys=named)
    for level, (number, above) in enumerate(zip(tree.levels or (None,), tree.level_paths, strict=True)):
        for view in views_of([header], options, number):
            path = joined(above, view.variable)
            yield _Part(row, header, view, options, cube.corner(row, view, level), cube.array(path))


def _compare(cube: _Cube, drawn: _Chunk, file: _File) -> Pixels:
    """Compare one chunk of a file."""
    part, index = drawn.part, drawn.index
    own, array, url = part.view.array, part.array, part.row.url
    box: tuple[slice, ...] = tuple(
        slice(i * step, min((i + 1) * step, size))
        for i, step, size in zip(index, own.chunk_shape, own.shape, strict=True)
    )
    try:
        at = _place(cube, part, box)
        ours = part.read(at)
    except Exception as error:  # noqa: BLE001 (whatever reading raises is the finding)
        return Pixels(url, array.path, index, "differs", "not compared", f"reading the cube raises {_told(error)}")
    chunk = in_order(_chunk(array, own, at), part.order)
    try:
        decoded = _decode(part.header, own, box)
    except Exception as error:  # noqa: BLE001
        return Pixels(url, array.path, chunk, "differs", "not compared", f"reading the file raises {_told(error)}")
    decoder: Outcome = "same" if _equal(ours, decoded) else "differs"
    gdal, why = _compare_gdal(part, box, ours, file)
    return Pixels(url, array.path, chunk, decoder, gdal, why if decoder == "same" else "our decoder reads other pixels")


def _told(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _place(cube: _Cube, part: _Part, box: Sequence[slice]) -> tuple[int | slice, ...]:
    """A part of a file in its array."""
    rows, columns = (
        slice(one.start + first, one.stop + first) for one, first in zip(box[-2:], part.corner, strict=True)
    )
    return (*cube.position(part.row), *box[:-2], rows, columns)


def _chunk(array: zarr.Array[Any], part: VirtualArray, at: Sequence[int | slice]) -> tuple[int, ...]:
    """The chunk of a cube that has the first pixel of a part, with bands first."""
    first = [one if isinstance(one, int) else one.start for one in at]
    inner = part.chunk_shape[:-2]
    outer = [*first[: len(first) - len(part.chunk_shape)], *map(floordiv, first[-len(part.chunk_shape) : -2], inner)]
    rows, columns = map(chunk_at, stored_edges(array.metadata.to_dict()), first[-2:])
    return (*outer, rows, columns)


def _bands(header: FileHeader, view: View, options: StackOptions) -> list[int]:
    """The bands of the file, from 1, that a view shows."""
    array = header.array
    count = array.shape[0] if BAND in array.dimension_names else 1
    if view.metadata is None:  # a mask
        return [1]
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
    group = manifest_group(VirtualGroup(arrays={"image": replace(part, url=place.plain)}))
    store = RangeStore(group, registry=RootRegistry(place.root, place.store))
    inside: Any = (*box[:-2], slice(None), slice(None))
    return np.asarray(zarr.open_array(store, path="image", mode="r", zarr_format=3)[inside])


def _compare_gdal(part: _Part, box: tuple[slice, ...], ours: Values, file: _File) -> tuple[Outcome, str]:
    """Compare with GDAL, where it sees the same image."""
    header, view = part.header, part.view
    why = _beyond_gdal(header, view.array)
    if why:
        return "not compared", why
    try:
        theirs = _read_gdal(header.place, file, view.array, _bands(header, view, part.options), box)
    except Exception as error:  # noqa: BLE001 (GDAL cannot read it: that says nothing of the cube)
        return "not compared", f"GDAL: {error}"
    if theirs.shape != ours.shape:
        return "not compared", f"GDAL reads the shape {theirs.shape}"
    if view.metadata is None:  # of a mask, readers give 1 or 255 where there is data
        ours, theirs = ours != 0, theirs != 0
    same = _equal(ours, theirs) or (_is_jpeg(view.array) and _distance(ours, theirs) <= _LOSSY)
    return ("same", "") if same else ("differs", "GDAL reads other pixels")


def _beyond_gdal(header: FileHeader, image: VirtualArray) -> str:
    """Why GDAL cannot be asked, or nothing."""
    if find_spec("rasterio") is None:
        return "rasterio is not installed"
    if len(image.ifd) > 1:
        return "GDAL cannot name a SubIFD"
    if any("color" in codec.get("configuration", {}) for codec in image.codecs):
        return "colours are converted"
    if header.place.local is None and (header.size is None or header.size > MAX_DOWNLOAD):
        return "the file is too large to be fetched whole"
    return ""


def _is_jpeg(image: VirtualArray) -> bool:
    return any(codec.get("configuration", {}).get("compression") in (6, 7) for codec in image.codecs)


def _distance(one: Values, other: Values) -> int:
    return int(np.abs(one.astype(np.int64) - other.astype(np.int64)).max(initial=0))


def _read_gdal(
    place: Location, file: _File, image: VirtualArray, shown: Sequence[int], box: tuple[slice, ...]
) -> Values:
    """Read a window of one IFD; overviews and masks are images of their own when GDAL is asked for their IFD."""
    from rasterio.io import MemoryFile

    if place.local is not None:
        return _read_window(str(place.local), image, shown, box)
    with MemoryFile(file.read(place)) as memory:
        return _read_window(memory.name, image, shown, box)


def _read_window(name: str, image: VirtualArray, shown: Sequence[int], box: tuple[slice, ...]) -> Values:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.windows import Window

    rows, columns = box[-2:]
    bands = list(shown[box[0]]) if len(box) == 3 else shown[0]
    window = Window.from_slices(rows, columns, height=image.shape[-2], width=image.shape[-1])
    number = image.ifd[0] + 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # overviews and masks are not
        opened = rasterio.open(f"GTIFF_DIR:{number}:{name}" if number > 1 else name)
    with opened:
        return np.asarray(opened.read(bands, window=window))


def _equal(one: Any, other: Any) -> bool:
    left, right = np.asarray(one), np.asarray(other)
    nan = left.dtype.kind in "fc" and right.dtype.kind in "fc"
    return left.shape == right.shape and bool(np.array_equal(left, right, equal_nan=nan))
