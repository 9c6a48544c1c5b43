"""What a night's attribution needs to know, read and put into arrays that can be computed on elsewhere.

The book's returns are time-weighted. Each is set beside what the factors returned over the same time: over one session;
over a gap where sessions are missing from the ledger, the factors' returns compounded; over a month where the factors
are monthly. A time of which some factor is not known is left out of the regression.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ordinis.clock import TradingCalendar
from ordinis.domain.canonical import to_decimal
from ordinis.errors import DataUnavailable
from ordinis.features.view import VIEW_SESSIONS
from ordinis.monitoring.pnl import Prices
from ordinis.monitoring.report_prices import closes_at
from ordinis.monitoring.report_trading import Traded, read_trading
from ordinis.ports import FloatArray, Ledger, PriceHistory

if TYPE_CHECKING:
    from ordinis.data.factors import FactorTable

logger = logging.getLogger(__name__)

WINDOW = 252


class Bars(Protocol):
    """Where closes come from."""

    def history(self, symbols: tuple[str, ...], first: date, last: date) -> PriceHistory: ...


@dataclass(frozen=True)
class FactorHistory:
    """What was known of F factors on the evening of a session."""

    names: tuple[str, ...]
    source: str
    through: date | None
    """The last factor returns that were known."""
    daily: bool
    """Whether the factors are of sessions rather than of months."""
    late: bool
    """Whether factor returns are missing that should be out."""
    due_today: bool
    """Whether the factors' returns of the session are out on its evening."""
    today: FloatArray | None
    """(F,) of the session itself, since the valued session before; None where they are not known."""
    beside: FloatArray
    """(T, F) over the times of the book's returns."""
    in_window: FloatArray
    """(W, F) over the sessions of the window; NaN where not known."""


@dataclass(frozen=True)
class BookHistory:
    """T times of the book, W sessions of N held symbols, L sessions of all prices there are."""

    session: date
    traded: Traded
    growth: FloatArray
    """Of the book, per valued session, oldest first: 1 plus its return."""
    returns: FloatArray
    """(T,) of the book above the risk-free rate where the factors' source knows one, oldest first."""
    factors: FactorHistory
    weights: Mapping[str, float]
    """Fraction of equity at the last close, by symbol held."""
    symbols: tuple[str, ...]
    """Those with a complete window."""
    held: FloatArray
    """(W, N) returns of `symbols`."""
    others: tuple[str, ...]
    """What may be held and is not, with a complete window."""
    not_held: FloatArray
    """(W, M) returns of `others`."""
    before: Prices
    """Closes of the valued session before, by symbol held or traded."""
    now: Prices
    sessions: tuple[date, ...]
    closes: FloatArray
    """(L, M) of the held symbols, in the order of `weights`."""
    remarks: tuple[str, ...]


def valued(ledger: Ledger, session: date) -> bool:
    """Whether the ledger has the book's value at the close of `session`, money having come by then."""
    with ledger.begin(write=False) as unit:
        return session in read_trading(unit).index.sessions


def read(
    ledger: Ledger,
    bars: Bars,
    calendar: TradingCalendar,
    session: date,
    factors: FactorTable | None,
    why: str = "",
    universe: tuple[str, ...] = (),
) -> BookHistory:
    """The book as of the close of `session`.

    Args:
        factors: as they are known now; None where they cannot be read, and `why`.
        universe: what may be held.

    Raises:
        DataUnavailable: the ledger has not valued that session, or its bars are still to come.
    """
    with ledger.begin(write=False) as unit:
        traded = read_trading(unit)
    if session not in traded.index.sessions:
        raise DataUnavailable(f"ledger of {ledger.account}", f"value of {session}", "the actor values it at the close")
    row = traded.index.sessions.index(session)
    known, remarks = _known(factors, session, why)
    growth = (traded.equity / traded.equity_before)[: row + 1]
    returns, beside = _beside(traded.index.sessions[: row + 1], growth, known, calendar)
    source = "none" if factors is None else factors.source
    before, now, stale = _last_closes(traded, bars, calendar, row, universe)
    weights = _weights(traded, now, row)
    symbols, held, left_out = _complete_returns(bars, calendar, tuple(weights), session)
    others, not_held, _ = _complete_returns(
        bars, calendar, tuple(symbol for symbol in universe if symbol not in weights), session
    )
    history = bars.history(tuple(weights), date.min, session)
    return BookHistory(
        session=session,
        traded=traded,
        growth=growth,
        returns=returns,
        factors=_factor_history(known, source, beside, traded.index.sessions[: row + 1], calendar),
        weights=weights,
        symbols=symbols,
        held=held,
        others=others,
        not_held=not_held,
        before=before,
        now=now,
        sessions=history.sessions,
        closes=history.closes,
        remarks=(*remarks, *_on_stale(sorted(weights.keys() & stale), session), *_on_left_out(left_out)),
    )


def _known(table: FactorTable | None, session: date, why: str) -> tuple[FactorTable | None, list[str]]:
    """What of `table` was out on the evening of `session`, and what is to be said of that."""
    if table is None:
        return None, [f"No factors: {why}. Risk is by plain covariance, and no return is explained by factors."]
    known = table.known_by(session).between(date.min, session)
    if not known.late(session):
        return known, []
    last = known.dates[-1] if known.dates else "never"
    return known, [
        f"Factor returns of {table.source} are late: the last are of {last}, those up to {known.due(session)} should "
        f"be out. Risk is by plain covariance until they come."
    ]


def _factor_history(
    table: FactorTable | None, source: str, beside: FloatArray, valued_in: tuple[date, ...], calendar: TradingCalendar
) -> FactorHistory:
    """Of what was known of them by the last of the sessions that the book was `valued_in`."""
    session = valued_in[-1]
    window = tuple(calendar.between(calendar.back(session, WINDOW), session))[1:]
    if table is None:
        nothing = np.zeros((len(window), 0))
        return FactorHistory((), source, None, True, False, False, None, beside, nothing)
    daily = table.period == "session"
    since = valued_in[-2] if len(valued_in) > 1 else calendar.previous_session(session)
    today = _compounded(table, since, session, calendar)
    return FactorHistory(
        names=table.names,
        source=source,
        through=table.dates[-1] if table.dates else None,
        daily=daily,
        late=table.late(session),
        due_today=daily and table.due(session) == session,
        today=today if daily and np.isfinite(today).all() else None,
        beside=beside,
        in_window=_by_session(table, window) if daily else np.zeros((len(window), 0)),
    )


def _beside(
    sessions: tuple[date, ...], growth: FloatArray, table: FactorTable | None, calendar: TradingCalendar
) -> tuple[FloatArray, FloatArray]:
    """(T,) returns of the book and (T, F) of the factors over the same times, at most WINDOW of them."""
    if table is None:
        return growth[1:][-WINDOW:] - 1.0, np.zeros((len(growth[1:][-WINDOW:]), 0))
    ends = [row for row, session in enumerate(sessions) if table.period == "session" or _ends_month(session, calendar)]
    returns, factors = [], []
    for first, last in list(pairwise(ends))[-WINDOW:]:
        theirs = _compounded(table, sessions[first], sessions[last], calendar)
        if np.isfinite(theirs).all():
            risk_free = _risk_free(table, sessions[first], sessions[last])
            returns.append(float(np.prod(growth[first + 1 : last + 1])) - 1.0 - risk_free)
            factors.append(theirs)
    width = len(table.names)
    return np.array(returns), np.array(factors, dtype=np.float64).reshape(len(returns), width)


def _ends_month(session: date, calendar: TradingCalendar) -> bool:
    return calendar.next_session(session).month != session.month


def _rows(table: FactorTable, after: date, last: date) -> slice:
    """Rows of `table` that lie after `after` and not after `last`; a month's row bears its last calendar day."""
    if table.period == "session":
        return slice(bisect_right(table.dates, after), bisect_right(table.dates, last))
    months = [(day.year, day.month) for day in table.dates]
    return slice(bisect_right(months, (after.year, after.month)), bisect_right(months, (last.year, last.month)))


def _compounded(table: FactorTable, after: date, last: date, calendar: TradingCalendar) -> FloatArray:
    """(F,) returns from the close of `after` to that of `last`; NaN where a row is missing."""
    rows = _rows(table, after, last)
    if table.period == "month":
        expected = 12 * (last.year - after.year) + last.month - after.month
    else:
        expected = len(calendar.between(after, last)) - 1
    if rows.stop - rows.start != expected:
        return np.full(len(table.names), np.nan)
    return np.asarray(np.prod(1.0 + table.returns[rows], axis=0) - 1.0)


def _risk_free(table: FactorTable, after: date, last: date) -> float:
    return float(np.prod(1.0 + np.nan_to_num(table.risk_free[_rows(table, after, last)])) - 1.0)


def _by_session(table: FactorTable, sessions: tuple[date, ...]) -> FloatArray:
    """(W, F) NaN where the table has no row."""
    rows = {day: row for row, day in enumerate(table.dates)}
    nothing = np.full(len(table.names), np.nan)
    return np.array([table.returns[rows[day]] if day in rows else nothing for day in sessions])


def _last_closes(
    traded: Traded, bars: Bars, calendar: TradingCalendar, row: int, universe: tuple[str, ...]
) -> tuple[Prices, Prices, set[str]]:
    """As the ledger values it, the last close of everything that was ever held or traded, and nothing for what never
    had one: before the session of `row`, and at its close; and the symbols that had none in the session itself.

    Raises:
        DataUnavailable: nothing that was or may be held has a close in the session: its bars are still to come.
    """
    symbols, session = tuple(sorted({*traded.symbols, *universe})), traded.index.sessions[row]
    if not traded.symbols:
        return {}, {}, set()
    history = bars.history(symbols, calendar.back(session, VIEW_SESSIONS), session)
    if not history.sessions or history.sessions[-1] != session or not np.isfinite(history.closes[-1]).any():
        raise DataUnavailable("bar store", f"closes of {session}", "ingest them first")
    mine, days = tuple(sorted(traded.symbols)), traded.index.sessions[max(row - 1, 0) : row + 1]
    told = np.nan_to_num(closes_at(history, mine, days)).tolist()
    before, now = (dict(zip(mine, map(to_decimal, closes), strict=True)) for closes in (told[0], told[-1]))
    stale = {symbol for symbol, close in zip(symbols, history.closes[-1].tolist(), strict=True) if close != close}
    return (before if row else {}), now, stale


def _weights(traded: Traded, closes: Prices, row: int) -> dict[str, float]:
    """Of equity at the close of row `row`, by symbol held."""
    symbols = tuple(sorted(traded.symbols))
    units, equity = traded.units(symbols)[row].tolist(), traded.equity[row]
    return {s: float(held * float(closes[s]) / equity) for s, held in zip(symbols, units, strict=True) if held}


def _on_stale(symbols: list[str], session: date) -> list[str]:
    if not symbols:
        return []
    logger.warning("no close symbols=%s session=%s: valued at the last one", ",".join(symbols), session)
    return [f"{', '.join(symbols)}: no close in {session}; it counts at its last one, or nothing where it has none."]


def _on_left_out(symbols: list[str]) -> list[str]:
    if not symbols:
        return []
    logger.warning("left out of the risk for want of prices symbols=%s sessions=%d", ",".join(symbols), WINDOW)
    return [f"{', '.join(symbols)}: prices of {WINDOW} sessions are not all there, so the risk leaves them out."]


def _complete_returns(
    bars: Bars, calendar: TradingCalendar, symbols: tuple[str, ...], session: date
) -> tuple[tuple[str, ...], FloatArray, list[str]]:
    """The symbols with a complete window, their (W, N) returns, and the other symbols."""
    if not symbols:
        return (), np.zeros((WINDOW, 0)), []
    history = bars.history(symbols, calendar.back(session, WINDOW), session)
    complete = np.asarray(np.isfinite(history.closes).all(axis=0)) & (len(history.closes) == WINDOW + 1)
    kept = tuple(symbol for symbol, whole in zip(history.symbols, complete, strict=True) if whole)
    closes = history.closes[:, complete]
    returns = closes[1:] / closes[:-1] - 1.0 if kept else np.zeros((WINDOW, 0))
    return kept, returns, sorted(set(symbols) - set(kept))
