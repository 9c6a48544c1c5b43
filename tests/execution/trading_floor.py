"""A venue and an actor as programs of their own and nothing else alive, for `ordinis kill` to stop.

Neither Ray, Prefect nor the allocation service runs: the actor asks an allocator of its own. The venue writes down the
machine's time of each order that it accepts, after the order is in its book and before it replies; whoever watches
looks for the kill flag without a pause. Both clocks are the machine's own, so the two can be compared.

    python -m tests.execution.trading_floor venue HOME PORT
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from threading import Event, Thread
from typing import Any

from ordinis import bootstrap
from ordinis.settings import Settings
from tests.execution.kill_rig import PROJECT, bring_in, free_port, the_settings

LAST = date(2022, 12, 28)
PATIENCE = 60.0
"""Seconds until something that must happen has happened."""


def settings_at(home: Path, port: int) -> Settings:
    return the_settings(home, port).model_copy(update={"replay_last": LAST})


def run_venue(home: Path, port: int) -> None:
    import uvicorn

    settings, orders = settings_at(home, port), 0

    def on_committed() -> None:
        nonlocal orders
        with closing(sqlite3.connect(home / "venue.db")) as book:
            [known] = book.execute("SELECT count(*) FROM orders").fetchone()
        if known > orders:
            orders = known
            with (home / "accepted").open("a") as file:
                file.write(f"{time.time_ns()}\n")

    uvicorn.run(bootstrap.venue(settings, on_committed), port=port, log_level="error")


@dataclass(frozen=True)
class Killed:
    """What one `ordinis kill` did; times of the machine's clock in nanoseconds."""

    status: int
    said: str
    started: int
    flag_seen: int
    """When a watcher that never rests saw the flag: a moment after it was there."""
    flag_written: int
    """The flag's own modification time, whose clock ticks every few milliseconds."""
    ended: int


class TradingFloor:
    """The two programs, until the block is left."""

    def __init__(self, home: Path) -> None:
        self.home, self.settings, self._stack = home, settings_at(home, free_port()), ExitStack()

    def __enter__(self) -> TradingFloor:
        with ExitStack() as stack:
            port = str(self.settings.venue_port)
            self._start(stack, "tests.execution.trading_floor", "venue", str(self.home), port)
            bring_in(self.settings)
            until("the venue answers", lambda: bootstrap.venue_time(self.settings) is not None)
            self.actor = self._start(stack, "ordinis", "trade", "--local")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = stack.enter_context((self.home / f"{arguments[0]}.log").open("wb"))
        command = [sys.executable, "-m", module, *arguments]
        program = subprocess.Popen(command, cwd=PROJECT, env=self.environment, stdout=log, stderr=log)
        stack.callback(program.wait)
        stack.callback(program.terminate)
        return program

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.settings.environment(), "PYTHONPATH": str(PROJECT)}

    def accepted(self) -> list[int]:
        """When the venue accepted each order."""
        path = self.home / "accepted"
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def read(self, database: str, query: str) -> Any:
        with closing(sqlite3.connect(self.home / database, timeout=30)) as connection:
            return connection.execute(query).fetchall()

    def kill(self) -> Killed:
        """Run the command, and watch for its flag."""
        seen, over = [0], Event()
        flag = self.settings.kill_flag

        def watch() -> None:
            while not over.is_set():
                if flag.exists():
                    seen[0] = time.time_ns()
                    return

        watcher = Thread(target=watch)
        started = time.time_ns()
        command = [sys.executable, "-m", "ordinis", "kill", "--reason", "drill"]
        program = subprocess.Popen(
            command, cwd=PROJECT, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        watcher.start()
        said, _ = program.communicate(timeout=PATIENCE)
        ended = time.time_ns()
        over.set()
        watcher.join()
        return Killed(program.returncode, said, started, seen[0], flag.stat().st_mtime_ns, ended)


def until(what: str, holds: Callable[[], bool]) -> None:
    """Wait for something; it is an error when it does not come."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        try:
            if holds():
                return
        except Exception:  # not there yet, whatever it says
            time.sleep(0.01)
        time.sleep(0.005)
    raise TimeoutError(what)


if __name__ == "__main__":
    run_venue(Path(sys.argv[2]), int(sys.argv[3]))
