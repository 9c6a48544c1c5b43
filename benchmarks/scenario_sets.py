"""Scenarios to measure on: the last days of the shipped prices, and as many more as asked, made from them.

Made scenarios are a stationary block bootstrap (mean block of 20 days, Politis and Romano 1994) of the twenty shipped
stocks, mixed into as many symbols as asked by random loadings with a market beta of 0.6 to 1.4, plus Student's t with
four degrees of freedom of each symbol's own. The seed decides all of it.
"""

from __future__ import annotations

import numpy as np
from skfolio.datasets import load_sp500_dataset

from ordinis.ports import FloatArray
from ordinis.risk.simulation import stationary_places

CHUNK = 50_000
"""Scenarios made at a time: half a billion numbers in double precision are not needed at once."""


def shipped_days(days: int = 2_500) -> FloatArray:
    """(days, 20) returns of the last days of the shipped prices."""
    returns = load_sp500_dataset().pct_change().dropna().to_numpy()
    return np.ascontiguousarray(returns[-days:], dtype=np.float64)


def made(symbols: int, scenarios: int, seed: int = 0, dtype: type[np.floating] = np.float64) -> np.ndarray:
    """(scenarios, symbols) returns."""
    rng, days = np.random.default_rng(seed), shipped_days(8_000)
    loadings = rng.dirichlet(np.full(days.shape[1], 0.5), size=symbols).T * rng.uniform(0.6, 1.4, symbols)
    own, drift = rng.uniform(0.004, 0.015, symbols), rng.normal(0.0, 2e-4, symbols)
    places = stationary_places(len(days), scenarios, rng)
    returns = np.empty((scenarios, symbols), dtype=dtype)
    for first in range(0, scenarios, CHUNK):
        part = days[places[first : first + CHUNK]] @ loadings
        returns[first : first + CHUNK] = part + rng.standard_t(4, size=part.shape) * own + drift
    return returns
