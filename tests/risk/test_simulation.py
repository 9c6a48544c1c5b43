"""Scenarios made from the past: what they keep of it, what they forget, and that a seed decides them."""

from __future__ import annotations

import numpy as np
import pytest

from ordinis.ports import FloatArray
from ordinis.risk.simulation import block_bootstrap, filtered_history, stationary_places, student_t


@pytest.fixture(scope="module")
def past() -> FloatArray:
    """(1_500, 3) with a common factor, a volatility that triples in the last hundred sessions, and no drift."""
    rng = np.random.default_rng(1)
    calm = np.concatenate([np.full(1_400, 0.01), np.full(100, 0.03)])[:, None]
    return calm * (0.8 * rng.standard_normal((1_500, 1)) + 0.6 * rng.standard_normal((1_500, 3)))


def test_places_follow_each_other_in_blocks_of_the_length_that_was_asked() -> None:
    places = stationary_places(500, 200_000, np.random.default_rng(0), block=20.0)
    breaks = np.count_nonzero((np.diff(places) % 500) != 1)
    # A block ends by chance where the next one would have begun anyway, once in 500.
    assert 200_000 / breaks == pytest.approx(20.0, rel=0.03)
    assert np.bincount(places, minlength=500).min() > 200
    assert set(np.diff(stationary_places(500, 300, np.random.default_rng(0), block=1e9)) % 500) == {1}


def test_a_bootstrap_holds_whole_sessions_of_the_past(past: FloatArray) -> None:
    drawn = block_bootstrap(past, 400, np.random.default_rng(2))
    rows = {tuple(row) for row in past.tolist()}
    assert all(tuple(row) in rows for row in drawn.tolist())
    assert not np.array_equal(drawn, block_bootstrap(past, 400, np.random.default_rng(3)))
    np.testing.assert_array_equal(drawn, block_bootstrap(past, 400, np.random.default_rng(2)))


def test_a_horizon_compounds_the_sessions_of_its_block() -> None:
    returns = np.array([[0.1], [0.1], [0.1]])
    np.testing.assert_allclose(block_bootstrap(returns, 5, np.random.default_rng(0), horizon=3), 1.1**3 - 1)
    rising = np.arange(1.0, 101.0)[:, None] / 1e4
    two = block_bootstrap(rising, 1, np.random.default_rng(4), horizon=2, block=1e9)[0, 0]
    first = next(a for a, b in zip(rising[:, 0], np.roll(rising[:, 0], -1), strict=True)
                 if (1 + a) * (1 + b) - 1 == pytest.approx(two, abs=1e-12))  # fmt: skip
    assert first in rising


def test_filtered_history_is_as_wide_as_today_and_as_dependent_as_the_past(past: FloatArray) -> None:
    drawn = filtered_history(past, 20_000, np.random.default_rng(0))
    assert np.std(drawn, axis=0) == pytest.approx(np.full(3, 0.03), rel=0.15)
    assert np.corrcoef(drawn.T)[0, 1] == pytest.approx(np.corrcoef(past.T)[0, 1], abs=0.05)
    calm = filtered_history(past[:1_400], 20_000, np.random.default_rng(0))
    assert np.std(calm, axis=0) == pytest.approx(np.full(3, 0.01), rel=0.15)


def test_filtered_history_over_ten_sessions_widens_as_the_root_of_time(past: FloatArray) -> None:
    one, ten = (filtered_history(past[:1_400], 20_000, np.random.default_rng(0), horizon=h) for h in (1, 10))
    assert np.std(ten, axis=0) / np.std(one, axis=0) == pytest.approx(np.full(3, np.sqrt(10)), rel=0.1)


def test_the_future_of_a_filter_is_not_in_its_past(past: FloatArray) -> None:
    """The volatility that divides a return was known before it."""
    loud = past.copy()
    loud[-1] *= 100.0
    quiet, after = (filtered_history(r, 4_000, np.random.default_rng(0)) for r in (past, loud))
    # The shape of the last day is huge as it should be: it was not divided by itself.
    assert np.abs(after).max() > 20 * np.abs(quiet).max()


def test_no_path_loses_more_than_everything() -> None:
    rng = np.random.default_rng(0)
    returns = rng.normal(size=(600, 2)) * np.concatenate([np.full(540, 0.008), np.full(60, 0.05)])[:, None]
    returns[300] = -0.205
    for horizon in (1, 10):
        assert filtered_history(returns, 20_000, np.random.default_rng(1), horizon).min() > -1.0
    returns[300, 0] = -1.0
    with pytest.raises(ValueError, match="-100 %"):
        filtered_history(returns, 10, rng)


def test_students_t_has_the_moments_and_the_tails_that_were_asked() -> None:
    covariance = np.array([[4e-4, 1e-4], [1e-4, 1e-4]])
    drawn = student_t(np.array([0.001, -0.002]), covariance, 5.0, 400_000, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.mean(axis=0), [0.001, -0.002], atol=2e-4)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, rtol=0.05, atol=5e-6)
    normal = student_t(np.zeros(2), covariance, 1e6, 400_000, np.random.default_rng(0))
    far = 4.0 * 0.02
    assert np.mean(np.abs(drawn[:, 0]) > far) > 10 * np.mean(np.abs(normal[:, 0]) > far)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda rng: block_bootstrap(np.array([[np.nan]]), 3, rng),
        lambda rng: block_bootstrap(np.zeros((0, 2)), 3, rng),
        lambda rng: stationary_places(0, 3, rng),
        lambda rng: stationary_places(5, 3, rng, block=0.5),
        lambda rng: filtered_history(np.zeros((30, 2)), 3, rng),
        lambda rng: student_t(np.zeros(1), np.eye(1), 2.0, 3, rng),
    ],
)
def test_what_cannot_be_drawn_from_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        wrong(np.random.default_rng(0))  # type: ignore[operator]
