"""The portfolio of least CVaR inside the limits, with an optional term for the mean.

    minimise  CVaR_beta(-r' w) - c mean(r)' w + costs(w - held)
    over      sum w = invested,   0 <= w_i <= cap,   sector sums <= S_cap

with S equally likely scenarios r_s of which CVaR averages the worst (1 - beta) S (Rockafellar and Uryasev 2000). It is
solved on the few scenarios that matter and certified on all of them (`tail_solver`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ordinis.domain.limits import Limits
from ordinis.optimize.mean_variance import check_solution
from ordinis.optimize.region import Region, TradingCosts
from ordinis.optimize.scenarios import Scenarios
from ordinis.optimize.tail_solver import TailSolver
from ordinis.ports import FloatArray

GAP = 1e-8
"""Relative gap between the objective and what none can be below."""


@dataclass(frozen=True)
class MeanCVaRSolution:
    """(N,) weights; objective, its lower bound and CVaR per session in the unit of a return, losses positive."""

    weights: FloatArray
    objective: float
    bound: float
    cvar: float
    mean_return: float


def mean_cvar(
    returns: FloatArray,
    symbols: Sequence[str],
    limits: Limits,
    confidence_level: float = 0.95,
    mean_weight: float = 0.0,
    invested: float | None = None,
    held: FloatArray | None = None,
    costs: TradingCosts | None = None,
) -> MeanCVaRSolution:
    """Weights that minimise CVaR of the loss minus `mean_weight` times the mean return.

    Args:
        returns: (S, N) scenarios of session returns, finite.
        symbols: N names, for the sectors.
        limits: the feasible set.
        confidence_level: CVaR at 0.95 averages the worst 5 %.
        mean_weight: the c above, a pure number; 0 leaves the mean out.
        invested: sum of weights; None invests all that the limits allow.
        held: (N,) weights before the trade; None for an empty book.
        costs: of the trade, spread over the sessions that the weights are meant to be held; None for none.

    Raises:
        InfeasibleLimits: `invested` is out of reach.
        SolverFailed: no answer could be certified, or it does not bear checking.
    """
    scenarios, count = returns.shape
    if count != len(symbols) or scenarios == 0:
        raise ValueError(f"returns of shape {returns.shape} for {len(symbols)} symbols")
    if not np.isfinite(returns).all():
        raise ValueError("returns hold values that are not finite; leave those symbols out first")
    mean = returns.mean(axis=0)
    region = replace(Region.of(symbols, limits, invested), held=held)
    # The average of all scenarios is the loss of one, their mean, at whatever level.
    tail = Scenarios(mean[None, :], 0.5) if confidence_level == 0.0 else Scenarios(returns, confidence_level)
    found = TailSolver(tail).solve(region, mean_weight * mean, costs, GAP)
    check_solution("interior point", found.weights, symbols, limits, float(region.row_upper[0]))
    return MeanCVaRSolution(found.weights, found.objective, found.bound, found.cvar, float(mean @ found.weights))
