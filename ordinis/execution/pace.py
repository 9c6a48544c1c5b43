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
from ordinis.domain.decisions import Decision
from ordinis.domain.limits import OrderLimits
from ordinis.domain.orders import OrderIntent, PlannedOrder, Side
from ordinis.domain.portfolio import ZERO

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
RUNAWAY = 3
"""Decisions whose orders fill one minute up."""


@dataclass(frozen=True)
class Pace:
    """What was sent within the last hour, and what is about to be; oldest first."""

    sent: Sequence[OrderIntent]
    limits: OrderLimits

    def repeated(self, decision: Decision, order: PlannedOrder) -> str:
        """Why this order has been tried often enough; empty when it has not."""
        cap = self.limits.repeats_per_hour
        same = [
            i
            for i in self.sent
            if (i.decision_id, i.symbol, i.side) == (decision.id, order.symbol, order.side) and i.sent_at is not None
        ]
        if cap is None or len(same) < cap:
            return ""
        return f"G9: {order.side} {order.symbol} was sent {len(same)} times within an hour"

    def crowded(self, now: datetime) -> str:
        """Why no order may leave yet; empty when one may."""
        recent, cap = self._recent(now), self.limits.orders_per_minute
        return f"G9: {len(recent)} orders within a minute" if cap is not None and len(recent) >= cap else ""

    def runs_away(self, now: datetime) -> bool:
        """True when the minute is full of orders of several decisions."""
        return bool(self.crowded(now)) and len({i.decision_id for i in self._recent(now)}) >= RUNAWAY

    def left(self, equity: Decimal, now: datetime) -> Decimal | None:
        """Currency for which may be bought within this minute; None for any amount."""
        cap = self.limits.bought_per_minute
        return None if cap is None else max(ZERO, to_decimal(cap) * equity - self.bought(now))

    def bought(self, now: datetime) -> Decimal:
        """Notional of the buys of the last minute."""
        return sum((i.quantity * i.reference_price for i in self._recent(now) if i.side is Side.BUY), ZERO)

    def _recent(self, now: datetime) -> list[OrderIntent]:
        return [i for i in self.sent if i.sent_at is None or i.sent_at > now - MINUTE]
