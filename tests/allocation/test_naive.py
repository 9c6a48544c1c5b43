"""Equal weight and inverse volatility, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ordinis.allocation.naive import EqualWeight, InverseVolatility
from ordinis.domain.decisions import Rung
from ordinis.domain.limits import Limits
from ordinis.errors import ConfigurationError


def zigzag(steps: list[float], rows: int = 70) -> np.ndarray:
    """Closes that go up and down by `steps`, so that volatilities stand in the ratio of the steps."""
    signs = np.where(np.arange(rows - 1) % 2 == 0, 1.0, -1.0)[:, None]
    return np.vstack([np.full(len(steps), 100.0), 100.0 * np.cumprod(1.0 + signs * np.array(steps), axis=0)])


def test_ten_symbols_get_a_tenth_of_what_may_be_invested(view_of, book_of):
    given = EqualWeight(Limits()).allocate(view_of(zigzag([0.01] * 10, 2)), book_of())
    assert list(given.weights.values()) == pytest.approx([0.09] * 10)
    assert given.cash == pytest.approx(0.1)
    assert given.rung is Rung.CLOSED_FORM
    assert given.confidence == 1.0


def test_three_symbols_stay_at_their_caps(view_of, book_of):
    given = EqualWeight(Limits()).allocate(view_of(zigzag([0.01] * 3, 2)), book_of())
    assert list(given.weights.values()) == pytest.approx([0.2] * 3)


def test_a_symbol_without_a_last_close_is_left_out_by_name(view_of, book_of):
    closes = zigzag([0.01] * 10)
    closes[-1, 4] = np.nan
    given = EqualWeight(Limits()).allocate(view_of(closes), book_of())
    assert given.weights["S4"] == 0.0
    assert given.weights["S0"] == pytest.approx(0.1)
    assert given.trace["left_out"] == ["S4"]
    assert given.confidence == pytest.approx(0.9)


def test_twice_the_volatility_gets_half_the_weight(view_of, book_of):
    limits = Limits(position_cap=1.0, gross_cap=1.0, cash_buffer=0.0, sector_cap=1.0)
    given = InverseVolatility(limits).allocate(view_of(zigzag([0.01, 0.02])), book_of())
    assert list(given.weights.values()) == pytest.approx([2 / 3, 1 / 3])


def test_only_the_lookback_counts(view_of, book_of):
    limits = Limits(position_cap=1.0, gross_cap=1.0, cash_buffer=0.0, sector_cap=1.0)
    closes = np.vstack([zigzag([0.05, 0.01], 100), zigzag([0.01, 0.01], 64)])
    given = InverseVolatility(limits).allocate(view_of(closes), book_of())
    assert list(given.weights.values()) == pytest.approx([0.5, 0.5])


def test_a_price_that_never_moves_does_not_take_the_portfolio(view_of, book_of):
    given = InverseVolatility(Limits()).allocate(view_of(zigzag([0.01] * 5 + [0.0])), book_of())
    assert given.weights["S5"] == 0.0
    assert given.trace["left_out"] == ["S5"]


def test_a_gap_in_the_lookback_leaves_the_symbol_out(view_of, book_of):
    closes = zigzag([0.01] * 6)
    closes[30, 2] = np.nan
    given = InverseVolatility(Limits()).allocate(view_of(closes), book_of())
    assert given.weights["S2"] == 0.0
    assert given.trace["left_out"] == ["S2"]


@pytest.mark.parametrize("closes", [zigzag([0.01] * 3, 30), zigzag([0.0] * 3)])
def test_without_returns_that_move_the_book_is_held(view_of, book_of, closes, caplog):
    given = InverseVolatility(Limits()).allocate(view_of(closes), book_of({"S1": 0.15}))
    assert given.rung is Rung.HOLD
    assert given.weights == {"S1": 0.15}
    assert given.confidence == 0.0
    assert "inverse_volatility" in caplog.text


def test_without_a_last_close_equal_weight_holds(view_of, book_of):
    closes = zigzag([0.01] * 3)
    closes[-1] = np.nan
    assert EqualWeight(Limits()).allocate(view_of(closes), book_of()).rung is Rung.HOLD


def test_another_lookback_is_another_version():
    assert InverseVolatility(Limits()).version != InverseVolatility(Limits(), 64).version
    assert InverseVolatility(Limits()).version == InverseVolatility(Limits(gross_cap=0.5)).version


def test_a_lookback_that_no_view_can_fill_is_refused():
    with pytest.raises(ConfigurationError, match="756"):
        InverseVolatility(Limits(), 756)
