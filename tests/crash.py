"""The parent of processes that are killed: see :mod:`tests.crash_worker`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KILLS = int(os.environ.get("VIRTUAL_TIFF_KILLS", "6"))
"""How often publishing and appending are killed, of both kinds together; other tests have their share of it."""

ROOT = Path(__file__).resolve().parent.parent


class Worker:
    """The children of one process of :mod:`tests.crash_worker`; the next one gets ready while others are checked."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.crash_worker"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )
        self._child = 0
        self._ready: int | None = None

    def get_ready(self) -> int:
        """Wait for the next child; its number."""
        if self._ready is None:
            word, number = self._line().split()
            assert word == "ready"
            self._ready = int(number)
        return self._ready

    def begin(
        self,
        task: str,
        inputs: Path,
        cube: Path | str,
        environment: Mapping[str, str] | None = None,
        *,
        group: str = "",
        batch: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        order: dict[str, Any] = {
            "task": task,
            "inputs": str(inputs),
            "cube": str(cube),
            "environment": dict(environment or {}),
        }
        order |= {
            "group": group,
            "batch": batch or {"publish": 100, "append": 50}[task],
            "options": dict(options or {}),
        }
        assert self._process.stdin is not None
        self._child, self._ready = self.get_ready(), None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the worker has died"
        return line.strip()

    def kill_after(self, seconds: float) -> None:
        """Kill the child, if it still works, and wait until it is gone."""
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child, signal.SIGKILL)
        while self._line() != f"gone {self._child}":
            pass

    def end(self) -> str:
        """Wait for it; what went wrong, else nothing."""
        said: str = json.loads(self._line())
        assert self._line() == f"gone {self._child}"
        return said.removesuffix("done")

    def duration(self, *order: Any, **options: Any) -> float:
        """How long the work takes."""
        self.begin(*order, **options)
        start = time.perf_counter()
        said = self.end()
        assert said == ""
        return time.perf_counter() - start

    def close(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=60)
