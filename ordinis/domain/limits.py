"""Hard limits and trading states.

All limits are fractions of equity unless their name says otherwise, and a value above one is refused where a
fraction is meant: 30.0 for "30 percent" is the classic slip. Learning may tighten a limit, never loosen it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from ordinis.errors import ConfigurationError


class TradingState(StrEnum):
    """Machines move it down this list; only a person moves it up."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    """No order may raise exposure."""
    HALTED = "HALTED"
    """Cancels only."""
    KILLED = "KILLED"
    """Everything cancelled; leaving needs a typed reason."""


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

    def __post_init__(self) -> None:
        if self.calendar not in (None, "day", "week", "month", "quarter"):
            raise ConfigurationError("rebalance calendar", f"{self.calendar!r} is not day, week, month or quarter")
