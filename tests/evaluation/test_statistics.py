"""Statistics against empyrical, by hand, and an interval that knows a difference from noise."""

from __future__ import annotations

import math

import empyrical
import numpy as np
import pandas as pd
import pytest

from ordinis.evaluation import statistics
from ordinis.ports import FloatArray


@pytest.fixture
def returns() -> FloatArray:
    return np.random.default_rng(0).standard_t(4, size=1_500) * 0.008 + 0.0004


def test_every_number_is_empyricals(returns: FloatArray):
    series = pd.Series(returns, index=pd.bdate_range("2010-01-01", periods=len(returns)))
    assert statistics.annualised_return(returns) == pytest.approx(empyrical.annual_return(series))
    assert statistics.annualised_volatility(returns) == pytest.approx(empyrical.annual_volatility(series))
    assert statistics.sharpe(returns) == pytest.approx(empyrical.sharpe_ratio(series))
    assert statistics.sharpe(returns, 0.0001) == pytest.approx(empyrical.sharpe_ratio(series, risk_free=0.0001))
    assert statistics.max_drawdown(returns) == pytest.approx(-empyrical.max_drawdown(series))
    assert statistics.calmar(returns) == pytest.approx(empyrical.calmar_ratio(series))
    ours, theirs = statistics.rolling_sharpe(returns, 252), empyrical.roll_sharpe_ratio(series, 252)
    np.testing.assert_allclose(ours[251:], theirs.to_numpy(), rtol=1e-9)
    assert np.isnan(ours[:251]).all()


def test_a_loss_on_the_first_session_is_a_drawdown():
    assert statistics.max_drawdown(np.array([-0.1, 0.05])) == pytest.approx(0.1)


def test_a_tenth_of_a_percent_each_session_compounds():
    steady = np.full(252, 0.001)
    assert statistics.annualised_return(steady) == pytest.approx(1.001**252 - 1.0)
    assert statistics.sharpe(steady) == 0.0
    assert np.isnan(statistics.rolling_sharpe(steady, 21)).all()
    assert statistics.calmar(steady) == math.inf


def test_an_empty_path_says_nothing():
    empty = np.array([])
    assert statistics.annualised_return(empty) == 0.0
    assert statistics.max_drawdown(empty) == 0.0
    assert statistics.rolling_sharpe(empty).size == 0


def test_turnover_is_annual_and_by_trade():
    summary = statistics.turnover_summary(np.array([0.0, 0.1, 0.0, 0.3]))
    assert summary.annual == pytest.approx(0.1 * 252)
    assert summary.mean_when_traded == pytest.approx(0.2)
    assert summary.largest == pytest.approx(0.3)
    assert (summary.sessions_traded, summary.sessions) == (2, 4)


def test_a_path_does_not_differ_from_itself(returns: FloatArray):
    found = statistics.sharpe_difference(returns, returns, np.random.default_rng(1), samples=100)
    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)
    assert not found.significant


def test_a_planted_edge_on_the_same_market_is_found(returns: FloatArray):
    own = np.random.default_rng(2).normal(scale=0.001, size=len(returns))
    better = returns + own - own.mean() + 0.0004
    found = statistics.sharpe_difference(better, returns, np.random.default_rng(1), samples=400)
    assert found.significant
    assert found.low < found.difference < found.high
    assert found.difference == pytest.approx(statistics.sharpe(better) - statistics.sharpe(returns))


def test_two_paths_of_noise_seldom_differ():
    rng = np.random.default_rng(3)
    claims = sum(
        statistics.sharpe_difference(*rng.normal(scale=0.01, size=(2, 500)), rng, samples=200, block=5).significant
        for _ in range(60)
    )
    assert claims <= 8  # 5 % of 60 is 3; more than 8 has a chance below 1 in 100


def test_the_same_generator_gives_the_same_interval(returns: FloatArray):
    other = np.random.default_rng(4).permutation(returns)
    first, second = (
        statistics.sharpe_difference(returns, other, np.random.default_rng(7), samples=50) for _ in range(2)
    )
    assert first == second


def test_paths_of_unequal_length_are_refused(returns: FloatArray):
    with pytest.raises(ValueError, match="same sessions"):
        statistics.sharpe_difference(returns, returns[1:], np.random.default_rng(0))
