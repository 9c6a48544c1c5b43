"""Orders that take their time: waiting sells, what is left, cancels, quarantine, locks and how a person lifts them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from ordinis.brokers.faults import Faults, FaultyBroker
from ordinis.brokers.simulated import AT_ONCE, Part
from ordinis.domain.limits import TradingState
from ordinis.domain.orders import Fill, OrderRequest, OrderState, Side
from ordinis.errors import NotReconciled
from ordinis.execution.control import unlock
from ordinis.execution.intents import OrderEngine
from ordinis.execution.reconcile import reconcile
from ordinis.ports import ControlRow
from tests.brokers.market import CALENDAR, TODAY
from tests.brokers.test_working_orders import a_venue
from tests.execution.world import World

MINUTE = timedelta(minutes=1)
HALVES = (Part(Fraction(1, 2), MINUTE), Part(Fraction(1, 2), 2 * MINUTE))
HALF = (Part(Fraction(1, 2), MINUTE),)


class Slow(World):
    """A venue that executes as `parts` says, two hours after the open."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.clock = type(self.clock)(CALENDAR.opens(TODAY) + timedelta(hours=2))
        self.parts = [*AT_ONCE]
        self.venue = a_venue(self.clock, self.parts)

    def later(self, engine: OrderEngine, time: timedelta = MINUTE) -> None:
        self.clock.advance(self.clock.now() + time)
        engine.follow_up(self.prices())

    def control(self, state: TradingState, symbol: str = "") -> None:
        with self.ledger.begin() as unit:
            unit.control.set(ControlRow(state, "drill", "anna", self.clock.now(), symbol))
            unit.commit()

    def newest(self, symbol: str) -> tuple[OrderState, int, Decimal]:
        with self.ledger.begin(write=False) as unit:
            last = [intent for intent in unit.orders.all() if intent.symbol == symbol][-1]
        return last.state, last.attempt, last.filled_quantity

    def locks(self) -> list[str]:
        with self.ledger.begin(write=False) as unit:
            return [row.symbol for row in unit.control.locks()]


@pytest.fixture
def world(tmp_path: Path) -> Slow:
    world = Slow(tmp_path)
    reconcile(world.engine())
    return world


def test_buys_go_out_when_the_sells_have_ended(world: Slow) -> None:
    world.engine().execute(world.decide(("AAPL", Side.BUY, "50")), world.prices())
    world.parts[:] = HALVES
    world.clock.advance(world.clock.now() + MINUTE)
    engine, decision = world.engine(), world.decide(("AAPL", Side.SELL, "50"), ("KO", Side.BUY, "20"))
    finished = []
    for _ in range(6):
        finished.append(engine.execute(decision, world.prices()))
        world.clock.advance(world.clock.now() + MINUTE)
    assert finished == [False, False, False, False, True, True]
    assert world.venue.positions().value == {"KO": Decimal(20)}


def test_what_is_left_of_an_order_is_tried_again_under_another_attempt(world: Slow) -> None:
    world.parts[:] = HALF
    engine, decision = world.engine(), world.decide(("AAPL", Side.BUY, "40"))
    engine.execute(decision, world.prices())
    world.clock.advance(world.clock.now() + MINUTE)
    engine.follow_up()
    assert world.newest("AAPL") == (OrderState.PARTIAL, 1, 20)
    world.venue.cancel_all()
    world.parts[:] = AT_ONCE
    engine.execute(decision, world.prices())
    assert engine.execute(decision, world.prices())
    assert world.newest("AAPL") == (OrderState.FILLED, 2, 20)
    assert world.venue.positions().value == {"AAPL": Decimal(40)}
    with world.ledger.begin(write=False) as unit:
        assert [intent.state for intent in unit.orders.all()] == [OrderState.CANCELED, OrderState.FILLED]


@pytest.mark.parametrize("state", [TradingState.REDUCING, TradingState.HALTED, TradingState.KILLED])
def test_a_working_buy_is_cancelled_when_trading_stops(world: Slow, state: TradingState) -> None:
    world.parts[:] = HALVES
    engine = world.engine()
    engine.execute(world.decide(("AAPL", Side.BUY, "40")), world.prices())
    world.control(state)
    world.later(engine)
    assert world.newest("AAPL") == (OrderState.CANCELED, 1, 20)
    with world.ledger.begin(write=False) as unit:
        [cancel] = unit.orders.cancels(unit.orders.all()[0].client_order_id)
    assert (cancel.number, cancel.by, cancel.reason.split(":")[0]) == (1, "engine", "G2")


def test_a_working_sale_stays_while_reducing(world: Slow) -> None:
    engine = world.engine()
    engine.execute(world.decide(("AAPL", Side.BUY, "40")), world.prices())
    world.parts[:] = HALVES
    world.clock.advance(world.clock.now() + MINUTE)
    engine.execute(world.decide(("AAPL", Side.SELL, "40")), world.prices())
    world.control(TradingState.REDUCING)
    world.later(engine)
    assert world.newest("AAPL") == (OrderState.PARTIAL, 1, 20)


def test_an_order_of_an_expired_decision_is_cancelled_and_not_tried_again(world: Slow) -> None:
    world.parts[:] = HALF
    engine, decision = world.engine(), world.decide(("AAPL", Side.BUY, "40"))
    engine.execute(decision, world.prices())
    world.clock.advance(decision.expires_at + MINUTE)
    engine.follow_up()
    assert engine.execute(decision, world.prices())
    assert world.newest("AAPL") == (OrderState.CANCELED, 1, 20)


def test_an_order_that_nobody_finds_is_given_up_after_two_minutes_and_five_answers(world: Slow) -> None:
    faults = Faults(1, {"request lost": 1.0}, until=world.clock.now() + timedelta(seconds=1))
    broker = FaultyBroker(world.venue, world.clock, faults, dedupes=False)
    engine, decision = world.engine(broker), world.decide(("AAPL", Side.BUY, "40"))
    engine.execute(decision, world.prices())
    seen = []
    for _ in range(6):
        world.later(engine, timedelta(seconds=31))
        seen.append(world.newest("AAPL")[0])
    assert seen == [OrderState.UNKNOWN] * 3 + [OrderState.NEVER_ARRIVED] * 3
    assert engine.execute(decision, world.prices())
    assert world.newest("AAPL") == (OrderState.FILLED, 2, 40)
    assert len(broker.received) == 1


def test_where_a_second_copy_is_harmless_the_order_is_sent_again_at_once(world: Slow) -> None:
    faults = Faults(1, {"request lost": 1.0}, until=world.clock.now() + timedelta(seconds=1))
    engine = world.engine(FaultyBroker(world.venue, world.clock, faults, dedupes=True))
    engine.execute(world.decide(("AAPL", Side.BUY, "40")), world.prices())
    assert world.newest("AAPL")[0] is OrderState.UNKNOWN
    world.later(engine, timedelta(seconds=5))
    world.later(engine, timedelta(seconds=5))
    assert world.newest("AAPL") == (OrderState.FILLED, 1, 40)


def test_a_late_request_is_at_the_venue_when_it_was_due_though_nobody_asked_since(world: Slow) -> None:
    now = world.clock.now()
    faults = Faults(3, {"request late": 1.0, "not found at first": 1.0}, until=now + timedelta(hours=1))
    broker = FaultyBroker(world.venue, world.clock, faults, dedupes=False)
    broker.submit(OrderRequest("or1-late", "AAPL", Side.BUY, Decimal(10)))
    assert broker.order("or1-late").value is None  # type: ignore[union-attr]
    # The longest delay and the longest lag together end before the quarantine does.
    world.clock.advance(now + timedelta(seconds=90))
    assert broker.order("or1-late").value is not None  # type: ignore[union-attr]


def ghost(world: Slow) -> None:
    """An execution in the ledger that the broker knows nothing of; it cost nothing, so cash agrees."""
    now = world.clock.now()
    with world.ledger.begin() as unit:
        fill = Fill("sim", "ghost", None, "KO", Side.BUY, Decimal(1), Decimal(0), Decimal(0), now)
        unit.book.fill(fill, source="poll", received_at=now)
        unit.commit()


def test_a_difference_that_lasts_locks_its_symbol_and_the_others_are_traded(world: Slow) -> None:
    ghost(world)
    engine = world.engine()
    for _ in range(3):
        with pytest.raises(NotReconciled, match="KO: 1 in the ledger, 0 at the broker"):
            reconcile(engine)
        assert world.locks() == []
        world.clock.advance(world.clock.now() + timedelta(seconds=50))
    reconcile(engine)
    assert world.locks() == ["KO"]
    engine.execute(world.decide(("AAPL", Side.BUY, "10"), ("KO", Side.BUY, "10")), world.prices())
    assert (world.newest("AAPL")[0], world.newest("KO")[0]) == (OrderState.FILLED, OrderState.DENIED)


def test_a_lock_is_lifted_when_its_difference_is_gone(world: Slow) -> None:
    ghost(world)
    world.control(TradingState.HALTED, "KO")

    def lift() -> list[tuple[bool, str]]:
        def look() -> str:
            return str(reconcile(world.engine(), lifting="KO"))

        steps = unlock("KO", world.ledger, look, reason="counted", by="anna", at=world.clock.now())
        return [(step.done, step.detail) for step in steps]

    assert lift() == [(False, "not reconciled, so not trading: KO: 1 in the ledger, 0 at the broker")]
    assert world.locks() == ["KO"]
    with world.ledger.begin() as unit:
        now = world.clock.now()
        back = Fill("sim", "ghost-bust", None, "KO", Side.SELL, Decimal(1), Decimal(0), Decimal(0), now, "ghost")
        unit.book.fill(back, source="poll", received_at=now)
        unit.commit()
    assert lift()[1] == (True, "KO was locked by anna: drill")
    assert world.locks() == []
    assert lift()[1][0] is False


def test_an_order_that_is_not_ours_is_a_difference(world: Slow) -> None:
    world.parts[:] = HALVES
    stranger = world.decide(("KO", Side.BUY, "10")).orders[0]
    world.venue.submit(OrderRequest("by-hand", stranger.symbol, stranger.side, stranger.quantity))
    with pytest.raises(NotReconciled, match="KO: order by-hand at the broker is not ours"):
        reconcile(world.engine())
