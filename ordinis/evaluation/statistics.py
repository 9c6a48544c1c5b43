"""Statistics of a path of session returns, and whether two paths differ.

With r_t simple returns of T sessions, 252 of them a year,

    annualised return  = (prod (1 + r_t)) ** (252 / T) - 1
    Sharpe             = sqrt(252) * mean(r - f) / std(r - f)          std with T - 1
    Calmar             = annualised return / maximal drawdown

Sharpe ratios of daily data are noisy and two strategies on the same market are correlated, so a difference is judged
on the pair: the stationary bootstrap (Politis and Romano 1994) draws blocks of geometric length from both paths at
once, which keeps their correlation and their volatility clusters, and the percentiles of the redrawn differences are
the interval (Ledoit and Wolf 2008 discuss the choice). The first return of a path is a return from its opening value 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from arch.bootstrap import StationaryBootstrap, optimal_block_length

from ordinis.ports import FloatArray
from ordinis.risk import measures

SESSIONS_A_YEAR = 252
ROUNDING = 1e-12
"""A deviation smaller than this part of the mean is rounding of a constant path and no risk."""


def equity_path(returns: FloatArray) -> FloatArray:
    """(T + 1,) value of one unit of currency, from (T,) returns; starts at 1."""
    return np.concatenate([[1.0], np.cumprod(1.0 + returns)])


def annualised_return(returns: FloatArray) -> float:
    """Compound growth a year."""
    total = float(np.prod(1.0 + returns))
    return float(total ** (SESSIONS_A_YEAR / len(returns)) - 1.0) if len(returns) else 0.0


def annualised_volatility(returns: FloatArray) -> float:
    return measures.volatility(returns) * math.sqrt(SESSIONS_A_YEAR)


def sharpe(returns: FloatArray, risk_free: float | FloatArray = 0.0) -> float:
    """Annualised; 0 for a path without risk. `risk_free` is per session, a number or (T,)."""
    excess = np.asarray(returns - risk_free, dtype=np.float64)
    deviation = measures.volatility(excess)
    if deviation <= ROUNDING * abs(float(excess.mean())):
        return 0.0
    return float(excess.mean() / deviation * math.sqrt(SESSIONS_A_YEAR))


def max_drawdown(returns: FloatArray) -> float:
    """Deepest fall from a peak, a positive fraction; a loss on the first session counts."""
    return measures.max_drawdown(equity_path(returns))


def calmar(returns: FloatArray) -> float:
    """Annualised return over maximal drawdown; infinite for a path that never fell."""
    deepest = max_drawdown(returns)
    return annualised_return(returns) / deepest if deepest > 0.0 else math.inf


def rolling_sharpe(returns: FloatArray, window: int = SESSIONS_A_YEAR) -> FloatArray:
    """(T,) annualised Sharpe of the last `window` sessions; NaN before there are that many or without risk."""
    result = np.full(len(returns), np.nan)
    if len(returns) < window:
        return result
    blocks = np.lib.stride_tricks.sliding_window_view(returns, window)
    mean, deviation = blocks.mean(axis=1), blocks.std(axis=1, ddof=1)
    risky = deviation > ROUNDING * np.abs(mean)
    ratio = mean / np.where(risky, deviation, 1.0) * math.sqrt(SESSIONS_A_YEAR)
    result[window - 1 :] = np.where(risky, ratio, np.nan)
    return result


@dataclass(frozen=True)
class TurnoverSummary:
    """One-way turnover (half of all changes of weight, cash included) as a fraction of equity."""

    annual: float
    mean_when_traded: float
    largest: float
    sessions_traded: int
    sessions: int


def turnover_summary(turnover: FloatArray) -> TurnoverSummary:
    """Summarise (T,) one-way turnover, one number a session, 0 where nothing was traded."""
    traded = turnover[turnover > 0.0]
    return TurnoverSummary(
        annual=float(turnover.mean()) * SESSIONS_A_YEAR if len(turnover) else 0.0,
        mean_when_traded=float(traded.mean()) if len(traded) else 0.0,
        largest=float(turnover.max(initial=0.0)),
        sessions_traded=len(traded),
        sessions=len(turnover),
    )


@dataclass(frozen=True)
class SharpeDifference:
    """Annualised Sharpe of the first path minus that of the second, with its interval."""

    difference: float
    low: float
    high: float
    confidence_level: float
    block: int
    """Mean block length in sessions."""
    samples: int

    @property
    def significant(self) -> bool:
        """The interval leaves out zero."""
        return self.low > 0.0 or self.high < 0.0


def sharpe_difference(
    first: FloatArray,
    second: FloatArray,
    rng: np.random.Generator,
    *,
    confidence_level: float = 0.95,
    samples: int = 1_000,
    block: int | None = None,
) -> SharpeDifference:
    """Bootstrap the Sharpe difference of two (T,) paths over the same sessions.

    Args:
        first: (T,) session returns.
        second: (T,) of the same sessions.
        rng: source of the redraws.
        confidence_level: of the two-sided percentile interval.
        samples: number of redraws.
        block: mean block length in sessions; None asks Politis and White's (2004) rule on the difference of returns
            and on its square, and takes the longer: clusters of volatility matter even where returns do not correlate.
    """
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise ValueError(f"paths of shape {first.shape} and {second.shape} are not two paths of the same sessions")
    length = _block_length(first - second) if block is None else block
    pair = np.column_stack([first, second])
    bootstrap = StationaryBootstrap(length, pair, seed=rng)
    redrawn = np.asarray(bootstrap.apply(_difference_of, samples), dtype=np.float64).ravel()
    tail = 100.0 * (1.0 - confidence_level) / 2.0
    low, high = np.percentile(redrawn, [tail, 100.0 - tail])
    return SharpeDifference(
        difference=sharpe(first) - sharpe(second),
        low=float(low),
        high=float(high),
        confidence_level=confidence_level,
        block=length,
        samples=samples,
    )


def _difference_of(pair: FloatArray) -> FloatArray:
    return np.array([sharpe(pair[:, 0]) - sharpe(pair[:, 1])])


def _block_length(difference: FloatArray) -> int:
    if np.ptp(difference) == 0.0:
        return 1
    advised = optimal_block_length(np.column_stack([difference, difference**2]))["stationary"].to_numpy()
    return max(1, math.ceil(float(np.nanmax(advised))))
