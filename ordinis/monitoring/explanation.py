"""From an order back to what it came from: what happened to it, the decision, the limits, the allocator, the data.

Everything is read from the ledger; nothing is computed again (`ordinis replay` does that).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from ordinis.domain.decisions import Decision, Verdict
from ordinis.domain.orders import CancelRequest, Fill, OrderIntent, Side
from ordinis.domain.portfolio import ZERO
from ordinis.errors import NotFound
from ordinis.ports import Ledger


@dataclass(frozen=True)
class Happening:
    """One thing that happened to the order."""

    at: datetime
    source: str
    what: str


@dataclass(frozen=True)
class Explanation:
    order: OrderIntent
    decision: Decision
    inputs: Mapping[str, Any]
    """What the decision was asked, as it is kept."""
    answered: Mapping[str, float]
    """Weights that the allocator asked for, before the rules."""
    verdicts: Sequence[Verdict]
    happenings: Sequence[Happening]
    fills: Sequence[Fill]
    cancels: Sequence[CancelRequest]

    @property
    def held(self) -> float:
        """Weight of the symbol in the book before the decision."""
        book = self.inputs["portfolio"]
        prices = {symbol: Decimal(price) for symbol, price in book["prices"].items()}
        values = {symbol: Decimal(units) * prices[symbol] for symbol, units in book["holdings"].items()}
        equity = Decimal(book["cash"]) + sum(values.values(), ZERO)
        return float(values.get(self.order.symbol, ZERO) / equity) if equity else 0.0

    @property
    def shortfall(self) -> float | None:
        """Cost against the price at which the plan was made, in basis points of the notional; None without fills."""
        notional = sum((fill.quantity * self.order.reference_price for fill in self.fills), ZERO)
        if not notional:
            return None
        sign = 1 if self.order.side is Side.BUY else -1
        worse = sum((sign * fill.quantity * (fill.price - self.order.reference_price) for fill in self.fills), ZERO)
        return float((worse + sum((fill.fee for fill in self.fills), ZERO)) / notional) * 1e4


def explain(ledger: Ledger, name: str) -> Explanation:
    """Explain the order whose id begins with `name`, or the newest order of the symbol `name`.

    Raises:
        NotFound: no order, or more than one, is called that.
    """
    with ledger.begin(write=False) as unit:
        orders = unit.orders.all()
        found = [order for order in orders if order.client_order_id.startswith(name)]
        found = found or [order for order in orders if order.symbol == name.upper()][-1:]
        if len(found) != 1:
            advice = "give more of its id" if found else "give the beginning of an order's id, or a symbol"
            raise NotFound("order", name, f"{len(found)} orders are called that; {advice}")
        [order] = found
        decision = unit.decisions.get(order.decision_id)
        if decision is None:
            raise NotFound("decision", order.decision_id)
        return Explanation(
            order=order,
            decision=decision,
            inputs=json.loads(unit.decisions.inputs(decision.inputs_sha)),
            answered={symbol: share for _, symbol, share in unit.decisions.parts(decision.id)},
            verdicts=unit.decisions.verdicts(decision.id),
            happenings=[_happening(row) for row in unit.orders.events(order.client_order_id)],
            fills=[fill for fill in unit.book.fills() if fill.client_order_id == order.client_order_id],
            cancels=unit.orders.cancels(order.client_order_id),
        )


def _happening(row: Mapping[str, Any]) -> Happening:
    body = row["payload"]
    if "state" in body:
        reason = f": {body['reason']}" if body.get("reason") else ""
        return Happening(row["ts_event"], row["source"], f"{body['state']}{reason}")
    taken_back = " taken back" if body.get("reverses") else ""
    what = f"{body['side']} {body['quantity']} at {body['price']}{taken_back}, fee {body['fee']}"
    return Happening(row["ts_event"], row["source"], what)
