"""Covariance estimators against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from ordinis.risk.covariance import exponentially_weighted, ledoit_wolf, sample


@pytest.fixture
def returns():
    rng = np.random.default_rng(0)
    return rng.normal(scale=0.01, size=(120, 6)) + rng.normal(scale=0.01, size=(120, 1))


def test_the_sample_estimate_is_numpys(returns):
    np.testing.assert_allclose(sample(returns), np.cov(returns.T), rtol=1e-12)


def test_ledoit_wolf_lies_between_the_sample_and_a_multiple_of_the_identity(returns):
    plain = np.cov(returns.T, bias=True)
    target = np.trace(plain) / 6 * np.eye(6)
    shrunk = ledoit_wolf(returns)
    intensity = (plain - shrunk)[0, 1] / (plain - target)[0, 1]
    assert 0.0 < intensity < 1.0
    np.testing.assert_allclose(shrunk, (1.0 - intensity) * plain + intensity * target, atol=1e-15)


def test_ledoit_wolf_intensity_is_the_papers(returns):
    """Ledoit and Wolf (2004), lemma 3.2 to 3.4, written out."""
    centred = returns - returns.mean(axis=0)
    count, width = returns.shape
    plain = centred.T @ centred / count
    mean = np.trace(plain) / width
    distance = ((plain - mean * np.eye(width)) ** 2).sum() / width
    spread = sum(((np.outer(row, row) - plain) ** 2).sum() for row in centred) / width / count**2
    intensity = min(spread, distance) / distance
    expected = (1.0 - intensity) * plain + intensity * mean * np.eye(width)
    np.testing.assert_allclose(ledoit_wolf(returns), expected, rtol=1e-10)


def test_ledoit_wolf_is_invertible_with_fewer_sessions_than_symbols():
    returns = np.random.default_rng(1).normal(size=(10, 40))
    assert np.linalg.eigvalsh(ledoit_wolf(returns))[0] > 0.0
    assert np.linalg.eigvalsh(sample(returns))[0] < 1e-10


def test_exponential_weights_halve():
    # weights 1/7, 2/7 and 4/7 about the mean 4/7: variance 4/7 * 3/7
    got = exponentially_weighted(np.array([[0.0], [0.0], [1.0]]), half_life=1.0)
    assert got[0, 0] == pytest.approx(12.0 / 49.0)


def test_a_very_long_half_life_weighs_all_sessions_alike(returns):
    np.testing.assert_allclose(exponentially_weighted(returns, 1e9), np.cov(returns.T, bias=True), rtol=1e-6)


@pytest.mark.parametrize("estimate", [sample, ledoit_wolf, lambda r: exponentially_weighted(r, 20.0)])
def test_every_estimate_is_exactly_symmetric_and_refuses_gaps(returns, estimate):
    matrix = estimate(returns)
    np.testing.assert_array_equal(matrix, matrix.T)
    returns[3, 2] = np.nan
    with pytest.raises(ValueError, match="return 3 of symbol 2 is nan"):
        estimate(returns)
    with pytest.raises(ValueError, match="at least 2"):
        estimate(returns[:1])
