"""What each file gives to a cube: one array for each variable, at one level of resolution, with its ground."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from affine import Affine

from virtual_tiff.array import VirtualArray
from virtual_tiff.bandaxis import BandAxis, check_band_axis
from virtual_tiff.cube.axes import AxisValue
from virtual_tiff.cube.blueprint import Footprint
from virtual_tiff.cube.cells import TimeSource
from virtual_tiff.cube.edges import ChunkGrid
from virtual_tiff.cube.header import FileHeader
from virtual_tiff.cube.select import (
    BAND,
    Bounds,
    Window,
    drop_band,
    find_bands,
    metadata_of_bands,
    pick_bands,
)
from virtual_tiff.errors import ConformError, UsageError
from virtual_tiff.geo.bands import band_labels
from virtual_tiff.geo.gdal_metadata import RasterMetadata
from virtual_tiff.group import MASK

type BandAs = Literal["dimension", "variable"]
type OnDuplicate = Literal["raise", "first", "last"]

_UNNAMEABLE: Final = re.compile(r"[/\x00-\x1f]|^[_.]|^$")


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """How files become arrays; the fields are the arguments of :func:`virtual_tiff.cube.plan.plan_stack`."""

    dim: str = "item"
    name: str = "band_data"
    value_attributes: bool = True
    time: TimeSource | None = None
    axes: tuple[str, ...] = ()
    band_as: BandAs = "dimension"
    band_axis: BandAxis = "first"
    bands: tuple[int | str, ...] | None = None
    bounds: Bounds | None = None
    window: Window | None = None
    levels: bool | tuple[int, ...] = False
    mosaic: bool = False
    chunk_grid: ChunkGrid = "regular"
    on_duplicate: OnDuplicate = "raise"
    presize: Mapping[str, tuple[AxisValue, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.band_as not in ("dimension", "variable"):
            found = f"band_as={self.band_as!r}"
            raise UsageError(found, feature="usage", hint="Choose 'dimension' or 'variable'.")
        check_band_axis(self.band_axis)
        if self.chunk_grid not in get_args(ChunkGrid.__value__):
            found = f"chunk_grid={self.chunk_grid!r}"
            raise UsageError(found, feature="usage", hint="Choose 'regular' or 'rectilinear'.")
        if self.on_duplicate not in get_args(OnDuplicate.__value__):
            found = f"on_duplicate={self.on_duplicate!r}"
            raise UsageError(found, feature="usage", hint="Choose 'raise', 'first' or 'last'.")
        if self.bounds is not None and self.window is not None:
            raise UsageError("both bounds and a window", feature="usage", hint="Give one of them.")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one file gives to one variable. A mask has no metadata; ``mask`` names the variable that masks this one."""

    header: FileHeader
    variable: str
    array: VirtualArray
    footprint: Footprint
    metadata: RasterMetadata | None = field(repr=False)
    mask: str | None = None


def footprint(header: FileHeader, level: int | None = None) -> Footprint:
    """The ground that an image covers, at one of its levels; its own size when no level is named."""
    height, width = header.array.shape[-2:]
    transform = header.geo.transform
    if transform is not None and transform.is_degenerate:  # pixels without an extent lie nowhere
        transform = None
    if level is None:
        return Footprint(transform, height, width)
    own_height, own_width = header.levels[level].shape[-2:]
    if transform is not None:
        transform = transform @ Affine.scale(width / own_width, height / own_height)
    return Footprint(transform, own_height, own_width)


def axis_keys(headers: Sequence[FileHeader], options: StackOptions) -> tuple[str, ...]:
    """The keys that become axes: those that are asked for, and ``band`` where files hold different bands."""
    if options.band_as == "variable":
        return tuple(key for key in options.axes if key != BAND)
    differ = len({header.keys.get(BAND) for header in headers}) > 1
    return (*options.axes, BAND) if differ and BAND not in options.axes else options.axes


def chosen_files(headers: Sequence[FileHeader], options: StackOptions) -> list[FileHeader]:
    """The files of the bands that are asked for, where a pattern or a catalogue says which band a file holds.

    Raises
    ------
    UsageError
        ``usage`` when no file has one of the bands.
    """
    chosen = [header for header in headers if is_chosen(header, options.bands)]
    if options.bands is None or not any(BAND in header.keys for header in headers):
        return chosen
    there = {str(header.keys.get(BAND)) for header in headers}
    missing = [band for band in options.bands if str(band) not in there]
    if missing:
        found = f"no file holds the band {missing[0]!r}"
        raise UsageError(found, feature="usage", hint=f"There are {', '.join(sorted(there))}.")
    return chosen


def is_chosen(header: FileHeader, bands: Sequence[int | str] | None) -> bool:
    """Whether the band that a file holds, where its keys tell that, is one of those that are asked for."""
    return bands is None or BAND not in header.keys or str(header.keys[BAND]) in set(map(str, bands))


def variables_of(headers: Sequence[FileHeader], options: StackOptions) -> dict[str, list[FileHeader]]:
    """The files by the variable that they belong to, as far as keys decide that."""
    if options.band_as == "dimension" or not any(BAND in header.keys for header in headers):
        return {options.name: list(headers)}
    found: dict[str, list[FileHeader]] = {}
    for header in headers:
        if BAND not in header.keys:
            missing = "the name of a band is missing, which other files have"
            raise ConformError(missing, feature="conform", url=header.url)
        found.setdefault(str(header.keys[BAND]), []).append(header)
    return found


def views_of(headers: Sequence[FileHeader], options: StackOptions, level: int | None = None) -> Iterator[View]:
    """Yield what each file gives to each variable, variable by variable.

    Raises
    ------
    UsageError
        ``usage`` when bands are asked for that do not exist or cannot be had alone.
    ConformError
        ``conform`` when the level of a file differs from its image in more than its size.
    """
    variables = variables_of(headers, options)
    for variable, members in variables.items():
        keyed = options.band_as == "variable" and BAND in members[0].keys
        mask = _mask_name(members, variable, level or 0, own=keyed)
        for header in members:
            array = header.array if level is None else _level(header, level)
            yield from _image_views(header, array, variable, options, level=level, mask=mask)
        if mask is not None:
            for header in members:
                found = header.masks[level or 0]
                if found is not None:
                    own = footprint(header, level)
                    yield View(header=header, variable=mask, array=found, footprint=own, metadata=None)


def _level(header: FileHeader, level: int) -> VirtualArray:
    array, full = header.levels[level], header.array
    same = (array.dtype, array.shape[:-2], repr(array.fill_value))
    if same != (full.dtype, full.shape[:-2], repr(full.fill_value)):
        found = f"level {level} differs from the image in data type, bands or fill value"
        raise ConformError(found, feature="conform", url=header.url)
    return array


def is_masked(header: FileHeader, level: int = 0) -> bool:
    """Whether a level of a file has a mask that was read."""
    return bool(header.masks) and header.masks[level] is not None


def _mask_name(headers: Sequence[FileHeader], variable: str, level: int, *, own: bool) -> str | None:
    """The name of the variable that masks another, where files have masks; then all must have one.

    Where files belong to different variables each has its `own`, also before there are several.
    """
    masked = [is_masked(header, level) for header in headers]
    if not any(masked):
        return None
    if not all(masked):
        without = headers[masked.index(False)]
        found = f"the file has no mask at level {level}, but {sum(masked)} of {len(masked)} have one"
        raise ConformError(found, feature="conform", url=without.url, hint="Publish them as separate cubes.")
    return f"{variable}_{MASK}" if own else MASK


def _image_views(
    header: FileHeader,
    array: VirtualArray,
    variable: str,
    options: StackOptions,
    *,
    level: int | None,
    mask: str | None,
) -> Iterator[View]:
    ground = footprint(header, level)
    metadata = header.metadata
    named = BAND in header.keys  # then its bands, if it has many, are no bands of the cube
    if BAND not in array.dimension_names or named:
        yield View(header=header, variable=variable, array=array, footprint=ground, metadata=metadata, mask=mask)
        return
    count = array.shape[0]
    bands = tuple(range(count))
    if options.bands is not None:
        bands = find_bands(options.bands, band_labels(metadata) or (), count)
    if options.band_as == "dimension":
        part, own = pick_bands(array, bands), metadata_of_bands(metadata, bands)
        yield View(header=header, variable=variable, array=part, footprint=ground, metadata=own, mask=mask)
        return
    names = variable_names(metadata, count)
    for band in bands:
        part, own = drop_band(pick_bands(array, (band,))), metadata_of_bands(metadata, (band,))
        yield View(header=header, variable=names[band], array=part, footprint=ground, metadata=own, mask=mask)


def variable_names(metadata: RasterMetadata, count: int) -> list[str]:
    """A name for the variable of each band: its description or colour where that can be a name, else band_1, ..."""
    labels = band_labels(metadata)
    names = [f"band_{number + 1}" for number in range(count)]
    if labels is None or len(labels) != count or any(map(_UNNAMEABLE.search, labels)):
        return names
    return labels


def check_names(axes: Iterable[str], variables: Iterable[str], taken: Iterable[str]) -> None:
    """Refuse names that Zarr does not allow, or that clash.

    Raises
    ------
    UsageError
        ``usage``.
    """
    axes, variables = tuple(axes), tuple(variables)
    for kind, names in (("dimension", axes), ("variable", variables)):
        for value in names:
            if _UNNAMEABLE.search(value):
                found = f"{value!r} cannot be the name of a {kind}"
                raise UsageError(
                    found, feature="usage", hint="It must not be empty, hold '/' or start with '_' or '.'."
                )
    everything = [*axes, *variables, *taken, "spatial_ref"]
    if len(set(everything)) < len(everything):
        twice = sorted({name for name in everything if everything.count(name) > 1})
        found = f"the names {', '.join(map(repr, twice))} stand for two things: dimensions, variables or coordinates"
        raise UsageError(found, feature="usage", hint="Choose other names with --dim and --name.")
