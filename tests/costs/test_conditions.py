"""What bars say of how symbols trade; every number can be checked by hand."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest

from ordinis.costs.conditions import UNKNOWN, MarketConditions
from ordinis.costs.execution import expected_cash
from ordinis.costs.models import SquareRootCost
from ordinis.domain.instruments import AssetClass, Instrument
from ordinis.domain.orders import Side
from ordinis.errors import NoVolume
from ordinis.ports import FloatArray, PriceHistory

SHARE = Instrument("A", "A", AssetClass.EQUITY, Decimal("0.01"), Decimal(1), adv=10_000)


def bars(closes: FloatArray, volumes: FloatArray | None = None) -> PriceHistory:
    rows, columns = closes.shape
    sessions = tuple(date(2020, 1, 1) + timedelta(days=row) for row in range(rows))
    return PriceHistory(tuple("ABCDEFGHIJKLMNOPQRST"[:columns]), sessions, closes, volumes)


def test_volatility_is_that_of_the_last_twenty_one_returns() -> None:
    closes = np.ones((30, 2))
    closes[-1, 0] = 1.21  # one return of 21 % among 21: deviation 0.21 / sqrt(21)
    closes[3, 1] = 9.0  # long ago: forgotten
    found = MarketConditions.measured(bars(closes))
    assert found.sigma("A") == pytest.approx(0.21 / math.sqrt(21))
    assert found.sigma("B") == 0.0
    assert MarketConditions.measured(bars(closes), before=29).sigma("A") == 0.0, "the row itself is not known yet"
    assert found.volumes == {}
    assert MarketConditions.measured(bars(closes, closes)).volatility == found.volatility


def test_volatility_is_of_simple_returns() -> None:
    closes = np.random.default_rng(0).lognormal(3.0, 0.1, (40, 3))
    found = MarketConditions.measured(bars(closes))
    for symbol, path in zip("ABC", closes.T.tolist(), strict=True):
        returns = [after / before - 1.0 for before, after in pairwise(path[-22:])]
        assert found.sigma(symbol) == pytest.approx(statistics.stdev(returns), rel=1e-12)


def test_bars_of_other_symbols_are_no_measure() -> None:
    with pytest.raises(ValueError, match="shorter"):
        MarketConditions.measured(replace(bars(np.ones((30, 2))), symbols=("A", "B", "C")))


def test_volatility_of_a_short_or_broken_past_is_unknown() -> None:
    assert math.isnan(MarketConditions.measured(bars(np.ones((21, 1)))).sigma("A"))
    assert MarketConditions.measured(bars(np.ones((22, 1)))).sigma("A") == 0.0
    closes = np.ones((30, 1))
    closes[-5] = np.nan
    assert math.isnan(MarketConditions.measured(bars(closes)).sigma("A"))
    assert math.isnan(UNKNOWN.sigma("A"))


def test_volume_is_that_of_the_last_twenty_one_sessions_where_all_are_known() -> None:
    volumes = np.full((30, 4), 100.0)
    volumes[-1, 0] = 310.0
    volumes[7, 0] = 1e9  # long ago: forgotten
    volumes[-21, 1] = np.nan
    volumes[:, 2] = 0.0
    volumes[-1, 3] = 0.0  # a day without a trade is a day
    history = bars(np.ones((30, 4)), volumes)
    found = MarketConditions.measured(history)
    assert found.volumes == {"A": pytest.approx(110.0), "C": 0.0, "D": pytest.approx(2000 / 21)}
    assert [symbol for symbol in "ABCDE" if found.dried_up(symbol)] == ["C"]
    assert MarketConditions.measured(history, before=29).volumes["A"] == 100.0, "the row itself is not known yet"
    assert MarketConditions.measured(history, before=20).volumes == {}
    assert MarketConditions.measured(history, before=21).volumes["D"] == 100.0


def test_what_nobody_is_known_to_have_traded_for_a_month_has_dried_up() -> None:
    volumes = np.zeros((30, 5))
    volumes[-22, 0] = 5.0  # longer ago
    volumes[-7:-2, 1] = np.nan  # a volume that is missing is no trade
    volumes[-21, 2] = 1e-8
    volumes[:-1, 3] = np.nan
    volumes[:, 4] = np.nan
    found = MarketConditions.measured(bars(np.ones((30, 5)), volumes))
    assert [symbol for symbol in "ABCDE" if found.dried_up(symbol)] == ["A", "B", "D"]
    assert found.volumes == {"A": 0.0, "C": pytest.approx(1e-8 / 21)}
    quiet = bars(np.ones((30, 1)), np.zeros((30, 1)))
    assert MarketConditions.measured(quiet, before=21).dried_up("A")
    assert not MarketConditions.measured(quiet, before=20).dried_up("A"), "a month is not known yet"


def test_the_same_bars_have_the_same_liquidity_to_the_last_bit_in_any_layout() -> None:
    rng = np.random.default_rng(0)
    closes, volumes = rng.lognormal(3.0, 0.1, (40, 20)), rng.lognormal(15.0, 1.0, (40, 20))
    other = bars(np.asfortranarray(closes), np.asfortranarray(volumes))
    assert MarketConditions.measured(bars(closes, volumes)) == MarketConditions.measured(other)


def test_what_is_measured_goes_before_what_the_reference_says() -> None:
    found = MarketConditions(volumes={"A": 400.0, "C": 0.0})
    assert [found.volume(symbol, 1e6) for symbol in "ABC"] == [400.0, 1e6, 0.0]
    assert [found.volume(symbol, None) for symbol in "ABC"] == [400.0, None, 0.0]
    assert found.participation("A", Decimal(5), 10_000) == 0.0125
    assert found.participation("B", Decimal(5), 10_000) == 0.0005
    assert found.participation("B", Decimal(5), 0.5) == 10.0
    assert found.participation("C", Decimal(5), 10_000) == 0.0005, "what has dried up is sold by the reference"
    assert all(math.isnan(found.participation(symbol, Decimal(5), None)) for symbol in "BC")
    with pytest.raises(NoVolume, match="B: an average daily volume of 0"):
        found.participation("B", Decimal(5), 0.0)


def test_a_trade_is_charged_by_the_volume_that_is_measured() -> None:
    def paid(side: Side, conditions: MarketConditions, adv: float = 10_000) -> Decimal:
        return expected_cash(SquareRootCost(), replace(SHARE, adv=adv), side, Decimal(10), Decimal(50), conditions)

    known = MarketConditions({"A": 0.02})
    assert paid(Side.BUY, replace(known, volumes={"A": 40.0})) == paid(Side.BUY, known, adv=40.0)
    assert paid(Side.BUY, known, adv=40.0) < paid(Side.BUY, known)
    # What has to be sold is estimated by the reference where nothing trades.
    assert paid(Side.SELL, replace(known, volumes={"A": 0.0})) == paid(Side.SELL, known)
