"""Rows read back: as objects of the domain, or as the plain values whose canonical text was hashed.

SQLite keeps money and instants in their canonical text, so plain values are what lies in the file, unread by any
type: a spelling that means the same but is not the one that was written shows too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Connection, Executable, Select, Table, select, type_coerce
from sqlalchemy.types import NullType

from ordinis.domain.canonical import plain
from ordinis.errors import LedgerDamaged
from ordinis.persistence.statements import rows

T = TypeVar("T")
UNREADABLE = (ValueError, TypeError, ArithmeticError, LookupError)
"""What Python says of a text that is no number, instant, JSON or member of an enumeration."""


def read(connection: Connection, query: Executable, make: Callable[[dict[str, Any]], T], **values: Any) -> list[T]:
    """The rows of `query` as `make` makes them; LedgerDamaged when one cannot be read."""
    try:
        return [make(row) for row in rows(connection, query, values)]
    except UNREADABLE as error:
        raise LedgerDamaged(f"row of {make.__name__.strip('_')}", "", f"cannot be read: {error}") from error


@cache
def column_names(table: Table) -> tuple[str, ...]:
    """The columns of `table` by plain strings; the library's own are slow as keys."""
    return tuple(str(column.name) for column in table.columns)


def plain_rows(connection: Connection, table: Table, *order: str) -> Iterator[dict[str, Any]]:
    """Every row of `table` by column, as text, numbers, booleans and None."""
    as_kept = connection.dialect.name == "sqlite"
    found = rows(connection, _everything(table, order, as_kept), {})
    return found if as_kept else map(plain, found)


@cache
def _everything(table: Table, order: tuple[str, ...], as_kept: bool) -> Select[Any]:
    columns = [type_coerce(column, NullType()).label(column.name) if as_kept else column for column in table.columns]
    return select(*columns).order_by(*(table.c[name] for name in order))
