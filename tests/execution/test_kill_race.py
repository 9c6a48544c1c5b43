"""A kill from another process while orders are being sent: what the database itself says of who came first.

The kill notes, inside the transaction that writes KILLED and last before its commit, how many order events there are.
On SQLite that transaction holds the one write lock from its beginning, so a SENDING beyond that number was committed
later than KILLED, and one before it earlier. On PostgreSQL the kill has by then the lock that every sender shares, so
the same holds. In half of the races the flag file goes up first, in the other half the row is alone.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from sqlalchemy import text

from ordinis.clock import ReplayClock
from ordinis.domain.canonical import canonical, digest
from ordinis.domain.decisions import Decision, DecisionStatus, Source, decision_id
from ordinis.domain.orders import OrderIntent, OrderState, PlannedOrder, Side
from ordinis.execution.gates import Gates
from ordinis.execution.intents import OrderEngine
from ordinis.execution.kill import kill
from ordinis.execution.killpoints import KillPoint
from ordinis.persistence.unit_of_work import SqlLedger, SqlUnitOfWork
from ordinis.ports import OrderEvent
from tests.brokers.market import CALENDAR, SYMBOLS, TODAY, a_broker, instruments, prices_at
from tests.execution.world import COSTS, LIMITS, PACED, PRICES

QUICK, MANY, ON_POSTGRESQL = 100, 500, 50
LATEST = 40
"""The engine's kill point at whose passing the kill is let go, at the latest."""
ON_THE_WIRE = 0.005
"""Seconds."""
EVENTS = text("SELECT seq, coid, payload FROM order_event WHERE seq > :since ORDER BY seq")


class Noting(SqlLedger):
    """A ledger that remembers how many order events there were when its last writer committed."""

    events = 0

    @contextmanager
    def begin(self, *, write: bool = True) -> Iterator[SqlUnitOfWork]:
        with super().begin(write=write) as unit:
            yield _NotingUnit(unit, self) if write else unit  # type: ignore[misc]


@dataclass
class _NotingUnit:
    _unit: SqlUnitOfWork
    _ledger: Noting

    def __getattr__(self, name: str) -> object:
        return getattr(self._unit, name)

    def commit(self) -> None:
        self._ledger.events = self._unit.heads()["order_event"].length
        self._unit.commit()


def killer(url: str, ours: Connection) -> None:
    """The process that kills: for each account it is told, when it is told to go."""
    while (told := ours.recv()) is not None:
        account, flag = told
        ledger = Noting(url, account)
        ours.send("ready")
        ours.recv()
        steps = kill(Path(flag), lambda book=ledger: book, lambda: None, reason="race", by="anna", at=datetime.now(UTC))
        ours.send((ledger.events, [step.detail for step in steps if not step.done]))
        ledger.close()


UNPACED = replace(PACED, orders_per_minute=None)
"""Many decisions within a minute, which the pace would halt before the kill does."""


@dataclass
class Race:
    """One account that trades until a kill stops it."""

    url: str
    folder: Path
    seed: int
    killing: Connection
    engine_class: type[OrderEngine] = OrderEngine
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = random.Random(self.seed)
        self.account = f"race-{self.seed}"
        self.ledger = SqlLedger(self.url, self.account)
        self.clock = ReplayClock(CALENDAR.opens(TODAY) + timedelta(hours=2))
        self.venue = a_broker(self.clock, account=self.account)
        self.flag = self.folder / f"KILLED-{self.seed}"
        seen = self.flag if rng.random() < 0.5 else None
        self.gates = Gates(CALENDAR, instruments(), LIMITS, "limits", COSTS, seen, UNPACED)
        self.left = rng.randrange(1, LATEST + 1)

    def run(self) -> Race:
        with self.ledger.begin(write=False) as unit:
            since = unit.heads()["order_event"].length
        self._deposit()
        self.killing.send((self.account, str(self.flag)))
        self.killing.recv()
        engine = self.engine_class(self.ledger, self.venue, self.clock, self.gates, kill_point=self._passing)
        for number in count():
            self.clock.advance(self.clock.now() + timedelta(seconds=1))
            engine.execute(self._decide(Side.SELL if number % 2 else Side.BUY), prices_at(self.venue))
            if self._stopped():
                break
        killed_at, failed = self.killing.recv()
        assert failed == []
        self._judge(since, killed_at)
        self.ledger.close()
        return self

    def _stopped(self) -> bool:
        """As the actor asks before every decision."""
        with self.ledger.begin(write=False) as unit:
            return unit.control.state() is not None or (self.gates.kill_flag is not None and self.flag.exists())

    def _judge(self, since: int, killed_at: int) -> None:
        with self.ledger.engine.connect() as connection:
            rows = connection.execute(EVENTS, {"since": since}).all()
        sent = {coid: seq for seq, coid, payload in rows if json.loads(payload).get("state") == "SENDING"}
        self.before = sum(seq <= killed_at for seq in sent.values())
        self.after = sum(seq > killed_at for seq, _, _ in rows)
        late = [coid for coid, seq in sent.items() if seq > killed_at]
        self.wrong += [f"order {coid} was committed as sent after KILLED was" for coid in late]
        at_the_venue = {fill.client_order_id for fill in self.venue.fills(datetime(1990, 1, 1, tzinfo=UTC)).value}
        allowed = {coid for coid, seq in sent.items() if seq <= killed_at}
        self.wrong += [f"order {coid} reached the venue after the kill" for coid in at_the_venue - allowed]

    def _passing(self, point: KillPoint) -> None:
        if point is KillPoint.WIRE:
            # A broker takes its time, in which nobody holds the ledger's lock.
            time.sleep(ON_THE_WIRE)
        self.left -= 1
        if self.left == 0:
            self.killing.send("go")

    def _deposit(self) -> None:
        with self.ledger.begin() as unit:
            for movement in self.venue.movements(datetime(1990, 1, 1, tzinfo=UTC)).value:
                unit.book.movement(movement)
            unit.book.set_watermark(self.clock.now())
            unit.commit()

    def _decide(self, side: Side) -> Decision:
        now = self.clock.now()
        inputs = canonical({"as_of": now, "account": self.account})
        decision = Decision(
            id=decision_id(self.account, now, Source.MODEL, digest(inputs), "limits", "m"), account=self.account,
            source=Source.MODEL, model_sha="m", inputs_sha=digest(inputs), limits_sha="limits", as_of=now,
            expires_at=now + timedelta(minutes=15), weights={},
            orders=tuple(PlannedOrder(s, side.value, side, Decimal(1), PRICES[s]) for s in SYMBOLS),
            status=DecisionStatus.APPROVED, approved_by="race", reason="",
        )  # fmt: skip
        with self.ledger.begin() as unit:
            unit.decisions.add(decision, inputs, [], [])
            unit.commit()
        return decision


class LooksBeforeItsTransaction(OrderEngine):
    """Asks the gates in one transaction and commits SENDING in the next, a moment later."""

    def _send(self, intent: OrderIntent, decision: Decision) -> None:
        coid, now = intent.client_order_id, self.clock.now()
        with self.ledger.begin(write=False) as unit:
            reason = self.gates.still_valid(unit, decision, intent.symbol, intent.side, now)
        time.sleep(ON_THE_WIRE)
        with self.ledger.begin() as unit:
            state = OrderState.EXPIRED_UNSENT if reason else OrderState.SENDING
            told = {"state": state.value, "reason": reason}
            event = OrderEvent(f"{coid}:{state}", "local", now, now, told, sent_at=None if reason else now)
            unit.orders.move(coid, state, event)
            unit.commit()
        self.kill_point(KillPoint.SENDING)
        if not reason:
            self._write(intent)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Every order that is denied is logged."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def races(tmp_path: Path) -> Iterator[Races]:
    started = Races(tmp_path)
    yield started
    started.end()


class Races:
    """Races one after the other against one killing process."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._context = folder, get_context("spawn")
        self._ends: list[tuple[Connection, object]] = []

    def run(self, url: str, seeds: range, engine_class: type[OrderEngine] = OrderEngine) -> Iterator[Race]:
        SqlLedger(url, "first").close()
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=killer, args=(url, theirs), daemon=True)
        process.start()
        self._ends.append((ours, process))
        for seed in seeds:
            yield Race(url, self._folder, seed, ours, engine_class).run()

    def end(self) -> None:
        for ours, process in self._ends:
            ours.send(None)
            process.join(10)  # type: ignore[attr-defined]


def judged(found: Iterator[Race]) -> None:
    """Nothing is wrong in any race; and they were races: orders had been sent before, and more were still to come."""
    every = list(found)
    assert [text for race in every for text in race.wrong] == []
    assert sum(race.after > 0 for race in every) > len(every) / 2
    assert sum(race.before > 0 for race in every) > len(every) / 2


@pytest.mark.processes
def test_no_order_is_committed_as_sent_after_a_kill_is(races: Races, tmp_path: Path) -> None:
    judged(races.run(f"sqlite:///{tmp_path / 'ledger.db'}", range(QUICK)))


@pytest.mark.slow
@pytest.mark.processes
def test_no_order_of_many_is_committed_as_sent_after_a_kill_is(races: Races, tmp_path: Path) -> None:
    judged(races.run(f"sqlite:///{tmp_path / 'ledger.db'}", range(QUICK, QUICK + MANY)))


@pytest.mark.processes
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_no_order_is_committed_as_sent_after_a_kill_is_on_postgresql(races: Races, database_url: str) -> None:
    judged(races.run(database_url, range(ON_POSTGRESQL)))


@pytest.mark.processes
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_engine_that_looks_before_its_transaction_loses_a_race_on_postgresql(
    races: Races, database_url: str
) -> None:
    found = races.run(database_url, range(ON_POSTGRESQL), LooksBeforeItsTransaction)
    assert any(race.wrong for race in found)


@pytest.mark.processes
def test_an_engine_that_looks_before_its_transaction_loses_a_race(races: Races, tmp_path: Path) -> None:
    found = races.run(f"sqlite:///{tmp_path / 'ledger.db'}", range(QUICK), LooksBeforeItsTransaction)
    assert any(race.wrong for race in found)
