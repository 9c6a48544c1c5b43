"""Attribution: planted coefficients are found, and parts sum to the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordinis.risk.attribution import (
    by_group,
    component_cvar,
    component_risk,
    factor_attribution,
    factor_risk,
    incremental_risk,
    marginal_risk,
    risk_attribution,
)
from ordinis.risk.measures import cvar


def planted(noise: float = 0.002, sessions: int = 1_000):
    rng = np.random.default_rng(0)
    factors = rng.normal(scale=0.01, size=(sessions, 2)) + np.array([0.0005, -0.0002])
    returns = 0.0003 + factors @ np.array([1.2, -0.5]) + rng.normal(scale=noise, size=sessions)
    return returns, factors


def test_planted_exposures_are_found_exactly_without_noise():
    found = factor_attribution(*planted(noise=0.0), ["market", "value"])
    assert found.factor_exposures == pytest.approx({"market": 1.2, "value": -0.5})
    assert found.alpha == pytest.approx(0.0003)
    assert found.r_squared == pytest.approx(1.0)
    assert found.residual_volatility == pytest.approx(0.0, abs=1e-12)


def test_residual_volatility_and_t_are_those_of_the_textbook():
    returns, factors = planted()
    found = factor_attribution(returns, factors, ["market", "value"])
    design = np.column_stack([np.ones(len(returns)), factors])
    betas, _, _, _ = np.linalg.lstsq(design, returns, rcond=None)
    residual = returns - design @ betas
    variance = residual @ residual / (len(returns) - 3)
    errors = np.sqrt(variance * np.diag(np.linalg.inv(design.T @ design)))
    assert found.residual_volatility == pytest.approx(np.sqrt(variance))
    assert [found.alpha_t, *found.t.values()] == pytest.approx(list(betas / errors))
    assert found.r_squared == pytest.approx(1.0 - residual.var() / returns.var())


def test_contributions_and_alpha_sum_to_the_mean_return():
    returns, factors = planted()
    found = factor_attribution(returns, factors, ["market", "value"])
    assert found.alpha + sum(found.contributions.values()) == pytest.approx(returns.mean(), abs=1e-15)
    assert found.contributions["market"] == pytest.approx(found.factor_exposures["market"] * factors[:, 0].mean())


def test_robust_t_values_shrink_when_residuals_persist():
    rng = np.random.default_rng(1)
    factor = np.repeat(rng.normal(size=50), 20)[:, None]
    returns = np.repeat(rng.normal(size=50), 20) + 0.3 * factor[:, 0]
    plain = factor_attribution(returns, factor, ["slow"])
    robust = factor_attribution(returns, factor, ["slow"], newey_west_lags=20)
    assert robust.factor_exposures == pytest.approx(plain.factor_exposures)
    assert abs(robust.t["slow"]) < abs(plain.t["slow"]) / 2.0


@pytest.mark.parametrize(
    ("rows", "names", "gap"),
    [(10, ["a"], False), (3, ["a", "b"], False), (10, ["a", "b"], True), (9, ["a", "b"], False)],
)
def test_what_does_not_match_or_is_missing_is_refused(rows, names, gap):
    factors = np.random.default_rng(0).normal(size=(rows, 2))
    if gap:
        factors[2, 0] = np.nan
    with pytest.raises(ValueError, match=r"names|determine|finite"):
        factor_attribution(np.zeros(10 if rows == 9 else rows), factors, names)


def test_two_uncorrelated_positions_of_equal_risk_carry_half_each():
    parts = component_risk(np.array([0.5, 0.25]), np.diag([0.0001, 0.0004]))
    np.testing.assert_allclose(parts, np.sqrt(2.0 * 0.005**2) / 2.0)


def test_a_hedge_carries_negative_risk():
    covariance = np.array([[1.0, -0.9], [-0.9, 1.0]]) * 1e-4
    parts = component_risk(np.array([0.8, 0.1]), covariance)
    assert parts[1] < 0.0


def test_a_book_without_risk_has_parts_of_zero():
    np.testing.assert_array_equal(component_risk(np.zeros(3), np.eye(3)), np.zeros(3))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 8), st.integers(0, 10_000))
def test_the_parts_sum_to_the_whole(count, seed):
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(count, count + 2))
    covariance, weights = factor @ factor.T, rng.normal(size=count)
    parts = component_risk(weights, covariance)
    assert parts.sum() == pytest.approx(np.sqrt(weights @ covariance @ weights), rel=1e-9)


def test_parts_by_symbol_name_what_is_held_and_refuse_what_is_unknown():
    found = risk_attribution({"B": 1.0}, ["A", "B"], np.diag([0.0004, 0.0001]))
    assert found.parts == {"A": 0.0, "B": 0.01}
    assert found.volatility == 0.01
    with pytest.raises(ValueError, match="C"):
        risk_attribution({"C": 1.0}, ["A", "B"], np.eye(2))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(0, 10_000))
def test_marginal_risk_is_the_slope_and_incremental_risk_the_step(count, seed):
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(count, count + 2))
    covariance, weights = factor @ factor.T, rng.normal(size=count)
    marginal, whole = marginal_risk(weights, covariance), np.sqrt(weights @ covariance @ weights)
    incremental = incremental_risk(weights, covariance)
    for i in range(count):
        nudge = np.where(np.arange(count) == i, 1e-6, 0.0)
        up, down = (np.sqrt(w @ covariance @ w) for w in (weights + nudge, weights - nudge))
        assert marginal[i] == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-6)
        sold = np.where(np.arange(count) == i, 0.0, weights)
        assert incremental[i] == pytest.approx(whole - np.sqrt(sold @ covariance @ sold), abs=1e-9)
    np.testing.assert_allclose(weights * marginal, component_risk(weights, covariance), atol=1e-12)


def test_a_book_without_risk_has_no_margins():
    np.testing.assert_array_equal(marginal_risk(np.zeros(2), np.eye(2)), np.zeros(2))
    np.testing.assert_array_equal(incremental_risk(np.zeros(2), np.eye(2)), np.zeros(2))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(0, 10_000), st.floats(0.0, 0.99))
def test_the_parts_of_cvar_sum_to_it_and_are_its_slopes(count, seed, level):
    rng = np.random.default_rng(seed)
    scenarios, weights = rng.normal(size=(57, count)), rng.normal(size=count)
    parts = component_cvar(weights, scenarios, level)
    assert parts.sum() == pytest.approx(cvar(-scenarios @ weights, level), abs=1e-10)
    for i in range(count):
        nudge = np.where(np.arange(count) == i, 1e-9, 0.0)
        slope = (cvar(-scenarios @ (weights + nudge), level) - cvar(-scenarios @ (weights - nudge), level)) / 2e-9
        assert parts[i] == pytest.approx(weights[i] * slope, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(1, 4), st.integers(0, 10_000))
def test_the_parts_of_a_factor_model_sum_to_the_volatility_of_its_covariance(count, width, seed):
    rng = np.random.default_rng(seed)
    betas, root, specific = rng.normal(size=(width, count)), rng.normal(size=(width, width + 1)), rng.random(count)
    omega, weights = root @ root.T, rng.normal(size=count)
    symbols, names = [f"S{i}" for i in range(count)], [f"F{i}" for i in range(width)]
    held = dict(zip(symbols, weights.tolist(), strict=True))
    found = factor_risk(held, symbols, betas, names, omega, specific)
    covariance = betas.T @ omega @ betas + np.diag(specific)
    assert found.volatility == pytest.approx(np.sqrt(weights @ covariance @ weights), rel=1e-10)
    parts = sum(found.factors.values()) + sum(found.specific.values())
    assert parts == pytest.approx(found.volatility, rel=1e-10)
    assert min(found.specific.values()) >= 0.0


def test_a_factor_model_refuses_what_it_has_no_exposures_of():
    with pytest.raises(ValueError, match="no exposures for B"):
        factor_risk({"B": 1.0}, ["A"], np.ones((1, 1)), ["market"], np.eye(1), np.ones(1))
    still = factor_risk({}, ["A"], np.ones((1, 1)), ["market"], np.eye(1), np.ones(1))
    assert (still.volatility, still.factors, still.specific) == (0.0, {"market": 0.0}, {"A": 0.0})


def test_parts_of_a_sector_are_those_of_its_symbols():
    parts = by_group({"KO": 0.1, "XOM": 0.2, "CVX": -0.05, "GLD": 0.01}, {"KO": "S", "XOM": "E", "CVX": "E"})
    assert parts == pytest.approx({"S": 0.1, "E": 0.15, "other": 0.01})


def test_a_level_of_one_has_no_tail_to_split():
    with pytest.raises(ValueError, match="confidence level"):
        component_cvar(np.ones(2), np.zeros((5, 2)), 1.0)
