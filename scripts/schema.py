"""Write the newest ledger and records as one SQL script each, from their migrations.

    python scripts/schema.py

A new SQLite database is made from the script, and a start holds a ledger's tables, triggers and indexes against it;
to run every migration for that would take longer than all the rest. A test fails while a script is not what the
migrations make.
"""

from __future__ import annotations

from typing import get_args

from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from ordinis.persistence.schema import BETWEEN, Schema, migrate, script

AROUND = ("BEGIN TRANSACTION;", "COMMIT;")


def statements(schema: Schema) -> list[str]:
    """What the migrations of `schema` make of an empty SQLite database."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.begin() as connection:
        migrate(connection, schema)
        written = list(connection.connection.driver_connection.iterdump())  # type: ignore[union-attr]
    engine.dispose()
    return [statement for statement in written if statement not in AROUND]


def main() -> None:
    for schema in get_args(Schema):
        script(schema).write_text(BETWEEN.join(statements(schema)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
