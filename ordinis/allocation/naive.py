"""Two allocators that estimate next to nothing, and are hard to beat for it.

Equal weight holds 1/N of what may be invested in each of N symbols; DeMiguel, Garlappi and Uppal (2009) found no
optimiser that reliably beats it out of sample. Inverse volatility weighs symbol i by

    w_i = invested * (1 / sigma_i) / sum_j (1 / sigma_j)

so that, were all correlations equal, each position would carry the same risk (Maillard, Roncalli and Teiletche 2010).
Where a cap cuts a weight the rest is not blown up to fill it: few symbols simply stay below the invested cap.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np

from ordinis.allocation.answer import BoolArray, answer, hold, left_out, moving_returns, usable, version_of
from ordinis.domain.decisions import Allocation, Rung
from ordinis.domain.limits import Limits
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.errors import ConfigurationError
from ordinis.features.view import VIEW_SESSIONS
from ordinis.ports import FloatArray, MarketView

logger = logging.getLogger(__name__)

INVERSE_VOLATILITY_LOOKBACK = 63


@dataclass(frozen=True)
class EqualWeight:
    """The same weight for every symbol that is traded and has a last close."""

    limits: Limits
    name: str = field(default="equal_weight", init=False)

    @property
    def version(self) -> str:
        return version_of(self.name, 3, {})

    def allocate(self, view: MarketView, portfolio: PortfolioSnapshot) -> Allocation:
        used = usable(view, 1)
        if not used.any():
            return stand_still(self, view, portfolio, "no symbol that is traded has a last close")
        weights = np.where(used, self.limits.invested_cap / used.sum(), 0.0)
        trace = {"left_out": left_out(view, used)}
        return answer(self, view, portfolio, weights, Rung.CLOSED_FORM, confidence=float(used.mean()), trace=trace)


@dataclass(frozen=True)
class InverseVolatility:
    """Weights in proportion to one over the volatility of the last `lookback` returns."""

    limits: Limits
    lookback: int = INVERSE_VOLATILITY_LOOKBACK
    name: str = field(default="inverse_volatility", init=False)

    def __post_init__(self) -> None:
        check_lookback(self.name, self.lookback)

    @property
    def version(self) -> str:
        return version_of(self.name, 3, {"lookback": self.lookback})

    def allocate(self, view: MarketView, portfolio: PortfolioSnapshot) -> Allocation:
        weights, used = inverse_volatility_weights(view, self.lookback, self.limits.invested_cap)
        if not used.any():
            return stand_still(self, view, portfolio, f"no symbol that is traded has {self.lookback} returns that move")
        trace = {"left_out": left_out(view, used)}
        return answer(self, view, portfolio, weights, Rung.CLOSED_FORM, confidence=float(used.mean()), trace=trace)


def inverse_volatility_weights(view: MarketView, lookback: int, invested: float) -> tuple[FloatArray, BoolArray]:
    """(N,) weights that sum to `invested`, and (N,) which symbols had the history and the movement to be used."""
    returns, used = moving_returns(view, lookback)
    weights = np.zeros(len(used))
    if used.any():
        inverse = 1.0 / returns.std(axis=0, ddof=1)
        weights[used] = invested * inverse / inverse.sum()
    return weights, used


def stand_still(
    author: EqualWeight | InverseVolatility, view: MarketView, portfolio: PortfolioSnapshot, reason: str
) -> Allocation:
    logger.warning("allocator holds allocator=%s session=%s reason=%s", author.name, view.session, reason)
    return hold(author, view, portfolio, reason)


def check_lookback(name: str, lookback: int) -> None:
    """A lookback that no view can fill is a mistake of configuration."""
    if not 2 <= lookback < VIEW_SESSIONS:
        raise ConfigurationError(f"lookback of {name}", f"{lookback} is not between 2 and {VIEW_SESSIONS - 1} returns")
