"""The rooms of the house and who may import whom; ``docs/architecture.md`` says why.

Imports are read from the source, those inside functions and under ``TYPE_CHECKING`` too: a type is knowledge.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest

import virtual_tiff
from tests.pages import PACKAGE, features_by_error
from virtual_tiff import errors

MAX_LINES = 450
VAGUE_NAMES = {"common", "data", "helpers", "info", "process", "util", "utils"}

ROOMS = {
    "errors": "errors",
    "tiff": "tiff",
    "codecs": "codecs",
    "codecs.config": "vocabulary",
    "codecs.samples": "vocabulary",
    "codecs.table": "vocabulary",
    "coding": "layout",
    "layout": "layout",
    "segments": "layout",
    "chain": "chain",
    "bandaxis": "array",
    "array": "array",
    "chunks": "array",
    "inline": "array",
    "oldjpeg": "array",
    "restarts": "array",
    "fluorescence": "array",
    "proof": "array",
    "geo": "geo",
    "pyramid": "pyramid",
    "group": "group",
    "sidecar": "group",
    "describe": "group",
    "stored": "group",
    "manifest": "manifest",
    "combine": "manifest",
    "parser": "manifest",
    "store": "manifest",
    "pipeline": "manifest",
    "reader": "reader",
    "references": "references",
    "cube": "cube",
    "dataset": "dataset",
    "backend": "dataset",
    "preview": "dataset",
    "cli": "cli",
    "demo": "demo",
}
"""The room of each module or package; the longest name that fits decides."""

BELOW_GROUP = {"array", "chain", "pyramid", "geo", "layout", "vocabulary", "tiff", "errors"}
BELOW_MANIFEST = BELOW_GROUP | {"group"}
MAY_IMPORT = {
    "errors": set[str](),
    "vocabulary": {"errors"},
    "codecs": {"vocabulary", "errors"},
    "tiff": {"errors"},
    "layout": {  # what has no kernel is refused by layout, and only the codecs know what has one
        *("vocabulary", "tiff", "errors"),
        *("codecs.segment", "codecs.logs"),
    },
    "chain": {"layout", "vocabulary", "tiff", "errors"},
    "array": {  # a doubtful segment is proven by decoding it; absent segments read as nodata
        *("chain", "layout", "vocabulary", "tiff", "errors"),
        *("codecs.segment", "codecs.streams", "codecs.images", "codecs.jpeg", "codecs.lerc", "codecs.ojpeg"),
        "geo.gdal_metadata",
    },
    "geo": {"pyramid", "tiff", "errors"},
    "pyramid": {"tiff", "errors"},
    "group": BELOW_GROUP,
    "manifest": BELOW_MANIFEST | {"codecs.core"},  # arrays that are opened are told how to decode
    "reader": BELOW_MANIFEST | {"codecs"},
    "references": {"array", "errors"},
    "cube": BELOW_MANIFEST | {"manifest", "references"},
    "dataset": BELOW_MANIFEST | {"manifest", "cube"},
    "demo": BELOW_MANIFEST | {"manifest", "cube"},
    "cli": BELOW_MANIFEST | {"manifest", "references", "cube", "dataset", "reader", "demo"},
}
"""Room -> the rooms, or single modules, that it may import besides its own."""

GUESTS = {
    "affine": {"geo", "pyramid", "reader", "cube"},
    "defusedxml": {"geo", "cube"},
    "icechunk": {"cube"},
    "imagecodecs": {"codecs", "demo", "preview"},
    "morecantile": {"reader"},
    "numcodecs": {"codecs", "array", "group", "cube"},
    "numpy": {room for room in MAY_IMPORT if room != "errors"},
    "obspec": {"tiff", "manifest", "reader", "cube"},
    "obspec_utils": {"manifest", "reader", "cube", "dataset"},
    "obstore": {"cube.stores"},
    "pyarrow": {"references", "cube"},
    "pyproj": {"geo"},
    "rasterio": {"demo", "cube.pixels"},  # where it is installed, they compare with GDAL
    "rich": {"cli"},
    "typer": {"cli"},
    "virtualizarr": {"manifest"},
    "xarray": {"cube", "manifest", "dataset"},
    "zarr": {"codecs", "manifest", "cube", "reader", "references"},
}
"""Imported package -> the rooms, or single modules, that may import it."""

ZARR_FOR_CODECS = {
    *("zarr.abc.codec", "zarr.core.array_spec", "zarr.core.buffer", "zarr.core.common"),
    *("zarr.codecs", "zarr.core.config", "zarr.registry"),  # which importing the others loads too
    *("zarr.abc.store", "zarr.core.indexing"),
}
"""A consumer of a published store pays for what the codecs import: the base classes and nothing more."""

RESERVED: frozenset[str] = frozenset()
"""Feature codes that no code raises, or none raises any more."""

PUBLIC = {
    "ConformError",
    "DecodeError",
    "FormatError",
    "LimitError",
    "Limits",
    "SourceError",
    "TargetError",
    "UnsupportedError",
    "UsageError",
    "VirtualTIFF",
    "VirtualTiffError",
    "append",
    "explain",
    "export_references",
    "open_cube",
    "open_pyramid",
    "open_tiff",
    "plan",
    "publish",
    "publish_plan",
    "scan",
    "tidy",
    "verify",
}
"""What users may rely on. A change here is a change for them: it belongs in CHANGELOG.md."""


@dataclass(frozen=True)
class Import:
    """One module that a module of ours imports, by its full name, and where."""

    importer: str
    line: int
    target: str

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}: {self.target}"


@cache
def sources() -> dict[str, ast.Module]:
    """All modules by name, without ``virtual_tiff.``; a package by that of its folder, the root by ``""``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return found


@cache
def imports() -> tuple[Import, ...]:
    """All imports of all modules but the root, which only names the homes of public names."""
    return tuple(item for name, tree in sources().items() if name for item in _imports(name, tree))


def _imports(name: str, tree: ast.Module) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(name, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}, line {node.lineno}: write the import in full"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                ours = full.removeprefix("virtual_tiff.") in sources()
                yield Import(name, node.lineno, full if ours else str(node.module))


def room_of(module: str) -> str | None:
    """The room of one of our modules, by its name without ``virtual_tiff.``."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((ROOMS[name] for name in names if name in ROOMS), None)


def test_each_module_has_a_room() -> None:
    homeless = [name for name in sources() if name and room_of(name) is None]
    assert not homeless, "give them a room in ROOMS, and say what it is for in docs/architecture.md"


def test_imports_keep_the_direction_of_the_rooms() -> None:
    wrong = []
    for item in imports():
        if item.target == "virtual_tiff" or item.target.startswith("virtual_tiff."):
            target = item.target.removeprefix("virtual_tiff").lstrip(".")
            here = room_of(item.importer) or ""
            if room_of(target) != here and not {target, room_of(target)} & MAY_IMPORT.get(here, set()):
                wrong.append(str(item))
    assert not wrong, "the room may not import that one: see MAY_IMPORT"


def test_the_rooms_have_no_cycle() -> None:
    order: list[str] = []
    while len(order) < len(MAY_IMPORT):
        below = {room: {room_of(name) or name for name in names} for room, names in MAY_IMPORT.items()}
        free = [room for room in below if room not in order and below[room] <= set(order)]
        assert free, f"a cycle above {order}"
        order += free
    assert set(ROOMS.values()) == set(MAY_IMPORT)


def test_guests_stay_in_their_rooms() -> None:
    wrong = []
    for item in imports():
        package = item.target.split(".")[0]
        if package in sys.stdlib_module_names or package == "virtual_tiff":
            continue
        if not GUESTS.get(package, set()) & {room_of(item.importer), item.importer}:
            wrong.append(str(item))
    assert not wrong, "the package may not be imported there: see GUESTS"


def test_codecs_import_no_more_of_zarr_than_its_base_classes() -> None:
    used = {item.target for item in imports() if room_of(item.importer) == "codecs"}
    assert {target for target in used if target.split(".")[0] == "zarr"} <= ZARR_FOR_CODECS


def test_the_root_imports_lazily() -> None:
    top = [node for node in sources()[""].body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in top}
    assert {str(name).split(".")[0] for name in names} <= sys.stdlib_module_names | {"__future__"}


def test_a_codec_does_not_load_what_a_reader_of_stores_may_not_have() -> None:
    """The consumer of a published store has zarr and the codecs, not the builder's packages."""
    heavy = {"icechunk", "obstore", "pyproj", "rich", "typer", "virtualizarr", "xarray"}
    code = (
        "import sys, virtual_tiff.codecs.zarr3;"
        "ours = [m for m in sys.modules if m.startswith('virtual_tiff.') and '.codecs' not in m];"
        f"print(sorted({heavy!r} & set(sys.modules)), sorted(ours))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "['virtual_tiff.errors']"]


def test_modules_are_small_and_named_for_a_subject() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert not {str(path): count for path, count in lines.items() if count >= MAX_LINES}
    assert not [str(path) for path in lines if VAGUE_NAMES & set(path.relative_to(PACKAGE).with_suffix("").parts)]


def test_each_module_says_what_it_is() -> None:
    assert not [name for name, tree in sources().items() if not ast.get_docstring(tree)]


def test_public_names() -> None:
    assert set(virtual_tiff.__all__) == PUBLIC
    assert list(virtual_tiff.__all__) == sorted(PUBLIC)
    assert set(dir(virtual_tiff)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_public_names_can_be_imported(name: str) -> None:
    assert getattr(virtual_tiff, name).__doc__


# Feature codes


def strings(tree: ast.Module) -> Iterator[str]:
    """All string constants of a module."""
    return (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))


def raised() -> Iterator[tuple[str, str, str]]:
    """Where an exception is made with a literal code: the place, the exception's name, the code."""
    for name, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                codes = [k.value for k in node.keywords if k.arg == "feature"]
                for code in codes:
                    if isinstance(code, ast.Constant) and node.func.id.endswith("Error"):
                        yield f"{name}, line {node.lineno}", node.func.id, str(code.value)


def test_each_feature_code_is_raised_somewhere() -> None:
    used = {text for name, tree in sources().items() if name != "errors" for text in strings(tree)}
    assert set(errors.FEATURES) - used == RESERVED


def test_each_error_has_a_code_of_its_own_kind() -> None:
    kinds = {code: kind for kind, codes in features_by_error().items() for code in codes}
    found = list(raised())
    assert found
    assert [place for place in found if kinds.get(place[2]) != place[1]] == []


def test_each_code_belongs_to_one_exception() -> None:
    listed = [code for codes in features_by_error().values() for code in codes]
    assert listed == list(errors.FEATURES)
    assert {name for name in features_by_error() if not hasattr(errors, name)} == set()
