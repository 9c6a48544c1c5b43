"""Solvers that lie: whatever they say of their answer, what is outside the limits or not the best is no answer.

Each lie goes in by the argument that names the solver, and stands beside the honest answer to the same request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from ordinis.errors import SolverFailed
from ordinis.optimize.blocks import Tail
from ordinis.optimize.conic import Conic, Solved, conic
from ordinis.optimize.interior import Interior
from ordinis.optimize.mean_variance import (
    Program,
    maximum_diversification,
    maximum_sharpe,
    mean_variance,
    quadratic,
    risk_parity,
)
from ordinis.optimize.region import Prices, Region, TradingCosts
from ordinis.optimize.scenarios import Array, Scenarios
from ordinis.optimize.tail_solver import TailSolver
from ordinis.ports import FloatArray

COUNT = 9
RNG = np.random.default_rng(4)
RETURNS = RNG.standard_t(4, (600, COUNT)) * np.linspace(0.004, 0.02, COUNT) + RNG.normal(size=(600, 1)) * 0.005
MEAN, COVARIANCE = np.linspace(2e-4, 9e-4, COUNT), np.cov(RETURNS.T)
EVEN = np.full(COUNT, 1.0 / COUNT)
REGION = Region(np.zeros(COUNT), np.full(COUNT, 0.2), np.ones((1, COUNT)), np.ones(1), np.ones(1), held=EVEN)
CAP = 0.13
COSTS = TradingCosts(np.full(COUNT, 1e-5), np.full(COUNT, 1e-4))


class Hasty(Interior):
    """Calls the first weights that it thinks of optimal."""

    @property
    def gap(self) -> float:
        return 0.0

    def iterate(self) -> None:
        self.iterations += 1
        self.primal_missing = self.dual_missing = 0.0
        self.weights = self.pretended()

    def pretended(self) -> FloatArray:
        return EVEN


class Outside(Hasty):
    """Holds half of what was asked for, and risks half as much."""

    def pretended(self) -> FloatArray:
        return EVEN / 2.0


class NoNumber(Hasty):
    def pretended(self) -> FloatArray:
        return np.full(COUNT, np.nan)


class Overpriced(Hasty):
    """Says that the limits are worth whatever makes its bound the best."""

    def prices(self) -> Prices:
        return Prices(np.full(1, 1e6), 1e6, 1e6)


class FalseTail(Tail):
    def __init__(self, honest: Tail, lie: Callable[[Array], Array]) -> None:
        super().__init__(honest.rows, None, honest.share, np)
        self._lie = lie

    def mixture(self) -> Array:
        return self._lie(super().mixture())


def mixing(lie: Callable[[Array], Array]) -> type[Interior]:
    """Even weights, with a lower bound from scenarios that are mixed as `lie` says."""

    class Mixer(Hasty):
        def __init__(
            self, region: Region, costs: TradingCosts | None, reward: FloatArray, tail: Tail, weights: FloatArray
        ) -> None:
            super().__init__(region, costs, reward, FalseTail(tail, lie), weights)

    return Mixer


def worst_alone(mixture: Array) -> Array:
    return np.where(mixture == mixture.max(), 1.0, 0.0)


def half_against(mixture: Array) -> Array:
    return np.where(np.arange(len(mixture)) % 2 == 0, 4.0, -3.0) * mixture


LYING_METHODS = {
    "stops at once": Hasty,
    "outside": Outside,
    "no number": NoNumber,
    "prices that are too high": Overpriced,
    "a mixture of more than all": mixing(lambda mixture: mixture * 3.0),
    "one scenario alone": mixing(worst_alone),
    "scenarios that count against": mixing(half_against),
    "another mixture": mixing(lambda mixture: np.roll(mixture, 1)),
    "a mixture that is no number": mixing(lambda mixture: mixture * np.nan),
}


@pytest.mark.parametrize("costs", [None, COSTS], ids=["free", "with costs"])
@pytest.mark.parametrize("method", LYING_METHODS.values(), ids=LYING_METHODS)
def test_a_method_of_the_tail_that_lies_is_caught(method: type[Interior], costs: TradingCosts | None) -> None:
    assert TailSolver(Scenarios(RETURNS)).solve(REGION, MEAN, costs).gap <= 1e-8
    with pytest.raises(SolverFailed, match=r"gap|no weights"):
        TailSolver(Scenarios(RETURNS), method=method).solve(REGION, MEAN, costs)


def proving(target: float, bounds: tuple[float, float], *, whole: bool) -> type[Interior]:
    """Even weights, with scenarios mixed so that whatever is held loses `target`: nothing could be better.

    The mixture obeys all rules but one: it is of `bounds`, and sums to one where it is to be a `whole`.
    """

    class Prover(Hasty):
        def __init__(
            self, region: Region, costs: TradingCosts | None, reward: FloatArray, tail: Tail, weights: FloatArray
        ) -> None:
            rows, wanted = -np.asarray(tail.rows).T, np.full(COUNT, target)
            if whole:
                rows, wanted = np.vstack([rows, np.ones(rows.shape[1])]), np.append(wanted, 1.0)
            found = lsq_linear(rows, wanted, bounds, tol=1e-14).x
            assert np.abs(rows @ found - wanted).max() < 1e-9
            super().__init__(region, costs, reward, FalseTail(tail, lambda mixture: found), weights)

        def prices(self) -> Prices:
            return Prices(np.array([target]))

    return Prover


@pytest.mark.parametrize(
    ("bounds", "whole"),
    [((-1.0, 1.0 / 30.0), True), ((0.0, 1.0), True), ((0.0, 1.0 / 30.0), False)],
    ids=["some count against", "some count for more than their share", "they are more than all"],
)
def test_a_bound_that_is_too_good_is_not_believed(bounds: tuple[float, float], *, whole: bool) -> None:
    rng = np.random.default_rng(1)
    returns = rng.normal(size=(600, COUNT)) * np.linspace(0.004, 0.006, COUNT) + rng.normal(size=(600, 1)) * 0.012
    scenarios = Scenarios(returns)
    even, best = scenarios.cvar(EVEN, scenarios.losses(EVEN)), TailSolver(scenarios).solve(REGION, np.zeros(COUNT))
    assert best.objective < even * 0.99
    liar = proving(even / scenarios.scale(), bounds, whole=whole)
    with pytest.raises(SolverFailed, match=r"gap inf"):
        TailSolver(Scenarios(returns), method=liar).solve(REGION, np.zeros(COUNT))


Solver = Callable[[Program], FloatArray]
SOLVERS: dict[str, Solver] = {
    "minimum variance": lambda program: quadratic(COVARIANCE * 1e4, np.zeros(COUNT), REGION, program=program),
    "mean-variance": lambda program: mean_variance(MEAN, COVARIANCE, REGION, 4.0, program=program),
    "after costs": lambda program: mean_variance(MEAN, COVARIANCE, REGION, 4.0, COSTS, program),
    "maximum Sharpe": lambda program: maximum_sharpe(MEAN, COVARIANCE, REGION, program),
    "maximum diversification": lambda program: maximum_diversification(COVARIANCE, REGION, program),
    "risk parity": lambda program: risk_parity(COVARIANCE, REGION, program=program),
    "risk parity under a cap": lambda program: risk_parity(
        COVARIANCE, replace(REGION, upper=np.full(COUNT, CAP)), program=program
    ),
}


def telling(lie: Callable[[Solved], Solved]) -> Program:
    """A solver that finds the best and tells something else."""

    class Liar(Conic):
        def solve(self, quadratic: FloatArray, linear: FloatArray) -> Solved:
            return lie(super().solve(quadratic, linear))

    def program(region: Region, costs: TradingCosts | None) -> Conic:
        honest = conic(region, costs)
        return Liar(honest.region, honest.width, honest.linear, honest.square, honest.rows, honest.curved)

    return program


def of_weights(change: Callable[[FloatArray], FloatArray]) -> Callable[[Solved], Solved]:
    def lie(honest: Solved) -> Solved:
        columns = np.concatenate([change(honest.columns[:COUNT]), honest.columns[COUNT:]])
        return replace(honest, columns=columns)

    return lie


def of_prices(change: Callable[[FloatArray], FloatArray]) -> Callable[[Solved], Solved]:
    return lambda honest: replace(honest, prices=Prices(change(honest.prices.rows)))


def towards_even(weights: FloatArray) -> FloatArray:
    """As feasible as before, and a tenth of the way to what nobody asked for."""
    return weights + 0.1 * (weights.mean() - weights)


@pytest.mark.parametrize("solve", SOLVERS.values(), ids=SOLVERS)
@pytest.mark.parametrize(
    ("lie", "told"),
    [
        (of_weights(towards_even), r"better by \d"),
        (of_weights(lambda weights: weights[::-1]), r"better by \d|limit is broken"),
        (of_weights(lambda weights: weights * np.nan), r"better by inf|limit is broken|ratio"),
        (of_weights(lambda weights: -weights), r"better by inf|limit is broken|ratio"),
    ],
    ids=["inside and not the best", "turned round", "no number", "of the wrong sign"],
)
def test_a_library_that_calls_a_wrong_answer_solved_is_caught(
    solve: Solver, lie: Callable[[Solved], Solved], told: str
) -> None:
    assert REGION.violation(solve(conic)) <= 1e-7
    with pytest.raises(SolverFailed, match=told):
        solve(telling(lie))


def test_parity_under_a_cap_is_measured_where_the_cap_is() -> None:
    """The lie is told only of the program with the cap: what parity would be without it is right."""

    class Liar(Conic):
        def solve(self, quadratic: FloatArray, linear: FloatArray) -> Solved:
            honest = super().solve(quadratic, linear)
            return (
                of_weights(lambda weights: weights[::-1])(honest)
                if self.curved and CAP in self.region.upper
                else honest
            )

    def program(region: Region, costs: TradingCosts | None) -> Conic:
        honest = conic(region, costs)
        return Liar(honest.region, honest.width, honest.linear, honest.square, honest.rows, honest.curved)

    with pytest.raises(SolverFailed, match=r"better by \d"):
        SOLVERS["risk parity under a cap"](program)


@pytest.mark.parametrize("name", ["minimum variance", "mean-variance", "after costs"])
def test_weights_beyond_a_limit_are_no_answer_though_they_score_better(name: str) -> None:
    with pytest.raises(SolverFailed, match="a limit is broken"):
        SOLVERS[name](telling(of_weights(lambda weights: weights * 0.99)))


@pytest.mark.parametrize("change", [lambda rows: rows * 1e6, lambda rows: -rows, lambda rows: rows * np.nan])
def test_prices_that_lie_prove_nothing(change: Callable[[FloatArray], FloatArray]) -> None:
    """Good weights with a false proof are refused, and so are bad ones that bring the same."""
    false, worse = of_prices(change), of_weights(towards_even)
    for lie in (false, lambda honest: false(worse(honest))):
        with pytest.raises(SolverFailed, match="better by"):
            SOLVERS["minimum variance"](telling(lie))
