"""The order engine: commit the intent, send, record, book.

For every order of a plan, sells before buys:

    tx { gates; INTENT } -> tx { SENDING } -> wire -> tx { WORKING | REJECTED | UNKNOWN } -> tx { fills; FILLED }

A crash between any two steps is resolved from the ledger and the broker alone: an INTENT was never sent, a SENDING
may have been, and the broker is asked. Where the broker refuses a second copy of a known id and finds what it has
accepted at once, an order that it does not know is sent again under the same id; elsewhere it stays UNKNOWN, its
symbol blocked. Buys start when every sell of their decision has ended, since a cash account may not spend proceeds
before they exist.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from ordinis.domain.decisions import Decision
from ordinis.domain.orders import (
    LIVE,
    Accepted,
    Ambiguous,
    BrokerOrder,
    Fill,
    Known,
    OrderIntent,
    OrderRequest,
    OrderState,
    OrderType,
    PlannedOrder,
    Refused,
    Side,
    SubmitOutcome,
    TimeInForce,
    client_order_id,
)
from ordinis.domain.portfolio import ZERO
from ordinis.errors import BrokerUnavailable, NotFound
from ordinis.execution.gates import Denied, Gates
from ordinis.execution.killpoints import KillHook, KillPoint, survive
from ordinis.ports import Broker, Clock, Ledger, OrderEvent, UnitOfWork

logger = logging.getLogger(__name__)
LEGS = (Side.SELL.value, Side.BUY.value)
LARGEST_SKEW = timedelta(seconds=30)
"""How far the broker's clock may be from ours."""


@dataclass(frozen=True)
class OrderEngine:
    ledger: Ledger
    broker: Broker
    clock: Clock
    gates: Gates
    fence: int = 1
    kill_point: KillHook = survive

    def execute(self, decision: Decision, prices: Mapping[str, Decimal], volatility: Mapping[str, float]) -> bool:
        """Carry out the plan of `decision` as far as it goes now; True when nothing of it is left to do.

        Calling it again, after a crash or for a plan that waits for its sells, goes on where it stopped.
        """
        for leg in (leg for leg in LEGS if any(planned.leg == leg for planned in decision.orders)):
            for order in (planned for planned in decision.orders if planned.leg == leg):
                intent = self._intent(decision, order, prices, volatility.get(order.symbol, float("nan")))
                if intent.state is OrderState.INTENT:
                    self._send(intent, decision)
            self.collect()
            with self.ledger.begin(write=False) as unit:
                waiting = [i.symbol for i in unit.orders.of(decision.id) if i.leg == leg and i.state in LIVE]
            if waiting:
                logger.warning("orders wait leg=%s symbols=%s decision=%s", leg, ",".join(waiting), decision.id[:12])
                return False
        return True

    def finish(self, intent: OrderIntent) -> None:
        """Send a live intent that a restart left unsent, or again where the broker is sure that it has none."""
        decision = self._decision(intent)
        if intent.state is OrderState.INTENT:
            self._send(intent, decision)
        elif intent.state in (OrderState.SENDING, OrderState.UNKNOWN):
            self._look_up(intent, decision)

    def look_up_doubtful(self, live: Sequence[OrderIntent]) -> None:
        """Ask the broker about orders that may have reached it; nothing is sent."""
        for intent in live:
            if intent.state in (OrderState.SENDING, OrderState.UNKNOWN):
                found = self.broker.order(intent.client_order_id)
                if isinstance(found, Known) and found.value is not None:
                    self._acknowledge(intent, _as_outcome(found.value))

    def collect(self) -> int:
        """Book every execution of the live orders; return how many were new."""
        with self.ledger.begin(write=False) as unit:
            live = [i for i in unit.orders.live() if i.sent_at is not None]
        if not live:
            return 0
        self.look_up_doubtful(live)
        first = min(i.sent_at for i in live if i.sent_at is not None)
        answer = self.broker.fills(first - LARGEST_SKEW)
        if not isinstance(answer, Known):
            logger.warning("fills not known: %s", getattr(answer, "reason", "stale"))
            return 0
        return self.book(answer.value, source="poll")

    def book(self, fills: Sequence[Fill], *, source: str) -> int:
        """Book fills that are new, and move their orders; one transaction for all."""
        if not fills:
            return 0
        now = self.clock.now()
        with self.ledger.begin() as unit:
            booked = [fill for fill in fills if unit.book.fill(fill, source=source, received_at=now)]
            for coid in dict.fromkeys(fill.client_order_id for fill in booked if fill.client_order_id):
                self._count(unit, coid, now)
            if not booked:
                return 0
            unit.commit()
        self.kill_point(KillPoint.FILLED)
        for fill in booked:
            logger.info(
                "fill symbol=%s side=%s quantity=%s price=%s", fill.symbol, fill.side, fill.quantity, fill.price
            )
        return len(booked)

    # one order

    def _intent(
        self, decision: Decision, order: PlannedOrder, prices: Mapping[str, Decimal], volatility: float
    ) -> OrderIntent:
        """The order's intent: found in the ledger, or passed through the gates and committed now."""
        coid = client_order_id(decision.account, decision.id, order.symbol, order.leg, 1)
        now = self.clock.now()
        with self.ledger.begin() as unit:
            known = unit.orders.get(coid)
            if known is not None:
                return known
            verdict = self.gates.admit(unit, decision, order, now, prices, volatility)
            if isinstance(verdict, Denied):
                quantity, reserved = order.quantity, ZERO
            else:
                quantity, reserved = verdict.quantity, verdict.reserved
            intent = OrderIntent(
                client_order_id=coid,
                decision_id=decision.id,
                account=decision.account,
                symbol=order.symbol,
                leg=order.leg,
                attempt=1,
                side=order.side,
                quantity=quantity,
                type=OrderType.MARKET,
                limit_price=None,
                tif=TimeInForce.DAY,
                state=OrderState.INTENT,
                reference_price=order.reference_price,
                reserved_notional=reserved,
            )
            unit.orders.add(intent, at=now, fence=self.fence)
            if isinstance(verdict, Denied):
                logger.warning("order denied symbol=%s reason=%s", order.symbol, verdict.reason)
                intent = unit.orders.move(coid, OrderState.DENIED, _local(coid, "DENIED", now, verdict.reason))
            unit.commit()
        self.kill_point(KillPoint.INTENT)
        return intent

    def _send(self, intent: OrderIntent, decision: Decision, *, again: bool = False) -> None:
        """Commit SENDING, write to the wire, commit what the broker said."""
        coid, now = intent.client_order_id, self.clock.now()
        with self.ledger.begin() as unit:
            reason = self.gates.still_valid(unit, decision, intent.side, now)
            if reason and not again:
                unit.orders.move(coid, OrderState.EXPIRED_UNSENT, _local(coid, "EXPIRED_UNSENT", now, reason))
                unit.commit()
                logger.warning("order not sent symbol=%s reason=%s", intent.symbol, reason)
                return
            if not again:
                sending = OrderEvent(f"{coid}:SENDING", "local", now, now, {"state": "SENDING"}, sent_at=now)
                unit.orders.move(coid, OrderState.SENDING, sending)
                unit.commit()
        self.kill_point(KillPoint.SENDING)
        if reason or self._flagged():
            self._finish_unsent(intent, reason or "G2: the kill flag is set")
            return
        request = OrderRequest(coid, intent.symbol, intent.side, intent.quantity, intent.type, intent.limit_price)
        self.kill_point(KillPoint.WIRE)
        outcome = self.broker.submit(request)
        self.kill_point(KillPoint.REPLIED)
        self._acknowledge(intent, outcome)

    def _flagged(self) -> bool:
        flag = self.gates.kill_flag
        return flag is not None and flag.exists()

    def _acknowledge(self, intent: OrderIntent, outcome: SubmitOutcome) -> None:
        coid, now = intent.client_order_id, self.clock.now()
        with self.ledger.begin() as unit:
            if isinstance(outcome, Accepted):
                event = OrderEvent(
                    f"{coid}:ACK", "local", outcome.order.submitted_at, now, {"state": "WORKING"},
                    broker_order_id=outcome.order.broker_order_id,
                )  # fmt: skip
                unit.orders.move(coid, OrderState.WORKING, event)
            elif isinstance(outcome, Refused):
                logger.warning("order rejected symbol=%s reason=%s", intent.symbol, outcome.reason)
                unit.orders.move(coid, OrderState.REJECTED, _local(coid, "REJECTED", now, outcome.reason))
            elif intent.state is not OrderState.UNKNOWN:
                logger.error("order unknown symbol=%s reason=%s", intent.symbol, outcome.reason)
                unit.orders.move(coid, OrderState.UNKNOWN, _local(coid, "UNKNOWN", now, outcome.reason))
            unit.commit()
        self.kill_point(KillPoint.ACKNOWLEDGED)

    def _finish_unsent(self, intent: OrderIntent, reason: str) -> None:
        """An order that was about to be sent and was not: a definitive no of our own."""
        coid, now = intent.client_order_id, self.clock.now()
        with self.ledger.begin() as unit:
            unit.orders.move(coid, OrderState.REJECTED, _local(coid, "REJECTED", now, f"not sent, {reason}"))
            unit.commit()
        self.kill_point(KillPoint.ACKNOWLEDGED)
        logger.warning("order not sent symbol=%s reason=%s", intent.symbol, reason)

    def _look_up(self, intent: OrderIntent, decision: Decision) -> None:
        """SENDING or UNKNOWN: only a successful answer of the broker ends the doubt."""
        answer = self.broker.order(intent.client_order_id)
        if not isinstance(answer, Known):
            raise BrokerUnavailable(f"order {intent.client_order_id}", getattr(answer, "reason", "stale"))
        if answer.value is not None:
            self._acknowledge(intent, _as_outcome(answer.value))
            return
        capabilities = self.broker.capabilities()
        if not (capabilities.dedupes_client_ids and capabilities.lookups_are_current):
            if intent.state is OrderState.SENDING:
                self._acknowledge(intent, Ambiguous("sent before a restart and not found since"))
            return
        logger.warning("order was not received symbol=%s id=%s: sending again", intent.symbol, intent.client_order_id)
        self._send(intent, decision, again=True)

    def _count(self, unit: UnitOfWork, coid: str, now: datetime) -> None:
        intent = unit.orders.get(coid)
        if intent is None or intent.state not in LIVE:
            return
        if intent.state in (OrderState.SENDING, OrderState.UNKNOWN):
            # The execution arrived before the acknowledgement: the broker has the order.
            unit.orders.move(
                coid, OrderState.WORKING, OrderEvent(f"{coid}:ACK", "poll", now, now, {"state": "WORKING"})
            )
        state = OrderState.FILLED if intent.remaining <= 0 else OrderState.PARTIAL
        if state is OrderState.PARTIAL and intent.state is OrderState.PARTIAL:
            return
        key = f"{coid}:{state}:{intent.filled_quantity}"
        unit.orders.move(coid, state, OrderEvent(key, "poll", now, now, {"state": state.value}))

    def _decision(self, intent: OrderIntent) -> Decision:
        with self.ledger.begin(write=False) as unit:
            decision = unit.decisions.get(intent.decision_id)
        if decision is None:
            raise NotFound("decision", intent.decision_id)
        return decision


def _as_outcome(order: BrokerOrder) -> SubmitOutcome:
    if order.state is OrderState.REJECTED:
        return Refused("the broker rejected it")
    return Accepted(order)


def _local(coid: str, step: str, now: datetime, reason: str) -> OrderEvent:
    return OrderEvent(f"{coid}:{step}", "local", now, now, {"state": step, "reason": reason})
