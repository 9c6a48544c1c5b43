"""The sample market, against figures that anybody can look up in its files."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest

from ordinis.clock import trading_calendar
from ordinis.data.sample import BAR_COLUMNS, INDEX, SampleSource, factor_returns, volatility_index
from ordinis.domain.market import SessionClosed, TradingWindow
from ordinis.errors import DataUnavailable

SOURCE = SampleSource()
FIRST, LAST = date(1990, 1, 2), date(2022, 12, 28)


def test_the_sample_has_twenty_stocks_five_etfs_and_the_index() -> None:
    assert len(SOURCE.symbols()) == 26
    assert {"AAPL", "XOM", "MTUM", INDEX} <= set(SOURCE.symbols())


def test_history_has_closes_and_nothing_that_the_source_lacks() -> None:
    bars = SOURCE.history(["XOM", "AAPL"], FIRST, date(1990, 1, 3))
    assert list(bars.columns) == list(BAR_COLUMNS)
    assert bars[["symbol", "session", "close"]].to_numpy().tolist() == [
        ["AAPL", date(1990, 1, 2), 0.264],
        ["AAPL", date(1990, 1, 3), 0.266],
        ["XOM", date(1990, 1, 2), 4.068],
        ["XOM", date(1990, 1, 3), 4.027],
    ]
    assert bars[["open", "high", "low", "volume"]].isna().all().all()


def test_history_leaves_out_days_without_a_session() -> None:
    easter = SOURCE.history(["AAPL"], date(2022, 4, 14), date(2022, 4, 18))
    assert easter["session"].tolist() == [date(2022, 4, 14), date(2022, 4, 18)]


def test_a_symbol_asked_for_twice_comes_once() -> None:
    assert len(SOURCE.history(["AAPL", "AAPL"], FIRST, FIRST)) == 1


def test_the_sessions_are_those_of_the_exchange() -> None:
    sessions = SOURCE.history(["AAPL"], FIRST, LAST)["session"].tolist()
    assert sessions == list(trading_calendar().between(FIRST, LAST))
    assert len(sessions) == 8313


def test_changing_a_history_does_not_change_the_next_one() -> None:
    bars = SOURCE.history(["AAPL"], FIRST, FIRST)
    bars.loc[0, "close"] = -1.0
    SOURCE.prices(["AAPL"]).closes[0, 0] = -1.0
    assert SOURCE.history(["AAPL"], FIRST, FIRST)["close"].tolist() == [0.264]


@pytest.mark.parametrize(
    ("symbol", "first", "last", "words"),
    [
        ("TSLA", FIRST, LAST, "sample has no symbol TSLA; it has AAPL"),
        ("AAPL", FIRST, date(2022, 12, 29), "ask for dates from 1990-01-02 to 2022-12-28"),
        ("MTUM", date(2013, 12, 31), LAST, "ask for dates from 2014-01-02 to 2022-12-28"),
        ("AAPL", LAST, FIRST, "AAPL from 2022-12-28 to 1990-01-02"),
    ],
)
def test_what_the_sample_does_not_have_it_says(symbol: str, first: date, last: date, words: str) -> None:
    with pytest.raises(DataUnavailable, match=words):
        SOURCE.history([symbol], first, last)
    with pytest.raises(DataUnavailable, match=words):
        SOURCE.stream([symbol], first, last)


def test_prices_are_the_whole_sample_and_nan_before_a_symbol_began() -> None:
    prices = SOURCE.prices(["AAPL", "MTUM"])
    assert prices.closes.shape == (8313, 2)
    assert prices.volumes is None
    assert prices.sessions[0] == FIRST
    began = prices.sessions.index(date(2014, 1, 2))
    assert np.isnan(prices.closes[:began, 1]).all()
    assert prices.closes[began, 1] == 52.704
    with pytest.raises(DataUnavailable, match="TSLA"):
        SOURCE.prices(["TSLA"])


def test_a_stream_is_in_the_order_of_time_with_a_window_before_each_close() -> None:
    events = list(SOURCE.stream(["AAPL", "AMD"], date(2022, 11, 23), date(2022, 11, 28)))
    assert all(earlier.at < later.at for earlier, later in pairwise(events))
    windows, closes = events[::2], events[1::2]
    assert all(isinstance(event, TradingWindow) for event in windows)
    assert [event.session for event in windows] == [date(2022, 11, 23), date(2022, 11, 25), date(2022, 11, 28)]
    # The day after Thanksgiving ends three hours early.
    assert [event.at.hour for event in closes] == [21, 18, 21]


def test_streamed_closes_are_the_shipped_decimals() -> None:
    events = [event for event in SOURCE.stream(["AAPL"], FIRST, date(1991, 12, 31)) if isinstance(event, SessionClosed)]
    closes = [event.bars[0].close for event in events]
    assert closes[:2] == [Decimal("0.264"), Decimal("0.266")]
    assert all(close == close.quantize(Decimal("0.001")) for close in closes)
    assert events[0].bars[0].volume is None


def test_the_volatility_index_leaves_out_holidays() -> None:
    found = volatility_index(date(2018, 12, 28), date(2019, 1, 3))
    assert found.to_numpy().tolist() == [
        [date(2018, 12, 28), 28.34],
        [date(2018, 12, 31), 25.42],
        [date(2019, 1, 2), 23.22],
        [date(2019, 1, 3), 25.45],
    ]
    whole = volatility_index(date(2014, 1, 3), date(2019, 1, 3))["session"].tolist()
    assert whole == list(trading_calendar().between(date(2014, 1, 3), date(2019, 1, 3)))


def test_factors_are_fractions_of_the_right_months() -> None:
    found = factor_returns(date(1926, 7, 1), date(1926, 8, 31))
    assert found.to_numpy().tolist() == [
        [date(1926, 7, 31), 0.0296, -0.023, -0.0287, 0.0022],
        [date(1926, 8, 31), 0.0264, -0.014, 0.0419, 0.0025],
    ]
    # October 1987: the market fell by 23 percent in the month of the crash.
    crash = factor_returns(date(1987, 10, 1), date(1987, 10, 31))
    assert crash["mkt_rf"].tolist() == [-0.2324]
    assert len(factor_returns(date(1926, 7, 1), date(2018, 11, 30))) == 92 * 12 + 5


@pytest.mark.parametrize("first", [date(2013, 12, 31), date(2019, 1, 4)])
def test_there_is_no_volatility_index_outside_its_dates(first: date) -> None:
    with pytest.raises(DataUnavailable, match="ask for dates from 2014-01-03 to 2019-01-03"):
        volatility_index(first, date(2019, 1, 4))


@pytest.mark.parametrize(
    ("first", "last"), [(date(1926, 6, 30), date(2000, 1, 1)), (date(2018, 1, 1), date(2018, 12, 31))]
)
def test_there_are_no_factors_outside_their_dates(first: date, last: date) -> None:
    with pytest.raises(DataUnavailable, match="ask for dates from 1926-07-01 to 2018-11-30"):
        factor_returns(first, last)
