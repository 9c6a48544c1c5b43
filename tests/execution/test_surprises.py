"""What a broker tells that it should not: orders it forgets, fills it changes, late dividends, units from nowhere.

None of it may stop trading for good, and none of it may be believed without a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ordinis.brokers.simulated import AT_ONCE, SimulatedBroker
from ordinis.domain.limits import TradingState
from ordinis.domain.orders import BrokerOrder, Fill, Known, OrderState, QueryOutcome, Refused, Side, SubmitOutcome
from ordinis.domain.portfolio import Movement
from ordinis.errors import ClocksDiffer, NotAdopted, NotReconciled
from ordinis.execution.control import resume, unlock
from ordinis.execution.intents import OrderEngine
from ordinis.execution.reconcile import adopt, reconcile
from ordinis.ports import BrokerAccount
from tests.execution.test_actor import an_actor
from tests.execution.test_following import HALVES, MINUTE, Slow

DAY = timedelta(days=1)


class Surprising:
    """The venue, but for what a test makes it forget or add."""

    def __init__(self, venue: SimulatedBroker) -> None:
        self._venue = venue
        self.forgets = False
        self.units: dict[str, Decimal] = {}
        self.cash = Decimal(0)
        self.told: list[Movement] = []
        self.change: dict[str, Fill] = {}
        self.more: list[Fill] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._venue, name)

    def order(self, client_order_id: str) -> QueryOutcome[BrokerOrder | None]:
        return Known(None) if self.forgets else self._venue.order(client_order_id)

    def cancel(self, client_order_id: str) -> SubmitOutcome:
        return Refused("no such order") if self.forgets else self._venue.cancel(client_order_id)

    def open_orders(self) -> QueryOutcome[Sequence[BrokerOrder]]:
        return Known([]) if self.forgets else self._venue.open_orders()

    def closed_orders(self, since: datetime) -> QueryOutcome[Sequence[BrokerOrder]]:
        return Known([]) if self.forgets else self._venue.closed_orders(since)

    def positions(self) -> Known[Mapping[str, Decimal]]:
        held = dict(self._venue.positions().value)
        for fill in self.more:
            held[fill.symbol] = held.get(fill.symbol, Decimal(0)) + fill.units
        return Known({s: held.get(s, Decimal(0)) + self.units.get(s, Decimal(0)) for s in {*held, *self.units}})

    def account(self) -> Known[BrokerAccount]:
        row = self._venue.account().value
        return Known(replace(row, cash=row.cash + self.cash + sum((fill.cash for fill in self.more), Decimal(0))))

    def movements(self, since: datetime) -> Known[Sequence[Movement]]:
        return Known([*self._venue.movements(since).value, *(row for row in self.told if row.at >= since)])

    def fills(self, since: datetime) -> Known[Sequence[Fill]]:
        told = [*self._venue.fills(since).value, *(fill for fill in self.more if fill.at >= since)]
        return Known([self.change.get(fill.exec_id, fill) for fill in told])


class Surprised(Slow):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.odd = Surprising(self.venue)
        self.trader: OrderEngine = self.engine(self.odd)  # type: ignore[arg-type]

    def pass_by(self, minutes: int) -> list[str]:
        """Compare twice a minute; what differed last."""
        told: list[str] = []
        for _ in range(2 * minutes):
            self.clock.advance(self.clock.now() + MINUTE / 2)
            try:
                reconcile(self.trader, finish=True)
                told = []
            except NotReconciled as error:
                told = list(error.differences)
                self.trader.follow_up()
        return told

    def lifts(self, symbol: str) -> list[bool]:
        def look() -> str:
            return str(reconcile(self.trader, lifting=symbol))

        steps = unlock(symbol, self.ledger, look, reason="counted", by="anna", at=self.clock.now())
        return [step.done for step in steps]

    def reason(self, symbol: str = "") -> str:
        with self.ledger.begin(write=False) as unit:
            row = unit.control.state(symbol)
        return "" if row is None or row.state is TradingState.ACTIVE else row.reason

    def bought(self, symbol: str = "AAPL", quantity: str = "40") -> None:
        self.trader.execute(self.decide((symbol, Side.BUY, quantity), lasts=timedelta(hours=3)), self.prices())


@pytest.fixture
def world(tmp_path: Path) -> Surprised:
    world = Surprised(tmp_path)
    reconcile(world.trader)
    return world


@pytest.mark.parametrize("cancelling", [False, True])
def test_a_working_order_that_the_broker_forgets_ends_and_locks_its_symbol(world: Surprised, cancelling: bool) -> None:
    world.parts[:] = []
    world.bought()
    with world.ledger.begin(write=False) as unit:
        [intent] = unit.orders.live()
    if cancelling:
        with world.ledger.begin() as unit:
            unit.orders.cancel(intent.client_order_id, reason="drill", by="anna", at=world.clock.now())
            unit.commit()
    world.odd.forgets = True
    world.pass_by(1)
    assert world.newest("AAPL")[0] is (OrderState.PENDING_CANCEL if cancelling else OrderState.WORKING)
    assert world.pass_by(3) == []
    assert world.newest("AAPL") == (OrderState.CANCELED, 1, 0)
    assert world.reason("AAPL") == f"order {intent.client_order_id}: the broker had it and no longer knows it"
    assert world.lifts("AAPL") == [True, True]
    world.odd.forgets = False
    world.parts[:] = AT_ONCE
    world.bought("KO", "10")
    assert world.newest("KO")[0] is OrderState.FILLED


def test_an_order_that_was_only_out_of_sight_goes_on(world: Surprised) -> None:
    world.parts[:] = HALVES
    world.bought()
    world.odd.forgets = True
    world.pass_by(1)
    world.odd.forgets = False
    world.pass_by(3)
    assert (world.newest("AAPL"), world.locks()) == ((OrderState.FILLED, 1, Decimal(40)), [])


def test_an_order_in_doubt_and_a_difference_in_its_symbol_do_not_block_each_other_for_ever(world: Surprised) -> None:
    world.parts[:] = []
    world.bought()
    world.odd.forgets, world.odd.units = True, {"AAPL": Decimal(7)}
    assert world.pass_by(9) == ["AAPL: 0 in the ledger, 7 at the broker"]
    assert world.locks() == []
    assert world.newest("AAPL")[0] is OrderState.WORKING
    world.pass_by(4)
    assert world.reason("AAPL") == "AAPL: 0 in the ledger, 7 at the broker"
    # Nothing else is sent in a locked symbol, so that the order may be given up.
    assert world.newest("AAPL")[0] is OrderState.CANCELED
    assert world.lifts("AAPL") == [False]
    assert adopt(world.trader, "AAPL", "correction", reason="seven were executed", by="anna").quantity == 7
    assert world.lifts("AAPL") == [True, True]
    with world.ledger.begin(write=False) as unit:
        unit.verify()
        assert unit.book.holdings() == {"AAPL": Decimal(7)}


def test_more_than_was_ordered_locks_until_a_person_has_seen_it(world: Surprised) -> None:
    world.bought("KO", "10")
    with world.ledger.begin(write=False) as unit:
        [fill] = unit.book.fills()
    world.odd.more = [replace(fill, exec_id="again", at=world.clock.now())]
    assert world.pass_by(2) == [f"KO: order {fill.client_order_id} has 20 executed of 10 ordered"]
    world.pass_by(1)
    assert world.locks() == ["KO"]
    assert world.lifts("KO") == [True, True]
    assert world.pass_by(4) == []
    assert world.locks() == []
    world.odd.more.append(replace(fill, exec_id="and again", at=world.clock.now()))
    world.pass_by(3)
    assert world.locks() == ["KO"]


def test_a_fill_that_the_broker_changes_stays_as_booked_and_locks_until_a_person_has_seen_it(world: Surprised) -> None:
    world.bought("KO", "10")
    with world.ledger.begin(write=False) as unit:
        [fill] = unit.book.fills()
    world.odd.change = {fill.exec_id: replace(fill, price=fill.price + 1)}
    world.odd.cash = Decimal(-10)
    world.pass_by(1)
    assert world.reason("KO") == f"fill {fill.exec_id}: is booked with other numbers; the broker's book changed"
    world.pass_by(2)
    assert world.reason().startswith("cash: ")
    assert adopt(world.trader, "", "correction", reason="the statement says so", by="anna").cash == -10
    assert world.lifts("KO") == [True, True]

    def look() -> str:
        return str(reconcile(world.trader))

    steps = resume(world.flag, world.ledger, world.venue, look, reason="fine", by="anna", at=world.clock.now())
    assert all(step.done for step in steps)
    assert world.pass_by(4) == []
    assert (world.locks(), world.reason()) == ([], "")
    with world.ledger.begin(write=False) as unit:
        unit.verify()
        assert unit.book.fills() == [fill]


def test_a_dividend_that_is_told_three_weeks_late_is_booked(world: Surprised) -> None:
    world.clock.advance(world.clock.now() + 28 * DAY)
    reconcile(world.trader)
    paid = Movement("sim", "late dividend", "dividend", Decimal("3.10"), world.clock.now() - 21 * DAY, "KO", Decimal(0))
    world.odd.told, world.odd.cash = [paid], Decimal("3.10")
    assert reconcile(world.trader).movements == 1
    assert world.pass_by(4) == []
    assert world.reason() == ""


def test_a_start_outlasts_a_difference_beside_a_live_order(world: Surprised) -> None:
    world.parts[:] = []
    world.bought()
    world.odd.units = {"AAPL": Decimal(7)}
    actor = an_actor()
    actor.engine = replace(world.trader, gates=replace(world.trader.gates, kill_flag=None))
    actor.start()
    assert world.reason("AAPL") == "AAPL: 0 in the ledger, 7 at the broker"
    assert world.newest("AAPL")[0] is OrderState.CANCELED


@pytest.mark.parametrize("again", [False, True])
def test_an_order_that_is_held_back_and_let_go_again_and_again_is_cancelled_by_a_halt(
    world: Surprised, again: bool
) -> None:
    world.parts[:] = []
    world.bought()
    with world.ledger.begin(write=False) as unit:
        [intent] = unit.orders.live()
    for state in (OrderState.SUSPENDED, OrderState.WORKING) * 2 + (OrderState.SUSPENDED,) * again:
        found = world.venue.order(intent.client_order_id).value
        assert found is not None
        world.trader.hear(replace(found, state=state))
        assert world.newest("AAPL")[0] is state
    world.control(TradingState.HALTED)
    world.later(world.trader)
    assert world.newest("AAPL")[0] is OrderState.CANCELED
    assert world.venue.open_orders().value == []
    with world.ledger.begin(write=False) as unit:
        unit.verify()


def refused(world: Surprised, symbol: str = "KO") -> str:
    with pytest.raises(NotAdopted) as caught:
        adopt(world.trader, symbol, "correction", reason="why not", by="anna")
    return str(caught.value)


NOTHING_STOPPED = "not adopted: nothing is locked or halted for it: a difference that stays for two minutes is"


def test_nothing_is_adopted_that_has_not_stayed_or_does_not_differ(world: Surprised) -> None:
    world.odd.units = {"KO": Decimal(3)}
    assert refused(world) == f"KO {NOTHING_STOPPED}"
    world.odd.cash = Decimal(3)
    assert refused(world, "") == f"cash {NOTHING_STOPPED}"
    # Nor while trading stands still for another reason.
    world.control(TradingState.HALTED)
    world.control(TradingState.HALTED, "KO")
    assert refused(world) == f"KO {NOTHING_STOPPED}"
    assert refused(world, "") == f"cash {NOTHING_STOPPED}"
    # But a person's own halt does not hide the difference for ever.
    world.pass_by(3)
    assert adopt(world.trader, "KO", "correction", reason="counted", by="anna").quantity == 3
    assert adopt(world.trader, "", "deposit", reason="counted", by="anna").cash == 3
    assert refused(world) == "KO not adopted: ledger and broker agree on it"


def test_an_order_that_may_yet_explain_a_difference_comes_first(world: Surprised) -> None:
    world.odd.cash = Decimal(-50)
    world.pass_by(3)
    world.control(TradingState.KILLED)
    world.parts[:] = []
    world.control(TradingState.ACTIVE)
    with world.ledger.begin() as unit:
        unit.book.set_watermark(world.clock.now())
        unit.commit()
    world.bought("KO", "10")
    world.control(TradingState.KILLED)
    assert refused(world, "").endswith("in KO is WORKING and may explain it")


def test_nothing_is_adopted_from_a_broker_whose_clock_is_far_off(world: Surprised) -> None:
    world.odd.cash = Decimal(-50)
    world.pass_by(3)
    late = type(world.clock)(world.clock.now() + timedelta(minutes=2))
    with pytest.raises(ClocksDiffer):
        adopt(replace(world.trader, clock=late), "", "correction", reason="why not", by="anna")


def test_what_a_running_actor_books_meanwhile_is_not_booked_over(world: Surprised) -> None:
    world.odd.cash = Decimal(-50)
    world.pass_by(3)
    positions = world.odd.positions

    def slow() -> Known[Mapping[str, Decimal]]:
        with world.ledger.begin() as unit:
            unit.book.movement(Movement("sim", "fee", "fee", Decimal(-50), world.clock.now()))
            unit.commit()
        return positions()

    answers = iter((positions, positions, slow))
    world.odd.positions = lambda: next(answers)()  # type: ignore[method-assign]
    assert refused(world, "") == "cash not adopted: the ledger changed meanwhile, from 10000 to 9950: try again"


def test_two_adoptions_in_one_moment_are_two_movements(world: Surprised) -> None:
    for gap in (-10, -25):
        world.odd.cash = Decimal(gap)
        if gap == -10:
            world.pass_by(3)
        adopt(world.trader, "", "correction", reason="fees", by="anna")
    with world.ledger.begin(write=False) as unit:
        assert unit.book.cash() == 9975
        unit.verify()


def test_what_explains_a_difference_is_booked_before_the_rest_is_adopted(world: Surprised) -> None:
    world.odd.units = {"KO": Decimal(3)}
    world.pass_by(3)
    now = world.clock.now()
    world.odd.told = [Movement("sim", "a gift", "transfer", Decimal(0), now, "KO", Decimal(2))]
    assert adopt(world.trader, "KO", "correction", reason="a gift of three, two of them told", by="anna").quantity == 1
    with world.ledger.begin(write=False) as unit:
        rows = [(row.kind, row.quantity) for row in unit.book.movements() if row.symbol == "KO"]
        unit.verify()
    assert rows == [("transfer", Decimal(2)), ("correction", Decimal(1))]
    assert world.lifts("KO") == [True, True]


def test_a_watermark_from_a_clock_that_was_ahead_hides_nothing(world: Surprised) -> None:
    world.bought("KO", "10")
    with world.ledger.begin() as unit:
        unit.book.set_watermark(world.clock.now() + 9 * DAY)
        unit.commit()
    paid = Movement("sim", "dividend", "dividend", Decimal("3.10"), world.clock.now(), "KO", Decimal(0))
    world.odd.told, world.odd.cash = [paid], Decimal("3.10")
    assert reconcile(world.trader).movements == 1
    with world.ledger.begin(write=False) as unit:
        assert unit.book.watermark() == world.clock.now()
