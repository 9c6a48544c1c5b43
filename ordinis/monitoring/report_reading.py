"""From a ledger to the report's numbers, in one read-only unit of work.

The ledger says what was decided, traded and owned; closes, a cost model and daily volumes come from elsewhere and
are optional. Whatever cannot be derived without them is left out and named in the remarks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np

from ordinis.evaluation.statistics import sharpe_difference
from ordinis.feedback.nightly import Version
from ordinis.feedback.paid import Paid
from ordinis.monitoring.findings import Night
from ordinis.monitoring.report_costs import by_session, last_changes, paid_by_symbol
from ordinis.monitoring.report_data import SHORTEST_YEAR, Costs, ReportData, Track
from ordinis.monitoring.report_decisions import (
    GROSS,
    POSITION,
    SECTOR,
    Decided,
    carried_forward,
    limit_in_force,
    read_decisions,
)
from ordinis.monitoring.report_prices import closes_at, decided_models, expected_costs
from ordinis.monitoring.report_remarks import on_comparison, on_expected_costs, on_prices, on_trading
from ordinis.monitoring.report_trading import Traded, read_trading
from ordinis.ports import CostModel, FloatArray, Ledger, PriceHistory

Baseline = Ledger | tuple[Sequence[date], FloatArray]
"""A ledger of its own (a back-test), or sessions and the (T,) returns of each; only a ledger knows what it cost."""

BOOK = "the book"


def collect(
    ledger: Ledger,
    sectors: Mapping[str, str],
    baselines: Mapping[str, Baseline] | None = None,
    nights: Mapping[date, Night] | None = None,
    calibration: tuple[Version, Paid] | None = None,
    *,
    closes: PriceHistory | None = None,
    costs: CostModel | None = None,
    adv: Mapping[str, float] | None = None,
    currency: str = "USD",
    rng: np.random.Generator | None = None,
    last: date | None = None,
) -> ReportData:
    """Read `ledger` and derive all that the report says.

    Args:
        ledger: of the book.
        sectors: sector by symbol.
        baselines: what the book is compared with, by name, on the sessions that they have in common.
        nights: what nightly attributions found, by session.
        calibration: what the last night made of the orders' costs, and the orders beside the market.
        closes: to price the holdings at each close; without them the report shows the decided weights.
        costs: the model whose expectation is compared with what was paid, where a decision does not say its own.
        adv: average daily volume in units by symbol, for the model's impact, where `closes` measure none.
        currency: of the account.
        rng: draws the bootstrap of Sharpe differences; without it there are no intervals.
        last: session that the report ends with; None for the last that was valued.
    """
    with ledger.begin(write=False) as unit:
        traded = read_trading(unit, last)
        decided = read_decisions(unit, traded.index, last)
        models = decided_models(unit)
    book = _track(BOOK, traded)
    symbols = tuple(sorted(traded.symbols | {symbol for line in decided.lines for symbol in line.weights}))
    weights = _decided_weights(decided, symbols, traded) if closes is None else _held_weights(traded, symbols, closes)
    expected = None if costs is None else expected_costs(traded, costs, adv or {}, closes, models)
    compared = tuple(_compared(book, name, given, rng) for name, given in (baselines or {}).items())
    return ReportData(
        account=ledger.account,
        currency=currency,
        book=book,
        equity=traded.equity,
        cash=traded.cash,
        gross=traded.gross / traded.equity,
        decided=carried_forward({line.session: line.invested for line in decided.lines}, traded.index),
        gross_cap=limit_in_force(GROSS, decided, traded.index),
        sector_cap=limit_in_force(SECTOR, decided, traded.index),
        position_cap=limit_in_force(POSITION, decided, traded.index),
        symbols=symbols,
        sectors=dict(sectors),
        weights=weights,
        weights_are_held=closes is not None,
        costs=Costs(traded.slippage, traded.fees, None if expected is None else by_session(traded, expected)),
        paid_by_symbol=paid_by_symbol(traded, expected),
        decisions=decided.lines,
        limit_events=decided.limit_events,
        baselines=compared,
        nights=dict(sorted((nights or {}).items())),
        calibration=calibration,
        changes=last_changes(traded, symbols, weights),
        fills=len(traded.fills),
        orders=dict(sorted(Counter(intent.state.value for intent in traded.intents).items())),
        remarks=(
            *on_trading(traded, closes, symbols),
            *(() if costs is None else on_expected_costs(traded, costs, closes, adv or {})),
            *on_prices(traded, symbols, weights, closes),
            *on_comparison(book, compared, sectors, symbols),
        ),
    )


def _track(name: str, traded: Traded) -> Track:
    before = traded.equity_before
    return Track(
        name=name,
        sessions=traded.index.sessions,
        returns=traded.equity / before - 1.0,
        turnover=traded.turnover,
        cost=(traded.slippage + traded.fees) / before,
    )


def _compared(book: Track, name: str, given: Baseline, rng: np.random.Generator | None) -> Track:
    """The baseline on the sessions that the book has too."""
    if isinstance(given, tuple):
        whole = Track(name, tuple(given[0]), np.asarray(given[1], dtype=np.float64))
    else:
        with given.begin(write=False) as unit:
            whole = _track(name, read_trading(unit))
    mine = {session: row for row, session in enumerate(book.sessions)}
    rows = [row for row, session in enumerate(whole.sessions) if session in mine]
    sessions = tuple(whole.sessions[row] for row in rows)
    returns = whole.returns[rows]
    against = None
    if rng is not None and len(rows) >= SHORTEST_YEAR:
        against = sharpe_difference(book.returns[[mine[session] for session in sessions]], returns, rng)
    return Track(
        name=name,
        sessions=sessions,
        returns=returns,
        turnover=None if whole.turnover is None else whole.turnover[rows],
        cost=None if whole.cost is None else whole.cost[rows],
        against_book=against,
    )


def _held_weights(traded: Traded, symbols: Sequence[str], closes: PriceHistory) -> FloatArray:
    """(T, N) at each close; 0 where a holding has no close yet."""
    values = traded.units(symbols) * np.nan_to_num(closes_at(closes, symbols, traded.index.sessions))
    return np.asarray(values / traded.equity[:, None], dtype=np.float64)


def _decided_weights(decided: Decided, symbols: Sequence[str], traded: Traded) -> FloatArray:
    """(T, N) of the latest decision at each close; 0 before the first."""
    columns = [
        carried_forward({line.session: line.weights.get(symbol, 0.0) for line in decided.lines}, traded.index)
        for symbol in symbols
    ]
    return np.nan_to_num(np.array(columns, dtype=np.float64).reshape(len(symbols), len(traded.index)).T)
