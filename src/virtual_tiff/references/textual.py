"""References as one JSON file: version 1 of kerchunk's form, written piece by piece."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from virtual_tiff.references.forms import ArrayForm, GroupForm
from virtual_tiff.references.nodes import Block

_RUN: Final = 1 << 16
"""References that become text at a time."""


def write_json(path: Path, forms: Iterable[GroupForm | ArrayForm]) -> None:
    """Write references into a new file.

    References
    ----------
    https://fsspec.github.io/kerchunk/spec.html, version 1.
    """
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.write('{"version":1,"refs":{')
        separator = "\n"
        for form in forms:
            for lines in _runs(form):
                file.write(separator + ",\n".join(lines))
                separator = ",\n"
        file.write("\n}}\n")
        file.flush()
        os.fsync(file.fileno())


def compact(value: object) -> str:
    """JSON in one line, in which there is no NaN."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _runs(form: GroupForm | ArrayForm) -> Iterator[list[str]]:
    """The lines of a group or array, some at a time; documents stand there as text."""
    at = f"{form.path}/".lstrip("/")
    yield [f"{compact(at + name)}:{compact(compact(document))}" for name, document in form.documents.items()]
    if isinstance(form, GroupForm):
        return
    if form.stored:
        yield [_inlined(at + form.key(index), chunk) for index, chunk in form.stored.items()]
    for block in form.blocks():
        yield from _references(form, block, at)
        if block.inlined:
            yield [_inlined(at + form.key(index), chunk) for index, chunk in block.inlined.items()]


def _inlined(key: str, chunk: bytes) -> str:
    return f'{compact(key)}:"base64:{base64.standard_b64encode(chunk).decode("ascii")}"'


def _references(form: ArrayForm, block: Block, at: str) -> Iterator[list[str]]:
    offsets, lengths = block.offsets.reshape(-1), block.lengths.reshape(-1)
    present = np.flatnonzero(lengths)
    # A key has no character that JSON escapes behind the path.
    head = compact(at + ("c/" if form.separator == "/" else ""))[:-1]
    url = compact(block.url)
    for first in range(0, present.size, _RUN):
        some = present[first : first + _RUN]
        axes = np.unravel_index(some, block.lengths.shape)
        texts = [(axis + base).astype(str).tolist() for axis, base in zip(axes, block.index, strict=True)]
        keys = map(form.separator.join, zip(*texts, strict=True))
        ranges = zip(keys, offsets[some].tolist(), lengths[some].tolist(), strict=True)
        yield [f'{head}{key}":[{url},{offset},{length}]' for key, offset, length in ranges]
