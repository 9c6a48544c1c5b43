"""Random requests to every optimiser, and how each of them is made impossible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ordinis.optimize.mean_variance import (
    maximum_diversification,
    maximum_sharpe,
    mean_variance,
    quadratic,
    risk_parity,
)
from ordinis.optimize.region import Region
from ordinis.optimize.scenarios import Scenarios
from ordinis.optimize.tail_solver import TailSolver
from ordinis.ports import FloatArray
from tests.optimize.programs import KINDS, Program, a_program

LONG_ONLY = ("long only", "sector", "turnover", "linear costs", "curved costs")


@dataclass(frozen=True)
class Request:
    optimiser: str
    program: Program
    spoiled: tuple[str, ...] = ()
    """How it was made impossible; empty where it was not."""

    @property
    def region(self) -> Region:
        return self.program.region

    def solve(self) -> FloatArray:
        return OPTIMISERS[self.optimiser](self.program)


def covariance(program: Program) -> FloatArray:
    return np.cov(program.returns.T).reshape(program.region.size, -1)


def by_cvar(program: Program) -> FloatArray:
    solver = TailSolver(Scenarios(program.returns, program.confidence_level))
    return solver.solve(program.region, program.reward, program.costs, 1e-6).weights


def by_variance(program: Program) -> FloatArray:
    risk = covariance(program)
    return quadratic(risk / np.diag(risk).mean(), np.zeros(program.region.size), program.region)


def by_mean_and_variance(program: Program) -> FloatArray:
    return mean_variance(program.returns.mean(axis=0), covariance(program), program.region, 4.0, program.costs)


def by_sharpe(program: Program) -> FloatArray:
    return maximum_sharpe(np.abs(program.returns.mean(axis=0)), covariance(program), program.region)


def by_diversification(program: Program) -> FloatArray:
    return maximum_diversification(covariance(program), program.region)


def by_parity(program: Program) -> FloatArray:
    return risk_parity(covariance(program), program.region)


OPTIMISERS: dict[str, Callable[[Program], FloatArray]] = {
    "mean-CVaR": by_cvar,
    "minimum variance": by_variance,
    "mean-variance": by_mean_and_variance,
    "maximum Sharpe": by_sharpe,
    "maximum diversification": by_diversification,
    "risk parity": by_parity,
}
RATIOS = ("maximum Sharpe", "maximum diversification", "risk parity")


def a_request(seed: int, *, impossible: bool) -> Request:
    """Half of the requests are for mean-CVaR, the others for one of the rest."""
    rng = np.random.default_rng(seed)
    optimiser = "mean-CVaR" if rng.random() < 0.5 else str(rng.choice(list(OPTIMISERS)[1:]))
    kind = str(rng.choice(LONG_ONLY if optimiser in RATIOS else KINDS))
    program = a_program(len(KINDS) * seed + KINDS.index(kind))
    if optimiser == "risk parity":
        # Parity is of symbols that may be held, and of a sum that is given.
        region = program.region
        wider = replace(region, lower=np.zeros(region.size), upper=np.maximum(region.upper, 0.01))
        program = replace(program, region=_with_total(wider, float(region.row_upper[0])))
    if not impossible:
        return Request(optimiser, program)
    ways = list(SPOILED)
    chosen = sorted(rng.choice(len(ways), size=int(rng.choice([1, 1, 2, 3])), replace=False).tolist())
    region = _with_total(program.region, max(float(program.region.row_upper[0]), 0.1))
    for way in chosen:
        region = SPOILED[ways[way]](region, rng)
    return Request(optimiser, replace(program, region=region), tuple(ways[way] for way in chosen))


def _with_total(region: Region, total: float) -> Region:
    low, high = region.row_lower.copy(), region.row_upper.copy()
    low[0] = high[0] = total
    return replace(region, row_lower=low, row_upper=high)


def _total(region: Region) -> float:
    return float(region.row_upper[0])


def _caps(region: Region, rng: np.random.Generator) -> Region:
    """Caps whose sum is below the total."""
    upper = np.abs(region.upper) + 0.01
    upper *= _total(region) * rng.uniform(0.3, 0.95) / upper.sum()
    return replace(region, lower=np.minimum(region.lower, upper), upper=upper)


def _floors(region: Region, rng: np.random.Generator) -> Region:
    """Positions of at least so much that their sum is above the total."""
    lower = np.full(region.size, _total(region) * rng.uniform(1.05, 1.5) / region.size)
    return replace(region, lower=lower, upper=np.maximum(region.upper, lower))


def _crossed(region: Region, rng: np.random.Generator) -> Region:
    """One position of at least more than it may be."""
    lower, place = region.lower.copy(), int(rng.integers(region.size))
    lower[place] = region.upper[place] + rng.uniform(0.01, 0.3)
    return replace(region, lower=lower)


def _sectors(region: Region, rng: np.random.Generator) -> Region:
    """Sectors that hold everything, with caps whose sum is below the total."""
    count = int(min(3, region.size))
    rows = np.array([np.where(np.arange(region.size) % count == sector, 1.0, 0.0) for sector in range(count)])
    caps = rng.dirichlet(np.ones(count)) * _total(region) * rng.uniform(0.3, 0.95)
    return replace(
        region,
        rows=np.vstack([region.rows, rows]),
        row_lower=np.append(region.row_lower, np.full(count, -np.inf)),
        row_upper=np.append(region.row_upper, caps),
    )


def _wish(region: Region, rng: np.random.Generator) -> Region:
    """A group of symbols of which more is asked than their bounds allow."""
    row = np.where(np.arange(region.size) <= rng.integers(region.size), 1.0, 0.0)
    least = float(row @ np.maximum(region.lower, region.upper)) + rng.uniform(0.01, 0.5)
    return replace(
        region,
        rows=np.vstack([region.rows, row]),
        row_lower=np.append(region.row_lower, least),
        row_upper=np.append(region.row_upper, np.inf),
    )


def _turnover(region: Region, rng: np.random.Generator) -> Region:
    """A book far above a cap, or far below the total, that may hardly be traded."""
    held = np.zeros(region.size)
    if rng.random() < 0.5:
        held[0] = region.upper[0] + rng.uniform(0.2, 0.5)
        return replace(region, held=held, turnover=float(rng.uniform(0.0, 0.1)))
    return replace(region, held=held, turnover=_total(region) * float(rng.uniform(0.0, 0.9)))


def _leverage(region: Region, rng: np.random.Generator) -> Region:
    """Leverage below the total."""
    return replace(region, leverage=_total(region) * float(rng.uniform(0.1, 0.95)))


SPOILED: dict[str, Callable[[Region, np.random.Generator], Region]] = {
    "caps": _caps,
    "floors": _floors,
    "crossed bounds": _crossed,
    "sectors": _sectors,
    "a wish": _wish,
    "turnover": _turnover,
    "leverage": _leverage,
}
