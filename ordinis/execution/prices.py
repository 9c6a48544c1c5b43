"""What an order is judged by: the quotes of this moment, the last closes, and how symbols trade."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeGuard

from ordinis.costs.conditions import MarketConditions
from ordinis.domain.market import Quote
from ordinis.domain.portfolio import ZERO

BELIEVED = Decimal("1.5")
"""Largest quotient of a quote and the last close, either way, at which a holding is valued by its quote."""


def is_price(value: Decimal | None) -> TypeGuard[Decimal]:
    return value is not None and value.is_finite() and value > 0


def believed(price: Decimal, close: Decimal | None) -> bool:
    """Whether `price` may value a holding that last closed at `close`."""
    return is_price(price) and (not is_price(close) or 1 / BELIEVED <= price / close <= BELIEVED)


@dataclass(frozen=True)
class Prices:
    quotes: Mapping[str, Quote]
    """What can be traded on now; a symbol without a quote is not traded."""
    closes: Mapping[str, Decimal]
    """Of the last session, adjusted for splits: of every holding and of what may be bought."""
    conditions: MarketConditions

    def of(self, symbol: str) -> Decimal:
        """What a unit is worth now: its quote, or its last close where there is none that can be believed, or nothing.

        One wrong quote must not make the book look large enough for a buy in another symbol.
        """
        quote, close = self.quotes.get(symbol), self.closes.get(symbol)
        if quote is not None and believed(quote.price, close):
            return quote.price
        return self.closes.get(symbol, ZERO)
