"""A ledger copied while it is used, and put back after damage.

A backup is a SQLite file that was verified when it was made. Putting one back verifies it again, keeps the damaged
files beside under another name, and writes the anchor anew: the ledger may now be older than it was, and the next
reconciliation imports from the broker what was executed since. Every step is a rename of a file that is already on
the disk. A restore that was interrupted may simply be done again; until it is, the old anchor keeps the actor from
trading on what it finds.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from sqlalchemy import distinct, select

from ordinis.errors import BackupUnusable, ConfigurationError, LedgerDamaged, StoreUnavailable
from ordinis.files import sync_folder
from ordinis.persistence import integrity
from ordinis.persistence.engine import connect, sqlite_file
from ordinis.persistence.failures import told
from ordinis.persistence.lease import lock_file, lock_path, this_process
from ordinis.persistence.schema import upgrade
from ordinis.persistence.tables import balance
from ordinis.persistence.unit_of_work import SqlLedger

COMPANIONS = ("-journal", "-wal", "-shm")


def backup(ledger: SqlLedger, path: Path) -> None:
    """Copy `ledger` to the new file `path`; the actor may go on trading meanwhile.

    Raises:
        ConfigurationError: the ledger is in PostgreSQL, or `path` exists.
        BackupUnusable: the copy could not be written, or does not verify: the ledger itself is damaged.
    """
    source = sqlite_file(ledger.engine)
    if source is None:
        raise _not_a_file()
    if path.exists():
        raise ConfigurationError(str(path), "exists; give the backup a new name, such as one with the date")
    part = path.with_name(f"{path.name}.part")
    _remove(part)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(part)) as copy:
            copy.execute("PRAGMA synchronous=FULL")
            live.backup(copy)
            # A copy of a write-ahead log's database would need files of its own beside it.
            copy.execute("PRAGMA journal_mode=TRUNCATE")
        _verify(part, ledger.account)
        part.replace(path)
        sync_folder(path.parent)
    except (sqlite3.Error, OSError) as error:
        raise BackupUnusable(str(path), f"cannot be written: {error}") from error
    except LedgerDamaged as error:
        raise BackupUnusable(
            str(path), f"not made, for the ledger is damaged: {error.what}: {error.problem}"
        ) from error
    finally:
        _remove(part)


def restore(url: str, account: str, path: Path, at: datetime) -> Path | None:
    """Put the backup at `path` in the place of the SQLite ledger `url`; return where the old one is kept, if any.

    Raises:
        AnotherWriter: an actor holds the ledger.
        BackupUnusable: `path` is no whole ledger of `account`.
        ConfigurationError: the ledger is in PostgreSQL.
    """
    file = sqlite_file(connect(url))
    if file is None:
        raise _not_a_file()
    if not path.is_file() or (file.exists() and path.samefile(file)):
        raise BackupUnusable(str(path), "there is no such file" if not path.exists() else "it is the ledger itself")
    with lock_file(lock_path(file), this_process(at)):
        staged = file.with_name(f"{file.name}.restoring")
        try:
            shutil.copyfile(path, staged)
            _verify(staged, account)
        except (LedgerDamaged, StoreUnavailable) as error:
            _remove(staged)
            problem = f"{error.what}: {error.problem}" if isinstance(error, LedgerDamaged) else error.problem
            raise BackupUnusable(str(path), f"is not a whole ledger: {problem}; try an older one") from error
        except OSError as error:
            _remove(staged)
            raise BackupUnusable(str(path), f"cannot be copied beside the ledger: {error}") from error
        kept = _set_aside(file, at)
        staged.replace(file)
        _remove(staged)
        sync_folder(file.parent)
        restored = SqlLedger(url, account)
        restored.anchor()
        restored.close()
    return kept


def _verify(file: Path, account: str) -> None:
    engine = connect(f"sqlite:///{file}")
    try:
        with told(engine):
            upgrade(engine, "ledger")
            with engine.connect().execution_options(read_only=True) as connection:
                integrity.verify(connection, {})
                owners = set(connection.execute(select(distinct(balance.c.account))).scalars())
    finally:
        engine.dispose()
    if owners and account not in owners:
        raise LedgerDamaged(f"file {file}", "", f"it is the ledger of {', '.join(sorted(owners))}, not of {account}")


def _set_aside(file: Path, at: datetime) -> Path | None:
    """Rename the ledger and what belongs to it; its journal first, lest it be played into the restored file."""
    if not file.exists():
        return None
    kept = file.with_name(f"{file.name}.damaged-{at:%Y%m%dT%H%M%SZ}")
    for companion in COMPANIONS:
        beside = file.with_name(file.name + companion)
        if beside.exists():
            beside.replace(kept.with_name(kept.name + companion))
    file.replace(kept)
    return kept


def _remove(file: Path) -> None:
    for name in ("", *COMPANIONS):
        file.with_name(file.name + name).unlink(missing_ok=True)


def _not_a_file() -> ConfigurationError:
    return ConfigurationError(
        "ORDINIS_LEDGER_DATABASE",
        "the ledger is not a SQLite file; for PostgreSQL use its own tools, pg_dump and pg_restore or a snapshot of "
        "the server, and remove the anchor file after putting back an older state",
    )
