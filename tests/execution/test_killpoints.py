"""Every commit and every send of the order path has its kill point, so that a rig can end the process right there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from ordinis.execution.killpoints import KillPoint

PACKAGE = Path(__file__).resolve().parents[2] / "ordinis" / "execution"
LIVES = ("actor", "intents", "reconcile", "wire")
"""Modules of the trading process; a person's commands in `control` are not what a crash leaves half done."""
SENDS = {"submit", "cancel"}


def functions(module: str) -> Iterator[ast.FunctionDef]:
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def calls(function: ast.FunctionDef) -> Iterator[tuple[str, str, int]]:
    """Object, method and line of every call on an attribute."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func.value), node.func.attr, node.lineno


@pytest.mark.parametrize("module", LIVES)
def test_every_commit_and_every_send_is_followed_by_a_point(module: str) -> None:
    lacking = []
    for function in functions(module):
        found = list(calls(function))
        points = [line for _, name, line in found if name == "kill_point"]
        marked = [line for thing, name, line in found if name == "commit" and thing == "unit"]
        marked += [line for thing, name, line in found if name in SENDS and thing.endswith("broker")]
        lacking += [f"{module}.{function.name}, line {line}" for line in marked if not any(p > line for p in points)]
    assert lacking == []


def test_the_check_sees_commits_and_sends() -> None:
    found = [call for module in LIVES for function in functions(module) for call in calls(function)]
    assert sum(name == "commit" for _, name, _ in found) > 12
    assert {name for thing, name, _ in found if thing.endswith("broker") and name in SENDS} == SENDS


def test_every_point_is_passed_somewhere() -> None:
    text = "".join((PACKAGE / f"{module}.py").read_text() for module in LIVES)
    assert [point.name for point in KillPoint if f"KillPoint.{point.name})" not in text] == []
