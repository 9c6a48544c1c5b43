"""How far from the best weights are, whatever the solver says: gaps from multipliers that nobody need believe.

At weights w a convex objective f is nowhere below its tangent, so that with its gradient g

    f(v) - f(w)  >=  g' v - g' w  >=  lower_bound(g) - g' w        for every v in the region

and g' w less the bound (`bounds`) is the most that any v can be better. Prices from the solver make the bound sharp;
prices that lie make it weak, and then good weights are refused, never bad ones taken. A ratio m' w / sqrt(w' Sigma w)
has no better v than w, of mean s and variance V, where (s Sigma w / V - m)' v is never negative in the region, because
w' Sigma v is at most the product of both volatilities.

Gaps are fractions of the sum of the parts that the objective has without any diversification, so that a book whose
risks cancel is not measured by the nothing that is left.
"""

from __future__ import annotations

import numpy as np

from ordinis.optimize.bounds import lower_bound
from ordinis.optimize.region import Prices, Region, TradingCosts
from ordinis.ports import FloatArray

NOTHING = 1e-3
"""An objective smaller than this, in units of its coefficients, is all but zero."""
AT_BOUND = 1e-6


def quadratic_gap(
    weights: FloatArray,
    matrix: FloatArray,
    linear: FloatArray,
    region: Region,
    costs: TradingCosts | None,
    prices: Prices,
) -> float:
    """Of w' `matrix` w / 2 + `linear`' w + costs, (N, N) positive semi-definite and (N,)."""
    gradient = matrix @ weights + linear
    paid = 0.0 if costs is None else costs.of(weights - region.start)
    better = float(gradient @ weights) + paid - lower_bound(gradient, region, costs, prices)
    variances = np.diag(matrix)
    size = float(variances @ weights**2) / 2.0 + float(np.abs(linear) @ np.abs(weights)) + paid
    return better / (size + NOTHING * (float(variances.mean()) + float(np.abs(linear).max())) or 1.0)


def ratio_gap(weights: FloatArray, mean: FloatArray, matrix: FloatArray, region: Region, prices: Prices) -> float:
    """Of `mean`' w / sqrt(w' `matrix` w), the mean above 0 at `weights`; in units of that mean."""
    earned, pressed = float(mean @ weights), matrix @ weights
    variance = float(weights @ pressed)
    if not earned > 0.0:
        return np.inf
    # Without any risk there is no better ratio.
    slope = earned * pressed / variance - mean if variance > 0.0 else np.zeros(region.size)
    return -lower_bound(slope, region, None, prices) / earned


def parity_gap(
    weights: FloatArray, matrix: FloatArray, budgets: FloatArray, region: Region, prices: Prices | None = None
) -> float:
    """Of w' `matrix` w / 2 - `budgets`' log w, weights above 0; in units of all budgets.

    Without prices the region has nothing but bounds so far away that a tangent says little. There the squared Newton
    decrement is the gap (Nesterov 2018, for functions whose walls are logarithms), of which the shares of risk that are
    not their budgets, a_i, give the bound sum_i b_i a_i^2.
    """
    if not (weights > 0.0).all():
        return np.inf
    gradient = matrix @ weights - budgets / weights
    if prices is not None:
        better = float(gradient @ weights) - lower_bound(gradient, region, None, prices)
        return better / float(budgets.sum())
    amiss = weights * gradient / budgets
    amiss = np.where((weights >= region.upper * (1.0 - AT_BOUND)) & (amiss < 0.0), 0.0, amiss)
    return float(budgets @ amiss**2 / budgets.sum())
