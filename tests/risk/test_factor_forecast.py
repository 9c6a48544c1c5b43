"""Forecasts of factors: noise is not forecast, a drift that is there is, and nothing is seen before it happened."""

from __future__ import annotations

import numpy as np
import pytest

from ordinis.risk.factor_forecast import LEAST_SESSIONS, forecast_factors

NAMES = ("market", "size", "value", "momentum")


def returns(seed: int, count: int = 504, drift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(drift, 0.01, (count, 4))


def test_noise_has_no_skill_and_is_not_forecast() -> None:
    found = [forecast_factors(returns(seed), NAMES) for seed in range(200)]
    opened = [each for each in found if any(each.returns.values())]
    assert len(opened) <= 60
    assert np.mean([each.skill for each in found]) < 0.0
    for each in found:
        assert (each.skill > 0.0) or set(each.returns.values()) == {0.0}


def test_a_drift_that_is_there_is_found_and_shrunk_a_little() -> None:
    found = [forecast_factors(returns(seed, drift=0.003), NAMES) for seed in range(40)]
    assert sum(each.skill > 0.0 for each in found) >= 36
    assert np.mean([each.returns["size"] for each in found]) == pytest.approx(0.003, rel=0.15)


def test_the_standard_error_is_the_spread_of_the_forecasts_over_worlds() -> None:
    found = [forecast_factors(returns(seed, drift=0.01), NAMES) for seed in range(300)]
    spread = np.std([each.returns["value"] for each in found])
    assert np.mean([each.errors["value"] for each in found]) == pytest.approx(spread, rel=0.15)


def test_the_skill_is_that_of_forecasts_made_before_each_session() -> None:
    """By hand: weighted means of the past alone, pulled by James and Stein, against nothing."""
    rows = returns(3, 200, 0.002)
    missed = nothing = 0.0
    for at in range(100, 200):
        past = rows[:at]
        weights = 0.5 ** (np.arange(at)[::-1] / 126.0)
        mean = weights @ past / weights.sum()
        variance = weights @ past**2 / weights.sum() - mean**2
        error = np.sqrt(variance * (weights**2).sum()) / weights.sum()
        kept = max(0.0, 1.0 - 2.0 / ((mean / error) ** 2).sum())
        missed += (((rows[at] - kept * mean) / rows.std(axis=0)) ** 2).sum()
        nothing += ((rows[at] / rows.std(axis=0)) ** 2).sum()
    assert forecast_factors(rows, NAMES).skill == pytest.approx(1.0 - missed / nothing, abs=1e-12)


def test_what_does_not_move_is_not_forecast() -> None:
    rows = returns(1, drift=0.005)
    rows[:, 2] = 0.0
    found = forecast_factors(rows, NAMES)
    assert found.returns["value"] == 0.0
    assert found.returns["size"] > 0.0
    assert forecast_factors(np.zeros((200, 4)), NAMES).skill == 0.0


@pytest.mark.parametrize(
    ("rows", "names", "told"),
    [
        (np.zeros((LEAST_SESSIONS, 4)), NAMES, "63 sessions: more than 63"),
        (np.zeros((100, 3)), NAMES, "4 names"),
        (np.full((100, 4), np.nan), NAMES, "finite"),
    ],
)
def test_what_cannot_be_judged_is_refused(rows: np.ndarray, names: tuple[str, ...], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        forecast_factors(rows, names)
