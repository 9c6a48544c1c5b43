"""How long `ordinis kill` takes to stop an actor that is sending orders, with nothing else alive.

    python -m benchmarks.kill [RUNS]

A venue and an actor run as programs of their own, as in the test of the same; trading is killed at a random moment and
resumed by a person's way, again and again. Seconds from the start of the command, and from the moment the flag was
seen, to the last order that the venue accepted; zero when none came after.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import machine
from ordinis import bootstrap
from ordinis.clock import SystemClock
from ordinis.execution.control import resume
from tests.execution.trading_floor import Killed, TradingFloor, until

RUNS, WARM = 50, 10
ON_ONE_FLOOR = 5
"""Runs before the market is replayed from its beginning: while trading is killed its sessions fly by."""


def go_on(floor: TradingFloor) -> None:
    """Resume, once ledger and venue agree."""
    settings = floor.settings
    ledger = bootstrap.ledger_for_control(settings)
    steps = resume(
        settings.kill_flag, ledger, bootstrap.broker_for_control(settings),
        lambda: bootstrap.reconcile_now(settings), reason="next run", by="benchmark", at=SystemClock().now(),
    )  # fmt: skip
    ledger.close()
    if not all(step.done for step in steps):
        raise SystemExit(str(steps))


def one_run(floor: TradingFloor, rng: random.Random) -> tuple[Killed, int]:
    """Kill while orders are being sent; with it the time of the last order that was accepted."""
    before = len(floor.accepted())
    until("orders are being sent", lambda: len(floor.accepted()) >= before + WARM)
    time.sleep(rng.uniform(0.0, 0.3))
    killed = floor.kill()
    if killed.status != 0:
        raise SystemExit(killed.said)
    return killed, floor.accepted()[-1]


def spread(nanoseconds: Sequence[int]) -> dict[str, float]:
    seconds = np.maximum(np.array(nanoseconds) / 1e9, 0.0)
    return {
        "p50_s": round(float(np.quantile(seconds, 0.5)), 4),
        "p95_s": round(float(np.quantile(seconds, 0.95)), 4),
        "max_s": round(float(seconds.max()), 4),
    }


def main() -> None:
    runs, rng = int(sys.argv[1]) if sys.argv[1:] else RUNS, random.Random(20201121)
    found: list[tuple[Killed, int]] = []
    while len(found) < runs:
        with tempfile.TemporaryDirectory() as folder, TradingFloor(Path(folder) / "home") as floor:
            for number in range(min(ON_ONE_FLOOR, runs - len(found))):
                if number:
                    go_on(floor)
                found.append(one_run(floor, rng))
    figures = {
        "runs": runs,
        "from the start of the command": spread([last - killed.started for killed, last in found]),
        "from the flag": spread([last - killed.flag_seen for killed, last in found]),
        "from the flag's modification time": spread([last - killed.flag_written for killed, last in found]),
        "until the flag, from the start": spread([killed.flag_seen - killed.started for killed, _ in found]),
        "until every step is done, from the start": spread([killed.ended - killed.started for killed, _ in found]),
        "runs with an order accepted after the flag": sum(last > killed.flag_seen for killed, last in found),
    }
    for name, row in figures.items():
        print(f"{name:45} {row}", flush=True)
    machine.write("kill", figures)


if __name__ == "__main__":
    main()
