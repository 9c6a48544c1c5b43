"""Mean-CVaR: hand-made scenarios, two other implementations, and an objective that bears recomputing."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skfolio import RiskMeasure
from skfolio.optimization import MeanRisk, ObjectiveFunction

from ordinis.domain.limits import Limits
from ordinis.errors import InfeasibleLimits
from ordinis.optimize.mean_cvar import mean_cvar
from ordinis.ports import FloatArray
from ordinis.risk.measures import cvar

FREE = Limits(position_cap=1.0, gross_cap=1.0, cash_buffer=0.0, sector_cap=1.0)
SYMBOLS = [f"S{i}" for i in range(20)]


def test_the_asset_that_never_loses_is_taken_whole():
    returns = np.array([[0.01, -0.05], [0.02, 0.04], [0.01, 0.02], [0.0, -0.01]])
    solution = mean_cvar(returns, ["A", "B"], FREE, confidence_level=0.75)
    np.testing.assert_allclose(solution.weights, [1.0, 0.0], atol=1e-9)
    assert solution.cvar == pytest.approx(0.0, abs=1e-12)


def test_two_assets_that_lose_in_turn_are_held_so_that_both_losses_are_equal():
    # -0.02 w and -0.01 (1 - w) meet at w = 1/3 with a loss of 0.02 / 3
    returns = np.array([[-0.02, 0.0], [0.0, -0.01], [0.01, 0.01], [0.01, 0.01]])
    solution = mean_cvar(returns, ["A", "B"], FREE, confidence_level=0.75)
    np.testing.assert_allclose(solution.weights, [1 / 3, 2 / 3], atol=1e-9)
    assert solution.objective == pytest.approx(0.02 / 3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 0.97), st.floats(0.0, 2.0))
def test_no_mixture_of_two_assets_is_better(seed, confidence_level, mean_weight):
    returns = np.random.default_rng(seed).normal(scale=[0.01, 0.02], size=(60, 2))
    solution = mean_cvar(returns, ["A", "B"], FREE, confidence_level, mean_weight)
    for share in np.linspace(0.0, 1.0, 51):
        path = returns @ np.array([share, 1.0 - share])
        assert solution.objective <= cvar(-path, confidence_level) - mean_weight * path.mean() + 1e-12


def test_skfolio_finds_the_same_weights(real_returns: FloatArray):
    returns = real_returns[-504:]
    solution = mean_cvar(returns, SYMBOLS, Limits(0.2, 1.0, 0.0, 1.0))
    peer = MeanRisk(
        objective_function=ObjectiveFunction.MINIMIZE_RISK,
        risk_measure=RiskMeasure.CVAR,
        cvar_beta=0.95,
        max_weights=0.2,
    ).fit(returns)
    np.testing.assert_allclose(solution.weights, peer.weights_, atol=1e-3)
    assert solution.objective <= cvar(-returns @ peer.weights_, 0.95) + 1e-9


def test_sectors_and_a_mean_term_agree_with_another_formulation(real_returns: FloatArray):
    returns = real_returns[2_000:2_300]
    limits = Limits(0.15, 0.9, 0.1, 0.25, {name: f"sector{i % 5}" for i, name in enumerate(SYMBOLS)})
    solution = mean_cvar(returns, SYMBOLS, limits, 0.9, mean_weight=0.5)
    w, t = cp.Variable(20), cp.Variable()
    losses = -returns @ w
    risk = t + cp.sum(cp.pos(losses - t)) / (0.1 * len(returns))
    rules = [w >= 0, w <= 0.15, cp.sum(w) == 0.9] + [cp.sum(w[k::5]) <= 0.25 for k in range(5)]
    best = cp.Problem(cp.Minimize(1e3 * (risk - 0.5 * cp.sum(returns.mean(axis=0) @ w))), rules)
    best.solve(solver=cp.CLARABEL)
    assert solution.objective == pytest.approx(best.value / 1e3, abs=1e-8)
    assert solution.weights.sum() == pytest.approx(0.9, abs=1e-9)


def test_the_objective_is_what_the_weights_give(real_returns: FloatArray):
    returns = real_returns[:504]
    solution = mean_cvar(returns, SYMBOLS, Limits(), mean_weight=0.3)
    path = returns @ solution.weights
    assert solution.cvar == pytest.approx(cvar(-path, 0.95), rel=1e-14)
    # What the limits leave out is left out, not held at a billionth.
    assert all(weight == 0.0 or weight > 1e-6 for weight in solution.weights)
    assert solution.objective == pytest.approx(solution.cvar - 0.3 * path.mean(), abs=1e-15)


def test_a_calm_market_is_solved_as_exactly_as_a_wild_one(real_returns: FloatArray):
    """The trap: a tolerance of 1e-7 on losses of 1e-4 stops short of the optimum."""
    returns = real_returns[-504:]
    wild = mean_cvar(returns, SYMBOLS, Limits())
    calm = mean_cvar(returns * 1e-3, SYMBOLS, Limits())
    assert calm.objective == pytest.approx(wild.objective * 1e-3, rel=1e-9)


def test_equal_questions_have_equal_bytes(real_returns: FloatArray):
    returns = real_returns[-300:]
    answers = {mean_cvar(returns.copy(), SYMBOLS, Limits()).weights.tobytes() for _ in range(3)}
    assert len(answers) == 1


def test_what_cannot_be_invested_names_the_conflict():
    with pytest.raises(InfeasibleLimits, match="position"):
        mean_cvar(np.zeros((10, 2)), ["A", "B"], Limits(), invested=0.5)


def test_a_market_that_never_moves_is_held_evenly():
    solution = mean_cvar(np.zeros((10, 3)), ["A", "B", "C"], Limits())
    np.testing.assert_allclose(solution.weights, 0.2)
    assert solution.objective == 0.0


@pytest.mark.parametrize("seed", [13, 25])
def test_more_symbols_than_scenarios_whose_risks_nearly_cancel_are_answered(seed):
    rng = np.random.default_rng(seed)
    count, scenarios = int(rng.integers(50, 400)), int(rng.integers(60, 300))
    returns = rng.normal(size=(scenarios, count)) * rng.uniform(0.003, 0.03, count)
    returns += rng.normal(size=(scenarios, 1)) * rng.uniform(0.0, 0.02)
    limits = Limits(position_cap=0.4)
    solution = mean_cvar(returns, [f"S{i}" for i in range(count)], limits)
    assert solution.weights.sum() == pytest.approx(0.9, abs=1e-7)
    assert solution.objective - solution.bound <= 1e-6 * max(abs(solution.objective), 1e-2 * float(returns.std()))


def test_a_return_that_is_no_number_is_refused_by_symbol_and_scenario():
    returns = np.full((50, 3), 0.01)
    for hole in (np.nan, np.inf, -np.inf):
        returns[7, 1] = hole
        with pytest.raises(ValueError, match=rf"the return of B in scenario 7 is {hole}"):
            mean_cvar(returns, ["A", "B", "C"], Limits())
