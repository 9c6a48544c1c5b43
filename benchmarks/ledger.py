"""What a decision, an order, and a start cost as the ledger grows.

    python -m benchmarks.ledger [URL]

The ledger, a new SQLite file unless a URL says otherwise, is filled with orders that were sent, acknowledged and
executed, in large transactions. At 1,000, 10,000 and 100,000 fills the clock is stopped for a decision and for an
order with all their reads and commits, as the order engine makes them; for the verification of a start; and for the
anchor. Medians; a commit on SQLite waits for the disk.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from statistics import median
from typing import TypeVar

from benchmarks import machine
from ordinis.domain.canonical import canonical, digest
from ordinis.domain.decisions import Decision, DecisionStatus, Source, Verdict, decision_id
from ordinis.domain.orders import (
    Fill,
    OrderIntent,
    OrderState,
    OrderType,
    PlannedOrder,
    Side,
    TimeInForce,
    client_order_id,
)
from ordinis.persistence.unit_of_work import SqlLedger, SqlUnitOfWork
from ordinis.ports import OrderEvent

T = TypeVar("T")
Step = Callable[[SqlUnitOfWork], None]
SIZES = (1_000, 10_000, 100_000)
SYMBOLS = tuple(f"S{number:02}" for number in range(20))
OPENING = datetime(2000, 1, 3, tzinfo=UTC)
VERDICTS = [Verdict(f"rule {number}", 0.2, 0.1, True) for number in range(7)]
PRICE = Decimal("60.123")
ROUNDS = 40


def decide(unit: SqlUnitOfWork, number: int) -> Decision:
    """Write the `number`-th decision, to buy one unit of each symbol."""
    as_of = OPENING + timedelta(hours=number)
    inputs = canonical({"as_of": as_of, "prices": dict.fromkeys(SYMBOLS, PRICE)})
    decision = Decision(
        id=decision_id("sim", as_of, Source.MODEL, digest(inputs), "l" * 64, "m"),
        account="sim",
        source=Source.MODEL,
        model_sha="m",
        inputs_sha=digest(inputs),
        limits_sha="l" * 64,
        as_of=as_of,
        expires_at=as_of + timedelta(minutes=15),
        weights=dict.fromkeys(SYMBOLS, 0.05),
        orders=tuple(PlannedOrder(symbol, "buy", Side.BUY, Decimal(1), PRICE) for symbol in SYMBOLS),
        status=DecisionStatus.APPROVED,
        approved_by="rulebook",
        reason="",
    )
    unit.decisions.latest()
    unit.decisions.add(decision, inputs, VERDICTS, [("m", symbol, 0.05) for symbol in SYMBOLS])
    return decision


def order(decision: Decision, symbol: str) -> tuple[Step, ...]:
    """One order as the engine's four transactions, with the reads of its gates."""
    coid, at = client_order_id("sim", decision.id, symbol, "buy", 1), decision.as_of

    def intent(unit: SqlUnitOfWork) -> None:
        unit.orders.get(coid)
        unit.control.state()
        unit.orders.of(decision.id)
        unit.book.cash()
        unit.book.holdings()
        unit.orders.live()
        unit.orders.add(_intent(coid, decision, symbol), at=at, fence=1)

    def sending(unit: SqlUnitOfWork) -> None:
        unit.control.state()
        unit.orders.move(coid, OrderState.SENDING, _event(coid, "SENDING", at, sent_at=at))

    def acknowledged(unit: SqlUnitOfWork) -> None:
        unit.orders.move(coid, OrderState.WORKING, _event(coid, "ACK", at, broker_order_id=f"b-{coid}"))

    def filled(unit: SqlUnitOfWork) -> None:
        fill = Fill("sim", f"{coid}-1", coid, symbol, Side.BUY, Decimal(1), PRICE, Decimal("0.05"), at)
        unit.book.fill(fill, source="poll", received_at=at)
        unit.orders.get(coid)
        unit.orders.move(coid, OrderState.FILLED, _event(coid, "FILLED", at))

    return intent, sending, acknowledged, filled


def fill_up(ledger: SqlLedger, numbers: Iterator[int], orders: int) -> None:
    """So many executed orders more, 500 in one transaction."""
    for _ in range(orders // 500):
        with ledger.begin() as unit:
            for number in islice(numbers, 500 // len(SYMBOLS)):
                decision = decide(unit, number)
                for step in chain.from_iterable(order(decision, symbol) for symbol in SYMBOLS):
                    step(unit)
            unit.book.set_watermark(OPENING)
            unit.commit()


def _intent(coid: str, decision: Decision, symbol: str) -> OrderIntent:
    return OrderIntent(
        client_order_id=coid,
        decision_id=decision.id,
        account="sim",
        symbol=symbol,
        leg="buy",
        attempt=1,
        side=Side.BUY,
        quantity=Decimal(1),
        type=OrderType.MARKET,
        limit_price=None,
        tif=TimeInForce.DAY,
        state=OrderState.INTENT,
        reference_price=PRICE,
        reserved_notional=PRICE,
    )


def _event(
    coid: str, step: str, at: datetime, *, broker_order_id: str | None = None, sent_at: datetime | None = None
) -> OrderEvent:
    return OrderEvent(f"{coid}:{step}", "local", at, at, {"state": step}, broker_order_id, sent_at)


def committed(ledger: SqlLedger, step: Callable[[SqlUnitOfWork], T]) -> T:
    with ledger.begin() as unit:
        done = step(unit)
        unit.commit()
    return done


def verify(ledger: SqlLedger) -> None:
    with ledger.begin(write=False) as unit:
        unit.verify()


def seconds(work: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    done = work()
    return time.perf_counter() - started, done


def measure(ledger: SqlLedger, numbers: Iterator[int]) -> dict[str, float]:
    """Medians of one decision with one order each, and of the start."""
    decisions, orders = [], []
    for number in islice(numbers, ROUNDS):
        taken, decision = seconds(partial(committed, ledger, partial(decide, number=number)))
        decisions.append(taken)
        orders.append(sum(seconds(partial(committed, ledger, step))[0] for step in order(decision, SYMBOLS[0])))
    anchors = [seconds(ledger.anchor)[0] for _ in range(9)]
    return {
        "decision_ms": round(1e3 * median(decisions), 2),
        "order_ms": round(1e3 * median(orders), 2),
        "verify_s": round(median(seconds(partial(verify, ledger))[0] for _ in range(3)), 3),
        "anchor_ms": round(1e3 * median(anchors), 2),
    }


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    url = sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{folder / 'ledger.db'}"
    ledger, numbers, figures = SqlLedger(url, "sim", folder / "ledger.anchor"), count(), dict[str, dict[str, float]]()
    before = 0
    for size in SIZES:
        fill_up(ledger, numbers, size - before)
        before = size
        figures[f"{size} fills"] = row = measure(ledger, numbers)
        print(f"{size:7} fills", "  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    machine.write(f"ledger_{ledger.engine.dialect.name}", figures)


if __name__ == "__main__":
    main()
