"""One transaction on one account's ledger: committed whole or not at all.

    with ledger.begin() as unit:
        unit.book.fill(fill, source="poll", received_at=clock.now())
        unit.commit()

Leaving the block without `commit`, by an error or by forgetting, rolls back.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, Engine, text

from ordinis.errors import AnotherWriter, StoreUnavailable
from ordinis.persistence import anchor, chain, integrity
from ordinis.persistence.book import SqlBook
from ordinis.persistence.chain import Head
from ordinis.persistence.control import SqlControl
from ordinis.persistence.decisions import SqlDecisions
from ordinis.persistence.engine import connect, shown, sqlite_file
from ordinis.persistence.failures import told
from ordinis.persistence.mounts import refuse_network
from ordinis.persistence.orders import SqlOrders
from ordinis.persistence.schema import upgrade
from ordinis.persistence.snapshot import snapshot
from ordinis.persistence.tables import CHAINED

logger = logging.getLogger(__name__)
TAKE_ROLE = text("SELECT pg_try_advisory_lock(hashtext(:name))")


class SqlUnitOfWork:
    def __init__(self, connection: Connection, account: str, anchor_path: Path | None = None) -> None:
        self._connection, self._anchor_path = connection, anchor_path
        self.decisions = SqlDecisions(connection, account)
        self.orders = SqlOrders(connection, account)
        self.book = SqlBook(connection, account)
        self.control = SqlControl(connection, account)

    def commit(self) -> None:
        self._connection.commit()

    def verify(self) -> None:
        anchored = None if self._anchor_path is None else anchor.read(self._anchor_path)
        file = sqlite_file(self._connection.engine)
        if file is None:
            integrity.verify(self._connection, anchored or {})
        else:
            with snapshot(file) as copy:
                integrity.verify(copy, anchored or {})
        if self._anchor_path is not None and anchored is None and any(head.length for head in self.heads().values()):
            logger.warning(
                "the ledger has rows and no anchor %s: it is the first start of this version, or somebody removed the "
                "file; whether rows were cut off the end cannot be told",
                self._anchor_path,
            )

    def heads(self) -> Mapping[str, Head]:
        """The end of each chain, by table."""
        return {table.name: chain.head(self._connection, table) for table in CHAINED}


class SqlLedger:
    """The ledger of one account in one database; its tables are created or migrated on opening.

    Args:
        anchor_path: where to write down how far the ledger has come; beside the file by default for SQLite, and
            nowhere for PostgreSQL or a ledger in memory.

    Raises:
        ConfigurationError: the database is not one of ours, or a file on a network file system.
        StoreUnavailable: it cannot be opened, or was written by a newer version.
        LedgerDamaged: it is no database.
    """

    def __init__(self, url: str, account: str, anchor_path: Path | None = None) -> None:
        self.account = account
        self._engine = connect(url)
        file = sqlite_file(self._engine)
        if file is not None:
            refuse_network(file)
            anchor_path = anchor_path or file.with_name(f"{file.name}.anchor")
        self._anchor_path = anchor_path
        reading: dict[str, object] = {"read_only": True}
        if self._engine.dialect.name == "postgresql":
            # All that a reader compares is of one instant, as it is on SQLite.
            reading["isolation_level"] = "REPEATABLE READ"
        self._reading = self._engine.execution_options(**reading)
        self._claim: IO[str] | Connection | None = None
        with told(self._engine):
            upgrade(self._engine, "ledger")

    @property
    def engine(self) -> Engine:
        return self._engine

    @contextmanager
    def begin(self, *, write: bool = True) -> Iterator[SqlUnitOfWork]:
        with told(self._engine), (self._engine if write else self._reading).connect() as connection:
            yield SqlUnitOfWork(connection, self.account, self._anchor_path)

    def anchor(self) -> None:
        if self._anchor_path is None:
            return
        with self.begin(write=False) as unit:
            heads = unit.heads()
        anchor.write(self._anchor_path, heads)

    def claim(self) -> None:
        """Become the ledger's one trading process until this process ends; readers and the kill switch need no claim.

        The claim is an operating-system lock beside a SQLite file, or a session lock of PostgreSQL: a process that
        died has lost it at once.

        Raises:
            AnotherWriter: another living process has it.
        """
        if self._engine.dialect.name == "sqlite":
            file = sqlite_file(self._engine)
            if file is not None:
                self._claim = lock_file(file.with_name(f"{file.name}.lock"))
            return
        with told(self._engine):
            connection = self._engine.connect()
            held = connection.execute(TAKE_ROLE, {"name": f"actor {self.account}"}).scalar()
        if not held:
            connection.close()
            raise AnotherWriter(f"another session of {shown(self._engine)}")
        self._claim = connection

    def close(self) -> None:
        if self._claim is not None:
            self._claim.close()
        self._engine.dispose()


def lock_file(path: Path) -> IO[str]:
    """Hold the lock at `path` until the file is closed; AnotherWriter when another process does."""
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise StoreUnavailable(str(path), f"the ledger's lock cannot be opened: {error.strerror}") from error
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
