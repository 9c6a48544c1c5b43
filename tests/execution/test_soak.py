"""A soak that is killed goes on where it was, and one that finds something says what and stops."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.execution.simulation import mornings
from tests.execution.soak import FIRST_SEED, ROOT, Kept, Unit

SEEDS = 30


def command(folder: Path, *flags: str) -> list[str]:
    few = ["--kills", "0", "--seeds", str(SEEDS), "--window", "2", "--workers", "1", "--results", str(folder)]
    return [sys.executable, "-m", "tests.execution.soak", *few, *flags, str(folder)]


def done(folder: Path) -> int:
    try:
        with closing(sqlite3.connect(folder / "progress.db")) as db:
            return int(db.execute("SELECT count(*) FROM done").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


@pytest.mark.processes
def test_a_soak_that_was_killed_goes_on_and_its_counts_add_up(tmp_path: Path) -> None:
    first = subprocess.Popen(command(tmp_path), cwd=ROOT, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while done(tmp_path) < 3 and time.monotonic() < until:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = done(tmp_path)
    assert 3 <= before < SEEDS / 2
    again = subprocess.run(command(tmp_path), cwd=ROOT, capture_output=True, text=True, check=True)
    assert again.stdout.count(" done\n") == SEEDS / 2 - before
    figures = json.loads((tmp_path / "soak.json").read_text())["figures"]["simulation"]
    lived = mornings(FIRST_SEED, FIRST_SEED + SEEDS)
    assert figures["seeds"] == SEEDS
    assert figures["crashes"] == sum(lived.crashes)
    assert figures["fills"] == lived.counts["fills"]


@pytest.mark.processes
def test_a_soak_stops_at_a_failure_and_names_the_seed_and_the_faults(tmp_path: Path) -> None:
    ended = subprocess.run(
        command(tmp_path, "--engine", "BuysAtOnce"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert f"seed {FIRST_SEED // 100}" in ended.stdout
    assert "shrunk to:" in ended.stdout
    assert not (tmp_path / "soak.json").exists()


def test_another_version_begins_anew(tmp_path: Path) -> None:
    unit = Unit("seeds", 0, 2)
    kept = Kept(tmp_path, "one")
    kept.add(unit, {"seeds": 2})
    kept.close()
    same = Kept(tmp_path, "one")
    assert same.units() == {unit}
    same.close()
    other = Kept(tmp_path, "another")
    assert other.units() == set()
    other.close()
