"""A view holds the past and nothing else, and is equal to the byte wherever its numbers came from."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pytest

from ordinis.domain.market import Liquidity
from ordinis.errors import DataUnavailable, StaleView
from ordinis.features.view import VIEW_SESSIONS, market_view
from ordinis.ports import PriceHistory


def a_history(rows: int = 60, symbols: int = 4, volumes: bool = True, seed: int = 0) -> PriceHistory:
    rng = np.random.default_rng(seed)
    sessions = tuple(date(2015, 1, 1) + timedelta(days=i) for i in range(rows))
    closes = 100.0 * np.cumprod(1.0 + rng.normal(scale=0.01, size=(rows, symbols)), axis=0)
    traded = rng.lognormal(12.0, 0.5, size=(rows, symbols)) if volumes else None
    return PriceHistory(tuple(f"S{i}" for i in range(symbols)), sessions, closes, traded)


def at(session: date) -> datetime:
    return datetime.combine(session, time(20, 45), UTC)


def test_the_session_that_would_be_traded_is_not_in_its_own_view():
    history = a_history()
    view = market_view(history, at(history.sessions[50]), history.sessions[50])
    assert view.sessions[-1] == history.sessions[49]
    np.testing.assert_array_equal(view.closes, history.closes[:50])


def test_a_view_keeps_the_last_three_years():
    history = a_history(rows=900)
    view = market_view(history, at(history.sessions[-1]), history.sessions[-1])
    assert len(view.sessions) == len(view.closes) == VIEW_SESSIONS
    assert view.closes.flags.c_contiguous
    np.testing.assert_array_equal(view.closes, history.closes[-757:-1])


def test_what_is_dated_after_the_instant_was_not_known():
    history = a_history()
    view = market_view(history, at(history.sessions[40]), history.sessions[42])
    assert view.sessions[-1] == history.sessions[40]


def test_a_naive_instant_is_refused():
    history = a_history()
    with pytest.raises(ValueError, match="naive"):
        market_view(history, datetime(2015, 2, 1, 20, 45), history.sessions[30])  # noqa: DTZ001


def test_no_past_is_an_error_and_an_old_past_is_stale():
    history = a_history()
    with pytest.raises(DataUnavailable):
        market_view(history, at(history.sessions[0]), history.sessions[0])
    late = history.sessions[-1] + timedelta(days=8)
    with pytest.raises(StaleView):
        market_view(history, at(late), late)
    market_view(history, at(late), late - timedelta(days=1))


def test_equal_numbers_give_equal_bytes_whatever_array_holds_them():
    history = a_history(rows=400)
    session = history.sessions[390]
    wide = np.zeros((800, 8))
    wide[::2, ::2] = history.closes
    other = replace(history, closes=wide[::2, ::2], volumes=np.asfortranarray(history.volumes))
    first, second = (market_view(h, at(session), session) for h in (history, other))
    assert first.sha == second.sha
    assert first.closes.tobytes() == second.closes.tobytes()
    assert first.regime == second.regime


def test_every_missing_value_is_the_same_missing_value():
    history = a_history()
    session = history.sessions[50]
    odd = np.frombuffer(np.array([0x7FF8000000000123], dtype=np.uint64).tobytes())[0]
    shas = set()
    for missing in (np.nan, -np.nan, odd):
        closes = history.closes.copy()
        closes[7, 2] = missing
        shas.add(market_view(replace(history, closes=closes), at(session), session).sha)
    assert len(shas) == 1


def test_the_sha_changes_with_a_price_a_volume_a_symbol_and_a_session():
    history = a_history()
    session = history.sessions[50]
    dearer, busier = history.closes.copy(), history.volumes.copy()
    dearer[3, 1] = np.nextafter(dearer[3, 1], np.inf)
    busier[3, 1] += 1.0
    moved = (history.sessions[0] - timedelta(days=1), *history.sessions[1:])
    variants = [
        history,
        replace(history, closes=dearer),
        replace(history, volumes=busier),
        replace(history, volumes=None),
        replace(history, symbols=("S0", "S1", "S2", "T3")),
        replace(history, sessions=moved),
    ]
    shas = {market_view(variant, at(session), session).sha for variant in variants}
    assert len(shas) == len(variants)


def test_a_view_is_a_copy_that_cannot_be_written():
    history = a_history()
    view = market_view(history, at(history.sessions[50]), history.sessions[50])
    history.closes[0, 0] = -1.0
    assert view.closes[0, 0] > 0.0
    with pytest.raises(ValueError, match="read-only"):
        view.closes[0, 0] = 1.0


def test_without_volumes_liquidity_is_unknown():
    history = a_history(rows=400, volumes=False)
    view = market_view(history, at(history.sessions[390]), history.sessions[390])
    assert view.volumes is None
    assert view.regime.liquidity is Liquidity.UNKNOWN


def test_a_live_window_and_a_long_history_give_the_same_view(sample: PriceHistory):
    session = sample.sessions[4_000]
    window = PriceHistory(sample.symbols, sample.sessions[3_244:4_000], sample.closes[3_244:4_000].copy())
    first, second = (market_view(history, at(session), session) for history in (sample, window))
    assert first.sha == second.sha
    assert first.regime == second.regime


@pytest.mark.parametrize(
    "broken",
    [
        {"closes": np.ones((60, 3))},
        {"volumes": np.ones((59, 4))},
        {"symbols": ("S0", "S1", "S2", "S2")},
        {"sessions": tuple(date(2015, 1, 1) for _ in range(60))},
    ],
)
def test_a_history_that_does_not_fit_together_is_refused(broken):
    history = replace(a_history(), **broken)
    with pytest.raises(ValueError, match=r"shape|twice|in order"):
        market_view(history, at(date(2015, 2, 28)), date(2015, 2, 28))


def test_the_light_modules_load_nothing_heavy():
    heavy = ("pandas", "scipy", "sklearn", "statsmodels", "arch", "highspy", "clarabel", "exchange_calendars")
    modules = "ordinis.features.view, ordinis.optimize.projection, ordinis.optimize.certificate"
    code = f"import sys, {modules}, ordinis.allocation.exposure; print([m for m in {heavy!r} if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
