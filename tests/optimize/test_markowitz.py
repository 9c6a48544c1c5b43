"""Markowitz's family over regions: other solvers find the same, and nothing inside the limits is better."""

from __future__ import annotations

import warnings

import cvxpy as cp
import numpy as np
import pytest
from skfolio import RiskMeasure
from skfolio.optimization import MaximumDiversification, MeanRisk, ObjectiveFunction, RiskBudgeting

from ordinis.errors import SolverFailed
from ordinis.optimize.mean_variance import (
    ACCEPTED,
    maximum_diversification,
    maximum_sharpe,
    mean_variance,
    risk_parity,
)
from ordinis.optimize.region import Region, TradingCosts
from ordinis.ports import FloatArray
from ordinis.risk.attribution import component_risk
from tests.optimize.programs import KINDS, a_program

warnings.filterwarnings("ignore", module="cvxpy")


def invested(count: int, cap: float = 1.0, total: float = 1.0) -> Region:
    return Region(np.zeros(count), np.full(count, cap), np.ones((1, count)), np.array([total]), np.array([total]))


def inside(region: Region, rng: np.random.Generator, count: int) -> FloatArray:
    """Weights of the region: mixtures of corners in random directions."""
    corners = []
    for _ in range(12):
        weights = cp.Variable(region.size)
        rules = [weights >= region.lower, weights <= region.upper]
        rules += [region.rows[k] @ weights >= low for k, low in enumerate(region.row_lower) if np.isfinite(low)]
        rules += [region.rows[k] @ weights <= high for k, high in enumerate(region.row_upper) if np.isfinite(high)]
        if region.leverage is not None:
            rules.append(cp.norm1(weights) <= region.leverage)
        if region.turnover is not None:
            rules.append(cp.norm1(weights - region.start) <= region.turnover)
        cp.Problem(cp.Minimize(rng.normal(size=region.size) @ weights), rules).solve(solver=cp.HIGHS)
        corners.append(weights.value)
    return rng.dirichlet(np.full(len(corners), 0.5), size=count) @ np.array(corners)


@pytest.mark.parametrize("seed", range(3 * len(KINDS)))
def test_nothing_inside_the_limits_trades_mean_against_variance_and_costs_better(seed: int) -> None:
    program, rng = a_program(seed), np.random.default_rng(seed)
    region, costs, covariance = (
        program.region,
        program.costs,
        np.cov(program.returns.T).reshape(program.region.size, -1),
    )
    aversion, mean = float(rng.uniform(0.5, 10.0)), rng.normal(size=region.size) * 1e-3
    found = mean_variance(mean, covariance, region, aversion, costs)
    assert region.violation(found) <= ACCEPTED

    def objective(weights: FloatArray) -> float:
        paid = 0.0 if costs is None else costs.of(weights - region.start)
        return float(aversion * weights @ covariance @ weights / 2.0 - mean @ weights) + paid

    best = objective(found)
    for other in inside(region, rng, 50):
        for step in (1.0, 0.1, 0.01):
            assert best <= objective(found + step * (other - found)) + 1e-9


@pytest.mark.parametrize("seed", range(0, 4 * len(KINDS), 4))
def test_nothing_inside_the_limits_has_a_better_ratio(seed: int) -> None:
    program, rng = a_program(seed), np.random.default_rng(seed)
    region, covariance = program.region, np.cov(program.returns.T).reshape(program.region.size, -1)
    others = inside(region, rng, 200)
    mean = np.abs(rng.normal(size=region.size)) * 1e-3
    mean = mean if (others @ mean > 0.0).any() else -mean

    def ratio(weights: FloatArray) -> float:
        return float(mean @ weights / np.sqrt(weights @ covariance @ weights))

    found = maximum_sharpe(mean, covariance, region)
    assert region.violation(found) <= ACCEPTED
    for other in others:
        for step in (1.0, 0.1, 0.01):
            assert ratio(found) >= ratio(found + step * (other - found)) * (1.0 - 1e-6)


def test_skfolio_finds_the_same_sharpe_diversification_and_parity(real_returns: FloatArray) -> None:
    returns = real_returns[-1_000:]
    mean, covariance = returns.mean(axis=0), np.cov(returns.T)
    theirs = MeanRisk(
        objective_function=ObjectiveFunction.MAXIMIZE_RATIO, risk_measure=RiskMeasure.VARIANCE, max_weights=0.2
    ).fit(returns)
    np.testing.assert_allclose(maximum_sharpe(mean, covariance, invested(20, 0.2)), theirs.weights_, atol=1e-4)
    diversified = MaximumDiversification(max_weights=0.2).fit(returns)
    np.testing.assert_allclose(maximum_diversification(covariance, invested(20, 0.2)), diversified.weights_, atol=1e-4)
    parity = RiskBudgeting(risk_measure=RiskMeasure.VARIANCE).fit(returns)
    np.testing.assert_allclose(risk_parity(covariance, invested(20)), parity.weights_, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_each_position_carries_its_share_of_the_risk(count: int) -> None:
    rng = np.random.default_rng(count)
    root = rng.normal(size=(count, count + 3)) * 0.01
    covariance, budgets = root @ root.T, rng.uniform(0.5, 2.0, count)
    weights = risk_parity(covariance, invested(count, total=0.9), budgets)
    assert weights.sum() == pytest.approx(0.9, abs=1e-7)
    parts = component_risk(weights, covariance)
    np.testing.assert_allclose(parts / parts.sum(), budgets / budgets.sum(), rtol=1e-4)


def test_parity_under_caps_and_sectors_is_the_best_compromise_inside_them() -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(8, 12)) * np.linspace(0.005, 0.03, 8)[:, None]
    covariance = root @ root.T
    rows = np.array([np.ones(8), [1.0, 1.0, 1.0] + [0.0] * 5])
    region = Region(np.zeros(8), np.full(8, 0.2), rows, np.array([0.9, -np.inf]), np.array([0.9, 0.35]))
    free = risk_parity(covariance, invested(8, total=0.9))
    assert region.violation(free) > 0.01
    found = risk_parity(covariance, region)
    assert region.violation(found) <= ACCEPTED
    assert found.sum() == pytest.approx(0.9, abs=1e-6)
    # Symbols that no limit holds carry equal risk, those that one holds less.
    parts = component_risk(found, covariance)
    held = (found > 0.2 - 1e-4) | (rows[1] > 0.0)
    assert 1 <= (~held).sum() < 8
    np.testing.assert_allclose(parts[~held], parts[~held].mean(), rtol=5e-3)
    assert parts[held].max() < parts[~held].mean()


def test_parity_where_sectors_fill_the_whole_gives_away_no_more_than_it_must() -> None:
    covariance = np.diag(np.tile([0.005, 0.01, 0.03], 3) ** 2)
    rows = np.vstack([np.ones(9), *(np.where(np.arange(9) // 3 == k, 1.0, 0.0) for k in range(3))])

    def region(total: float) -> Region:
        low, high = np.append(total, np.full(3, -np.inf)), np.append(total, np.full(3, 0.3))
        return Region(np.zeros(9), np.full(9, 0.2), rows, low, high)

    nearly, full = (risk_parity(covariance, region(total)) for total in (0.8995, 0.9))
    assert full.sum() == pytest.approx(0.9, abs=1e-7)
    np.testing.assert_allclose(full, nearly, atol=2e-3)
    parts = component_risk(full, covariance)
    assert parts.max() / parts.min() < 1.3


def test_what_earns_less_than_cash_has_no_ratio() -> None:
    with pytest.raises(SolverFailed, match="no weights inside the limits are expected to earn more than cash"):
        maximum_sharpe(np.full(3, -1e-3), np.eye(3) * 1e-4, invested(3))


def test_costs_keep_the_book_where_a_change_earns_less() -> None:
    held, covariance = np.array([0.5, 0.5]), np.diag([1e-4, 1.2e-4])
    region = Region(np.zeros(2), np.ones(2), np.ones((1, 2)), np.ones(1), np.ones(1), held=held)
    dear = mean_variance(np.zeros(2), covariance, region, 1.0, TradingCosts(np.full(2, 1e-3), np.zeros(2)))
    np.testing.assert_allclose(dear, held, atol=1e-6)
    free = mean_variance(np.zeros(2), covariance, region, 1.0)
    assert free[0] == pytest.approx(1.2 / 2.2, abs=1e-6)


def test_what_grows_with_the_square_of_a_trade_draws_the_best_book_towards_the_held_one() -> None:
    mean, variance = np.array([2e-4, -1e-4, 3e-4]), np.array([1e-4, 2e-4, 4e-4])
    held, square = np.array([0.2, 0.3, 0.0]), np.array([1e-4, 5e-4, 0.0])
    region = Region(-np.ones(3), np.ones(3), np.zeros((0, 3)), np.zeros(0), np.zeros(0), held=held)
    costs = TradingCosts(np.zeros(3), np.zeros(3), square=square)
    weights = mean_variance(mean, np.diag(variance), region, 4.0, costs)
    # 4 sigma^2 w - mu + 2 s (w - held) = 0
    np.testing.assert_allclose(weights, (mean + 2 * square * held) / (4 * variance + 2 * square), atol=1e-7)


def test_powers_squares_and_leverage_together_are_answered_as_another_modelling_layer_answers_them() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        root = rng.normal(size=(6, 6))
        covariance, mean, held = root @ root.T / 6, rng.normal(size=6) * 0.3, rng.normal(size=6) * 0.2
        costs = TradingCosts(rng.uniform(0, 0.05, 6), rng.uniform(0, 0.3, 6), 1.5, rng.uniform(0, 0.8, 6))
        region = Region(np.full(6, -0.5), np.full(6, 0.5), np.ones((1, 6)), np.full(1, 0.2), np.full(1, 0.2), 1.2, held)
        found = mean_variance(mean, covariance, region, 1.0, costs)
        w = cp.Variable(6)
        traded = cp.abs(w - held)
        charged = costs.linear @ traded + costs.power @ cp.power(traded, 1.5) + costs.square @ cp.square(traded)
        objective = cp.quad_form(w, cp.psd_wrap(covariance)) / 2 - mean @ w + charged
        rules = [cp.abs(w) <= 0.5, cp.sum(w) == 0.2, cp.norm1(w) <= 1.2]
        best = cp.Problem(cp.Minimize(objective), rules).solve(solver=cp.CLARABEL)
        value = found @ covariance @ found / 2 - mean @ found + costs.of(found - held)
        assert value == pytest.approx(best, abs=1e-6)
        np.testing.assert_allclose(found, w.value, atol=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: mean_variance(np.zeros(2), np.eye(2), invested(2), 0.0),
        lambda: mean_variance(np.array([0.0, np.nan]), np.eye(2), invested(2), 1.0),
        lambda: mean_variance(np.zeros(2), np.full((2, 2), np.nan), invested(2), 1.0),
        lambda: maximum_sharpe(np.zeros(3), np.eye(2), invested(2)),
        lambda: risk_parity(np.eye(2), invested(2), np.array([1.0, 0.0])),
        lambda: risk_parity(np.eye(2), invested(2), np.ones(3)),
        lambda: risk_parity(np.eye(2), Region(-np.ones(2), np.ones(2), np.ones((1, 2)), np.ones(1), np.ones(1))),
    ],
)
def test_what_has_no_meaning_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        wrong()  # type: ignore[operator]


def test_singular_covariances_are_answered() -> None:
    one = np.outer(np.arange(1.0, 6.0), np.arange(1.0, 6.0)) * 1e-5
    region = invested(5, 0.4)
    assert mean_variance(np.full(5, 1e-4), one, region, 2.0).sum() == pytest.approx(1.0)
    assert maximum_sharpe(np.full(5, 1e-4), one, region).sum() == pytest.approx(1.0)
    assert mean_variance(np.linspace(0.0, 1e-3, 5), np.zeros((5, 5)), region, 1.0)[-1] == pytest.approx(0.4, abs=1e-5)


def test_an_expected_return_that_is_no_number_is_refused_by_its_symbol() -> None:
    for solve in (maximum_sharpe, lambda *asked: mean_variance(*asked, 1.0)):
        with pytest.raises(ValueError, match="the expected return of symbol 2 is not finite"):
            solve(np.array([0.0, 0.1, np.inf]), np.eye(3), invested(3))
