"""A real ledger to damage, the ways to hurt a copy of it, and what a start says of the copy.

A copy is hurt in its pages (one bit or one byte of the file), in a value (one bit or one byte of one column of one
row, with the triggers out of the way), or at its end: an older copy in its place, the last rows of a chain removed
with all that follows from them, a file cut short. A start either refuses it, or the copy is proved harmless: every
value of every table, and the schema, are what they were.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from ordinis import bootstrap
from ordinis.domain.canonical import decimal_text
from ordinis.domain.limits import TradingState
from ordinis.errors import LedgerDamaged, StoreUnavailable
from ordinis.evaluation.backtest import backtest
from ordinis.persistence.integrity import balance_digest
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import ControlRow
from tests.execution.kill_rig import the_settings

FIRST, LAST = date(2019, 9, 3), date(2019, 9, 17)
Content = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Original:
    """A ledger of two hundred fills with its anchor, and the copies that were made of it on the way."""

    file: Path
    older: tuple[Path, ...]
    content: Content

    def copy(self, folder: Path) -> Path:
        """A fresh copy, with the anchor beside it."""
        file = folder / "ledger.db"
        shutil.copyfile(self.file, file)
        shutil.copyfile(anchor_of(self.file), anchor_of(file))
        return file


def make(folder: Path) -> Original:
    """Trade twenty symbols every day for eleven sessions, in memory for speed, and keep the database as a file."""
    settings = the_settings(folder, 1)
    rules, ledger = bootstrap.rulebook(settings), SqlLedger("sqlite://", settings.account)
    allocator = bootstrap.allocator("inverse-volatility", rules.limits)
    older: list[Path] = []

    def keep(session: date) -> None:
        older.append(folder / f"{session}.db")
        _write_out(ledger, older[-1])

    result = backtest(
        bootstrap.sample_market(settings), allocator, allocator, rules, bootstrap.costs(settings),
        first=FIRST, last=LAST, ledger=ledger, on_session=keep,
    )  # fmt: skip
    with ledger.begin() as unit:
        at = unit.book.valuations()[-1].at
        unit.control.set(ControlRow(TradingState.KILLED, "drill", "anna", at))
        unit.control.set(ControlRow(TradingState.ACTIVE, "drill over", "anna", at))
        unit.commit()
    assert len(result.sessions) == 11
    file = folder / "original.db"
    _write_out(ledger, file)
    SqlLedger(f"sqlite:///{file}", settings.account).anchor()
    return Original(file, tuple(older), content(file))


def anchor_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.anchor")


def start(file: Path) -> None:
    """What an actor does first."""
    ledger = SqlLedger(f"sqlite:///{file}", "sim")
    try:
        with ledger.begin(write=False) as unit:
            unit.verify()
    finally:
        ledger.close()


def found(file: Path, original: Original) -> str:
    """How the damage showed: the kind of the error with what it names, "harmless", or "PASSED"."""
    try:
        start(file)
    except LedgerDamaged as error:
        return error.table.split(" ")[0]
    except StoreUnavailable:
        return "unavailable"
    try:
        return "harmless" if content(file) == original.content else "PASSED"
    except (sqlite3.Error, UnicodeDecodeError):
        return "PASSED"


def content(file: Path) -> Content:
    """Every value of every table with its type, and the schema."""
    with closing(sqlite3.connect(file)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        shown = {name: [_typed(row) for row in db.execute(f"SELECT rowid, * FROM {name}")] for name in tables}
        return shown | {"": [tuple(row) for row in db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")]}


def _typed(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple((type(value).__name__, value) for value in row)


def _write_out(ledger: SqlLedger, file: Path) -> None:
    with ledger.engine.connect() as connection, closing(sqlite3.connect(file)) as copy:
        memory = connection.connection.driver_connection
        assert isinstance(memory, sqlite3.Connection)
        memory.backup(copy)


# pages


def flip_in_file(file: Path, rng: random.Random) -> None:
    pages = bytearray(file.read_bytes())
    place = rng.randrange(len(pages))
    pages[place] = _hurt(pages[place : place + 1], rng)[0]
    file.write_bytes(pages)


def _hurt(text: bytes, rng: random.Random) -> bytes:
    """`text` with one bit flipped, or one byte replaced by another."""
    place = rng.randrange(len(text))
    change = 1 << rng.randrange(8) if rng.random() < 0.5 else rng.randrange(1, 256)
    return text[:place] + bytes([text[place] ^ change]) + text[place + 1 :]


# values


@contextmanager
def unguarded(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection on which neither triggers nor references stop a change; the triggers are back afterwards."""
    with closing(sqlite3.connect(file)) as db:
        triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            db.execute(f"DROP TRIGGER {name}")
        yield db
        for _, sql in triggers:
            db.execute(sql)
        db.commit()


def flip_in_value(file: Path, rng: random.Random) -> None:
    with unguarded(file) as db:
        while True:
            table = rng.choice([n for (n,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")])
            rows = [row for (row,) in db.execute(f"SELECT rowid FROM {table}")]
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            if not rows:
                continue
            row, column = rng.choice(rows), rng.choice(columns)
            [value] = db.execute(f'SELECT "{column}" FROM {table} WHERE rowid = ?', (row,)).fetchone()
            other, form = _other(value, rng)
            try:
                db.execute(f'UPDATE {table} SET "{column}" = {form} WHERE rowid = ?', (other, row))
            except (sqlite3.IntegrityError, OverflowError):
                continue
            return


def _other(value: object, rng: random.Random) -> tuple[object, str]:
    """Another value than `value`, and how SQL is told of it."""
    match value:
        case str() if value:
            return _hurt(value.encode(), rng), "CAST(? AS TEXT)"
        case int():
            return value ^ (1 << rng.randrange(8)), "?"
        case float():
            return struct.unpack("<d", _hurt(struct.pack("<d", value), rng))[0], "?"
        case _:
            return "1", "?"


# ends


def put_back_older(file: Path, original: Original, rng: random.Random) -> None:
    shutil.copyfile(rng.choice(original.older), file)


def truncate(file: Path, _: Original, rng: random.Random) -> None:
    with file.open("r+b") as pages:
        pages.truncate(rng.randrange(file.stat().st_size))


def cut_chain(file: Path, _: Original, rng: random.Random) -> None:
    """Remove the last rows of a chain that nothing refers to."""
    table = rng.choice(["valuation", "control"])
    with unguarded(file) as db:
        [length] = db.execute(f"SELECT max(seq) FROM {table}").fetchone()
        db.execute(f"DELETE FROM {table} WHERE seq > ?", (rng.randrange(length),))


def cut_events(file: Path, _: Original, rng: random.Random) -> None:
    """Remove the last events with all that follows from them, so that what is left fits together."""
    with unguarded(file) as db:
        [length] = db.execute("SELECT max(seq) FROM order_event").fetchone()
        db.execute("DELETE FROM order_event WHERE seq > ?", (rng.randrange(length),))
        orders: dict[str, dict[str, Any]] = {}
        for coid, change in db.execute("SELECT coid, change FROM order_event ORDER BY seq"):
            orders.setdefault(coid, {}).update(json.loads(change))
        for (coid,) in db.execute("SELECT coid FROM order_intent").fetchall():
            if coid in orders:
                columns = ", ".join(f'"{name}" = :{name}' for name in orders[coid])
                db.execute(f"UPDATE order_intent SET {columns} WHERE coid = :coid", orders[coid])
            else:
                db.execute("DELETE FROM order_intent WHERE coid = ?", (coid,))
        kept = "SELECT event_key FROM order_event"
        db.execute(f"DELETE FROM fill WHERE 'fill:' || account || ':' || exec_id NOT IN ({kept})")
        _rebuild(db)


def _rebuild(db: sqlite3.Connection) -> None:
    [(account, watermark)] = db.execute("SELECT account, watermark FROM balance").fetchall()
    held: dict[str, tuple[Decimal, str]] = {}
    cash = sum((Decimal(amount) for (amount,) in db.execute("SELECT cash FROM movement")), Decimal(0))
    for symbol, side, qty, price, fee, ts in db.execute("SELECT symbol, side, qty, price, fee, ts FROM fill"):
        units = Decimal(qty) if side == "buy" else -Decimal(qty)
        before, last = held.get(symbol, (Decimal(0), ""))
        held[symbol] = before + units, max(last, ts)
        cash -= units * Decimal(price) + Decimal(fee)
    db.execute("DELETE FROM position")
    rows = [(account, symbol, decimal_text(units), last) for symbol, (units, last) in held.items()]
    db.executemany("INSERT INTO position VALUES (?, ?, ?, ?)", rows)
    digest = balance_digest(account, decimal_text(cash), watermark)
    db.execute("UPDATE balance SET cash = ?, digest = ?", (decimal_text(cash), digest))


ENDS = (put_back_older, truncate, cut_chain, cut_events)
