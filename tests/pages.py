"""The parts of the documentation that are written from the code: ``python3 dev.py docs`` renews them.

A part stands between two markers, ``<!-- name:begin -->`` and ``<!-- name:end -->``; people write the rest.
``test_docs.py`` fails when a part is out of date.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np

from virtual_tiff import errors
from virtual_tiff.chain import has_core_chain
from virtual_tiff.codecs.config import CODEC_NAME
from virtual_tiff.codecs.samples import SampleFormat
from virtual_tiff.codecs.table import PREDICTED
from virtual_tiff.coding import COMPRESSION_NAMES
from virtual_tiff.layout import SegmentLayout, read_dtype

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = ROOT / "src" / "virtual_tiff"

SAMPLE_NAMES: Final = {
    SampleFormat.UINT: "unsigned integer",
    SampleFormat.INT: "signed integer",
    SampleFormat.FLOAT: "floating point",
    SampleFormat.COMPLEX_INT: "complex integer",
    SampleFormat.COMPLEX_FLOAT: "complex floating point",
}


def compressions() -> str:
    """Return the table of compression schemes: what is decoded, and by which codecs."""
    rows = ["| Compression tag | Scheme | Predictors | Zarr codecs |", "|---:|---|---|---|"]
    for code, name in sorted(COMPRESSION_NAMES.items()):
        predictors = "1, 2, 3" if code in PREDICTED else ""
        codecs = f"core, or `{CODEC_NAME}`" if has_core_chain(plain_layout(code)) else f"`{CODEC_NAME}`"
        rows.append(f"| {code} | {name} | {predictors} | {codecs} |")
    return "\n".join(rows)


def plain_layout(compression: int) -> SegmentLayout:
    """Return the layout of an image without any peculiarity: one band of bytes, in tiles."""
    return SegmentLayout(
        url="memory://plain.tif",
        ifd=(0,),
        width=64,
        height=64,
        bands=1,
        planar=False,
        tiled=True,
        columns=32,
        rows=32,
        bits=(8,),
        sample_format=SampleFormat.UINT,
        byte_order="little",
        compression=compression,
        predictor=1,
        fill_order=1,
        photometric=1,
        dtype=np.dtype("u1"),
    )


def samples() -> str:
    """Return the table of samples: which bit depths become which data type."""
    rows = ["| Sample format | Bits per sample and data type |", "|---|---|"]
    for kind, name in SAMPLE_NAMES.items():
        rows.append(f"| {name} | {'; '.join(_depths(kind))} |")
    return "\n".join(rows)


def _depths(kind: SampleFormat) -> Iterator[str]:
    # By name: a data type is never compared with None, which numpy takes for float64.
    known = ((bits, str(read_dtype((bits,), kind) or "")) for bits in range(1, 129))
    for dtype, group in groupby(known, key=lambda item: item[1]):
        if dtype:
            bits = [depth for depth, _ in group]
            span = str(bits[0]) if len(bits) == 1 else f"{bits[0]} to {bits[-1]}"
            yield f"{span} → `{dtype}`"


def modules() -> str:
    """Return the list of modules, each with the first line of its docstring."""
    lines = []
    for path in sorted(PACKAGE.rglob("*.py"), key=lambda p: (p.parent != PACKAGE, p)):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        first = " ".join(docstring.split("\n\n")[0].split())
        lines.append(f"- `{path.relative_to(PACKAGE).as_posix()}`: {first}")
    return "\n".join(lines)


def features() -> str:
    """Return the feature codes of all errors, by exception."""
    parts = []
    for name, codes in features_by_error().items():
        kind = getattr(errors, name)
        rows = [f"| `{code}` | {errors.FEATURES[code]} |" for code in codes]
        table = "\n".join(["| Code | Meaning |", "|---|---|", *rows])
        parts.append(f"## {name} ({kind.__bases__[1].__name__})\n\n{inspect.getdoc(kind)}\n\n{table}")
    return "\n\n".join(parts)


def features_by_error() -> dict[str, list[str]]:
    """Return the codes of each exception; comments in ``FEATURES`` name that of the codes below them."""
    source = inspect.getsource(errors)
    block = source[source.index("FEATURES:") : source.index("\n}\n", source.index("FEATURES:"))]
    found: dict[str, list[str]] = {}
    for comment, code in re.findall(r'^    (?:# (\w+Error)|"([a-z0-9-]+)":)', block, flags=re.MULTILINE):
        if comment:
            found[comment] = []
        else:
            found[next(reversed(found))].append(code)
    return found


PARTS: Final[dict[str, dict[str, Callable[[], str]]]] = {
    "README.md": {"compressions": compressions, "samples": samples},
    "docs/architecture.md": {"modules": modules},
    "docs/errors.md": {"features": features},
}
"""The parts by file and marker."""


def renewed(name: str) -> str:
    """Return the text of a file with all its parts written anew."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for marker, part in PARTS[name].items():
        begin, end = f"<!-- {marker}:begin -->\n", f"<!-- {marker}:end -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            msg = f"{name} has no markers {begin.strip()} and {end}"
            raise ValueError(msg)
        text = f"{before}{begin}\n{part()}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    for file in PARTS:
        (ROOT / file).write_text(renewed(file), encoding="utf-8")
        sys.stdout.write(f"renewed {file}\n")
