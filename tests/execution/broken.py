"""Engines broken on purpose, each in one way that real systems have been broken, and the rigs that must notice.

A rig that finds nothing wrong proves something only if it would have found this. `MUST_CATCH` was written down before
any of them was run by that rig; R3 is the state machine of `test_stateful`:

    engine                  what is wrong with it                                  simulation  SIGKILL  R3  two engines
    SendsBeforeSaving       the order is on the wire before it is in the ledger        x          x     x
    NotFoundIsRejected      an order that a look-up misses gets a new id at once       x                x
    FailureIsEmpty          a query that failed is taken for an empty answer           x                x
    BooksTwice              an execution that is reported again is booked again        x                x
    ForgetsLateFills        executions of an order that has ended are dropped          x                x
    BuysAtOnce              buys do not wait for the sells that pay for them           x                x
    NeverLooksAgain         after a restart what is found is sent without the gates    x                x
    RefusedIsFinal          a refused second copy ends the first, still on its way     x                x
    CancelsOnce             a cancel without effect is not repeated                    x                x
    SendsUnderAnotherId     what a restart finds unanswered goes out under a new id    x          x     x
    IgnoresTheFence         an order is sent without looking who trades by now                              x
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ordinis.domain.decisions import Decision
from ordinis.domain.orders import (
    LIVE,
    Fill,
    Known,
    OrderIntent,
    OrderRequest,
    OrderState,
    Refused,
    SubmitOutcome,
    Unknown,
)
from ordinis.execution.intents import OrderEngine
from ordinis.execution.killpoints import KillPoint
from ordinis.execution.prices import Prices
from ordinis.ports import OrderEvent


class SendsBeforeSaving(OrderEngine):
    def _send(self, intent: OrderIntent, decision: Decision) -> None:
        self.broker.submit(OrderRequest(intent.client_order_id, intent.symbol, intent.side, intent.quantity))
        self.kill_point(KillPoint.REPLIED)
        super()._send(intent, decision)


class NotFoundIsRejected(OrderEngine):
    def _not_found(self, intent: OrderIntent, prices: Prices | None) -> None:
        self._give_up(intent)

    def _give_up(self, intent: OrderIntent) -> None:
        now, coid = self.clock.now(), intent.client_order_id
        with self.ledger.begin() as unit:
            if intent.state is OrderState.SENDING:
                unit.orders.move(coid, OrderState.UNKNOWN, OrderEvent(f"{coid}:U", "poll", now, now, {}))
            unit.orders.move(coid, OrderState.NEVER_ARRIVED, OrderEvent(f"{coid}:N", "poll", now, now, {}))
            unit.commit()


class FailureIsEmpty(NotFoundIsRejected):
    def _not_found(self, intent: OrderIntent, prices: Prices | None) -> None:
        OrderEngine._not_found(self, intent, prices)

    def _ask(self, intent: OrderIntent, prices: Prices | None) -> None:
        answer = self.broker.order(intent.client_order_id)
        if isinstance(answer, Known) and answer.value is not None:
            self.hear(answer.value)
        elif isinstance(answer, Unknown) and intent.state in (OrderState.SENDING, OrderState.UNKNOWN):
            self._give_up(intent)


class BooksTwice(OrderEngine):
    def book(self, fills: Sequence[Fill], *, source: str) -> int:
        seen: set[str] = set()
        again = []
        for fill in fills:
            again.append(replace(fill, exec_id=f"{fill.exec_id}+") if fill.exec_id in seen else fill)
            seen.add(fill.exec_id)
        return super().book(again, source=source)


class ForgetsLateFills(OrderEngine):
    def book(self, fills: Sequence[Fill], *, source: str) -> int:
        with self.ledger.begin(write=False) as unit:
            states = {i.client_order_id: i.state for i in unit.orders.all()}
        return super().book([f for f in fills if states.get(f.client_order_id or "") in LIVE], source=source)


class BuysAtOnce(OrderEngine):
    def _unfinished(self, decision: Decision, leg: str) -> list[str]:
        return []


class NeverLooksAgain(OrderEngine):
    def finish(self) -> None:
        with self.ledger.begin(write=False) as unit:
            unsent = [i for i in unit.orders.live() if i.state is OrderState.INTENT]
        for intent in unsent:
            now, coid = self.clock.now(), intent.client_order_id
            with self.ledger.begin() as unit:
                event = OrderEvent(f"{coid}:SENDING", "local", now, now, {"state": "SENDING"}, sent_at=now)
                unit.orders.move(coid, OrderState.SENDING, event)
                unit.commit()
            self._write(intent)
        self.follow_up()


class RefusedIsFinal(OrderEngine):
    def _acknowledge(self, intent: OrderIntent, outcome: SubmitOutcome) -> None:
        now, coid = self.clock.now(), intent.client_order_id
        with self.ledger.begin() as unit:
            known = unit.orders.get(coid)
            if isinstance(outcome, Refused) and known is not None and known.state is OrderState.UNKNOWN:
                unit.orders.move(coid, OrderState.REJECTED, OrderEvent(f"{coid}:R", "local", now, now, {}))
                unit.commit()
                return
        super()._acknowledge(intent, outcome)


class CancelsOnce(OrderEngine):
    def _end_if_it_must(self, intent: OrderIntent) -> None:
        if intent.state is not OrderState.PENDING_CANCEL:
            super()._end_if_it_must(intent)


class SendsUnderAnotherId(OrderEngine):
    def _not_found(self, intent: OrderIntent, prices: Prices | None) -> None:
        twice = OrderRequest(f"{intent.client_order_id}-2", intent.symbol, intent.side, intent.quantity)
        self.broker.submit(twice)
        self._acknowledge(intent, Refused("not found, so rejected"))


class IgnoresTheFence(OrderEngine):
    def _write(self, intent: OrderIntent) -> None:
        self.kill_point(KillPoint.WIRE)
        outcome = self.broker.submit(
            OrderRequest(intent.client_order_id, intent.symbol, intent.side, intent.quantity, intent.type)
        )
        self.kill_point(KillPoint.REPLIED)
        self._acknowledge(intent, outcome)


MUST_CATCH: dict[str, tuple[type[OrderEngine], ...]] = {
    "simulation": (
        SendsBeforeSaving,
        NotFoundIsRejected,
        FailureIsEmpty,
        BooksTwice,
        ForgetsLateFills,
        BuysAtOnce,
        NeverLooksAgain,
        RefusedIsFinal,
        CancelsOnce,
        SendsUnderAnotherId,
    ),
    "SIGKILL": (SendsBeforeSaving, SendsUnderAnotherId),
    "two engines": (IgnoresTheFence,),
    "state machine": (
        SendsBeforeSaving,
        NotFoundIsRejected,
        FailureIsEmpty,
        BooksTwice,
        ForgetsLateFills,
        BuysAtOnce,
        NeverLooksAgain,
        RefusedIsFinal,
        CancelsOnce,
        SendsUnderAnotherId,
    ),
}
