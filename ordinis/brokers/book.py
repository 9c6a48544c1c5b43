"""The simulated venue's own book: a small SQLite file that a stranger could open.

Orders, executions and movements; cash and positions follow from them. It is the venue's truth, kept apart from the
ledger on purpose: a checker can compare the two files without trusting either program.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from ordinis.domain.canonical import decimal_text, instant_text, parse_instant
from ordinis.domain.orders import BrokerOrder, Fill, OrderState, Side
from ordinis.domain.portfolio import ZERO, Movement
from ordinis.errors import ConfigurationError

TABLES = """
CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, suspended INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS orders (
    client_order_id TEXT PRIMARY KEY, broker_order_id TEXT NOT NULL UNIQUE, symbol TEXT NOT NULL, side TEXT NOT NULL,
    quantity TEXT NOT NULL, filled TEXT NOT NULL, state TEXT NOT NULL, submitted_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS executions (
    exec_id TEXT PRIMARY KEY, client_order_id TEXT NOT NULL REFERENCES orders, symbol TEXT NOT NULL,
    side TEXT NOT NULL, quantity TEXT NOT NULL, price TEXT NOT NULL, fee TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS movements (
    activity_id TEXT PRIMARY KEY, kind TEXT NOT NULL, cash TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS positions (symbol TEXT PRIMARY KEY, quantity TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cash (id INTEGER PRIMARY KEY CHECK (id = 1), amount TEXT NOT NULL);
"""


class VenueBook:
    """`path` is a file, or ":memory:" for a book that ends with the process."""

    def __init__(self, path: Path | str, account: str) -> None:
        if str(path) != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.account = account
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(TABLES)
        with self.transaction():
            kept = self._db.execute("SELECT name FROM account").fetchone()
            if kept is not None and kept[0] != account:
                raise ConfigurationError(str(path), f"is the book of account {kept[0]}, not of {account}")
            self._db.execute("INSERT OR IGNORE INTO account (name) VALUES (?)", (account,))
            self._db.execute("INSERT OR IGNORE INTO cash VALUES (1, '0')")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block, or nothing of it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def cash(self) -> Decimal:
        return Decimal(self._db.execute("SELECT amount FROM cash").fetchone()[0])

    def positions(self) -> dict[str, Decimal]:
        rows = self._db.execute("SELECT symbol, quantity FROM positions ORDER BY symbol")
        return {symbol: Decimal(units) for symbol, units in rows if Decimal(units) != ZERO}

    def suspended(self) -> bool:
        return bool(self._db.execute("SELECT suspended FROM account").fetchone()[0])

    def suspend(self, suspended: bool) -> None:
        with self.transaction():
            self._db.execute("UPDATE account SET suspended = ?", (int(suspended),))

    def order(self, client_order_id: str) -> BrokerOrder | None:
        found = self._orders("WHERE client_order_id = ?", client_order_id)
        return found[0] if found else None

    def open_orders(self) -> Sequence[BrokerOrder]:
        return self._orders("WHERE state IN ('WORKING', 'PARTIAL')")

    def closed_orders(self, since: datetime) -> Sequence[BrokerOrder]:
        return self._orders("WHERE state NOT IN ('WORKING', 'PARTIAL') AND submitted_at >= ?", instant_text(since))

    def fills(self, since: datetime) -> Sequence[Fill]:
        rows = self._db.execute(
            "SELECT exec_id, client_order_id, symbol, side, quantity, price, fee, at FROM executions "
            "WHERE at >= ? ORDER BY at, exec_id",
            (instant_text(since),),
        )
        return [
            Fill(self.account, exec_id, client_order_id, symbol, Side(side), Decimal(quantity), Decimal(price),
                 Decimal(fee), parse_instant(at))
            for exec_id, client_order_id, symbol, side, quantity, price, fee, at in rows
        ]  # fmt: skip

    def movements(self, since: datetime) -> Sequence[Movement]:
        rows = self._db.execute(
            "SELECT activity_id, kind, cash, at FROM movements WHERE at >= ? ORDER BY at, activity_id",
            (instant_text(since),),
        )
        return [Movement(self.account, name, kind, Decimal(cash), parse_instant(at)) for name, kind, cash, at in rows]

    # The methods below write; they are called inside `transaction`.

    def deposit(self, activity_id: str, amount: Decimal, at: datetime) -> None:
        known = self._db.execute("SELECT 1 FROM movements WHERE activity_id = ?", (activity_id,)).fetchone()
        if known is None:
            self._db.execute(
                "INSERT INTO movements VALUES (?, 'deposit', ?, ?)",
                (activity_id, decimal_text(amount), instant_text(at)),
            )
            self._set_cash(self.cash() + amount)

    def add_order(self, order: BrokerOrder) -> None:
        self._db.execute(
            "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (order.client_order_id, order.broker_order_id, order.symbol, order.side.value,
             decimal_text(order.quantity), decimal_text(order.filled_quantity), order.state.value,
             instant_text(order.submitted_at)),
        )  # fmt: skip

    def set_state(self, client_order_id: str, state: OrderState) -> None:
        self._db.execute("UPDATE orders SET state = ? WHERE client_order_id = ?", (state.value, client_order_id))

    def execute(self, fill: Fill) -> None:
        self._db.execute(
            "INSERT INTO executions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (fill.exec_id, fill.client_order_id, fill.symbol, fill.side.value, decimal_text(fill.quantity),
             decimal_text(fill.price), decimal_text(fill.fee), instant_text(fill.at)),
        )  # fmt: skip
        held = self.positions().get(fill.symbol, ZERO)
        self._db.execute(
            "INSERT INTO positions VALUES (?, ?) ON CONFLICT (symbol) DO UPDATE SET quantity = excluded.quantity",
            (fill.symbol, decimal_text(held + fill.units)),
        )
        self._set_cash(self.cash() + fill.cash)

    def _set_cash(self, amount: Decimal) -> None:
        self._db.execute("UPDATE cash SET amount = ?", (decimal_text(amount),))

    def _orders(self, condition: str, *values: str) -> list[BrokerOrder]:
        columns = "broker_order_id, client_order_id, symbol, side, quantity, filled, state, submitted_at"
        rows = self._db.execute(
            f"SELECT {columns} FROM orders {condition} ORDER BY submitted_at, client_order_id",  # noqa: S608 - constants
            values,
        )
        return [
            BrokerOrder(broker_id, client_id, symbol, Side(side), Decimal(quantity), Decimal(filled),
                        OrderState(state), parse_instant(at))
            for broker_id, client_id, symbol, side, quantity, filled, state, at in rows
        ]  # fmt: skip
