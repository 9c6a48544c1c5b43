"""The version of a database, and how it is brought up to date.

Alembic keeps two histories, one for the ledger and one for the records, since they have different owners. A
database that is newer than the code is refused: older code would not know what it writes into.
"""

from __future__ import annotations

import sqlite3
from functools import cache
from pathlib import Path
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, inspect
from sqlalchemy.pool import StaticPool

from ordinis.errors import StoreUnavailable
from ordinis.persistence.engine import shown

Schema = Literal["ledger", "records"]
MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(engine: Engine, schema: Schema) -> None:
    """Create or migrate the tables of `schema`; does nothing when they are current.

    Raises:
        StoreUnavailable: the database is of a version that this code does not know.
    """
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite" and not inspect(connection).get_table_names():
            for statement in _empty(schema):
                connection.exec_driver_sql(statement)
        else:
            _migrate(engine, connection, schema)


@cache
def _empty(schema: Schema) -> tuple[str, ...]:
    """The statements of an empty SQLite database of today's version: every migration, run once a process."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.begin() as connection:
        _migrate(engine, connection, schema)
        dump: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
        written = tuple(dump.iterdump())
    engine.dispose()
    return tuple(statement for statement in written if statement not in ("BEGIN TRANSACTION;", "COMMIT;"))


def _migrate(engine: Engine, connection: Connection, schema: Schema) -> None:
    config = _config(schema)
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection, opts={"version_table": f"{schema}_version"}).get_current_revision()
    if current == scripts.get_current_head():
        return
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        raise StoreUnavailable(
            shown(engine), f"its {schema} schema is at {current}, newer than this code knows; upgrade Ordinis"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config(schema: Schema) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("version_locations", str(MIGRATIONS / schema))
    config.set_main_option("path_separator", "os")
    config.attributes["schema"] = schema
    return config
