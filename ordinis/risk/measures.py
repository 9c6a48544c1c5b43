"""Measures of loss: volatility, drawdown, value at risk and conditional value at risk, of scenarios or of moments.

With L a loss (minus a return, so losses are positive), beta the confidence level and S equally likely scenarios,

    VaR_beta  = min { x : P(L <= x) >= beta }
    CVaR_beta = min over x of  x + E[ max(L - x, 0) ] / (1 - beta)

The second line is Rockafellar and Uryasev (2000): the mean of the worst (1 - beta) S scenarios, the last of them
counted by its fraction when (1 - beta) S is no whole number. It is exact for samples with ties, where the mean of
"everything beyond VaR" is not. Drawdown at t is the fraction lost since the highest value so far, t included; drawdown
at risk is the value at risk of the drawdowns of a path (Chekhlov, Uryasev and Zabarankin 2005).

Cornish and Fisher (1938) bend the normal quantile z by skewness s and excess kurtosis k:

    z_cf = z + (z^2 - 1) s / 6 + (z^3 - 3 z) k / 24 - (2 z^3 - 5 z) s^2 / 36

which is a quantile only where it rises with z (Maillard 2012); where it does not, from six standard deviations out to
the level that is asked, there is no answer. CVaR is its mean over the tail, in closed form.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from ordinis.ports import FloatArray

MOMENTS, FAR = 4, 6.0
_ROUNDING = 1e-12
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


def drawdown_at_risk(equity: FloatArray, confidence_level: float = 0.95) -> float:
    """The drawdown of (T,) positive values that is exceeded in at most the rest of the sessions."""
    return value_at_risk(drawdown(equity), confidence_level)


def conditional_drawdown_at_risk(equity: FloatArray, confidence_level: float = 0.95) -> float:
    """Mean of the deepest drawdowns of (T,) positive values; at level 0 the mean, towards 1 the deepest of all."""
    return cvar(drawdown(equity), confidence_level)


def cornish_fisher(returns: FloatArray, confidence_level: float = 0.95) -> tuple[float, float] | None:
    """Value at risk and CVaR of (T,) returns from their first four moments, in their unit.

    None where skewness and kurtosis are so large that the expansion is no distribution.
    """
    _check(returns, confidence_level)
    if len(returns) < MOMENTS or confidence_level == 0.0:
        raise ValueError(f"{len(returns)} returns at level {confidence_level}: four moments and a tail are needed")
    mean, deviation = float(returns.mean()), volatility(returns)
    if deviation <= _ROUNDING * abs(mean):
        return -mean, -mean
    skew, kurtosis = float(stats.skew(returns)), float(stats.kurtosis(returns))
    z = float(stats.norm.ppf(1.0 - confidence_level))
    # The derivative in z is a z^2 + b z + c: least at an end, or at its own turn.
    a, b, c = kurtosis / 8.0 - skew**2 / 6.0, skew / 3.0, 1.0 - kurtosis / 8.0 + 5.0 * skew**2 / 36.0
    turn = float(np.clip(-b / (2.0 * a), -FAR, z)) if a > 0.0 else z
    if min(a * at * at + b * at + c for at in (-FAR, turn, z)) <= 0.0:
        return None
    quantile = z + (z**2 - 1) * skew / 6 + (z**3 - 3 * z) * kurtosis / 24 - (2 * z**3 - 5 * z) * skew**2 / 36
    bend = 1.0 + z * skew / 6.0 + (z**2 - 1.0) * kurtosis / 24.0 - (2.0 * z**2 - 1.0) * skew**2 / 36.0
    tail = float(stats.norm.pdf(z)) / (1.0 - confidence_level) * bend
    return -mean - deviation * quantile, -mean + deviation * tail


def _check(losses: FloatArray, confidence_level: float) -> None:
    if not 0.0 <= confidence_level < 1.0:
        raise ValueError(f"confidence level {confidence_level} is not in [0, 1)")
    if len(losses) == 0 or not np.isfinite(losses).all():
        raise ValueError("losses must be finite and at least one")
