"""A private copy of a SQLite ledger, to be read for as long as it takes.

Without a write-ahead log a reader of SQLite keeps every writer out until it has ended, and to verify a large ledger
takes longer than a writer waits: `ordinis kill` could not write its row. So the pages are copied as they lie, damage
included, forty megabytes at a time with the lock released in between, into a temporary file without a name, which
the system removes however the process ends. A row that is written meanwhile makes the copy begin again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from ordinis.errors import StoreUnavailable
from ordinis.persistence.engine import BUSY_TIMEOUT_MS

PAGES = 10_000
RESTARTS = 5
"""After so many the rest is copied under one lock: somebody writes all the time."""


@contextmanager
def snapshot(file: Path, pages: int = PAGES) -> Iterator[Connection]:
    """A connection to a copy of `file` as it is now, made so many pages at a time.

    Raises:
        StoreUnavailable: another process has kept it locked for longer than a writer waits.
        DBAPIError: it cannot be read, or the copy cannot be written.
    """
    engine = create_engine("sqlite://", creator=lambda: _copied(file, pages), poolclass=StaticPool)
    try:
        with engine.connect() as connection:
            yield connection
    except sqlite3.Error as error:
        raise DBAPIError.instance("a copy of the ledger", None, error, sqlite3.Error, dialect=engine.dialect) from error
    finally:
        engine.dispose()


def _copied(file: Path, pages: int) -> sqlite3.Connection:
    try:
        return _copy(file, pages)
    except _NeverEnds:
        return _copy(file, -1)


class _NeverEnds(Exception):
    """Rows are written faster than the copy is made."""


def _copy(file: Path, pages: int) -> sqlite3.Connection:
    """A copy of `file`, so many `pages` at a time; each attempt has a file of its own, for none can be taken back."""
    since, last, restarts = time.monotonic(), float("inf"), 0

    def look(status: int, remaining: int, _total: int) -> None:
        nonlocal since, last, restarts
        if status not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            since = time.monotonic()
        elif time.monotonic() - since > BUSY_TIMEOUT_MS / 1000:
            raise StoreUnavailable(str(file), "another process has locked it; `fuser` on the file names it")
        restarts += remaining > last
        last = remaining
        if restarts > RESTARTS:
            raise _NeverEnds

    copy = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    try:
        # Nobody reads the copy after a crash.
        copy.execute("PRAGMA synchronous=OFF")
        copy.execute("PRAGMA journal_mode=OFF")
        with closing(sqlite3.connect(file)) as live:
            live.backup(copy, pages=pages, progress=look, sleep=0.005)
    except BaseException:
        copy.close()
        raise
    return copy
