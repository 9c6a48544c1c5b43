"""No feature and no allocator knows the future: rows dated at or after a decision's session change nothing of it.

The histories are tampered with from one session on (shuffled, redrawn, emptied, multiplied, cut off), and every view
and allocation up to that session must stay equal to the byte. Cheats at the end prove that this can fail.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ordinis.allocation
from ordinis.allocation.answer import answer
from ordinis.allocation.exposure import ExposureControl
from ordinis.allocation.naive import EqualWeight, InverseVolatility
from ordinis.allocation.optimal import Markowitz, MeanCVaR, MinimumVariance
from ordinis.costs.models import SquareRootCost
from ordinis.domain.decisions import Allocation, Rung
from ordinis.domain.limits import Limits
from ordinis.domain.market import Regime
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.features import indicators
from ordinis.features.view import market_view
from ordinis.ports import Allocator, FloatArray, MarketView, PriceHistory

LIMITS = Limits()
BASES: list[Allocator] = [EqualWeight(LIMITS), InverseVolatility(LIMITS), MinimumVariance(LIMITS), MeanCVaR(LIMITS)]
ALLOCATORS: list[Allocator] = [*BASES, *(ExposureControl(base, LIMITS, base_calendar="day") for base in BASES)]
ALLOCATORS += [ExposureControl(MinimumVariance(LIMITS), LIMITS)]
ALLOCATORS += [MeanCVaR(LIMITS, costs=SquareRootCost())]
ALLOCATORS += [
    Markowitz(LIMITS, portfolio)
    for portfolio in ("mean_variance", "maximum_sharpe", "maximum_diversification", "risk_parity")
]
OWN_TESTS = {
    "remote": "asks another process, whose allocator is one of these",
}
"""Modules of `ordinis.allocation` whose allocators are not tested here, and why not."""

Feature = Callable[[FloatArray, FloatArray], FloatArray]


def returns(closes: FloatArray) -> FloatArray:
    return np.vstack([np.full((1, closes.shape[1]), np.nan), closes[1:] / closes[:-1] - 1.0])


SERIES: dict[str, Feature] = {
    "market_returns": lambda c, v: indicators.market_returns(returns(c)),
    "ewma_volatility": lambda c, v: indicators.ewma_volatility(returns(c), 10.0),
    "trailing_volatility": lambda c, v: indicators.trailing_volatility(returns(c), 21),
    "efficiency_ratio": lambda c, v: indicators.efficiency_ratio(np.log1p(returns(c)), 21),
    "average_correlation": lambda c, v: indicators.average_correlation(returns(c), 21),
    "dollar_volume": lambda c, v: indicators.dollar_volume(c, v, 21),
    "illiquidity": lambda c, v: indicators.illiquidity(c, v, 21),
    "hysteresis": lambda c, v: indicators.hysteresis(c[:, 0], 101.0, 99.0).astype(np.float64),
}
ONE_NUMBER = {"variance_ratio": "a number for a whole window; a view's regime reads it"}


def a_history(rows: int = 640, symbols: int = 6, seed: int = 0) -> PriceHistory:
    rng = np.random.default_rng(seed)
    drawn = rng.normal(0.0003, 0.01, size=(rows, symbols)) + rng.normal(scale=0.008, size=(rows, 1))
    sessions = tuple(date(2018, 1, 1) + timedelta(days=i) for i in range(rows))
    closes = 100.0 * np.cumprod(1.0 + drawn, axis=0)
    closes[: rows // 2, -1] = np.nan
    volumes = rng.lognormal(13.0, 0.5, size=(rows, symbols))
    return PriceHistory(tuple(f"S{i}" for i in range(symbols)), sessions, closes, volumes)


HISTORY = a_history()
BOOKS = [{}, {"S0": 0.3, "S1": 0.1, "S2": 0.2}]


def tampered(history: PriceHistory, first: int, how: str, seed: int) -> PriceHistory:
    """`history` with every row from `first` on replaced."""
    rng = np.random.default_rng(seed)
    if how == "cut off":
        return PriceHistory(history.symbols, history.sessions[:first], history.closes[:first], history.volumes[:first])
    order = rng.permutation(np.arange(first, len(history.sessions)))

    def replaced(rows: FloatArray) -> FloatArray:
        rows = rows.copy()
        future = rows[first:]
        rows[first:] = {
            "shuffled": rows[order],
            "redrawn": rng.lognormal(3.0, 1.0, size=future.shape),
            "emptied": np.full(future.shape, np.nan),
            "multiplied": future * np.geomspace(1e3, 1e-3, future.shape[1]),
        }[how]
        return rows

    return replace(history, closes=replaced(history.closes), volumes=replaced(history.volumes))


TAMPERING = st.sampled_from(["shuffled", "redrawn", "emptied", "multiplied", "cut off"])


def seen(
    history: PriceHistory,
    session: date,
    allocators: Iterable[Allocator],
    view_of: Callable[[PriceHistory, datetime, date], MarketView],
) -> tuple[str, Regime, list[Allocation]]:
    as_of = datetime.combine(session, time(19, 45), UTC)
    view = view_of(history, as_of, session)
    answers = []
    for weights in BOOKS:
        holdings = {symbol: Decimal(str(weight)) * 1_000 for symbol, weight in weights.items()}
        cash = Decimal(1_000) - sum(holdings.values(), Decimal(0))
        book = PortfolioSnapshot("sim", as_of, cash, holdings, dict.fromkeys(holdings, Decimal(1)))
        answers += [allocator.allocate(view, book) for allocator in allocators]
    return view.sha, view.regime, answers


def assert_blind(
    first: int,
    how: str,
    seed: int = 0,
    *,
    back: Iterable[int] = (0,),
    allocators: Callable[[PriceHistory], Iterable[Allocator]] = lambda history: ALLOCATORS,
    view_of: Callable[[PriceHistory, datetime, date], MarketView] = market_view,
) -> None:
    """What is decided for the session `first`, and `back` sessions before it, does not depend on rows from `first`."""
    other = tampered(HISTORY, first, how, seed)
    for steps in back:
        session = HISTORY.sessions[first - steps]
        with np.errstate(all="ignore"):
            before = seen(HISTORY, session, list(allocators(HISTORY)), view_of)
            after = seen(other, session, list(allocators(other)), view_of)
        assert before == after


def assert_causal(feature: Feature, first: int, how: str, seed: int = 0) -> None:
    other = tampered(HISTORY, first, how, seed)
    with np.errstate(all="ignore"):
        before = feature(HISTORY.closes, HISTORY.volumes)[:first]
        after = feature(other.closes, other.volumes)[:first]
    assert before.tobytes() == after.tobytes()


@settings(max_examples=25, deadline=None)
@given(st.integers(530, 639), TAMPERING, st.integers(0, 1_000), st.integers(1, 20))
def test_no_view_and_no_allocation_changes_with_the_future(first, how, seed, steps):
    assert_blind(first, how, seed, back=(0, steps))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 300), TAMPERING, st.integers(0, 1_000))
def test_nor_does_it_while_the_past_is_short(first, how, seed):
    assert_blind(first, how, seed)


@pytest.mark.parametrize("name", SERIES)
@settings(max_examples=25, deadline=None)
@given(st.integers(1, 639), TAMPERING, st.integers(0, 1_000))
def test_no_row_of_a_feature_changes_with_later_rows(name, first, how, seed):
    assert_causal(SERIES[name], first, how, seed)


def test_every_allocator_stands_in_this_test():
    found = set()
    for module in pkgutil.iter_modules(ordinis.allocation.__path__):
        if module.name in OWN_TESTS:
            continue
        loaded = importlib.import_module(f"ordinis.allocation.{module.name}")
        for name, kind in inspect.getmembers(loaded, inspect.isclass):
            if kind.__module__ == loaded.__name__ and hasattr(kind, "allocate"):
                found.add(name)
    missing = found - {type(allocator).__name__ for allocator in ALLOCATORS}
    assert not missing, f"add {missing} to ALLOCATORS, or its module to OWN_TESTS with the reason"


def test_every_feature_stands_in_this_test():
    functions = inspect.getmembers(indicators, inspect.isfunction)
    public = {name for name, made in functions if made.__module__ == indicators.__name__ and not name.startswith("_")}
    assert public == set(SERIES) | set(ONE_NUMBER)


@dataclass(frozen=True)
class Clairvoyant:
    """A cheat: puts everything on tomorrow's winner, which it reads from the history behind the view's back."""

    history: PriceHistory
    limits: Limits = LIMITS
    name: str = "clairvoyant"
    version: str = "0"

    def allocate(self, view: MarketView, portfolio: PortfolioSnapshot) -> Allocation:
        today = min(len(view.sessions), len(self.history.closes) - 1)
        gains = np.nan_to_num(self.history.closes[today] / view.closes[-1], nan=0.0)
        weights = np.where(gains == gains.max(), 0.2, 0.0)
        return answer(self, view, portfolio, weights, Rung.MODEL, confidence=1.0, trace={})


def one_session_too_many(history: PriceHistory, as_of: datetime, session: date) -> MarketView:
    """A cheat: the view that a slip of one row would give, under the dates of the honest one."""
    shifted = {day: history.sessions[min(i + 1, len(history.sessions) - 1)] for i, day in enumerate(history.sessions)}
    late = shifted.get(session, session + timedelta(days=1))
    return market_view(history, as_of + timedelta(days=1), late)


def smoothed(closes: FloatArray, volumes: FloatArray) -> FloatArray:
    """A cheat: a centred mean uses the next session."""
    return np.convolve(closes[:, 0], np.ones(3) / 3.0, mode="same")


def scaled_by_all(closes: FloatArray, volumes: FloatArray) -> FloatArray:
    """A cheat: a score that subtracts the mean of the whole sample."""
    return closes - closes.mean(axis=0)


@pytest.mark.parametrize("how", ["redrawn", "emptied", "multiplied"])
def test_an_allocator_that_looks_ahead_is_caught(how):
    with pytest.raises(AssertionError):
        assert_blind(600, how, allocators=lambda history: [Clairvoyant(history)])


@pytest.mark.parametrize("how", ["shuffled", "redrawn", "emptied", "multiplied", "cut off"])
def test_a_view_that_holds_one_session_too_many_is_caught(how):
    with pytest.raises(AssertionError):
        assert_blind(600, how, view_of=one_session_too_many, allocators=lambda history: [])


@pytest.mark.parametrize("cheat", [smoothed, scaled_by_all])
def test_a_feature_that_looks_ahead_is_caught(cheat):
    with pytest.raises(AssertionError):
        assert_causal(cheat, 600, "redrawn")
