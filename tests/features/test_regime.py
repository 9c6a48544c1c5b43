"""Labels of markets whose state is planted, and steadiness on the real one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ordinis.domain.market import Correlation, Liquidity, Regime, Trend, Volatility
from ordinis.features.regime import MINIMUM_SESSIONS, regime
from ordinis.ports import FloatArray, PriceHistory


def market(sigma: FloatArray, seed: int = 0, symbols: int = 5, common: float = 0.5) -> FloatArray:
    """(T + 1, N) closes whose session volatility follows (T,) sigma."""
    rng = np.random.default_rng(seed)
    one, own = rng.normal(size=(len(sigma), 1)), rng.normal(size=(len(sigma), symbols))
    returns = sigma[:, None] * (np.sqrt(common) * one + np.sqrt(1.0 - common) * own)
    return np.vstack([np.full(symbols, 100.0), 100.0 * np.cumprod(1.0 + returns, axis=0)])


def test_a_short_past_is_unknown_on_every_axis():
    assert regime(market(np.full(MINIMUM_SESSIONS - 1, 0.01))) == Regime(readings={})


def test_a_long_enough_past_is_known_except_liquidity_without_volumes():
    seen = regime(market(np.full(MINIMUM_SESSIONS, 0.01)))
    assert seen.volatility is not Volatility.UNKNOWN
    assert seen.trend is not Trend.UNKNOWN
    assert seen.correlation is not Correlation.UNKNOWN
    assert seen.liquidity is Liquidity.UNKNOWN


def test_volatility_is_high_after_it_doubled_and_low_after_it_halved():
    calm = np.full(700, 0.01)
    assert regime(market(np.concatenate([calm, np.full(50, 0.03)]))).volatility is Volatility.HIGH
    assert regime(market(np.concatenate([calm, np.full(50, 0.004)]))).volatility is Volatility.LOW


def test_ordinary_volatility_between_extremes_is_medium():
    sigma = np.concatenate([np.full(250, 0.005), np.full(250, 0.02), np.full(250, 0.01)])
    assert regime(market(sigma)).volatility is Volatility.MEDIUM


def test_a_steady_rise_trends_and_a_zigzag_ranges():
    noise = market(np.full(500, 0.01), seed=1)
    steady = np.cumprod(np.full((70, 5), 1.004), axis=0)
    zigzag = np.cumprod(np.tile([[1.01], [1 / 1.01]], (35, 5)), axis=0)
    assert regime(np.vstack([noise, noise[-1] * steady])).trend is Trend.TRENDING
    assert regime(np.vstack([noise, noise[-1] * zigzag])).trend is Trend.RANGING


def test_a_reverting_market_reads_a_variance_ratio_significantly_below_one():
    zigzag = 100.0 + np.random.default_rng(5).normal(size=(756, 5))
    readings = regime(zigzag).readings
    assert readings["variance_ratio"] < 0.5
    assert readings["variance_ratio_z"] < -2.0


def test_correlation_is_high_when_all_move_together_and_low_when_none_do():
    loose = market(np.full(500, 0.01), common=0.1)
    tight = market(np.full(80, 0.01), common=0.9, seed=2)
    assert regime(np.vstack([loose, loose[-1] * tight / 100.0])).correlation is Correlation.HIGH
    tight = market(np.full(500, 0.01), common=0.9)
    loose = market(np.full(80, 0.01), common=0.1, seed=2)
    assert regime(np.vstack([tight, tight[-1] * loose / 100.0])).correlation is Correlation.LOW


def test_a_market_that_trades_a_tenth_is_illiquid():
    closes = market(np.full(600, 0.01))
    volumes = np.full(closes.shape, 1e6)
    assert regime(closes, volumes).liquidity is not Liquidity.UNKNOWN
    volumes[-40:] = 1e5
    assert regime(closes, volumes).liquidity is Liquidity.ILLIQUID
    volumes[-40:] = 1e7
    assert regime(closes, volumes).liquidity is Liquidity.LIQUID


def test_volumes_that_are_all_missing_are_unknown():
    closes = market(np.full(400, 0.01))
    assert regime(closes, np.full(closes.shape, np.nan)).liquidity is Liquidity.UNKNOWN


def test_a_symbol_listed_late_changes_no_correlation():
    closes = market(np.full(400, 0.01))
    late = np.column_stack([closes, np.where(np.arange(401) < 300, np.nan, closes[:, 0])])
    assert regime(late).readings["correlation"] == regime(closes).readings["correlation"]


def test_a_session_in_which_nothing_traded_changes_nothing():
    closes = market(np.full(400, 0.01))
    assert regime(np.insert(closes, 200, np.nan, axis=0)) == regime(closes)


def test_readings_are_finite_whatever_the_prices():
    closes = market(np.full(400, 0.01))
    closes[:, 0] = 50.0
    closes[100, 1] = 0.0
    for prices in (closes, np.full((400, 3), 20.0)):
        readings = regime(prices, np.full(prices.shape, 1e5)).readings
        assert all(np.isfinite(value) for value in readings.values())


def test_hysteresis_more_than_halves_the_flicker_on_the_real_market(sample: PriceHistory):
    closes = sample.closes[5_000:6_500]
    labels, bare = [], []
    for end in range(756, len(closes)):
        seen = regime(closes[end - 756 : end])
        labels.append((seen.volatility, seen.trend, seen.correlation))
        rank = seen.readings["volatility_rank"]
        bare.append(
            ((rank > 0.3) + (rank > 0.7), seen.readings["trend"] > 1.0, seen.readings["correlation_rank"] > 0.5)
        )
    for axis in range(3):
        changes = sum(a[axis] != b[axis] for a, b in pairwise(labels))
        without = sum(a[axis] != b[axis] for a, b in pairwise(bare))
        assert 0 < changes < without / 2
