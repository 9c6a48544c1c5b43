"""The last check of one order, inside the transaction that writes its intent.

The plan passed the rulebook as a whole; a gate looks at one order against the book as it is now, with every live
order counted as if it filled. A gate shrinks a buy to what limits and cash still allow, or denies the order; it
never enlarges. Numbers in the reasons are those of the order path's design: G2 state, G3 session, G4 decision, G8
limits, G10 duplicates, G11 cash, G13 locks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from ordinis.clock import TradingCalendar
from ordinis.costs.execution import expected_cash
from ordinis.domain.canonical import to_decimal
from ordinis.domain.decisions import Decision, DecisionStatus
from ordinis.domain.instruments import Instrument
from ordinis.domain.limits import Limits, TradingState
from ordinis.domain.orders import OrderIntent, OrderState, PlannedOrder, Side
from ordinis.domain.portfolio import ZERO
from ordinis.ports import CostModel, UnitOfWork


@dataclass(frozen=True)
class Passed:
    quantity: Decimal
    """What may be sent: at most what was decided."""
    reserved: Decimal
    """Cash that the order is expected to take, slippage and fee included; zero for a sale."""


@dataclass(frozen=True)
class Denied:
    reason: str


@dataclass(frozen=True)
class Gates:
    calendar: TradingCalendar
    instruments: Mapping[str, Instrument]
    limits: Limits
    limits_sha: str
    costs: CostModel
    kill_flag: Path | None

    def stopped(self, unit: UnitOfWork, symbol: str, side: Side) -> str:
        """G2, G13: why no such order may be sent, nor stay at the broker; empty when it may."""
        if self.kill_flag is not None and self.kill_flag.exists():
            return f"G2: the kill flag {self.kill_flag.name} is set"
        row = unit.control.state()
        reducing = row is not None and row.state is TradingState.REDUCING and side is Side.SELL
        if row is not None and row.state is not TradingState.ACTIVE and not reducing:
            return f"G2: trading is {row.state} since {row.by} said: {row.reason}"
        lock = unit.control.state(symbol)
        if lock is not None and lock.state is not TradingState.ACTIVE:
            return f"G13: {symbol} is locked since {lock.by} said: {lock.reason}"
        return ""

    def expired(self, decision: Decision, now: datetime) -> str:
        """G4: empty while the decision is in force."""
        if now > decision.expires_at:
            return f"G4: decision {decision.id[:12]} expired at {decision.expires_at.isoformat()}"
        return ""

    def still_valid(self, unit: UnitOfWork, decision: Decision, symbol: str, side: Side, now: datetime) -> str:
        """G2 to G4 and the lock, which are asked again before an order is sent that was found after a restart."""
        reason = self.stopped(unit, symbol, side) or self.expired(decision, now)
        if reason:
            return reason
        if not self.calendar.is_open(now):
            return "G3: the exchange is closed"
        if decision.status is not DecisionStatus.APPROVED:
            return f"G4: decision {decision.id[:12]} is {decision.status}"
        if decision.limits_sha != self.limits_sha:
            return f"G4: decision {decision.id[:12]} was made under other limits"
        return ""

    def admit(
        self,
        unit: UnitOfWork,
        decision: Decision,
        order: PlannedOrder,
        now: datetime,
        prices: Mapping[str, Decimal],
        volatility: float,
    ) -> Passed | Denied:
        """Decide what of `order` may be sent.

        Args:
            prices: currency per unit now, of every holding and of the order's symbol.
            volatility: of a session's return of the order's symbol, for its cost; NaN when unknown.
        """
        reason = self.still_valid(unit, decision, order.symbol, order.side, now)
        if reason:
            return Denied(reason)
        live = next((i for i in unit.orders.live() if i.symbol == order.symbol), None)
        if live is not None:
            return Denied(f"G10: order {live.client_order_id} in {order.symbol} is still {live.state}")
        used = sum((_claimed(i) for i in unit.orders.of(decision.id) if i.symbol == order.symbol), ZERO)
        left = decision.decided_quantity(order.symbol) - used
        if order.quantity > left:
            return Denied(f"G4: {order.quantity} asked, {left} of the decided quantity left")
        if order.side is Side.SELL:
            held = unit.book.holdings().get(order.symbol, ZERO)
            return Passed(order.quantity, ZERO) if order.quantity <= held else Denied(f"G8: short sale, {held} held")
        quantity = self._room(unit, order, prices, volatility)
        if quantity <= 0:
            return Denied(f"G8/G11: no room for {order.symbol} under position, sector and gross cap and cash buffer")
        instrument, price = self.instruments[order.symbol], prices[order.symbol]
        return Passed(quantity, -expected_cash(self.costs, instrument, Side.BUY, quantity, price, volatility))

    def _room(self, unit: UnitOfWork, order: PlannedOrder, prices: Mapping[str, Decimal], volatility: float) -> Decimal:
        """The part of a buy that fits, with every live buy counted as filled; whole lots."""
        instrument, price = self.instruments[order.symbol], prices[order.symbol]
        cash = unit.book.cash()
        values = {symbol: units * prices[symbol] for symbol, units in unit.book.holdings().items()}
        for intent in (i for i in unit.orders.live() if i.side is Side.BUY and i.quantity):
            open_value = intent.remaining * intent.reference_price
            values[intent.symbol] = values.get(intent.symbol, ZERO) + open_value
            cash -= intent.reserved_notional * intent.remaining / intent.quantity
        equity = cash + sum(values.values(), ZERO)
        by_position = to_decimal(self.limits.position_cap) * equity - values.get(order.symbol, ZERO)
        by_gross = to_decimal(self.limits.invested_cap) * equity - sum(values.values(), ZERO)
        by_sector = self._sector_room(order.symbol, values, equity)
        quantity = min(order.quantity, by_position / price, by_gross / price, by_sector / price)
        if quantity <= 0:
            return ZERO
        spendable = cash - to_decimal(self.limits.cash_buffer) * equity
        needed = -expected_cash(self.costs, instrument, Side.BUY, quantity, price, volatility)
        if needed > spendable:
            quantity *= max(ZERO, spendable) / needed
        return instrument.round_quantity(quantity)

    def _sector_room(self, symbol: str, values: Mapping[str, Decimal], equity: Decimal) -> Decimal:
        """Currency that the symbol's sector may still take; all of the equity for a symbol without one."""
        sectors = self.limits.sectors
        if symbol not in sectors:
            return equity
        held = sum((value for name, value in values.items() if sectors.get(name) == sectors[symbol]), ZERO)
        return to_decimal(self.limits.sector_cap) * equity - held


def _claimed(intent: OrderIntent) -> Decimal:
    """Units of the decided quantity that an intent has used up or may still use up."""
    if intent.state in (OrderState.DENIED, OrderState.EXPIRED_UNSENT, OrderState.NEVER_ARRIVED, OrderState.REJECTED):
        return intent.filled_quantity
    if intent.state in (OrderState.CANCELED, OrderState.EXPIRED):
        return intent.filled_quantity
    return intent.quantity
