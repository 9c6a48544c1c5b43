"""The project's cost model as an optimiser needs it: what a trade of a share of the equity costs, as a share of it.

A trade of the fraction q of equity E in a name at price P with average daily volume V is of q E / P units, so that with
the model of `costs.models`

    half spread, commission    linear_i = half_spread + commission
    impact                     power_i q^e = eta sigma_i q (q E / (P_i V_i))^delta        e = 1 + delta

and the estimate of the optimiser is what the simulated venue books for the same trades, but for the rounding of cents.
Where volume or volatility is unknown the impact is left out, as the venue leaves it out.
"""

from __future__ import annotations

import numpy as np

from ordinis.costs.models import BASIS_POINT, ProportionalCost, SquareRootCost
from ordinis.errors import ConfigurationError
from ordinis.optimize.region import TradingCosts
from ordinis.ports import CostModel, FloatArray


def trading_costs(
    model: CostModel, equity: float, prices: FloatArray, daily_volume: FloatArray, volatility: FloatArray
) -> TradingCosts:
    """What trades in N symbols cost.

    Args:
        equity: of the book, in currency.
        prices: (N,) in currency.
        daily_volume: (N,) units on an average day; NaN where it is not known.
        volatility: (N,) of a session's return; NaN where it is not known.

    Raises:
        ConfigurationError: the model has no such form; only the broker's side can use it.
    """
    count = len(prices)
    match model:
        case ProportionalCost():
            return TradingCosts(np.full(count, model.bps * BASIS_POINT), np.zeros(count))
        case SquareRootCost():
            share = equity / (prices * daily_volume)
            impact = model.eta * volatility * share**model.delta
            linear = np.full(count, (model.half_spread_bps + model.commission_bps) * BASIS_POINT)
            return TradingCosts(linear, np.where(np.isfinite(impact), impact, 0.0), 1.0 + model.delta)
    raise ConfigurationError("cost model", f"{type(model).__name__} is not one that an optimiser knows")
