"""What is wrong between a ledger and a venue, read from their two books and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from ordinis.brokers.simulated import SimulatedBroker
from ordinis.domain.decisions import Decision
from ordinis.domain.limits import Limits, TradingState
from ordinis.domain.orders import LIVE, TRANSITIONS, BrokerOrder, Fill, OrderIntent, OrderState, Side
from ordinis.domain.portfolio import ZERO, Movement
from ordinis.ports import ControlRow, Ledger

EPOCH = datetime(1990, 1, 1, tzinfo=UTC)
NOTHING_EXECUTED = {
    OrderState.REJECTED,
    OrderState.NEVER_ARRIVED,
    OrderState.DENIED,
    OrderState.EXPIRED_UNSENT,
}
SLACK = Decimal("1.02")
"""Of a limit: slippage, fees and amended prices move a book a little after the gate has looked."""


@dataclass(frozen=True)
class Books:
    """Everything that either side has written down."""

    intents: Sequence[OrderIntent]
    events: Mapping[str, Sequence[Mapping[str, Any]]]
    decisions: Mapping[str, Decision]
    fills: Sequence[Fill]
    cash: Decimal
    holdings: Mapping[str, Decimal]
    control: Sequence[ControlRow]
    locks: Sequence[ControlRow]
    orders: Mapping[str, BrokerOrder]
    executions: Sequence[Fill]
    movements: Sequence[Movement]
    venue_cash: Decimal
    positions: Mapping[str, Decimal]
    received: Sequence[str]

    @property
    def by_id(self) -> dict[str, OrderIntent]:
        return {intent.client_order_id: intent for intent in self.intents}


def read(ledger: Ledger, venue: SimulatedBroker, received: Sequence[str] = ()) -> Books:
    with ledger.begin(write=False) as unit:
        unit.verify()
        intents = unit.orders.all()
        return Books(
            intents=intents,
            events={intent.client_order_id: unit.orders.events(intent.client_order_id) for intent in intents},
            decisions={decision.id: decision for decision in unit.decisions.all()},
            fills=unit.book.fills(),
            cash=unit.book.cash(),
            holdings=unit.book.holdings(),
            control=unit.control.history(),
            locks=unit.control.locks(),
            orders={
                order.client_order_id: order
                for order in (*venue.open_orders().value, *venue.closed_orders(EPOCH).value)
            },
            executions=venue.fills(EPOCH).value,
            movements=venue.movements(EPOCH).value,
            venue_cash=venue.account().value.cash,
            positions=venue.positions().value,
            received=received,
        )


def lost_fills(books: Books) -> int:
    """Executions of the venue that the ledger does not have."""
    return len({f.exec_id for f in books.executions} - {f.exec_id for f in books.fills})


def repeated_orders(books: Books, *, dedupes: bool) -> int:
    """Orders at the venue that the ledger never intended, and those that a venue which keeps every copy got twice."""
    again = sum(times - 1 for times in Counter(books.received).values())
    return len(books.orders.keys() - books.by_id.keys()) + (0 if dedupes else again)


def findings(books: Books, limits: Limits, prices: Mapping[str, Decimal], *, dedupes: bool) -> list[str]:
    """Everything that should not be; empty when both books tell the same, allowed story."""
    return [*differences(books, dedupes=dedupes), *_limits(books, limits, prices)]


def differences(books: Books, *, dedupes: bool) -> list[str]:
    """Everything that should not be at whatever prices."""
    return [
        *fills(books),
        *orders(books, dedupes=dedupes),
        *quantities(books),
        *_times(books),
        *transitions(books),
        *_sells_first(books),
        *(f"{row.symbol} was locked: {row.reason}" for row in books.locks),
    ]


def fills(books: Books) -> Iterator[str]:
    ours, theirs = {f.exec_id: f for f in books.fills}, {f.exec_id: f for f in books.executions}
    yield from (f"fill {name} was lost" for name in sorted(theirs.keys() - ours.keys()))
    yield from (f"fill {name} was invented" for name in sorted(ours.keys() - theirs.keys()))
    yield from (f"fill {name} was changed" for name in ours.keys() & theirs.keys() if ours[name] != theirs[name])
    if books.cash != books.venue_cash:
        yield f"cash is {books.cash} in the ledger and {books.venue_cash} at the venue"
    if dict(books.holdings) != dict(books.positions):
        yield f"holdings are {dict(books.holdings)} in the ledger and {dict(books.positions)} at the venue"


def orders(books: Books, *, dedupes: bool) -> Iterator[str]:
    """Every order of the venue has one row, committed as sent before it was accepted."""
    for name, order in books.orders.items():
        intent = books.by_id.get(name)
        if intent is None:
            yield f"order {name} at the venue was never intended"
        elif intent.sent_at is None or intent.sent_at > order.submitted_at:
            yield f"order {name} was accepted before it was committed as sent"
        elif (intent.symbol, intent.side, intent.quantity) != (order.symbol, order.side, order.quantity):
            yield f"order {name} is not what was intended"
    twice = [name for name, times in Counter(books.received).items() if times > 1]
    if twice and not dedupes:
        yield f"order {twice[0]} was sent twice to a venue that does not deduplicate"


def quantities(books: Books) -> Iterator[str]:
    executed: dict[tuple[str, str], Decimal] = {}
    booked: dict[str, Decimal] = {}
    for fill in books.executions:
        intent = books.by_id.get(fill.client_order_id or "")
        if intent is not None:
            key = intent.decision_id, intent.symbol
            executed[key] = executed.get(key, ZERO) + _counted(fill)
    for fill in books.fills:
        booked[fill.client_order_id or ""] = booked.get(fill.client_order_id or "", ZERO) + _counted(fill)
    for (decision, symbol), units in executed.items():
        decided = books.decisions[decision].decided_quantity(symbol)
        if units > decided:
            yield f"{symbol}: {units} executed where {decided} were decided"
    for intent in books.intents:
        counted = booked.get(intent.client_order_id, ZERO)
        if intent.filled_quantity != counted:
            yield f"order {intent.client_order_id} counts {intent.filled_quantity}, its fills {counted}"
        if counted and intent.state in NOTHING_EXECUTED:
            yield f"order {intent.client_order_id} is {intent.state} and {counted} of it was executed"
        if intent.state in LIVE:
            yield f"order {intent.client_order_id} in {intent.symbol} is still {intent.state}"


def _times(books: Books) -> Iterator[str]:
    """Nothing is sent outside its decision's time, nor what the trading state in force forbids."""
    for intent in books.intents:
        if intent.sent_at is None:
            continue
        decision = books.decisions[intent.decision_id]
        if not decision.as_of <= intent.sent_at <= decision.expires_at:
            yield f"order {intent.client_order_id} was sent outside the time of its decision"
        before = [row for row in books.control if row.at <= intent.sent_at]
        state = before[-1].state if before else TradingState.ACTIVE
        if state is not TradingState.ACTIVE and not (state is TradingState.REDUCING and intent.side is Side.SELL):
            yield f"{intent.side} {intent.client_order_id} was sent while trading was {state}"


def transitions(books: Books) -> Iterator[str]:
    for name, events in books.events.items():
        states = [OrderState(e["payload"]["state"]) for e in events if "state" in e["payload"]]
        for before, after in pairwise(states):
            if before != after and after not in TRANSITIONS.get(before, frozenset()):
                yield f"order {name} went from {before} to {after}"


def _sells_first(books: Books) -> Iterator[str]:
    for decision in books.decisions:
        sold, bought = 0, []
        for intent in (i for i in books.intents if i.decision_id == decision):
            places = {e["payload"].get("state"): e["seq"] for e in books.events[intent.client_order_id]}
            if intent.side is Side.SELL:
                sold = max(sold, *(place for state, place in places.items() if state is not None))
            elif "SENDING" in places:
                bought.append(places["SENDING"])
        if bought and min(bought) < sold:
            yield f"decision {decision[:12]}: a buy was sent before the sells had ended"


def _limits(books: Books, limits: Limits, prices: Mapping[str, Decimal]) -> Iterator[str]:
    """The venue's own story, execution by execution, stays inside the limits.

    A split changes what units are worth, and a sale that is taken back makes the book grow by nobody's doing.
    """
    if any(m.kind == "split" for m in books.movements) or any(f.reverses and f.units > 0 for f in books.executions):
        return
    cash = sum((m.cash for m in books.movements), ZERO)
    units: dict[str, Decimal] = {}
    # Of one instant the sales come first: a buy is not sent before they are booked.
    for fill in sorted(books.executions, key=lambda fill: (fill.at, fill.units > 0)):
        cash += fill.cash
        units[fill.symbol] = units.get(fill.symbol, ZERO) + fill.units
        if fill.units <= 0:
            continue
        equity = cash + sum((held * prices[symbol] for symbol, held in units.items()), ZERO)
        largest = units[fill.symbol] * prices[fill.symbol] / equity
        if largest > Decimal(str(limits.position_cap)) * SLACK:
            yield f"{fill.symbol} grew to {largest:.4f} of equity"
        if equity - cash > Decimal(str(limits.gross_cap)) * SLACK * equity:
            yield f"the book grew to {(equity - cash) / equity:.4f} of equity"


def _counted(fill: Fill) -> Decimal:
    return -fill.quantity if fill.reverses else fill.quantity
