"""The peers' ways to the same mean-CVaR portfolio: maximise mean(r)' w - CVaR_95, long-only, sum 1, w <= cap.

Each takes (S, N) returns and a cap and returns (N,) weights. skfolio and HiGHS are in the project's own environment.
CVQP and Riskfolio-Lib are not: `python -m benchmarks.peers PEER PROBLEM.npz RUNS` solves a kept problem in an
environment of theirs, without a module of the project, and prints seconds and weights as one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

LEVEL = 0.95
CVQP_TOLERANCE = 2e-7
Solve = Callable[[np.ndarray, float], np.ndarray]


def skfolio(returns: np.ndarray, cap: float) -> np.ndarray:
    """Its MeanRisk, which hands a conic program to Clarabel."""
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk, ObjectiveFunction

    model = MeanRisk(
        objective_function=ObjectiveFunction.MAXIMIZE_UTILITY,
        risk_measure=RiskMeasure.CVAR,
        cvar_beta=LEVEL,
        risk_aversion=1.0,
        max_weights=cap,
    )
    return np.asarray(model.fit(returns).weights_)


def highs(returns: np.ndarray, cap: float) -> np.ndarray:
    """Rockafellar and Uryasev's linear program, handed to HiGHS's dual simplex without a modelling layer."""
    import highspy

    scenarios, count = returns.shape
    infinity, scale = highspy.kHighsInf, float(np.sqrt(np.mean(returns**2)))
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = count + 1 + scenarios, scenarios + 1
    share = 1.0 / ((1.0 - LEVEL) * scenarios)
    program.col_cost_ = np.concatenate([-returns.mean(axis=0) / scale, [1.0], np.full(scenarios, share)])
    program.col_lower_ = np.concatenate([np.zeros(count), [-infinity], np.zeros(scenarios)])
    program.col_upper_ = np.concatenate([np.full(count, cap), np.full(1 + scenarios, infinity)])
    program.row_lower_ = np.concatenate([np.zeros(scenarios), [1.0]])
    program.row_upper_ = np.concatenate([np.full(scenarios, infinity), [1.0]])
    # By columns: w_i in all rows, t and u_s in those of the scenarios.
    dense, height = np.vstack([returns / scale, np.ones((1, count))]), scenarios + 1
    program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    starts = [np.arange(count + 1) * height, count * height + scenarios + np.arange(scenarios + 1)]
    program.a_matrix_.start_ = np.concatenate(starts).astype(np.int32)
    places = [np.tile(np.arange(height), count), np.arange(scenarios), np.arange(scenarios)]
    program.a_matrix_.index_ = np.concatenate(places).astype(np.int32)
    program.a_matrix_.value_ = np.concatenate([dense.T.ravel(), np.ones(2 * scenarios)])
    solver: Any = highspy.Highs()  # type: ignore[no-untyped-call]
    for option, value in (("output_flag", False), ("solver", "simplex"), ("presolve", "off")):
        solver.setOptionValue(option, value)
    solver.passModel(program)
    solver.run()
    return np.asarray(solver.getSolution().col_value[:count])


def cvqp(returns: np.ndarray, cap: float) -> np.ndarray:
    """The ADMM of CVQP 0.3 on the epigraph: minimise s - mean' w with CVaR(-r'w - s) <= 0, scaled to order one.

    Its default tolerances call an answer optimal that is one per cent off; with these it comes within some 1e-5.
    """
    import cvqp as library  # type: ignore[import-not-found]

    scenarios, count = returns.shape
    scale = float(np.sqrt(np.mean(returns**2)))
    losses = np.hstack([-returns / scale, np.full((scenarios, 1), -1.0)])
    bounds = np.hstack([np.vstack([np.ones((1, count)), np.eye(count)]), np.zeros((count + 1, 1))])
    lower, upper = np.append(1.0, np.zeros(count)), np.append(1.0, np.full(count, cap))
    cost = np.append(-returns.mean(axis=0) / scale, 1.0)
    settings = library.Settings(abstol=CVQP_TOLERANCE, reltol=CVQP_TOLERANCE)
    found = library.solve(None, cost, losses, bounds, lower, upper, LEVEL, 0.0, settings=settings)
    weights = np.clip(found.x[:count], 0.0, cap)
    return np.asarray(weights / weights.sum())


def riskfolio(returns: np.ndarray, cap: float) -> np.ndarray:
    """Riskfolio-Lib's classic model with CVaR as the risk measure and a utility objective."""
    import pandas as pd
    import riskfolio as library  # type: ignore[import-not-found]

    model = library.Portfolio(returns=pd.DataFrame(returns), alpha=1.0 - LEVEL, upperlng=cap)
    model.assets_stats(method_mu="hist", method_cov="hist")
    found = model.optimization(model="Classic", rm="CVaR", obj="Utility", rf=0.0, l=1.0, hist=True)
    return np.asarray(found["weights"])


PEERS: dict[str, Solve] = {"skfolio": skfolio, "HiGHS": highs, "CVQP": cvqp, "Riskfolio-Lib": riskfolio}


def main() -> None:
    peer, problem, runs = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with np.load(problem) as kept:
        returns, cap = kept["returns"], float(kept["cap"])
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        weights = PEERS[peer](returns, cap)
        taken.append(time.perf_counter() - began)
    sys.stdout.write(json.dumps({"seconds": taken, "weights": weights.tolist()}) + "\n")


if __name__ == "__main__":
    main()
