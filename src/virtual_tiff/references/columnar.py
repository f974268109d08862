"""References as Parquet: kerchunk's folder, of which a reader fetches what it needs.

``.zmetadata`` holds the documents of Zarr v2; beside it, each array has files of a fixed number of references, in the
order of its chunks. References are sorted piece by piece: no more are held than the files that overlap in this order
have, and no room is taken by chunks that are missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from virtual_tiff.references.forms import ArrayForm, GroupForm
from virtual_tiff.references.nodes import Block, Index, Json

RECORD_SIZE: Final = 100_000
"""References in a file: a reader fetches one to find one chunk."""

METADATA: Final = ".zmetadata"

_WAITING: Final = 1 << 20
"""References that wait to be sorted."""

_DICTIONARY_BYTES: Final = 1 << 30

_SCHEMA: Final = pa.schema(
    [
        pa.field("path", pa.string()),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("raw", pa.binary()),
    ]
)

type _Positions = npt.NDArray[np.int64]


def write_parquet(folder: Path, forms: Iterable[GroupForm | ArrayForm], record_size: int = RECORD_SIZE) -> None:
    """Write references into a folder, which is made; the metadata come last.

    References
    ----------
    https://fsspec.github.io/kerchunk/spec.html, Parquet references.
    """
    folder.mkdir(parents=True, exist_ok=True)
    documents: dict[str, Json] = {}
    for form in forms:
        at = f"{form.path}/".lstrip("/")
        documents |= {at + name: document for name, document in form.documents.items()}
        if isinstance(form, ArrayForm):
            _write_array(folder / form.path, form, record_size)
    metadata = {"zarr_consolidated_format": 1, "metadata": documents, "record_size": record_size}
    (folder / METADATA).write_text(json.dumps(metadata, allow_nan=False), encoding="utf-8")


def _write_array(folder: Path, form: ArrayForm, record_size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, table in _records(form, record_size):
        pq.write_table(
            table,
            folder / f"refs.{number}.parq",
            compression="zstd",
            row_group_size=record_size,
            # fastparquet makes floats of integers without statistics, since there might be nulls.
            write_statistics=["offset", "size"],
            # It gives None for a path that is missing, as fsspec expects, with a dictionary only.
            use_dictionary=["path"],
            dictionary_pagesize_limit=_DICTIONARY_BYTES,
        )


@dataclass(frozen=True, slots=True)
class _Rows:
    """References by their position in the grid, flat; ``files`` are numbers of URLs."""

    positions: _Positions
    files: _Positions
    offsets: _Positions
    lengths: _Positions

    def some(self, rows: Any) -> _Rows:
        """A part of them, or another order."""
        return _Rows(self.positions[rows], self.files[rows], self.offsets[rows], self.lengths[rows])


def _records(form: ArrayForm, record_size: int) -> Iterator[tuple[int, pa.Table]]:
    """The files of an array that hold anything, by number."""
    blocks = list(form.blocks())
    inlined = {index: chunk for block in blocks for index, chunk in block.inlined.items()}
    raw = sorted((_flat(index, form.grid), chunk) for index, chunk in (dict(form.stored) | inlined).items())
    urls = [block.url for block in blocks]
    for limit, rows in _sorted_rows(blocks, form.grid, record_size):
        ready = [one for one in raw if one[0] < limit]
        raw = raw[len(ready) :]
        numbers = set((rows.positions // record_size).tolist()) | {flat // record_size for flat, _ in ready}
        for number in sorted(numbers):
            start = number * record_size
            size = min(record_size, form.chunks - start)
            first, last = np.searchsorted(rows.positions, [start, start + size])
            chunks = {flat - start: chunk for flat, chunk in ready if start <= flat < start + size}
            yield number, _table(rows.some(slice(first, last)), start, size, urls, chunks)


def _sorted_rows(blocks: Sequence[Block], grid: Index, record_size: int) -> Iterator[tuple[int, _Rows]]:
    """References in order, those of whole files of Parquet at a time, and the position before which all have come."""
    firsts = [_flat(block.index, grid) for block in blocks]
    order = sorted(range(len(blocks)), key=firsts.__getitem__)
    waiting = [_no_rows()]
    count = 0
    for file in order:
        if count >= _WAITING:
            limit = firsts[file] // record_size * record_size
            ready, rest = _split(waiting, limit)
            if ready.positions.size:
                yield limit, ready
            waiting, count = [rest], rest.positions.size
        waiting.append(_rows(blocks[file], file, grid))
        count += waiting[-1].positions.size
    end = int(np.prod(grid, dtype=np.int64))
    yield end, _split(waiting, end)[0]


def _split(pieces: Sequence[_Rows], limit: int) -> tuple[_Rows, _Rows]:
    """All pieces in order, up to a position and from there on."""
    joined = _Rows(
        np.concatenate([one.positions for one in pieces]),
        np.concatenate([one.files for one in pieces]),
        np.concatenate([one.offsets for one in pieces]),
        np.concatenate([one.lengths for one in pieces]),
    )
    ordered = joined.some(np.argsort(joined.positions, kind="stable"))
    at = int(np.searchsorted(ordered.positions, limit))
    return ordered.some(slice(None, at)), ordered.some(slice(at, None))


def _no_rows() -> _Rows:
    none = np.zeros(0, np.int64)
    return _Rows(none, none, none, none)


def _rows(block: Block, file: int, grid: Index) -> _Rows:
    present = np.nonzero(block.lengths)
    axes = tuple(axis + base for axis, base in zip(present, block.index, strict=True))
    positions = np.ravel_multi_index(axes, grid) if axes else np.zeros(int(block.lengths > 0), np.int64)
    return _Rows(
        positions.astype(np.int64),
        np.full(positions.size, file, np.int64),
        block.offsets[present].astype(np.int64),
        block.lengths[present].astype(np.int64),
    )


def _flat(index: Index, grid: Index) -> int:
    return int(np.ravel_multi_index(index, grid)) if grid else 0


def _table(rows: _Rows, start: int, size: int, urls: Sequence[str], chunks: dict[int, bytes]) -> pa.Table:
    """One file: a row for each chunk; a path that is null has no reference, and the bytes may stand beside it."""
    at = rows.positions - start
    offsets, lengths = np.zeros(size, np.int64), np.zeros(size, np.int64)
    offsets[at], lengths[at] = rows.offsets, rows.lengths
    used, codes = np.unique(rows.files, return_inverse=True)
    named = np.full(size, -1, np.int64)
    named[at] = codes
    names = pa.array([urls[file] for file in used.tolist()], pa.string())
    raw: list[bytes | None] = [None] * size
    for row, chunk in chunks.items():
        raw[row] = chunk
    paths = names.take(pa.array(named, mask=named < 0))
    columns = [paths, pa.array(offsets), pa.array(lengths), pa.array(raw, pa.binary())]
    return pa.Table.from_arrays(columns, schema=_SCHEMA)
