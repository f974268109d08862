"""Compile the kernels of ``native/`` for the package that is built, where there is a C compiler.

Without one, or with ``VIRTUAL_TIFF_COMPILE=0``, the package has no kernels of its own, and does by libraries what they
do. ``CC`` names another compiler; it must take the flags of GCC.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

SOURCES = Path("native")
LIBRARY = Path("src", "virtual_tiff", "codecs", "_kernels.so")
FLAGS = ("-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread")
COMPILERS = ("cc", "gcc", "clang")
SECONDS = 120


class CompileKernels(BuildHookInterface[Any]):
    """Put the compiled library beside the module that loads it."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile: for an editable installation into the tree, else into the wheel, which is for this platform then."""
        root = Path(self.root)
        self._folder = tempfile.TemporaryDirectory()
        library = root / LIBRARY if version == "editable" else Path(self._folder.name, LIBRARY.name)
        failure = compile_library(root / SOURCES, library)
        if failure:
            self.app.display_warning(f"the kernels of native/ are left out: {failure}")
        elif version != "editable":
            build_data["force_include"][str(library)] = LIBRARY.relative_to("src").as_posix()
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what is in the wheel by now."""
        del version, build_data, artifact_path
        self._folder.cleanup()


def platform() -> str:
    """Return the tag that installers have for a library which is compiled here: not always what sysconfig says."""
    return next(tag.platform for tag in sys_tags() if not tag.platform.startswith(("manylinux", "musllinux")))


def compile_library(sources: Path, library: Path) -> str | None:
    """Compile, and return why that failed; no older library is left then, unless that cannot be removed."""
    try:
        made = _compile(sorted(map(str, sources.glob("*.c"))))
        # uv builds again when the library has changed: the same one must not be written anew
        if not library.is_file() or library.read_bytes() != made:
            _put(made, library)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        with contextlib.suppress(OSError):
            library.unlink()
        return str(error)
    return None


def _compile(sources: list[str]) -> bytes:
    """Return a shared library."""
    if os.environ.get("VIRTUAL_TIFF_COMPILE") == "0":
        raise RuntimeError("VIRTUAL_TIFF_COMPILE is 0")
    named = os.environ.get("CC", "").split()
    compiler = named or next(([name] for name in COMPILERS if shutil.which(name)), [])
    if not compiler:
        raise RuntimeError("there is no C compiler")
    if not sources:
        raise RuntimeError("the sources are missing")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        made, said = Path(folder, "made"), Path(folder, "said")
        # not through a pipe: what the compiler has started would keep that open beyond the limit
        with said.open("wb") as messages:
            done = subprocess.run(
                [*compiler, *FLAGS, *sources, "-o", str(made)],
                check=False, stdin=subprocess.DEVNULL, stdout=messages, stderr=messages, timeout=SECONDS,
            )  # fmt: skip
        if done.returncode or not made.is_file():
            text = said.read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"{' '.join(compiler)} ended with exit status {done.returncode} {text}".strip())
        return made.read_bytes()


def _put(made: bytes, library: Path) -> None:
    """Let the library appear as a whole, in place of an older one that processes may go on to use."""
    beside = library.with_name(f"{library.stem}.{os.getpid()}")
    try:
        beside.write_bytes(made)
        beside.chmod(0o755)
        beside.replace(library)
    finally:
        beside.unlink(missing_ok=True)
