"""What the numbers depend on: processors, load, versions; and the memory of this process."""

from __future__ import annotations

import os
import platform
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "virtual-tiff",
    "async-tiff",
    "tifffile",
    "virtualizarr",
    "icechunk",
    "kerchunk",
    "obstore",
    "zarr",
    "numpy",
)


def describe_machine() -> dict[str, str]:
    """Processors, load average of the last minute and versions, by name."""
    facts = {"processors": str(os.cpu_count()), "load": load(), "Python": platform.python_version()}
    for package in PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[package] = "not installed: left out"
    return facts


def load() -> str:
    """The load average of the last minute; it counts the benchmark itself."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def peer(module: str) -> Any | None:
    """Import a peer, or return None when it is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name):
            raise
        return None


def peak_memory() -> int:
    """The most bytes of memory that this process has had."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the parent of a process had before it was one
        lines = status.read_text(encoding="ascii").splitlines()
        (line,) = (line for line in lines if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
