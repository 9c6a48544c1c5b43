"""How symbols trade, as a month of bars says it: how much a session moves them, and how much of them is traded.

One measure for the optimiser, the plan, the gates, the simulated venue, the calibration and the report, so that what
was expected and what was paid are asked of the same market.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol, Self

import numpy as np

from ordinis.errors import NoVolume
from ordinis.ports import FloatArray

MONTH = 21
"""Sessions that are looked at."""


class Bars(Protocol):
    """A `PriceHistory` or a `MarketView`."""

    @property
    def symbols(self) -> tuple[str, ...]: ...
    @property
    def closes(self) -> FloatArray: ...
    @property
    def volumes(self) -> FloatArray | None: ...


@dataclass(frozen=True)
class MarketConditions:
    """What the cost of a trade depends on, by symbol, as it was known before the session of the trade."""

    volatility: Mapping[str, float] = field(default_factory=dict)
    """Standard deviation of a session's return, by symbol; NaN where a close is missing."""
    volumes: Mapping[str, float] = field(default_factory=dict)
    """Units of an average session, by symbol; without those of which a volume is missing."""
    untraded: frozenset[str] = frozenset()
    """Symbols that nobody is known to have traded for a month, though some volume of it is known."""

    @classmethod
    def measured(cls, bars: Bars, before: int | None = None) -> Self:
        """From the last 21 returns and the last 21 volumes of `bars`, or of its rows before row `before`."""
        volatility = _by_symbol(bars, _volatility(bars.closes[:before]))
        if bars.volumes is None:
            return cls(volatility)
        volumes = bars.volumes[:before]
        return cls(volatility, _known(_by_symbol(bars, _mean(volumes))), _untraded(bars.symbols, volumes))

    def sigma(self, symbol: str) -> float:
        """Volatility of a session's return; NaN where nobody knows."""
        return self.volatility.get(symbol, math.nan)

    def volume(self, symbol: str, adv: float | None) -> float | None:
        """Units of an average session: as measured, else `adv`, what the reference says of it, if anything."""
        return self.volumes.get(symbol, adv)

    def dried_up(self, symbol: str) -> bool:
        """True when bars say that nobody traded it for a month; a volume that is missing is no trade."""
        return symbol in self.untraded

    def participation(self, symbol: str, quantity: Decimal, adv: float | None) -> float:
        """`quantity` over the volume of an average session; NaN where nobody knows that volume.

        What has dried up can still be held, and is sold into what the reference says.

        Raises:
            NoVolume: the volume is none, so that no trade is a share of it.
        """
        volume = self.volumes.get(symbol) or adv
        if volume is None:
            return math.nan
        if volume <= 0.0:
            raise NoVolume(symbol, volume)
        return float(quantity) / volume


UNKNOWN = MarketConditions()


def _volatility(closes: FloatArray) -> FloatArray:
    """(N,) of the last 21 simple returns in `closes` (T, N)."""
    # In one layout, so that the same numbers have the same deviation to the last bit.
    recent = np.ascontiguousarray(closes[-MONTH - 1 :])
    if len(recent) <= MONTH:
        return np.full(closes.shape[1], np.nan)
    return np.asarray(np.std(recent[1:] / recent[:-1] - 1.0, axis=0, ddof=1))


def _mean(volumes: FloatArray) -> FloatArray:
    """(N,) of the last 21 sessions in `volumes` (T, N)."""
    if len(volumes) < MONTH:
        return np.full(volumes.shape[1], np.nan)
    return np.asarray(np.ascontiguousarray(volumes[-MONTH:]).mean(axis=0))


def _untraded(symbols: Sequence[str], volumes: FloatArray) -> frozenset[str]:
    """Symbols whose known volumes in the last 21 sessions of `volumes` (T, N) are all zero, where one is known."""
    if len(volumes) < MONTH:
        return frozenset()
    month = volumes[-MONTH:]
    none = (month == 0.0).any(axis=0) & ~(month > 0.0).any(axis=0)
    return frozenset(symbol for symbol, dry in zip(symbols, none, strict=True) if dry)


def _by_symbol(bars: Bars, numbers: FloatArray) -> dict[str, float]:
    return dict(zip(bars.symbols, numbers.tolist(), strict=True))


def _known(numbers: Mapping[str, float]) -> dict[str, float]:
    return {symbol: number for symbol, number in numbers.items() if not math.isnan(number)}
