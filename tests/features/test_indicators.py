"""Indicators against numbers that can be checked by hand, and against slow definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordinis.features import indicators
from ordinis.ports import FloatArray


def random_returns(rows: int, columns: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).normal(scale=0.01, size=(rows, columns))


def test_market_return_is_the_mean_of_the_returns_that_exist():
    returns = np.array([[0.01, 0.03], [np.nan, 0.02], [np.nan, np.nan]])
    np.testing.assert_allclose(indicators.market_returns(returns), [0.02, 0.02, np.nan])


def test_ewma_of_two_returns_at_half_life_one():
    # weights 1/2 and 1: sqrt((0.5 * 0 + 1 * 0.0009) / 1.5)
    volatility = indicators.ewma_volatility(np.array([0.0, 0.03]), 1.0)
    assert volatility[0] == 0.0
    assert volatility[1] == pytest.approx(np.sqrt(0.0006))


@pytest.mark.parametrize(("rows", "half_life"), [(40, 10.0), (1_300, 1.0), (900, 0.7)])
def test_ewma_is_the_weighted_mean_square_also_across_blocks(rows, half_life):
    returns = random_returns(rows, 3)
    got = indicators.ewma_volatility(returns, half_life)
    for t in {0, 7, min(351, rows - 1), min(500, rows - 1), rows - 1}:
        weights = 2.0 ** (-(t - np.arange(t + 1)) / half_life)
        expected = np.sqrt((weights[:, None] * returns[: t + 1] ** 2).sum(axis=0) / weights.sum())
        np.testing.assert_allclose(got[t], expected, rtol=1e-12)


def test_a_missing_return_carries_no_weight_in_the_ewma():
    volatility = indicators.ewma_volatility(np.array([np.nan, 0.01, np.nan, 0.01]), 5.0)
    assert np.isnan(volatility[0])
    np.testing.assert_allclose(volatility[1:], 0.01)


def test_trailing_volatility_is_the_sample_deviation_of_the_window():
    returns = random_returns(50, 2)
    got = indicators.trailing_volatility(returns, 21)
    assert np.isnan(got[:20]).all()
    for t in (20, 33, 49):
        np.testing.assert_allclose(got[t], returns[t - 20 : t + 1].std(axis=0, ddof=1), rtol=1e-10)


def test_a_window_with_a_missing_return_has_no_volatility():
    returns = random_returns(30, 2)
    returns[10, 0] = np.nan
    got = indicators.trailing_volatility(returns, 5)
    assert np.isnan(got[10:15, 0]).all()
    assert np.isfinite(got[15:, 0]).all()
    assert np.isfinite(got[4:, 1]).all()


def test_a_straight_line_is_efficient_and_a_zigzag_is_not():
    steps = np.array([0.01, 0.01, 0.01, 0.01, -0.01, 0.01, -0.01])
    got = indicators.efficiency_ratio(steps, 4)
    np.testing.assert_allclose(got[3:], [1.0, 0.5, 0.5, 0.0], atol=1e-12)


def test_a_price_that_never_moves_is_not_efficient():
    assert indicators.efficiency_ratio(np.zeros(10), 5)[-1] == 0.0


def test_variance_ratio_at_two_sessions_is_one_plus_the_autocorrelation():
    steps = np.array([0.02, -0.01, 0.01, -0.02, 0.01, -0.01, 0.02, -0.02])
    centred = steps - steps.mean()
    expected = 1.0 + (centred[1:] @ centred[:-1]) / (centred @ centred)
    assert indicators.variance_ratio(steps, 2)[0] == pytest.approx(expected)


def test_variance_ratio_z_at_three_sessions_is_that_of_lo_and_mackinlay():
    steps = np.random.default_rng(2).normal(size=50)
    squares = (steps - steps.mean()) ** 2
    spread = [squares[lag:] @ squares[:-lag] / squares.sum() ** 2 for lag in (1, 2)]
    ratio, z = indicators.variance_ratio(steps, 3)
    assert z == pytest.approx((ratio - 1.0) / np.sqrt(16 / 9 * spread[0] + 4 / 9 * spread[1]))


def test_variance_ratio_tells_reverting_from_random_from_trending():
    shocks = np.random.default_rng(3).normal(size=4_000)
    reverting = shocks[1:] - 0.4 * shocks[:-1]
    trending = shocks[1:] + 0.4 * shocks[:-1]
    assert indicators.variance_ratio(reverting, 5)[1] < -5.0
    assert abs(indicators.variance_ratio(shocks, 5)[1]) < 2.5
    assert indicators.variance_ratio(trending, 5)[1] > 5.0


def test_variance_ratio_z_is_about_standard_normal_when_volatility_clusters():
    rng = np.random.default_rng(0)
    clusters = np.repeat(rng.choice([0.5, 2.0], size=(400, 10)), 50, axis=1)
    z = [indicators.variance_ratio(row, 5)[1] for row in rng.normal(size=clusters.shape) * clusters]
    assert np.std(z) == pytest.approx(1.0, abs=0.12)
    assert np.mean(z) == pytest.approx(0.0, abs=0.2)


def test_average_correlation_of_equal_volatilities_is_the_mean_of_the_pairs():
    rng = np.random.default_rng(1)
    returns = rng.normal(size=(63, 5)) + rng.normal(size=(63, 1))
    returns /= returns.std(axis=0)
    matrix = np.corrcoef(returns.T)
    expected = (matrix.sum() - 5) / 20
    assert indicators.average_correlation(returns, 63)[-1] == pytest.approx(expected, abs=1e-12)


def test_average_correlation_weighs_pairs_by_their_volatilities():
    returns = random_returns(80, 4) * np.array([1.0, 2.0, 3.0, 4.0])
    covariance = np.cov(returns[-40:].T)
    sigma = np.sqrt(np.diag(covariance))
    off = ~np.eye(4, dtype=bool)
    expected = covariance[off].sum() / np.outer(sigma, sigma)[off].sum()
    assert indicators.average_correlation(returns, 40)[-1] == pytest.approx(expected, abs=1e-10)


def test_twins_correlate_fully_and_opposites_not_at_all():
    one = random_returns(30, 1)
    assert indicators.average_correlation(np.hstack([one, one]), 20)[-1] == pytest.approx(1.0)
    assert indicators.average_correlation(np.hstack([one, -one]), 20)[-1] == pytest.approx(-1.0)


def test_one_symbol_has_no_correlation():
    assert np.isnan(indicators.average_correlation(random_returns(30, 1), 20)).all()


def test_illiquidity_is_return_over_dollars():
    closes = np.array([[100.0], [101.0], [100.0 * 1.01 * 1.02]])
    volumes = np.array([[5.0], [10.0], [10.0]])
    # 1 % on 1,010 dollars and 2 % on 1,030.2 dollars
    expected = (0.01 / 1_010.0 + 0.02 / 1_030.2) / 2.0
    assert indicators.illiquidity(closes, volumes, 2)[-1, 0] == pytest.approx(expected)


def test_a_session_without_trade_has_no_illiquidity():
    closes, volumes = np.array([[100.0], [101.0], [102.0]]), np.array([[5.0], [0.0], [5.0]])
    assert np.isnan(indicators.illiquidity(closes, volumes, 2)).all()


def test_dollar_volume_is_the_mean_amount():
    got = indicators.dollar_volume(np.array([[10.0], [20.0]]), np.array([[3.0], [4.0]]), 2)
    assert got[-1, 0] == pytest.approx((30.0 + 80.0) / 2.0)


def test_hysteresis_keeps_its_state_between_the_levels():
    values = np.array([0.5, 0.9, 1.1, 0.9, 0.6, 0.4, 0.9, 1.2])
    expected = [False, False, True, True, True, False, False, True]
    assert indicators.hysteresis(values, 1.0, 0.5).tolist() == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-2.0, 2.0), min_size=1, max_size=40))
def test_hysteresis_is_the_loop_that_one_would_write(values):
    state = values[0] > 0.25
    expected = []
    for value in values:
        state = True if value > 0.5 else False if value < 0.0 else state
        expected.append(state)
    assert indicators.hysteresis(np.array(values), 0.5, 0.0).tolist() == expected
