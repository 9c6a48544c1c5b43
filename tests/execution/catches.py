"""After how many seeds, stories or kills each rig finds each engine that is broken on purpose.

    python -m tests.execution.catches

prints the table and keeps it as benchmarks/results/broken_engines.json. What must be found by which rig is written in
`broken.py`; this says how soon it was.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from shutil import rmtree
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from ordinis.execution.intents import OrderEngine
from tests.execution import kill_rig
from tests.execution.broken import MUST_CATCH
from tests.execution.simulation import World
from tests.execution.test_stateful import until_caught

ROOT = Path(__file__).resolve().parents[2]
KILLS = (1, 2, 5, 10, 20, 40)


def by_simulation(engine: type[OrderEngine]) -> dict[str, Any]:
    for seed in range(1_000):
        found = World(seed, engine).run().wrong
        if found:
            return {"seeds": seed + 1, "what": found[0]}
    return {}


def by_state_machine(engine: type[OrderEngine]) -> dict[str, Any]:
    stories, what = until_caught(engine)
    return {"stories": stories, "what": what.splitlines()[0][:200]} if stories else {}


def by_kills(engine: type[OrderEngine]) -> dict[str, Any]:
    """The smallest of some numbers of kills that shows it, with one seed."""
    for kills in KILLS:
        folder = kill_rig.quick_folder()
        command = [sys.executable, "-m", "tests.execution.kill_rig", str(folder), str(kills), "4", engine.__name__]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        rmtree(folder, ignore_errors=True)
        found = json.loads(done.stdout.splitlines()[-1])["wrong"] if done.stdout else [done.stderr[-200:]]
        if found:
            return {"kills": kills, "what": found[0]}
    return {}


def by_two_engines(_engine: type[OrderEngine]) -> dict[str, Any]:
    """The rig runs twelve lives, each of them stopped, replaced and continued."""
    selection = "tests/execution/test_two_engines.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", selection, "-k", "broken"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return {"lives": 12, "what": "the test of the broken engine passes"} if done.returncode == 0 else {}


RIGS = {
    "simulation": by_simulation,
    "state machine": by_state_machine,
    "SIGKILL": by_kills,
    "two engines": by_two_engines,
}


def main() -> int:
    logging.disable(logging.CRITICAL)
    table = Table("engine", *MUST_CATCH, title="found after")
    figures: dict[str, dict[str, Any]] = {}
    for engine in dict.fromkeys(engine for engines in MUST_CATCH.values() for engine in engines):
        found = {rig: RIGS[rig](engine) for rig, engines in MUST_CATCH.items() if engine in engines}
        figures[engine.__name__] = found
        row = [
            " ".join(f"{v} {k}" for k, v in found[rig].items() if k != "what") if rig in found else ""
            for rig in MUST_CATCH
        ]
        table.add_row(engine.__name__, *row)
        Console(stderr=True).print(f"{engine.__name__}: {row}")
    Console().print(table)
    machine.write("broken_engines", figures)
    return 0 if all(answer for found in figures.values() for answer in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
