"""What a trade costs; every number can be checked by hand."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordinis.costs.execution import execution_price, expected_cash, session_volatility
from ordinis.costs.models import ProportionalCost, SquareRootCost
from ordinis.domain.instruments import AssetClass, Instrument
from ordinis.domain.orders import Side

SHARE = Instrument("KO", "Coca-Cola", AssetClass.EQUITY, Decimal("0.01"), Decimal(1), adv=10_000)


def test_half_spread_and_square_root_impact_add_up() -> None:
    model = SquareRootCost(half_spread_bps=2.0, eta=0.5, delta=0.5, commission_bps=0.0)
    # 2 bp + 0.5 * 2 % * sqrt(1 %) = 0.0002 + 0.001
    assert model.slippage(1_000.0, 0.01, 0.02) == pytest.approx(0.0012)


def test_an_unknown_volume_or_volatility_leaves_the_impact_out() -> None:
    model = SquareRootCost(half_spread_bps=2.0)
    assert model.slippage(1_000.0, math.nan, 0.02) == 0.0002
    assert model.slippage(1_000.0, 0.01, math.nan) == 0.0002


def test_a_commission_rounds_up_to_the_cent() -> None:
    assert SquareRootCost(commission_bps=0.5).fee(Decimal("1000")) == Decimal("0.05")
    assert SquareRootCost(commission_bps=0.5).fee(Decimal("1001")) == Decimal("0.06")
    assert ProportionalCost().fee(Decimal("1001")) == 0


def test_prices_are_rounded_against_whoever_trades() -> None:
    model = ProportionalCost(10.0)
    buy = execution_price(model, SHARE, Side.BUY, Decimal(1), Decimal("33.333"), 0.01)
    sell = execution_price(model, SHARE, Side.SELL, Decimal(1), Decimal("33.333"), 0.01)
    assert (buy, sell) == (Decimal("33.366333"), Decimal("33.299667"))
    assert execution_price(model, SHARE, Side.BUY, Decimal(1), Decimal("0.0003"), 0.01) == Decimal("0.000301")
    assert execution_price(model, SHARE, Side.SELL, Decimal(1), Decimal("0.0003"), 0.01) == Decimal("0.000299")


def test_cash_goes_out_with_costs_and_comes_in_without_them() -> None:
    model = SquareRootCost(half_spread_bps=0.0, eta=0.0, commission_bps=10.0)
    assert expected_cash(model, SHARE, Side.BUY, Decimal(10), Decimal(50), 0.01) == Decimal("-500.50")
    assert expected_cash(model, SHARE, Side.SELL, Decimal(10), Decimal(50), 0.01) == Decimal("499.50")


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.2))
def test_a_larger_trade_never_costs_less_per_unit(small: float, large: float, volatility: float) -> None:
    small, large = sorted((small, large))
    model = SquareRootCost()
    assert model.slippage(1.0, small, volatility) <= model.slippage(1.0, large, volatility)


def test_volatility_is_that_of_the_last_twenty_one_returns() -> None:
    closes = np.ones((30, 2))
    closes[-1, 0] = 1.21  # one return of 21 % among 21: deviation 0.21 / sqrt(21)
    closes[3, 1] = 9.0  # long ago: forgotten
    volatility = session_volatility(("A", "B"), closes)
    assert volatility["A"] == pytest.approx(0.21 / math.sqrt(21))
    assert volatility["B"] == 0.0


def test_volatility_of_a_short_or_broken_past_is_unknown() -> None:
    assert math.isnan(session_volatility(("A",), np.ones((21, 1)))["A"])
    closes = np.ones((30, 1))
    closes[-5] = np.nan
    assert math.isnan(session_volatility(("A",), closes)["A"])
