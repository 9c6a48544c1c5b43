"""Minimum variance: a closed form, a second solver, and honest failure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, minimize

from ordinis.domain.limits import Limits
from ordinis.errors import InfeasibleLimits, SolverFailed
from ordinis.optimize.mean_variance import minimum_variance
from ordinis.ports import FloatArray

FREE = Limits(position_cap=1.0, gross_cap=1.0, cash_buffer=0.0, sector_cap=1.0)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.005, 0.05), st.floats(0.005, 0.05), st.floats(-0.9, 0.9))
def test_two_assets_have_a_closed_form(first, second, correlation):
    shared = correlation * first * second
    covariance = np.array([[first**2, shared], [shared, second**2]])
    share = (second**2 - shared) / (first**2 + second**2 - 2.0 * shared)
    expected = np.clip(share, 0.0, 1.0)
    got = minimum_variance(covariance, ["A", "B"], FREE)
    np.testing.assert_allclose(got, [expected, 1.0 - expected], atol=1e-5)


def test_uncorrelated_assets_are_weighed_by_inverse_variance():
    got = minimum_variance(np.diag([1.0, 2.0, 4.0]) * 1e-4, ["A", "B", "C"], FREE)
    np.testing.assert_allclose(got, np.array([4.0, 2.0, 1.0]) / 7.0, atol=1e-8)


def test_caps_and_sectors_agree_with_another_formulation(real_returns: FloatArray):
    covariance = np.cov(real_returns[-252:].T)
    symbols = [f"S{i}" for i in range(20)]
    limits = Limits(0.15, 0.9, 0.1, 0.25, {name: f"sector{i % 5}" for i, name in enumerate(symbols)})
    rules = [LinearConstraint(np.ones(20), 0.9, 0.9)]
    rules += [LinearConstraint((np.arange(20) % 5 == k).astype(float), -np.inf, 0.25) for k in range(5)]
    peer = minimize(
        lambda w: 1e4 * w @ covariance @ w,
        np.full(20, 0.045),
        jac=lambda w: 2e4 * covariance @ w,
        bounds=[(0.0, 0.15)] * 20,
        constraints=rules,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    got = minimum_variance(covariance, symbols, limits)
    assert got.sum() == pytest.approx(0.9, abs=1e-8)
    np.testing.assert_allclose(got, peer.x, atol=1e-5)


def test_the_scale_of_the_covariance_does_not_matter(real_returns: FloatArray):
    covariance = np.cov(real_returns[-252:].T)
    symbols = [f"S{i}" for i in range(20)]
    calm, wild = (minimum_variance(covariance * scale, symbols, Limits()) for scale in (1e-6, 1e4))
    np.testing.assert_allclose(calm, wild, atol=1e-8)


def test_equal_questions_have_equal_bytes(real_returns: FloatArray):
    covariance = np.cov(real_returns[:252].T)
    symbols = [f"S{i}" for i in range(20)]
    answers = {minimum_variance(covariance.copy(), symbols, Limits()).tobytes() for _ in range(3)}
    assert len(answers) == 1


def test_few_symbols_are_filled_to_their_caps():
    np.testing.assert_allclose(minimum_variance(np.eye(3), ["A", "B", "C"], Limits()), 0.2, atol=1e-8)


def test_what_cannot_be_invested_names_the_conflict():
    with pytest.raises(InfeasibleLimits, match=r"position 0\.2000 on 3 symbols"):
        minimum_variance(np.eye(3), ["A", "B", "C"], Limits(), invested=0.9)


def test_a_matrix_that_is_no_covariance_is_a_failure_and_no_weights():
    with pytest.raises(SolverFailed, match="clarabel"):
        minimum_variance(np.array([[1.0, 3.0], [3.0, 1.0]]), ["A", "B"], FREE)


def test_a_covariance_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="the covariance of symbols 0 and 1 is not finite"):
        minimum_variance(np.array([[1.0, np.nan], [np.nan, 1.0]]), ["A", "B"], FREE)


def test_nothing_may_be_invested():
    np.testing.assert_array_equal(minimum_variance(np.eye(2), ["A", "B"], Limits(gross_cap=0.0)), [0.0, 0.0])
