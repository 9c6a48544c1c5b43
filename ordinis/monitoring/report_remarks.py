"""What the ledger could not tell the report, and why, in words."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from decimal import Decimal

import numpy as np

from ordinis.costs.conditions import MONTH, MarketConditions
from ordinis.monitoring.report_data import Track
from ordinis.monitoring.report_trading import Traded
from ordinis.monitoring.wording import plural
from ordinis.ports import CostModel, FloatArray, PriceHistory

MISPRICED = 1e-3
"""Share of equity by which holdings at the given closes may miss the ledger's own valuation without a remark."""


def on_trading(traded: Traded, closes: PriceHistory | None, symbols: Sequence[str]) -> list[str]:
    told = []
    if traded.later_fills:
        told.append(f"Told after the last valuation, and not in these figures: {plural(traded.later_fills, 'fill')}.")
    unplanned = len({trade.order for trade in traded.trades if trade.slippage is None})
    if unplanned:
        told.append(f"Without a planned price in the ledger: {plural(unplanned, 'order')}, whose slippage is left out.")
    if len(traded.index) and traded.unfunded:
        told.append("Equity came without a deposit in the ledger: the return of that session is unknown, shown as 0.")
    if closes is None and symbols:
        told.append("No closes were given: weights are those last decided, not those held at each close.")
    return told


def on_expected_costs(
    traded: Traded, costs: CostModel, closes: PriceHistory | None, adv: Mapping[str, float]
) -> list[str]:
    symbols = {trade.symbol for trade in traded.trades}
    if not any(
        costs.slippage(symbol, 1e6, 1.0, 0.01) != costs.slippage(symbol, 1e6, math.nan, math.nan) for symbol in symbols
    ):
        return []
    if closes is None:
        return ["No closes were given: expected costs leave impact out, which needs volatility."]
    told = []
    measured = MarketConditions.measured(closes)
    unknown = sorted(s for s in symbols if math.isnan(measured.participation(s, Decimal(1), adv.get(s))))
    if unknown:
        told.append(f"No daily volume is known for {_listed(unknown)}: their expected cost leaves impact out.")
    sessions = [traded.index.sessions[trade.row] for trade in traded.trades]
    early = sum(bisect_left(closes.sessions, session) <= MONTH for session in sessions)
    if early:
        why = f"fewer than {MONTH + 1} closes were given before them"
        told.append(f"The expected cost of the first {early} orders leaves impact out: {why}.")
    return told


def on_prices(traded: Traded, symbols: Sequence[str], weights: FloatArray, closes: PriceHistory | None) -> list[str]:
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


def on_comparison(
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
