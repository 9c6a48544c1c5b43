"""What the market says: bars, quotes, the events of a stream, and the regime.

A source that lacks a field says None; nothing here fills a gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum


@dataclass(frozen=True)
class Bar:
    """One instrument's session. Prices in currency, volume in shares."""

    symbol: str
    session: date
    close: Decimal
    open: Decimal | None = None
    high: Decimal | None = None
    low: Decimal | None = None
    volume: Decimal | None = None


@dataclass(frozen=True)
class Quote:
    """A price that can be traded on at `at`."""

    symbol: str
    price: Decimal
    at: datetime
    bid: Decimal | None = None
    ask: Decimal | None = None
    halted: bool = False
    """Trading in the symbol is suspended at the exchange."""

    @property
    def spread(self) -> Decimal | None:
        """Ask minus bid as a fraction of the price; None where the source has no bid or ask."""
        return None if self.bid is None or self.ask is None else (self.ask - self.bid) / self.price


@dataclass(frozen=True)
class TradingWindow:
    """The moment of a session at which the actor decides and trades."""

    session: date
    at: datetime


@dataclass(frozen=True)
class SessionClosed:
    """The close of a session with the bars that arrived for it, in the order in which they arrived."""

    session: date
    at: datetime
    bars: tuple[Bar, ...]


MarketEvent = TradingWindow | SessionClosed


class Volatility(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    UNKNOWN = "unknown"


class Trend(StrEnum):
    TRENDING = "trending"
    RANGING = "ranging"
    UNKNOWN = "unknown"


class Correlation(StrEnum):
    HIGH = "high"
    LOW = "low"
    UNKNOWN = "unknown"


class Liquidity(StrEnum):
    LIQUID = "liquid"
    ILLIQUID = "illiquid"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Regime:
    """The four axes; UNKNOWN where the past is too short or the source lacks the data."""

    volatility: Volatility = Volatility.UNKNOWN
    trend: Trend = Trend.UNKNOWN
    correlation: Correlation = Correlation.UNKNOWN
    liquidity: Liquidity = Liquidity.UNKNOWN
    readings: Mapping[str, float] | None = None
    """The numbers behind the labels, by name."""
