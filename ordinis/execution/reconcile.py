"""The ledger against the broker's book: at every start and before every decision.

The broker's truth has three values: known, unknown, stale. A query that failed is never an empty answer, so a
reconciliation with one such query fails as a whole and nothing is traded. What the broker knows and the ledger does
not (a fill after a crash, a deposit, a split) is booked. A difference that remains stops trading; one that remains
for two minutes locks its symbol until a person has looked, since a broker may report an execution that late.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from ordinis.domain.limits import TradingState
from ordinis.domain.orders import LIVE, BrokerOrder, Fill, Known, OrderState, QueryOutcome
from ordinis.domain.portfolio import ZERO
from ordinis.errors import BrokerUnavailable, NotReconciled
from ordinis.execution.intents import LARGEST_SKEW, OrderEngine
from ordinis.execution.killpoints import KillPoint
from ordinis.execution.observing import QUARANTINE
from ordinis.execution.wire import ENGINE
from ordinis.ports import ControlRow, UnitOfWork

logger = logging.getLogger(__name__)
T = TypeVar("T")
OVERLAP = timedelta(days=1)
EPOCH = datetime(1990, 1, 1, tzinfo=UTC)
CASH_TOLERANCE = Decimal("0.01")
CASH = ""
"""Where a symbol is expected: the difference is in the cash balance."""


@dataclass(frozen=True)
class Reconciliation:
    """What was found and put right."""

    fills: int
    movements: int
    resolved: int


def reconcile(engine: OrderEngine, *, finish: bool = False, locked_too: bool = False) -> Reconciliation:
    """Bring the ledger up to the broker's book; nothing is sent before the two agree.

    Args:
        finish: once they agree, send what a crash left unsent. The trading process alone may ask for it.
        locked_too: a difference counts although its symbol is locked: before a lock is lifted.

    Raises:
        BrokerUnavailable: a query failed; nothing may be inferred.
        NotReconciled: account, clock, positions or cash differ and no fill or movement explains it.
        LeaseLost: another process trades by now.
    """
    ledger, broker, clock = engine.ledger, engine.broker, engine.clock
    # A process that was replaced while it hung should say that, and not how its clock differs from the broker's.
    ledger.renew()
    account = known(broker.account(), "account")
    if account.account != ledger.account:
        raise NotReconciled([f"the broker's account is {account.account}, the ledger's is {ledger.account}"])
    skew = abs(known(broker.now(), "clock") - clock.now())
    if skew > LARGEST_SKEW:
        raise NotReconciled([f"the clocks differ by {skew.total_seconds():.0f} s"])
    with ledger.begin(write=False) as unit:
        watermark, live = unit.book.watermark(), unit.orders.live()
    since = EPOCH if watermark is None else watermark - OVERLAP
    started = clock.now()
    moved = _book_movements(engine, since)
    # Orders first: a fill then finds its order acknowledged, with the broker's own id.
    engine.look()
    executions = known(broker.fills(since), "fills")
    fills = engine.book(executions, source="reconcile")
    odd = _overfilled(engine, executions) | _end_strays(engine, known(broker.open_orders(), "open orders"))
    positions, cash = known(broker.positions(), "positions"), known(broker.account(), "account").cash
    with ledger.begin() as unit:
        differences = _differences(unit, positions, cash, odd)
        if not differences:
            unit.book.set_watermark(started)
        locked = _lock_what_remains(engine, unit, differences)
        if locked or not differences:
            unit.commit()
        explained = set() if locked_too else {row.symbol for row in unit.control.locks()}
    if differences.keys() - explained:
        raise NotReconciled([text for symbol, text in differences.items() if symbol not in explained])
    engine.kill_point(KillPoint.RECONCILED)
    if finish and live:
        engine.finish()
    if fills or live:
        logger.warning("reconciled fills=%d movements=%d resolved=%d", fills, moved, len(live))
    return Reconciliation(fills, moved, len(live))


def known(outcome: QueryOutcome[T], query: str) -> T:
    """The value of a known answer; BrokerUnavailable for any other."""
    if isinstance(outcome, Known):
        return outcome.value
    raise BrokerUnavailable(query, getattr(outcome, "reason", "the answer is stale"))


def _book_movements(engine: OrderEngine, since: datetime) -> int:
    movements = known(engine.broker.movements(since), "movements")
    if not movements:
        return 0
    with engine.ledger.begin() as unit:
        moved = sum(unit.book.movement(movement) for movement in movements)
        unit.commit()
    return moved


def _overfilled(engine: OrderEngine, executions: Sequence[Fill]) -> dict[str, str]:
    """Orders with more executed than was ordered, by symbol: for a moment a correction may be told before its bust."""
    odd = {}
    with engine.ledger.begin(write=False) as unit:
        for coid in {fill.client_order_id for fill in executions if fill.client_order_id}:
            intent = unit.orders.get(coid)
            if intent is not None and intent.filled_quantity > intent.quantity:
                executed = f"{intent.filled_quantity} executed of {intent.quantity} ordered"
                odd[intent.symbol] = f"{intent.symbol}: order {coid} has {executed}"
    return odd


def _end_strays(engine: OrderEngine, listed: Sequence[BrokerOrder]) -> dict[str, str]:
    """End what is open at the broker and ended here; return what nobody can explain yet, by symbol."""
    odd = {}
    for order in listed:
        with engine.ledger.begin(write=False) as unit:
            intent = unit.orders.get(order.client_order_id)
        if intent is None:
            odd[order.symbol] = f"{order.symbol}: order {order.client_order_id} at the broker is not ours"
        elif intent.state in LIVE:
            continue
        elif order.filled_quantity < intent.filled_quantity:
            counted = f"{intent.filled_quantity} executed in the ledger, {order.filled_quantity} at the broker"
            odd[order.symbol] = f"{order.symbol}: order {order.client_order_id} has {counted}"
        elif intent.state is OrderState.FILLED:
            # An execution was taken back, which has opened the order again: what is missing is for the next decision.
            engine.send_cancel(intent)
        else:
            engine.end_stray(intent, f"is open at the broker and {intent.state} in the ledger")
    return odd


def _differences(
    unit: UnitOfWork, positions: Mapping[str, Decimal], cash: Decimal, odd: Mapping[str, str]
) -> dict[str, str]:
    held, kept = unit.book.holdings(), unit.book.cash()
    differences = dict(odd)
    for symbol in sorted(held.keys() | positions.keys()):
        here, there = held.get(symbol, ZERO), positions.get(symbol, ZERO)
        if here != there:
            differences[symbol] = f"{symbol}: {here} in the ledger, {there} at the broker"
    if abs(kept - cash) > CASH_TOLERANCE:
        differences[CASH] = f"cash: {kept} in the ledger, {cash} at the broker"
    return differences


def _lock_what_remains(engine: OrderEngine, unit: UnitOfWork, differences: Mapping[str, str]) -> bool:
    """Remember since when each difference has been there; lock a symbol whose difference will not go away."""
    now, doubts = engine.clock.now(), engine.doubts
    for symbol in doubts.keys() - differences.keys():
        del doubts[symbol]
    busy = {intent.symbol for intent in unit.orders.live()}
    locked = {row.symbol for row in unit.control.locks()}
    wrote = False
    for symbol, text in differences.items():
        since = doubts.setdefault(symbol, now)
        if symbol == CASH or symbol in busy or symbol in locked or now - since < QUARANTINE:
            continue
        unit.control.set(ControlRow(TradingState.HALTED, text, ENGINE, now, symbol))
        logger.error("symbol locked %s", text)
        wrote = True
    return wrote
