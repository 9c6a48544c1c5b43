"""Hundreds of SIGKILLs of a real process on its way through a replay: nothing lost, nothing sent twice."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ordinis import bootstrap
from ordinis.execution.canonical import canonical_ledger
from ordinis.execution.intents import OrderEngine
from tests.execution import kill_rig
from tests.execution.broken import MUST_CATCH

ROOT = Path(__file__).resolve().parents[2]
KILLS, MANY = 200, 1_000
SEED = 20201121


def run_rig(folder: Path, kills: int, seed: int, *flags: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.execution.kill_rig", str(folder), str(kills), str(seed), *flags]
    patience = 300 + 5 * kills
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def ledgers(folder: Path) -> list[list[str]]:
    """The canonical ledger of each round."""
    homes = sorted(folder.iterdir())
    return [canonical_ledger(bootstrap.ledger(kill_rig.the_settings(home, 1))).splitlines() for home in homes]


@pytest.fixture(scope="module")
def quiet() -> Iterator[list[str]]:
    """The ledger of a life that nobody ended."""
    folder = kill_rig.quick_folder()
    assert run_rig(folder, 0, seed=1)["wrong"] == []
    [ledger] = ledgers(folder)
    yield ledger
    shutil.rmtree(folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = kill_rig.quick_folder()
    yield made
    shutil.rmtree(made)


def survives(folder: Path, quiet: list[str], kills: int, seed: int, record: Callable[[str, object], None]) -> None:
    """Every death left the two books in order, and each round's ledger is that of the quiet life."""
    answer = run_rig(folder, kills, seed)
    ways = ", ".join(f"{count} {way}" for way, count in sorted(answer["kills"].items()))
    record(
        "rig",
        f"SIGKILL: {kills} kills ({ways}), {answer['at_work']} at work, {answer['fills']} fills, seed {seed}, "
        f"{answer['seconds']:.0f} s, {answer['cpu_seconds']:.0f} s of CPU",
    )
    assert answer["wrong"] == []
    assert sum(answer["kills"].values()) == kills
    assert min(answer["kills"].get(way, 0) for way in kill_rig.WAYS) >= kills / 5
    assert answer["at_work"] >= kills / 2
    assert all(ledger == quiet for ledger in ledgers(folder))


@pytest.mark.processes
def test_two_hundred_kills_lose_no_fill_and_repeat_no_order(
    folder: Path, quiet: list[str], record_property: Callable[[str, object], None]
) -> None:
    survives(folder, quiet, KILLS, SEED, record_property)


@pytest.mark.slow
@pytest.mark.processes
def test_a_thousand_kills_lose_no_fill_and_repeat_no_order(
    folder: Path, quiet: list[str], record_property: Callable[[str, object], None]
) -> None:
    survives(folder, quiet, MANY, SEED + KILLS, record_property)


@pytest.mark.processes
@pytest.mark.parametrize("engine", MUST_CATCH["SIGKILL"], ids=lambda engine: engine.__name__)
def test_the_rig_finds_an_engine_that_is_broken(folder: Path, engine: type[OrderEngine]) -> None:
    assert run_rig(folder, 40, 4, engine.__name__)["wrong"]
