"""A ledger is verified without keeping anybody out, and a copy that cannot be made says why."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from benchmarks.ledger import fill_up
from ordinis.domain.limits import TradingState
from ordinis.errors import LedgerDamaged, StoreUnavailable
from ordinis.persistence import integrity
from ordinis.persistence.engine import BUSY_TIMEOUT_MS
from ordinis.persistence.reading import plain_rows
from ordinis.persistence.snapshot import snapshot
from ordinis.persistence.tables import fill
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import ControlRow
from tests.persistence.test_ledger import NOW
from tests.persistence.test_store_faults import locked


def ledger_of(folder: Path, fills: int) -> SqlLedger:
    ledger = SqlLedger(f"sqlite:///{folder / 'ledger.db'}", "sim")
    fill_up(ledger, count(), fills)
    return ledger


def kill_row(ledger: SqlLedger, number: int = 0) -> None:
    with ledger.begin() as unit:
        unit.control.set(ControlRow(TradingState.KILLED, "drill", "anna", NOW + timedelta(seconds=number)))
        unit.commit()


def verify(ledger: SqlLedger) -> tuple[float, float]:
    """When it began and when it ended."""
    began = time.monotonic()
    with ledger.begin(write=False) as unit:
        unit.verify()
    return began, time.monotonic()


def test_rows_are_written_while_a_ledger_is_verified(tmp_path: Path) -> None:
    ledger, other = ledger_of(tmp_path, 4_000), SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}", "sim")
    written: list[float] = []
    ended = threading.Event()

    def write() -> None:
        for number in count():
            if ended.is_set():
                return
            kill_row(other, number)
            written.append(time.monotonic())

    writer = threading.Thread(target=write)
    writer.start()
    began, done = verify(ledger)
    ended.set()
    writer.join()
    # A reader's lock would have let none but the first and the last through.
    assert sum(began < at < done for at in written) > 3


@pytest.mark.slow
def test_the_kill_row_of_a_large_ledger_does_not_wait_for_its_verification(tmp_path: Path) -> None:
    ledger, other = ledger_of(tmp_path, 60_000), SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}", "sim")
    with ThreadPoolExecutor(1) as pool:
        verification = pool.submit(verify, ledger)
        while not verification.done():
            began = time.monotonic()
            kill_row(other)
            assert time.monotonic() - began < BUSY_TIMEOUT_MS / 1000
            time.sleep(0.2)
        verification.result()


def test_a_copy_that_writers_interrupt_again_and_again_is_made_at_last(tmp_path: Path) -> None:
    ledger_of(tmp_path, 1_000).close()
    other = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}", "sim")
    interrupted = 0
    for pages in (1, 20, 200):
        with ThreadPoolExecutor(1) as pool:
            copying = pool.submit(content, tmp_path / "ledger.db", pages)
            while not copying.done():
                kill_row(other)
                interrupted += 1
            assert copying.result() == 1_000
    assert interrupted > 6


def content(file: Path, pages: int) -> int:
    """How many fills a verified copy has that is made so many pages at a time."""
    with snapshot(file, pages) as copy:
        integrity.verify(copy, {})
        return len(list(plain_rows(copy, fill)))


def test_a_ledger_that_somebody_keeps_locked_is_not_verified(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, 500)
    with locked(tmp_path / "ledger.db", 30), pytest.raises(StoreUnavailable, match="locked"):
        verify(ledger)


def test_damage_is_copied_too(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, 500)
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE position SET qty = '7' WHERE symbol = 'S00'")
    with pytest.raises(LedgerDamaged, match="position"):
        verify(ledger)
