"""Scenarios of what the next sessions may bring, made from those that were.

    block bootstrap    runs of consecutive sessions of geometric length (Politis and Romano 1994): what follows what
                       in the market, volatility clusters among it, follows it here
    filtered history   each return divided by its own day's volatility and multiplied by today's (Barone-Adesi,
                       Giannopoulos and Vosper 1999): the shapes of the past at the size of the present
    Student's t        a mean, a covariance and tails as fat as asked, where there is too little history

Volatility is exponentially weighted, variance_t = d variance_(t-1) + (1 - d) r_(t-1)^2, and known the evening before.
Rows are drawn whole, so that symbols keep their dependence. A horizon of several sessions compounds. The filter works
on log returns: a crash of a calm day, seen at the volatility of a wild one, still leaves something.
Randomness is an argument: one seed, one set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ordinis.ports import FloatArray

Places = NDArray[np.int64]
BLOCK = 20.0
"""Mean length of a block in sessions."""
HALF_LIFE = 20.0
WARM_UP = 3
"""Half-lives before a volatility is believed."""


def stationary_places(length: int, count: int, rng: np.random.Generator, block: float = BLOCK) -> Places:
    """(count,) places in 0 .. length - 1 that follow each other, round the end too, in blocks of this mean length."""
    if length < 1 or block < 1.0:
        raise ValueError(f"{length} sessions in blocks of {block}: both must be at least 1")
    begins = rng.random(count) < 1.0 / block
    begins[:1] = True
    number = np.cumsum(begins) - 1
    since = np.arange(count) - np.flatnonzero(begins)[number]
    starts = rng.integers(length, size=int(begins.sum()))
    return np.asarray((starts[number] + since) % length, dtype=np.int64)


def block_bootstrap(
    returns: FloatArray, count: int, rng: np.random.Generator, horizon: int = 1, block: float = BLOCK
) -> FloatArray:
    """(count, N) returns over `horizon` sessions, drawn from (T, N) of one session."""
    places = stationary_places(len(_finite(returns)), count * horizon, rng, block)
    if horizon == 1:
        return np.asarray(returns[places])
    grown = np.ones((count, returns.shape[1]))
    for step in range(horizon):
        grown *= 1.0 + returns[places[step::horizon]]
    return np.asarray(grown - 1.0)


def filtered_history(
    returns: FloatArray, count: int, rng: np.random.Generator, horizon: int = 1, half_life: float = HALF_LIFE
) -> FloatArray:
    """(count, N) returns over `horizon` sessions at today's volatility, which each path then carries on by itself.

    Args:
        returns: (T, N) of one session, oldest first; the first few half-lives only warm the volatility up.
    """
    decay = 0.5 ** (1.0 / half_life)
    if (_finite(returns) <= -1.0).any():
        raise ValueError("a return of -100 % or less has no logarithm")
    returns = np.log1p(returns)
    variances = _variances(returns, decay)
    warm = int(WARM_UP * half_life)
    if len(returns) <= warm:
        raise ValueError(f"{len(returns)} sessions: a half-life of {half_life} needs more than {warm}")
    before = variances[warm:-1]
    shapes = np.divide(returns[warm:], np.sqrt(before), out=np.zeros_like(returns[warm:]), where=before > 0.0)
    grown, variance = np.zeros((count, returns.shape[1])), np.tile(variances[-1], (count, 1))
    for _ in range(horizon):
        drawn = shapes[rng.integers(len(shapes), size=count)] * np.sqrt(variance)
        grown += drawn
        variance = decay * variance + (1.0 - decay) * drawn**2
    return np.asarray(np.expm1(grown))


def student_t(
    mean: FloatArray, covariance: FloatArray, degrees: float, count: int, rng: np.random.Generator
) -> FloatArray:
    """(count, N) draws with this mean and covariance; `degrees` of freedom above 2, the fewer the fatter."""
    if degrees <= 2.0:
        raise ValueError(f"{degrees} degrees of freedom have no covariance")
    values, vectors = np.linalg.eigh(covariance)
    normal = rng.standard_normal((count, len(mean))) * np.sqrt(np.maximum(values, 0.0))
    fat = np.sqrt((degrees - 2.0) / rng.chisquare(degrees, size=(count, 1)))
    return np.asarray(mean + fat * (normal @ vectors.T))


def _variances(returns: FloatArray, decay: float) -> FloatArray:
    """(T + 1, N) variance known before each session and after the last."""
    variances = np.empty((len(returns) + 1, returns.shape[1]))
    variances[0] = np.mean(returns[: int(1.0 / (1.0 - decay)) + 1] ** 2, axis=0)
    for session, row in enumerate(returns):
        variances[session + 1] = decay * variances[session] + (1.0 - decay) * row**2
    return variances


def _finite(returns: FloatArray) -> FloatArray:
    if returns.ndim != 2 or not len(returns) or not np.isfinite(returns).all():
        raise ValueError(f"returns of shape {returns.shape}: (T, N) finite numbers are needed, T at least 1")
    return returns
