"""The back-test on arrays against a plain loop over sessions, figures by hand, and what vectorbt found."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ordinis.evaluation.array_backtest import ArrayBacktest, array_backtest

Floats = NDArray[np.float64]
CLOSE = 1e-12


class Plain(NamedTuple):
    equity: Floats
    cash: Floats
    costs: Floats
    units: Floats
    turnover: Floats


def plainly(prices: Floats, weights: Floats, bps: Floats, opening: float) -> Plain:
    """Session by session, symbol by symbol, in the words of the definition."""
    sessions, symbols = prices.shape
    held, cash = [0.0] * symbols, opening
    kept = Plain(*(np.zeros(sessions) for _ in range(3)), np.zeros((sessions, symbols)), np.zeros(sessions))
    for t in range(sessions):
        price, paid, sold, bought = prices[t], 0.0, 0.0, 0.0
        equity = cash + sum(held[i] * price[i] for i in range(symbols))
        if not np.isnan(weights[t]).all():
            trades = [weights[t, i] * equity - held[i] * price[i] for i in range(symbols)]
            for i in range(symbols):
                if trades[i] < 0.0:
                    held[i] += trades[i] / price[i]
                    cash -= trades[i] * (1.0 - bps[i] / 1e4)
                    paid -= trades[i] * bps[i] / 1e4
                    sold -= trades[i]
            needed = sum(trades[i] * (1.0 + bps[i] / 1e4) for i in range(symbols) if trades[i] > 0.0)
            share = min(1.0, cash / needed) if needed > 0.0 else 1.0
            for i in range(symbols):
                if trades[i] > 0.0:
                    held[i] += share * trades[i] / price[i]
                    paid += share * trades[i] * bps[i] / 1e4
                    bought += share * trades[i]
            cash -= share * needed
            kept.turnover[t] = max(bought, sold) / equity
        kept.cash[t], kept.costs[t], kept.units[t] = cash, paid, held
        kept.equity[t] = cash + sum(held[i] * price[i] for i in range(symbols))
    return kept


def agree(found: ArrayBacktest, expected: Plain) -> None:
    """To twelve digits: equity of itself, what is part of equity of equity."""
    np.testing.assert_allclose(found.equity, expected.equity, rtol=CLOSE, atol=0.0)
    part = CLOSE * expected.equity
    assert (np.abs(found.cash - expected.cash) <= part).all()
    assert (np.abs(found.costs - expected.costs) <= part).all()
    worth = np.abs(found.units - expected.units) * found.prices
    assert (worth <= part[:, None]).all()
    assert np.abs(found.turnover - expected.turnover).max() <= CLOSE


def walk(rng: np.random.Generator, sessions: int, symbols: int, volatility: float = 0.02) -> Floats:
    return np.asarray(50.0 * np.exp(np.cumsum(rng.standard_t(4, size=(sessions, symbols)) * volatility, axis=0)))


def some_weights(rng: np.random.Generator, sessions: int, symbols: int, invested: float, every: int) -> Floats:
    """Slowly changing, some of them zero, traded on some sessions only."""
    raw = np.exp(
        0.3 * np.cumsum(rng.normal(size=(sessions, symbols)), axis=0) / np.sqrt(np.arange(1, sessions + 1))[:, None]
    )
    raw[rng.random(raw.shape) < 0.2] = 0.0
    raw[:, 0] += 1e-3
    weights = invested * raw / raw.sum(axis=1, keepdims=True)
    weights[rng.random(sessions) > 1.0 / every] = np.nan
    return np.asarray(weights)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    sessions=st.integers(1, 60),
    symbols=st.integers(1, 7),
    invested=st.sampled_from([0.0, 0.3, 0.9, 0.99, 0.9995, 1.0]),
    every=st.sampled_from([1, 1, 3, 30]),
    bps=st.sampled_from([0.0, 1.0, 10.0, 100.0, 2_500.0]),
    apart=st.booleans(),
)
@example(seed=1, sessions=500, symbols=60, invested=0.98, every=1, bps=10.0, apart=False)
@example(seed=2, sessions=500, symbols=60, invested=1.0, every=1, bps=10.0, apart=True)
@example(seed=3, sessions=700, symbols=30, invested=0.999, every=2, bps=30.0, apart=True)
def test_it_is_the_plain_loop(
    seed: int, sessions: int, symbols: int, invested: float, every: int, bps: float, apart: bool
) -> None:
    rng = np.random.default_rng(seed)
    prices, weights = walk(rng, sessions, symbols), some_weights(rng, sessions, symbols, invested, every)
    costs = bps * rng.uniform(0.2, 1.8, symbols) if apart else np.full(symbols, bps)
    found = array_backtest(prices, weights, costs if apart else bps, 1e6)
    agree(found, plainly(prices, weights, costs, 1e6))


def test_prices_that_stand_still_cost_once() -> None:
    prices, weights = np.full((5, 2), 10.0), np.full((5, 2), 0.4)
    found = array_backtest(prices, weights, 100.0, 1_000.0)
    agree(found, plainly(prices, weights, np.full(2, 100.0), 1_000.0))
    assert found.costs[0] == pytest.approx(8.0)


def test_two_sessions_by_hand() -> None:
    """800 of 1,000 bought at 1 %, 8 of costs; a price doubles and half of the book is sold."""
    prices = np.array([[10.0, 20.0], [20.0, 20.0]])
    found = array_backtest(prices, np.array([[0.4, 0.4], [0.0, 0.4]]), 100.0, 1_000.0)
    np.testing.assert_allclose(found.cash, [192.0, 192.0 + 792.0 - (0.4 * 1_392.0 - 400.0) * 1.01], rtol=1e-14)
    np.testing.assert_allclose(found.equity[0], 992.0, rtol=1e-14)
    np.testing.assert_allclose(found.units, [[40.0, 20.0], [0.0, 0.4 * 1_392.0 / 20.0]], rtol=1e-14)
    np.testing.assert_allclose(found.costs, [8.0, 8.0 + 1.568], rtol=1e-14)
    np.testing.assert_allclose(found.turnover, [0.8, 800.0 / 1_392.0], rtol=1e-14)
    np.testing.assert_allclose(found.returns[0], -0.008, rtol=1e-12)


def test_a_fully_invested_book_buys_what_cash_covers_after_costs() -> None:
    found = array_backtest(np.array([[10.0, 5.0]]), np.array([[0.5, 0.5]]), 25.0, 1_000.0)
    assert found.cash[0] == 0.0
    assert found.equity[0] == pytest.approx(1_000.0 / 1.0025, rel=1e-15)
    assert found.units[0] * [10.0, 5.0] == pytest.approx(found.equity[0] / 2.0, rel=1e-15)


def test_nothing_traded_is_cash() -> None:
    found = array_backtest(np.array([[10.0], [11.0]]), np.full((2, 1), np.nan), 10.0, 7.0)
    assert found.equity.tolist() == found.cash.tolist() == [7.0, 7.0]
    assert not found.units.any()
    assert not found.turnover.any()


def test_cash_waits_for_the_first_session_that_is_traded() -> None:
    prices = np.array([[10.0], [11.0], [12.0], [15.0]])
    found = array_backtest(prices, np.array([[np.nan], [np.nan], [0.5], [np.nan]]), 0.0, 24.0)
    assert found.equity.tolist() == [24.0, 24.0, 24.0, 27.0]
    assert found.units.ravel().tolist() == [0.0, 0.0, 1.0, 1.0]


RECORDED = {
    0: 998.3731674054558,
    1: 1020.1535713778137,
    2: 1039.1119291244784,
    20: 1041.2442831827507,
    40: 997.3967038760587,
    59: 1018.9881555607202,
}
"""Equity by session that vectorbt 1.2.0 found for the problem below, whose cash is never short."""


def recorded_problem() -> tuple[Floats, Floats]:
    sessions, symbols = np.arange(60.0)[:, None], np.arange(4.0)[None, :]
    prices = 20.0 + 10.0 * symbols + 3.0 * np.sin(sessions * (1.0 + symbols) / 7.0)
    weights = 0.2 + 0.1 * np.cos(sessions / 5.0 + symbols)
    weights[1::3] = np.nan
    return np.broadcast_to(prices, (60, 4)).copy(), weights


def test_vectorbt_found_the_same() -> None:
    prices, weights = recorded_problem()
    found = array_backtest(prices, weights, 20.0, 1_000.0)
    for session, equity in RECORDED.items():
        assert found.equity[session] == pytest.approx(equity, rel=CLOSE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prices": (1, 1, np.nan)}, "price of symbol 1 in session 1 is nan"),
        ({"prices": (2, 0, 0.0)}, "price of symbol 0 in session 2 is 0"),
        ({"prices": (0, 1, np.inf)}, "price of symbol 1 in session 0 is inf"),
        ({"weights": (2, 1, np.inf)}, "weight inf of symbol 1 in session 2 is infinite"),
        ({"weights": (1, 0, np.nan)}, "symbol 0 in session 1 is missing"),
        ({"weights": (0, 0, -0.1)}, "weight -0.1 of symbol 0 in session 0 is below 0"),
        ({"weights": (1, 1, 0.9)}, "weights of session 1 sum to 1.3"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(change: dict[str, tuple[int, int, float]], said: str) -> None:
    problem = {"prices": np.full((3, 2), 10.0), "weights": np.full((3, 2), 0.4)}
    for name, (session, symbol, value) in change.items():
        problem[name][session, symbol] = value
    with pytest.raises(ValueError, match=said):
        array_backtest(**problem, cost_bps=10.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"prices": np.ones(3)}, r"prices of shape \(3,\)"),
        ({"weights": np.ones((2, 2))}, r"weights of shape \(2, 2\) for prices of shape \(3, 2\)"),
        ({"cost_bps": np.ones(3)}, r"costs of shape \(3,\) for 2 symbols"),
        ({"cost_bps": -1.0}, "cost of -1.0 basis points"),
        ({"cost_bps": np.nan}, "cost of nan basis points"),
        ({"cost_bps": 10_000.0}, "below 10,000"),
        ({"opening_cash": 0.0}, "opening cash of 0.0"),
        ({"opening_cash": np.inf}, "opening cash of inf"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments: dict[str, object], said: str) -> None:
    problem = {"prices": np.full((3, 2), 10.0), "weights": np.full((3, 2), 0.4), "cost_bps": 10.0} | arguments
    with pytest.raises(ValueError, match=said):
        array_backtest(**problem)  # type: ignore[arg-type]
