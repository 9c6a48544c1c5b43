"""The portfolio of least variance inside the limits (Markowitz 1952, without expected returns).

    minimise  w' Sigma w   subject to   sum w = invested,   0 <= w_i <= cap,   sector sums <= S

Expected returns are left out on purpose: their error swamps what they add (Merton 1980). The quadratic program goes to
Clarabel, an interior-point solver, through its own interface: modelling layers cost ten times the solve. Sigma is
scaled to order one first, so that the tolerances mean the same in a calm and in a wild market. Settings are fixed and
single-threaded: equal inputs give equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import clarabel
import numpy as np
from scipy import sparse

from ordinis.domain.limits import Limits
from ordinis.errors import SolverFailed
from ordinis.optimize.certificate import certify
from ordinis.optimize.constraints import invested_target, sector_rows
from ordinis.ports import FloatArray

TOLERANCE = 1e-10
ACCEPTED = 1e-7
"""A solution further outside a limit than this is no solution. An interior point never reaches a bound exactly."""


def minimum_variance(
    covariance: FloatArray, symbols: Sequence[str], limits: Limits, invested: float | None = None
) -> FloatArray:
    """Weights of least variance.

    Args:
        covariance: (N, N) of session returns, symmetric, positive semi-definite.
        symbols: N names, for the sectors.
        limits: the feasible set.
        invested: sum of weights; None invests all that the limits allow.

    Returns:
        (N,) fractions of equity.

    Raises:
        InfeasibleLimits: `invested` is out of reach.
        SolverFailed: the solver did not call its answer solved, or the answer breaks a limit.
    """
    count = len(symbols)
    if covariance.shape != (count, count):
        raise ValueError(f"covariance of shape {covariance.shape} for {count} symbols")
    if not np.isfinite(covariance).all():
        raise ValueError("covariance holds values that are not finite")
    total = invested_target(symbols, limits, invested)
    scale = float(np.trace(covariance)) / max(count, 1)
    if total <= 0.0 or scale <= 0.0:
        return np.full(count, total / max(count, 1))
    sectors = sector_rows(symbols, limits)
    identity = np.eye(count)
    rows = sparse.csc_matrix(np.vstack([np.ones((1, count)), -identity, identity, sectors]))
    bounds = np.concatenate(
        [[total], np.zeros(count), np.full(count, limits.position_cap), np.full(len(sectors), limits.sector_cap)]
    )
    cones = [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(2 * count + len(sectors))]
    quadratic = sparse.csc_matrix(np.triu(covariance) / scale)
    solution = clarabel.DefaultSolver(quadratic, np.zeros(count), rows, bounds, cones, _settings()).solve()
    if solution.status != clarabel.SolverStatus.Solved:
        raise SolverFailed("clarabel", str(solution.status))
    weights = np.clip(np.asarray(solution.x, dtype=np.float64), 0.0, limits.position_cap)
    check_solution("clarabel", weights, symbols, limits, total)
    return weights


def check_solution(solver: str, weights: FloatArray, symbols: Sequence[str], limits: Limits, invested: float) -> None:
    """Believe a solver only after measuring: SolverFailed when its weights break a limit or invest another sum."""
    certificate = certify(dict(zip(symbols, weights.tolist(), strict=True)), limits, ACCEPTED)
    if not certificate.holds:
        broken = min(certificate.slacks, key=lambda name: certificate.slacks[name])
        raise SolverFailed(solver, f"solved, but {broken} is broken by {-certificate.worst:.2e}")
    if abs(float(weights.sum()) - invested) > ACCEPTED:
        raise SolverFailed(solver, f"solved, but invested {weights.sum():.9f} instead of {invested:.9f}")


def _settings() -> Any:
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_iter = 200
    settings.max_threads = 1
    settings.direct_solve_method = "qdldl"
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = TOLERANCE
    return settings
