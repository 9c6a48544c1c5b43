"""The state of the market on four axes: volatility, trend, correlation, liquidity.

Each axis reads one causal series and compares it with levels that come from the same trailing window: the label at t
uses rows up to t and nothing later, so it is filtered and never smoothed, and it is a function of the window alone:
a back-test and a live process that hold the same window agree.

    axis          reading                                              on above            off below
    volatility    EWMA volatility of the equal-weighted market         quantile 0.80       0.60     (high)
                                                                       quantile 0.40       0.20     (not low)
    trend         efficiency ratio times sqrt(n), 0.85 in the          1.25                0.75     (trending)
                  median of a random walk
    correlation   volatility-weighted mean pairwise correlation        quantile 0.60       0.40     (high)
    liquidity     Amihud illiquidity, each symbol over its own mean    quantile 0.75       0.60     (illiquid)

The gap between the two levels is hysteresis: a reading that trembles about one level changes no label. On the daily
prices of twenty stocks it leaves 6, 7 and 2 changes a year in volatility, trend and correlation of 18, 21 and 6 with
one level in the middle. Symbols whose prices do not fill the window are left out of correlation and liquidity.
"""

from __future__ import annotations

import numpy as np

from ordinis.domain.market import Correlation, Liquidity, Regime, Trend, Volatility
from ordinis.features import indicators
from ordinis.ports import FloatArray

MINIMUM_SESSIONS = 252
"""Returns without which the past is too short to say what is high and what is low."""
VOLATILITY_HALF_LIFE = 10.0
TREND_WINDOW = 63
CORRELATION_WINDOW = 63
LIQUIDITY_WINDOW = 21
VARIANCE_RATIO_HORIZON = 5
VARIANCE_RATIO_WINDOW = 252


def regime(closes: FloatArray, volumes: FloatArray | None = None) -> Regime:
    """Label the last row of a window.

    Args:
        closes: (T, N) in currency, oldest first, NaN where a symbol had no price.
        volumes: (T, N) in shares, or None where the source has none: liquidity is then UNKNOWN.

    Returns:
        UNKNOWN on an axis where the past is too short or the data are missing; `readings` has no such number.
    """
    closes = np.where(closes > 0.0, closes, np.nan)
    traded = np.isfinite(closes).any(axis=1)
    if not traded.all():
        closes = closes[traded]
        volumes = None if volumes is None else volumes[traded]
    readings: dict[str, float] = {}
    if len(closes) <= MINIMUM_SESSIONS:
        return Regime(readings=readings)
    returns = closes[1:] / closes[:-1] - 1.0
    market = indicators.market_returns(returns)
    complete = np.isfinite(closes).all(axis=0)
    everything = bool(complete.all())
    market = market[np.isfinite(market)]
    return Regime(
        volatility=_volatility(market, readings),
        trend=_trend(np.log1p(market), readings),
        correlation=_correlation(returns if everything else returns[:, complete], readings),
        liquidity=_liquidity(closes, volumes, readings),
        readings=readings,
    )


def _volatility(market: FloatArray, readings: dict[str, float]) -> Volatility:
    if len(market) < MINIMUM_SESSIONS:
        return Volatility.UNKNOWN
    # The first two half-lives average too few returns to compare with the rest.
    series = indicators.ewma_volatility(market, VOLATILITY_HALF_LIFE)[int(2 * VOLATILITY_HALF_LIFE) :]
    low, not_low, not_high, high = np.quantile(series, [0.20, 0.40, 0.60, 0.80])
    readings["volatility"] = float(series[-1])
    readings["volatility_rank"] = _rank(series)
    if indicators.hysteresis(series, high, not_high)[-1]:
        return Volatility.HIGH
    return Volatility.MEDIUM if indicators.hysteresis(series, not_low, low)[-1] else Volatility.LOW


def _trend(log_market: FloatArray, readings: dict[str, float]) -> Trend:
    if len(log_market) < MINIMUM_SESSIONS:
        return Trend.UNKNOWN
    series = indicators.efficiency_ratio(log_market, TREND_WINDOW)[TREND_WINDOW - 1 :] * np.sqrt(TREND_WINDOW)
    ratio, z = indicators.variance_ratio(log_market[-VARIANCE_RATIO_WINDOW:], VARIANCE_RATIO_HORIZON)
    readings["trend"] = float(series[-1])
    readings["variance_ratio"], readings["variance_ratio_z"] = ratio, z
    return Trend.TRENDING if indicators.hysteresis(series, 1.25, 0.75)[-1] else Trend.RANGING


def _correlation(returns: FloatArray, readings: dict[str, float]) -> Correlation:
    series = indicators.average_correlation(returns, CORRELATION_WINDOW)
    if not len(series) or not np.isfinite(series[-1]):
        return Correlation.UNKNOWN
    series = series[np.isfinite(series)]
    high, low = np.quantile(series, [0.60, 0.40])
    readings["correlation"] = float(series[-1])
    readings["correlation_rank"] = _rank(series)
    return Correlation.HIGH if indicators.hysteresis(series, high, low)[-1] else Correlation.LOW


def _liquidity(closes: FloatArray, volumes: FloatArray | None, readings: dict[str, float]) -> Liquidity:
    if volumes is None:
        return Liquidity.UNKNOWN
    measured = indicators.illiquidity(closes, volumes, LIQUIDITY_WINDOW)[LIQUIDITY_WINDOW:]
    measured = measured[:, np.isfinite(measured).all(axis=0)]
    mean = measured.mean(axis=0) if measured.size else np.zeros(0)
    if not (mean > 0.0).any():
        return Liquidity.UNKNOWN
    series = (measured[:, mean > 0.0] / mean[mean > 0.0]).mean(axis=1)
    illiquid, liquid = np.quantile(series, [0.75, 0.60])
    recent = indicators.dollar_volume(closes[-LIQUIDITY_WINDOW:], volumes[-LIQUIDITY_WINDOW:], LIQUIDITY_WINDOW)[-1]
    readings["dollar_volume"] = float(recent[np.isfinite(recent)].sum())
    readings["illiquidity"] = float(series[-1])
    readings["illiquidity_rank"] = _rank(series)
    return Liquidity.ILLIQUID if indicators.hysteresis(series, illiquid, liquid)[-1] else Liquidity.LIQUID


def _rank(series: FloatArray) -> float:
    """Share of the series that the last value exceeds."""
    return float((series < series[-1]).mean())
