"""What an order is judged by: the quotes of this moment, the last closes, and how much a session moves a symbol."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from ordinis.domain.market import Quote


@dataclass(frozen=True)
class Prices:
    quotes: Mapping[str, Quote]
    """What can be traded on now; a symbol without a quote is not traded."""
    closes: Mapping[str, Decimal]
    """Of the last session, adjusted for splits: of every holding and of what may be bought."""
    volatility: Mapping[str, float]
    """Of a session's return."""

    def of(self, symbol: str) -> Decimal:
        """What a unit is worth now: its quote, or its last close where it has none."""
        quote = self.quotes.get(symbol)
        return self.closes[symbol] if quote is None else quote.price

    def sigma(self, symbol: str) -> float:
        """Volatility of a session's return; NaN where nobody knows."""
        return self.volatility.get(symbol, math.nan)
