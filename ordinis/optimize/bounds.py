"""What an optimum cannot be better than, from multipliers that anybody may have made.

For a convex program every choice of multipliers gives a lower bound (Lagrange). The limits that tie weights together,
rows, leverage and turnover, move into the objective at their prices, and what is left falls apart into one problem
for each symbol,

    minimise  r w + g |w| + (c + h) q + d q^e + s q^2   over  lower <= w <= upper,   q = |w - held|

with r the slope that is left, g and h the prices of leverage and turnover, c, d and s the costs of trading. Between its
bounds, zero and what is held this is smooth and convex in q; on each such piece the least is where the derivative is
zero, or at the end that is nearer. A convex function lies above its tangents: what the tangent at the point found
leaves open over the rest of the piece is taken off, so that a point badly found gives a bound that is weak, never one
that is false. The same holds of prices that are wrong. Nothing here is shared with a solver.
"""

from __future__ import annotations

import numpy as np

from ordinis.optimize.region import Prices, Region, TradingCosts
from ordinis.ports import FloatArray

SMALLEST = 1e-300
"""A trade that is nothing, at which the slope of a power is still a number."""
STEPS, SAME = 60, 1e-15
"""Newton's steps towards a point, at most, and when the last one of them moved it by no more than rounding.

Eight are enough where costs grow with a power of 1.1 or more.
"""


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
    costs = TradingCosts(zero, zero) if costs is None else costs
    linear, power, square, exponent = costs.linear + turnover, costs.power, costs.square, costs.exponent
    # Bounds that cross by rounding are one point and not none, of which anything could be said.
    upper, best = np.maximum(region.upper, region.lower), np.full(region.size, np.inf)
    for side in (1.0, -1.0):
        for sign in (1.0, -1.0):
            # The piece on which w = held + side q has this sign: first <= q <= last.
            low = np.maximum(region.lower, 0.0) if sign > 0.0 else region.lower
            high = upper if sign > 0.0 else np.minimum(upper, 0.0)
            first, last = (low - held, high - held) if side > 0.0 else (held - high, held - low)
            first = np.maximum(first, 0.0)
            along = side * (slope + sign * leverage) + linear
            # With an exponent near one the root may be too small for a number, and zero has another slope.
            stationary = np.maximum(_stationary(-along, power, exponent, square), SMALLEST)
            traded = np.clip(stationary, first, np.maximum(last, first))
            tilt = along + exponent * power * traded ** (exponent - 1.0) + 2.0 * square * traded
            left_open = np.where(tilt > 0.0, tilt * (traded - first), -tilt * (last - traded))
            value = (slope + sign * leverage) * held + along * traded + power * traded**exponent + square * traded**2
            best = np.where(first <= last, np.minimum(best, value - left_open), best)
    return best


def _stationary(gain: FloatArray, power: FloatArray, exponent: float, square: FloatArray) -> FloatArray:
    """(N,) the q >= 0 where exponent power q^(exponent - 1) + 2 square q = gain; infinite where nothing holds it back.

    The left side rises with q. Each term alone puts the root too far out, so the nearer of the two is where Newton's
    method begins; in logarithms the equation is convex and it comes down to the root without passing it.
    """
    # Prices beyond all measure put it beyond all bounds.
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        by_power = (gain / (exponent * power)) ** (1.0 / (exponent - 1.0))
        by_square = gain / (2.0 * square)
        root = np.where(gain > 0.0, np.minimum(by_power, by_square), 0.0)
        both = (root > 0.0) & np.isfinite(by_power) & np.isfinite(by_square)
        gain, power, square, found = gain[both], power[both], square[both], root[both]
        for _ in range(STEPS):
            of_power, of_square = exponent * power * found ** (exponent - 1.0), 2.0 * square * found
            whole = of_power + of_square
            step = (gain / whole) ** (whole / ((exponent - 1.0) * of_power + of_square))
            found = found * step
            if not (np.abs(step - 1.0) > SAME).any():
                break
    root[both] = found
    return root
