"""The database locked by another process, and a disk that is full at any commit: no order without its intent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from ordinis.domain.decisions import Decision
from ordinis.domain.orders import OrderRequest, OrderState, Side, SubmitOutcome
from ordinis.errors import ConfigurationError, LedgerDamaged, StoreUnavailable
from ordinis.execution.canonical import canonical_ledger
from ordinis.execution.reconcile import reconcile
from ordinis.persistence.unit_of_work import SqlLedger
from tests.execution.world import World

HOLD = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
"""


class Watching:
    """The venue, which looks into the ledger's file at every order: is its intent committed?"""

    def __init__(self, venue: Any, ledger: SqlLedger) -> None:
        self._venue, self._ledger = venue, ledger
        self.sent: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._venue, name)

    def submit(self, request: OrderRequest) -> SubmitOutcome:
        with self._ledger.begin(write=False) as unit:
            intent = unit.orders.get(request.client_order_id)
        assert intent is not None
        assert intent.state is OrderState.SENDING
        self.sent.append(request.symbol)
        outcome: SubmitOutcome = self._venue.submit(request)
        return outcome


@contextmanager
def locked(file: Path, seconds: float) -> Iterator[None]:
    """Another process holds the database for `seconds`, or until the block ends."""
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(file), str(seconds)], stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"locked\n"
    try:
        yield
    finally:
        other.kill()
        other.wait()
        other.stdout.close()


@pytest.mark.parametrize("seconds", [7, pytest.param(30, marks=pytest.mark.slow)])
def test_a_locked_ledger_sends_nothing_and_says_why(tmp_path: Path, seconds: int) -> None:
    world = World(tmp_path)
    reconcile(world.engine())
    decision = world.decide(("AAPL", Side.BUY, "50"))
    venue = Watching(world.venue, world.ledger)
    with locked(tmp_path / "ledger.db", seconds), pytest.raises(StoreUnavailable, match="locked it for more than 5 s"):
        world.engine(venue).execute(decision, world.prices())
    assert venue.sent == []
    assert world.states() == {}
    assert world.engine(venue).execute(decision, world.prices())
    assert venue.sent == ["AAPL"]
    world.agree()


@pytest.mark.slow
def test_a_start_waits_for_no_lock_longer_than_five_seconds(tmp_path: Path) -> None:
    World(tmp_path)
    with locked(tmp_path / "ledger.db", 30), pytest.raises(StoreUnavailable, match="locked it for more than 5 s"):
        SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}", "sim")


class SmallPages(World):
    """A world whose ledger has pages so small that every row that is added needs a new one."""

    def __init__(self, folder: Path) -> None:
        import sqlite3

        db = sqlite3.connect(folder / "ledger.db")
        db.execute("PRAGMA page_size = 512")
        db.execute("VACUUM")
        db.close()
        super().__init__(folder)
        reconcile(self.engine())

    @contextmanager
    def full_at(self, number: int) -> Iterator[list[int]]:
        """No page is left from the `number`-th writing transaction on; yields how many there were."""
        begun = [0]

        def begin(connection: Any) -> None:
            if connection.get_execution_options().get("read_only"):
                return
            begun[0] += 1
            if begun[0] == number:
                pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
                connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

        event.listen(self.ledger.engine, "begin", begin)
        try:
            yield begun
        finally:
            event.remove(self.ledger.engine, "begin", begin)
            with self.ledger.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA max_page_count = 4294967294")

    def session(self, broker: Any) -> Decision:
        """Reconcile, decide, trade two symbols."""
        reconcile(self.engine(broker), finish=True)
        with self.ledger.begin(write=False) as unit:
            known = unit.decisions.latest()
        decision = known or self.decide(("AAPL", Side.BUY, "50"), ("KO", Side.BUY, "60"))
        self.engine(broker).execute(decision, self.prices())
        return decision


def test_a_disk_that_is_full_at_any_commit_loses_nothing_and_sends_nothing_unrecorded(tmp_path: Path) -> None:
    quiet_folder = tmp_path / "quiet"
    quiet_folder.mkdir()
    quiet = SmallPages(quiet_folder)
    with quiet.full_at(0) as begun:
        quiet.session(quiet.venue)
    writes = begun[0]
    text = canonical_ledger(quiet.ledger)
    messages = []
    for number in range(1, writes + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        world = SmallPages(folder)
        venue = Watching(world.venue, world.ledger)
        with world.full_at(number):
            try:
                world.session(venue)
            except StoreUnavailable as error:
                messages.append(str(error))
            before = list(venue.sent)
            with world.ledger.begin(write=False) as unit:
                unit.verify()
                intended = {intent.symbol for intent in unit.orders.all()}
        assert set(before) <= intended
        world.session(venue)
        assert canonical_ledger(world.ledger).splitlines() == text.splitlines()
        assert sorted(world.venue.positions().value) == ["AAPL", "KO"]
        world.agree()
    assert all("the disk is full" in told and "make room and start again" in told for told in messages)
    # What adds no row, such as moving the watermark, fits into the pages that there are.
    assert len(messages) >= 9
    assert writes - len(messages) <= 1


@pytest.mark.parametrize("wreck", [b"", b"SQLite format 3\x00", b"no database at all" * 100])
def test_a_file_that_is_no_ledger_is_refused_in_one_line(tmp_path: Path, wreck: bytes) -> None:
    world = World(tmp_path)
    reconcile(world.engine())
    world.ledger.anchor()
    (tmp_path / "ledger.db").write_bytes(wreck)
    with pytest.raises(LedgerDamaged, match="ordinis restore"):  # noqa: PT012
        ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}", "sim")
        with ledger.begin(write=False) as unit:
            unit.verify()


def test_a_schema_whose_text_is_none_is_damage_and_not_a_crash(tmp_path: Path) -> None:
    SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}", "sim").close()
    file = tmp_path / "ledger.db"
    # SQLite's message quotes the name of what it cannot parse.
    pages = file.read_bytes().replace(b"tableorder_intentorder_intent", b"tableorder\xaaintentorder_intent")
    file.write_bytes(pages.replace(b"CREATE TABLE order_intent", b"CREATE TABLX order_intent"))
    with pytest.raises(LedgerDamaged, match="a text in its schema is none"):
        SqlLedger(f"sqlite:///{file}", "sim")


def test_a_path_that_cannot_be_opened_is_an_error_with_advice(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(StoreUnavailable, match="look at the path and at the rights"):
        SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}", "sim")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be made: Not a directory"):
        SqlLedger(f"sqlite:///{tmp_path / 'file' / 'deep' / 'ledger.db'}", "sim")


def test_a_lock_that_cannot_be_opened_is_an_error_and_no_claim(tmp_path: Path) -> None:
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}", "sim")
    (tmp_path / "ledger.db.lock").mkdir()
    with pytest.raises(StoreUnavailable, match="the ledger's lock cannot be opened"):
        ledger.claim()
