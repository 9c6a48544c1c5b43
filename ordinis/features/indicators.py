"""Causal series from closes and volumes.

Each function maps (T, ...) to (T, ...), and row t depends on rows up to t only. With r returns, h a half-life and n
a window in sessions:

    EWMA volatility     sqrt( sum_s 2^(-(t-s)/h) r_s^2 / sum_s 2^(-(t-s)/h) )        RiskMetrics (1996), mean taken as 0
    efficiency ratio    |sum r| / sum |r| over n                                     Kaufman (1995), on log returns
    variance ratio      Var(r over q) / (q Var(r))                                   Lo and MacKinlay (1988)
    average correlation sum_{i != j} cov_ij / sum_{i != j} sigma_i sigma_j over n    Skintzi and Refenes (2005)
    illiquidity         mean of |r| / (close * volume) over n                        Amihud (2002)

The average correlation is the mean of the pairwise ones weighted by sigma_i sigma_j; it follows from the variance of
the sum and the sum of the variances, so it costs T N and not T N^2. A missing value is NaN: a window that holds one
is NaN, except in the EWMA, where it carries no weight.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ordinis.ports import FloatArray


def market_returns(returns: FloatArray) -> FloatArray:
    """(T,) equal-weighted mean of the (T, N) returns that exist; NaN where none does."""
    present = np.isfinite(returns)
    count = present.sum(axis=1)
    total = np.where(present, returns, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def ewma_volatility(returns: FloatArray, half_life: float) -> FloatArray:
    """(T, ...) volatility per session about zero, weights halving every `half_life` sessions; NaN before a return."""
    present = np.isfinite(returns)
    squares = np.where(present, returns, 0.0) ** 2
    total, weight = _decayed_sum(squares, half_life), _decayed_sum(present.astype(np.float64), half_life)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(total / weight), dtype=np.float64)


def trailing_volatility(returns: FloatArray, window: int) -> FloatArray:
    """(T, ...) standard deviation of the last `window` returns, denominator window - 1, per session."""
    return np.asarray(np.sqrt(_rolling_variance(returns, window)), dtype=np.float64)


def efficiency_ratio(log_returns: FloatArray, window: int) -> FloatArray:
    """(T, ...) in [0, 1]: net move over path length; near 1 / sqrt(window) for a random walk, 0 where nothing moved."""
    path = _rolling_sum(np.abs(log_returns), window)
    net = np.abs(_rolling_sum(log_returns, window))
    with np.errstate(invalid="ignore"):
        return np.where(path > 0.0, np.minimum(net / np.where(path > 0.0, path, 1.0), 1.0), path * 0.0)


def variance_ratio(log_returns: FloatArray, horizon: int) -> tuple[float, float]:
    """Variance ratio of all (T,) returns at `horizon` sessions, and its z value, robust to changing volatility.

    Below 1 the series reverts, above it trends; |z| > 2 is significant. (1, 0) for a series too short or without
    variance.
    """
    count = len(log_returns)
    if count <= 2 * horizon:
        return 1.0, 0.0
    centred = log_returns - log_returns.mean()
    squares = centred**2
    total = float(squares.sum())
    if total <= 0.0:
        return 1.0, 0.0
    ratio, spread = 1.0, 0.0
    for lag in range(1, horizon):
        share = 2.0 * (1.0 - lag / horizon)
        ratio += share * float(centred[lag:] @ centred[:-lag]) / total
        spread += share**2 * float(squares[lag:] @ squares[:-lag]) / total**2
    return ratio, (ratio - 1.0) / math.sqrt(spread) if spread > 0.0 else 0.0


def average_correlation(returns: FloatArray, window: int) -> FloatArray:
    """(T,) mean pairwise correlation of the last `window` of (T, N) returns, weighted by the product of volatilities.

    NaN for fewer than two symbols, or where fewer than two of them move.
    """
    if returns.shape[1] < 2:
        return np.full(len(returns), np.nan)
    variances = _rolling_variance(returns, window)
    of_sum = _rolling_variance(returns.sum(axis=1), window)
    parts = variances.sum(axis=1)
    cross = np.sqrt(variances).sum(axis=1) ** 2 - parts
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.clip((of_sum - parts) / cross, -1.0, 1.0)
    return np.where(cross > 1e-9 * parts, ratio, np.nan)


def dollar_volume(closes: FloatArray, volumes: FloatArray, window: int) -> FloatArray:
    """(T, N) mean traded amount of the last `window` sessions, currency per session."""
    return _rolling_sum(closes * volumes, window) / window


def illiquidity(closes: FloatArray, volumes: FloatArray, window: int) -> FloatArray:
    """(T, N) mean |return| per currency unit traded; NaN while the window holds a session without trade or return."""
    traded = closes[1:] * volumes[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        impact = np.abs(closes[1:] / closes[:-1] - 1.0) / np.where(traded > 0.0, traded, np.nan)
    first = np.full((1, closes.shape[1]), np.nan)
    return _rolling_sum(np.concatenate([first, impact]), window) / window


def hysteresis(values: FloatArray, enter: float, leave: float) -> NDArray[np.bool_]:
    """(T,) on or off: on above `enter`, off below `leave` (which is lower), otherwise as before.

    Before the first crossing the side of the midpoint on which the series starts decides.
    """
    crossing = np.where(values > enter, 1, np.where(values < leave, -1, 0))
    if len(crossing) and crossing[0] == 0:
        crossing[0] = 1 if values[0] > (enter + leave) / 2.0 else -1
    last = np.maximum.accumulate(np.where(crossing != 0, np.arange(len(crossing)), 0))
    return np.asarray(crossing[last] > 0)


def _rolling_sum(values: FloatArray, window: int) -> FloatArray:
    """(T, ...) sum of the last `window` rows; NaN where there are fewer or one of them is not finite."""
    result = np.full(values.shape, np.nan)
    if len(values) < window:
        return result
    present = np.isfinite(values)
    complete = bool(present.all())
    result[window - 1 :] = _difference(values if complete else np.where(present, values, 0.0), window)
    if not complete:
        result[window - 1 :][_difference(~present, window) > 0] = np.nan
    return result


def _difference(values: NDArray[np.float64] | NDArray[np.bool_], window: int) -> FloatArray:
    total = np.cumsum(values, axis=0, dtype=np.float64)
    total[window:] -= total[:-window].copy()
    return total[window - 1 :]


def _rolling_variance(returns: FloatArray, window: int) -> FloatArray:
    """(T, ...) with window - 1 in the denominator; differences of running sums, so exact to about 1e-15."""
    total = _rolling_sum(returns, window)
    squares = _rolling_sum(returns * returns, window)
    return np.asarray(np.maximum(squares - total * total / window, 0.0) / (window - 1), dtype=np.float64)


def _decayed_sum(values: FloatArray, half_life: float) -> FloatArray:
    """(T, ...) sum over s <= t of 2 ** (-(t - s) / half_life) values[s], in blocks so that no power overflows."""
    block = max(1, int(500 * half_life))
    result = np.empty_like(values)
    carried = np.zeros(values.shape[1:])
    for start in range(0, len(values), block):
        rows = values[start : start + block]
        growth = np.exp2(np.arange(1, len(rows) + 1) / half_life).reshape((-1,) + (1,) * (values.ndim - 1))
        result[start : start + block] = (carried + np.cumsum(rows * growth, axis=0)) / growth
        carried = result[start + len(rows) - 1]
    return result
