"""Append-only rows whose hashes cover the row before: a changed, missing or reordered row shows.

    hash = sha256(previous hash | canonical text of the row)

The text is ours, never the database's own rendering, so both databases give the same hash for the same row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, insert, select, text

from ordinis.domain.canonical import canonical
from ordinis.errors import LedgerDamaged

GENESIS = "0" * 64


def append(connection: Connection, table: Table, values: Mapping[str, Any]) -> None:
    """Insert `values` as the next row of `table`."""
    if connection.dialect.name == "postgresql":
        # Two appenders must not read the same head; SQLite has one writer anyway.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"chain {table.name}"})
    previous = head(connection, table)
    complete = {column.name: values.get(column.name) for column in table.columns if _is_content(column.name)}
    connection.execute(
        insert(table).values(**values, prev_hash=previous, hash=_row_hash(previous, complete)),
    )


def head(connection: Connection, table: Table) -> str:
    """The hash of the last row; zeros for an empty table."""
    row = connection.execute(select(table.c.hash).order_by(table.c.seq.desc()).limit(1)).scalar()
    return GENESIS if row is None else str(row)


def verify(connection: Connection, table: Table) -> None:
    """Recompute the chain of `table` from its first row; LedgerDamaged names the first row that does not fit."""
    previous = GENESIS
    for row in connection.execute(select(table).order_by(table.c.seq)).mappings():
        if row["prev_hash"] != previous:
            raise LedgerDamaged(table.name, str(row["seq"]), "the row before it was changed, removed or added")
        if row["hash"] != _row_hash(previous, _content(row)):
            raise LedgerDamaged(table.name, str(row["seq"]), "its content does not match its hash")
        previous = row["hash"]


def _is_content(column: str) -> bool:
    return column not in ("seq", "prev_hash", "hash")


def _content(row: RowMapping) -> dict[str, Any]:
    return {name: value for name, value in row.items() if _is_content(name)}


def _row_hash(previous: str, content: Mapping[str, Any]) -> str:
    return hashlib.sha256(f"{previous}|{canonical(content)}".encode()).hexdigest()
