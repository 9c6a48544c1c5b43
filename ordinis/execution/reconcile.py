"""The ledger against the broker's book: at every start and before every decision.

The broker's truth has three values: known, unknown, stale. A query that failed is never an empty answer, so a
reconciliation with one such query fails as a whole and nothing is traded. What the broker knows and the ledger does
not (a fill after a crash, a deposit) is booked; a difference that remains after that is named, and stops trading.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from ordinis.domain.orders import Known, QueryOutcome
from ordinis.domain.portfolio import ZERO
from ordinis.errors import BrokerUnavailable, NotReconciled
from ordinis.execution.intents import LARGEST_SKEW, OrderEngine
from ordinis.execution.killpoints import KillPoint

logger = logging.getLogger(__name__)
T = TypeVar("T")
OVERLAP = timedelta(days=1)
EPOCH = datetime(1990, 1, 1, tzinfo=UTC)
CASH_TOLERANCE = Decimal("0.01")


@dataclass(frozen=True)
class Reconciliation:
    """What was found and put right."""

    fills: int
    movements: int
    resolved: int


def reconcile(engine: OrderEngine, *, finish: bool = False) -> Reconciliation:
    """Bring the ledger up to the broker's book; nothing is sent before the two agree.

    Args:
        finish: once they agree, send what a crash left unsent. The trading process alone may ask for it.

    Raises:
        BrokerUnavailable: a query failed; nothing may be inferred.
        NotReconciled: account, clock, positions or cash differ and no fill or movement explains it.
    """
    ledger, broker, clock = engine.ledger, engine.broker, engine.clock
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
    deposits = known(broker.movements(since), "movements")
    moved = 0
    if deposits:
        with ledger.begin() as unit:
            moved = sum(unit.book.movement(movement) for movement in deposits)
            unit.commit()
    # Orders first: a fill then finds its order acknowledged, with the broker's own id.
    engine.look_up_doubtful(live)
    fills = engine.book(known(broker.fills(since), "fills"), source="reconcile")
    positions, cash = known(broker.positions(), "positions"), known(broker.account(), "account").cash
    with ledger.begin() as unit:
        held, kept = unit.book.holdings(), unit.book.cash()
        differences = [
            f"{symbol}: {held.get(symbol, ZERO)} in the ledger, {positions.get(symbol, ZERO)} at the broker"
            for symbol in sorted(held.keys() | positions.keys())
            if held.get(symbol, ZERO) != positions.get(symbol, ZERO)
        ]
        if abs(kept - cash) > CASH_TOLERANCE:
            differences.append(f"cash: {kept} in the ledger, {cash} at the broker")
        if differences:
            raise NotReconciled(differences)
        unit.book.set_watermark(started)
        unit.commit()
    engine.kill_point(KillPoint.RECONCILED)
    if finish and live:
        with ledger.begin(write=False) as unit:
            unfinished = unit.orders.live()
        for intent in unfinished:
            engine.finish(intent)
        engine.collect()
    if fills or live:
        logger.warning("reconciled fills=%d movements=%d resolved=%d", fills, moved, len(live))
    return Reconciliation(fills, moved, len(live))


def known(outcome: QueryOutcome[T], query: str) -> T:
    """The value of a known answer; BrokerUnavailable for any other."""
    if isinstance(outcome, Known):
        return outcome.value
    raise BrokerUnavailable(query, getattr(outcome, "reason", "the answer is stale"))
