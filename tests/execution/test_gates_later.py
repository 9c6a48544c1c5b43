"""Gates on what is not new: a person's wishes, orders found after a restart, and what was filled and taken back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from ordinis.domain.canonical import canonical, digest
from ordinis.domain.limits import Limits
from ordinis.domain.market import Quote
from ordinis.domain.orders import Fill, OrderState, Side
from ordinis.domain.overrides import Override, OverrideKind
from ordinis.execution.gates import Denied, Passed
from ordinis.execution.prices import Prices
from ordinis.execution.reconcile import reconcile
from ordinis.ports import OrderEvent
from tests.brokers.market import CALENDAR, TODAY
from tests.execution.judging import (
    HOUR,
    INSTANT,
    MINUTE,
    SECOND,
    ZERO,
    bought,
    judged,
    passes,
    valid,
    wish,
)
from tests.execution.world import World


@pytest.mark.parametrize(
    ("kind", "value", "buy", "sell"),
    [
        (OverrideKind.NO_TRADE, None, False, False),
        (OverrideKind.REDUCE_ONLY, None, False, True),
        (OverrideKind.MAX, 0.5, True, True),
        (OverrideKind.PIN, 0.3, True, True),
        (OverrideKind.MIN, 0.3, True, True),
    ],
)
def test_overrides_are_asked_when_an_order_is_sent(
    world: World, kind: OverrideKind, value: float | None, buy: bool, sell: bool
) -> None:
    bought(world, quantity="10")
    wish(world, kind, value)
    assert passes(judged(world)) is buy
    assert passes(judged(world, Side.SELL)) is sell


@pytest.mark.parametrize(
    ("kind", "value", "symbol", "buy", "sell"),
    [
        (OverrideKind.MAX, 0.5, "AAPL", False, True),
        (OverrideKind.PIN, 0.3, "AAPL", False, False),
        (OverrideKind.MIN, 0.3, "AAPL", False, False),
        (OverrideKind.BASELINE, None, "", False, False),
        (OverrideKind.FLAT, None, "", False, True),
        (OverrideKind.NO_TRADE, None, "KO", True, True),
    ],
)
def test_a_wish_that_is_newer_than_the_decision_ends_what_is_left_of_it(
    world: World, kind: OverrideKind, value: float | None, symbol: str, buy: bool, sell: bool
) -> None:
    bought(world, quantity="10")
    wish(world, kind, value, symbol=symbol, later=SECOND)
    assert passes(judged(world, later=SECOND)) is buy
    assert passes(judged(world, Side.SELL, later=SECOND)) is sell


def test_a_decision_whose_inputs_say_nothing_of_overrides_was_made_without_them(world: World) -> None:
    inputs = canonical({"as_of": "long ago"})
    bare = replace(
        world.decide(as_of=world.clock.now() - HOUR), id="bare", as_of=world.clock.now(), inputs_sha=digest(inputs)
    )
    with world.ledger.begin() as unit:
        unit.decisions.add(bare, inputs, [], [])
        unit.commit()
    wish(world, OverrideKind.MAX, 0.5)
    verdict = judged(world, decided=lambda decision: replace(decision, inputs_sha=digest(inputs)))
    assert isinstance(verdict, Denied)
    assert verdict.reason.endswith("was made without it")


def test_a_ceiling_of_a_person_shrinks_a_buy_and_ends_with_its_time(world: World) -> None:
    wish(world, OverrideKind.MAX, 0.03)
    verdict = judged(world)
    assert isinstance(verdict, Passed)
    assert 0 < verdict.quantity * world.prices().of("AAPL") <= 300
    at = CALENDAR.trading_instant(TODAY) - HOUR
    with world.ledger.begin() as unit:
        unit.control.override(Override("AAPL", OverrideKind.MAX, 0.03, "anna", "over", at, at + MINUTE))
        unit.commit()
    assert judged(world).quantity == 10  # type: ignore[union-attr]


@pytest.mark.parametrize("later", [ZERO, INSTANT, -HOUR], ids=["same instant", "later", "by a clock that is behind"])
def test_a_decision_knows_the_wishes_in_its_inputs_and_no_others_whatever_the_clocks_say(
    world: World, later: timedelta
) -> None:
    wish(world, OverrideKind.MAX, 0.5)
    decision = world.decide(("AAPL", Side.BUY, "10"))
    assert valid(world, decision) == ""
    at = world.clock.now() + later
    with world.ledger.begin() as unit:
        unit.control.override(Override("AAPL", OverrideKind.MAX, 0.4, "bert", "a doubt", at, at + 2 * HOUR))
        unit.commit()
    told = f"G8: override max of bert until {(at + 2 * HOUR).isoformat()}: a doubt"
    assert valid(world, decision, INSTANT) == f"{told}; decision {decision.id[:12]} was made without it"


def test_an_intent_found_after_a_restart_passes_all_the_gates_again(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "10"))
    engine, now = world.engine(), world.clock.now()
    with world.ledger.begin() as unit:
        engine._written(unit, decision, decision.orders[0], 1, Passed(Decimal(10), Decimal(601)))
        unit.commit()
    reconcile(engine, finish=True)
    assert world.states() == {"AAPL": OrderState.INTENT}
    old = replace(world.prices(), quotes={"AAPL": Quote("AAPL", world.prices().of("AAPL"), now - HOUR)})
    assert not engine.execute(decision, old)
    assert world.states() == {"AAPL": OrderState.INTENT}
    dear = Prices({"AAPL": Quote("AAPL", Decimal(66), now)}, world.prices().closes, world.prices().conditions)
    assert engine.execute(decision, dear)
    assert world.states() == {"AAPL": OrderState.EXPIRED_UNSENT}
    assert world.venue.positions().value == {}


def test_an_intent_that_no_longer_fits_is_not_sent(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "50"))
    engine = world.engine()
    with world.ledger.begin() as unit:
        engine._written(unit, decision, decision.orders[0], 1, Passed(Decimal(50), Decimal(3001)))
        unit.commit()
    tight = replace(engine, gates=replace(engine.gates, limits=Limits(0.1, 0.9, 0.1, 1.0)))
    assert tight.execute(decision, world.prices())
    assert world.states() == {"AAPL": OrderState.EXPIRED_UNSENT}


def test_what_would_wait_for_ever_is_denied_at_the_end(world: World) -> None:
    decision, prices = world.decide(("AAPL", Side.BUY, "10")), replace(world.prices(), quotes={})
    assert not world.engine().execute(decision, prices)
    assert world.states() == {}
    assert world.engine().execute(decision, prices, last=True)
    assert world.states() == {"AAPL": OrderState.DENIED}
    with world.ledger.begin(write=False) as unit:
        [order] = unit.orders.all()
        [event] = unit.orders.events(order.client_order_id)
    assert event["payload"]["reason"] == "G5: AAPL has no price"


def test_what_was_filled_and_then_taken_back_is_not_bought_again(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "10"))
    assert world.engine().execute(decision, world.prices())
    now = world.clock.now()
    with world.ledger.begin() as unit:
        [fill] = unit.book.fills()
        back = replace(fill, exec_id="bust", side=Side.SELL, reverses=fill.exec_id)
        unit.book.fill(back, source="poll", received_at=now)
        [intent] = unit.orders.all()
        verdict = world.engine().gates.admit(unit, decision, decision.orders[0], now, world.prices())
    assert (intent.state, intent.filled_quantity) == (OrderState.FILLED, 0)
    assert verdict == Denied("G4: 10 asked, 0 of the decided quantity left")


@pytest.mark.parametrize(("side", "other"), [(Side.BUY, Side.SELL), (Side.SELL, Side.BUY)])
def test_what_an_order_that_ended_early_had_taken_back_may_come_again_corrected(
    world: World, side: Side, other: Side
) -> None:
    """The venue takes six back; the same six at another price may be told later, when the rest was sent again."""
    if side is Side.SELL:
        bought(world)
        world.clock.advance(world.clock.now() + INSTANT)
    decision, engine, now = world.decide(("AAPL", side, "10")), world.engine(), world.clock.now()
    order = decision.orders[0]
    with world.ledger.begin() as unit:
        intent = engine._written(unit, decision, order, 1, Passed(Decimal(10), Decimal(601)))
        coid = intent.client_order_id
        for state in (OrderState.SENDING, OrderState.WORKING):
            unit.orders.move(coid, state, OrderEvent(f"{coid}:{state}", "local", now, now, {}))
        filled = Fill("sim", "x1", coid, "AAPL", side, Decimal(6), Decimal(60), Decimal(0), now)
        unit.book.fill(filled, source="poll", received_at=now)
        unit.orders.move(coid, OrderState.CANCELED, OrderEvent(f"{coid}:C", "poll", now, now, {}))
        back = replace(filled, exec_id="x1-bust", side=other, reverses="x1")
        unit.book.fill(back, source="poll", received_at=now)
        asked = {
            quantity: engine.gates.admit(
                unit, decision, replace(order, quantity=Decimal(quantity)), now, world.prices()
            )
            for quantity in (10, 5, 4)
        }
    assert asked[10] == Denied("G4: 10 asked, 4 of the decided quantity left")
    assert asked[5] == Denied("G4: 5 asked, 4 of the decided quantity left")
    assert passes(asked[4])


def test_a_plan_whose_order_was_taken_back_whole_has_nothing_left_to_do(world: World) -> None:
    decision, engine, now = world.decide(("AAPL", Side.BUY, "10")), world.engine(), world.clock.now()
    with world.ledger.begin() as unit:
        coid = engine._written(unit, decision, decision.orders[0], 1, Passed(Decimal(10), Decimal(601))).client_order_id
        for state in (OrderState.SENDING, OrderState.WORKING, OrderState.CANCELED):
            unit.orders.move(coid, state, OrderEvent(f"{coid}:{state}", "local", now, now, {}))
        late = Fill("sim", "x1", coid, "AAPL", Side.BUY, Decimal(10), Decimal(60), Decimal(0), now)
        unit.book.fill(late, source="poll", received_at=now)
        unit.book.fill(replace(late, exec_id="x2", side=Side.SELL, reverses="x1"), source="poll", received_at=now)
        unit.commit()
    assert engine.execute(decision, world.prices())
    with world.ledger.begin(write=False) as unit:
        assert [intent.attempt for intent in unit.orders.all()] == [1]
