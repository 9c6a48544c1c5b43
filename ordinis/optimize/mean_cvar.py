"""The portfolio of least CVaR inside the limits, with an optional term for the mean.

Rockafellar and Uryasev (2000): with S equally likely scenarios r_s and beta the confidence level,

    minimise  t + sum_s u_s / ((1 - beta) S) - c mean(r)' w      over w, t and u >= 0
    subject to  u_s >= -r_s' w - t,   sum w = invested,   0 <= w_i <= cap,   sector sums <= S_cap

is a linear program whose optimum is CVaR_beta of the loss minus c times the mean return; t is then the value at risk.
HiGHS solves it by its serial dual simplex. Trap: its feasibility tolerance of 1e-7 is 1e-5 of a CVaR of 0.015, so
returns are scaled to order one and the tolerances set to 1e-10. The objective is computed again from the weights by
`risk.measures.cvar`, which knows nothing of the program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np

from ordinis.domain.limits import Limits
from ordinis.errors import SolverFailed
from ordinis.optimize.constraints import invested_target, sector_rows
from ordinis.optimize.mean_variance import check_solution
from ordinis.ports import FloatArray
from ordinis.risk.measures import cvar

TOLERANCE = 1e-10
GAP_ACCEPTED = 1e-6
"""Relative difference between the solver's objective and ours above which its answer is not believed."""


@dataclass(frozen=True)
class MeanCVaRSolution:
    """(N,) weights; objective and CVaR per session in the unit of a return, losses positive."""

    weights: FloatArray
    objective: float
    cvar: float
    mean_return: float


def mean_cvar(
    returns: FloatArray,
    symbols: Sequence[str],
    limits: Limits,
    confidence_level: float = 0.95,
    mean_weight: float = 0.0,
    invested: float | None = None,
) -> MeanCVaRSolution:
    """Weights that minimise CVaR of the loss minus `mean_weight` times the mean return.

    Args:
        returns: (S, N) scenarios of session returns, finite.
        symbols: N names, for the sectors.
        limits: the feasible set.
        confidence_level: CVaR at 0.95 averages the worst 5 %.
        mean_weight: the c above, a pure number; 0 leaves the mean out.
        invested: sum of weights; None invests all that the limits allow.

    Raises:
        InfeasibleLimits: `invested` is out of reach.
        SolverFailed: the solver did not call its answer optimal, or the answer does not bear checking.
    """
    scenarios, count = returns.shape
    if count != len(symbols) or scenarios == 0:
        raise ValueError(f"returns of shape {returns.shape} for {len(symbols)} symbols")
    if not 0.0 <= confidence_level < 1.0:
        raise ValueError(f"confidence level {confidence_level} is not in [0, 1)")
    if not np.isfinite(returns).all():
        raise ValueError("returns hold values that are not finite; leave those symbols out first")
    total = invested_target(symbols, limits, invested)
    scale = float(np.sqrt(np.mean(returns**2)))
    if total <= 0.0 or scale <= 0.0:
        return _measured(np.full(count, total / max(count, 1)), returns, confidence_level, mean_weight)
    program = _program(returns / scale, symbols, limits, confidence_level, mean_weight, total)
    values, objective = _solve(program)
    weights = np.clip(values[:count], 0.0, limits.position_cap)
    check_solution("highs", weights, symbols, limits, total)
    solution = _measured(weights, returns, confidence_level, mean_weight)
    if abs(solution.objective / scale - objective) > GAP_ACCEPTED * max(1.0, abs(objective)):
        status = f"optimal at {objective * scale:.9f}, but its weights give {solution.objective:.9f}"
        raise SolverFailed("highs", status)
    return solution


def _measured(
    weights: FloatArray, returns: FloatArray, confidence_level: float, mean_weight: float
) -> MeanCVaRSolution:
    path = returns @ weights
    loss, mean = cvar(-path, confidence_level), float(path.mean())
    return MeanCVaRSolution(weights, loss - mean_weight * mean, loss, mean)


def _program(
    returns: FloatArray,
    symbols: Sequence[str],
    limits: Limits,
    confidence_level: float,
    mean_weight: float,
    total: float,
) -> highspy.HighsLp:
    """Columns w (N), t, u (S); rows u + r w + t >= 0 (S), the budget, the sectors (K); matrix by columns."""
    scenarios, count = returns.shape
    sectors = sector_rows(symbols, limits)
    infinity = highspy.kHighsInf
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = count + 1 + scenarios, scenarios + 1 + len(sectors)
    program.col_cost_ = np.concatenate(
        [-mean_weight * returns.mean(axis=0), [1.0], np.full(scenarios, 1.0 / ((1.0 - confidence_level) * scenarios))]
    )
    program.col_lower_ = np.concatenate([np.zeros(count), [-infinity], np.zeros(scenarios)])
    program.col_upper_ = np.concatenate([np.full(count, limits.position_cap), np.full(1 + scenarios, infinity)])
    program.row_lower_ = np.concatenate([np.zeros(scenarios), [total], np.full(len(sectors), -infinity)])
    program.row_upper_ = np.concatenate(
        [np.full(scenarios, infinity), [total], np.full(len(sectors), limits.sector_cap)]
    )
    dense = np.vstack([returns, np.ones((1, count)), sectors])
    height = len(dense)
    program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    program.a_matrix_.start_ = np.concatenate(
        [np.arange(count + 1) * height, count * height + scenarios + np.arange(scenarios + 1)]
    ).astype(np.int32)
    program.a_matrix_.index_ = np.concatenate(
        [np.tile(np.arange(height), count), np.arange(scenarios), np.arange(scenarios)]
    ).astype(np.int32)
    program.a_matrix_.value_ = np.concatenate([dense.T.ravel(), np.ones(2 * scenarios)])
    return program


def _solve(program: highspy.HighsLp) -> tuple[FloatArray, float]:
    solver: Any = highspy.Highs()  # type: ignore[no-untyped-call]
    # "parallel off" keeps the dual simplex serial. The option "threads" is left alone: HiGHS shares one scheduler a
    # process and refuses a number other than that of its first user.
    for option, value in (
        ("output_flag", False),
        ("solver", "simplex"),
        ("parallel", "off"),
        ("presolve", "off"),
        ("random_seed", 0),
        ("primal_feasibility_tolerance", TOLERANCE),
        ("dual_feasibility_tolerance", TOLERANCE),
    ):
        solver.setOptionValue(option, value)
    solver.passModel(program)
    solver.run()
    status = solver.getModelStatus()
    if status != highspy.HighsModelStatus.kOptimal:
        raise SolverFailed("highs", solver.modelStatusToString(status))
    values = np.asarray(solver.getSolution().col_value, dtype=np.float64)
    return values, float(solver.getInfo().objective_function_value)
