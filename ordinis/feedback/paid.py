"""What the book's orders paid, beside what the market was like then: executions as a calibration needs them.

Volume and volatility of an order are those that its plan could know: of the sessions before its own, by the bars where
they have volumes, else the daily volume of the reference file. Orders of which that is not known, whose bars have been
restated since, or of which nothing was kept, are left out and counted.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ordinis.costs.conditions import MarketConditions
from ordinis.domain.executions import BASIS_POINTS, Execution
from ordinis.domain.instruments import Instrument
from ordinis.domain.orders import Side
from ordinis.feedback.calibration import liquidity_buckets
from ordinis.feedback.cost_fit import PaidCosts
from ordinis.ports import FloatArray, PriceHistory

RESTATED = 1.2
"""An order's session that closes so many times above or below its plan has been restated since, as by a split: its
bars are not in the order's units."""


@dataclass(frozen=True)
class Paid:
    costs: PaidCosts
    orders: tuple[Execution, ...]
    """Of each row of `costs`."""
    left_out: int
    """Orders whose cost, volume or volatility is not known in their own units."""


def buckets(history: PriceHistory, reference: Mapping[str, Instrument], count: int) -> dict[str, int]:
    """Liquidity bucket by symbol, 0 for the most liquid, at the end of `history`; without those of unknown volume."""
    conditions, money = MarketConditions.measured(history), {}
    for place, symbol in enumerate(history.symbols):
        closes = history.closes[:, place]
        seen = closes[np.isfinite(closes)]
        told = _adv(reference, symbol)
        volume = conditions.volume(symbol, told) or told
        if len(seen) and volume:
            money[symbol] = volume * float(seen[-1])
    places = liquidity_buckets(np.array(list(money.values())), count)
    return dict(zip(money, places.tolist(), strict=True))


def paid_costs(
    orders: Sequence[Execution], history: PriceHistory, reference: Mapping[str, Instrument], bucket: Mapping[str, int]
) -> Paid:
    """What `orders` paid, oldest first.

    Args:
        history: closes, and volumes where known, from a month before the first order to the session of the last.
        bucket: liquidity bucket by symbol; orders in others are left out.
    """
    rows, kept = [], []
    knowledge: dict[int, MarketConditions] = {}
    column = {symbol: place for place, symbol in enumerate(history.symbols)}
    for order in orders:
        if not order.notional or order.symbol not in column or order.symbol not in bucket:
            continue
        row = bisect_left(history.sessions, order.session)
        if row not in knowledge:
            knowledge[row] = MarketConditions.measured(history, row)
        share = knowledge[row].participation(order.symbol, order.filled, _adv(reference, order.symbol))
        sigma = knowledge[row].sigma(order.symbol)
        if math.isnan(share) or math.isnan(sigma):
            continue
        there = row < len(history.sessions) and history.sessions[row] == order.session
        close = float(history.closes[row, column[order.symbol]]) if there else np.nan
        moved = close / float(order.arrival)
        if not (1.0 / RESTATED < moved < RESTATED) and np.isfinite(moved):
            continue
        sign = 1.0 if order.side is Side.BUY else -1.0
        rows.append(
            (
                order.shortfall_bps / BASIS_POINTS,
                share,
                sigma,
                bucket[order.symbol],
                sign * (moved - 1.0),
            )
        )
        kept.append(order)
    table: FloatArray = np.array(rows, dtype=np.float64).reshape(len(rows), 5)
    costs = PaidCosts(table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(np.int64), table[:, 4])
    return Paid(costs, tuple(kept), len(orders) - len(kept))


def _adv(reference: Mapping[str, Instrument], symbol: str) -> float | None:
    return reference[symbol].adv if symbol in reference else None
