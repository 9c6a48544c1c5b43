"""The whole trading cycle against thirty lines of NumPy that know nothing of it: 20 stocks, 1990 to 2022."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
import pytest
from numpy.typing import NDArray

from ordinis import bootstrap
from ordinis.allocation.naive import EqualWeight
from ordinis.costs.models import ProportionalCost
from ordinis.evaluation.backtest import Backtest, backtest
from ordinis.settings import Settings

BPS = 10.0
LongRun = tuple[Backtest, NDArray[np.float64], list[date]]


@pytest.fixture(scope="module")
def long_run() -> LongRun:
    settings = Settings(profile="research")
    market, rules = bootstrap.sample_market(settings), bootstrap.rulebook(settings)
    fine = {s: replace(i, lot=Decimal("0.000001")) for s, i in market.instruments.items()}
    allocator = EqualWeight(rules.limits)
    result = backtest(
        replace(market, instruments=fine), allocator, allocator, rules, ProportionalCost(BPS),
        first=date(1990, 1, 3), last=date(2022, 12, 28),
    )  # fmt: skip
    return result, market.history.closes, list(market.history.sessions)


def by_hand(closes: NDArray[np.float64], sessions: list[date], bps: float) -> NDArray[np.float64]:
    """Session returns of 1/N, rebalanced on the first session of each month at its closes, `bps` a side."""
    cost, lot, cent = bps * 1e-4, 1e-6, 0.01
    symbols = closes.shape[1]
    cash, units, equity = 1_000_000.0, np.zeros(symbols), [1_000_000.0]
    for t in range(1, len(sessions)):
        price, month = closes[t], sessions[t].month != sessions[t - 1].month
        if month or t == 1:
            worth = cash + units @ price
            change = np.floor(worth / symbols / price / lot) * lot - units
            sold, bought = np.maximum(-change, 0.0), np.maximum(change, 0.0)
            proceeds = sold @ price * (1.0 - cost)
            there, needed = cash + proceeds - cent * (bought > 0).sum(), bought @ price * (1.0 + cost)
            bought = np.floor(bought * min(1.0, there / needed) / lot) * lot
            cash += proceeds - bought @ price * (1.0 + cost)
            units += bought - sold
        equity.append(cash + units @ price)
    return np.diff(equity) / equity[:-1]


def test_every_session_return_agrees_to_a_millionth(long_run: LongRun) -> None:
    result, closes, sessions = long_run
    expected = by_hand(closes, sessions, BPS)
    assert len(result.returns) == len(expected) == 8312
    np.testing.assert_allclose(result.returns, expected, rtol=0, atol=1e-6)


def test_half_a_basis_point_of_cost_would_show(long_run: LongRun) -> None:
    result, closes, sessions = long_run
    assert np.abs(result.returns - by_hand(closes, sessions, BPS + 0.5)).max() > 1e-5


def test_a_day_of_delay_would_show(long_run: LongRun) -> None:
    result, closes, sessions = long_run
    late = by_hand(closes, [sessions[0], *sessions[:-1]], BPS)
    assert np.abs(result.returns - late).max() > 1e-5
