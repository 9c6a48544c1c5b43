"""Measures of loss: volatility, drawdown, value at risk and conditional value at risk.

With L a loss (minus a return, so losses are positive), beta the confidence level and S equally likely scenarios,

    VaR_beta  = min { x : P(L <= x) >= beta }
    CVaR_beta = min over x of  x + E[ max(L - x, 0) ] / (1 - beta)

The second line is Rockafellar and Uryasev (2000): the mean of the worst (1 - beta) S scenarios, the last of them
counted by its fraction when (1 - beta) S is no whole number. It is exact for samples with ties, where the mean of
"everything beyond VaR" is not. Drawdown at t is the fraction lost since the highest value so far, t included.
"""

from __future__ import annotations

import math

import numpy as np

from ordinis.ports import FloatArray

_WHOLE = 1e-9
"""(1 - beta) S this near a whole number is that number: 0.05 * 100 is 5.000000000000004 in binary."""


def volatility(returns: FloatArray) -> float:
    """Standard deviation of (T,) returns with T - 1 in the denominator, per session; 0 for fewer than two."""
    return float(np.std(returns, ddof=1)) if len(returns) > 1 else 0.0


def drawdown(equity: FloatArray) -> FloatArray:
    """(T,) fraction of the peak so far that is lost, from (T,) positive values; 0 at a new high."""
    return np.asarray(1.0 - equity / np.maximum.accumulate(equity), dtype=np.float64)


def max_drawdown(equity: FloatArray) -> float:
    """The deepest drawdown of (T,) values, a fraction in [0, 1]; 0 for an empty path."""
    return float(drawdown(equity).max(initial=0.0))


def value_at_risk(losses: FloatArray, confidence_level: float = 0.95) -> float:
    """The smallest of (S,) losses that at least `confidence_level` of the scenarios do not exceed."""
    _check(losses, confidence_level)
    count = math.ceil(len(losses) * confidence_level - _WHOLE)
    return float(np.sort(losses)[max(count, 1) - 1])


def cvar(losses: FloatArray, confidence_level: float = 0.95) -> float:
    """Mean of the worst (1 - confidence_level) of (S,) equally likely losses, in their unit."""
    _check(losses, confidence_level)
    tail = (1.0 - confidence_level) * len(losses)
    if abs(tail - round(tail)) < _WHOLE:
        tail = float(round(tail))
    tail = max(tail, _WHOLE)
    whole = int(tail)
    worst = np.sort(losses)[::-1]
    part = (tail - whole) * worst[whole] if whole < len(worst) else 0.0
    return float((worst[:whole].sum() + part) / tail)


def _check(losses: FloatArray, confidence_level: float) -> None:
    if not 0.0 <= confidence_level < 1.0:
        raise ValueError(f"confidence level {confidence_level} is not in [0, 1)")
    if len(losses) == 0 or not np.isfinite(losses).all():
        raise ValueError("losses must be finite and at least one")
