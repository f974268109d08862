"""What a plan amounts to, before anything is written: sizes, requests, readers, and what was split and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from virtual_tiff.cube.blueprint import ArrayPlan, CubePlan, GroupPlan, describe_array
from virtual_tiff.cube.describe import find_readers
from virtual_tiff.cube.edges import ChunkGrid

BYTES_PER_REFERENCE: Final = 15
"""What a reference takes in a repository: about 10 bytes in manifests and 4 in the transaction log.

Measured with Icechunk 2.3: 15 for a million references, 11 for 131,072 references to 8 files.
"""

MAP_TILE: Final = 256
"""Width and height, in pixels, of the map tile whose requests are counted."""

_MAX_LISTED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a typical read of an array asks of the store of the sources.

    ``requests`` is the greatest number of chunks, without those that are in no file; ``stored_bytes`` is what they
    amount to when all chunks are of average size.
    """

    requests: int
    stored_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayExplanation:
    """One array of a plan.

    ``dimensions`` has the size of each, ``chunk`` the shape of a chunk in the same order; in a "rectilinear"
    ``chunk_grid`` sizes vary, and these are the commonest. ``references`` counts
    the chunks that are in a file, ``missing`` the others. ``readers`` says by Zarr client whether it can read the
    array. ``map_tile`` is 256 x 256 pixels of one band and one step, ``series`` one pixel at all steps, and
    ``scene`` all pixels of one step; a step is one place along all leading axes.
    """

    path: str
    dimensions: dict[str, int]
    chunk: tuple[int, ...]
    chunk_grid: ChunkGrid
    dtype: str
    files: int
    references: int
    missing: int
    stored_bytes: int
    readers: dict[str, str]
    map_tile: Reading
    series: Reading
    scene: Reading
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A plan in numbers; ``repository_bytes`` is an estimate of what its references take."""

    files: int
    references: int
    repository_bytes: int
    arrays: tuple[ArrayExplanation, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """JSON values."""
        found = asdict(self)
        for array in found["arrays"]:
            del array["line"]
            array["chunk"] = list(array["chunk"])
        return found | {"arrays": list(found["arrays"]), "notes": list(self.notes), "warnings": list(self.warnings)}

    def text(self) -> str:
        """Lines for a person."""
        head = f"{_count(self.files, 'file')}, {_count(self.references, 'reference')}, "
        lines = [head + f"about {_size(self.repository_bytes)} in the repository"]
        for array in self.arrays:
            lines += ["", *_lines(array)]
        for title, texts in (("Split or left out", self.notes), ("Warnings", self.warnings)):
            if texts:
                lines += ["", f"{title}:", *(f"  {text}" for text in texts[:_MAX_LISTED])]
            if len(texts) > _MAX_LISTED:
                lines.append(f"  ... and {len(texts) - _MAX_LISTED} more")
        return "\n".join(lines)


def explain(plan: CubePlan) -> Explanation:
    """Say what a plan amounts to; nothing is read or written."""
    references = plan.references
    return Explanation(
        files=len(plan.headers),
        references=references,
        repository_bytes=references * BYTES_PER_REFERENCE,
        arrays=tuple(_explain(group, array) for group in plan.groups for array in group.arrays),
        notes=plan.notes,
        warnings=plan.warnings,
    )


def _explain(group: GroupPlan, array: ArrayPlan) -> ArrayExplanation:
    template = array.template
    references = array.references
    inlined = sum(len(placement.array.inlined) for placement in array.placements)
    stored = sum(int(np.sum(placement.array.lengths)) for placement in array.placements)
    mean = stored / references if references else 0.0
    steps = math.prod(map(len, group.axes))
    inner = template.grid[len(group.axes) :]
    ground = [template.dimension_names.index(name) for name in ("y", "x")]
    tile = math.prod(min(-(-MAP_TILE // template.chunk_shape[axis]), template.grid[axis]) for axis in ground)

    def reading(chunks: int) -> Reading:
        requests = min(chunks, references)
        return Reading(requests=requests, stored_bytes=round(requests * mean))

    return ArrayExplanation(
        path=f"{group.path}/{array.name}".lstrip("/"),
        dimensions=dict(zip(template.dimension_names, template.shape, strict=True)),
        chunk=template.chunk_shape,
        chunk_grid="rectilinear" if template.rectilinear else "regular",
        dtype=template.dtype.name,
        files=len({placement.header.url for placement in array.placements}),
        references=references,
        missing=math.prod(template.grid) - references - inlined,
        stored_bytes=stored,
        readers=find_readers(template),
        map_tile=reading(tile),
        series=reading(steps),
        scene=reading(math.prod(inner)),
        line=describe_array(group, array),
    )


def _lines(array: ArrayExplanation) -> list[str]:
    chunks = " x ".join(map(str, array.chunk))
    chunks += ", the commonest of several sizes" if array.chunk_grid == "rectilinear" else ""
    found = f"{_count(array.references, 'reference')} to {_count(array.files, 'file')}, {array.missing} in no file"
    reads = (
        f"{_told(array.map_tile)} for a map tile of {MAP_TILE} x {MAP_TILE} pixels",
        f"{_told(array.series)} for one pixel at all steps",
        f"{_told(array.scene)} for one whole step",
    )
    return [
        array.line,
        f"  chunks of {chunks}: {found}; {_size(array.stored_bytes)} in all",
        f"  requests: {', '.join(reads)}",
        *_readers(array.readers),
    ]


def _readers(readers: dict[str, str]) -> list[str]:
    able = [f"{name}{answer.removeprefix('yes')}" for name, answer in readers.items() if answer.startswith("yes")]
    lines = [f"  can be read by {', '.join(able)}"] if able else []
    unable: dict[str, list[str]] = {}
    for name, answer in readers.items():
        if answer.startswith("no"):
            unable.setdefault(answer.removeprefix("no: "), []).append(name)
    reasons = [f"{', '.join(names)} ({_of_many(why) if len(names) > 1 else why})" for why, names in unable.items()]
    return lines + ([f"  cannot be read by {'; '.join(reasons)}"] if reasons else [])


def _of_many(why: str) -> str:
    """A reason of several readers."""
    return why.replace("it lacks", "they lack", 1).replace("it has", "they have", 1)


def _told(reading: Reading) -> str:
    return f"{reading.requests} ({_size(reading.stored_bytes)})"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _size(count: float, units: Sequence[str] = ("bytes", "kB", "MB", "GB", "TB")) -> str:
    """A number of bytes with three digits at most."""
    for unit in units[:-1]:
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} {units[-1]}"
