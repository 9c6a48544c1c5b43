"""What the order path may do, told a second time and shorter: the yardstick of the state machine.

It is fed with the rows of the ledger's chains in their order, with what the broker was heard to say, and with the
decisions and limits in force. It keeps its own positions, cash, remaining quantities and trading state, and notes in
`wrong` every row and every request that the rules forbid. Nothing here is shared with the engine, its gates or the
ledger's own sums: only the limits' values and the words for states.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from ordinis.domain.decisions import Decision
from ordinis.domain.limits import Limits

ENDED = {"FILLED", "CANCELED", "REJECTED", "EXPIRED", "DENIED", "EXPIRED_UNSENT", "NEVER_ARRIVED"}
FOLLOWS = {
    "": {"INTENT", "DENIED"},
    "INTENT": {"SENDING", "EXPIRED_UNSENT"},
    "SENDING": {"WORKING", "PARTIAL", "FILLED", "REJECTED", "UNKNOWN"},
    "UNKNOWN": {"WORKING", "PARTIAL", "FILLED", "REJECTED", "CANCELED", "EXPIRED", "NEVER_ARRIVED"},
    "WORKING": {"PARTIAL", "FILLED", "PENDING_CANCEL", "CANCELED", "EXPIRED", "SUSPENDED", "REJECTED"},
    "PARTIAL": {"FILLED", "PENDING_CANCEL", "CANCELED", "EXPIRED", "SUSPENDED"},
    "PENDING_CANCEL": {"WORKING", "PARTIAL", "CANCELED", "FILLED", "EXPIRED"},
    "SUSPENDED": {"WORKING", "PARTIAL", "CANCELED", "EXPIRED"},
}
DOWNWARD = ("ACTIVE", "REDUCING", "HALTED", "KILLED")
ENOUGH, LONG_ENOUGH = 5, timedelta(seconds=120)
TOLERANCE = Decimal("0.01")
"""Of equity: slippage and fees, and a night's move of an order that stayed in doubt over it."""


@dataclass
class Order:
    decision: str
    symbol: str
    side: str
    quantity: Decimal
    state: str = ""
    filled: Decimal = Decimal(0)
    missed: list[datetime] = field(default_factory=list)
    """When the broker said that it does not have the order, since it was last put on the wire."""
    heard: bool = False
    """The broker has told of the order since it was in doubt."""
    said_no: bool = False

    @property
    def live(self) -> bool:
        return self.state not in ENDED

    @property
    def remaining(self) -> Decimal:
        return self.quantity - self.filled


@dataclass
class Reference:
    limits: Limits
    is_open: Callable[[datetime], bool]
    prices: Mapping[str, Decimal] = field(default_factory=dict)
    limits_sha: str = ""
    state: str = "ACTIVE"
    locked: set[str] = field(default_factory=set)
    lifting: set[str] = field(default_factory=set)
    """What a person is about to lift, by symbol; the empty one is the account's state."""
    decisions: dict[str, Decision] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    units: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    cash: Decimal = Decimal(0)
    fills: dict[str, tuple[str, ...]] = field(default_factory=dict)
    last_hash: dict[str, tuple[int, str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    # what the ledger wrote down

    def chained(self, table: str, seq: int, before: str, after: str) -> None:
        place, last = self.last_hash.get(table, (0, "0" * 64))
        self._demand(seq == place + 1 and before == last, f"{table}: row {seq} does not follow row {place}")
        self.last_hash[table] = seq, after

    def moved(self, symbol: str | None, units: Decimal, cash: Decimal) -> None:
        """A deposit, dividend or split was booked."""
        self.cash += cash
        if symbol is not None:
            self.units[symbol] += units

    def controlled(self, symbol: str, state: str) -> None:
        """A row of the trading state: machines move it down, only a person moves it up."""
        before = self.state if not symbol else "HALTED" if symbol in self.locked else "ACTIVE"
        up = DOWNWARD.index(state) < DOWNWARD.index(before)
        self._demand(not up or symbol in self.lifting, f"{symbol or 'trading'} went up to {state} by itself")
        if not symbol:
            self.state = state
        elif state == "ACTIVE":
            self.locked.discard(symbol)
        else:
            self.locked.add(symbol)

    def told(self, coid: str, key: str, payload: str, change: str, at: datetime) -> None:
        """An order event was committed: a fill or a step of the order's life."""
        body, row = json.loads(payload), json.loads(change)
        if key.startswith("fill:"):
            return self._fill(coid, body)
        if "decision_id" in row:
            self.orders[coid] = Order(row["decision_id"], row["symbol"], row["side"], Decimal(row["qty"]))
        order, state = self.orders[coid], body["state"]
        self._demand(state in FOLLOWS.get(order.state, set()), f"{coid}: from {order.state} to {state}")
        if order.state == "UNKNOWN":
            self._leaves_doubt(coid, order, state)
        if state == "SENDING":
            order.state = state
            self._sending(coid, order, at)
        order.state = state
        if state == "INTENT":
            others = [o for o in self.orders.values() if o.live and o.symbol == order.symbol]
            self._demand(len(others) == 1, f"{coid}: {len(others)} live orders in {order.symbol}")
        return None

    def _fill(self, coid: str, body: Mapping[str, str]) -> None:
        sign, quantity = (1 if body["side"] == "buy" else -1), Decimal(body["quantity"])
        self._demand(body["exec_id"] not in self.fills, f"fill {body['exec_id']} was booked twice")
        self.fills[body["exec_id"]] = tuple(
            str(body[name]) for name in ("client_order_id", "symbol", "side", "quantity", "price", "fee", "reverses")
        )
        self.units[body["symbol"]] += sign * quantity
        self.cash -= sign * quantity * Decimal(body["price"]) + Decimal(body["fee"])
        if coid in self.orders:
            self.orders[coid].filled += -quantity if body["reverses"] else quantity

    # what the broker was heard to say

    def heard(self, coid: str) -> None:
        if coid in self.orders:
            self.orders[coid].heard, self.orders[coid].missed = True, []

    def not_found(self, coid: str, at: datetime) -> None:
        if coid in self.orders and at not in self.orders[coid].missed:
            self.orders[coid].missed.append(at)

    # what may be

    def on_the_wire(self, coid: str, symbol: str, side: str, quantity: Decimal, state_before: str, again: bool) -> None:
        """A request leaves for the broker; `again` when it had left before and the broker takes every copy."""
        order = self.orders.get(coid)
        if order is None or order.state not in ("SENDING", "UNKNOWN"):
            return self._demand(False, f"{side} {symbol} {coid} is on the wire and not committed as sent")
        order.missed, order.heard = [], False
        same = (order.symbol, order.side, order.quantity) == (symbol, side, quantity)
        self._demand(same, f"{coid} is on the wire as another order")
        self._demand(not again, f"{coid} was sent twice to a broker that takes every copy")
        return self._demand(self._state_allows(state_before, side), f"{side} {coid} on the wire while {state_before}")

    def _sending(self, coid: str, order: Order, at: datetime) -> None:
        decision, what = self.decisions[order.decision], f"{order.side} {order.symbol} {coid[:10]} was sent"
        self._demand(self._state_allows(self.state, order.side), f"{what} while trading was {self.state}")
        self._demand(order.symbol not in self.locked, f"{what} while the symbol was locked")
        self._demand(self.is_open(at), f"{what} while the exchange was closed")
        self._demand(decision.as_of <= at <= decision.expires_at, f"{what} outside the time of its decision")
        self._demand(decision.status == "APPROVED", f"{what} for a decision that is {decision.status}")
        self._demand(decision.limits_sha == self.limits_sha, f"{what} under limits that are no longer in force")
        planned = {o.symbol: o for o in decision.orders if o.side.value == order.side}
        of_it = {c: o for c, o in self.orders.items() if o.decision == decision.id}
        used = sum((o.quantity if o.live else o.filled for o in of_it.values() if o.symbol == order.symbol), Decimal(0))
        most = planned[order.symbol].quantity if order.symbol in planned else Decimal(0)
        self._demand(order.quantity > 0 and used <= most, f"{what}: {used} asked for in all, {most} decided")
        if order.side == "sell":
            held = self.units[order.symbol]
            return self._demand(order.quantity <= held, f"{what}: {order.quantity} of {held} held")
        for sale in (o for o in decision.orders if o.side.value == "sell"):
            ended = [not o.live for o in of_it.values() if (o.symbol, o.side) == (sale.symbol, "sell")]
            self._demand(bool(ended) and all(ended), f"{what} before the sale of {sale.symbol} had ended")
        return self._worst_case(what, order.symbol)

    def _worst_case(self, what: str, symbol: str) -> None:
        """Limits with every live buy counted as filled."""
        buys = [o for o in self.orders.values() if o.live and o.side == "buy"]
        worth = {s: held * self.prices[s] for s, held in self.units.items()}
        equity, spent = self.cash + sum(worth.values(), Decimal(0)), Decimal(0)
        for buy in buys:
            worth[buy.symbol] = worth.get(buy.symbol, Decimal(0)) + buy.remaining * self.prices[buy.symbol]
            spent += buy.remaining * self.prices[buy.symbol]
        sectors = self.limits.sectors
        sector = sum((v for s, v in worth.items() if sectors.get(s, s) == sectors.get(symbol, symbol)), Decimal(0))
        for name, value, cap in (
            ("position", worth[symbol], self.limits.position_cap),
            ("sector", sector, self.limits.sector_cap),
            ("book", sum(worth.values(), Decimal(0)), self.limits.invested_cap),
            ("spent cash", equity - (self.cash - spent), 1.0 - self.limits.cash_buffer),
        ):
            most = (Decimal(str(cap)) + TOLERANCE) * equity
            self._demand(value <= most, f"{what}: its {name} may grow to {value:.2f}, {cap} of {equity:.2f} is allowed")

    def _leaves_doubt(self, coid: str, order: Order, state: str) -> None:
        if state == "NEVER_ARRIVED":
            spread = order.missed[-1] - order.missed[0] if order.missed else timedelta(0)
            passed = len(order.missed) >= ENOUGH and spread >= LONG_ENOUGH
            self._demand(passed, f"{coid} was given up after {len(order.missed)} answers over {spread}")
        else:
            self._demand(order.heard and state != "REJECTED", f"{coid} left doubt for {state} without an answer")

    def _state_allows(self, state: str, side: str) -> bool:
        return state == "ACTIVE" or (state == "REDUCING" and side == "sell")

    def _demand(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.wrong.append(otherwise)
