"""The order engine against the real simulated venue: crashes between every two steps, doubt, refusal, kill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ordinis.brokers.simulated import SimulatedBroker
from ordinis.clock import ReplayClock
from ordinis.domain.decisions import DecisionStatus
from ordinis.domain.limits import TradingState
from ordinis.domain.orders import (
    BrokerOrder,
    Fill,
    OrderRequest,
    OrderState,
    QueryOutcome,
    Side,
    SubmitOutcome,
)
from ordinis.errors import BrokerUnavailable, ConfigurationError, NotReconciled
from ordinis.execution.killpoints import KillPoint
from ordinis.execution.reconcile import reconcile
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import ControlRow
from tests.brokers.market import (
    CALENDAR,
    SYMBOLS,
    TODAY,
)
from tests.execution.world import LIMITS, PRICES, Crash, Lossy, World


def test_a_plan_is_carried_out_and_booked(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "50"), ("KO", Side.BUY, "60"))
    assert world.engine().execute(decision, world.prices())
    assert world.states() == {"AAPL": OrderState.FILLED, "KO": OrderState.FILLED}
    world.agree()


@pytest.mark.parametrize(
    "point",
    [
        KillPoint.INTENT,
        KillPoint.SENDING,
        KillPoint.WIRE,
        KillPoint.REPLIED,
        KillPoint.ACKNOWLEDGED,
        KillPoint.FILLED,
    ],
)
@pytest.mark.parametrize("passing", [1, 2])
def test_a_crash_at_any_point_loses_nothing_and_sends_nothing_twice(
    world: World, point: KillPoint, passing: int
) -> None:
    decision = world.decide(("AAPL", Side.BUY, "50"), ("KO", Side.BUY, "60"))
    if point is KillPoint.FILLED:
        passing = 1  # both fills are booked in one transaction
    with pytest.raises(Crash):
        world.engine(crash_at=(point, passing)).execute(decision, world.prices())
    restarted = world.engine()
    reconcile(restarted, finish=True)
    assert restarted.execute(decision, world.prices())
    assert world.states() == {"AAPL": OrderState.FILLED, "KO": OrderState.FILLED}
    world.agree()


def test_a_crashed_run_leaves_the_same_ledger_as_one_that_did_not_crash(tmp_path: Path) -> None:
    from ordinis.execution.canonical import canonical_ledger

    texts = []
    for number, point in enumerate(
        [None, KillPoint.SENDING, KillPoint.WIRE, KillPoint.REPLIED, KillPoint.ACKNOWLEDGED]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        world = World(folder)
        reconcile(world.engine())
        decision = world.decide(("AAPL", Side.BUY, "50"), ("KO", Side.BUY, "60"))
        if point is None:
            world.engine().execute(decision, world.prices())
        else:
            with pytest.raises(Crash):
                world.engine(crash_at=(point, 2)).execute(decision, world.prices())
            reconcile(world.engine(), finish=True)
            world.engine().execute(decision, world.prices())
        texts.append(canonical_ledger(world.ledger).splitlines())
    for text in texts[1:]:
        assert text == texts[0]


def test_doing_it_again_does_nothing_more(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "50"))
    world.engine().execute(decision, world.prices())
    world.engine().execute(decision, world.prices())
    reconcile(world.engine())
    world.agree()
    with world.ledger.begin(write=False) as unit:
        assert len(unit.book.fills()) == 1


def test_a_refused_order_is_rejected_and_not_tried_again(world: World) -> None:
    world.venue.suspend_trading(True)
    decision = world.decide(("AAPL", Side.BUY, "50"))
    world.engine().execute(decision, world.prices())
    world.venue.suspend_trading(False)
    world.engine().execute(decision, world.prices())
    assert world.states() == {"AAPL": OrderState.REJECTED}


def test_an_order_without_an_answer_is_unknown_until_the_broker_says_otherwise(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "50"), ("KO", Side.BUY, "60"))
    deaf = Lossy(world.venue, swallow=1)
    engine = world.engine(deaf)
    engine.execute(decision, world.prices())
    # The venue had filled it, and the poll for fills found that out.
    assert world.states() == {"AAPL": OrderState.FILLED, "KO": OrderState.FILLED}
    world.agree()


def test_a_failed_query_is_never_an_empty_answer(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "50"))
    with pytest.raises(Crash):
        world.engine(crash_at=(KillPoint.REPLIED, 1)).execute(decision, world.prices())
    with pytest.raises(BrokerUnavailable, match="account: the line is dead"):
        reconcile(world.engine(Lossy(world.venue, deaf=True)))
    assert world.states() == {"AAPL": OrderState.SENDING}
    world.agree()


def test_where_ids_are_not_deduplicated_an_order_not_found_stays_unknown_and_blocks_its_symbol(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "50"))
    with pytest.raises(Crash):
        world.engine(crash_at=(KillPoint.WIRE, 1)).execute(decision, world.prices())
    reconcile(world.engine(Lossy(world.venue, dedupes=False)), finish=True)
    assert world.states() == {"AAPL": OrderState.UNKNOWN}
    reconcile(world.engine(Lossy(world.venue, dedupes=False)), finish=True)
    assert world.states() == {"AAPL": OrderState.UNKNOWN}


def test_an_intent_found_after_its_decision_expired_is_not_sent(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "50"))
    with pytest.raises(Crash):
        world.engine(crash_at=(KillPoint.INTENT, 1)).execute(decision, world.prices())
    world.clock.advance(decision.expires_at + timedelta(seconds=1))
    reconcile(world.engine(), finish=True)
    assert world.states() == {"AAPL": OrderState.EXPIRED_UNSENT}
    assert world.venue.positions().value == {}


@pytest.mark.parametrize("state", [TradingState.HALTED, TradingState.KILLED])
def test_nothing_is_sent_while_trading_is_stopped(world: World, state: TradingState) -> None:
    with world.ledger.begin() as unit:
        unit.control.set(ControlRow(state, "drill", "anna", world.clock.now()))
        unit.commit()
    world.engine().execute(world.decide(("AAPL", Side.BUY, "50")), world.prices())
    assert world.states() == {"AAPL": OrderState.DENIED}


def test_the_kill_flag_alone_stops_orders(world: World) -> None:
    world.flag.write_text("stop")
    world.engine().execute(world.decide(("AAPL", Side.BUY, "50")), world.prices())
    assert world.states() == {"AAPL": OrderState.DENIED}


def test_a_flag_raised_between_commit_and_wire_still_stops_the_order(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "50"))
    engine = world.engine()

    def raise_flag(point: KillPoint) -> None:
        if point is KillPoint.SENDING:
            world.flag.write_text("stop")

    replace(engine, kill_point=raise_flag).execute(decision, world.prices())
    assert world.states() == {"AAPL": OrderState.REJECTED}
    assert world.venue.positions().value == {}


def test_while_reducing_sells_go_and_buys_do_not(world: World) -> None:
    world.engine().execute(world.decide(("AAPL", Side.BUY, "50")), world.prices())
    with world.ledger.begin() as unit:
        unit.control.set(ControlRow(TradingState.REDUCING, "daily loss", "rule", world.clock.now()))
        unit.commit()
    later = world.clock.now() + timedelta(minutes=1)
    world.clock.advance(later)
    world.engine().execute(world.decide(("AAPL", Side.SELL, "20"), ("KO", Side.BUY, "5")), world.prices())
    assert world.venue.positions().value == {"AAPL": Decimal(30)}
    assert world.states()["KO"] is OrderState.DENIED


def test_a_gate_shrinks_a_buy_to_the_limits_and_never_enlarges_it(world: World) -> None:
    # 200 shares at about 60 are 120 % of the book; the position cap is half of it.
    world.engine().execute(world.decide(("AAPL", Side.BUY, "200")), world.prices())
    units = world.venue.positions().value["AAPL"]
    assert units * PRICES["AAPL"] <= Decimal(5000) < (units + 1) * PRICES["AAPL"]


def test_the_cash_buffer_and_gross_cap_hold_over_several_buys(world: World) -> None:
    orders = tuple((symbol, Side.BUY, "100") for symbol in SYMBOLS)
    world.engine().execute(world.decide(*orders), world.prices())
    account = world.venue.account().value
    held = sum(units * PRICES[symbol] for symbol, units in world.venue.positions().value.items())
    assert held <= Decimal(9000)
    assert account.cash >= Decimal("0.1") * (account.cash + held)


def test_more_than_was_decided_is_never_sent(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "10"))
    engine = world.engine()
    engine.execute(decision, world.prices())
    greedy = replace(decision, orders=(replace(decision.orders[0], leg="again"),))
    with world.ledger.begin() as unit:
        verdict = engine.gates.admit(unit, greedy, greedy.orders[0], world.clock.now(), world.prices())
    assert "G4" in str(verdict)


class Waiting:
    """The venue, whose sells stay open: they are taken and not filled."""

    def __init__(self, venue: SimulatedBroker) -> None:
        self._venue = venue
        self.sent: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._venue, name)

    def submit(self, request: OrderRequest) -> SubmitOutcome:
        from ordinis.domain.orders import Accepted

        self.sent.append(f"{request.side} {request.symbol}")
        order = BrokerOrder(f"w-{request.symbol}", request.client_order_id, request.symbol, request.side,
                            request.quantity, Decimal(0), OrderState.WORKING, self._venue.now().value)  # fmt: skip
        return Accepted(order)

    def fills(self, since: datetime) -> QueryOutcome[Sequence[Fill]]:
        return self._venue.fills(since)


def test_buys_wait_for_the_sells(world: World) -> None:
    world.engine().execute(world.decide(("AAPL", Side.BUY, "50")), world.prices())
    world.clock.advance(world.clock.now() + timedelta(minutes=1))
    waiting = Waiting(world.venue)
    decision = world.decide(("AAPL", Side.SELL, "50"), ("KO", Side.BUY, "5"))
    assert not world.engine(waiting).execute(decision, world.prices())
    assert waiting.sent == ["sell AAPL"]


def test_a_position_that_nobody_can_explain_stops_trading(world: World) -> None:
    from ordinis.domain.orders import Fill as Execution

    with world.ledger.begin() as unit:
        ghost = Execution("sim", "ghost", None, "KO", Side.BUY, Decimal(1), Decimal(1), Decimal(0), world.clock.now())
        unit.book.fill(ghost, source="poll", received_at=world.clock.now())
        unit.commit()
    with pytest.raises(NotReconciled, match="KO: 1 in the ledger, 0 at the broker"):
        reconcile(world.engine())


def test_another_account_is_not_touched(world: World, tmp_path: Path) -> None:
    other = SqlLedger(f"sqlite:///{tmp_path / 'other.db'}", "other")
    with pytest.raises(ConfigurationError, match="account: the broker's is sim, the ledger's is other"):
        reconcile(replace(world.engine(), ledger=other))


def test_a_clock_that_is_far_off_stops_trading(world: World) -> None:
    late = ReplayClock(world.clock.now() + timedelta(seconds=31))
    with pytest.raises(NotReconciled, match="clocks differ by 31 s"):
        reconcile(replace(world.engine(), clock=late))


def test_nothing_is_sent_while_ledger_and_broker_disagree(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "50"))
    with pytest.raises(Crash):
        world.engine(crash_at=(KillPoint.INTENT, 1)).execute(decision, world.prices())
    with world.ledger.begin() as unit:
        ghost = Fill("sim", "ghost", None, "KO", Side.BUY, Decimal(1), Decimal(1), Decimal(0), world.clock.now())
        unit.book.fill(ghost, source="poll", received_at=world.clock.now())
        unit.commit()
    with pytest.raises(NotReconciled):
        reconcile(world.engine(), finish=True)
    assert world.venue.positions().value == {}


def test_a_look_that_does_not_trade_sends_nothing(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "50"))
    with pytest.raises(Crash):
        world.engine(crash_at=(KillPoint.INTENT, 1)).execute(decision, world.prices())
    reconcile(world.engine())
    assert world.states() == {"AAPL": OrderState.INTENT}
    assert world.venue.positions().value == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": DecisionStatus.REFUSED}, "is REFUSED"),
        ({"expires_at": CALENDAR.opens(TODAY)}, "expired"),
        ({"limits_sha": "others"}, "other limits"),
    ],
)
def test_each_gate_denies_by_itself(world: World, change: dict[str, Any], reason: str) -> None:
    decision = replace(world.decide(("AAPL", Side.BUY, "10")), **change)
    with world.ledger.begin() as unit:
        verdict = world.engine().gates.admit(unit, decision, decision.orders[0], world.clock.now(), world.prices())
    assert reason in str(verdict)


def test_a_closed_exchange_and_a_short_sale_are_denied(world: World) -> None:
    decision = world.decide(("AAPL", Side.SELL, "10"))
    gates = world.engine().gates
    with world.ledger.begin() as unit:
        short = gates.admit(unit, decision, decision.orders[0], world.clock.now(), world.prices())
        early = CALENDAR.opens(TODAY) - timedelta(hours=1)
        closed = gates.admit(unit, decision, decision.orders[0], early, world.prices())
    assert "short sale, 0 held" in str(short)
    assert "G3: the exchange is closed" in str(closed)


def test_a_buy_is_shrunk_to_its_sectors_cap(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "60"))
    limits = replace(LIMITS, sector_cap=0.2, sectors={"AAPL": "a", "KO": "a"})
    gates = replace(world.engine().gates, limits=limits)
    with world.ledger.begin() as unit:
        verdict = gates.admit(unit, decision, decision.orders[0], world.clock.now(), world.prices())
    assert verdict.quantity * PRICES["AAPL"] <= Decimal(2000)  # type: ignore[union-attr]
