"""How fast orders leave: a large plan is spread over minutes, a runaway is halted, a restart forgets nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ordinis.domain.limits import OrderLimits, TradingState
from ordinis.domain.orders import OrderState, Side
from ordinis.execution.gates import Passed
from ordinis.execution.intents import OrderEngine
from ordinis.execution.pace import Pace
from ordinis.execution.reconcile import reconcile
from ordinis.governance.breakers import PACE
from tests.execution.test_following import Slow
from tests.execution.world import PACED, World

SECOND = timedelta(seconds=1)
SLOW = OrderLimits(reconciled_within_seconds=3600)


def paced(world: World, limits: OrderLimits = SLOW) -> OrderEngine:
    engine = world.engine()
    return replace(engine, gates=replace(engine.gates, orders=limits))


def bought_within(world: World, start: timedelta, end: timedelta, begin: object) -> Decimal:
    with world.ledger.begin(write=False) as unit:
        return sum(
            (
                i.quantity * i.reference_price
                for i in unit.orders.all()
                if i.sent_at is not None and start <= i.sent_at - begin < end  # type: ignore[operator]
            ),
            Decimal(0),
        )


def test_a_large_plan_is_bought_over_minutes_and_never_more_than_a_fifth_in_one(world: World) -> None:
    begin = world.clock.now()
    decision = world.decide(("AAPL", Side.BUY, "30"), ("KO", Side.BUY, "35"), ("XOM", Side.BUY, "20"))
    finished = []
    for _ in range(40):
        finished.append(paced(world).execute(decision, world.prices()))
        world.clock.advance(world.clock.now() + 5 * SECOND)
    assert finished.index(True) == 24  # a minute for the second, another for the third
    assert world.states() == dict.fromkeys(("AAPL", "KO", "XOM"), OrderState.FILLED)
    for second in range(130):
        window = bought_within(world, timedelta(seconds=second), timedelta(seconds=second + 60), begin)
        assert window <= Decimal(2000)


def test_a_buy_that_is_larger_than_a_minute_allows_is_cut_to_it(world: World) -> None:
    assert paced(world).execute(world.decide(("AAPL", Side.BUY, "50")), world.prices())
    with world.ledger.begin(write=False) as unit:
        [order] = unit.orders.all()
    assert Decimal(1999) < order.quantity * order.reference_price <= Decimal(2000)


def test_sales_are_not_held_up_by_what_was_bought(world: World) -> None:
    paced(world).execute(world.decide(("AAPL", Side.BUY, "33")), world.prices())
    world.clock.advance(world.clock.now() + SECOND)
    assert paced(world).execute(world.decide(("AAPL", Side.SELL, "33")), world.prices())
    assert world.venue.positions().value == {}


def test_a_plan_with_more_orders_than_a_minute_takes_waits(world: World) -> None:
    limits = replace(SLOW, orders_per_minute=2, bought_per_minute=None)
    decision = world.decide(("AAPL", Side.BUY, "1"), ("KO", Side.BUY, "1"), ("XOM", Side.BUY, "1"))
    assert not paced(world, limits).execute(decision, world.prices())
    assert set(world.states()) == {"AAPL", "KO"}
    world.clock.advance(world.clock.now() + 59 * SECOND)
    assert not paced(world, limits).execute(decision, world.prices())
    world.clock.advance(world.clock.now() + SECOND)
    assert paced(world, limits).execute(decision, world.prices())
    assert set(world.states()) == {"AAPL", "KO", "XOM"}


def test_a_runaway_is_halted_and_sends_no_more_than_a_minute_allows(world: World) -> None:
    limits = replace(SLOW, orders_per_minute=6)
    for step in range(50):
        side = Side.BUY if step % 2 == 0 else Side.SELL
        paced(world, limits).execute(world.decide(("AAPL", side, "1")), world.prices())
        world.clock.advance(world.clock.now() + timedelta(milliseconds=60))
    with world.ledger.begin(write=False) as unit:
        sent = [i for i in unit.orders.all() if i.sent_at is not None]
        row = unit.control.state()
    assert len(sent) == 6
    assert row is not None
    assert (row.state, row.by) == (TradingState.HALTED, PACE)
    assert row.reason == "G9: 6 orders within a minute, of several decisions"


@pytest.mark.parametrize(("minutes", "denied"), [(0, True), (29, True), (31, False)])
def test_the_same_order_is_sent_three_times_within_an_hour(tmp_path: Path, minutes: int, denied: bool) -> None:
    world = Slow(tmp_path)
    reconcile(world.engine())
    limits = replace(PACED, reconciled_within_seconds=86400)
    world.parts[:] = []
    decision = world.decide(("AAPL", Side.BUY, "10"), lasts=timedelta(hours=3))
    for _ in range(3):
        engine = paced(world, limits)
        engine.execute(decision, world.prices())
        world.venue.cancel_all()
        engine.follow_up(world.prices())
        world.clock.advance(world.clock.now() + timedelta(minutes=10))
    world.clock.advance(world.clock.now() + timedelta(minutes=minutes))
    paced(world, limits).execute(decision, world.prices())
    with world.ledger.begin(write=False) as unit:
        newest = max(unit.orders.of(decision.id), key=lambda i: i.attempt)
        reason = unit.orders.events(newest.client_order_id)[0]["payload"].get("reason")
    assert newest.attempt == 4
    assert reason == ("G9: buy AAPL was sent 3 times within an hour" if denied else None)


@pytest.mark.parametrize(("decisions", "runs_away"), [(2, False), (3, True)])
def test_a_full_minute_is_a_runaway_when_three_decisions_filled_it(
    world: World, decisions: int, runs_away: bool
) -> None:
    decision = world.decide(("AAPL", Side.BUY, "10"))
    with world.ledger.begin() as unit:
        intent = world.engine()._written(unit, decision, decision.orders[0], 1, Passed(Decimal(1), Decimal(60)))
    recent = [replace(intent, decision_id=f"d{number % decisions}") for number in range(4)]
    assert Pace(recent, replace(SLOW, orders_per_minute=4)).runs_away() is runs_away
    assert not Pace(recent, replace(SLOW, orders_per_minute=5)).runs_away()


def test_another_direction_or_one_that_was_not_sent_is_no_repetition(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "10"))
    engine, limits, now = paced(world), replace(SLOW, repeats_per_hour=1), world.clock.now()
    with world.ledger.begin() as unit:
        first = engine._written(unit, decision, decision.orders[0], 1, Passed(Decimal(1), Decimal(60)))
    sent, order = replace(first, sent_at=now), decision.orders[0]
    assert Pace([], limits).repeated([sent], order, now)
    assert not Pace([], limits).repeated([first], order, now)
    assert not Pace([], limits).repeated([sent], replace(order, side=Side.SELL), now)
    assert not Pace([], limits).repeated([sent], order, now + timedelta(hours=1))
