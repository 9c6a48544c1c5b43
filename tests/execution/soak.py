"""Thousands of SIGKILLs and a hundred thousand simulated mornings, on one machine, whenever it is idle.

    python -m tests.execution.soak [--kills 5000] [--seeds 100000] [--workers 2] [FOLDER]

The work is cut into units, a round of kills or a window of seeds, and each unit that ended well is committed to
FOLDER/progress.db: a soak that was stopped, by SIGKILL too, goes on where it was. It counts for one version only, the
hash of the package and of the rigs: when that has changed it begins anew. The first failure is printed with its seed
and the fewest faults that are enough for it, and ends the soak with status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from hashlib import sha256
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import sqlalchemy
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import machine
from ordinis.execution.intents import OrderEngine
from ordinis.persistence.lease import lock_file
from tests.execution import kill_rig
from tests.execution.broken import MUST_CATCH
from tests.execution.simulation import mornings, told

ROOT = Path(__file__).resolve().parents[2]
RIGS = ("broken", "inspection", "kill_rig", "simulation", "soak")
TESTED = (
    *(
        f"ordinis/{name}/**/*.py"
        for name in ("brokers", "costs", "domain", "execution", "governance", "persistence", "ports")
    ),
    *("ordinis/clock.py", "ordinis/trading_hours.py", "ordinis/errors.py", "ordinis/**/*.yaml", "ordinis/**/*.sql"),
    "tests/brokers/market.py",
    *(f"tests/execution/{name}.py" for name in RIGS),
)
"""The order path, and what it is tested with."""
WINDOW = 250
"""Seeds of one unit: half a minute."""
FIRST_SEED = 1_000_000
"""Of the rounds of kills and of the mornings, away from those of the test suite."""
ALL: tuple[type[OrderEngine], ...] = (OrderEngine, *MUST_CATCH["simulation"])
ENGINES = {engine.__name__: engine for engine in ALL}
Figures = dict[str, Any]


@dataclass(frozen=True)
class Unit:
    kind: str
    """kills or seeds."""
    first: int
    count: int

    @property
    def name(self) -> str:
        return f"{self.kind} {self.first} to {self.first + self.count - 1}"


def units(kind: str, total: int, size: int) -> list[Unit]:
    return [Unit(kind, first, min(size, total - first)) for first in range(0, total, size)]


def work(unit: Unit, engine: str, homes: str) -> tuple[Figures, str]:
    """Do `unit`: what it counted, and what went wrong."""
    return _kills(unit, engine, homes) if unit.kind == "kills" else _mornings(unit, engine)


def _mornings(unit: Unit, engine: str) -> tuple[Figures, str]:
    first = FIRST_SEED + unit.first
    lived = mornings(first, first + unit.count, ENGINES[engine])
    figures = {
        "seeds": len(lived.crashes), "crashes": sum(lived.crashes), "fewest_crashes": min(lived.crashes),
        **{name: lived.counts[name] for name in ("orders", "fills", "lost_fills", "repeated_orders")},
        "cpu_seconds": lived.cpu_seconds,
    }  # fmt: skip
    return figures, "\n".join(told(*failure) for failure in lived.wrong)


def _kills(unit: Unit, engine: str, homes: str) -> tuple[Figures, str]:
    folder, seed = kill_rig.quick_folder(homes), FIRST_SEED + unit.first
    command = [sys.executable, "-m", "tests.execution.kill_rig", str(folder), str(unit.count), str(seed), engine]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    again = f"python -m tests.execution.kill_rig FOLDER {unit.count} {seed}"
    if done.returncode != 0:
        return {}, f"{again}: ended with status {done.returncode}\n{done.stderr[-2000:]}"
    figures = json.loads(done.stdout.splitlines()[-1])
    wrong = figures.pop("wrong")
    return figures, "\n  ".join([f"{again}:", *wrong[:10]]) if wrong else ""


def end_with_the_soak() -> None:
    """A worker does not outlive the process that gave it work."""

    def watch() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Kept:
    """What has been done, in a file that outlives any death."""

    def __init__(self, folder: Path, version: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock_file(folder / "lock", f"process {os.getpid()}")
        self._db = sqlite3.connect(folder / "progress.db", isolation_level=None)
        self._db.execute("PRAGMA synchronous=FULL")
        self.homes = f"ordinis-soak-{sha256(str(folder.resolve()).encode()).hexdigest()[:8]}"
        """How the folders of this soak's kills are called."""
        self._clear()
        self._db.execute("CREATE TABLE IF NOT EXISTS done (version, kind, first, count, seconds, figures)")
        self._version = version
        self._db.execute("DELETE FROM done WHERE version <> ?", (version,))
        self._since = time.monotonic()

    def units(self) -> set[Unit]:
        return {Unit(*row) for row in self._db.execute("SELECT kind, first, count FROM done")}

    def add(self, unit: Unit, figures: Figures) -> None:
        """Note `unit`, with the wall time since the last one."""
        now = time.monotonic()
        row = (self._version, unit.kind, unit.first, unit.count, now - self._since, json.dumps(figures))
        self._db.execute("INSERT INTO done VALUES (?, ?, ?, ?, ?, ?)", row)
        self._since = now

    def figures(self, wanted: Iterable[Unit]) -> list[tuple[str, float, Figures]]:
        """Kind, wall seconds and figures of those of the `wanted` that are done."""
        names = {unit.name for unit in wanted}
        rows = self._db.execute("SELECT kind, first, count, seconds, figures FROM done ORDER BY kind, first")
        kept = [(Unit(kind, first, count), seconds, figures) for kind, first, count, seconds, figures in rows]
        return [(unit.kind, seconds, json.loads(figures)) for unit, seconds, figures in kept if unit.name in names]

    def _clear(self) -> None:
        for left in kill_rig.MEMORY.glob(f"{self.homes}-*"):
            shutil.rmtree(left, ignore_errors=True)

    def close(self) -> None:
        self._clear()
        self._db.close()
        self._lock.close()


def version() -> str:
    """A hash of everything that a soak tests and tests with."""
    files = sorted({path for pattern in TESTED for path in ROOT.glob(pattern)})
    return sha256(b"".join(str(f.relative_to(ROOT)).encode() + b"\0" + f.read_bytes() for f in files)).hexdigest()


def commit() -> str:
    """The commit that is checked out, with a + when files differ from it."""
    git = shutil.which("git")
    if git is None:
        return ""
    told = [subprocess.run([git, *asked], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
            for asked in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain"))]  # fmt: skip
    return told[0] + ("+" if told[1] else "")


def summed(done: Iterable[tuple[str, float, Figures]]) -> Mapping[str, Any]:
    """The result of a whole soak."""
    sums: dict[str, Counter[str]] = {"kills": Counter(), "seeds": Counter()}
    ways: dict[str, Counter[str]] = {"kills": Counter(), "points": Counter()}
    fewest, wall = [], 0.0
    for kind, seconds, figures in done:
        wall += seconds
        for name, value in figures.items():
            if name in ways:
                ways[name].update(value)
            elif name == "fewest_crashes":
                fewest.append(value)
            else:
                sums[kind][name] += value
    cpu = sums["kills"].pop("cpu_seconds", 0.0) + sums["seeds"].pop("cpu_seconds", 0.0)
    sums["kills"].pop("seconds", None)
    return {
        "SIGKILL": {
            "kills": ways["kills"].total(), "by_way": ways["kills"], "by_kill_point": ways["points"], **sums["kills"],
        },
        "simulation": {**sums["seeds"], "fewest_crashes": min(fewest, default=0)},
        "wall_seconds": round(wall),
        "cpu_seconds": round(cpu),
        "versions": {
            "tested": version()[:16], "commit": commit(), "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version, "sqlalchemy": sqlalchemy.__version__,
        },
    }  # fmt: skip


def soak(kept: Kept, wanted: list[Unit], workers: int, engine: str, console: Console) -> str:
    """Do what is not done yet; return what went wrong first, or nothing."""
    done = kept.units()
    left = [unit for unit in wanted if unit not in done]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False))  # fmt: skip
    with (
        Progress(*columns, console=console, speed_estimate_period=600) as progress,
        ProcessPoolExecutor(workers, get_context("spawn"), end_with_the_soak) as pool,
    ):
        bars = {
            kind: progress.add_task(
                kind, total=sum(u.count for u in wanted if u.kind == kind),
                completed=sum(u.count for u in wanted if u.kind == kind and u in done),
            )
            for kind in sorted({unit.kind for unit in wanted})
        }  # fmt: skip
        waiting: dict[Future[tuple[Figures, str]], Unit] = {}
        while left or waiting:
            # No more is given out than is worked on, so that a failure ends the soak soon.
            while left and len(waiting) < workers:
                unit = left.pop(0)
                waiting[pool.submit(work, unit, engine, kept.homes)] = unit
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                unit = waiting.pop(future)
                figures, wrong = future.result()
                if wrong:
                    return wrong
                kept.add(unit, figures)
                progress.advance(bars[unit.kind], unit.count)
                if not console.is_terminal:
                    console.print(unit.name, "done")
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / ".ordinis" / "soak")
    parser.add_argument("--kills", type=int, default=5_000)
    parser.add_argument("--seeds", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--window", type=int, default=WINDOW, help="seeds of one unit")
    parser.add_argument("--round", type=int, default=kill_rig.A_ROUND, help="kills of one unit")
    parser.add_argument("--engine", choices=sorted(ENGINES), default=OrderEngine.__name__, help="or one that is broken")
    parser.add_argument("--results", type=Path, default=machine.RESULTS, help="folder for soak.json")
    asked = parser.parse_args()
    console = Console()
    kept = Kept(asked.folder, f"{version()} {asked.engine}")
    wanted = [*units("kills", asked.kills, asked.round), *units("seeds", asked.seeds, asked.window)]
    # Both kinds in step, so that either bar tells of the time that is left.
    totals = {"kills": asked.kills, "seeds": asked.seeds}
    wanted.sort(key=lambda unit: unit.first / totals[unit.kind])
    wrong = soak(kept, wanted, asked.workers, asked.engine, console)
    if wrong:
        kept.close()
        console.print(wrong, markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(1)
    result = summed(kept.figures(wanted))
    kept.close()
    machine.write("soak", result, asked.results)
    console.print_json(data=result)


if __name__ == "__main__":
    main()
