"""The last check of one order, inside the transaction that writes its intent.

The plan passed the rulebook as a whole; a gate looks at one order against the book as it is now, with every live
order counted as if it filled. A gate shrinks a buy to what still fits, lets an order wait, or denies it; it never
enlarges. Numbers in the reasons are those of the order path's design:

    G1 single writer (the ledger's fence, before each write)     G9 pace
    G2 trading state and kill flag                               G10 one live order a symbol
    G3 session, halts, tradability                               G11 cash
    G4 decision in force, its limits, its quantities             G12 regulation of the account
    G5 age and spread of the price                               G13 recent reconciliation, no lock
    G6 price collar                                              G14 clock of the broker
    G7 weights that are numbers and sum to a whole               G15 room on the disk
    G8 position, sector, gross, volume, a person's override
"""

from __future__ import annotations

import json
import math
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from ordinis.clock import TradingCalendar
from ordinis.costs.conditions import MONTH
from ordinis.costs.execution import expected_cash
from ordinis.domain.canonical import plain
from ordinis.domain.decisions import WHOLE, Decision, DecisionStatus
from ordinis.domain.instruments import Instrument
from ordinis.domain.limits import Limits, OrderLimits, TradingState
from ordinis.domain.orders import OrderIntent, OrderState, PlannedOrder, Side
from ordinis.domain.overrides import Override, OverrideKind
from ordinis.domain.portfolio import ZERO
from ordinis.execution.pace import MINUTE, Pace
from ordinis.execution.prices import Prices, is_price
from ordinis.execution.room import WorstCase, room
from ordinis.ports import CostModel, UnitOfWork

DAY_TRADE_SESSIONS = 5
MEGABYTE = 1_000_000
OVERRULED_BY = {
    Side.BUY: frozenset(OverrideKind),
    Side.SELL: frozenset({OverrideKind.PIN, OverrideKind.MIN, OverrideKind.NO_TRADE, OverrideKind.BASELINE}),
}
"""Overrides that end what is left of an older decision."""


@dataclass(frozen=True)
class Passed:
    quantity: Decimal
    """What may be sent: at most what was decided."""
    reserved: Decimal
    """Cash that the order is expected to take, slippage and fee included; zero for a sale."""


@dataclass(frozen=True)
class Denied:
    reason: str
    halts: bool = False
    """Trading as a whole must stop."""


@dataclass(frozen=True)
class Waits:
    """Not now: what is missing may come by itself."""

    reason: str


@dataclass(frozen=True)
class Gates:
    calendar: TradingCalendar
    instruments: Mapping[str, Instrument]
    limits: Limits
    limits_sha: str
    costs: CostModel
    kill_flag: Path | None
    orders: OrderLimits = field(default_factory=OrderLimits)
    folder: Path | None = None
    """Where the ledger's file lies; None where it has no disk of its own to fill."""

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
        """What is asked again just before an order is sent: G2 to G4, G7, the lock and people's overrides."""
        reason = self.stopped(unit, symbol, side) or self.expired(decision, now)
        if reason:
            return reason
        if not self.calendar.is_open(now):
            return "G3: the exchange is closed"
        if decision.status is not DecisionStatus.APPROVED:
            return f"G4: decision {decision.id[:12]} is {decision.status}"
        if decision.limits_sha != self.limits_sha:
            return f"G4: decision {decision.id[:12]} was made under other limits"
        total = sum(decision.weights.values())
        if not all(math.isfinite(weight) and weight >= 0.0 for weight in decision.weights.values()):
            return f"G7: decision {decision.id[:12]} has weights that are negative or not finite"
        if not total <= 1.0 + WHOLE:
            return f"G7: the weights of decision {decision.id[:12]} sum to {total}"
        return _overruled(unit, decision, symbol, side, now)

    def admit(
        self,
        unit: UnitOfWork,
        decision: Decision,
        order: PlannedOrder,
        now: datetime,
        prices: Prices,
        skew: timedelta = timedelta(0),
        own: str = "",
    ) -> Passed | Denied | Waits:
        """Decide what of `order` may be sent.

        Args:
            skew: the broker's clock against ours, either way.
            own: id of the order itself where it has an intent already, which is then not counted against it.
        """
        reason = self.still_valid(unit, decision, order.symbol, order.side, now)
        if reason:
            return Denied(reason)
        live = [i for i in unit.orders.live() if i.client_order_id != own]
        blocking = next((i for i in live if i.symbol == order.symbol), None)
        if blocking is not None:
            return Denied(f"G10: order {blocking.client_order_id} in {order.symbol} is still {blocking.state}")
        tried = [i for i in unit.orders.of(decision.id, order.symbol) if i.client_order_id != own]
        left = decision.decided_quantity(order.symbol) - sum((_claimed(unit, i) for i in tried), ZERO)
        if not (order.quantity.is_finite() and ZERO < order.quantity <= left):
            return Denied(f"G4: {order.quantity} asked, {left} of the decided quantity left")
        unfit = self._market(unit, order, now, prices)
        if unfit is not None:
            return unfit
        pace = Pace([i for i in _underway(unit, live, now) if i.client_order_id != own], self.orders)
        if pace.runs_away():
            return Denied(f"{pace.crowded()}, of several decisions", halts=True)
        repeated, crowded = pace.repeated(tried, order, now), pace.crowded()
        if repeated or crowded:
            return Denied(repeated) if repeated else Waits(crowded)
        if order.side is Side.SELL:
            held = unit.book.holdings().get(order.symbol, ZERO)
            return Passed(order.quantity, ZERO) if order.quantity <= held else Denied(f"G8: short sale, {held} held")
        risky = self._no_new_risk(unit, now, skew)
        return Denied(risky) if risky else self._sized(unit, order, now, prices, live, pace)

    def _market(self, unit: UnitOfWork, order: PlannedOrder, now: datetime, prices: Prices) -> Denied | Waits | None:
        """G3, G5, G6, G13: whether the moment is right for this order."""
        symbol, limits = order.symbol, self.orders
        agreed = unit.book.watermark()
        if agreed is None or (now - agreed).total_seconds() > limits.reconciled_within_seconds:
            return Waits(f"G13: ledger and broker last agreed {'never' if agreed is None else agreed.isoformat()}")
        instrument = self.instruments.get(symbol)
        if instrument is None or not instrument.tradable:
            return Denied(f"G3: {symbol} cannot be traded")
        quote = prices.quotes.get(symbol)
        if quote is None:
            return Waits(f"G5: {symbol} has no price")
        age = (now - quote.at).total_seconds()
        if not -limits.skew_seconds <= age <= limits.price_age_seconds:
            return Waits(f"G5: the price of {symbol} is {age:.1f} s old")
        if not is_price(quote.price):
            return Denied(f"G5: the price of {symbol} is {quote.price}")
        if quote.halted:
            return Waits(f"G3: trading in {symbol} is halted")
        spread = quote.spread
        if limits.spread_cap is not None and spread is not None and not _within(spread, limits.spread_cap):
            return Waits(f"G5: the spread of {symbol} is {spread:.2%}")
        collar = limits.buy_collar if order.side is Side.BUY else limits.sell_collar
        known = {"its last close": prices.closes.get(symbol), "the price that was decided on": order.reference_price}
        for name, price in known.items():
            if collar is not None and not (is_price(price) and abs(float(quote.price / price) - 1) <= collar):
                return Denied(f"G6: the price of {symbol} is {quote.price}, {name} {price}")
        return None

    def _no_new_risk(self, unit: UnitOfWork, now: datetime, skew: timedelta) -> str:
        """G12, G14, G15: why nothing may be bought now; empty when it may."""
        if skew.total_seconds() > self.orders.skew_seconds:
            return f"G14: the broker's clock differs from ours by {skew.total_seconds():.0f} s"
        if self.folder is not None:
            free = shutil.disk_usage(self.folder).free // MEGABYTE
            if free < self.orders.free_disk_mb:
                return f"G15: {free} MB left where the ledger lies, {self.orders.free_disk_mb} MB needed"
        if self.orders.day_trades is not None:
            session = self.calendar.session_of(now)
            first = self.calendar.opens(self.calendar.back(session, DAY_TRADE_SESSIONS - 1))
            sides: dict[tuple[str, date], set[Side]] = defaultdict(set)
            for fill in unit.book.fills(first):
                sides[fill.symbol, self.calendar.session_of(fill.at)].add(fill.side)
            trades = sum(traded == set(Side) for traded in sides.values())
            if trades >= self.orders.day_trades:
                return f"G12: {trades} day trades in {DAY_TRADE_SESSIONS} sessions"
        return ""

    def _sized(
        self,
        unit: UnitOfWork,
        order: PlannedOrder,
        now: datetime,
        prices: Prices,
        live: Sequence[OrderIntent],
        pace: Pace,
    ) -> Passed | Denied | Waits:
        """G8, G9, G11: the part of a buy that fits."""
        ceilings = [row.ceiling for row in unit.control.overrides(now) if row.symbol == order.symbol]
        instrument, book = self.instruments[order.symbol], WorstCase.of(unit, live, prices)
        if prices.conditions.dried_up(order.symbol):
            return Denied(f"G8: no trade in {order.symbol} is known of for {MONTH} sessions")
        quantity = room(
            order,
            book,
            prices,
            instrument,
            self.limits,
            self.costs,
            ceiling=min((c for c in ceilings if c is not None), default=1.0),
            participation_cap=self.orders.participation_cap,
        )
        price, left = prices.of(order.symbol), pace.left(book.equity)
        if left is not None and quantity * price > left:
            if pace.bought:
                return Waits(f"G9: {pace.bought:.2f} bought within a minute")
            quantity = instrument.round_quantity(left / price)
        if quantity <= 0:
            return Denied(f"G8/G11: no room for {order.symbol} under its caps, the cash buffer or a person's ceiling")
        return Passed(quantity, -expected_cash(self.costs, instrument, Side.BUY, quantity, price, prices.conditions))


def _within(spread: Decimal, cap: float) -> bool:
    return spread.is_finite() and spread <= cap


def _overruled(unit: UnitOfWork, decision: Decision, symbol: str, side: Side, now: datetime) -> str:
    """Why people's overrides do not allow such an order; empty when they do."""
    for row in (row for row in unit.control.overrides(now) if row.symbol in (symbol, "")):
        told = f"G8: override {row.kind} of {row.by} until {row.expires_at.isoformat()}: {row.reason}"
        shrinks_only = row.kind in (OverrideKind.REDUCE_ONLY, OverrideKind.FLAT)
        if row.kind is OverrideKind.NO_TRADE or (shrinks_only and side is Side.BUY):
            return told
        if row.kind in OVERRULED_BY[side] and not _knew(unit, decision, row):
            return f"{told}; decision {decision.id[:12]} was made without it"
    return ""


def _knew(unit: UnitOfWork, decision: Decision, row: Override) -> bool:
    """Whether `decision` was made under this override: its inputs say so, where two clocks might not."""
    body = json.loads(unit.decisions.inputs(decision.inputs_sha))
    return plain(row) in body.get("overrides", [])


def _underway(unit: UnitOfWork, live: Sequence[OrderIntent], now: datetime) -> list[OrderIntent]:
    """What was sent within the last minute, and what is about to be."""
    return [*unit.orders.sent_since(now - MINUTE), *(i for i in live if i.sent_at is None)]


def taken_back(unit: UnitOfWork, intent: OrderIntent) -> Decimal:
    """Units that the venue has taken back from an order: they may come again, corrected, after all else is known."""
    sign, kept, most = (1 if intent.side is Side.BUY else -1), ZERO, ZERO
    for fill in unit.book.fills_of(intent.client_order_id):
        kept += sign * fill.units
        most = max(most, kept)
    return most - kept


def _claimed(unit: UnitOfWork, intent: OrderIntent) -> Decimal:
    """Units of the decided quantity that an intent has used up or may still use up."""
    ended = (
        OrderState.DENIED,
        OrderState.EXPIRED_UNSENT,
        OrderState.NEVER_ARRIVED,
        OrderState.REJECTED,
        OrderState.CANCELED,
        OrderState.EXPIRED,
    )
    if intent.state not in ended:
        return intent.quantity
    return intent.filled_quantity + taken_back(unit, intent)
