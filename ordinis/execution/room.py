"""How much of a buy still fits, with every live buy counted as filled and no live sale counted at all.

equity   = cash left after every live buy + all positions, live buys included
room     = min(position cap, gross cap, sector cap, a person's ceiling) * equity - what is there already
and at most a share of the average daily volume, and what cash above the buffer pays for
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from ordinis.costs.execution import expected_cash
from ordinis.domain.canonical import to_decimal
from ordinis.domain.instruments import Instrument
from ordinis.domain.limits import Limits
from ordinis.domain.orders import OrderIntent, PlannedOrder, Side
from ordinis.domain.portfolio import ZERO
from ordinis.execution.prices import Prices
from ordinis.ports import CostModel, UnitOfWork


@dataclass(frozen=True)
class WorstCase:
    """The book as if every live buy had been executed."""

    cash: Decimal
    values: Mapping[str, Decimal]
    """Currency by symbol."""

    @classmethod
    def of(cls, unit: UnitOfWork, live: Sequence[OrderIntent], prices: Prices) -> WorstCase:
        cash = unit.book.cash()
        values = {symbol: units * prices.of(symbol) for symbol, units in unit.book.holdings().items()}
        for intent in (i for i in live if i.side is Side.BUY and i.quantity):
            open_value = intent.remaining * intent.reference_price
            values[intent.symbol] = values.get(intent.symbol, ZERO) + open_value
            cash -= intent.reserved_notional * intent.remaining / intent.quantity
        return cls(cash, values)

    @property
    def equity(self) -> Decimal:
        return self.cash + sum(self.values.values(), ZERO)


def room(
    order: PlannedOrder,
    book: WorstCase,
    prices: Prices,
    instrument: Instrument,
    limits: Limits,
    costs: CostModel,
    *,
    ceiling: float,
    participation_cap: float | None,
) -> Decimal:
    """The part of the buy `order` that fits, in whole lots.

    Args:
        ceiling: largest weight of the symbol that people allow.
        participation_cap: largest share of the average daily volume; None for no such limit.
    """
    price, equity, values = prices.of(order.symbol), book.equity, book.values
    held = values.get(order.symbol, ZERO)
    allowed = [
        to_decimal(min(limits.position_cap, ceiling)) * equity - held,
        to_decimal(limits.invested_cap) * equity - sum(values.values(), ZERO),
        _sector_room(order.symbol, book, limits),
    ]
    quantity = min(order.quantity, min(allowed) / price)
    volume = prices.conditions.volume(order.symbol, instrument.adv)
    if participation_cap is not None and volume is not None:
        quantity = min(quantity, to_decimal(participation_cap * volume))
    if quantity <= 0:
        return ZERO
    spendable = book.cash - to_decimal(limits.cash_buffer) * equity
    needed = -expected_cash(costs, instrument, Side.BUY, quantity, price, prices.conditions)
    if needed > spendable:
        quantity *= max(ZERO, spendable) / needed
    return instrument.round_quantity(quantity)


def _sector_room(symbol: str, book: WorstCase, limits: Limits) -> Decimal:
    """Currency that the symbol's sector may still take; all of the equity for a symbol without one."""
    if symbol not in limits.sectors:
        return book.equity
    sector = limits.sectors[symbol]
    held = sum((value for name, value in book.values.items() if limits.sectors.get(name) == sector), ZERO)
    return to_decimal(limits.sector_cap) * book.equity - held
