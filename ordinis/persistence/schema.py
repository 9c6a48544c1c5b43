"""The version of a database, and how it is brought up to date.

Alembic keeps two histories, one for the ledger and one for the records, since they have different owners. A
database that is newer than the code is refused: older code would not know what it writes into.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Connection, Engine, column, inspect, select, table

from ordinis.errors import StoreUnavailable
from ordinis.persistence.engine import shown

if TYPE_CHECKING:
    from alembic.config import Config

Schema = Literal["ledger", "records"]
MIGRATIONS = Path(__file__).parent / "migrations"
BETWEEN = "\n\n"
"""Between two statements of a script."""


def upgrade(engine: Engine, schema: Schema) -> None:
    """Create or migrate the tables of `schema`; does nothing when they are current.

    Raises:
        StoreUnavailable: the database is of a version that this code does not know.
    """
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite" and not inspect(connection).get_table_names():
            for statement in _newest_statements(schema):
                connection.exec_driver_sql(statement)
        elif not _current(connection, schema):
            migrate(connection, schema)


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
def _newest_statements(schema: Schema) -> tuple[str, ...]:
    """What makes a SQLite database of today's version: neither a start nor a check waits for all the migrations."""
    return tuple(script(schema).read_text(encoding="utf-8").rstrip().split(BETWEEN))


def script(schema: Schema) -> Path:
    """Where today's tables are kept, as scripts/schema.py writes them from the migrations."""
    return MIGRATIONS / f"{schema}.sql"


def migrate(connection: Connection, schema: Schema) -> None:
    """Run the migrations that the database has not had yet.

    Raises:
        StoreUnavailable: the database is of a version that this code does not know.
    """
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
            shown(connection.engine),
            f"its {schema} schema is at {current}, newer than this code knows; upgrade Ordinis",
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
