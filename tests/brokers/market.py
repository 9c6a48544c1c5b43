"""A small market for tests: three symbols, thirty sessions from 2020-03-02 on, prices that can be read off."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np

from ordinis.brokers.book import VenueBook
from ordinis.brokers.simulated import SimulatedBroker
from ordinis.brokers.tape import PriceTape
from ordinis.clock import ReplayClock, trading_calendar
from ordinis.costs.conditions import MarketConditions
from ordinis.costs.models import ProportionalCost
from ordinis.domain.instruments import AssetClass, Instrument
from ordinis.execution.prices import Prices
from ordinis.ports import CostModel, PriceHistory

CALENDAR = trading_calendar()
SESSIONS = tuple(CALENDAR.between(date(2020, 1, 2), date(2020, 4, 30)))
TODAY = date(2020, 3, 16)
SYMBOLS = ("AAPL", "KO", "XOM")


def instruments(lot: str = "0.001") -> Mapping[str, Instrument]:
    return {
        symbol: Instrument(symbol, symbol, AssetClass.EQUITY, Decimal("0.001"), Decimal(lot), adv=1e6)
        for symbol in SYMBOLS
    }


def history(seed: int = 7) -> PriceHistory:
    """Prices 60, 50 and 40 that walk by up to one percent a session, to three decimals."""
    steps = np.random.default_rng(seed).uniform(-0.01, 0.01, (len(SESSIONS), len(SYMBOLS)))
    closes = np.round(np.array([60.0, 50.0, 40.0]) * np.cumprod(1.0 + steps, axis=0), 3)
    return PriceHistory(SYMBOLS, SESSIONS, closes)


def a_broker(
    clock: ReplayClock,
    book: Path | str = ":memory:",
    costs: CostModel | None = None,
    cash: str = "10000",
    prices: PriceHistory | None = None,
    account: str = "sim",
) -> SimulatedBroker:
    broker = SimulatedBroker(
        VenueBook(book, account),
        PriceTape(prices or history()),
        instruments(),
        costs or ProportionalCost(10.0),
        clock,
        CALENDAR,
    )
    broker.open_account(Decimal(cash), CALENDAR.opens(SESSIONS[0]))
    return broker


def at_the_window(session: date = TODAY) -> ReplayClock:
    return ReplayClock(CALENDAR.trading_instant(session))


def prices_at(broker: SimulatedBroker, symbols: Collection[str] = SYMBOLS) -> Prices:
    """What orders are judged by now: the venue's quotes and the closes before today."""
    before = history().closes[SESSIONS.index(TODAY) - 1]
    closes = {symbol: Decimal(str(price)) for symbol, price in zip(SYMBOLS, before, strict=True)}
    return Prices(broker.quotes(sorted(symbols)).value, closes, MarketConditions(dict.fromkeys(SYMBOLS, 0.01)))
