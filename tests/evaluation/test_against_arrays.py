"""The whole trading cycle against the back-test on arrays, which knows nothing of it: 20 stocks, 1990 to 2022."""

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
from ordinis.evaluation.array_backtest import array_backtest
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


def on_arrays(closes: NDArray[np.float64], sessions: list[date], bps: float) -> NDArray[np.float64]:
    """Session returns of 1/N, rebalanced on the first session of each month at its closes, `bps` a side."""
    months = [session.month for session in sessions]
    first = np.array([now != before for now, before in zip(months[1:], months[:-1], strict=True)])
    first[0] = True
    weights = np.where(first[:, None], np.full_like(closes[1:], 1.0 / closes.shape[1]), np.nan)
    return array_backtest(closes[1:], weights, bps, 1_000_000.0).returns


def test_every_session_return_agrees_to_a_millionth(long_run: LongRun) -> None:
    result, closes, sessions = long_run
    expected = on_arrays(closes, sessions, BPS)
    assert len(result.returns) == len(expected) == 8312
    np.testing.assert_allclose(result.returns, expected, rtol=0, atol=1e-6)


def test_half_a_basis_point_of_cost_would_show(long_run: LongRun) -> None:
    result, closes, sessions = long_run
    assert np.abs(result.returns - on_arrays(closes, sessions, BPS + 0.5)).max() > 1e-5


def test_a_day_of_delay_would_show(long_run: LongRun) -> None:
    result, closes, sessions = long_run
    late = on_arrays(closes, [sessions[0], *sessions[:-1]], BPS)
    assert np.abs(result.returns - late).max() > 1e-5
