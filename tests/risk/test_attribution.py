"""Attribution: planted coefficients are found, and parts sum to the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordinis.risk.attribution import component_risk, factor_attribution, risk_attribution


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
