"""Measures of loss on numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordinis.risk.measures import (
    conditional_drawdown_at_risk,
    cornish_fisher,
    cvar,
    drawdown,
    drawdown_at_risk,
    max_drawdown,
    value_at_risk,
    volatility,
)

losses = st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=40).map(np.array)
levels = st.floats(0.0, 0.99)


def test_cvar_of_four_losses_at_half_is_the_mean_of_the_worst_two():
    assert cvar(np.array([0.01, 0.04, -0.02, 0.02]), confidence_level=0.5) == 0.03


def test_cvar_counts_the_last_loss_of_the_tail_by_its_fraction():
    # 0.4 of 5 scenarios is two; 0.5 is two and a half: (5 + 4 + 3 / 2) / 2.5
    five = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert cvar(five, 0.6) == pytest.approx(4.5)
    assert cvar(five, 0.5) == pytest.approx(4.2)


def test_cvar_of_a_tail_thinner_than_one_scenario_is_the_worst_loss():
    assert cvar(np.array([0.3, 0.1, 0.2]), 0.95) == pytest.approx(0.3)


def test_cvar_at_zero_confidence_is_the_mean():
    assert cvar(np.array([0.3, 0.1, 0.2]), 0.0) == pytest.approx(0.2)


def test_cvar_of_a_hundred_at_ninety_five_percent_is_the_mean_of_five():
    hundred = np.arange(1.0, 101.0)
    assert cvar(hundred, 0.95) == 98.0
    assert value_at_risk(hundred, 0.95) == 95.0


@settings(max_examples=200, deadline=None)
@given(losses, levels)
def test_cvar_is_the_minimum_of_rockafellar_and_uryasev(values, level):
    at = [t + np.maximum(values - t, 0.0).mean() / (1.0 - level) for t in values]
    assert cvar(values, level) == pytest.approx(min(at), abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(losses, levels)
def test_the_tail_is_no_better_than_value_at_risk_nor_worse_than_the_worst(values, level):
    assert value_at_risk(values, level) - 1e-12 <= cvar(values, level) <= values.max() + 1e-12


@settings(max_examples=100, deadline=None)
@given(losses, levels, st.randoms(use_true_random=False))
def test_diversification_never_raises_cvar(values, level, random):
    other = np.array(random.sample(values.tolist(), len(values)))
    assert cvar((values + other) / 2.0, level) <= (cvar(values, level) + cvar(other, level)) / 2.0 + 1e-12


@pytest.mark.parametrize("bad", [np.array([]), np.array([0.1, np.nan]), np.array([np.inf])])
def test_losses_that_are_no_numbers_are_refused(bad):
    for measure in (cvar, value_at_risk):
        with pytest.raises(ValueError, match="finite"):
            measure(bad)


def test_a_percentage_is_no_confidence_level():
    with pytest.raises(ValueError, match="95"):
        cvar(np.array([0.1]), 95.0)


def test_drawdown_counts_from_the_highest_value_so_far():
    equity = np.array([100.0, 120.0, 90.0, 130.0, 117.0])
    np.testing.assert_allclose(drawdown(equity), [0.0, 0.0, 0.25, 0.0, 0.1])
    assert max_drawdown(equity) == pytest.approx(0.25)


def test_a_path_that_only_rises_has_no_drawdown():
    assert max_drawdown(np.array([1.0, 2.0, 3.0])) == 0.0
    assert max_drawdown(np.array([])) == 0.0


def test_volatility_divides_by_one_less():
    assert volatility(np.array([0.01, 0.03])) == pytest.approx(np.sqrt(0.0002))
    assert volatility(np.array([0.01])) == 0.0


def test_cornish_fisher_of_normal_returns_is_the_normal_quantile_and_its_tail():
    draws = np.random.default_rng(0).normal(0.001, 0.02, 1_000_000)
    var, tail = cornish_fisher(draws, 0.95)
    assert var == pytest.approx(-0.001 + 1.6449 * 0.02, rel=5e-3)
    assert tail == pytest.approx(-0.001 + 2.0627 * 0.02, rel=5e-3)


def test_cornish_fisher_sees_a_skew_that_the_normal_does_not():
    rng = np.random.default_rng(1)
    # Gains are many and small, losses few and large.
    draws = 0.02 - 0.01 * rng.gamma(6.0, 0.5, 400_000)
    var, tail = cornish_fisher(draws, 0.99)
    assert var == pytest.approx(value_at_risk(-draws, 0.99), rel=0.03)
    assert tail == pytest.approx(cvar(-draws, 0.99), rel=0.03)
    normal = -draws.mean() + 2.3263 * draws.std()
    assert var > 1.1 * normal


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99, 0.999])
def test_cornish_fisher_cvar_is_the_mean_of_its_own_quantiles(level):
    draws = np.random.default_rng(2).standard_t(12, 5_000) * 0.01 - 0.002 * np.random.default_rng(3).gamma(2, 1, 5_000)
    at = np.linspace(level, 1.0, 20_001)[:-1] + (1.0 - level) / 40_000
    quantiles = [cornish_fisher(draws, float(each))[0] for each in at[::40]]
    assert cornish_fisher(draws, level)[1] == pytest.approx(np.mean(quantiles), rel=0.02)


def test_cornish_fisher_has_no_answer_where_the_expansion_is_no_distribution():
    crash = np.zeros(200)
    crash[7] = -0.5
    assert cornish_fisher(crash) is None
    assert cornish_fisher(np.full(10, 0.01)) == pytest.approx((-0.01, -0.01))
    with pytest.raises(ValueError, match="3 returns"):
        cornish_fisher(np.array([0.1, 0.2, 0.3]))


def test_drawdown_at_risk_lies_between_the_mean_and_the_deepest():
    path = np.array([1.0, 2.0, 1.0, 1.5, 3.0, 2.4, 3.0, 3.0, 3.0, 2.7])
    # Drawdowns 0 0 .5 .25 0 .2 0 0 0 .1
    assert drawdown_at_risk(path, 0.9) == pytest.approx(0.25)
    assert drawdown_at_risk(path, 0.8) == pytest.approx(0.2)
    assert conditional_drawdown_at_risk(path, 0.8) == pytest.approx(0.375)
    assert conditional_drawdown_at_risk(path, 0.0) == pytest.approx(drawdown(path).mean())
    assert conditional_drawdown_at_risk(path, 0.99) == pytest.approx(max_drawdown(path))
