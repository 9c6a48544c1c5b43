"""The portfolios of Markowitz's family inside the limits: one region, one solver, one check for all of them.

    minimum variance           w' Sigma w
    mean-variance              a w' Sigma w / 2 - mu' w + costs           a the aversion to risk (Markowitz 1952)
    maximum Sharpe ratio       mu' w / sqrt(w' Sigma w)                   by the cone over the limits
    maximum diversification    sigma' w / sqrt(w' Sigma w)                Choueifaty and Coignard (2008)
    risk parity                w' Sigma w / 2 - c sum_i b_i log w_i       Maillard, Roncalli and Teiletche (2010)

Minimum variance leaves expected returns out on purpose: their error swamps what they add (Merton 1980). Risk parity
gives each position the share b_i of the risk; where a limit stands against that, the same sum is minimised inside the
limits, with the c at which the weights sum to what is to be invested (Richard and Roncalli 2019). Sigma is scaled to
order one first, so that the tolerances mean the same in a calm and in a wild market. What the solver calls solved is
believed only after the weights have been measured, against the limits and against what better ones there may be
(`optimality`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ordinis.domain.limits import Limits
from ordinis.errors import SolverFailed
from ordinis.optimize.certificate import certify
from ordinis.optimize.conic import SOLVER, Conic, conic
from ordinis.optimize.optimality import parity_gap, quadratic_gap, ratio_gap
from ordinis.optimize.region import Prices, Region, TradingCosts
from ordinis.ports import FloatArray

Program = Callable[[Region, TradingCosts | None], Conic]
"""A region with the costs of trading to what solves over it."""
ACCEPTED = 1e-7
"""A solution further outside a limit than this is no solution. An interior point never reaches a bound exactly."""
NEAR = 1e-6
"""Weights that others may beat by more than this, as a fraction of the objective, are no solution."""
NEAR_BY_TANGENT = 1e-3
"""The same for parity under limits: a tangent of its logarithms bends too little to say more."""
RATIO_STEPS, SAME_WEIGHTS = 45, 1e-6
"""Tries at the c of risk parity under limits, whose logarithm is found by halving, and when two are near enough."""


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
    scaled, scale = _scaled(covariance, len(symbols))
    region = Region.of(symbols, limits, invested)
    total = float(region.row_upper[0])
    if total <= 0.0 or scale <= 0.0:
        return np.full(len(symbols), total / max(len(symbols), 1))
    weights = quadratic(scaled, np.zeros(len(symbols)), region)
    check_solution(SOLVER, weights, symbols, limits, total)
    return weights


def quadratic(
    matrix: FloatArray,
    linear: FloatArray,
    region: Region,
    costs: TradingCosts | None = None,
    program: Program = conic,
) -> FloatArray:
    """(N,) weights of `region` with the least w' `matrix` w / 2 + `linear`' w + costs of trading.

    Args:
        matrix: (N, N), positive semi-definite, of order one.
        linear: (N,).
        program: what solves it, and is not believed.

    Raises:
        SolverFailed: the solver did not call its answer solved, it is outside the region, or others may be better.
    """
    solved = program(region, costs).solve(matrix, linear)
    weights = _measured(solved.columns[: region.size], region)
    _near_enough(quadratic_gap(weights, matrix, linear, region, costs, solved.prices))
    return weights


def mean_variance(
    mean: FloatArray,
    covariance: FloatArray,
    region: Region,
    aversion: float,
    costs: TradingCosts | None = None,
    program: Program = conic,
) -> FloatArray:
    """(N,) weights of `region` with the least `aversion` w' Sigma w / 2 - mean' w + costs.

    Args:
        mean: (N,) expected returns per session.
        covariance: (N, N) per session.
        aversion: above 0; the Kelly bet has 1.
        costs: of trades, spread over the sessions that the weights are meant to be held.
    """
    if not aversion > 0.0:
        raise ValueError(f"an aversion to risk of {aversion} is not above 0")
    scaled, scale = _scaled(covariance, region.size)
    scale = aversion * scale or 1.0
    charged = None if costs is None else costs.part(np.full(region.size, True), scale)
    return quadratic(scaled, -_finite(mean, region.size) / scale, region, charged, program)


def maximum_sharpe(mean: FloatArray, covariance: FloatArray, region: Region, program: Program = conic) -> FloatArray:
    """(N,) weights of `region` with the largest mean' w / sqrt(w' Sigma w).

    Args:
        mean: (N,) expected returns in excess of cash.

    Raises:
        SolverFailed: no weights in the region are expected to earn more than cash, or the solver stopped.
    """
    scaled, _ = _scaled(covariance, region.size)
    best = _finite(mean, region.size) / (float(np.abs(mean).max(initial=0.0)) or 1.0)
    cone = program(region, None).homogeneous(best)
    try:
        solved = cone.solve(scaled, np.zeros(region.size))
    except SolverFailed as failure:
        if "Infeasible" not in failure.status:
            raise
        raise SolverFailed(SOLVER, "no weights inside the limits are expected to earn more than cash") from failure
    columns, kappa = solved.columns, float(solved.columns[-1])
    if kappa <= ACCEPTED * float(np.abs(columns).max()):
        raise SolverFailed(SOLVER, "the best ratio is that of no weights at all")
    weights = _measured(columns[: region.size] / kappa, region)
    # The cut of the cone has a multiplier too, by which the others are counted.
    unit = float(best @ weights) ** 2 / (float(weights @ scaled @ weights) or 1.0)
    prices = Prices(solved.prices.rows * unit, solved.prices.leverage * unit, solved.prices.turnover * unit)
    _near_enough(ratio_gap(weights, best, scaled, region, prices))
    return weights


def maximum_diversification(covariance: FloatArray, region: Region, program: Program = conic) -> FloatArray:
    """(N,) weights of `region` with the largest ratio of the mean volatility of positions to that of the book."""
    return maximum_sharpe(np.sqrt(np.maximum(np.diag(covariance), 0.0)), covariance, region, program)


def risk_parity(
    covariance: FloatArray, region: Region, budgets: FloatArray | None = None, program: Program = conic
) -> FloatArray:
    """(N,) weights that each carry their share of the risk, or as near as the limits let them.

    Args:
        region: its first row is the sum of weights; every weight is at least 0 and may be above.
        budgets: (N,) positive shares of the risk; equal ones by default.
    """
    count, total = region.size, float(region.row_upper[0])
    shares = np.full(count, 1.0 / count) if budgets is None else np.asarray(budgets) / float(np.sum(budgets))
    if shares.shape != (count,) or not (shares > 0.0).all():
        raise ValueError("budgets of risk must be positive, one for each symbol")
    if total <= 0.0:
        return np.zeros(count)
    if not ((region.lower >= 0.0).all() and (region.upper > 0.0).all()):
        raise ValueError("risk parity needs symbols that may be held, and held long")
    scaled, _ = _scaled(covariance, count)
    free = Region(np.zeros(count), np.full(count, 1e3), np.zeros((0, count)), np.zeros(0), np.zeros(0))
    alone = program(free, None).with_logarithms(shares).solve(scaled, np.zeros(count)).columns[:count]
    _near_enough(parity_gap(alone, scaled, shares, free))
    weights = np.asarray(alone * (total / float(alone.sum())))
    if region.violation(weights) <= ACCEPTED:
        return weights
    rest = Region(
        region.lower, region.upper, region.rows[1:], region.row_lower[1:], region.row_upper[1:],
        region.leverage, region.held, region.turnover,
    )  # fmt: skip
    nearest = _with_sum(program(rest, None), scaled, shares, total)
    return quadratic(np.eye(count), -nearest, region, program=program)


def _with_sum(limited: Conic, matrix: FloatArray, shares: FloatArray, total: float) -> FloatArray:
    """Weights of the least c at which they sum to `total`, but for a millionth: the sum rises with c.

    Limits may hold the sum at `total` over a whole range of c. The least of them gives away the least parity.
    """
    low, high = -20.0, 20.0
    below: FloatArray | None = None
    above: FloatArray | None = None
    gap = np.inf
    for _ in range(RATIO_STEPS):
        at = (low + high) / 2.0
        budgets = np.exp(at) * shares
        solved = limited.with_logarithms(budgets).solve(matrix, np.zeros(limited.count))
        weights = solved.columns[: limited.count]
        if float(weights.sum()) >= total * (1.0 - SAME_WEIGHTS):
            above, high = weights, at
            gap = parity_gap(weights, matrix, budgets, limited.region, solved.prices)
        else:
            below, low = weights, at
        if above is not None and below is not None and float(np.abs(above - below).max()) <= SAME_WEIGHTS:
            break
    if above is None:
        raise SolverFailed(SOLVER, f"no weights inside the limits sum to {total:.4f}")
    _near_enough(gap, NEAR_BY_TANGENT)
    return above


def check_solution(solver: str, weights: FloatArray, symbols: Sequence[str], limits: Limits, invested: float) -> None:
    """Believe a solver only after measuring: SolverFailed when its weights break a limit or invest another sum."""
    certificate = certify(dict(zip(symbols, weights.tolist(), strict=True)), limits, ACCEPTED)
    if not certificate.holds:
        broken = min(certificate.slacks, key=lambda name: certificate.slacks[name])
        raise SolverFailed(solver, f"solved, but {broken} is broken by {-certificate.worst:.2e}")
    if abs(float(weights.sum()) - invested) > ACCEPTED:
        raise SolverFailed(solver, f"solved, but invested {weights.sum():.9f} instead of {invested:.9f}")


def _measured(weights: FloatArray, region: Region) -> FloatArray:
    """`weights` with their bounds kept exactly; SolverFailed when a limit is broken."""
    inside = np.asarray(np.clip(weights, region.lower, region.upper))
    outside = max(region.violation(inside), float(np.abs(inside - weights).max(initial=0.0)))
    if not outside <= ACCEPTED:
        raise SolverFailed(SOLVER, f"solved, but a limit is broken by {outside:.2e}")
    return inside


def _near_enough(gap: float, most: float = NEAR) -> None:
    if not gap <= most:
        raise SolverFailed(SOLVER, f"solved, but weights better by {gap:.1e} of the objective may be left")


def _scaled(covariance: FloatArray, count: int) -> tuple[FloatArray, float]:
    """The covariance with a mean variance of one, and that mean."""
    if covariance.shape != (count, count):
        raise ValueError(f"covariance of shape {covariance.shape} for {count} symbols")
    if not np.isfinite(covariance).all():
        first, second = np.argwhere(~np.isfinite(covariance))[0].tolist()
        raise ValueError(f"the covariance of symbols {first} and {second} is not finite")
    scale = float(np.trace(covariance)) / max(count, 1)
    return np.asarray(covariance / (scale or 1.0)), scale


def _finite(mean: FloatArray, count: int) -> FloatArray:
    if mean.shape != (count,):
        raise ValueError(f"expected returns of shape {mean.shape} for {count} symbols")
    if not np.isfinite(mean).all():
        raise ValueError(f"the expected return of symbol {np.flatnonzero(~np.isfinite(mean))[0]} is not finite")
    return mean
