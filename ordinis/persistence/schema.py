"""The version of a database, and how it is brought up to date.

Alembic keeps two histories, one for the ledger and one for the records, since they have different owners. A
database that is newer than the code is refused: older code would not know what it writes into.
"""

from __future__ import annotations

import sqlite3
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Connection, Engine, column, create_engine, inspect, select, table
from sqlalchemy.pool import StaticPool

from ordinis.errors import StoreUnavailable
from ordinis.persistence.engine import shown

if TYPE_CHECKING:
    from alembic.config import Config

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
        elif not _current(connection, schema):
            _migrate(engine, connection, schema)


def newest(schema: Schema) -> str:
    """The revision of the last migration, whose file is named by its number."""
    return f"{schema}_{max(path.name[:4] for path in (MIGRATIONS / schema).glob('0*.py'))}"


def _current(connection: Connection, schema: Schema) -> bool:
    """Whether the tables are of today's version: a start after a crash must not wait for Alembic to be imported."""
    if not inspect(connection).has_table(f"{schema}_version"):
        return False
    version = table(f"{schema}_version", column("version_num"))
    return connection.execute(select(version.c.version_num)).scalars().all() == [newest(schema)]


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
    from alembic import command
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

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
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("version_locations", str(MIGRATIONS / schema))
    config.set_main_option("path_separator", "os")
    config.attributes["schema"] = schema
    return config
