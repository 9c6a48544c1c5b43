"""The portfolio of least CVaR inside the limits, with an optional term for the mean.

    minimise  CVaR_beta(-r' w) - c mean(r)' w + costs(w - held)
    over      sum w = invested,   0 <= w_i <= cap,   sector sums <= S_cap

with S equally likely scenarios r_s of which CVaR averages the worst (1 - beta) S (Rockafellar and Uryasev 2000). It is
solved on the few scenarios that matter and certified on all of them (`tail_solver`), on a GPU where there is one and
they are many (`array_modules`); what a device says its weights risk is computed again on this machine.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ordinis.domain.limits import Limits
from ordinis.errors import SolverFailed
from ordinis.optimize.array_modules import ArrayModule, Ladder, first_that_answers, ladder
from ordinis.optimize.mean_variance import check_solution
from ordinis.optimize.region import Region, TradingCosts
from ordinis.optimize.scenarios import Scenarios
from ordinis.optimize.tail_solver import SOLVER, Optimum, TailSolver
from ordinis.ports import FloatArray
from ordinis.risk.measures import cvar

logger = logging.getLogger(__name__)

GAP, ENOUGH = 1e-8, 1e-6
"""Relative gap between the objective and what none can be below: asked for, and taken where that is not reached."""
SAME = 1e-9
"""Two computations of one CVaR differ by rounding only."""


@dataclass(frozen=True)
class MeanCVaRSolution:
    """(N,) weights; objective, its lower bound and CVaR per session in the unit of a return, losses positive."""

    weights: FloatArray
    objective: float
    bound: float
    cvar: float
    mean_return: float
    trace: Mapping[str, object] = field(default_factory=dict)
    """Which arrays answered, and why those before them did not."""


def mean_cvar(
    returns: FloatArray,
    symbols: Sequence[str],
    limits: Limits,
    confidence_level: float = 0.95,
    mean_weight: float = 0.0,
    invested: float | None = None,
    held: FloatArray | None = None,
    costs: TradingCosts | None = None,
    ladder: Ladder = ladder,
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
        ladder: chooses the array modules to try by how many numbers the scenarios have.

    Raises:
        InfeasibleLimits: `invested` is out of reach.
        SolverFailed: no answer could be certified, or it does not bear checking.
    """
    scenarios, count = returns.shape
    if count != len(symbols) or scenarios == 0:
        raise ValueError(f"returns of shape {returns.shape} for {len(symbols)} symbols")
    if not np.isfinite(returns).all():
        row, column = np.argwhere(~np.isfinite(returns))[0].tolist()
        raise ValueError(
            f"the return of {symbols[column]} in scenario {row} is {returns[row, column]}; leave that symbol out first"
        )
    mean = returns.mean(axis=0)
    region = replace(Region.of(symbols, limits, invested), held=held)
    # The average of all scenarios is the loss of one, their mean, at whatever level.
    tail, level = (mean[None, :], 0.5) if confidence_level == 0.0 else (returns, confidence_level)

    def solve(arrays: ArrayModule) -> Optimum:
        scenarios = Scenarios(arrays.module.asarray(tail), level, arrays.module, arrays.largest)
        solver = TailSolver(scenarios)
        try:
            found = solver.solve(region, mean_weight * mean, costs, GAP)
        except SolverFailed as failure:
            # Rounding over hundreds of symbols whose risks nearly cancel can leave a little more between the bounds.
            logger.debug("asking for less reason=%s", failure)
            found = solver.solve(region, mean_weight * mean, costs, ENOUGH)
        check_solution(SOLVER, found.weights, symbols, limits, float(region.row_upper[0]))
        risked = cvar(-(tail @ found.weights), level)
        if not abs(found.cvar - risked) <= SAME * max(abs(risked), found.least):
            raise SolverFailed(SOLVER, f"solved, but its weights risk {risked:.6e} and not {found.cvar:.6e}")
        return found

    found, trace = first_that_answers(ladder(tail.size), solve)
    earned = float(mean @ found.weights)
    return MeanCVaRSolution(found.weights, found.objective, found.bound, found.cvar, earned, trace)
