"""What saves time inside the solver changes no answer, and where it leads nowhere the long way is taken."""

from __future__ import annotations

import array_api_strict as strict
import numpy as np
import pytest

from ordinis.errors import SolverFailed
from ordinis.optimize import blocks, interior, tail_solver
from ordinis.optimize.blocks import Tail
from ordinis.optimize.interior import Interior
from ordinis.optimize.region import Region
from ordinis.optimize.scenarios import Scenarios, largest_by_sort
from ordinis.optimize.tail_solver import ITERATIONS, Optimum, TailSolver
from ordinis.risk.measures import cvar
from tests.optimize.programs import KINDS, a_program
from tests.optimize.test_tail_solver import GAP, solved


def _by(method: type[Interior], seed: int) -> Optimum:
    program = a_program(seed)
    scenarios = Scenarios(program.returns, program.confidence_level)
    return TailSolver(scenarios, method=method).solve(program.region, program.reward, program.costs, GAP)


def _common_factors(scenarios: int, count: int) -> tuple[np.ndarray, Region]:
    """Returns that five factors with fat tails move together, and a long-only book of them."""
    rng = np.random.default_rng(0)
    common = 0.01 * rng.standard_t(4, (scenarios, 5)) @ rng.dirichlet(np.full(5, 0.5), count).T
    returns = common + rng.standard_t(4, common.shape) * rng.uniform(0.004, 0.015, count)
    return returns, Region(np.zeros(count), np.full(count, 0.1), np.ones((1, count)), np.ones(1), np.ones(1))


class Watched(Interior):
    """Counts its matrices: of a sample, and of all scenarios where those are many."""

    rough = exact = 0

    def _factorise(self) -> None:
        if self.tail.large:
            Watched.rough += self.tail.rough
            Watched.exact += not self.tail.rough
        super()._factorise()


@pytest.mark.parametrize("seed", range(14))
def test_scenarios_in_parts_and_rough_directions_in_single_precision_give_the_same_answer(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = a_program(seed)
    whole = solved(program).objective
    monkeypatch.setattr(blocks, "PART", 512)
    scenarios = Scenarios(strict.asarray(program.returns), program.confidence_level, strict, largest_by_sort)
    for each in (scenarios, Scenarios(program.returns, program.confidence_level)):
        answer = TailSolver(each).solve(program.region, program.reward, program.costs)
        assert answer.objective == pytest.approx(whole, rel=1e-9, abs=1e-15)


def test_a_working_set_of_many_parts_is_solved_to_its_gap() -> None:
    returns = np.random.default_rng(3).standard_t(4, (100_000, 150)) * 0.01 + 0.0003
    region = Region(np.zeros(150), np.full(150, 0.1), np.ones((1, 150)), np.ones(1), np.ones(1))
    answer = TailSolver(Scenarios(returns)).solve(region, returns.mean(axis=0), tolerance=GAP)
    assert 1.5 * 0.05 * returns.size > blocks.PART
    assert answer.gap <= GAP
    assert answer.cvar == pytest.approx(cvar(-returns @ answer.weights, 0.95), rel=1e-12)


def test_the_matrix_of_a_sample_is_near_that_of_all_scenarios_with_what_concerns_the_level_exact() -> None:
    rng = np.random.default_rng(1)
    returns = rng.standard_t(4, (20_000, 60)) + 0.5
    tail = Tail(returns, None, 1.0 / 13_000.0, np)
    tail.begin(np.full(60, 1.0 / 60.0), 1e-7)
    whole = tail.matrix()
    tail.rough = True
    rough = tail.matrix()
    weight = 1.0 / (tail.pairs.x / tail.pairs.z).reshape(2, -1).sum(axis=0)
    assert whole[:60, :60] == pytest.approx(returns.T @ (weight[:, None] * returns), rel=1e-10)
    assert whole[60] == pytest.approx(np.append(weight @ returns, weight.sum()), rel=1e-12)
    assert rough[60].tolist() == whole[60].tolist()

    def spread(matrix: np.ndarray) -> np.ndarray:
        return np.asarray(matrix[:60, :60] - np.outer(matrix[60, :60], matrix[60, :60]) / matrix[60, 60])

    ratios = np.linalg.eigvals(np.linalg.solve(spread(whole), spread(rough))).real
    # By chance and not exact, but of the same size in every direction.
    assert 0.35 < ratios.min() < 0.95
    assert 1.05 < ratios.max() < 2.5
    assert ratios.mean() == pytest.approx(1.0, abs=0.1)


def test_heavy_scenarios_are_in_every_sample_and_what_all_weigh_is_kept() -> None:
    returns = np.random.default_rng(2).normal(size=(30_000, 40))
    tail = Tail(returns, None, 1.0 / 20_000.0, np)
    # From so small a mu all weight is next to the level, half of it on a hundred scenarios.
    tail.begin(np.full(40, 0.025), 1e-8)
    tail.matrix()
    weight = tail._weight
    chosen, weighs = tail._sampled(float(weight.sum()))
    heavy = np.flatnonzero(weight * (0.5 * blocks.SAMPLED * 40) > weight.sum())
    assert len(heavy) > 50
    assert np.isin(heavy, chosen).all()
    assert (weighs[np.isin(chosen, heavy)] == weight[heavy]).all()
    # Half of the sample is taken whatever its weight.
    assert (weight[chosen] < np.median(weight)).sum() > 0.2 * blocks.SAMPLED * 40
    assert len(chosen) <= blocks.SAMPLED * 40 + 1
    assert weighs.sum() == pytest.approx(weight.sum(), rel=0.05)


@pytest.mark.parametrize("seed", [45, 55, 208, 226, 289, 298])
def test_where_samples_are_too_small_to_lead_anywhere_all_scenarios_do(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = solved(a_program(seed)).objective
    monkeypatch.setattr(blocks, "PART", 64)
    monkeypatch.setattr(blocks, "SAMPLED", 2)
    answer = solved(a_program(seed))
    assert answer.gap <= GAP
    assert answer.objective == pytest.approx(best, rel=1e-7)


def test_a_rough_direction_that_misleads_is_noticed_before_the_method_is_stuck(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blocks, "PART", 64)
    seeds = [9, 262, 264, 289, 379, 505, 535]
    noticed = [solved(a_program(seed)).iterations for seed in seeds]
    monkeypatch.setattr(interior, "MISLED", np.inf)
    unnoticed = [solved(a_program(seed)).iterations for seed in seeds]
    assert max(noticed) < ITERATIONS < max(unnoticed)
    assert sum(noticed) < 0.5 * sum(unnoticed)


class Anew(Interior):
    """Never goes on."""

    def go_on(self, tail: Tail) -> bool:
        return False


class Lost(Interior):
    """Has no numbers left once it has gone on."""

    def _step(self) -> None:
        if self.gone_on:
            raise SolverFailed("interior point", "a step that is no number")
        super()._step()


class Stuck(Interior):
    """Never gets anywhere once it has gone on."""

    def _step(self) -> None:
        if not self.gone_on:
            super()._step()


@pytest.mark.parametrize("method", [Lost, Stuck])
def test_a_method_that_goes_on_and_does_not_get_there_begins_anew(method: type[Interior]) -> None:
    began_anew = 0
    for seed in range(2 * len(KINDS)):
        found, best = _by(method, seed), _by(Interior, seed)
        assert found.gap <= GAP
        assert found.objective == pytest.approx(best.objective, rel=1e-7)
        began_anew += found.iterations > best.iterations
    assert began_anew


@pytest.mark.parametrize(("scenarios", "count"), [(60_000, 200), (160_000, 100)])
def test_rough_directions_at_a_real_size_take_few_more_iterations_than_exact_ones(
    scenarios: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    returns, region = _common_factors(scenarios, count)
    taken = []
    for far in (tail_solver.FAR, np.inf):
        monkeypatch.setattr(tail_solver, "FAR", far)
        Watched.rough = Watched.exact = 0
        solver = TailSolver(Scenarios(returns), method=Watched)
        taken.append(solver.solve(region, returns.mean(axis=0), tolerance=GAP).iterations)
        assert (Watched.rough > 5) == np.isfinite(far)
    assert taken[0] <= 1.25 * taken[1]


def test_going_on_with_more_scenarios_takes_fewer_iterations_than_a_new_start() -> None:
    returns, region = _common_factors(10_000, 400)
    taken = {}
    for method in (Interior, Anew):
        solver = TailSolver(Scenarios(returns), method=method)
        taken[method] = solver.solve(region, np.zeros(400), tolerance=1e-6).iterations
    assert taken[Interior] < taken[Anew]
