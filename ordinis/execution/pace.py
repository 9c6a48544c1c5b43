"""G9: how fast orders may leave. Counted from the ledger, so a restart forgets nothing.

A plan that is too large for one minute waits for the next: its orders are paced, not refused. Orders of many
decisions within one minute are no plan: something runs away, and trading is halted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from ordinis.domain.canonical import to_decimal
from ordinis.domain.limits import OrderLimits
from ordinis.domain.orders import OrderIntent, PlannedOrder, Side
from ordinis.domain.portfolio import ZERO

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
RUNAWAY = 3
"""Decisions whose orders fill one minute up."""


@dataclass(frozen=True)
class Pace:
    recent: Sequence[OrderIntent]
    """What was sent within the last minute, and what is about to be."""
    limits: OrderLimits

    def repeated(self, tried: Sequence[OrderIntent], order: PlannedOrder, now: datetime) -> str:
        """Why `order` has been tried often enough; empty when it has not.

        Args:
            tried: orders of the same decision in the same symbol.
        """
        cap = self.limits.repeats_per_hour
        same = [i for i in tried if i.side is order.side and i.sent_at is not None and i.sent_at > now - HOUR]
        if cap is None or len(same) < cap:
            return ""
        return f"G9: {order.side} {order.symbol} was sent {len(same)} times within an hour"

    def crowded(self) -> str:
        """Why no order may leave yet; empty when one may."""
        sent, cap = len(self.recent), self.limits.orders_per_minute
        return f"G9: {sent} orders within a minute" if cap is not None and sent >= cap else ""

    def runs_away(self) -> bool:
        """True when the minute is full of orders of several decisions."""
        return bool(self.crowded()) and len({i.decision_id for i in self.recent}) >= RUNAWAY

    def left(self, equity: Decimal) -> Decimal | None:
        """Currency for which may be bought within this minute; None for any amount."""
        cap = self.limits.bought_per_minute
        return None if cap is None else max(ZERO, to_decimal(cap) * equity - self.bought)

    @property
    def bought(self) -> Decimal:
        """Notional of the buys of the last minute."""
        return sum((i.quantity * i.reference_price for i in self.recent if i.side is Side.BUY), ZERO)
