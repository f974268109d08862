"""The command ``virtual-tiff``."""

from __future__ import annotations

from virtual_tiff.cli.app import app, main

__all__ = ["app", "main"]
