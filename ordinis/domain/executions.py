"""One order that was sent, and what became of it: what feedback learns from, and what the records keep.

With s the side (+1 for a buy), a the arrival price, at which the order was planned, and f the mean price of its fills,

    implementation shortfall = s (f - a) / a        in basis points, positive when the market was worse than the plan

(Perold 1988). An order that was not filled has no shortfall.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from ordinis.domain.orders import Side
from ordinis.domain.portfolio import ZERO

BASIS_POINTS = 1e4


@dataclass(frozen=True)
class Execution:
    order_id: str
    symbol: str
    side: Side
    venue: str
    session: date
    """In which it was sent."""
    asked: Decimal
    """Units."""
    filled: Decimal
    """Units that were kept."""
    arrival: Decimal
    price: Decimal | None
    """Mean of the fills; None where nothing was kept."""
    fees: Decimal
    sent_at: datetime
    first_fill_at: datetime | None

    @property
    def notional(self) -> Decimal:
        """Of what was kept, at the arrival price."""
        return self.filled * self.arrival

    @property
    def shortfall(self) -> Decimal:
        """In currency, without fees; positive is a cost."""
        if self.price is None:
            return ZERO
        sign = 1 if self.side is Side.BUY else -1
        return sign * self.filled * (self.price - self.arrival)

    @property
    def shortfall_bps(self) -> float:
        """Of the arrival price; NaN where nothing was kept."""
        return float(self.shortfall / self.notional) * BASIS_POINTS if self.notional else float("nan")

    @property
    def latency(self) -> float:
        """Seconds from sending to the first fill; NaN where there was none."""
        return float("nan") if self.first_fill_at is None else (self.first_fill_at - self.sent_at).total_seconds()
