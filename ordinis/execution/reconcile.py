"""The ledger against the broker's book: at every start and before every decision.

The broker's truth has three values: known, unknown, stale. A query that failed is never an empty answer, so a
reconciliation with one such query fails as a whole and nothing is traded. What the broker knows and the ledger does
not (a fill after a crash, a deposit, a split) is booked. A difference that remains stops trading; one that remains
for two minutes locks its symbol until a person has looked, since a broker may report an execution that late. Several
locks, a large difference, one in the cash balance or a clock that is far off halt the whole account.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from ordinis.domain.limits import TradingState
from ordinis.domain.orders import LIVE, BrokerOrder, Fill, Known, OrderState, QueryOutcome
from ordinis.domain.portfolio import ZERO, Movement
from ordinis.errors import BrokerUnavailable, ClocksDiffer, ConfigurationError, NotAdopted, NotReconciled
from ordinis.execution.intents import OrderEngine
from ordinis.execution.killpoints import KillPoint
from ordinis.execution.observing import QUARANTINE
from ordinis.execution.wire import ENGINE, accepted
from ordinis.governance.breakers import CLOCK, RECONCILIATION, lower
from ordinis.ports import ControlRow, UnitOfWork

logger = logging.getLogger(__name__)
T = TypeVar("T")
OVERLAP, FURTHER_BACK = timedelta(days=1), timedelta(days=30)
"""How far before the last agreement the broker is asked again, and how much further where something differs."""
NOTED_SKEW = timedelta(seconds=2)
EPOCH = datetime(1990, 1, 1, tzinfo=UTC)
CASH_TOLERANCE = Decimal("0.01")
PATIENCE = {False: QUARANTINE, True: timedelta(minutes=10)}
"""How long a difference may stay, by whether an order in the symbol is live and may yet explain it."""
CASH = ""
"""Where a symbol is expected: the difference is in the cash balance."""


@dataclass(frozen=True)
class Reconciliation:
    """What was found and put right."""

    fills: int
    movements: int
    resolved: int


def reconcile(engine: OrderEngine, *, finish: bool = False, lifting: str = "") -> Reconciliation:
    """Bring the ledger up to the broker's book; nothing is sent before the two agree.

    Args:
        finish: once they agree, follow up what a crash left behind. The trading process alone may ask for it.
        lifting: symbol whose lock is about to be lifted: its difference counts, and what is odd about it a person has
            seen.

    Raises:
        BrokerUnavailable: a query failed; nothing may be inferred.
        ConfigurationError: the ledger is of another account than the broker's.
        NotReconciled: clock, positions or cash differ and no fill or movement explains it.
        LeaseLost: another process trades by now.
    """
    ledger, broker, clock = engine.ledger, engine.broker, engine.clock
    # A process that was replaced while it hung should say that, and not how its clock differs from the broker's.
    ledger.renew()
    account = known(broker.account(), "account")
    if account.account != ledger.account:
        raise ConfigurationError("account", f"the broker's is {account.account}, the ledger's is {ledger.account}")
    _compare_clocks(engine)
    with ledger.begin(write=False) as unit:
        watermark, live, locks = unit.book.watermark(), unit.orders.live(), unit.control.locks()
    started = clock.now()
    # What would explain a lock may be as old as the lock; a clock that was set back has left a watermark ahead of it.
    since = EPOCH if watermark is None else min([started, watermark, *(row.at for row in locks)]) - OVERLAP
    moved, fills, odd = _caught_up(engine, since, lifting)
    positions, cash = known(broker.positions(), "positions"), known(broker.account(), "account").cash
    with ledger.begin(write=False) as unit:
        differ = bool(_differences(unit, positions, cash, {}))
    if differ and watermark is not None:
        # A broker may tell a dividend or a correction weeks late, under the day for which it was.
        more_moved, more_fills, odd = _caught_up(engine, since - FURTHER_BACK, lifting)
        moved, fills = moved + more_moved, fills + more_fills
        positions, cash = known(broker.positions(), "positions"), known(broker.account(), "account").cash
    with ledger.begin() as unit:
        differences = _differences(unit, positions, cash, odd)
        stay = _lock_what_remains(engine, unit, differences)
        locked = {row.symbol for row in unit.control.locks()}
        if differences.keys() <= locked:
            unit.book.set_watermark(started)
        unit.commit()
    engine.kill_point(KillPoint.COMPARED)
    if stay:
        _halt_if_too_much(engine, differences, stay, positions)
    open_ones = [text for symbol, text in differences.items() if symbol == lifting or symbol not in locked]
    if open_ones:
        raise NotReconciled(open_ones)
    engine.kill_point(KillPoint.RECONCILED)
    if finish and live:
        engine.finish()
    if fills or live:
        logger.warning("reconciled fills=%d movements=%d resolved=%d", fills, moved, len(live))
    return Reconciliation(fills, moved, len(live))


def adopt(engine: OrderEngine, symbol: str, kind: str, *, reason: str, by: str) -> Movement:
    """Take the broker's word, as a person asks: what differs in `symbol`, or in cash where it is empty, is booked.

    Only for what has stayed: the engine must have locked the symbol, or halted the account, for that very difference,
    and no order may be live that could yet explain it. Whatever the broker still tells by itself is booked first.
    Locks and trading states stay as they are.

    Args:
        kind: "correction", which is profit or loss, or one of FLOWS, which is neither.

    Raises:
        NotAdopted: says which of this does not hold.
        BrokerUnavailable, ClocksDiffer: the broker cannot be asked, or not be believed.
    """
    name = symbol or "cash"
    try:
        reconcile(engine)
    except ClocksDiffer:
        raise
    except NotReconciled as error:
        logger.info("%s", error)
    with engine.ledger.begin(write=False) as unit:
        row, live = unit.control.state(symbol), [i for i in unit.orders.live() if symbol in ("", i.symbol)]
        before = unit.book.holdings().get(symbol, ZERO) if symbol else unit.book.cash()
    if row is None or not _for_the_difference(row, symbol):
        raise NotAdopted(name, "nothing is locked or halted for it: a difference that stays for two minutes is")
    if live:
        raise NotAdopted(
            name, f"order {live[0].client_order_id} in {live[0].symbol} is {live[0].state} and may explain it"
        )
    positions, cash = known(engine.broker.positions(), "positions"), known(engine.broker.account(), "account").cash
    now = engine.clock.now()
    with engine.ledger.begin() as unit:
        here = unit.book.holdings().get(symbol, ZERO) if symbol else unit.book.cash()
        there = positions.get(symbol, ZERO) if symbol else cash
        if here != before:
            raise NotAdopted(name, f"the ledger changed meanwhile, from {before} to {here}: try again")
        if here == there:
            raise NotAdopted(name, "ledger and broker agree on it")
        gap, place = there - here, unit.book.last_movement() + 1
        activity = f"{kind} {place} of {name} by {by} at {now.isoformat()}: {reason}"
        units, money = (gap, ZERO) if symbol else (ZERO, gap)
        movement = Movement(engine.ledger.account, activity, kind, money, now, symbol or None, units)
        if not unit.book.movement(movement):
            raise NotAdopted(name, f"there is a movement {activity!r} already")
        unit.commit()
    engine.kill_point(KillPoint.MOVED)
    logger.warning("%s: %s in the ledger, %s at the broker", activity, here, there)
    return movement


def _for_the_difference(row: ControlRow, symbol: str) -> bool:
    if symbol:
        return row.state is TradingState.HALTED and row.by == ENGINE
    halted = row.state is TradingState.HALTED and row.by == RECONCILIATION and row.reason.startswith("cash: ")
    # A kill hides what the engine would have said.
    return halted or row.state is TradingState.KILLED


def _caught_up(engine: OrderEngine, since: datetime, seen: str) -> tuple[int, int, dict[str, str]]:
    """Book what the broker tells; how many movements and fills were new, and what is odd, by symbol."""
    moved = _book_movements(engine, since)
    # Orders first: a fill then finds its order acknowledged, with the broker's own id.
    engine.look()
    executions = known(engine.broker.fills(since), "fills")
    fills = engine.book(executions, source="reconcile")
    strays = _end_strays(engine, known(engine.broker.open_orders(), "open orders"))
    overfilled = {symbol: text for symbol, text in _overfilled(engine, executions).items() if symbol != seen}
    return moved, fills, overfilled | strays


def _compare_clocks(engine: OrderEngine) -> None:
    now = engine.clock.now()
    skew = engine.health.skew = abs(known(engine.broker.now(), "clock") - now)
    if skew > NOTED_SKEW:
        logger.warning("the broker's clock differs by %.1f s", skew.total_seconds())
    if skew.total_seconds() > engine.breakers.skew_seconds:
        reason = f"the clocks differ by {skew.total_seconds():.0f} s"
        with engine.ledger.begin() as unit:
            if lower(unit, TradingState.HALTED, f"{reason}: set this machine's clock", by=CLOCK, at=now):
                unit.commit()
        engine.kill_point(KillPoint.JUDGED)
        raise ClocksDiffer([reason])


def known(outcome: QueryOutcome[T], query: str) -> T:
    """The value of a known answer; BrokerUnavailable for any other."""
    if isinstance(outcome, Known):
        return outcome.value
    raise BrokerUnavailable(query, getattr(outcome, "reason", "the answer is stale"))


def _book_movements(engine: OrderEngine, since: datetime) -> int:
    movements = known(engine.broker.movements(since), "movements")
    if not movements:
        return 0
    with engine.ledger.begin() as unit:
        moved = sum(unit.book.movement(movement) for movement in movements)
        unit.commit()
    engine.kill_point(KillPoint.MOVED)
    return moved


def _overfilled(engine: OrderEngine, executions: Sequence[Fill]) -> dict[str, str]:
    """Orders with more executed than was ordered, by symbol: for a moment a correction may be told before its bust.

    One that a person has seen, and lifted the lock for, is as it is.
    """
    odd = {}
    latest = {fill.client_order_id: fill.at for fill in sorted(executions, key=lambda fill: fill.at)}
    with engine.ledger.begin(write=False) as unit:
        for coid, at in latest.items():
            intent = None if coid is None else unit.orders.get(coid)
            if intent is None or accepted(unit.control.state(intent.symbol), at):
                continue
            if intent.filled_quantity > intent.quantity:
                executed = f"{intent.filled_quantity} executed of {intent.quantity} ordered"
                odd[intent.symbol] = f"{intent.symbol}: order {coid} has {executed}"
    return odd


def _end_strays(engine: OrderEngine, listed: Sequence[BrokerOrder]) -> dict[str, str]:
    """End what is open at the broker and ended here; return what nobody can explain yet, by symbol."""
    odd = {}
    for order in listed:
        with engine.ledger.begin(write=False) as unit:
            intent = unit.orders.get(order.client_order_id)
        if intent is None:
            odd[order.symbol] = f"{order.symbol}: order {order.client_order_id} at the broker is not ours"
        elif intent.state in LIVE:
            continue
        elif order.filled_quantity < intent.filled_quantity:
            counted = f"{intent.filled_quantity} executed in the ledger, {order.filled_quantity} at the broker"
            odd[order.symbol] = f"{order.symbol}: order {order.client_order_id} has {counted}"
        elif intent.state is OrderState.FILLED:
            # An execution was taken back, which has opened the order again: what is missing is for the next decision.
            engine.send_cancel(intent)
        else:
            engine.end_stray(intent, f"is open at the broker and {intent.state} in the ledger")
    return odd


def _differences(
    unit: UnitOfWork, positions: Mapping[str, Decimal], cash: Decimal, odd: Mapping[str, str]
) -> dict[str, str]:
    held, kept = unit.book.holdings(), unit.book.cash()
    differences = dict(odd)
    for symbol in sorted(held.keys() | positions.keys()):
        here, there = held.get(symbol, ZERO), positions.get(symbol, ZERO)
        if here != there:
            differences[symbol] = f"{symbol}: {here} in the ledger, {there} at the broker"
    if abs(kept - cash) > CASH_TOLERANCE:
        differences[CASH] = f"cash: {kept} in the ledger, {cash} at the broker"
    return differences


def _lock_what_remains(engine: OrderEngine, unit: UnitOfWork, differences: Mapping[str, str]) -> list[str]:
    """Remember since when each difference has been there; lock the symbols of those that will not go away."""
    now, doubts = engine.clock.now(), engine.doubts
    busy = {intent.symbol for intent in unit.orders.live()}
    # A person's lock gives way to the reason that has to be dealt with before it can be lifted.
    locked = {row.symbol for row in unit.control.locks() if row.by == ENGINE}
    found = {(symbol, symbol in busy) for symbol in differences}
    for key in doubts.keys() - found:
        del doubts[key]
    doubts.update({key: min(doubts.get(key, now), now) for key in found})
    stay = [symbol for symbol, live in sorted(found) if now - doubts[symbol, live] >= PATIENCE[live]]
    for symbol in (symbol for symbol in stay if symbol != CASH and symbol not in locked):
        unit.control.set(ControlRow(TradingState.HALTED, differences[symbol], ENGINE, now, symbol))
        logger.error("symbol locked %s", differences[symbol])
    return stay


def _halt_if_too_much(
    engine: OrderEngine, differences: Mapping[str, str], stay: Sequence[str], positions: Mapping[str, Decimal]
) -> None:
    """Halt the account when what nobody can explain is in the cash, in several symbols, or worth too much."""
    limits = engine.breakers
    with engine.ledger.begin(write=False) as unit:
        state, locks = unit.control.state(), unit.control.locks()
        held, cash = unit.book.holdings(), unit.book.cash()
    gaps = {s: abs(held.get(s, ZERO) - positions.get(s, ZERO)) for s in stay if s != CASH}
    reason = ""
    if CASH in stay:
        reason = differences[CASH]
    elif limits.locks is not None and len(locks) >= limits.locks:
        reason = f"{len(locks)} symbols are locked: {', '.join(row.symbol for row in locks)}"
    elif limits.unexplained is not None:
        share = _share(engine, gaps, held, cash)
        if not share <= limits.unexplained:
            told = "; ".join(differences[symbol] for symbol in stay)
            reason = f"{share:.2%} of equity is unexplained, the limit is {limits.unexplained:.2%}: {told}"
    if reason:
        with engine.ledger.begin() as unit:
            now = engine.clock.now()
            lowered = lower(unit, TradingState.HALTED, reason, by=RECONCILIATION, at=now)
            if state is not None and state.state is TradingState.HALTED and state.by != RECONCILIATION:
                # It is halted already, for something that a person may lift; this has to be dealt with first.
                unit.control.set(ControlRow(TradingState.HALTED, reason, RECONCILIATION, now))
                lowered = True
            if lowered:
                unit.commit()
        engine.kill_point(KillPoint.JUDGED)


def _share(engine: OrderEngine, gaps: Mapping[str, Decimal], held: Mapping[str, Decimal], cash: Decimal) -> float:
    """Value of unexplained units as a fraction of equity; infinite where it cannot be told."""
    quotes = engine.broker.quotes(sorted({*held, *gaps}))
    if not isinstance(quotes, Known) or not {*held, *gaps} <= quotes.value.keys():
        return math.inf
    price = {symbol: quote.price for symbol, quote in quotes.value.items()}
    equity = cash + sum((units * price[symbol] for symbol, units in held.items()), ZERO)
    value = sum((units * price[symbol] for symbol, units in gaps.items()), ZERO)
    return float(value / equity) if equity > 0 else math.inf
