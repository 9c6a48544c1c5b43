"""From a ledger to the report's numbers, in one read-only unit of work.

The ledger says what was decided, traded and owned; closes, a cost model and daily volumes come from elsewhere and
are optional. Whatever cannot be derived without them is left out and named in the remarks.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np

from ordinis.costs.execution import VOLATILITY_SESSIONS
from ordinis.domain.portfolio import ZERO
from ordinis.evaluation.statistics import sharpe_difference
from ordinis.monitoring.findings import Night
from ordinis.monitoring.report_data import SHORTEST_YEAR, Change, Costs, ReportData, Track
from ordinis.monitoring.report_decisions import (
    GROSS,
    POSITION,
    SECTOR,
    Decided,
    carried_forward,
    limit_in_force,
    read_decisions,
)
from ordinis.monitoring.report_prices import closes_at, expected_costs
from ordinis.monitoring.report_trading import Execution, Traded, read_trading
from ordinis.ports import CostModel, FloatArray, Ledger, PriceHistory

Baseline = Ledger | tuple[Sequence[date], FloatArray]
"""A ledger of its own (a back-test), or sessions and the (T,) returns of each; only a ledger knows what it cost."""

BOOK = "the book"

MISPRICED = 1e-3
"""Share of equity by which holdings at the given closes may miss the ledger's own valuation without a remark."""


def collect(
    ledger: Ledger,
    sectors: Mapping[str, str],
    baselines: Mapping[str, Baseline] | None = None,
    nights: Mapping[date, Night] | None = None,
    *,
    closes: PriceHistory | None = None,
    costs: CostModel | None = None,
    adv: Mapping[str, float] | None = None,
    currency: str = "USD",
    rng: np.random.Generator | None = None,
) -> ReportData:
    """Read `ledger` and derive all that the report says.

    Args:
        ledger: of the book.
        sectors: sector by symbol.
        baselines: what the book is compared with, by name, on the sessions that they have in common.
        nights: what nightly attributions found, by session.
        closes: to price the holdings at each close; without them the report shows the decided weights.
        costs: the model whose expectation is compared with what was paid.
        adv: average daily volume in shares by symbol, for the model's impact.
        currency: of the account.
        rng: draws the bootstrap of Sharpe differences; without it there are no intervals.
    """
    with ledger.begin(write=False) as unit:
        traded = read_trading(unit)
        decided = read_decisions(unit, traded.index)
    book = _track(BOOK, traded)
    symbols = tuple(sorted(traded.symbols | {symbol for line in decided.lines for symbol in line.weights}))
    weights = _decided_weights(decided, symbols, traded) if closes is None else _held_weights(traded, symbols, closes)
    expected = None if costs is None else expected_costs(traded, costs, adv or {}, closes)
    compared = tuple(_compared(book, name, given, rng) for name, given in (baselines or {}).items())
    remarks = [
        *_on_trading(traded, closes, symbols),
        *([] if costs is None else _on_expected_costs(traded, costs, closes, adv or {})),
        *_on_prices(traded, symbols, weights, closes),
        *_on_comparison(book, compared, sectors, symbols),
    ]
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
        costs=Costs(traded.slippage, traded.fees, expected),
        decisions=decided.lines,
        limit_events=decided.limit_events,
        baselines=compared,
        nights=dict(sorted((nights or {}).items())),
        changes=_changes(traded, symbols, weights),
        fills=len(traded.fills),
        orders=dict(sorted(Counter(intent.state.value for intent in traded.intents).items())),
        remarks=tuple(remarks),
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


def _changes(traded: Traded, symbols: Sequence[str], weights: FloatArray) -> tuple[Change, ...]:
    """Of the last session: what was traded, the largest change of weight first, then what prices moved."""
    last = len(traded.index) - 1
    if last < 0:
        return ()
    gathered: dict[str, list[Execution]] = {}
    for trade in traded.executions:
        if trade.row == last:
            gathered.setdefault(trade.symbol, []).append(trade)
    before = weights[-2] if last else np.zeros(len(symbols))
    found = []
    for symbol, old, new in zip(symbols, before.tolist(), weights[-1].tolist(), strict=True):
        trades = gathered.get(symbol, [])
        money = sum((abs(trade.bought) + abs(trade.sold) for trade in trades), ZERO)
        traded_units = sum((abs(trade.quantity) for trade in trades), ZERO)
        known = [trade.slippage for trade in trades if trade.slippage is not None]
        if trades or old or new:
            found.append(
                Change(
                    symbol=symbol,
                    before=old,
                    now=new,
                    units=sum((trade.signed for trade in trades), ZERO),
                    price=money / traded_units if traded_units else None,
                    shortfall=sum(known, ZERO) if known else None,
                    fees=sum((trade.fees for trade in trades), ZERO),
                )
            )
    return tuple(sorted(found, key=lambda c: (not c.units, -abs(c.now - c.before), c.symbol)))


# what the ledger could not tell, and why


def _on_trading(traded: Traded, closes: PriceHistory | None, symbols: Sequence[str]) -> list[str]:
    told = []
    if traded.later_fills:
        told.append(f"{traded.later_fills} fills after the last valued close are not in these figures.")
    unplanned = sum(trade.slippage is None for trade in traded.executions)
    if unplanned:
        told.append(f"{unplanned} orders have no planned price in the ledger: their slippage is unknown and left out.")
    if len(traded.index) and traded.unfunded:
        told.append("Equity came without a deposit in the ledger: the return of that session is unknown, shown as 0.")
    if closes is None and symbols:
        told.append("No closes were given: weights are those last decided, not those held at each close.")
    return told


def _on_expected_costs(
    traded: Traded, costs: CostModel, closes: PriceHistory | None, adv: Mapping[str, float]
) -> list[str]:
    symbols = {trade.symbol for trade in traded.executions}
    if not any(
        costs.slippage(symbol, 1e6, 1.0, 0.01) != costs.slippage(symbol, 1e6, math.nan, math.nan) for symbol in symbols
    ):
        return []
    if closes is None:
        return ["No closes were given: expected costs leave impact out, which needs volatility."]
    told = []
    unknown = sorted(symbols - adv.keys())
    if unknown:
        told.append(f"No daily volume is known for {_listed(unknown)}: their expected cost leaves impact out.")
    sessions = [traded.index.sessions[trade.row] for trade in traded.executions]
    early = sum(bisect_left(closes.sessions, session) <= VOLATILITY_SESSIONS for session in sessions)
    if early:
        why = f"fewer than {VOLATILITY_SESSIONS + 1} closes were given before them"
        told.append(f"The expected cost of the first {early} orders leaves impact out: {why}.")
    return told


def _on_prices(traded: Traded, symbols: Sequence[str], weights: FloatArray, closes: PriceHistory | None) -> list[str]:
    if closes is None or not len(traded.index):
        return []
    missing = sorted(set(symbols) - set(closes.symbols))
    if missing:
        return [f"The given closes lack {_listed(missing)}: their weights are shown as 0."]
    apart = np.abs(weights.sum(axis=1) + traded.cash / traded.equity - 1.0)
    if apart.max() <= MISPRICED:
        return []
    worst = traded.index.sessions[int(apart.argmax())]
    return [f"Holdings at the given closes miss the ledger's valuation by up to {apart.max():.2%} of equity ({worst})."]


def _on_comparison(
    book: Track, compared: Sequence[Track], sectors: Mapping[str, str], symbols: Sequence[str]
) -> list[str]:
    told = [
        f"{track.name} covers {len(track.sessions):,} of the book's {len(book.sessions):,} sessions."
        for track in compared
        if len(track.sessions) < len(book.sessions)
    ]
    homeless = sorted(set(symbols) - sectors.keys())
    if homeless:
        told.append(f"No sector is known for {_listed(homeless)}.")
    return told


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
