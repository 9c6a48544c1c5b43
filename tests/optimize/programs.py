"""Random mean-CVaR programs, and the same program in another formulation, solved by others' solvers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import cvxpy as cp
import numpy as np

from ordinis.optimize.region import Region, TradingCosts
from ordinis.ports import FloatArray

KINDS = (
    "long only",
    "long-short",
    "sector",
    "turnover",
    "linear costs",
    "curved costs",
    "everything",
    "square costs",
    "curved and square costs",
)


@dataclass(frozen=True)
class Program:
    kind: str
    returns: FloatArray
    confidence_level: float
    reward: FloatArray
    region: Region
    costs: TradingCosts | None


def a_program(seed: int) -> Program:
    """A feasible program with heavy tails; kinds follow each other with the seeds."""
    rng, kind = np.random.default_rng(seed), KINDS[seed % len(KINDS)]
    count, scenarios = int(rng.integers(2, 16)), int(rng.integers(40, 401))
    factor = rng.standard_t(4, size=(scenarios, 1)) * 0.008
    returns = factor * rng.uniform(0.3, 1.6, count) + rng.standard_t(4, size=(scenarios, count)) * rng.uniform(
        0.002, 0.015, count
    )
    short = kind in ("long-short", "everything")
    cap = rng.uniform(1.2, 4.0) / count
    lower, upper = np.full(count, -cap if short else 0.0), np.full(count, cap)
    if rng.random() < 0.3:
        lower[0] = upper[0] = rng.uniform(lower[0], upper[0])
    inside = rng.uniform(lower, upper)
    rows, low, high = [np.ones(count)], [float(inside.sum())], [float(inside.sum())]
    if rng.random() < 0.3:
        low[0] = -np.inf
    if kind in ("sector", "everything"):
        for sector in range(int(rng.integers(1, 4))):
            row = np.where(np.arange(count) % 3 == sector, 1.0, 0.0)
            rows.append(row)
            low.append(-np.inf if rng.random() < 0.7 else float(row @ inside) - 0.05)
            high.append(float(row @ inside) + rng.uniform(0.0, 0.1))
    held = rng.uniform(lower, upper) if kind in ("turnover", "everything") or kind.endswith("costs") else None
    turnover = None
    if held is not None and kind in ("turnover", "everything"):
        turnover = float(np.abs(inside - held).sum()) * rng.uniform(1.0, 1.5)
    leverage = float(np.abs(inside).sum()) * rng.uniform(1.0, 1.3) if short else None
    region = Region(lower, upper, np.array(rows), np.array(low), np.array(high), leverage, held, turnover)
    linear = rng.uniform(0.0, 2e-3, count)
    # The first without a charge, as a name of which the volume is unknown.
    square = rng.uniform(0.0, 5e-2, count) * (np.arange(count) > 0)
    costs = {
        "linear costs": TradingCosts(linear, np.zeros(count)),
        "curved costs": TradingCosts(linear, rng.uniform(0.0, 1e-2, count), float(rng.choice([1.2, 1.5, 1.6, 1.75]))),
        "everything": TradingCosts(linear, rng.uniform(0.0, 1e-2, count), square=square),
        "square costs": TradingCosts(linear, np.zeros(count), square=square),
        "curved and square costs": TradingCosts(
            linear, rng.uniform(0.0, 1e-2, count), float(rng.choice([1.1, 1.3, 1.5, 1.8])), square
        ),
    }.get(kind)
    level = float(rng.choice([0.5, 0.75, 0.9, 0.95, 0.99, rng.uniform(0.3, 0.995)]))
    return Program(kind, returns, level, rng.uniform(0.0, 2.0) * returns.mean(axis=0), region, costs)


def reference(program: Program) -> float | None:
    """The least objective: a linear program by HiGHS, or with power cones and squares by Clarabel for curved costs.

    None where Clarabel does not call its answer optimal.
    """
    region, costs = program.region, program.costs
    scenarios, count = program.returns.shape
    scale = float(np.sqrt(np.mean(program.returns**2)))
    weights, level = cp.Variable(count), cp.Variable()
    beyond = cp.sum(cp.pos(-(program.returns / scale) @ weights - level))
    objective = level + beyond / ((1.0 - program.confidence_level) * scenarios) - (program.reward / scale) @ weights
    values = region.rows @ weights
    rules = [weights >= region.lower, weights <= region.upper]
    rules += [values[k] >= bound for k, bound in enumerate(region.row_lower) if np.isfinite(bound)]
    rules += [values[k] <= bound for k, bound in enumerate(region.row_upper) if np.isfinite(bound)]
    traded = cp.abs(weights - region.start)
    if region.leverage is not None:
        rules.append(cp.norm1(weights) <= region.leverage)
    if region.turnover is not None:
        rules.append(cp.sum(traded) <= region.turnover)
    curved = costs is not None and costs.curved
    if costs is not None:
        objective += cp.sum(cp.multiply(costs.linear / scale, traded))
        if costs.square.any():
            objective += cp.sum(cp.multiply(costs.square / scale, cp.square(traded)))
        if costs.power.any():
            objective += cp.sum(cp.multiply(costs.power / scale, cp.power(traded, costs.exponent)))
    problem = cp.Problem(cp.Minimize(objective), rules)
    with warnings.catch_warnings():
        # Of its own presolve, and of an answer that is not taken below.
        warnings.simplefilter("ignore")
        _solve(problem, curved=curved)
    assert curved or problem.status == cp.OPTIMAL, problem.status
    return float(problem.value) * scale if problem.status == cp.OPTIMAL else None


def _solve(problem: cp.Problem, *, curved: bool) -> None:
    if curved:
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-8, tol_gap_rel=1e-8, tol_feas=1e-9)
    else:
        tight = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
        problem.solve(solver=cp.HIGHS, highs_options=tight)
