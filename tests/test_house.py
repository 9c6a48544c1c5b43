"""The house as drawn: purposes, sizes, layers, and the README's picture against the imports."""

from __future__ import annotations

import ast
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(path.parent for path in (ROOT / "ordinis").rglob("__init__.py"))
MODULES = sorted(path for path in (ROOT / "ordinis").rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_package_says_what_it_is_for(package: Path) -> None:
    purpose = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8")))
    assert purpose
    assert len(purpose) > 60


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_module_opens_with_a_paragraph(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))


def test_modules_can_be_read_in_one_go() -> None:
    lengths = [len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES]
    assert statistics.median(lengths) < 200
    assert max(lengths) <= 400


def test_the_readmes_picture_matches_the_imports() -> None:
    picture = (ROOT / "README.md").read_text(encoding="utf-8").split("```mermaid")[1].split("```")[0]
    arrows = re.findall(r"^\s*(\w+) --> (\w+)$", picture, re.MULTILINE)
    assert len(arrows) > 8
    imports = grimp.build_graph("ordinis")
    for used, user in arrows:
        assert imports.find_shortest_chains(f"ordinis.{user}", f"ordinis.{used}"), f"{user} does not use {used}"
        assert not imports.find_shortest_chains(f"ordinis.{used}", f"ordinis.{user}"), f"{used} uses {user}"


def test_breaking_a_layer_fails_the_check(tmp_path: Path) -> None:
    for name in ("ordinis", "flows", "tasks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    assert _lint(tmp_path).returncode == 0
    limits = tmp_path / "ordinis" / "domain" / "limits.py"
    limits.write_text(limits.read_text() + "\nfrom ordinis.execution import actor  # noqa\n")
    broken = _lint(tmp_path)
    assert broken.returncode != 0
    assert "ordinis.domain is not allowed to import ordinis.execution" in broken.stdout


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); from importlinter import cli; cli.lint_imports_command()"
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
