"""Where one session's profit came from: what was held, what was traded, and what trading cost.

With h units at the last close, p and c the closes before and now, and for a fill its signed units u, its price f and
the price a at which its order was planned,

    held      = sum h (c - p)           = sum over factors of beta x h p   +   specific
    timing    = sum u (c - a)             what it was worth to trade at the plan rather than at the close
    shortfall = sum u (f - a)             what the market took of that (Perold 1988)
    profit    = held + timing - shortfall - fees + other

to the last digit: `other` is what came without a trade (dividends, interest, splits, corrections), and `unexplained` is
nought unless the ledger's own valuation used another price. What is told after a session's valuation is part of the
next. Money is Decimal; only what a
factor explains of the holdings is estimated, by each symbol's own betas and to the cent, and what is left of it is
specific. Without the returns of all factors for the session, which may be late, all of it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np

from ordinis.costs.models import CENT
from ordinis.domain.canonical import to_decimal
from ordinis.domain.portfolio import FLOWS, ZERO
from ordinis.errors import DataUnavailable
from ordinis.monitoring.report_trading import CHARGE, Traded
from ordinis.ports import FloatArray

Prices = Mapping[str, Decimal]


@dataclass(frozen=True)
class SessionProfit:
    """One session, in the account's currency; a cost is positive."""

    session: date
    profit: Decimal
    """Change of equity without what people brought or took."""
    factors: Mapping[str, Decimal]
    """By factor; empty where the factors' returns are not known."""
    specific: Mapping[str, Decimal]
    """By symbol."""
    timing: Mapping[str, Decimal]
    """By symbol."""
    shortfall: Decimal
    """Of the orders whose plan is known."""
    fees: Decimal
    other: Decimal

    @property
    def held(self) -> Decimal:
        return sum(self.factors.values(), ZERO) + sum(self.specific.values(), ZERO)

    @property
    def unexplained(self) -> Decimal:
        known = self.held + sum(self.timing.values(), ZERO) - self.shortfall - self.fees + self.other
        return self.profit - known


def session_profit(
    traded: Traded,
    session: date,
    before: Prices,
    now: Prices,
    names: Sequence[str] = (),
    betas: Mapping[str, FloatArray] | None = None,
    factors: FloatArray | None = None,
) -> SessionProfit:
    """Take the profit of `session` apart.

    Args:
        before: closes of the valued session before, of everything held then.
        now: closes of `session`, of everything held or traded in it.
        names: F factors.
        betas: (F,) by symbol; a symbol without any is specific whole.
        factors: (F,) returns over the session; None, or not finite, where they are not known yet.

    Raises:
        DataUnavailable: the ledger has not valued the session, or a close is missing; names it.
    """
    if session not in traded.index.sessions:
        raise DataUnavailable("ledger", f"value of {session}", "the actor values it at the close")
    row = traded.index.sessions.index(session)
    held, brought = _units_before(traded, row), ZERO
    timing: dict[str, Decimal] = {}
    shortfall, fees, other = ZERO, ZERO, ZERO
    planned = {intent.client_order_id: intent.reference_price for intent in traded.intents}
    for fill in (fill for place, fill in traded.placed_fills if place == row):
        plan = planned.get(fill.client_order_id or "", fill.price)
        timing[fill.symbol] = timing.get(fill.symbol, ZERO) + fill.units * (_close(now, fill.symbol, session) - plan)
        shortfall += fill.units * (fill.price - plan)
        fees += fill.fee
    for moved in (moved for moved in traded.movements if traded.row_of(moved) == row):
        worth = moved.cash
        if moved.symbol is not None:
            worth += moved.quantity * _close(now, moved.symbol, session)
        if moved.kind in FLOWS:
            brought += worth
        elif moved.kind == CHARGE:
            fees -= worth
        else:
            other += worth
    last = traded.valuations[row - 1].equity if row else ZERO
    known = factors is not None and bool(np.isfinite(factors).all())
    by_factor = dict.fromkeys(names, ZERO) if known else {}
    specific = {}
    for symbol, units in held.items():
        first = _close(before, symbol, session)
        gained = units * (_close(now, symbol, session) - first)
        for place, name in enumerate(by_factor):
            if betas is not None and factors is not None and symbol in betas:
                rate = to_decimal(float(betas[symbol][place]) * float(factors[place]))
                explained = (units * first * rate).quantize(CENT)
                by_factor[name] += explained
                gained -= explained
        specific[symbol] = gained
    profit = traded.valuations[row].equity - last - brought
    return SessionProfit(session, profit, by_factor, specific, timing, shortfall, fees, other)


def _units_before(traded: Traded, row: int) -> dict[str, Decimal]:
    """What was held at the close before `row`, by symbol."""
    held: dict[str, Decimal] = {}
    changes = [(place, fill.symbol, fill.units) for place, fill in traded.placed_fills]
    changes += [(traded.row_of(moved), moved.symbol, moved.quantity) for moved in traded.movements if moved.symbol]
    for place, symbol, units in changes:
        if place is not None and place < row:
            held[symbol] = held.get(symbol, ZERO) + units
    return {symbol: units for symbol, units in sorted(held.items()) if units}


def _close(prices: Prices, symbol: str, session: date) -> Decimal:
    price = prices.get(symbol)
    if price is None:
        raise DataUnavailable("bar store", f"close of {symbol} for {session} or the session before", "ingest it first")
    return price
