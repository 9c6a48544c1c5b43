"""A small book, written into a real ledger, whose every number can be worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import count

import numpy as np

from ordinis.clock import trading_calendar
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
from ordinis.domain.portfolio import Movement, Valuation
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import CostModel, OrderEvent, PriceHistory

CALENDAR = trading_calendar()
SESSIONS = tuple(CALENDAR.between(date(2020, 3, 16), date(2020, 12, 31)))
SECTORS = {"AAPL": "technology", "KO": "consumer staples"}

Order = tuple[str, Side, str, str]
"""Symbol, side, quantity, planned price."""


class BookWriter:
    """Lives one session after the other; the caller says what happens."""

    def __init__(self) -> None:
        self.ledger = SqlLedger("sqlite://", "sim")
        self._number = count(1)

    def deposit(self, session: date, cash: str, kind: str = "deposit") -> None:
        at = CALENDAR.opens(session)
        with self.ledger.begin() as unit:
            unit.book.movement(Movement("sim", f"m{next(self._number)}", kind, Decimal(cash), at))
            unit.commit()

    def decide(
        self,
        session: date,
        weights: Mapping[str, float],
        orders: Sequence[Order] = (),
        verdicts: Sequence[Verdict] = (),
        source: Source = Source.MODEL,
        reason: str = "",
        costs: CostModel | None = None,
    ) -> Decision:
        as_of = CALENDAR.trading_instant(session)
        told = {} if costs is None else {"costs": {type(costs).__name__: asdict(costs)}}  # type: ignore[call-overload]
        inputs = canonical({"as_of": as_of, **told})
        decision = Decision(
            id=decision_id("sim", as_of, source, digest(inputs), "limits", "min_var@1"),
            account="sim",
            source=source,
            model_sha="min_var@1",
            inputs_sha=digest(inputs),
            limits_sha="limits",
            as_of=as_of,
            expires_at=as_of + timedelta(minutes=15),
            weights=weights,
            orders=tuple(PlannedOrder(s, side.value, side, Decimal(q), Decimal(p)) for s, side, q, p in orders),
            status=DecisionStatus.APPROVED,
            approved_by="rulebook",
            reason=reason,
        )
        with self.ledger.begin() as unit:
            unit.decisions.add(decision, inputs, verdicts, [])
            for order in decision.orders:
                unit.orders.add(_intent(decision, order), at=as_of, fence=1)
            unit.commit()
        return decision

    def deny(self, decision: Decision, symbol: str, reason: str) -> None:
        coid = order_id(decision, symbol)
        event = OrderEvent(f"{coid}:DENIED", "local", decision.as_of, decision.as_of, {"reason": reason})
        with self.ledger.begin() as unit:
            unit.orders.move(coid, OrderState.DENIED, event)
            unit.commit()

    def fill(self, decision: Decision, symbol: str, price: str, fee: str, *, reverses: str | None = None) -> str:
        """Fill an order of `decision` whole, or take that back; return the execution's id."""
        order = next(o for o in decision.orders if o.symbol == symbol)
        side = order.side if reverses is None else {Side.BUY: Side.SELL, Side.SELL: Side.BUY}[order.side]
        return self.book(symbol, side, order.quantity, price, fee, decision.as_of, order_id(decision, symbol), reverses)

    def book(
        self,
        symbol: str,
        side: Side,
        quantity: Decimal,
        price: str,
        fee: str,
        at: datetime,
        coid: str | None = None,
        reverses: str | None = None,
    ) -> str:
        exec_id = f"x{next(self._number)}"
        fill = Fill("sim", exec_id, coid, symbol, side, quantity, Decimal(price), Decimal(fee), at, reverses)
        with self.ledger.begin() as unit:
            unit.book.fill(fill, source="poll", received_at=at)
            if coid is not None and reverses is None:
                sending = OrderEvent(f"{coid}:S:{exec_id}", "local", at, at, {}, sent_at=at)
                unit.orders.move(coid, OrderState.SENDING, sending)
                unit.orders.move(coid, OrderState.FILLED, OrderEvent(f"{coid}:F:{exec_id}", "poll", at, at, {}))
            unit.commit()
        return exec_id

    def close(self, session: date, prices: Mapping[str, str]) -> None:
        at = CALENDAR.closes(session)
        with self.ledger.begin() as unit:
            cash, last = unit.book.cash(), unit.book.last_valuation()
            gross = sum((units * Decimal(prices[s]) for s, units in unit.book.holdings().items()), Decimal(0))
            equity = cash + gross
            peak = equity if last is None else max(last.peak_equity, equity)
            places = unit.book.last_movement(), unit.book.last_event()
            unit.book.value(Valuation("sim", session, at, equity, cash, gross, peak, *places))
            unit.commit()


def order_id(decision: Decision, symbol: str) -> str:
    leg = next(order.leg for order in decision.orders if order.symbol == symbol)
    return client_order_id("sim", decision.id, symbol, leg, 1)


def _intent(decision: Decision, order: PlannedOrder) -> OrderIntent:
    return OrderIntent(
        client_order_id=order_id(decision, order.symbol),
        decision_id=decision.id,
        account="sim",
        symbol=order.symbol,
        leg=order.leg,
        attempt=1,
        side=order.side,
        quantity=order.quantity,
        type=OrderType.MARKET,
        limit_price=None,
        tif=TimeInForce.DAY,
        state=OrderState.INTENT,
        reference_price=order.reference_price,
        reserved_notional=order.notional,
    )


def certificate(rung: str = "optimiser", binding: str = "none") -> Verdict:
    return Verdict("certificate", -1e-9, 0.0, True, f"rung {rung}; binding: {binding}")


def three_sessions() -> BookWriter:
    """10,000 come in and are invested, 1,000 come in and AAPL gains, then AAPL is sold and KO is bought."""
    book = BookWriter()
    first, second, third = SESSIONS[:3]
    book.deposit(first, "10000")
    bought = book.decide(
        first,
        {"AAPL": 0.48, "KO": 0.25},
        [("AAPL", Side.BUY, "80", "60"), ("KO", Side.BUY, "50", "50")],
        [Verdict("gross exposure", 0.9, 0.73, True), Verdict("sector cap", 0.5, 0.48, True), certificate()],
    )
    book.fill(bought, "AAPL", "60.06", "0.50")
    book.fill(bought, "KO", "49.99", "0.25")
    book.close(first, {"AAPL": "60", "KO": "50"})
    book.deposit(second, "1000")
    book.decide(second, {"AAPL": 0.48, "KO": 0.25}, (), [certificate("hold", "long only, position AAPL, gross, cash")])
    book.close(second, {"AAPL": "63", "KO": "50"})
    changed = book.decide(
        third,
        {"AAPL": 0.34, "KO": 0.27},
        [("AAPL", Side.SELL, "20", "63"), ("KO", Side.BUY, "10", "50")],
        [
            Verdict("gross exposure", 0.8, 0.61, True),
            Verdict("position cap", 0.34, 0.4, False, "cut AAPL"),
            certificate("closed_form", "position AAPL, sector technology"),
        ],
        Source.BASELINE,
        "baseline: allocation-unavailable; position cap: cut AAPL",
    )
    book.fill(changed, "AAPL", "62.9", "0.10")
    book.fill(changed, "KO", "50.1", "0.05")
    book.close(third, {"AAPL": "63", "KO": "50"})
    return book


def three_closes() -> PriceHistory:
    return PriceHistory(("AAPL", "KO"), SESSIONS[:3], np.array([[60.0, 50.0], [63.0, 50.0], [63.0, 50.0]]))


def a_longer_book(sessions: int) -> tuple[BookWriter, PriceHistory]:
    """AAPL and KO walk for a while; every tenth session a share of each is bought and a limit cuts."""
    steps = np.random.default_rng(3).normal(0.0, 0.02, (sessions, 2))
    closes = np.round(np.array([60.0, 50.0]) * np.cumprod(1.0 + steps, axis=0), 2)
    book = BookWriter()
    book.deposit(SESSIONS[0], "10000")
    for row, session in enumerate(SESSIONS[:sessions]):
        prices = {symbol: str(price) for symbol, price in zip(("AAPL", "KO"), closes[row], strict=True)}
        trades = row % 10 == 0
        orders = [(symbol, Side.BUY, "10", prices[symbol]) for symbol in prices] if trades else []
        verdicts = [
            Verdict("gross exposure", 0.9, 0.5, True),
            Verdict("sector cap", 0.5, 0.4, True),
            Verdict("position cap", 0.3, 0.4, not trades, "cut AAPL" if trades else ""),
            certificate(binding="gross" if row % 3 else "none"),
        ]
        decision = book.decide(session, {"AAPL": 0.3, "KO": 0.2}, orders, verdicts)
        for order in decision.orders:
            book.fill(decision, order.symbol, str(order.reference_price + Decimal("0.05")), "0.05")
        book.close(session, prices)
    return book, PriceHistory(("AAPL", "KO"), SESSIONS[:sessions], closes)
