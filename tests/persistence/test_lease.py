"""The lease of the trading process, on SQLite and on PostgreSQL, in a time that the test sets."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from ordinis import __version__
from ordinis.domain.limits import TradingState
from ordinis.domain.portfolio import Movement
from ordinis.errors import AnotherWriter, LeaseLost, StoreUnavailable
from ordinis.persistence.lease import Terms, lock_file, lock_path
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import ControlRow

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
Opener = Callable[[], SqlLedger]
POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@dataclass
class Time:
    """Both clocks, which usually go on together."""

    now: datetime = NOON
    monotonic: float = 1000.0

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.monotonic += seconds

    @property
    def terms(self) -> Terms:
        return Terms(15.0, lambda: self.now, lambda: self.monotonic)


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def open_ledger(database_url: str) -> Iterator[Opener]:
    opened = []

    def another() -> SqlLedger:
        opened.append(SqlLedger(database_url, "sim"))
        return opened[-1]

    yield another
    for ledger in opened:
        ledger.close()


def deposit(ledger: SqlLedger, name: str = "deposit") -> None:
    with ledger.begin() as unit:
        unit.book.movement(Movement("sim", name, "deposit", Decimal(5), NOON))
        unit.commit()


def cash(ledger: SqlLedger) -> Decimal:
    with ledger.begin(write=False) as unit:
        return unit.book.cash()


def row(ledger: SqlLedger) -> dict[str, Any]:
    with ledger.engine.connect() as connection:
        return dict(connection.execute(text("SELECT * FROM lease WHERE name = 'sim'")).mappings().one())


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """What is sent to the database in the block, the beginnings and commits of transactions included."""
    seen: list[str] = []

    def execute(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        # SQLite's BEGIN passes here too, and is counted below for both.
        if not statement.startswith("BEGIN"):
            seen.append(" ".join(statement.split()[:2]).upper())

    heard: list[tuple[str, Callable[..., None]]] = [
        ("before_cursor_execute", execute),
        ("begin", lambda _: seen.append("BEGIN")),
        ("commit", lambda _: seen.append("COMMIT")),
        ("rollback", lambda _: seen.append("ROLLBACK")),
    ]
    for name, listener in heard:
        event.listen(engine, name, listener)
    yield seen
    for name, listener in heard:
        event.remove(engine, name, listener)


def test_each_claim_raises_the_fence_by_one(open_ledger: Opener, clock: Time) -> None:
    fences = []
    for _ in range(4):
        ledger = open_ledger()
        assert ledger.fence == 0
        ledger.claim(clock.terms)
        fences.append(ledger.fence)
        assert row(ledger)["fence"] == ledger.fence
        ledger.close()
    assert fences == [1, 2, 3, 4]


def test_a_living_holder_is_not_replaced_and_the_refusal_names_it(open_ledger: Opener, clock: Time) -> None:
    open_ledger().claim(clock.terms)
    clock.pass_(14.9)
    with pytest.raises(AnotherWriter) as refused:
        open_ledger().claim(clock.terms)
    assert str(refused.value).startswith(
        f"the ledger is held by process {os.getpid()} on {socket.gethostname()} since 2026-11-20T12:00:00.000000Z, "
        f"version {__version__} (fence 1, lease until 2026-11-20T12:00:15.000000Z); stop that actor first"
    )
    page = Path(__file__).resolve().parents[2] / "docs" / "operating.md"
    assert "## Two actors" in page.read_text(encoding="utf-8")


def test_a_dead_holder_is_replaced_at_once(open_ledger: Opener, clock: Time) -> None:
    first, second = open_ledger(), open_ledger()
    first.claim(clock.terms)
    first.close()
    second.claim(clock.terms)
    assert second.fence == 2
    deposit(second)


def test_a_holder_whose_lease_has_ended_is_replaced_and_writes_nothing_more(open_ledger: Opener, clock: Time) -> None:
    first, second = open_ledger(), open_ledger()
    first.claim(clock.terms)
    deposit(first, "before")
    clock.pass_(15.0)
    second.claim(clock.terms)
    for attempt in (lambda: deposit(first, "after"), first.renew):
        with pytest.raises(LeaseLost, match=rf"taken over by process {os.getpid()} .*, fence 2: this process, fence 1"):
            attempt()
    deposit(second, "its own")
    assert cash(first) == 10
    assert row(second)["fence"] == 2


def test_a_holder_that_wakes_before_anybody_claims_goes_on(open_ledger: Opener, clock: Time) -> None:
    first = open_ledger()
    first.claim(clock.terms)
    clock.pass_(300.0)
    assert not first.holds()
    deposit(first)
    assert first.holds()
    with pytest.raises(AnotherWriter, match=r"fence 1, lease until 2026-11-20T12:05:15"):
        open_ledger().claim(clock.terms)


def test_a_fence_that_comes_again_with_an_older_ledger_is_not_taken_for_ones_own(
    open_ledger: Opener, clock: Time
) -> None:
    first = open_ledger()
    first.claim(clock.terms)
    with first.engine.begin() as connection:
        connection.execute(text("UPDATE lease SET holder = 'another'"))
    for waited in (0.0, 5.0):
        clock.pass_(waited)
        with pytest.raises(LeaseLost, match="taken over by another, fence 1: this process, fence 1"):
            deposit(first)


def test_the_death_of_a_replaced_holder_does_not_free_the_role(open_ledger: Opener, clock: Time) -> None:
    first, second = open_ledger(), open_ledger()
    first.claim(clock.terms)
    clock.pass_(20.0)
    second.claim(clock.terms)
    first.close()
    with pytest.raises(AnotherWriter, match="fence 2"):
        open_ledger().claim(clock.terms)
    second.close()
    third = open_ledger()
    third.claim(clock.terms)
    assert third.fence == 3


def test_the_lease_is_renewed_from_a_third_on_inside_the_transaction_that_writes(
    open_ledger: Opener, clock: Time
) -> None:
    ledger = open_ledger()
    ledger.claim(clock.terms)
    for waited, asserted, until in ((4.9, "SELECT LEASE.FENCE", 15), (0.1, "UPDATE LEASE", 20), (4.9, "", 20)):
        clock.pass_(waited)
        with statements(ledger.engine) as seen:
            deposit(ledger, f"at {clock.monotonic}")
        asserted = asserted or "SELECT LEASE.FENCE"
        assert [seen[0], seen[1].rstrip(","), seen[-1]] == ["BEGIN", asserted, "COMMIT"]
        assert [s for s in seen if s in ("BEGIN", "COMMIT", "ROLLBACK")] == ["BEGIN", "COMMIT"]
        assert sum("LEASE" in s for s in seen) == 1
        with pytest.raises(AnotherWriter) as refused:
            open_ledger().claim(clock.terms)
        assert refused.value.until == f"2026-11-20T12:00:{until}.000000Z"


def test_renewing_writes_once_it_is_due_and_nothing_before(open_ledger: Opener, clock: Time) -> None:
    ledger = open_ledger()
    ledger.claim(clock.terms)
    clock.pass_(4.9)
    with statements(ledger.engine) as seen:
        ledger.renew()
    assert seen == []
    clock.pass_(0.1)
    with statements(ledger.engine) as seen:
        ledger.renew()
    assert seen == ["BEGIN", "UPDATE LEASE", "COMMIT"]
    clock.pass_(9.9)
    assert ledger.holds()


def test_a_transaction_that_is_rolled_back_renews_nothing(open_ledger: Opener, clock: Time) -> None:
    ledger = open_ledger()
    ledger.claim(clock.terms)
    clock.pass_(9.0)
    with ledger.begin() as unit:
        unit.book.movement(Movement("sim", "d", "deposit", Decimal(5), NOON))
    assert ledger.holds()
    clock.pass_(1.0)
    assert not ledger.holds()
    clock.pass_(5.0)
    second = open_ledger()
    second.claim(clock.terms)
    assert second.fence == 2


def test_a_third_of_the_lease_must_be_left_to_write_to_a_broker(open_ledger: Opener, clock: Time) -> None:
    ledger = open_ledger()
    assert ledger.holds()
    ledger.claim(clock.terms)
    clock.pass_(9.99)
    assert ledger.holds()
    clock.pass_(0.01)
    assert not ledger.holds()


def test_setting_the_systems_clock_back_gives_the_holder_no_more_time(open_ledger: Opener, clock: Time) -> None:
    first, second = open_ledger(), open_ledger()
    first.claim(clock.terms)
    clock.pass_(12.0)
    clock.now -= timedelta(hours=1)
    assert not first.holds()
    # And set forward it may cost a living holder the role, which then learns of it.
    clock.now += timedelta(hours=2)
    second.claim(clock.terms)
    with pytest.raises(LeaseLost):
        deposit(first)
    assert cash(second) == 0


def test_a_ledger_that_claimed_nothing_asserts_nothing(open_ledger: Opener, clock: Time) -> None:
    actor, beside = open_ledger(), open_ledger()
    actor.claim(clock.terms)
    with statements(beside.engine) as seen, beside.begin() as unit:
        unit.control.set(ControlRow(TradingState.KILLED, "drill", "anna", NOON))
        unit.commit()
    assert not any("LEASE" in s for s in seen)
    with statements(actor.engine) as seen:
        cash(actor)
    assert not any("LEASE" in s for s in seen)
    deposit(actor)


def test_two_accounts_of_one_database_have_a_role_each_but_a_file_has_one_lock(database_url: str, clock: Time) -> None:
    mine, yours = SqlLedger(database_url, "mine"), SqlLedger(database_url, "yours")
    mine.claim(clock.terms)
    if database_url.startswith("sqlite"):
        clock.pass_(60.0)
        with pytest.raises(AnotherWriter, match=f"held by process {os.getpid()}"):
            yours.claim(clock.terms)
        mine.close()
    yours.claim(clock.terms)
    assert (yours.fence, yours.holds()) == (1, True)
    mine.close()
    yours.close()


def test_a_lock_held_for_a_restore_is_not_taken_over_however_old_the_lease(tmp_path: Path, clock: Time) -> None:
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}", "sim")
    ledger.claim(clock.terms)
    ledger.close()
    clock.pass_(60.0)
    with lock_file(lock_path(tmp_path / "ledger.db"), "a restore"), pytest.raises(AnotherWriter, match="a restore"):
        ledger.claim(clock.terms)


def test_a_ledger_in_memory_can_be_claimed_too(clock: Time) -> None:
    ledger = SqlLedger("sqlite://", "sim")
    ledger.claim(clock.terms)
    deposit(ledger)
    assert (ledger.fence, cash(ledger)) == (1, 5)


def test_a_claim_waits_for_the_transaction_that_the_holder_has_begun(open_ledger: Opener, clock: Time) -> None:
    first, second = open_ledger(), open_ledger()
    first.claim(clock.terms)
    claimed = threading.Thread(target=second.claim, args=(clock.terms,))
    with first.begin() as unit:
        unit.book.movement(Movement("sim", "d", "deposit", Decimal(5), NOON))
        clock.pass_(15.0)
        claimed.start()
        _until_it_waits(first.engine, claimed)
        unit.commit()
    claimed.join()
    assert (second.fence, cash(second)) == (2, 5)
    with pytest.raises(LeaseLost):
        deposit(first, "late")


def _until_it_waits(engine: Engine, other: threading.Thread) -> None:
    """Until `other` waits for what a transaction of `engine` holds; SQLite does not tell, there a moment has to do."""
    if engine.dialect.name == "sqlite":
        other.join(0.2)
        assert other.is_alive()
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        for _ in range(2000):
            if connection.execute(waiting).scalar_one():
                return
            time.sleep(0.005)
    raise AssertionError("nobody waits")


@POSTGRESQL
def test_a_holder_that_lost_its_session_is_replaced_at_once_and_learns_of_it(open_ledger: Opener, clock: Time) -> None:
    first, second = open_ledger(), open_ledger()
    first.claim(clock.terms)
    deposit(first, "before")
    with second.engine.begin() as connection:
        ended = connection.execute(
            text(
                "SELECT pg_terminate_backend(pid, 5000) FROM (SELECT DISTINCT pid FROM pg_locks WHERE locktype = "
                "'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS holders"
            )
        ).scalars()
        assert list(ended) == [True]
    deposit(first, "still alone")
    second.claim(clock.terms)
    with pytest.raises(LeaseLost):
        deposit(first, "after")
    assert cash(second) == 10


@POSTGRESQL
def test_a_holder_that_hangs_in_a_transaction_keeps_the_role_no_longer_than_its_lease(open_ledger: Opener) -> None:
    """In real time, for the server ends the transaction."""
    terms, (first, second) = Terms(seconds=0.3), (open_ledger(), open_ledger())
    first.claim(terms)
    with pytest.raises(StoreUnavailable, match="idle"), first.begin() as unit:  # noqa: PT012
        unit.book.movement(Movement("sim", "d", "deposit", Decimal(5), NOON))
        while not second.fence:
            try:
                second.claim(terms)
            except AnotherWriter:
                time.sleep(0.05)
        unit.commit()
    assert cash(second) == 0
    deposit(second)


@POSTGRESQL
def test_a_kill_waits_for_the_order_that_is_being_sent(open_ledger: Opener, clock: Time) -> None:
    actor, person = open_ledger(), open_ledger()
    actor.claim(clock.terms)
    told: list[str] = []

    def kill() -> None:
        with person.begin() as unit:
            unit.control.set(ControlRow(TradingState.KILLED, "drill", "anna", NOON))
            told.append("killed")
            unit.commit()

    killing = threading.Thread(target=kill)
    with actor.begin() as unit:
        assert unit.control.state() is None
        killing.start()
        _until_it_waits(actor.engine, killing)
        told.append("sent")
        unit.commit()
    killing.join()
    assert told == ["sent", "killed"]


@POSTGRESQL
def test_an_order_that_comes_while_a_kill_is_being_written_waits_and_sees_it(open_ledger: Opener, clock: Time) -> None:
    actor, person = open_ledger(), open_ledger()
    actor.claim(clock.terms)
    seen: list[ControlRow | None] = []

    def send() -> None:
        with actor.begin() as unit:
            seen.append(unit.control.state())

    sending = threading.Thread(target=send)
    with person.begin() as unit:
        unit.control.set(ControlRow(TradingState.KILLED, "drill", "anna", NOON))
        sending.start()
        _until_it_waits(person.engine, sending)
        unit.commit()
    sending.join()
    assert [row.state for row in seen if row] == [TradingState.KILLED]
