"""What factors may return in the next session, and whether such a forecast has been worth anything.

The forecast is an exponentially weighted mean m_f, shrunk with those of the other factors towards nothing by the
positive part of James and Stein's estimator (1961), with s_f the mean's own standard error:

    forecast_f = m_f max(0, 1 - (F - 2) / sum_g (m_g / s_g)^2)          F >= 3; two factors and one are not shrunk

A mean return has an error of its own size, so the forecast is judged as it would have been used: before each session of
the second half of the past, from what was known then, against the forecast that nothing happens,

    skill = 1 - sum (x - forecast)^2 / sum x^2          over sessions and factors, each in units of its variance

Without skill the forecast is nothing: a risk report must not bet on noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ordinis.ports import FloatArray

HALF_LIFE = 126.0
LEAST_SESSIONS = 63
"""Sessions before the first forecast that is judged."""


@dataclass(frozen=True)
class FactorForecast:
    """Returns of the next session, by factor."""

    returns: Mapping[str, float]
    """Zeros where the forecast has had no skill."""
    errors: Mapping[str, float]
    """Standard errors of the means that the forecast is made of."""
    skill: float
    judged: int
    """Sessions that the skill was judged on."""


def forecast_factors(returns: FloatArray, names: Sequence[str], half_life: float = HALF_LIFE) -> FactorForecast:
    """Forecast the session after (T, F) finite `returns` of the factors `names`, oldest first.

    Raises:
        ValueError: the shapes do not fit, a number is not finite, or there is nothing to judge a forecast on.
    """
    count, width = returns.shape
    if len(names) != width or not np.isfinite(returns).all():
        raise ValueError(f"{len(names)} names for returns of shape {returns.shape}, which must be finite")
    first = max(LEAST_SESSIONS, count // 2)
    if count <= first:
        raise ValueError(f"{count} sessions: more than {first} are needed")
    means, errors = _running(returns, half_life)
    forecasts = _shrunk(means, errors)
    scale = returns.std(axis=0)
    units = np.divide(1.0, scale, out=np.zeros(width), where=scale > 0.0)
    # Row t of the forecasts knows the sessions before t.
    missed = ((returns[first:] - forecasts[first:count]) * units) ** 2
    nothing = (returns[first:] * units) ** 2
    skill = 1.0 - float(missed.sum() / nothing.sum()) if nothing.sum() > 0.0 else 0.0
    used = forecasts[count] if skill > 0.0 else np.zeros(width)
    return FactorForecast(_by_name(names, used), _by_name(names, errors[count]), skill, count - first)


def _running(returns: FloatArray, half_life: float) -> tuple[FloatArray, FloatArray]:
    """(T + 1, F) weighted means of the sessions before each, and their standard errors; infinite errors at first."""
    decay = 0.5 ** (1.0 / half_life)
    count, width = returns.shape
    means, errors = np.zeros((count + 1, width)), np.full((count + 1, width), np.inf)
    weight, squares, total, spread = 0.0, 0.0, np.zeros(width), np.zeros(width)
    for row, now in enumerate(returns):
        weight, squares = decay * weight + 1.0, decay**2 * squares + 1.0
        total, spread = decay * total + now, decay * spread + now**2
        mean = total / weight
        means[row + 1] = mean
        if row:
            variance = np.maximum(spread / weight - mean**2, 0.0)
            errors[row + 1] = np.sqrt(variance * squares) / weight
    return means, errors


def _shrunk(means: FloatArray, errors: FloatArray) -> FloatArray:
    """(T + 1, F) each row pulled towards nothing as far as its own errors say."""
    known = np.isfinite(errors) & (errors > 0.0)
    ratios = np.where(known, np.divide(means, errors, out=np.zeros_like(means), where=known), 0.0)
    evidence = (ratios**2).sum(axis=1)
    rest = max(means.shape[1] - 2, 0)
    kept = 1.0 - np.divide(rest, evidence, out=np.full(len(means), np.inf), where=evidence > 0.0)
    return np.where(known, means * np.clip(kept, 0.0, 1.0)[:, None], 0.0)


def _by_name(names: Sequence[str], values: FloatArray) -> dict[str, float]:
    return dict(zip(names, values.tolist(), strict=True))
