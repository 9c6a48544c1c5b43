"""What goes out to the broker, and what comes back: each step a commit of its own, in the order that loses nothing.

The ledger says that an order is being sent before it is on the wire, an answer is noted before anything follows from
it, and executions are booked with the move of their order in one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ordinis.domain.decisions import Decision
from ordinis.domain.limits import Breakers, TradingState
from ordinis.domain.orders import (
    Accepted,
    BrokerOrder,
    Fill,
    OrderIntent,
    OrderRequest,
    OrderState,
    Refused,
    SubmitOutcome,
)
from ordinis.errors import FillChanged, NotFound
from ordinis.execution.gates import Gates
from ordinis.execution.killpoints import KillHook, KillPoint, survive
from ordinis.execution.observing import Quarantine, executed, told
from ordinis.governance.breakers import judge_rejects
from ordinis.ports import Broker, Clock, ControlRow, Ledger, OrderEvent, UnitOfWork

logger = logging.getLogger(__name__)
ENGINE = "engine"
"""Who locks a symbol or cancels an order when no person does."""


@dataclass
class Health:
    """What the engine has seen of its surroundings since it started."""

    skew: timedelta = timedelta(0)
    """The broker's clock against ours, either way, at the last comparison."""


@dataclass(frozen=True)
class Wire:
    ledger: Ledger
    broker: Broker
    clock: Clock
    gates: Gates
    breakers: Breakers = field(default_factory=Breakers)
    kill_point: KillHook = survive
    quarantine: Quarantine = field(default_factory=Quarantine)
    doubts: dict[tuple[str, bool], datetime] = field(default_factory=dict)
    """Since when ledger and broker differ without a break, by symbol and by whether it has a live order; the empty
    symbol is cash."""
    health: Health = field(default_factory=Health)

    def book(self, fills: Sequence[Fill], *, source: str) -> int:
        """Book executions that are new, and move their orders; one transaction for all.

        One that is booked with other numbers stays as it was booked, and its symbol is locked.
        """
        if not fills:
            return 0
        now = self.clock.now()
        with self.ledger.begin() as unit:
            # A reversal may be told before what it reverses.
            ordered = sorted(fills, key=lambda fill: fill.reverses is not None)
            booked, locked = [], False
            for fill in ordered:
                try:
                    if unit.book.fill(fill, source=source, received_at=now):
                        booked.append(fill)
                except FillChanged as error:
                    locked = self._lock(unit, fill.symbol, str(error), now, happened=fill.at) or locked
            for coid in dict.fromkeys(fill.client_order_id for fill in booked if fill.client_order_id):
                self._count(unit, coid, now)
            if not booked and not locked:
                return 0
            unit.commit()
        self.kill_point(KillPoint.FILLED)
        for fill in booked:
            logger.info(
                "fill symbol=%s side=%s quantity=%s price=%s", fill.symbol, fill.side, fill.quantity, fill.price
            )
        return len(booked)

    def cancel(self, intent: OrderIntent, *, reason: str, by: str = ENGINE) -> None:
        """Ask the broker to end a working order: committed first, sent again until the broker says how it ended."""
        with self.ledger.begin() as unit:
            unit.orders.cancel(intent.client_order_id, reason=reason, by=by, at=self.clock.now())
            unit.commit()
        self.kill_point(KillPoint.CANCELLING)
        logger.warning("cancel symbol=%s reason=%s", intent.symbol, reason)
        self.send_cancel(intent)

    def end_stray(self, intent: OrderIntent, problem: str) -> None:
        """End an order that is open at the broker and had ended in the ledger, and lock its symbol."""
        with self.ledger.begin() as unit:
            self._lock(unit, intent.symbol, f"order {intent.client_order_id}: {problem}", self.clock.now())
            unit.commit()
        self.kill_point(KillPoint.CANCELLING)
        self.send_cancel(intent)

    def _write(self, intent: OrderIntent) -> None:
        """The order on the wire, for the first time or again under the same id."""
        request = OrderRequest(
            intent.client_order_id, intent.symbol, intent.side, intent.quantity, intent.type, intent.limit_price
        )
        self.kill_point(KillPoint.WIRE)
        # This process may have hung since its last commit, and another may trade by now.
        while not self.ledger.holds():
            if not self._passes_again(intent):
                return
        self.quarantine.begin(intent.client_order_id)
        outcome = self.broker.submit(request)
        self.kill_point(KillPoint.REPLIED)
        self._acknowledge(intent, outcome)

    def _passes_again(self, intent: OrderIntent) -> bool:
        """Assert the fence, renew the lease and pass the gates anew; an order that was never sent and may not go ends.

        Raises:
            LeaseLost: another process has taken over, and resolves the order.
        """
        coid, now = intent.client_order_id, self.clock.now()
        with self.ledger.begin() as unit:
            decision = self._decision(unit, intent)
            reason = self.gates.still_valid(unit, decision, intent.symbol, intent.side, now)
            known = unit.orders.get(coid)
            if reason and known is not None and known.state is OrderState.SENDING:
                told = local_event(coid, OrderState.REJECTED.value, now, f"not sent, {reason}")
                unit.orders.move(coid, OrderState.REJECTED, told)
            unit.commit()
        self.kill_point(KillPoint.RENEWED)
        if reason:
            logger.warning("order not sent after a pause symbol=%s reason=%s", intent.symbol, reason)
        return not reason

    def _acknowledge(self, intent: OrderIntent, outcome: SubmitOutcome) -> None:
        if isinstance(outcome, Accepted):
            self.hear(outcome.order)
            return
        coid, now = intent.client_order_id, self.clock.now()
        state = OrderState.REJECTED if isinstance(outcome, Refused) else OrderState.UNKNOWN
        with self.ledger.begin() as unit:
            known = unit.orders.get(coid)
            if known is not None and known.state is OrderState.UNKNOWN and state is OrderState.REJECTED:
                self.quarantine.refused.add(coid)
            if known is None or known.state is not OrderState.SENDING:
                return
            unit.orders.move(coid, state, local_event(coid, state.value, now, outcome.reason))
            if state is OrderState.REJECTED:
                judge_rejects(unit, self.breakers, now)
            unit.commit()
        self.kill_point(KillPoint.ACKNOWLEDGED)
        logger.warning("order %s symbol=%s reason=%s", state.lower(), intent.symbol, outcome.reason)

    def hear(self, order: BrokerOrder) -> None:
        """Note what the broker says of an order that it has."""
        coid, now = order.client_order_id, self.clock.now()
        self.quarantine.begin(coid)
        with self.ledger.begin() as unit:
            known = unit.orders.get(coid)
            path = () if known is None else told(known, order)
            for state in path:
                known = unit.orders.move(coid, state, _heard(known, order, state, now))
            if OrderState.REJECTED in path:
                judge_rejects(unit, self.breakers, now)
            if path:
                unit.commit()
        if path:
            self.kill_point(KillPoint.ACKNOWLEDGED)

    def send_cancel(self, intent: OrderIntent) -> None:
        """Ask the broker to end an order, and hear what it says; asking twice is harmless."""
        outcome = self.broker.cancel(intent.client_order_id)
        self.kill_point(KillPoint.CANCELLED)
        if isinstance(outcome, Accepted):
            self.hear(outcome.order)

    def _flagged(self) -> bool:
        flag = self.gates.kill_flag
        return flag is not None and flag.exists()

    def _count(self, unit: UnitOfWork, coid: str, now: datetime) -> None:
        """Move an order on after executions of it were booked."""
        intent = unit.orders.get(coid)
        if intent is None:
            return
        if intent.state is OrderState.NEVER_ARRIVED:
            self._lock(unit, intent.symbol, f"order {coid}: executed after it was given up as never arrived", now)
        for state in executed(intent):
            key = f"{coid}:ACK" if state is OrderState.WORKING else f"{coid}:{state}:{intent.filled_quantity}"
            unit.orders.move(coid, state, OrderEvent(key, "poll", now, now, {"state": state.value}))

    def _lock(
        self, unit: UnitOfWork, symbol: str, reason: str, now: datetime, *, happened: datetime | None = None
    ) -> bool:
        """Stop trading in a symbol until a person has looked; False when it is locked, or was looked at since."""
        lock = unit.control.state(symbol)
        if lock is not None and (lock.state is not TradingState.ACTIVE or accepted(lock, happened)):
            return False
        unit.control.set(ControlRow(TradingState.HALTED, reason, ENGINE, now, symbol))
        logger.error("symbol locked symbol=%s reason=%s", symbol, reason)
        return True

    def _decision(self, unit: UnitOfWork, intent: OrderIntent) -> Decision:
        decision = unit.decisions.get(intent.decision_id)
        if decision is None:
            raise NotFound("decision", intent.decision_id)
        return decision


def accepted(lock: ControlRow | None, happened: datetime | None) -> bool:
    """True when a person has lifted the symbol's lock since what may be odd about it `happened`."""
    if lock is None or happened is None:
        return False
    return lock.state is TradingState.ACTIVE and lock.at >= happened


def _heard(known: OrderIntent | None, order: BrokerOrder, state: OrderState, now: datetime) -> OrderEvent:
    """What the broker said of an order, as an event that is kept once however often it is said."""
    coid = order.client_order_id
    if known is not None and OrderState.SUSPENDED in (state, known.state):
        # An order may be held back, and let go, again and again.
        key = f"{coid}:{state}:{order.filled_quantity}:{known.version}"
        return OrderEvent(key, "poll", now, now, {"state": state.value})
    if state is OrderState.WORKING:
        return OrderEvent(
            f"{coid}:ACK", "local", order.submitted_at, now, {"state": state.value},
            broker_order_id=order.broker_order_id,
        )  # fmt: skip
    return OrderEvent(f"{coid}:{state}:{order.filled_quantity}", "poll", now, now, {"state": state.value})


def local_event(coid: str, step: str, now: datetime, reason: str) -> OrderEvent:
    return OrderEvent(f"{coid}:{step}", "local", now, now, {"state": step, "reason": reason})
