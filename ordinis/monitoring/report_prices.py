"""What the ledger does not know: closes of other sessions, and what the cost model expects.

The model by which it was decided is asked about each order as it was planned, under the volume and the volatility of
the sessions before it. The decision knew no more.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np

from ordinis.costs.conditions import UNKNOWN, MarketConditions
from ordinis.costs.models import cost_model
from ordinis.monitoring.report_trading import Traded
from ordinis.ports import CostModel, FloatArray, PriceHistory, UnitOfWork


def closes_at(closes: PriceHistory, symbols: Sequence[str], sessions: Sequence[date]) -> FloatArray:
    """(T, N) the latest close of each symbol up to each session; NaN before its first."""
    result = np.full((len(sessions), len(symbols)), np.nan)
    rows = np.array([bisect_right(closes.sessions, session) - 1 for session in sessions], dtype=np.intp)
    for place, symbol in enumerate(symbols):
        if symbol not in closes.symbols:
            continue
        column = closes.closes[:, closes.symbols.index(symbol)]
        seen = np.flatnonzero(np.isfinite(column))
        latest = np.searchsorted(seen, rows, side="right") - 1
        result[latest >= 0, place] = column[seen[latest[latest >= 0]]]
    return result


def expected_costs(
    traded: Traded,
    costs: CostModel,
    adv: Mapping[str, float],
    closes: PriceHistory | None,
    of_decisions: Mapping[str, CostModel] | None = None,
) -> FloatArray:
    """What the planned orders were expected to cost, in currency: one number for each of `traded.trades`.

    Args:
        costs: for orders whose decision says nothing of costs.
        adv: average daily volume in units by symbol, where `closes` measure none.
        of_decisions: the model by which each decision was made, by its id.

    Returns:
        (E,) NaN for an order without a plan, 0 for one of which nothing is left, and negative where a fill of another
        session was taken back.

    Raises:
        NoVolume: an average daily volume is none.
    """
    sessions = traded.index.sessions
    known: dict[int, MarketConditions] = {}
    expected = np.zeros(len(traded.trades))
    for place, trade in enumerate(traded.trades):
        if trade.planned_price is None:
            expected[place] = np.nan
            continue
        if not trade.quantity:
            continue
        # What was told late was decided in its own session.
        by_time = traded.index.row(trade.at)
        row = trade.row if by_time is None else min(by_time, trade.row)
        if closes is not None and row not in known:
            known[row] = MarketConditions.measured(closes, bisect_left(closes.sessions, sessions[row]))
        conditions = known.get(row, UNKNOWN)
        model = (of_decisions or {}).get(trade.decision or "", costs)
        notional = abs(trade.quantity) * trade.planned_price
        share = conditions.participation(trade.symbol, abs(trade.quantity), adv.get(trade.symbol))
        rate = model.slippage(trade.symbol, float(notional), share, conditions.sigma(trade.symbol))
        cost = float(notional) * rate + float(model.fee(notional))
        expected[place] = cost if trade.quantity > 0 else -cost
    return expected


def decided_models(unit: UnitOfWork) -> dict[str, CostModel]:
    """The cost model by which each decision was made, by its id; without those that say nothing of costs."""
    found, made = dict[str, CostModel](), dict[str, CostModel]()
    for decision in unit.decisions.all():
        told = json.loads(unit.decisions.inputs(decision.inputs_sha)).get("costs")
        if told:
            text = json.dumps(told, sort_keys=True)
            if text not in made:
                [(kind, parameters)] = told.items()
                made[text] = cost_model(kind, parameters)
            found[decision.id] = made[text]
    return found
