"""What is held and what it is worth.

A snapshot is a statement about one instant: cash and holdings from the ledger, prices from the market. Equity is
cash plus holdings at those prices; weights are fractions of equity, and cash is the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

ZERO = Decimal(0)


@dataclass(frozen=True)
class PortfolioSnapshot:
    account: str
    as_of: datetime
    cash: Decimal
    holdings: Mapping[str, Decimal]
    """Units held, by symbol; symbols with none are left out."""
    prices: Mapping[str, Decimal]
    """Currency per unit, by symbol; every holding has one."""
    peak_equity: Decimal = ZERO
    """Highest equity at any session's close so far, this instant included."""
    previous_equity: Decimal = ZERO
    """Equity at the last session's close; the daily loss counts from it. Zero before the first close."""
    last_traded: Mapping[str, date] = field(default_factory=dict)
    """Session of the latest fill, by symbol: what a cool-down counts from."""

    @property
    def equity(self) -> Decimal:
        return self.cash + sum((units * self.prices[symbol] for symbol, units in self.holdings.items()), ZERO)

    @property
    def weights(self) -> dict[str, float]:
        """Fraction of equity by symbol, for the numerics; empty for a book worth nothing."""
        equity = self.equity
        if equity <= 0:
            return {}
        return {symbol: float(units * self.prices[symbol] / equity) for symbol, units in sorted(self.holdings.items())}

    @property
    def drawdown(self) -> float:
        """Fraction of the peak that is lost now; 0 at a new high."""
        peak = max(self.peak_equity, self.equity)
        return float((peak - self.equity) / peak) if peak > 0 else 0.0

    @property
    def daily_return(self) -> float:
        """Return since the last session's close; 0 before the first."""
        return float(self.equity / self.previous_equity - 1) if self.previous_equity > 0 else 0.0


@dataclass(frozen=True)
class Movement:
    """Cash or units that came or went without a trade: a deposit, a dividend, a split, a fee."""

    account: str
    activity_id: str
    kind: str
    cash: Decimal
    at: datetime
    symbol: str | None = None
    quantity: Decimal = ZERO
    place: int = field(default=0, compare=False)
    """In the ledger's chain of movements; 0 for one that is not booked."""


@dataclass(frozen=True)
class Valuation:
    """The book at a session's close."""

    account: str
    session: date
    at: datetime
    equity: Decimal
    cash: Decimal
    gross: Decimal
    """Sum of absolute position values, in currency."""
    peak_equity: Decimal
    """Highest equity at a close, since a person last resumed after a drawdown; moved with deposits and withdrawals."""
    movements: int | None = None
    """Place of the last movement that is in it: brokers date a movement before they tell it. None where the ledger is
    older than this mark."""
    events: int | None = None
    """Place of the last event of orders that is in it: a fill of its session may be told after it. None likewise."""


FLOWS = frozenset({"deposit", "withdrawal", "transfer"})
"""Kinds of movements that people make: neither profit nor loss, as dividends, fees and splits are."""


def carried(
    last: Valuation | None,
    movements: Iterable[Movement],
    closes: Mapping[str, Decimal],
    restarted: datetime | None = None,
) -> tuple[Decimal, Decimal]:
    """Equity at the last close and the peak, as if what people have brought and taken since had been there before.

    The equity grows by the flow, the peak in proportion, so that neither a loss nor a drawdown comes from moving money.

    Args:
        movements: those booked since the last close.
        closes: last close by symbol, at which units that were brought or taken are worth something.
        restarted: when a person last resumed after a drawdown had stopped trading: the peak counts from there.
    """
    if last is None:
        return ZERO, ZERO
    flows = [m for m in movements if m.kind in FLOWS]
    flow = sum((m.cash + m.quantity * closes.get(m.symbol or "", ZERO) for m in flows), ZERO)
    peak = last.equity if restarted is not None and restarted >= last.at else last.peak_equity
    if not flow or last.equity <= 0:
        return last.equity, peak
    equity = last.equity + flow
    return equity, peak * equity / last.equity
