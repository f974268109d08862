"""Comparing pixels: what a cube reads, what our decoder reads from the file, and what GDAL reads from it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import zarr
from obspec_utils.registry import ObjectStoreRegistry

from virtual_tiff.chunks import ChunkOptions
from virtual_tiff.cube.header import FileHeader, read_header
from virtual_tiff.cube.open import Credentials, open_repository
from virtual_tiff.cube.runner import run
from virtual_tiff.cube.sources import read_recipe
from virtual_tiff.cube.stores import Location
from virtual_tiff.cube.target import translated
from virtual_tiff.cube.write import joined
from virtual_tiff.errors import UsageError, VirtualTiffError
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
    sources: Sequence[tuple[Location, str]],
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
    sources
        Files, with their values on the first axis of the cube, as text.
    count
        Number of chunks.
    credentials
        For the containers of the cube.
    seed
        Of the choice.

    Raises
    ------
    UsageError
        ``usage`` when the cube is no stack of whole files.
    """
    if not sources:
        return ()
    choose = random.Random(seed)  # noqa: S311 (no secret)
    with translated(cube):
        path = str(cube.local) if cube.local is not None else cube.url
        store = open_repository(path, credentials=credentials).readonly_session("main").store
    recipe = read_recipe(store, group.strip("/"))
    if recipe is None:
        found = "pixels can be compared in stacks of whole files only, and this cube does not say that it is one"
        raise UsageError(found, feature="usage", url=cube.url, hint="Leave out --pixels.")
    top = zarr.open_group(store, path=joined(group, recipe["path"]), mode="r", zarr_format=3)
    array = _member(top, recipe["plan"]["name"])
    labels = {str(value): index for index, value in enumerate(np.asarray(_member(top, recipe["axis"])[:]).tolist())}
    compared: list[Pixels] = []
    for place, label in choose.choices(sources, k=count):
        compared.append(_compare_one(place, labels.get(label), array, recipe, choose))
    return tuple(compared)


def _member(group: zarr.Group, name: str) -> zarr.Array[Any]:
    found = group[name]
    if not isinstance(found, zarr.Array):
        raise UsageError(f"{name} is no array of the cube", feature="usage")
    return found


def _compare_one(
    place: Location, position: int | None, array: zarr.Array[Any], recipe: Any, choose: random.Random
) -> Pixels:
    """Compare one random chunk of a file."""
    name = array.path
    try:
        options = ChunkOptions(**recipe["options"])
        header = run(read_header(place, ifd=tuple(recipe["ifd"]), options=options))
    except VirtualTiffError as error:
        return Pixels(place.url, name, (), "not compared", "not compared", str(error))
    if position is None or header.array.shape != array.shape[1:]:
        why = f"the file has the shape {header.array.shape}, its place in the cube {array.shape[1:]}"
        return Pixels(place.url, name, (), "differs", "not compared", why)
    index = tuple(choose.randrange(size) for size in header.array.grid)
    box: tuple[slice, ...] = tuple(
        slice(i * step, min((i + 1) * step, size))
        for i, step, size in zip(index, header.array.chunk_shape, header.array.shape, strict=True)
    )
    chunk = (position, *index)
    try:
        at: Any = (position, *box)
        ours = np.asarray(array[at])
    except Exception as error:  # noqa: BLE001 (whatever reading raises is the finding)
        why = f"reading the cube raises {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return Pixels(place.url, name, chunk, "differs", "not compared", why)
    inside: Any = box
    decoded = np.asarray(_decode(header)[inside])
    decoder: Outcome = "same" if _equal(ours, decoded) else "differs"
    gdal, why = _compare_gdal(header, box, ours)
    return Pixels(place.url, name, chunk, decoder, gdal, why if decoder == "same" else "our decoder reads other pixels")


def _decode(header: FileHeader) -> zarr.Array[Any]:
    """The image as an array that is read straight from the file."""
    place = header.place
    registry: ObjectStoreRegistry[Any] = ObjectStoreRegistry({place.root: place.store})
    array = replace(header.array, url=place.root + place.path)  # registries take paths as they are, not encoded
    store = RangeStore(manifest_group(VirtualGroup(arrays={"image": array})), registry=registry)
    return zarr.open_array(store, path="image", mode="r", zarr_format=3)


def _compare_gdal(header: FileHeader, box: tuple[slice, ...], ours: Values) -> tuple[Outcome, str]:
    """Compare with GDAL, where it sees the same image."""
    why = _beyond_gdal(header)
    if why:
        return "not compared", why
    try:
        theirs = _read_gdal(header, box)
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


def _read_gdal(header: FileHeader, box: tuple[slice, ...]) -> Values:
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.windows import Window

    rows, columns = box[-2:]
    bands = [band + 1 for band in range(box[0].start, box[0].stop)] if len(box) == 3 else 1
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
