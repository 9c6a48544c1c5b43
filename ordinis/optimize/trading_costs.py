"""The project's cost model as an optimiser needs it: what a trade of a share of the equity costs, as a share of it.

A trade of the fraction q of equity E in a name at price P with average daily volume V is of q E / P units, so that with
the model of `costs.models`

    half spread, commission    linear_i = half_spread + commission
    temporary impact           power_i q^e = eta_i sigma_i q (q E / (P_i V_i))^delta         e = 1 + delta
    permanent impact           square_i q^2 = permanent_i / 2 sigma_i q (q E / (P_i V_i))

and the estimate of the optimiser is what the simulated venue books for the same trades, but for the rounding of cents
and for sales so large that nothing would be left of them, for which no venue pays less than nothing.
Where volume or volatility is unknown both impacts are left out, as the venue leaves them out. A calibrated model has
parameters by symbol, and one delta.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ordinis.costs.models import BASIS_POINT, CalibratedCost, ProportionalCost, SquareRootCost
from ordinis.errors import ConfigurationError, NoVolume
from ordinis.optimize.region import TradingCosts
from ordinis.ports import CostModel, FloatArray


def trading_costs(
    model: CostModel,
    symbols: Sequence[str],
    equity: float,
    prices: FloatArray,
    daily_volume: FloatArray,
    volatility: FloatArray,
) -> TradingCosts:
    """What trades in N symbols cost.

    Args:
        symbols: N names.
        equity: of the book, in currency.
        prices: (N,) in currency.
        daily_volume: (N,) units on an average day; NaN where it is not known.
        volatility: (N,) of a session's return; NaN where it is not known.

    Raises:
        ConfigurationError: the model has no such form; only the broker's side can use it.
        NoVolume: the average daily volume of a symbol is not above 0.
    """
    for symbol, volume in zip(symbols, daily_volume.tolist(), strict=True):
        if volume <= 0.0:
            raise NoVolume(symbol, volume)
    match model:
        case ProportionalCost():
            return TradingCosts(np.full(len(symbols), model.bps * BASIS_POINT), np.zeros(len(symbols)))
        case SquareRootCost():
            return _impacts([model] * len(symbols), model.delta, equity / (prices * daily_volume), volatility)
        case CalibratedCost():
            models = [model.of(symbol) for symbol in symbols]
            return _impacts(models, model.book.delta, equity / (prices * daily_volume), volatility)
    raise ConfigurationError("cost model", f"{type(model).__name__} is not one that an optimiser knows")


def _impacts(models: Sequence[SquareRootCost], delta: float, share: FloatArray, volatility: FloatArray) -> TradingCosts:
    """By the models of N symbols; `share` (N,) is the participation of a trade of the whole equity."""
    linear = np.array([(model.half_spread_bps + model.commission_bps) * BASIS_POINT for model in models])
    temporary = np.array([model.eta for model in models]) * volatility * share**delta
    permanent = np.array([model.permanent for model in models]) * volatility * share / 2.0
    known = np.isfinite(volatility * share)
    return TradingCosts(linear, np.where(known, temporary, 0.0), 1.0 + delta, np.where(known, permanent, 0.0))
