"""The documentation is true: its written parts equal the code, its examples run, its links lead somewhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import virtual_tiff
from tests.pages import PARTS, ROOT, renewed

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
PYTHON = re.compile(r"```python\n(.*?)```", flags=re.DOTALL)
TASK = re.compile(r"python3 dev\.py (\w+)")


def page_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("name", PARTS)
def test_parts_written_from_the_code_are_up_to_date(name: str) -> None:
    old = (ROOT / name).read_text(encoding="utf-8").splitlines()
    changed = sorted(set(renewed(name).splitlines()) ^ set(old))
    assert changed == [], "run: python3 dev.py docs"


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_links_inside_the_project_lead_somewhere(path: Path) -> None:
    links = [link for link in LINK.findall(path.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_examples_import_names_that_exist(path: Path) -> None:
    for example in PYTHON.findall(path.read_text(encoding="utf-8")):
        for node in ast.walk(ast.parse(example)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "virtual_tiff":
                assert [alias.name for alias in node.names if not hasattr(virtual_tiff, alias.name)] == []


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_no_page_names_a_folder_of_one_machine(path: Path) -> None:
    assert re.findall(r"/(?:home|root|work|Users)/\S*", path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=page_id)
def test_tasks_of_dev_exist(path: Path) -> None:
    shown = subprocess.run([sys.executable, "dev.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    tasks = re.findall(r"^  (\w+) {2,}", shown.stdout.partition("tasks:")[2], flags=re.MULTILINE)
    named = set(TASK.findall(path.read_text(encoding="utf-8")))
    assert named
    assert named <= set(tasks)


def test_the_changelog_has_an_entry_for_this_version() -> None:
    version = re.search(r'^version = "([\d.]+)', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    released = version.group(1).rstrip(".")
    assert re.search(rf"^## {re.escape(released)}\b", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
