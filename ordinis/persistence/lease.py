"""Who may trade on an account: one process at a time, by a lease with a fence.

The account's row names the holder, when its lease ends, and the fence: a number that rises whenever the role changes
hands. The role is free when its holder is dead, which the operating system tells at once, for it takes a dead
process's locks away; or when the lease has ended, because the holder hangs or its connection is gone. Whoever takes
it raises the fence. The holder asserts its fence first in every transaction that it writes, so one that was replaced
while it hung writes nothing more, and renews the lease there once a third of it is over: no thread is needed.

A lease runs in real time, whatever the market's clock says. The holder counts from before the row was written, by a
clock that nobody sets; others read `expires_at` by the system's. A clock that is wrong can therefore take the role
from a living holder, or leave it longer with one that hangs; it cannot give it to two.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import IO

from sqlalchemy import (
    Connection,
    Engine,
    Executable,
    Integer,
    RowMapping,
    bindparam,
    func,
    select,
    text,
    true,
    update,
)

from ordinis import __version__
from ordinis.clock import SystemClock
from ordinis.domain.canonical import instant_text
from ordinis.errors import AnotherWriter, LeaseLost, StoreUnavailable
from ordinis.persistence.engine import BUSY_TIMEOUT_MS, Instant, sqlite_file
from ordinis.persistence.tables import lease

AWAKE_OR_NOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""A clock that nobody sets and, where there is such a one, that goes on while the machine sleeps."""
OF_ACCOUNT = lease.c.name == bindparam("account")
# The name too, for a ledger that was put back from a backup may come to the same fence again.
HELD = OF_ACCOUNT & (lease.c.fence == bindparam("mine")) & (lease.c.holder == bindparam("me"))
ROW = select(lease).where(OF_ACCOUNT)
FIRST = text(
    "INSERT INTO lease (name, holder, fence, expires_at) VALUES (:account, '', 0, :now) ON CONFLICT DO NOTHING"
).bindparams(bindparam("now", type_=Instant))
TAKE = (
    update(lease)
    .where(OF_ACCOUNT)
    .values(holder=bindparam("by"), fence=bindparam("higher"), expires_at=bindparam("until", type_=Instant))
)
RENEW = update(lease).where(HELD).values(expires_at=bindparam("until", type_=Instant))
# A transaction that hangs would keep its locks, and with them the role, for as long as its connection seems to live.
ENDS_IF_IDLE = func.set_config("idle_in_transaction_session_timeout", bindparam("idle_ms"), true())
WAIT_FOR_ROW = text(f"SET LOCAL lock_timeout = {BUSY_TIMEOUT_MS}")
TRY_LOCK = select(func.pg_try_advisory_lock(func.hashtext(bindparam("role")), bindparam("fence", type_=Integer)))


@dataclass(frozen=True)
class Terms:
    """How long a lease lasts, and by which clocks."""

    seconds: float = 15.0
    now: Callable[[], datetime] = field(default=SystemClock().now)
    monotonic: Callable[[], float] = field(default=lambda: time.clock_gettime(AWAKE_OR_NOT))

    @property
    def third(self) -> float:
        """Seconds after which the lease is renewed, and seconds that must be left of it to write to a broker."""
        return self.seconds / 3


class Lease:
    """The role of an account's trading process, from its claim until another raises the fence.

    Raises:
        AnotherWriter: another process holds it, and neither is dead nor has let its lease end.
    """

    def __init__(self, engine: Engine, account: str, terms: Terms) -> None:
        self._account, self._terms = account, terms
        in_file = engine.dialect.name == "sqlite"
        self._lock: FileLock | SessionLock = FileLock(engine) if in_file else SessionLock(engine, account)
        self._me = this_process(terms.now())
        self._renewing: float | None = None
        try:
            self.fence, self._since = self._claimed(engine)
        except BaseException:
            self.release()
            raise

    def _claimed(self, engine: Engine) -> tuple[int, float]:
        """Take the role in one transaction; its fence, and the instant from which the lease counts."""
        me = self._me
        with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(WAIT_FOR_ROW)
            connection.execute(FIRST, {"account": self._account, "now": self._terms.now()})
            # First without waiting: a holder that hangs may do so in the middle of a transaction.
            for query in (ROW, ROW.with_for_update()):
                row = connection.execute(query, {"account": self._account}).mappings().one()
                if not self._lock.of_the_dead(row, me) and row["expires_at"] > self._terms.now():
                    raise AnotherWriter(row["holder"], row["fence"], instant_text(row["expires_at"]))
            fence, since = row["fence"] + 1, self._terms.monotonic()
            self._lock.take(fence, me)
            connection.execute(TAKE, {"account": self._account, "by": me, "higher": fence, "until": self._until()})
            connection.commit()
        return fence, since

    @property
    def due(self) -> bool:
        """Whether it is time to renew."""
        return self._terms.monotonic() - self._since >= self._terms.third

    @property
    def holds(self) -> bool:
        """Whether enough time is left to write to a broker before anybody else may."""
        return self._terms.monotonic() < self._since + self._terms.seconds - self._terms.third

    def assert_in(self, connection: Connection) -> None:
        """Assert the fence in a transaction that has just begun, and renew the lease in it when that is due.

        Until it ends, nobody can raise the fence: SQLite has one writer, on PostgreSQL the row is locked.

        Raises:
            LeaseLost: the fence has been raised.
        """
        self._renewing = self._terms.monotonic() if self.due else None
        values: dict[str, object] = {"account": self._account, "mine": self.fence, "me": self._me}
        values["idle_ms"] = str(int(1e3 * self._terms.seconds))
        database = connection.dialect.name
        if self._renewing is None:
            held = connection.execute(_asserting(database), values).first() is not None
        else:
            held = connection.execute(_renewing(database), values | {"until": self._until()}).rowcount == 1
        if not held:
            row = connection.execute(ROW, {"account": self._account}).mappings().first()
            newer = (row["holder"], row["fence"]) if row else ("whoever removed its row", 0)
            raise LeaseLost(self._account, self.fence, *newer)

    def committed(self) -> None:
        """The transaction in which the fence was asserted is committed: if it renewed the lease, that counts now."""
        if self._renewing is not None:
            self._since, self._renewing = self._renewing, None

    def release(self) -> None:
        self._lock.release()

    def _until(self) -> datetime:
        return self._terms.now() + timedelta(seconds=self._terms.seconds)


class FileLock:
    """An operating-system lock on a file beside the SQLite ledger, with its holder's name in it.

    Who takes the role from a holder that hangs puts a new file in the place of its file: the lock of the hanging one
    is then on a file that nobody opens any more, and says nothing when that process dies. A ledger in memory has no
    lock and needs none.
    """

    def __init__(self, engine: Engine) -> None:
        file = sqlite_file(engine)
        self._path = None if file is None else lock_path(file)
        self._file: IO[str] | None = None

    def of_the_dead(self, row: RowMapping, me: str) -> bool:
        """Whether the row's holder is dead, in which case its lock is ours now.

        Raises:
            AnotherWriter: the lock is held by somebody else.
        """
        if self._path is None or self._file is not None:
            return True
        try:
            self._file = lock_file(self._path, me)
        except AnotherWriter as error:
            # Somebody who restores a backup, or who trades another account of this file.
            if error.holder != row["holder"]:
                raise
        return self._file is not None

    def take(self, _fence: int, me: str) -> None:
        if self._path is None or self._file is not None:
            return
        fresh = self._path.with_name(f"{self._path.name}.new")
        fresh.unlink(missing_ok=True)
        self._file = lock_file(fresh, me)
        fresh.replace(self._path)

    def release(self) -> None:
        if self._file is not None:
            self._file.close()


class SessionLock:
    """A session lock of PostgreSQL on the account and the fence; it ends with its connection.

    One for each fence, so that the lock of a holder that hangs says nothing of the one that took over from it.
    """

    def __init__(self, engine: Engine, account: str) -> None:
        # Not from the pool, which would keep the session, and with it the lock, for others.
        self._connection = engine.execution_options(isolation_level="AUTOCOMMIT").connect()
        self._connection.detach()
        self._role = f"actor {account}"

    def of_the_dead(self, row: RowMapping, _me: str) -> bool:
        return self._held(row["fence"])

    def take(self, fence: int, _me: str) -> None:
        if not self._held(fence):
            raise AnotherWriter(f"another session that has just claimed fence {fence}")

    def release(self) -> None:
        self._connection.close()

    def _held(self, fence: int) -> bool:
        return bool(self._connection.execute(TRY_LOCK, {"role": self._role, "fence": fence}).scalar_one())


def this_process(since: datetime) -> str:
    """Who this is, for the person who has to find and stop it."""
    return f"process {os.getpid()} on {socket.gethostname()} since {instant_text(since)}, version {__version__}"


def lock_path(ledger: Path) -> Path:
    return ledger.with_name(f"{ledger.name}.lock")


def lock_file(path: Path, me: str) -> IO[str]:
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
        raise AnotherWriter(holder or str(path)) from error
    file.truncate(0)
    file.write(me)
    file.flush()
    return file


@cache
def _asserting(database: str) -> Executable:
    held = select(lease.c.fence).where(HELD)
    return held.add_columns(ENDS_IF_IDLE).with_for_update(read=True) if database == "postgresql" else held


@cache
def _renewing(database: str) -> Executable:
    return RENEW.returning(ENDS_IF_IDLE) if database == "postgresql" else RENEW
