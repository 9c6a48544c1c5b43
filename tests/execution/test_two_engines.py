"""Trading processes that hang or die and are replaced: one fence sends at a time, whatever wakes up late."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from ordinis.clock import ReplayClock
from ordinis.domain.limits import TradingState
from ordinis.domain.orders import OrderState, Side
from ordinis.errors import AnotherWriter, LeaseLost, NotReconciled
from ordinis.execution.intents import OrderEngine
from ordinis.execution.killpoints import KillPoint
from ordinis.execution.reconcile import reconcile
from ordinis.execution.replaying import pause
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import ControlRow
from tests.execution.broken import MUST_CATCH
from tests.execution.two_engines import DIES, HANGS, LIVES
from tests.execution.world import Crash, World
from tests.persistence.test_lease import Time

ROOT = Path(__file__).resolve().parents[2]


class Leased(World):
    """A world whose ledger is claimed, with a lease that runs in a time that the test sets."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url = f"sqlite:///{folder / 'ledger.db'}"
        self.time = Time()
        self.ledger.claim(self.time.terms)
        reconcile(self.engine())

    def just_before_the_wire(self, happens: Callable[[], object]) -> OrderEngine:
        """An engine to which `happens` once, when it is about to write to the socket."""
        left = [happens]

        def kill_point(point: KillPoint) -> None:
            if point is KillPoint.WIRE and left:
                left.pop()()

        return replace(self.engine(), kill_point=kill_point)

    def another_takes_over(self) -> SqlLedger:
        self.time.pass_(15.0)
        other = SqlLedger(self.url, "sim")
        other.claim(self.time.terms)
        return other

    def hang(self, seconds: float) -> Callable[[], None]:
        return lambda: self.time.pass_(seconds)

    def killed_while_it_hangs(self) -> None:
        self.time.pass_(300.0)
        beside = SqlLedger(self.url, "sim")
        with beside.begin() as unit:
            unit.control.set(ControlRow(TradingState.KILLED, "drill", "anna", self.clock.now()))
            unit.commit()
        beside.close()

    def sent(self) -> list[str]:
        orders = self.venue.closed_orders(datetime(1990, 1, 1, tzinfo=self.clock.now().tzinfo)).value
        return [order.symbol for order in (*self.venue.open_orders().value, *orders)]

    def events(self) -> list[dict[str, Any]]:
        with self.ledger.begin(write=False) as unit:
            [intent] = unit.orders.all()
            return [{**event} for event in unit.orders.events(intent.client_order_id)]


@pytest.fixture
def world(tmp_path: Path) -> Leased:
    return Leased(tmp_path)


def test_a_process_that_was_replaced_just_before_the_wire_sends_nothing(world: Leased) -> None:
    decision = world.decide(("AAPL", Side.BUY, "50"))
    others = list[SqlLedger]()
    hanging = world.just_before_the_wire(lambda: others.append(world.another_takes_over()))
    with pytest.raises(LeaseLost, match="fence 2: this process, fence 1"):
        hanging.execute(decision, world.prices())
    assert world.sent() == []
    assert world.states() == {"AAPL": OrderState.SENDING}
    [world.ledger] = others
    world.agree()
    assert world.engine().execute(decision, world.prices())
    assert (world.sent(), world.states()) == (["AAPL"], {"AAPL": OrderState.FILLED})


def test_an_intent_that_another_process_sends_carries_the_fence_of_the_sender(world: Leased) -> None:
    decision = world.decide(("AAPL", Side.BUY, "50"))
    with pytest.raises(Crash):
        world.engine(crash_at=(KillPoint.INTENT, 1)).execute(decision, world.prices())
    world.ledger.close()
    world.ledger = world.another_takes_over()
    assert world.engine().execute(decision, world.prices())
    world.agree()
    changes = {event["payload"].get("state", "fill"): json.loads(event["change"]) for event in world.events()}
    assert {state: change.get("fence") for state, change in changes.items()} == {
        "INTENT": 1, "SENDING": 2, "WORKING": 2, "fill": None, "FILLED": 2,
    }  # fmt: skip
    with world.ledger.engine.connect() as connection:
        assert connection.execute(text("SELECT fence FROM order_intent")).scalars().all() == [2]


@pytest.mark.parametrize("seconds", [10.0, 15.0, 300.0])
def test_a_process_that_hung_and_was_not_replaced_renews_its_lease_and_sends(world: Leased, seconds: float) -> None:
    decision = world.decide(("AAPL", Side.BUY, "50"))
    assert world.just_before_the_wire(world.hang(seconds)).execute(decision, world.prices())
    assert (world.sent(), world.states()) == (["AAPL"], {"AAPL": OrderState.FILLED})
    assert (world.ledger.fence, world.ledger.holds()) == (1, True)


def test_an_order_does_not_go_out_when_a_kill_came_while_its_process_hung(world: Leased) -> None:
    decision = world.decide(("AAPL", Side.BUY, "50"))
    world.just_before_the_wire(world.killed_while_it_hangs).execute(decision, world.prices())
    assert (world.sent(), world.states()) == ([], {"AAPL": OrderState.REJECTED})
    assert world.events()[-1]["payload"]["reason"] == "not sent, G2: trading is KILLED since anna said: drill"


def test_an_order_does_not_go_out_when_its_decision_expired_while_its_process_hung(world: Leased) -> None:
    decision = world.decide(("AAPL", Side.BUY, "50"), as_of=world.clock.now() - timedelta(minutes=14))

    def hang() -> None:
        world.time.pass_(120.0)
        world.clock.advance(world.clock.now() + timedelta(minutes=2))

    world.just_before_the_wire(hang).execute(decision, world.prices())
    assert (world.sent(), world.states()) == ([], {"AAPL": OrderState.REJECTED})
    assert "G4: decision" in world.events()[-1]["payload"]["reason"]


def test_a_second_copy_that_may_not_go_leaves_its_order_in_doubt(world: Leased) -> None:
    """The first may have arrived: that this one was not sent says nothing of it."""
    decision = world.decide(("AAPL", Side.BUY, "50"))
    with pytest.raises(Crash):
        world.engine(crash_at=(KillPoint.WIRE, 1)).execute(decision, world.prices())
    reconcile(world.just_before_the_wire(world.killed_while_it_hangs), finish=True)
    assert (world.sent(), world.states()) == ([], {"AAPL": OrderState.UNKNOWN})


def test_a_process_that_was_replaced_learns_it_before_it_compares_the_books(world: Leased) -> None:
    """What it would find, such as how its clock differs from the broker's, is not what is the matter."""
    late = replace(world.engine(), clock=ReplayClock(world.clock.now() - timedelta(hours=1)))
    with pytest.raises(NotReconciled, match="the clocks differ by 3600 s"):
        reconcile(late, finish=True)
    other = world.another_takes_over()
    with pytest.raises(LeaseLost):
        reconcile(late, finish=True)
    other.close()


def test_a_process_that_waits_for_the_next_session_keeps_its_role(world: Leased) -> None:
    pause(world.ledger, 60.0, world.time.pass_, lambda: world.time.monotonic)
    assert world.time.monotonic == 1060.0
    assert world.ledger.holds()
    second = SqlLedger(world.url, "sim")
    with pytest.raises(AnotherWriter):
        second.claim(world.time.terms)
    second.close()


def take_turns(home: Path, url: str, lives: int, *flags: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.execution.two_engines", str(home), url, str(lives), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.processes
def test_of_processes_that_hang_or_die_in_turn_one_sends_at_a_time(tmp_path: Path, database_url: str) -> None:
    answer = take_turns(tmp_path / "home", database_url, len(LIVES) + 1)
    lives = answer["lives"]
    assert answer["wrong"] == []
    assert [life["claimed"]["fence"] for life in lives] == list(range(1, len(LIVES) + 2))
    for (_, _, ends), life, after in zip(LIVES, lives, lives[1:], strict=False):
        if ends == HANGS:
            assert (life["code"], life["error"]["code"]) == (4, "lease-lost")
            assert f"taken over by process {after['pid']} on " in life["error"]["text"]
        else:
            assert (ends, life["code"]) == (DIES, -9)
            # While it lived the next was refused, and was not when it was dead, long before its lease would end.
            assert after["refused"]["holder"].startswith(f"process {life['pid']} on ")
            assert datetime.fromisoformat(after["claimed"]["now"]) < datetime.fromisoformat(after["refused"]["until"])
    assert (lives[-1]["code"], lives[-1]["error"]) == (0, None)


@pytest.mark.processes
@pytest.mark.parametrize("engine", MUST_CATCH["two engines"], ids=lambda engine: engine.__name__)
def test_the_rig_finds_an_engine_that_is_broken(tmp_path: Path, engine: type[OrderEngine]) -> None:
    answer = take_turns(tmp_path, f"sqlite:///{tmp_path / 'ledger.db'}", 2, engine.__name__)
    assert any("sent 1 orders after life" in finding for finding in answer["wrong"])
