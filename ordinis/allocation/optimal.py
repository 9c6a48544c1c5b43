"""Allocators that solve a program, and the ladder they fall down when they cannot.

    optimiser      of Markowitz's family (Ledoit-Wolf covariance) or CVaR, over symbols with a whole history that are
                   traded; many scenarios on a GPU first, then on the processor (`optimize.array_modules`)
    closed form    inverse volatility over 63 returns
    hold           the book as it is

A rung is left when no symbol that is traded has the history it needs, when the solver fails, or when the reference says
that nothing trades in a symbol whose costs are asked; each step down is logged as a warning and written into the trace
under "fallen", and the allocation states the rung that answered. Limits that cannot be met together go to the last rung
at once, with the conflict in the trace under "conflicts".
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ordinis.allocation.answer import Author, answer, hold, left_out, moving_returns, version_of
from ordinis.allocation.naive import INVERSE_VOLATILITY_LOOKBACK, check_lookback, inverse_volatility_weights
from ordinis.costs.conditions import MarketConditions
from ordinis.domain.decisions import Allocation, Rung
from ordinis.domain.limits import Limits
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.errors import ConfigurationError, InfeasibleLimits, NoVolume, SolverFailed
from ordinis.optimize.array_modules import Ladder, ladder
from ordinis.optimize.mean_cvar import mean_cvar
from ordinis.optimize.mean_variance import (
    maximum_diversification,
    maximum_sharpe,
    mean_variance,
    minimum_variance,
    risk_parity,
)
from ordinis.optimize.region import Region, TradingCosts
from ordinis.optimize.trading_costs import trading_costs
from ordinis.ports import CostModel, FloatArray, MarketView
from ordinis.risk.covariance import ledoit_wolf

logger = logging.getLogger(__name__)


Solve = Callable[[FloatArray, Sequence[str]], tuple[FloatArray, Mapping[str, object]]]
"""(T, N) returns and N symbols to (N,) weights and a trace; raises SolverFailed, NoVolume or InfeasibleLimits."""


@dataclass(frozen=True)
class MinimumVariance:
    """Least variance under a Ledoit-Wolf covariance of the last `lookback` returns."""

    limits: Limits
    lookback: int = 252
    name: str = field(default="minimum_variance", init=False)

    def __post_init__(self) -> None:
        check_lookback(self.name, self.lookback)

    @property
    def version(self) -> str:
        return version_of(self.name, 3, {"lookback": self.lookback, "covariance": "ledoit_wolf"})

    def allocate(self, view: MarketView, portfolio: PortfolioSnapshot) -> Allocation:
        def solve(returns: FloatArray, symbols: Sequence[str]) -> tuple[FloatArray, Mapping[str, object]]:
            return minimum_variance(ledoit_wolf(returns), symbols, self.limits), {}

        return descend(self, view, portfolio, self.lookback, solve)


@dataclass(frozen=True)
class Markowitz:
    """The other portfolios of the family, under the same covariance; a mean is that of the same returns.

    A mean of a year of returns has an error of its own size: the portfolios that use one are here to be compared with.
    """

    limits: Limits
    portfolio: Literal["mean_variance", "maximum_sharpe", "maximum_diversification", "risk_parity"]
    lookback: int = 252
    aversion: float = 4.0
    """Of the mean-variance portfolio: above 1 it bets less than the growth-optimal one."""

    def __post_init__(self) -> None:
        check_lookback(self.name, self.lookback)
        if not self.aversion > 0.0:
            raise ConfigurationError(f"aversion of {self.name}", f"{self.aversion} is not above 0")

    @property
    def name(self) -> str:
        return self.portfolio

    @property
    def version(self) -> str:
        parameters = {"lookback": self.lookback, "covariance": "ledoit_wolf", "aversion": float(self.aversion)}
        return version_of(self.name, 3, parameters)

    def allocate(self, view: MarketView, portfolio: PortfolioSnapshot) -> Allocation:
        def solve(returns: FloatArray, symbols: Sequence[str]) -> tuple[FloatArray, Mapping[str, object]]:
            mean, covariance = returns.mean(axis=0), ledoit_wolf(returns)
            region = Region.of(symbols, self.limits)
            match self.portfolio:
                case "mean_variance":
                    return mean_variance(mean, covariance, region, self.aversion), {}
                case "maximum_sharpe":
                    return maximum_sharpe(mean, covariance, region), {}
                case "maximum_diversification":
                    return maximum_diversification(covariance, region), {}
                case _:
                    return risk_parity(covariance, region), {}

        return descend(self, view, portfolio, self.lookback, solve)


@dataclass(frozen=True)
class MeanCVaR:
    """Least CVaR of the last `lookback` returns as equally likely scenarios, with an optional term for their mean."""

    limits: Limits
    lookback: int = 504
    confidence_level: float = 0.95
    mean_weight: float = 0.0
    """CVaR is traded against this many times the mean return; 0 ignores the mean, whose error is of its own size."""
    costs: CostModel | None = None
    """Of trading away from the book as it is; None ignores what it is."""
    adv: Mapping[str, float] = field(default_factory=dict)
    """Units of an average session by symbol, where bars measure none."""
    holding_sessions: int = 21
    """Over so many sessions a trade must earn its costs."""
    ladder: Ladder = ladder
    """Which array modules to try: where it is computed changes no answer by more than its gap."""
    name: str = field(default="mean_cvar", init=False)

    def __post_init__(self) -> None:
        check_lookback(self.name, self.lookback)
        if not 0.0 <= self.confidence_level < 1.0:
            raise ConfigurationError(f"confidence_level of {self.name}", f"{self.confidence_level} is not in [0, 1)")
        if self.holding_sessions < 1:
            raise ConfigurationError(f"holding_sessions of {self.name}", f"{self.holding_sessions} is not at least 1")

    @property
    def version(self) -> str:
        parameters: dict[str, object] = {
            "lookback": self.lookback,
            "confidence_level": float(self.confidence_level),
            "mean_weight": float(self.mean_weight),
        }
        if self.costs is not None:
            parameters |= {
                "costs": repr(self.costs),
                "adv": {symbol: float(units) for symbol, units in sorted(self.adv.items())},
                "holding_sessions": self.holding_sessions,
            }
        return version_of(self.name, 4, parameters)

    def allocate(self, view: MarketView, portfolio: PortfolioSnapshot) -> Allocation:
        def solve(returns: FloatArray, symbols: Sequence[str]) -> tuple[FloatArray, Mapping[str, object]]:
            held, costs = None, None
            if self.costs is not None:
                held = np.array([portfolio.weights.get(symbol, 0.0) for symbol in symbols])
                costs = self._costs(self.costs, view, symbols, float(portfolio.equity))
            found = mean_cvar(
                returns,
                symbols,
                self.limits,
                self.confidence_level,
                self.mean_weight,
                held=held,
                costs=costs,
                ladder=self.ladder,
            )
            return found.weights, found.trace

        return descend(self, view, portfolio, self.lookback, solve)

    def _costs(self, model: CostModel, view: MarketView, symbols: Sequence[str], equity: float) -> TradingCosts:
        """Of trades from the book, by the last month of the view, spread over the sessions until the next."""
        columns = [view.symbols.index(symbol) for symbol in symbols]
        conditions = MarketConditions.measured(view)
        volume = np.array([conditions.volume(symbol, self.adv.get(symbol, np.nan)) for symbol in symbols])
        volatility = np.array([conditions.sigma(symbol) for symbol in symbols])
        whole = trading_costs(model, symbols, equity, view.closes[-1, columns], volume, volatility)
        return whole.part(np.full(len(symbols), True), float(self.holding_sessions))


def descend(author: Author, view: MarketView, portfolio: PortfolioSnapshot, lookback: int, solve: Solve) -> Allocation:
    """Answer from the highest rung that can: `solve`, else inverse volatility, else hold.

    Where `solve` says that limits cannot be met together the book is held, and the conflict is named in the trace: the
    closed form knows nothing of the limit that was asked for, and would trade as if it had not been.
    """
    fallen: dict[str, str] = {}
    returns, used = moving_returns(view, lookback)
    if used.any():
        symbols = [symbol for symbol, took in zip(view.symbols, used, strict=True) if took]
        try:
            weights = np.zeros(len(used))
            weights[used], said = solve(returns, symbols)
            trace = {"left_out": left_out(view, used), **said}
            return answer(author, view, portfolio, weights, Rung.OPTIMISER, confidence=float(used.mean()), trace=trace)
        except InfeasibleLimits as refused:
            logger.warning("allocator holds allocator=%s session=%s reason=%s", author.name, view.session, refused)
            conflicts = [list(conflict) for conflict in refused.conflicts]
            trace = {"left_out": left_out(view, used), "conflicts": conflicts}
            return hold(author, view, portfolio, str(refused), trace=trace)
        except (SolverFailed, NoVolume) as failure:
            fallen[Rung.OPTIMISER] = str(failure)
    else:
        fallen[Rung.OPTIMISER] = f"no symbol that is traded has {lookback} returns that move"
    _warn(author, view, Rung.OPTIMISER, fallen)
    weights, used = inverse_volatility_weights(view, INVERSE_VOLATILITY_LOOKBACK, author.limits.invested_cap)
    if used.any():
        told: dict[str, object] = {"left_out": left_out(view, used), "fallen": fallen}
        return answer(author, view, portfolio, weights, Rung.CLOSED_FORM, confidence=float(used.mean()), trace=told)
    fallen[Rung.CLOSED_FORM] = f"no symbol that is traded has {INVERSE_VOLATILITY_LOOKBACK} returns that move"
    _warn(author, view, Rung.CLOSED_FORM, fallen)
    return hold(author, view, portfolio, fallen[Rung.CLOSED_FORM], trace={"fallen": fallen})


def _warn(author: Author, view: MarketView, rung: Rung, fallen: dict[str, str]) -> None:
    logger.warning(
        "allocator fell allocator=%s session=%s from=%s reason=%s", author.name, view.session, rung, fallen[rung]
    )
