"""The simulated venue's own book: a small SQLite file that a stranger could open.

Orders, executions and movements; cash and positions follow from them. `due` holds what is still to happen to open
orders by itself: their next executions, and the end of their day. It is the venue's truth, kept apart from the ledger
on purpose: a checker can compare the two files without trusting either program.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
CREATE TABLE IF NOT EXISTS due (
    client_order_id TEXT NOT NULL REFERENCES orders, number INTEGER NOT NULL, at TEXT NOT NULL,
    quantity TEXT, PRIMARY KEY (client_order_id, number));
CREATE TABLE IF NOT EXISTS executions (
    exec_id TEXT PRIMARY KEY, client_order_id TEXT NOT NULL REFERENCES orders, symbol TEXT NOT NULL,
    side TEXT NOT NULL, quantity TEXT NOT NULL, price TEXT NOT NULL, fee TEXT NOT NULL, at TEXT NOT NULL,
    reverses TEXT REFERENCES executions);
CREATE TABLE IF NOT EXISTS movements (
    activity_id TEXT PRIMARY KEY, kind TEXT NOT NULL, cash TEXT NOT NULL, at TEXT NOT NULL, symbol TEXT,
    quantity TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS positions (symbol TEXT PRIMARY KEY, quantity TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cash (id INTEGER PRIMARY KEY CHECK (id = 1), amount TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS executions_by_time ON executions (at, exec_id);
CREATE INDEX IF NOT EXISTS open_orders ON orders (submitted_at, client_order_id) WHERE state IN ('WORKING', 'PARTIAL');
CREATE INDEX IF NOT EXISTS orders_by_time ON orders (submitted_at, client_order_id);
CREATE INDEX IF NOT EXISTS movements_by_time ON movements (at, activity_id);
CREATE INDEX IF NOT EXISTS due_by_time ON due (at, client_order_id, number);
"""
OPEN = "('WORKING', 'PARTIAL')"


@dataclass(frozen=True)
class Due:
    """Something that will happen to an open order: an execution, or with no quantity the end of its day."""

    client_order_id: str
    number: int
    at: datetime
    quantity: Decimal | None


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
        return self._orders(f"WHERE state IN {OPEN}")

    def closed_orders(self, since: datetime) -> Sequence[BrokerOrder]:
        return self._orders(f"WHERE state NOT IN {OPEN} AND submitted_at >= ?", instant_text(since))

    def fills(self, since: datetime) -> Sequence[Fill]:
        return self._executions("WHERE at >= ? ORDER BY at, exec_id", instant_text(since))

    def execution(self, exec_id: str) -> Fill | None:
        found = self._executions("WHERE exec_id = ?", exec_id)
        return found[0] if found else None

    def movements(self, since: datetime) -> Sequence[Movement]:
        rows = self._db.execute(
            "SELECT activity_id, kind, cash, at, symbol, quantity FROM movements "
            "WHERE at >= ? ORDER BY at, activity_id",
            (instant_text(since),),
        )
        return [
            Movement(self.account, name, kind, Decimal(cash), parse_instant(at), symbol, Decimal(quantity))
            for name, kind, cash, at, symbol, quantity in rows
        ]

    def due(self, now: datetime) -> Due | None:
        """The first thing that is due by `now`."""
        row = self._db.execute(
            "SELECT client_order_id, number, at, quantity FROM due WHERE at <= ? ORDER BY at, client_order_id, number",
            (instant_text(now),),
        ).fetchone()
        if row is None:
            return None
        return Due(row[0], row[1], parse_instant(row[2]), None if row[3] is None else Decimal(row[3]))

    def next_due(self) -> datetime | None:
        at = self._db.execute("SELECT MIN(at) FROM due").fetchone()[0]
        return None if at is None else parse_instant(at)

    # The methods below write; they are called inside `transaction`.

    def move(self, movement: Movement) -> None:
        """Book a deposit, dividend, fee or split; a second call with its id changes nothing."""
        known = self._db.execute("SELECT 1 FROM movements WHERE activity_id = ?", (movement.activity_id,)).fetchone()
        if known is not None:
            return
        self._db.execute(
            "INSERT INTO movements VALUES (?, ?, ?, ?, ?, ?)",
            (movement.activity_id, movement.kind, decimal_text(movement.cash), instant_text(movement.at),
             movement.symbol, decimal_text(movement.quantity)),
        )  # fmt: skip
        self._change(movement.symbol, movement.quantity, movement.cash)

    def add_order(self, order: BrokerOrder, due: Sequence[Due]) -> None:
        self._db.execute(
            "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (order.client_order_id, order.broker_order_id, order.symbol, order.side.value,
             decimal_text(order.quantity), decimal_text(order.filled_quantity), order.state.value,
             instant_text(order.submitted_at)),
        )  # fmt: skip
        for item in due:
            quantity = None if item.quantity is None else decimal_text(item.quantity)
            self._db.execute(
                "INSERT INTO due VALUES (?, ?, ?, ?)",
                (item.client_order_id, item.number, instant_text(item.at), quantity),
            )

    def done(self, item: Due) -> None:
        """Take `item` off the list of what is due."""
        self._db.execute(
            "DELETE FROM due WHERE client_order_id = ? AND number = ?", (item.client_order_id, item.number)
        )

    def postpone(self, item: Due) -> None:
        self._db.execute(
            "UPDATE due SET at = ? WHERE client_order_id = ? AND number = ?",
            (instant_text(item.at), item.client_order_id, item.number),
        )

    def end(self, client_order_id: str, state: OrderState) -> None:
        """Nothing more will happen to this order."""
        self._db.execute("UPDATE orders SET state = ? WHERE client_order_id = ?", (state.value, client_order_id))
        self._db.execute("DELETE FROM due WHERE client_order_id = ?", (client_order_id,))

    def execute(self, fill: Fill) -> None:
        """Book an execution or its reversal, and move its order."""
        self._db.execute(
            "INSERT INTO executions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (fill.exec_id, fill.client_order_id, fill.symbol, fill.side.value, decimal_text(fill.quantity),
             decimal_text(fill.price), decimal_text(fill.fee), instant_text(fill.at), fill.reverses),
        )  # fmt: skip
        self._change(fill.symbol, fill.units, fill.cash)
        order = self.order(fill.client_order_id or "")
        if order is None:
            return
        filled = order.filled_quantity + (-fill.quantity if fill.reverses else fill.quantity)
        self._db.execute(
            "UPDATE orders SET filled = ? WHERE client_order_id = ?", (decimal_text(filled), order.client_order_id)
        )
        if order.state not in (OrderState.WORKING, OrderState.PARTIAL):
            return
        if filled >= order.quantity:
            self.end(order.client_order_id, OrderState.FILLED)
        else:
            self._db.execute("UPDATE orders SET state = 'PARTIAL' WHERE client_order_id = ?", (order.client_order_id,))

    def _change(self, symbol: str | None, units: Decimal, cash: Decimal) -> None:
        self._db.execute("UPDATE cash SET amount = ?", (decimal_text(self.cash() + cash),))
        if symbol is None:
            return
        row = self._db.execute("SELECT quantity FROM positions WHERE symbol = ?", (symbol,)).fetchone()
        held = ZERO if row is None else Decimal(row[0])
        self._db.execute(
            "INSERT INTO positions VALUES (?, ?) ON CONFLICT (symbol) DO UPDATE SET quantity = excluded.quantity",
            (symbol, decimal_text(held + units)),
        )

    def _executions(self, condition: str, *values: str) -> list[Fill]:
        columns = "exec_id, client_order_id, symbol, side, quantity, price, fee, at, reverses"
        rows = self._db.execute(f"SELECT {columns} FROM executions {condition}", values)  # noqa: S608 - constants
        return [
            Fill(self.account, exec_id, client_order_id, symbol, Side(side), Decimal(quantity), Decimal(price),
                 Decimal(fee), parse_instant(at), reverses)
            for exec_id, client_order_id, symbol, side, quantity, price, fee, at, reverses in rows
        ]  # fmt: skip

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
