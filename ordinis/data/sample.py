"""The sample market: real closes that come with the wheels of skfolio and arch.

    20 large US stocks and the index SP500    1990-01-02 to 2022-12-28    skfolio
    five factor ETFs                          2014-01-02 to 2022-12-28    skfolio
    the volatility index                      2014-01-03 to 2019-01-03    arch
    Fama and French, three factors, monthly   1926-07 to 2018-11          arch

Closes are adjusted for splits and dividends and have three decimals; there is no open, high, low or volume, and none
is made up. The 20 stocks were picked by their authors in hindsight: all of them survived, so returns measured on
them flatter every strategy alike. Outside these dates there is nothing, and asking says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from functools import lru_cache

import numpy as np
import pandas as pd

from ordinis.clock import trading_calendar
from ordinis.data.factors import month_end
from ordinis.domain.canonical import to_decimal
from ordinis.domain.market import Bar, MarketEvent, SessionClosed, TradingWindow
from ordinis.errors import DataUnavailable
from ordinis.ports import PriceHistory

INDEX = "SP500"
BAR_COLUMNS = ("symbol", "session", "open", "high", "low", "close", "volume")
FACTORS = ("mkt_rf", "smb", "hml", "rf")


class SampleSource:
    """The sample market as a vendor of bars."""

    name = "sample"

    def symbols(self) -> tuple[str, ...]:
        """Everything that has closes: stocks, factor ETFs and the index."""
        return tuple(str(symbol) for symbol in _closes().columns)

    def sessions(self, symbol: str) -> tuple[date, date]:
        """First and last session of `symbol`."""
        if symbol not in _closes():
            raise DataUnavailable(self.name, f"symbol {symbol}", f"it has {', '.join(self.symbols())}")
        covered = _closes()[symbol].dropna().index
        return covered[0], covered[-1]

    def history(self, symbols: Sequence[str], first: date, last: date) -> pd.DataFrame:
        """Bars with a close and nothing else, one row per symbol and session, sorted by both.

        Raises:
            DataUnavailable: a symbol is not in the sample, or not on all of these dates.
        """
        closes = self._cut(symbols, first, last)
        names = sorted(str(symbol) for symbol in closes.columns)
        count = len(closes)
        bars = pd.DataFrame(
            {
                "symbol": np.repeat(np.array(names, dtype=object), count),
                "session": np.tile(np.array(closes.index, dtype=object), len(names)),
                "close": closes[names].to_numpy().T.ravel(),
            }
        )
        return bars.reindex(columns=list(BAR_COLUMNS)).astype(dict.fromkeys(("open", "high", "low", "volume"), float))

    def stream(self, symbols: Sequence[str], first: date, last: date) -> Iterator[MarketEvent]:
        """Each session's trading window and its close with the bars, in the order of time.

        Raises:
            DataUnavailable: as `history`, before the first event.
        """
        return _events(self._cut(symbols, first, last))

    def prices(self, symbols: Sequence[str]) -> PriceHistory:
        """Every session of the sample as arrays, NaN before a symbol's first session; for a venue that replays it.

        Raises:
            DataUnavailable: a symbol is not in the sample.
        """
        for symbol in symbols:
            self.sessions(symbol)
        closes = _closes()[list(symbols)]
        return PriceHistory(tuple(symbols), tuple(closes.index), closes.to_numpy(dtype=float, copy=True))

    def _cut(self, symbols: Sequence[str], first: date, last: date) -> pd.DataFrame:
        """Closes of `symbols`, without repetition, from `first` to `last`."""
        for symbol in symbols:
            begins, ends = self.sessions(symbol)
            if not begins <= first <= last <= ends:
                raise DataUnavailable(
                    self.name, f"{symbol} from {first} to {last}", f"ask for dates from {begins} to {ends}"
                )
        return _closes().loc[first:last, list(dict.fromkeys(symbols))]


def _events(closes: pd.DataFrame) -> Iterator[MarketEvent]:
    calendar = trading_calendar()
    for session, prices in zip(closes.index, closes.to_numpy(), strict=True):
        yield TradingWindow(session, calendar.trading_instant(session))
        bars = tuple(
            Bar(symbol, session, to_decimal(price)) for symbol, price in zip(closes.columns, prices, strict=True)
        )
        yield SessionClosed(session, calendar.closes(session), bars)


def volatility_index(first: date, last: date) -> pd.DataFrame:
    """The VIX at the close of each session, in percent a year: columns `session` and `close`.

    Raises:
        DataUnavailable: outside 2014-01-03 to 2019-01-03.
    """
    return _between(_volatility_index(), "session", "volatility index", first, last)


def factor_returns(first: date, last: date) -> pd.DataFrame:
    """Monthly market excess return, size, value and risk-free rate of Fama and French, as fractions.

    Columns `month` (its last calendar day), `mkt_rf`, `smb`, `hml`, `rf`: months that end from `first` to `last`.
    There is no momentum factor. French publishes a month some weeks after its end, so these are for looking back.

    Raises:
        DataUnavailable: outside 1926-07 to 2018-11.
    """
    return _between(_factor_returns(), "month", "monthly Fama-French factors", first, last)


def _between(table: pd.DataFrame, column: str, what: str, first: date, last: date) -> pd.DataFrame:
    begins, ends = table[column].iloc[0], table[column].iloc[-1]
    # A month is named by its last day, so its first day is covered too.
    begins = begins.replace(day=1) if column == "month" else begins
    if not begins <= first <= last <= ends:
        raise DataUnavailable("sample", f"{what} from {first} to {last}", f"ask for dates from {begins} to {ends}")
    asked: pd.DataFrame = table[(table[column] >= first) & (table[column] <= last)].reset_index(drop=True)
    return asked


@lru_cache(maxsize=1)
def _closes() -> pd.DataFrame:
    """Sessions by symbols; NaN before a symbol's first session. Shared: never change it."""
    # skfolio brings its optimisers along: more than a second that only a reader of the sample should pay.
    from skfolio.datasets import load_factors_dataset, load_sp500_dataset, load_sp500_index

    closes: pd.DataFrame = pd.concat([load_sp500_dataset(), load_factors_dataset(), load_sp500_index()], axis=1)
    closes.index = pd.Index([stamp.date() for stamp in closes.index], dtype=object, name="session")
    return closes


@lru_cache(maxsize=1)
def _volatility_index() -> pd.DataFrame:
    from arch.data import vix

    # The file has a row without a value for every holiday.
    table = vix.load().dropna()
    return pd.DataFrame({"session": [stamp.date() for stamp in table.index], "close": table["vix"].to_numpy(float)})


@lru_cache(maxsize=1)
def _factor_returns() -> pd.DataFrame:
    from arch.data import frenchdata

    table = frenchdata.load()
    # The file's dates are integers such as 192607, which arch hands on as nanoseconds after 1970.
    stamps = table.index.to_numpy().astype("datetime64[ns]").astype("int64")
    ends = [month_end(*divmod(int(stamp), 100)) for stamp in stamps]
    # Two decimals in percent are four in fractions: rounding takes away what the division adds.
    returns = np.round(table[["Mkt-RF", "SMB", "HML", "RF"]].to_numpy(float) / 100, 6)
    return pd.DataFrame({"month": ends, **dict(zip(FACTORS, returns.T, strict=True))})
