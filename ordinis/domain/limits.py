"""Hard limits and trading states.

All limits are fractions of equity unless their name says otherwise, and a value above one is refused where a
fraction is meant: 30.0 for "30 percent" is the classic slip. Learning may tighten a limit, never loosen it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from ordinis.errors import ConfigurationError


class TradingState(StrEnum):
    """Machines move it down this list; only a person moves it up, but for the daily loss, which ends with its day."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    """No order may raise exposure."""
    HALTED = "HALTED"
    """Cancels only."""
    KILLED = "KILLED"
    """Everything cancelled; leaving needs a typed reason."""

    def below(self, other: TradingState) -> bool:
        """True when less is allowed in this state than in `other`."""
        order = list(TradingState)
        return order.index(self) > order.index(other)


@dataclass(frozen=True)
class Limits:
    """The feasible set of an allocation: long only, no leverage."""

    position_cap: float = 0.20
    gross_cap: float = 0.90
    cash_buffer: float = 0.10
    sector_cap: float = 0.30
    sectors: Mapping[str, str] = field(default_factory=dict)
    """Sector of each symbol; a symbol without one is in no sector and has no sector limit."""

    def __post_init__(self) -> None:
        for name in ("position_cap", "gross_cap", "cash_buffer", "sector_cap"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ConfigurationError(f"limit {name}", f"{value} is not a fraction between 0 and 1")

    @property
    def invested_cap(self) -> float:
        """Largest sum of weights: gross cap and cash buffer, whichever is tighter."""
        return min(self.gross_cap, 1.0 - self.cash_buffer)


@dataclass(frozen=True)
class TradingRules:
    """When and in which steps the book may be rebalanced. A trade that reduces risk passes every one of these."""

    calendar: str | None = None
    """Trade on the first session of each "day", "week", "month" or "quarter"; None leaves it to the bands."""
    absolute_band: float | None = 0.05
    """Trade a symbol that drifted this far from its target, as a fraction of equity; None switches bands off. When
    the invested share as a whole is this far above its target, sells take risk off and pass every rule below."""
    relative_band: float | None = 0.25
    """Or this far as a fraction of its target; the smaller of the two bands counts."""
    cooldown_days: int = 7
    """Calendar days after a fill in which a symbol is not tidied."""
    minimum_order: Decimal = Decimal(1)
    """Smallest notional of an order, in currency."""
    minimum_invest_cash: Decimal = Decimal(10)
    """Smallest amount of idle cash worth investing, in currency."""
    turnover_cap: float | None = 0.10
    """Largest change of weights in one rebalance, one way, as a fraction of equity; None for no cap."""
    cost_aversion: float | None = None
    """Aversion to risk of an investor who trades only where it is worth its cost: 1 bets for growth alone, and the
    higher it is the sooner a drift is traded. None leaves costs out of the bands."""

    def __post_init__(self) -> None:
        if self.calendar not in (None, "day", "week", "month", "quarter"):
            raise ConfigurationError("rebalance calendar", f"{self.calendar!r} is not day, week, month or quarter")


@dataclass(frozen=True)
class OrderLimits:
    """What one order must meet at the moment it is sent, whatever the plan says. None switches a check off."""

    price_age_seconds: float = 5.0
    """How old the price may be that the order is judged by."""
    spread_cap: float | None = 0.01
    """Widest bid-ask spread, as a fraction of the price, where the source has one."""
    buy_collar: float | None = 0.05
    """How far the price may be from the last close, and from the price that was decided on, for a buy."""
    sell_collar: float | None = 0.30
    """The same for a sale: wider, since a fall is when risk must be taken off. A split that is not adjusted for is
    further off than that."""
    orders_per_minute: int | None = 30
    bought_per_minute: float | None = 0.20
    """Notional of the buys that are sent within a minute, as a fraction of equity."""
    repeats_per_hour: int | None = 3
    """Orders of one decision in the same symbol and direction within an hour."""
    participation_cap: float | None = 0.05
    """Largest buy as a fraction of the average daily volume, where that is known."""
    day_trades: int | None = None
    """Same-session round trips in five sessions, at which no further one may be opened by a buy: brokers may keep the
    old pattern-day-trader rule until 2027-10-20. A sale always passes: it may be protective."""
    reconciled_within_seconds: float = 60.0
    """How long ago ledger and broker may have been compared."""
    skew_seconds: float = 10.0
    """How far the broker's clock may be from ours for an order that adds risk."""
    free_disk_mb: int = 500
    """Room that must be left where the ledger lies for an order that adds risk."""


@dataclass(frozen=True)
class Approval:
    """Limits under which an account may trade, and who said so."""

    sha: str
    """Hash of the whole rulebook."""
    limits: str
    """Canonical text of each limit's value, by name."""
    by: str
    reason: str
    at: datetime
    expires_at: datetime | None
    """None where nothing had to be approved."""


@dataclass(frozen=True)
class Breakers:
    """When trading stops by itself. Each lowers the trading state; None switches a breaker off."""

    daily_loss: float | None = 0.02
    """Loss since the last close, as a fraction: REDUCING until the next session."""
    drawdown: float | None = 0.20
    """Loss from the peak, as a fraction: REDUCING until nothing is held, then HALTED."""
    rejects_per_minute: int | None = 5
    """Orders that the broker refused: HALTED."""
    failed_reconciliations: int | None = 3
    """In a row: HALTED."""
    locks: int | None = 3
    """Symbols locked by unexplained differences: HALTED."""
    unexplained: float | None = 0.01
    """Value of unexplained differences, as a fraction of equity: HALTED."""
    skew_seconds: float = 30.0
    """Difference between the broker's clock and ours: HALTED."""
