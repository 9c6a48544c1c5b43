"""A small market with every field, and a source that delivers whatever a test wants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd

from ordinis.clock import trading_calendar
from ordinis.data.contracts import Background, load_contract
from ordinis.domain.instruments import AssetClass, Instrument
from ordinis.domain.market import MarketEvent

CONTRACTS = Path(__file__).parents[2] / "data_contracts"
BARS = load_contract(CONTRACTS, "bars")
CALENDAR = trading_calendar()
SYMBOLS = ("AAA", "BBB", "CCC")
SESSIONS = tuple(CALENDAR.between(date(2020, 3, 2), date(2020, 3, 6)))
NOW = datetime(2020, 3, 6, 21, 30, tzinfo=UTC)
"""Half an hour after the last session's close."""
INSTRUMENTS = {symbol: Instrument(symbol, symbol, AssetClass.EQUITY, Decimal("0.01"), Decimal(1)) for symbol in SYMBOLS}


def good_bars(symbols: Sequence[str] = SYMBOLS, sessions: Sequence[date] = SESSIONS) -> pd.DataFrame:
    """Bars around 100, 110 and 120: low 1 below and high 1 above the close, open half above it."""
    rows = []
    for symbol in symbols:
        for session in sessions:
            close = 100.0 + 10 * SYMBOLS.index(symbol) + session.day
            rows.append((symbol, session, close + 0.5, close + 1, close - 1, close, 1000.0 * session.day))
    return pd.DataFrame(rows, columns=["symbol", "session", "open", "high", "low", "close", "volume"])


def background(**changes: object) -> Background:
    told = {"checked_at": NOW, "calendar": CALENDAR, "symbols": frozenset(SYMBOLS), **changes}
    return Background(**told)  # type: ignore[arg-type]


def known(bars: pd.DataFrame) -> pd.DataFrame:
    """`bars`, each known from its session's close on."""
    return bars.assign(known_at=pd.to_datetime([CALENDAR.closes(session) for session in bars["session"]], utc=True))


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Given:
    """A source that delivers the batch it was given."""

    name = "given"

    def __init__(self, batch: pd.DataFrame) -> None:
        self.batch = batch

    def history(self, symbols: Sequence[str], first: date, last: date) -> pd.DataFrame:
        return self.batch.copy()

    def stream(self, symbols: Sequence[str], first: date, last: date) -> Iterator[MarketEvent]:
        return iter(())
