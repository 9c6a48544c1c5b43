"""Databases opened so that a committed row survives, with types that keep money exact and instants aware.

SQLite sends Numeric through floats and returns naive datetimes, so both get a type of their own: text on SQLite,
NUMERIC and TIMESTAMPTZ on PostgreSQL. Every SQLite transaction that may write begins with BEGIN IMMEDIATE, so two
writers wait for each other instead of failing halfway. SQLite older than 3.51.3 can corrupt a write-ahead log that
two connections use; there the rollback journal is used, at the same durability.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Dialect, Engine, String, Text, TypeDecorator, create_engine, event, make_url
from sqlalchemy.dialects.postgresql import NUMERIC, TIMESTAMP
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import StaticPool
from sqlalchemy.types import TypeEngine

from ordinis.domain.canonical import decimal_text, instant_text, parse_instant
from ordinis.errors import ConfigurationError

WAL_IS_SAFE_SINCE = (3, 51, 3)
BUSY_TIMEOUT_MS = 5_000


class Money(TypeDecorator[Decimal]):
    """An exact Decimal: prices, quantities, cash."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(NUMERIC() if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return decimal_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


class Instant(TypeDecorator[datetime]):
    """An aware instant in UTC, to the microsecond."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(TIMESTAMP(timezone=True) if dialect.name == "postgresql" else String(27))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        text = instant_text(value)
        return parse_instant(text) if dialect.name == "postgresql" else text

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return parse_instant(value) if isinstance(value, str) else value.astimezone(UTC)


def journal_mode() -> str:
    """The SQLite journal in force on this machine: "WAL" where it is safe, else "TRUNCATE"."""
    return "WAL" if sqlite3.sqlite_version_info >= WAL_IS_SAFE_SINCE else "TRUNCATE"


def connect(url: str) -> Engine:
    """Open `url`; the database need not have tables yet.

    Raises:
        ConfigurationError: the URL is not one of SQLite or PostgreSQL, or names a folder that cannot be made.
    """
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        # Neither the URL nor the library's words about it are repeated: either may hold a password.
        problem = "cannot be read; it looks like sqlite:///path or postgresql://user:password@host:port/name"
        raise ConfigurationError("database URL", problem) from None
    if backend == "postgresql":
        return create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    if backend != "sqlite":
        raise ConfigurationError("database URL", f"{backend} is not supported; use sqlite:/// or postgresql://")
    in_memory = parsed.database in (None, "", ":memory:")
    if not in_memory:
        folder = Path(str(parsed.database)).expanduser().parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError("database URL", f"its folder {folder} cannot be made: {error.strerror}") from error
    engine = (
        create_engine(parsed, poolclass=StaticPool, connect_args={"check_same_thread": False})
        if in_memory
        else create_engine(parsed)
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def sqlite_file(engine: Engine) -> Path | None:
    """The file of a SQLite database; None for one in memory, and for PostgreSQL."""
    name = engine.url.database
    if engine.dialect.name != "sqlite" or name in (None, "", ":memory:"):
        return None
    return Path(str(name)).expanduser().absolute()


def shown(engine: Engine) -> str:
    """The engine's URL without its password, for messages."""
    return engine.url.render_as_string(hide_password=True)


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own idea of when to begin would defeat BEGIN IMMEDIATE below.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        f"journal_mode={journal_mode()}",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Any) -> None:
    read_only = connection.get_execution_options().get("read_only", False)
    statement = "BEGIN" if read_only else "BEGIN IMMEDIATE"
    try:
        connection.connection.driver_connection.execute(statement)
    except sqlite3.Error as error:
        raise DBAPIError.instance(statement, None, error, sqlite3.Error, dialect=connection.dialect) from error
