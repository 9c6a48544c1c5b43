"""One transaction on one account's ledger: committed whole or not at all.

    with ledger.begin() as unit:
        unit.book.fill(fill, source="poll", received_at=clock.now())
        unit.commit()

Leaving the block without `commit`, by an error or by forgetting, rolls back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from ordinis.errors import LedgerDamaged, StoreUnavailable
from ordinis.persistence import chain
from ordinis.persistence.book import SqlBook
from ordinis.persistence.control import SqlControl
from ordinis.persistence.decisions import SqlDecisions
from ordinis.persistence.engine import connect, shown
from ordinis.persistence.orders import SqlOrders
from ordinis.persistence.schema import upgrade
from ordinis.persistence.tables import CHAINED


class SqlUnitOfWork:
    def __init__(self, connection: Connection, account: str) -> None:
        self._connection = connection
        self.decisions = SqlDecisions(connection, account)
        self.orders = SqlOrders(connection, account)
        self.book = SqlBook(connection, account)
        self.control = SqlControl(connection, account)

    def commit(self) -> None:
        self._connection.commit()

    def verify(self) -> None:
        for table in CHAINED:
            chain.verify(self._connection, table)
        differences = self.book.rebuild()
        if differences:
            raise LedgerDamaged("position", differences[0], "kept balances do not follow from fills and movements")


class SqlLedger:
    """The ledger of one account in one database; its tables are created or migrated on opening."""

    def __init__(self, url: str, account: str) -> None:
        self.account = account
        self._engine = connect(url)
        try:
            upgrade(self._engine, "ledger")
        except OperationalError as error:
            raise StoreUnavailable(shown(self._engine), str(error.orig)) from error

    @property
    def engine(self) -> Engine:
        return self._engine

    @contextmanager
    def begin(self, *, write: bool = True) -> Iterator[SqlUnitOfWork]:
        try:
            with self._engine.connect().execution_options(read_only=not write) as connection:
                yield SqlUnitOfWork(connection, self.account)
        except OperationalError as error:
            raise StoreUnavailable(shown(self._engine), str(error.orig)) from error

    def close(self) -> None:
        self._engine.dispose()
