"""Regressions on a window that moves by one session, for all symbols at once.

In each window of T sessions, r_t = alpha + sum_f beta_f x_tf + e_t by ordinary least squares:

    beta = (X'X)^-1 X'y      s^2 = e'e / (T - F - 1)      t_f = beta_f / sqrt(s^2 (X'X)^-1_ff)      R^2 = 1 - e'e / y'y

with y in deviations from its mean. A window's sums are differences of running sums, so a window costs the same
whatever its length, and one small system serves all symbols. Running sums lose digits where numbers share a large
mean: returns and factors are taken in deviations from their means over all sessions first, which moves only alpha.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ordinis.ports import FloatArray

STILL = 1e-12
"""What moves by less than this, squared and relative to all sessions, stands still."""
COPY = 1e-10
"""Smallest eigenvalue of the factors' correlations below which one is a copy of others."""
AT_ONCE = 32
"""Symbols whose numbers are worked on at once: they stay near the processor."""


@dataclass(frozen=True)
class RollingRegression:
    """Row k is the window that ends with session `window` - 1 + k; W windows, N symbols, F factors."""

    alpha: FloatArray
    """(W, N) per session."""
    betas: FloatArray
    """(W, F, N)."""
    t: FloatArray
    """(W, F + 1, N) classical t values, of alpha first."""
    r_squared: FloatArray
    """(W, N); NaN where a symbol does not move."""
    residual_volatility: FloatArray
    """(W, N) standard deviation of the residual, with T - F - 1 in the denominator."""


def rolling_regression(returns: FloatArray, factors: FloatArray, window: int) -> RollingRegression:
    """Regress (T, N) returns on (T, F) factors over every window of so many sessions.

    Raises:
        ValueError: the arrays do not fit, hold what is not finite, or a window has no more sessions than coefficients,
            or factors in it that are copies of each other.
    """
    count, width = factors.shape
    if len(returns) != count or returns.ndim != 2:
        raise ValueError(f"returns of shape {returns.shape} for factors of shape {factors.shape}")
    if not width + 1 < window <= count:
        raise ValueError(f"a window of {window} sessions for {width + 1} coefficients and {count} sessions")
    if not (np.isfinite(returns).all() and np.isfinite(factors).all()):
        raise ValueError("returns and factors must be finite: leave incomplete sessions out first")
    centre, middle = returns.mean(axis=0), factors.mean(axis=0)
    x = factors - middle
    sums = _windowed(x, window)
    # In deviations from the window's own means the intercept drops out of the system.
    squares = _windowed((x[:, :, None] * x[:, None, :]).reshape(count, -1), window).reshape(-1, width, width)
    squares -= sums[:, :, None] * sums[:, None, :] / window
    inverse = _inverse(squares, np.square(x).sum(axis=0))
    # alpha is the fit at factors of zero, which lie this far from the window's middle.
    away = sums / window + middle
    leverage = 1.0 / window + np.einsum("kf,kfg,kg->k", away, inverse, away)
    spread = np.sqrt(np.concatenate([leverage[:, None], np.einsum("kff->kf", inverse)], axis=1))
    windows, symbols = len(sums), returns.shape[1]
    coefficients, t = np.empty((windows, width + 1, symbols)), np.empty((windows, width + 1, symbols))
    r_squared, residual = np.empty((windows, symbols)), np.empty((windows, symbols))
    for first in range(0, symbols, AT_ONCE):
        some = slice(first, first + AT_ONCE)
        y = returns[:, some] - centre[some]
        sums_y = _windowed(y, window)
        products = np.stack([_windowed(x[:, [f]] * y, window) for f in range(width)], axis=1)
        products -= sums[:, :, None] * sums_y[:, None, :] / window
        total = _windowed(y * y, window) - sums_y**2 / window
        # What running sums leave of a symbol that stands still is rounding.
        total[total <= STILL * np.square(y).sum(axis=0)] = 0.0
        betas = inverse @ products
        unexplained = np.maximum(total - np.einsum("kfn,kfn->kn", betas, products), 0.0)
        alpha = (sums_y - np.einsum("kf,kfn->kn", sums, betas)) / window
        alpha += centre[some] - np.einsum("f,kfn->kn", middle, betas)
        found = np.concatenate([alpha[:, None], betas], axis=1)
        volatility = np.sqrt(unexplained / (window - width - 1))
        coefficients[:, :, some], residual[:, some] = found, volatility
        with np.errstate(divide="ignore", invalid="ignore"):
            t[:, :, some] = found / (spread[:, :, None] * volatility[:, None])
            r_squared[:, some] = np.where(total > 0.0, 1.0 - unexplained / total, np.nan)
    return RollingRegression(coefficients[:, 0], coefficients[:, 1:], t, r_squared, residual)


def _inverse(squares: FloatArray, moved: FloatArray) -> FloatArray:
    """(W, F, F) of sums of products, of factors that moved by (F,) sums of squares over all sessions."""
    spread = np.einsum("kff->kf", squares)
    told = "in some window a factor does not move, or is a copy of others"
    if (spread <= STILL * moved).any():
        raise ValueError(told)
    scale = 1.0 / np.sqrt(spread)
    correlation = squares * scale[:, :, None] * scale[:, None, :]
    if np.linalg.eigvalsh(correlation)[:, 0].min() <= COPY:
        raise ValueError(told)
    return np.asarray(np.linalg.inv(correlation) * scale[:, :, None] * scale[:, None, :])


def _windowed(values: FloatArray, window: int) -> FloatArray:
    """(W, ...) sums over each window of (T, ...)."""
    sums = np.cumsum(values, axis=0)
    windowed = sums[window - 1 :].copy()
    windowed[1:] -= sums[:-window]
    return windowed
