"""Rolling regressions against statsmodels, to ten digits, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.regression.rolling import RollingOLS

from ordinis.ports import FloatArray
from ordinis.risk.rolling import rolling_regression

rng = np.random.default_rng(0)
FACTORS = rng.standard_t(5, size=(600, 4)) * 0.01 + 0.003
BETAS = rng.normal(size=(4, 3))
RETURNS = FACTORS @ BETAS + rng.standard_t(5, size=(600, 3)) * 0.01 + np.array([0.01, 0.0, -0.002])


@pytest.mark.parametrize("window", [6, 60, 252, 600])
def test_every_window_is_the_regression_that_statsmodels_makes(window: int) -> None:
    found = rolling_regression(RETURNS, FACTORS, window)
    for symbol in range(3):
        fit = RollingOLS(RETURNS[:, symbol], sm.add_constant(FACTORS), window=window).fit()
        theirs = [np.asarray(each)[window - 1 :] for each in (fit.params, fit.tvalues, fit.rsquared, fit.mse_resid)]
        mine = np.concatenate([found.alpha[:, None], found.betas], axis=1)[:, :, symbol]
        close = 1e-10 if window > 6 else 1e-6
        np.testing.assert_allclose(mine, theirs[0], rtol=close, atol=close)
        np.testing.assert_allclose(found.t[:, :, symbol], theirs[1], rtol=close * 100, atol=close)
        np.testing.assert_allclose(found.r_squared[:, symbol], theirs[2], atol=close)
        np.testing.assert_allclose(found.residual_volatility[:, symbol], np.sqrt(theirs[3]), rtol=close * 10)


def test_planted_betas_lie_within_two_standard_errors_as_often_as_they_should() -> None:
    planted = np.random.default_rng(4)
    factors = planted.normal(size=(250, 2)) * 0.01
    betas = planted.normal(size=(2, 400))
    returns = factors @ betas + planted.normal(size=(250, 400)) * 0.01 + 0.001
    found = rolling_regression(returns, factors, 250)
    errors = found.betas[0] / found.t[0, 1:]
    inside = np.abs(found.betas[0] - betas) <= 2.0 * np.abs(errors)
    assert inside.mean() == pytest.approx(0.954, abs=0.02)
    alpha_error = np.abs(found.alpha[0] / found.t[0, 0])
    assert (np.abs(found.alpha[0] - 0.001) <= 2.0 * alpha_error).mean() == pytest.approx(0.954, abs=0.03)


def test_a_mean_that_dwarfs_the_moves_costs_no_digits() -> None:
    found = rolling_regression(RETURNS + 1e4, FACTORS - 1e4, 120)
    plain = rolling_regression(RETURNS, FACTORS, 120)
    np.testing.assert_allclose(found.betas, plain.betas, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.r_squared, plain.r_squared, atol=1e-6)


def test_a_symbol_that_does_not_move_has_no_r_squared() -> None:
    still = np.column_stack([RETURNS[:, 0], np.zeros(600)])
    found = rolling_regression(still, FACTORS, 100)
    assert np.isnan(found.r_squared[:, 1]).all()
    assert np.isfinite(found.r_squared[:, 0]).all()
    np.testing.assert_allclose(found.betas[:, :, 1], 0.0, atol=1e-12)


def test_what_stands_still_for_a_while_in_mid_sample_is_seen() -> None:
    still = FACTORS.copy()
    still[200:300, 1] = 0.01
    with pytest.raises(ValueError, match="does not move, or is a copy"):
        rolling_regression(RETURNS, still, 60)
    copied = FACTORS.copy()
    copied[200:300, 2] = copied[200:300, 0] + 2.5 * copied[200:300, 1]
    with pytest.raises(ValueError, match="does not move, or is a copy"):
        rolling_regression(RETURNS, copied, 60)
    returns = RETURNS.copy()
    returns[200:300, 0] = 0.001
    found = rolling_regression(returns, FACTORS, 60)
    assert np.isnan(found.r_squared[200:241, 0]).all()
    assert np.isfinite(found.r_squared[:200, 0]).all()


@pytest.mark.parametrize(
    ("returns", "factors", "window", "told"),
    [
        (RETURNS[:-1], FACTORS, 100, "returns of shape"),
        (RETURNS, FACTORS, 5, "5 sessions for 5 coefficients"),
        (RETURNS, FACTORS, 601, "601 sessions"),
        (np.where(np.arange(600)[:, None] == 7, np.nan, RETURNS), FACTORS, 100, "leave incomplete sessions out"),
        (RETURNS, np.zeros((600, 1)), 100, "does not move"),
    ],
)
def test_what_cannot_be_regressed_is_refused(returns: FloatArray, factors: FloatArray, window: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        rolling_regression(returns, factors, window)
