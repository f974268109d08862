#!/usr/bin/env python3
"""Set up and check a checkout of virtual-tiff: ``python3 dev.py {demo,test,lint,fix,docs,bench}``.

This file needs nothing but a Python of 3.8 or later. It finds (or lets uv download) a Python that the project
supports, keeps the environment ``.venv`` beside this file up to date with ``pyproject.toml``, and runs the
task in it. There is no lock file: each new environment has the current releases.
"""

from __future__ import annotations

import argparse
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "installed.json"
KERNELS = ROOT / "src" / "virtual_tiff" / "codecs" / "_kernels.so"
UV_HOME = ROOT / "build" / "uv"
NODE = ROOT / "build" / "node"
ZARRITA = "zarrita@0.7"
SUPPORTED = ("3.13", "3.14", "3.12")  # in order of preference
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
PYTHON = VENV / SCRIPTS / ("python.exe" if os.name == "nt" else "python")

LINTERS = (("ruff", "format", "--check", "."), ("ruff", "check", "."), ("mypy",))

NO_PYTHON = """\
dev.py: virtual-tiff needs Python {versions}, and none could be found or downloaded.
Install one (https://www.python.org/downloads/, or your system's packages python3.12 and python3.12-venv)
and run this command again; or name one: DEV_PYTHON=/path/to/python3.12 {command}"""


def main() -> int:
    """Run one task; the exit code is that of the first step that fails."""
    lines = [f"  {name:<6} {text}" for name, (_, text) in TASKS.items()]
    parser = argparse.ArgumentParser(
        prog="dev.py",
        description=__doc__,
        epilog="\n".join(["tasks:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=TASKS, metavar="TASK", help="one of the tasks below")
    parser.add_argument("rest", nargs="*", metavar="...", help="arguments for the task")
    task, _ = TASKS[parser.parse_args(sys.argv[1:2]).task]
    try:
        task(sys.argv[2:])
    except subprocess.CalledProcessError as error:
        say(f"failed: {show(error.cmd)}")
        return error.returncode if error.returncode > 0 else 1
    except KeyboardInterrupt:
        return 130
    return 0


# Tasks


def demo(rest: list[str]) -> None:
    """Run the main job on a small archive that it makes."""
    environment()
    run(VENV / SCRIPTS / "virtual-tiff", "demo", *rest)


def test(rest: list[str]) -> None:
    """Run all checks, or pytest alone when it is given arguments."""
    environment("test", "lint")
    install_nginx()
    install_zarrita()
    run_all(*([("pytest", *rest)] if rest else [*LINTERS, ("pytest", "-n", "auto")]))


def lint(_: list[str]) -> None:
    """Run the checks that do not run the code."""
    environment("test", "lint")
    run_all(*LINTERS)


def fix(_: list[str]) -> None:
    """Format the code, repair what ruff can repair, renew the documentation."""
    environment("test", "lint")
    run(PYTHON, "-m", "ruff", "check", "--fix-only", ".")
    run(PYTHON, "-m", "ruff", "format", ".")
    run(PYTHON, "-m", "tests.pages")


def docs(_: list[str]) -> None:
    """Write the parts of the documentation anew that come from the code."""
    environment("test", "lint")
    run(PYTHON, "-m", "tests.pages")


def bench(rest: list[str]) -> None:
    """Run the benchmarks, side by side with their peers."""
    environment("test", "lint", "bench")
    run(PYTHON, "-m", "benchmarks", *rest)


TASKS = {
    "demo": (
        demo,
        "make a small COG archive, publish it as a cube, read it back [options of virtual-tiff demo]",
    ),
    "test": (test, "run all checks: ruff, mypy, pytest [arguments of pytest, which then runs alone]"),
    "lint": (lint, "run ruff and mypy"),
    "fix": (fix, "format the code, repair what ruff can repair, renew the documentation"),
    "docs": (docs, "renew the parts of the documentation that are written from the code"),
    "bench": (bench, "run the benchmarks [--only NAME,..., --size small|full, --json]"),
}


# The environment


def environment(*groups: str) -> None:
    """Make ``.venv`` hold the project and the dependency groups, unless it does already."""
    wanted = {"project": fingerprint(), "root": str(ROOT), "kernels": digest_of(KERNELS)}
    stamp = read_stamp()
    installed = set(stamp.pop("groups", "").split())
    moved = stamp.get("root", str(ROOT)) != str(ROOT)
    usable = version_of(PYTHON) in SUPPORTED and not moved
    if usable and stamp == wanted and installed >= set(groups):
        return
    python = find_python()
    uv = find_uv(python)
    if not usable:
        make_venv(python, uv)
        installed = set()
    groups = tuple(sorted(installed | set(groups)))
    words = ["--editable", "."]
    for group in groups:
        words += ["--group", group]
    say("installing virtual-tiff" + (f" and the groups {', '.join(groups)}" if groups else ""))
    if not (uv and attempt(uv, "pip", "install", "--quiet", "--python", PYTHON, *words, env=uv_settings())):
        install_with_pip(words)
    wanted["kernels"] = digest_of(KERNELS)
    STAMP.write_text(json.dumps({**wanted, "groups": " ".join(groups)}), encoding="utf-8")


def fingerprint() -> str:
    """Return a digest of what decides which packages are installed, and of what is compiled then."""
    files = (ROOT / "pyproject.toml", ROOT / "hatch_build.py", *sorted(ROOT.glob("native/*.[ch]")))
    words = [digest_of(file) for file in files] + [os.environ.get(name, "") for name in ("VIRTUAL_TIFF_COMPILE", "CC")]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def digest_of(file: Path) -> str:
    """Return a digest of a file's bytes, or nothing when it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""


def read_stamp() -> dict[str, str]:
    """Return what the last run has installed, and where."""
    try:
        return dict(json.loads(STAMP.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def find_python() -> Path | None:
    """Find a supported Python that really runs: a pyenv shim, for one, may exist and yet fail."""
    named = os.environ.get("DEV_PYTHON")
    candidates: list[str | None] = [named] if named else [sys.executable]
    for version in SUPPORTED:
        candidates += [shutil.which("python" + version), "/usr/local/bin/python" + version]
        pattern = Path.home() / ".pyenv" / "versions" / (version + ".*") / "bin" / "python"
        candidates += sorted(glob.glob(str(pattern)), reverse=True)
    for candidate in candidates:
        if candidate and version_of(Path(candidate)) in SUPPORTED:
            return Path(candidate)
    return None


def version_of(python: Path) -> str | None:
    """Return the version of an interpreter such as ``3.13``, or None when it does not run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def find_uv(python: Path | None) -> Path | None:
    """Find uv, or install it with pip into a folder of its own (which a managed system Python allows)."""
    own = UV_HOME / "bin" / ("uv.exe" if os.name == "nt" else "uv")
    for found in (shutil.which("uv"), str(own)):
        if found and attempt(found, "--version", quiet=True):
            return Path(found)
    for interpreter in (sys.executable, python):
        if interpreter and attempt(interpreter, "-m", "pip", "--version", quiet=True):
            say("installing uv into " + str(UV_HOME.relative_to(ROOT)))
            words = ("pip", "install", "--quiet", "--upgrade", "--target", UV_HOME, "uv")
            if attempt(interpreter, "-m", *words) and attempt(own, "--version", quiet=True):
                return own
    return None


def uv_settings() -> dict[str, str]:
    """Return the environment for uv, with the index of pip's configuration, where uv does not look."""
    env = dict(os.environ)
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    index = re.search(r"\.index-url='([^']+)'", done.stdout)
    if index:
        env.setdefault("UV_DEFAULT_INDEX", index.group(1))
    return env


def make_venv(python: Path | None, uv: Path | None) -> None:
    """Make an empty ``.venv``; uv downloads a Python when none was found."""
    say(f"making .venv with {python or 'a Python that uv downloads'}")
    if uv and attempt(uv, "venv", "--quiet", "--clear", "--python", python or SUPPORTED[0], VENV, env=uv_settings()):
        return
    if python is None or not attempt(python, "-m", "venv", "--clear", VENV):
        command = f"python3 dev.py {' '.join(sys.argv[1:])}"
        sys.exit(NO_PYTHON.format(versions=", ".join(sorted(SUPPORTED)), command=command))


def install_with_pip(words: list[str]) -> None:
    """Install without uv: slower, but it needs nothing but the index that pip knows."""
    say("installing with pip instead of uv")
    if not attempt(PYTHON, "-m", "pip", "--version", quiet=True):
        run(PYTHON, "-m", "ensurepip")
    run(PYTHON, "-m", "pip", "install", "--quiet", "--upgrade", "pip")  # groups need pip 25.1
    run(PYTHON, "-m", "pip", "install", "--quiet", *words)


def install_nginx() -> None:
    """Install nginx for the tests where that needs no password; without it they use a server in Python."""
    found = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    if found or not shutil.which("apt-get") or os.name == "nt" or os.geteuid() != 0:
        return
    say("installing nginx for the tests")
    # RUNLEVEL=1 keeps the package from starting a server on port 80.
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "nginx")
    if not attempt(*install, quiet=True, env=env):
        attempt("apt-get", "update", quiet=True, env=env)
        if not attempt(*install, quiet=True, env=env):
            say("nginx could not be installed: the tests use a server in Python instead")


def install_zarrita() -> None:
    """Install a reader in JavaScript for the tests, where Node.js is there; without it they are skipped."""
    if (NODE / "node_modules" / "zarrita").exists() or not shutil.which("node") or not shutil.which("npm"):
        return
    say("installing zarrita for the tests")
    NODE.mkdir(parents=True, exist_ok=True)
    quiet = (
        "--no-package-lock",
        "--no-save",
        "--no-audit",
        "--no-fund",
        "--fetch-retries",
        "1",
        "--fetch-timeout",
        "30000",
    )
    if not attempt("npm", "install", "--prefix", NODE, *quiet, ZARRITA, quiet=True):
        say("zarrita could not be installed: tests in Node.js are skipped")


# Running


def run(*words: object, env: dict[str, str] | None = None) -> None:
    """Run a command in the root of the checkout; raise when it fails."""
    command = [str(word) for word in words]
    say(show(command))
    subprocess.run(command, cwd=str(ROOT), env=env, check=True)


def run_all(*modules: tuple[str, ...]) -> None:
    """Run Python modules one after the other, the others too when one fails; raise at the end."""
    failed = []
    for words in modules:
        say(show([str(PYTHON), "-m", *words]))
        if not attempt(PYTHON, "-m", *words):
            failed.append(" ".join(words))
    if failed:
        raise subprocess.CalledProcessError(1, ["; ".join(failed)])


def attempt(*words: object, quiet: bool = False, env: dict[str, str] | None = None) -> bool:
    """Run a command and return whether it succeeds."""
    output = subprocess.DEVNULL if quiet else None
    command = [str(word) for word in words]
    try:
        return (
            subprocess.run(command, cwd=str(ROOT), env=env, check=False, stdout=output, stderr=output).returncode == 0
        )
    except OSError:
        return False


def show(command: list[str]) -> str:
    """Write a command as a person would type it in the root of the checkout."""
    return " ".join(word.replace(str(ROOT) + os.sep, "") for word in command)


def say(text: str) -> None:
    """Tell what is done, before any output of the command itself."""
    print(f"[dev.py] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
