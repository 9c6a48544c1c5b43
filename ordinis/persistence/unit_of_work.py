"""One transaction on one account's ledger: committed whole or not at all.

    with ledger.begin() as unit:
        unit.book.fill(fill, source="poll", received_at=clock.now())
        unit.commit()

Leaving the block without `commit`, by an error or by forgetting, rolls back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine

from ordinis.persistence import anchor, chain, integrity
from ordinis.persistence.book import SqlBook
from ordinis.persistence.chain import Head
from ordinis.persistence.control import SqlControl
from ordinis.persistence.decisions import SqlDecisions
from ordinis.persistence.engine import connect, sqlite_file
from ordinis.persistence.failures import told
from ordinis.persistence.lease import Lease, Terms
from ordinis.persistence.mounts import refuse_network
from ordinis.persistence.orders import SqlOrders
from ordinis.persistence.schema import upgrade
from ordinis.persistence.snapshot import snapshot
from ordinis.persistence.tables import CHAINED

logger = logging.getLogger(__name__)


class SqlUnitOfWork:
    def __init__(
        self, connection: Connection, account: str, anchor_path: Path | None = None, lease: Lease | None = None
    ) -> None:
        """With the `lease` that this transaction has asserted, if it has."""
        self._connection, self._anchor_path, self._lease = connection, anchor_path, lease
        self.decisions = SqlDecisions(connection, account)
        self.orders = SqlOrders(connection, account)
        self.book = SqlBook(connection, account)
        self.control = SqlControl(connection, account)

    def commit(self) -> None:
        self._connection.commit()
        if self._lease is not None:
            self._lease.committed()

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
        self._lease: Lease | None = None
        reading: dict[str, object] = {"read_only": True}
        if self._engine.dialect.name == "postgresql":
            # All that a reader compares is of one instant, as it is on SQLite.
            reading["isolation_level"] = "REPEATABLE READ"
        self._reading = self._engine.execution_options(**reading)
        with told(self._engine):
            upgrade(self._engine, "ledger")

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def folder(self) -> Path | None:
        file = sqlite_file(self._engine)
        return None if file is None else file.parent

    @contextmanager
    def begin(self, *, write: bool = True) -> Iterator[SqlUnitOfWork]:
        with told(self._engine), (self._engine if write else self._reading).connect() as connection:
            lease = self._lease if write else None
            if lease is not None:
                lease.assert_in(connection)
            yield SqlUnitOfWork(connection, self.account, self._anchor_path, lease)

    def anchor(self) -> None:
        if self._anchor_path is None:
            return
        with self.begin(write=False) as unit:
            heads = unit.heads()
        anchor.write(self._anchor_path, heads)

    def claim(self, terms: Terms | None = None) -> None:
        """Become the account's one trading process; readers and the kill switch need no claim.

        From here on every transaction that writes asserts the fence and keeps the lease.

        Raises:
            AnotherWriter: another process holds the role, and neither is dead nor has let its lease end.
        """
        with told(self._engine):
            self._lease = Lease(self._engine, self.account, terms or Terms())

    @property
    def fence(self) -> int:
        return 0 if self._lease is None else self._lease.fence

    def holds(self) -> bool:
        return self._lease is None or self._lease.holds

    def renew(self) -> None:
        if self._lease is not None and self._lease.due:
            with self.begin() as unit:
                unit.commit()

    def close(self) -> None:
        if self._lease is not None:
            self._lease.release()
        self._engine.dispose()
