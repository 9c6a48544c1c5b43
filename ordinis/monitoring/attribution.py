"""Nightly attribution: the factors behind the book's return, and each holding's part of its risk.

The book's return over one session, time-weighted, is regressed on F = 6 factor returns over the same session,

    market = r(SP500)        factor_k = r(ETF_k) - r(SP500)      k = momentum, quality, size, low volatility, value

for the last WINDOW sessions that the ledger has valued; where sessions are missing from the ledger both sides span
the gap. t values are Newey and West's, because daily returns of one book are neither even nor independent. Risk is
Euler's decomposition of the volatility of today's holdings under a Ledoit-Wolf covariance of their own returns over
WINDOW sessions, whether or not the book held them then: it is about the book as it stands.

Reading (`read`) and computing (`attribute`) are apart, so that the second can run elsewhere, on arrays alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import numpy as np

from ordinis.clock import TradingCalendar
from ordinis.errors import DataUnavailable
from ordinis.monitoring.report_data import Attribution
from ordinis.monitoring.report_trading import Traded, read_trading
from ordinis.ports import FloatArray, Ledger, PriceHistory
from ordinis.risk.attribution import FactorAttribution, RiskAttribution, factor_attribution, risk_attribution
from ordinis.risk.covariance import ledoit_wolf

logger = logging.getLogger(__name__)

MARKET = "SP500"
FACTOR_ETFS: Mapping[str, str] = {
    "momentum": "MTUM",
    "quality": "QUAL",
    "size": "SIZE",
    "low volatility": "USMV",
    "value": "VLUE",
}
FACTORS = ("market", *FACTOR_ETFS)
WINDOW = 252
LEAST_SESSIONS = 42
"""Six sessions for each coefficient: below that a regression finds whatever it likes."""
NEWEY_WEST_LAGS = 5
FACTOR_KIND, RISK_KIND, PARTS_KIND = "factors", "risk", "risk_parts"
Numbers = dict[str, dict[str, float]]
"""Named numbers by kind, as they are kept."""


class Bars(Protocol):
    """Where closes come from."""

    def history(self, symbols: tuple[str, ...], first: date, last: date) -> PriceHistory: ...


class AttributionRecords(Protocol):
    """Where a session's numbers are kept."""

    def save_attribution(self, account: str, session: date, kind: str, values: Mapping[str, float]) -> None: ...

    def attribution(
        self, account: str, kind: str, first: date | None = None, last: date | None = None
    ) -> dict[date, dict[str, float]]: ...


@dataclass(frozen=True)
class BookHistory:
    """What attribution needs to know, as arrays: T sessions of the book, W sessions of N held symbols."""

    returns: FloatArray
    """(T,) of the book, oldest first."""
    factors: FloatArray
    """(T, F) in the order of FACTORS."""
    weights: Mapping[str, float]
    """Fraction of equity at the last close, by symbol."""
    symbols: tuple[str, ...]
    held: FloatArray
    """(W, N) returns of `symbols`."""


def valued(ledger: Ledger, session: date) -> bool:
    """Whether the ledger has the book's value at the close of `session`."""
    with ledger.begin(write=False) as unit:
        return any(row.session == session for row in unit.book.valuations())


def read(ledger: Ledger, bars: Bars, calendar: TradingCalendar, session: date) -> BookHistory:
    """The book as of the close of `session`.

    Raises:
        DataUnavailable: the ledger has not valued that session, or the store lacks the closes of a holding.
    """
    with ledger.begin(write=False) as unit:
        traded = read_trading(unit)
    if session not in traded.index.sessions:
        raise DataUnavailable(f"ledger of {ledger.account}", f"value of {session}", "the actor values it at the close")
    last = traded.index.sessions.index(session)
    first = max(0, last - WINDOW)
    sessions = traded.index.sessions[first : last + 1]
    factors = _factor_returns(bars, sessions)
    # Row 0 only opens the first return.
    returns = (traded.equity / traded.equity_before - 1.0)[first + 1 : last + 1]
    complete = np.isfinite(factors).all(axis=1)
    weights = _weights(traded, bars, last)
    symbols, held = _held_returns(bars, calendar, tuple(weights), session)
    return BookHistory(returns[complete], factors[complete], weights, symbols, held)


def attribute(book: BookHistory) -> Numbers:
    """Regress, decompose, and name every number that is known."""
    found: Numbers = {}
    if len(book.returns) >= LEAST_SESSIONS:
        fit = factor_attribution(book.returns, book.factors, FACTORS, NEWEY_WEST_LAGS)
        numbers = {name: float(getattr(fit, name)) for name in _SCALARS} | {
            f"{prefix} {factor}": value
            for prefix, mapping in (("exposure", fit.factor_exposures), ("t", fit.t), ("from", fit.contributions))
            for factor, value in mapping.items()
        }
        found[FACTOR_KIND] = {name: value for name, value in numbers.items() if math.isfinite(value)}
    if book.symbols:
        weights = {symbol: book.weights[symbol] for symbol in book.symbols}
        risk = risk_attribution(weights, book.symbols, ledoit_wolf(book.held))
        found[RISK_KIND] = {"volatility": risk.volatility}
        found[PARTS_KIND] = dict(risk.parts)
    return found


_SCALARS = ("alpha", "alpha_t", "r_squared", "residual_volatility", "mean_return", "sessions")


def save(records: AttributionRecords, account: str, session: date, numbers: Numbers) -> None:
    for kind in (FACTOR_KIND, RISK_KIND, PARTS_KIND):
        records.save_attribution(account, session, kind, numbers.get(kind, {}))
    logger.info("attributed account=%s session=%s kinds=%s", account, session, ",".join(numbers))


def saved(records: AttributionRecords, account: str, session: date) -> Attribution | None:
    """What was kept of `session`, for the report; None when nothing was."""

    def kept(kind: str) -> Mapping[str, float]:
        return records.attribution(account, kind, session, session).get(session, {})

    scalars, risk = kept(FACTOR_KIND), kept(RISK_KIND)

    def by_factor(prefix: str) -> dict[str, float]:
        return {factor: scalars.get(f"{prefix} {factor}", math.nan) for factor in FACTORS}

    factors = None
    if scalars:
        factors = FactorAttribution(
            factor_exposures=by_factor("exposure"),
            t=by_factor("t"),
            contributions=by_factor("from"),
            sessions=int(scalars["sessions"]),
            **{name: scalars.get(name, math.nan) for name in _SCALARS if name != "sessions"},
        )
    parts = RiskAttribution(risk["volatility"], kept(PARTS_KIND)) if risk else None
    return Attribution(factors, parts) if factors or parts else None


def _factor_returns(bars: Bars, sessions: tuple[date, ...]) -> FloatArray:
    """(T, F) from each of T+1 `sessions` to the next; NaN where a close is missing."""
    names = (MARKET, *FACTOR_ETFS.values())
    closes = _closes(bars.history(names, sessions[0], sessions[-1]), sessions)
    returns = closes[1:] / closes[:-1] - 1.0
    return np.column_stack([returns[:, 0], returns[:, 1:] - returns[:, :1]])


def _closes(history: PriceHistory, sessions: tuple[date, ...]) -> FloatArray:
    """(T, N) of exactly these sessions; NaN where the history has none."""
    rows = {session: row for row, session in enumerate(history.sessions)}
    closes = np.full((len(sessions), len(history.symbols)), np.nan)
    for place, session in enumerate(sessions):
        if session in rows:
            closes[place] = history.closes[rows[session]]
    return closes


def _weights(traded: Traded, bars: Bars, row: int) -> dict[str, float]:
    """Of equity at the close of row `row`, by symbol held."""
    session, equity = traded.index.sessions[row], traded.equity[row]
    moved = {movement.symbol for movement in traded.movements if movement.symbol is not None}
    traded_symbols = tuple(sorted(moved | {fill.symbol for fill in traded.fills}))
    units = dict(zip(traded_symbols, traded.units(traded_symbols)[row].tolist(), strict=True))
    held = tuple(symbol for symbol in traded_symbols if units[symbol])
    if not held:
        return {}
    closes = dict(zip(held, _closes(bars.history(held, session, session), (session,))[0].tolist(), strict=True))
    unpriced = [symbol for symbol in held if math.isnan(closes[symbol])]
    if unpriced:
        raise DataUnavailable("bar store", f"close of {', '.join(unpriced)} for {session}", "ingest it first")
    return {symbol: float(units[symbol] * closes[symbol] / equity) for symbol in held}


def _held_returns(
    bars: Bars, calendar: TradingCalendar, symbols: tuple[str, ...], session: date
) -> tuple[tuple[str, ...], FloatArray]:
    """The symbols with a complete window, and their (W, N) returns."""
    if not symbols:
        return (), np.zeros((0, 0))
    history = bars.history(symbols, calendar.back(session, WINDOW), session)
    complete = np.asarray(np.isfinite(history.closes).all(axis=0))
    kept = tuple(symbol for symbol, whole in zip(history.symbols, complete, strict=True) if whole)
    if kept != symbols:
        left_out = ",".join(sorted(set(symbols) - set(kept)))
        logger.warning("left out of the risk for want of prices symbols=%s sessions=%d", left_out, WINDOW)
    closes = history.closes[:, complete]
    if len(closes) <= LEAST_SESSIONS:
        return (), np.zeros((0, 0))
    return kept, closes[1:] / closes[:-1] - 1.0
