"""Exposure control: any portfolio, scaled so that its volatility stays near a target.

Volatility is predictable where returns are not, so holding less when it is high raises the Sharpe ratio and halves the
worst drawdown (Moreira and Muir 2017; Harvey et al. 2018). With c the weights of a base portfolio and sigma the EWMA
volatility of c' r, annualised, the book holds

    k c,     k = min( max_exposure, target / sigma )

The composition c is asked of the base on the first session of each calendar period, and when the book is as good as
empty. In between it is read off the book itself: the current weights, scaled until a limit binds. Exposure is then
moved only past a no-trade band, relative to what is invested now: sigma is noisy, and trading every tremble costs more
than it brings. The base is taken to be one that invests fully; cash is decided here.

Everything follows from the view and the book: whether a new period begins from the dates of the last session and of
the one to be traded, the composition from the holdings. A process that was restarted gives the same answer.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ordinis.allocation.answer import answer, dried_up, hold, left_out, usable, version_of
from ordinis.clock import first_of_period
from ordinis.domain.decisions import Allocation, Rung
from ordinis.domain.limits import Limits
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.errors import ConfigurationError
from ordinis.features.indicators import ewma_volatility
from ordinis.features.view import VIEW_SESSIONS
from ordinis.optimize.projection import project, sector_members
from ordinis.ports import Allocator, FloatArray, MarketView

logger = logging.getLogger(__name__)

SESSIONS_A_YEAR = 252
EMPTY = 0.02
"""A book invested less than this has no composition worth keeping."""
PRESENT = 0.5
"""Share of the invested weight that must have a return for a session to count."""


@dataclass(frozen=True)
class ExposureControl:
    """`base`, scaled to a volatility target."""

    base: Allocator
    limits: Limits
    target_volatility: float = 0.12
    """Annualised, of the whole book with its cash."""
    half_life: float = 10.0
    """Of the EWMA volatility, in sessions."""
    band: float = 0.15
    """No trade while the invested share would move by less than this fraction of itself."""
    base_calendar: str = "month"
    """The base is asked again on the first session of each "day", "week", "month" or "quarter"."""
    max_exposure: float = 1.0
    """Largest multiple of the base's weights."""
    name: str = field(default="", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"exposure_{self.base.name}")
        for attribute in ("target_volatility", "half_life", "max_exposure"):
            if not 0.0 < getattr(self, attribute) < math.inf:
                raise ConfigurationError(f"{attribute} of {self.name}", f"{getattr(self, attribute)} is not positive")
        if not 0.0 <= self.band < 1.0:
            raise ConfigurationError(f"band of {self.name}", f"{self.band} is not a fraction between 0 and 1")
        if self.target_volatility > 1.0:
            raise ConfigurationError(f"target_volatility of {self.name}", f"{self.target_volatility} is not a fraction")
        if self.base_calendar not in ("day", "week", "month", "quarter"):
            problem = f"{self.base_calendar!r} is not day, week, month or quarter"
            raise ConfigurationError(f"base_calendar of {self.name}", problem)

    @property
    def version(self) -> str:
        parameters = {
            "base": [self.base.name, self.base.version],
            "target_volatility": float(self.target_volatility),
            "half_life": float(self.half_life),
            "band": float(self.band),
            "base_calendar": self.base_calendar,
            "max_exposure": float(self.max_exposure),
        }
        return version_of(self.name, 3, parameters)

    def allocate(self, view: MarketView, portfolio: PortfolioSnapshot) -> Allocation:
        current = portfolio.weights
        held = np.array([max(current.get(symbol, 0.0), 0.0) for symbol in view.symbols])
        # What nobody trades stands still, which looks like no risk, and is no part of what can be moved past a band.
        dry = dried_up(view)
        held[dry] = 0.0
        invested = float(held.sum())
        if held.sum() < EMPTY or first_of_period(self.base_calendar, view.session, view.sessions[-1]):
            return self._refresh(view, portfolio)
        full = held * largest_multiple(held, view.symbols, self.limits)
        exposure = self._exposure(view, full)
        if exposure is None:
            return self._stand_still(view, portfolio)
        wish = full * exposure.multiple
        proposed = float(project(wish, view.symbols, self.limits).sum())
        trace = {"base": "book", "left_out": left_out(view, ~dry)} | exposure.trace
        confidence = float(usable(view, self._lookback + 1)[held > 0.0].mean())
        if abs(proposed - invested) <= self.band * invested:
            reason = f"invested {invested:.4f} is within {self.band:.2f} of {proposed:.4f}"
            return hold(self, view, portfolio, reason, confidence=confidence, trace=trace)
        return answer(self, view, portfolio, wish, Rung.CLOSED_FORM, confidence=confidence, trace=trace)

    def _refresh(self, view: MarketView, portfolio: PortfolioSnapshot) -> Allocation:
        """Ask the base, and scale its answer."""
        base = self.base.allocate(view, portfolio)
        trace: dict[str, object] = {"base": base.allocator, "base_rung": base.rung.value, "base_trace": base.trace}
        if base.rung is Rung.HOLD:
            reason = f"{base.allocator} holds: {base.trace.get('hold', 'no reason given')}"
            return hold(self, view, portfolio, reason, confidence=base.confidence, trace=trace)
        full = np.array([base.weights.get(symbol, 0.0) for symbol in view.symbols])
        exposure = self._exposure(view, full)
        if exposure is None:
            return self._stand_still(view, portfolio)
        wish, trace = full * exposure.multiple, trace | exposure.trace
        return answer(self, view, portfolio, wish, base.rung, confidence=base.confidence, trace=trace)

    @property
    def _lookback(self) -> int:
        """Sessions in which an EWMA forgets all but a thousandth."""
        return min(math.ceil(10 * self.half_life), VIEW_SESSIONS - 1)

    def _exposure(self, view: MarketView, full: FloatArray) -> _Exposure | None:
        """What the volatility of the (N,) base weights allows; None when too few returns are known to measure it."""
        if not full.any():
            return _Exposure(0.0, self.max_exposure)
        path = portfolio_returns(view, full, self._lookback)
        if np.isfinite(path).sum() < self._least_returns:
            return None
        volatility = float(ewma_volatility(path, self.half_life)[-1]) * math.sqrt(SESSIONS_A_YEAR)
        wanted = self.target_volatility / volatility if volatility > 0.0 else math.inf
        return _Exposure(volatility, min(self.max_exposure, wanted))

    @property
    def _least_returns(self) -> int:
        return math.ceil(2 * self.half_life)

    def _stand_still(self, view: MarketView, portfolio: PortfolioSnapshot) -> Allocation:
        reason = f"fewer than {self._least_returns} returns to measure volatility by"
        logger.warning("allocator holds allocator=%s session=%s reason=%s", self.name, view.session, reason)
        return hold(self, view, portfolio, reason)


@dataclass(frozen=True)
class _Exposure:
    volatility: float
    multiple: float

    @property
    def trace(self) -> dict[str, object]:
        return {"volatility": self.volatility, "exposure": self.multiple}


def largest_multiple(weights: FloatArray, symbols: Sequence[str], limits: Limits) -> float:
    """How far (N,) long weights, not all zero, can be scaled in proportion until the first limit binds."""
    sectors = [float(weights[members].sum()) for members in sector_members(symbols, limits).values()]
    return min(
        limits.invested_cap / float(weights.sum()),
        limits.position_cap / float(weights.max()),
        limits.sector_cap / max(sectors, default=0.0) if max(sectors, default=0.0) > 0.0 else math.inf,
    )


def portfolio_returns(view: MarketView, weights: FloatArray, lookback: int) -> FloatArray:
    """(lookback,) or fewer returns of constant (N,) weights.

    Where a symbol has no return the others stand in for it, scaled to the same investment; NaN where they are less
    than half of it.
    """
    closes = view.closes[-(lookback + 1) :]
    with np.errstate(divide="ignore", invalid="ignore"):
        returns = closes[1:] / closes[:-1] - 1.0
    known = np.isfinite(returns)
    total = float(weights.sum())
    share = known @ weights / total if total > 0.0 else np.zeros(len(returns))
    path = np.where(known, returns, 0.0) @ weights
    return np.where(share >= PRESENT, path / np.where(share >= PRESENT, share, 1.0), np.nan)
