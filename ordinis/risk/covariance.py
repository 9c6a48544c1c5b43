"""Covariance of session returns, three ways.

The sample estimate S is unbiased and, with as many symbols as months, nearly singular: an optimiser then bets on its
noise. Ledoit and Wolf (2004) pull it towards a multiple of the identity,

    Sigma = (1 - d) S + d m I,     m = trace(S) / N

with the d in [0, 1] that minimises the expected squared error, estimated from the data itself. Exponential weights
(J.P. Morgan's RiskMetrics, 1996) let the estimate follow the market: a return of age a counts 2 ** (-a / half_life).
Every function takes (T, N) finite returns, oldest first, and gives an exactly symmetric (N, N) matrix per session.
"""

from __future__ import annotations

import numpy as np
from sklearn.covariance import ledoit_wolf as _sklearn_ledoit_wolf

from ordinis.ports import FloatArray


def sample(returns: FloatArray) -> FloatArray:
    """Unbiased sample covariance."""
    centred = _finite(returns) - returns.mean(axis=0)
    return _symmetric(centred.T @ centred / (len(returns) - 1))


def ledoit_wolf(returns: FloatArray) -> FloatArray:
    """Sample covariance (denominator T, as in the paper) shrunk towards a multiple of the identity."""
    matrix, _ = _sklearn_ledoit_wolf(_finite(returns))
    return _symmetric(np.asarray(matrix, dtype=np.float64))


def exponentially_weighted(returns: FloatArray, half_life: float) -> FloatArray:
    """Covariance about the weighted mean, with weights that halve every `half_life` sessions and sum to one."""
    _finite(returns)
    age = np.arange(len(returns) - 1, -1, -1, dtype=np.float64)
    weights = np.exp2(-age / half_life)
    weights /= weights.sum()
    centred = returns - weights @ returns
    return _symmetric((centred * weights[:, None]).T @ centred)


def _finite(returns: FloatArray) -> FloatArray:
    if returns.ndim != 2 or len(returns) < 2:
        raise ValueError(f"returns of shape {returns.shape}: a covariance needs (T, N) with T at least 2")
    if not np.isfinite(returns).all():
        row, column = np.argwhere(~np.isfinite(returns))[0].tolist()
        raise ValueError(f"return {row} of symbol {column} is {returns[row, column]}; leave that symbol out first")
    return returns


def _symmetric(matrix: FloatArray) -> FloatArray:
    return np.asarray((matrix + matrix.T) / 2.0, dtype=np.float64)
