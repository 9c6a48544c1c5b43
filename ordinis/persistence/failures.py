"""What a database's error means for the person on call.

A page that is none, a text that is none, a table that is gone: the ledger is damaged. Full, locked, read-only or
unreachable: the store is unavailable, the transaction was rolled back whole, and the message says what to do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from ordinis.errors import LedgerConflict, LedgerDamaged, OrdinisError, StoreUnavailable
from ordinis.persistence.engine import BUSY_TIMEOUT_MS, shown

ADVICE = {
    sqlite3.SQLITE_BUSY: f"another process has locked it for more than {BUSY_TIMEOUT_MS // 1000} s; `fuser` on the "
    "file names it. Nothing was written: end that process and start again",
    sqlite3.SQLITE_FULL: "the disk is full. Nothing was written: make room and start again, the actor goes on where "
    "it stopped",
    sqlite3.SQLITE_READONLY: "it cannot be written: look at the rights of the file and of its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: look at the path and at the rights of its folder",
    sqlite3.SQLITE_PERM: "it cannot be opened: look at the rights of the file and of its folder",
    sqlite3.SQLITE_IOERR: "the disk does not read or write: look at the system's log before starting again",
}
OF_THE_CONTENT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT)
"""Pages, and statements that the schema does not know: both mean another content than was written."""
FULL, DAMAGED = "53100", ("XX001", "XX002", "42P01", "42703")
"""PostgreSQL: disk full; data or index corrupted, table or column unknown."""


@contextmanager
def told(engine: Engine) -> Iterator[None]:
    """Raise what a database error in the block means, instead of it."""
    try:
        yield
    except DBAPIError as error:
        raise meaning(error, engine) from error
    except UnicodeDecodeError as error:
        # SQLite quotes a damaged schema in its message, and the driver fails to read that.
        raise LedgerDamaged(f"file {engine.url.database}", "", f"a text in its schema is none ({error})") from error


def meaning(error: DBAPIError, engine: Engine) -> OrdinisError:
    """The fact that `error` tells of the ledger in `engine`."""
    cause = error.orig
    url, said = shown(engine), str(cause).strip() or type(error).__name__
    if isinstance(error, IntegrityError):
        return LedgerConflict(f"ledger {url}", said)
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code in OF_THE_CONTENT:
            return LedgerDamaged(f"file {engine.url.database}", "", said)
        return StoreUnavailable(url, f"{ADVICE.get(code, 'look at the file and its folder')} ({said})")
    state = getattr(cause, "sqlstate", None)
    if state in DAMAGED:
        return LedgerDamaged(f"database {url}", "", said)
    return StoreUnavailable(url, f"{ADVICE[sqlite3.SQLITE_FULL]} ({said})" if state == FULL else said)
