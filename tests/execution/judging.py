"""What the gates say of one order; every test of them asks here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

from ordinis.domain.decisions import Decision
from ordinis.domain.limits import OrderLimits, TradingState
from ordinis.domain.market import Quote
from ordinis.domain.orders import PlannedOrder, Side
from ordinis.domain.overrides import Override, OverrideKind
from ordinis.execution.gates import Denied, Gates, Passed, Waits
from ordinis.ports import ControlRow
from tests.execution.world import PACED, World

ZERO, INSTANT, SECOND, MINUTE, HOUR = (
    timedelta(0),
    timedelta(microseconds=1),
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
)
Verdict = Passed | Denied | Waits


def judged(
    world: World,
    side: Side = Side.BUY,
    quantity: str = "10",
    *,
    orders: OrderLimits = PACED,
    change: Callable[[Gates], Gates] = lambda gates: gates,
    decided: Callable[[Decision], Decision] = lambda decision: decision,
    quote: Callable[[Quote], Quote] = lambda quote: quote,
    planned: Callable[[PlannedOrder], PlannedOrder] = lambda order: order,
    skew: timedelta = ZERO,
    later: timedelta = ZERO,
    volumes: Mapping[str, float] = MappingProxyType({}),
) -> Verdict:
    """What the gates say of an order in AAPL of a new decision."""
    world.clock.advance(world.clock.now() + INSTANT)
    decision = decided(world.decide(("AAPL", side, quantity)))
    order = planned(decision.orders[0])
    prices = world.prices()
    dry = frozenset(symbol for symbol, volume in volumes.items() if volume == 0.0)
    conditions = replace(prices.conditions, volumes=volumes, untraded=dry)
    prices = replace(prices, quotes={s: quote(q) for s, q in prices.quotes.items()}, conditions=conditions)
    gates = change(replace(world.engine().gates, orders=orders))
    with world.ledger.begin() as unit:
        return gates.admit(unit, decision, order, world.clock.now() + later, prices, skew)


def passes(verdict: Verdict) -> bool:
    return isinstance(verdict, Passed)


def bought(world: World, symbol: str = "AAPL", quantity: str = "30") -> None:
    world.clock.advance(world.clock.now() + INSTANT)
    assert world.engine().execute(world.decide((symbol, Side.BUY, quantity)), world.prices())


def control(world: World, state: TradingState, symbol: str = "") -> None:
    with world.ledger.begin() as unit:
        unit.control.set(ControlRow(state, "drill", "anna", world.clock.now(), symbol))
        unit.commit()


def wish(
    world: World, kind: OverrideKind, value: float | None = None, *, symbol: str = "AAPL", later: timedelta = ZERO
) -> None:
    at = world.clock.now() + later
    with world.ledger.begin() as unit:
        unit.control.override(Override(symbol, kind, value, "anna", "a hunch", at, at + HOUR))
        unit.commit()


def valid(world: World, decision: Decision, later: timedelta = ZERO) -> str:
    with world.ledger.begin(write=False) as unit:
        return world.engine().gates.still_valid(unit, decision, "AAPL", Side.BUY, world.clock.now() + later)
