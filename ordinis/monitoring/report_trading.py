"""What was owned, traded and paid, session by session, from the ledger alone.

A fill belongs to the first session whose valuation holds it, which is the one after where the broker told it late.
With f a fill, s its sign (+1 for a buy), q its quantity, p its price and r the price at which its order was planned,

    slippage = s q (p - r)                  positive when the market was worse than the plan
    turnover = max(bought, sold) / E        half of all changes of weight, cash included

and E the equity before trading. A fill that takes back another one takes back its slippage and turnover too; of the
turnover of a session that is over, nothing. Money is summed in Decimal.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from itertools import dropwhile

import numpy as np

from ordinis.domain.orders import Fill, OrderIntent, Side
from ordinis.domain.portfolio import FLOWS, ZERO, Movement, Valuation
from ordinis.ports import FloatArray, UnitOfWork

CHARGE = "fee"
"""Movements that are a cost of trading without being part of a fill."""


class SessionIndex:
    """Finds the row of an instant among the sessions that were valued."""

    def __init__(self, valuations: Sequence[Valuation]) -> None:
        self._closes = [row.at for row in valuations]
        self.sessions: tuple[date, ...] = tuple(row.session for row in valuations)

    def __len__(self) -> int:
        return len(self.sessions)

    def row(self, at: datetime) -> int | None:
        """The first session that closes at or after `at`; None after the last."""
        found = bisect_left(self._closes, at)
        return found if found < len(self._closes) else None


@dataclass(frozen=True)
class Trade:
    """The fills of one order in one session."""

    row: int
    order: str
    """Its id; of a fill that no order here asked for, the execution's."""
    at: datetime
    """Of the first of the fills."""
    decision: str | None
    """Id of the decision that asked for it; None for what nobody here decided."""
    symbol: str
    bought: Decimal
    """Notional in currency; negative where a purchase was taken back, and likewise `sold`."""
    sold: Decimal
    fees: Decimal
    slippage: Decimal | None
    """None where no plan is known."""
    quantity: Decimal
    """Units; negative where more was taken back than traded."""
    signed: Decimal
    """Units bought less sold."""
    planned_price: Decimal | None


@dataclass(frozen=True)
class Traded:
    """Rows of the ledger that say what was owned and traded, and what follows from them by session."""

    index: SessionIndex
    valuations: Sequence[Valuation]
    fills: Sequence[Fill]
    movements: Sequence[Movement]
    intents: Sequence[OrderIntent]
    told: Mapping[str, int]
    """Place of each fill in the ledger's events, by execution id."""

    @cached_property
    def equity(self) -> FloatArray:
        return np.array([float(row.equity) for row in self.valuations])

    @cached_property
    def symbols(self) -> frozenset[str]:
        """Everything that was ever bought, sold or moved in."""
        moved = {movement.symbol for movement in self.movements if movement.symbol is not None}
        return frozenset(moved | {fill.symbol for fill in self.fills})

    @property
    def cash(self) -> FloatArray:
        return np.array([float(row.cash) for row in self.valuations])

    @property
    def gross(self) -> FloatArray:
        """(T,) in currency."""
        return np.array([float(row.gross) for row in self.valuations])

    @cached_property
    def trades(self) -> tuple[Trade, ...]:
        """Fills up to the last valuation, gathered by session and order, in the order of their first fill."""
        asked = {intent.client_order_id: intent for intent in self.intents}
        gathered: dict[tuple[int, str], list[Fill]] = {}
        for row, fill in self.placed_fills:
            if row is not None:
                gathered.setdefault((row, fill.client_order_id or fill.reverses or fill.exec_id), []).append(fill)
        return tuple(_trade(row, order, parts, asked.get(order)) for (row, order), parts in gathered.items())

    @property
    def later_fills(self) -> int:
        """Fills that the last valuation does not hold."""
        return sum(row is None for row, _ in self.placed_fills)

    @cached_property
    def _opening(self) -> FloatArray:
        """(T,) the last close's equity and what people brought (or took) since."""
        brought = [(self.row_of(moved), moved.cash) for moved in self.movements if moved.kind in FLOWS]
        return np.concatenate([[0.0], self.equity])[: len(self.index)] + self._by_session(brought)

    @property
    def unfunded(self) -> bool:
        """True when some session has equity that came from nowhere."""
        return bool((self._opening <= 0.0).any())

    @property
    def equity_before(self) -> FloatArray:
        """(T,) before each session's trading; its own equity where that came from nowhere."""
        return np.where(self._opening > 0.0, self._opening, self.equity)

    @property
    def turnover(self) -> FloatArray:
        """(T,) one-way, as a fraction of the equity before trading."""
        bought = self._by_session([(trade.row, max(trade.bought, ZERO)) for trade in self.trades])
        sold = self._by_session([(trade.row, max(trade.sold, ZERO)) for trade in self.trades])
        return np.asarray(np.maximum(bought, sold) / self.equity_before, dtype=np.float64)

    @property
    def slippage(self) -> FloatArray:
        """(T,) in currency, of the orders whose plan is known."""
        known = [(trade.row, trade.slippage) for trade in self.trades if trade.slippage is not None]
        return self._by_session(known)

    @property
    def fees(self) -> FloatArray:
        """(T,) in currency: commissions, and what the broker charged apart from fills."""
        charged = [(self.row_of(moved), -moved.cash) for moved in self.movements if moved.kind == CHARGE]
        return self._by_session([*((trade.row, trade.fees) for trade in self.trades), *charged])

    def units(self, symbols: Sequence[str]) -> FloatArray:
        """(T, N) held at each close."""
        changes = [(row, fill.symbol, fill.units) for row, fill in self.placed_fills]
        brought = [moved for moved in self.movements if moved.symbol is not None]
        changes += [(self.row_of(moved), moved.symbol or "", moved.quantity) for moved in brought]
        held = np.full((len(self.index), len(symbols)), ZERO, dtype=object)
        column = {symbol: place for place, symbol in enumerate(symbols)}
        for row, symbol, quantity in changes:
            if row is not None and symbol in column:
                held[row, column[symbol]] += quantity
        return np.asarray(np.cumsum(held, axis=0), dtype=np.float64)

    @cached_property
    def _movement_marks(self) -> list[int]:
        return _newest([row.movements for row in self.valuations])

    def row_of(self, moved: Movement) -> int | None:
        """The first session whose valuation holds a movement: not always that of its date."""
        return self._row(self._movement_marks, moved.place, moved.at)

    @cached_property
    def placed_fills(self) -> tuple[tuple[int | None, Fill], ...]:
        """Each fill with the row of the first session whose valuation holds it; None where none does yet."""
        marks = _newest([row.events for row in self.valuations])
        return tuple((self._row(marks, self.told[fill.exec_id], fill.at), fill) for fill in self.fills)

    def _row(self, marks: list[int], place: int, at: datetime) -> int | None:
        """By place in the ledger, which the newest valuations have marked; by time as far as the others go."""
        unmarked = len(self.valuations) - len(marks)
        found = unmarked + bisect_left(marks, place)
        if found > unmarked or not unmarked:
            return found if found < len(self.valuations) else None
        by_time = self.index.row(at)
        if not marks:
            return by_time
        return unmarked if by_time is None else min(by_time, unmarked)

    def _by_session(self, parts: Sequence[tuple[int | None, Decimal]]) -> FloatArray:
        """(T,) sums of money by row; a part without a row came after the last close."""
        totals = [ZERO] * len(self.index)
        for row, money in parts:
            if row is not None:
                totals[row] += money
        return np.array([float(total) for total in totals])


def read_trading(unit: UnitOfWork, last: date | None = None) -> Traded:
    """All that the ledger says of owning and trading, its sessions up to `last`."""
    book = unit.book
    # Sessions that were valued before anybody brought money are no part of any return.
    valuations = list(dropwhile(lambda row: row.equity <= ZERO, book.valuations()))
    valuations = [row for row in valuations if last is None or row.session <= last]
    orders, told = unit.orders.all(), book.places_of_fills()
    return Traded(SessionIndex(valuations), valuations, book.fills(), book.movements(), orders, told)


def _newest(marks: Sequence[int | None]) -> list[int]:
    """Those of the newest valuations; those of an older ledger have none."""
    unmarked = max((row + 1 for row, mark in enumerate(marks) if mark is None), default=0)
    return [mark for mark in marks[unmarked:] if mark is not None]


def _trade(row: int, order: str, parts: Sequence[Fill], intent: OrderIntent | None) -> Trade:
    planned_price = None if intent is None else intent.reference_price
    bought, sold, quantity = ZERO, ZERO, ZERO
    for fill in parts:
        sign = 1 if fill.reverses is None else -1
        quantity += sign * fill.quantity
        # A fill that takes back a purchase is booked as a sale.
        if (fill.side is Side.BUY) == (fill.reverses is None):
            bought += sign * fill.quantity * fill.price
        else:
            sold += sign * fill.quantity * fill.price
    return Trade(
        row=row,
        order=order,
        at=min(fill.at for fill in parts),
        decision=None if intent is None else intent.decision_id,
        symbol=parts[0].symbol,
        bought=bought,
        sold=sold,
        fees=sum((fill.fee for fill in parts), ZERO),
        slippage=None if planned_price is None else sum((f.units * (f.price - planned_price) for f in parts), ZERO),
        quantity=quantity,
        signed=sum((fill.units for fill in parts), ZERO),
        planned_price=planned_price,
    )
