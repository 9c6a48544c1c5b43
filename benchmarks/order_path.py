"""How fast an order gets from its gates to the wire, and whether a long history slows it down.

    python -m benchmarks.order_path [--url URL] [--sizes 1000 10000 100000]

The real engine with its real gates carries out decisions of twenty orders each; the wire is the simulated broker in
this process. The clock of one order runs from the beginning of the transaction in which its gates are asked to the
call that writes to the socket: two commits lie between. Before each measurement the ledger is filled up to so many
fills. The exponent b is that of the fitted law t = a * fills ** b; zero means that history costs nothing.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.ledger import PRICE, SYMBOLS, fill_up
from ordinis.brokers.book import VenueBook
from ordinis.brokers.simulated import SimulatedBroker
from ordinis.brokers.tape import PriceTape
from ordinis.clock import ReplayClock, trading_calendar
from ordinis.costs.conditions import MarketConditions
from ordinis.costs.models import ProportionalCost
from ordinis.domain.canonical import canonical, digest
from ordinis.domain.decisions import Decision, DecisionStatus, Source, decision_id
from ordinis.domain.instruments import AssetClass, Instrument
from ordinis.domain.limits import Limits, OrderLimits
from ordinis.domain.orders import OrderIntent, OrderRequest, PlannedOrder, Side, SubmitOutcome
from ordinis.domain.portfolio import Movement
from ordinis.execution.gates import Gates, Waits
from ordinis.execution.intents import OrderEngine
from ordinis.execution.prices import Prices
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import PriceHistory

CASH = Decimal(1_000_000_000)
CALENDAR = trading_calendar()
SESSIONS = CALENDAR.sessions[-30:]
PRICES = dict.fromkeys(SYMBOLS, PRICE)
CONDITIONS = MarketConditions(dict.fromkeys(SYMBOLS, 0.01))
COSTS = ProportionalCost(10.0)
LIMITS = Limits(position_cap=0.5, gross_cap=0.9, cash_buffer=0.1, sector_cap=1.0)
INSTRUMENTS = {s: Instrument(s, s, AssetClass.EQUITY, Decimal("0.001"), Decimal(1), adv=1e6) for s in SYMBOLS}
DECISIONS = 40
UNPACED = OrderLimits(orders_per_minute=None, bought_per_minute=None, reconciled_within_seconds=86_400)
"""Every gate is asked; none may hold up an order here."""


class Timed(SimulatedBroker):
    """The venue, which notes when each order reaches its wire."""

    arrived: dict[str, float]

    def submit(self, request: OrderRequest) -> SubmitOutcome:
        self.arrived[request.client_order_id] = time.perf_counter()
        return super().submit(request)


class Stamped(OrderEngine):
    """The engine, which notes when the gates of each order begin."""

    def _intent(self, *asked: Any, **named: Any) -> OrderIntent | Waits:
        started = time.perf_counter()
        intent = super()._intent(*asked, **named)
        if isinstance(intent, OrderIntent):
            STARTED[intent.client_order_id] = started
        return intent


STARTED: dict[str, float] = {}


def a_venue(clock: ReplayClock) -> Timed:
    days = tuple(sorted(SESSIONS))
    tape = PriceTape(PriceHistory(SYMBOLS, days, np.full((len(days), len(SYMBOLS)), float(PRICE))))
    venue = Timed(VenueBook(":memory:", "sim"), tape, INSTRUMENTS, COSTS, clock, CALENDAR)
    venue.arrived = {}
    venue.open_account(CASH, clock.now())
    return venue


def decide(ledger: SqlLedger, clock: ReplayClock) -> Decision:
    now = clock.now()
    inputs = canonical({"as_of": now, "prices": PRICES})
    orders = tuple(PlannedOrder(symbol, "buy", Side.BUY, Decimal(1), PRICE) for symbol in SYMBOLS)
    decision = Decision(
        id=decision_id("sim", now, Source.MODEL, digest(inputs), "limits", "m"), account="sim", source=Source.MODEL,
        model_sha="m", inputs_sha=digest(inputs), limits_sha="limits", as_of=now, expires_at=now + timedelta(minutes=5),
        weights={}, orders=orders, status=DecisionStatus.APPROVED, approved_by="benchmark", reason="",
    )  # fmt: skip
    with ledger.begin() as unit:
        unit.decisions.add(decision, inputs, [], [])
        unit.commit()
    return decision


def measure(ledger: SqlLedger, clock: ReplayClock) -> dict[str, float]:
    """Carry out decisions; orders and decisions a second, and the milliseconds from gate to send."""
    STARTED.clear()
    venue = a_venue(clock)
    gates = Gates(CALENDAR, INSTRUMENTS, LIMITS, "limits", COSTS, None, UNPACED)
    engine = Stamped(ledger, venue, clock, gates)
    with ledger.begin() as unit:
        unit.book.set_watermark(clock.now())
        unit.commit()
    began = time.perf_counter()
    for _ in range(DECISIONS):
        clock.advance(clock.now() + timedelta(seconds=60))
        prices = Prices(venue.quotes(SYMBOLS).value, PRICES, CONDITIONS)
        assert engine.execute(decide(ledger, clock), prices)
    taken = time.perf_counter() - began
    waits = 1e3 * np.array([venue.arrived[name] - started for name, started in STARTED.items()])
    assert len(waits) == DECISIONS * len(SYMBOLS)
    return {
        "decisions_per_second": round(DECISIONS / taken, 2),
        "orders_per_second": round(len(waits) / taken, 1),
        "gate_to_send_p50_ms": round(float(np.percentile(waits, 50)), 2),
        "gate_to_send_p99_ms": round(float(np.percentile(waits, 99)), 2),
    }


def exponent(figures: Mapping[str, Mapping[str, float]], name: str) -> float:
    sizes, values = np.log([float(size) for size in figures]), np.log([row[name] for row in figures.values()])
    return round(float(np.polyfit(sizes, values, 1)[0]), 3) if len(figures) > 1 else 0.0


def filled(ledger: SqlLedger, sizes: list[int], numbers: Iterator[int]) -> Iterator[int]:
    """Each of `sizes` in turn, once the ledger has so many fills."""
    with ledger.begin() as unit:
        unit.book.movement(Movement("sim", "deposit", "deposit", CASH, CALENDAR.opens(min(SESSIONS))))
        unit.commit()
    for size in sizes:
        with ledger.begin(write=False) as unit:
            has = unit.book.holdings()
        fill_up(ledger, numbers, size - int(sum(has.values(), Decimal(0))))
        yield size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp())
    ledger = SqlLedger(asked.url or f"sqlite:///{folder / 'ledger.db'}", "sim", folder / "anchor")
    clock = ReplayClock(CALENDAR.opens(min(SESSIONS)))
    figures = {str(size): measure(ledger, clock) for size in filled(ledger, asked.sizes, count())}
    database = ledger.engine.dialect.name
    table = Table("fills", *next(iter(figures.values())), title=f"order path, {database}")
    for size, row in figures.items():
        table.add_row(size, *(str(value) for value in row.values()))
    Console().print(table)
    laws = {name: exponent(figures, name) for name in ("gate_to_send_p50_ms", "gate_to_send_p99_ms")}
    Console().print("exponents", laws)
    kept = machine.read("order_path") | {database: {"by fills": figures, "exponents": laws}}
    machine.write("order_path", kept)


if __name__ == "__main__":
    main()
