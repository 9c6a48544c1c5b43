"""A backup is a whole ledger; a restore leads, with the broker's help, to the book that was lost."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ordinis.domain.orders import Side
from ordinis.errors import AnotherWriter, BackupUnusable, ConfigurationError, LedgerDamaged
from ordinis.execution.reconcile import reconcile
from ordinis.persistence import backups
from ordinis.persistence.unit_of_work import SqlLedger
from tests.execution.world import World
from tests.persistence.test_anchor import deposit, verify
from tests.persistence.test_integrity import first_version

AT = datetime(2020, 3, 17, 8, 0, tzinfo=UTC)


def a_ledger(folder: Path, account: str = "sim") -> SqlLedger:
    return SqlLedger(f"sqlite:///{folder / 'ledger.db'}", account)


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'ledger.db'}"


def test_what_was_lost_since_the_backup_comes_back_from_the_broker(tmp_path: Path) -> None:
    world = World(tmp_path)
    reconcile(world.engine())
    world.engine().execute(world.decide(("AAPL", Side.BUY, "50")), world.prices())
    backups.backup(world.ledger, tmp_path / "copy.db")
    world.clock.advance(world.clock.now() + timedelta(minutes=1))
    world.engine().execute(world.decide(("KO", Side.BUY, "60"), ("AAPL", Side.SELL, "20")), world.prices())
    world.ledger.anchor()
    world.ledger.close()
    with (tmp_path / "ledger.db").open("r+b") as file:
        file.truncate(8192)
    with pytest.raises(LedgerDamaged):
        verify(a_ledger(tmp_path))

    kept = backups.restore(url(tmp_path), "sim", tmp_path / "copy.db", AT)

    assert kept == tmp_path / "ledger.db.damaged-20200317T080000Z"
    assert kept.stat().st_size == 8192
    world.ledger = a_ledger(tmp_path)
    verify(world.ledger)
    world.agree()
    with world.ledger.begin(write=False) as unit:
        assert unit.book.holdings() == {"AAPL": Decimal(30), "KO": Decimal(60)}
    world.clock.advance(world.clock.now() + timedelta(minutes=1))
    world.engine().execute(world.decide(("XOM", Side.BUY, "10")), world.prices())
    world.agree()


def test_a_backup_is_taken_between_two_commits_of_a_writer_that_does_not_stop(tmp_path: Path) -> None:
    ledger, done = a_ledger(tmp_path), threading.Event()

    def write() -> None:
        number = 0
        while not done.is_set():
            number += 1
            deposit(ledger, number)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            backups.backup(ledger, tmp_path / f"copy{number}.db")
    finally:
        done.set()
        writer.join()
    for number in range(3):
        copy = SqlLedger(f"sqlite:///{tmp_path / f'copy{number}.db'}", "sim")
        verify(copy)
    assert list(tmp_path.glob("*.part")) == []


def test_a_backup_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("precious")
    with pytest.raises(ConfigurationError, match="give the backup a new name"):
        backups.backup(a_ledger(tmp_path), tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "precious"


def test_no_backup_is_made_of_a_damaged_ledger(tmp_path: Path) -> None:
    ledger = a_ledger(tmp_path)
    deposit(ledger, 1)
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE balance SET cash = '6'")
    with pytest.raises(BackupUnusable, match="the ledger is damaged: table balance, row sim: cash: 6 kept, 5 by"):
        backups.backup(ledger, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()
    assert list(tmp_path.glob("*.part*")) == []


def test_a_restore_is_refused_while_an_actor_holds_the_ledger(tmp_path: Path) -> None:
    ledger = a_ledger(tmp_path)
    backups.backup(ledger, tmp_path / "copy.db")
    deposit(ledger, 1)
    ledger.claim()
    with pytest.raises(AnotherWriter, match="stop that actor first"):
        backups.restore(url(tmp_path), "sim", tmp_path / "copy.db", AT)
    with ledger.begin(write=False) as unit:
        assert unit.book.cash() == 5
    ledger.close()
    backups.restore(url(tmp_path), "sim", tmp_path / "copy.db", AT)


@pytest.mark.parametrize(
    ("wreck", "told"),
    [
        (None, "there is no such file"),
        (b"no database at all", "is not a whole ledger: file .*: file is not a database; try an older one"),
        ("flip", "is not a whole ledger: table movement, row 1"),
        ("other", "is not a whole ledger: file .*: it is the ledger of other, not of sim"),
        ("itself", "it is the ledger itself"),
    ],
)
def test_only_a_whole_ledger_of_the_account_is_put_back(tmp_path: Path, wreck: bytes | str | None, told: str) -> None:
    ledger, copy = a_ledger(tmp_path), tmp_path / "copy.db"
    deposit(ledger, 1)
    ledger.close()
    before = (tmp_path / "ledger.db").read_bytes()
    match wreck:
        case bytes():
            copy.write_bytes(wreck)
        case "flip":
            copy.write_bytes(before.replace(b"deposit", b"deposed"))
        case "itself":
            copy = tmp_path / "ledger.db"
        case "other":
            other = SqlLedger(f"sqlite:///{copy}", "other")
            with other.begin() as unit:
                unit.book.set_watermark(AT)
                unit.commit()
    with pytest.raises(BackupUnusable, match=told):
        backups.restore(url(tmp_path), "sim", copy, AT)
    assert (tmp_path / "ledger.db").read_bytes() == before
    assert list(tmp_path.glob("*.restoring*")) == []


def test_a_backup_of_the_first_version_is_brought_up_to_date_and_stays_as_it_is(tmp_path: Path) -> None:
    source = SqlLedger("sqlite://", "sim")
    deposit(source, 1)
    first_version(f"sqlite:///{tmp_path / 'copy.db'}", source)
    before = (tmp_path / "copy.db").read_bytes()
    assert backups.restore(url(tmp_path), "sim", tmp_path / "copy.db", AT) is None
    verify(a_ledger(tmp_path))
    assert (tmp_path / "copy.db").read_bytes() == before
    assert list(tmp_path.glob("*.restoring*")) == []


def test_a_journal_left_by_the_damaged_ledger_is_not_played_into_the_restored_one(tmp_path: Path) -> None:
    ledger = a_ledger(tmp_path)
    deposit(ledger, 1)
    backups.backup(ledger, tmp_path / "copy.db")
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as writer:
        writer.execute("PRAGMA cache_size = 1")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("CREATE TABLE half (x)")
        writer.executemany("INSERT INTO half VALUES (?)", [("y" * 4000,) for _ in range(500)])
        # As a power cut leaves it: the journal of a transaction that was not finished.
        shutil.copyfile(tmp_path / "ledger.db-journal", tmp_path / "hot")
        writer.execute("ROLLBACK")
    ledger.close()
    shutil.copyfile(tmp_path / "hot", tmp_path / "ledger.db-journal")
    kept = backups.restore(url(tmp_path), "sim", tmp_path / "copy.db", AT)
    assert kept is not None
    assert kept.with_name(f"{kept.name}-journal").exists()
    verify(a_ledger(tmp_path))


def test_a_restore_that_was_interrupted_trades_on_nothing_and_can_be_done_again(tmp_path: Path) -> None:
    ledger = a_ledger(tmp_path)
    deposit(ledger, 1)
    backups.backup(ledger, tmp_path / "copy.db")
    deposit(ledger, 2)
    ledger.anchor()
    ledger.close()
    (tmp_path / "ledger.db").rename(tmp_path / "ledger.db.damaged-20200317T080000Z")
    with pytest.raises(LedgerDamaged, match="the end was cut off"):
        verify(a_ledger(tmp_path))
    backups.restore(url(tmp_path), "sim", tmp_path / "copy.db", AT + timedelta(minutes=1))
    verify(a_ledger(tmp_path))


def test_postgresql_is_told_to_use_its_own_tools(database_url: str, tmp_path: Path) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite has its backups here")
    with pytest.raises(ConfigurationError, match="pg_dump"):
        backups.backup(SqlLedger(database_url, "sim"), tmp_path / "copy.db")
    with pytest.raises(ConfigurationError, match="pg_dump"):
        backups.restore(database_url, "sim", tmp_path / "copy.db", AT)
