"""A thousand requests, a fifth of them impossible: each is answered, or told which limits conflict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ordinis.errors import InfeasibleLimits, SolverFailed
from ordinis.optimize import mean_variance
from ordinis.optimize.conflicts import have_a_point, named_limits, or_conflict
from ordinis.optimize.interior import Interior
from ordinis.optimize.mean_variance import quadratic
from ordinis.optimize.region import Region
from ordinis.optimize.scenarios import Scenarios
from ordinis.optimize.tail_solver import TailSolver
from ordinis.ports import FloatArray
from tests.optimize.programs import Program, a_program


def impossible(region: Region, rng: np.random.Generator) -> Region:
    """One wish more, for more of some symbols than their bounds allow, or the whole for less than it is."""
    row = np.where(np.arange(region.size) <= rng.integers(region.size), 1.0, 0.0)
    most = float(np.maximum(row * region.upper, row * region.lower).sum())
    rows, low = np.vstack([region.rows, row]), np.append(region.row_lower, most + rng.uniform(0.01, 0.5))
    return replace(region, rows=rows, row_lower=low, row_upper=np.append(region.row_upper, np.inf))


def names(region: Region) -> tuple[list[str], list[str]]:
    return [f"S{i}" for i in range(region.size)], [f"row {i}" for i in range(len(region.rows))]


def by_cvar(program: Program) -> FloatArray:
    solver = TailSolver(Scenarios(program.returns, program.confidence_level))
    return solver.solve(program.region, program.reward, program.costs, 1e-6).weights


def by_variance(program: Program) -> FloatArray:
    covariance = np.cov(program.returns.T).reshape(program.region.size, -1)
    return quadratic(covariance / np.trace(covariance), np.zeros(program.region.size), program.region)


@pytest.mark.parametrize(("solve", "requests"), [(by_cvar, 700), (by_variance, 300)])
def test_each_request_is_answered_inside_the_limits_or_told_what_conflicts(
    solve: Callable[[Program], FloatArray], requests: int
) -> None:
    answered = refused = 0
    for seed in range(requests):
        program, rng = a_program(seed), np.random.default_rng(seed)
        if seed % 5 == 0:
            program = replace(program, region=impossible(program.region, rng))
        region = program.region
        try:
            weights = or_conflict(lambda asked=program: solve(asked), region, *names(region))  # type: ignore[misc]
        except InfeasibleLimits as told:
            refused += 1
            limits = named_limits(region, *names(region))
            conflict = {name: limits[name] for name in told.conflict}
            assert not have_a_point(region, conflict), seed
            for name in conflict:
                assert have_a_point(region, {n: limit for n, limit in conflict.items() if n != name}), (seed, name)
            continue
        answered += 1
        assert region.violation(weights) <= 1e-6, seed
    assert (answered, refused) == (requests * 4 // 5, requests // 5)


def test_a_method_that_lies_of_its_weights_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """It calls itself optimal from the first step on: the bounds, which it has no part in, say otherwise."""
    monkeypatch.setattr(Interior, "gap", property(lambda method: 0.0))
    monkeypatch.setattr(Interior, "iterate", lambda method: _pretend(method))
    program = a_program(0)
    with pytest.raises(SolverFailed, match="interior point"):
        or_conflict(lambda: by_cvar(program), program.region, *names(program.region))


def _pretend(method: Interior) -> None:
    method.iterations += 1
    method.primal_missing = method.dual_missing = 0.0


@pytest.mark.parametrize("lie", [lambda x: x * 1.01, lambda x: np.roll(x, 1), lambda x: np.full_like(x, np.nan)])
def test_a_library_that_calls_a_wrong_answer_solved_is_caught(
    monkeypatch: pytest.MonkeyPatch, lie: Callable[[FloatArray], FloatArray]
) -> None:
    program = a_program(2)
    honest = mean_variance.conic

    class Liar:
        def __init__(self, region: Region, costs: object) -> None:
            self._honest = honest(region)

        def solve(self, *asked: FloatArray) -> FloatArray:
            return lie(self._honest.solve(*asked))

    monkeypatch.setattr(mean_variance, "conic", Liar)
    with pytest.raises(SolverFailed, match="a limit is broken"):
        by_variance(program)


@pytest.mark.parametrize("rank", [0, 1])
def test_covariances_without_full_rank_are_answered(rank: int) -> None:
    loading = np.arange(1.0, 7.0)
    covariance = rank * np.outer(loading, loading) * 1e-4
    region = Region(np.zeros(6), np.full(6, 0.3), np.ones((1, 6)), np.ones(1), np.ones(1))
    weights = quadratic(covariance, np.zeros(6), region)
    assert region.violation(weights) <= 1e-7
    assert weights.sum() == pytest.approx(1.0)


def test_scenarios_with_holes_are_refused_by_name() -> None:
    returns = np.full((50, 3), 0.01)
    returns[7, 1] = np.nan
    region = Region(np.zeros(3), np.full(3, 0.5), np.ones((1, 3)), np.ones(1), np.ones(1))
    with pytest.raises(ValueError, match="scenarios of symbol 1 are not finite"):
        TailSolver(Scenarios(returns)).solve(region, np.zeros(3))
