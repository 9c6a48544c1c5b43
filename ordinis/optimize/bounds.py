"""What an optimum cannot be better than, from multipliers that anybody may have made.

For a convex program every choice of multipliers gives a lower bound (Lagrange). The limits that tie weights together,
rows, leverage and turnover, move into the objective at their prices, and what is left falls apart into one problem
for each symbol,

    minimise  r w + g |w| + (c + h) |w - held| + d |w - held|^e   over  lower <= w <= upper

with r the slope that is left, g and h the prices of leverage and turnover, c and d the costs of trading. It is
solved exactly: the least is at a bound, at zero, at what is held, or where the derivative is zero in between. Nothing
here is shared with a solver: prices that are wrong give a bound that is weak, never one that is false.
"""

from __future__ import annotations

import numpy as np

from ordinis.optimize.region import Prices, Region, TradingCosts
from ordinis.ports import FloatArray


def lower_bound(gradient: FloatArray, region: Region, costs: TradingCosts | None, prices: Prices) -> float:
    """A number that gradient' w plus the costs of trading does not fall below anywhere in the region.

    Args:
        gradient: (N,).
        costs: of trades against what the region says is held; None for none.
        prices: of the region's limits; those of a sign that a limit cannot have count as zero.
    """
    rows = np.where(prices.rows > 0.0, *(_priced(prices.rows, bound) for bound in (region.row_lower, region.row_upper)))
    limits = np.where(rows > 0.0, region.row_lower, region.row_upper)
    constant = float(np.where(rows != 0.0, rows * np.where(rows != 0.0, limits, 0.0), 0.0).sum())
    leverage = 0.0 if region.leverage is None else max(prices.leverage, 0.0)
    turnover = 0.0 if region.turnover is None else max(prices.turnover, 0.0)
    constant -= leverage * (region.leverage or 0.0) + turnover * (region.turnover or 0.0)
    return constant + float(_least(gradient - region.rows.T @ rows, leverage, turnover, region, costs).sum())


def _priced(prices: FloatArray, bound: FloatArray) -> FloatArray:
    return np.where(np.isfinite(bound), prices, 0.0)


def _least(
    slope: FloatArray, leverage: float, turnover: float, region: Region, costs: TradingCosts | None
) -> FloatArray:
    """(N,) the least of each symbol's own problem."""
    zero, held = np.zeros(region.size), region.start
    linear, power = (zero, zero) if costs is None else (costs.linear, costs.power)
    exponent = 2.0 if costs is None else costs.exponent
    linear = linear + turnover
    candidates = [region.lower, region.upper, zero, held]
    for side in (1.0, -1.0):
        for sign in (1.0, -1.0):
            # w = held + side q: the derivative in q is zero where e d q^(e - 1) is what the rest gains.
            gain = np.maximum(-(side * (slope + sign * leverage) + linear), 0.0)
            root = np.divide(gain, exponent * power, out=zero.copy(), where=power > 0.0)
            # Prices beyond all measure put it at a bound.
            with np.errstate(over="ignore"):
                candidates.append(held + side * root ** (1.0 / (exponent - 1.0)))
    points = np.clip(np.stack(candidates), region.lower, region.upper)
    traded = np.abs(points - held)
    values = slope * points + leverage * np.abs(points) + linear * traded + power * traded**exponent
    return np.asarray(values.min(axis=0))
