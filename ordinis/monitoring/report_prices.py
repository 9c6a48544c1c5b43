"""What the ledger does not know: closes of other sessions, and what the cost model expects.

The model is asked about each order as it was planned: its quantity over average daily volume, and the volatility of
the sessions before it. The decision knew no more.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np

from ordinis.costs.execution import participation, session_volatility
from ordinis.monitoring.report_trading import Traded
from ordinis.ports import CostModel, FloatArray, PriceHistory


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
    traded: Traded, costs: CostModel, adv: Mapping[str, float], closes: PriceHistory | None
) -> FloatArray:
    """(T,) what the model expects the planned orders to cost, in currency; orders without a plan are left out.

    Raises:
        NoVolume: an average daily volume is none.
    """
    sessions = traded.index.sessions
    volatility: dict[int, Mapping[str, float]] = {}
    expected = np.zeros(len(sessions))
    for trade in traded.executions:
        if trade.planned_price is None or not trade.quantity:
            continue
        if closes is not None and trade.row not in volatility:
            before = closes.closes[: bisect_left(closes.sessions, sessions[trade.row])]
            volatility[trade.row] = session_volatility(closes.symbols, before)
        notional = abs(trade.quantity) * trade.planned_price
        share = participation(trade.symbol, abs(trade.quantity), adv.get(trade.symbol))
        sigma = volatility.get(trade.row, {}).get(trade.symbol, math.nan)
        rate = costs.slippage(trade.symbol, float(notional), share, sigma)
        expected[trade.row] += float(notional) * rate + float(costs.fee(notional))
    return expected
