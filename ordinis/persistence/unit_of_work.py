"""One transaction on one account's ledger: committed whole or not at all.

    with ledger.begin() as unit:
        unit.book.fill(fill, source="poll", received_at=clock.now())
        unit.commit()

Leaving the block without `commit`, by an error or by forgetting, rolls back.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from ordinis.errors import AnotherWriter, LedgerDamaged, StoreUnavailable
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
        self._claim: IO[str] | Connection | None = None
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

    def claim(self) -> None:
        """Become the ledger's one trading process until this process ends; readers and the kill switch need no claim.

        The claim is an operating-system lock beside a SQLite file, or a session lock of PostgreSQL: a process that
        died has lost it at once.

        Raises:
            AnotherWriter: another living process has it.
        """
        if self._engine.dialect.name == "sqlite":
            if self._engine.url.database:
                self._claim = _lock_file(Path(f"{self._engine.url.database}.lock"))
            return
        connection = self._engine.connect()
        held = text("SELECT pg_try_advisory_lock(hashtext(:name))")
        if not connection.execute(held, {"name": f"actor {self.account}"}).scalar():
            connection.close()
            raise AnotherWriter(f"another session of {shown(self._engine)}")
        self._claim = connection

    def close(self) -> None:
        if self._claim is not None:
            self._claim.close()
        self._engine.dispose()


def _lock_file(path: Path) -> IO[str]:
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise AnotherWriter(f"process {holder}" if holder else str(path)) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
