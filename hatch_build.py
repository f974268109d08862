"""Compile the kernels of ``native/`` for the package that is built, where there is a C compiler.

Without one, or with ``VIRTUAL_TIFF_COMPILE=0``, the package has no kernels of its own, and does by libraries what they
do. ``CC`` names another compiler; it must take the flags of GCC.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = Path("native")
LIBRARY = Path("src", "virtual_tiff", "codecs", "_kernels.so")
FLAGS = ("-O2", "-fPIC", "-shared", "-fvisibility=hidden")
COMPILERS = ("cc", "gcc", "clang")
SECONDS = 120


class CompileKernels(BuildHookInterface[Any]):
    """Put the compiled library beside the module that loads it."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and make the wheel one for this platform; editable installations find the library in the tree."""
        del version
        root = Path(self.root)
        failure = compile_library(root / SOURCES, root / LIBRARY)
        if failure:
            self.app.display_warning(f"the kernels of native/ are left out: {failure}")
            return
        build_data["artifacts"].append(LIBRARY.as_posix())
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{re.sub('[-.]', '_', sysconfig.get_platform())}"


def compile_library(sources: Path, library: Path) -> str | None:
    """Compile, and return why that failed; no older library is left then."""
    library.unlink(missing_ok=True)
    if os.environ.get("VIRTUAL_TIFF_COMPILE") == "0":
        return "VIRTUAL_TIFF_COMPILE is 0"
    named = os.environ.get("CC", "").split()
    found = named or next(([name] for name in COMPILERS if shutil.which(name)), [])
    if not found:
        return "there is no C compiler"
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        command = [*found, *FLAGS, *map(str, sorted(sources.glob("*.c"))), "-o", str(made)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            return f"{error} {getattr(error, 'stderr', None) or ''}".strip()
        made.replace(library)
    return None
