"""How long an actor that was killed needs until ledger and broker are known to agree again.

    python -m benchmarks.recovery [FOLDER FOR THE FIRST FILES]

A process carries out decisions on 500 symbols until the ledger has 10,000 fills, sends one more order for each symbol
that the venue leaves open, and is killed by SIGKILL. Twenty processes then start, each on a copy of the two files, as
the actor does: open the ledger, verify it, reconcile. The clock runs from the start of the process to the commit of
the reconciliation, and again from the end of its imports. The venue is asked in the process itself, without a network.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from ordinis.brokers.book import VenueBook
from ordinis.brokers.simulated import AT_ONCE, Part, SimulatedBroker
from ordinis.brokers.tape import PriceTape
from ordinis.clock import ReplayClock, trading_calendar
from ordinis.costs.conditions import MarketConditions
from ordinis.costs.models import ProportionalCost
from ordinis.domain.canonical import canonical, digest
from ordinis.domain.decisions import Decision, DecisionStatus, Source, decision_id
from ordinis.domain.instruments import AssetClass, Instrument
from ordinis.domain.limits import Limits, OrderLimits
from ordinis.domain.orders import Known, PlannedOrder, Side
from ordinis.execution.gates import Gates
from ordinis.execution.intents import OrderEngine
from ordinis.execution.prices import Prices
from ordinis.execution.reconcile import reconcile
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import PriceHistory

FILLS, OPEN, RUNS = 10_000, 500, 20
SYMBOLS = tuple(f"S{number:03}" for number in range(OPEN))
PRICE, CASH = Decimal("60.123"), Decimal(1_000_000_000)
CALENDAR = trading_calendar()
SESSIONS = CALENDAR.sessions[-30:]
BEGIN = CALENDAR.opens(SESSIONS[0]) + timedelta(minutes=1)
COSTS = ProportionalCost(10.0)
LIMITS = Limits(position_cap=0.5, gross_cap=0.9, cash_buffer=0.1, sector_cap=1.0)
INSTRUMENTS = {s: Instrument(s, s, AssetClass.EQUITY, Decimal("0.001"), Decimal(1), adv=1e6) for s in SYMBOLS}
PRICES, CONDITIONS = dict.fromkeys(SYMBOLS, PRICE), MarketConditions(dict.fromkeys(SYMBOLS, 0.01))
UNPACED = OrderLimits(orders_per_minute=None, bought_per_minute=None, reconciled_within_seconds=86_400)
"""Five hundred orders may leave at once here."""
SLOW = (Part(Fraction(1), timedelta(hours=3)),)
AT_A_TIME, STEP = 20, timedelta(seconds=20)
"""Orders of one decision of the past, and the time to the next."""


def an_engine(home: Path, clock: ReplayClock, *, slow: bool = False) -> OrderEngine:
    closes = np.full((len(SESSIONS), len(SYMBOLS)), float(PRICE))
    tape = PriceTape(PriceHistory(SYMBOLS, SESSIONS, closes))
    book = VenueBook(home / "venue.db", "sim")
    venue = SimulatedBroker(book, tape, INSTRUMENTS, COSTS, clock, CALENDAR, lambda request: SLOW if slow else AT_ONCE)
    venue.open_account(CASH, BEGIN)
    gates = Gates(CALENDAR, INSTRUMENTS, LIMITS, "limits", COSTS, None, UNPACED)
    return OrderEngine(SqlLedger(f"sqlite:///{home / 'ledger.db'}", "sim"), venue, clock, gates)


def prices(engine: OrderEngine) -> Prices:
    quotes = engine.broker.quotes(SYMBOLS)
    assert isinstance(quotes, Known)
    return Prices(quotes.value, PRICES, CONDITIONS)


def decide(engine: OrderEngine, symbols: Sequence[str]) -> Decision:
    now = engine.clock.now()
    inputs = canonical({"as_of": now})
    orders = tuple(PlannedOrder(symbol, "buy", Side.BUY, Decimal(1), PRICE) for symbol in symbols)
    decision = Decision(
        id=decision_id("sim", now, Source.MODEL, digest(inputs), "limits", "m"), account="sim", source=Source.MODEL,
        model_sha="m", inputs_sha=digest(inputs), limits_sha="limits", as_of=now, expires_at=now + timedelta(hours=2),
        weights={}, orders=orders, status=DecisionStatus.APPROVED, approved_by="benchmark", reason="",
    )  # fmt: skip
    with engine.ledger.begin() as unit:
        unit.decisions.add(decision, inputs, [], [])
        unit.commit()
    return decision


def live_and_die(home: Path) -> None:
    clock = ReplayClock(BEGIN)
    engine = an_engine(home, clock)
    reconcile(engine)
    for number in range(FILLS // AT_A_TIME):
        clock.advance(clock.now() + STEP)
        first = number * AT_A_TIME % OPEN
        engine.execute(decide(engine, SYMBOLS[first : first + AT_A_TIME]), prices(engine))
    clock.advance(clock.now() + STEP)
    slow = an_engine(home, clock, slow=True)
    slow.execute(decide(slow, SYMBOLS), prices(slow))
    os.kill(os.getpid(), signal.SIGKILL)


def start(home: Path) -> None:
    """What an actor does first, and when each step had ended."""
    imported = time.time()
    engine = an_engine(home, ReplayClock(BEGIN + STEP * (FILLS // AT_A_TIME + 2)))
    with engine.ledger.begin(write=False) as unit:
        unit.verify()
    verified = time.time()
    found = reconcile(engine)
    steps = {"imported": imported, "verified": verified, "reconciled": time.time(), "open": found.resolved}
    sys.stdout.write(json.dumps(steps) + "\n")


def child(home: Path, act: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.recovery", act, str(home)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def one_start(killed: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        shutil.copytree(killed, home)
        began = time.time()
        done = child(home, "start")
    assert done.returncode == 0, done.stderr[-2000:]
    steps = json.loads(done.stdout)
    assert steps["open"] == OPEN
    return {
        "seconds": steps["reconciled"] - began,
        "without_imports": steps["reconciled"] - steps["imported"],
        "verify": steps["verified"] - steps["imported"],
        "reconcile": steps["reconciled"] - steps["verified"],
    }


def main() -> None:
    logging.disable(logging.CRITICAL)
    if len(sys.argv) > 2:
        act, home = sys.argv[1], Path(sys.argv[2])
        (live_and_die if act == "live" else start)(home)
        return
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) == 2 else None) as folder:
        killed = Path(folder) / "killed"
        killed.mkdir()
        died = child(killed, "live")
        assert died.returncode == -signal.SIGKILL, died.stderr[-2000:]
        starts = [one_start(killed) for _ in range(RUNS)]
    figures: dict[str, Any] = {"fills": FILLS, "open_orders": OPEN, "runs": RUNS}
    for name in starts[0]:
        taken = [each[name] for each in starts]
        figures[name] = {f"p{p}": round(float(np.percentile(taken, p)), 3) for p in (50, 95)}
        print(f"{name:16}", figures[name])
    machine.write("recovery", figures)


if __name__ == "__main__":
    main()
