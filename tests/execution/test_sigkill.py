"""Fifty SIGKILLs of a real process on its way through a replay: nothing lost, nothing sent twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ordinis import bootstrap
from ordinis.execution.canonical import canonical_ledger
from ordinis.execution.intents import OrderEngine
from tests.execution import kill_rig
from tests.execution.broken import MUST_CATCH

ROOT = Path(__file__).resolve().parents[2]


def run_rig(home: Path, kills: int, seed: int, *flags: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.execution.kill_rig", str(home), str(kills), str(seed), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.fixture(scope="module")
def survivor(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    home = tmp_path_factory.mktemp("killed")
    return home, run_rig(home, 50, seed=20201121)


@pytest.mark.processes
def test_fifty_kills_lose_no_fill_and_repeat_no_order(survivor: tuple[Path, dict[str, Any]]) -> None:
    _, answer = survivor
    assert sum(answer["kills"].values()) == 50
    assert min(answer["kills"].values()) >= 5
    assert answer["wrong"] == []


@pytest.mark.processes
def test_a_ledger_that_was_killed_fifty_times_is_that_of_a_quiet_life(
    survivor: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    home, _ = survivor
    assert run_rig(tmp_path / "quiet", 0, seed=1)["wrong"] == []
    killed = canonical_ledger(bootstrap.ledger(kill_rig.the_settings(home, 1)))
    quiet = canonical_ledger(bootstrap.ledger(kill_rig.the_settings(tmp_path / "quiet", 1)))
    assert killed.splitlines() == quiet.splitlines()


@pytest.mark.processes
@pytest.mark.parametrize("engine", MUST_CATCH["SIGKILL"], ids=lambda engine: engine.__name__)
def test_the_rig_finds_an_engine_that_is_broken(tmp_path: Path, engine: type[OrderEngine]) -> None:
    assert run_rig(tmp_path / "broken", 15, 3, engine.__name__)["wrong"]
