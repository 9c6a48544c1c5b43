"""What the simulated venue knows of the market: one price per symbol and session.

A daily bar has no path inside the day, so its close stands for the price through the closing window of its
session. Volatility and volume are those of the sessions before, so the venue's own impact model sees no future.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from ordinis.costs.conditions import MarketConditions
from ordinis.domain.canonical import to_decimal
from ordinis.ports import PriceHistory


class PriceTape:
    """Closes by session, read from a history that the caller vouches for."""

    def __init__(self, history: PriceHistory) -> None:
        self._history = history
        self._row = {session: row for row, session in enumerate(history.sessions)}
        self._last: tuple[date, Mapping[str, Decimal]] | None = None

    def prices(self, session: date) -> Mapping[str, Decimal]:
        """Price by symbol in `session`; symbols without one are left out, and a session without any is empty."""
        if self._last is None or self._last[0] != session:
            self._last = (session, self._read(session))
        return self._last[1]

    def _read(self, session: date) -> Mapping[str, Decimal]:
        row = self._row.get(session)
        if row is None:
            return {}
        return {
            symbol: to_decimal(close)
            for symbol, close in zip(self._history.symbols, self._history.closes[row], strict=True)
            if math.isfinite(close)
        }

    def conditions(self, session: date) -> MarketConditions:
        """Of the month before `session`."""
        return MarketConditions.measured(self._history, self._row.get(session, 0))
