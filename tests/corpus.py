"""The ledger of real files: what becomes of every IFD of the corpus, judged against GDAL and tifffile.

``python -m tests.corpus`` compares with the ledger; ``--update`` rewrites it; ``--only "*jpeg*"`` chooses
files; ``--show wrong,readfail`` lists pages by the start of their status, with tags and explanation.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
LEDGER: Final = ROOT / "tests" / "ledger" / "corpus.json"
PAGE_SECONDS: Final = 20.0

type Ledger = dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Status of one page, with what a person needs to look into it.

    ``status`` is "equal", "wrong", "refused:<feature>", "error:<feature>", "readfail:<why>", "crash:<why>" or
    "hang"; with "neither:" before it (and "neither:read" for success) where no oracle reads the page.
    """

    status: str
    detail: str = ""
    tags: str = ""
    milliseconds: int = 0


def corpus_root() -> Path | None:
    """The folder of real files, or None where it is absent."""
    root = Path(os.environ.get("VIRTUAL_TIFF_CORPUS") or ROOT.parent / "shared" / "corpus")
    return root if root.is_dir() else None


def corpus_files(root: Path, only: str = "*") -> list[Path]:
    """TIFF files of the corpus whose relative path matches a glob."""
    files = (path for path in sorted(root.rglob("*")) if path.suffix.lower() in (".tif", ".tiff") and path.is_file())
    return [path for path in files if fnmatch.fnmatch(str(path.relative_to(root)), only)]


@dataclass
class Job:
    """A file on its way through the workers."""

    path: Path
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    without: dict[str, list[str]] = field(default_factory=dict)


class Worker:
    """One process, its present job, and where in the job it is."""

    def __init__(self, cache: Path, stderr: IO[bytes]) -> None:
        command = [sys.executable, "-m", "tests.corpus_worker", str(cache)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=stderr, env=environment)
        self.buffer = b""
        self.stage = ""
        self.page = "-"
        self.job: Job | None = None
        self.deadline = float("inf")

    @property
    def answers(self) -> IO[bytes]:
        """What the process says."""
        assert self.process.stdout is not None
        return self.process.stdout

    def start(self, job: Job) -> None:
        """Hand over a job."""
        assert self.process.stdin is not None
        self.job, self.stage, self.page = job, "", "-"
        request = {"file": str(job.path), "skip": list(job.verdicts), "without": job.without}
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        self.deadline = time.monotonic() + 6 * PAGE_SECONDS  # a fresh process imports first

    def lines(self) -> list[dict[str, Any]] | None:
        """Answers that have arrived, or None when the process is gone."""
        chunk = os.read(self.answers.fileno(), 1 << 16)
        if not chunk:
            return None
        *complete, self.buffer = (self.buffer + chunk).split(b"\n")
        return [json.loads(line) for line in complete]

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.answers.close()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


class Pool:
    """Workers that are replaced when they die or exceed the time for a page."""

    def __init__(self, jobs: Sequence[Job], workers: int, cache: Path, seconds: float) -> None:
        self.waiting = list(reversed(jobs))
        self.cache = cache
        self.seconds = seconds
        self.count = workers
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        self.selector = selectors.DefaultSelector()
        self.workers: list[Worker] = []

    def run(self) -> None:
        """Work until no job is left."""
        try:
            for _ in range(min(self.count, len(self.waiting))):
                self._hire()
            while self.workers:
                for key, _ in self.selector.select(timeout=0.5):
                    self._listen(key.data)
                now = time.monotonic()
                for worker in [worker for worker in self.workers if worker.deadline < now]:
                    self._lost(worker, "hang")
        finally:
            for worker in self.workers:
                worker.stop()
            self.selector.close()
            self.log.close()

    def _hire(self) -> None:
        worker = Worker(self.cache, self.log)
        self.workers.append(worker)
        self.selector.register(worker.answers, selectors.EVENT_READ, worker)
        worker.start(self.waiting.pop())

    def _dismiss(self, worker: Worker) -> None:
        self.selector.unregister(worker.answers)
        self.workers.remove(worker)
        worker.stop()

    def _listen(self, worker: Worker) -> None:
        lines = worker.lines()
        if lines is None:
            self._lost(worker, "crash:died")
            return
        for line in lines:
            self._hear(worker, line)

    def _hear(self, worker: Worker, line: dict[str, Any]) -> None:
        worker.deadline = time.monotonic() + self.seconds
        assert worker.job is not None
        if "stage" in line:
            worker.stage, worker.page = line["stage"], line["page"]
        elif "status" in line:
            verdict = Verdict(line["status"], line["detail"], line.get("tags", ""), line.get("ms", 0))
            worker.job.verdicts[line["page"]] = verdict
        elif self.waiting:
            worker.start(self.waiting.pop())
        else:
            self._dismiss(worker)

    def _lost(self, worker: Worker, status: str) -> None:
        """Blame the page and stage in which a worker was lost, and let another one go on with the file."""
        job = worker.job
        assert job is not None
        kind, _, oracle = worker.stage.partition(":")
        if kind == "oracle":
            job.without.setdefault(worker.page, []).append(oracle)
        else:
            job.verdicts[worker.page] = Verdict(status, f"lost in stage {worker.stage or 'start'!r}")
        self._dismiss(worker)
        if worker.page != "-" or kind == "oracle":  # of a file that cannot be opened there is no more to say
            self.waiting.append(job)
        if self.waiting:
            self._hire()


def judge(
    files: Sequence[Path], *, workers: int = 2, cache: Path | None = None, seconds: float = PAGE_SECONDS
) -> dict[Path, dict[str, Verdict]]:
    """Judge all IFDs of files in processes of their own."""
    folder = cache or Path(os.environ.get("VIRTUAL_TIFF_CACHE") or Path(tempfile.gettempdir()) / "virtual-tiff-oracles")
    jobs = [Job(path) for path in files]
    if jobs:
        Pool(jobs, workers, folder, seconds).run()
    return {job.path: job.verdicts for job in jobs}


def as_ledger(root: Path, verdicts: Mapping[Path, Mapping[str, Verdict]]) -> Ledger:
    """Relative path to IFD to status."""
    return {
        path.relative_to(root).as_posix(): {page: verdict.status for page, verdict in pages.items()}
        for path, pages in sorted(verdicts.items())
    }


def load_ledger(path: Path = LEDGER) -> Ledger:
    """The ledger as it was last accepted."""
    ledger: Ledger = json.loads(path.read_text()) if path.exists() else {}
    return ledger


def save_ledger(ledger: Ledger, path: Path = LEDGER) -> None:
    """Write one line for each file, so that a change shows as such."""
    lines = [f"{json.dumps(name)}: {json.dumps(pages)}" for name, pages in sorted(ledger.items())]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def changes(expected: Ledger, found: Ledger) -> list[str]:
    """Each page whose status is not the accepted one, better or worse."""
    result = []
    for name in sorted(expected.keys() | found.keys()):
        before, after = expected.get(name, {}), found.get(name, {})
        for page in sorted(before.keys() | after.keys()):
            old, new = before.get(page, "absent"), after.get(page, "absent")
            if old != new:
                result.append(f"{name} IFD {page}: {old} -> {new}")
    return result


def totals(statuses: Iterable[str]) -> str:
    """One line of counts, most frequent first."""
    counts = Counter(statuses)
    return f"{sum(counts.values())} IFDs: " + ", ".join(f"{status} {n}" for status, n in counts.most_common())


def _listing(root: Path, verdicts: Mapping[Path, Mapping[str, Verdict]], show: str) -> Iterable[str]:
    wanted = tuple(part for part in show.split(",") if part)
    for path, pages in verdicts.items():
        for page, verdict in pages.items():
            if wanted and verdict.status.startswith(wanted):
                name = path.relative_to(root)
                yield f"{verdict.status}  {name} IFD {page}  [{verdict.tags}]  {verdict.detail}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 when the ledger does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--update", action="store_true", help="accept what is found")
    parser.add_argument("--only", default="*", metavar="GLOB", help="files, by relative path")
    parser.add_argument("--show", default="", metavar="STATUS,...", help="list pages by the beginning of their status")
    parser.add_argument("--slow", type=int, default=0, metavar="N", help="list the N slowest pages")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    root = corpus_root()
    if root is None:
        print("no corpus of real files: set VIRTUAL_TIFF_CORPUS")
        return 2
    files = corpus_files(root, options.only)
    start = time.perf_counter()
    verdicts = judge(files, workers=options.workers)
    for line in _listing(root, verdicts, options.show):
        print(line)
    pages = [(verdict.milliseconds, path, page) for path, found in verdicts.items() for page, verdict in found.items()]
    for milliseconds, path, page in sorted(pages, reverse=True)[: options.slow]:
        print(f"{milliseconds} ms  {path.relative_to(root)} IFD {page}")
    found = as_ledger(root, verdicts)
    print(totals(status for statuses in found.values() for status in statuses.values()))
    print(f"{len(files)} files in {time.perf_counter() - start:.0f} s")
    expected = {name: pages for name, pages in load_ledger().items() if name in found or options.only == "*"}
    if options.update:
        save_ledger({**(load_ledger() if options.only != "*" else {}), **found})
        return 0
    differing = changes(expected, found)
    print("\n".join(differing) if differing else "as in the ledger")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
