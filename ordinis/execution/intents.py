"""The order engine: commit the intent, send, follow up, book.

For every order of a plan, sells before buys:

    tx { gates; INTENT } -> tx { SENDING } -> wire -> tx { WORKING | REJECTED | UNKNOWN } -> tx { fills; FILLED }

A crash between any two steps is resolved from the ledger and the broker alone: an INTENT was never sent and passes
the gates again, a SENDING may have been, and the broker is asked. Where the broker refuses a second copy of a known
id, an order that it does not find is sent again under the same id if it passes the gates; otherwise it stays UNKNOWN,
its symbol blocked, until five answers over two minutes have not found it. What is left of an order that ended early is
tried again under a new attempt. An order for which the moment is not right waits. Buys start when every sell of their
decision has ended, since a cash account may not spend proceeds before they exist.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from ordinis.domain.decisions import Decision
from ordinis.domain.limits import TradingState
from ordinis.domain.orders import (
    LIVE,
    Known,
    OrderIntent,
    OrderState,
    OrderType,
    PlannedOrder,
    Refused,
    Side,
    TimeInForce,
    client_order_id,
)
from ordinis.domain.portfolio import ZERO
from ordinis.errors import BrokerUnavailable
from ordinis.execution.gates import Denied, Passed, Waits, taken_back
from ordinis.execution.killpoints import KillPoint
from ordinis.execution.observing import IN_DOUBT, OPEN, RETRIED
from ordinis.execution.prices import Prices
from ordinis.execution.wire import Wire, local_event
from ordinis.governance.breakers import PACE, lower
from ordinis.ports import OrderEvent, UnitOfWork

logger = logging.getLogger(__name__)
LEGS = (Side.SELL.value, Side.BUY.value)
ATTEMPTS = 5
"""How often what is left of an order is tried again."""
LARGEST_SKEW = timedelta(seconds=30)
"""How far the broker's clock may be from ours."""


@dataclass(frozen=True)
class OrderEngine(Wire):
    """Decides what is to be sent, asked or ended next."""

    def execute(self, decision: Decision, prices: Prices, *, last: bool = False) -> bool:
        """Carry out the plan of `decision` as far as it goes now; True when nothing of it is left to do.

        Calling it again, after a crash or for a plan that waits, goes on where it stopped.

        Args:
            prices: quotes of this moment, of every symbol of the plan that has one.
            last: what would wait is denied: there will be no other call.
        """
        for leg in (leg for leg in LEGS if any(planned.leg == leg for planned in decision.orders)):
            held_up, settled = {}, self._settled(decision, leg)
            for order in (o for o in decision.orders if o.leg == leg and o.symbol not in settled):
                intent = self._intent(decision, order, prices, last=last)
                if isinstance(intent, Waits):
                    held_up[order.symbol] = intent.reason
                elif intent.state is OrderState.INTENT:
                    self._send(intent, decision)
            self.follow_up(prices)
            waiting = sorted({*held_up, *self._unfinished(decision, leg)})
            if waiting:
                why = "; ".join(sorted(set(held_up.values())))
                logger.info("orders wait leg=%s symbols=%s %s", leg, ",".join(waiting), why)
                return False
        return True

    def finish(self) -> None:
        """End what a restart found unsent and may not be sent any more, and follow up the rest."""
        now = self.clock.now()
        with self.ledger.begin(write=False) as unit:
            live = unit.orders.live()
            unsent = [(i, self._decision(unit, i)) for i in live if i.state is OrderState.INTENT]
        for intent, decision in unsent:
            with self.ledger.begin() as unit:
                reason = self.gates.still_valid(unit, decision, intent.symbol, intent.side, now)
                if reason:
                    self._expire(unit, intent, reason)
                    unit.commit()
            self.kill_point(KillPoint.UNSENT)
        self.follow_up()

    def follow_up(self, prices: Prices | None = None) -> int:
        """Ask the broker about every order that it has or may have, book what was executed, end what may not live.

        Returns how many executions were new.

        Args:
            prices: quotes of this moment; without them no order is sent again.
        """
        live = self._sent()
        if not live:
            return 0
        for intent in live:
            self._ask(intent, prices)
        first = min(i.sent_at for i in live if i.sent_at is not None)
        answer = self.broker.fills(first - LARGEST_SKEW)
        if isinstance(answer, Known):
            new = self.book(answer.value, source="poll")
        else:
            logger.warning("executions not known: %s", getattr(answer, "reason", "the answer is old"))
            new = 0
        for intent in self._sent():
            self._end_if_it_must(intent)
        return new

    def look(self) -> None:
        """Ask the broker about live orders and note what it says; nothing is sent."""
        for intent in self._sent():
            found = self.broker.order(intent.client_order_id)
            if isinstance(found, Known) and found.value is not None:
                self.hear(found.value)

    def _unfinished(self, decision: Decision, leg: str) -> list[str]:
        """Symbols of which an order of this leg is live or will be tried again."""
        now = self.clock.now()
        with self.ledger.begin(write=False) as unit:
            newest = _newest(unit, decision, leg)
            return [s for s, i in newest.items() if i.state in LIVE or self._tried_again(unit, decision, i, now)]

    def _settled(self, decision: Decision, leg: str) -> Set[str]:
        """Symbols for which nothing is to be written now: the newest order was sent, or ended for good."""
        now = self.clock.now()
        with self.ledger.begin(write=False) as unit:
            gone = {s: i for s, i in _newest(unit, decision, leg).items() if i.state is not OrderState.INTENT}
            return {s for s, i in gone.items() if not self._tried_again(unit, decision, i, now)}

    def _intent(self, decision: Decision, order: PlannedOrder, prices: Prices, *, last: bool) -> OrderIntent | Waits:
        """The newest attempt at `order`: found in the ledger, or passed through the gates and committed now."""
        now = self.clock.now()
        with self.ledger.begin() as unit:
            tried = [i for i in unit.orders.of(decision.id, order.symbol) if i.leg == order.leg]
            newest = max(tried, key=lambda intent: intent.attempt, default=None)
            if newest is not None and newest.state is OrderState.INTENT:
                return self._passed_again(unit, decision, newest, prices, last=last)
            if newest is not None and not self._tried_again(unit, decision, newest, now):
                return newest
            quantity, attempt = order.quantity, 1
            if newest is not None:
                quantity, attempt = _rest(unit, newest), newest.attempt + 1
            asked = replace(order, quantity=quantity)
            verdict = self.gates.admit(unit, decision, asked, now, prices, self.health.skew)
            if isinstance(verdict, Waits) and not last:
                return verdict
            intent = self._written(unit, decision, asked, attempt, verdict)
            unit.commit()
        self.kill_point(KillPoint.INTENT)
        return intent

    def _passed_again(
        self, unit: UnitOfWork, decision: Decision, intent: OrderIntent, prices: Prices, *, last: bool
    ) -> OrderIntent | Waits:
        """An intent that a restart found unsent, as it is if it passes the gates as a whole, or ended."""
        verdict = self._judged(unit, decision, intent, prices)
        if isinstance(verdict, Waits) and not last:
            return verdict
        if isinstance(verdict, Passed) and verdict.quantity == intent.quantity:
            return intent
        reason = f"only {verdict.quantity} fits now" if isinstance(verdict, Passed) else verdict.reason
        ended = self._expire(unit, intent, reason)
        unit.commit()
        self.kill_point(KillPoint.UNSENT)
        return ended

    def _judged(
        self, unit: UnitOfWork, decision: Decision, intent: OrderIntent, prices: Prices
    ) -> Passed | Denied | Waits:
        """The gates' verdict on an intent that is in the ledger already."""
        asked = PlannedOrder(intent.symbol, intent.leg, intent.side, intent.quantity, intent.reference_price)
        now, own = self.clock.now(), intent.client_order_id
        return self.gates.admit(unit, decision, asked, now, prices, self.health.skew, own)

    def _expire(self, unit: UnitOfWork, intent: OrderIntent, reason: str) -> OrderIntent:
        coid, now = intent.client_order_id, self.clock.now()
        logger.warning("order not sent symbol=%s reason=%s", intent.symbol, reason)
        return unit.orders.move(coid, OrderState.EXPIRED_UNSENT, local_event(coid, "EXPIRED_UNSENT", now, reason))

    def _tried_again(self, unit: UnitOfWork, decision: Decision, last: OrderIntent, now: datetime) -> bool:
        """True when `last` ended early and what is left of it may be sent as another attempt."""
        ended_early = last.state in RETRIED and last.attempt < ATTEMPTS and _rest(unit, last) > 0
        return ended_early and not self.gates.still_valid(unit, decision, last.symbol, last.side, now)

    def _written(
        self,
        unit: UnitOfWork,
        decision: Decision,
        order: PlannedOrder,
        attempt: int,
        verdict: Passed | Denied | Waits,
    ) -> OrderIntent:
        """The intent as the gates left it, stored: to be sent, or denied with the reason."""
        coid = client_order_id(decision.account, decision.id, order.symbol, order.leg, attempt)
        passed = verdict if isinstance(verdict, Passed) else Passed(order.quantity, ZERO)
        denied = "" if isinstance(verdict, Passed) else verdict.reason
        intent = OrderIntent(
            client_order_id=coid,
            decision_id=decision.id,
            account=decision.account,
            symbol=order.symbol,
            leg=order.leg,
            attempt=attempt,
            side=order.side,
            quantity=passed.quantity,
            type=OrderType.MARKET,
            limit_price=None,
            tif=TimeInForce.DAY,
            state=OrderState.DENIED if denied else OrderState.INTENT,
            reference_price=order.reference_price,
            reserved_notional=passed.reserved,
        )
        now = self.clock.now()
        unit.orders.add(intent, at=now, fence=self.ledger.fence, reason=denied)
        if denied:
            logger.warning("order denied symbol=%s reason=%s", order.symbol, denied)
        if isinstance(verdict, Denied) and verdict.halts:
            lower(unit, TradingState.HALTED, verdict.reason, by=PACE, at=now)
        return intent

    def _send(self, intent: OrderIntent, decision: Decision) -> None:
        """Commit SENDING, write to the wire, commit what the broker said."""
        coid, now = intent.client_order_id, self.clock.now()
        with self.ledger.begin() as unit:
            reason = self.gates.still_valid(unit, decision, intent.symbol, intent.side, now)
            if reason:
                unit.orders.move(coid, OrderState.EXPIRED_UNSENT, local_event(coid, "EXPIRED_UNSENT", now, reason))
            else:
                sending = OrderEvent(
                    f"{coid}:SENDING", "local", now, now, {"state": "SENDING"}, sent_at=now, fence=self.ledger.fence
                )
                unit.orders.move(coid, OrderState.SENDING, sending)
            unit.commit()
        self.kill_point(KillPoint.SENDING)
        if reason:
            logger.warning("order not sent symbol=%s reason=%s", intent.symbol, reason)
        elif self._flagged():
            self._acknowledge(intent, Refused("not sent, G2: the kill flag is set"))
        else:
            self._write(intent)

    def _sent(self) -> Sequence[OrderIntent]:
        with self.ledger.begin(write=False) as unit:
            return [i for i in unit.orders.live() if i.sent_at is not None]

    def _ask(self, intent: OrderIntent, prices: Prices | None) -> None:
        answer = self.broker.order(intent.client_order_id)
        if not isinstance(answer, Known):
            logger.warning("order not known symbol=%s: %s", intent.symbol, getattr(answer, "reason", "an old answer"))
        elif answer.value is not None:
            self.hear(answer.value)
        elif intent.state in IN_DOUBT:
            self._not_found(intent, prices)
        elif intent.state in OPEN:
            self._gone(intent)

    def _not_found(self, intent: OrderIntent, prices: Prices | None) -> None:
        """The broker answered, and does not have the order: sent again where that is harmless, else quarantined."""
        coid, now = intent.client_order_id, self.clock.now()
        self.quarantine.not_found(coid, now)
        with self.ledger.begin() as unit:
            decision = self._decision(unit, intent)
            verdict = None if prices is None else self._judged(unit, decision, intent, prices)
            passed = isinstance(verdict, Passed) and verdict.quantity == intent.quantity
            if intent.state is OrderState.SENDING:
                unit.orders.move(coid, OrderState.UNKNOWN, local_event(coid, "UNKNOWN", now, "sent before a restart"))
                unit.commit()
        self.kill_point(KillPoint.ACKNOWLEDGED)
        harmless = coid not in self.quarantine.refused and self._dedupes()
        if passed and not self._flagged() and harmless:
            logger.warning("order not found symbol=%s id=%s: sending again", intent.symbol, coid)
            self._write(intent)
        elif self.quarantine.passed(coid) and self._nowhere(intent):
            with self.ledger.begin() as unit:
                told = local_event(coid, "NEVER_ARRIVED", now, "not found for two minutes")
                unit.orders.move(coid, OrderState.NEVER_ARRIVED, told)
                unit.commit()
            self.quarantine.begin(coid)
            self.kill_point(KillPoint.ACKNOWLEDGED)
            logger.warning("order never arrived symbol=%s id=%s", intent.symbol, coid)

    def _gone(self, intent: OrderIntent) -> None:
        """The broker had the order and no longer knows it: it ends when nothing shows it, and a person must look."""
        coid, now = intent.client_order_id, self.clock.now()
        self.quarantine.not_found(coid, now)
        if not (self.quarantine.passed(coid) and self._nowhere(intent)):
            return
        problem = "the broker had it and no longer knows it"
        with self.ledger.begin() as unit:
            unit.orders.move(coid, OrderState.CANCELED, local_event(coid, OrderState.CANCELED.value, now, problem))
            self._lock(unit, intent.symbol, f"order {coid}: {problem}", now)
            unit.commit()
        self.quarantine.begin(coid)
        self.kill_point(KillPoint.ACKNOWLEDGED)

    def _dedupes(self) -> bool:
        """Whether the broker refuses a second copy of an id; one that does not say so is not relied on."""
        try:
            return self.broker.capabilities().dedupes_client_ids
        except BrokerUnavailable as error:
            logger.warning("%s", error)
            return False

    def _nowhere(self, intent: OrderIntent) -> bool:
        """True when no list of the broker has the order, and the position is what the ledger says or not traded in."""
        since = (intent.sent_at or self.clock.now()) - timedelta(minutes=5)
        lists = (self.broker.open_orders(), self.broker.closed_orders(since))
        positions = self.broker.positions()
        if not isinstance(positions, Known):
            return False
        for listed in lists:
            if not isinstance(listed, Known):
                return False
            if any(order.client_order_id == intent.client_order_id for order in listed.value):
                return False
        with self.ledger.begin(write=False) as unit:
            held, lock = unit.book.holdings().get(intent.symbol, ZERO), unit.control.state(intent.symbol)
        locked = lock is not None and lock.state is not TradingState.ACTIVE
        return locked or positions.value.get(intent.symbol, ZERO) == held

    def _end_if_it_must(self, intent: OrderIntent) -> None:
        """Cancel a working order that trading state or time no longer allow; repeat a cancel that had no effect yet."""
        if intent.state is OrderState.PENDING_CANCEL:
            self.send_cancel(intent)
        elif intent.state in (OrderState.WORKING, OrderState.PARTIAL, OrderState.SUSPENDED):
            with self.ledger.begin(write=False) as unit:
                decision = self._decision(unit, intent)
                reason = self.gates.stopped(unit, intent.symbol, intent.side) or self.gates.expired(
                    decision, self.clock.now()
                )
            if reason:
                self.cancel(intent, reason=reason)


def _rest(unit: UnitOfWork, last: OrderIntent) -> Decimal:
    """Units of `last` that another attempt may ask for.

    What was taken back may still be corrected: it is for the next decision, which sees what is held.
    """
    return last.remaining - taken_back(unit, last)


def _newest(unit: UnitOfWork, decision: Decision, leg: str) -> dict[str, OrderIntent]:
    """The newest attempt of each symbol in one leg of a decision."""
    return {i.symbol: i for i in sorted(unit.orders.of(decision.id), key=lambda i: i.attempt) if i.leg == leg}
