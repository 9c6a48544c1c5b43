"""What a comparison with the broker halts: many locks, a large difference, cash, a clock, and orders it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

from ordinis.brokers.simulated import SimulatedBroker
from ordinis.domain.limits import Breakers, TradingState
from ordinis.domain.orders import BrokerOrder, Known, OrderRequest, OrderState, Refused, Side, SubmitOutcome
from ordinis.errors import NotReconciled
from ordinis.execution.control import resume
from ordinis.execution.intents import OrderEngine
from ordinis.execution.kill import kill
from ordinis.execution.killpoints import KillPoint
from ordinis.execution.reconcile import reconcile
from ordinis.governance.breakers import CLOCK, RECONCILIATION, REJECTS, judge_rejects
from ordinis.ports import BrokerAccount, ControlRow
from tests.execution.world import Crash, World

MINUTE = timedelta(minutes=1)


class Odd:
    """The venue, with units, cash or a clock that nobody can explain, and a mood to refuse."""

    def __init__(self, venue: SimulatedBroker) -> None:
        self._venue = venue
        self.units: dict[str, Decimal] = {}
        self.cash, self.skew, self.refuses = Decimal(0), timedelta(0), False

    def __getattr__(self, name: str) -> object:
        return getattr(self._venue, name)

    def positions(self) -> Known[Mapping[str, Decimal]]:
        held = dict(self._venue.positions().value)
        return Known({s: held.get(s, Decimal(0)) + self.units.get(s, Decimal(0)) for s in {*held, *self.units}})

    def account(self) -> Known[BrokerAccount]:
        row = self._venue.account().value
        return Known(replace(row, cash=row.cash + self.cash))

    def now(self) -> Known[datetime]:
        return Known(self._venue.now().value + self.skew)

    def submit(self, request: OrderRequest) -> SubmitOutcome:
        return Refused("not today") if self.refuses else self._venue.submit(request)


class OddWorld(World):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.odd = Odd(self.venue)
        self.trader: OrderEngine = self.engine(self.odd)  # type: ignore[arg-type]

    def compared(self, minutes: int = 3) -> list[str]:
        """Compare once a minute; the differences that were told last."""
        told: list[str] = []
        for _ in range(minutes):
            try:
                reconcile(self.trader)
                told = []
            except NotReconciled as error:
                told = list(error.differences)
            self.clock.advance(self.clock.now() + MINUTE)
        return told

    def state(self) -> ControlRow | None:
        with self.ledger.begin(write=False) as unit:
            return unit.control.state()

    def locks(self) -> list[str]:
        with self.ledger.begin(write=False) as unit:
            return [row.symbol for row in unit.control.locks()]


@pytest.fixture
def world(tmp_path: Path) -> OddWorld:
    world = OddWorld(tmp_path)
    reconcile(world.trader)
    return world


def test_a_small_difference_locks_its_symbol_alone_and_the_rest_goes_on(world: OddWorld) -> None:
    world.odd.units = {"KO": Decimal(1)}  # about 50 of 10,000
    assert world.compared(2) == ["KO: 0 in the ledger, 1 at the broker"]
    assert world.locks() == []
    assert world.compared(2) == []
    assert (world.locks(), world.state()) == (["KO"], None)
    assert world.trader.execute(world.decide(("AAPL", Side.BUY, "5")), world.prices())
    assert world.venue.positions().value == {"AAPL": Decimal(5)}


def test_a_locked_difference_does_not_make_the_comparison_old(world: OddWorld) -> None:
    world.odd.units = {"KO": Decimal(1)}
    world.compared(5)
    with world.ledger.begin(write=False) as unit:
        assert unit.book.watermark() == world.clock.now() - MINUTE


def test_what_explains_a_lock_is_found_however_late(world: OddWorld) -> None:
    world.odd.units = {"KO": Decimal(1)}
    world.compared(4)
    asked: list[datetime] = []
    fills = world.venue.fills

    def spied(since: datetime) -> object:
        asked.append(since)
        return fills(since)

    world.odd.fills = spied  # type: ignore[attr-defined]
    with world.ledger.begin(write=False) as unit:
        [lock] = unit.control.locks()
    world.clock.advance(world.clock.now() + timedelta(days=3))
    reconcile(world.trader)
    world.clock.advance(world.clock.now() + timedelta(days=3))
    reconcile(world.trader)
    # While the difference stays, the broker is asked for more than since the lock: it may tell a thing weeks late.
    assert asked[-2:] == [lock.at - timedelta(days=1), lock.at - timedelta(days=31)]


def test_a_difference_worth_more_than_a_hundredth_halts(world: OddWorld) -> None:
    world.odd.units = {"KO": Decimal(3)}  # about 150 of 10,000
    world.compared(4)
    row = world.state()
    assert row is not None
    assert (row.state, row.by) == (TradingState.HALTED, RECONCILIATION)
    assert row.reason.endswith("of equity is unexplained, the limit is 1.00%: KO: 0 in the ledger, 3 at the broker")


def test_a_difference_whose_worth_nobody_knows_halts(world: OddWorld) -> None:
    world.odd.units = {"GONE": Decimal("0.001")}
    world.compared(4)
    row = world.state()
    assert row is not None
    assert row.state is TradingState.HALTED


def test_three_locks_halt(world: OddWorld) -> None:
    world.odd.units = dict.fromkeys(("AAPL", "KO"), Decimal("0.001"))
    world.compared(4)
    assert (world.locks(), world.state()) == (["AAPL", "KO"], None)
    world.odd.units["XOM"] = Decimal("0.001")
    world.compared(4)
    row = world.state()
    assert row is not None
    assert (row.state, row.reason) == (TradingState.HALTED, "3 symbols are locked: AAPL, KO, XOM")


def test_cash_that_nobody_explains_halts(world: OddWorld) -> None:
    world.odd.cash = Decimal("0.02")
    assert world.compared(2) == ["cash: 10000 in the ledger, 10000.02 at the broker"]
    assert world.state() is None
    world.compared(2)
    row = world.state()
    assert row is not None
    assert (row.state, row.by) == (TradingState.HALTED, RECONCILIATION)


def test_a_cent_of_cash_is_nothing(world: OddWorld) -> None:
    world.odd.cash = Decimal("0.01")
    assert world.compared(4) == []


@pytest.mark.parametrize(("seconds", "halts"), [(30, False), (31, True), (-31, True)])
def test_a_clock_that_is_half_a_minute_off_halts(world: OddWorld, seconds: int, halts: bool) -> None:
    world.odd.skew = timedelta(seconds=seconds)
    told = world.compared(1)
    row = world.state()
    assert (row is not None) is halts
    if row is not None:
        assert told == ["the clocks differ by 31 s"]
        assert (row.state, row.by) == (TradingState.HALTED, CLOCK)
        assert row.reason == "the clocks differ by 31 s: set this machine's clock"


def test_the_skew_that_was_seen_holds_up_buys(world: OddWorld) -> None:
    world.odd.skew = timedelta(seconds=11)
    reconcile(world.trader)
    world.trader.execute(world.decide(("AAPL", Side.BUY, "5")), world.prices())
    assert world.venue.positions().value == {}


def test_five_refusals_within_a_minute_halt(world: OddWorld) -> None:
    world.odd.refuses = True
    for number in range(5):
        assert world.state() is None
        reconcile(world.trader)
        world.trader.execute(world.decide(("AAPL", Side.BUY, "5")), world.prices())
        world.clock.advance(world.clock.now() + timedelta(seconds=14 if number else 1))
    row = world.state()
    assert row is not None
    assert (row.state, row.by) == (TradingState.HALTED, REJECTS)
    assert row.reason == "the broker refused 5 orders within a minute (AAPL)"


def test_refusals_that_come_after_the_order_was_taken_count_too(world: OddWorld) -> None:
    for number in range(5):
        assert world.state() is None
        reconcile(world.trader)
        decision = world.decide(("AAPL", Side.BUY, "5"))
        with pytest.raises(Crash):
            world.engine(crash_at=(KillPoint.SENDING, 1)).execute(decision, world.prices())
        with world.ledger.begin(write=False) as unit:
            [sent] = unit.orders.live()
        refused = BrokerOrder(
            f"b{number}", sent.client_order_id, "AAPL", Side.BUY, Decimal(5), Decimal(0), OrderState.REJECTED,
            world.clock.now(),
        )  # fmt: skip
        world.trader.hear(refused)
        world.clock.advance(world.clock.now() + timedelta(seconds=10))
    row = world.state()
    assert row is not None
    assert (row.state, row.by) == (TradingState.HALTED, REJECTS)


def test_refusals_that_are_spread_out_do_not_halt(world: OddWorld) -> None:
    world.odd.refuses = True
    for _ in range(8):
        reconcile(world.trader)
        world.trader.execute(world.decide(("AAPL", Side.BUY, "5")), world.prices())
        world.clock.advance(world.clock.now() + timedelta(seconds=16))
    assert world.state() is None


def test_breakers_that_are_off_do_not_halt(world: OddWorld) -> None:
    off = Breakers(rejects_per_minute=None, locks=None, unexplained=None)
    world.trader = replace(world.trader, breakers=off)
    world.odd.units = dict.fromkeys(("AAPL", "KO", "XOM"), Decimal(9))
    world.compared(4)
    assert (world.locks(), world.state()) == (["AAPL", "KO", "XOM"], None)


def test_refusals_name_their_symbols_and_halt_only_at_their_number(tmp_path: Path) -> None:
    world = OddWorld(tmp_path)
    reconcile(world.trader)
    world.odd.refuses = True
    world.trader.execute(world.decide(("XOM", Side.BUY, "1"), ("KO", Side.BUY, "1")), world.prices())
    now = world.clock.now()
    with world.ledger.begin() as unit:
        assert not judge_rejects(unit, Breakers(rejects_per_minute=None), now)
        assert not judge_rejects(unit, Breakers(rejects_per_minute=3), now)
        assert not judge_rejects(unit, Breakers(rejects_per_minute=2), now + 2 * MINUTE)
        assert unit.control.state() is None
        assert judge_rejects(unit, Breakers(rejects_per_minute=2), now)
        row = unit.control.state()
    assert row == ControlRow(TradingState.HALTED, "the broker refused 2 orders within a minute (KO, XOM)", REJECTS, now)


def test_a_kill_that_comes_while_somebody_resumes_is_not_swallowed(world: OddWorld) -> None:
    by, at = "anna", world.clock.now()
    stop = partial(kill, world.flag, lambda: world.ledger, lambda: world.venue)
    stop(reason="first", by="anna", at=at)

    def reconcile_while_bert_kills() -> str:
        stop(reason="second", by="bert", at=at + MINUTE)
        return "they agree"

    steps = resume(world.flag, world.ledger, world.venue, reconcile_while_bert_kills, reason="fine", by=by, at=at)
    assert [step.done for step in steps] == [True, False]
    assert "bert, who said: second" in steps[-1].detail
    row = world.state()
    assert row is not None
    assert (row.state, row.by) == (TradingState.KILLED, "bert")
    assert world.flag.read_text().endswith("second\n")
    assert world.venue.account().value.suspended
    again = resume(world.flag, world.ledger, world.venue, lambda: "they agree", reason="fine", by=by, at=at)
    assert all(step.done for step in again)
    assert not world.flag.exists()
