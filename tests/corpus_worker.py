"""A process that judges files: one request (JSON line) in, a line for each page out.

It runs apart from the parent because files of the corpus make decoders crash, hang and ask for gigabytes.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TextIO

from tests import ifdwalk, oracles, subject, ycc
from tests.ifdwalk import Page, walk
from tests.oracles import Opinion

MEMORY_LIMIT: Final = 6 << 30


class Judge:
    """Compares what the library reads with what the oracles read, whose opinions are cached on disk."""

    def __init__(self, cache: Path, out: TextIO) -> None:
        self.cache = cache / _fingerprint()
        self.cache.mkdir(parents=True, exist_ok=True)
        self.out = out

    def say(self, **line: Any) -> None:
        """Send one line to the parent."""
        self.out.write(json.dumps(line) + "\n")
        self.out.flush()

    def file(self, path: Path, skip: Iterable[str], without: dict[str, list[str]]) -> None:
        """Judge all pages but those to skip; `without` names oracles that must not be asked again."""
        skipped = set(skip)
        pages = walk(path)
        if not pages and "-" not in skipped:
            self.say(stage="parse", page="-")
            outcome = subject.read(path, 0)
            self.say(page="-", status=f"neither:{outcome.status}", detail=outcome.detail)
        store = self.cache / f"{hashlib.sha256(str(path).encode()).hexdigest()[:24]}.json"
        stamp = f"{path.stat().st_size}:{path.stat().st_mtime_ns}"
        known: dict[str, list[dict[str, Any]]] = {}
        if store.exists():
            saved = json.loads(store.read_text())
            known = saved["pages"] if saved["stamp"] == stamp else {}
        for page in pages:
            if page.name in skipped:
                continue
            if page.name not in known:
                opinions = self.opinions(path, page, without.get(page.name, []))
                known[page.name] = [opinion.to_json() for opinion in opinions]
                temporary = store.with_suffix(f".{os.getpid()}")
                temporary.write_text(json.dumps({"stamp": stamp, "pages": known}))
                temporary.replace(store)
            self.page(path, page, [Opinion.from_json(item) for item in known[page.name]])

    def opinions(self, path: Path, page: Page, without: list[str]) -> list[Opinion]:
        """Ask the oracles."""
        result = []
        for oracle in oracles.ORACLES:
            if oracle in without:
                result.append(Opinion(oracle, error="crashed or took too long"))
            else:
                self.say(stage=f"oracle:{oracle}", page=page.name)
                result.append(oracles.ask(oracle, path, page))
        return result

    def page(self, path: Path, page: Page, opinions: list[Opinion]) -> None:
        """Judge one page and tell the parent."""
        areas = oracles.windows(page)
        start = time.perf_counter()
        outcome = subject.read(path, page.path, areas, stage=lambda name: self.say(stage=name, page=page.name))
        milliseconds = round(1000 * (time.perf_counter() - start))
        status, detail = self.verdict(path, page, opinions, outcome)
        self.say(page=page.name, status=status, detail=detail, ms=milliseconds, tags=page.summary())

    def verdict(self, path: Path, page: Page, opinions: list[Opinion], outcome: subject.Outcome) -> tuple[str, str]:
        """Status and explanation."""
        wrong = oracles.distrusted(page, opinions)
        trusted = [opinion for opinion in opinions if opinion.reads and opinion.oracle not in wrong]
        if not trusted:
            return f"neither:{outcome.status}", outcome.detail
        if outcome.status != "read":
            return outcome.status, outcome.detail
        mine = oracles.digest(outcome.pixels)
        for opinion in trusted:
            if opinion.digest == mine:
                return "equal", opinion.oracle
        gaps = []
        for opinion in trusted:
            name = opinion.oracle.partition("-")[0]
            kind, theirs = oracles.ORACLES[name](path, page, oracles.windows(page))
            agrees, gap = oracles.close(page, kind, outcome.pixels, theirs)
            if agrees:
                return "equal", f"within {gap:g} of {kind}"
            gaps.append(f"{kind} {theirs[0].dtype}{theirs[0].shape} differs by {gap:g}")
        shape, dtype = outcome.pixels[0].shape, outcome.pixels[0].dtype
        return "wrong", f"{dtype}{shape}; " + "; ".join(gaps)


def _fingerprint() -> str:
    """Changes with whatever can change an oracle's opinion."""
    import imagecodecs
    import rasterio
    import tifffile

    state = hashlib.sha256()
    for module in (oracles, ifdwalk, ycc):
        state.update(Path(str(module.__file__)).read_bytes())
    for version in (
        rasterio.__version__,
        rasterio.__gdal_version__,
        tifffile.__version__,
        imagecodecs.__version__,
    ):
        state.update(version.encode())
    return state.hexdigest()[:16]


def main() -> None:
    """Serve requests until the input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what C libraries print must not mix with the answers
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    judge = Judge(Path(sys.argv[1]), out)
    for module in ("rasterio", "tifffile", "zarr", "virtual_tiff.parser"):
        importlib.import_module(module)  # before the clock of the first page runs
    for line in sys.stdin:
        request = json.loads(line)
        judge.file(Path(request["file"]), request["skip"], request["without"])
        judge.say(done=True)


if __name__ == "__main__":
    main()
