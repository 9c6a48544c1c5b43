"""Backup and restore as an operator meets them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from ordinis.domain.portfolio import Movement
from ordinis.persistence.unit_of_work import SqlLedger
from tests.cli.test_cli import run


def test_a_ledger_is_copied_damaged_refused_and_restored(tmp_path: Path) -> None:
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}", "sim")
    with ledger.begin() as unit:
        unit.book.movement(Movement("sim", "d", "deposit", Decimal(5), datetime(2020, 3, 16, tzinfo=UTC)))
        unit.commit()
    ledger.close()
    made = run("backup", str(tmp_path / "copy.db"), home=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "verified" in made.stdout
    (tmp_path / "ledger.db").write_bytes(b"x" * 5000)

    refused = run("trade", "--local", home=tmp_path)
    assert refused.returncode == 4
    assert refused.stderr.startswith("ledger-damaged: ledger file")
    assert "ordinis restore" in refused.stderr
    assert "Traceback" not in refused.stderr

    put_back = run("restore", str(tmp_path / "copy.db"), home=tmp_path)
    assert put_back.returncode == 0, put_back.stderr
    assert "The old one is kept as" in put_back.stdout
    again = run("backup", str(tmp_path / "copy.db"), home=tmp_path)
    assert again.returncode == 2
    assert "give the backup a new name" in again.stderr


def test_help_says_when_to_use_which(tmp_path: Path) -> None:
    assert "the actor may go on trading" in " ".join(run("backup", "--help", home=tmp_path).stdout.split())
    shown = " ".join(run("restore", "--help", home=tmp_path).stdout.split())
    assert "Stop the actor first" in shown
    assert "imported at the next start" in shown


def test_there_is_no_backup_of_a_ledger_that_is_not_there(tmp_path: Path) -> None:
    none = run("backup", str(tmp_path / "copy.db"), home=tmp_path)
    assert none.returncode == 8
    assert "is that where Ordinis runs?" in none.stderr
