"""``dev.py`` finds an interpreter that runs, installs only what is missing, and hides no failure."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import dev


def script(path: Path, code: int) -> Path:
    """Write a program that only exits."""
    path.write_text(f"#!/bin/sh\nexit {code}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


class Attempts:
    """Stands for ``dev.attempt``: remembers commands, runs none, and fails the first so many."""

    def __init__(self, *, failures: int = 0) -> None:
        self.failures = failures
        self.commands: list[list[str]] = []

    def __call__(self, *words: object, **_: object) -> bool:
        self.commands.append([str(word) for word in words])
        return len(self.commands) > self.failures


def test_it_is_written_for_an_old_python() -> None:
    source = Path(dev.__file__).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 8))
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported <= sys.stdlib_module_names


def test_an_interpreter_that_does_not_run_has_no_version(tmp_path: Path) -> None:
    assert dev.version_of(Path(sys.executable)) == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert dev.version_of(script(tmp_path / "python3.13", 127)) is None
    assert dev.version_of(tmp_path / "nothing") is None


def test_broken_shims_are_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    version = dev.version_of(Path(sys.executable))
    shims = tmp_path / "shims"
    good = tmp_path / ".pyenv" / "versions" / f"{version}.0" / "bin"
    shims.mkdir()
    good.mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", str(script(tmp_path / "python3", 1)))
    monkeypatch.setattr(dev, "SUPPORTED", (version,))
    monkeypatch.setenv("PATH", str(shims))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DEV_PYTHON", raising=False)
    script(shims / f"python{version}", 127)
    before = dev.find_python()
    (good / "python").symlink_to(Path(sys.base_prefix) / "bin" / f"python{version}")
    found = dev.find_python()
    system = Path(f"/usr/local/bin/python{version}")
    assert (before, found) == (None, good / "python") or found == system


def test_what_is_installed_already_is_not_installed_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stamp = tmp_path / "installed.json"
    text = {"project": dev.fingerprint(), "root": str(dev.ROOT), "groups": "lint test", "kernels": ""}
    stamp.write_text(json.dumps(text), encoding="utf-8")
    monkeypatch.setattr(dev, "STAMP", stamp)
    monkeypatch.setattr(dev, "KERNELS", tmp_path / "_kernels.so")
    monkeypatch.setattr(dev, "PYTHON", Path(sys.executable))
    attempts = Attempts()
    monkeypatch.setattr(dev, "attempt", attempts)
    dev.environment("test", "lint")
    assert attempts.commands == []
    dev.KERNELS.write_bytes(b"damaged")
    dev.environment("test", "lint")
    assert "--editable" in attempts.commands.pop()
    dev.environment("bench")
    install = attempts.commands[-1]
    assert "pip" in install
    assert [install[at + 1] for at, word in enumerate(install) if word == "--group"] == [
        "bench",
        "lint",
        "test",
    ]
    assert json.loads(stamp.read_text(encoding="utf-8"))["groups"] == "bench lint test"


def test_all_checks_run_and_one_failure_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "PYTHON", Path(sys.executable))
    attempts = Attempts(failures=1)
    monkeypatch.setattr(dev, "attempt", attempts)
    with pytest.raises(subprocess.CalledProcessError, match="first"):
        dev.run_all(("first",), ("second",))
    assert [words[-1] for words in attempts.commands] == ["first", "second"]


def test_an_unknown_task_is_refused() -> None:
    done = subprocess.run([sys.executable, dev.__file__, "tset"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "test" in done.stderr
