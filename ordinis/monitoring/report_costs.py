"""What trades cost and what they changed, by symbol: sums over the orders of a ledger."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from ordinis.costs.models import BASIS_POINT
from ordinis.domain.portfolio import ZERO
from ordinis.monitoring.report_data import Change, PaidBySymbol
from ordinis.monitoring.report_trading import Trade, Traded
from ordinis.ports import FloatArray


def by_session(traded: Traded, expected: FloatArray) -> FloatArray:
    rows = np.array([trade.row for trade in traded.trades], dtype=np.intp)
    return np.bincount(rows, np.nan_to_num(expected), minlength=len(traded.index)).astype(np.float64)


def paid_by_symbol(traded: Traded, expected: FloatArray | None) -> tuple[PaidBySymbol, ...]:
    """The dearest first; of the orders whose plan is known."""
    places: dict[str, dict[str, list[int]]] = {}
    for place, trade in enumerate(traded.trades):
        if trade.slippage is not None:
            places.setdefault(trade.symbol, {}).setdefault(trade.order, []).append(place)
    found = []
    for symbol, orders in places.items():
        # An order that was filled in one session and taken back in another is one order, of which nothing is left.
        parts = [[traded.trades[place] for place in mine] for mine in orders.values()]
        money = np.array([float(sum((trade.bought + trade.sold for trade in mine), ZERO)) for mine in parts])
        slippage = np.array([float(sum((trade.slippage or ZERO for trade in mine), ZERO)) for mine in parts])
        trades, all_places = list(chain(*parts)), list(chain(*orders.values()))
        bps = slippage[money > 0.0] / money[money > 0.0] / BASIS_POINT
        p50, p95 = np.percentile(bps, [50, 95]).tolist() if len(bps) else (np.nan, np.nan)
        found.append(
            PaidBySymbol(
                symbol=symbol,
                orders=len(orders),
                notional=float(money.sum()),
                slippage=float(slippage.sum()),
                fees=float(sum((trade.fees for trade in trades), ZERO)),
                expected=np.nan if expected is None else float(expected[all_places].sum()),
                shortfall_p50=p50,
                shortfall_p95=p95,
            )
        )
    return tuple(sorted(found, key=lambda row: (-row.slippage - row.fees, row.symbol)))


def last_changes(traded: Traded, symbols: Sequence[str], weights: FloatArray) -> tuple[Change, ...]:
    """Of the last session: what was traded, the largest change of weight first, then what prices moved."""
    last = len(traded.index) - 1
    if last < 0:
        return ()
    gathered: dict[str, list[Trade]] = {}
    for trade in traded.trades:
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
